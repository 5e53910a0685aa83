//! What `collect` remembers between runs, all in one folder: one file each for every source's cursor and health, the ids of
//! lines it has seen, how far lines were delivered, and the spool. Never decides anything.

pub mod attempt;
pub mod bursts;
pub mod cursor;
pub mod delivery;
pub mod forward;
pub mod health;
mod lock;
mod record;
pub mod seen;
pub mod segment;
pub mod spool;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

pub use self::lock::StateLock;
pub use self::record::{Loaded, StateFile};

use crate::clock::unix_seconds;
use crate::files::{FileError, create, remove, replace_file};

/// Characters of a source's name that its files carry; the rest of what tells two apart is a hash.
const NAME_CHARS_MAX: usize = 32;

/// Bytes kept in reserve, to be given up when a cursor or record must be saved on a full disk.
const RESERVE_BYTES: usize = 64 << 10;

/// Copies of damaged files that are kept, all of them together in bytes, and how long in seconds. The latest one is kept whatever
/// its size.
const SET_ASIDE_FILES_MAX: usize = 10;
const SET_ASIDE_BYTES_MAX: u64 = 256 << 20;
const SET_ASIDE_S_MAX: i64 = 30 * 86_400;

/// The folder.
#[derive(Clone, Debug)]
pub struct StateFolder {
    path: PathBuf,
}

impl StateFolder {
    /// The folder at this path, which need not exist yet.
    pub fn at(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Replaces a small file durably, giving up the reserve where the disk is full.
    fn replace(&self, path: &Path, bytes: &[u8]) -> Result<(), FileError> {
        match replace_file(path, bytes) {
            Err(error) if error.is_no_space() && self.reserve().exists() => {
                log::warn!("{error}; the reserve {} is given up", self.reserve().display());
                remove(&self.reserve())?;
                replace_file(path, bytes)
            }
            other => other,
        }
    }

    /// Puts the reserve back, where there is room.
    pub fn keep_reserve(&self) {
        let path = self.reserve();
        if !path.exists() && create(&path).is_ok_and(|mut file| file.write_all(&[0; RESERVE_BYTES]).is_err()) {
            let _ = remove(&path);
        }
    }

    /// Removes copies of damaged files that are too old, or too many.
    pub fn forget_set_aside(&self) -> Result<(), FileError> {
        let time = |name: &String| name.split('-').nth(1).and_then(|time| time.parse().ok()).unwrap_or(0_i64);
        let mut names = self.names("corrupt-")?;
        names.sort_by_key(|name| std::cmp::Reverse(time(name)));
        let mut bytes: u64 = 0;
        for (at, name) in names.iter().enumerate() {
            let path = self.path.join(name);
            let Ok(metadata) = fs::symlink_metadata(&path) else { continue };
            bytes = bytes.saturating_add(metadata.len());
            let is_kept = at == 0 || (at < SET_ASIDE_FILES_MAX && bytes <= SET_ASIDE_BYTES_MAX);
            let is_old = unix_seconds() - time(name) > SET_ASIDE_S_MAX;
            if !metadata.is_dir() && (is_old || !is_kept) {
                remove(&path)?;
            }
        }
        Ok(())
    }

    fn reserve(&self) -> PathBuf {
        self.path.join("reserve")
    }

    /// Whether a source has ever been asked: then there is something to go on from.
    pub fn has_cursor(&self) -> bool {
        self.names("cursor-").is_ok_and(|names| !names.is_empty())
    }

    /// Names of the entries that begin so.
    fn names(&self, start: &str) -> Result<Vec<String>, FileError> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path).map_err(FileError::of("list", &self.path))? {
            let name = entry.map_err(FileError::of("list", &self.path))?.file_name();
            if let Some(name) = name.to_str().filter(|name| name.starts_with(start)) {
                names.push(name.to_owned());
            }
        }
        Ok(names)
    }
}

/// The name under which a copy of a damaged file is kept, beside it.
pub fn set_aside_name(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!("corrupt-{}-{name}", unix_seconds()))
}

/// What stands for a source in file names: readable, safe, and different for any two identities.
pub fn key(name: &str, identity: &[&str]) -> String {
    let readable: String = name
        .chars()
        .take(NAME_CHARS_MAX)
        .map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' })
        .collect();
    let mut hash = Sha256::new();
    for part in [name].iter().chain(identity) {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part.as_bytes());
    }
    let digest = hash.finalize();
    let digits: String = digest[..6].iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{readable}-{digits}")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn copies_of_damaged_files_do_not_pile_up() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateFolder::at(folder.path());
        let now = unix_seconds();
        for number in 0..15 {
            fs::write(folder.path().join(format!("corrupt-{}-delivery", now - number)), "x").unwrap();
        }
        state.forget_set_aside().unwrap();
        let mut left = state.names("corrupt-").unwrap();
        left.sort();
        assert_eq!((left.len(), &left[0]), (SET_ASIDE_FILES_MAX, &format!("corrupt-{}-delivery", now - 9)));
        // Together too large: only the latest stays.
        for number in 0..2 {
            let path = folder.path().join(format!("corrupt-{}-spool", now + number));
            fs::File::create(path).unwrap().set_len(SET_ASIDE_BYTES_MAX + 1).unwrap();
        }
        state.forget_set_aside().unwrap();
        assert_eq!(state.names("corrupt-").unwrap(), [format!("corrupt-{}-spool", now + 1)]);
        for name in state.names("corrupt-").unwrap() {
            fs::rename(folder.path().join(name), folder.path().join("corrupt-1-old")).unwrap();
        }
        state.forget_set_aside().unwrap();
        assert!(state.names("corrupt-").unwrap().is_empty());
    }

    #[test]
    fn every_identity_has_a_key_of_its_own_that_is_a_file_name() {
        let keys = [
            key("shop", &["a", "1"]),
            key("shop", &["a1", ""]),
            key("shop", &["a", "1;2"]),
            key("sh/op", &["a", "1"]),
            key("sh.op", &["a", "1"]),
        ];
        for (index, one) in keys.iter().enumerate() {
            assert!(keys[..index].iter().all(|other| other != one));
            assert!(one.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte)), "{one}");
        }
        assert!(key(&"ä".repeat(64), &[]).len() < 64);
    }
}
