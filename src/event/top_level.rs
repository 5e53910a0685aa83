//! The fields Wazuh looks for at the top level of an event: srcip, timestamp, url, action. Never invents one: what
//! Akamai's values do not give is left out.

use std::borrow::Cow;
use std::net::IpAddr;

/// Longest `url`, in bytes. It repeats what `httpMessage` holds whole; Akamai's edge takes URLs of 8 KB.
pub(super) const URL_BYTES_MAX: usize = 8_192;

/// The last time that RFC 3339 can write, in Unix milliseconds.
const TIME_MS_MAX: i64 = 253_402_300_799_999;

/// The address if it is one, of either version, and how it is spelled.
pub(super) fn source_ip(client_ip: &[u8]) -> Option<(IpAddr, &str)> {
    let text = std::str::from_utf8(client_ip).ok()?.trim();
    text.parse().ok().map(|address| (address, text))
}

/// RFC 3339 with milliseconds from Unix milliseconds; none where that cannot be written. Wazuh's index takes this form only:
/// epoch seconds would be read as milliseconds.
pub(super) fn timestamp(time_ms: i64) -> Option<String> {
    jiff::Timestamp::from_millisecond(time_ms).ok().map(|instant| format!("{instant:.3}"))
}

/// Unix milliseconds from Akamai's epoch seconds, which may have a fraction.
pub(super) fn unix_milliseconds(start: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(start).ok()?.trim();
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(seconds) || !digits(fraction) {
        return None;
    }
    let milliseconds: i64 =
        fraction.bytes().chain(*b"00").take(3).fold(0, |sum, digit| sum * 10 + i64::from(digit - b'0'));
    seconds.parse::<i64>().ok()?.checked_mul(1000)?.checked_add(milliseconds).filter(|time| *time <= TIME_MS_MAX)
}

/// The parts of a request's address as Akamai sends them, not decoded.
#[derive(Clone, Debug, Default)]
pub(super) struct UrlParts<'a> {
    pub(super) host: Cow<'a, [u8]>,
    pub(super) port: Cow<'a, [u8]>,
    pub(super) path: Cow<'a, [u8]>,
    pub(super) query: Cow<'a, [u8]>,
    pub(super) tls: Cow<'a, [u8]>,
}

/// The address: https where TLS is named or the port is 443, other ports than the scheme's own are written. Empty where there
/// is no host. Says whether it had to be cut.
pub(super) fn url(parts: &UrlParts<'_>) -> (Vec<u8>, bool) {
    let UrlParts { host, port, path, query, tls } = parts;
    if host.is_empty() {
        return (Vec::new(), false);
    }
    let secure = !tls.is_empty() || **port == *b"443";
    let (scheme, own_port) = if secure { (&b"https://"[..], &b"443"[..]) } else { (&b"http://"[..], &b"80"[..]) };
    let mut url = [scheme, host].concat();
    let has_port = host.ends_with(port) && host[..host.len() - port.len()].ends_with(b":");
    if !port.is_empty() && **port != *own_port && port.iter().all(u8::is_ascii_digit) && !has_port {
        url.push(b':');
        url.extend_from_slice(port);
    }
    url.extend_from_slice(path);
    if !query.is_empty() {
        url.push(b'?');
        url.extend_from_slice(query);
    }
    let cut = url.len() > URL_BYTES_MAX;
    if cut {
        // A character must not be cut in two: step back over what may be the rest of one.
        let mut end = URL_BYTES_MAX;
        while end > URL_BYTES_MAX - 3 && url[end] & 0xc0 == 0x80 {
            end -= 1;
        }
        url.truncate(end);
    }
    (url, cut)
}

/// The action of the event, in lower case: the applied one, else the strongest of the rules' (`rule_actions` gives them
/// anew at each call), else that of slow POST.
pub(super) fn action<'a, Actions: Iterator<Item = &'a [u8]>>(
    applied: &'a [u8],
    rule_actions: impl Fn() -> Actions,
    slow_post: &[u8],
) -> Vec<u8> {
    let given = || rule_actions().map(<[u8]>::trim_ascii).filter(|action| !action.is_empty());
    let flags_only = |action: &&[u8]| action.eq_ignore_ascii_case(b"alert") || action.eq_ignore_ascii_case(b"monitor");
    let applied = Some(applied.trim_ascii()).filter(|action| !action.is_empty());
    let action = applied
        .or_else(|| given().find(|action| holds_deny(action)))
        .or_else(|| given().find(|action| !flags_only(action)))
        .or_else(|| given().next())
        .unwrap_or(match slow_post.trim_ascii() {
            b"A" | b"a" => b"abort",
            b"W" | b"w" => b"alert",
            _ => b"",
        });
    action.to_ascii_lowercase()
}

