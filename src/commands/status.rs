//! `status`: the state of every source, from what it remembers. Never asks Akamai, never writes a file.

use std::collections::HashMap;
use std::io;
use std::path::Path;

use serde::Serialize;
use serde_json::json;

use super::overview::{Overview, SourceOverview, intact};
use super::{failed, load_config, show};
use crate::cli::{Cli, StatusArgs};
use crate::clock::{rfc_3339, span, unix_seconds};
use crate::config::{Config, Output, RunOn, SourceState};
use crate::exit::Exit;
use crate::files::FileError;
use crate::state::delivery::{Delivery, Progress, QueueRate};
use crate::state::health::Health;
use crate::state::segment::{Lane, Next, Segment};
use crate::state::{Loaded, StateFolder};
use crate::wazuh::home::Home;

/// Seconds within which every source must have succeeded.
const SUCCESS_S_MAX: i64 = 900;

/// Bytes of a segment whose lines are counted; beyond that their number is estimated from its size.
const COUNTED_BYTES_MAX: u64 = 64 << 20;

/// The whole report, as `--json` writes it.
#[derive(Serialize)]
struct StatusReport {
    healthy: bool,
    problems: Vec<String>,
    spool_bytes: u64,
    spool_max_bytes: u64,
    /// How it goes with analysisd, where lines go straight to it.
    queue: Option<Queue>,
    sources: Vec<SourceReport>,
}

#[derive(Serialize)]
struct Queue {
    lines_per_second: u64,
    unconfirmed_lines: u64,
    dropped_by_analysisd: u64,
}

#[derive(Serialize)]
struct SourceReport {
    source: String,
    healthy: bool,
    problems: Vec<String>,
    last_success: Option<String>,
    lag_seconds: Option<i64>,
    cursor_age_seconds: Option<i64>,
    pending_events: u64,
    pending_bytes: u64,
    last_error: Option<LastError>,
    states: Vec<&'static str>,
}

#[derive(Serialize)]
struct LastError {
    time: String,
    text: String,
}

/// Lines that wait.
#[derive(Clone, Copy, Default)]
struct Pending {
    events: u64,
    bytes: u64,
}

pub fn run(cli: &Cli, args: &StatusArgs) -> Result<Exit, Exit> {
    let config = load_config(&cli.config_file())?;
    let home = Home::find(Path::new("/"), config.global.wazuh_home.as_deref());
    let state = StateFolder::at(&config.global.state_dir);
    let overview = Overview::read(&config, &state);
    let report = report(&config, &home, overview, unix_seconds()).map_err(failed)?;
    show(|| text(&report), || json!(report), args.json)?;
    Ok(if report.healthy { Exit::Done } else { Exit::Local })
}

