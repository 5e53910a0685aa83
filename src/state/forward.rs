//! Roll forward: a segment that was sealed while its cursor was not saved moves the cursor, before anything is asked for or
//! handed over. So nothing sealed is asked for again. Never moves a cursor back.

use std::collections::BTreeMap;

use super::cursor::{Cursor, CursorFile};
use super::health::{Health, HealthFile};
use super::seen::SeenFiles;
use super::segment::{Header, Next, Segment, SegmentReader};
use super::spool::Spool;
use super::{Loaded, StateFolder};
use crate::event::EventId;
use crate::files::FileError;

/// A cursor that a segment says counts.
struct Sealed {
    number: u64,
    source: String,
    cursor: Cursor,
}

/// Moves every cursor that lags. One that cannot be saved counts all the same; its segment stays until it can.
///
/// # Errors
/// A segment that a newer version wrote.
pub fn roll_forward(state: &StateFolder, spool: &mut Spool) -> Result<(), FileError> {
    let mut latest: BTreeMap<String, Sealed> = BTreeMap::new();
    let mut old: BTreeMap<String, Vec<(Segment, String)>> = BTreeMap::new();
    for segment in spool.segments.clone() {
        let reader = match segment.open(0) {
            Ok(reader) => reader,
            Err(error) if error.is_newer() => return Err(error),
            // What cannot be read is set aside when its turn comes.
            Err(_) => continue,
        };
        let SegmentReader { header, footer, .. } = reader;
        let header = header.unwrap_or_default();
        if let Some((key, cursor)) = footer.and_then(|footer| footer.cursor) {
            latest.insert(key, Sealed { number: segment.number, source: header.source, cursor });
        } else if let Header { version: 0, source, asked: Some((key, position)), .. } = header
            && comes_again(state, &key, &position, segment.number)
        {
            old.entry(key).or_default().push((segment, source));
        }
    }
    for (key, segments) in old {
        latest.extend(upgrade(state, spool, &key, segments)?.map(|sealed| (key, sealed)));
    }
    for (key, sealed) in latest {
        if let Err(error) = move_cursor(state, &key, &sealed) {
            log::error!("{error}; the segment that says where to go on stays");
            spool.lags(key, sealed.number, sealed.cursor);
        }
    }
    Ok(())
}

/// Saves a cursor where the one that is saved stands before its segment, or is damaged.
fn move_cursor(state: &StateFolder, key: &str, sealed: &Sealed) -> Result<(), FileError> {
    let file = CursorFile::with_key(state, key);
    let mut cursor = sealed.cursor.clone();
    let mut health = health_of(state, &sealed.source)?;
    match file.load()? {
        Loaded::Intact(saved) if saved.segment >= sealed.number => return Ok(()),
        Loaded::Intact(_) | Loaded::Missing => {}
        Loaded::Corrupt => {
            let aside = file.set_aside()?;
            log::error!(
                "a cursor is damaged (a copy is {}); the last page in the spool says where to go on",
                aside.display()
            );
            // Later pages may have come, and be delivered.
            cursor.skip_seen = true;
        }
    }
    log::info!("source {}: a page was stored, and its cursor not saved; it goes on behind that page", sealed.source);
    cursor.seen = cursor.seen.max(health.seen);
    file.save(&cursor)?;
    // The ids are the source's, whatever it is asked for next.
    health.seen = cursor.seen;
    health.committed_s = health.committed_s.max(Some(cursor.caught_up_s.min(cursor.committed_s)));
    HealthFile::of(state, &sealed.source).save(&health)
}

/// What is remembered of a source. Errors: a file that cannot be read.
pub fn health_of(state: &StateFolder, source: &str) -> Result<Health, FileError> {
    Ok(HealthFile::of(state, source).load()?.intact().unwrap_or_default())
}

/// Whether 0.1.0 would have asked again for the page of this segment.
fn comes_again(state: &StateFolder, key: &str, position: &str, number: u64) -> bool {
    let cursor = CursorFile::with_key(state, key).load();
    matches!(cursor, Ok(Loaded::Intact(cursor)) if cursor.segment < number && cursor.position.text() == position)
}

/// Pages that 0.1.0 sealed at one position and would have asked for again: each is the beginning of the longest, which stays. Where
/// to go on behind it is not known, so its page comes again without the lines that are known then. Its number is a new one, since later
/// ones may have been delivered.
fn upgrade(
    state: &StateFolder,
    spool: &mut Spool,
    key: &str,
    mut segments: Vec<(Segment, String)>,
) -> Result<Option<Sealed>, FileError> {
    segments.sort_by_key(|(segment, _)| segment.lines);
    let Some((longest, source)) = segments.pop() else { return Ok(None) };
    let Loaded::Intact(mut cursor) = CursorFile::with_key(state, key).load()? else { return Ok(None) };
    for (segment, _) in segments {
        spool.remove(segment.number)?;
    }
    let seen = SeenFiles::of(state, &source);
    let mut ids = seen.append(cursor.seen.max(health_of(state, &source)?.seen))?;
    let (mut reader, mut line) = (longest.open(0)?, Vec::new());
    loop {
        match reader.next(&mut line)? {
            Next::Line => event_id_of(&line).map_or(Ok(()), |id| ids.add(id))?,
            Next::Damaged => {}
            Next::End => break,
        }
    }
    cursor.seen = ids.finish()?;
    cursor.skip_seen = true;
    cursor.segment = spool.renumber(longest.number)?;
    Ok(Some(Sealed { number: cursor.segment, source, cursor }))
}

/// The id that an event line carries.
fn event_id_of(line: &[u8]) -> Option<EventId> {
    const KEY: &[u8] = b"\"event_id\":\"";
    let at = memchr::memmem::rfind(line, KEY)? + KEY.len();
    let digits = std::str::from_utf8(line.get(at..at + 2 * size_of::<EventId>())?).ok()?;
    u128::from_str_radix(digits, 16).ok().map(u128::to_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::event_id_of;

    #[test]
    fn the_id_of_a_line_is_found_again() {
        let id = "00112233445566778899aabbccddeeff";
        let line = format!("{{\"x\":\"event_id\",\"akamai\":{{\"source\":\"a\",\"event_id\":\"{id}\"}}}}\n");
        assert_eq!(event_id_of(line.as_bytes()).map(|id| id[15]), Some(0xff));
        assert_eq!(event_id_of(b"{}"), None);
    }
}
