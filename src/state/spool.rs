//! Event lines on disk between Akamai and Wazuh: segments, each written once, sealed, delivered and removed. A segment that
//! is not sealed counts for nothing. Never changes a line.
//!
//! A segment is a file of lines. The first is a header (JSON) that says whose lines they are; the rest are event lines as
//! Wazuh gets them. Its name holds its number, the count of its lines and its lane:
//! `spool-000000000042-1234.events`.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::StateFolder;
use super::cursor::CursorFile;
use super::delivery::{Mark, Progress};
use super::record::Loaded;
use crate::files::{FileError, create, put_in_place, remove};

/// Bytes of a segment's lines that are collected before they are written.
const WRITE_BYTES: usize = 256 << 10;

/// Bytes of a header; the longest offset seen has some 100.
const HEADER_BYTES_MAX: u64 = 1 << 20;

/// In which order lines go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// Collector events: ahead of everything.
    Notices,
    /// Akamai's events.
    Events,
}

/// Whose lines a segment holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// Name of the source; empty for what concerns none.
    pub source: String,
    /// Key of the cursor that moved behind these lines, and the position it stood at; none for a backfill.
    pub asked: Option<(String, String)>,
}

/// A sealed segment.
#[derive(Clone, Debug)]
pub struct Segment {
    /// Its number: later ones are greater.
    pub number: u64,
    /// In which lane it goes.
    pub lane: Lane,
    /// Event lines in it.
    pub lines: u64,
    /// Bytes, the header included.
    pub bytes: u64,
    /// Where it is.
    pub path: PathBuf,
}

/// The sealed segments, in order of their numbers.
#[derive(Debug)]
pub struct Spool {
    state: StateFolder,
    /// The segments.
    pub segments: Vec<Segment>,
    /// Segments whose page will be asked for again, each with the key of its cursor: not delivered, and not removed before
    /// the page has come again.
    held: Vec<(String, Segment)>,
    next: u64,
}

/// A segment that is being written.
#[derive(Debug)]
pub struct SegmentWriter {
    state: StateFolder,
    number: u64,
    path: PathBuf,
    file: File,
    /// Lines not yet written; whole ones only.
    pub text: Vec<u8>,
    written: u64,
    /// Event lines so far.
    pub lines: u64,
}

impl Lane {
    fn word(self) -> &'static str {
        match self {
            Self::Notices => "notices",
            Self::Events => "events",
        }
    }

    /// The place in this lane.
    pub fn mark(self, progress: &Progress) -> Mark {
        match self {
            Self::Notices => progress.notices,
            Self::Events => progress.events,
        }
    }

    /// The same, to change it.
    pub fn mark_mut(self, progress: &mut Progress) -> &mut Mark {
        match self {
            Self::Notices => &mut progress.notices,
            Self::Events => &mut progress.events,
        }
    }
}

impl Spool {
    /// What is there, without a change: for whoever only looks.
    ///
    /// # Errors
    /// A folder that cannot be listed.
    pub fn look(state: &StateFolder) -> Result<Self, FileError> {
        let mut segments: Vec<Segment> =
            state.names("spool-")?.iter().filter_map(|name| Segment::named(state, name)).collect();
        segments.sort_by_key(|segment| segment.number);
        let next = segments.last().map_or(0, |segment| segment.number) + 1;
        Ok(Self { state: state.clone(), segments, held: Vec::new(), next })
    }

    /// What is there once what a stopped run left behind is cleared away: segments that were never sealed are removed, and
    /// sealed ones whose page will be asked for again, because their cursor stands before them, are held back. Of two that
    /// were asked for at the same position one is the beginning of the other: the longer one stays.
    ///
    /// # Errors
    /// The file operation that failed.
    pub fn recover(state: &StateFolder) -> Result<Self, FileError> {
        for name in state.names("spool-")?.iter().filter(|name| name.ends_with(".open")) {
            remove(&state.path().join(name))?;
        }
        let mut spool = Self::look(state)?;
        for segment in std::mem::take(&mut spool.segments) {
            match spool.comes_again(&segment)? {
                Some(key) => spool.hold(key, segment)?,
                None => spool.segments.push(segment),
            }
        }
        Ok(spool)
    }

