//! `mode = window`: the original's way. Each run asks once for the last seconds and hands the events straight over. Never
//! remembers anything.

use std::time::Instant;

use super::page::time_left;
use crate::client::Client;
use crate::clock::unix_seconds;
use crate::config::Source;
use crate::exit::Exit;
use crate::handover::{Handover, HandoverError};
use crate::siem::event::EventDecoder;
use crate::siem::page::{PageLine, PageReader};
use crate::siem::query::{Query, Range, Window};

/// Asks once.
pub(super) fn run(source: &Source, client: &Client, handover: &mut Handover, deadline: Instant) -> Exit {
    let window = Window::last(source.window_s, unix_seconds());
    let query = Query { config_ids: source.config_ids.clone(), range: Range::Window(window), limit: source.limit };
    let answer = match client.ask(&query, 0, time_left(deadline)) {
        Ok(answer) => answer,
        Err(error) => {
            log::error!("source {}: {error}", source.name);
            return error.exit();
        }
    };
    let mut decoder = EventDecoder::new(source.events.clone());
    let mut page = PageReader::new(answer.body);
    let mut line_out = Vec::new();
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
        line_out.clear();
        decoder.decode_into(line, &mut line_out);
        if let Err(error) = handover.write_line(&line_out) {
            return output_failed(&error);
        }
    };
    if let Err(error) = handover.flush() {
        return output_failed(&error);
    }
    if ended.is_none() && whole {
        return Exit::Done;
    }
    let reason = ended.map_or_else(|| "it ended without its context line".to_owned(), |error| error.to_string());
    log::error!("source {}: the answer is incomplete: {reason}; set a smaller window", source.name);
    Exit::Unavailable
}

fn output_failed(error: &HandoverError) -> Exit {
    match error {
        HandoverError::Closed => Exit::Done,
        HandoverError::Failed(error) => {
            log::error!("cannot write to stdout: {error}");
            Exit::Local
        }
    }
}
