//! What of the lines sent has arrived in alerts.json, PURE: analysisd acknowledges nothing, but its queues keep the order and
//! its counters are exact.
//!
//! A mark stands behind a line. When analysisd has received everything before the mark, its counters say how many events must
//! leave each queue until those lines have: once decoded, seen by the rules, taken by the writer, and a flush later they are
//! in the file. An empty input queue alone says nothing: with a limit of events its threads hold what they took from it until
//! the limit lets them go on. Every step was tried on a real 4.14.9: it lost nothing through kills, restarts, forced drops
//! and limits.
#![deny(clippy::disallowed_macros, clippy::disallowed_methods, clippy::disallowed_types)]

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::stats::{Counters, Stats};

/// Time between two marks, in milliseconds.
const MARK_MS: u64 = 250;

/// Events that threads of analysisd may have in hand between two queues at least, whatever the machine: its options allow
/// as many threads.
pub const IN_HAND_EVENTS_MIN: u64 = 32;

/// Lines that may be in doubt at once while the file may end with half a line.
const DOUBTFUL_LINES_MAX: u64 = 1_024;

/// Time for which queues must have been empty, in milliseconds, to tell that nobody has anything in hand.
const EMPTY_MS: u64 = 100;

/// Time until what the writer took is in the file, in milliseconds: it flushes every second.
const FLUSH_MS: u64 = 2_200;

/// Of the time between two looks no more counts as time in which analysisd worked, in milliseconds: it may have hung.
const LOOK_MS_MAX: u64 = 200;

/// A place in what was sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Point<P> {
    /// Lines before it, by this run's count.
    pub lines: u64,
    /// What the sender knows the place by.
    pub to: P,
}

/// The marks between what is confirmed and what was sent.
#[derive(Debug)]
pub struct Barriers<P> {
    marks: VecDeque<Barrier<P>>,
    /// Everything before has arrived.
    confirmed: Point<P>,
    /// Everything before was received, and nothing of it dropped.
    received: Point<P>,
    /// Lines that the rules have seen.
    processed_lines: u64,
    memory: Option<Life>,
    /// Events that threads may have in hand between two queues; at least the number of its threads.
    in_hand: u64,
    looked_at: Option<Duration>,
    /// Time in which analysisd worked; the times below are of this clock.
    worked: Duration,
    made_at: Option<Duration>,
    /// Since when the input queue has been empty, and no limit holds what was taken from it.
    input_empty_since: Option<Duration>,
    rules_empty_since: Option<Duration>,
    alerts_empty_since: Option<Duration>,
}

/// What is known of a life of analysisd, for the next look or the next run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Life {
    /// Its counters at the last look.
    pub counters: Counters,
    /// The life before left alerts.json with half a line (seen on 4.14.9 after each kill), to which the first alert is glued:
    /// until one is written, all that was sent is in doubt.
    pub may_be_glued: bool,
}

#[derive(Clone, Copy, Debug)]
struct Barrier<P> {
    position: Point<P>,
    step: Step,
}

/// How far the lines before a mark are known to have come.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// Received at the last look.
    Received,
    /// Decoded when so many events are, or when nothing has waited for long since this time.
    Decoded(u64, Duration),
    /// Seen by the rules when so many events are, or when nothing has waited for long since this time.
    Processed(u64, Duration),
    /// Taken by the writer when so many alerts are, or likewise.
    Written(u64, Duration),
    /// In the file at this time.
    Flushed(Duration),
}

/// What a look at the counters says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Look<P> {
    /// Everything before this place has arrived now.
    pub confirmed: Option<Point<P>>,
    /// What was sent behind this place may be lost: it must be sent again.
    pub back_to: Option<Point<P>>,
}