fn report(config: &Config, home: &Home, overview: Overview<'_>, now: i64) -> Result<StatusReport, FileError> {
    let mut problems = Vec::new();
    if let Some(health) = intact(&overview.health) {
        problems.extend(health.conditions.keys().map(|condition| format!("{} is active", condition.word())));
        problems.extend(lost(health, now));
    }
    let delivery = match overview.delivery? {
        Loaded::Intact(delivery) => delivery,
        Loaded::Missing | Loaded::Corrupt => Delivery::default(),
    };
    let (mut pending, mut spool_bytes, spool_max_bytes) = (HashMap::new(), 0, config.global.spool_bytes_max);
    match overview.spool {
        Ok(spool) => {
            spool_bytes = spool.bytes();
            if spool.is_nearly_full(spool_max_bytes) {
                problems.insert(0, format!("the spool holds {spool_bytes} of {spool_max_bytes} bytes"));
            }
            pending = self::pending(&spool.segments, &delivery)?;
        }
        Err(error) if error.source.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    problems.extend(home.no_lines_problem());
    let mut sources = Vec::new();
    for source in overview.sources {
        let works_here = match &source.entry.state {
            SourceState::Disabled => false,
            SourceState::Ready(source) => !home.is_worker || source.run_on == RunOn::Any,
            SourceState::NotConfigured(_) | SourceState::Invalid(_) => true,
        };
        if works_here {
            let pending = pending.get(&source.entry.name).copied().unwrap_or_default();
            sources.push(source_report(source, pending, now)?);
        }
    }
    let queue = delivery.queue_rate.filter(|_| config.global.output == Output::Queue).map(|rate: QueueRate| Queue {
        lines_per_second: rate.lines_per_s,
        unconfirmed_lines: rate.unconfirmed,
        dropped_by_analysisd: rate.dropped,
    });
    let healthy = problems.is_empty() && sources.iter().all(|source| source.healthy);
    Ok(StatusReport { healthy, problems, spool_bytes, spool_max_bytes, queue, sources })
}

/// What waits in the spool, by source.
fn pending(segments: &[Segment], delivery: &Delivery) -> Result<HashMap<String, Pending>, FileError> {
    let handed_over: Progress = delivery.batch.as_ref().map_or(delivery.delivered, |batch| batch.to);
    let mut pending: HashMap<String, Pending> = HashMap::new();
    for segment in segments.iter().filter(|segment| segment.lane == Lane::Events) {
        let mark = segment.lane.mark(&handed_over);
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
    Ok(pending)
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

fn source_report(source: SourceOverview<'_>, pending: Pending, now: i64) -> Result<SourceReport, FileError> {
    let (health, has_run) = match source.health? {
        Loaded::Intact(health) => (health, true),
        Loaded::Missing => (Health::default(), false),
        Loaded::Corrupt => (Health::default(), true),
    };
    let mut problems = Vec::new();
    let cursor = match source.cursor? {
        Loaded::Intact(cursor) => Some(cursor),
        // That it has not succeeded yet is said anyway.
        Loaded::Missing => None,
        Loaded::Corrupt => {
            problems.push("its cursor is damaged; the next run resumes by time".into());
            None
        }
    };
    match &source.entry.state {
        SourceState::NotConfigured(keys) => problems.push(format!("not configured yet: {}", keys.join(", "))),
        SourceState::Invalid(errors) => problems.extend(errors.iter().map(ToString::to_string)),
        SourceState::Ready(_) | SourceState::Disabled => {}
    }
    match health.last_success_s {
        None if has_run => problems.push("it has not succeeded yet".into()),
        None => problems.push("collect has not run for it yet".into()),
        Some(time) if now - time > SUCCESS_S_MAX => problems.push(format!("its last success was {} s ago", now - time)),
        Some(_) => {}
    }
    problems.extend(lost(&health, now));
    Ok(SourceReport {
        source: source.entry.name.clone(),
        healthy: problems.is_empty(),
        problems,
        last_success: health.last_success_s.map(rfc_3339),
        lag_seconds: cursor.as_ref().map(|cursor| (now - cursor.caught_up_s).max(0)),
        cursor_age_seconds: cursor.as_ref().map(|cursor| (now - cursor.committed_s).max(0)),
        pending_events: pending.events,
        pending_bytes: pending.bytes,
        last_error: health.last_error.map(|(time, text)| LastError { time: rfc_3339(time), text }),
        states: health.conditions.keys().map(|condition| condition.word()).collect(),
    })
}

fn lost(health: &Health, now: i64) -> Option<String> {
    health.recent_gap(now).map(|(from, to)| format!("events {} were lost", span(from, to)))
}

fn text(report: &StatusReport) -> String {
    let mut lines = vec![if report.healthy { "healthy" } else { "NOT HEALTHY" }.to_owned()];
    lines.extend(report.problems.iter().map(|problem| format!("  {problem}")));
    lines.push(format!("spool         {} of {} bytes", report.spool_bytes, report.spool_max_bytes));
    if let Some(Queue { lines_per_second, unconfirmed_lines, dropped_by_analysisd }) = report.queue {
        lines.push(format!(
            "queue         {lines_per_second} lines a second, {unconfirmed_lines} unconfirmed, {dropped_by_analysisd} dropped by analysisd since its start"
        ));
    }
    let ago = |seconds: Option<i64>| seconds.map_or_else(|| "never".to_owned(), |seconds| format!("{seconds} s"));
    for source in &report.sources {
        lines.push(format!("\n{}", source.source));
        lines.extend(source.problems.iter().map(|problem| format!("  PROBLEM       {problem}")));
        lines.push(format!("  last success  {}", source.last_success.as_deref().unwrap_or("never")));
        lines.push(format!("  lag           {}", ago(source.lag_seconds)));
        lines.push(format!("  cursor age    {}", ago(source.cursor_age_seconds)));
        lines.push(format!("  pending       {} events, {} bytes", source.pending_events, source.pending_bytes));
        lines.extend(source.last_error.iter().map(|error| format!("  last error    {}: {}", error.time, error.text)));
        if !source.states.is_empty() {
            lines.push(format!("  states        {}", source.states.join(", ")));
        }
    }
    lines.join("\n") + "\n"
}
