//! `fetch`: a time window, whole, events to stdout. Never remembers anything, never asks again for what failed.

use std::io;
use std::time::{Duration, Instant};

use super::output::{LineOutput, OutputError};
use super::{load_config, ready, select};
use crate::akamai::client::{AskError, Client, Pace};
use crate::akamai::page::{Context, PageLine, PageReader};
use crate::akamai::query::{NEWEST_S, Query, RETENTION_S, Range, Slices, Window};
use crate::akamai::transport::{ANSWER_S_MAX, Answer};
use crate::cli::{Cli, FetchArgs};
use crate::clock::{rfc_3339, unix_seconds};
use crate::config::Source;
use crate::event::{Bursts, EventDecoder, EventId, event_id};
use crate::exit::Exit;
use crate::state::seen::SeenIds;

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
        "{received} events and more came for the one second from {second}: they do not fit into one answer; set a larger limit"
    )]
    Full { second: i64, received: u64 },
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
    let (mut output, mut pace) = (LineOutput::new(), Pace::default());
    let mut exit = Exit::Done;
    for entry in selected {
        let Some(source) = ready(entry, &file) else {
            exit = exit.and(Exit::Config);
            continue;
        };
        if let Err(error) = fetch(source, window, args.raw, &mut output, &mut pace) {
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

/// Prints the events of one source, those of a full window in slices.
fn fetch(
    source: &Source,
    window: Window,
    raw: bool,
    output: &mut LineOutput,
    pace: &mut Pace,
) -> Result<(), FetchError> {
    let started = Instant::now();
    let mut decoder = EventDecoder::new(source.events.clone());
    decoder.bursts = Some(Bursts::default());
    let to = window.to.unwrap_or_else(|| unix_seconds() - NEWEST_S);
    let mut fetching = Fetching {
        source,
        client: Client::new(source)?,
        decoder,
        raw,
        output,
        printed: Vec::new(),
        events: 0,
        reported: started,
    };
    let mut slices = Slices::new(window.from, to, to - window.from);
    let mut last = None;
    while let Some((from, to)) = slices.next() {
        let answer = pace.ask(source, || fetching.ask(from, to))?;
        let (context, received) = fetching.print_page(answer, from, to)?;
        // Akamai's pages overshoot their limit a little, so only fewer lines than it counts are a fault.
        let (lacking, name) = (context.lacking(received), &source.name);
        if context.is_full(received, source.limit) {
            if !slices.halve() {
                return Err(FetchError::Full { second: from, received });
            }
            log::info!("source {name}: an answer is full with {received} events; asking for smaller windows");
        } else if slices.accepts(lacking) {
            slices.done();
            if lacking > 0 {
                log::warn!("source {name}: Akamai counts {lacking} events more than it sent, again; they are given up");
            }
        } else {
            slices.halve();
            log::info!("source {name}: Akamai counts {lacking} events more than it sent; asking again");
        }
        last = Some(context);
    }
    if let Some(context) = last.filter(|_| raw) {
        write_raw(context.line.as_bytes(), fetching.output);
    }
    flush(fetching.output)?;
    log::info!(
        "source {}: {} events from {} to {}, in {:.1} s",
        source.name,
        fetching.events,
        rfc_3339(window.from),
        rfc_3339(to),
        started.elapsed().as_secs_f64()
    );
    Ok(())
}

struct Fetching<'a> {
    source: &'a Source,
    client: Client,
    decoder: EventDecoder,
    raw: bool,
    output: &'a mut LineOutput,
    /// What has been printed and may come again, by the last second in which it can.
    printed: Vec<(i64, SeenIds)>,
    events: u64,
    reported: Instant,
}

impl Fetching<'_> {
    fn ask(&self, from: i64, to: i64) -> Result<Answer, AskError> {
        let range = Range::Window(Window { from, to: Some(to) });
        let query = Query { config_ids: self.source.config_ids.clone(), range, limit: self.source.limit };
        self.client.ask(&query, 0, Duration::from_secs(ANSWER_S_MAX))
    }

    /// Prints what of a slice has not been printed yet. Returns how its answer ended and the events in it.
    fn print_page(&mut self, answer: Answer, from: i64, to: i64) -> Result<(Context, u64), FetchError> {
        self.printed.retain(|(until, _)| *until >= from);
        let mut page = PageReader::new(answer.body);
        let (mut received, mut ids, mut last) = (0, Vec::new(), None);
        let events = self.events;
        loop {
            match page.next_line() {
                // The piece of a line at the end of an answer that broke off.
                Ok(Some(PageLine::Fragment(_))) => last = None,
                Ok(Some(PageLine::Event(line))) => {
                    last = None;
                    received += 1;
                    ids.extend(self.print(line));
                }
                Ok(Some(PageLine::Context(context))) => last = Some(context),
                Ok(Some(PageLine::Expired)) => {
                    flush(self.output)?;
                    return Err(FetchError::Expired { events: received });
                }
                Ok(None) => break,
                Err(reason) => {
                    flush(self.output)?;
                    return Err(FetchError::Cut { events: received, reason });
                }
            }
            self.events = events + ids.len() as u64;
            self.output.flush_if_large().map_err(output_error)?;
            if received % 1024 == 0 && self.reported.elapsed().as_secs() >= PROGRESS_S {
                log::info!("source {}: {} events so far", self.source.name, self.events);
                self.reported = Instant::now();
            }
        }
        flush(self.output)?;
        let context = last.ok_or(FetchError::NoContext { events: received })?;
        self.printed.push((to, SeenIds::new(ids)));
        Ok((context, received))
    }

    /// Prints a line unless it has been printed; its id if so.
    fn print(&mut self, line: &[u8]) -> Option<EventId> {
        let printed = &self.printed;
        let is_known = |id: &EventId| printed.iter().any(|(_, ids)| ids.contains(id));
        if !self.raw {
            return self.decoder.decode_new_into(line, is_known, &mut self.output.lines);
        }
        let id = event_id(line);
        let is_new = !is_known(&id);
        if is_new {
            write_raw(line, self.output);
        }
        is_new.then_some(id)
    }
}

fn write_raw(line: &[u8], output: &mut LineOutput) {
    output.lines.extend_from_slice(line);
    output.lines.push(b'\n');
}

fn flush(output: &mut LineOutput) -> Result<(), FetchError> {
    output.flush().map_err(output_error)
}

fn output_error(error: OutputError) -> FetchError {
    match error {
        OutputError::Closed => FetchError::OutputClosed,
        OutputError::Failed(error) => FetchError::Output(error),
    }
}
