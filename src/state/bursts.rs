//! The burst counters of one source, kept beside its cursor: each page that moved the cursor has a file of its own, and the
//! cursor says which one counts. Losing one loses no event: a burst may go unmarked.

use std::fs;
use std::io::{self, Read};
use std::path::PathBuf;

use super::StateFolder;
use crate::event::Bursts;
use crate::files::{FileError, open_regular, remove};

/// Bytes of a file; the counters themselves take less.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// Where the counters of one source are kept.
#[derive(Clone, Debug)]
pub struct BurstFiles {
    state: StateFolder,
    key: String,
}

impl BurstFiles {
    /// Those of the source with this cursor key.
    pub fn of(state: &StateFolder, key: &str) -> Self {
        Self { state: state.clone(), key: key.to_owned() }
    }

    /// The counters of this generation; none counted where there are none, or none that can be read.
    pub fn load(&self, generation: u64) -> Bursts {
        let path = self.path(generation);
        let mut bytes = Vec::new();
        let read = open_regular(&path).map_err(|error| error.source);
        match read.and_then(|file| file.take(FILE_BYTES_MAX).read_to_end(&mut bytes)) {
            Ok(_) => Bursts::from_bytes(&bytes).unwrap_or_else(|| {
                log::warn!("{} is damaged or of another version; bursts are counted anew", path.display());
                Bursts::default()
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Bursts::default(),
            Err(error) => {
                log::warn!("cannot read {}: {error}; bursts are counted anew", path.display());
                Bursts::default()
            }
        }
    }

    /// Saves counters as this generation.
    pub fn save(&self, generation: u64, bursts: &Bursts) -> Result<(), FileError> {
        self.state.replace(&self.path(generation), &bursts.to_bytes())
    }

    /// Removes every other generation.
    pub fn keep_only(&self, generation: u64) -> Result<(), FileError> {
        let start = format!("bursts-{}.", self.key);
        let current = format!("{start}{generation}");
        for name in self.state.names(&start)?.into_iter().filter(|name| *name != current) {
            let path = self.state.path().join(name);
            if fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.is_file()) {
                remove(&path)?;
            }
        }
        Ok(())
    }

    fn path(&self, generation: u64) -> PathBuf {
        self.state.path().join(format!("bursts-{}.{generation}", self.key))
    }
}
