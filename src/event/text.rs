//! Writes the text of one JSON string. Never fails and never emits anything but valid JSON text without control
//! characters.
//!
//! Wazuh prints fields as they are into alerts.log. There a line end begins a line that whoever reads the file takes for
//! Wazuh's own, and an escape sequence reaches the terminal of whoever looks at it.

use super::percent::ESCAPE_BYTES;
use super::search::first_special;

/// Longest text Wazuh's indexer takes in one field is 32,766 bytes of UTF-8; every string stays below it.
pub(super) const TEXT_BYTES_MAX: usize = 32_000;

/// What stands for bytes that are no text.
const REPLACEMENT: &[u8] = "\u{fffd}".as_bytes();

/// What became of a text on its way out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Written {
    /// Something could not be written as it was (not UTF-8, a NUL, a lone surrogate) and stands as U+FFFD.
    pub(super) lossy: bool,
    /// The text was longer than [`TEXT_BYTES_MAX`] and ends early, at a character boundary.
    pub(super) cut: bool,
}

/// Where a string stands. As a member's value, one that starts with `[` gets a leading blank: Wazuh's decoder would turn
/// it into an array, which the indexer refuses beside strings (reference: `W_JSON_AddField`, observed on 4.14.9).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Member,
    Item,
}

/// Writes `text` as a JSON string with its quotes.
pub(super) fn write_text(out: &mut Vec<u8>, text: &[u8], place: Place) -> Written {
    let mut room = TEXT_BYTES_MAX;
    out.push(b'"');
    if place == Place::Member && text.first() == Some(&b'[') {
        out.push(b' ');
        room -= 1;
    }
    let mut written = Written::default();
    if place == Place::Member && is_taken_by_stock_decoder(text) {
        out.extend_from_slice(format!("\\u{:04x}", text[0]).as_bytes());
        out.extend_from_slice(&text[1..]);
    } else if text.len() <= room && first_special(text).is_none() {
        out.extend_from_slice(text);
    } else {
        written = write_escaped(out, text, room);
    }
    out.push(b'"');
    written
}

/// Whether a stock decoder of Wazuh's takes every line away in which this text is the value of `integration`: the one of
/// Microsoft Graph searches the raw line, in any case (4.14.9; the only one that stands before ours and is not anchored).
pub(super) fn is_taken_by_stock_decoder(text: &[u8]) -> bool {
    text.eq_ignore_ascii_case(b"ms-graph")
}

/// Appends at most `room` bytes of any text, not counting the backslashes of JSON.
fn write_escaped(out: &mut Vec<u8>, text: &[u8], mut room: usize) -> Written {
    let mut written = Written { lossy: false, cut: true };
    for chunk in text.utf8_chunks() {
        let mut rest = chunk.valid();
        loop {
            let plain = first_special(rest.as_bytes()).unwrap_or(rest.len());
            let fitting = plain.min(room);
            out.extend_from_slice(&rest.as_bytes()[..fitting]);
            room -= fitting;
            rest = &rest[fitting..];
            let Some(character) = rest.chars().next() else { break };
            let bytes = &rest.as_bytes()[..character.len_utf8()];
            let is_control = control_length(bytes) > 0;
            let length = match character {
                '\0' => REPLACEMENT.len(),
                _ if is_control => ESCAPE_BYTES * bytes.len(),
                _ => bytes.len(),
            };
            if length > room {
                return written;
            }
            room -= length;
            match character {
                '\0' => out.extend_from_slice(REPLACEMENT),
                _ if is_control => out.extend(bytes.iter().flat_map(|&byte| percent_encoded(byte))),
                '"' | '\\' => out.extend_from_slice(&[b'\\', bytes[0]]),
                _ => out.extend_from_slice(bytes),
            }
            written.lossy |= character == '\0';
            rest = &rest[bytes.len()..];
        }
        if !chunk.invalid().is_empty() {
            if REPLACEMENT.len() > room {
                return written;
            }
            room -= REPLACEMENT.len();
            out.extend_from_slice(REPLACEMENT);
            written.lossy = true;
        }
    }
    Written { cut: false, ..written }
}

