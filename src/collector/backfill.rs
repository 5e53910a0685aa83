//! A past span of one source into the spool, slice by slice. Never moves the source's cursor, never hands anything over.

use std::thread;
use std::time::{Duration, Instant};

use super::page::{self, PageEnd, Sink};
use super::source::{REQUEST_GAP, failure, random};
use crate::client::{AskError, Client};
use crate::config::Source;
use crate::files::FileError;
use crate::retry::{self, Failure, Reaction};
use crate::siem::event::{EventDecoder, EventId};
use crate::siem::query::{Query, Range, Window};
use crate::state::cursor::CursorFile;
use crate::state::delivery::DeliveryFile;
use crate::state::forward::roll_forward;
use crate::state::seen::{SeenFiles, SeenIds};
use crate::state::segment::{Header, Lane};
use crate::state::spool::Spool;
use crate::state::{Loaded, StateFolder};
use crate::transport::ANSWER_S_MAX;

/// The first slice, in seconds: a quarter of an hour of a busy site fits into one answer.
const SLICE_S: i64 = 900;

/// The share of the spool's limit that a backfill may fill, in percent.
const SPOOL_PERCENT_MAX: u64 = 75;

/// The longest wait between two attempts, in seconds: meanwhile no `collect` can work.
const WAIT_S_MAX: u64 = 60;

/// Times that one slice is asked for before the backfill is given up.
const ATTEMPTS_MAX: u32 = 6;

/// What to fetch, and where to.
pub struct Backfill<'a> {
    /// The source.
    pub source: &'a Source,
    /// What asks for it.
    pub client: &'a Client,
    /// The folder, locked by the caller.
    pub state: &'a StateFolder,
    /// Bytes that the spool may take.
    pub spool_bytes_max: u64,
}

