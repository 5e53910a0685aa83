//! The text of one JSON string: unescape, percent-decode, write. Never fails and never emits anything but valid JSON text.

use std::borrow::Cow;
use std::ops::Range;
use std::str;

use super::blocks::{BLOCK_BYTES, Percent, Special, each_mark, holds, mask};

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

/// Percent-decodes `source` once. A malformed escape stays as it stands, and `+` is a plus sign: Akamai's documentation
/// warns against reading it as a blank.
///
/// The text stands in `memory`, which only ever grows: clearing it each time would mean to fill it with zeros each time.
pub(crate) fn percent_decoded<'t>(source: &[u8], memory: &'t mut Vec<u8>) -> &'t [u8] {
    let needed = source.len() + COPY_BYTES;
    if memory.len() < needed {
        memory.resize(needed, 0);
    }
    let target = memory.as_mut_slice();
    let (mut block, mut read, mut written) = (0, 0, 0);
    while let (Some(text), Some(room)) = (source[block..].first_chunk(), target[written..].first_chunk_mut()) {
        let (read_to, decoded) = decode_block(text, room, read - block);
        read = block + read_to;
        written += decoded;
        block += BLOCK_BYTES;
    }
    each_mark::<Percent>(&source[block..], |at| {
        let at = block + at;
        copy_short(source, read..at, target, written);
        written += at - read;
        (target[written], read) = unescaped(source, at);
        written += 1;
    });
    copy_short(source, read..source.len(), target, written);
    &target[..written + source.len() - read]
}

/// Bytes of a block and of what may be read behind it.
const WINDOW_BYTES: usize = BLOCK_BYTES + COPY_BYTES;

/// Percent-decodes the block that `text` begins with, from `read` on, to the beginning of `room`. Returns where the text
/// goes on (an escape may reach beyond the block) and how many bytes were written.
///
/// No range needs a check at run time: the compiler sees that each begins within the block.
#[inline(always)]
fn decode_block(text: &[u8; WINDOW_BYTES], room: &mut [u8; WINDOW_BYTES], read: usize) -> (usize, usize) {
    const LAST: usize = BLOCK_BYTES - 1;
    let (mut read, mut written) = (read, 0);
    let mut escapes = mask::<Percent>(&text[..BLOCK_BYTES]);
    while escapes != 0 {
        let at = escapes.trailing_zeros() as usize & LAST;
        escapes &= escapes - 1;
        written = copy_within_block(text, read, at, room, written);
        let byte = hex_byte(text[at + 1], text[at + 2]);
        room[written & LAST] = byte.unwrap_or(b'%');
        read = at + if byte.is_some() { 3 } else { 1 };
        written += 1;
    }
    if read < BLOCK_BYTES {
        written = copy_within_block(text, read, BLOCK_BYTES, room, written);
        read = BLOCK_BYTES;
    }
    (read, written)
}

/// Copies `from..to` of the block; returns where it ends in `room`. What is copied too much is overwritten by what follows.
#[inline(always)]
fn copy_within_block(
    text: &[u8; WINDOW_BYTES],
    mut from: usize,
    to: usize,
    room: &mut [u8; WINDOW_BYTES],
    at: usize,
) -> usize {
    const LAST: usize = BLOCK_BYTES - 1;
    let end = at + to - from;
    let mut at = at;
    loop {
        let (source, target) = (from & LAST, at & LAST);
        room[target..target + COPY_BYTES].copy_from_slice(&text[source..source + COPY_BYTES]);
        at += COPY_BYTES;
        from += COPY_BYTES;
        if at >= end {
            return end;
        }
    }
}

/// Bytes that [`copy_short`] copies at once.
const COPY_BYTES: usize = 16;

/// Copies `range` to `at` in `target`, where [`COPY_BYTES`] more have room. Most ranges are short: copying a fixed number
/// of bytes is quicker than asking how many, and what is too much is overwritten by what follows.
#[inline(always)]
fn copy_short(source: &[u8], range: Range<usize>, target: &mut [u8], at: usize) {
    let length = range.len();
    if length <= COPY_BYTES
        && let Some(from) = source[range.start..].first_chunk::<COPY_BYTES>()
        && let Some(to) = target[at..].first_chunk_mut::<COPY_BYTES>()
    {
        *to = *from;
    } else {
        target[at..at + length].copy_from_slice(&source[range]);
    }
}

