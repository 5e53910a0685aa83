//! One segment of the spool: a file that is written once, sealed, and then only read. Never gives away a byte that its checksum
//! does not cover.
//!
//! It is a file of lines, each `<CRC-32 in hexadecimal><kind><text>`; the checksum covers kind and text. The first is a header
//! (`=`), then come event lines as Wazuh gets them (a blank), and at the end a footer (`.`): the cursor that counts once the
//! segment is sealed. Files of 0.1.0 have neither checksums nor a footer, and a header that is plain JSON.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::StateFolder;
use super::cursor::Cursor;
use super::delivery::{Mark, Progress};
use super::record::{VERSION, refuse_newer};
use crate::files::{FileError, open_regular, remove};

/// Bytes of lines that are collected before they are written.
const WRITE_BYTES: usize = 256 << 10;

/// Bytes of a header or footer; a context line, which the longest offset comes from, has at most 64 KiB.
const END_BYTES_MAX: u64 = 128 << 10;

/// Bytes of a line, its checksum included; `max_line` is at most half of that.
const LINE_BYTES_MAX: usize = 128 << 10;

/// Digits of a checksum.
const SUM_DIGITS: usize = 8;

/// Bytes in front of a text: the checksum and the kind.
const FRONT_BYTES: usize = SUM_DIGITS + 1;

const HEADER: u8 = b'=';
const LINE: u8 = b' ';
const FOOTER: u8 = b'.';

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
#[serde(default)]
pub struct Header {
    /// The format; 0 is that of 0.1.0.
    pub version: u32,
    /// Name of the source; empty for what concerns none.
    pub source: String,
    /// From when on Akamai had its events, in Unix seconds; 0 where that is not known.
    pub from_s: i64,
    /// 0.1.0 only: key of the cursor that moved behind these lines, and the position it stood at.
    #[serde(skip_serializing)]
    pub asked: Option<(String, String)>,
}

/// What counts once a segment is sealed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Footer {
    /// The cursor behind its lines, and the key of that; none for a backfill.
    pub cursor: Option<(String, Cursor)>,
}

/// A sealed segment.
#[derive(Clone, Debug)]
pub struct Segment {
    /// Its number: later ones are greater.
    pub number: u64,
    /// In which lane it goes.
    pub lane: Lane,
    /// Whose lines they are; empty for what concerns no source, or where that cannot be known.
    pub source: String,
    /// Event lines in it.
    pub lines: u64,
    /// Bytes, header and footer included.
    pub bytes: u64,
    /// Where it is.
    pub path: PathBuf,
}

/// A segment that is being read, line by line.
#[derive(Debug)]
pub struct SegmentReader {
    /// Which one.
    pub segment: Segment,
    /// Whose lines they are; none where that cannot be known.
    pub header: Option<Header>,
    /// What counts behind it; none in one of 0.1.0, or where that cannot be known.
    pub footer: Option<Footer>,
    file: BufReader<File>,
    /// Where the next line begins, and where the lines end.
    at: u64,
    lines_end: u64,
}

/// What a segment has next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// An event line.
    Line,
    /// Something that was not written so.
    Damaged,
    /// Nothing more.
    End,
}

/// A segment that is being written.
#[derive(Debug)]
pub struct SegmentWriter {
    pub(super) path: PathBuf,
    pub(super) file: File,
    pub(super) source: String,
    /// Lines not yet written; whole ones only.
    text: Vec<u8>,
    pub(super) written: u64,
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

impl Header {
    /// That of events of a source which Akamai had from then on.
    pub fn new(source: &str, from_s: i64) -> Self {
        Self { version: VERSION, source: source.to_owned(), from_s, asked: None }
    }
}

impl Segment {
    /// The file name of a sealed segment.
    pub(super) fn name(number: u64, lines: u64, lane: Lane) -> String {
        format!("spool-{number:012}-{lines}.{}", lane.word())
    }

