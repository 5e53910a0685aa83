//! Writes the text of one JSON string. Never fails and never emits anything but valid JSON text without control
//! characters.

use super::blocks::{BLOCK_BYTES, Special, each_mark, holds, is_marked};
use super::control::{control_length, percent_encoded};
use super::json::Text;
use super::percent::ESCAPE_BYTES;

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

/// Writes `text` as a JSON string with its quotes.
pub(crate) fn write_text(out: &mut Vec<u8>, text: Text<'_>, place: Place) -> Written {
    out.push(b'"');
    let mut room = TEXT_BYTES_MAX;
    if place == Place::Member && text.bytes.first() == Some(&b'[') {
        out.push(b' ');
        room -= 1;
    }
    let written = match text.marks {
        _ if place == Place::Member && is_taken_by_stock_decoder(text.bytes) => {
            out.extend_from_slice(format!("\\u{:04x}", text.bytes[0]).as_bytes());
            out.extend_from_slice(&text.bytes[1..]);
            Written::default()
        }
        Some(marks) if fits_escaped(text.bytes, room) => {
            Written { lossy: write_marked(out, text.bytes, marks), cut: false }
        }
        _ => write_searched(out, text.bytes, room),
    };
    out.push(b'"');
    written
}

/// Whether a stock decoder of Wazuh's takes every line away in which this text is the value of `integration`: the one of
/// Microsoft Graph searches the raw line, in any case (4.14.9; the only one that stands before ours and is not anchored).
pub(crate) fn is_taken_by_stock_decoder(text: &[u8]) -> bool {
    text.eq_ignore_ascii_case(b"ms-graph")
}

/// Writes the lines of `text`, which end with CR LF, LF or CR, as a JSON array of strings; empty ones are left out. No more
/// than `items_max` of them, and nothing once `out` is longer than `out_bytes_max`.
pub(crate) fn write_lines(out: &mut Vec<u8>, text: Text<'_>, items_max: usize, out_bytes_max: usize) -> Written {
    out.push(b'[');
    let mut all = Written::default();
    match text.marks {
        Some(marks) if fits_escaped(text.bytes, TEXT_BYTES_MAX) && marks.len() < items_max => {
            all.lossy = write_marked_lines(out, text.bytes, marks);
        }
        _ => {
            let lines = text.bytes.split(|byte| matches!(byte, b'\r' | b'\n')).filter(|line| !line.is_empty());
            for (index, line) in lines.enumerate() {
                if index == items_max || out.len() > out_bytes_max {
                    all.cut = true;
                    break;
                }
                if index > 0 {
                    out.push(b',');
                }
                let written = write_text(out, line.into(), Place::Item);
                all.lossy |= written.lossy;
                all.cut |= written.cut;
            }
        }
    }
    out.push(b']');
    all
}

/// Whether the text is short enough whatever it holds: each byte of a control character takes three.
fn fits_escaped(text: &[u8], room: usize) -> bool {
    text.len() <= room / ESCAPE_BYTES
}

/// Appends at most `room` bytes of a text of which nothing is known.
fn write_searched(out: &mut Vec<u8>, text: &[u8], room: usize) -> Written {
    if text.len() <= room && !holds::<Special>(text) {
        out.extend_from_slice(text);
        return Written::default();
    }
    let mut written = Written { lossy: false, cut: text.len() > room };
    let mut left = room;
    for chunk in text[..end_of_characters(text, room)].utf8_chunks() {
        let valid = chunk.valid().as_bytes();
        let fitting = if fits_escaped(valid, left) { valid.len() } else { fitting(chunk.valid(), left) };
        let escaped = write_escaped(out, &valid[..fitting]);
        written.lossy |= escaped.nul;
        left -= fitting + escaped.grown;
        let invalid = chunk.invalid();
        if fitting < valid.len() || (!invalid.is_empty() && left < REPLACEMENT.len()) {
            written.cut = true;
            break;
        }
        if !invalid.is_empty() {
            out.extend_from_slice(REPLACEMENT);
            left -= REPLACEMENT.len();
            written.lossy = true;
        }
    }
    written
}

