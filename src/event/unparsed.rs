//! The raw copy of a line that is no event: secrets of its headers redacted where they stand. Where that cannot be done
//! with certainty there is no copy.

use std::borrow::Cow;

use super::headers::{REDACTED, is_token};
use super::percent::hex_digit;
use super::secrets::Secrets;
use super::text::TEXT_BYTES_MAX;

/// One byte of the line's meaning and the bytes of the line that spell it.
#[derive(Clone, Copy)]
struct Token {
    byte: u8,
    start: usize,
    end: usize,
}

/// The raw copy of a line that is no event. What its rules have found is redacted too: which of it is a secret, only a whole
/// event says.
pub(super) fn redacted_line<'l>(line: &'l [u8], secrets: Secrets<'_>) -> Option<Cow<'l, [u8]>> {
    let names: Vec<String> = secrets.headers.iter().cloned().chain(["ruledata", "cookies"].map(String::from)).collect();
    if secrets.is_empty() { Some(line.into()) } else { redacted_raw(line, &names).map(Cow::Owned) }
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
        let end = end_of_value(line, &tokens, &text, value)?;
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
    let skip = |mut at: usize| {
        while text.get(at).is_some_and(|byte| b" \t\"'\\".contains(byte)) {
            at += 1;
        }
        at
    };
    // One may begin with another.
    names_at(text, at, names).find_map(|end| {
        let colon = skip(end);
        (text.get(colon) == Some(&b':')).then(|| skip(colon + 1))
    })
}

/// Where the names end that stand at `at`, each as a word of its own.
fn names_at<'t>(text: &'t [u8], at: usize, names: &'t [String]) -> impl Iterator<Item = usize> + 't {
    let inside = at > 0 && is_part_of_name(text[at - 1]);
    let found = names.iter().filter(move |name| !inside && text[at..].starts_with(name.as_bytes()));
    found.map(move |name| at + name.len())
}

fn is_part_of_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_".contains(&byte)
}

/// The value ends with the line of the header, to which those lines belong that begin no header themselves, or with the JSON
/// string that holds it. None where a quote leaves open which.
fn end_of_value(line: &[u8], tokens: &[Token], text: &[u8], value: usize) -> Option<usize> {
    let is_json = matches!(line.trim_ascii_start().first(), Some(b'{' | b'['));
    let mut at = value;
    while let Some(token) = tokens.get(at) {
        if is_json && token.byte == b'"' && line[token.start] == b'"' {
            let behind = text[at + 1..].trim_ascii_start().first();
            return behind.is_none_or(|byte| b",:}]".contains(byte)).then_some(at);
        }
        let next_line = match (token.byte, text.get(at + 1)) {
            (b'\r', Some(b'\n')) => Some(at + 2),
            (b'\r' | b'\n', _) => Some(at + 1),
            _ => None,
        };
        if next_line.is_some_and(|next| begins_header(&text[next..])) {
            return Some(at);
        }
        at = next_line.unwrap_or(at + 1);
    }
    Some(at)
}

/// Whether a line that is not folded begins here, with a name and a colon.
fn begins_header(text: &[u8]) -> bool {
    let name = text.split(|byte| b":\r\n\"".contains(byte)).next().unwrap_or_default();
    text.get(name.len()) == Some(&b':') && name.first().is_some_and(u8::is_ascii_graphic) && is_token(name.trim_ascii())
}

/// Whether no value of a header in `names` can be read from `raw`, even after decoding it once more than it should be.
fn is_clean(raw: &[u8], names: &[String]) -> bool {
    let once = percent_tokens(&json_tokens(raw));
    let twice = percent_tokens(&percent_tokens(&once));
    [once, twice].iter().all(|tokens| {
        let text: Vec<u8> = tokens.iter().map(|token| token.byte.to_ascii_lowercase()).collect();
        (0..text.len()).all(|at| {
            let value = value_of_named(&text, at, names);
            let redacted = value.is_none_or(|value| {
                let rest = &text[value..];
                rest.is_empty() || rest.starts_with(REDACTED) || matches!(rest[0], b'\r' | b'\n')
            });
            // A name in quotes that no colon follows: its value stands somewhere behind it.
            let mut ends = names_at(&text, at, names);
            let alone =
                value.is_none() && at > 0 && text[at - 1] == b'"' && ends.any(|end| text.get(end) == Some(&b'"'));
            redacted && !alone
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
    fn what_belongs_to_a_header_goes_with_it() {
        assert_eq!(raw("Cookie: a=1\r\nsecret\r\n\r\nX: y").as_deref(), Some("Cookie: [redacted]\r\nX: y"));
        assert_eq!(raw("Cookie: a=\"1\"; b=2").as_deref(), Some("Cookie: [redacted]"));
        assert_eq!(
            raw(r#"{"h":"Cookie: a=1\r\nsecret\r\n","b":2"#).as_deref(),
            Some(r#"{"h":"Cookie: [redacted]","b":2"#)
        );
        let names = ["x-api", "x-api-key"].map(String::from);
        let raw = redacted_raw(b"x-api-key: secret\nx-api: secret", &names).unwrap();
        assert_eq!(raw, b"x-api-key: [redacted]\nx-api: [redacted]");
    }

    #[test]
    fn without_certainty_there_is_no_copy() {
        for line in [
            "Cookie%253a%2520secret",
            r#"{"h":[{"name":"Cookie","value":"secret"}"#,
            r#"["Cookie", "secret"]"#,
            r#"{"Cookie":["secret"]"#,
            r#"{Cookie: a="secret", b="secret""#,
        ] {
            assert_eq!(raw(line), None, "{line}");
        }
    }
}
