//! What `install` made, so that `uninstall` takes out just that. Never holds a secret.

use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{RULES, restart};
use crate::files::FileError;
use crate::wazuh::home::Home;

/// The record.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    /// Digest of the rules that were installed.
    pub(super) rules: Option<String>,
    /// Digest of our part of `ossec.conf`.
    #[serde(default)]
    pub(super) block: Option<String>,
    /// Changes were begun, and it is not known that Wazuh has taken them up.
    #[serde(default)]
    pub(super) pending: bool,
    /// The life of Wazuh's daemons that goes on without what was changed, because they were not to be restarted.
    #[serde(default)]
    pub(super) owed_by: Option<String>,
    /// Ids of ours that other rules have, so that ours are not installed.
    #[serde(default)]
    pub(super) clashes: Vec<String>,
    /// Where the original integration's rules stood, below the Wazuh home.
    pub(super) saved_rules: Option<String>,
    /// Digest of the configuration that was imported.
    pub(super) imported: Option<String>,
    /// It took the place of the template.
    #[serde(default)]
    pub(super) imported_over_template: bool,
    /// Its folder was made for it.
    #[serde(default)]
    pub(super) imported_folder: bool,
}

impl Record {
    pub(super) fn load(path: &Path) -> Result<Self, FileError> {
        match fs::read(path) {
            // One that cannot be read says nothing: what is there is then taken for the admin's.
            Ok(text) => Ok(serde_json::from_slice(&text).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(FileError::of("read", path)(error)),
        }
    }

    /// Whether Wazuh runs without what was changed.
    pub(super) fn is_owed(&self, home: &Home) -> bool {
        self.pending || self.owed_by.as_ref().is_some_and(|life| *life == restart::life(home))
    }

    /// Whether these are rules of ours that nobody has edited.
    pub(super) fn has_made(&self, rules: &[u8]) -> bool {
        rules == RULES.as_bytes() || self.rules.as_ref() == Some(&digest(rules))
    }

    pub(super) fn text(&self) -> String {
        format!("{}\n", serde_json::json!(self))
    }
}

pub(super) fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
