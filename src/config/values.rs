//! The text of one value → its type. Never names the file, and never repeats a secret.

use std::net::IpAddr;
use std::path::PathBuf;

use crate::secret::Secret;

/// Where Akamai's API is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
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
    let lower = value.to_ascii_lowercase();
    let (scheme, rest) = match lower.split_once("://") {
        Some(("https", rest)) => ("https", rest),
        Some(("http", rest)) => ("http", rest),
        Some((other, _)) => return Err(format!("{other}:// is not supported")),
        None => ("https", lower.as_str()),
    };
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    let (name, port) = match authority.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => (name, Some(port)),
        _ => (authority, None),
    };
    let address = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
    let proper = match address {
        Some(address) => matches!(address.parse(), Ok(IpAddr::V6(_))),
        None => !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte)),
    };
    if !proper || port.is_some_and(|port| port.parse::<u16>().is_err()) {
        return Err(format!("\"{value}\" is no host name"));
    }
    let loopback =
        name == "localhost" || address.unwrap_or(name).parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    if scheme == "http" && !loopback {
        return Err("http:// would send everything in the clear and is taken for loopback addresses only".into());
    }
    Ok(Host { scheme, authority: authority.to_owned() })
}

pub(super) fn token(value: &str) -> Parsed<String> {
    if value.bytes().all(|byte| byte.is_ascii_graphic() && !b";,\"".contains(&byte)) {
        Ok(value.to_owned())
    } else {
        Err("the value holds a blank or a character that no token has".into())
    }
}

pub(super) fn secret(value: &str) -> Parsed<Secret> {
    if value.bytes().all(|byte| byte.is_ascii_graphic()) {
        Ok(Secret::new(value.to_owned()))
    } else {
        Err("the value holds a blank or a character that no secret has".into())
    }
}

pub(super) fn flag(value: &str) -> Parsed<bool> {
    match value.to_ascii_lowercase().as_str() {
        "yes" | "true" | "on" | "1" => Ok(true),
        "no" | "false" | "off" | "0" => Ok(false),
        _ => Err(format!("\"{value}\" is neither yes nor no")),
    }
}

/// One of a few words.
pub(super) fn word<T: Copy>(words: &'static [(&'static str, T)]) -> impl Fn(&str) -> Parsed<T> {
    move |value| {
        let found = words.iter().find(|(word, _)| value.eq_ignore_ascii_case(word));
        found.map(|(_, meaning)| *meaning).ok_or_else(|| format!("\"{value}\" is not known"))
    }
}

pub(super) fn number(least: u64, most: u64) -> impl Fn(&str) -> Parsed<u64> {
    move |value| match value.parse::<u64>() {
        Ok(number) if (least..=most).contains(&number) => Ok(number),
        Ok(_) => Err(format!("{value} is out of range")),
        Err(_) => Err(format!("\"{value}\" is no number")),
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
    bytes.filter(|bytes| *bytes > 0).ok_or_else(|| format!("\"{value}\" is no size"))
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
        Some(name) => Err(format!("\"{name}\" is no header name")),
        None if names.is_empty() => Err("no header is named".into()),
        None => Ok(names),
    }
}

pub(super) fn absolute_path(value: &str) -> Parsed<PathBuf> {
    if value.starts_with('/') { Ok(value.into()) } else { Err(format!("\"{value}\" does not begin with /")) }
}

/// The URL of a proxy; it may hold a password and is never repeated.
pub(super) fn proxy(value: &str) -> Parsed<Secret> {
    let rest = value.strip_prefix("http://").or_else(|| value.strip_prefix("https://"));
    let Some(rest) = rest else { return Err("the value does not begin with http:// or https://".into()) };
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    let place = authority.rsplit_once('@').map_or(authority, |(_, place)| place);
    host(place).map_err(|_| "the value names no host".to_owned())?;
    Ok(Secret::new(value.to_owned()))
}

pub(super) fn user_name(value: &str) -> Parsed<String> {
    let proper = value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-$".contains(&byte));
    if proper && !value.is_empty() { Ok(value.to_owned()) } else { Err(format!("\"{value}\" is no user name")) }
}

/// Whether a value is what templates and documentation put where the real one belongs.
pub(super) fn is_placeholder(key: &str, value: &str) -> bool {
    value.is_empty()
        || value.starts_with("YOUR_")
        || value.ends_with("...")
        || (value.starts_with('<') && value.ends_with('>'))
        // The original integration's template names this host.
        || (key == "host" && (value.to_ascii_lowercase().contains("xxxx") || value == "cloudsecurity.akamaiapis.net"))
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
            ("http://127.0.0.1:80", "http://127.0.0.1:80"),
            ("http://[::1]:8080/", "http://[::1]:8080"),
            ("http://localhost", "http://localhost"),
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
            "http://127.0.0.1.example",
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
            ("access_token", "<access token>"),
        ] {
            assert!(is_placeholder(key, value), "{value}");
        }
        assert!(!is_placeholder("client_token", "akab-client-token-xxx-xxxxxxxxxxxxxxxx"));
    }

    #[test]
    fn a_proxys_password_is_not_repeated() {
        let error = proxy("http://user:geheim@").map_err(|why| why.contains("geheim"));
        assert_eq!(error, Err(false));
        assert!(proxy("http://user:p%40ss@proxy.example:3128").is_ok() && proxy("socks5://a").is_err());
    }
}