    /// Bytes on disk.
    pub fn bytes(&self) -> u64 {
        self.segments.iter().chain(self.held.iter().map(|(_, segment)| segment)).map(|segment| segment.bytes).sum()
    }

    /// Removes what is held back for a cursor: its page has come again.
    ///
    /// # Errors
    /// The file operation that failed.
    pub fn drop_held(&mut self, key: &str) -> Result<(), FileError> {
        for (_, segment) in self.held.iter().filter(|(held, _)| held == key) {
            remove(&segment.path)?;
        }
        self.held.retain(|(held, _)| held != key);
        Ok(())
    }

    /// The keys of the cursors that something is held back for.
    pub fn held_keys(&self) -> Vec<String> {
        self.held.iter().map(|(key, _)| key.clone()).collect()
    }

    /// The source whose page is held back for a cursor; empty where there is none.
    ///
    /// # Errors
    /// A segment that cannot be read.
    pub fn source_held(&self, key: &str) -> Result<String, FileError> {
        let held = self.held.iter().find(|(held, _)| held == key);
        let header = held.map(|(_, segment)| segment.header()).transpose()?;
        Ok(header.flatten().unwrap_or_default().source)
    }

    /// Whether something is held back for a cursor.
    pub fn holds(&self, key: &str) -> bool {
        self.held.iter().any(|(held, _)| held == key)
    }

    /// Takes out what is held back for a cursor, because its page will not come again. It gets a new number: later ones may
    /// have been delivered meanwhile. The caller moves the cursor behind it and then adds it; until then the next run holds it
    /// back again.
    ///
    /// # Errors
    /// The file operation that failed.
    pub fn release(&mut self, key: &str) -> Result<Option<Segment>, FileError> {
        let Some(at) = self.held.iter().position(|(held, _)| held == key) else { return Ok(None) };
        let mut segment = self.held[at].1.clone();
        segment.number = self.next;
        let name = format!("spool-{:012}-{}.{}", segment.number, segment.lines, segment.lane.word());
        let path = self.state.path().join(name);
        fs::rename(&segment.path, &path).map_err(FileError::of("rename", &segment.path))?;
        self.next += 1;
        segment.path = path;
        self.held.remove(at);
        Ok(Some(segment))
    }

    /// Makes numbers start beyond this one.
    pub fn number_beyond(&mut self, number: u64) {
        self.next = self.next.max(number + 1);
    }

    /// Starts a segment.
    ///
    /// # Errors
    /// The file operation that failed.
    pub fn write(&mut self, header: &Header) -> Result<SegmentWriter, FileError> {
        let path = self.state.path().join(format!("spool-{:012}.open", self.next));
        let file = create(&path)?;
        let number = self.next;
        self.next += 1;
        let mut text = serde_json::to_vec(header).map_err(|error| FileError::of("write", &path)(error.into()))?;
        text.push(b'\n');
        Ok(SegmentWriter { state: self.state.clone(), number, path, file, text, written: 0, lines: 0 })
    }

    /// Takes in a segment that was sealed.
    pub fn add(&mut self, segment: Segment) {
        self.segments.push(segment);
    }

    /// Removes the segments that have been delivered whole.
    ///
    /// # Errors
    /// The file operation that failed.
    pub fn remove_delivered(&mut self, delivered: &Progress) -> Result<(), FileError> {
        let is_done = |segment: &Segment| {
            let mark = segment.lane.mark(delivered);
            segment.number < mark.segment || (segment.number == mark.segment && segment.bytes <= mark.byte)
        };
        for segment in self.segments.iter().filter(|segment| is_done(segment)) {
            remove(&segment.path)?;
        }
        self.segments.retain(|segment| !is_done(segment));
        Ok(())
    }

    fn hold(&mut self, key: String, segment: Segment) -> Result<(), FileError> {
        match self.held.iter_mut().find(|(held, _)| *held == key) {
            Some((_, before)) => {
                let shorter = if before.lines > segment.lines { segment } else { std::mem::replace(before, segment) };
                remove(&shorter.path)
            }
            None => {
                self.held.push((key, segment));
                Ok(())
            }
        }
    }

