//! The way to Akamai: name, proxy, TLS, clock, credentials, each config id. One request an id, one a second.

use std::net::ToSocketAddrs;
use std::thread;
use std::time::Duration;

use crate::akamai::client::{AskError, Client, skew_s};
use crate::akamai::query::{ConfigIds, Query, Range, Window};
use crate::akamai::transport::TransportError;
use crate::clock::unix_seconds;
use crate::config::{Config, Source, SourceState};
use crate::findings::Findings;

/// Time for one answer, in seconds.
const ANSWER_S_MAX: u64 = 60;

/// Seconds that are asked for: whether the answer is 200 is what counts.
const TRIED_S: i64 = 10;

/// A difference of clocks that is worth a word, in seconds; Akamai refuses from about 30.
const SKEW_S_WARNING: i64 = 10;

/// Ids that are tried one by one.
const IDS_MAX: usize = 20;

pub(super) fn check(config: &Config, findings: &mut Findings) {
    for entry in &config.sources {
        if let SourceState::Ready(source) = &entry.state {
            check_source(source, findings);
        }
    }
}

fn check_source(source: &Source, findings: &mut Findings) {
    let about = &format!("source {}: Akamai", source.name);
    let client = match Client::new(source) {
        Ok(client) => client,
        Err(error) => {
            return findings.error(about, error, "fix proxy or ca_file, or the environment variable named here");
        }
    };
    let ids = source.config_ids.joined();
    for (index, id) in ids.split(';').take(IDS_MAX).enumerate() {
        if index > 0 {
            thread::sleep(Duration::from_secs(1));
        }
        let Ok(config_ids) = ConfigIds::parse(id) else { continue };
        let window = Window::last(TRIED_S, unix_seconds());
        let query = Query { config_ids, range: Range::Window(window), limit: 1 };
        match client.ask(&query, 0, Duration::from_secs(ANSWER_S_MAX)) {
            Ok(answer) => {
                findings.ok(about, format!("config id {id}: the credentials are accepted"));
                if index == 0 {
                    note_clock(skew_s(&answer), findings);
                }
            }
            Err(AskError::Refused(refusal)) => {
                findings.error(about, format!("config id {id}: {refusal}"), refusal.problem.advice());
                if refusal.problem.is_invalid_timestamp() {
                    note_clock(refusal.skew_s, findings);
                    return;
                }
                if refusal.problem.status == 401 {
                    return;
                }
            }
            Err(error) => {
                return note_unreachable(source, &error, about, findings);
            }
        }
    }
}

fn note_clock(skew: Option<i64>, findings: &mut Findings) {
    let Some(skew) = skew else { return };
    let seen = format!("{} s {} Akamai's", skew.abs(), if skew > 0 { "behind" } else { "ahead of" });
    if skew.abs() < SKEW_S_WARNING {
        findings.ok("clock", seen);
    } else {
        findings.warn("clock", seen, "set this machine's clock (NTP): Akamai refuses requests from about 30 s");
    }
}

/// Where there is no proxy it can be said whether it is the name.
fn note_unreachable(source: &Source, error: &AskError, about: &str, findings: &mut Findings) {
    if let AskError::Transport(TransportError::Barred { host, reason, mend: fix }) = error {
        return findings.error(about, format!("cannot reach {host}: {reason}"), fix);
    }
    let mut fix = "allow connections to this host (port 443), or set proxy";
    if matches!(error, AskError::Transport(TransportError::Unreachable { .. })) && source.proxy.is_none() {
        let authority = &source.host.authority;
        let address = if authority.contains(':') { authority.clone() } else { format!("{authority}:443") };
        if address.to_socket_addrs().is_err() {
            fix = "check host for a typo, and this machine's DNS";
        }
    }
    findings.error(about, error, fix);
}