/// The byte that the escape at `at` stands for, and where the text goes on; the percent sign itself if it begins none.
#[inline(always)]
fn unescaped(source: &[u8], at: usize) -> (u8, usize) {
    if let Some(&[_, high, low]) = source[at..].first_chunk()
        && let Some(byte) = hex_byte(high, low)
    {
        return (byte, at + 3);
    }
    (b'%', at + 1)
}

/// Writes `text` as a JSON string with its quotes.
pub(crate) fn write_text(out: &mut Vec<u8>, text: &[u8], place: Place) -> Written {
    write_checked(out, text, place, |out, text, room| {
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
    })
}

/// The same for text that is known to be printable ASCII without `"` and `\`: nothing in it needs an escape.
pub(crate) fn write_plain(out: &mut Vec<u8>, text: &[u8], place: Place) -> Written {
    write_checked(out, text, place, |out, text, room| {
        out.extend_from_slice(&text[..text.len().min(room)]);
        Written { lossy: false, cut: text.len() > room }
    })
}

/// Writes the quotes and what must stand before the text; `write` gets the bytes there is room for.
fn write_checked(
    out: &mut Vec<u8>,
    text: &[u8],
    place: Place,
    write: impl FnOnce(&mut Vec<u8>, &[u8], usize) -> Written,
) -> Written {
    out.push(b'"');
    let blank = usize::from(place == Place::Member && text.first() == Some(&b'['));
    if blank == 1 {
        out.push(b' ');
    }
    let written = write(out, text, TEXT_BYTES_MAX - blank);
    out.push(b'"');
    written
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
fn hex_byte(high: u8, low: u8) -> Option<u8> {
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
    out.reserve(bytes.len() + BLOCK_BYTES);
    let mut nul = false;
    let mut written = 0;
    each_mark::<Special>(bytes, |at| {
        let letter = SHORT_ESCAPES[usize::from(bytes[at])];
        if at < written {
            // The line feed of the pair below.
        } else if bytes[at..].starts_with(b"\r\n") {
            append_short(out, bytes, written..at);
            out.extend_from_slice(b"\\r\\n");
            written = at + 2;
        } else if letter != 0 {
            append_short(out, bytes, written..at);
            out.extend_from_slice(&[b'\\', letter]);
            written = at + 1;
        } else if let Some((escape, length)) = long_escape(&bytes[at..]) {
            out.extend_from_slice(&bytes[written..at]);
            out.extend_from_slice(&escape);
            written = at + length;
            nul |= bytes[at] == 0;
        }
    });
    out.extend_from_slice(&bytes[written..]);
    nul
}

/// Appends `range` of `bytes`, which is mostly short: see [`copy_short`].
#[inline(always)]
fn append_short(out: &mut Vec<u8>, bytes: &[u8], range: Range<usize>) {
    let (start, length) = (out.len(), range.len());
    match bytes[range.start..].first_chunk::<COPY_BYTES>() {
        Some(piece) if length <= COPY_BYTES => {
            out.extend_from_slice(piece);
            out.truncate(start + length);
        }
        _ => out.extend_from_slice(&bytes[range]),
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

    fn decoded(source: &[u8]) -> Vec<u8> {
        percent_decoded(source, &mut Vec::new()).to_vec()
    }

    fn written(text: &[u8], place: Place) -> (String, Written) {
        let mut out = Vec::new();
        let written = write_text(&mut out, text, place);
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
    fn percent_escapes_are_decoded_once_and_plus_stays() {
        assert_eq!(decoded(b"a%2fb%2Fc+d"), b"a/b/c+d");
        assert_eq!(decoded(b"%2540"), b"%40");
        assert_eq!(decoded(b"100%%zz%4"), b"100%%zz%4");
        assert_eq!(decoded(b"%%41"), b"%A");
        assert_eq!(decoded(b"caf%e9%00"), b"caf\xe9\0");
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
