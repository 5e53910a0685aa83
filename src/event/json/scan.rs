//! The grammar of JSON over the bytes of one line, for [`super::Tape`] and whoever reads what is nested. Never copies a
//! value; never recurses, however deep a line is.

use super::{JsonError, Kind, MEMBERS_MAX, Member, Value};
use crate::event::blocks::{Follow, Marks, QuoteOrBackslash};

/// Open brackets for which memory is kept, in bytes.
const OPEN_BYTES_KEPT: usize = 4 << 10;

/// Where the scan of a line stands.
pub(super) struct Scanner<'a, F> {
    line: &'a [u8],
    pub(super) at: usize,
    /// The quotes and backslashes from `at` on: every one before it has been taken, but while [`Self::tight_members`] runs.
    pub(super) marks: Marks<'a, QuoteOrBackslash, F>,
    open: &'a mut Vec<u8>,
    /// Why it stopped.
    pub(super) error: JsonError,
}

/// The line is no JSON, or no more of it is wanted; why stands in [`Scanner::error`], since a result that fits into
/// registers costs far less than one with the error in it.
#[derive(Clone, Copy)]
pub(super) struct Stopped;

impl<'a, F: Follow> Scanner<'a, F> {
    pub(super) fn new(line: &'a [u8], at: usize, marks: Marks<'a, QuoteOrBackslash, F>, open: &'a mut Vec<u8>) -> Self {
        Self { line, at, marks, open, error: JsonError { what: "", at: 0 } }
    }

    /// The line's own object, and that nothing follows it.
    pub(super) fn line_object(
        &mut self,
        top: &mut Vec<Member>,
        inner: &mut Vec<Member>,
        unrecorded: &mut usize,
    ) -> Result<(), Stopped> {
        self.skip_blanks();
        if self.peek() != Some(b'{') {
            return self.fail("not a JSON object");
        }
        self.members(|scanner, key, value| {
            let first_child = place(inner.len());
            let value = match value {
                Some(value) => value,
                None if scanner.peek() == Some(b'{') => {
                    let start = scanner.at;
                    scanner.members(|scanner, key, value| {
                        let value = scanner.value_or(value)?;
                        record(inner, unrecorded, Member { key, value, first_child: 0, children: 0 });
                        Ok(())
                    })?;
                    Value::new(Kind::Object, start, scanner.at)
                }
                None => scanner.value()?,
            };
            record(top, unrecorded, Member { key, value, first_child, children: place(inner.len()) - first_child });
            Ok(())
        })?;
        self.skip_blanks();
        if self.at < self.line.len() { self.fail("more text behind the object") } else { Ok(()) }
    }

    #[cold]
    #[inline(never)]
    fn fail<T>(&mut self, what: &'static str) -> Result<T, Stopped> {
        let what =
            if self.at >= self.line.len() && what != "not a JSON object" { "the line ends too early" } else { what };
        self.error = JsonError { what, at: self.at };
        Err(Stopped)
    }

    #[inline(always)]
    pub(super) fn peek(&self) -> Option<u8> {
        self.line.get(self.at).copied()
    }

    #[inline(always)]
    pub(super) fn skip_blanks(&mut self) {
        while let Some(b' ' | b'\t' | b'\r' | b'\n') = self.peek() {
            self.at += 1;
        }
    }

    #[inline(always)]
    fn expect(&mut self, byte: u8, what: &'static str) -> Result<(), Stopped> {
        if self.peek() == Some(byte) {
            self.at += 1;
            Ok(())
        } else {
            self.fail(what)
        }
    }