    /// The key of a cursor that stands before a segment: it was sealed, and the cursor not yet moved behind it.
    fn comes_again(&self, segment: &Segment) -> Result<Option<String>, FileError> {
        let Some((key, position)) = segment.header()?.and_then(|header| header.asked) else { return Ok(None) };
        match CursorFile::with_key(&self.state, &key).load() {
            Ok(Loaded::Intact(cursor)) if cursor.segment < segment.number && cursor.position.text() == position => {
                Ok(Some(key))
            }
            // A cursor that cannot be read moves nothing and is no reason to keep lines back.
            _ => Ok(None),
        }
    }
}

impl Segment {
    /// Its event lines, one after the other, without the header.
    ///
    /// # Errors
    /// A file that cannot be read, or what `each` fails with.
    pub fn each_line(&self, mut each: impl FnMut(&[u8]) -> Result<(), FileError>) -> Result<(), FileError> {
        let file = File::open(&self.path).map_err(FileError::of("open", &self.path))?;
        let mut reader = BufReader::new(file);
        let mut line = Vec::new();
        let mut is_header = true;
        loop {
            line.clear();
            if reader.read_until(b'\n', &mut line).map_err(FileError::of("read", &self.path))? == 0 {
                return Ok(());
            }
            if !std::mem::take(&mut is_header) {
                each(&line)?;
            }
        }
    }

    /// Its header; none where there is no header that could be understood.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn header(&self) -> Result<Option<Header>, FileError> {
        let mut line = Vec::new();
        let file = File::open(&self.path).map_err(FileError::of("open", &self.path))?;
        let mut reader = BufReader::new(std::io::Read::take(file, HEADER_BYTES_MAX));
        reader.read_until(b'\n', &mut line).map_err(FileError::of("read", &self.path))?;
        Ok(serde_json::from_slice(&line).ok())
    }

    fn named(state: &StateFolder, name: &str) -> Option<Self> {
        let (stem, lane) = name.strip_prefix("spool-")?.split_once('.')?;
        let lane = [Lane::Notices, Lane::Events].into_iter().find(|known| known.word() == lane)?;
        let (number, lines) = stem.split_once('-')?;
        let path = state.path().join(name);
        let bytes = fs::metadata(&path).ok().filter(fs::Metadata::is_file)?.len();
        Some(Self { number: number.parse().ok()?, lane, lines: lines.parse().ok()?, bytes, path })
    }
}

impl SegmentWriter {
    /// Its number.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Bytes so far, those not yet written included.
    pub fn bytes(&self) -> u64 {
        self.written + self.text.len() as u64
    }

    /// Writes what has been collected if it is enough.
    ///
    /// # Errors
    /// The file operation that failed.
    pub fn write_if_large(&mut self) -> Result<(), FileError> {
        if self.text.len() < WRITE_BYTES { Ok(()) } else { self.write() }
    }

    /// Makes it durable and part of the spool. What goes wrong leaves nothing of it.
    ///
    /// # Errors
    /// The file operation that failed.
    pub fn seal(mut self, lane: Lane) -> Result<Segment, FileError> {
        let name = format!("spool-{:012}-{}.{}", self.number, self.lines, lane.word());
        let path = self.state.path().join(name);
        let sealed = self.write().and_then(|()| put_in_place(&self.file, &self.path, &path));
        if let Err(error) = sealed {
            // It may have its name already while the folder could not be synced.
            let _ = (remove(&self.path), remove(&path));
            return Err(error);
        }
        Ok(Segment { number: self.number, lane, lines: self.lines, bytes: self.written, path })
    }

    /// Gives it up.
    pub fn discard(self) {
        // What stays is removed when the next run starts.
        let _ = remove(&self.path);
    }

