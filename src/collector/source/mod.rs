//! One source: ask once, take the page into the spool, move the cursor; and what to do when that fails. Only Akamai's
//! answer moves the cursor.

mod failing;
mod refused;

use std::io::Read;
use std::time::Instant;

pub(super) use self::failing::{failure, random};

use super::hosts::{Shared, lock};
use super::monitor::Monitor;
use super::notice::Notice;
use super::page::{self, Page, PageEnd, Sink, Wary};
use super::store::Store;
use crate::akamai::client::{self, Client};
use crate::akamai::page::Context;
use crate::akamai::query::{ConfigIds, NEWEST_S, Query, RETENTION_MARGIN_S, RETENTION_S, Range, Window};
use crate::clock::{rfc_3339, unix_seconds};
use crate::config::Source;
use crate::event::{EventDecoder, EventId};
use crate::exit::Exit;
use crate::files::FileError;
use crate::state::Loaded;
use crate::state::attempt::Attempt;
use crate::state::bursts::BurstFiles;
use crate::state::cursor::{Cursor, CursorFile, Position, cursor_key};
use crate::state::health::Condition;
use crate::state::seen::{SeenFiles, SeenIds, SeenMark};
use crate::state::segment::{Header, Lane, SegmentWriter};

/// The smallest limit that a cut answer leads to.
const LIMIT_MIN: u32 = 1_000;

/// Seconds that a recovery by time reaches back behind the last page: what was stored late, and what two clocks disagree on.
const OVERLAP_S: i64 = 60;

/// Seconds behind Akamai from which a source counts as lagging.
const LAGGING_S: i64 = 900;

/// A source in a run.
pub(super) struct SourceRun<'a> {
    pub(super) source: &'a Source,
    client: Client,
    decoder: EventDecoder,
    /// Whose events are asked for: those of its config ids that Akamai does not refuse.
    config_ids: ConfigIds,
    /// What stands for it and its config ids in file names.
    key: String,
    cursor_file: CursorFile,
    cursor: Cursor,
    seen: SeenFiles,
    /// What a backfill has brought.
    backfilled: SeenFiles,
    attempt: Attempt,
    bursts: BurstFiles,
    monitor: Monitor,
    /// Not to be asked before.
    pub(super) not_before: Instant,
    /// When its last request was answered.
    pub(super) asked: Option<Instant>,
    /// Failures in a row.
    failures: u32,
    /// The offset was given up in this run already.
    recovered: bool,
    /// The clock was corrected since Akamai last took a request.
    clock_corrected: bool,
    /// There is no cursor yet; there will be one as soon as Akamai has answered.
    is_fresh: bool,
    /// Akamai asked for fewer requests in this run.
    pub(super) slowed: Option<String>,
    pub(super) standing: Standing,
    /// It is being asked, or a panic ended that.
    pub(super) is_asking: bool,
    /// What went wrong last, if the run ends now.
    pub(super) failed: Option<(Exit, String)>,
    /// Events stored.
    pub(super) events: u64,
}

/// An answer that was read.
struct Received {
    segment: SegmentWriter,
    page: Page,
    /// How far the ids seen go with its lines.
    seen: SeenMark,
    /// Ids of lines that ended runs and were not decoded.
    passed: Vec<EventId>,
}

/// How a source stands in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// There may be more.
    Open,
    /// Akamai has nothing more.
    Drained,
    /// Nothing more in this run.
    Stopped,
}

impl<'a> SourceRun<'a> {
    /// Loads what is remembered of a source. One that was never asked starts with its window; one whose cursor is damaged
    /// goes on by time from what else is known.
    pub(super) fn open(source: &'a Source, client: Client, store: &mut Store) -> Result<Self, FileError> {
        let state = store.state.clone();
        let key = cursor_key(source, &source.config_ids);
        let monitor = Monitor::of(&state, &source.name)?;
        let mut run = Self {
            source,
            client,
            decoder: EventDecoder::new(source.events.clone()),
            seen: SeenFiles::of(&state, &source.name),
            backfilled: SeenFiles::of_backfill(&state, &source.name),
            attempt: Attempt::of(&state, &key),
            bursts: BurstFiles::of(&state, &key),
            cursor: Cursor::new(source.limit),
            config_ids: source.config_ids.clone(),
            cursor_file: CursorFile::with_key(&state, &key),
            key,
            monitor,
            not_before: Instant::now(),
            asked: None,
            failures: 0,
            recovered: false,
            clock_corrected: false,
            is_fresh: false,
            slowed: None,
            standing: Standing::Open,
            is_asking: false,
            failed: None,
            events: 0,
        };
        run.load_cursor(store)?;
        Ok(run)
    }

