//! The text of one JSON string: unescape, write. Never fails and never emits anything but valid JSON text.

use std::borrow::Cow;
use std::str;

use super::blocks::{BLOCK_BYTES, Special, each_mark, holds, is_marked};
use super::json::Text;

/// Longest text Wazuh's indexer takes in one field is 32,766 bytes of UTF-8; every string stays below it.
pub(crate) const TEXT_BYTES_MAX: usize = 32_000;

/// What became of a text on its way out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Written {
    /// Something could not be written as it was (not UTF-8, a NUL, a lone surrogate) and stands as U+FFFD.
    pub(crate) lossy: bool,
    /// The text was longer than [`TEXT_BYTES_MAX`] and ends early, at a character boundary.
    pub(crate) cut: bool,
}

/// Where a string stands. As a member's value, one that starts with `[` gets a leading blank: Wazuh's decoder would turn
/// it into an array, which the indexer refuses beside strings (reference: `W_JSON_AddField`, observed on 4.14.9).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// The value of a member.
    Member,
    /// An item of a list.
    Item,
}

/// Resolves the JSON escapes of `source` (the bytes between the quotes, already checked by the scanner).
///
/// A lone surrogate becomes the three bytes that UTF-8 would need for it, so that [`write_text`] sees it as what it is:
/// not UTF-8.
pub(crate) fn unescape_into(source: &[u8], out: &mut Vec<u8>) {
    let mut rest = source;
    while let Some(at) = memchr::memchr(b'\\', rest) {
        out.extend_from_slice(&rest[..at]);
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
            b'u' => rest = unescape_unicode(rest, out),
            other => out.push(other),
        }
    }
    out.extend_from_slice(rest);
}

/// Writes `text` as a JSON string with its quotes.
pub(crate) fn write_text(out: &mut Vec<u8>, text: Text<'_>, place: Place) -> Written {
    out.push(b'"');
    let blank = usize::from(place == Place::Member && text.bytes.first() == Some(&b'['));
    if blank == 1 {
        out.push(b' ');
    }
    let room = TEXT_BYTES_MAX - blank;
    let written = match text.marks {
        Some(marks) if text.bytes.len() <= room => Written { lossy: write_marked(out, text.bytes, marks), cut: false },
        _ => write_searched(out, text.bytes, room),
    };
    out.push(b'"');
    written
}

/// Appends at most `room` bytes of a text of which nothing is known.
fn write_searched(out: &mut Vec<u8>, text: &[u8], room: usize) -> Written {
    if text.len() <= room && !holds::<Special>(text) {
        out.extend_from_slice(text);
        return Written::default();
    }
    if text.is_ascii() && text.len() <= room {
        return Written { lossy: write_escaped(out, text), cut: false };
    }
    match str::from_utf8(text) {
        Ok(text) => {
            let end = text.floor_char_boundary(room);
            Written { lossy: write_escaped(out, &text.as_bytes()[..end]), cut: end < text.len() }
        }
        Err(_) => write_lossy(out, text, room),
    }
}

/// Spells `text` so that nothing of it is lost although it is no proper text: a NUL as `\u0000`, a lone surrogate as
/// `\ud800`, any other byte that is not UTF-8 as `\xff`. The rest stays as it is.
pub(crate) fn spell_into(text: &[u8], out: &mut Vec<u8>) {
    let mut rest = text;
    while !rest.is_empty() {
        if let [0xed, second @ 0xa0..=0xbf, third @ 0x80..=0xbf, ..] = rest {
            let unit = 0xd000 | u32::from(second & 0x3f) << 6 | u32::from(third & 0x3f);
            out.extend_from_slice(format!("\\u{unit:04x}").as_bytes());
            rest = &rest[3..];
            continue;
        }
        let Some(chunk) = rest.utf8_chunks().next() else { break };
        let (valid, invalid) = (chunk.valid().as_bytes(), chunk.invalid());
        for piece in valid.split_inclusive(|&byte| byte == 0) {
            match piece.split_last() {
                Some((0, before)) => {
                    out.extend_from_slice(before);
                    out.extend_from_slice(b"\\u0000");
                }
                _ => out.extend_from_slice(piece),
            }
        }
        rest = &rest[valid.len()..];
        if !invalid.is_empty() && !matches!(rest, [0xed, 0xa0..=0xbf, 0x80..=0xbf, ..]) {
            for byte in invalid {
                out.extend_from_slice(format!("\\x{byte:02x}").as_bytes());
            }
            rest = &rest[invalid.len()..];
        }
    }
}

