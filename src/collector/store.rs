//! What a run shares: the spool, notices to Wazuh, and the reserve that lets state be saved on a full disk. Never asks
//! Akamai, never writes to stdout.

use std::io::Write;
use std::path::PathBuf;

use super::notice::Notice;
use crate::files::{FileError, create, remove};
use crate::state::StateFolder;
use crate::state::spool::{Header, Lane, Spool};

/// Bytes kept in reserve, to be given up when a cursor or record must be saved on a full disk.
const RESERVE_BYTES: usize = 64 << 10;

/// The share of the spool's limit from which it counts as full, in percent.
const FULL_PERCENT: u64 = 80;

/// The state of a run that all of its parts change.
#[derive(Debug)]
pub(super) struct Store {
    pub(super) state: StateFolder,
    pub(super) spool: Spool,
    /// Bytes that the spool may take.
    pub(super) spool_bytes_max: u64,
    /// Lines that found no room in the spool and go straight to the output.
    pub(super) direct: Vec<String>,
    /// What keeps this run from storing anything.
    pub(super) trouble: Option<String>,
    /// A page that did not fit.
    pub(super) full: Option<String>,
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

    /// Bytes that a new segment may have.
    pub(super) fn room(&self) -> u64 {
        self.spool_bytes_max.saturating_sub(self.spool.bytes())
    }

    /// Whether the spool counts as full.
    pub(super) fn is_full(&self) -> bool {
        self.spool.bytes() >= self.spool_bytes_max / 100 * FULL_PERCENT
    }

    /// Saves something small, giving up the reserve where the disk is full.
    pub(super) fn save(&self, save: impl Fn() -> Result<(), FileError>) -> Result<(), FileError> {
        match save() {
            Err(error) if error.is_no_space() && self.reserve().exists() => {
                log::warn!("{error}; the reserve {} is given up", self.reserve().display());
                remove(&self.reserve())?;
                save()
            }
            other => other,
        }
    }

    /// Puts the reserve back, where there is room.
    pub(super) fn keep_reserve(&self) {
        let path = self.reserve();
        if !path.exists() && create(&path).is_ok_and(|mut file| file.write_all(&[0; RESERVE_BYTES]).is_err()) {
            let _ = remove(&path);
        }
    }

    fn reserve(&self) -> PathBuf {
        self.state.path().join("reserve")
    }

    fn spool_notice(&mut self, source: &str, line: &str) -> Result<(), FileError> {
        let mut segment = self.spool.write(&Header { source: source.to_owned(), asked: None })?;
        segment.text.extend_from_slice(line.as_bytes());
        segment.lines = 1;
        let sealed = segment.seal(Lane::Notices)?;
        self.spool.add(sealed);
        Ok(())
    }
}
