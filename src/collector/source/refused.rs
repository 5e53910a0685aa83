//! Several config ids of which Akamai refuses some: each is tried alone, and the others are asked for without them. Never gives
//! an id up: the next run asks for all of them again.

use std::thread;
use std::time::{Duration, Instant};

use super::SourceRun;
use crate::akamai::client::{AskError, REQUEST_GAP};
use crate::akamai::query::{ConfigIds, Query, Range, Window};
use crate::clock::unix_seconds;
use crate::collector::hosts::{Shared, lock};
use crate::files::FileError;
use crate::state::attempt::Attempt;
use crate::state::bursts::BurstFiles;
use crate::state::cursor::{Cursor, CursorFile, cursor_key};
use crate::state::health::Condition;

/// Ids that are tried one by one, one a second.
const IDS_TRIED_MAX: usize = 20;

/// Seconds that an id is tried with, and events.
const TRIED_S: i64 = 10;

/// Time for one answer, in seconds.
const ANSWER_S_MAX: u64 = 20;

impl SourceRun<'_> {
    /// Where a refusal may concern some of several config ids: finds out which, tells, and goes on with the others, which have a
    /// cursor of their own. Whether it does; not where the time until `deadline` is too short to try them all.
    pub(super) fn leaves_out_refused(
        &mut self,
        shared: &Shared<'_>,
        error: &AskError,
        deadline: Instant,
    ) -> Result<bool, FileError> {
        let joined = self.config_ids.joined();
        let ids: Vec<&str> = joined.split(';').collect();
        if !is_of_ids(error) || self.monitor.is_partly_refused || !(2..=IDS_TRIED_MAX).contains(&ids.len()) {
            return Ok(false);
        }
        let (mut accepted, mut refused) = (Vec::new(), Vec::new());
        for id in ids {
            if Instant::now() + Duration::from_secs(ANSWER_S_MAX) >= deadline {
                return Ok(false);
            }
            match self.try_id(id) {
                Ok(()) => accepted.push(id),
                Err(error) if is_of_ids(&error) => refused.push(format!("config id {id}: {error}")),
                Err(_) => return Ok(false),
            }
        }
        let Ok(config_ids) = ConfigIds::parse(&accepted.join(";")) else { return Ok(false) };
        if refused.is_empty() {
            return Ok(false);
        }
        let text = format!("{}; the others are asked for without it", refused.join("; "));
        log::error!("source {}: {text}", self.source.name);
        let mut store = lock(shared);
        self.monitor.health.last_error = Some((unix_seconds(), text.clone()));
        self.monitor.begin(&mut store, Condition::AuthFailed, &text);
        self.monitor.is_partly_refused = true;
        self.key = cursor_key(self.source, &config_ids);
        self.cursor_file = CursorFile::with_key(&store.state, &self.key);
        self.bursts = BurstFiles::of(&store.state, &self.key);
        self.attempt = Attempt::of(&store.state, &self.key);
        self.cursor = Cursor::new(self.source.limit);
        self.config_ids = config_ids;
        self.load_cursor(&mut store)?;
        let known = self.cursor.caught_up_s.min(self.cursor.committed_s);
        if self.monitor.health.committed_s.is_some_and(|committed| committed > known) {
            // All of them together have come further since these were last asked for alone.
            self.cursor = Cursor { segment: self.cursor.segment, ..Cursor::new(self.source.limit) };
            self.start(&mut store);
        }
        Ok(true)
    }

    fn try_id(&mut self, id: &str) -> Result<(), AskError> {
        let Ok(config_ids) = ConfigIds::parse(id) else { return Ok(()) };
        thread::sleep(REQUEST_GAP);
        let query = Query { config_ids, range: Range::Window(Window::last(TRIED_S, self.now())), limit: 1 };
        let answer = self.client.ask(&query, self.monitor.health.skew_s, Duration::from_secs(ANSWER_S_MAX));
        self.asked = Some(Instant::now());
        answer.map(drop)
    }
}

fn is_of_ids(error: &AskError) -> bool {
    matches!(error, AskError::Refused(refusal) if matches!(refusal.problem.status, 403 | 404))
}