/// The value of one hexadecimal digit, either case.
pub(crate) fn hex_digit(byte: u8) -> Option<u8> {
    hex_byte(b'0', byte)
}

/// The value of two of them.
#[inline(always)]
pub(crate) fn hex_byte(high: u8, low: u8) -> Option<u8> {
    let value = HEX_DIGITS[usize::from(high)] << 4 | HEX_DIGITS[usize::from(low)];
    u8::try_from(value).ok()
}

/// The value of each byte as a hexadecimal digit; more than any byte where it is none, also four bits further left.
const HEX_DIGITS: [u16; 256] = {
    let mut values = [0x0f00; 256];
    let mut digit = 0_u16;
    while digit < 16 {
        values[b"0123456789abcdef"[digit as usize] as usize] = digit;
        values[b"0123456789ABCDEF"[digit as usize] as usize] = digit;
        digit += 1;
    }
    values
};

/// `rest` stands behind `\u`; returns what follows the escape (both halves of a surrogate pair).
fn unescape_unicode<'a>(rest: &'a [u8], out: &mut Vec<u8>) -> &'a [u8] {
    let Some(unit) = code_unit(rest) else {
        out.extend_from_slice(b"\\u");
        return rest;
    };
    let rest = &rest[4..];
    if (0xd800..0xdc00).contains(&unit)
        && let Some([b'\\', b'u', low @ ..]) = rest.get(..)
        && let Some(low_unit @ 0xdc00..=0xdfff) = code_unit(low)
    {
        push_code_point(0x10000 + ((unit - 0xd800) << 10) + (low_unit - 0xdc00), out);
        return &rest[6..];
    }
    push_code_point(unit, out);
    rest
}

fn code_unit(digits: &[u8]) -> Option<u32> {
    let digits = digits.get(..4)?;
    digits.iter().try_fold(0, |unit, &digit| Some(unit << 4 | u32::from(hex_digit(digit)?)))
}

/// Appends the UTF-8 bytes of a code point, those of a surrogate included (which `char` refuses).
fn push_code_point(code: u32, out: &mut Vec<u8>) {
    match char::from_u32(code) {
        Some(character) => out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
        None => {
            let [_, _, high, low] = code.to_be_bytes();
            out.extend_from_slice(&[0xe0 | high >> 4, 0x80 | (high & 0x0f) << 2 | low >> 6, 0x80 | low & 0x3f]);
        }
    }
}

fn write_lossy(out: &mut Vec<u8>, text: &[u8], room: usize) -> Written {
    let mut left = room;
    for chunk in text.utf8_chunks() {
        let valid = chunk.valid();
        if valid.len() > left {
            write_escaped(out, &valid.as_bytes()[..valid.floor_char_boundary(left)]);
            return Written { lossy: true, cut: true };
        }
        write_escaped(out, valid.as_bytes());
        left -= valid.len();
        if !chunk.invalid().is_empty() {
            if left < REPLACEMENT.len() {
                return Written { lossy: true, cut: true };
            }
            out.extend_from_slice(REPLACEMENT);
            left -= REPLACEMENT.len();
        }
    }
    Written { lossy: true, cut: false }
}

const REPLACEMENT: &[u8] = "\u{fffd}".as_bytes();

/// Appends `bytes`, which are UTF-8, with JSON's escapes; tells whether a NUL had to be replaced.
fn write_escaped(out: &mut Vec<u8>, bytes: &[u8]) -> bool {
    let mut escaper = Escaper::of(bytes, out);
    each_mark::<Special>(bytes, |at| escaper.escape(at));
    escaper.finish()
}