/// Spells `text` so that nothing of it is lost although it is no proper text: a NUL as `\u0000`, a lone surrogate as
/// `\ud800`, any other byte that is not UTF-8 as `\xff`. The rest stays as it is.
pub(super) fn spelled(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(chunk) = rest.utf8_chunks().next() {
        for &byte in chunk.valid().as_bytes() {
            if byte == 0 { out.extend_from_slice(b"\\u0000") } else { out.push(byte) }
        }
        rest = &rest[chunk.valid().len()..];
        let (spelled, length) = match *rest {
            [0xed, second @ 0xa0..=0xbf, third @ 0x80..=0xbf, ..] => {
                (format!("\\u{:04x}", 0xd000 | u32::from(second & 0x3f) << 6 | u32::from(third & 0x3f)), 3)
            }
            [byte, ..] => (format!("\\x{byte:02x}"), 1),
            [] => break,
        };
        out.extend_from_slice(spelled.as_bytes());
        rest = &rest[length..];
    }
    out
}

/// Bytes of the control character that `text` begins with; 0 where it begins with none. A NUL is none: it is replaced
/// everywhere, since Wazuh cuts a value there.
pub(super) fn control_length(text: &[u8]) -> usize {
    match text {
        [0x01..0x20 | 0x7f, ..] => 1,
        // U+0080 to U+009F; U+061C, a mark that turns the direction.
        [0xc2, 0x80..=0x9f, ..] | [0xd8, 0x9c, ..] => 2,
        // U+200E and U+200F, the line ends U+2028 and U+2029, U+202A to U+202E; U+2066 to U+2069.
        [0xe2, 0x80, 0x8e | 0x8f | 0xa8..=0xae, ..] | [0xe2, 0x81, 0xa6..=0xa9, ..] => 3,
        _ => 0,
    }
}

/// Whether a control character of more than one byte stands in `text`.
pub(super) fn holds_long_control(text: &[u8]) -> bool {
    memchr::memchr3_iter(0xc2, 0xd8, 0xe2, text).any(|at| control_length(&text[at..]) > 0)
}

/// How a byte that must not stand in a value is written.
pub(super) fn percent_encoded(byte: u8) -> [u8; 3] {
    let digits = b"0123456789abcdef";
    [b'%', digits[usize::from(byte >> 4)], digits[usize::from(byte & 15)]]
}

/// A text of ours, for an event: its control characters are percent-encoded.
pub(crate) fn encode_controls(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        let mut buffer = [0; 4];
        let bytes = character.encode_utf8(&mut buffer).as_bytes();
        if character == '\0' || control_length(bytes) > 0 {
            out.extend(bytes.iter().flat_map(|byte| percent_encoded(*byte)).map(char::from));
        } else {
            out.push(character);
        }
    }
    out
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(text: &[u8], place: Place) -> (String, Written) {
        let mut out = Vec::new();
        let written = write_text(&mut out, text, place);
        (String::from_utf8(out).unwrap(), written)
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
        assert_eq!(spelled(b"a\0\xff\xed\xa0\x80\xc3"), br"a\u0000\xff\ud800\xc3");
        assert_eq!(spelled("x\\u0000é".as_bytes()), "x\\u0000é".as_bytes());
    }

    #[test]
    fn every_control_character_is_known_and_no_other() {
        for character in '\0'..='\u{ffff}' {
            let mut buffer = [0; 4];
            let text = character.encode_utf8(&mut buffer).as_bytes();
            let turns = matches!(character, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
            let is_control = character.is_control() || turns || matches!(character, '\u{2028}' | '\u{2029}');
            let expected = if is_control && character != '\0' { text.len() } else { 0 };
            assert_eq!(control_length(text), expected, "{character:?}");
            assert_eq!(holds_long_control(text), expected > 1, "{character:?}");
        }
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