/// The place at or before `at` where no character of `text` is cut in two.
fn end_of_characters(text: &[u8], at: usize) -> usize {
    let mut end = at.min(text.len());
    while end < text.len() && end > at.saturating_sub(3) && text[end] & 0xc0 == 0x80 {
        end -= 1;
    }
    end
}

/// How many bytes of `text` can be written with what stands for control characters in no more than `room` bytes.
fn fitting(text: &str, room: usize) -> usize {
    let mut length = 0;
    let end = text.char_indices().find_map(|(at, character)| {
        let bytes = &text.as_bytes()[at..];
        length += match control_length(bytes) {
            0 if character == '\0' => REPLACEMENT.len(),
            0 => character.len_utf8(),
            control => ESCAPE_BYTES * control,
        };
        (length > room).then_some(at)
    });
    end.unwrap_or(text.len())
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

const REPLACEMENT: &[u8] = "\u{fffd}".as_bytes();

/// What became of a piece of text.
#[derive(Clone, Copy, Default)]
struct Escaped {
    /// A NUL had to be replaced.
    nul: bool,
    /// Bytes by which the value is longer than the text.
    grown: usize,
}

/// Appends `bytes`, which are UTF-8, with JSON's escapes and without control characters.
fn write_escaped(out: &mut Vec<u8>, bytes: &[u8]) -> Escaped {
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
    escaper.finish().nul
}

/// The lines of ASCII, each in quotes, where the places are known.
fn write_marked_lines(out: &mut Vec<u8>, bytes: &[u8], marks: &[usize]) -> bool {
    debug_assert!(is_marked::<Special>(bytes, marks));
    let first = out.len();
    out.push(b'"');
    let mut item = out.len();
    let mut escaper = Escaper::of(bytes, out);
    for &at in marks {
        if matches!(bytes[at], b'\r' | b'\n') {
            escaper.append(at);
            escaper.written = at + 1;
            if escaper.out.len() > item {
                escaper.out.extend_from_slice(b"\",\"");
                item = escaper.out.len();
            }
        } else {
            escaper.escape(at);
        }
    }
    let nul = escaper.finish().nul;
    if out.len() > item {
        out.push(b'"');
    } else {
        // Nothing but the quote and the comma of a line that did not come.
        out.truncate(first.max(item - 2));
    }
    nul
}

/// Writes a text up to each place that may need an escape, and then the escape.
struct Escaper<'t, 'o> {
    bytes: &'t [u8],
    out: &'o mut Vec<u8>,
    /// How much of `bytes` is written.
    written: usize,
    escaped: Escaped,
}

impl<'t, 'o> Escaper<'t, 'o> {
    #[inline(always)]
    fn of(bytes: &'t [u8], out: &'o mut Vec<u8>) -> Self {
        out.reserve(bytes.len() + BLOCK_BYTES);
        Self { bytes, out, written: 0, escaped: Escaped::default() }
    }

    /// Goes on to the place `at`.
    #[inline(always)]
    fn escape(&mut self, at: usize) {
        match self.bytes[at] {
            byte @ (b'"' | b'\\') => {
                self.append(at);
                self.out.extend_from_slice(&[b'\\', byte]);
                self.written = at + 1;
            }
            // Inside a control character that has been written.
            _ if at < self.written => {}
            _ => self.replace(at),
        }
    }

    /// Writes what stands for a NUL or a control character, if there is one at `at`.
    #[inline(never)]
    fn replace(&mut self, at: usize) {
        let rest = &self.bytes[at..];
        let length = control_length(rest);
        if rest[0] == 0 {
            self.append(at);
            self.out.extend_from_slice(REPLACEMENT);
            self.written = at + 1;
            self.escaped.nul = true;
            self.escaped.grown += REPLACEMENT.len() - 1;
        } else if length > 0 {
            self.append(at);
            rest[..length].iter().for_each(|&byte| self.out.extend_from_slice(&percent_encoded(byte)));
            self.written = at + length;
            self.escaped.grown += (ESCAPE_BYTES - 1) * length;
        }
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

    /// Appends the rest.
    fn finish(self) -> Escaped {
        self.out.extend_from_slice(&self.bytes[self.written..]);
        self.escaped
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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
    fn text_is_written_as_one_json_string() {
        assert_eq!(written(b"a\"b\\c\x01\r\n\x7f", Place::Member).0, r#""a\"b\\c%01%0d%0a%7f""#);
        assert_eq!(written("\u{85}\u{2028}\u{202e}ä€".as_bytes(), Place::Member).0, r#""%c2%85%e2%80%a8%e2%80%aeä€""#);
        assert_eq!(written(b"x\xed\xa0\x80y", Place::Member).0, "\"x\u{fffd}\u{fffd}\u{fffd}y\"");
    }

    #[test]
    fn only_a_member_that_starts_with_a_bracket_gets_a_blank() {
        assert_eq!(written(b"[1]", Place::Member).0, "\" [1]\"");
        assert_eq!(written(b"[1]", Place::Item).0, "\"[1]\"");
    }

    #[test]
    fn what_a_stock_decoder_searches_for_is_spelled_otherwise() {
        assert_eq!(written(b"ms-graph", Place::Member).0, r#""\u006ds-graph""#);
        assert_eq!(written(b"MS-Graph", Place::Member).0, r#""\u004dS-Graph""#);
        assert_eq!(written(b"ms-graphs", Place::Member).0, r#""ms-graphs""#);
    }

    #[test]
    fn lines_become_a_list() {
        for (text, expected) in [
            ("a: 1\r\nb: 2\r\n", r#"["a: 1","b: 2"]"#),
            ("\r\na: \"1\"\n\n\rb", r#"["a: \"1\"","b"]"#),
            ("[x", r#"["[x"]"#),
            ("\r\n", "[]"),
            ("", "[]"),
        ] {
            let marks: Vec<usize> = text.match_indices(['\r', '\n', '"']).map(|(at, _)| at).collect();
            for marks in [None, Some(&marks[..])] {
                let mut out = Vec::new();
                let written = write_lines(&mut out, Text { bytes: text.as_bytes(), marks }, 9, 1 << 20);
                assert_eq!((out.as_slice(), written), (expected.as_bytes(), Written::default()), "{text:?}");
            }
        }
        let mut out = Vec::new();
        assert!(write_lines(&mut out, "a\nb\nc".into(), 2, 1 << 20).cut);
        assert_eq!(out, br#"["a","b"]"#);
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
    fn a_long_text_of_any_bytes_is_cut_to_what_is_taken() {
        for piece in
            ["\r\n", "x", "€", "\"", "\0", "\u{85}", "\u{2028}a", "\u{7f}é", "é\n€\u{202e}x"].map(str::as_bytes)
        {
            for piece in [piece, &[piece, b"\xff"].concat()] {
                let (out, state) = written(&piece.repeat(TEXT_BYTES_MAX / piece.len() + 1), Place::Member);
                let back: String = serde_json::from_str(&out).unwrap();
                assert!(back.len() <= TEXT_BYTES_MAX && back.len() > TEXT_BYTES_MAX - 10, "{piece:?}: {}", back.len());
                assert!(state.cut && !back.chars().any(char::is_control));
            }
        }
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
            let lossy = String::from_utf8_lossy(&text).replace('\0', "\u{fffd}");
            let mut expected = String::new();
            for character in lossy.chars() {
                let mut bytes = [0; 4];
                let bytes = character.encode_utf8(&mut bytes).as_bytes();
                if control_length(bytes) > 0 {
                    bytes.iter().for_each(|byte| expected += &format!("%{byte:02x}"));
                } else {
                    expected.push(character);
                }
            }
            prop_assert_eq!(&back, &expected);
            prop_assert_eq!(state, Written { lossy: lossy.as_bytes() != text, cut: false });
        }
    }
}
