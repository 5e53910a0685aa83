//! Writes one event line: members, texts and values, counting fields and remembering what had to be cut. Never decides
//! what an event says; never makes a line that is not JSON.

use std::ops::Range;

use super::secrets::Secrets;
use super::text::{Place, TEXT_BYTES_MAX, Written, spelled, write_text};

/// Fields of a line. Wazuh's decoder keeps 256 (`analysisd.decoder_order_size`) and logs an error for each one more; an
/// array counts as one.
const FIELDS_MAX: usize = 255;

/// Fields kept free for the `akamai` object, which comes last.
const FIELDS_RESERVED: usize = 16;

/// Bytes of a name; longer ones are cut. Akamai's longest known one has 16.
const KEY_BYTES_MAX: usize = 256;

/// Items of a list. Real events have up to some twenty rules.
pub(super) const ITEMS_MAX: usize = 1_000;

/// Objects and arrays inside one another, the line itself included; what is deeper becomes text.
pub(super) const DEPTH_MAX: usize = 32;

/// Bytes after which nothing more of Akamai's object is written: a line cannot hold a quarter of it, and memory stays
/// bounded whatever the event.
const OUTPUT_BYTES_MAX: usize = 256 << 10;

/// Names listed in `akamai.truncated`.
pub(super) const NAMES_NOTED_MAX: usize = 32;

/// Characters of a name listed in `akamai.truncated`.
pub(super) const NAME_NOTED_CHARS_MAX: usize = 64;

/// The name of a member.
#[derive(Clone, Copy, Debug)]
pub(super) enum MemberKey<'a> {
    /// A name of ours or of the table: it comes once and needs no escape.
    Known(&'static str),
    /// A name from the line.
    Found(&'a [u8]),
}

impl MemberKey<'_> {
    /// Its bytes, not escaped.
    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Self::Known(name) => name.as_bytes(),
            Self::Found(name) => name,
        }
    }
}

/// An object or array that is open.
struct Open {
    /// Length of the path outside it.
    path_length: usize,
    /// Where its names begin.
    first_name: usize,
}

/// The line that is being written.
pub(super) struct Emit<'a> {
    pub(super) out: &'a mut Vec<u8>,
    start: usize,
    pub(super) fields: usize,
    /// Names on the way to the current object, each ended by a dot.
    path: Vec<u8>,
    open: Vec<Open>,
    /// Where the names found in every open object stand in `out`, to keep the first of duplicates. Known names are no
    /// part of it: the members of an event hold none of them twice.
    names: Vec<Range<usize>>,
    /// Paths of what was cut or left out, in order.
    truncated: Vec<String>,
    pub(super) secrets: Secrets<'a>,
}

impl<'a> Emit<'a> {
    /// Opens a line's object at the end of `out`.
    pub(super) fn open_line(out: &'a mut Vec<u8>, secrets: Secrets<'a>) -> Self {
        let (path, open) = (Vec::with_capacity(64), Vec::with_capacity(8));
        let (names, truncated) = Default::default();
        let mut emit = Self { start: out.len(), out, fields: 0, path, open, names, truncated, secrets };
        emit.enter(b"");
        emit.out.push(b'{');
        emit
    }

    /// Opens an object as the value of a member of ours.
    pub(super) fn open(&mut self, key: &'static str) {
        self.own_key(key);
        self.enter(key.as_bytes());
        self.out.push(b'{');
    }

    /// Closes the object opened last.
    pub(super) fn close(&mut self) {
        self.out.push(b'}');
        self.leave();
    }

    /// Ends the `akamai` object with the names of what was cut, and the line.
    pub(super) fn close_line(mut self) {
        if !self.truncated.is_empty() {
            let names = std::mem::take(&mut self.truncated);
            self.list(MemberKey::Known("truncated"), names.iter().map(String::as_bytes));
        }
        self.close();
        self.close();
    }

    /// Writes a member of ours: text that, where it comes from Akamai, also stands whole elsewhere in the line.
    pub(super) fn own(&mut self, key: &'static str, text: impl AsRef<[u8]>) {
        self.own_key(key);
        self.value_text(key.as_bytes(), text.as_ref());
    }

    /// Writes a member whose value is text. Where something of it is lost, `original` (or else the text itself) follows as
    /// `<key>Raw`.
    pub(super) fn text(&mut self, key: MemberKey<'_>, text: &[u8], original: Option<&[u8]>) {
        if self.key(key) && self.value_text(key.bytes(), text).lossy {
            self.raw(key.bytes(), original.unwrap_or(text));
        }
    }