    /// The sealed segment of this file name; none where there is no such file.
    pub(super) fn named(state: &StateFolder, name: &str) -> Option<Self> {
        let (stem, lane) = name.strip_prefix("spool-")?.split_once('.')?;
        let lane = [Lane::Notices, Lane::Events].into_iter().find(|known| known.word() == lane)?;
        let (number, lines) = stem.split_once('-')?;
        let path = state.path().join(name);
        let bytes = fs::symlink_metadata(&path).ok().filter(fs::Metadata::is_file)?.len();
        let lines = lines.parse().ok().filter(|lines| *lines <= bytes)?;
        let header = open_regular(&path).ok().and_then(|file| read_header(&file).ok());
        let source = header.and_then(|(header, _)| header).unwrap_or_default().source;
        Some(Self { number: number.parse().ok()?, lane, source, lines, bytes, path })
    }

    /// Opens it; its next line is the one at byte `at`.
    ///
    /// # Errors
    /// A file that cannot be read, or that a newer version wrote.
    pub fn open(&self, at: u64) -> Result<SegmentReader, FileError> {
        let mut file = open_regular(&self.path)?;
        let (header, header_bytes) = read_header(&file).map_err(FileError::of("read", &self.path))?;
        refuse_newer(&self.path, header.as_ref().map_or(VERSION, |header| header.version))?;
        let is_checked = header.as_ref().is_none_or(|header| header.version > 0);
        let footer = if is_checked { read_footer(&file, self.bytes) } else { Ok(None) };
        let (footer, lines_end) = footer.map_err(FileError::of("read", &self.path))?.unzip();
        let at = if at == 0 && header.is_some() { header_bytes } else { at };
        file.seek(SeekFrom::Start(at)).map_err(FileError::of("read", &self.path))?;
        Ok(SegmentReader {
            segment: self.clone(),
            header,
            footer,
            file: BufReader::with_capacity(LINE_BYTES_MAX, file),
            at,
            lines_end: lines_end.unwrap_or(self.bytes),
        })
    }
}

impl SegmentReader {
    /// Where the next line begins; the end of the file where there is none.
    pub fn at(&self) -> u64 {
        if self.at >= self.lines_end { self.segment.bytes } else { self.at }
    }

    /// The next line into `line`, with its line end, or what stands where one should.
    pub fn next(&mut self, line: &mut Vec<u8>) -> Result<Next, FileError> {
        line.clear();
        let left = self.lines_end.saturating_sub(self.at);
        if left == 0 {
            return Ok(Next::End);
        }
        let read = self.file.by_ref().take(left.min(LINE_BYTES_MAX as u64)).read_until(b'\n', line);
        let read = read.map_err(FileError::of("read", &self.segment.path))? as u64;
        // A file that ends early has nothing more.
        self.at = if read == 0 { self.lines_end } else { self.at + read };
        let is_line = match &self.header {
            Some(Header { version: 0, .. }) => is_event(line),
            _ => matches!(unframed(line), Some((LINE, text)) if !text.is_empty()),
        };
        if is_line && self.header.as_ref().is_none_or(|header| header.version > 0) {
            line.drain(..FRONT_BYTES);
        }
        Ok(if is_line { Next::Line } else { Next::Damaged })
    }

    /// Whether it has nothing more and lines may be missing: it was sealed with a footer, which is not there.
    pub fn ends_early(&self) -> bool {
        let has_footer = self.footer.is_some() || self.header.as_ref().is_some_and(|header| header.version == 0);
        self.at >= self.lines_end && !has_footer
    }
}

impl SegmentWriter {
    /// Goes on in an empty file.
    pub(super) fn new(path: PathBuf, file: File, header: &Header) -> Result<Self, FileError> {
        let source = header.source.clone();
        let mut writer = Self { path, file, source, text: Vec::new(), written: 0, lines: 0 };
        writer.frame(HEADER, header)?;
        Ok(writer)
    }

    /// Bytes so far, those not yet written included.
    pub fn bytes(&self) -> u64 {
        self.written + self.text.len() as u64
    }

