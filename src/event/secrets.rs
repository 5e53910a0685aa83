//! The names of what must not be shown: headers, and cookies where theirs are among them. Never looks at a value to guess
//! whether it is a secret: only names say so.

use std::borrow::Cow;

use super::headers::REDACTED;
use super::percent::{Left, decode};
use super::rule_lists::decode_item_into;
use super::text::TEXT_BYTES_MAX;
use super::unparsed::redacted_line;

/// The headers that are redacted, in lower case.
#[derive(Clone, Copy, Debug)]
pub(super) struct Secrets<'a> {
    pub(super) headers: &'a [String],
}

impl<'a> Secrets<'a> {
    /// Whether nothing is redacted.
    pub(super) fn is_empty(self) -> bool {
        self.headers.is_empty()
    }

    /// Whether the value behind this name is a secret: a header's, anything that is called after cookies, or what rules have
    /// found, where it stands apart from their selectors.
    pub(super) fn named(self, name: &[u8]) -> bool {
        let name = decode(name, Left::Nothing);
        let name = name.trim_ascii();
        let name = name.strip_suffix(b":").unwrap_or(name).trim_ascii_end();
        self.headers.iter().any(|header| is_same(name, header.as_bytes()))
            || (!self.is_empty() && is_same(name, b"ruledata"))
            || (self.hide_cookies() && name.len() <= NAME_BYTES_MAX && holds(name, b"cookie") && is_word(name))
    }

    /// Whether the selector of a triggered rule names a header that is redacted or a cookie, wherever in it: then what the
    /// rule has found is a secret. One that names all headers, or some by a pattern, may mean any of them.
    pub(super) fn selected_by(self, selector: &[u8]) -> bool {
        let selector = decode(selector, Left::Nothing);
        !self.is_empty()
            && (self.mentioned_in(&selector)
                || unwrapped(&selector).is_some_and(|selector| self.mentioned_in(&selector)))
    }

    fn mentioned_in(self, selector: &[u8]) -> bool {
        (self.hide_cookies() && holds(selector, b"cookie"))
            || self.headers.iter().any(|header| holds_name(selector, header.as_bytes()))
            || selector.split(|byte| b"|,;".contains(byte)).any(|part| {
                let mut words = part.splitn(2, |&byte| byte == b':');
                let (collection, name) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
                holds(collection, b"headers") && !name.trim_ascii().first().is_some_and(u8::is_ascii_alphanumeric)
            })
    }

    /// The text without the values of such headers; none where that cannot be had with certainty.
    pub(super) fn redacted(self, text: &[u8]) -> Option<Cow<'_, [u8]>> {
        let decoded = decode(text, Left::Nothing);
        if let Some(unwrapped) = unwrapped(&decoded) {
            let start = &unwrapped[..unwrapped.len().min(TEXT_BYTES_MAX)];
            if redacted_line(start, self).as_deref() != Some(start) {
                return Some(REDACTED.into());
            }
        }
        redacted_line(text, self).map(|shown| shown.into_owned().into())
    }

    fn hide_cookies(self) -> bool {
        self.headers.iter().any(|header| header == "cookie" || header == "set-cookie")
    }
}

/// Bytes of a name that can be one of a member; what is longer is a text.
const NAME_BYTES_MAX: usize = 32;

fn is_word(name: &[u8]) -> bool {
    name.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(byte))
}

/// `-` and `_` are the same, and so are upper and lower case.
fn is_same(name: &[u8], header: &[u8]) -> bool {
    let letter = |byte: u8| if byte == b'_' { b'-' } else { byte.to_ascii_lowercase() };
    name.len() == header.len() && name.iter().zip(header).all(|(&one, &other)| letter(one) == letter(other))
}

