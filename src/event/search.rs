//! Searches many bytes at once. Never looks at what they mean. The only room for what serves speed alone.

/// The first byte that cannot stand in a JSON string as it is, or is not ASCII: below 0x20, `"`, `\`, 0x7f and above.
pub(super) fn first_special(text: &[u8]) -> Option<usize> {
    const BLOCK_BYTES: usize = 32;
    // Without a branch inside a block, so that the compiler compares all of its bytes at once.
    let is_plain = |block: &&[u8; BLOCK_BYTES]| !block.iter().fold(false, |any, &byte| any | is_special(byte));
    let (blocks, _) = text.as_chunks::<BLOCK_BYTES>();
    let start = BLOCK_BYTES * blocks.iter().take_while(is_plain).count();
    text[start..].iter().position(|&byte| is_special(byte)).map(|at| start + at)
}

fn is_special(byte: u8) -> bool {
    !(0x20..0x7f).contains(&byte) || byte == b'"' || byte == b'\\'
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn agrees_with_a_byte_by_byte_search(text in "[ -~]{0,70}[\"\\\\é\x7f\x1f\0a]?[ -~]{0,70}") {
            prop_assert_eq!(first_special(text.as_bytes()), text.bytes().position(is_special));
        }
    }
}
