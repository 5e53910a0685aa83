//! One answer → one segment: every line decoded as it comes, nothing of the page held in memory. Never decides what an
//! incomplete page is good for; says how it ended.

use std::io::Read;
use std::time::{Duration, Instant};

use crate::akamai::page::{Context, PageLine, PageReader};
use crate::event::{Bursts, EventDecoder, EventId, event_id};
use crate::files::FileError;
use crate::state::attempt::Attempt;
use crate::state::seen::SeenIds;
use crate::state::segment::SegmentWriter;

/// Lines between two looks at the clock.
const LINES_PER_LOOK: u64 = 256;

/// How an answer ended.
#[derive(Debug)]
pub(super) enum PageEnd {
    /// With its context line.
    Whole(Context),
    /// Without it; why.
    Incomplete(String),
    /// With the text that says that the offset has expired.
    Expired,
    /// It does not fit into what the spool may take.
    NoRoom,
}

/// What came.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) end: PageEnd,
    /// Event lines received, those left out included.
    pub(super) received: u64,
}

/// Where lines go.
pub(super) struct Sink<'a> {
    pub(super) segment: &'a mut SegmentWriter,
    /// Takes the id of every line that is kept.
    pub(super) add_id: &'a mut dyn FnMut(EventId) -> Result<(), FileError>,
    /// Gives the burst counters when the first event comes; none for events that do not count.
    pub(super) load_bursts: &'a dyn Fn() -> Option<Bursts>,
    /// Lines to leave out.
    pub(super) skip: Option<&'a SeenIds>,
    /// Bytes that the segment may have.
    pub(super) bytes_max: u64,
    /// What is known of runs that died at these lines.
    pub(super) wary: Option<Wary<'a>>,
}

/// The attempt to read a page, and what came of it.
pub(super) struct Wary<'a> {
    pub(super) attempt: &'a mut Attempt,
    /// The position that is read at.
    pub(super) position: &'a str,
    /// It has begun: with the first line.
    pub(super) has_begun: bool,
    /// Ids of lines that ended runs and were not decoded.
    pub(super) passed: Vec<EventId>,
}

/// Reads an answer to its end, or until `deadline`.
pub(super) fn read_into(
    body: impl Read,
    decoder: &mut EventDecoder,
    sink: &mut Sink<'_>,
    deadline: Instant,
) -> Result<Page, FileError> {
    let mut reader = PageReader::new(body);
    let mut received = 0;
    let mut context = None;
    let end = loop {
        match reader.next_line() {
            Ok(Some(PageLine::Event(line))) => {
                context = None;
                received += 1;
                sink.take(line, decoder)?;
            }
            // The piece of a line at the end of an answer that broke off.
            Ok(Some(PageLine::Fragment(_))) => context = None,
            Ok(Some(PageLine::Context(found))) => context = Some(found),
            Ok(Some(PageLine::Expired)) => break PageEnd::Expired,
            Ok(None) => {
                let missing = || PageEnd::Incomplete("it ended without its context line".into());
                break context.map_or_else(missing, PageEnd::Whole);
            }
            Err(error) => break PageEnd::Incomplete(error.to_string()),
        }
        if sink.segment.bytes() > sink.bytes_max {
            break PageEnd::NoRoom;
        }
        if received % LINES_PER_LOOK == 0 && Instant::now() >= deadline {
            break PageEnd::Incomplete("it took too long".into());
        }
    };
    Ok(Page { end, received })
}

/// What is left until `deadline`; at least a moment, so that a request can fail by itself.
pub(super) fn time_left(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now()).max(Duration::from_secs(1))
}

impl Sink<'_> {
    /// Takes a line; one that has ended runs is not decoded any more.
    fn take(&mut self, line: &[u8], decoder: &mut EventDecoder) -> Result<(), FileError> {
        let Some(wary) = &mut self.wary else { return self.decode(line, decoder) };
        if !wary.has_begun {
            if let Err(error) = wary.attempt.begin(wary.position) {
                log::warn!("{error}; a line that ends this run would not be known by it");
            }
            wary.has_begun = true;
        }
        if !wary.attempt.is_wary() {
            return self.decode(line, decoder);
        }
        let id = event_id(line);
        if wary.attempt.is_suspect(&id) {
            wary.passed.push(id);
            if self.skip.is_some_and(|seen| seen.contains(&id)) {
                return Ok(());
            }
            self.segment.add(|text| {
                decoder.pass_over(&id, line.len(), text);
                Some(())
            })?;
            return (self.add_id)(id);
        }
        wary.attempt.line_begins(&id);
        self.decode(line, decoder)?;
        if let Some(wary) = &self.wary {
            wary.attempt.line_ends();
        }
        Ok(())
    }

    fn decode(&mut self, line: &[u8], decoder: &mut EventDecoder) -> Result<(), FileError> {
        if decoder.bursts.is_none() {
            decoder.bursts = (self.load_bursts)();
        }
        let is_known = |id: &EventId| self.skip.is_some_and(|seen| seen.contains(id));
        match self.segment.add(|text| decoder.decode_new_into(line, is_known, text))? {
            Some(id) => (self.add_id)(id),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::event::{EVENT_LINE_BYTES_MAX, EventSettings};
    use crate::state::StateFolder;
    use crate::state::segment::Header;
    use crate::state::spool::Spool;

    /// How this answer ends, and the event lines in it.
    fn read(body: &str, bytes_max: u64) -> (PageEnd, u64) {
        let folder = tempfile::tempdir().unwrap();
        let mut segment = Spool::look(&StateFolder::at(folder.path())).unwrap().write(&Header::default()).unwrap();
        let mut add_id = |_| Ok(());
        let mut sink = Sink {
            segment: &mut segment,
            add_id: &mut add_id,
            load_bursts: &|| None,
            skip: None,
            bytes_max,
            wary: None,
        };
        let mut decoder = EventDecoder::new(EventSettings {
            source: "a".into(),
            line_bytes_max: EVENT_LINE_BYTES_MAX,
            redact_headers: Vec::new(),
        });
        let deadline = Instant::now() + Duration::from_secs(60);
        let page = read_into(body.as_bytes(), &mut decoder, &mut sink, deadline).unwrap();
        (page.end, page.received)
    }

    #[test]
    fn only_a_context_line_at_the_end_makes_an_answer_whole() {
        const EVENT: &str = "{\"attackData\":{}}\n";
        const CONTEXT: &str = "{\"offset\":\"x\",\"total\":1}\n";
        for (body, is_whole) in [
            (format!("{EVENT}{CONTEXT}"), true),
            (CONTEXT.to_owned(), true),
            (EVENT.to_owned(), false),
            (String::new(), false),
            (format!("{CONTEXT}{EVENT}"), false),
            (format!("{EVENT}{CONTEXT}{{\"attackData\""), false),
        ] {
            let (end, _) = read(&body, 1 << 20);
            assert_eq!(matches!(end, PageEnd::Whole(_)), is_whole, "{body}: {end:?}");
        }
    }

    #[test]
    fn an_answer_takes_no_more_room_than_it_may() {
        let body = "{\"attackData\":{\"ruleData\":\"\"}}\n".repeat(1_000) + "{\"offset\":\"x\"}\n";
        let (end, received) = read(&body, 20_000);
        assert!(matches!(end, PageEnd::NoRoom) && received < 1_000, "{end:?} after {received}");
        assert!(matches!(read(&body, 1 << 20), (PageEnd::Whole(_), 1_000)));
    }
}
