//! Header text: which bytes of it are secrets, and the user agent. Never changes the text itself; says where to.

use std::borrow::Cow;
use std::iter;
use std::ops::Range;

use memchr::{memchr, memchr2};

use super::json::{JsonKind, JsonValue};
use super::percent::{Left, decode_with_places};
use super::secrets::Secrets;

/// Bytes of the text that is made of headers that come as JSON; a line of Wazuh's cannot hold as much.
const HEADERS_BYTES_MAX: usize = 128 << 10;

/// What stands in place of a secret.
pub(super) const REDACTED: &[u8] = b"[redacted]";

/// What is known of one header text (`Name: value` lines, already decoded).
#[derive(Debug, Default)]
pub(super) struct Headers {
    /// Bytes to be replaced by [`REDACTED`], in order.
    secrets: Vec<Range<usize>>,
    /// The value of the first `User-Agent`.
    user_agent: Option<Range<usize>>,
}

/// How a header's value is redacted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Redaction {
    Keep,
    Whole,
    /// Names of cookies stay, their values go.
    Cookies,
    /// The same for the one cookie that `Set-Cookie` sets; its attributes stay.
    SetCookie,
}

impl Headers {
    /// Finds the secrets of `text`: the values of the headers in `names` (lower case). A line that begins no header (folded,
    /// or without a proper name and colon) belongs to the header before it.
    pub(super) fn read(text: &[u8], names: &[String]) -> Self {
        let mut headers = Self::default();
        let mut redaction = Redaction::Keep;
        for line in lines(text) {
            redaction = headers.read_line(text, line, redaction, names);
        }
        headers
    }

    /// Reads the line that stands at `line`; `before` is the redaction of the header before it. Returns that of its own header.
    fn read_line(&mut self, text: &[u8], line: Range<usize>, before: Redaction, names: &[String]) -> Redaction {
        let colon = memchr(b':', &text[line.clone()]).map(|at| line.start + at);
        let name = text[line.start..colon.unwrap_or(line.start)].trim_ascii();
        let own = colon.map_or(Redaction::Keep, |_| redaction(name, names));
        let is_folded = text[line.start].is_ascii_whitespace();
        if before != Redaction::Keep && own == Redaction::Keep && (is_folded || !is_token(name)) {
            self.mark(text, line, Redaction::Whole);
            return before;
        }
        let value = colon.map_or(line.start, |at| at + 1)..line.end;
        if self.user_agent.is_none() && name.eq_ignore_ascii_case(b"user-agent") {
            self.user_agent = Some(trimmed(text, value.clone()));
        }
        self.mark(text, value, own);
        own
    }