/// Whether the name stands in `text`, not as a part of a longer word.
fn holds_name(text: &[u8], name: &[u8]) -> bool {
    let is_end = |byte: Option<&u8>| !byte.is_some_and(u8::is_ascii_alphanumeric);
    let first = name.first().map_or(0, u8::to_ascii_lowercase);
    text.windows(name.len().max(1)).enumerate().any(|(at, window)| {
        window[0].to_ascii_lowercase() == first
            && is_same(window, name)
            && is_end(text[..at].last())
            && is_end(text.get(at + name.len()))
    })
}

/// What `text` is in base64, of whichever alphabet, if it can be some.
fn unwrapped(text: &[u8]) -> Option<Vec<u8>> {
    let is_of_it = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/-_= \t\r\n\x0c".contains(byte);
    if text.is_empty() || !text.iter().all(is_of_it) {
        return None;
    }
    let mut decoded = Vec::new();
    decode_item_into(text, &mut decoded);
    (decoded != text).then_some(decoded)
}

/// Whether `word`, which is in lower case, stands in `text` in any case.
fn holds(text: &[u8], word: &[u8]) -> bool {
    text.windows(word.len()).any(|window| window.eq_ignore_ascii_case(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_selectors_say_what_is_secret() {
        let headers = ["authorization", "cookie", "x-api-key"].map(String::from);
        let secrets = Secrets { headers: &headers };
        for (name, secret) in [
            ("Authorization", true),
            ("X_API_KEY", true),
            (" Cookie: ", true),
            ("cookies", true),
            ("requestCookies", true),
            ("%43ookie", true),
            ("ruleData", true),
            ("x-api", false),
            ("cookie=1", false),
            ("", false),
        ] {
            assert_eq!(secrets.named(name.as_bytes()), secret, "{name}");
        }
        for (selector, secret) in [
            ("REQUEST_COOKIES:session", true),
            ("REQUEST_COOKIES", true),
            ("REQUEST_HEADERS:Authorization", true),
            ("request_headers:authorization", true),
            ("ARGS:q|REQUEST_HEADERS: x-api-key ", true),
            ("REQUEST_HEADERS", true),
            ("RESPONSE_HEADERS:Set-Cookie", true),
            ("REQUEST_HEADERS:Cookie:session", true),
            ("REQUEST_HEADERS:User-Agent", false),
            ("ARGS:a REQUEST_COOKIES:s", true),
            ("ARGS:a\nREQUEST_COOKIES:s", true),
            ("ARGS:a&REQUEST_COOKIES:s", true),
            ("REQUEST_HEADERS:User-Agent REQUEST_HEADERS:Cookie", true),
            ("REQUEST_HEADERS:Cookie/sid", true),
            ("REQUEST_HEADERS:/^Cookie$/", true),
            ("REQUEST_HEADERS:/^Auth/", true),
            ("REQUEST_HEADERS:\"Authorization\"", true),
            ("REQUEST_HEADERS:%41uthorization", true),
            ("REQUEST_HEADERS:Authorization\0", true),
            ("REQUEST_HEADER:Authorization", true),
            ("Header: Authorization", true),
            ("Authorization", true),
            ("HTTP_AUTHORIZATION", true),
            ("HTTP_X_API_KEY", true),
            ("UkVRVUVTVF9DT09LSUVTOnNlc3Npb24=", true),
            ("UkVRVUVTVF9DT09LSUVTOnNlc3Npb24%3d", true),
            ("ARGS:Authorization", true),
            ("ARGS:authorizations", false),
            ("ARGS:x-api", false),
            ("QVJHUzpvcHRpb24=", false),
            ("", false),
        ] {
            assert_eq!(secrets.selected_by(selector.as_bytes()), secret, "{selector}");
        }
        let nothing = Secrets { headers: &[] };
        assert!(!nothing.selected_by(b"REQUEST_COOKIES:a") && !nothing.named(b"cookie") && !nothing.named(b"ruleData"));
        let other = ["x-auth-token".to_owned()];
        assert!(!Secrets { headers: &other }.selected_by(b"REQUEST_COOKIES:a"));
    }
}
