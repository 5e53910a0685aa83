//! Lines of the spool → analysisd, straight through its queue socket: as fast as it works them off, none dropped, and each
//! kept until its counters prove that it arrived. Never removes a line from the spool before that.
//!
//! Every 30 ms: ask what analysisd has not taken from its socket, then its counters; `barrier` says from them what has arrived
//! and what must go again, `pace` how many lines may go now.

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use super::hosts::{Shared, lock};
use super::spool_lines::{SpoolLines, has_pending};
use super::store::Store;
use crate::files::FileError;
use crate::state::delivery::{Delivery, DeliveryFile, Progress, QueueRate, Queued};
use crate::wazuh::analysisd::barrier::{Barriers, Look, Point};
use crate::wazuh::analysisd::pace::{self, Allowance, LOOK_MS};
use crate::wazuh::analysisd::stats::{Counters, Stats};
use crate::wazuh::analysisd::{Analysisd, NO_ROOM, Sent, cores};

/// The longest time between two attempts to reach analysisd, in milliseconds; the first comes after a tenth of it.
const AGAIN_MS_MAX: u64 = 1_000;

/// Time between two looks while nothing is left but to wait for confirmations, in milliseconds.
const CONFIRM_LOOK_MS: u64 = 100;

/// Time at the end of a delivery until what was sent is known to have been received, in milliseconds: marks are a quarter of a
/// second apart.
const LAST_LOOKS_MS_MAX: u64 = 700;

/// Time after which a run gives up on an analysisd that works off nothing, in seconds. A restart takes 3, and
/// a confirmation as long.
const STALL_S_MAX: u64 = 15;

/// What has to happen before a delivery is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Until {
    /// Everything is sent.
    Sent,
    /// Everything is confirmed.
    Confirmed,
}

/// Sends lines to analysisd.
#[derive(Debug)]
pub(super) struct Queueing {
    analysisd: Analysisd,
    file: DeliveryFile,
    record: Delivery,
    barriers: Barriers<Progress>,
    sent: Point<Progress>,
    lines: SpoolLines,
    line: Vec<u8>,
    /// It was read and found no room.
    unsent_line: Option<Point<Progress>>,
    allowance: Allowance,
    started: Instant,
    /// When it last took, confirmed or worked off something, of whomever.
    moved: Instant,
    /// Time spent with something to send.
    busy: Duration,
    /// Lines taken, repeated ones included.
    taken: u64,
    /// Why it takes nothing.
    pub(super) trouble: Option<String>,
    /// Lines that must go again were told of.
    told_again: bool,
    /// What analysisd said at the last look.
    counters: Option<Counters>,
    /// Lines that cannot be read; those before them are still to be confirmed.
    unreadable: Option<FileError>,
}

impl Queueing {
    /// Goes on where a run before stopped: what analysisd had received then it is only asked to confirm.
    pub(super) fn new(
        analysisd: Analysisd,
        file: DeliveryFile,
        record: Delivery,
        lines_per_s_max: Option<u64>,
        started: Instant,
    ) -> Self {
        let confirmed = Point { lines: 0, to: record.delivered };
        let memory = record.sent.map(|queued| queued.memory);
        let received = record.sent.map(|queued| queued.received).filter(|to| *to != record.delivered);
        // Lines in doubt count as one: it makes a mark behind them.
        let sent = received.map_or(confirmed, |to| Point { lines: 1, to });
        Self {
            analysisd,
            file,
            record,
            barriers: Barriers::new(confirmed, sent, memory, cores()),
            sent,
            lines: SpoolLines::default(),
            line: Vec::new(),
            unsent_line: None,
            allowance: Allowance::new(lines_per_s_max),
            started,
            moved: Instant::now(),
            busy: Duration::ZERO,
            taken: 0,
            trouble: None,
            told_again: false,
            counters: None,
            unreadable: None,
        }
    }

