//! `status`: how the collector fares, from what it remembers. Never asks Akamai, never writes a file.

use std::collections::HashMap;
use std::io::{self, Write};
use std::path::Path;

use serde_json::{Value, json};

use super::load_config;
use crate::cli::{Cli, StatusArgs};
use crate::clock::{rfc_3339, span, unix_seconds};
use crate::config::{Mode, Output, RunOn, Source, SourceEntry, SourceState};
use crate::exit::Exit;
use crate::files::FileError;
use crate::state::cursor::CursorFile;
use crate::state::delivery::{DeliveryFile, Progress, QueueRate};
use crate::state::health::{Health, HealthFile};
use crate::state::segment::{Lane, Next, Segment};
use crate::state::spool::Spool;
use crate::state::{Loaded, StateFolder};
use crate::wazuh::home::Home;

/// Seconds within which every source must have succeeded.
const SUCCESS_S_MAX: i64 = 900;

/// Seconds for which a loss makes a source unhealthy.
const GAP_S_MAX: i64 = 86_400;

/// The share of the spool's limit from which it is unhealthy, in percent.
const SPOOL_PERCENT_MAX: u64 = 80;

/// Bytes of a segment whose lines are counted; beyond that their number is reckoned from its size.
const COUNTED_BYTES_MAX: u64 = 64 << 20;

/// What is known of one source.
struct Standing {
    name: String,
    problems: Vec<String>,
    last_success: Option<i64>,
    lag_s: Option<i64>,
    cursor_age_s: Option<i64>,
    pending: Pending,
    last_error: Option<(i64, String)>,
    states: Vec<&'static str>,
}

/// What concerns all sources.
struct Overview {
    healthy: bool,
    problems: Vec<String>,
    spool_bytes: u64,
    spool_bytes_max: u64,
    /// How it goes with analysisd, where lines go straight to it.
    queue: Option<QueueRate>,
}

/// Lines that wait.
#[derive(Clone, Copy, Default)]
struct Pending {
    events: u64,
    bytes: u64,
}

/// Runs the command.
pub fn run(cli: &Cli, args: &StatusArgs) -> Exit {
    let config = match load_config(&cli.config_file()) {
        Ok(config) => config,
        Err(exit) => return exit,
    };
    let state = StateFolder::at(&config.global.state_dir);
    let now = unix_seconds();
    let (pending, spool_bytes) = match pending(&state) {
        Ok(pending) => pending,
        Err(error) if error.source.kind() == io::ErrorKind::NotFound => (HashMap::new(), 0),
        Err(error) => {
            log::error!("{error}");
            return Exit::Local;
        }
    };
    let mut sources = Vec::new();
    let home = Home::find(Path::new("/"), config.global.wazuh_home.as_deref());
    let is_worker = home.is_worker;
    let works_here = |entry: &&SourceEntry| match &entry.state {
        SourceState::Disabled => false,
        SourceState::Ready(source) => !is_worker || source.run_on == RunOn::Any,
        SourceState::NotConfigured(_) | SourceState::Invalid(_) => true,
    };
    for entry in config.sources.iter().filter(works_here) {
        match standing(&state, entry, pending.get(&entry.name).copied().unwrap_or_default(), now) {
            Ok(standing) => sources.push(standing),
            Err(error) => {
                log::error!("{error}");
                return Exit::Local;
            }
        }
    }
    let mut problems = Vec::new();
    if spool_bytes >= config.global.spool_bytes_max / 100 * SPOOL_PERCENT_MAX {
        problems.push(format!("the spool holds {spool_bytes} of {} bytes", config.global.spool_bytes_max));
    }
    if let Ok(Loaded::Intact(health)) = HealthFile::of_all(&state).load() {
        problems.extend(health.conditions.keys().map(|condition| format!("{} holds", condition.word())));
        problems.extend(lost(&health, now));
    }
    problems.extend(home.wazuh_5_problem());
    let healthy = problems.is_empty() && sources.iter().all(|source| source.problems.is_empty());
    let queue = match DeliveryFile::of(&state).load() {
        Ok(Loaded::Intact(record)) => record.queue_rate.filter(|_| config.global.output == Output::Queue),
        _ => None,
    };
    let overview = Overview { healthy, problems, spool_bytes, spool_bytes_max: config.global.spool_bytes_max, queue };
    let report =
        if args.json { format!("{:#}\n", as_json(&sources, &overview)) } else { as_text(&sources, &overview, now) };
    match io::stdout().write_all(report.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            log::error!("cannot write to stdout: {error}");
            Exit::Local
        }
        _ if healthy => Exit::Done,
        _ => Exit::Local,
    }
}

