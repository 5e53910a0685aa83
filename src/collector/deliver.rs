//! Lines of the spool → the wodle, in order, as many as it forwards before the next run. Never counts a line as delivered;
//! records what was handed over, to whom, and what analysisd had counted by then.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use super::budget::{Budget, HANDOVER_BYTES_MAX};
use super::spool_lines::{SpoolLines, has_pending};
use super::store::Store;
use crate::files::FileError;
use crate::state::delivery::{Batch, Delivery, DeliveryFile, Fate, Progress, WodleShare};
use crate::wazuh::analysisd::barrier::{Barriers, Life, Look, Point};
use crate::wazuh::analysisd::stats::{Counters, Stats};
use crate::wazuh::analysisd::{Analysisd, NO_ROOM, cores};
use crate::wazuh::handover::{Handover, HandoverError};
use crate::wazuh::wodle::{Parent, SocketId};

/// Time for analysisd to work off what the wodle forwarded last; with short intervals it is less. It takes three seconds.
const COUNTED_MAX: Duration = Duration::from_secs(10);

/// Time for counters that do not come at once, in seconds.
const STATS_S_MAX: u64 = 3;

/// Time between two looks at its counters, in milliseconds.
const LOOK_MS: u64 = 50;

/// Hands lines over.
#[derive(Debug)]
pub(super) struct Delivering {
    file: DeliveryFile,
    record: Delivery,
    parent: Parent,
    socket: Option<SocketId>,
    analysisd: Analysisd,
    /// Its counters in this run, where they can be had: the wodle forwards nothing before this run is over.
    counters: Option<Stats>,
    /// What the run before handed over has not arrived, so that it must be waited for, or go again.
    is_unproven: bool,
    pub(super) handover: Handover,
    /// Lines of this run so far.
    pub(super) lines: u64,
    /// Nothing more goes out in this run.
    closed: bool,
}

/// Why the handover stopped before everything was handed over.
enum Stop {
    Budget,
    File(FileError),
    Output(HandoverError),
}

impl Delivering {
    pub(super) fn new(
        file: DeliveryFile,
        record: Delivery,
        parent: Parent,
        socket: Option<SocketId>,
        analysisd: Analysisd,
        fate: Option<Fate>,
        handover: Handover,
    ) -> Self {
        // Nothing more before what was handed over last has arrived: analysisd does not keep up.
        let closed = fate == Some(Fate::Waiting);
        let is_unproven = matches!(fate, Some(Fate::Waiting | Fate::Lost | Fate::NotForwarded));
        let counters = None;
        Self { file, record, parent, socket, analysisd, counters, is_unproven, handover, lines: 0, closed }
    }

    /// What lies behind this waits for Wazuh, however often it was handed over.
    pub(super) fn waits_from(&self) -> Progress {
        if self.is_unproven { self.record.delivered } else { self.handed_over() }
    }

    /// Everything before this was handed over.
    fn handed_over(&self) -> Progress {
        self.record.batch.as_ref().map_or(self.record.delivered, |batch| batch.to)
    }

    /// Hands over what is pending, up to `lines_max` in this whole run. A batch is recorded before its first byte, under
    /// this parent and socket, and again behind its last whole line.
    pub(super) fn run(&mut self, store: &mut Store, lines_max: u64) -> Result<(), FileError> {
        self.direct(store);
        let from = self.handed_over();
        if self.closed || self.lines >= lines_max || !has_pending(&store.spool, &from) {
            return Ok(());
        }
        if let Err(error) = self.count() {
            log::warn!("{error}; lines are kept");
            self.closed = true;
            return Ok(());
        }
        self.record_batch(from);
        let mut to = from;
        let ended = self.hand_over(store, &mut to, lines_max);
        let flushed = self.handover.flush();
        self.closed |= flushed.is_err();
        if flushed.is_ok() && !matches!(ended, Err(Stop::Output(_))) {
            self.record.wodle_share = Some(WodleShare { lines: self.lines, lines_max, bytes: self.handover.bytes });
            self.record_batch(to);
        }
        match ended.and(flushed.map_err(Stop::Output)) {
            Ok(()) | Err(Stop::Budget) => Ok(()),
            Err(Stop::File(error)) => Err(error),
            Err(Stop::Output(HandoverError::Closed)) => {
                log::warn!("stdout was closed; what it may not have taken is handed over again");
                self.closed = true;
                Ok(())
            }
            Err(Stop::Output(HandoverError::Failed(error))) => {
                self.closed = true;
                Err(FileError { operation: "write to", path: "stdout".into(), source: error })
            }
        }
    }

    /// At the end of a run: what a parent that confirms nothing was given whole has arrived; for one that does, all lines
    /// that it was given count.
    pub(super) fn settle(&mut self, store: &mut Store) -> Result<(), FileError> {
        if self.parent.is_modulesd() {
            if let Some(batch) = self.record.batch.as_ref().filter(|batch| batch.lines != self.handover.lines)
                && self.lines > 0
            {
                self.record_batch(batch.to);
            }
        } else if let Some(batch) = self.record.batch.take() {
            self.record.delivered = batch.to;
            // First the room, then the record: on a full disk it needs that room. A record that is behind repeats nothing
            // of what is no longer there.
            store.spool.remove_delivered(&self.record.delivered)?;
            self.file.save(&self.record)?;
        }
        Ok(())
    }

