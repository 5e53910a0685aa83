//! One answer of Akamai's, read line by line in bounded memory, and its context line. Never decodes an event, never holds a
//! page.
//!
//! An answer is newline-separated JSON: one event a line, and at the end the context line with the offset to go on from.
//! Only the context line proves that the answer is whole: a body that is cut where a line ends looks no different.
#![deny(clippy::disallowed_macros, clippy::disallowed_methods, clippy::disallowed_types)]

use std::io::{self, Read};

use memchr::{memchr, memmem};
use serde_json::Value;

/// Bytes of a line that are kept. Akamai's events average 2.6 kB; what a longer line has beyond is passed over, so that the
/// line reaches Wazuh as one that could not be parsed.
pub const ANSWER_LINE_BYTES_MAX: usize = 8 << 20;

/// Bytes of a context line; those seen have some 150. A longer line is an event.
const CONTEXT_LINE_BYTES_MAX: usize = 64 << 10;

/// How an event begins as Akamai writes it: with the object that no context line has.
const EVENT_START: &[u8] = br#"{"type":"akamai_siem","format":"json","version":"1.0","attackData":"#;

/// Bytes asked of the reader at once.
const READ_BYTES: usize = 256 << 10;

/// The text that older versions of the service put at the end of an answer instead of a context line when the offset had
/// expired (Akamai's Splunk connector looked for it).
const EXPIRED_TAIL: &[u8] = b"Bad offset, expired data requested";

/// The last line of a whole answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Context {
    /// Where the next request goes on; opaque. May be empty when there was nothing.
    pub offset: String,
    /// Events in this answer, by Akamai's count.
    pub total: Option<u64>,
    /// The limit in force; present when it was reached.
    pub limit: Option<u64>,
    /// The line as it came.
    pub line: String,
}