    fn load_cursor(&mut self, store: &mut Store) -> Result<(), FileError> {
        let saved = self.cursor_file.load()?;
        match (store.spool.unsaved_cursor(&self.key).cloned(), saved) {
            (Some(cursor), _) | (None, Loaded::Intact(cursor)) => {
                let limit = cursor.limit.min(self.source.limit);
                // The ids are the source's: it may have been asked for something else since.
                let seen = cursor.seen.max(self.monitor.health.seen);
                let skip_seen = cursor.skip_seen || seen > cursor.seen;
                self.cursor = Cursor { limit, seen, skip_seen, ..cursor };
            }
            (None, Loaded::Missing) => self.start(store),
            (None, Loaded::Corrupt) => self.replace_corrupt_cursor(store)?,
        }
        store.spool.number_beyond(self.cursor.segment);
        Ok(())
    }

    /// When it was asked last, in Unix seconds; 0 if never.
    pub(super) fn asked_s(&self) -> i64 {
        self.monitor.health.asked_s
    }

    /// Now by Akamai's clock, as far as that is known.
    fn now(&self) -> i64 {
        unix_seconds() + self.monitor.health.skew_s
    }

    /// A source that was never asked. Where the same source was asked for something else (another host, other config ids), it
    /// goes on from there, without the lines that have come.
    fn start(&mut self, store: &mut Store) {
        self.is_fresh = true;
        if self.monitor.is_new {
            // It may be an old one under another name.
            let error = store.state.has_cursor().then(|| {
                format!(
                    "there is no state of this name: it starts with the last {} s. If its section was renamed, fetch what \
                     lies before with wazuh-akamai backfill --source {} --from TIME",
                    self.source.window_s, self.source.name
                )
            });
            error.iter().for_each(|error| log::warn!("source {}: {error}", self.source.name));
            store.tell(&Notice { error, ..Notice::new(&self.source.name, "started") });
        }
        if self.monitor.health.committed_s.is_some() {
            self.cursor.skip_seen = true;
            self.cursor.seen = self.monitor.health.seen;
        }
    }

    fn replace_corrupt_cursor(&mut self, store: &mut Store) -> Result<(), FileError> {
        let aside = self.cursor_file.set_aside()?;
        let known = self.monitor.health.committed_s;
        log::error!(
            "source {}: the cursor is damaged (a copy is {}); going on by time, {}",
            self.source.name,
            aside.display(),
            known.map_or_else(
                || "from as early as Akamai has events".to_owned(),
                |time| format!("from {}", rfc_3339(time))
            )
        );
        // Not known: from the beginning of time. What of it Akamai no longer has is told once it answers.
        let from = known.map_or(0, |time| time - OVERLAP_S);
        self.cursor.position = Position::Since(from);
        (self.cursor.committed_s, self.cursor.caught_up_s) = (from, from);
        self.cursor.skip_seen = true;
        self.cursor.seen = self.monitor.health.seen;
        self.cursor.segment = store.spool.segments.last().map_or(0, |segment| segment.number);
        self.save_cursor()
    }

