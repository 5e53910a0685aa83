//! The original integration's credentials → our configuration, where that is not filled in yet. Never shows one, never writes
//! over a configuration that is.

use std::path::PathBuf;

use super::change::{Content, present};
use super::record::digest;
use super::{InstallError, Setup};
use crate::config::{self, SourceState, TEMPLATE};
use crate::wazuh::TAG;
use crate::wazuh::conf::scan::scan;

/// Name of the configuration, the original's and ours.
const NAME: &str = "akamai_config.ini";

impl Setup<'_> {
    pub(super) fn import(&mut self) -> Result<(), InstallError> {
        let ours = &self.options.config;
        let shown = ours.display();
        // Only the untouched template gives way: anything else is the admin's, filled in or not.
        let over_template = match present(ours) {
            Ok(None) => false,
            Ok(Some(found)) if found.text == TEMPLATE.as_bytes() => true,
            Ok(Some(found)) => {
                if !is_configured(&found.text) {
                    self.report.push(format!("not ready yet: see what is missing in {shown} (wazuh-akamai check)"));
                }
                return Ok(());
            }
            // A link, say: the admin has arranged it otherwise.
            Err(InstallError::Strange(_)) => return Ok(()),
            Err(error) => return Err(error),
        };
        for path in self.candidates() {
            let Ok(Some(found)) = present(&path) else { continue };
            if path == *ours || !is_configured(&found.text) {
                continue;
            }
            self.report.push(format!("credentials are copied from {}", path.display()));
            self.record.imported = Some(digest(&found.text));
            self.record.imported_over_template = over_template;
            self.record.imported_folder = ours.parent().is_some_and(|folder| !folder.exists());
            // root's, but in tests that are not.
            let owner = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
            return self.plan.set(ours, Some(Content { text: found.text, owner, mode: 0o600 }));
        }
        let how = if over_template { "fill in" } else { "run wazuh-akamai configure, which makes" };
        self.report.push(format!("not configured yet: {how} {shown}"));
        Ok(())
    }

    /// Removes what was imported, unless it has been changed since.
    pub(super) fn undo_import(&mut self) -> Result<(), InstallError> {
        let ours = &self.options.config;
        let Some(imported) = &self.before.imported else { return Ok(()) };
        let Some(found) = present(ours).ok().flatten().filter(|found| digest(&found.text) == *imported) else {
            return Ok(());
        };
        self.report.credentials_are_removed = true;
        self.report.push("the copied credentials are removed; the original file still has them");
        if self.before.imported_over_template {
            return self.plan.set(ours, Some(Content { text: TEMPLATE.into(), ..found }));
        }
        if let Some(folder) = ours.parent().filter(|_| self.before.imported_folder) {
            self.plan.remove_folder(folder);
        }
        self.plan.remove(ours)
    }

    /// Where the original's file may lie: beside the scripts that wodles of our tag run, and in the usual folders.
    fn candidates(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        if let Ok(document) = scan(&self.text) {
            let has_tag = |wodle| document.value(wodle, "tag") == Some(TAG.as_bytes());
            for (wodle, _) in document.sections("wodle").filter(|(wodle, _)| has_tag(*wodle)) {
                let command = String::from_utf8_lossy(document.value(wodle, "command").unwrap_or_default());
                for word in command.split_ascii_whitespace().filter(|word| word.starts_with('/')) {
                    let path = self.options.root.join(word.trim_start_matches('/'));
                    found.extend(path.parent().map(|folder| folder.join(NAME)));
                }
            }
        }
        let usual = ["wodles/akamai", "wodles", "integrations", "etc"];
        found.extend(usual.map(|folder| self.home.path(folder).join(NAME)));
        found
    }
}

fn is_configured(text: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(text) else { return false };
    let config = config::parse(NAME, text, |_| Err("not read here".into()));
    config.sources.iter().any(|source| matches!(source.state, SourceState::Ready(_)))
}
