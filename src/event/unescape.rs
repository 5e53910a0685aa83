//! Resolves the escapes of a JSON string. Never fails: the scanner has checked them.

/// Resolves the JSON escapes of `source` (the bytes between the quotes, already checked by the scanner).
///
/// A lone surrogate becomes the three bytes that UTF-8 would need for it, so that [`super::text::write_text`] sees it as what it is:
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

    #[test]
    fn escapes_become_their_characters() {
        assert_eq!(unescaped(r#"a\"\\\/\b\f\n\r\tz"#), b"a\"\\/\x08\x0c\n\r\tz");
        assert_eq!(unescaped(r"\u00e9\ud83d\ude00"), "é😀".as_bytes());
        assert_eq!(unescaped(r"x\ud800y"), b"x\xed\xa0\x80y");
        assert_eq!(unescaped(r"\udc00\ud800\u0041"), b"\xed\xb0\x80\xed\xa0\x80A");
    }

    proptest! {
        #[test]
        fn unescaping_reverses_what_json_writers_do(text in "\\PC*") {
            let source = serde_json::to_string(&text).unwrap();
            prop_assert_eq!(unescaped(&source[1..source.len() - 1]), text.into_bytes());
        }
    }
}
