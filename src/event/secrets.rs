//! The names of what must not be shown: headers, and cookies where theirs are among them. Never looks at a value to guess
//! whether it is a secret: only names say so.

use std::borrow::Cow;

use super::unparsed::redacted_raw;

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

    /// Whether the value behind this name is a secret: a header's, or anything that is called after cookies.
    pub(super) fn named(self, name: &[u8]) -> bool {
        let name = name.trim_ascii();
        let name = name.strip_suffix(b":").unwrap_or(name).trim_ascii_end();
        self.headers.iter().any(|header| is_same(name, header.as_bytes()))
            || (self.hide_cookies() && name.len() <= NAME_BYTES_MAX && holds(name, b"cookie") && is_word(name))
    }

    /// Whether the selector of a triggered rule names a header that is redacted or a cookie: then what the rule has found is
    /// a secret. One that names all headers may mean any of them.
    pub(super) fn selected_by(self, selector: &[u8]) -> bool {
        !self.is_empty()
            && selector.split(|byte| b"|,;".contains(byte)).any(|part| {
                let mut words = part.splitn(2, |&byte| byte == b':');
                let (collection, name) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
                if holds(collection, b"cookie") {
                    return self.hide_cookies();
                }
                let name = name.trim_ascii();
                let name = name.split(|byte| b":=".contains(byte)).next().unwrap_or_default().trim_ascii();
                holds(collection, b"headers") && (name.is_empty() || self.named(name))
            })
    }

    /// The text without the values of such headers; none where that cannot be had with certainty.
    pub(super) fn redacted(self, text: &[u8]) -> Option<Cow<'_, [u8]>> {
        if self.is_empty() { Some(text.into()) } else { redacted_raw(text, self.headers).map(Cow::Owned) }
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
            ("ARGS:Authorization", false),
            ("ARGS:cookie", false),
            ("", false),
        ] {
            assert_eq!(secrets.selected_by(selector.as_bytes()), secret, "{selector}");
        }
        let nothing = Secrets { headers: &[] };
        assert!(!nothing.selected_by(b"REQUEST_COOKIES:a") && !nothing.named(b"cookie"));
        let other = ["x-auth-token".to_owned()];
        assert!(!Secrets { headers: &other }.selected_by(b"REQUEST_COOKIES:a"));
    }
}
