//! Small state as one line of JSON and one line with its checksum. Never takes a damaged record for a fresh start, nor one of a
//! newer version for a damaged one.

use std::io::{self, Read};
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{StateFolder, set_aside_name};
use crate::files::{FileError, append, open_regular, remove};

/// The format of all state files; those of 0.1.0 name none, which counts as 0. Whoever changes it keeps the checksums as they
/// are, so that a newer file can be told from a damaged one.
pub(super) const VERSION: u32 = 1;

/// Bytes of a record; the largest has some 2 kB, but for an offset, which may have 64 KiB, and suspect lines.
const RECORD_BYTES_MAX: u64 = 256 << 10;

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

/// A record with its format.
#[derive(Serialize)]
struct Versioned<'a, T> {
    version: u32,
    #[serde(flatten)]
    record: &'a T,
}

/// The format of a record.
#[derive(Deserialize)]
struct Version {
    #[serde(default)]
    version: u32,
}

impl<T> Loaded<T> {
    /// What was saved, if it is intact.
    pub fn intact(self) -> Option<T> {
        match self {
            Self::Intact(record) => Some(record),
            Self::Missing | Self::Corrupt => None,
        }
    }
}

/// A file of the state folder that holds one record.
#[derive(Clone, Debug)]
pub struct StateFile<T> {
    folder: StateFolder,
    path: PathBuf,
    record: PhantomData<T>,
}

impl<T: Serialize + DeserializeOwned> StateFile<T> {
    /// The one of this name.
    pub(super) fn named(folder: &StateFolder, name: &str) -> Self {
        Self { folder: folder.clone(), path: folder.path.join(name), record: PhantomData }
    }

    /// Reads the record. Errors: a file that exists and cannot be read, or that a newer version wrote.
    pub fn load(&self) -> Result<Loaded<T>, FileError> {
        let mut text = Vec::new();
        let file = match open_regular(&self.path) {
            Ok(file) => file,
            Err(error) if error.source.kind() == io::ErrorKind::NotFound => return Ok(Loaded::Missing),
            Err(error) => return Err(error),
        };
        file.take(RECORD_BYTES_MAX).read_to_end(&mut text).map_err(FileError::of("read", &self.path))?;
        let Some(json) = intact(&text) else { return Ok(Loaded::Corrupt) };
        let version = serde_json::from_slice::<Version>(json).map_or(0, |found| found.version);
        refuse_newer(&self.path, version)?;
        Ok(serde_json::from_slice(json).map_or(Loaded::Corrupt, Loaded::Intact))
    }

    /// Puts a record in the place of the one before, durably; on a full disk with the help of the reserve. Where it fails the
    /// record before is still there.
    pub fn save(&self, record: &T) -> Result<(), FileError> {
        let json = serde_json::to_string(&Versioned { version: VERSION, record });
        let json = json.map_err(|error| FileError::of("write", &self.path)(error.into()))?;
        let text = format!("{json}\n{}\n", checksum(json.as_bytes()));
        if text.len() as u64 > RECORD_BYTES_MAX {
            // It could not be read back.
            return Err(FileError::of("write", &self.path)(io::ErrorKind::FileTooLarge.into()));
        }
        self.folder.replace(&self.path, text.as_bytes())
    }

    /// Keeps a copy of a corrupt record, so that somebody can look at it; gives its name. The record stays until another takes
    /// its place: a missing one would be taken for a fresh start.
    pub fn set_aside(&self) -> Result<PathBuf, FileError> {
        let aside = set_aside_name(&self.path);
        let mut text = Vec::new();
        let file = open_regular(&self.path)?;
        file.take(RECORD_BYTES_MAX).read_to_end(&mut text).map_err(FileError::of("read", &self.path))?;
        append(&aside, &text, RECORD_BYTES_MAX)?;
        Ok(aside)
    }

    /// Removes it.
    pub(super) fn remove(&self) -> Result<(), FileError> {
        remove(&self.path)
    }
}

/// What a newer version wrote may mean something else: it is left as it is.
pub(super) fn refuse_newer(path: &Path, version: u32) -> Result<(), FileError> {
    if version <= VERSION {
        return Ok(());
    }
    let error = format!(
        "a newer wazuh-akamai wrote it (format {version}, this one knows {VERSION}): install that version again; the file is left as it is"
    );
    Err(FileError::of("use", path)(io::Error::new(io::ErrorKind::Unsupported, error)))
}

/// The JSON of a record that is as it was saved.
fn intact(text: &[u8]) -> Option<&[u8]> {
    let mut lines = text.split(|byte| *byte == b'\n');
    let (json, sum, end) = (lines.next()?, lines.next()?, lines.next()?);
    (end.is_empty() && lines.next().is_none() && sum == checksum(json).as_bytes()).then_some(json)
}

fn checksum(json: &[u8]) -> String {
    Sha256::digest(json).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::fs;

    #[derive(Serialize, Deserialize)]
    struct Numbers {
        numbers: BTreeMap<String, u32>,
    }

    fn record(folder: &Path) -> (StateFile<Numbers>, PathBuf) {
        (StateFile::named(&StateFolder::at(folder), "record"), folder.join("record"))
    }

    #[test]
    fn a_record_of_a_newer_version_is_refused_and_one_without_a_version_is_known() {
        let folder = tempfile::tempdir().unwrap();
        let (file, path) = record(folder.path());
        for (json, is_known) in [
            (r#"{"numbers":{"one":1}}"#, true),
            (r#"{"version":1,"numbers":{"one":1}}"#, true),
            (r#"{"version":2,"letters":{}}"#, false),
        ] {
            fs::write(&path, format!("{json}\n{}\n", checksum(json.as_bytes()))).unwrap();
            match file.load() {
                Ok(found) => assert!(is_known && matches!(found, Loaded::Intact(_))),
                Err(error) => {
                    assert!(!is_known && error.is_newer() && error.to_string().contains("format 2"), "{error}");
                }
            }
        }
    }

    #[test]
    fn every_damage_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let (file, path) = record(folder.path());
        let record = BTreeMap::from([("one".to_owned(), 1_u32), ("two".to_owned(), 2)]);
        assert!(matches!(file.load().unwrap(), Loaded::Missing));
        file.save(&Numbers { numbers: record.clone() }).unwrap();
        assert!(matches!(file.load().unwrap(), Loaded::Intact(found) if found.numbers == record));
        let whole = fs::read(&path).unwrap();
        for length in 0..whole.len() {
            fs::write(&path, &whole[..length]).unwrap();
            assert!(matches!(file.load().unwrap(), Loaded::Corrupt), "cut at {length}");
        }
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            fs::write(&path, &damaged).unwrap();
            assert!(matches!(file.load().unwrap(), Loaded::Corrupt), "damaged at {at}");
        }
        let aside = file.set_aside().unwrap();
        assert_eq!(fs::read(&aside).unwrap(), fs::read(&path).unwrap());
    }
}
