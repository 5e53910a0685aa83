//! The JSON of one Akamai line, as spans: which members there are and where their values stand. Never copies, decodes or
//! judges a value; refuses what is not JSON with the byte where it stops being so.
//!
//! Two things beyond strict JSON are accepted because they cost nothing and save the event: a byte-order mark in front
//! and raw control characters inside strings. Lone surrogates and bytes that are not UTF-8 are left to whoever reads the
//! text.

mod scan;

use std::ops::Range;

use self::scan::{Scanner, Stopped};
use super::blocks::{Follow, Marks, Special, Unprintable, holds};
use super::unescape::unescape_into;

/// Members that are remembered of one line, on its first two levels. An event has about 50, and Wazuh takes 256 fields;
/// members beyond are still checked, and counted in [`Tape::unrecorded`].
pub(crate) const MEMBERS_MAX: usize = 4_096;

/// Bytes of a text that are read: no line of Wazuh's holds a tenth of it, however it is encoded, and memory stays bounded
/// whatever the line.
pub(crate) const TEXT_READ_BYTES_MAX: usize = 512 << 10;

/// A syntax error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} at byte {at}")]
pub(crate) struct JsonError {
    /// What was found or missing.
    pub(crate) what: &'static str,
    /// Offset into the line, from 0.
    pub(crate) at: usize,
}

/// Longest line whose places fit into a [`Value`], in bytes; those of an answer have 8 MiB at most.
const LINE_BYTES_MAX: usize = (1 << Value::PLACE_BITS) - 1;

/// What a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A string; its span lies between the quotes.
    Text = 0,
    /// A string that holds backslash escapes.
    EscapedText = 1,
    /// A number, `true` or `false`, as spelled.
    Scalar = 2,
    /// `null`.
    Null = 3,
    /// An object with its braces.
    Object = 4,
    /// An array with its brackets.
    Array = 5,
}

/// A value of the line: its kind, its first byte and the byte behind its last one, in one word that stays in a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Value(u64);

#[allow(clippy::cast_possible_truncation, reason = "no place in a line needs more than PLACE_BITS")]
impl Value {
    const PLACE_BITS: u32 = 28;

    #[inline(always)]
    fn new(kind: Kind, start: usize, end: usize) -> Self {
        Self((start as u64) << (Self::PLACE_BITS + 8) | (end as u64) << 8 | kind as u64)
    }

    /// What it is.
    #[inline(always)]
    pub(crate) fn kind(self) -> Kind {
        // Each by its number: this compiles to hardly anything.
        match self.0 & 7 {
            0 => Kind::Text,
            1 => Kind::EscapedText,
            2 => Kind::Scalar,
            4 => Kind::Object,
            5 => Kind::Array,
            _ => Kind::Null,
        }
    }

    #[inline(always)]
    fn start(self) -> usize {
        (self.0 >> (Self::PLACE_BITS + 8)) as usize
    }

    #[inline(always)]
    fn end(self) -> usize {
        (self.0 >> 8) as usize & LINE_BYTES_MAX
    }

    /// Its source text.
    #[inline(always)]
    pub(crate) fn source(self, line: &[u8]) -> &[u8] {
        &line[self.start()..self.end()]
    }
}

/// The bytes of a line that was scanned.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Line<'a> {
    /// The line.
    pub(crate) bytes: &'a [u8],
    /// Every byte of it is printable ASCII.
    pub(crate) printable: bool,
}

/// A decoded text.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Text<'a> {
    /// Its bytes; not necessarily UTF-8.
    pub(crate) bytes: &'a [u8],
    /// Where the bytes stand that JSON escapes, in order: every one of them, every CR and LF among them. Where that is not
    /// known, or the text is not ASCII, there are no marks. `headers` finds the lines by them: one that lacks would leave a
    /// secret unredacted.
    pub(crate) marks: Option<&'a [usize]>,
}

impl<'a> Line<'a> {
    /// The text of a value: of a string without its escapes, of anything else its source. What is longer than
    /// [`TEXT_READ_BYTES_MAX`] ends there.
    #[inline(always)]
    pub(crate) fn text<'t>(&self, value: Value, scratch: &'t mut Vec<u8>) -> Text<'t>
    where
        'a: 't,
    {
        let source = value.source(self.bytes);
        let bytes = &source[..source.len().min(TEXT_READ_BYTES_MAX)];
        let kind = value.kind();
        if kind == Kind::EscapedText {
            return unescaped(bytes, scratch).into();
        }
        let plain = self.printable && matches!(kind, Kind::Text | Kind::Scalar);
        Text { bytes, marks: plain.then_some(&[]) }
    }

    /// Whether the text of this value ends before the value does.
    pub(crate) fn is_cut(&self, value: Value) -> bool {
        value.source(self.bytes).len() > TEXT_READ_BYTES_MAX
    }
}

#[cold]
fn unescaped<'t>(source: &[u8], scratch: &'t mut Vec<u8>) -> &'t [u8] {
    scratch.clear();
    unescape_into(source, scratch);
    scratch
}