    /// The object at `at`: calls `each` with every name and with its value, where that is a text that has been read already:
    /// the scanner then stands elsewhere, and is none of its business. Otherwise `each` reads the value.
    pub(super) fn members(
        &mut self,
        mut each: impl FnMut(&mut Self, Value, Option<Value>) -> Result<(), Stopped>,
    ) -> Result<(), Stopped> {
        self.at += 1;
        self.skip_blanks();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(());
        }
        loop {
            self.tight_members(&mut each)?;
            let key = self.key()?;
            each(self, key, None)?;
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

    /// The members spelled `"name":"text",` that stand here, without blanks or escapes, as most do. Where it stands is kept
    /// in registers meanwhile.
    #[inline(always)]
    fn tight_members(
        &mut self,
        each: &mut impl FnMut(&mut Self, Value, Option<Value>) -> Result<(), Stopped>,
    ) -> Result<(), Stopped> {
        let line = self.line;
        let mut at = self.at;
        let mut stand = self.marks.stand();
        let mut ahead = stand;
        while let Some(open) = self.marks.next_from(&mut ahead)
            && open == at
            && line[open] == b'"'
            && let Some(close) = self.marks.next_from(&mut ahead)
            && line[close..].starts_with(b"\":\"")
            && let (Some(_), Some(end)) = (self.marks.next_from(&mut ahead), self.marks.next_from(&mut ahead))
            && line[end..].starts_with(b"\",")
        {
            at = end + 2;
            stand = ahead;
            each(self, Value::new(Kind::Text, open + 1, close), Some(Value::new(Kind::Text, close + 3, end)))?;
        }
        self.at = at;
        self.marks.go_on_from(stand);
        Ok(())
    }

    /// A name with its colon, up to the first byte of the value.
    #[inline(always)]
    fn key(&mut self) -> Result<Value, Stopped> {
        self.skip_blanks();
        let key = self.text()?;
        self.skip_blanks();
        self.expect(b':', "no colon behind a name")?;
        self.skip_blanks();
        Ok(key)
    }

    #[inline(always)]
    pub(super) fn value(&mut self) -> Result<Value, Stopped> {
        if self.peek() == Some(b'"') { self.text() } else { self.value_without_quotes() }
    }

    /// The value, if it has not been read.
    #[inline(always)]
    pub(super) fn value_or(&mut self, value: Option<Value>) -> Result<Value, Stopped> {
        value.map_or_else(|| self.value(), Ok)
    }

    #[inline(never)]
    fn value_without_quotes(&mut self) -> Result<Value, Stopped> {
        let start = self.at;
        let kind = match self.peek() {
            Some(b'{') => Kind::Object,
            Some(b'[') => Kind::Array,
            Some(b'n') => Kind::Null,
            _ => Kind::Scalar,
        };
        match kind {
            Kind::Object | Kind::Array => self.container()?,
            _ => self.scalar()?,
        }
        Ok(Value::new(kind, start, self.at))
    }

    #[inline(always)]
    fn text(&mut self) -> Result<Value, Stopped> {
        self.expect(b'"', "no string where one is due")?;
        self.marks.next();
        let start = self.at;
        match self.marks.next() {
            Some(end) if self.line[end] == b'"' => {
                self.at = end + 1;
                Ok(Value::new(Kind::Text, start, end))
            }
            mark => self.escaped_text(start, mark),
        }
    }

    /// The rest of a string whose first mark is no quote.
    #[cold]
    fn escaped_text(&mut self, start: usize, mut mark: Option<usize>) -> Result<Value, Stopped> {
        while let Some(at) = mark {
            self.at = at;
            if self.line[at] == b'"' {
                self.at += 1;
                return Ok(Value::new(Kind::EscapedText, start, at));
            }
            self.escape()?;
            mark = self.marks.next();
        }
        self.at = self.line.len();
        self.fail("the line ends inside a string")
    }

    fn escape(&mut self) -> Result<(), Stopped> {
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

    fn scalar(&mut self) -> Result<(), Stopped> {
        for word in [&b"true"[..], b"false", b"null"] {
            if self.line[self.at..].starts_with(word) {
                self.at += word.len();
                return Ok(());
            }
        }
        self.number()
    }

    fn number(&mut self) -> Result<(), Stopped> {
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

    fn digits(&mut self) -> Result<(), Stopped> {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        if self.at == start { self.fail("no value where one is due") } else { Ok(()) }
    }

    /// Passes over an object or array of any depth, without recursion.
    fn container(&mut self) -> Result<(), Stopped> {
        let passed = self.pass_container();
        self.open.clear();
        // Whoever looks into a deep one goes over it once for each level, one inside the other.
        self.open.shrink_to(OPEN_BYTES_KEPT);
        passed
    }

    fn pass_container(&mut self) -> Result<(), Stopped> {
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
    fn close_or_next(&mut self) -> Result<bool, Stopped> {
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

/// A place among the members of a line, of which there are [`MEMBERS_MAX`] at most.
fn place(at: usize) -> u32 {
    u32::try_from(at).unwrap_or_default()
}

fn record(members: &mut Vec<Member>, unrecorded: &mut usize, member: Member) {
    if members.len() < MEMBERS_MAX {
        members.push(member);
    } else {
        *unrecorded += 1;
    }
}
