//! What the collector remembers: the state folder, the spool, losses, and whether the wodle above still forwards.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;

use super::{Findings, Level, kept};
use crate::clock::{span, unix_seconds};
use crate::collector::HANDOVER_BYTES_MAX;
use crate::config::{Config, MaxEps, Mode, Output, SourceState};
use crate::privileges;
use crate::state::cursor::CursorFile;
use crate::state::delivery::DeliveryFile;
use crate::state::health::HealthFile;
use crate::state::spool::Spool;
use crate::state::{Loaded, StateFolder};
use crate::wazuh::home::Home;
use crate::wazuh::wodle::SocketId;

/// The share of what the wodle forwards from which a faster way is recommended, in percent.
const SHARE_PERCENT_MAX: u64 = 80;

/// How more gets through.
const FASTER: &str = "if this stays so: output = queue (a manager 4.4 or later), or wazuh_modules.max_eps=1000 in etc/local_internal_options.conf and a restart of Wazuh";

/// The same where it is the bytes of a run that bound it, so that no pace helps.
const FASTER_BY_BYTES: &str = "if this stays so: output = queue (a manager 4.4 or later), which has no such bound, or a shorter interval of the wodle";

/// Seconds for which a loss is worth a word.
const GAP_S_MAX: i64 = 86_400;

pub(super) fn check(config: &Config, state: &StateFolder, home: &Home, findings: &mut Findings) {
    check_user(&config.global.user, findings);
    if !check_folder(config, state, findings) {
        return;
    }
    kept::check(config, state, findings);
    check_spool(config, state, home, findings);
    check_share(config, state, findings);
    check_sources(config, state, findings);
    check_mute(state, home, findings);
}

/// The user that collect becomes.
fn check_user(name: &str, findings: &mut Findings) {
    if name != "root" && privileges::user(name).is_none() {
        findings.add(
            Level::Warning,
            "user",
            format!("there is no user {name}: collect stays root"),
            "install Wazuh, which brings the user wazuh, or set user to one that there is",
        );
    }
}

/// Whether there is anything to look at.
fn check_folder(config: &Config, state: &StateFolder, findings: &mut Findings) -> bool {
    let path = state.path();
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            findings.add(
                Level::Warning,
                "state",
                format!("there is no {} yet: collect has not run", path.display()),
                "wazuh-akamai install, then wait for the wodle's next run",
            );
            false
        }
        Err(error) => {
            findings.add(
                Level::Unknown,
                "state",
                format!("cannot look at {}: {error}", path.display()),
                "run check as root",
            );
            false
        }
        Ok(metadata) if !metadata.is_dir() => {
            findings.add(Level::Error, "state", format!("{} is no folder", path.display()), "move it away");
            false
        }
        Ok(metadata) => {
            let user = privileges::user(&config.global.user);
            let (owner, name) = user.map_or((0, "root".into()), |user| (user.uid.as_raw(), user.name));
            if metadata.mode() & 0o077 != 0 || ![owner, 0].contains(&metadata.uid()) {
                findings.add(
                    Level::Warning,
                    "state",
                    format!(
                        "{} belongs to user {} with mode {:04o}",
                        path.display(),
                        metadata.uid(),
                        metadata.mode() & 0o7777
                    ),
                    format!("chown -R {name} {}; chmod 700 {}", path.display(), path.display()),
                );
            }
            if let Err(error) = fs::read_dir(path) {
                findings.add(
                    Level::Unknown,
                    "state",
                    format!("cannot read {}: {error}", path.display()),
                    "run check as root",
                );
                return false;
            }
            true
        }
    }
}

