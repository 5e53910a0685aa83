//! Header text: which bytes of it are secrets, and the user agent. Never changes the text itself; says where to.

use std::iter;
use std::ops::Range;

use crate::event::blocks::{Colon, LineEnd, Special, each_mark, first, is_marked};
use crate::event::json::Text;
use crate::event::percent::{Left, decode_with_places};

/// How header text is decoded: it is split at its line ends.
pub(super) const HEADERS_LEFT: Left = Left::CONTROLS_BUT_LINE_ENDS;

/// What stands in place of a secret.
pub(super) const REDACTED: &[u8] = b"[redacted]";

/// The header that says which program sent the request.
const USER_AGENT: &[u8] = b"user-agent";

/// What is known of one header text (`Name: value` lines, already decoded).
#[derive(Debug, Default)]
pub(super) struct Headers {
    /// The [`name_bit`]s of the names that matter: most names of headers have none of them.
    matter: u64,
    /// Bytes to be replaced by [`REDACTED`], in order.
    pub(super) secrets: Vec<Range<usize>>,
    /// The value of the first `User-Agent`.
    pub(super) user_agent: Option<Range<usize>>,
}

/// A header text without its secrets; its memory is used again.
#[derive(Debug, Default)]
pub(super) struct RedactedText {
    bytes: Vec<u8>,
    /// Those of [`Text::marks`].
    marks: Vec<usize>,
}

/// How a header's value is redacted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    Keep,
    Whole,
    /// Names of cookies stay, their values go.
    Cookies,
    /// The same for the one cookie that `Set-Cookie` sets; its attributes stay.
    SetCookie,
}

impl Headers {
    /// Finds the secrets of `text`: the values of the headers in `names` (lower case). Lines end with CR LF, LF or CR. A
    /// line that begins no header (folded, or without a proper name and colon) belongs to the header before it.
    pub(super) fn read(&mut self, text: Text<'_>, names: &[String]) {
        self.secrets.clear();
        self.user_agent = None;
        let matter = names.iter().map(|name| name.as_bytes()).chain([USER_AGENT]);
        self.matter = matter.fold(0, |bits, name| bits | name_bit(name));
        let bytes = text.bytes;
        debug_assert!(text.marks.is_none_or(|marks| is_marked::<Special>(bytes, marks)));
        let mut rule = Rule::Keep;
        let mut start = 0;
        let mut end_line = |end: usize| {
            // Between CR and LF stands nothing to be read.
            if start < end {
                rule = self.read_line(bytes, start..end, rule, names);
            }
            start = end + 1;
        };
        match text.marks {
            // They hold every line end.
            Some(marks) => marks.iter().filter(|&&at| matches!(bytes[at], b'\r' | b'\n')).for_each(|&at| end_line(at)),
            None => each_mark::<LineEnd>(bytes, &mut end_line),
        }
        end_line(bytes.len());
    }

    /// Reads the line that stands at `line`; `rule` is that of the header before it. Returns the rule of its own header.
    fn read_line(&mut self, text: &[u8], line: Range<usize>, rule: Rule, names: &[String]) -> Rule {
        let colon = first::<Colon>(&text[line.clone()]).map(|at| line.start + at);
        let name = trimmed_name(&text[line.start..colon.unwrap_or(line.start)]);
        let matters = self.matter & name_bit(name) != 0;
        // A header that is neither redacted nor the user agent changes nothing, nor does what belongs to it.
        if rule == Rule::Keep && !matters {
            return rule;
        }
        let redacted = if matters { colon.and_then(|_| rule_for(name, names)) } else { None };
        let begins_header = rule == Rule::Keep || redacted.is_some() || {
            let folded = text[line.clone()].first().is_some_and(u8::is_ascii_whitespace);
            is_token(name) && !folded
        };
        if !begins_header {
            self.mark(text, line, Rule::Whole);
            return rule;
        }
        let value = colon.map_or(line.start, |at| at + 1)..line.end;
        if self.user_agent.is_none() && name.eq_ignore_ascii_case(USER_AGENT) {
            self.user_agent = Some(trimmed(text, value.clone()));
        }
        let rule = redacted.unwrap_or(Rule::Keep);
        self.mark(text, value, rule);
        rule
    }

    /// The text that was read, with its secrets replaced.
    pub(super) fn redacted<'t>(&self, text: Text<'_>, memory: &'t mut RedactedText) -> Text<'t> {
        let RedactedText { bytes, marks } = memory;
        bytes.clear();
        marks.clear();
        let mut found = text.marks.unwrap_or_default().iter().peekable();
        let mut done = 0;
        let end = text.bytes.len();
        for secret in self.secrets.iter().cloned().chain(iter::once(end..end)) {
            while let Some(at) = found.next_if(|&&at| at < secret.start) {
                marks.push(at - done + bytes.len());
            }
            while found.next_if(|&&at| at < secret.end).is_some() {}
            bytes.extend_from_slice(&text.bytes[done..secret.start]);
            if !secret.is_empty() {
                bytes.extend_from_slice(REDACTED);
            }
            done = secret.end;
        }
        Text { bytes, marks: text.marks.is_some().then_some(marks) }
    }

