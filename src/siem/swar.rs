//! Eight bytes of text at a time: where the first byte of a kind stands. Plain arithmetic on words, the same on every CPU.

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x8080_8080_8080_8080;

/// Eight bytes from `at`, if there are as many.
pub(crate) fn word_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..at + 8)?.try_into().ok().map(u64::from_le_bytes)
}

/// How many bytes of `word` come before the first `byte`; 8 if there is none.
pub(crate) fn before(word: u64, byte: u8) -> usize {
    leading(zero_bytes(word ^ (ONES * u64::from(byte))))
}

/// The same for the first of two bytes.
pub(crate) fn before_either(word: u64, first: u8, second: u8) -> usize {
    leading(zero_bytes(word ^ (ONES * u64::from(first))) | zero_bytes(word ^ (ONES * u64::from(second))))
}

/// How many bytes of `word` come before the first that JSON escapes or that is not ASCII: below 0x20, `"`, `\`, 0x80 and
/// above.
pub(crate) fn before_special(word: u64) -> usize {
    // Below 0x20: no bit of 0xe0 is set. The first mark is exact; those behind it may be false alarms, and do not matter.
    let control = zero_bytes(word & (ONES * 0xe0));
    let quote = zero_bytes(word ^ (ONES * u64::from(b'"')));
    let backslash = zero_bytes(word ^ (ONES * u64::from(b'\\')));
    leading(control | quote | backslash | (word & HIGH))
}

/// Whether every byte is printable ASCII.
pub(crate) fn is_printable_ascii(bytes: &[u8]) -> bool {
    // Sums instead of early exits, so that the compiler uses the widest registers it has.
    bytes
        .chunks(256)
        .all(|chunk| chunk.iter().fold(0_u8, |odd, &byte| odd | u8::from(!(0x20..0x7f).contains(&byte))) == 0)
}

/// A mark in the highest bit of each byte that is zero (and perhaps of later ones).
fn zero_bytes(word: u64) -> u64 {
    word.wrapping_sub(ONES) & !word & HIGH
}

fn leading(marks: u64) -> usize {
    (marks.trailing_zeros() / 8) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn agrees_with_a_byte_by_byte_search(bytes in any::<[u8; 8]>(), first in any::<u8>(), second in any::<u8>()) {
            let word = u64::from_le_bytes(bytes);
            let position = |wanted: &dyn Fn(u8) -> bool| bytes.iter().position(|&byte| wanted(byte)).unwrap_or(8);
            prop_assert_eq!(before(word, first), position(&|byte| byte == first));
            prop_assert_eq!(before_either(word, first, second), position(&|byte| byte == first || byte == second));
            prop_assert_eq!(before_special(word), position(&|byte| !(0x20..0x80).contains(&byte) || byte == b'"' || byte == b'\\'));
            prop_assert_eq!(is_printable_ascii(&bytes), bytes.iter().all(|byte| (0x20..0x7f).contains(byte)));
        }
    }
}
