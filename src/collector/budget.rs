//! How long a run may take and how much it may hand over, PURE: from the wodle's interval and pace.
#![deny(clippy::disallowed_macros, clippy::disallowed_methods, clippy::disallowed_types)]

use std::time::Duration;

/// The interval that the times below are for, in seconds.
const INTERVAL_S: f64 = 300.0;

/// No new request after so many seconds of a run.
const LAST_REQUEST_S: f64 = 60.0;

/// An open page is given up after so many seconds of a run.
const LAST_PAGE_S: f64 = 150.0;

/// The same where the queue is the output, which is filled as fast as it drains: pages are fetched until there are no more.
const QUEUE_LAST_REQUEST_S: f64 = 200.0;
const QUEUE_LAST_PAGE_S: f64 = 240.0;

/// What was pending before is sent to the queue for so many seconds before anything is fetched.
const FIRST_LINES_S: f64 = 60.0;

/// No line is sent to the queue, and no confirmation waited for, after so many seconds of a run.
const LAST_LINE_S: f64 = 250.0;

/// A run that is not over by then is ended, in seconds: the wodle waits for it without limit.
const WATCHDOG_S: f64 = 270.0;

/// What is left of an interval for starting and ending, in seconds.
const SPARE_S: f64 = 10.0;

/// Share of the wodle's pace that is used: it forwards some 98 of 100 events a second (observed on 4.14.9).
const PACE_SHARE: f64 = 0.95;

/// Bytes handed over in one run: the wodle keeps 64 MiB and throws the rest away.
pub const HANDOVER_BYTES_MAX: u64 = 60 << 20;

/// The bounds of one run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Budget {
    interval_s: f64,
    events_per_s: f64,
    last_request_s: f64,
    last_page_s: f64,
}

impl Budget {
    /// That of a wodle that runs every `interval_s` seconds and forwards `events_per_s`.
    pub fn new(interval_s: u64, events_per_s: u64) -> Self {
        Self {
            interval_s: interval_s as f64,
            events_per_s: events_per_s as f64,
            last_request_s: LAST_REQUEST_S,
            last_page_s: LAST_PAGE_S,
        }
    }

    /// The same with the queue as the output.
    pub fn for_queue(self) -> Self {
        Self { last_request_s: QUEUE_LAST_REQUEST_S, last_page_s: QUEUE_LAST_PAGE_S, ..self }
    }

    /// No new request after this time of the run.
    pub fn last_request(&self) -> Duration {
        self.scaled(self.last_request_s)
    }

    /// No page is read after this time of the run.
    pub fn last_page(&self) -> Duration {
        self.scaled(self.last_page_s)
    }

    /// Until then what was pending before is sent to the queue.
    pub fn first_lines(&self) -> Duration {
        self.scaled(FIRST_LINES_S)
    }

    /// Nothing is sent to the queue after this time of the run.
    pub fn last_line(&self) -> Duration {
        self.scaled(LAST_LINE_S)
    }

    /// The run is ended at this time.
    pub fn watchdog(&self) -> Duration {
        self.scaled(WATCHDOG_S)
    }

    /// Lines that the wodle can forward in what is left of the interval.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    pub fn lines(&self, elapsed: Duration) -> u64 {
        // A negative number of lines becomes none.
        ((self.interval_s - SPARE_S.min(self.interval_s / 2.0) - elapsed.as_secs_f64())
            * self.events_per_s
            * PACE_SHARE) as u64
    }

    fn scaled(&self, seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds * (self.interval_s / INTERVAL_S).min(1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_fits_into_its_interval() {
        let usual = Budget::new(300, 100);
        assert_eq!(
            (usual.last_request().as_secs(), usual.last_page().as_secs(), usual.watchdog().as_secs()),
            (60, 150, 270)
        );
        assert_eq!(usual.lines(Duration::ZERO), 27_550);
        assert_eq!(usual.lines(Duration::from_secs(90)), 19_000);
        assert_eq!(usual.lines(Duration::from_secs(299)), 0);
        let queue = usual.for_queue();
        let times = [queue.first_lines(), queue.last_request(), queue.last_page(), queue.last_line()];
        assert_eq!(times.map(|time| time.as_secs()), [60, 200, 240, 250]);
        let short = Budget::new(60, 1_000);
        assert_eq!((short.last_request().as_secs(), short.watchdog().as_secs()), (12, 54));
        assert_eq!(short.lines(Duration::ZERO), 47_500);
        assert_eq!(Budget::new(3_600, 100).last_page().as_secs(), 150);
    }
}