/// Why a backfill ended early. What was fetched before stays in the spool.
#[derive(Debug, thiserror::Error)]
pub enum BackfillError {
    /// Akamai.
    #[error(transparent)]
    Ask(#[from] AskError),
    /// A file.
    #[error(transparent)]
    File(#[from] FileError),
    /// The spool.
    #[error("the spool is full ({0} bytes): wait until the wodle has handed it over, or raise spool_max")]
    Full(u64),
    /// Answers that break off.
    #[error("the answer for the span from {from} to {to} stays incomplete: {reason}")]
    Incomplete {
        /// Begin, in Unix seconds.
        from: i64,
        /// End, in Unix seconds.
        to: i64,
        /// How it ended.
        reason: String,
    },
}

/// How one slice ended.
enum Slice {
    Stored(u64, Vec<EventId>),
    TooLarge(String),
}

impl Backfill<'_> {
    /// Fetches the span; `progress` hears up to which second everything is stored, and how many events that were. Returns
    /// the events stored.
    ///
    /// # Errors
    /// What ended it early.
    pub fn run(&self, from: i64, to: i64, mut progress: impl FnMut(i64, u64)) -> Result<u64, BackfillError> {
        let mut spool = Spool::recover(self.state)?;
        spool.number_beyond(self.last_number()?);
        roll_forward(self.state, &mut spool)?;
        let known = self.known()?;
        let (mut at, mut length, mut events) = (from, SLICE_S, 0);
        let mut last: Vec<EventId> = Vec::new();
        let mut asked: Option<Instant> = None;
        while at < to {
            if let Some(asked) = asked {
                thread::sleep(REQUEST_GAP.saturating_sub(asked.elapsed()));
            }
            asked = Some(Instant::now());
            let end = at.saturating_add(length).min(to);
            // Two slices share the second between them: whether an answer holds it is documented nowhere.
            match self.slice(&mut spool, at, end, &known.and(&last))? {
                Slice::Stored(stored, ids) => {
                    (at, last) = (end, ids);
                    events += stored;
                    length = (length * 2).min(SLICE_S);
                    progress(at, events);
                }
                Slice::TooLarge(reason) if length == 1 => {
                    return Err(BackfillError::Incomplete { from: at, to: end, reason });
                }
                Slice::TooLarge(reason) => {
                    log::debug!("source {}: {reason}; asking for half the span", self.source.name);
                    length = (length / 2).max(1);
                }
            }
        }
        Ok(events)
    }

    /// Ids of lines that have been delivered, as far as they are remembered.
    fn known(&self) -> Result<SeenIds, FileError> {
        let file = CursorFile::of(self.state, self.source);
        let seen = SeenFiles::of(self.state, &self.source.name);
        match file.load()? {
            Loaded::Intact(cursor) => seen.load(cursor.seen),
            Loaded::Missing | Loaded::Corrupt => Ok(SeenIds::default()),
        }
    }

    /// The greatest number that a segment of the past may have had.
    fn last_number(&self) -> Result<u64, FileError> {
        let delivered = match DeliveryFile::of(self.state).load()? {
            Loaded::Intact(record) => record.last_segment(),
            Loaded::Missing | Loaded::Corrupt => 0,
        };
        let cursor = match CursorFile::of(self.state, self.source).load()? {
            Loaded::Intact(cursor) => cursor.segment,
            Loaded::Missing | Loaded::Corrupt => 0,
        };
        Ok(delivered.max(cursor))
    }

    fn slice(&self, spool: &mut Spool, from: i64, to: i64, skip: &SeenIds) -> Result<Slice, BackfillError> {
        let window = Window { from, to: Some(to) };
        let (config_ids, limit) = (self.source.config_ids.clone(), self.source.limit);
        let answer = self.ask(&Query { config_ids, range: Range::Window(window), limit })?;
        let mut decoder = EventDecoder::new(self.source.events.clone());
        let mut segment = spool.write(&Header::new(&self.source.name, from))?;
        let mut ids = Vec::new();
        let mut add_id = |id| {
            ids.push(id);
            Ok(())
        };
        // What comes next from Akamai needs room as well.
        let bytes_max = (self.spool_bytes_max / 100 * SPOOL_PERCENT_MAX).saturating_sub(spool.bytes());
        let load_bursts = &|| None;
        let mut sink = Sink { segment: &mut segment, add_id: &mut add_id, load_bursts, skip: Some(skip), bytes_max };
        let deadline = Instant::now() + Duration::from_secs(ANSWER_S_MAX);
        let page = match page::read_into(answer.body, &mut decoder, &mut sink, deadline) {
            Ok(page) => page,
            Err(error) => {
                segment.discard();
                return Err(error.into());
            }
        };
        let too_large = match page.end {
            PageEnd::Whole(context) if context.is_full(page.received, limit) => {
                Some(format!("it is full with {} events; a larger limit may help", page.received))
            }
            PageEnd::Whole(context) if context.lacking(page.received) > 0 => {
                Some(format!("Akamai counts {} events more than it sent", context.lacking(page.received)))
            }
            PageEnd::Whole(_) => None,
            PageEnd::Incomplete(reason) => Some(reason),
            PageEnd::Expired => Some("Akamai says that this is too old".into()),
            PageEnd::NoRoom => {
                segment.discard();
                return Err(BackfillError::Full(spool.bytes()));
            }
        };
        if let Some(reason) = too_large {
            segment.discard();
            return Ok(Slice::TooLarge(reason));
        }
        let lines = segment.lines;
        if lines == 0 {
            segment.discard();
        } else {
            spool.seal(segment, Lane::Events, None)?;
        }
        Ok(Slice::Stored(lines, ids))
    }

    /// Asks until there is an answer, or it makes no sense.
    fn ask(&self, query: &Query) -> Result<crate::transport::Answer, AskError> {
        let (mut attempt, mut skew_s) = (0, 0);
        loop {
            let error = match self.client.ask(query, skew_s, Duration::from_secs(ANSWER_S_MAX)) {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let reaction = match failure(&error) {
                Failure::Expired => Reaction::GiveUp,
                other => retry::after(other, attempt, random()),
            };
            attempt += 1;
            match reaction {
                Reaction::Wait(wait) if attempt < ATTEMPTS_MAX && wait.as_secs() <= WAIT_S_MAX => {
                    log::warn!("source {}: {error}; asking again in {:.0} s", self.source.name, wait.as_secs_f64());
                    thread::sleep(wait.max(REQUEST_GAP));
                }
                Reaction::CorrectClock(skew) => {
                    log::warn!("source {}: {error}; going on with Akamai's time", self.source.name);
                    skew_s += skew;
                    thread::sleep(REQUEST_GAP);
                }
                _ => return Err(error),
            }
        }
    }
}