/// What waits in the spool, by source, and the bytes that the spool takes.
fn pending(state: &StateFolder) -> Result<(HashMap<String, Pending>, u64), FileError> {
    let spool = Spool::look(state)?;
    let delivered = match DeliveryFile::of(state).load()? {
        Loaded::Intact(record) => record.batch.map_or(record.delivered, |batch| batch.to),
        Loaded::Missing | Loaded::Corrupt => Progress::default(),
    };
    let mut pending: HashMap<String, Pending> = HashMap::new();
    for segment in spool.segments.iter().filter(|segment| segment.lane == Lane::Events) {
        let mark = segment.lane.mark(&delivered);
        if segment.number < mark.segment {
            continue;
        }
        let begun = if segment.number == mark.segment { mark.byte.min(segment.bytes) } else { 0 };
        if begun == segment.bytes {
            continue;
        }
        let (name, lines) = remaining(segment, begun)?;
        let of_source = pending.entry(name).or_default();
        of_source.events += lines;
        of_source.bytes += segment.bytes - begun;
    }
    Ok((pending, spool.bytes()))
}

/// The source of a segment, and its lines behind the byte up to which it was handed over.
fn remaining(segment: &Segment, begun: u64) -> Result<(String, u64), FileError> {
    let mut reader = segment.open(begun)?;
    let name = reader.header.take().unwrap_or_default().source;
    if begun == 0 {
        return Ok((name, segment.lines));
    }
    let (mut lines, mut line) = (0, Vec::new());
    while reader.at() - begun < COUNTED_BYTES_MAX && reader.at() < segment.bytes && reader.next(&mut line)? != Next::End
    {
        lines += 1;
    }
    let uncounted = u128::from(segment.bytes - reader.at()) * u128::from(segment.lines) / u128::from(segment.bytes);
    Ok((name, lines + u64::try_from(uncounted).unwrap_or(0)))
}

fn standing(state: &StateFolder, entry: &SourceEntry, pending: Pending, now: i64) -> Result<Standing, FileError> {
    let (health, has_run) = match HealthFile::of(state, &entry.name).load()? {
        Loaded::Intact(health) => (health, true),
        Loaded::Missing => (Health::default(), false),
        Loaded::Corrupt => (Health::default(), true),
    };
    let mut problems = Vec::new();
    let (mut lag_s, mut cursor_age_s) = (None, None);
    match &entry.state {
        SourceState::Ready(source) => note_cursor(state, source, now, &mut lag_s, &mut cursor_age_s, &mut problems)?,
        SourceState::NotConfigured(keys) => problems.push(format!("not configured yet: {}", keys.join(", "))),
        SourceState::Invalid(errors) => problems.extend(errors.iter().map(ToString::to_string)),
        SourceState::Disabled => {}
    }
    match health.last_success_s {
        None if has_run => problems.push("it has not succeeded yet".into()),
        None => problems.push("collect has not run for it yet".into()),
        Some(time) if now - time > SUCCESS_S_MAX => {
            problems.push(format!("its last success was {} s ago", now - time));
        }
        Some(_) => {}
    }
    problems.extend(lost(&health, now));
    Ok(Standing {
        name: entry.name.clone(),
        problems,
        last_success: health.last_success_s,
        lag_s,
        cursor_age_s,
        pending,
        last_error: health.last_error,
        states: health.conditions.keys().map(|condition| condition.word()).collect(),
    })
}

