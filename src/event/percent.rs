//! Percent-decodes a text once. Never fails, never brings forth a control character where none is wanted.

use std::borrow::Cow;

use super::search::{WORD_BYTES, before};
use super::text::{control_length, holds_long_control, percent_encoded};

/// Bytes of `%xx`.
pub(super) const ESCAPE_BYTES: usize = 3;

/// Which escapes stay as they were sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Left {
    /// None: what is decoded is no value yet.
    Nothing,
    /// Those of control characters, of which none may stand in a value. A NUL is decoded, and replaced later: what holds one
    /// is kept beside as it was sent.
    Controls,
    /// The same, but line ends are decoded: the text is split there.
    ControlsButLineEnds,
}

impl Left {
    fn holds(self, byte: u8) -> bool {
        match byte {
            0x20..=0x7e | 0x80.. => false,
            b'\r' | b'\n' => self == Self::Controls,
            0 => false,
            _ => self != Self::Nothing,
        }
    }
}

/// Decodes `source` but for the escapes that are `left`. A malformed escape stays as it stands, and `+` is a plus sign:
/// Akamai's documentation warns against reading it as a blank.
pub(super) fn decode<'a>(source: impl Into<Cow<'a, [u8]>>, left: Left) -> Cow<'a, [u8]> {
    let source = source.into();
    let Some(mut at) = memchr::memchr(b'%', &source) else { return source };
    let mut text = vec![0; source.len()];
    text[..at].copy_from_slice(&source[..at]);
    let mut length = at;
    while at < source.len() {
        // What stands before the next escape; more is overwritten.
        if let (Some(word), Some(room)) = (source[at..].first_chunk(), text[length..].first_chunk_mut()) {
            *room = *word;
            let plain = before(*word, b'%');
            (at, length) = (at + plain, length + plain);
            if plain == WORD_BYTES {
                continue;
            }
        }
        let byte = escaped_byte(&source[at..], left);
        text[length] = byte.unwrap_or(source[at]);
        length += 1;
        at += if byte.is_some() { ESCAPE_BYTES } else { 1 };
    }
    text.truncate(length);
    if text.len() == source.len() {
        source
    } else if left != Left::Nothing && holds_long_control(&text) {
        decode_with_places(&source, left).0.into()
    } else {
        text.into()
    }
}

/// What the escape stands for that `text` begins with, unless it is `left`.
#[inline]
fn escaped_byte(text: &[u8], left: Left) -> Option<u8> {
    let [b'%', high, low, ..] = text else { return None };
    let (high, low) = (HEX_DIGITS[usize::from(*high)], HEX_DIGITS[usize::from(*low)]);
    let byte = high << 4 | low;
    ((high | low) < 16 && !left.holds(byte)).then_some(byte)
}

/// The value of one hexadecimal digit, either case.
pub(super) fn hex_digit(byte: u8) -> Option<u8> {
    Some(HEX_DIGITS[usize::from(byte)]).filter(|digit| *digit < 16)
}

/// The value of each byte as a hexadecimal digit; 16 and more where it is none.
static HEX_DIGITS: [u8; 256] = {
    let mut values = [0xff; 256];
    let mut digit = 0;
    while digit < 16 {
        values[b"0123456789abcdef"[digit as usize] as usize] = digit;
        values[b"0123456789ABCDEF"[digit as usize] as usize] = digit;
        digit += 1;
    }
    values
};

