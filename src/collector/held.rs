//! A page that was sealed while its cursor did not move, once it is known that it will not come again: it is delivered, and
//! the cursor moves behind it. Never asks Akamai; until the cursor is saved the next run finds the page held back as before.

use super::fare::Fare;
use super::store::Store;
use crate::files::FileError;
use crate::siem::event::EventId;
use crate::state::Loaded;
use crate::state::cursor::{Cursor, CursorFile};
use crate::state::seen::SeenFiles;
use crate::state::spool::Segment;

/// Takes the page that is held back for a cursor, if there is one, and moves the cursor behind it: its lines are known then.
/// The caller saves the cursor and adds the segment to the spool.
pub(super) fn take(store: &mut Store, key: &str, cursor: &mut Cursor) -> Result<Option<Segment>, FileError> {
    let Some(segment) = store.spool.release(key)? else { return Ok(None) };
    let source = segment.header()?.unwrap_or_default().source;
    let seen = SeenFiles::of(&store.state, &source);
    let mut ids = seen.append(cursor.seen)?;
    segment.each_line(|line| event_id_of(line).map_or(Ok(()), |id| ids.add(id)))?;
    cursor.seen = ids.finish()?;
    cursor.segment = segment.number;
    cursor.skip_seen = true;
    Ok(Some(segment))
}

/// Releases the pages that are held back for other cursors than these: of sources that nobody asks in this run.
pub(super) fn release_unasked(store: &mut Store, asked_keys: &[String]) -> Result<(), FileError> {
    for key in store.spool.held_keys().iter().filter(|key| !asked_keys.contains(key)) {
        let file = CursorFile::with_key(&store.state, key);
        // Only what has a cursor that can be read is held back.
        let Loaded::Intact(mut cursor) = file.load()? else { continue };
        // The ids are the source's: it may have been asked for something else since.
        let source = store.spool.source_held(key)?;
        cursor.seen = cursor.seen.max(Fare::of(&store.state, &source)?.health.seen);
        if let Some(segment) = take(store, key, &mut cursor)? {
            store.save(|| file.save(&cursor))?;
            store.spool.add(segment);
        }
    }
    Ok(())
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