impl<'a> Text<'a> {
    /// Of printable ASCII that needs no escape.
    #[inline(always)]
    pub(crate) fn plain(text: &'a (impl AsRef<[u8]> + ?Sized)) -> Self {
        let bytes = text.as_ref();
        debug_assert!(!holds::<Special>(bytes));
        Self { bytes, marks: Some(&[]) }
    }

    /// Whether it is known to need no escape.
    #[inline(always)]
    pub(crate) fn is_plain(&self) -> bool {
        self.marks.is_some_and(<[usize]>::is_empty)
    }
}

impl<'a> From<&'a [u8]> for Text<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self { bytes, marks: None }
    }
}

impl<'a> From<&'a str> for Text<'a> {
    fn from(text: &'a str) -> Self {
        text.as_bytes().into()
    }
}

/// A name and its value.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Member {
    /// The name: always a text.
    pub(crate) key: Value,
    /// The value.
    pub(crate) value: Value,
    /// Where the members of an object value begin in [`Tape::inner`] (top level only).
    first_child: u32,
    /// How many they are.
    children: u32,
}

impl Member {
    /// Whether nothing but a colon stands between the name and the value, both in quotes.
    #[inline]
    pub(crate) fn is_tight(&self) -> bool {
        self.value.kind() == Kind::Text && self.key.kind() == Kind::Text && self.key.end() + 3 == self.value.start()
    }

    /// Whether it follows `before` with nothing but a comma between their quotes.
    #[inline]
    pub(crate) fn follows(&self, before: &Self) -> bool {
        before.value.end() + 3 == self.key.start()
    }

    /// The source of neighbouring members, from the first quote to the last.
    pub(crate) fn source_of<'l>(members: &[Self], line: &'l [u8]) -> &'l [u8] {
        match members {
            [first, .., last] => &line[first.key.start() - 1..last.value.end() + 1],
            [only] => &line[only.key.start() - 1..only.value.end() + 1],
            [] => &[],
        }
    }
}

/// The members of the last line scanned.
#[derive(Debug, Default)]
pub(crate) struct Tape {
    /// Members of the line's object, in order.
    pub(crate) top: Vec<Member>,
    /// Members of the objects among them, one object after the other.
    pub(crate) inner: Vec<Member>,
    /// Every byte of the line is printable ASCII, so that a string without escapes can be written as it stands.
    pub(crate) printable: bool,
    /// Members that found no room, on both levels.
    pub(crate) unrecorded: usize,
    /// Open brackets while something nested is skipped; kept for its memory.
    open: Vec<u8>,
}

impl Tape {
    /// Scans a line that must hold exactly one JSON object. Whatever comes of it, `follower` is shown the whole line.
    pub(crate) fn scan(&mut self, line: &[u8], mut follower: impl Follow) -> Result<(), JsonError> {
        self.top.clear();
        self.inner.clear();
        self.unrecorded = 0;
        if line.len() > LINE_BYTES_MAX {
            follower.follow(line);
            return Err(JsonError { what: "the line is too long", at: LINE_BYTES_MAX });
        }
        let start = if line.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
        let mut scanner = Scanner::new(line, start, Marks::from(line, 0, follower), &mut self.open);
        let (top, inner, unrecorded) = (&mut self.top, &mut self.inner, &mut self.unrecorded);
        let scanned = scanner.line_object(top, inner, unrecorded);
        let error = scanner.error;
        scanner.marks.finish();
        self.printable = !holds::<Unprintable>(line);
        scanned.map_err(|Stopped| error)
    }

    /// Where the members of a top-level member stand in [`Tape::inner`]; empty unless its value is an object.
    pub(crate) fn children(&self, member: &Member) -> Range<usize> {
        let first = member.first_child as usize;
        first..first + member.children as usize
    }
}

/// Calls `each` with the name and value of every member of the object at `object`, which [`Tape::scan`] has checked;
/// `each` returns false to stop.
pub(crate) fn each_member(line: &[u8], object: Value, mut each: impl FnMut(Value, Value) -> bool) {
    let mut open = Vec::new();
    let line = &line[..object.end()];
    let mut scanner = Scanner::new(line, object.start(), Marks::from(line, object.start(), ()), &mut open);
    // An error here only means "stopped": the object has been checked.
    let _ = scanner.members(|scanner, key, value| {
        let value = scanner.value_or(value)?;
        if each(key, value) { Ok(()) } else { Err(Stopped) }
    });
}

/// The same for the items of a checked array.
pub(crate) fn each_item(line: &[u8], array: Value, mut each: impl FnMut(Value) -> bool) {
    let mut open = Vec::new();
    let line = &line[..array.end()];
    let mut scanner = Scanner::new(line, array.start() + 1, Marks::from(line, array.start(), ()), &mut open);
    loop {
        scanner.skip_blanks();
        match scanner.peek() {
            Some(b',') => scanner.at += 1,
            Some(b']') | None => return,
            Some(_) => match scanner.value() {
                Ok(value) if each(value) => {}
                _ => return,
            },
        }
    }
}

#[cfg(test)]
mod tests;
