//! Event lines on disk between Akamai and Wazuh: segments, each written once, sealed, delivered and removed. A segment that
//! is not sealed counts for nothing; nothing sealed is thrown away. Never changes a line.
//!
//! The name of a sealed segment holds its number, the count of its lines and its lane: `spool-000000000042-1234.events`. What is
//! in it: `segment`.

use std::fs;
use std::io;
use std::path::Path;

use super::StateFolder;
use super::cursor::Cursor;
use super::delivery::Progress;
use super::segment::{Footer, Header, Lane, Segment, SegmentWriter};
use crate::files::{FileError, create, put_in_place, remove};

/// The share of its limit from which the spool is nearly full, in percent.
const NEARLY_FULL_PERCENT: u64 = 80;

/// The sealed segments, in order of their numbers.
#[derive(Debug)]
pub struct Spool {
    state: StateFolder,
    /// The segments.
    pub segments: Vec<Segment>,
    /// Cursors that count since a segment was sealed and are not saved yet, each with its key and the segment's number: those
    /// segments stay.
    lagging: Vec<(String, u64, Cursor)>,
    next: u64,
}

impl Spool {
    /// What is there, without a change: for whoever only looks.
    pub fn look(state: &StateFolder) -> Result<Self, FileError> {
        let mut segments: Vec<Segment> =
            state.names("spool-")?.iter().filter_map(|name| Segment::named(state, name)).collect();
        segments.sort_by_key(|segment| segment.number);
        let next = segments.last().map_or(0, |segment| segment.number) + 1;
        Ok(Self { state: state.clone(), segments, lagging: Vec::new(), next })
    }

    /// What is there once segments that were never sealed are removed.
    pub fn recover(state: &StateFolder) -> Result<Self, FileError> {
        for name in state.names("spool-")?.iter().filter(|name| name.ends_with(".open")) {
            remove(&state.path().join(name))?;
        }
        Self::look(state)
    }

    /// Bytes on disk.
    pub fn bytes(&self) -> u64 {
        self.segments.iter().fold(0, |bytes, segment| bytes.saturating_add(segment.bytes))
    }

    /// Whether it holds so much of what it may that somebody must be told.
    pub fn is_nearly_full(&self, bytes_max: u64) -> bool {
        self.bytes() >= bytes_max / 100 * NEARLY_FULL_PERCENT
    }

    /// Bytes on disk of the lines of one source.
    pub fn bytes_of(&self, source: &str) -> u64 {
        self.segments.iter().filter(|segment| segment.source == source).map(|segment| segment.bytes).sum()
    }

    /// Lines in it.
    pub fn lines(&self) -> u64 {
        self.segments.iter().fold(0, |lines, segment| lines.saturating_add(segment.lines))
    }

    /// Makes numbers start beyond this one.
    pub fn number_beyond(&mut self, number: u64) {
        self.next = self.next.max(number.saturating_add(1));
    }

    /// Starts a segment. Its number comes when it is sealed: numbers are in the order in which lines became part of the spool.
    pub fn write(&mut self, header: &Header) -> Result<SegmentWriter, FileError> {
        let number = self.take_number();
        let path = self.state.path().join(format!("spool-{number:012}.open"));
        let file = create(&path)?;
        SegmentWriter::new(path, file, header)
    }

    /// Makes a segment durable and part of the spool, with what counts from now on at its end. What goes wrong leaves nothing of
    /// it.
    pub fn seal(
        &mut self,
        mut writer: SegmentWriter,
        lane: Lane,
        cursor: Option<(&str, &mut Cursor)>,
    ) -> Result<(), FileError> {
        let number = self.take_number();
        let cursor = cursor.map(|(key, cursor)| {
            cursor.segment = number;
            (key.to_owned(), cursor.clone())
        });
        let path = self.state.path().join(Segment::name(number, writer.lines, lane));
        let footer = Footer { cursor };
        let sealed = writer.finish(&footer).and_then(|()| put_in_place(&writer.file, &writer.path, &path));
        if let Err(error) = sealed {
            // It may have its name already while the folder could not be synced.
            let _ = (remove(&writer.path), remove(&path));
            return Err(error);
        }
        let SegmentWriter { source, lines, written: bytes, .. } = writer;
        self.segments.push(Segment { number, lane, source, lines, bytes, path });
        if let Some((key, cursor)) = footer.cursor {
            self.lags(key, number, cursor);
        }
        Ok(())
    }

    /// A cursor counts since this segment was sealed, and is not saved yet.
    pub(super) fn lags(&mut self, key: String, number: u64, cursor: Cursor) {
        self.lagging.push((key, number, cursor));
    }

    /// The cursor of this key that counts, where it is not saved yet.
    pub fn unsaved_cursor(&self, key: &str) -> Option<&Cursor> {
        self.lagging.iter().rfind(|(lagging, ..)| lagging == key).map(|(.., cursor)| cursor)
    }

    /// The cursor of this key is saved.
    pub fn cursor_saved(&mut self, key: &str) {
        self.lagging.retain(|(lagging, ..)| lagging != key);
    }

    /// Removes the segments that have been delivered whole.
    pub fn remove_delivered(&mut self, delivered: &Progress) -> Result<(), FileError> {
        let is_done = |segment: &Segment| {
            let mark = segment.lane.mark(delivered);
            let is_delivered =
                segment.number < mark.segment || (segment.number == mark.segment && segment.bytes <= mark.byte);
            is_delivered && self.lagging.iter().all(|(_, number, _)| *number != segment.number)
        };
        for segment in self.segments.iter().filter(|segment| is_done(segment)) {
            remove(&segment.path)?;
        }
        self.segments.retain(|segment| !is_done(segment));
        Ok(())
    }

