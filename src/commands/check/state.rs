//! What the collector remembers: the state folder, the spool, losses, and whether the wodle above still forwards.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use crate::clock::{span, unix_seconds};
use crate::collector::HANDOVER_BYTES_MAX;
use crate::commands::overview::{Overview, intact};
use crate::config::{Config, Output, SourceState};
use crate::files::FileError;
use crate::findings::Findings;
use crate::privileges;
use crate::state::{Loaded, StateFolder};
use crate::wazuh::home::Home;
use crate::wazuh::wodle::SocketId;

/// The share of what the wodle forwards from which a faster way is recommended, in percent.
const SHARE_PERCENT_MAX: u64 = 80;

/// How more gets through.
const FASTER: &str = "if this persists: output = queue (a manager 4.4 or later), or wazuh_modules.max_eps=1000 in etc/local_internal_options.conf and a restart of Wazuh";

/// The same where it is the bytes of a run that bound it, so that no pace helps.
const FASTER_BY_BYTES: &str = "if this persists: output = queue (a manager 4.4 or later), which has no such limit, or a shorter interval of the wodle";

pub(super) fn check(
    config: &Config,
    overview: &Overview<'_>,
    state: &StateFolder,
    home: &Home,
    findings: &mut Findings,
) {
    let user = &config.global.user;
    if user != "root" && privileges::user(user).is_none() {
        let fix = "install Wazuh, which creates the user wazuh, or set user to an existing one";
        findings.warn("user", format!("there is no user {user}: collect keeps running as root"), fix);
    }
    if check_folder(config, state, findings) {
        check_owners(config, state, findings);
        check_files(overview, findings);
        check_spool(config, overview, home, findings);
        check_share(config, overview, findings);
        check_sources(overview, findings);
        check_mute(overview, home, findings);
    }
}

/// Whether there is anything to look at.
fn check_folder(config: &Config, state: &StateFolder, findings: &mut Findings) -> bool {
    let path = state.path();
    let shown = path.display();
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let fix = "wazuh-akamai install, then wait for the wodle's next run";
            findings.warn("state", format!("there is no {shown} yet: collect has not run"), fix);
            false
        }
        Err(error) => {
            findings.unknown("state", format!("cannot access {shown}: {error}"));
            false
        }
        Ok(metadata) if !metadata.is_dir() => {
            findings.error("state", format!("{shown} is not a directory"), "move it away");
            false
        }
        Ok(metadata) => {
            let user = privileges::user(&config.global.user);
            let (owner, name) = user.map_or((0, "root".into()), |user| (user.uid.as_raw(), user.name));
            if metadata.mode() & 0o077 != 0 || ![owner, 0].contains(&metadata.uid()) {
                let mode = metadata.mode() & 0o7777;
                findings.warn(
                    "state",
                    format!("{shown} belongs to user {} with mode {mode:04o}", metadata.uid()),
                    format!("chown -R {name} {shown}; chmod 700 {shown}"),
                );
            }
            let listed = fs::read_dir(path);
            if let Err(error) = &listed {
                findings.unknown("state", format!("cannot read {shown}: {error}"));
            }
            listed.is_ok()
        }
    }
}

/// Entries that the user of the collector may not be able to use.
fn check_owners(config: &Config, state: &StateFolder, findings: &mut Findings) {
    let Some(user) = privileges::user(&config.global.user) else { return };
    let Ok(entries) = fs::read_dir(state.path()) else { return };
    let (mut foreign, mut odd): (Vec<PathBuf>, Vec<PathBuf>) = (Vec::new(), Vec::new());
    for path in entries.flatten().map(|entry| entry.path()) {
        match fs::symlink_metadata(&path) {
            Ok(metadata) if !metadata.is_file() || metadata.nlink() > 1 => odd.push(path),
            Ok(metadata) if metadata.uid() != user.uid.as_raw() => foreign.push(path),
            _ => {}
        }
    }
    if let Some(path) = foreign.first() {
        findings.warn(
            "state",
            format!("{} files do not belong to {}, for example {}", foreign.len(), user.name, path.display()),
            format!("nothing, if Wazuh runs collect: it starts as root and gives them to {}", user.name),
        );
    }
    if let Some(path) = odd.first() {
        let seen = "entries are not regular files, or have several hard links";
        let seen = format!("{} {seen}, for example {}: the collector never creates these", odd.len(), path.display());
        findings.warn("state", seen, "find out who created them, and remove them");
    }
}

