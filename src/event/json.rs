//! The JSON of one Akamai line: which members there are and where their values stand. Never decodes or judges a value, never
//! recurses, however deep a line is; refuses what is not JSON with the byte where it stops being so.
//!
//! Two things beyond strict JSON are accepted because they cost nothing and save the event: a byte-order mark in front
//! and raw control characters inside strings. Lone surrogates and bytes that are not UTF-8 are left to whoever reads the
//! text.

use std::borrow::Cow;
use std::iter;
use std::ops::Range;

use super::search::first_quote;

/// Members that are remembered of one line, on its first two levels. An event has about 50, and Wazuh takes 256 fields;
/// members beyond are still checked, and counted in [`Tape::unrecorded`].
const MEMBERS_MAX: usize = 4_096;

/// Bytes of a text that are read: no line of Wazuh's holds a tenth of it, however it is encoded, and memory stays bounded
/// whatever the line.
pub(super) const TEXT_READ_BYTES_MAX: usize = 512 << 10;

/// A syntax error: what was found or missing, and its offset into the line, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} at byte {at}")]
pub(super) struct JsonError {
    what: &'static str,
    at: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum JsonKind {
    /// Without escapes; its source lies between the quotes.
    Text,
    EscapedText,
    /// A number, `true` or `false`, as spelled.
    Scalar,
    Null,
    /// With its brackets, as an array.
    Object,
    Array,
}

/// A value as it stands in the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct JsonValue<'a> {
    pub(super) kind: JsonKind,
    pub(super) source: &'a [u8],
}

impl<'a> JsonValue<'a> {
    /// The text of a string without its escapes, of anything else its source. What is longer than [`TEXT_READ_BYTES_MAX`]
    /// ends there.
    pub(super) fn text(self) -> Cow<'a, [u8]> {
        let source = &self.source[..self.source.len().min(TEXT_READ_BYTES_MAX)];
        if self.kind == JsonKind::EscapedText { unescaped(source).into() } else { source.into() }
    }

    /// Whether its text ends before the value does.
    pub(super) fn is_cut(self) -> bool {
        self.source.len() > TEXT_READ_BYTES_MAX
    }

    pub(super) fn is_text(self) -> bool {
        matches!(self.kind, JsonKind::Text | JsonKind::EscapedText)
    }

    /// A text, number, true or false.
    pub(super) fn is_plain(self) -> bool {
        self.is_text() || self.kind == JsonKind::Scalar
    }

    pub(super) fn is_null(self) -> bool {
        self.kind == JsonKind::Null
    }

    pub(super) fn has_members(self) -> bool {
        matches!(self.kind, JsonKind::Object | JsonKind::Array)
    }

    /// The names and values of an object; nothing of anything else.
    pub(super) fn members(self) -> impl Iterator<Item = (JsonValue<'a>, JsonValue<'a>)> {
        let mut scanner = Scanner { line: self.source, at: 1 };
        let mut first = true;
        iter::from_fn(move || {
            let goes_on = self.kind == JsonKind::Object && scanner.goes_on(b'}', first, "").ok()?;
            first = false;
            if goes_on { Some((scanner.key().ok()?, scanner.value().ok()?)) } else { None }
        })
    }

    /// The items of an array; nothing of anything else.
    pub(super) fn items(self) -> impl Iterator<Item = JsonValue<'a>> {
        let mut scanner = Scanner { line: self.source, at: 1 };
        let mut first = true;
        iter::from_fn(move || {
            let goes_on = self.kind == JsonKind::Array && scanner.goes_on(b']', first, "").ok()?;
            first = false;
            if goes_on { scanner.value().ok() } else { None }
        })
    }
}

#[derive(Clone, Debug)]
pub(super) struct Member<'a> {
    /// Always a text.
    pub(super) key: JsonValue<'a>,
    pub(super) value: JsonValue<'a>,
    /// Where the members of an object value stand in [`Tape::inner`] (top level only).
    pub(super) children: Range<usize>,
}

/// The members of one line.
#[derive(Debug)]
pub(super) struct Tape<'a> {
    /// Members of the line's object, in order.
    pub(super) top: Vec<Member<'a>>,
    /// Members of the objects among them, one object after the other.
    pub(super) inner: Vec<Member<'a>>,
    /// Members that found no room, on both levels.
    pub(super) unrecorded: usize,
}