    /// Removes a segment whose lines are in another one as well.
    pub(super) fn remove(&mut self, number: u64) -> Result<(), FileError> {
        for segment in self.segments.extract_if(.., |segment| segment.number == number) {
            remove(&segment.path)?;
        }
        Ok(())
    }

    /// Gives a segment the number of the latest one; returns that.
    pub(super) fn renumber(&mut self, number: u64) -> Result<u64, FileError> {
        let Some(at) = self.segments.iter().position(|segment| segment.number == number) else { return Ok(number) };
        let mut segment = self.segments[at].clone();
        segment.number = self.take_number();
        let path = self.state.path().join(Segment::name(segment.number, segment.lines, segment.lane));
        fs::rename(&segment.path, &path).map_err(FileError::of("rename", &segment.path))?;
        segment.path = path;
        self.segments.remove(at);
        let number = segment.number;
        self.segments.push(segment);
        Ok(number)
    }

    /// Takes out a segment that cannot be read; its file is kept under this name.
    pub fn set_aside(&mut self, segment: &Segment, aside: &Path) -> Result<(), FileError> {
        match fs::rename(&segment.path, aside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(FileError::of("rename", &segment.path)(error));
            }
            _ => self.segments.retain(|other| other.number != segment.number),
        }
        Ok(())
    }

    fn take_number(&mut self) -> u64 {
        self.next += 1;
        self.next - 1
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::delivery::Mark;
    use super::super::segment::Next;
    use super::*;
    use std::io::Write;

    fn sealed(spool: &mut Spool, lane: Lane, lines: &[&str]) -> Segment {
        let mut writer = spool.write(&Header::new("a", 7)).unwrap();
        for line in lines {
            writer.add(|text| writeln!(text, "{line}").ok()).unwrap();
        }
        spool.seal(writer, lane, None).unwrap();
        spool.segments.last().unwrap().clone()
    }

    /// What can be read of a segment: lines, and `?` for what is damaged.
    fn read(segment: &Segment) -> Vec<String> {
        let mut reader = segment.open(0).unwrap();
        let (mut lines, mut line) = (Vec::new(), Vec::new());
        loop {
            match reader.next(&mut line).unwrap() {
                Next::Line => lines.push(String::from_utf8(line.clone()).unwrap()),
                Next::Damaged => lines.push("?".into()),
                Next::End => return lines,
            }
        }
    }

    #[test]
    fn what_was_never_sealed_goes_and_what_was_sealed_is_read_as_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateFolder::at(folder.path());
        let mut spool = Spool::look(&state).unwrap();
        let segment = sealed(&mut spool, Lane::Events, &["{\"a\":1}", "ü"]);
        let open = spool.write(&Header::default()).unwrap();
        let kept = Spool::recover(&state).unwrap();
        assert!(!open.path.exists() && kept.segments.len() == 1);
        assert_eq!(kept.segments[0].bytes, segment.bytes);
        assert_eq!(read(&kept.segments[0]), ["{\"a\":1}\n", "ü\n"]);
        let reader = segment.open(0).unwrap();
        assert_eq!((reader.header, reader.footer), (Some(Header::new("a", 7)), Some(Footer::default())));
    }

    #[test]
    fn no_damaged_byte_is_given_away() {
        let folder = tempfile::tempdir().unwrap();
        let mut spool = Spool::look(&StateFolder::at(folder.path())).unwrap();
        let mut segment = sealed(&mut spool, Lane::Events, &["first", "second"]);
        let whole = fs::read(&segment.path).unwrap();
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            fs::write(&segment.path, &damaged).unwrap();
            // A newer format is refused; nothing else is more than damaged.
            let lines = read(&segment);
            assert!(lines.iter().all(|line| ["first\n", "second\n", "?"].contains(&line.as_str())), "{at}: {lines:?}");
            let reader = segment.open(0).unwrap();
            assert!(lines.contains(&"?".into()) || reader.header.is_none() || reader.footer.is_none(), "{at}");
        }
        for more in ["\n", "00000000 \n", "x", &"y".repeat(300_000)] {
            fs::write(&segment.path, [&whole, more.as_bytes()].concat()).unwrap();
            segment.bytes = fs::metadata(&segment.path).unwrap().len();
            let lines = read(&segment);
            assert!(
                lines.len() > 2 && lines[..2] == ["first\n", "second\n"] && lines[2..].iter().all(|line| line == "?")
            );
        }
    }

    #[test]
    fn what_was_delivered_goes_and_its_number_never_comes_again() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateFolder::at(folder.path());
        let mut spool = Spool::look(&state).unwrap();
        let first = sealed(&mut spool, Lane::Events, &["1"]);
        let second = sealed(&mut spool, Lane::Events, &["2"]);
        let events = Mark { segment: second.number, byte: second.bytes - 1 };
        spool.remove_delivered(&Progress { events, ..Progress::default() }).unwrap();
        assert!(!first.path.exists() && second.path.exists());
        let delivered = Progress { events: Mark { byte: second.bytes, ..events }, ..Progress::default() };
        spool.remove_delivered(&delivered).unwrap();
        assert!(spool.segments.is_empty() && !second.path.exists());
        let mut again = Spool::recover(&state).unwrap();
        again.number_beyond(delivered.events.segment);
        assert!(sealed(&mut again, Lane::Events, &["3"]).number > second.number);
    }
}
