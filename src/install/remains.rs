//! What is left of ours in a Wazuh home whose Wazuh was removed before us. Never touches a file that is not ours; the
//! configuration that Wazuh keeps as `.save` loses our part and nothing else.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::change::present;
use super::record::{Record, digest};
use super::{BINARY, FOLDER, InstallError, NEW_RULES, RECORD, RULES, RULES_FILE, SAVED_RULES};
use crate::files::{FileError, no_follow, remove};
use crate::wazuh::conf::merge::{apply, removal};

/// What Wazuh adds to the names of files that it keeps when it is removed.
const KEPT: &str = ".save";

/// Takes it away; whether there was anything.
///
/// # Errors
/// A file that cannot be read, written or removed.
pub fn clear_remains(home: &Path) -> Result<bool, InstallError> {
    let mut found = false;
    let conf = home.join(format!("etc/ossec.conf{KEPT}"));
    if let Some(text) = present(&conf)?
        // One that is not understood is no danger where it lies.
        && let Ok(removal) = removal(&text)
        && !removal.edits.is_empty()
    {
        write_over(&conf, &apply(&text, &removal.edits))?;
        found = true;
    }
    if !home.join(FOLDER).is_dir() {
        return Ok(found);
    }
    let record = Record::load(&home.join(RECORD))?;
    for rules in [RULES_FILE.to_owned(), format!("{RULES_FILE}{KEPT}")].map(|name| home.join(name)) {
        if present(&rules)?.is_some_and(|text| text == RULES.as_bytes() || record.rules == Some(digest(&text))) {
            remove(&rules)?;
        }
    }
    for file in [NEW_RULES, SAVED_RULES, RECORD, BINARY] {
        remove(&home.join(file))?;
    }
    // The folder of wodles stayed only because of ours; whatever else is in one of them keeps it.
    for folder in [FOLDER, "wodles"] {
        match fs::remove_dir(home.join(folder)) {
            Err(error) if error.kind() != io::ErrorKind::DirectoryNotEmpty => {
                return Err(FileError::of("remove", &home.join(folder))(error).into());
            }
            _ => {}
        }
    }
    Ok(true)
}

/// In place: owner, mode and label stay.
fn write_over(path: &Path, text: &[u8]) -> Result<(), InstallError> {
    let mut options = OpenOptions::new();
    options.write(true).truncate(true).custom_flags(no_follow());
    let mut file = options.open(path).map_err(FileError::of("open", path))?;
    Ok(file.write_all(text).map_err(FileError::of("write", path))?)
}