    fn write(&mut self) -> Result<(), FileError> {
        self.file.write_all(&self.text).map_err(FileError::of("write", &self.path))?;
        self.written += self.text.len() as u64;
        self.text.clear();
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::state::cursor::{Cursor, Position};
    use crate::state::seen::SeenMark;

    fn sealed(spool: &mut Spool, asked: Option<(&str, &str)>, lane: Lane, lines: &[&str]) -> Segment {
        let asked = asked.map(|(key, position)| (key.to_owned(), position.to_owned()));
        let mut writer = spool.write(&Header { source: "a".into(), asked }).unwrap();
        for line in lines {
            writer.text.extend_from_slice(line.as_bytes());
            writer.text.push(b'\n');
            writer.lines += 1;
        }
        let segment = writer.seal(lane).unwrap();
        spool.add(segment.clone());
        segment
    }

    fn cursor(offset: &str, segment: u64) -> Cursor {
        Cursor {
            position: Position::Offset(offset.into()),
            committed_s: 1,
            caught_up_s: 1,
            segment,
            limit: 10,
            limit_failed: None,
            shortfall: None,
            skip_seen: false,
            seen: SeenMark::default(),
            bursts: 0,
        }
    }

    #[test]
    fn what_was_never_sealed_goes_and_what_will_come_again_is_held_back() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateFolder::at(folder.path());
        let mut spool = Spool::look(&state).unwrap();
        let numbers: Vec<u64> = [
            (Some(("k1", "offset x")), Lane::Events), // committed
            (Some(("k1", "offset y")), Lane::Events), // sealed, the cursor still stands at y
            (Some(("k2", "offset y")), Lane::Events), // its cursor is gone
            (None, Lane::Events),                     // a backfill
            (None, Lane::Notices),
        ]
        .into_iter()
        .map(|(asked, lane)| sealed(&mut spool, asked, lane, &["1", "2"]).number)
        .collect();
        CursorFile::with_key(&state, "k1").save(&cursor("y", numbers[0])).unwrap();
        let open = spool.write(&Header::default()).unwrap();
        let mut kept = Spool::recover(&state).unwrap();
        let left: Vec<u64> = kept.segments.iter().map(|segment| segment.number).collect();
        assert_eq!(left, [numbers[0], numbers[2], numbers[3], numbers[4]]);
        assert!(!open.path.exists());
        assert!(kept.segments.iter().all(|segment| segment.lines == 2 && segment.header().unwrap().is_some()));
        // What is held back is released under a new number, or goes when its page has come again.
        assert!(kept.release("k2").unwrap().is_none());
        let longer = sealed(&mut kept, Some(("k1", "offset y")), Lane::Events, &["1", "2", "3"]);
        let mut kept = Spool::recover(&state).unwrap();
        assert_eq!(kept.held_keys(), ["k1"]);
        let shorter = sealed(&mut kept, Some(("k1", "offset y")), Lane::Events, &["1"]);
        let mut kept = Spool::recover(&state).unwrap();
        let released = kept.release("k1").unwrap().unwrap();
        assert!(released.lines == 3 && released.number > shorter.number && released.path.exists());
        assert!(!longer.path.exists() && !shorter.path.exists() && !kept.holds("k1"));
        let mut again = Spool::recover(&state).unwrap();
        again.drop_held("k1").unwrap();
        assert!(!released.path.exists() && Spool::recover(&state).unwrap().held.is_empty());
    }

    #[test]
    fn a_committed_page_is_kept_even_where_its_offset_did_not_change() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateFolder::at(folder.path());
        let mut spool = Spool::look(&state).unwrap();
        let segment = sealed(&mut spool, Some(("k1", "offset y")), Lane::Events, &["1"]);
        CursorFile::with_key(&state, "k1").save(&cursor("y", segment.number)).unwrap();
        assert_eq!(Spool::recover(&state).unwrap().segments.len(), 1);
    }

    #[test]
    fn what_was_delivered_goes_and_its_number_never_comes_again() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateFolder::at(folder.path());
        let mut spool = Spool::look(&state).unwrap();
        let first = sealed(&mut spool, None, Lane::Events, &["1"]);
        let second = sealed(&mut spool, None, Lane::Events, &["2"]);
        let events = Mark { segment: second.number, byte: second.bytes - 1 };
        spool.remove_delivered(&Progress { events, ..Progress::default() }).unwrap();
        assert!(!first.path.exists() && second.path.exists());
        let delivered = Progress { events: Mark { byte: second.bytes, ..events }, ..Progress::default() };
        spool.remove_delivered(&delivered).unwrap();
        assert!(spool.segments.is_empty() && !second.path.exists());
        let mut again = Spool::recover(&state).unwrap();
        again.number_beyond(delivered.events.segment);
        assert!(sealed(&mut again, None, Lane::Events, &["3"]).number > second.number);
    }
}