    /// Asks once and deals with what comes. `deadline`: when an open page is given up.
    pub(super) fn step(&mut self, shared: &Shared<'_>, deadline: Instant) -> Result<(), FileError> {
        self.monitor.health.asked_s = unix_seconds();
        let asked_s = self.now();
        let from = self.from(asked_s);
        let range = match &self.cursor.position {
            Position::Since(_) => Range::Window(Window { from: from.min(asked_s - NEWEST_S - 1), to: None }),
            Position::Offset(offset) => Range::Offset(offset.clone()),
        };
        let query = Query { config_ids: self.config_ids.clone(), range, limit: self.cursor.limit };
        let answer = self.client.ask(&query, self.monitor.health.skew_s, page::time_left(deadline));
        self.asked = Some(Instant::now());
        match answer {
            Ok(answer) => {
                {
                    let mut store = lock(shared);
                    self.monitor.note_clock(&mut store, client::skew_s(&answer));
                    self.settle_beginning(&mut store, from)?;
                }
                self.take_page(shared, answer.body, asked_s, deadline)
            }
            Err(error) if self.leaves_out_refused(shared, &error, deadline)? => Ok(()),
            Err(error) => self.ask_failed(&mut lock(shared), &error),
        }
    }

    /// Where a request by time begins: as early as it should and Akamai has events. Only planned: this machine's clock may be
    /// wrong until Akamai has answered.
    fn from(&self, asked_s: i64) -> i64 {
        let end_of_retention = asked_s - RETENTION_S;
        let wanted = match self.cursor.position {
            Position::Since(_) if self.is_fresh => {
                let window = asked_s - NEWEST_S - self.source.window_s;
                let before = self.monitor.health.committed_s.map(|time| time - OVERLAP_S);
                before.map_or(window, |time| time.min(window))
            }
            Position::Since(from) => from,
            Position::Offset(_) => return asked_s,
        };
        if wanted < end_of_retention + NEWEST_S { end_of_retention + RETENTION_MARGIN_S } else { wanted }
    }

    /// Akamai has answered: the clock is right, and so is where the request began. What lies before is lost.
    fn settle_beginning(&mut self, store: &mut Store, from: i64) -> Result<(), FileError> {
        let Position::Since(wanted) = self.cursor.position else { return Ok(()) };
        if self.is_fresh {
            log::info!("source {}: no cursor yet; it starts with events from {}", self.source.name, rfc_3339(from));
            if let Some(before) = self.monitor.health.committed_s.filter(|before| *before < from - OVERLAP_S) {
                self.monitor.tell_gap(store, before, from, "Akamai keeps events for 12 hours only");
            }
        } else if wanted < from {
            // Counts from what had come: a recovery reaches back a little further.
            self.monitor.tell_gap(store, wanted.max(0), from, "Akamai keeps events for 12 hours only");
        } else {
            return Ok(());
        }
        self.is_fresh = false;
        self.cursor.position = Position::Since(from);
        (self.cursor.committed_s, self.cursor.caught_up_s) = (from, from);
        self.save_cursor()
    }

    fn take_page(
        &mut self,
        shared: &Shared<'_>,
        body: Box<dyn Read + Send>,
        asked_s: i64,
        deadline: Instant,
    ) -> Result<(), FileError> {
        let Received { segment, page, seen, passed } = self.receive(shared, body, deadline)?;
        let store: &mut Store = &mut lock(shared);
        let lacking = match &page.end {
            PageEnd::Whole(context) => context.lacking(page.received),
            _ => 0,
        };
        let at_floor = self.cursor.limit <= LIMIT_MIN.min(self.source.limit);
        // Nothing whole at the smallest limit: a part is better than nothing for ever.
        let takes_part = at_floor && segment.lines > 0;
        let accept = match &page.end {
            PageEnd::Whole(_) => {
                lacking == 0 || self.cursor.shortfall.is_some_and(|before| before == lacking || at_floor)
            }
            PageEnd::Incomplete(_) => takes_part,
            // Not even the smallest page fits into an empty spool.
            PageEnd::NoRoom => takes_part && store.spool.segments.is_empty(),
            PageEnd::Expired => false,
        };
        self.cursor.shortfall = (lacking > 0).then_some(lacking);
        if accept {
            self.commit_page(store, segment, page, seen, lacking, asked_s)?;
            self.tell_passed(store, &passed);
            return Ok(());
        }
        segment.discard();
        self.decoder.bursts = None;
        self.page_refused(store, page.end, page.received, lacking, at_floor)
    }

