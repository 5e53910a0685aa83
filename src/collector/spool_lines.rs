//! The spool's lines in the order in which they go: collector events first, then Akamai's, each lane by its numbers. Never gives
//! away what is not as it was written: that is set aside and told.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use super::damage;
use super::store::Store;
use crate::clock::unix_seconds;
use crate::files::FileError;
use crate::state::delivery::{Mark, Progress};
use crate::state::segment::{Lane, Next, Segment, SegmentReader};
use crate::state::spool::Spool;

/// Reads one line after the other.
#[derive(Debug, Default)]
pub(super) struct SpoolLines {
    open: Option<OpenSegment>,
}

/// The segment that is being read.
#[derive(Debug)]
struct OpenSegment {
    reader: SegmentReader,
    /// Where its next line stands.
    at: Mark,
    /// What was damaged in it is kept there, and was told.
    kept_in: Option<PathBuf>,
}

impl SpoolLines {
    /// The next line behind `progress`, into `line` with its line end; `progress` moves behind it. False where there is none.
    pub(super) fn next(
        &mut self,
        store: &mut Store,
        progress: &mut Progress,
        line: &mut Vec<u8>,
    ) -> Result<bool, FileError> {
        loop {
            let stands_at = |open: &OpenSegment| open.reader.segment.lane.mark(progress) == open.at;
            let mut open = match self.open.take().filter(stands_at) {
                Some(open) => open,
                None => {
                    let Some(segment) = first_pending(&store.spool, progress).cloned() else { return Ok(false) };
                    let Some(reader) = damage::open(store, &segment, segment.lane.mark(progress))? else { continue };
                    OpenSegment { at: segment.lane.mark(progress), reader, kept_in: None }
                }
            };
            let Some(next) = damage::next(store, &mut open.reader, line)? else { continue };
            if next == Next::Damaged || open.reader.ends_early() {
                let damaged = if next == Next::Damaged { line.as_slice() } else { b"" };
                damage::keep(store, &open.reader, damaged, &mut open.kept_in);
            }
            let segment = &open.reader.segment;
            open.at = Mark { segment: segment.number, byte: open.reader.at() };
            *segment.lane.mark_mut(progress) = open.at;
            if open.at.byte < segment.bytes {
                self.open = Some(open);
            }
            if next == Next::Line {
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

/// Seconds for which the oldest line behind `progress` has been in the spool.
pub(super) fn waiting_s(spool: &Spool, progress: &Progress) -> Option<i64> {
    let oldest = [Lane::Notices, Lane::Events].into_iter().filter_map(|lane| first_of(spool, progress, lane));
    let made = oldest.filter_map(|segment| fs::metadata(&segment.path).ok()).map(|metadata| metadata.mtime()).min()?;
    Some(unix_seconds() - made)
}

fn first_pending<'a>(spool: &'a Spool, progress: &Progress) -> Option<&'a Segment> {
    [Lane::Notices, Lane::Events].into_iter().find_map(|lane| first_of(spool, progress, lane))
}

fn first_of<'a>(spool: &'a Spool, progress: &Progress, lane: Lane) -> Option<&'a Segment> {
    let mark = lane.mark(progress);
    spool
        .segments
        .iter()
        .filter(|segment| segment.lane == lane)
        .find(|segment| segment.number > mark.segment || (segment.number == mark.segment && segment.bytes > mark.byte))
}
