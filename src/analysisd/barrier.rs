//! What of the lines sent has arrived in alerts.json, PURE: analysisd acknowledges nothing, but its queues keep the order and
//! its counters are exact.
//!
//! A mark stands behind a line. When analysisd has received everything before the mark, its counters say how many events must
//! leave each queue until those lines have: once decoded, seen by the rules, taken by the writer, and a flush later they are
//! in the file. Every step was tried on a real 4.14.9: it lost nothing through kills, restarts and forced drops.

use std::collections::VecDeque;
use std::time::Duration;

use super::stats::{Counters, Stats};
use crate::state::delivery::Progress;

/// Time between two marks, in milliseconds.
const MARK_MS: u64 = 250;

/// Events that threads of analysisd may have in hand between two queues; at least the number of its threads.
const IN_HAND_EVENTS: u64 = 8;

/// Time for which queues must have been empty, in milliseconds, to tell that nobody has anything in hand.
const EMPTY_MS: u64 = 100;

/// Time until what the writer took is in the file, in milliseconds: it flushes every second.
const FLUSH_MS: u64 = 2_200;

/// Of the time between two looks no more counts as time in which analysisd worked, in milliseconds: it may have hung.
const LOOK_MS_MAX: u64 = 200;

/// A place in what was sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// Lines before it, by this run's count.
    pub lines: u64,
    /// Where in the spool.
    pub to: Progress,
}

/// The marks between what is confirmed and what was sent.
#[derive(Debug)]
pub struct Barriers {
    marks: VecDeque<Mark>,
    /// Everything before has arrived.
    confirmed: Position,
    /// Everything before was received, and nothing of it dropped.
    received: Position,
    /// Lines that the rules have seen.
    processed_lines: u64,
    counters: Option<Counters>,
    looked_at: Option<Duration>,
    /// Time in which analysisd worked; the times below are of this clock.
    worked: Duration,
    made_at: Option<Duration>,
    rules_empty_since: Option<Duration>,
    alerts_empty_since: Option<Duration>,
}

#[derive(Clone, Copy, Debug)]
struct Mark {
    position: Position,
    step: Step,
}

/// How far the lines before a mark are known to have come.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// Received at the last look.
    Received,
    /// Decoded when so many events are.
    Decoded(u64),
    /// Seen by the rules when so many events are, or when nothing has waited for long since this time.
    Processed(u64, Duration),
    /// Taken by the writer when so many alerts are, or likewise.
    Written(u64, Duration),
    /// In the file at this time.
    Flushed(Duration),
}

/// What a look at the counters says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// Everything before this place has arrived now.
    pub confirmed: Option<Position>,
    /// What was sent behind this place may be lost: it must be sent again.
    pub back_to: Option<Position>,
    /// It is another process than before: a killed one leaves alerts.json with half a line, and the next alert is glued to it
    /// (seen on 4.14.9 each time). That must be none of the lines that count.
    pub is_new_process: bool,
}

impl Barriers {
    /// Nothing is known to have arrived behind `confirmed`. `counters`: what analysisd said when a run before received its last
    /// mark.
    pub fn new(confirmed: Position, counters: Option<Counters>) -> Self {
        Self {
            marks: VecDeque::new(),
            confirmed,
            received: confirmed,
            processed_lines: confirmed.lines,
            counters,
            looked_at: None,
            worked: Duration::ZERO,
            made_at: None,
            rules_empty_since: None,
            alerts_empty_since: None,
        }
    }

    /// Everything before has arrived.
    pub fn confirmed(&self) -> Position {
        self.confirmed
    }

    /// Everything before was received by analysisd, and nothing of it dropped; and what its counters were then or later.
    pub fn received(&self) -> (Position, Option<Counters>) {
        (self.received, self.counters)
    }

    /// Lines that the rules have seen at least.
    pub fn processed_lines(&self) -> u64 {
        self.processed_lines
    }

    /// Takes note of a look at `now`: `unread_bytes` was asked first, then `stats`. `sent`: everything sent until then.
    pub fn look(&mut self, now: Duration, unread_bytes: u64, sent: Position, stats: &Stats) -> Look {
        let passed = self.looked_at.replace(now).map_or(Duration::ZERO, |looked| now.saturating_sub(looked));
        self.worked += passed.min(Duration::from_millis(LOOK_MS_MAX));
        let now = self.worked;
        let before = self.counters.replace(stats.counters);
        if before.is_some_and(|before| !before.go_on_as(&stats.counters)) {
            // Another process: what the one before had in its queues is gone.
            return Look { back_to: Some(self.restart(self.confirmed)), is_new_process: true, confirmed: None };
        }
        let back_to = before.is_some_and(|before| before.dropped < stats.counters.dropped).then(|| {
            // Something was dropped, perhaps ours, since everything before `received` was received.
            self.restart(self.received)
        });
        self.note_empty(now, stats);
        let confirmed = self.advance(now, stats);
        let marked = self.marks.back().map_or(self.confirmed.lines, |mark| mark.position.lines);
        let is_due = self.made_at.is_none_or(|made| now.saturating_sub(made) >= Duration::from_millis(MARK_MS));
        if back_to.is_none() && unread_bytes == 0 && sent.lines > marked && is_due {
            self.marks.push_back(Mark { position: sent, step: Step::Received });
            self.made_at = Some(now);
        }
        Look { confirmed, back_to, is_new_process: false }
    }