impl<P: Copy + PartialEq> Barriers<P> {
    /// Nothing is known to have arrived behind `confirmed`, but everything before `received` was received. `memory`: what was
    /// known of analysisd then. `in_hand`: events that may be under way outside its queues.
    pub fn new(confirmed: Point<P>, received: Point<P>, memory: Option<Life>, in_hand: u64) -> Self {
        Self {
            marks: VecDeque::new(),
            confirmed,
            received,
            processed_lines: confirmed.lines,
            memory,
            in_hand: in_hand.max(IN_HAND_EVENTS_MIN),
            looked_at: None,
            worked: Duration::ZERO,
            made_at: None,
            input_empty_since: None,
            rules_empty_since: None,
            alerts_empty_since: None,
        }
    }

    /// Everything before has arrived.
    pub fn confirmed(&self) -> Point<P> {
        self.confirmed
    }

    /// Everything before was received by analysisd, and nothing of it dropped; and what was known of it then or later.
    pub fn received(&self) -> (Point<P>, Option<Life>) {
        (self.received, self.memory)
    }

    /// Lines that the rules have seen at least.
    pub fn processed_lines(&self) -> u64 {
        self.processed_lines
    }

    /// Lines more that may be sent now: while the first alert may be glued to half a line one goes alone, and then as many
    /// as are in doubt already.
    pub fn lines_max(&self, sent: Point<P>) -> u64 {
        if !self.memory.is_some_and(|memory| memory.may_be_glued) {
            return u64::MAX;
        }
        let doubtful = sent.lines.saturating_sub(self.confirmed.lines);
        doubtful.max(1).min(DOUBTFUL_LINES_MAX.saturating_sub(doubtful))
    }

    /// Takes note of a look at `now`: `unread_bytes` was asked first, then `stats`. `sent`: everything sent until then.
    pub fn look(&mut self, now: Duration, unread_bytes: u64, sent: Point<P>, stats: &Stats) -> Look<P> {
        let passed = self.looked_at.replace(now).map_or(Duration::ZERO, |looked| now.saturating_sub(looked));
        self.worked += passed.min(Duration::from_millis(LOOK_MS_MAX));
        let now = self.worked;
        let counters = stats.counters;
        let fresh = Life { counters, may_be_glued: stats.may_be_glued };
        let before = self.memory.unwrap_or(fresh);
        if !before.counters.go_on_as(&counters) {
            // Another process: what the one before had in its queues is gone.
            self.memory = Some(fresh);
            return Look { back_to: Some(self.doubt_all()), confirmed: None };
        }
        let was_glued = before.may_be_glued && counters.written > 0;
        self.memory = Some(Life { counters, may_be_glued: before.may_be_glued && !was_glued });
        let back_to = if was_glued {
            // Perhaps ours was the first alert, and nobody can read it.
            Some(self.doubt_all())
        } else {
            // Something was dropped, perhaps ours, since everything before `received` was received.
            (before.counters.dropped < counters.dropped).then(|| self.restart(self.received))
        };
        self.note_empty(now, stats);
        let confirmed = self.advance(now, stats);
        let marked = self.marks.back().map_or(self.confirmed.lines, |mark| mark.position.lines);
        let is_due = self.made_at.is_none_or(|made| now.saturating_sub(made) >= Duration::from_millis(MARK_MS));
        if back_to.is_none() && unread_bytes == 0 && sent.lines > marked && is_due {
            self.marks.push_back(Barrier { position: sent, step: Step::Received });
            self.made_at = Some(now);
        }
        Look { confirmed, back_to }
    }

    /// Nothing that is not confirmed counts as under way any more.
    pub fn doubt_all(&mut self) -> Point<P> {
        self.restart(self.confirmed)
    }

    /// The connection was lost while lines were under way.
    pub fn disconnected(&mut self) -> Point<P> {
        self.restart(self.received)
    }

    /// Gives up the marks behind a place: what lies behind it will be sent again, and only then marked anew.
    fn restart(&mut self, at: Point<P>) -> Point<P> {
        self.marks.retain(|mark| mark.position.lines <= at.lines);
        if at == self.confirmed {
            self.marks.clear();
        }
        self.received = at;
        self.processed_lines = self.processed_lines.min(at.lines);
        self.made_at = None;
        (self.input_empty_since, self.rules_empty_since, self.alerts_empty_since) = (None, None, None);
        at
    }

