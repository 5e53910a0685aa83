//! Whether lines that a wodle forwarded have passed analysisd's input queue, PURE: from its counters before and after. The
//! wodle itself cannot know, and analysisd drops what finds that queue full.

use super::barrier::IN_HAND_EVENTS_MIN;
use super::stats::{Counters, Stats};

/// Looks in a row that must find the input queue empty until nothing can be on its way from there to the counters.
const EMPTY_LOOKS: u32 = 4;

/// What became of the lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// They have been decoded.
    Arrived,
    /// It is not so: they must be handed over again.
    Lost,
    /// They still wait in its queue.
    Waiting,
}

/// Lines that were forwarded whole before the first look.
#[derive(Debug)]
pub struct Forwarded {
    before: Counters,
    lines: u64,
    cores: u64,
    first: Option<Stats>,
    empty_looks: u32,
}

impl Forwarded {
    /// So many lines, handed over when the counters were these.
    pub fn new(before: Counters, lines: u64, cores: u64) -> Self {
        Self { before, lines, cores, first: None, empty_looks: 0 }
    }

    /// What a look says. Others' events of command wodles count like ours, so they may hide that one is missing; but then it
    /// was dropped, which shows.
    pub fn look(&mut self, stats: &Stats) -> Fate {
        let (before, now) = (&self.before, &stats.counters);
        if !before.go_on_as(now) || before.dropped != now.dropped {
            return Fate::Lost;
        }
        if now.decoded_commands - before.decoded_commands >= self.lines {
            return Fate::Arrived;
        }
        let first = self.first.get_or_insert(*stats);
        self.empty_looks = if stats.input == 0 { self.empty_looks + 1 } else { 0 };
        let ahead = first.input + self.cores.max(IN_HAND_EVENTS_MIN);
        let is_through = self.empty_looks >= EMPTY_LOOKS || now.decoded >= first.counters.decoded + ahead;
        if is_through && !stats.is_limited { Fate::Lost } else { Fate::Waiting }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stats(decoded_commands: u64, input: u64) -> Stats {
        let counters = Counters { started_s: 1, decoded: decoded_commands, decoded_commands, ..Counters::default() };
        Stats { counters, input, input_max: 16_384, ..Stats::default() }
    }

    fn handed_over(lines: u64) -> Forwarded {
        Forwarded::new(stats(100, 0).counters, lines, 2)
    }

    #[test]
    fn what_was_decoded_has_arrived() {
        assert_eq!(handed_over(20).look(&stats(120, 0)), Fate::Arrived);
    }

    #[test]
    fn a_drop_or_another_process_may_have_taken_them() {
        let dropped = |stats: Stats| Stats { counters: Counters { dropped: 1, ..stats.counters }, ..stats };
        let other = |stats: Stats| Stats { counters: Counters { started_s: 2, ..stats.counters }, ..stats };
        let rebooted = |stats: Stats| Stats { counters: Counters { boot: 2, ..stats.counters }, ..stats };
        for seen in [dropped(stats(500, 0)), other(stats(500, 0)), rebooted(stats(500, 0)), stats(90, 0)] {
            assert_eq!(handed_over(20).look(&seen), Fate::Lost, "{seen:?}");
        }
    }

    #[test]
    fn what_waits_in_its_queue_or_in_its_hands_is_waited_for() {
        let mut forwarded = handed_over(20);
        assert!((0..100).all(|_| forwarded.look(&stats(110, 10)) == Fate::Waiting));
        let mut forwarded = handed_over(20);
        let limited = Stats { is_limited: true, ..stats(118, 0) };
        assert!((0..100).all(|_| forwarded.look(&limited) == Fate::Waiting));
        assert_eq!(forwarded.look(&stats(120, 0)), Fate::Arrived);
    }

    #[test]
    fn what_is_nowhere_is_lost() {
        let mut forwarded = handed_over(20);
        let fates: Vec<Fate> = (0..4).map(|_| forwarded.look(&stats(119, 0))).collect();
        assert_eq!(fates, [Fate::Waiting, Fate::Waiting, Fate::Waiting, Fate::Lost]);
        // Everything that was in the queue at the first look is through, and the queue is never empty.
        let mut forwarded = handed_over(5_000);
        assert_eq!(forwarded.look(&stats(100, 500)), Fate::Waiting);
        assert_eq!(forwarded.look(&stats(631, 500)), Fate::Waiting);
        assert_eq!(forwarded.look(&stats(632, 500)), Fate::Lost);
    }
}
