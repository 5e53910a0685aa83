//! The raw copy of a line that is no event: secrets of its headers redacted where they stand. Where that cannot be done
//! with certainty there is no copy.

use super::headers::REDACTED;
use crate::siem::text::TEXT_BYTES_MAX;
use crate::siem::unescape::hex_digit;

/// One byte of the line's meaning and the bytes of the line that spell it.
#[derive(Clone, Copy)]
struct Token {
    byte: u8,
    start: usize,
    end: usize,
}

/// The beginning of `line`, as much as one field holds, with the values of the headers in `names` (lower case) redacted in
/// whatever encoding they stand: plain, as JSON text, percent-encoded, or both.
pub(super) fn redacted_raw(line: &[u8], names: &[String]) -> Option<Vec<u8>> {
    let line = &line[..line.len().min(TEXT_BYTES_MAX + 1)];
    let tokens = percent_tokens(&json_tokens(line));
    let text: Vec<u8> = tokens.iter().map(|token| token.byte.to_ascii_lowercase()).collect();
    let mut raw = Vec::with_capacity(line.len());
    let mut done = 0;
    let mut at = 0;
    while at < text.len() {
        let Some(value) = value_of_named(&text, at, names) else {
            at += 1;
            continue;
        };
        let end = end_of_value(line, &tokens, value);
        if end > value {
            raw.extend_from_slice(&line[done..tokens[value].start]);
            raw.extend_from_slice(REDACTED);
            done = tokens[end - 1].end;
        }
        at = end.max(at + 1);
    }
    raw.extend_from_slice(&line[done..]);
    is_clean(&raw, names).then_some(raw)
}

/// If a header of `names` begins at `at`: where its value does.
fn value_of_named(text: &[u8], at: usize, names: &[String]) -> Option<usize> {
    if at > 0 && (text[at - 1].is_ascii_alphanumeric() || b"-_".contains(&text[at - 1])) {
        return None;
    }
    let name = names.iter().find(|name| text[at..].starts_with(name.as_bytes()))?;
    let skip = |mut at: usize| {
        while text.get(at).is_some_and(|byte| b" \t\"'\\".contains(byte)) {
            at += 1;
        }
        at
    };
    let colon = skip(at + name.len());
    (text.get(colon) == Some(&b':')).then(|| skip(colon + 1))
}

/// The value ends with the line of the header (folded lines belong to it) or with the JSON string that holds it.
fn end_of_value(line: &[u8], tokens: &[Token], value: usize) -> usize {
    let mut at = value;
    while let Some(token) = tokens.get(at) {
        let bare_quote = token.byte == b'"' && line[token.start] == b'"';
        let byte_at = |at: usize| tokens.get(at).map(|token| token.byte);
        let next_line = match (token.byte, byte_at(at + 1)) {
            (b'\r', Some(b'\n')) => Some(at + 2),
            (b'\r' | b'\n', _) => Some(at + 1),
            _ => None,
        };
        let folded = next_line.is_some_and(|next| matches!(byte_at(next), Some(b' ' | b'\t')));
        if bare_quote || (next_line.is_some() && !folded) {
            return at;
        }
        at = next_line.unwrap_or(at + 1);
    }
    at
}

/// Whether no value of a header in `names` can be read from `raw`, even after decoding it once more than it should be.
fn is_clean(raw: &[u8], names: &[String]) -> bool {
    let once = percent_tokens(&json_tokens(raw));
    let twice = percent_tokens(&percent_tokens(&once));
    [once, twice].iter().all(|tokens| {
        let text: Vec<u8> = tokens.iter().map(|token| token.byte.to_ascii_lowercase()).collect();
        (0..text.len()).all(|at| {
            value_of_named(&text, at, names).is_none_or(|value| {
                let rest = &text[value..];
                rest.is_empty() || rest.starts_with(REDACTED) || matches!(rest[0], b'\r' | b'\n')
            })
        })
    })
}

/// The line with its JSON escapes resolved, as far as there are any.
fn json_tokens(line: &[u8]) -> Vec<Token> {
    let mut tokens = Vec::with_capacity(line.len());
    let mut at = 0;
    while at < line.len() {
        let (byte, length) = match &line[at..] {
            [b'\\', b'u', b'0', b'0', high, low, ..] => match (hex_digit(*high), hex_digit(*low)) {
                (Some(high), Some(low)) => (high << 4 | low, 6),
                _ => (b'\\', 1),
            },
            [b'\\', b'n', ..] => (b'\n', 2),
            [b'\\', b'r', ..] => (b'\r', 2),
            [b'\\', b't', ..] => (b'\t', 2),
            [b'\\', escaped @ (b'"' | b'\\' | b'/'), ..] => (*escaped, 2),
            rest => (rest[0], 1),
        };
        tokens.push(Token { byte, start: at, end: at + length });
        at += length;
    }
    tokens
}

/// The tokens with percent escapes resolved once.
fn percent_tokens(tokens: &[Token]) -> Vec<Token> {
    let mut decoded = Vec::with_capacity(tokens.len());
    let mut at = 0;
    while at < tokens.len() {
        let digit = |offset: usize| tokens.get(at + offset).and_then(|token| hex_digit(token.byte));
        let escape = (tokens[at].byte == b'%').then(|| digit(1).zip(digit(2))).flatten();
        let (byte, length) = escape.map_or((tokens[at].byte, 1), |(high, low)| (high << 4 | low, 3));
        decoded.push(Token { byte, start: tokens[at].start, end: tokens[at + length - 1].end });
        at += length;
    }
    decoded
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn raw(line: &str) -> Option<String> {
        let names = ["cookie", "authorization"].map(String::from);
        redacted_raw(line.as_bytes(), &names).map(|raw| String::from_utf8(raw).unwrap())
    }

    #[test]
    fn values_are_redacted_in_the_form_they_stand_in() {
        assert_eq!(raw("no secret in here").as_deref(), Some("no secret in here"));
        assert_eq!(
            raw(r#"{"requestHeaders":"Host%3a%20a%0d%0aCookie%3a%20s%3d1%3b%20t%3d2%0d%0aX%3a%20y","a"#).as_deref(),
            Some(r#"{"requestHeaders":"Host%3a%20a%0d%0aCookie%3a%20[redacted]%0d%0aX%3a%20y","a"#)
        );
        assert_eq!(
            raw("Authorization: Basic eA==\r\n folded\r\nX: y").as_deref(),
            Some("Authorization: [redacted]\r\nX: y")
        );
        assert_eq!(raw(r#"{"Cookie":"a=\"1\"","b":2"#).as_deref(), Some(r#"{"Cookie":"[redacted]","b":2"#));
        assert_eq!(raw("Cookie%3A%20cut%3dof").as_deref(), Some("Cookie%3A%20[redacted]"));
    }

    #[test]
    fn a_word_alone_is_no_header() {
        assert_eq!(
            raw("/authorization?cookie=1 my-cookie: x").as_deref(),
            Some("/authorization?cookie=1 my-cookie: x")
        );
    }

    #[test]
    fn without_certainty_there_is_no_copy() {
        assert_eq!(raw("Cookie%253a%2520secret"), None);
    }
}
