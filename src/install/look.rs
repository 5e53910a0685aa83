//! How the Wazuh side stands, for `check`. Never changes a file.

use std::fs;
use std::io;

use super::change::read_inside;
use super::record::Record;
use super::rules::{RulesPlan, plan, warn_active_response};
use super::{BINARY, InstallError, NEW_RULES, RECORD, RULES, RULES_FILE, restart};
use crate::files::FileError;
use crate::wazuh::conf::merge::{installation, our_part};
use crate::wazuh::home::{Home, INTERVAL_S};

/// What `install` has to say against something that is not as it should be.
const INSTALL: &str = "wazuh-akamai install";

/// What was seen, and how to mend it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// As it should be.
    Fine(String),
    /// It could not be seen.
    Unseen(String),
    /// Perhaps not as it should be.
    Doubtful(String, String),
    /// Not as it should be.
    Wrong(String, String),
}

/// The wodle's block in `ossec.conf` and its program.
pub fn look_at_block(home: &Home) -> Vec<Finding> {
    let conf = home.path("etc/ossec.conf");
    let text = match read_inside(home, &conf) {
        Ok(text) => text,
        Err(error) => return vec![unseen_or_wrong(&error)],
    };
    let mut findings = Vec::new();
    match our_part(&text) {
        Err(error) => {
            findings.push(Finding::Wrong(format!("{}: {error}", conf.display()), "mend this line by hand".into()));
        }
        Ok(None) => findings.push(Finding::Wrong(format!("{} has no block of ours", conf.display()), INSTALL.into())),
        Ok(Some(_)) if installation(&text, &home.block()).is_ok_and(|edits| edits.is_empty()) => {
            findings.push(Finding::Fine(format!("in {}", conf.display())));
        }
        Ok(Some(_)) => findings.push(Finding::Doubtful(
            format!("our block in {} was edited, or another wodle with its tag runs", conf.display()),
            "nothing, if that is meant; else: wazuh-akamai uninstall, then wazuh-akamai install".into(),
        )),
    }
    let interval = home.interval_s();
    if interval != INTERVAL_S {
        findings.push(Finding::Doubtful(
            format!("it runs every {interval} s instead of {INTERVAL_S}"),
            "nothing, if that is meant: each run hands over what fits".into(),
        ));
    }
    let mut warnings = Vec::new();
    warn_active_response(&text, &conf, &mut warnings);
    findings
        .extend(warnings.into_iter().map(|seen| Finding::Doubtful(seen, "remove that block from ossec.conf".into())));
    match fs::metadata(home.path(BINARY)) {
        Ok(_) => findings.push(Finding::Fine(format!("it runs {}", home.path(BINARY).display()))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            findings.push(Finding::Wrong(format!("there is no {}", home.path(BINARY).display()), INSTALL.into()));
        }
        Err(error) => findings.push(Finding::Unseen(FileError::of("look at", &home.path(BINARY))(error).to_string())),
    }
    findings
}

/// Whether Wazuh has still to be restarted.
pub fn look_at_restart(home: &Home) -> Vec<Finding> {
    let is_owed =
        Record::load(&home.path(RECORD)).is_ok_and(|record| record.is_owed(home) && restart::is_running(home));
    let owed = is_owed.then(|| {
        Finding::Wrong(
            "Wazuh runs without what install has changed".into(),
            "restart Wazuh: wazuh-control restart (or wazuh-akamai install)".into(),
        )
    });
    owed.into_iter().collect()
}

/// Why there are no rules of ours in this Wazuh home, as `install` found when it ran last.
pub fn rules_problem(home: &Home) -> Option<String> {
    let record = Record::load(&home.path(RECORD)).ok()?;
    let clashes = record.clashes.join("; ");
    (!clashes.is_empty()).then(|| format!("the rules are not installed, because their ids are taken: {clashes}"))
}

/// The rules.
pub fn look_at_rules(home: &Home) -> Vec<Finding> {
    let looked = Record::load(&home.path(RECORD)).map_err(InstallError::from).and_then(|record| plan(home, &record));
    let rules = home.path(RULES_FILE);
    match looked {
        Err(error) => vec![unseen_or_wrong(&error)],
        Ok(RulesPlan::Clash(clashes)) => clashes
            .into_iter()
            .map(|clash| {
                Finding::Wrong(
                    format!("an id of ours is taken: {clash}"),
                    format!("give that rule another id, then: {INSTALL}"),
                )
            })
            .collect(),
        Ok(RulesPlan::Edited) => vec![Finding::Doubtful(
            format!("{} was edited; the new rules are in {}", rules.display(), home.path(NEW_RULES).display()),
            "compare the two and take over what is new".into(),
        )],
        Ok(RulesPlan::Install { .. }) => match fs::read(&rules) {
            Ok(text) if text == RULES.as_bytes() => vec![Finding::Fine(format!("{} is up to date", rules.display()))],
            Ok(_) => vec![Finding::Doubtful(format!("{} is of another version", rules.display()), INSTALL.into())],
            Err(_) => vec![Finding::Wrong(format!("there is no {}", rules.display()), INSTALL.into())],
        },
    }
}

fn unseen_or_wrong(error: &InstallError) -> Finding {
    match error {
        InstallError::File(file) if file.source.kind() == io::ErrorKind::PermissionDenied => {
            Finding::Unseen(error.to_string())
        }
        _ => Finding::Wrong(error.to_string(), INSTALL.into()),
    }
}
