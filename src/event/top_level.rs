//! The fields Wazuh looks for at the top level of an event: srcip, timestamp, url, action. Never invents one: what
//! Akamai's values do not give is left out.

use std::net::IpAddr;

use crate::event::json::Text;

/// Longest `url`, in bytes. It repeats what `httpMessage` holds whole; Akamai's edge takes URLs of 8 KB.
pub(super) const URL_BYTES_MAX: usize = 8_192;

/// The last time that RFC 3339 can write, in Unix milliseconds.
const TIME_MS_MAX: i64 = 253_402_300_799_999;

/// The address if it is one, of either version, and how it is spelled.
pub(super) fn source_ip(client_ip: &[u8]) -> Option<(IpAddr, &str)> {
    let text = std::str::from_utf8(client_ip).ok()?.trim();
    text.parse().ok().map(|address| (address, text))
}

/// Milliseconds of a day.
const DAY_MS: i64 = 86_400_000;

/// Where each digit of the time of day stands in `2017-04-04T10:57:02.000Z`, and the milliseconds that it counts.
const DIGITS_OF_TIME: [(usize, i64); 9] = [
    (11, 36_000_000),
    (12, 3_600_000),
    (14, 600_000),
    (15, 60_000),
    (17, 10_000),
    (18, 1_000),
    (20, 100),
    (21, 10),
    (22, 1),
];

/// RFC 3339 with milliseconds from Unix milliseconds. Wazuh's index takes this form only: epoch seconds would be read as
/// milliseconds.
#[derive(Debug, Default)]
pub(super) struct Calendar {
    /// The day of `text`, since 1970.
    day: Option<i64>,
    /// The last timestamp. Most events are of the same day as the one before, and then only the time of day changes.
    text: Vec<u8>,
}

impl Calendar {
    /// The timestamp; none where RFC 3339 cannot write it.
    pub(super) fn timestamp(&mut self, time_ms: i64) -> Option<Text<'_>> {
        let (day, mut rest) = (time_ms.div_euclid(DAY_MS), time_ms.rem_euclid(DAY_MS));
        let instant = jiff::Timestamp::from_millisecond(time_ms).ok()?;
        if self.day != Some(day) {
            self.text = format!("{instant:.3}").into_bytes();
            self.day = Some(day);
        }
        for (at, unit_ms) in DIGITS_OF_TIME {
            if let Some(digit) = self.text.get_mut(at) {
                *digit = b'0' + u8::try_from(rest / unit_ms).unwrap_or_default();
            }
            rest %= unit_ms;
        }
        Some(Text::plain(&self.text))
    }
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
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct UrlParts<'a> {
    pub(super) host: &'a [u8],
    pub(super) port: &'a [u8],
    pub(super) path: &'a [u8],
    pub(super) query: &'a [u8],
    pub(super) tls: &'a [u8],
}

/// Appends the address: https where TLS is named or the port is 443, other ports than the scheme's own are written.
/// Returns whether it had to be cut; appends nothing where there is no host.
pub(super) fn url_into(parts: UrlParts<'_>, out: &mut Vec<u8>) -> bool {
    let UrlParts { host, port, path, query, tls } = parts;
    if host.is_empty() {
        return false;
    }
    let start = out.len();
    let secure = !tls.is_empty() || port == b"443";
    out.extend_from_slice(if secure { b"https://" } else { b"http://" });
    out.extend_from_slice(host);
    let own_port: &[u8] = if secure { b"443" } else { b"80" };
    let has_port = host.ends_with(port) && host[..host.len() - port.len()].ends_with(b":");
    if !port.is_empty() && port != own_port && port.iter().all(u8::is_ascii_digit) && !has_port {
        out.push(b':');
        out.extend_from_slice(port);
    }
    out.extend_from_slice(path);
    if !query.is_empty() {
        out.push(b'?');
        out.extend_from_slice(query);
    }
    let cut = out.len() - start > URL_BYTES_MAX;
    if cut {
        // A character must not be cut in two: step back over what may be the rest of one.
        let mut end = start + URL_BYTES_MAX;
        while end > start + URL_BYTES_MAX - 3 && out[end] & 0xc0 == 0x80 {
            end -= 1;
        }
        out.truncate(end);
    }
    cut
}

/// The action of the event, in lower case: the applied one, else the strongest of the rules' (`rule_actions` gives them
/// anew at each call), else that of slow POST.
pub(super) fn action_into<'a, Actions: Iterator<Item = &'a [u8]>>(
    applied: &'a [u8],
    rule_actions: impl Fn() -> Actions,
    slow_post: &[u8],
    out: &mut Vec<u8>,
) {
    let given = || rule_actions().map(<[u8]>::trim_ascii).filter(|action| !action.is_empty());
    let flags_only = |action: &&[u8]| action.eq_ignore_ascii_case(b"alert") || action.eq_ignore_ascii_case(b"monitor");
    let action = if !applied.trim_ascii().is_empty() {
        applied.trim_ascii()
    } else if let Some(denying) = given().find(|action| holds_deny(action)) {
        denying
    } else if let Some(acting) = given().find(|action| !flags_only(action)) {
        acting
    } else if let Some(flagging) = given().next() {
        flagging
    } else {
        match slow_post.trim_ascii() {
            b"A" | b"a" => &b"abort"[..],
            b"W" | b"w" => b"alert",
            _ => b"",
        }
    };
    out.extend(action.iter().map(u8::to_ascii_lowercase));
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
        let mut calendar = Calendar::default();
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
            let timestamp = unix_milliseconds(start.as_bytes()).and_then(|time_ms| calendar.timestamp(time_ms));
            assert_eq!(timestamp.map(|text| text.bytes), expected.map(str::as_bytes), "{start}");
        }
    }

    fn url(host: &str, port: &str, path: &str, query: &str, tls: &str) -> String {
        let parts = UrlParts {
            host: host.as_bytes(),
            port: port.as_bytes(),
            path: path.as_bytes(),
            query: query.as_bytes(),
            tls: tls.as_bytes(),
        };
        let mut out = Vec::new();
        url_into(parts, &mut out);
        String::from_utf8(out).unwrap()
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
        let mut out = Vec::new();
        action_into(applied.as_bytes(), || rules.iter().map(|rule| rule.as_bytes()), slow_post.as_bytes(), &mut out);
        String::from_utf8(out).unwrap()
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
