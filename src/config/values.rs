//! The text of one value → its type. Never names the file, and never repeats a secret.
#![deny(clippy::disallowed_macros, clippy::disallowed_methods, clippy::disallowed_types)]

use std::net::{IpAddr, Ipv6Addr};
use std::path::PathBuf;

use crate::secret::Secret;

/// Where Akamai's API is reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Host {
    /// `https`, or `http` for a loopback address.
    pub scheme: &'static str,
    /// Host name in lower case, with the port if one is given: what the `Host` header says and what is signed.
    pub authority: String,
}

impl Host {
    /// `https://akab-….luna.akamaiapis.net`.
    pub fn url(&self) -> String {
        format!("{}://{}", self.scheme, self.authority)
    }
}

type Parsed<T> = Result<T, String>;

pub(super) fn host(value: &str) -> Parsed<Host> {
    if value.contains('@') {
        return Err("the value contains an @; user and password do not belong here".into());
    }
    let lower = value.to_ascii_lowercase();
    let (scheme, rest) = match lower.split_once("://") {
        Some(("https", rest)) => ("https", rest),
        Some(("http", rest)) => ("http", rest),
        Some((other, _)) => return Err(format!("{other:?} is not a scheme for reaching Akamai")),
        None => ("https", lower.as_str()),
    };
    let (name, port) =
        authority(rest.strip_suffix('/').unwrap_or(rest)).ok_or_else(|| format!("{value:?} is not a host name"))?;
    if scheme == "http" && !is_loopback(name) {
        return Err("http:// would send everything in the clear and is for a loopback address only".into());
    }
    // HTTP clients leave a scheme's own port out of the `Host` header, and that header is signed.
    let own_port = if scheme == "http" { 80 } else { 443 };
    let authority = match port.filter(|port| *port != own_port) {
        Some(port) => format!("{name}:{port}"),
        None => name.to_owned(),
    };
    Ok(Host { scheme, authority })
}

/// Splits `host[:port]`; the host is a name, an IPv4 address or an IPv6 address in brackets.
fn authority(text: &str) -> Option<(&str, Option<u16>)> {
    let (name, port) = match text.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => (name, Some(number(1, u16::MAX)(port).ok()?)),
        _ => (text, None),
    };
    let proper = match bracketed(name) {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte)),
    };
    proper.then_some((name, port))
}

fn is_loopback(name: &str) -> bool {
    let address = bracketed(name).unwrap_or(name);
    name == "localhost" || address.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn bracketed(name: &str) -> Option<&str> {
    name.strip_prefix('[')?.strip_suffix(']')
}

pub(super) fn token(value: &str) -> Parsed<String> {
    if value.bytes().all(|byte| byte.is_ascii_graphic() && !b";,\"".contains(&byte)) {
        Ok(value.to_owned())
    } else {
        Err("the value contains a space or a character that no token has".into())
    }
}

pub(super) fn secret(value: &str) -> Parsed<Secret> {
    if value.bytes().all(|byte| byte.is_ascii_graphic()) {
        Ok(Secret::new(value.to_owned()))
    } else {
        Err("the value contains a space or a character that no secret has".into())
    }
}

pub(super) fn flag(value: &str) -> Parsed<bool> {
    match value.to_ascii_lowercase().as_str() {
        "yes" | "true" | "on" | "1" => Ok(true),
        "no" | "false" | "off" | "0" => Ok(false),
        _ => Err(format!("{value:?} is neither yes nor no")),
    }
}

/// One of a few words.
pub(super) fn word<T: Copy>(words: &'static [(&'static str, T)]) -> impl Fn(&str) -> Parsed<T> {
    move |value| {
        let found = words.iter().find(|(word, _)| value.eq_ignore_ascii_case(word));
        found.map(|(_, meaning)| *meaning).ok_or_else(|| format!("{value:?} is not known"))
    }
}

/// `auto` (none), or what `parse` takes.
pub(super) fn auto_or<T>(parse: impl Fn(&str) -> Parsed<T>) -> impl Fn(&str) -> Parsed<Option<T>> {
    move |value| if value.eq_ignore_ascii_case("auto") { Ok(None) } else { parse(value).map(Some) }
}