    /// Adds the line that `write` appends, with its line end; where it gives none, there is none.
    pub fn add<T>(&mut self, write: impl FnOnce(&mut Vec<u8>) -> Option<T>) -> Result<Option<T>, FileError> {
        let start = self.text.len();
        self.text.extend_from_slice(b"00000000 ");
        let Some(written) = write(&mut self.text) else {
            self.text.truncate(start);
            return Ok(None);
        };
        self.lines += 1;
        sum_up(&mut self.text[start..]);
        if self.text.len() >= WRITE_BYTES {
            self.write()?;
        }
        Ok(Some(written))
    }

    /// Makes what was added durable, so that sealing it takes but a moment.
    pub fn sync(&mut self) -> Result<(), FileError> {
        self.write()?;
        self.file.sync_data().map_err(FileError::of("sync", &self.path))
    }

    /// Gives it up.
    pub fn discard(self) {
        // What stays is removed when the next run starts.
        let _ = remove(&self.path);
    }

    /// Writes the footer and what else is left.
    pub(super) fn finish(&mut self, footer: &Footer) -> Result<(), FileError> {
        self.frame(FOOTER, footer)?;
        self.write()
    }

    fn frame(&mut self, kind: u8, text: &impl Serialize) -> Result<(), FileError> {
        let start = self.text.len();
        self.text.extend_from_slice(&[b'0'; SUM_DIGITS]);
        self.text.push(kind);
        serde_json::to_writer(&mut self.text, text)
            .map_err(|error| FileError::of("write", &self.path)(error.into()))?;
        self.text.push(b'\n');
        sum_up(&mut self.text[start..]);
        Ok(())
    }

    fn write(&mut self) -> Result<(), FileError> {
        self.file.write_all(&self.text).map_err(FileError::of("write", &self.path))?;
        self.written += self.text.len() as u64;
        self.text.clear();
        Ok(())
    }
}

/// Puts the checksum in front of a line.
fn sum_up(line: &mut [u8]) {
    let sum = crc32fast::hash(&line[SUM_DIGITS..line.len() - 1]);
    for (at, digit) in line[..SUM_DIGITS].iter_mut().enumerate() {
        *digit = b"0123456789abcdef"[(sum >> (28 - 4 * at)) as usize & 15];
    }
}

/// Kind and text of a line that is as it was written.
fn unframed(line: &[u8]) -> Option<(u8, &[u8])> {
    let line = line.strip_suffix(b"\n")?;
    let (sum, covered) = line.split_at_checked(SUM_DIGITS)?;
    let sum = u32::from_str_radix(std::str::from_utf8(sum).ok()?, 16).ok()?;
    let (kind, text) = covered.split_first()?;
    (crc32fast::hash(covered) == sum).then_some((*kind, text))
}

/// Whether this is a line as 0.1.0 wrote it.
fn is_event(line: &[u8]) -> bool {
    line.starts_with(b"{\"type\":\"akamai_") && serde_json::from_slice::<serde::de::IgnoredAny>(line).is_ok()
}

/// The header and its length, line end included.
fn read_header(file: &File) -> io::Result<(Option<Header>, u64)> {
    let mut line = Vec::new();
    let read = BufReader::new(file.take(END_BYTES_MAX)).read_until(b'\n', &mut line)? as u64;
    let header = match unframed(&line) {
        Some((HEADER, text)) => serde_json::from_slice(text).ok(),
        // One of 0.1.0.
        None => serde_json::from_slice(&line).ok().filter(|header: &Header| header.version == 0),
        Some(_) => None,
    };
    Ok((header, read))
}

/// The footer, and where it begins.
fn read_footer(mut file: &File, bytes: u64) -> io::Result<Option<(Footer, u64)>> {
    let begin = bytes.saturating_sub(END_BYTES_MAX);
    file.seek(SeekFrom::Start(begin))?;
    let mut end = Vec::new();
    file.take(bytes - begin).read_to_end(&mut end)?;
    let before = end.strip_suffix(b"\n").and_then(|end| memchr::memrchr(b'\n', end));
    let Some(start) = before.map(|at| at + 1) else { return Ok(None) };
    let Some((FOOTER, text)) = unframed(&end[start..]) else { return Ok(None) };
    Ok(serde_json::from_slice(text).ok().map(|footer| (footer, begin + start as u64)))
}