impl<'a> Tape<'a> {
    /// Scans a line that must hold exactly one JSON object.
    pub(super) fn scan(line: &'a [u8]) -> Result<Self, JsonError> {
        // As many as an event has, so that they are moved nowhere while it is scanned.
        let mut tape = Self { top: Vec::with_capacity(16), inner: Vec::with_capacity(64), unrecorded: 0 };
        let mut scanner = Scanner { line, at: if line.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 } };
        scanner.skip_blanks();
        if scanner.peek() != Some(b'{') {
            return Err(JsonError { what: "not a JSON object", at: scanner.at });
        }
        scanner.object(|scanner, key| {
            let first_child = tape.inner.len();
            let start = scanner.at;
            let value = if scanner.peek() == Some(b'{') {
                scanner.object(|scanner, key| {
                    let member = Member { key, value: scanner.value()?, children: 0..0 };
                    record(&mut tape.inner, &mut tape.unrecorded, member);
                    Ok(())
                })?;
                JsonValue { kind: JsonKind::Object, source: &line[start..scanner.at] }
            } else {
                scanner.value()?
            };
            let member = Member { key, value, children: first_child..tape.inner.len() };
            record(&mut tape.top, &mut tape.unrecorded, member);
            Ok(())
        })?;
        scanner.skip_blanks();
        if scanner.at < line.len() { scanner.fail("more text behind the object") } else { Ok(tape) }
    }
}

fn record<'a>(members: &mut Vec<Member<'a>>, unrecorded: &mut usize, member: Member<'a>) {
    if members.len() < MEMBERS_MAX {
        members.push(member);
    } else {
        *unrecorded += 1;
    }
}

/// The grammar, and where the scan of a line stands.
struct Scanner<'a> {
    line: &'a [u8],
    at: usize,
}

impl<'a> Scanner<'a> {
    #[cold]
    fn fail<T>(&self, what: &'static str) -> Result<T, JsonError> {
        Err(JsonError { what: if self.at >= self.line.len() { "the line ends too early" } else { what }, at: self.at })
    }

    fn peek(&self) -> Option<u8> {
        self.line.get(self.at).copied()
    }

    fn skip_blanks(&mut self) {
        while let Some(b' ' | b'\t' | b'\r' | b'\n') = self.peek() {
            self.at += 1;
        }
    }

    fn expect(&mut self, byte: u8, what: &'static str) -> Result<(), JsonError> {
        if self.peek() != Some(byte) {
            return self.fail(what);
        }
        self.at += 1;
        Ok(())
    }

    /// The object that begins here; `each` reads the value behind every name.
    fn object(
        &mut self,
        mut each: impl FnMut(&mut Self, JsonValue<'a>) -> Result<(), JsonError>,
    ) -> Result<(), JsonError> {
        self.at += 1;
        let mut first = true;
        while self.goes_on(b'}', first, "no comma or brace behind a member")? {
            first = false;
            let key = self.key()?;
            each(self, key)?;
        }
        Ok(())
    }

    /// Behind an opening bracket or a value: passes over the comma, or over the bracket that closes here.
    fn goes_on(&mut self, close: u8, first: bool, what: &'static str) -> Result<bool, JsonError> {
        self.skip_blanks();
        match self.peek() {
            Some(byte) if byte == close => {
                self.at += 1;
                return Ok(false);
            }
            Some(b',') if !first => self.at += 1,
            _ if first => {}
            _ => return self.fail(what),
        }
        self.skip_blanks();
        Ok(true)
    }

    /// A name with its colon, up to the first byte of the value.
    fn key(&mut self) -> Result<JsonValue<'a>, JsonError> {
        let key = self.text()?;
        self.skip_blanks();
        self.expect(b':', "no colon behind a name")?;
        self.skip_blanks();
        Ok(key)
    }

