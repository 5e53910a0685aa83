//! Checks EdgeGrid signatures as Akamai's edge does, independently of the code under test. Never makes one for sending.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// Seconds that a timestamp may be off.
const SKEW_S_MAX: i64 = 30;

/// What an API client signs with.
#[derive(Clone, Debug)]
pub struct Credentials {
    pub client_token: String,
    pub client_secret: String,
    pub access_token: String,
}

/// Why a request is refused.
#[derive(Debug, PartialEq, Eq)]
pub enum Refusal {
    InvalidTimestamp,
    SignatureMismatch,
}

/// Checks the `Authorization` header of a GET; returns its nonce. `origin`: scheme and host, with a tab between them.
pub fn check(credentials: &Credentials, origin: &str, target: &str, header: &str, now: i64) -> Result<String, Refusal> {
    let (unsigned, signature) = header.split_once("signature=").ok_or(Refusal::SignatureMismatch)?;
    let fields = unsigned.strip_prefix("EG1-HMAC-SHA256 ").ok_or(Refusal::SignatureMismatch)?;
    let field = |name: &str| {
        let found = fields.split(';').find_map(|field| field.strip_prefix(name)?.strip_prefix('='));
        found.map(str::to_owned).ok_or(Refusal::SignatureMismatch)
    };
    let timestamp = field("timestamp")?;
    let known =
        field("client_token")? == credentials.client_token && field("access_token")? == credentials.access_token;
    let seconds = unix_seconds(&timestamp).ok_or(Refusal::InvalidTimestamp)?;
    if (seconds - now).abs() > SKEW_S_MAX {
        return Err(Refusal::InvalidTimestamp);
    }
    let key = mac(credentials.client_secret.as_bytes(), timestamp.as_bytes());
    let data = format!("GET\t{origin}\t{target}\t\t\t{unsigned}");
    if known && mac(key.as_bytes(), data.as_bytes()) == signature {
        field("nonce")
    } else {
        Err(Refusal::SignatureMismatch)
    }
}

fn mac(key: &[u8], message: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(message);
    STANDARD.encode(mac.finalize().into_bytes())
}

/// `20140321T19:34:21+0000`.
fn unix_seconds(timestamp: &str) -> Option<i64> {
    let digits = timestamp.strip_suffix("+0000")?;
    let (date, time) = digits.split_once('T')?;
    let text = format!("{}-{}-{}T{time}Z", date.get(..4)?, date.get(4..6)?, date.get(6..)?);
    text.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_second)
}