    /// Takes note of analysisd's counters, where a parent confirms by them. One that has some and does not answer gets nothing:
    /// nobody would know what became of it.
    fn count(&mut self) -> Result<(), String> {
        if !self.analysisd.has_room() {
            return Err(NO_ROOM.into());
        }
        if self.counters.is_none() && self.parent.is_modulesd() {
            match self.analysisd.stats_within(Duration::from_secs(STATS_S_MAX)) {
                Ok(stats) => self.counters = Some(stats),
                Err(error) if error.may_pass() => return Err(error.to_string()),
                Err(error) => log::debug!("{error}: what is handed over counts when the next run begins"),
            }
        }
        Ok(())
    }

    /// Lines that could not be spooled.
    fn direct(&mut self, store: &mut Store) {
        for line in store.direct.drain(..) {
            self.closed |= self.handover.write_line(line.as_bytes()).is_err();
        }
        self.closed |= self.handover.flush().is_err();
    }

    /// A record that cannot be saved is no reason to keep lines back: they come again then.
    fn record_batch(&mut self, to: Progress) {
        self.record.batch = Some(Batch {
            parent: self.parent.clone(),
            socket: self.socket.clone(),
            to,
            lines: self.handover.lines,
            counters: self.counters.map(|stats| stats.counters),
            may_be_glued: self.counters.is_some_and(|stats| stats.may_be_glued),
        });
        if let Err(error) = self.file.save(&self.record) {
            log::error!("{error}; what is handed over now may come again");
        }
    }

    fn hand_over(&mut self, store: &mut Store, to: &mut Progress, lines_max: u64) -> Result<(), Stop> {
        let (mut lines, mut line) = (SpoolLines::default(), Vec::new());
        let mut next = *to;
        while lines.next(store, &mut next, &mut line).map_err(Stop::File)? {
            let bytes = self.handover.bytes + line.len() as u64;
            if self.lines >= lines_max || bytes > HANDOVER_BYTES_MAX {
                return Err(Stop::Budget);
            }
            self.handover.write_line(&line).map_err(Stop::Output)?;
            self.lines += 1;
            *to = next;
        }
        *to = next;
        Ok(())
    }
}

/// What analysisd's counters say of a batch that the wodle has forwarded; none where they could not and cannot be had. What
/// still waits there is waited for, but not for all of the time in which Akamai is asked.
pub(super) fn counted(batch: &Batch, analysisd: &Analysisd, budget: &Budget) -> Option<Fate> {
    let (before, may_be_glued) = match (batch.counters, analysisd.stats()) {
        (Some(before), _) => (before, batch.may_be_glued),
        // It was only just starting then. The socket is still that of this life, which began with nothing.
        (None, Ok(Stats { counters: Counters { boot, started_s, .. }, .. })) => {
            (Counters { boot, started_s, ..Counters::default() }, false)
        }
        (None, Err(error)) => return error.may_pass().then_some(Fate::Waiting),
    };
    let from = Point { lines: 0, to: () };
    let life = Life { counters: before, may_be_glued };
    let in_hand = cores() + kernel_queue_lines_max();
    let mut barriers = Barriers::new(from, from, Some(life), in_hand);
    let started = Instant::now();
    let until = started + COUNTED_MAX.min(budget.last_page() * 3 / 4);
    loop {
        let fate = match analysisd.stats() {
            Ok(_) if !analysisd.has_room() => Fate::Lost,
            Ok(stats) => {
                let look = barriers.look(started.elapsed(), 0, Point { lines: batch.lines, to: () }, &stats);
                let decoded = stats.counters.decoded_commands.saturating_sub(before.decoded_commands);
                match look {
                    Look { back_to: Some(_), .. } => Fate::Lost,
                    // Others' events of command wodles count like ours, so they may hide that some are missing.
                    Look { confirmed: Some(_), .. } if decoded < batch.lines => Fate::NotForwarded,
                    Look { confirmed: Some(_), .. } => Fate::Arrived,
                    Look { .. } if batch.lines == 0 => Fate::Arrived,
                    Look { .. } => Fate::Waiting,
                }
            }
            Err(error) if error.may_pass() => Fate::Waiting,
            Err(_) => Fate::Lost,
        };
        if fate != Fate::Waiting || Instant::now() >= until {
            return Some(fate);
        }
        thread::sleep(Duration::from_millis(LOOK_MS));
    }
}

/// Lines that may wait in the kernel's queue in front of analysisd, which nobody but their sender is told.
fn kernel_queue_lines_max() -> u64 {
    const USUAL: u64 = 512;
    let text = fs::read_to_string("/proc/sys/net/unix/max_dgram_qlen").unwrap_or_default();
    text.trim().parse::<u64>().unwrap_or(USUAL).saturating_add(1)
}
