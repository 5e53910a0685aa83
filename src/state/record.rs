//! Small state as one line of JSON and one line with its checksum. Never takes a damaged record for a fresh start.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use crate::clock::unix_seconds;
use crate::files::{FileError, replace_file};

/// Bytes of a record; the largest has some 2 kB.
const RECORD_BYTES_MAX: u64 = 64 << 10;

/// What was found.
#[derive(Debug)]
pub enum Loaded<T> {
    /// Nothing: there was never a record, or it was taken away.
    Missing,
    /// What was saved last.
    Intact(T),
    /// Something that was not saved so.
    Corrupt,
}

/// Reads a record.
///
/// # Errors
/// A file that exists and cannot be read.
pub(super) fn load<T: DeserializeOwned>(path: &Path) -> Result<Loaded<T>, FileError> {
    let mut text = Vec::new();
    let read = File::open(path).and_then(|file| file.take(RECORD_BYTES_MAX).read_to_end(&mut text));
    match read {
        Ok(_) => Ok(parse(&text).map_or(Loaded::Corrupt, Loaded::Intact)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Loaded::Missing),
        Err(error) => Err(FileError::of("read", path)(error)),
    }
}

/// Saves a record in the place of the one before.
///
/// # Errors
/// The file operation that failed; the record before is still there.
pub(super) fn save<T: Serialize>(path: &Path, record: &T) -> Result<(), FileError> {
    let json = serde_json::to_string(record).map_err(|error| FileError::of("write", path)(error.into()))?;
    replace_file(path, format!("{json}\n{}\n", checksum(json.as_bytes())).as_bytes())
}

/// Keeps a copy of a corrupt record, so that somebody can look at it; gives its name. The record stays until another takes
/// its place: a missing one would be taken for a fresh start.
///
/// # Errors
/// When it cannot be copied.
pub(super) fn set_aside(path: &Path) -> Result<PathBuf, FileError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let aside = path.with_file_name(format!("corrupt-{}-{name}", unix_seconds()));
    fs::copy(path, &aside).map_err(FileError::of("set aside", path))?;
    Ok(aside)
}

fn parse<T: DeserializeOwned>(text: &[u8]) -> Option<T> {
    let mut lines = text.split(|byte| *byte == b'\n');
    let (json, sum, end) = (lines.next()?, lines.next()?, lines.next()?);
    if !end.is_empty() || lines.next().is_some() || sum != checksum(json).as_bytes() {
        return None;
    }
    serde_json::from_slice(json).ok()
}

fn checksum(json: &[u8]) -> String {
    Sha256::digest(json).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn every_damage_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("record");
        assert!(matches!(load::<Vec<u32>>(&path).unwrap(), Loaded::Missing));
        save(&path, &vec![1_u32, 2, 3]).unwrap();
        assert!(matches!(load::<Vec<u32>>(&path).unwrap(), Loaded::Intact(numbers) if numbers == [1, 2, 3]));
        let whole = fs::read(&path).unwrap();
        for length in 0..whole.len() {
            fs::write(&path, &whole[..length]).unwrap();
            assert!(matches!(load::<Vec<u32>>(&path).unwrap(), Loaded::Corrupt), "cut at {length}");
        }
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            fs::write(&path, &damaged).unwrap();
            assert!(matches!(load::<Vec<u32>>(&path).unwrap(), Loaded::Corrupt), "damaged at {at}");
        }
        let aside = set_aside(&path).unwrap();
        assert_eq!(fs::read(&aside).unwrap(), fs::read(&path).unwrap());
    }
}