    /// The text that was read, with its secrets replaced.
    pub(super) fn redacted<'t>(&self, text: Cow<'t, [u8]>) -> Cow<'t, [u8]> {
        if self.secrets.is_empty() { text } else { self.redact(&text, |at| at).into() }
    }

    /// `source` without the secrets that stand behind these places in the text that was read.
    fn redact(&self, source: &[u8], place: impl Fn(usize) -> usize) -> Vec<u8> {
        let mut out = Vec::with_capacity(source.len());
        let mut done = 0;
        for secret in &self.secrets {
            out.extend_from_slice(&source[done..place(secret.start)]);
            out.extend_from_slice(REDACTED);
            done = place(secret.end);
        }
        out.extend_from_slice(&source[done..]);
        out
    }

    /// The value of the user agent in the text that was read; redacted if it is among the secrets.
    pub(super) fn user_agent<'t>(&self, text: &'t [u8]) -> Option<&'t [u8]> {
        let agent = self.user_agent.clone()?;
        let is_secret = self.secrets.iter().any(|secret| secret.start == agent.start);
        Some(if is_secret { REDACTED } else { &text[agent] })
    }

    fn mark(&mut self, text: &[u8], value: Range<usize>, redaction: Redaction) {
        match redaction {
            Redaction::Keep => {}
            Redaction::Whole => self.mark_secret(trimmed(text, value)),
            Redaction::Cookies | Redaction::SetCookie => {
                let mut start = value.start;
                for (index, piece) in text[value].split(|&byte| byte == b';').enumerate() {
                    let whole = start..start + piece.len();
                    start += piece.len() + 1;
                    if redaction == Redaction::SetCookie && index > 0 && is_cookie_attribute(piece) {
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

/// The percent-encoded form of a header text without its secrets.
pub(super) fn redacted_encoded(encoded: &[u8], names: &[String]) -> Vec<u8> {
    let (text, places) = decode_with_places(encoded, Left::ControlsButLineEnds);
    Headers::read(&text, names).redact(encoded, |at| places[at])
}

/// Where the lines of a header text stand, which end with CR LF, LF or CR; without the empty ones.
pub(super) fn lines(text: &[u8]) -> impl Iterator<Item = Range<usize>> {
    let mut start = 0;
    iter::from_fn(move || {
        while matches!(text.get(start), Some(b'\r' | b'\n')) {
            start += 1;
        }
        let rest = text.get(start..).filter(|rest| !rest.is_empty())?;
        let line = start..memchr2(b'\r', b'\n', rest).map_or(text.len(), |at| start + at);
        start = line.end;
        Some(line)
    })
}

fn redaction(name: &[u8], names: &[String]) -> Redaction {
    if !names.iter().any(|redacted| name.eq_ignore_ascii_case(redacted.as_bytes())) {
        Redaction::Keep
    } else if name.eq_ignore_ascii_case(b"cookie") {
        Redaction::Cookies
    } else if name.eq_ignore_ascii_case(b"set-cookie") {
        Redaction::SetCookie
    } else {
        Redaction::Whole
    }
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

/// A header name in the sense of RFC 9110, 5.6.2, but without `%`: what is still encoded is no letter of a name.
pub(super) fn is_token(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().all(|byte| byte.is_ascii_alphanumeric() || b"!#$&'*+-.^_`|~".contains(byte))
}

fn trimmed(text: &[u8], range: Range<usize>) -> Range<usize> {
    let value = &text[range.clone()];
    let start = range.start + (value.len() - value.trim_ascii_start().len());
    start..start + value.trim_ascii().len()
}

/// Headers that come as JSON instead of one text: as a list of lines, of pairs, of objects with a name and a value, or as an
/// object with the names as keys. The text of them that Akamai sends otherwise, a line each; no secret's value is in it.
pub(super) fn header_lines(value: JsonValue<'_>, secrets: Secrets<'_>) -> Vec<u8> {
    let mut lines = HeaderLines { secrets, out: Vec::new() };
    match value.kind {
        JsonKind::Object => lines.object(value),
        _ => lines.list(value),
    };
    lines.out
}

struct HeaderLines<'a> {
    secrets: Secrets<'a>,
    out: Vec<u8>,
}

impl HeaderLines<'_> {
    /// Lines and headers, or names and values in turns. Returns false once there is no room for more, as the others do.
    fn list(&mut self, list: JsonValue<'_>) -> bool {
        let mut is_secret = false;
        list.items().all(|item| {
            let is_name = self.names_a_secret(item);
            let hides = std::mem::replace(&mut is_secret, is_name) && !is_name;
            if hides { self.add(REDACTED) } else { self.item(item) }
        })
    }

    fn item(&mut self, item: JsonValue<'_>) -> bool {
        match item.kind {
            JsonKind::Null => true,
            JsonKind::Object => self.object(item),
            JsonKind::Array => self.pair(item),
            _ => self.add(&self.text(item)),
        }
    }

    /// One header, or an object with their names as keys.
    fn object(&mut self, object: JsonValue<'_>) -> bool {
        let find = |words: &[&str]| {
            let is_one = |key: &[u8]| words.iter().any(|word| key.eq_ignore_ascii_case(word.as_bytes()));
            object.members().find(|(key, _)| is_one(&self.text(*key))).map(|(_, value)| value)
        };
        if object.members().count() == 2
            && let (Some(name), Some(value)) = (find(&["name", "key", "header"]), find(&["value"]))
        {
            return self.header(&self.text(name), value);
        }
        let hides = object.members().any(|(_, value)| self.names_a_secret(value));
        object.members().all(|(key, value)| {
            let key = self.text(key);
            if hides && !self.names_a_secret(value) {
                self.add(&[&key, &b": "[..], REDACTED].concat())
            } else {
                self.header(&key, value)
            }
        })
    }

    fn names_a_secret(&self, value: JsonValue<'_>) -> bool {
        value.is_text() && self.secrets.named(&value.text())
    }

    fn pair(&mut self, pair: JsonValue<'_>) -> bool {
        let mut items = pair.items();
        let Some(name) = items.next().map(|name| self.text(name)) else { return true };
        items.all(|item| self.header(&name, item))
    }

    fn header(&mut self, name: &[u8], value: JsonValue<'_>) -> bool {
        let value = if self.secrets.named(name) { REDACTED.into() } else { self.text(value) };
        self.add(&[name, b": ", &value].concat())
    }

    /// The text of a value; of one that has members, what may be shown of its source.
    fn text<'v>(&self, value: JsonValue<'v>) -> Cow<'v, [u8]> {
        let text = value.text();
        if value.has_members() {
            self.secrets.redacted(&text).map_or(REDACTED.to_vec(), Cow::into_owned).into()
        } else {
            text
        }
    }

    /// One line: what it holds ends none.
    fn add(&mut self, text: &[u8]) -> bool {
        let line_end = |byte: u8| if matches!(byte, b'\r' | b'\n') { b' ' } else { byte };
        self.out.extend(text.iter().take(HEADERS_BYTES_MAX).map(|&byte| line_end(byte)));
        self.out.push(b'\n');
        self.out.len() < HEADERS_BYTES_MAX
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::event::percent::decode;
    use proptest::prelude::*;

    fn names() -> Vec<String> {
        ["authorization", "cookie", "set-cookie"].map(String::from).to_vec()
    }

    fn check(text: &str, expected: &str) {
        let encoded = text.replace('\r', "%0d").replace('\n', "%0a");
        for text in [text.as_bytes().into(), decode(encoded.as_bytes(), Left::ControlsButLineEnds)] {
            let redacted = Headers::read(&text, &names()).redacted(text);
            assert_eq!(String::from_utf8_lossy(&redacted), expected);
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
        check("Cookie: a=1\r\nX\u{85}: y", "Cookie: a=[redacted]\r\n[redacted]");
        check("{p}", "{p}");
    }

    #[test]
    fn the_encoded_form_is_redacted_at_the_same_places() {
        let encoded = b"Cookie%3a%20a%3d1%e9%3b%20b=2%0d%0aX%3a%20y%zz";
        let out = redacted_encoded(encoded, &names());
        assert_eq!(String::from_utf8(out).unwrap(), "Cookie%3a%20a%3d[redacted]%3b%20b=[redacted]%0d%0aX%3a%20y%zz");
    }

    #[test]
    fn what_is_written_longer_moves_no_secret_of_the_encoded_form() {
        let encoded = "X: \u{85}\u{202e}%0d%0aCookie: a=geheim%00; b=geheim".as_bytes();
        let out = String::from_utf8(redacted_encoded(encoded, &names())).unwrap();
        assert_eq!(out, "X: \u{85}\u{202e}%0d%0aCookie: a=[redacted]; b=[redacted]");
    }

    #[test]
    fn empty_lines_are_left_out() {
        for (text, expected) in [
            ("a: 1\r\nb: 2\r\n", &["a: 1", "b: 2"][..]),
            ("\r\na: \"1\"\n\n\rb", &["a: \"1\"", "b"]),
            ("[x", &["[x"]),
            ("\r\n", &[]),
            ("", &[]),
        ] {
            assert_eq!(lines(text.as_bytes()).map(|line| &text[line]).collect::<Vec<_>>(), expected);
        }
    }

    proptest! {
        #[test]
        fn the_same_is_redacted_in_the_encoded_form(
            pieces in proptest::collection::vec("(Cookie|set-cookie|Authorization|User-Agent|X)( ?:|=)|[a-z;=\":\\\\ ]{0,9}|\r\n ?|\r|\n|\t|\u{85}|[^%]", 0..20),
        ) {
            let text = pieces.concat();
            let encode = |encode_all: bool| text.bytes().map(move |byte| {
                if encode_all || byte.is_ascii_control() { format!("%{byte:02x}").into_bytes() } else { vec![byte] }
            });
            for encoded in [encode(true), encode(false)].map(|bytes| bytes.collect::<Vec<_>>().concat()) {
                let decoded = decode(&*encoded, Left::ControlsButLineEnds);
                let redacted = Headers::read(&decoded, &names()).redacted(decoded);
                let encoded = redacted_encoded(&encoded, &names());
                let shown = |text: &[u8]| decode_with_places(text, Left::ControlsButLineEnds).0;
                prop_assert_eq!(shown(&encoded), shown(&redacted));
            }
        }
    }

    #[test]
    fn the_user_agent_is_found() {
        let text = b"host: a\r\nuser-agent:  curl/8 \r\nUser-Agent: second";
        assert_eq!(Headers::read(text, &names()).user_agent(text), Some(&b"curl/8"[..]));
        assert_eq!(Headers::read(text, &["user-agent".to_owned()]).user_agent(text), Some(REDACTED));
    }
}