/// One line of an answer, without its line end.
#[derive(Debug, PartialEq, Eq)]
pub enum PageLine<'a> {
    /// An event, or something that stands where one should.
    Event(&'a [u8]),
    /// What stands behind the last line feed and is no context line: an event that broke off, or the last line of a file.
    Fragment(&'a [u8]),
    /// The context line.
    Context(Context),
    /// The service says in plain text that the offset has expired.
    Expired,
}

impl Context {
    /// Whether there may be more behind an answer of `received` events to a request for at most `asked`: Akamai may enforce
    /// a lower limit than was asked for, which it says in the context.
    pub fn is_full(&self, received: u64, asked: u32) -> bool {
        let asked = u64::from(asked);
        received > 0 && received >= self.limit.map_or(asked, |in_force| in_force.min(asked))
    }

    /// Events that Akamai counts and that are not among the `received` ones.
    pub fn lacking(&self, received: u64) -> u64 {
        self.total.map_or(0, |total| total.saturating_sub(received))
    }

    /// The context if `line` is one: a JSON object with an `offset` that is a string, without the `type` and the objects of an
    /// event.
    pub fn parse(line: &[u8]) -> Option<Self> {
        if line.starts_with(EVENT_START)
            || line.len() > CONTEXT_LINE_BYTES_MAX
            || memmem::find(line, b"\"offset\"").is_none()
        {
            return None;
        }
        let object = serde_json::from_slice::<Value>(line).ok()?;
        if ["type", "attackData", "httpMessage"].iter().any(|name| object.get(name).is_some()) {
            return None;
        }
        let count = |name: &str| {
            let value = object.get(name)?;
            value.as_u64().or_else(|| value.as_str()?.parse().ok())
        };
        Some(Self {
            offset: object.get("offset")?.as_str()?.to_owned(),
            total: count("total"),
            limit: count("limit"),
            line: String::from_utf8_lossy(line).into_owned(),
        })
    }
}

/// Reads an answer's lines. Blank lines are passed over; a carriage return before the line end goes with it.
#[derive(Debug)]
pub struct PageReader<R> {
    reader: R,
    buffer: Vec<u8>,
    /// Unread bytes are `buffer[start..end]`; before `searched` there is no line end among them.
    start: usize,
    end: usize,
    searched: usize,
    ended: bool,
}

impl<R: Read> PageReader<R> {
    /// Reads from the start of an answer's body.
    pub fn new(reader: R) -> Self {
        Self { reader, buffer: vec![0; READ_BYTES], start: 0, end: 0, searched: 0, ended: false }
    }

    /// The next line, or none at the end of the answer.
    ///
    /// # Errors
    /// What the reader reports, after the whole lines before it; the piece of a line that came is given up.
    pub fn next_line(&mut self) -> io::Result<Option<PageLine<'_>>> {
        loop {
            let Some((start, end, terminated)) = self.next_span()? else { return Ok(None) };
            let line = &self.buffer[start..end];
            if !line.trim_ascii().is_empty() {
                let end = end - usize::from(line.ends_with(b"\r"));
                return Ok(Some(classify(&self.buffer[start..end], terminated)));
            }
        }
    }

    /// Where the next line stands in the buffer, without its line feed, and whether it had one.
    fn next_span(&mut self) -> io::Result<Option<(usize, usize, bool)>> {
        loop {
            if let Some(at) = memchr(b'\n', &self.buffer[self.searched..self.end]) {
                let (start, end) = (self.start, self.searched + at);
                self.start = end + 1;
                self.searched = self.start;
                return Ok(Some((start, end.min(start + ANSWER_LINE_BYTES_MAX), true)));
            }
            self.searched = self.end;
            if self.ended {
                let (start, end) = (self.start, self.end);
                self.start = end;
                return Ok((start < end).then_some((start, end.min(start + ANSWER_LINE_BYTES_MAX), false)));
            }
            if self.end - self.start >= ANSWER_LINE_BYTES_MAX {
                self.move_to_the_front();
                self.pass_over_rest_of_line()?;
                return Ok(Some((0, ANSWER_LINE_BYTES_MAX, true)));
            }
            self.fill()?;
        }
    }

    /// Reads more behind what is unread.
    fn fill(&mut self) -> io::Result<()> {
        self.move_to_the_front();
        let read = self.read_behind(self.end)?;
        self.end += read;
        self.ended = read == 0;
        Ok(())
    }

    /// Behind an over-long line, whose beginning stays in the buffer: reads on up to the line end, keeping nothing of it.
    fn pass_over_rest_of_line(&mut self) -> io::Result<()> {
        let kept = self.start + ANSWER_LINE_BYTES_MAX;
        loop {
            if let Some(at) = memchr(b'\n', &self.buffer[kept..self.end]) {
                self.start = kept + at + 1;
                self.searched = self.start;
                return Ok(());
            }
            let read = self.read_behind(kept)?;
            self.end = kept + read;
            if read == 0 {
                self.ended = true;
                self.start = self.end;
                self.searched = self.end;
                return Ok(());
            }
        }
    }

    fn move_to_the_front(&mut self) {
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.searched -= self.start;
            self.start = 0;
        }
    }

    /// Reads some bytes to `at` in the buffer; 0 means the end of the answer, since there always is room.
    fn read_behind(&mut self, at: usize) -> io::Result<usize> {
        if self.buffer.len() < at + READ_BYTES {
            let length = (self.buffer.len() * 2).min(ANSWER_LINE_BYTES_MAX).max(at + READ_BYTES);
            self.buffer.resize(length, 0);
        }
        loop {
            match self.reader.read(&mut self.buffer[at..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => return other,
            }
        }
    }
}

/// Whether an answer that begins so is Akamai's: what a captive portal or a proxy says of itself has no line that begins as a
/// JSON object. None where more must be seen.
pub fn is_akamais(start: &[u8]) -> Option<bool> {
    let first = start.trim_ascii_start().first()?;
    let is_proven =
        *first == b'{' || [b"\n{\"".as_slice(), EXPIRED_TAIL].iter().any(|text| memmem::find(start, text).is_some());
    is_proven.then_some(true)
}

