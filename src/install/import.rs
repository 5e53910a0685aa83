//! The original integration's credentials → our configuration, where that is not filled in yet. Never shows one, never writes
//! over a configuration that is.

use std::path::{Path, PathBuf};

use super::change::{Changes, owner_and_mode_of, present};
use super::record::{Record, digest};
use super::{InstallError, Options};
use crate::config::{self, SourceState, TEMPLATE};
use crate::wazuh::TAG;
use crate::wazuh::conf::scan::scan;
use crate::wazuh::home::Home;

/// Name of the configuration, the original's and ours.
const NAME: &str = "akamai_config.ini";

/// Plans the import.
pub(super) fn plan(
    home: &Home,
    options: &Options,
    ossec_conf: &[u8],
    changes: &mut Changes<'_>,
    record: &mut Record,
    report: &mut Vec<String>,
) -> Result<(), InstallError> {
    // Only the untouched template gives way: anything else is the admin's, filled in or not.
    let over_template = match present(&options.config) {
        Ok(None) => false,
        Ok(Some(text)) if text == TEMPLATE.as_bytes() => true,
        Ok(Some(text)) => {
            if !is_configured(&text) {
                report.push(format!(
                    "not ready yet: see what is missing in {} (wazuh-akamai check)",
                    options.config.display()
                ));
            }
            return Ok(());
        }
        // A link, say: the admin has arranged it otherwise.
        Err(InstallError::Strange(_)) => return Ok(()),
        Err(error) => return Err(error),
    };
    for path in candidates(home, options, ossec_conf) {
        let Ok(Some(text)) = present(&path) else { continue };
        if path == options.config || !is_configured(&text) {
            continue;
        }
        report.push(format!("credentials are taken over from {}", path.display()));
        record.imported = Some(digest(&text));
        record.imported_over_template = over_template;
        record.imported_folder = options.config.parent().is_some_and(|folder| !folder.exists());
        // root's, but in tests that are not.
        let owner = (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw());
        changes.put_anywhere(&options.config, &text, owner, 0o600)?;
        return Ok(());
    }
    let how = if over_template { "fill in" } else { "run wazuh-akamai configure, which makes" };
    report.push(format!("not configured yet: {how} {}", options.config.display()));
    Ok(())
}

/// Removes what was imported, unless it has been changed since; whether it is removed.
pub(super) fn undo(
    options: &Options,
    record: &Record,
    changes: &mut Changes<'_>,
    report: &mut Vec<String>,
) -> Result<bool, InstallError> {
    let Some(imported) = &record.imported else { return Ok(false) };
    let is_unchanged = present(&options.config).is_ok_and(|found| found.is_some_and(|text| digest(&text) == *imported));
    if is_unchanged {
        report.push("the credentials that were taken over are removed; the original's file still has them".into());
        if record.imported_over_template {
            let (owner, mode) = owner_and_mode_of(&options.config)?;
            changes.put_anywhere(&options.config, TEMPLATE.as_bytes(), owner, mode)?;
        } else {
            changes.forget(&options.config)?;
            if let Some(folder) = options.config.parent().filter(|_| record.imported_folder) {
                changes.forget_folder(folder);
            }
        }
    }
    Ok(is_unchanged)
}

fn is_configured(text: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(text) else { return false };
    let config = config::parse(NAME, text, |_| Err("not read here".into()));
    config.sources.iter().any(|source| matches!(source.state, SourceState::Ready(_)))
}

/// Where the original's file may lie: beside the scripts that wodles of our tag run, and in the usual folders.
fn candidates(home: &Home, options: &Options, ossec_conf: &[u8]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    if let Ok(document) = scan(ossec_conf) {
        for (root, _) in document.children(ossec_conf, None, "ossec_config") {
            for (wodle, _) in document.children(ossec_conf, Some(root), "wodle") {
                if document.value(ossec_conf, wodle, "tag") != Some(TAG.as_bytes()) {
                    continue;
                }
                let command = document.value(ossec_conf, wodle, "command").unwrap_or_default();
                let command = String::from_utf8_lossy(command).into_owned();
                for word in command.split_ascii_whitespace().filter(|word| word.starts_with('/')) {
                    let path = options.root.join(word.trim_start_matches('/'));
                    found.extend(path.parent().map(|folder| folder.join(NAME)));
                }
            }
        }
    }
    for folder in ["wodles/akamai", "wodles", "integrations", "etc"] {
        found.push(home.path(folder).join(NAME));
    }
    found.retain(|path| path != Path::new(&options.config));
    found
}