    /// The connection was lost while lines were under way.
    pub fn disconnected(&mut self) -> Position {
        self.restart(self.received)
    }

    /// Gives up the marks behind a place: what lies behind it will be sent again, and only then marked anew.
    fn restart(&mut self, at: Position) -> Position {
        self.marks.retain(|mark| mark.position.lines <= at.lines);
        if at == self.confirmed {
            self.marks.clear();
        }
        self.received = at;
        self.processed_lines = self.processed_lines.min(at.lines);
        (self.made_at, self.rules_empty_since, self.alerts_empty_since) = (None, None, None);
        at
    }

    fn note_empty(&mut self, now: Duration, stats: &Stats) {
        let since = |is_empty: bool, before: Option<Duration>| is_empty.then(|| before.unwrap_or(now));
        self.rules_empty_since = since(stats.input == 0 && stats.rules == 0, self.rules_empty_since);
        self.alerts_empty_since = since(stats.alerts == 0, self.alerts_empty_since);
    }

    /// Moves every mark as far as the counters allow.
    fn advance(&mut self, now: Duration, stats: &Stats) -> Option<Position> {
        let (rules_empty, alerts_empty) = (self.rules_empty_since, self.alerts_empty_since);
        let long_empty = |empty: Option<Duration>, waits: Duration| {
            empty.is_some_and(|empty| now.saturating_sub(empty.max(waits)) > Duration::from_millis(EMPTY_MS))
        };
        let counters = stats.counters;
        for mark in &mut self.marks {
            loop {
                mark.step = match mark.step {
                    Step::Received => {
                        // Nothing was dropped up to this later look.
                        self.received = mark.position;
                        mark.step = Step::Decoded(counters.decoded + stats.input);
                        break;
                    }
                    Step::Decoded(need) if counters.decoded >= need || stats.input == 0 => {
                        Step::Processed(counters.processed + stats.rules + IN_HAND_EVENTS, now)
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
        while let Some(Mark { position, step: Step::Flushed(at) }) = self.marks.front().copied()
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
    use crate::state::delivery::Mark as Place;

    fn position(lines: u64) -> Position {
        Position { lines, to: Progress { events: Place { segment: 1, byte: lines }, ..Progress::default() } }
    }

    /// An analysisd that has worked off so many events and has nothing waiting.
    fn idle(events: u64, dropped: u64) -> Stats {
        let counters = Counters { started_s: 1, decoded: events, processed: events, written: events, dropped };
        Stats { counters, input_max: 16_384, ..Stats::default() }
    }

    /// Looks every 100 ms until something is confirmed; where and when.
    fn confirmed(barriers: &mut Barriers, from_ms: u64, sent: Position, stats: &Stats) -> (Position, u64) {
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
        let mut barriers = Barriers::new(position(0), None);
        let (position_confirmed, ms) = confirmed(&mut barriers, 0, position(5), &idle(5, 0));
        assert_eq!((position_confirmed, barriers.confirmed()), (position(5), position(5)));
        assert!((2_200..3_000).contains(&ms), "{ms}");
    }

    #[test]
    fn nothing_is_marked_that_was_not_received() {
        let mut barriers = Barriers::new(position(0), None);
        for look in 0..100 {
            let now = Duration::from_millis(look * 100);
            assert_eq!(barriers.look(now, 1, position(5), &idle(5, 0)), Look::default());
        }
        assert_eq!(barriers.received().0, position(0));
    }

    #[test]
    fn after_a_drop_it_goes_back_to_what_was_received_and_marks_that() {
        let mut barriers = Barriers::new(position(0), None);
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
        let mut barriers = Barriers::new(position(3), Some(idle(7, 0).counters));
        let other = Stats { counters: Counters { started_s: 2, ..Counters::default() }, ..idle(0, 0) };
        let look = barriers.look(Duration::ZERO, 0, position(10), &other);
        assert_eq!(look, Look { back_to: Some(position(3)), is_new_process: true, confirmed: None });
        let fewer = idle(6, 0);
        let mut barriers = Barriers::new(position(3), Some(idle(7, 0).counters));
        assert_eq!(barriers.look(Duration::ZERO, 0, position(10), &fewer).back_to, Some(position(3)));
    }

    #[test]
    fn a_run_goes_on_where_the_one_before_stopped() {
        let mut barriers = Barriers::new(position(0), Some(idle(7, 2).counters));
        assert_eq!(confirmed(&mut barriers, 0, position(1), &idle(9, 2)).0, position(1));
        let mut barriers = Barriers::new(position(0), Some(idle(7, 2).counters));
        assert_eq!(barriers.look(Duration::ZERO, 0, position(1), &idle(9, 3)).back_to, Some(position(0)));
    }

    #[test]
    fn time_in_which_it_hung_does_not_count() {
        let mut barriers = Barriers::new(position(0), None);
        for ms in (0..1_000).step_by(100) {
            assert_eq!(barriers.look(Duration::from_millis(ms), 0, position(5), &idle(5, 0)), Look::default());
        }
        assert_eq!(barriers.look(Duration::from_secs(60), 0, position(5), &idle(5, 0)), Look::default());
    }
}