pub(super) fn number<T: TryFrom<u64> + PartialOrd + Copy>(least: T, most: T) -> impl Fn(&str) -> Parsed<T> {
    move |value| {
        if value.is_empty() || !value.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(format!("{value:?} is not a number"));
        }
        // What does not fit is out of range too.
        let number = value.parse::<u64>().ok().and_then(|number| T::try_from(number).ok());
        let number = number.filter(|number| (least..=most).contains(number));
        number.ok_or_else(|| format!("{value} is out of range"))
    }
}

/// Bytes, with or without a unit.
pub(super) fn size(value: &str) -> Parsed<u64> {
    let digits = value.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = value.split_at(digits);
    let factor: Option<u64> = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => Some(1),
        "k" | "kib" => Some(1 << 10),
        "m" | "mib" => Some(1 << 20),
        "g" | "gib" => Some(1 << 30),
        "t" | "tib" => Some(1 << 40),
        "kb" => Some(1_000),
        "mb" => Some(1_000_000),
        "gb" => Some(1_000_000_000),
        _ => None,
    };
    let bytes = number.parse::<u64>().ok().zip(factor).and_then(|(number, factor)| number.checked_mul(factor));
    bytes.filter(|bytes| *bytes > 0).ok_or_else(|| format!("{value:?} is not a size"))
}

pub(super) fn header_names(value: &str) -> Parsed<Vec<String>> {
    if value.eq_ignore_ascii_case("none") {
        return Ok(Vec::new());
    }
    let names: Vec<String> =
        value.split(',').map(|name| name.trim().to_ascii_lowercase()).filter(|name| !name.is_empty()).collect();
    let proper =
        |name: &String| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte));
    match names.iter().find(|name| !proper(name)) {
        Some(name) => Err(format!("{name:?} is not a header name")),
        None if names.is_empty() => Err("no header is named".into()),
        None => Ok(names),
    }
}

pub(super) fn absolute_path(value: &str) -> Parsed<PathBuf> {
    if value.starts_with('/') { Ok(value.into()) } else { Err(format!("{value:?} does not begin with /")) }
}

/// The URL of a proxy; it may hold a password and is never repeated.
pub(super) fn proxy(value: &str) -> Parsed<Secret> {
    let (scheme, rest) = value.split_once("://").ok_or("the value does not begin with http:// or https://")?;
    let scheme = scheme.to_ascii_lowercase();
    if scheme.starts_with("socks") {
        return Err("SOCKS is not supported; use an HTTP proxy".into());
    }
    if scheme != "http" && scheme != "https" {
        return Err("the value does not begin with http:// or https://".into());
    }
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let (user, place) = rest.rsplit_once('@').map_or((None, rest), |(user, place)| (Some(user), place));
    let proper = |byte: u8| byte.is_ascii_graphic() && !b"/?#@[]\\\"<>^`{|}".contains(&byte);
    if !user.unwrap_or_default().bytes().all(proper) {
        return Err("user or password contains a character that must be percent-encoded (@ as %40, / as %2F)".into());
    }
    authority(place).ok_or("the value has no host, or an impossible port")?;
    Ok(Secret::new(format!("{scheme}://{rest}")))
}

pub(super) fn user_name(value: &str) -> Parsed<String> {
    let proper = value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-$".contains(&byte));
    if proper && !value.is_empty() { Ok(value.to_owned()) } else { Err(format!("{value:?} is not a user name")) }
}

/// Whether a value is what templates and documentation put where the real one belongs.
pub(super) fn is_placeholder(key: &str, value: &str) -> bool {
    value.is_empty()
        || value.starts_with("YOUR_")
        || value.ends_with("...")
        || (value.starts_with('<') && value.ends_with('>'))
        || (key == "host" && is_placeholder_host(&value.to_ascii_lowercase()))
}

