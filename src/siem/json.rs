//! The JSON of one Akamai line, as spans: which members there are and where their values stand. Never copies, decodes or
//! judges a value; refuses what is not JSON with the byte where it stops being so.
//!
//! Two things beyond strict JSON are accepted because they cost nothing and save the event: a byte-order mark in front
//! and raw control characters inside strings. Lone surrogates and bytes that are not UTF-8 are left to whoever reads the
//! text.

use std::ops::Range;

use super::blocks::{Marks, QuoteOrBackslash, Unprintable, holds};
use super::text::unescape_into;

/// Members that are remembered of one line, on its first two levels. An event has about 50, and Wazuh takes 256 fields;
/// members beyond are still checked, and counted in [`Tape::unrecorded`].
pub(crate) const MEMBERS_MAX: usize = 4_096;

/// A syntax error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} at byte {at}")]
pub(crate) struct JsonError {
    /// What was found or missing.
    pub(crate) what: &'static str,
    /// Offset into the line, from 0.
    pub(crate) at: usize,
}

/// What a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A string; its span lies between the quotes.
    Text,
    /// A string that holds backslash escapes.
    EscapedText,
    /// A number, `true` or `false`, as spelled.
    Scalar,
    /// `null`.
    Null,
    /// An object with its braces.
    Object,
    /// An array with its brackets.
    Array,
}

/// A value of the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Value {
    /// What it is.
    pub(crate) kind: Kind,
    /// First byte.
    pub(crate) start: usize,
    /// Byte behind the last one.
    pub(crate) end: usize,
}

impl Value {
    /// Its source text.
    pub(crate) fn source<'a>(&self, line: &'a [u8]) -> &'a [u8] {
        &line[self.start..self.end]
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
    /// It is printable ASCII without `"` and `\`, so that JSON needs no escape in it.
    pub(crate) plain: bool,
}

impl<'a> Line<'a> {
    /// The text of a value: of a string without its escapes, of anything else its source.
    #[inline]
    pub(crate) fn text<'t>(&self, value: Value, scratch: &'t mut Vec<u8>) -> Text<'t>
    where
        'a: 't,
    {
        let bytes = value.source(self.bytes);
        match value.kind {
            Kind::EscapedText => {
                scratch.clear();
                unescape_into(bytes, scratch);
                Text { bytes: scratch, plain: false }
            }
            kind => Text { bytes, plain: self.printable && matches!(kind, Kind::Text | Kind::Scalar) },
        }
    }
}

impl<'a> From<&'a [u8]> for Text<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self { bytes, plain: false }
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
    first_child: usize,
    /// How many they are.
    children: usize,
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
    /// Scans a line that must hold exactly one JSON object.
    pub(crate) fn scan(&mut self, line: &[u8]) -> Result<(), JsonError> {
        self.top.clear();
        self.inner.clear();
        self.unrecorded = 0;
        let start = if line.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
        let mut scanner = Scanner { line, at: start, marks: Marks::from(line, 0), open: &mut self.open };
        scanner.skip_blanks();
        if scanner.peek() != Some(b'{') {
            return scanner.fail("not a JSON object");
        }
        let (top, inner, unrecorded) = (&mut self.top, &mut self.inner, &mut self.unrecorded);
        scanner.members(|scanner, key| {
            let first_child = inner.len();
            let value = if scanner.peek() == Some(b'{') {
                let start = scanner.at;
                scanner.members(|scanner, key| {
                    let value = scanner.value()?;
                    record(inner, unrecorded, Member { key, value, first_child: 0, children: 0 });
                    Ok(())
                })?;
                Value { kind: Kind::Object, start, end: scanner.at }
            } else {
                scanner.value()?
            };
            record(top, unrecorded, Member { key, value, first_child, children: inner.len() - first_child });
            Ok(())
        })?;
        scanner.skip_blanks();
        if scanner.at < line.len() {
            return scanner.fail("more text behind the object");
        }
        self.printable = !holds::<Unprintable>(line);
        Ok(())
    }

    /// Where the members of a top-level member stand in [`Tape::inner`]; empty unless its value is an object.
    pub(crate) fn children(&self, member: &Member) -> Range<usize> {
        member.first_child..member.first_child + member.children
    }
}

/// Calls `each` with the name and value of every member of the object at `object`, which [`Tape::scan`] has checked;
/// `each` returns false to stop.
pub(crate) fn each_member(line: &[u8], object: Value, mut each: impl FnMut(Value, Value) -> bool) {
    let mut open = Vec::new();
    let line = &line[..object.end];
    let mut scanner = Scanner { line, at: object.start, marks: Marks::from(line, object.start), open: &mut open };
    // An error here only means "stopped": the object has been checked.
    let _ = scanner.members(|scanner, key| {
        let value = scanner.value()?;
        if each(key, value) { Ok(()) } else { scanner.fail("stopped") }
    });
}

/// The same for the items of a checked array.
pub(crate) fn each_item(line: &[u8], array: Value, mut each: impl FnMut(Value) -> bool) {
    let mut open = Vec::new();
    let line = &line[..array.end];
    let mut scanner = Scanner { line, at: array.start + 1, marks: Marks::from(line, array.start), open: &mut open };
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

fn record(members: &mut Vec<Member>, unrecorded: &mut usize, member: Member) {
    if members.len() < MEMBERS_MAX {
        members.push(member);
    } else {
        *unrecorded += 1;
    }
}

struct Scanner<'a> {
    line: &'a [u8],
    at: usize,
    /// The quotes and backslashes from `at` on: every one before it has been taken.
    marks: Marks<'a, QuoteOrBackslash>,
    open: &'a mut Vec<u8>,
}