    /// Writes `<key>Raw`, spelled so that nothing is lost.
    pub(super) fn raw(&mut self, key: &[u8], original: &[u8]) {
        let key = [key, b"Raw"].concat();
        if self.key(MemberKey::Found(&key)) {
            self.value_text(&key, &spelled(&original[..original.len().min(TEXT_BYTES_MAX + 1)]));
        }
    }

    /// Writes a list of texts as a member.
    pub(super) fn list<'t>(&mut self, key: MemberKey<'_>, items: impl Iterator<Item = &'t [u8]>) -> Written {
        let mut all = Written::default();
        if !self.key(key) {
            return all;
        }
        self.fields += 1;
        self.out.push(b'[');
        for (index, item) in items.enumerate() {
            if index == ITEMS_MAX || self.is_full() {
                all.cut = true;
                break;
            }
            if index > 0 {
                self.out.push(b',');
            }
            let written = write_text(self.out, item, Place::Item);
            all.lossy |= written.lossy;
            all.cut |= written.cut;
        }
        self.out.push(b']');
        if all.cut {
            self.note_cut(key.bytes());
        }
        all
    }

    /// Whether a member of Akamai's may still be written; if not, its name is noted.
    pub(super) fn has_room(&mut self, key: &[u8]) -> bool {
        let room = self.fields + FIELDS_RESERVED < FIELDS_MAX && !self.is_full();
        if !room {
            self.note_cut(key);
        }
        room
    }

    /// Remembers that a member of the current object was cut or left out.
    pub(super) fn note_cut(&mut self, key: &[u8]) {
        if self.truncated.len() < NAMES_NOTED_MAX {
            let name = format!("{}{}", String::from_utf8_lossy(&self.path), String::from_utf8_lossy(key));
            let name: String = name.chars().take(NAME_NOTED_CHARS_MAX).collect();
            if !self.truncated.contains(&name) {
                self.truncated.push(name);
            }
        }
    }

    /// Writes a name of ours, of which we know that it comes once.
    fn own_key(&mut self, key: &'static str) {
        self.comma();
        self.out.push(b'"');
        self.out.extend_from_slice(key.as_bytes());
        self.out.extend_from_slice(b"\":");
    }

    /// Writes a name with its comma and colon, unless the object has it already (in any case).
    pub(super) fn key(&mut self, key: MemberKey<'_>) -> bool {
        let key = match key {
            MemberKey::Known(name) => {
                self.own_key(name);
                return true;
            }
            MemberKey::Found(key) if key.len() > KEY_BYTES_MAX => {
                self.note_cut(key);
                &key[..KEY_BYTES_MAX]
            }
            MemberKey::Found(key) => key,
        };
        let before = self.out.len();
        self.comma();
        let start = self.out.len();
        write_text(self.out, key, Place::Item);
        let first_name = self.open.last().map_or(0, |open| open.first_name);
        let written = &self.out[start..];
        if self.names[first_name..].iter().any(|name| self.out[name.clone()].eq_ignore_ascii_case(written)) {
            self.out.truncate(before);
            return false;
        }
        self.names.push(start..self.out.len());
        self.out.push(b':');
        true
    }

    fn comma(&mut self) {
        if self.out.last() != Some(&b'{') {
            self.out.push(b',');
        }
    }

    fn value_text(&mut self, key: &[u8], text: &[u8]) -> Written {
        self.fields += 1;
        let written = write_text(self.out, text, Place::Member);
        if written.cut {
            self.note_cut(key);
        }
        written
    }

    /// Objects and arrays that are open, the line itself included.
    pub(super) fn depth(&self) -> usize {
        self.open.len()
    }

    pub(super) fn is_full(&self) -> bool {
        self.out.len() - self.start > OUTPUT_BYTES_MAX
    }

    pub(super) fn enter(&mut self, key: &[u8]) {
        self.open.push(Open { path_length: self.path.len(), first_name: self.names.len() });
        if !key.is_empty() {
            self.path.extend_from_slice(key);
            self.path.push(b'.');
        }
    }

    pub(super) fn leave(&mut self) {
        if let Some(open) = self.open.pop() {
            self.path.truncate(open.path_length);
            self.names.truncate(open.first_name);
        }
    }
}
