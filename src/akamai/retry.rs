//! What to do when a request failed, PURE: from the failure alone. Never waits itself, never knows the time.
#![deny(clippy::disallowed_macros, clippy::disallowed_methods, clippy::disallowed_types)]

use std::time::Duration;

/// The first wait, in milliseconds; each further one is twice as long.
const WAIT_MS_MIN: u64 = 1_000;

/// The longest wait that Akamai did not ask for, in milliseconds.
const WAIT_MS_MAX: u64 = 30_000;

/// The longest wait that Akamai may ask for, in seconds: a day, which is longer than any run.
const RETRY_AFTER_S_MAX: u64 = 86_400;

/// The largest error of a clock that is corrected, in seconds: ten years. Beyond, the answer's date is no clock.
const SKEW_S_MAX: i64 = 315_360_000;

/// A request that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// No answer, or none in time: DNS, proxy, connection, TLS.
    Unreachable,
    /// 429 or 5xx, with the seconds that the answer asks to wait.
    Busy(Option<u64>),
    /// The edge refuses the timestamp; seconds by which its clock is ahead of the one used, if it says.
    InvalidTimestamp(Option<i64>),
    /// The offset is older than what Akamai keeps.
    Expired,
    /// Another refusal: trying again would give the same.
    Refused,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reaction {
    /// Ask the same again after this time.
    Wait(Duration),
    /// Ask the same again at once, with a clock that is so many seconds further ahead.
    CorrectClock(i64),
    /// Go on by time.
    Recover,
    /// Leave it for the next run.
    GiveUp,
}

/// The reaction to a failure, the `attempt`th in a row (from 0). `jitter` is a random number from 0 to 1: many collectors
/// that failed together must not all come back together.
pub fn after(failure: Failure, attempt: u32, jitter: f64) -> Reaction {
    match failure {
        Failure::Unreachable | Failure::Busy(None) => Reaction::Wait(backoff(attempt, jitter)),
        Failure::Busy(Some(seconds)) => {
            let asked = Duration::from_secs(seconds.min(RETRY_AFTER_S_MAX));
            Reaction::Wait(asked.max(backoff(attempt, jitter)))
        }
        Failure::InvalidTimestamp(Some(skew)) if attempt == 0 && skew != 0 && skew.abs() <= SKEW_S_MAX => {
            Reaction::CorrectClock(skew)
        }
        Failure::Expired => Reaction::Recover,
        Failure::InvalidTimestamp(_) | Failure::Refused => Reaction::GiveUp,
    }
}

/// Between half and all of what is due.
fn backoff(attempt: u32, jitter: f64) -> Duration {
    let due = WAIT_MS_MIN.saturating_mul(1 << attempt.min(16)).min(WAIT_MS_MAX);
    Duration::from_millis(due).mul_f64(0.5 + jitter.clamp(0.0, 1.0) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_up_to_a_bound_and_honour_retry_after() {
        for (failure, attempt, jitter, wait_ms) in [
            (Failure::Unreachable, 0, 1.0, 1_000),
            (Failure::Busy(None), 3, 0.0, 4_000),
            (Failure::Busy(None), 4_000_000, 1.0, 30_000),
            (Failure::Busy(Some(7)), 0, 1.0, 7_000),
            (Failure::Busy(Some(0)), 1, 1.0, 2_000),
            (Failure::Busy(Some(u64::MAX)), 1, 1.0, 86_400_000),
        ] {
            assert_eq!(after(failure, attempt, jitter), Reaction::Wait(Duration::from_millis(wait_ms)));
        }
    }

    #[test]
    fn a_clock_is_corrected_once() {
        assert_eq!(after(Failure::InvalidTimestamp(Some(-90)), 0, 0.0), Reaction::CorrectClock(-90));
        assert_eq!(after(Failure::InvalidTimestamp(Some(-90)), 1, 0.0), Reaction::GiveUp);
        assert_eq!(after(Failure::InvalidTimestamp(None), 0, 0.0), Reaction::GiveUp);
        assert_eq!(after(Failure::InvalidTimestamp(Some(i64::MIN + 1)), 0, 0.0), Reaction::GiveUp);
    }

    #[test]
    fn only_an_expired_offset_is_given_up_for_a_time() {
        assert_eq!(after(Failure::Expired, 0, 0.0), Reaction::Recover);
        assert_eq!(after(Failure::Refused, 0, 0.0), Reaction::GiveUp);
    }
}
