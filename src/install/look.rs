//! How the Wazuh side stands, for `check`. Never changes a file.

use std::fs;
use std::io;
use std::path::Path;

use super::change::read_inside;
use super::record::Record;
use super::rules::{RulesPlan, active_responses, plan};
use super::{BINARY, InstallError, NEW_RULES, RECORD, RULES, RULES_FILE, restart};
use crate::files::FileError;
use crate::findings::Findings;
use crate::wazuh::conf::merge::{installation, our_part};
use crate::wazuh::home::{Home, INTERVAL_S};

/// What `install` has to say against something that is not as it should be.
const INSTALL: &str = "wazuh-akamai install";

/// The wodle's block, its program, and the rules.
pub(crate) fn check(home: &Home, findings: &mut Findings) {
    let conf = home.path("etc/ossec.conf");
    match read_inside(home, &conf) {
        Ok(text) => check_block(home, &conf, &text, findings),
        Err(error) => note(&error, "wodle block", findings),
    }
    if home.has_rules() {
        check_rules(home, findings);
    }
}

fn check_block(home: &Home, conf: &Path, text: &[u8], findings: &mut Findings) {
    let about = "wodle block";
    match our_part(text) {
        Err(error) => findings.error(about, format!("{}: {error}", conf.display()), "fix this line by hand"),
        Ok(None) => findings.error(about, format!("{} does not contain our block", conf.display()), INSTALL),
        Ok(Some(_)) if installation(text, &home.block()).is_ok_and(|edits| edits.is_empty()) => {
            findings.ok(about, format!("in {}", conf.display()));
        }
        Ok(Some(_)) => findings.warn(
            about,
            format!("our block in {} was edited, or another wodle with its tag runs", conf.display()),
            "nothing, if that is intended; else: wazuh-akamai uninstall, then wazuh-akamai install",
        ),
    }
    let interval = home.interval_s();
    if interval != INTERVAL_S {
        let fix = "nothing, if that is intended: each run hands over what fits";
        findings.warn(about, format!("it runs every {interval} s instead of {INTERVAL_S}"), fix);
    }
    for seen in active_responses(text, conf) {
        findings.warn(about, seen, "remove that block from ossec.conf");
    }
    let binary = home.path(BINARY);
    match fs::metadata(&binary) {
        Ok(_) => findings.ok(about, format!("it runs {}", binary.display())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            findings.error(about, format!("there is no {}", binary.display()), INSTALL);
        }
        Err(error) => findings.unknown(about, FileError::of("access", &binary)(error)),
    }
}

/// Whether Wazuh has still to be restarted.
pub(crate) fn check_restart(home: &Home, findings: &mut Findings) {
    if Record::load(&home.path(RECORD)).is_ok_and(|record| record.is_owed(home) && restart::is_running(home)) {
        let fix = "restart Wazuh: wazuh-control restart (or wazuh-akamai install)";
        findings.error("restart", "Wazuh has not been restarted since install changed its configuration", fix);
    }
}

/// Why there are no rules of ours in this Wazuh home, as `install` found when it ran last.
pub(crate) fn rules_problem(home: &Home) -> Option<String> {
    let record = Record::load(&home.path(RECORD)).ok()?;
    let clashes = record.clashes.join("; ");
    (!clashes.is_empty())
        .then(|| format!("the rules are not installed, because their ids are already in use: {clashes}"))
}

fn check_rules(home: &Home, findings: &mut Findings) {
    let planned = Record::load(&home.path(RECORD)).map_err(InstallError::from).and_then(|record| plan(home, &record));
    let (path, about) = (home.path(RULES_FILE), "rules");
    let shown = path.display();
    match planned {
        Err(error) => note(&error, about, findings),
        Ok(RulesPlan::Clash(clashes)) => {
            for clash in clashes {
                let fix = format!("give that rule another id, then: {INSTALL}");
                findings.error(about, format!("one of our ids is already in use: {clash}"), fix);
            }
        }
        Ok(RulesPlan::Edited) => {
            let seen = format!("{shown} was edited; the new rules are in {}", home.path(NEW_RULES).display());
            findings.warn(about, seen, "compare the two and copy what is new");
        }
        Ok(RulesPlan::Install { .. }) => match fs::read(&path) {
            Ok(text) if text == RULES.as_bytes() => findings.ok(about, format!("{shown} is up to date")),
            Ok(_) => findings.warn(about, format!("{shown} is from another version"), INSTALL),
            Err(_) => findings.error(about, format!("there is no {shown}"), INSTALL),
        },
    }
}

fn note(error: &InstallError, about: &str, findings: &mut Findings) {
    match error {
        InstallError::File(file) if file.source.kind() == io::ErrorKind::PermissionDenied => {
            findings.unknown(about, error);
        }
        _ => findings.error(about, error, INSTALL),
    }
}