fn holds_deny(action: &[u8]) -> bool {
    action.windows(4).any(|window| window.eq_ignore_ascii_case(b"deny"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_become_srcip() {
        for good in ["192.0.2.1", "2001:db8::1", "::ffff:192.0.2.1"] {
            assert_eq!(source_ip(good.as_bytes()).map(|(_, text)| text), Some(good));
        }
        for bad in ["", "192.0.2.256", "192.0.2.1:80", "fe80::1%eth0", "x", "192.0.2.1, 192.0.2.2"] {
            assert_eq!(source_ip(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn epoch_seconds_become_rfc_3339() {
        for (start, expected) in [
            ("1491303422", Some("2017-04-04T10:57:02.000Z")),
            ("1470923133.026", Some("2016-08-11T13:45:33.026Z")),
            ("1470923133.9999", Some("2016-08-11T13:45:33.999Z")),
            ("0", Some("1970-01-01T00:00:00.000Z")),
            ("86399.999", Some("1970-01-01T23:59:59.999Z")),
            ("86400", Some("1970-01-02T00:00:00.000Z")),
            ("253402300799.999", None),
            ("253402300800", None),
            ("-1", None),
            ("", None),
            ("12.", None),
            ("1e9", None),
            ("99999999999999999999", None),
        ] {
            let timestamp = unix_milliseconds(start.as_bytes()).and_then(timestamp);
            assert_eq!(timestamp.as_deref(), expected, "{start}");
        }
    }

    fn url(host: &str, port: &str, path: &str, query: &str, tls: &str) -> String {
        let [host, port, path, query, tls] = [host, port, path, query, tls].map(|part| part.as_bytes().into());
        String::from_utf8(super::url(&UrlParts { host, port, path, query, tls }).0).unwrap()
    }

    #[test]
    fn the_url_is_put_together_as_the_client_sent_it() {
        assert_eq!(url("a.example", "80", "/x%20y", "q=%41", ""), "http://a.example/x%20y?q=%41");
        assert_eq!(url("a.example", "443", "/", "", ""), "https://a.example/");
        assert_eq!(url("a.example", "8443", "/", "", "tls1.3"), "https://a.example:8443/");
        assert_eq!(url("a.example", "80", "/", "", "tls1.3"), "https://a.example:80/");
        assert_eq!(url("a.example", "8080", "/", "", ""), "http://a.example:8080/");
        assert_eq!(url("a.example:8080", "8080", "/", "", ""), "http://a.example:8080/");
        assert_eq!(url("", "443", "/", "", ""), "");
        let long = url("a.example", "443", &"é".repeat(URL_BYTES_MAX), "", "");
        assert!(long.len() <= URL_BYTES_MAX && long.len() > URL_BYTES_MAX - 4);
    }

    fn action(applied: &str, rules: &[&str], slow_post: &str) -> String {
        let rules = || rules.iter().map(|rule| rule.as_bytes());
        String::from_utf8(super::action(applied.as_bytes(), rules, slow_post.as_bytes())).unwrap()
    }

    #[test]
    fn the_action_is_the_strongest_one() {
        assert_eq!(action("Tarpit", &["deny"], ""), "tarpit");
        assert_eq!(action("", &["alert", "Deny_Custom_7", "tarpit"], ""), "deny_custom_7");
        assert_eq!(action("", &["alert", "monitor", "tarpit"], ""), "tarpit");
        assert_eq!(action("", &["", "monitor", "alert"], "A"), "monitor");
        assert_eq!(action(" ", &[], "A"), "abort");
        assert_eq!(action("", &[], "W"), "alert");
        assert_eq!(action("", &[], ""), "");
    }
}