/// The same of ASCII, where the places are known.
fn write_marked(out: &mut Vec<u8>, bytes: &[u8], marks: &[usize]) -> bool {
    debug_assert!(is_marked::<Special>(bytes, marks));
    let mut escaper = Escaper::of(bytes, out);
    for &at in marks {
        escaper.escape(at);
    }
    escaper.finish()
}

/// Writes a text up to each place that may need an escape, and then the escape.
struct Escaper<'t, 'o> {
    bytes: &'t [u8],
    out: &'o mut Vec<u8>,
    /// How much of `bytes` is written.
    written: usize,
    /// A NUL had to be replaced.
    nul: bool,
}

impl<'t, 'o> Escaper<'t, 'o> {
    #[inline(always)]
    fn of(bytes: &'t [u8], out: &'o mut Vec<u8>) -> Self {
        out.reserve(bytes.len() + BLOCK_BYTES);
        Self { bytes, out, written: 0, nul: false }
    }

    /// Goes on to the place `at`.
    #[inline(always)]
    fn escape(&mut self, at: usize) {
        let letter = SHORT_ESCAPES[usize::from(self.bytes[at])];
        if at < self.written {
            // The line feed of the pair below.
        } else if self.bytes[at..].starts_with(b"\r\n") {
            self.write(at, b"\\r\\n", 2);
        } else if letter != 0 {
            self.write(at, &[b'\\', letter], 1);
        } else if let Some((escape, length)) = long_escape(&self.bytes[at..]) {
            self.nul |= self.bytes[at] == 0;
            self.write(at, &escape, length);
        }
    }

    /// What stands before `at`, and `escape` instead of the `length` bytes there.
    #[inline(always)]
    fn write(&mut self, at: usize, escape: &[u8], length: usize) {
        self.append(at);
        self.out.extend_from_slice(escape);
        self.written = at + length;
    }

    /// Pieces are mostly short: copying a fixed number of bytes is quicker than asking how many.
    #[inline(always)]
    fn append(&mut self, end: usize) {
        const COPY_BYTES: usize = 16;
        let (start, length) = (self.out.len(), end - self.written);
        match self.bytes[self.written..].first_chunk::<COPY_BYTES>() {
            Some(piece) if length <= COPY_BYTES => {
                self.out.extend_from_slice(piece);
                self.out.truncate(start + length);
            }
            _ => self.out.extend_from_slice(&self.bytes[self.written..end]),
        }
    }

    /// Appends the rest; tells whether a NUL had to be replaced.
    fn finish(self) -> bool {
        self.out.extend_from_slice(&self.bytes[self.written..]);
        self.nul
    }
}

/// The letter that escapes a byte behind a backslash; 0 where there is none.
const SHORT_ESCAPES: [u8; 256] = {
    let mut letters = [0; 256];
    letters[b'"' as usize] = b'"';
    letters[b'\\' as usize] = b'\\';
    letters[b'\n' as usize] = b'n';
    letters[b'\r' as usize] = b'r';
    letters[b'\t' as usize] = b't';
    letters
};

/// What stands for the first character of `text`, and how many bytes that has; nothing where it stands for itself.
/// U+0085, U+2028 and U+2029 are escaped since some readers take them for line ends; a NUL is replaced because Wazuh cuts
/// a value there.
fn long_escape(text: &[u8]) -> Option<(Cow<'static, [u8]>, usize)> {
    Some(match text {
        [0xc2, 0x85, ..] => (b"\\u0085"[..].into(), 2),
        [0xe2, 0x80, 0xa8, ..] => (b"\\u2028"[..].into(), 3),
        [0xe2, 0x80, 0xa9, ..] => (b"\\u2029"[..].into(), 3),
        [0, ..] => (REPLACEMENT.into(), 1),
        [control @ ..0x20, ..] => (control_escape(*control).to_vec().into(), 1),
        _ => return None,
    })
}

