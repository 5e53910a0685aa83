//! What a run shares: the spool, notices to Wazuh, what keeps it from storing more. Never asks Akamai, never writes to stdout.

use std::collections::HashMap;

use super::notice::Notice;
use crate::clock::span;
use crate::config::Source;
use crate::files::FileError;
use crate::state::StateFolder;
use crate::state::seen::SeenFiles;
use crate::state::segment::{Header, Lane};
use crate::state::spool::Spool;

/// How many times what is free one source may have in the spool: eight ninths of it where nothing else waits. So there is
/// always some room for the others.
const TIMES_FREE: u64 = 8;

/// The state of a run that all of its parts change.
#[derive(Debug)]
pub(super) struct Store {
    pub(super) state: StateFolder,
    pub(super) spool: Spool,
    /// Hosts that are asked at once.
    pub(super) hosts: u64,
    /// Bytes that the spool may take.
    pub(super) spool_bytes_max: u64,
    /// Bytes that pages being read may take, by host: each asks for one at a time.
    pub(super) promised: HashMap<String, u64>,
    /// Lines that found no room in the spool and go straight to the output.
    pub(super) direct: Vec<String>,
    /// What keeps this run from storing anything.
    pub(super) trouble: Option<String>,
    /// A page that did not fit.
    pub(super) full: Option<String>,
    /// The span of lines of the spool that were lost in this run, in Unix seconds; its beginning is 0 where it is not known.
    pub(super) gap: Option<(i64, i64)>,
}

impl Store {
    /// Tells Wazuh: through the spool, or straight where that cannot be written.
    pub(super) fn tell(&mut self, notice: &Notice) {
        let line = notice.line();
        log::debug!("collector event: {}", line.trim_end());
        if let Err(error) = self.spool_notice(&notice.source, &line) {
            log::error!("{error}");
            self.direct.push(line);
        }
    }

    /// Tells that lines of the spool are lost, which were written at `to_s`. Their ids no longer count as those of lines that have
    /// come: a backfill brings them back.
    pub(super) fn lose(&mut self, header: &Header, to_s: i64, why: &str) {
        log::error!("source {}: events {} are lost: {why}", header.source, span(header.from_s, to_s));
        let from_s = self.gap.map_or(header.from_s, |(from_s, _)| from_s.min(header.from_s));
        self.gap = Some((from_s, self.gap.map_or(to_s, |(_, before)| before.max(to_s))));
        self.tell(&Notice::gap(&header.source, header.from_s, to_s, why));
        if let Err(error) = SeenFiles::forget_all(&self.state, &header.source) {
            log::error!("{error}; a backfill may leave out what is lost");
        }
    }

    /// What of a source cannot be kept. Where nothing can be stored all fetching stops: the next page would monitor no better.
    /// What concerns the files of one source stops that source.
    pub(super) fn cannot_keep(&mut self, source: &str, error: &FileError) {
        let text = format!("source {source}: {error}");
        if error.is_no_space() || error.is_of_spool() {
            self.trouble = Some(text);
        } else {
            log::error!("{text}");
            self.full = Some(text);
        }
    }

    /// Bytes that are left, for all sources together.
    pub(super) fn room(&self) -> u64 {
        let taken = self.spool.bytes().saturating_add(self.promised.values().sum());
        self.spool_bytes_max.saturating_sub(taken)
    }

    /// Bytes that a new page of this source may have. Those of other hosts may be on their way, and no source may fill the
    /// spool for the others.
    pub(super) fn share_of_room(&self, source: &Source) -> u64 {
        let others = self.promised.keys().filter(|host| **host != source.host.authority).count() as u64;
        let own = self.promised.get(&source.host.authority).copied().unwrap_or(0);
        let free = self.room() + own;
        let of_source =
            free.saturating_mul(TIMES_FREE).saturating_sub(self.spool.bytes_of(&source.name)) / (TIMES_FREE + 1);
        of_source.min(free / self.hosts.saturating_sub(others).max(1))
    }

    /// Keeps room for a page of this source until it is read; returns the bytes that it may have.
    pub(super) fn promise_room(&mut self, source: &Source) -> u64 {
        let bytes = self.share_of_room(source);
        self.promised.insert(source.host.authority.clone(), bytes);
        bytes
    }

    /// Whether the spool counts as full.
    pub(super) fn is_full(&self) -> bool {
        self.spool.is_nearly_full(self.spool_bytes_max)
    }

    fn spool_notice(&mut self, source: &str, line: &str) -> Result<(), FileError> {
        let mut segment = self.spool.write(&Header::new(source, 0))?;
        segment.add(|text| {
            text.extend_from_slice(line.as_bytes());
            Some(())
        })?;
        self.spool.seal(segment, Lane::Notices, None)
    }
}
