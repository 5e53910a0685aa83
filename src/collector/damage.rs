//! What of the spool cannot be read, or is not as it was written: it is set aside, told as lost, and passed over. Never handed
//! over, never thrown away.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use rustix::io::Errno;

use super::store::Store;
use crate::clock::unix_seconds;
use crate::files::{self, FileError};
use crate::state::delivery::Mark;
use crate::state::segment::{Header, Next, Segment, SegmentReader};
use crate::state::set_aside_name;

/// Attempts to read a segment before it is given up, and the time between two of them in milliseconds.
const ATTEMPTS_MAX: u32 = 3;
const AGAIN_MS: u64 = 50;

/// Bytes of damaged lines that are kept of one segment.
const KEPT_BYTES_MAX: u64 = 1 << 20;

/// Opens a segment behind a mark; none where it cannot be read: then it is no longer in the spool.
pub(super) fn open(store: &mut Store, segment: &Segment, mark: Mark) -> Result<Option<SegmentReader>, FileError> {
    let at = if segment.number == mark.segment { mark.byte } else { 0 };
    match again_and_again(segment.open(at), || segment.open(at)) {
        Ok(reader) => Ok(Some(reader)),
        Err(error) => give_up(store, segment, &Header::default(), error).map(|()| None),
    }
}

/// The next line of a segment; none where it cannot be read: then it is no longer in the spool.
pub(super) fn next(
    store: &mut Store,
    reader: &mut SegmentReader,
    line: &mut Vec<u8>,
) -> Result<Option<Next>, FileError> {
    let first = reader.next(line);
    let read = again_and_again(first, || {
        *reader = reader.segment.open(reader.at())?;
        reader.next(line)
    });
    match read {
        Ok(next) => Ok(Some(next)),
        Err(error) => {
            let header = reader.header.clone().unwrap_or_default();
            give_up(store, &reader.segment, &header, error).map(|()| None)
        }
    }
}

/// Keeps what stands where a line should; tells of it once for a segment.
pub(super) fn keep(store: &mut Store, reader: &SegmentReader, damaged: &[u8], kept_in: &mut Option<PathBuf>) {
    let segment = &reader.segment;
    let is_told = kept_in.is_some();
    let aside = kept_in.get_or_insert_with(|| set_aside_name(&segment.path));
    if let Err(error) = files::append(aside, damaged, KEPT_BYTES_MAX) {
        log::error!("{error}");
    }
    if !is_told {
        let why = format!(
            "lines that waited in {} are damaged; they are not handed over, and kept in {}",
            segment.path.display(),
            aside.display()
        );
        store.lose(&reader.header.clone().unwrap_or_default(), written_s(&segment.path), &why);
    }
}

/// What may fail once is tried again.
fn again_and_again<T>(
    first: Result<T, FileError>,
    mut again: impl FnMut() -> Result<T, FileError>,
) -> Result<T, FileError> {
    let mut result = first;
    for _ in 1..ATTEMPTS_MAX {
        match &result {
            Err(error) if is_of_file(error) => {}
            _ => break,
        }
        thread::sleep(Duration::from_millis(AGAIN_MS));
        result = again();
    }
    result
}

/// Told first: who is killed in between tells it twice.
fn give_up(store: &mut Store, segment: &Segment, header: &Header, error: FileError) -> Result<(), FileError> {
    if !is_of_file(&error) {
        return Err(error);
    }
    let aside = set_aside_name(&segment.path);
    let why = format!("{error}; {} lines waited in it, the file is kept as {}", segment.lines, aside.display());
    store.lose(header, written_s(&segment.path), &why);
    store.spool.set_aside(segment, &aside)
}

/// Whether an error is that of one file, and not one of the whole process or a newer version's file.
fn is_of_file(error: &FileError) -> bool {
    let is_of_process = matches!(Errno::from_io_error(&error.source), Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM));
    !is_of_process && !error.is_newer()
}

/// When a file was written, in Unix seconds.
fn written_s(path: &Path) -> i64 {
    fs::symlink_metadata(path).map_or_else(|_| unix_seconds(), |metadata| metadata.mtime())
}