/// Files that cannot be read.
fn check_files(overview: &Overview<'_>, findings: &mut Findings) {
    let mut note = |error: &FileError| {
        let fix = match error.is_newer() {
            true => "install the newer version again",
            false => "run check as root; if it persists, check the file and the disk",
        };
        findings.error("state", error, fix);
    };
    overview.delivery.as_ref().err().map(&mut note);
    overview.health.as_ref().err().map(&mut note);
    for source in &overview.sources {
        source.health.as_ref().err().map(&mut note);
        source.cursor.as_ref().err().map(&mut note);
    }
    // One is enough: most often all have the same.
    let segments = overview.spool.iter().flat_map(|spool| &spool.segments);
    segments.map(|segment| segment.open(0)).find_map(Result::err).as_ref().map(&mut note);
}

fn check_spool(config: &Config, overview: &Overview<'_>, home: &Home, findings: &mut Findings) {
    let spool = match &overview.spool {
        Ok(spool) => spool,
        Err(error) => return findings.unknown("spool", error),
    };
    let (lines, bytes, max) = (spool.lines(), spool.bytes(), config.global.spool_bytes_max);
    let pace = config.sources.iter().filter_map(|entry| match &entry.state {
        SourceState::Ready(source) => source.max_eps,
        _ => None,
    });
    let pace = pace.min().unwrap_or_else(|| home.max_eps());
    let one_run = pace * home.interval_s();
    let is_stdout = config.global.output == Output::Stdout;
    let seen = format!("{lines} lines, {bytes} of {max} bytes");
    if spool.is_nearly_full(max) {
        findings.error(
            "spool",
            seen,
            "let Wazuh take more (wazuh_modules.max_eps), free disk space, or raise spool_max",
        );
    } else if is_stdout && bytes > HANDOVER_BYTES_MAX {
        let seen = format!("{seen}: more than one run hands over ({HANDOVER_BYTES_MAX} bytes)");
        findings.warn("spool", seen, FASTER_BY_BYTES);
    } else if is_stdout && lines > one_run {
        let seen = format!("{seen}: more than one run hands over ({one_run} at {pace} events a second)");
        findings.warn("spool", seen, FASTER);
    } else {
        findings.ok("spool", seen);
    }
}

/// Whether the wodle will still forward all of it when there is a little more.
fn check_share(config: &Config, overview: &Overview<'_>, findings: &mut Findings) {
    let Some(record) = intact(&overview.delivery) else { return };
    if config.global.output == Output::Queue {
        if let Some(rate) = record.queue_rate {
            let seen = format!("analysisd took {} lines a second, {} unconfirmed", rate.lines_per_s, rate.unconfirmed);
            findings.ok("pace", seen);
        }
        return;
    }
    let Some(share) = record.wodle_share else { return };
    let seen = format!(
        "the last run with events handed over {} of the {} lines that the wodle forwards in one interval, and {} of the {HANDOVER_BYTES_MAX} bytes that it takes in one run",
        share.lines, share.lines_max, share.bytes
    );
    if share.bytes >= HANDOVER_BYTES_MAX / 100 * SHARE_PERCENT_MAX {
        findings.warn("pace", seen, FASTER_BY_BYTES);
    } else if share.lines >= share.lines_max / 100 * SHARE_PERCENT_MAX {
        findings.warn("pace", seen, FASTER);
    } else {
        findings.ok("pace", seen);
    }
}

fn check_sources(overview: &Overview<'_>, findings: &mut Findings) {
    for source in &overview.sources {
        let about = &format!("source {}", source.entry.name);
        if matches!(source.cursor, Ok(Loaded::Corrupt)) {
            let fix = "nothing: the next run resumes by time and reports what may be lost";
            findings.error(about, "its cursor is damaged", fix);
        }
        let Some(health) = intact(&source.health) else { continue };
        if let Some((from, to)) = health.recent_gap(unix_seconds()) {
            let fix = "find out what kept the collector from running: its log and ossec.log";
            findings.error(about, format!("events {} were lost", span(from, to)), fix);
        }
        let error = health.last_error.as_ref().map_or("", |(_, text)| text);
        for condition in health.conditions.keys() {
            let fix = "see the findings on Akamai, the clock and the configuration";
            findings.error(about, format!("{} is active: {error}", condition.word()), fix);
        }
    }
}

/// A wodle whose socket was replaced forwards nothing until its modulesd is restarted.
fn check_mute(overview: &Overview<'_>, home: &Home, findings: &mut Findings) {
    let record = intact(&overview.delivery);
    let Some((parent, seen)) = record.and_then(|record| record.first_seen.as_ref()) else { return };
    if !parent.is_alive() {
        return;
    }
    if seen.is_some() && SocketId::at(&home.queue_socket()) == *seen {
        return findings.ok("wodle", "it still uses the queue socket that it connected to");
    }
    let seen = format!(
        "{} is not the socket that wazuh-modulesd (process {}) connected to: nothing that its wodles send arrives",
        home.queue_socket().display(),
        parent.pid
    );
    findings.error("wodle", seen, "wazuh-control restart");
}