fn check_spool(config: &Config, state: &StateFolder, home: &Home, findings: &mut Findings) {
    let spool = match Spool::look(state) {
        Ok(spool) => spool,
        Err(error) => return findings.add(Level::Unknown, "spool", error.to_string(), "run check as root"),
    };
    let (bytes, max) = (spool.bytes(), config.global.spool_bytes_max);
    let lines = spool.lines();
    let pace = config.sources.iter().filter_map(|entry| match &entry.state {
        SourceState::Ready(source) => match source.max_eps {
            MaxEps::Fixed(events) => Some(events),
            MaxEps::Auto => None,
        },
        _ => None,
    });
    let pace = pace.min().unwrap_or_else(|| home.max_eps());
    let one_run = pace * home.interval_s();
    let seen = format!("{lines} lines, {bytes} of {max} bytes");
    if bytes >= max / 100 * 80 {
        findings.add(
            Level::Error,
            "spool",
            seen,
            "let Wazuh take more (wazuh_modules.max_eps), make room, or raise spool_max",
        );
    } else if config.global.output == Output::Stdout && (lines > one_run || bytes > HANDOVER_BYTES_MAX) {
        let bound = if bytes > HANDOVER_BYTES_MAX {
            format!("{HANDOVER_BYTES_MAX} bytes")
        } else {
            format!("{one_run} at {pace} events a second")
        };
        let mend = if bytes > HANDOVER_BYTES_MAX { FASTER_BY_BYTES } else { FASTER };
        findings.add(Level::Warning, "spool", format!("{seen}: more than one run hands over ({bound})"), mend);
    } else {
        findings.ok("spool", seen);
    }
}

/// Whether the wodle will still forward all of it when there is a little more.
fn check_share(config: &Config, state: &StateFolder, findings: &mut Findings) {
    let Ok(Loaded::Intact(record)) = DeliveryFile::of(state).load() else { return };
    match config.global.output {
        Output::Stdout => {
            let Some(share) = record.wodle_share else { return };
            let seen = format!(
                "the last run with events handed over {} of the {} lines that the wodle forwards in one interval, and {} of the {HANDOVER_BYTES_MAX} bytes that it takes in one run",
                share.lines, share.lines_max, share.bytes
            );
            if share.bytes >= HANDOVER_BYTES_MAX / 100 * SHARE_PERCENT_MAX {
                findings.add(Level::Warning, "pace", seen, FASTER_BY_BYTES);
            } else if share.lines >= share.lines_max / 100 * SHARE_PERCENT_MAX {
                findings.add(Level::Warning, "pace", seen, FASTER);
            } else {
                findings.ok("pace", seen);
            }
        }
        Output::Queue => {
            let Some(rate) = record.queue_rate else { return };
            findings.ok(
                "pace",
                format!("analysisd took {} lines a second, {} unconfirmed", rate.lines_per_s, rate.unconfirmed),
            );
        }
    }
}

fn check_sources(config: &Config, state: &StateFolder, findings: &mut Findings) {
    for entry in &config.sources {
        let about = format!("source {}", entry.name);
        if let SourceState::Ready(source) = &entry.state
            && source.mode == Mode::Follow
            && matches!(CursorFile::of(state, source).load(), Ok(Loaded::Corrupt))
        {
            findings.add(
                Level::Error,
                about.clone(),
                "its cursor is damaged",
                "nothing: the next run goes on by time, and tells what may be lost",
            );
        }
        let Ok(Loaded::Intact(health)) = HealthFile::of(state, &entry.name).load() else { continue };
        if let Some((from, to, noticed)) = health.last_gap
            && unix_seconds() - noticed <= GAP_S_MAX
        {
            findings.add(
                Level::Error,
                about.clone(),
                format!("events {} were lost", span(from, to)),
                "find out what kept the collector from running: its log and ossec.log",
            );
        }
        for condition in health.conditions.keys() {
            let error = health.last_error.as_ref().map(|(_, text)| text.clone()).unwrap_or_default();
            findings.add(
                Level::Error,
                about.clone(),
                format!("{} holds: {error}", condition.word()),
                "see what is said of Akamai, clock and configuration",
            );
        }
    }
}

/// A wodle whose socket was replaced forwards nothing until its modulesd is restarted.
fn check_mute(state: &StateFolder, home: &Home, findings: &mut Findings) {
    let Ok(Loaded::Intact(record)) = DeliveryFile::of(state).load() else { return };
    let Some((parent, seen)) = record.first_seen else { return };
    if !parent.is_alive() {
        return;
    }
    if seen.is_some() && SocketId::at(&home.queue_socket()) == seen {
        findings.ok("wodle", "its way to Wazuh's queue is the one it began with");
    } else {
        findings.add(
            Level::Error,
            "wodle",
            format!("{} is not the socket that wazuh-modulesd (process {}) connected to: nothing its wodles hand over arrives", home.queue_socket().display(), parent.pid),
            "wazuh-control restart",
        );
    }
}