/// The last loss, as long as it is worth a word.
fn lost(health: &Health, now: i64) -> Option<String> {
    let (from, to, _) = health.last_gap.filter(|(_, _, noticed)| now - noticed <= GAP_S_MAX)?;
    Some(format!("events {} were lost", span(from, to)))
}

fn note_cursor(
    state: &StateFolder,
    source: &Source,
    now: i64,
    lag_s: &mut Option<i64>,
    age_s: &mut Option<i64>,
    problems: &mut Vec<String>,
) -> Result<(), FileError> {
    match CursorFile::of(state, source).load()? {
        Loaded::Intact(cursor) => {
            *lag_s = Some((now - cursor.caught_up_s).max(0));
            *age_s = Some((now - cursor.committed_s).max(0));
        }
        Loaded::Corrupt => problems.push("its cursor is damaged; the next run goes on by time".into()),
        Loaded::Missing if source.mode == Mode::Window => {}
        // That it has not succeeded yet is said anyway.
        Loaded::Missing => {}
    }
    Ok(())
}

fn as_json(sources: &[Standing], overview: &Overview) -> Value {
    let sources: Vec<Value> = sources
        .iter()
        .map(|source| {
            json!({
                "source": source.name,
                "healthy": source.problems.is_empty(),
                "problems": source.problems,
                "last_success": source.last_success.map(rfc_3339),
                "lag_seconds": source.lag_s,
                "cursor_age_seconds": source.cursor_age_s,
                "pending_events": source.pending.events,
                "pending_bytes": source.pending.bytes,
                "last_error": source.last_error.as_ref().map(|(time, text)| json!({"time": rfc_3339(*time), "text": text})),
                "states": source.states,
            })
        })
        .collect();
    let queue = overview.queue.map(|queue| {
        json!({"lines_per_second": queue.lines_per_s, "unconfirmed_lines": queue.unconfirmed, "dropped_by_analysisd": queue.dropped})
    });
    json!({
        "healthy": overview.healthy,
        "problems": overview.problems,
        "spool_bytes": overview.spool_bytes,
        "spool_max_bytes": overview.spool_bytes_max,
        "queue": queue,
        "sources": sources,
    })
}

fn as_text(sources: &[Standing], overview: &Overview, now: i64) -> String {
    let ago = |seconds: Option<i64>| seconds.map_or_else(|| "never".to_owned(), |seconds| format!("{seconds} s"));
    let mut text = format!("{}\n", if overview.healthy { "healthy" } else { "NOT HEALTHY" });
    for problem in &overview.problems {
        text += &format!("  {problem}\n");
    }
    text += &format!("spool         {} of {} bytes\n", overview.spool_bytes, overview.spool_bytes_max);
    if let Some(queue) = overview.queue {
        text += &format!(
            "queue         {} lines a second, {} unconfirmed, {} dropped by analysisd since its start\n",
            queue.lines_per_s, queue.unconfirmed, queue.dropped
        );
    }
    for source in sources {
        text += &format!("\n{}\n", source.name);
        for problem in &source.problems {
            text += &format!("  PROBLEM       {problem}\n");
        }
        let success = source.last_success.map(|time| format!("{} ({} s ago)", rfc_3339(time), now - time));
        text += &format!("  last success  {}\n", success.as_deref().unwrap_or("never"));
        text += &format!("  lag           {}\n", ago(source.lag_s));
        text += &format!("  cursor age    {}\n", ago(source.cursor_age_s));
        text += &format!("  pending       {} events, {} bytes\n", source.pending.events, source.pending.bytes);
        if let Some((time, error)) = &source.last_error {
            text += &format!("  last error    {}: {error}\n", rfc_3339(*time));
        }
        if !source.states.is_empty() {
            text += &format!("  states        {}\n", source.states.join(", "));
        }
    }
    text
}
