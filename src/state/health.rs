//! The health of a source: when it last succeeded, what went wrong, and which states have been told to Wazuh. Never tells
//! anybody itself.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::record::StateFile;
use super::seen::SeenMark;
use super::{StateFolder, key};

/// Runs in a row that must fail before it is told.
const FAILURES_TOLD: u32 = 3;

/// Seconds after which a failure that goes on is told again.
const TOLD_AGAIN_S: i64 = 3_600;

/// Seconds for which a loss is worth a word.
const GAP_S_MAX: i64 = 86_400;

/// A state that begins and ends, by the name of the event that tells of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// Akamai could not be reached, or its service failed.
    FetchFailed,
    /// Akamai refuses: credentials, permissions, parameters.
    AuthFailed,
    /// Akamai asks for fewer requests.
    RateLimited,
    /// Akamai has more than could be fetched for some time.
    Lagging,
    /// This machine's clock is wrong.
    ClockSkew,
    /// Answers stay incomplete.
    Truncated,
    /// The configuration is wrong.
    ConfigError,
    /// Lines cannot be stored, or pile up.
    Backlog,
    /// The wodle above forwards nothing any more.
    Mute,
}

/// A state that has begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Since {
    /// When it began, in Unix seconds.
    pub began_s: i64,
    /// When it was told last.
    pub told_s: i64,
}

/// The record of one source, or of what concerns all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// When a request last succeeded, in Unix seconds.
    pub last_success_s: Option<i64>,
    /// When the cursor last moved, in Unix seconds by Akamai's clock.
    pub committed_s: Option<i64>,
    /// How far ids of seen lines went then.
    #[serde(default)]
    pub seen: SeenMark,
    /// When it was asked last, in Unix seconds.
    #[serde(default)]
    pub asked_s: i64,
    /// Runs in a row that failed.
    pub failures: u32,
    /// What went wrong last, and when.
    pub last_error: Option<(i64, String)>,
    /// The last span that was lost (from, 0 where that is not known, to), and when that was noticed.
    pub last_gap: Option<(i64, i64, i64)>,
    /// Seconds by which Akamai's clock was found to be ahead of this machine's.
    pub skew_s: i64,
    /// The states that have begun.
    pub conditions: BTreeMap<Condition, Since>,
}

impl Condition {
    /// Its name in events.
    pub fn word(self) -> &'static str {
        match self {
            Self::FetchFailed => "fetch_failed",
            Self::AuthFailed => "auth_failed",
            Self::RateLimited => "rate_limited",
            Self::Lagging => "lagging",
            Self::ClockSkew => "clock_skew",
            Self::Truncated => "truncated",
            Self::ConfigError => "config_error",
            Self::Backlog | Self::Mute => "backlog",
        }
    }
}

impl Health {
    /// A state holds now: whether that must be told. Each is told when it begins; a failing source also once an hour.
    pub fn begin(&mut self, condition: Condition, now_s: i64) -> bool {
        match self.conditions.get_mut(&condition) {
            None => {
                self.conditions.insert(condition, Since { began_s: now_s, told_s: now_s });
                true
            }
            Some(since) if condition == Condition::FetchFailed && now_s - since.told_s >= TOLD_AGAIN_S => {
                since.told_s = now_s;
                true
            }
            Some(_) => false,
        }
    }

    /// A state does not hold (any more): whether that must be told.
    pub fn end(&mut self, condition: Condition) -> bool {
        self.conditions.remove(&condition).is_some()
    }

    /// The last span that was lost (from, 0 where that is not known, to), as long as it is worth a word.
    pub fn recent_gap(&self, now_s: i64) -> Option<(i64, i64)> {
        self.last_gap.filter(|(_, _, noticed_s)| now_s - noticed_s <= GAP_S_MAX).map(|(from, to, _)| (from, to))
    }

    /// A run failed: whether that must be told now. `is_told`: an event of its own says why already.
    pub fn run_failed(&mut self, now_s: i64, is_told: bool) -> bool {
        self.failures = self.failures.saturating_add(1);
        !is_told && self.failures >= FAILURES_TOLD && self.begin(Condition::FetchFailed, now_s)
    }
}

/// Where a record is kept.
pub type HealthFile = StateFile<Health>;

impl HealthFile {
    /// That of the source of this name.
    pub fn of(state: &StateFolder, source: &str) -> Self {
        Self::named(state, &format!("health-{}", key(source, &[])))
    }

    /// That of what concerns all sources.
    pub fn of_all(state: &StateFolder) -> Self {
        Self::named(state, "health")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_told_once_when_it_begins_and_once_when_it_ends() {
        let mut health = Health::default();
        assert!(!health.end(Condition::AuthFailed));
        assert!(health.begin(Condition::AuthFailed, 100));
        assert!(!health.begin(Condition::AuthFailed, 100_000));
        assert!(health.end(Condition::AuthFailed) && !health.end(Condition::AuthFailed));
    }

    #[test]
    fn a_failing_source_is_told_on_the_third_run_and_once_an_hour() {
        let mut health = Health::default();
        let told: Vec<i64> = (0..40).map(|run| run * 300).filter(|now| health.run_failed(*now, false)).collect();
        assert_eq!(told, [600, 4_200, 7_800, 11_400]);
    }
}
