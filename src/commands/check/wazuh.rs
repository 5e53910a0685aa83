//! The Wazuh side: home, wodle block, rules, queue socket, and events that analysisd had to drop.

use std::io;

use crate::config::{Config, Output};
use crate::findings::Findings;
use crate::install;
use crate::privileges;
use crate::wazuh::analysisd::{Analysisd, StatsError};
use crate::wazuh::home::{Home, HomeError, Kind};

pub(super) fn check(config: &Config, home: &Home, findings: &mut Findings) {
    if let Some(problem) = home.unknown_version_problem() {
        let fix = format!("run {} info and fix what it says", home.path("bin/wazuh-control").display());
        return findings.error("Wazuh", problem, fix);
    }
    match &home.problem {
        None => findings.ok("Wazuh", home),
        Some(error @ HomeError::Unseen { .. }) => return findings.unknown("Wazuh", error),
        Some(error @ HomeError::Five { .. }) => {
            let seen = format!("{error}; collect delivers nothing here and keeps what it fetches in the spool");
            let fix = "run the collector on a 4.14 agent that is connected to the 5.x manager";
            return findings.error("Wazuh", seen, fix);
        }
        Some(error) => return findings.warn("Wazuh", error, "install Wazuh 4.3 to 4.x, then: wazuh-akamai install"),
    }
    install::check_restart(home, findings);
    install::check(home, findings);
    check_queue(config, home, findings);
    if let Some(problem) = home.queue_problem().filter(|_| config.global.output == Output::Queue) {
        findings.error("output", problem, "set output = stdout");
    }
    if home.kind == Kind::Manager {
        check_drops(config, home, findings);
    }
    if !config.sources.is_empty() && home.is_worker {
        findings.ok("cluster", "this is a worker: sources with run_on = master are collected on the master");
    }
}

fn check_queue(config: &Config, home: &Home, findings: &mut Findings) {
    let connected = as_collector(config, home, || Analysisd::of(home).connect()).and_then(|connected| connected);
    match (connected, is_other(config)) {
        (Ok(()), is_other) => {
            let whose = if is_other { format!(" of the user {}", config.global.user) } else { String::new() };
            findings.ok("queue", format!("{} accepts events{whose}", home.queue_socket().display()));
        }
        (Err(error), true) if error.kind() == io::ErrorKind::PermissionDenied => {
            findings.error("queue", format!("user {}: {error}", config.global.user), "set user = wazuh");
        }
        (Err(error), false) if error.kind() == io::ErrorKind::PermissionDenied => findings.unknown("queue", error),
        (Err(error), _) => findings.error("queue", error, "start Wazuh: wazuh-control start"),
    }
}

fn check_drops(config: &Config, home: &Home, findings: &mut Findings) {
    let stats = match as_collector(config, home, || Analysisd::of(home).stats()) {
        Ok(stats) => stats,
        Err(error) => return findings.unknown("analysisd", error),
    };
    match stats.map(|stats| stats.counters.dropped) {
        Err(error @ StatsError::Denied { .. }) if is_other(config) => {
            findings.error("analysisd", format!("user {}: {error}", config.global.user), "set user = wazuh");
        }
        Err(error) => {
            findings.unknown("analysisd", format!("its counters cannot be read (they need Wazuh 4.4 or later): {error}"));
        }
        Ok(0) => findings.ok("analysisd", "it has dropped no event from a command wodle since it started"),
        Ok(dropped) => findings.error(
            "analysisd",
            format!("it has dropped {dropped} events from command wodles since it started: its queue was full"),
            "lower wazuh_modules.max_eps or set output = queue, or find what keeps analysisd busy (var/run/wazuh-analysisd.state)",
        ),
    }
}

/// Whether `collect` becomes another user than the one that checks.
fn is_other(config: &Config) -> bool {
    privileges::is_root() && privileges::user(&config.global.user).is_some()
}

/// What `collect` would find, as the user that it becomes.
fn as_collector<T: Send>(config: &Config, home: &Home, trial: impl FnOnce() -> T + Send) -> io::Result<T> {
    match privileges::user(&config.global.user).filter(|_| privileges::is_root()) {
        Some(user) => privileges::as_user(&user, home.group(), trial),
        None => Ok(trial()),
    }
}
