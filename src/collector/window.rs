//! `mode = window`: the original's way. Each run asks once for the last seconds and hands the events straight over, or through
//! the spool where the queue is the output. Never remembers what it asked for.

use std::io;
use std::time::Instant;

use super::budget::HANDOVER_BYTES_MAX;
use super::page::time_left;
use super::store::Store;
use crate::akamai::client::{AskError, Client};
use crate::akamai::page::{PageLine, PageReader};
use crate::akamai::query::{Query, Range, Window};
use crate::clock::unix_seconds;
use crate::config::Source;
use crate::event::{Bursts, EventDecoder};
use crate::exit::Exit;
use crate::files::FileError;
use crate::state::segment::{Header, Lane};
use crate::wazuh::handover::{Handover, HandoverError};

/// Why a window did not come whole.
#[derive(Debug, thiserror::Error)]
pub(super) enum WindowRunError {
    /// Akamai.
    #[error(transparent)]
    Ask(#[from] AskError),
    /// The answer broke off.
    #[error("the answer is incomplete: {0}; set a smaller window")]
    Incomplete(String),
    /// stdout was closed: its reader has enough.
    #[error("stdout was closed")]
    Closed,
    /// stdout is full.
    #[error("cannot write to stdout: {0}")]
    Output(io::Error),
    /// The spool.
    #[error(transparent)]
    Spool(#[from] FileError),
}

impl WindowRunError {
    pub(super) fn exit(&self) -> Exit {
        match self {
            Self::Ask(error) => error.exit(),
            Self::Incomplete(_) => Exit::Unavailable,
            Self::Closed => Exit::Done,
            Self::Output(_) | Self::Spool(_) => Exit::Local,
        }
    }
}

impl From<HandoverError> for WindowRunError {
    fn from(error: HandoverError) -> Self {
        match error {
            HandoverError::Closed => Self::Closed,
            HandoverError::Failed(error) => Self::Output(error),
        }
    }
}

/// Asks once; events go to stdout.
pub(super) fn to_stdout(
    source: &Source,
    client: &Client,
    handover: &mut Handover,
    deadline: Instant,
) -> Result<(), WindowRunError> {
    let answer = fetch(source, client, deadline, |line| {
        if handover.bytes + line.len() as u64 > HANDOVER_BYTES_MAX {
            let mib = HANDOVER_BYTES_MAX >> 20;
            return Err(WindowRunError::Incomplete(format!("the wodle takes no more than {mib} MiB of one run")));
        }
        Ok(handover.write_line(line)?)
    });
    handover.flush()?;
    answer
}

/// Asks once; events go into the spool.
pub(super) fn to_spool(
    source: &Source,
    client: &Client,
    store: &mut Store,
    deadline: Instant,
) -> Result<(), WindowRunError> {
    let bytes_max = store.room();
    let mut segment = store.spool.write(&Header::new(&source.name, unix_seconds() - source.window_s))?;
    let answer = fetch(source, client, deadline, |line| {
        segment.add(|text| {
            text.extend_from_slice(line);
            Some(())
        })?;
        if segment.bytes() > bytes_max {
            return Err(WindowRunError::Incomplete("the spool takes no more".into()));
        }
        Ok(())
    });
    if segment.lines == 0 || matches!(answer, Err(WindowRunError::Spool(_))) {
        segment.discard();
    } else {
        store.spool.seal(segment, Lane::Events, None)?;
    }
    answer
}

/// Asks once and gives `take` every event.
fn fetch(
    source: &Source,
    client: &Client,
    deadline: Instant,
    mut take: impl FnMut(&[u8]) -> Result<(), WindowRunError>,
) -> Result<(), WindowRunError> {
    let window = Window::last(source.window_s, unix_seconds());
    let query = Query { config_ids: source.config_ids.clone(), range: Range::Window(window), limit: source.limit };
    let answer = client.ask(&query, 0, time_left(deadline))?;
    let mut decoder = EventDecoder::new(source.events.clone());
    decoder.bursts = Some(Bursts::default());
    let mut page = PageReader::new(answer.body);
    let mut event = Vec::new();
    let mut whole = false;
    loop {
        let line = match page.next_line() {
            Ok(Some(PageLine::Event(line))) => line,
            // The piece of a line at the end of an answer that broke off.
            Ok(Some(PageLine::Fragment(_))) => {
                whole = false;
                continue;
            }
            Ok(Some(PageLine::Context(_))) => {
                whole = true;
                continue;
            }
            Ok(Some(PageLine::Expired)) => continue,
            Ok(None) if whole => return Ok(()),
            Ok(None) => return Err(WindowRunError::Incomplete("it ended without its context line".into())),
            Err(error) => return Err(WindowRunError::Incomplete(error.to_string())),
        };
        whole = false;
        event.clear();
        decoder.decode_into(line, &mut event);
        take(&event)?;
    }
}
