//! The real time. Never corrects it: what Akamai's clock says is the business of whoever asks Akamai.

use std::time::{SystemTime, UNIX_EPOCH};

/// Unix seconds by this machine's clock.
pub fn unix_seconds() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// A time in Unix seconds for people and JSON: RFC 3339 in UTC.
pub fn rfc_3339(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).map_or_else(|_| seconds.to_string(), |time| time.to_string())
}

/// A span of time for people; `from` is 0 where its beginning is not known.
pub fn span(from: i64, to: i64) -> String {
    if from > 0 { format!("from {} to {}", rfc_3339(from), rfc_3339(to)) } else { format!("before {}", rfc_3339(to)) }
}