/// Decodes `source` byte by byte, and says of each byte of the text where its source begins (and, at last, where the source
/// ends). Here control characters of several bytes are left as they were sent too; what stands for itself of one is encoded.
pub(super) fn decode_with_places(source: &[u8], left: Left) -> (Vec<u8>, Vec<usize>) {
    let (mut decoded, mut starts) = (Vec::new(), Vec::new());
    let mut at = 0;
    while at < source.len() {
        let byte = escaped_byte(&source[at..], left);
        decoded.push(byte.unwrap_or(source[at]));
        starts.push(at);
        at += if byte.is_some() { ESCAPE_BYTES } else { 1 };
    }
    starts.push(source.len());
    let (mut text, mut places) = (Vec::with_capacity(decoded.len()), Vec::with_capacity(starts.len()));
    let mut at = 0;
    while at < decoded.len() {
        let length = if left == Left::Nothing { 0 } else { control_length(&decoded[at..]) };
        for index in at..at + length.max(1) {
            let span = starts[index]..starts[index + 1];
            if length < 2 {
                text.push(decoded[index]);
            } else if span.len() == ESCAPE_BYTES {
                text.extend_from_slice(&source[span]);
            } else {
                text.extend_from_slice(&percent_encoded(decoded[index]));
            }
            places.resize(text.len(), starts[index]);
        }
        at += length.max(1);
    }
    places.push(source.len());
    (text, places)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decoded(source: &str) -> Vec<u8> {
        decode(source.as_bytes(), Left::Nothing).into_owned()
    }

    #[test]
    fn escapes_are_decoded_once_and_plus_stays() {
        assert_eq!(decoded("a%2fb%2Fc+d"), b"a/b/c+d");
        assert_eq!(decoded("%2540"), b"%40");
        assert_eq!(decoded("100%%zz%4"), b"100%%zz%4");
        assert_eq!(decoded("%%41"), b"%A");
        assert_eq!(decoded("caf%e9%00"), b"caf\xe9\0");
        assert_eq!(decoded(""), b"");
    }

    #[test]
    fn control_characters_stay_as_they_were_sent() {
        for (source, values, lines) in [
            ("a%0a%0D%09%7F%1b%00%20", "a%0a%0D%09%7F%1b\0 ", "a\n\r%09%7F%1b\0 "),
            ("%C2%85%c3%a9%E2%80%a8", "%C2%85é%E2%80%a8", "%C2%85é%E2%80%a8"),
            ("%e2%80%ae%c2%a0%41", "%e2%80%ae\u{a0}A", "%e2%80%ae\u{a0}A"),
        ] {
            for (left, expected) in [(Left::Controls, values), (Left::ControlsButLineEnds, lines)] {
                assert_eq!(&*decode(source.as_bytes(), left), expected.as_bytes());
                let (text, places) = decode_with_places(source.as_bytes(), left);
                assert_eq!((text.as_slice(), places.len()), (expected.as_bytes(), text.len() + 1));
            }
        }
        // Half of one stands for itself.
        assert_eq!(&*decode(&b"%c2\x85%41"[..], Left::Controls), b"%c2%85A");
    }

    /// As simple as can be.
    fn simply_decoded(source: &[u8], left: Left) -> Vec<u8> {
        let mut text = Vec::new();
        let mut at = 0;
        while at < source.len() {
            let digits = source.get(at + 1..at + 3).and_then(|digits| std::str::from_utf8(digits).ok());
            let byte = digits
                .filter(|digits| source[at] == b'%' && digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
                .map(|digits| u8::from_str_radix(digits, 16).unwrap())
                .filter(|byte| !left.holds(*byte));
            text.push(byte.unwrap_or(source[at]));
            at += if byte.is_some() { 3 } else { 1 };
        }
        text
    }

    #[test]
    fn an_escape_may_stand_anywhere_in_a_block() {
        for (before, behind) in (0..150).flat_map(|before| [0, 1, 2, 20, 90].map(|behind| (before, behind))) {
            let source = format!("{}%41{}", &"0123456789".repeat(15)[..before], "y".repeat(behind));
            assert_eq!(decoded(&source), simply_decoded(source.as_bytes(), Left::Nothing), "{source}");
        }
    }

    const LEFT: [Left; 3] = [Left::Nothing, Left::Controls, Left::ControlsButLineEnds];

    proptest! {
        #[test]
        fn agrees_with_a_byte_by_byte_decoder(pieces in proptest::collection::vec("[ -~]{0,70}|(%[0-9a-fA-F]{2}){1,30}|(%(1f|20|22|5C|0d|0a|00|7f|c2|85|e2|80|a8)){1,9}|%.?", 0..9)) {
            let mut source = pieces.concat();
            source.retain(|character| (' '..='~').contains(&character) && !"\"\\".contains(character));
            for left in LEFT {
                let simply = simply_decoded(source.as_bytes(), left);
                let (with_places, places) = decode_with_places(source.as_bytes(), left);
                let text = decode(source.as_bytes(), left);
                prop_assert_eq!(&*text, &with_places[..]);
                prop_assert_eq!(places.len(), with_places.len() + 1);
                prop_assert!(left == Left::Nothing || !holds_long_control(&text));
                prop_assert!(*text == simply[..] || (left != Left::Nothing && holds_long_control(&simply)));
            }
        }
    }
}