    /// Reads an answer into a segment that is not sealed yet.
    fn receive(
        &mut self,
        shared: &Shared<'_>,
        body: Box<dyn Read + Send>,
        deadline: Instant,
    ) -> Result<Received, FileError> {
        let seen = if self.cursor.skip_seen { self.seen.load(self.cursor.seen)? } else { SeenIds::default() };
        let skip = seen.and(self.backfilled.load_recent(RETENTION_S.unsigned_abs())?);
        let from_s = self.cursor.caught_up_s.min(self.cursor.committed_s);
        let (mut segment, bytes_max) = {
            let mut store = lock(shared);
            (store.spool.write(&Header::new(&self.source.name, from_s))?, store.promise_room(self.source))
        };
        let mut ids = self.seen.append(self.cursor.seen)?;
        let mut add_id = |id| ids.add(id);
        let load_bursts = &|| Some(self.bursts.load(self.cursor.bursts));
        let position = self.cursor.position.text();
        let wary = Wary { attempt: &mut self.attempt, position: &position, has_begun: false, passed: Vec::new() };
        let (skip, wary) = (Some(&skip), Some(wary));
        let mut sink = Sink { segment: &mut segment, add_id: &mut add_id, load_bursts, skip, bytes_max, wary };
        let page = page::read_into(body, &mut self.decoder, &mut sink, deadline);
        let (has_begun, passed) = sink.wary.map_or((false, Vec::new()), |wary| (wary.has_begun, wary.passed));
        if has_begun && let Err(error) = self.attempt.end() {
            log::warn!("source {}: {error}", self.source.name);
        }
        // Before anybody waits for the store.
        match page.and_then(|page| segment.sync().and_then(|()| Ok((page, ids.finish()?)))) {
            Ok((page, seen)) => Ok(Received { segment, page, seen, passed }),
            Err(error) => {
                segment.discard();
                self.decoder.bursts = None;
                if error.is_no_space() {
                    // A smaller page may find room.
                    self.halve_limit()?;
                }
                Err(error)
            }
        }
    }

    /// Seals a page with the cursor that counts then, and saves that.
    fn commit_page(
        &mut self,
        store: &mut Store,
        segment: SegmentWriter,
        page: Page,
        seen: SeenMark,
        lacking: u64,
        asked_s: i64,
    ) -> Result<(), FileError> {
        let lines = segment.lines;
        let mut cursor = Cursor { seen, ..self.cursor.clone() };
        let outcome = match page.end {
            PageEnd::Whole(context) => Ok(self.advance(&mut cursor, &context, page.received, asked_s)),
            PageEnd::Incomplete(reason) => Err(reason),
            PageEnd::NoRoom => Err("the spool takes no more; raise spool_max".into()),
            PageEnd::Expired => Err(String::new()),
        };
        cursor.skip_seen |= outcome.is_err();
        if lines > 0 {
            cursor.bursts = self.save_bursts();
            if let Err(error) = store.spool.seal(segment, Lane::Events, Some((&self.key, &mut cursor))) {
                self.decoder.bursts = None;
                return Err(error);
            }
        } else {
            segment.discard();
        }
        self.commit(store, cursor)?;
        self.events += lines;
        self.page_committed(store, outcome, lacking, asked_s);
        Ok(())
    }

    /// Tells of lines that were not decoded, because that ended runs.
    fn tell_passed(&self, store: &mut Store, passed: &[EventId]) {
        for id in passed {
            let error = format!(
                "decoding the line of event_id {:032x} ended the collector twice; it goes on as an event of verdict unknown. \
                 This is a bug, please report it; for 12 hours `wazuh-akamai fetch --raw` shows the line",
                u128::from_be_bytes(*id)
            );
            log::error!("source {}: {error}", self.source.name);
            store.tell(&Notice::began(&self.source.name, Condition::Truncated, &error));
        }
    }

