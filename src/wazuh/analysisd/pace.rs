//! How many lines may go to analysisd now, PURE: as many as keep it busy and never so many that a queue of its runs over.
//!
//! analysisd drops what does not fit instead of making the sender wait. So at every look a sender fills up what waits inside
//! to a window that is small against the queues (16,384 elements) and large against what is worked off until the next look.
#![deny(clippy::disallowed_macros, clippy::disallowed_methods, clippy::disallowed_types)]

use std::time::Duration;

use super::stats::Stats;

/// Time between two looks while there is something to send.
pub const LOOK_MS: u64 = 30;

/// Events that may wait inside analysisd, over all of its queues: at 10,000 events a second it has work for three looks.
const WINDOW_EVENTS: u64 = 1_024;

/// Lines sent at a look where others keep the window full.
const TRICKLE_LINES: u64 = 8;

/// Lines sent at a look while analysisd has not even received those before.
const UNREAD_LINES_MAX: u64 = 64;

/// Lines that may go now. `own`: ours that the rules have not seen yet.
pub fn lines(stats: &Stats, unread_bytes: u64, own: u64) -> u64 {
    let inside = stats.input + stats.rules + stats.alerts;
    let below_half = (stats.input_max / 2).saturating_sub(stats.input);
    let mut lines = WINDOW_EVENTS.saturating_sub(inside).min(below_half);
    if lines == 0 && own < WINDOW_EVENTS {
        // Others fill it: that is no reason to send nothing at all.
        lines = TRICKLE_LINES.min(below_half);
    }
    if unread_bytes > 0 { lines.min(UNREAD_LINES_MAX) } else { lines }
}

/// An upper bound of lines a second.
#[derive(Clone, Copy, Debug)]
pub struct Allowance {
    lines_per_s: Option<u64>,
    /// Up to when what may be sent has been used.
    used_to: Duration,
}

impl Allowance {
    /// That of so many lines a second; none for no bound.
    pub fn new(lines_per_s: Option<u64>) -> Self {
        Self { lines_per_s, used_to: Duration::ZERO }
    }

    /// Lines that may go at `now`. What was not used within two looks and the time of a line is given up.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    pub fn lines(&mut self, now: Duration) -> u64 {
        let Some(lines_per_s) = self.lines_per_s else { return u64::MAX };
        let kept = Duration::from_millis(2 * LOOK_MS) + Duration::from_secs_f64(1.0 / lines_per_s as f64);
        self.used_to = self.used_to.max(now.saturating_sub(kept));
        ((now.saturating_sub(self.used_to)).as_secs_f64() * lines_per_s as f64 + 1e-6) as u64
    }

    /// So many were sent.
    pub fn sent(&mut self, lines: u64) {
        if let Some(lines_per_s) = self.lines_per_s {
            self.used_to += Duration::from_secs_f64(lines as f64 / lines_per_s as f64);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stats(input: u64, rules: u64, alerts: u64) -> Stats {
        Stats { input, rules, alerts, input_max: 16_384, ..Stats::default() }
    }

    #[test]
    fn the_window_is_filled_and_never_more() {
        assert_eq!(lines(&stats(0, 0, 0), 0, 0), 1_024);
        assert_eq!(lines(&stats(10, 500, 14), 0, 524), 500);
        assert_eq!(lines(&stats(10, 1_000, 14), 0, 1_024), 0);
        assert_eq!(lines(&stats(0, 0, 0), 1, 0), 64);
    }

    #[test]
    fn others_do_not_shut_us_out_and_are_not_pushed_over() {
        assert_eq!(lines(&stats(0, 16_000, 0), 0, 100), 8);
        assert_eq!(lines(&stats(8_190, 16_383, 0), 0, 0), 2);
        assert_eq!(lines(&stats(8_192, 16_383, 0), 0, 0), 0);
        assert_eq!(lines(&stats(8_192, 0, 0), 0, 0), 0);
    }

    #[test]
    fn a_bound_holds_over_time() {
        for bound in [1, 7, 100, 400, 10_000] {
            let mut allowance = Allowance::new(Some(bound));
            let mut sent = 0;
            for look in 0..1_000 {
                let lines = allowance.lines(Duration::from_millis(look * LOOK_MS));
                allowance.sent(lines);
                sent += lines;
            }
            // 30 seconds.
            assert!((bound * 297 / 10..=bound * 30 + 1).contains(&sent), "{bound}: {sent}");
        }
        assert_eq!(Allowance::new(None).lines(Duration::ZERO), u64::MAX);
    }

    #[test]
    fn a_pause_is_not_made_up_for_at_once() {
        let mut allowance = Allowance::new(Some(100));
        assert_eq!(allowance.lines(Duration::from_secs(60)), 7);
    }
}
