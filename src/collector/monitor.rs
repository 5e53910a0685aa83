//! The health of a source (or of all of them together), remembered and told to Wazuh: once when a state begins, once when it ends.
//! Never asks Akamai.

use super::notice::{ERROR_CHARS_MAX, Notice};
use super::store::Store;
use crate::clock::{span, unix_seconds};
use crate::exit::Exit;
use crate::files::FileError;
use crate::state::health::{Condition, Health, HealthFile};
use crate::state::{Loaded, StateFolder};

/// A difference of two clocks that is none, in seconds: half of what Akamai tolerates.
const CLOCK_TOLERANCE_S: i64 = 15;

/// What is remembered of a source, and how it was.
#[derive(Debug)]
pub(super) struct Monitor {
    /// Name of the source; empty for all of them together.
    name: String,
    file: HealthFile,
    pub(super) health: Health,
    saved: Health,
    /// Nothing was remembered.
    pub(super) is_new: bool,
    /// Akamai refuses some of its config ids, not all: pages come, and `auth_failed` holds all the same.
    pub(super) is_partly_refused: bool,
}

impl Monitor {
    /// That of a source.
    pub(super) fn of(state: &StateFolder, name: &str) -> Result<Self, FileError> {
        Self::load(HealthFile::of(state, name), name)
    }

    /// That of all sources together.
    pub(super) fn of_all(state: &StateFolder) -> Result<Self, FileError> {
        Self::load(HealthFile::of_all(state), "")
    }

    fn load(file: HealthFile, name: &str) -> Result<Self, FileError> {
        let (health, is_new) = match file.load()? {
            Loaded::Intact(health) => (health, false),
            Loaded::Missing => (Health::default(), true),
            // What it said of the past is lost; what holds now is found out again.
            Loaded::Corrupt => (Health::default(), false),
        };
        Ok(Self { name: name.to_owned(), file, saved: health.clone(), health, is_new, is_partly_refused: false })
    }

    /// A state holds.
    pub(super) fn begin(&mut self, store: &mut Store, condition: Condition, error: &str) {
        self.begin_with(store, condition, error, |_| {});
    }

    /// The same, with more to tell.
    pub(super) fn begin_with(
        &mut self,
        store: &mut Store,
        condition: Condition,
        error: &str,
        add: impl FnOnce(&mut Notice),
    ) {
        if self.health.begin(condition, unix_seconds()) {
            let mut notice = Notice::began(&self.name, condition, error);
            add(&mut notice);
            store.tell(&notice);
            // However this run ends, the next one does not tell it again.
            self.save();
        }
    }

    /// A state does not hold (any more).
    pub(super) fn end(&mut self, store: &mut Store, condition: Condition) {
        if self.health.end(condition) {
            store.tell(&Notice::recovered(&self.name, condition));
            self.save();
        }
    }

    /// What is wrong with the configuration, if anything.
    pub(super) fn note_config(&mut self, store: &mut Store, error: Option<&str>) {
        match error {
            Some(error) => {
                self.note_error(error);
                self.begin(store, Condition::ConfigError, error);
            }
            None => self.end(store, Condition::ConfigError),
        }
    }

    /// Remembers what went wrong last.
    pub(super) fn note_error(&mut self, error: &str) {
        self.health.last_error = Some((unix_seconds(), error.chars().take(ERROR_CHARS_MAX).collect()));
    }

    /// Events of this span are lost; `from` is 0 where it is not known.
    pub(super) fn tell_gap(&mut self, store: &mut Store, from: i64, to: i64, why: &str) {
        log::error!("source {}: events {} are lost: {why}", self.name, span(from, to));
        self.health.last_gap = Some((from, to, unix_seconds()));
        store.tell(&Notice::gap(&self.name, from, to, why));
    }

    /// A page came.
    pub(super) fn succeeded(&mut self, store: &mut Store) {
        self.health.last_success_s = Some(unix_seconds());
        self.health.failures = 0;
        for condition in [Condition::FetchFailed, Condition::AuthFailed, Condition::RateLimited, Condition::ConfigError]
        {
            if condition != Condition::AuthFailed || !self.is_partly_refused {
                self.end(store, condition);
            }
        }
    }

    /// Akamai took a request: if this machine's clock is right (again), it is used as it is.
    pub(super) fn note_clock(&mut self, store: &mut Store, skew: Option<i64>) {
        if skew.is_some_and(|skew| skew.abs() <= CLOCK_TOLERANCE_S) {
            self.health.skew_s = 0;
            self.end(store, Condition::ClockSkew);
        }
    }

    /// A run ends with this error.
    pub(super) fn run_failed(&mut self, store: &mut Store, error: &str) {
        let now = unix_seconds();
        self.note_error(error);
        // What Akamai refuses or slows down has an event of its own.
        let is_told = [Condition::AuthFailed, Condition::RateLimited, Condition::ClockSkew, Condition::ConfigError]
            .iter()
            .any(|condition| self.health.conditions.contains_key(condition));
        if self.health.run_failed(now, is_told) {
            store.tell(&Notice::began(&self.name, Condition::FetchFailed, error));
        }
    }

    /// Remembers what has changed.
    pub(super) fn save(&mut self) -> Exit {
        if self.health == self.saved {
            return Exit::Done;
        }
        match self.file.save(&self.health) {
            Ok(()) => {
                self.saved = self.health.clone();
                Exit::Done
            }
            Err(error) => {
                log::error!("{error}");
                Exit::Local
            }
        }
    }
}