    fn note_empty(&mut self, now: Duration, stats: &Stats) {
        let since = |is_empty: bool, before: Option<Duration>| is_empty.then(|| before.unwrap_or(now));
        self.input_empty_since = since(stats.input == 0 && !stats.is_limited, self.input_empty_since);
        self.rules_empty_since = since(stats.input == 0 && stats.rules == 0, self.rules_empty_since);
        self.alerts_empty_since = since(stats.alerts == 0, self.alerts_empty_since);
    }

    /// Moves every mark as far as the counters allow.
    fn advance(&mut self, now: Duration, stats: &Stats) -> Option<Point<P>> {
        let (input_empty, rules_empty) = (self.input_empty_since, self.rules_empty_since);
        let alerts_empty = self.alerts_empty_since;
        let long_empty = |empty: Option<Duration>, waits: Duration| {
            empty.is_some_and(|empty| now.saturating_sub(empty.max(waits)) > Duration::from_millis(EMPTY_MS))
        };
        let (counters, in_hand) = (stats.counters, self.in_hand);
        for mark in &mut self.marks {
            loop {
                mark.step = match mark.step {
                    Step::Received => {
                        // Nothing was dropped up to this later look.
                        self.received = mark.position;
                        mark.step = Step::Decoded(counters.decoded + stats.input + in_hand, now);
                        break;
                    }
                    Step::Decoded(need, waits) if counters.decoded >= need || long_empty(input_empty, waits) => {
                        Step::Processed(counters.processed + stats.rules + in_hand, now)
                    }
                    Step::Processed(need, waits) if counters.processed >= need || long_empty(rules_empty, waits) => {
                        self.processed_lines = self.processed_lines.max(mark.position.lines);
                        Step::Written(counters.written + stats.alerts + 1, now)
                    }
                    Step::Written(need, waits) if counters.written >= need || long_empty(alerts_empty, waits) => {
                        Step::Flushed(now + Duration::from_millis(FLUSH_MS))
                    }
                    _ => break,
                }
            }
        }
        let mut confirmed = None;
        while let Some(Barrier { position, step: Step::Flushed(at), .. }) = self.marks.front().copied()
            && now >= at
        {
            self.marks.pop_front();
            confirmed = Some(position);
            self.confirmed = position;
        }
        confirmed
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn position(lines: u64) -> Point<u64> {
        Point { lines, to: lines }
    }

    /// An analysisd that has worked off so many events and has nothing waiting.
    fn idle(events: u64, dropped: u64) -> Stats {
        let counters = Counters {
            boot: 1,
            started_s: 1,
            decoded: events,
            decoded_commands: events,
            processed: events,
            written: events,
            dropped,
        };
        Stats { counters, input_max: 16_384, ..Stats::default() }
    }

    /// What a run before knew.
    fn memory(stats: Stats) -> Option<Life> {
        Some(Life { counters: stats.counters, may_be_glued: false })
    }

    /// Nothing is known to have been received behind what is confirmed.
    fn from(confirmed: Point<u64>, memory: Option<Life>, in_hand: u64) -> Barriers<u64> {
        Barriers::new(confirmed, confirmed, memory, in_hand)
    }

    /// Looks every 100 ms until something is confirmed; where and when.
    fn confirmed(barriers: &mut Barriers<u64>, from_ms: u64, sent: Point<u64>, stats: &Stats) -> (Point<u64>, u64) {
        (from_ms..from_ms + 20_000)
            .step_by(100)
            .find_map(|ms| {
                let look = barriers.look(Duration::from_millis(ms), 0, sent, stats);
                look.confirmed.map(|position| (position, ms - from_ms))
            })
            .unwrap()
    }

    #[test]
    fn what_was_sent_is_confirmed_a_flush_after_it_left_the_queues() {
        let mut barriers = from(position(0), None, 2);
        let (position_confirmed, ms) = confirmed(&mut barriers, 0, position(5), &idle(5, 0));
        assert_eq!((position_confirmed, barriers.confirmed()), (position(5), position(5)));
        assert!((2_200..3_000).contains(&ms), "{ms}");
    }

    #[test]
    fn nothing_is_marked_that_was_not_received() {
        let mut barriers = from(position(0), None, 2);
        for look in 0..100 {
            let now = Duration::from_millis(look * 100);
            assert_eq!(barriers.look(now, 1, position(5), &idle(5, 0)), Look::default());
        }
        assert_eq!(barriers.received().0, position(0));
    }

    #[test]
    fn after_a_drop_it_goes_back_to_what_was_received_and_marks_that() {
        let mut barriers = from(position(0), None, 2);
        let ms = Duration::from_millis;
        barriers.look(ms(0), 0, position(10), &idle(10, 0));
        // The mark made at 300 is not looked at again before the drop.
        for at in (100..=300).step_by(100) {
            barriers.look(ms(at), 0, position(30), &idle(30, 0));
        }
        assert_eq!(barriers.received().0, position(10));
        let look = barriers.look(ms(400), 0, position(40), &idle(30, 3));
        assert_eq!(look, Look { back_to: Some(position(10)), ..Look::default() });
        // What was sent until now is not marked; what is sent from there on is.
        assert_eq!(confirmed(&mut barriers, 800, position(10), &idle(30, 3)).0, position(10));
        for at in (10_000..20_000).step_by(100) {
            assert_eq!(barriers.look(ms(at), 0, position(10), &idle(30, 3)), Look::default());
        }
        assert_eq!(confirmed(&mut barriers, 20_000, position(25), &idle(45, 3)).0, position(25));
    }

    #[test]
    fn another_process_has_nothing_of_what_the_one_before_had() {
        let mut barriers = from(position(3), memory(idle(7, 0)), 2);
        let other = Stats { counters: Counters { started_s: 2, ..Counters::default() }, ..idle(0, 0) };
        let look = barriers.look(Duration::ZERO, 0, position(10), &other);
        assert_eq!(look, Look { back_to: Some(position(3)), confirmed: None });
        let fewer = idle(6, 0);
        let mut barriers = from(position(3), memory(idle(7, 0)), 2);
        assert_eq!(barriers.look(Duration::ZERO, 0, position(10), &fewer).back_to, Some(position(3)));
    }

    #[test]
    fn a_run_goes_on_where_the_one_before_stopped() {
        let mut barriers = from(position(0), memory(idle(7, 2)), 2);
        assert_eq!(confirmed(&mut barriers, 0, position(1), &idle(9, 2)).0, position(1));
        let mut barriers = from(position(0), memory(idle(7, 2)), 2);
        assert_eq!(barriers.look(Duration::ZERO, 0, position(1), &idle(9, 3)).back_to, Some(position(0)));
    }

    #[test]
    fn time_in_which_it_hung_does_not_count() {
        let mut barriers = from(position(0), None, 2);
        for ms in (0..1_000).step_by(100) {
            assert_eq!(barriers.look(Duration::from_millis(ms), 0, position(5), &idle(5, 0)), Look::default());
        }
        assert_eq!(barriers.look(Duration::from_secs(60), 0, position(5), &idle(5, 0)), Look::default());
    }

    #[test]
    fn what_threads_hold_while_a_limit_waits_is_not_confirmed() {
        let mut barriers = from(position(0), None, 2);
        let ms = Duration::from_millis;
        let limited = |stats: Stats| Stats { is_limited: true, ..stats };
        barriers.look(ms(0), 0, position(0), &idle(7, 0));
        // The queues are empty, and nothing was counted.
        for at in (100..60_000).step_by(100) {
            assert_eq!(barriers.look(ms(at), 0, position(2), &limited(idle(7, 0))), Look::default());
        }
        // What other senders' command wodles had decoded meanwhile counts for none of ours.
        for at in (60_000..90_000).step_by(100) {
            assert_eq!(barriers.look(ms(at), 0, position(2), &limited(idle(38, 0))), Look::default());
        }
        assert_eq!(confirmed(&mut barriers, 90_000, position(2), &idle(40, 0)).0, position(2));
        // The same again, after a drop.
        let look = barriers.look(ms(120_000), 0, position(5), &idle(40, 3));
        assert_eq!(look.back_to, Some(position(2)));
        for at in (120_100..150_000).step_by(100) {
            assert_eq!(barriers.look(ms(at), 0, position(5), &limited(idle(42, 3))), Look::default());
        }
        assert_eq!(confirmed(&mut barriers, 150_000, position(5), &idle(43, 3)).0, position(5));
        // A limit that never ends: more was decoded than there was ahead of them.
        let busy = |events: u64| limited(Stats { input: 9, ..idle(events, 3) });
        for (at, events) in [43, 43, 43 + 9 + IN_HAND_EVENTS_MIN].into_iter().enumerate() {
            assert_eq!(barriers.look(ms(180_000 + 100 * at as u64), 0, position(6), &busy(events)), Look::default());
        }
        let through = busy(43 + 9 + 2 * IN_HAND_EVENTS_MIN);
        assert_eq!(confirmed(&mut barriers, 180_300, position(6), &through).0, position(6));
    }

    #[test]
    fn as_many_events_may_be_in_hand_as_the_machine_has_cores() {
        for (cores, in_hand) in [(2, IN_HAND_EVENTS_MIN), (96, 96)] {
            let mut barriers = from(position(0), None, cores);
            let mut at = 0;
            // The queues are never empty, so that only the counters can tell.
            let mut sees = |processed: u64| {
                let counters = Counters { processed, ..idle(1_000, 0).counters };
                let stats = Stats { counters, rules: 1, alerts: 0, ..idle(0, 0) };
                at += 100;
                barriers.look(Duration::from_millis(at), 0, position(5), &stats);
                barriers.processed_lines()
            };
            // A mark is made, and looked at for the first time; then it is decoded, once the queue has been empty for long.
            assert!((0..5).all(|_| sees(0) == 0));
            assert_eq!(sees(in_hand), 0);
            assert_eq!(sees(in_hand + 1), 5);
        }
    }

    #[test]
    fn until_a_new_process_has_written_an_alert_what_was_sent_is_in_doubt() {
        let mut barriers = from(position(3), memory(idle(7, 0)), 2);
        let ms = Duration::from_millis;
        let new = |commands: u64, written: u64| {
            let counters = Counters {
                decoded_commands: commands,
                decoded: commands,
                processed: commands,
                written,
                ..idle(0, 0).counters
            };
            Stats { counters: Counters { started_s: 2, ..counters }, may_be_glued: written == 0, ..idle(0, 0) }
        };
        assert_eq!(barriers.lines_max(position(3)), u64::MAX);
        assert_eq!(barriers.look(ms(0), 0, position(3), &new(0, 0)).back_to, Some(position(3)));
        assert_eq!(barriers.lines_max(position(3)), 1);
        assert_eq!(barriers.look(ms(30), 0, position(4), &new(1, 0)), Look::default());
        assert_eq!((barriers.lines_max(position(4)), barriers.lines_max(position(1_026))), (1, 1));
        assert_eq!(barriers.lines_max(position(1_027)), 0);
        assert_eq!(barriers.look(ms(60), 0, position(5), &new(2, 1)).back_to, Some(position(3)));
        assert_eq!(barriers.lines_max(position(3)), u64::MAX);
        assert_eq!(confirmed(&mut barriers, 90, position(5), &new(4, 3)).0, position(5));
        // One that has written an alert before it got any of ours.
        let mut barriers = from(position(3), memory(idle(7, 0)), 2);
        assert_eq!(barriers.look(ms(0), 0, position(3), &new(0, 1)).back_to, Some(position(3)));
        assert_eq!(barriers.lines_max(position(3)), u64::MAX);
    }
}