/// The template of the original integration names a host that is no API client's.
fn is_placeholder_host(value: &str) -> bool {
    let bare = value.strip_prefix("https://").unwrap_or(value);
    bare.contains("xxxx") || bare.strip_suffix('/').unwrap_or(bare) == "cloudsecurity.akamaiapis.net"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_taken_in_every_usual_spelling() {
        for (text, expected) in [
            ("akab-AbC.luna.akamaiapis.net", "https://akab-abc.luna.akamaiapis.net"),
            ("https://a.example/", "https://a.example"),
            ("https://a.example:8443", "https://a.example:8443"),
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
            ("http://[::1]:8080/", "http://[::1]:8080"),
            ("http://localhost", "http://localhost"),
            ("HTTP://LocalHost:080/", "http://localhost"),
            ("http://127.9.9.9:8080", "http://127.9.9.9:8080"),
            ("https://a.example:443/", "https://a.example"),
            ("a.example:80", "https://a.example:80"),
            ("https://[2001:db8::1]:8443", "https://[2001:db8::1]:8443"),
        ] {
            assert_eq!(host(text).map(|host| host.url()), Ok(expected.into()), "{text}");
        }
        for text in [
            "",
            "a b",
            "http://a.example",
            "ftp://a",
            "a/b",
            "user@a",
            "a:x",
            "a:70000",
            "https://",
            "a:0",
            "a:+80",
            "a:",
            "[::1",
            "[localhost]",
            "::1",
            "https://a//",
            "https://a?x",
            "http://127.0.0.1.example",
            "http://[::2]",
            "http://localhost.example",
            "https://https://a",
        ] {
            assert!(host(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_have_units() {
        assert_eq!((size("4GiB"), size("10 MB"), size("7")), (Ok(4 << 30), Ok(10_000_000), Ok(7)));
        for text in ["", "GiB", "4X", "-1", "0", "99999999999T"] {
            assert!(size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn placeholders_are_known_and_akamais_test_tokens_are_none() {
        for (key, value) in [
            ("config_id", "YOUR_CONFIG_ID"),
            ("client_token", "akab-..."),
            ("client_secret", ""),
            ("host", "akab-xxxx.luna.akamaiapis.net"),
            ("host", "cloudsecurity.akamaiapis.net"),
            ("host", "https://CloudSecurity.akamaiapis.net/"),
            ("access_token", "<access token>"),
            ("access_token", "..."),
        ] {
            assert!(is_placeholder(key, value), "{value}");
        }
        assert!(!is_placeholder("client_token", "akab-client-token-xxx-xxxxxxxxxxxxxxxx"));
        assert!(!is_placeholder("client_secret", "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx="));
        assert!(!is_placeholder("host", "akab-1.cloudsecurity.akamaiapis.net"));
    }

    #[test]
    fn numbers_are_digits_within_their_bounds() {
        let number = number(1_u32, 600);
        assert_eq!((number("1"), number("600"), number("007")), (Ok(1), Ok(600), Ok(7)));
        for text in ["0", "601", "99999999999999999999999", "+5", "-5", "5s", "5.0", "1e2", "", "٣"] {
            assert!(number(text).is_err(), "{text}");
        }
    }

    #[test]
    fn header_names_are_kept_in_lower_case() {
        assert_eq!(header_names("X-Api-Key , cookie,"), Ok(vec!["x-api-key".into(), "cookie".into()]));
        assert_eq!(header_names("NONE"), Ok(Vec::new()));
        for text in ["a b", "a:", ",", "ä"] {
            assert!(header_names(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_proxy_is_an_http_proxy() {
        for (text, expected) in [
            ("http://user:p%40ss@proxy.example:3128", "http://user:p%40ss@proxy.example:3128"),
            ("HTTPS://proxy.example/", "https://proxy.example"),
            ("http://[::1]:3128", "http://[::1]:3128"),
        ] {
            assert_eq!(proxy(text), Ok(Secret::new(expected.into())), "{text}");
        }
        for text in
            ["proxy.example:3128", "ftp://a", "http://", "http://a/path", "http://http://localhost:1", "http://a:x"]
        {
            assert!(proxy(text).is_err(), "{text}");
        }
        assert!(proxy("socks5://a").is_err_and(|why| why.contains("SOCKS")));
    }

    #[test]
    fn a_proxys_password_is_not_repeated() {
        for text in [
            "http://user:geheim@",
            "geheim",
            "geheim://a",
            "http://user:geheim/@a",
            "http://u:geheim x@a",
            "http://u@geheim@a",
        ] {
            assert!(proxy(text).is_err_and(|why| !why.contains("geheim")), "{text}");
        }
    }
}
