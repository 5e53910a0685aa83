//! The spool's lines in the order in which they go: collector events first, then Akamai's, each lane by its numbers. Never
//! writes, never removes.

use std::fs::File;
use std::io::{BufRead, BufReader, Seek, SeekFrom};

use crate::files::FileError;
use crate::state::delivery::{Mark, Progress};
use crate::state::spool::{Lane, Segment, Spool};

/// Buffer for reading a segment, in bytes: the longest line fits.
const READ_BYTES: usize = 128 << 10;

/// Reads one line after the other.
#[derive(Debug, Default)]
pub(super) struct SpoolLines {
    open: Option<Open>,
}

/// The segment that is being read.
#[derive(Debug)]
struct Open {
    segment: Segment,
    reader: BufReader<File>,
    at: u64,
}

impl SpoolLines {
    /// The next line behind `progress`, into `line` with its line end; `progress` moves behind it. False where there is none.
    pub(super) fn next(
        &mut self,
        spool: &Spool,
        progress: &mut Progress,
        line: &mut Vec<u8>,
    ) -> Result<bool, FileError> {
        loop {
            if self.open.as_ref().is_none_or(|open| !open.stands_at(progress)) {
                let Some(segment) = first_pending(spool, progress) else { return Ok(false) };
                self.open = Some(Open::at(segment, segment.lane.mark(progress))?);
            }
            let Some(open) = &mut self.open else { return Ok(false) };
            line.clear();
            let read = open.reader.read_until(b'\n', line);
            let length = read.map_err(FileError::of("read", &open.segment.path))? as u64;
            let is_header = open.at == 0;
            // A file that ends early has nothing more.
            open.at = if length == 0 { open.segment.bytes } else { open.at + length };
            *open.segment.lane.mark_mut(progress) = Mark { segment: open.segment.number, byte: open.at };
            if length > 0 && !is_header && line.ends_with(b"\n") {
                return Ok(true);
            }
        }
    }

    /// Looks anew where to go on: `progress` was moved, or the spool has something more urgent.
    pub(super) fn reset(&mut self) {
        self.open = None;
    }
}

/// Whether anything lies behind `progress`.
pub(super) fn has_pending(spool: &Spool, progress: &Progress) -> bool {
    first_pending(spool, progress).is_some()
}

fn first_pending<'a>(spool: &'a Spool, progress: &Progress) -> Option<&'a Segment> {
    [Lane::Notices, Lane::Events].into_iter().find_map(|lane| {
        let mark = lane.mark(progress);
        spool.segments.iter().filter(|segment| segment.lane == lane).find(|segment| {
            segment.number > mark.segment || (segment.number == mark.segment && segment.bytes > mark.byte)
        })
    })
}

impl Open {
    fn at(segment: &Segment, mark: Mark) -> Result<Self, FileError> {
        let mut file = File::open(&segment.path).map_err(FileError::of("open", &segment.path))?;
        let at = if segment.number == mark.segment { mark.byte } else { 0 };
        file.seek(SeekFrom::Start(at)).map_err(FileError::of("read", &segment.path))?;
        Ok(Self { segment: segment.clone(), reader: BufReader::with_capacity(READ_BYTES, file), at })
    }

    /// Whether its next line is the one behind `progress`.
    fn stands_at(&self, progress: &Progress) -> bool {
        let mark = self.segment.lane.mark(progress);
        let begins = self.at == 0 && mark.segment < self.segment.number;
        let goes_on = mark == Mark { segment: self.segment.number, byte: self.at };
        (begins || goes_on) && self.at < self.segment.bytes
    }
}
