//! The Wazuh side: home, wodle block, rules, queue socket, and events that analysisd had to drop.

use std::io;

use super::{Findings, Level};
use crate::config::{Config, Output};
use crate::install::{Finding as RulesFinding, look_at_block, look_at_restart, look_at_rules};
use crate::wazuh::analysisd::Analysisd;
use crate::wazuh::home::{Home, HomeError, Kind};

pub(super) fn check(config: &Config, home: &Home, findings: &mut Findings) {
    match &home.problem {
        None => {}
        Some(error @ HomeError::Unseen { .. }) => {
            return findings.add(Level::Unknown, "Wazuh", error.to_string(), "run check as root");
        }
        Some(error @ HomeError::Five { .. }) => {
            return findings.add(
                Level::Error,
                "Wazuh",
                format!("{error}; collect hands nothing over here and keeps what it fetches in the spool"),
                "run the collector on an agent 4.14 that is connected to the 5.x manager",
            );
        }
        Some(error) => {
            return findings.add(
                Level::Warning,
                "Wazuh",
                error.to_string(),
                "install Wazuh 4.3 to 4.x, then: wazuh-akamai install",
            );
        }
    }
    findings.ok("Wazuh", home.to_string());
    add(look_at_block(home), "wodle block", findings);
    add(look_at_restart(home), "restart", findings);
    if home.has_rules() {
        add(look_at_rules(home), "rules", findings);
    }
    check_queue(home, findings);
    if let Some(problem) = home.queue_problem().filter(|_| config.global.output == Output::Queue) {
        findings.add(Level::Error, "output", problem, "set output = stdout");
    }
    if home.kind == Kind::Manager {
        check_drops(home, findings);
    }
    if !config.sources.is_empty() && home.is_worker {
        findings.ok("cluster", "this is a worker: sources with run_on = master are asked by the master");
    }
}

fn add(found: Vec<RulesFinding>, about: &str, findings: &mut Findings) {
    for finding in found {
        match finding {
            RulesFinding::Fine(seen) => findings.ok(about, seen),
            RulesFinding::Unseen(seen) => findings.add(Level::Unknown, about, seen, "run check as root"),
            RulesFinding::Doubtful(seen, mend) => findings.add(Level::Warning, about, seen, mend),
            RulesFinding::Wrong(seen, mend) => findings.add(Level::Error, about, seen, mend),
        }
    }
}

fn check_queue(home: &Home, findings: &mut Findings) {
    match Analysisd::of(home).connect() {
        Ok(()) => findings.ok("queue", format!("{} takes events", home.queue_socket().display())),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            findings.add(Level::Unknown, "queue", error.to_string(), "run check as root");
        }
        Err(error) => {
            findings.add(Level::Error, "queue", error.to_string(), "start Wazuh: wazuh-control start");
        }
    }
}

fn check_drops(home: &Home, findings: &mut Findings) {
    match Analysisd::of(home).stats().map(|stats| stats.counters.dropped) {
        Err(error) => findings.add(
            Level::Unknown,
            "analysisd",
            format!("its counters cannot be read: {error}"),
            "run check as root, with Wazuh 4.4 or later running",
        ),
        Ok(0) => findings.ok("analysisd", "it has dropped no event of a command wodle since its start"),
        Ok(dropped) => findings.add(
            Level::Error,
            "analysisd",
            format!("it has dropped {dropped} events of command wodles since its start: its queue was full"),
            "lower wazuh_modules.max_eps or set output = queue, or find what keeps analysisd busy (var/run/wazuh-analysisd.state)",
        ),
    }
}
