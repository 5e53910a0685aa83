//! The lock of the state folder: one process at a time changes what is in it. Never waits, never ends who holds it.

use std::fs::{File, TryLockError};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use super::StateFolder;
use crate::clock::unix_seconds;
use crate::files::{FileError, open_regular, open_to_add, remove, replace_file};

/// Seconds after which somebody who still holds the lock is told of; a run takes 5 minutes at most, a slice of a backfill less.
const HELD_S_MAX: i64 = 900;

/// Bytes that are read of who holds it; there are some 20.
const HOLDER_BYTES_MAX: u64 = 100;

/// The right to change what is in the folder; ends when dropped or when the process does.
#[derive(Debug)]
pub struct StateLock {
    _file: File,
}

impl StateFolder {
    /// Takes the lock, if nobody has it, and notes who has it since when. The file stays: its lock is what counts.
    pub fn try_lock(&self) -> Result<Option<StateLock>, FileError> {
        let path = self.lock_file();
        // What it says is the holder's.
        let mut file = open_to_add(&path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(FileError::of("lock", &path)(error)),
        }
        let holder = format!("{} {}\n", std::process::id(), unix_seconds());
        // Without room on the disk the lock counts all the same.
        if file.set_len(0).and_then(|()| file.write_all(holder.as_bytes())).is_err() {
            log::debug!("cannot write into {}", path.display());
        }
        Ok(Some(StateLock { _file: file }))
    }

    /// Where somebody has held the lock for too long and nobody has told of it yet: what to tell. Then it counts as told.
    pub fn stuck_lock(&self) -> Result<Option<String>, FileError> {
        let holder = text(&self.lock_file()).unwrap_or_default();
        let mut words = holder.split_whitespace();
        let (Some(process), Some(Ok(since_s))) = (words.next(), words.next().map(str::parse::<i64>)) else {
            return Ok(None);
        };
        let held_s = unix_seconds() - since_s;
        if held_s <= HELD_S_MAX || text(&self.told_file()).as_ref() == Some(&holder) {
            return Ok(None);
        }
        replace_file(&self.told_file(), holder.as_bytes())?;
        Ok(Some(format!(
            "another collect or backfill (process {process}) has held the state folder for {held_s} s: nothing is fetched or \
             handed over; end that process"
        )))
    }

    /// Whether a lock that was held for too long has been told of since this was asked last.
    pub fn forget_stuck_lock(&self) -> Result<bool, FileError> {
        let was_told = self.told_file().exists();
        remove(&self.told_file()).map(|()| was_told)
    }

    fn lock_file(&self) -> PathBuf {
        self.path().join("lock")
    }

    fn told_file(&self) -> PathBuf {
        self.path().join("lock-told")
    }
}

/// What a file says of a holder.
fn text(path: &Path) -> Option<String> {
    let mut text = String::new();
    open_regular(path).ok()?.take(HOLDER_BYTES_MAX).read_to_string(&mut text).ok().map(|_| text)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn one_lock_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateFolder::at(folder.path());
        let held = state.try_lock().unwrap();
        assert!(held.is_some());
        assert!(state.try_lock().unwrap().is_none());
        assert_eq!(state.stuck_lock().unwrap(), None);
        drop(held);
        assert!(state.try_lock().unwrap().is_some());
    }

    #[test]
    fn a_pipe_is_no_lock() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateFolder::at(folder.path());
        rustix::fs::mkfifoat(rustix::fs::CWD, state.lock_file(), rustix::fs::Mode::from_raw_mode(0o600)).unwrap();
        // With a reader nobody would have to wait.
        let _reader = fs::OpenOptions::new().read(true).write(true).open(state.lock_file()).unwrap();
        assert!(state.try_lock().is_err());
    }

    #[test]
    fn a_lock_that_is_held_for_too_long_is_told_once() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateFolder::at(folder.path());
        let _held = state.try_lock().unwrap();
        fs::write(state.lock_file(), format!("7 {}\n", unix_seconds() - HELD_S_MAX - 1)).unwrap();
        assert!(state.try_lock().unwrap().is_none());
        assert!(state.stuck_lock().unwrap().unwrap().contains("process 7"));
        assert_eq!(state.stuck_lock().unwrap(), None);
        // A link is not followed.
        fs::rename(state.told_file(), folder.path().join("elsewhere")).unwrap();
        std::os::unix::fs::symlink("elsewhere", state.told_file()).unwrap();
        assert!(state.stuck_lock().unwrap().is_some());
        assert!(state.forget_stuck_lock().unwrap() && !state.forget_stuck_lock().unwrap());
    }
}