impl Scanner<'_> {
    fn fail<T>(&self, what: &'static str) -> Result<T, JsonError> {
        let what =
            if self.at >= self.line.len() && what != "not a JSON object" { "the line ends too early" } else { what };
        Err(JsonError { what, at: self.at })
    }

    #[inline]
    fn peek(&self) -> Option<u8> {
        self.line.get(self.at).copied()
    }

    #[inline]
    fn skip_blanks(&mut self) {
        while let Some(b' ' | b'\t' | b'\r' | b'\n') = self.peek() {
            self.at += 1;
        }
    }

    fn expect(&mut self, byte: u8, what: &'static str) -> Result<(), JsonError> {
        if self.peek() == Some(byte) {
            self.at += 1;
            Ok(())
        } else {
            self.fail(what)
        }
    }

    /// The object at `at`: calls `each` where a member's value begins; `each` reads the value.
    fn members(&mut self, mut each: impl FnMut(&mut Self, Value) -> Result<(), JsonError>) -> Result<(), JsonError> {
        self.at += 1;
        self.skip_blanks();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(());
        }
        loop {
            let key = self.key()?;
            each(self, key)?;
            self.skip_blanks();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => {
                    self.at += 1;
                    return Ok(());
                }
                _ => return self.fail("no comma or brace behind a member"),
            }
        }
    }

    /// A name with its colon, up to the first byte of the value.
    #[inline]
    fn key(&mut self) -> Result<Value, JsonError> {
        self.skip_blanks();
        let key = self.text()?;
        self.skip_blanks();
        self.expect(b':', "no colon behind a name")?;
        self.skip_blanks();
        Ok(key)
    }

    fn value(&mut self) -> Result<Value, JsonError> {
        let start = self.at;
        let kind = match self.peek() {
            Some(b'"') => return self.text(),
            Some(b'{') => Kind::Object,
            Some(b'[') => Kind::Array,
            Some(b'n') => Kind::Null,
            _ => Kind::Scalar,
        };
        match kind {
            Kind::Object | Kind::Array => self.container()?,
            _ => self.scalar()?,
        }
        Ok(Value { kind, start, end: self.at })
    }

    #[inline]
    fn text(&mut self) -> Result<Value, JsonError> {
        self.expect(b'"', "no string where one is due")?;
        self.marks.next();
        let start = self.at;
        let mut kind = Kind::Text;
        while let Some(mark) = self.marks.next() {
            self.at = mark;
            if self.line[mark] == b'"' {
                self.at += 1;
                return Ok(Value { kind, start, end: mark });
            }
            kind = Kind::EscapedText;
            self.escape()?;
        }
        self.at = self.line.len();
        self.fail("the line ends inside a string")
    }

    fn escape(&mut self) -> Result<(), JsonError> {
        match self.line.get(self.at + 1) {
            Some(b'"' | b'\\') => {
                self.marks.next();
                self.at += 2;
            }
            Some(b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 2,
            Some(b'u')
                if self
                    .line
                    .get(self.at + 2..self.at + 6)
                    .is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit)) =>
            {
                self.at += 6;
            }
            _ => return self.fail("an escape that JSON does not know"),
        }
        Ok(())
    }

    fn scalar(&mut self) -> Result<(), JsonError> {
        for word in [&b"true"[..], b"false", b"null"] {
            if self.line[self.at..].starts_with(word) {
                self.at += word.len();
                return Ok(());
            }
        }
        self.number()
    }

    fn number(&mut self) -> Result<(), JsonError> {
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(())
    }

    fn digits(&mut self) -> Result<(), JsonError> {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        if self.at == start { self.fail("no value where one is due") } else { Ok(()) }
    }

    /// Passes over an object or array of any depth, without recursion.
    fn container(&mut self) -> Result<(), JsonError> {
        self.open.clear();
        loop {
            self.skip_blanks();
            match self.peek() {
                Some(bracket @ (b'{' | b'[')) => {
                    self.at += 1;
                    self.open.push(bracket);
                    self.skip_blanks();
                    let empty = matches!((bracket, self.peek()), (b'{', Some(b'}')) | (b'[', Some(b']')));
                    if !empty {
                        if bracket == b'{' {
                            self.key()?;
                        }
                        continue;
                    }
                }
                Some(b'"') => {
                    self.text()?;
                }
                _ => self.scalar()?,
            }
            if self.close_or_next()? {
                return Ok(());
            }
        }
    }

    /// Behind a value inside [`Self::container`]: closes what ends here; true when everything is closed, false when
    /// another value is due.
    fn close_or_next(&mut self) -> Result<bool, JsonError> {
        while let Some(&bracket) = self.open.last() {
            self.skip_blanks();
            match (bracket, self.peek()) {
                (b'{', Some(b'}')) | (b'[', Some(b']')) => {
                    self.at += 1;
                    self.open.pop();
                }
                (b'{', Some(b',')) => {
                    self.at += 1;
                    self.key()?;
                    return Ok(false);
                }
                (b'[', Some(b',')) => {
                    self.at += 1;
                    return Ok(false);
                }
                _ => return self.fail("no comma or bracket behind a value"),
            }
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests;
