//! `mode = window`: the original's way. Each run asks once for the last seconds and hands the events straight over. Never
//! remembers anything.

use std::io;
use std::time::Instant;

use super::page::time_left;
use crate::client::{AskError, Client};
use crate::clock::unix_seconds;
use crate::config::Source;
use crate::exit::Exit;
use crate::handover::{Handover, HandoverError};
use crate::siem::event::{Bursts, EventDecoder};
use crate::siem::page::{PageLine, PageReader};
use crate::siem::query::{Query, Range, Window};

/// Why a window did not come whole.
#[derive(Debug, thiserror::Error)]
pub(super) enum WindowError {
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
}

impl WindowError {
    pub(super) fn exit(&self) -> Exit {
        match self {
            Self::Ask(error) => error.exit(),
            Self::Incomplete(_) => Exit::Unavailable,
            Self::Closed => Exit::Done,
            Self::Output(_) => Exit::Local,
        }
    }
}

impl From<HandoverError> for WindowError {
    fn from(error: HandoverError) -> Self {
        match error {
            HandoverError::Closed => Self::Closed,
            HandoverError::Failed(error) => Self::Output(error),
        }
    }
}

/// Asks once.
pub(super) fn run(
    source: &Source,
    client: &Client,
    handover: &mut Handover,
    deadline: Instant,
) -> Result<(), WindowError> {
    let window = Window::last(source.window_s, unix_seconds());
    let query = Query { config_ids: source.config_ids.clone(), range: Range::Window(window), limit: source.limit };
    let answer = client.ask(&query, 0, time_left(deadline))?;
    let mut decoder = EventDecoder::new(source.events.clone());
    decoder.bursts = Some(Bursts::default());
    let mut page = PageReader::new(answer.body);
    let mut event = Vec::new();
    let mut whole = false;
    let ended = loop {
        let line = match page.next_line() {
            Ok(Some(PageLine::Event(line) | PageLine::Fragment(line))) => line,
            Ok(Some(PageLine::Context(_))) => {
                whole = true;
                continue;
            }
            Ok(Some(PageLine::Expired)) => continue,
            Ok(None) => break None,
            Err(error) => break Some(error),
        };
        whole = false;
        event.clear();
        decoder.decode_into(line, &mut event);
        handover.write_line(&event)?;
    };
    handover.flush()?;
    match ended {
        Some(error) => Err(WindowError::Incomplete(error.to_string())),
        None if whole => Ok(()),
        None => Err(WindowError::Incomplete("it ended without its context line".into())),
    }
}