fn control_escape(control: u8) -> [u8; 6] {
    let digits = b"0123456789abcdef";
    [b'\\', b'u', b'0', b'0', digits[usize::from(control >> 4)], digits[usize::from(control & 15)]]
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn unescaped(source: &str) -> Vec<u8> {
        let mut out = Vec::new();
        unescape_into(source.as_bytes(), &mut out);
        out
    }

    fn written(text: &[u8], place: Place) -> (String, Written) {
        let mut out = Vec::new();
        let written = write_text(&mut out, text.into(), place);
        (String::from_utf8(out).unwrap(), written)
    }

    fn spelled(text: &[u8]) -> String {
        let mut out = Vec::new();
        spell_into(text, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn escapes_become_their_characters() {
        assert_eq!(unescaped(r#"a\"\\\/\b\f\n\r\tz"#), b"a\"\\/\x08\x0c\n\r\tz");
        assert_eq!(unescaped(r"\u00e9\ud83d\ude00"), "é😀".as_bytes());
        assert_eq!(unescaped(r"x\ud800y"), b"x\xed\xa0\x80y");
        assert_eq!(unescaped(r"\udc00\ud800\u0041"), b"\xed\xb0\x80\xed\xa0\x80A");
    }

    #[test]
    fn text_is_written_as_one_json_string() {
        assert_eq!(written(b"a\"b\\c\x01\n", Place::Member).0, r#""a\"b\\c\u0001\n""#);
        assert_eq!(written("\u{85}\u{2028}\u{2029}ä€".as_bytes(), Place::Member).0, r#""\u0085\u2028\u2029ä€""#);
        assert_eq!(written(b"x\xed\xa0\x80y", Place::Member).0, "\"x\u{fffd}\u{fffd}\u{fffd}y\"");
    }

    #[test]
    fn only_a_member_that_starts_with_a_bracket_gets_a_blank() {
        assert_eq!(written(b"[1]", Place::Member).0, "\" [1]\"");
        assert_eq!(written(b"[1]", Place::Item).0, "\"[1]\"");
    }

    #[test]
    fn a_nul_is_replaced_and_told() {
        assert_eq!(written(b"a\0b", Place::Item), ("\"a\u{fffd}b\"".into(), Written { lossy: true, cut: false }));
    }

    #[test]
    fn long_text_is_cut_between_characters() {
        let text = "é".repeat(TEXT_BYTES_MAX);
        let (out, state) = written(text.as_bytes(), Place::Member);
        assert_eq!((out.len(), state), (TEXT_BYTES_MAX + 2, Written { lossy: false, cut: true }));
        let mut odd = b"x\xff".to_vec();
        odd.extend_from_slice(text.as_bytes());
        let (out, state) = written(&odd, Place::Member);
        assert!(out.len() <= TEXT_BYTES_MAX + 2 && state == Written { lossy: true, cut: true });
    }

    #[test]
    fn a_raw_copy_spells_what_is_no_text() {
        assert_eq!(spelled(b"a\0\xff\xed\xa0\x80\xc3"), r"a\u0000\xff\ud800\xc3");
        assert_eq!(spelled("x\\u0000é".as_bytes()), "x\\u0000é");
    }

    proptest! {
        #[test]
        fn any_bytes_become_one_json_string_of_bounded_length(text in proptest::collection::vec(any::<u8>(), 0..300)) {
            let (out, state) = written(&text, Place::Item);
            let back: String = serde_json::from_str(&out).unwrap();
            prop_assert_eq!(&back, &String::from_utf8_lossy(&text).replace('\0', "\u{fffd}"));
            prop_assert_eq!(state.lossy, back.as_bytes() != text);
            prop_assert!(!out.contains('\n'));
        }

        #[test]
        fn unescaping_reverses_what_json_writers_do(text in "\\PC*") {
            let source = serde_json::to_string(&text).unwrap();
            prop_assert_eq!(unescaped(&source[1..source.len() - 1]), text.into_bytes());
        }
    }
}