    /// The same for the percent-encoded form of the text that was read.
    pub(super) fn redact_encoded_into(&self, encoded: &[u8], out: &mut Vec<u8>) {
        let (_, places) = decode_with_places(encoded, HEADERS_LEFT);
        let mut done = 0;
        for secret in &self.secrets {
            out.extend_from_slice(&encoded[done..places[secret.start]]);
            out.extend_from_slice(REDACTED);
            done = places[secret.end];
        }
        out.extend_from_slice(&encoded[done..]);
    }

    /// Whether the user agent itself is among the secrets.
    pub(super) fn hides_user_agent(&self) -> bool {
        self.user_agent.as_ref().is_some_and(|agent| self.secrets.iter().any(|secret| secret.start == agent.start))
    }

    fn mark(&mut self, text: &[u8], value: Range<usize>, rule: Rule) {
        match rule {
            Rule::Keep => {}
            Rule::Whole => self.mark_secret(trimmed(text, value)),
            Rule::Cookies | Rule::SetCookie => {
                let mut start = value.start;
                for (index, piece) in text[value].split(|&byte| byte == b';').enumerate() {
                    let whole = start..start + piece.len();
                    start += piece.len() + 1;
                    if rule == Rule::SetCookie && index > 0 && is_cookie_attribute(piece) {
                        continue;
                    }
                    // A cookie without a name is all value (RFC 6265bis, 5.6), also one that ends with the `=` of base64.
                    let equals = memchr::memchr(b'=', piece);
                    let has_value = |&at: &usize| piece[at..].iter().any(|&byte| byte != b'=' && byte != b' ');
                    let name_length = equals.filter(has_value).map_or(0, |at| at + 1);
                    self.mark_secret(trimmed(text, whole.start + name_length..whole.end));
                }
            }
        }
    }

    fn mark_secret(&mut self, secret: Range<usize>) {
        if !secret.is_empty() {
            self.secrets.push(secret);
        }
    }
}

/// One bit for the length and the first letter of a name, in any case; different names mostly have different ones.
#[inline(always)]
fn name_bit(name: &[u8]) -> u64 {
    1 << ((7 * name.len() + usize::from(name.first().unwrap_or(&0) | 0x20)) % 64)
}

fn rule_for(name: &[u8], names: &[String]) -> Option<Rule> {
    if !names.iter().any(|redacted| name.eq_ignore_ascii_case(redacted.as_bytes())) {
        return None;
    }
    Some(if name.eq_ignore_ascii_case(b"cookie") {
        Rule::Cookies
    } else if name.eq_ignore_ascii_case(b"set-cookie") {
        Rule::SetCookie
    } else {
        Rule::Whole
    })
}

/// An attribute of a cookie, and nothing that could be a second cookie behind a comma.
fn is_cookie_attribute(piece: &[u8]) -> bool {
    const ATTRIBUTES: [&[u8]; 9] =
        [b"expires", b"max-age", b"domain", b"path", b"samesite", b"priority", b"secure", b"httponly", b"partitioned"];
    let mut parts = piece.splitn(2, |&byte| byte == b'=');
    let name = parts.next().unwrap_or_default().trim_ascii();
    let value = parts.next().unwrap_or_default();
    ATTRIBUTES.iter().any(|attribute| name.eq_ignore_ascii_case(attribute)) && !value.contains(&b'=')
}

/// The name without blanks around it, which are rare.
#[inline(always)]
fn trimmed_name(name: &[u8]) -> &[u8] {
    match name {
        [b'!'..=0xff, .., b'!'..=0xff] => name,
        _ => name.trim_ascii(),
    }
}

/// A header name in the sense of RFC 9110, 5.6.2.
pub(super) fn is_token(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().all(|&byte| TOKEN_BYTES[usize::from(byte)])
}

/// What a name may hold.
const TOKEN_BYTES: [bool; 256] = {
    let mut bytes = [false; 256];
    let mut byte = 0_u8;
    while byte < 0x80 {
        bytes[byte as usize] = byte.is_ascii_alphanumeric();
        byte += 1;
    }
    let mut others: &[u8] = b"!#$%&'*+-.^_`|~";
    while let [byte, rest @ ..] = others {
        bytes[*byte as usize] = true;
        others = rest;
    }
    bytes
};