    /// Sends what is pending until all of it is sent or confirmed, `deadline` comes, or analysisd does not move any more. Has
    /// the store for one step at a time.
    pub(super) fn run(&mut self, shared: &Shared<'_>, until: Until, deadline: Instant) -> Result<(), FileError> {
        let direct = std::mem::take(&mut lock(shared).direct);
        for line in direct {
            self.send_direct(&line);
        }
        self.lines.reset();
        self.unsent_line = None;
        if self.trouble.is_none() {
            self.moved = Instant::now();
        }
        let mut wait = Duration::from_millis(AGAIN_MS_MAX / 10);
        loop {
            let pending = self.unreadable.is_none() && has_pending(&lock(shared).spool, &self.sent.to);
            let unconfirmed = self.sent.lines > self.barriers.confirmed().lines;
            let now = Instant::now();
            if now >= deadline || (!pending && (until == Until::Sent || !unconfirmed)) {
                return self.leave(shared);
            }
            let stepped = self.step(&mut lock(shared), pending);
            let pause = match stepped {
                Ok(()) => {
                    wait = Duration::from_millis(AGAIN_MS_MAX / 10);
                    if self.trouble.take().is_some() {
                        self.moved = now;
                    }
                    Duration::from_millis(if pending { LOOK_MS } else { CONFIRM_LOOK_MS })
                }
                Err(StepError::File(error)) => {
                    self.unreadable = Some(error);
                    Duration::ZERO
                }
                Err(StepError::Analysisd(error)) => {
                    if self.trouble.is_none() {
                        log::warn!("{error}; lines are kept");
                    }
                    self.trouble = Some(error);
                    let longer = (wait * 2).min(Duration::from_millis(AGAIN_MS_MAX));
                    std::mem::replace(&mut wait, longer)
                }
            };
            if now.duration_since(self.moved).as_secs() >= STALL_S_MAX {
                self.trouble.get_or_insert_with(|| format!("analysisd has worked off nothing for {STALL_S_MAX} s"));
                return self.leave(shared);
            }
            if pending {
                self.busy += now.elapsed().max(pause);
            }
            thread::sleep(pause.min(deadline.saturating_duration_since(now)).saturating_sub(now.elapsed()));
        }
    }

    /// Everything before this has arrived.
    pub(super) fn confirmed(&self) -> Progress {
        self.barriers.confirmed().to
    }

    /// How it went, for the log; none if there was nothing to do.
    pub(super) fn summary(&self) -> Option<String> {
        let rate = self.record.queue_rate.filter(|_| self.barriers.confirmed().lines > 0 || self.taken > 0)?;
        Some(format!(
            "analysisd took {} lines ({} a second), {} unconfirmed, {} dropped since its start",
            self.taken, rate.lines_per_s, rate.unconfirmed, rate.dropped
        ))
    }

    /// One look, and the lines that may go then.
    fn step(&mut self, store: &mut Store, sends: bool) -> Result<(), StepError> {
        if !self.analysisd.has_room() {
            // It counts an alert as written, and loses it.
            let position = self.barriers.doubt_all();
            self.go_back(position, NO_ROOM);
            return Err(StepError::Analysisd(NO_ROOM.into()));
        }
        self.analysisd.connect()?;
        let unread = self.analysisd.unread_bytes()?;
        let stats = self.analysisd.stats().map_err(|error| StepError::Analysisd(error.to_string()))?;
        let now = self.started.elapsed();
        let look = self.barriers.look(now, unread, self.sent, &stats);
        if self.counters.replace(stats.counters) != Some(stats.counters) || stats.is_limited {
            // Others may be ahead of us, and a limit lasts for up to an hour.
            self.moved = Instant::now();
        }
        let is_new_process = self.record.sent.is_none_or(|queued| !queued.memory.counters.go_on_as(&stats.counters));
        self.take_note(store, look).map_err(StepError::File)?;
        if is_new_process {
            // Whatever becomes of this run, the next one will know another process by it.
            self.save();
        }
        let own = self.sent.lines.saturating_sub(self.barriers.processed_lines());
        let bound = self.allowance.lines(now).min(self.barriers.lines_max(self.sent));
        let lines = if sends { pace::lines(&stats, unread, own).min(bound) } else { 0 };
        let sent = self.send(store, lines)?;
        self.allowance.sent(sent);
        self.note_rate(&stats);
        Ok(())
    }

    fn take_note(&mut self, store: &mut Store, look: Look<Progress>) -> Result<(), FileError> {
        if let Some(position) = look.back_to.filter(|position| position.lines < self.sent.lines) {
            self.go_back(position, "analysisd was restarted or had to drop events");
        }
        if let Some(position) = look.confirmed {
            self.moved = Instant::now();
            self.record.delivered = position.to;
            // First the room, then the record: a record that is behind repeats nothing of what is no longer there.
            let removed = store.spool.remove_delivered(&self.record.delivered);
            self.save();
            return removed;
        }
        Ok(())
    }

