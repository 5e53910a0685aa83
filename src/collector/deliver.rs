//! Lines of the spool → the wodle, in order, as many as it forwards before the next run. Never counts a line as delivered;
//! records what was handed over, to whom.

use super::budget::HANDOVER_BYTES_MAX;
use super::reading::{SpoolLines, has_pending};
use super::store::Store;
use crate::files::FileError;
use crate::handover::{Handover, HandoverError};
use crate::state::delivery::{Batch, Delivery, DeliveryFile, Progress, WodleShare};
use crate::wodle::{Parent, SocketId};

/// Hands lines over.
#[derive(Debug)]
pub(super) struct Delivering {
    file: DeliveryFile,
    record: Delivery,
    parent: Parent,
    socket: Option<SocketId>,
    pub(super) handover: Handover,
    /// Lines and bytes of this run so far.
    pub(super) lines: u64,
    bytes: u64,
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
        handover: Handover,
    ) -> Self {
        Self { file, record, parent, socket, handover, lines: 0, bytes: 0, closed: false }
    }

    /// Hands over what is pending, up to `lines_max` in this whole run. A batch is recorded before its first byte, under
    /// this parent and socket, and again behind its last whole line.
    pub(super) fn run(&mut self, store: &mut Store, lines_max: u64) -> Result<(), FileError> {
        self.direct(store);
        let from = self.record.batch.as_ref().map_or(self.record.delivered, |batch| batch.to);
        if self.closed || self.lines >= lines_max || !has_pending(&store.spool, &from) {
            return Ok(());
        }
        self.record_batch(store, from);
        let mut to = from;
        let ended = self.hand_over(store, &mut to, lines_max);
        let flushed = self.handover.flush();
        self.closed |= flushed.is_err();
        if flushed.is_ok() && !matches!(ended, Err(Stop::Output(_))) {
            self.record.wodle_share = Some(WodleShare { lines: self.lines, lines_max });
            self.record_batch(store, to);
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

    /// At the end of a run whose parent confirms nothing: what was written whole has arrived.
    pub(super) fn settle(&mut self, store: &mut Store) -> Result<(), FileError> {
        if !self.parent.is_modulesd()
            && let Some(batch) = self.record.batch.take()
        {
            self.record.delivered = batch.to;
            // First the room, then the record: on a full disk it needs that room. A record that is behind repeats nothing
            // of what is no longer there.
            store.spool.remove_delivered(&self.record.delivered)?;
            store.save(|| self.file.save(&self.record))?;
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
    fn record_batch(&mut self, store: &Store, to: Progress) {
        self.record.batch = Some(Batch { parent: self.parent.clone(), socket: self.socket.clone(), to });
        if let Err(error) = store.save(|| self.file.save(&self.record)) {
            log::error!("{error}; what is handed over now may come again");
        }
    }

    fn hand_over(&mut self, store: &mut Store, to: &mut Progress, lines_max: u64) -> Result<(), Stop> {
        let (mut lines, mut line) = (SpoolLines::default(), Vec::new());
        let mut next = *to;
        while lines.next(store, &mut next, &mut line).map_err(Stop::File)? {
            let bytes = self.bytes + line.len() as u64;
            if self.lines >= lines_max || bytes > HANDOVER_BYTES_MAX {
                return Err(Stop::Budget);
            }
            self.handover.write_line(&line).map_err(Stop::Output)?;
            self.lines += 1;
            self.bytes = bytes;
            *to = next;
        }
        *to = next;
        Ok(())
    }
}
