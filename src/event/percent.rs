//! Percent-decodes a text once, and notes where that brought forth what JSON must escape. Never fails, never brings forth a
//! control character where none is wanted.

use std::ops::Range;

use super::blocks::{BLOCK_BYTES, Percent, mask};
use super::control::{control_length, holds_long_control, percent_encoded};
use super::json::Text;
use super::text::TEXT_BYTES_MAX;
use super::unescape::hex_byte;

/// A decoded text; its memory is used again from text to text.
#[derive(Debug, Default)]
pub(crate) struct PercentDecoder {
    /// Only ever grows: clearing it each time would mean to fill it with zeros each time.
    bytes: Vec<u8>,
    /// Those of [`Text::marks`]; only ever grows.
    marks: Vec<usize>,
}

/// Which escapes stay as they were sent, by the byte that they stand for.
#[derive(Clone, Copy)]
pub(crate) struct Left(&'static [bool; 256]);

impl Left {
    /// None: what is decoded is no value yet.
    pub(crate) const NONE: Self = Self(&[false; 256]);

    /// Those of control characters, of which none may stand in a value.
    pub(crate) const CONTROLS: Self = Self(&Self::controls(false));

    /// The same, but line ends are decoded: the text is split there.
    pub(crate) const CONTROLS_BUT_LINE_ENDS: Self = Self(&Self::controls(true));

    /// A NUL is decoded, and replaced later: what holds one is kept beside as it was sent.
    const fn controls(but_line_ends: bool) -> [bool; 256] {
        let mut left = [false; 256];
        let mut byte = 1;
        while byte < 0x20 {
            left[byte] = !(but_line_ends && (byte == b'\r' as usize || byte == b'\n' as usize));
            byte += 1;
        }
        left[0x7f] = true;
        left
    }

    fn is_none(self) -> bool {
        !self.0[0x7f]
    }
}

/// Bytes that are copied at once. Most pieces between escapes are shorter: copying a fixed number of bytes is quicker than
/// asking how many, and what is too much is overwritten by what follows.
const COPY_BYTES: usize = 16;

/// Bytes of a block and of what may be read or written behind it.
const WINDOW_BYTES: usize = BLOCK_BYTES + COPY_BYTES;

/// Bytes of `%xx`.
pub(crate) const ESCAPE_BYTES: usize = 3;

/// Bytes of a text whose marks are noted; a longer one is longer than what is written of it, whatever it says.
const NOTED_BYTES_MAX: usize = ESCAPE_BYTES * TEXT_BYTES_MAX;

impl PercentDecoder {
    /// Decodes `source` but for the escapes that are `left`. A malformed escape stays as it stands, and `+` is a plus sign:
    /// Akamai's documentation warns against reading it as a blank.
    pub(crate) fn decode(&mut self, source: Text<'_>, left: Left) -> Text<'_> {
        let needed = source.bytes.len() + WINDOW_BYTES;
        if self.bytes.len() < needed {
            self.bytes.resize(needed, 0);
        }
        let noted = source.is_plain() && source.bytes.len() <= NOTED_BYTES_MAX;
        let marks_max = if noted { source.bytes.len() / ESCAPE_BYTES } else { 0 };
        if self.marks.len() < marks_max + BLOCK_BYTES {
            self.marks.resize(marks_max + BLOCK_BYTES, 0);
        }
        let mut done = Progress { noted, ..Progress::default() };
        let mut rest = source.bytes;
        while let Some(window) = rest.first_chunk() {
            done = self.decode_block(window, mask::<Percent>(&window[..BLOCK_BYTES]), left, done);
            rest = &rest[BLOCK_BYTES..];
        }
        while !rest.is_empty() {
            // What is padded is copied too, and left out at the end.
            let (block, behind) = rest.split_at(rest.len().min(BLOCK_BYTES));
            let mut window = [0; WINDOW_BYTES];
            window[..rest.len()].copy_from_slice(rest);
            done = self.decode_block(&window, mask::<Percent>(block), left, done);
            done.written -= BLOCK_BYTES - block.len();
            rest = behind;
        }
        if done.beyond_ascii && !left.is_none() && holds_long_control(&self.bytes[..done.written]) {
            let (text, _) = decode_with_places(source.bytes, left);
            self.bytes.splice(..text.len().min(self.bytes.len()), text.iter().copied());
            return Text { bytes: &self.bytes[..text.len()], marks: None };
        }
        let marks = &self.marks[..done.marks];
        let is_known = noted && !done.beyond_ascii;
        Text { bytes: &self.bytes[..done.written], marks: is_known.then_some(marks) }
    }

    /// Decodes the block that `window` begins with, whose percent signs are `escapes`. An escape may reach beyond it.
    ///
    /// No range needs a check at run time: the compiler sees that each begins within the block.
    #[inline(always)]
    fn decode_block(&mut self, window: &[u8; WINDOW_BYTES], mut escapes: u64, left: Left, done: Progress) -> Progress {
        const LAST: usize = BLOCK_BYTES - 1;
        // There always is room: `decode` has seen to it.
        let Some(room) = self.bytes[done.written..].first_chunk_mut::<WINDOW_BYTES>() else { return done };
        let Some(marks) = self.marks[done.marks..].first_chunk_mut::<BLOCK_BYTES>() else { return done };
        // Where the text goes on, and by how much it has become shorter in this block.
        let (mut read, mut shorter) = (done.read, done.read);
        let mut counts = Counts(0);
        while escapes != 0 {
            let at = escapes.trailing_zeros() as usize & LAST;
            escapes &= escapes - 1;
            let Some(byte) = hex_byte(window[at + 1], window[at + 2]) else { continue };
            if left.0[usize::from(byte)] {
                continue;
            }
            copy(window, read..at, room, shorter);
            let to = at - shorter;
            room[to & LAST] = byte;
            marks[counts.marks() & LAST] = done.written + to;
            counts.0 += COUNTS[usize::from(byte)].0;
            read = at + ESCAPE_BYTES;
            shorter += ESCAPE_BYTES - 1;
        }
        if read < BLOCK_BYTES {
            copy(window, read..BLOCK_BYTES, room, shorter);
        }
        Progress {
            read: read.saturating_sub(BLOCK_BYTES),
            written: done.written + BLOCK_BYTES.max(read) - shorter,
            marks: if done.noted { done.marks + counts.marks() } else { 0 },
            noted: done.noted,
            beyond_ascii: done.beyond_ascii || counts.beyond_ascii(),
        }
    }
}

/// Decodes `source` byte by byte, and says of each byte of the text where its source begins (and, at last, where the source
/// ends). Here control characters of several bytes are left as they were sent too; what stands for itself of one is encoded.
pub(crate) fn decode_with_places(source: &[u8], left: Left) -> (Vec<u8>, Vec<usize>) {
    let (mut decoded, mut starts) = (Vec::new(), Vec::new());
    let mut at = 0;
    while at < source.len() {
        let byte = match source[at..] {
            [b'%', high, low, ..] => hex_byte(high, low).filter(|&byte| !left.0[usize::from(byte)]),
            _ => None,
        };
        decoded.push(byte.unwrap_or(source[at]));
        starts.push(at);
        at += if byte.is_some() { ESCAPE_BYTES } else { 1 };
    }
    starts.push(source.len());
    let (mut text, mut places) = (Vec::with_capacity(decoded.len()), Vec::with_capacity(starts.len()));
    let mut at = 0;
    while at < decoded.len() {
        let length = if left.is_none() { 0 } else { control_length(&decoded[at..]) };
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

/// How far a text is decoded.
#[derive(Clone, Copy, Default)]
struct Progress {
    /// Bytes of the next block that belong to an escape of the last one.
    read: usize,
    /// Bytes written.
    written: usize,
    /// Marks noted.
    marks: usize,
    /// Whether they are wanted.
    noted: bool,
    /// An escape stood for a byte that is no ASCII.
    beyond_ascii: bool,
}

/// Copies a range of the block, which begins `shorter` bytes further ahead in `room`.
#[inline(always)]
fn copy(window: &[u8; WINDOW_BYTES], range: Range<usize>, room: &mut [u8; WINDOW_BYTES], shorter: usize) {
    const LAST: usize = BLOCK_BYTES - 1;
    let mut from = range.start;
    loop {
        let (source, target) = (from & LAST, from.wrapping_sub(shorter) & LAST);
        room[target..target + COPY_BYTES].copy_from_slice(&window[source..source + COPY_BYTES]);
        from += COPY_BYTES;
        if from >= range.end {
            return;
        }
    }
}

/// What the bytes of one block are, counted in one number, so that an escape costs one addition. A block holds fewer escapes
/// than either half can count.
#[derive(Clone, Copy)]
struct Counts(u64);

impl Counts {
    /// JSON escapes it.
    const MARK: Self = Self(1);

    /// It is no character by itself.
    const BEYOND_ASCII: Self = Self(1 << 32);

    #[inline(always)]
    fn marks(self) -> usize {
        (self.0 & 0xff) as usize
    }

    #[inline(always)]
    fn beyond_ascii(self) -> bool {
        self.0 >= Self::BEYOND_ASCII.0
    }
}

/// What each byte adds.
static COUNTS: [Counts; 256] = {
    let mut counts = [Counts(0); 256];
    let mut byte = 0;
    while byte < 256 {
        counts[byte] = match byte {
            0..0x20 | 0x22 | 0x5c | 0x7f => Counts::MARK,
            0x80.. => Counts::BEYOND_ASCII,
            _ => Counts(0),
        };
        byte += 1;
    }
    counts
};

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decoded(source: &str) -> Vec<u8> {
        PercentDecoder::default().decode(source.into(), Left::NONE).bytes.to_vec()
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
    fn marks_take_no_room_where_they_are_of_no_use() {
        let mut decoder = PercentDecoder::default();
        let source = "%22".repeat(2 * TEXT_BYTES_MAX);
        let text = decoder.decode(Text::plain(&source), Left::NONE);
        assert!(text.bytes.iter().all(|&byte| byte == b'"') && text.bytes.len() == 2 * TEXT_BYTES_MAX);
        assert_eq!(text.marks, None);
        assert_eq!(decoder.marks.len(), BLOCK_BYTES);
        assert_eq!(
            decoder.decode(Text::plain(&source[..NOTED_BYTES_MAX]), Left::NONE).marks.map(<[usize]>::len),
            Some(TEXT_BYTES_MAX)
        );
    }

    #[test]
    fn control_characters_stay_as_they_were_sent() {
        for (source, values, lines) in [
            ("a%0a%0D%09%7F%1b%00%20", "a%0a%0D%09%7F%1b\0 ", "a\n\r%09%7F%1b\0 "),
            ("%C2%85%c3%a9%E2%80%a8", "%C2%85é%E2%80%a8", "%C2%85é%E2%80%a8"),
            ("%e2%80%ae%c2%a0%41", "%e2%80%ae\u{a0}A", "%e2%80%ae\u{a0}A"),
        ] {
            let mut decoder = PercentDecoder::default();
            for (left, expected) in [(Left::CONTROLS, values), (Left::CONTROLS_BUT_LINE_ENDS, lines)] {
                assert_eq!(decoder.decode(source.into(), left).bytes, expected.as_bytes());
                let (text, places) = decode_with_places(source.as_bytes(), left);
                assert_eq!((text.as_slice(), places.len()), (expected.as_bytes(), text.len() + 1));
            }
        }
        // Half of one stands for itself.
        let mut decoder = PercentDecoder::default();
        assert_eq!(decoder.decode(b"%c2\x85%41"[..].into(), Left::CONTROLS).bytes, b"%c2%85A");
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
                .filter(|byte| !left.0[usize::from(*byte)]);
            text.push(byte.unwrap_or(source[at]));
            at += if byte.is_some() { 3 } else { 1 };
        }
        text
    }

    #[test]
    fn an_escape_may_stand_anywhere_in_a_block() {
        for (before, behind) in (0..150).flat_map(|before| [0, 1, 2, 20, 90].map(|behind| (before, behind))) {
            let source = format!("{}%41{}", &"0123456789".repeat(15)[..before], "y".repeat(behind));
            assert_eq!(decoded(&source), simply_decoded(source.as_bytes(), Left::NONE), "{source}");
        }
    }

    const LEFT: [Left; 3] = [Left::NONE, Left::CONTROLS, Left::CONTROLS_BUT_LINE_ENDS];

    proptest! {
        #[test]
        fn agrees_with_a_byte_by_byte_decoder(pieces in proptest::collection::vec("[ -~]{0,70}|(%[0-9a-fA-F]{2}){1,30}|(%(1f|20|22|5C|0d|0a|00|7f|c2|85|e2|80|a8)){1,9}|%.?", 0..9)) {
            let mut source = pieces.concat();
            source.retain(|character| (' '..='~').contains(&character) && !"\"\\".contains(character));
            let mut decoder = PercentDecoder::default();
            // What an earlier text has left must not show.
            decoder.decode("%22".repeat(200).as_str().into(), Left::NONE);
            for (plain, left) in [true, false].into_iter().flat_map(|plain| LEFT.map(|left| (plain, left))) {
                let simply = simply_decoded(source.as_bytes(), left);
                let is_special = !left.is_none() && holds_long_control(&simply);
                let expected = if is_special { decode_with_places(source.as_bytes(), left).0 } else { simply };
                let text = decoder.decode(if plain { Text::plain(&source) } else { source.as_str().into() }, left);
                prop_assert_eq!(text.bytes, &expected[..]);
                prop_assert!(left.is_none() || !holds_long_control(text.bytes));
                if is_special {
                    prop_assert!(text.marks.is_none());
                    continue;
                }
                let escaped = |&at: &usize| expected[at] < 0x20 || b"\"\\\x7f".contains(&expected[at]);
                let marks: Vec<usize> = (0..expected.len()).filter(escaped).collect();
                prop_assert_eq!(text.marks, (plain && expected.is_ascii()).then_some(&marks[..]));
            }
        }
    }
}
