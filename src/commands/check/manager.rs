//! The Wazuh side: home, wodle block, rules, queue socket, and events that analysisd had to drop.

use std::io::{self, Read, Write};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::{Findings, Level};
use crate::config::Config;
use crate::install::{Finding as RulesFinding, Home, HomeError, Kind, look_at_block, look_at_rules};
use crate::wazuh::Wazuh;

/// Time for an answer of analysisd, in seconds: during a reload it takes one.
const STATS_S_MAX: u64 = 3;

/// Bytes of its answer; it has some 1.7 kB.
const STATS_BYTES_MAX: usize = 1 << 20;

pub(super) fn check(config: &Config, wazuh: &Wazuh, findings: &mut Findings) {
    let home = match Home::find(Path::new("/"), Some(wazuh.home())) {
        Ok(home) => home,
        Err(error @ HomeError::Unseen { .. }) => {
            return findings.add(Level::Unknown, "Wazuh", error.to_string(), "run check as root");
        }
        Err(error) => {
            return findings.add(
                Level::Warning,
                "Wazuh",
                error.to_string(),
                "install Wazuh 4.3 to 4.x, then: wazuh-akamai install",
            );
        }
    };
    findings.ok("Wazuh", home.to_string());
    add(look_at_block(&home, wazuh), "wodle block", findings);
    if home.kind == Kind::Manager && !home.is_worker {
        add(look_at_rules(&home), "rules", findings);
    }
    check_queue(wazuh, findings);
    if home.kind == Kind::Manager {
        check_drops(wazuh, findings);
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

fn check_queue(wazuh: &Wazuh, findings: &mut Findings) {
    let path = wazuh.queue_socket();
    match UnixDatagram::unbound().and_then(|socket| socket.connect(&path)) {
        Ok(()) => findings.ok("queue", format!("{} takes events", path.display())),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            findings.add(
                Level::Unknown,
                "queue",
                format!("cannot look at {}: {error}", path.display()),
                "run check as root",
            );
        }
        Err(error) => {
            findings.add(
                Level::Error,
                "queue",
                format!("nobody listens at {}: {error}", path.display()),
                "start Wazuh: wazuh-control start",
            );
        }
    }
}

fn check_drops(wazuh: &Wazuh, findings: &mut Findings) {
    let socket = wazuh.home().join("queue/sockets/analysis");
    let stats = match stats(&socket) {
        Ok(stats) => stats,
        Err(error) => {
            return findings.add(
                Level::Unknown,
                "analysisd",
                format!("its counters cannot be read ({}): {error}", socket.display()),
                "run check as root, with Wazuh 4.4 or later running",
            );
        }
    };
    let command = "/data/metrics/events/received_breakdown/dropped_breakdown/modules_breakdown/command";
    match stats.pointer(command).and_then(Value::as_u64) {
        Some(0) => findings.ok("analysisd", "it has dropped no event of a command wodle since its start"),
        Some(dropped) => findings.add(
            Level::Error,
            "analysisd",
            format!("it has dropped {dropped} events of command wodles since its start: its queue was full"),
            "lower wazuh_modules.max_eps, or find what keeps analysisd busy (var/run/wazuh-analysisd.state)",
        ),
        None => findings.add(Level::Unknown, "analysisd", "it does not say how many events it dropped", ""),
    }
}

/// Asks analysisd for its counters: four bytes of length and JSON, both ways.
fn stats(socket: &Path) -> io::Result<Value> {
    let mut stream = UnixStream::connect(socket)?;
    let limit = Some(Duration::from_secs(STATS_S_MAX));
    stream.set_read_timeout(limit)?;
    stream.set_write_timeout(limit)?;
    let request =
        json!({"version": 1, "origin": {"module": "akamai"}, "command": "getstats", "parameters": {}}).to_string();
    let length = u32::try_from(request.len()).unwrap_or(0).to_le_bytes();
    stream.write_all(&[&length[..], request.as_bytes()].concat())?;
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let length = u32::from_le_bytes(length) as usize;
    if length > STATS_BYTES_MAX {
        return Err(io::Error::other("the answer is too long"));
    }
    let mut answer = vec![0; length];
    stream.read_exact(&mut answer)?;
    serde_json::from_slice(&answer).map_err(io::Error::from)
}
