//! A past span of one source into the spool, slice by slice. Never moves the source's cursor, never hands anything over.

use std::thread;
use std::time::{Duration, Instant};

use super::page::{self, PageEnd, Sink};
use super::source::{failure, random};
use crate::akamai::client::{AskError, Client, Pace};
use crate::akamai::query::{Query, RETENTION_S, Range, Slices, Window};
use crate::akamai::retry::{self, Failure, Reaction};
use crate::akamai::transport::{ANSWER_S_MAX, Answer};
use crate::config::Source;
use crate::event::{EventDecoder, EventId};
use crate::files::FileError;
use crate::state::cursor::CursorFile;
use crate::state::delivery::DeliveryFile;
use crate::state::forward::{health_of, roll_forward};
use crate::state::seen::{SeenFiles, SeenIds, SeenMark};
use crate::state::segment::{Header, Lane};
use crate::state::spool::Spool;
use crate::state::{Loaded, StateFolder, StateLock};

/// The first slice, in seconds: a quarter of an hour of a busy site fits into one answer.
const SLICE_S: i64 = 900;

/// The share of the spool's limit that a backfill may fill, in percent.
const SPOOL_PERCENT_MAX: u64 = 75;

/// Time between two slices in which the state folder is free, in milliseconds: a `collect` that waits looks more often.
const UNLOCKED_MS: u64 = 500;

/// The longest wait between two attempts, in seconds.
const WAIT_S_MAX: u64 = 60;

/// Times that one slice is asked for before the backfill is given up.
const ATTEMPTS_MAX: u32 = 6;

/// What to fetch, and where to.
pub struct Backfill<'a> {
    /// The source.
    pub source: &'a Source,
    /// What asks for it.
    pub client: &'a Client,
    /// The folder.
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
    /// Somebody else holds the state folder.
    #[error("the state folder is in use")]
    Locked,
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
    Stored(u64),
    /// Fewer events came than Akamai counts.
    Short(String),
    TooLarge(String),
}

impl Backfill<'_> {
    /// Fetches the span; `lock` gives the right to change the state folder. It is held only while an answer is read, which ends
    /// within [`ANSWER_S_MAX`], so that `collect` gets in between. `progress` hears up to which second everything is stored, and how many events that were.
    /// Returns the events stored.
    pub fn run(
        &self,
        (from, to): (i64, i64),
        pace: &mut Pace,
        lock: impl Fn() -> Option<StateLock>,
        mut progress: impl FnMut(i64, u64),
    ) -> Result<u64, BackfillError> {
        let mut slices = Slices::new(from, to, SLICE_S);
        let mut events = 0;
        while let Some((from, to)) = slices.next() {
            let answer = self.ask(from, to, pace)?;
            let ended = {
                let _lock = lock().ok_or(BackfillError::Locked)?;
                self.take(answer, from, &mut slices)?
            };
            match ended {
                Slice::Stored(stored) => {
                    slices.done();
                    events += stored;
                    progress(to, events);
                }
                Slice::Short(reason) => {
                    slices.halve();
                    log::debug!("source {}: {reason}; asking again", self.source.name);
                }
                Slice::TooLarge(reason) if slices.halve() => {
                    log::debug!("source {}: {reason}; asking for half the span", self.source.name);
                }
                Slice::TooLarge(reason) => return Err(BackfillError::Incomplete { from, to, reason }),
            }
            thread::sleep(Duration::from_millis(UNLOCKED_MS));
        }
        Ok(events)
    }

    /// Ids of lines that have been delivered or backfilled, as far as they are remembered.
    fn known(&self, backfilled: &SeenFiles) -> Result<SeenIds, FileError> {
        let seen = SeenFiles::of(self.state, &self.source.name);
        let cursor = CursorFile::of(self.state, self.source).load()?.intact();
        let of_cursor = cursor.map_or(SeenMark::default(), |cursor| cursor.seen);
        // The ids are the source's: it may have been asked for something else since.
        let delivered = seen.load(of_cursor.max(health_of(self.state, &self.source.name)?.seen))?;
        Ok(delivered.and(backfilled.load_recent(RETENTION_S.unsigned_abs())?))
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

    /// Reads the answer for a slice that begins at `from` into the spool.
    fn take(&self, answer: Answer, from: i64, slices: &mut Slices) -> Result<Slice, BackfillError> {
        let backfilled = SeenFiles::of_backfill(self.state, &self.source.name);
        let mut spool = Spool::recover(self.state)?;
        spool.number_beyond(self.last_number()?);
        roll_forward(self.state, &mut spool)?;
        let known = self.known(&backfilled)?;
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
        let mut sink =
            Sink { segment: &mut segment, add_id: &mut add_id, load_bursts, skip: Some(&known), bytes_max, wary: None };
        let deadline = Instant::now() + Duration::from_secs(ANSWER_S_MAX);
        let page = match page::read_into(answer.body, &mut decoder, &mut sink, deadline) {
            Ok(page) => page,
            Err(error) => {
                segment.discard();
                return Err(error.into());
            }
        };
        let name = &self.source.name;
        let refused = match page.end {
            PageEnd::Whole(context) if context.is_full(page.received, self.source.limit) => {
                let reason = format!("it is full with {} events; a larger limit may help", page.received);
                Some(Ok(Slice::TooLarge(reason)))
            }
            PageEnd::Whole(context) => {
                let lacking = context.lacking(page.received);
                let reason = format!("Akamai counts {lacking} events more than it sent");
                let is_taken = slices.accepts(lacking);
                if is_taken && lacking > 0 {
                    log::warn!("source {name}: {reason}, again; they are given up");
                }
                (!is_taken).then_some(Ok(Slice::Short(reason)))
            }
            PageEnd::Incomplete(reason) => Some(Ok(Slice::TooLarge(reason))),
            PageEnd::Expired => Some(Ok(Slice::TooLarge("Akamai says that this is too old".into()))),
            PageEnd::NoRoom => Some(Err(BackfillError::Full(spool.bytes()))),
        };
        if let Some(refused) = refused {
            segment.discard();
            return refused;
        }
        let lines = segment.lines;
        if lines == 0 {
            segment.discard();
        } else {
            spool.seal(segment, Lane::Events, None)?;
            if let Err(error) = remember(&backfilled, &ids) {
                log::warn!("source {name}: {error}; another backfill of this span will bring it again");
            }
        }
        Ok(Slice::Stored(lines))
    }

    /// Asks for a slice until there is an answer, or it makes no sense.
    fn ask(&self, from: i64, to: i64, pace: &mut Pace) -> Result<Answer, AskError> {
        let (config_ids, range) = (self.source.config_ids.clone(), Range::Window(Window { from, to: Some(to) }));
        let query = Query { config_ids, range, limit: self.source.limit };
        let (mut attempt, mut skew_s) = (0, 0);
        loop {
            let asked = pace.ask(self.source, || self.client.ask(&query, skew_s, Duration::from_secs(ANSWER_S_MAX)));
            let error = match asked {
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
                    thread::sleep(wait);
                }
                Reaction::CorrectClock(skew) => {
                    log::warn!("source {}: {error}; going on with Akamai's time", self.source.name);
                    skew_s += skew;
                }
                _ => return Err(error),
            }
        }
    }
}

/// Remembers the ids of a slice that is stored.
fn remember(backfilled: &SeenFiles, ids: &[EventId]) -> Result<(), FileError> {
    let mut writer = backfilled.append(backfilled.mark()?)?;
    ids.iter().try_for_each(|id| writer.add(*id))?;
    backfilled.forget_before(writer.finish()?)
}
