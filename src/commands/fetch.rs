//! `fetch`: one request for a time window, events to stdout. Never remembers anything, never asks twice.

use std::io;
use std::time::{Duration, Instant};

use super::output::{Output, OutputError};
use super::{load_config, ready, select};
use crate::cli::{Cli, FetchArgs};
use crate::client::{AskError, Client};
use crate::clock::{rfc_3339, unix_seconds};
use crate::config::Source;
use crate::exit::Exit;
use crate::siem::event::{Bursts, EventDecoder};
use crate::siem::page::{Context, PageLine, PageReader};
use crate::siem::query::{Query, RETENTION_S, Range, Window};
use crate::transport::ANSWER_S_MAX;

/// Seconds between two messages about a long answer.
const PROGRESS_S: u64 = 10;

/// What can go wrong with one source.
#[derive(Debug, thiserror::Error)]
enum FetchError {
    #[error(transparent)]
    Ask(#[from] AskError),
    #[error("the answer was cut after {events} events: {reason}; ask for a smaller window or set a smaller limit")]
    Cut { events: u64, reason: io::Error },
    #[error(
        "the answer is incomplete: it ended after {events} events without its context line; ask for a smaller window or set a smaller limit"
    )]
    NoContext { events: u64 },
    #[error("the answer ended with \"Bad offset, expired data requested\" after {events} events")]
    Expired { events: u64 },
    #[error(
        "the answer is incomplete: {events} events came, Akamai counts {lacking} more than it sent; ask for a smaller window"
    )]
    Short { lacking: u64, events: u64 },
    #[error("cannot write to stdout: {0}")]
    Output(io::Error),
    #[error("the reader of stdout is gone")]
    OutputClosed,
}

impl FetchError {
    fn exit(&self) -> Exit {
        match self {
            Self::OutputClosed => Exit::Done,
            Self::Output(_) => Exit::Local,
            Self::Ask(error) => error.exit(),
            _ => Exit::Unavailable,
        }
    }
}

/// Runs the command.
pub fn run(cli: &Cli, args: &FetchArgs) -> Exit {
    let now = unix_seconds();
    let window = match window(args, now) {
        Ok(window) => window,
        Err(problem) => {
            log::error!("{problem}");
            return Exit::Usage;
        }
    };
    let file = cli.config_file();
    let config = match load_config(&file) {
        Ok(config) => config,
        Err(exit) => return exit,
    };
    let selected = match select(&config, args.source.as_deref(), &file) {
        Ok(selected) => selected,
        Err(exit) => return exit,
    };
    let mut output = Output::new();
    let mut exit = Exit::Done;
    for entry in selected {
        let Some(source) = ready(entry, &file) else {
            exit = exit.and(Exit::Config);
            continue;
        };
        if let Err(error) = fetch(source, window, args.raw, &mut output) {
            if matches!(error, FetchError::OutputClosed) {
                return exit;
            }
            log::error!("source {}: {error}", source.name);
            exit = exit.and(error.exit());
        }
    }
    exit
}

/// The window that the flags name; without flags exactly that of the original integration, the last 5 minutes.
fn window(args: &FetchArgs, now: i64) -> Result<Window, String> {
    const LAST_S: i64 = 300;
    match (args.from, args.last.unwrap_or(LAST_S)) {
        (Some(from), _) => Window::named(from, args.to, now).map_err(|error| error.to_string()),
        (None, last) if last > RETENTION_S => {
            Err(format!("--last {last} s is longer than the 12 hours ({RETENTION_S} s) that Akamai keeps"))
        }
        (None, last) => Ok(Window::last(last, now)),
    }
}

fn fetch(source: &Source, window: Window, raw: bool, output: &mut Output) -> Result<(), FetchError> {
    let started = Instant::now();
    let query = Query { config_ids: source.config_ids.clone(), range: Range::Window(window), limit: source.limit };
    let answer = Client::new(source)?.ask(&query, 0, Duration::from_secs(ANSWER_S_MAX))?;
    let mut decoder = EventDecoder::new(source.events.clone());
    decoder.bursts = Some(Bursts::default());
    let mut page = PageReader::new(answer.body);
    let mut events = 0;
    let mut reported = Instant::now();
    let mut last: Option<Context> = None;
    loop {
        let line = match page.next_line() {
            Ok(Some(line)) => line,
            Ok(None) => break,
            Err(reason) => {
                flush(output)?;
                return Err(FetchError::Cut { events, reason });
            }
        };
        match line {
            PageLine::Event(line) | PageLine::Fragment(line) => {
                last = None;
                events += 1;
                if raw {
                    write_raw(line, output);
                } else {
                    decoder.decode_into(line, &mut output.lines);
                }
            }
            PageLine::Context(context) => {
                if raw {
                    output.lines.extend_from_slice(context.line.as_bytes());
                    output.lines.push(b'\n');
                }
                last = Some(context);
            }
            PageLine::Expired => {
                flush(output)?;
                return Err(FetchError::Expired { events });
            }
        }
        output.flush_if_large().map_err(output_error)?;
        if events % 1024 == 0 && reported.elapsed().as_secs() >= PROGRESS_S {
            log::info!("source {}: {events} events so far", source.name);
            reported = Instant::now();
        }
    }
    flush(output)?;
    let context = last.ok_or(FetchError::NoContext { events })?;
    summarise(source, window, &context, events, started)
}

/// Says what came. Akamai's pages overshoot their limit a little, so only fewer lines than it counts are a fault.
fn summarise(
    source: &Source,
    window: Window,
    context: &Context,
    events: u64,
    started: Instant,
) -> Result<(), FetchError> {
    if context.lacking(events) > 0 {
        return Err(FetchError::Short { lacking: context.lacking(events), events });
    }
    log::info!(
        "source {}: {events} events from {} to {}, in {:.1} s",
        source.name,
        rfc_3339(window.from),
        window.to.map_or_else(|| "now".into(), rfc_3339),
        started.elapsed().as_secs_f64()
    );
    if context.is_full(events, source.limit) {
        log::warn!(
            "source {}: the answer is full with {events} events; there may be more: ask for a smaller window",
            source.name
        );
    }
    Ok(())
}

fn write_raw(line: &[u8], output: &mut Output) {
    output.lines.extend_from_slice(line);
    output.lines.push(b'\n');
}

fn flush(output: &mut Output) -> Result<(), FetchError> {
    output.flush().map_err(output_error)
}

fn output_error(error: OutputError) -> FetchError {
    match error {
        OutputError::Closed => FetchError::OutputClosed,
        OutputError::Failed(error) => FetchError::Output(error),
    }
}
