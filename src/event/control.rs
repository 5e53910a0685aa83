//! Which characters must stand in no value: those that move a cursor, end a line or turn the direction of text. Never looks
//! beyond the first character.
//!
//! Wazuh prints fields as they are into alerts.log. There a line end begins a line that whoever reads the file takes for
//! Wazuh's own, and an escape sequence reaches the terminal of whoever looks at it.

/// Bytes of the control character that `text` begins with; 0 where it begins with none. A NUL is none: it is replaced
/// everywhere, since Wazuh cuts a value there.
#[inline]
pub(crate) fn control_length(text: &[u8]) -> usize {
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
pub(crate) fn holds_long_control(text: &[u8]) -> bool {
    memchr::memchr3_iter(0xc2, 0xd8, 0xe2, text).any(|at| control_length(&text[at..]) > 0)
}

/// How a byte that must not stand in a value is written.
pub(crate) fn percent_encoded(byte: u8) -> [u8; 3] {
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
mod tests {
    use super::*;

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
}
