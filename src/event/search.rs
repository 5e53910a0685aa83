//! Searches eight bytes at once: the only room for what serves speed alone. Never looks at what the bytes mean.

use memchr::memchr2;

/// Bytes that are looked at together.
pub(super) const WORD_BYTES: usize = 8;

/// A word with the lowest bit of each byte set.
const ONES: u64 = 0x0101_0101_0101_0101;

/// The highest bit of each byte. Masks made of them are right up to their first set bit: a borrow may spoil what is behind.
const HIGH: u64 = ONES << 7;

/// The first byte that cannot stand in a JSON string as it is, or is not ASCII: below 0x20, `"`, `\`, 0x7f and above.
pub(super) fn first_special(text: &[u8]) -> Option<usize> {
    const BLOCK_BYTES: usize = 32;
    // Without a branch inside a block, so that the compiler compares many bytes at once.
    let is_plain = |block: &&[u8; BLOCK_BYTES]| {
        let special = |byte: u8| byte.wrapping_sub(0x20) > 0x5e || byte == b'"' || byte == b'\\';
        block.iter().fold(0, |any, &byte| any | u8::from(special(byte))) == 0
    };
    let start = BLOCK_BYTES * text.as_chunks().0.iter().take_while(is_plain).count();
    let (words, rest) = text[start..].as_chunks();
    for (index, word) in words.iter().enumerate() {
        if let Some(at) = first(special(*word)) {
            return Some(start + index * WORD_BYTES + at);
        }
    }
    let mut word = [b' '; WORD_BYTES];
    word[..rest.len()].copy_from_slice(rest);
    first(special(word)).map(|at| text.len() - rest.len() + at)
}

/// The first quote or backslash. Names, and most values, are short.
pub(super) fn first_quote(text: &[u8]) -> Option<usize> {
    let (words, _) = text.as_chunks();
    for (index, word) in words.iter().take(3).enumerate() {
        if let Some(at) = first(equal(*word, b'"') | equal(*word, b'\\')) {
            return Some(index * WORD_BYTES + at);
        }
    }
    let start = words.len().min(3) * WORD_BYTES;
    memchr2(b'"', b'\\', &text[start..]).map(|at| start + at)
}

/// How many bytes stand before the first `byte` in `word`.
pub(super) fn before(word: [u8; WORD_BYTES], byte: u8) -> usize {
    first(equal(word, byte)).unwrap_or(WORD_BYTES)
}

fn first(bits: u64) -> Option<usize> {
    (bits != 0).then(|| bits.trailing_zeros() as usize / WORD_BYTES)
}

fn equal(word: [u8; WORD_BYTES], byte: u8) -> u64 {
    let differs = u64::from_le_bytes(word) ^ (ONES * u64::from(byte));
    differs.wrapping_sub(ONES) & !differs & HIGH
}

fn special(word: [u8; WORD_BYTES]) -> u64 {
    let bytes = u64::from_le_bytes(word);
    let control = bytes.wrapping_sub(ONES * 0x20) & HIGH;
    // Also what is not ASCII.
    control | bytes & HIGH | equal(word, b'"') | equal(word, b'\\') | equal(word, 0x7f)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn agrees_with_a_byte_by_byte_search(text in "[ -~]{0,70}([\"\\\\é\x7f\x1f\0%#!]{0,3}[ -~]{0,9}){0,3}") {
            let text = text.as_bytes();
            let is_special = |byte: &u8| !(0x20..0x7f).contains(byte) || b"\"\\".contains(byte);
            prop_assert_eq!(first_special(text), text.iter().position(is_special));
            prop_assert_eq!(first_quote(text), text.iter().position(|byte| b"\"\\".contains(byte)));
            for word in text.windows(WORD_BYTES) {
                let word: [u8; WORD_BYTES] = word.try_into().unwrap();
    prop_assert_eq!(before(word, b'%'), word.iter().take_while(|byte| **byte != b'%').count());
            }
        }
    }
}
