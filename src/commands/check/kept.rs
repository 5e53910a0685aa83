//! The files of the state folder: whose they are, whether they can be read, which version wrote them. Never changes one.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use super::{Findings, Level};
use crate::config::{Config, SourceState};
use crate::files::FileError;
use crate::privileges;
use crate::state::StateFolder;
use crate::state::cursor::CursorFile;
use crate::state::delivery::DeliveryFile;
use crate::state::health::HealthFile;
use crate::state::spool::Spool;

pub(super) fn check(config: &Config, state: &StateFolder, findings: &mut Findings) {
    check_owners(config, state, findings);
    for error in errors(config, state) {
        let mend = if error.is_newer() {
            "install the newer version again"
        } else {
            "run check as root; if it stays so, look at the file and the disk"
        };
        findings.add(Level::Error, "state", error.to_string(), mend);
    }
}

/// Entries that the user of the collector may not be able to use.
fn check_owners(config: &Config, state: &StateFolder, findings: &mut Findings) {
    let Some(user) = privileges::user(&config.global.user) else { return };
    let Ok(entries) = fs::read_dir(state.path()) else { return };
    let (mut foreign, mut odd): (Vec<PathBuf>, Vec<PathBuf>) = (Vec::new(), Vec::new());
    for path in entries.flatten().map(|entry| entry.path()) {
        match fs::symlink_metadata(&path) {
            Ok(metadata) if !metadata.is_file() || metadata.nlink() > 1 => odd.push(path),
            Ok(metadata) if metadata.uid() != user.uid.as_raw() => foreign.push(path),
            _ => {}
        }
    }
    if let Some(path) = foreign.first() {
        findings.add(
            Level::Warning,
            "state",
            format!("{} files do not belong to {}, {} for one", foreign.len(), user.name, path.display()),
            format!("nothing where Wazuh runs collect: it starts as root and gives them to {}", user.name),
        );
    }
    if let Some(path) = odd.first() {
        findings.add(
            Level::Warning,
            "state",
            format!(
                "{} entries are no regular files, or have several names, {} for one: the collector makes none such",
                odd.len(),
                path.display()
            ),
            "find out who made them, and remove them",
        );
    }
}

/// What keeps files from being read.
fn errors(config: &Config, state: &StateFolder) -> Vec<FileError> {
    let mut errors = Vec::new();
    errors.extend(DeliveryFile::of(state).load().err());
    errors.extend(HealthFile::of_all(state).load().err());
    for entry in &config.sources {
        errors.extend(HealthFile::of(state, &entry.name).load().err());
        if let SourceState::Ready(source) = &entry.state {
            errors.extend(CursorFile::of(state, source).load().err());
        }
    }
    // One is enough: most often all have the same.
    errors.extend(
        Spool::look(state).ok().and_then(|spool| spool.segments.iter().find_map(|segment| segment.open(0).err())),
    );
    errors
}