fn classify(line: &[u8], terminated: bool) -> PageLine<'_> {
    if line.trim_ascii() == EXPIRED_TAIL {
        return PageLine::Expired;
    }
    match Context::parse(line) {
        Some(context) => PageLine::Context(context),
        None if terminated => PageLine::Event(line),
        None => PageLine::Fragment(line),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Gives its bytes in pieces of the sizes named, over and over.
    struct Pieces<'a>(&'a [u8], Vec<usize>, usize);

    impl Read for Pieces<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            assert!(!buffer.is_empty(), "nothing can be read into no room");
            let size = self.1[self.2 % self.1.len()].min(self.0.len()).min(buffer.len());
            self.2 += 1;
            buffer[..size].copy_from_slice(&self.0[..size]);
            self.0 = &self.0[size..];
            Ok(size)
        }
    }

    fn lines(body: &[u8], pieces: Vec<usize>) -> Vec<String> {
        let mut page = PageReader::new(Pieces(body, pieces, 0));
        let mut lines = Vec::new();
        while let Some(line) = page.next_line().unwrap() {
            lines.push(match line {
                PageLine::Event(line) | PageLine::Fragment(line) => String::from_utf8_lossy(line).into_owned(),
                PageLine::Context(context) => format!("context {}", context.offset),
                PageLine::Expired => "expired".into(),
            });
        }
        lines
    }

    #[test]
    fn every_shape_of_the_context_line_is_known() {
        let context = |offset: &str, total, limit| Some((offset.to_owned(), total, limit));
        for (line, expected) in [
            (r#"{ "total": 0, "offset":"3a7f1" }"#, context("3a7f1", Some(0), None)),
            (r#"{ "total": 6, "offset":"3a7f1","limit": 5 }"#, context("3a7f1", Some(6), Some(5))),
            (r#"{"total":1,"offset":"7;-_","limit":10000}"#, context("7;-_", Some(1), Some(10000))),
            (r#"{"offset":"b.2","total":2,"limit":10000}"#, context("b.2", Some(2), Some(10000))),
            (r#"{"offset":"","total":0}"#, context("", Some(0), None)),
            (r#"{"total":3,"offset":"x","limit":null}"#, context("x", Some(3), None)),
            (r#"{"type":"akamai_siem","attackData":{},"offset":"x","total":1}"#, None),
            (r#"{"httpMessage":null,"offset":"x"}"#, None),
            (r#"{"type":"akamai_siem","offset":"x"}"#, None),
            (r#"{"offset":7}"#, None),
            (r#"["offset"]"#, None),
            (r#"{"total":1}"#, None),
        ] {
            let parsed = Context::parse(line.as_bytes());
            assert!(parsed.as_ref().is_none_or(|context| context.line == line));
            assert_eq!(parsed.map(|context| (context.offset, context.total, context.limit)), expected, "{line}");
        }
    }

    #[test]
    fn lines_end_with_line_feeds_only() {
        let body = "{\"a\":\"\u{2028}\u{85}\"}\r\n\n  \r\nx\rx\nBad offset, expired data requested\n{\"offset\":\"o\"}";
        assert_eq!(lines(body.as_bytes(), vec![1]), ["{\"a\":\"\u{2028}\u{85}\"}", "x\rx", "expired", "context o"]);
    }

    /// Whatever the state of the buffer when a line passes the bound: it is cut there, or ends there, and what follows is whole.
    #[test]
    fn a_line_around_the_limit_takes_no_other_with_it() {
        const MAX: usize = ANSWER_LINE_BYTES_MAX;
        for before in [0, 9, READ_BYTES] {
            for length in [MAX - 1, MAX, MAX + 1, MAX + READ_BYTES, MAX + 3 * READ_BYTES + 5] {
                let mut body = vec![b'b'; before];
                body.push(b'\n');
                body.extend(std::iter::repeat_n(b'x', length));
                body.extend_from_slice(b"\nnext\n{\"offset\":\"o\"}");
                for sizes in [
                    vec![usize::MAX],
                    vec![MAX],
                    vec![READ_BYTES - 7],
                    vec![before + 1, MAX],
                    vec![before + 1 + MAX, 1, 6, 3],
                ] {
                    let lines = lines(&body, sizes.clone());
                    let lengths: Vec<usize> = lines.iter().map(String::len).collect();
                    let expected = [before, length.min(MAX), 4, 9];
                    assert_eq!(lengths, expected[usize::from(before == 0)..], "{before} {length} {sizes:?}");
                    assert_eq!(lines[lines.len() - 2..], ["next", "context o"]);
                }
            }
        }
    }

    #[test]
    fn a_failing_reader_is_reported_after_the_whole_lines() {
        struct Failing(bool);
        impl Read for Failing {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                if self.0 {
                    return Err(io::ErrorKind::ConnectionReset.into());
                }
                self.0 = true;
                buffer[..7].copy_from_slice(b"one\ntwo");
                Ok(7)
            }
        }
        let mut page = PageReader::new(Failing(false));
        assert_eq!(page.next_line().unwrap(), Some(PageLine::Event(b"one")));
        assert_eq!(page.next_line().unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    }

    proptest! {
        #[test]
        fn the_lines_do_not_depend_on_the_pieces(body in "[ab\r\n]{0,60}", pieces in proptest::collection::vec(1..9_usize, 1..5)) {
            let whole: Vec<String> =
                body.split('\n').map(|line| line.strip_suffix('\r').unwrap_or(line).to_owned()).filter(|line| !line.trim().is_empty()).collect();
            prop_assert_eq!(lines(body.as_bytes(), pieces), whole);
        }
    }
}