    fn value(&mut self) -> Result<JsonValue<'a>, JsonError> {
        let start = self.at;
        let kind = match self.peek() {
            Some(b'"') => return self.text(),
            Some(b'{') => JsonKind::Object,
            Some(b'[') => JsonKind::Array,
            Some(b'n') => JsonKind::Null,
            _ => JsonKind::Scalar,
        };
        match kind {
            JsonKind::Object | JsonKind::Array => self.container()?,
            _ => self.scalar()?,
        }
        Ok(JsonValue { kind, source: &self.line[start..self.at] })
    }

    fn text(&mut self) -> Result<JsonValue<'a>, JsonError> {
        self.expect(b'"', "no string where one is due")?;
        let start = self.at;
        let mut kind = JsonKind::Text;
        while let Some(found) = first_quote(&self.line[self.at..]) {
            self.at += found;
            if self.line[self.at] == b'"' {
                self.at += 1;
                return Ok(JsonValue { kind, source: &self.line[start..self.at - 1] });
            }
            kind = JsonKind::EscapedText;
            self.at += match self.line[self.at + 1..] {
                [b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't', ..] => 2,
                [b'u', ref digits @ ..] if code_unit(digits).is_some() => 6,
                _ => return self.fail("an escape that JSON does not know"),
            };
        }
        self.at = self.line.len();
        self.fail("the line ends too early")
    }

    fn scalar(&mut self) -> Result<(), JsonError> {
        for word in [&b"true"[..], b"false", b"null"] {
            if self.line[self.at..].starts_with(word) {
                self.at += word.len();
                return Ok(());
            }
        }
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

    /// Passes over an object or array of any depth.
    fn container(&mut self) -> Result<(), JsonError> {
        // The brackets that are to close, the innermost last.
        let mut open = Vec::new();
        loop {
            let close = match self.peek() {
                Some(b'{') => Some(b'}'),
                Some(b'[') => Some(b']'),
                Some(b'"') => self.text().map(|_| None)?,
                _ => self.scalar().map(|()| None)?,
            };
            self.at += usize::from(close.is_some());
            open.extend(close);
            let mut first = close.is_some();
            loop {
                let Some(&close) = open.last() else { return Ok(()) };
                if self.goes_on(close, first, "no comma or bracket behind a value")? {
                    if close == b'}' {
                        self.key()?;
                    }
                    break;
                }
                open.pop();
                first = false;
            }
        }
    }
}

/// A checked string without its escapes. A lone surrogate becomes the three bytes that UTF-8 would need for it, so that
/// [`super::text::write_text`] sees it as what it is: not UTF-8.
fn unescaped(source: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(source.len());
    let mut rest = source;
    while let Some(at) = memchr::memchr(b'\\', rest) {
        out.extend_from_slice(&rest[..at]);
        // One that is cut short stays as it stands.
        let Some(&escape) = rest.get(at + 1) else {
            rest = &rest[at..];
            break;
        };
        rest = &rest[at + 2..];
        match escape {
            b'n' => out.push(b'\n'),
            b'r' => out.push(b'\r'),
            b't' => out.push(b'\t'),
            b'b' => out.push(0x08),
            b'f' => out.push(0x0c),
            b'u' => rest = unescape_unicode(rest, &mut out),
            other => out.push(other),
        }
    }
    out.extend_from_slice(rest);
    out
}

/// `rest` stands behind `\u`; returns what follows the escape (both halves of a surrogate pair).
fn unescape_unicode<'a>(rest: &'a [u8], out: &mut Vec<u8>) -> &'a [u8] {
    let Some(mut code) = code_unit(rest) else {
        out.extend_from_slice(b"\\u");
        return rest;
    };
    let mut rest = &rest[4..];
    if (0xd800..0xdc00).contains(&code)
        && let [b'\\', b'u', low @ ..] = rest
        && let Some(low_unit @ 0xdc00..=0xdfff) = code_unit(low)
    {
        code = 0x10000 + ((code - 0xd800) << 10) + (low_unit - 0xdc00);
        rest = &rest[6..];
    }
    match char::from_u32(code) {
        Some(character) => out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
        None => {
            let [_, _, high, low] = code.to_be_bytes();
            out.extend_from_slice(&[0xe0 | high >> 4, 0x80 | (high & 0x0f) << 2 | low >> 6, 0x80 | low & 0x3f]);
        }
    }
    rest
}

fn code_unit(digits: &[u8]) -> Option<u32> {
    let digit = |&byte: &u8| char::from(byte).to_digit(16);
    digits.get(..4)?.iter().try_fold(0, |unit, byte| Some(unit << 4 | digit(byte)?))
}

#[cfg(test)]
mod tests;