fn trimmed(text: &[u8], range: Range<usize>) -> Range<usize> {
    let value = &text[range.clone()];
    let start = range.start + (value.len() - value.trim_ascii_start().len());
    start..start + value.trim_ascii().len()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::event::percent::PercentDecoder;
    use proptest::prelude::*;

    fn names() -> Vec<String> {
        ["authorization", "cookie", "set-cookie"].map(String::from).to_vec()
    }

    fn check(text: &str, expected: &str) {
        let mut headers = Headers::default();
        let mut memory = RedactedText::default();
        let encoded = text.replace('\r', "%0d").replace('\n', "%0a");
        let mut decoder = PercentDecoder::default();
        for text in [text.into(), decoder.decode(Text::plain(&encoded), HEADERS_LEFT)] {
            headers.read(text, &names());
            let redacted = headers.redacted(text, &mut memory);
            assert_eq!(String::from_utf8_lossy(redacted.bytes), expected);
            let marks: Vec<usize> = expected.match_indices(['\r', '\n']).map(|(at, _)| at).collect();
            assert_eq!(redacted.marks, text.marks.map(|_| &marks[..]));
        }
    }

    #[test]
    fn values_of_secret_headers_go_and_names_of_cookies_stay() {
        check("Host: a\r\nAUTHORIZATION:  Basic eA== \r\nX: y", "Host: a\r\nAUTHORIZATION:  [redacted] \r\nX: y");
        check("Cookie: a=1; b=%40x;c=1;", "Cookie: a=[redacted]; b=[redacted];c=[redacted];");
        check("Cookie: c2VjcmV0==; a=1=", "Cookie: [redacted]; a=[redacted]");
        check("Set-Cookie: s=1; Path=/; HttpOnly", "Set-Cookie: s=[redacted]; Path=/; HttpOnly");
        check("Set-Cookie: path=1; path=/, path=2", "Set-Cookie: path=[redacted]; path=[redacted]");
        check("Set-Cookie: secure; x", "Set-Cookie: [redacted]; [redacted]");
        check("Cookie: nameless", "Cookie: [redacted]");
        check("Authorization:", "Authorization:");
    }

    #[test]
    fn what_belongs_to_a_secret_header_goes_too() {
        check("Authorization: a\r\n b\r\nX: y", "Authorization: [redacted]\r\n [redacted]\r\nX: y");
        check("Cookie: a=1\nb=2\nX: y", "Cookie: a=[redacted]\n[redacted]\nX: y");
        check(" Cookie : a=1", " Cookie : a=[redacted]");
        check("X: y\r\nNoColonLine\r\n", "X: y\r\nNoColonLine\r\n");
        check("{p}", "{p}");
    }

    #[test]
    fn the_encoded_form_is_redacted_at_the_same_places() {
        let encoded = b"Cookie%3a%20a%3d1%e9%3b%20b=2%0d%0aX%3a%20y%zz";
        let mut decoder = PercentDecoder::default();
        let mut headers = Headers::default();
        headers.read(decoder.decode(encoded[..].into(), HEADERS_LEFT), &names());
        let mut out = Vec::new();
        headers.redact_encoded_into(encoded, &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), "Cookie%3a%20a%3d[redacted]%3b%20b=[redacted]%0d%0aX%3a%20y%zz");
    }

    proptest! {
        #[test]
        fn the_same_is_redacted_with_marks_and_without(
            pieces in proptest::collection::vec("(Cookie|set-cookie|Authorization|User-Agent|X)( ?:|=)|[a-z;=\":\\\\ ]{0,9}|\r\n ?|\r|\n|\t|[^%]", 0..20),
        ) {
            let text = pieces.concat();
            let encoded: String = text.bytes().map(|byte| format!("%{byte:02x}")).collect();
            let mut decoder = PercentDecoder::default();
            let (mut searched, mut marked) = (Headers::default(), Headers::default());
            searched.read(text.as_str().into(), &names());
            let decoded = decoder.decode(Text::plain(&encoded), Left::NONE);
            marked.read(decoded, &names());
            prop_assert_eq!(decoded.marks.is_some(), text.is_ascii());
            prop_assert_eq!(&marked.secrets, &searched.secrets);
            prop_assert_eq!(&marked.user_agent, &searched.user_agent);
            let mut memory = RedactedText::default();
            let redacted = marked.redacted(decoded, &mut memory);
            prop_assert!(redacted.marks.is_none_or(|marks| is_marked::<Special>(redacted.bytes, marks)));
        }
    }

    #[test]
    fn the_user_agent_is_found() {
        let text = b"host: a\r\nuser-agent:  curl/8 \r\nUser-Agent: second";
        let mut headers = Headers::default();
        headers.read(text[..].into(), &["user-agent".to_owned()]);
        assert_eq!(&text[headers.user_agent.clone().unwrap()], b"curl/8");
        assert!(headers.hides_user_agent());
        headers.read(text[..].into(), &names());
        assert!(!headers.hides_user_agent());
    }
}