    /// Moves the cursor behind a whole page; returns how the source stands then.
    fn advance(&self, cursor: &mut Cursor, context: &Context, received: u64, asked_s: i64) -> Standing {
        let is_full = context.is_full(received, self.cursor.limit);
        cursor.committed_s = asked_s;
        cursor.shortfall = None;
        failing::raise_limit(cursor, self.source.limit);
        if context.offset.is_empty() && received > 0 {
            // Nothing to go on from: the same once more in the next run, without what has come.
            cursor.skip_seen = true;
            return Standing::Stopped;
        }
        // Until Akamai has nothing more, what came before may still come again.
        cursor.skip_seen &= is_full || context.offset.is_empty();
        if !context.offset.is_empty() {
            cursor.position = Position::Offset(context.offset.clone());
        } else if let Position::Since(_) = cursor.position {
            // Nothing was stored so far; what is stored late is not missed.
            cursor.position = Position::Since(asked_s - OVERLAP_S);
            cursor.skip_seen = true;
        }
        if is_full {
            return Standing::Open;
        }
        cursor.caught_up_s = asked_s;
        Standing::Drained
    }

    /// Saves the burst counters as they are behind the page; returns the generation that counts then. Without them bursts
    /// go unmarked, which is no reason to hold events back.
    fn save_bursts(&self) -> u64 {
        let generation = self.cursor.bursts + 1;
        let Some(bursts) = &self.decoder.bursts else { return self.cursor.bursts };
        match self.bursts.save(generation, bursts) {
            Ok(()) => generation,
            Err(error) => {
                log::warn!("source {}: {error}; bursts are counted as before this page", self.source.name);
                self.cursor.bursts
            }
        }
    }

    /// Saves a cursor that counts already where a page was sealed with it.
    fn commit(&mut self, store: &mut Store, cursor: Cursor) -> Result<(), FileError> {
        self.cursor_file.save(&cursor)?;
        store.spool.cursor_saved(&self.key);
        let forgotten = self.seen.forget_before(cursor.seen).and_then(|()| self.bursts.keep_only(cursor.bursts));
        if let Err(error) = forgotten {
            log::warn!("source {}: {error}", self.source.name);
        }
        self.monitor.health.committed_s = Some(cursor.caught_up_s.min(cursor.committed_s));
        self.monitor.health.seen = cursor.seen;
        self.cursor = cursor;
        Ok(())
    }

    fn page_committed(&mut self, store: &mut Store, outcome: Result<Standing, String>, lacking: u64, asked_s: i64) {
        match outcome {
            Err(reason) => {
                let error =
                    format!("the answer is incomplete even at a limit of {} events: {reason}", self.cursor.limit);
                self.monitor.begin(store, Condition::Truncated, &error);
                self.page_failed(error);
            }
            Ok(standing) => {
                self.standing = standing;
                self.monitor.succeeded(store);
                (self.failures, self.failed, self.not_before) = (0, None, Instant::now());
                self.clock_corrected = false;
                if lacking > 0 {
                    let error = format!("Akamai counts {lacking} events more than it sent, twice; they are given up");
                    log::error!("source {}: {error}", self.source.name);
                    self.monitor.begin(store, Condition::Truncated, &error);
                } else {
                    self.monitor.end(store, Condition::Truncated);
                }
                let lag_s = asked_s - self.cursor.caught_up_s;
                if lag_s > LAGGING_S {
                    let error = format!("events of the last {lag_s} s are still at Akamai");
                    self.monitor.begin_with(store, Condition::Lagging, &error, |notice| notice.lag_s = Some(lag_s));
                } else {
                    self.monitor.end(store, Condition::Lagging);
                }
            }
        }
    }

    /// At the end of a run: what became of the source is remembered and told. Returns how it ended.
    pub(super) fn close(&mut self, store: &mut Store) -> Exit {
        let mut exit = if self.monitor.is_partly_refused { Exit::Refused } else { Exit::Done };
        if let Some((failed, error)) = self.failed.take() {
            exit = exit.and(failed);
            if let Some(slowed) = self.slowed.take() {
                self.monitor.begin(store, Condition::RateLimited, &slowed);
            }
            self.monitor.run_failed(store, &error);
        }
        exit.and(self.monitor.save())
    }

    fn save_cursor(&self) -> Result<(), FileError> {
        self.cursor_file.save(&self.cursor)
    }
}
