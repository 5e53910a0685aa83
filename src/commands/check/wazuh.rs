//! The Wazuh side: home, wodle block, rules, queue socket, and events that analysisd had to drop.

use std::io;

use crate::config::{Config, Output};
use crate::findings::Findings;
use crate::install;
use crate::wazuh::analysisd::Analysisd;
use crate::wazuh::home::{Home, HomeError, Kind};

pub(super) fn check(config: &Config, home: &Home, findings: &mut Findings) {
    if let Some(problem) = home.unknown_version_problem() {
        let mend = format!("run {} info and mend what it says", home.path("bin/wazuh-control").display());
        return findings.error("Wazuh", problem, mend);
    }
    match &home.problem {
        None => findings.ok("Wazuh", home),
        Some(error @ HomeError::Unseen { .. }) => return findings.unknown("Wazuh", error),
        Some(error @ HomeError::Five { .. }) => {
            let seen = format!("{error}; collect hands nothing over here and keeps what it fetches in the spool");
            let mend = "run the collector on an agent 4.14 that is connected to the 5.x manager";
            return findings.error("Wazuh", seen, mend);
        }
        Some(error) => return findings.warn("Wazuh", error, "install Wazuh 4.3 to 4.x, then: wazuh-akamai install"),
    }
    install::check_restart(home, findings);
    install::check(home, findings);
    check_queue(home, findings);
    if let Some(problem) = home.queue_problem().filter(|_| config.global.output == Output::Queue) {
        findings.error("output", problem, "set output = stdout");
    }
    if home.kind == Kind::Manager {
        check_drops(home, findings);
    }
    if !config.sources.is_empty() && home.is_worker {
        findings.ok("cluster", "this is a worker: sources with run_on = master are asked by the master");
    }
}

fn check_queue(home: &Home, findings: &mut Findings) {
    match Analysisd::of(home).connect() {
        Ok(()) => findings.ok("queue", format!("{} takes events", home.queue_socket().display())),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => findings.unknown("queue", error),
        Err(error) => findings.error("queue", error, "start Wazuh: wazuh-control start"),
    }
}

fn check_drops(home: &Home, findings: &mut Findings) {
    match Analysisd::of(home).stats().map(|stats| stats.counters.dropped) {
        Err(error) => {
            findings.unknown("analysisd", format!("its counters cannot be read (they need Wazuh 4.4 or later): {error}"));
        }
        Ok(0) => findings.ok("analysisd", "it has dropped no event of a command wodle since its start"),
        Ok(dropped) => findings.error(
            "analysisd",
            format!("it has dropped {dropped} events of command wodles since its start: its queue was full"),
            "lower wazuh_modules.max_eps or set output = queue, or find what keeps analysisd busy (var/run/wazuh-analysisd.state)",
        ),
    }
}