    /// Sends up to so many lines; returns how many it took.
    fn send(&mut self, store: &mut Store, lines_max: u64) -> Result<u64, StepError> {
        let mut count = 0;
        while count < lines_max {
            let next = match self.unsent_line.take() {
                Some(next) => next,
                None => {
                    let mut to = self.sent.to;
                    if !self.lines.next(store, &mut to, &mut self.line).map_err(StepError::File)? {
                        self.sent.to = to;
                        break;
                    }
                    Point { lines: self.sent.lines + 1, to }
                }
            };
            match self.analysisd.send(&self.line) {
                Ok(Sent::Taken) => {
                    self.sent = next;
                    count += 1;
                }
                Ok(Sent::NoRoom) => {
                    self.unsent_line = Some(next);
                    break;
                }
                Err(error) => {
                    self.taken += count;
                    let position = self.barriers.disconnected();
                    self.go_back(position, "the connection to Wazuh's queue was lost");
                    return Err(StepError::Analysisd(format!("cannot send to Wazuh's queue: {error}")));
                }
            }
        }
        if count > 0 {
            self.moved = Instant::now();
            self.taken += count;
        }
        Ok(count)
    }

    fn go_back(&mut self, position: Point<Progress>, why: &str) {
        let lines = self.sent.lines.saturating_sub(position.lines);
        if lines > 0 && !self.told_again {
            log::warn!("{why}: {lines} lines that may not have arrived are sent again");
            self.told_again = true;
        }
        self.sent = position;
        self.unsent_line = None;
        self.lines.reset();
    }

    /// A line that could not be spooled: once, as it is.
    fn send_direct(&mut self, line: &str) {
        if self.analysisd.send_now(line.as_bytes()).is_err() {
            log::error!("a collector event could neither be kept nor sent: {}", line.trim_end());
        }
    }

    /// What the next run has to know: first of all that analysisd has received everything that was sent.
    fn leave(&mut self, shared: &Shared<'_>) -> Result<(), FileError> {
        let until = Instant::now() + Duration::from_millis(LAST_LOOKS_MS_MAX);
        while self.trouble.is_none()
            && self.barriers.received().0.lines < self.sent.lines
            && Instant::now() < until
            && self.step(&mut lock(shared), false).is_ok()
        {
            thread::sleep(Duration::from_millis(LOOK_MS));
        }
        let before = self.record.clone();
        self.note_unconfirmed();
        if self.record != before {
            self.save();
        }
        match self.unreadable.take() {
            Some(error) => {
                self.trouble = Some(error.to_string());
                Err(error)
            }
            None => Ok(()),
        }
    }

    fn note_unconfirmed(&mut self) {
        let (received, memory) = self.barriers.received();
        self.record.sent = memory.map(|memory| Queued { received: received.to, memory });
        if let Some(rate) = &mut self.record.queue_rate {
            rate.unconfirmed = self.sent.lines.saturating_sub(self.barriers.confirmed().lines);
        }
    }

    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    fn note_rate(&mut self, stats: &Stats) {
        let lines_per_s = match self.busy.as_secs_f64() {
            seconds if seconds > 0.0 => (self.taken as f64 / seconds) as u64,
            _ => self.record.queue_rate.map_or(0, |rate| rate.lines_per_s),
        };
        let unconfirmed = self.record.queue_rate.map_or(0, |rate| rate.unconfirmed);
        self.record.queue_rate = Some(QueueRate { lines_per_s, unconfirmed, dropped: stats.counters.dropped });
    }

    /// A record that cannot be saved is no reason to keep lines back: they come again then.
    fn save(&mut self) {
        self.note_unconfirmed();
        if let Err(error) = self.file.save(&self.record) {
            log::error!("{error}; what is sent now may come again");
        }
    }
}

/// Why a step failed.
enum StepError {
    File(FileError),
    Analysisd(String),
}

impl From<io::Error> for StepError {
    fn from(error: io::Error) -> Self {
        Self::Analysisd(error.to_string())
    }
}
