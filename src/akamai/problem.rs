//! What Akamai says when it refuses: problem+json, and what to do about it. Never repeats a refusal without its numbers.
#![deny(clippy::disallowed_macros, clippy::disallowed_methods, clippy::disallowed_types)]

use std::fmt;

use serde_json::Value;

/// Bytes of a refusal's body that are read; Akamai's have some 500.
pub const PROBLEM_BYTES_MAX: usize = 64 << 10;

/// Characters shown of any one text of a refusal.
const SHOWN_CHARS_MAX: usize = 300;

/// A refusal: the status and what the body says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problem {
    /// HTTP status.
    pub status: u16,
    /// What kind of problem: a URL whose path tells the edge's own (`/-/pep-authn/…`) from the service's (`/siem/v1/…`).
    pub kind: String,
    /// Its short name.
    pub title: String,
    /// Its explanation.
    pub detail: String,
    /// The request, for Akamai's support.
    pub request_id: String,
    /// The server that answered, for Akamai's support.
    pub server_ip: String,
}

impl Problem {
    /// Reads the body of an answer with a status other than 200. A body that is no problem+json (a proxy's page, say) is
    /// shown by its beginning.
    pub fn parse(status: u16, body: &[u8]) -> Self {
        let Ok(Value::Object(object)) = serde_json::from_slice::<Value>(body) else {
            return Self { status, detail: shown(&String::from_utf8_lossy(body)), ..Self::default() };
        };
        let text = |name: &str| object.get(name).and_then(Value::as_str).map(shown).unwrap_or_default();
        Self {
            status,
            kind: text("type"),
            title: text("title"),
            detail: text("detail"),
            request_id: text("requestId"),
            server_ip: text("serverIp"),
        }
    }

    /// Whether the edge rejects the request's timestamp: it takes ±30 s (seen by several of its clients' users).
    pub fn is_invalid_timestamp(&self) -> bool {
        self.status == 400 && self.detail.to_ascii_lowercase().contains("invalid timestamp")
    }

    /// Whether trying again later may help: too many requests, or a fault of the service.
    pub fn is_passing(&self) -> bool {
        self.status == 429 || self.status >= 500
    }

    /// What to do about it.
    pub fn advice(&self) -> &'static str {
        match self.status {
            _ if self.is_invalid_timestamp() => {
                "set this machine's clock (NTP): Akamai takes requests within 30 s of its own time"
            }
            400 => "check config_id and the time window: Akamai keeps 12 hours",
            401 => {
                "check client_token, client_secret and access_token; make a new API client if they were revoked or have expired"
            }
            403 => {
                "the API client's user needs the role \"Manage SIEM\" and no other, the client READ-WRITE access to SIEM, and \
                 both access to every config id"
            }
            404 => {
                "check config_id: Akamai knows no security configuration of this id, or SIEM is not switched on for it"
            }
            407 => "check user and password of the proxy",
            416 => "the offset is older than the 12 hours that Akamai keeps",
            429 => "too many requests from this account: wait a minute; look for another collector on the same account",
            300..400 => "check host: it must be the API client's own, ending in .luna.akamaiapis.net",
            500.. => "Akamai's service has a fault; try again later",
            _ => "",
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Akamai answered {}", self.status)?;
        if !self.title.is_empty() {
            write!(f, " {}", self.title)?;
        }
        if !self.detail.is_empty() && self.detail != self.title {
            write!(f, ": {}", self.detail)?;
        }
        let numbers: Vec<String> = [("requestId", &self.request_id), ("serverIp", &self.server_ip)]
            .iter()
            .filter(|(_, value)| !value.is_empty())
            .map(|(name, value)| format!("{name} {value}"))
            .collect();
        if !numbers.is_empty() {
            write!(f, " ({})", numbers.join(", "))?;
        }
        match self.advice() {
            "" => Ok(()),
            advice => write!(f, "; {advice}"),
        }
    }
}

/// One line of printable text, whatever the other side sent.
pub fn shown(text: &str) -> String {
    let words: Vec<&str> = text.split(|character: char| character.is_whitespace() || character.is_control()).collect();
    let mut line = words.iter().filter(|word| !word.is_empty()).copied().collect::<Vec<_>>().join(" ");
    if let Some((end, _)) = line.char_indices().nth(SHOWN_CHARS_MAX) {
        line.truncate(end);
        line.push('…');
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNAUTHORIZED: &str = r#"{"type":"https://problems.example/siem/v1/unauthorized","title":"Unauthorized",
        "detail":"The user may not","requestId":"9cf2274","serverIp":"192.0.2.207","instance":"x"}"#;

    #[test]
    fn a_refusal_is_shown_with_its_numbers_and_what_to_do() {
        let problem = Problem::parse(403, UNAUTHORIZED.as_bytes());
        let shown = problem.to_string();
        assert!(
            shown.starts_with(
                "Akamai answered 403 Unauthorized: The user may not (requestId 9cf2274, serverIp 192.0.2.207); "
            ),
            "{shown}"
        );
        assert!(shown.contains("Manage SIEM") && shown.contains("READ-WRITE"));
    }

    #[test]
    fn a_body_that_is_no_problem_is_shown_by_its_beginning() {
        let page = format!("<html>\r\n<b>Bad\u{7} Gateway</b> {}", "x".repeat(1000));
        let shown = Problem::parse(502, page.as_bytes()).to_string();
        assert!(
            shown.starts_with("Akamai answered 502: <html> <b>Bad Gateway</b> xxx") && shown.chars().count() < 400,
            "{shown}"
        );
        assert!(Problem::parse(502, b"\xff").is_passing());
    }

    #[test]
    fn a_wrong_clock_is_told_from_other_bad_requests() {
        let body = br#"{"title":"Bad request","detail":"Invalid timestamp","status":400}"#;
        assert!(Problem::parse(400, body).is_invalid_timestamp());
        assert!(!Problem::parse(400, UNAUTHORIZED.as_bytes()).is_invalid_timestamp());
        assert!(!Problem::parse(403, body).is_invalid_timestamp());
    }
}
