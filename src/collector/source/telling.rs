//! How a source fares, remembered and told to Wazuh: once when a state begins, once when it ends. Never asks Akamai.

use std::time::Instant;

use super::{CLOCK_TOLERANCE_S, SourceRun};
use crate::clock::{rfc_3339, unix_seconds};
use crate::collector::notice::Notice;
use crate::collector::store::Store;
use crate::exit::Exit;
use crate::files::FileError;
use crate::state::health::{Condition, Health, HealthFile};
use crate::state::{Loaded, StateFolder};

impl SourceRun<'_> {
    pub(super) fn succeeded(&mut self, store: &mut Store) {
        self.attempt = 0;
        self.failed = None;
        self.not_before = Instant::now();
        self.health.last_success_s = Some(unix_seconds());
        self.health.failures = 0;
        for condition in [Condition::FetchFailed, Condition::AuthFailed, Condition::RateLimited, Condition::ConfigError]
        {
            self.end(store, condition);
        }
    }

    /// Akamai took a request: if this machine's clock is right (again), it is used as it is.
    pub(super) fn note_clock(&mut self, store: &mut Store, skew: Option<i64>) {
        if skew.is_some_and(|skew| skew.abs() <= CLOCK_TOLERANCE_S) {
            self.health.skew_s = 0;
            self.end(store, Condition::ClockSkew);
        }
    }

    /// At the end of a run: what became of the source is remembered and told. Returns how it ended.
    pub(in crate::collector) fn close(&mut self, store: &mut Store) -> Exit {
        let mut exit = Exit::Done;
        if let Some((failed, error)) = self.failed.take() {
            exit = failed;
            let now = unix_seconds();
            self.health.last_error = Some((now, error.clone()));
            // What Akamai refuses or slows down has an event of its own.
            let is_told = [Condition::AuthFailed, Condition::RateLimited, Condition::ClockSkew]
                .iter()
                .any(|condition| self.health.conditions.contains_key(condition));
            if self.health.run_failed(now, is_told) {
                store.tell(&Notice::began(&self.source.name, Condition::FetchFailed, &error));
            }
        }
        if self.health != self.saved_health
            && let Err(error) = store.save(|| self.health_file.save(&self.health))
        {
            log::error!("source {}: {error}", self.source.name);
            exit = exit.and(Exit::Local);
        }
        exit
    }

    pub(super) fn begin(
        &mut self,
        store: &mut Store,
        condition: Condition,
        error: &str,
        add: impl FnOnce(&mut Notice),
    ) {
        if self.health.begin(condition, unix_seconds()) {
            let mut notice = Notice::began(&self.source.name, condition, error);
            add(&mut notice);
            store.tell(&notice);
        }
    }

    pub(super) fn end(&mut self, store: &mut Store, condition: Condition) {
        if self.health.end(condition) {
            store.tell(&Notice::recovered(&self.source.name, condition));
        }
    }

    pub(super) fn tell_gap(&mut self, store: &mut Store, from: i64, to: i64, why: &str) {
        log::error!("source {}: events from {} to {} are lost: {why}", self.source.name, rfc_3339(from), rfc_3339(to));
        self.health.last_gap = Some((from, to, unix_seconds()));
        store.tell(&Notice::gap(&self.source.name, from, to, why));
    }
}

/// Marks a source whose section is wrong, once; or that it is right again.
pub(in crate::collector) fn note_config(
    store: &mut Store,
    state: &StateFolder,
    name: &str,
    error: Option<&str>,
) -> Result<(), FileError> {
    let file = HealthFile::of(state, name);
    let mut health = match file.load()? {
        Loaded::Intact(health) => health,
        Loaded::Missing | Loaded::Corrupt => Health::default(),
    };
    let now = unix_seconds();
    let changed = match error {
        Some(error) => {
            health.last_error = Some((now, error.to_owned()));
            health.begin(Condition::ConfigError, now)
        }
        None => health.end(Condition::ConfigError),
    };
    if changed {
        store.tell(&match error {
            Some(error) => Notice::began(name, Condition::ConfigError, error),
            None => Notice::recovered(name, Condition::ConfigError),
        });
        store.save(|| file.save(&health))?;
    }
    Ok(())
}
