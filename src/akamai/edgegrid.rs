//! EdgeGrid (EG1-HMAC-SHA256) for a GET without signed headers, which is all that the SIEM API takes. PURE: time and nonce are
//! arguments; never sends, never logs.
//!
//! Source: Akamai's techdocs, "authenticate-with-edgegrid", and its official test vectors (`tests/data/edgegrid`).
#![deny(clippy::disallowed_macros, clippy::disallowed_methods, clippy::disallowed_types)]

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::secret::Secret;

/// What an API client signs with.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Credentials {
    /// Names the API client.
    pub client_token: String,
    /// Used as it is written, not base64-decoded, although it looks like base64.
    pub client_secret: Secret,
    /// Names the access it was given.
    pub access_token: String,
}

/// A GET as far as it is signed.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// `https`, in lower case.
    pub scheme: &'a str,
    /// What the `Host` header says: lower case, with the port if it is not the scheme's own.
    pub host: &'a str,
    /// Path and query, byte for byte as sent.
    pub target: &'a str,
}

/// The value of the `Authorization` header. Every attempt needs a new `timestamp` ([`timestamp`]) and `nonce`: Akamai
/// refuses what it has seen, and what is more than 30 s from its own time.
pub fn authorization(credentials: &Credentials, request: &Request<'_>, timestamp: &str, nonce: &str) -> String {
    // A GET signs neither headers nor a body.
    let Request { scheme, host, target } = request;
    sign(credentials, &["GET", scheme, host, target, "", ""].join("\t"), timestamp, nonce)
}

/// `data` is what is signed of the request.
fn sign(credentials: &Credentials, data: &str, timestamp: &str, nonce: &str) -> String {
    let unsigned = format!(
        "EG1-HMAC-SHA256 client_token={};access_token={};timestamp={timestamp};nonce={nonce};",
        credentials.client_token, credentials.access_token
    );
    let key = signing_key(credentials, timestamp);
    // The base64 text of the key is the key: decoding it first gives a signature that Akamai refuses.
    let signature = hmac_base64(key.as_bytes(), &format!("{data}\t{unsigned}"));
    format!("{unsigned}signature={signature}")
}

/// `20140321T19:34:21+0000`.
///
/// Years beyond 9999 give an empty text, which no server takes.
pub fn timestamp(unix_seconds: i64) -> String {
    jiff::Timestamp::from_second(unix_seconds)
        .map(|instant| instant.strftime("%Y%m%dT%H:%M:%S+0000").to_string())
        .unwrap_or_default()
}

fn signing_key(credentials: &Credentials, timestamp: &str) -> String {
    hmac_base64(credentials.client_secret.expose().as_bytes(), timestamp)
}

fn hmac_base64(key: &[u8], message: &str) -> String {
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else {
        return String::new(); // HMAC takes keys of any length.
    };
    mac.update(message.as_bytes());
    STANDARD.encode(mac.finalize().into_bytes())
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(***)")
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;
    use serde_json::Value;
    use sha2::Digest;

    fn vectors() -> Value {
        serde_json::from_str(include_str!("../../tests/data/edgegrid/testdata.json")).unwrap()
    }

    fn text<'a>(value: &'a Value, name: &str) -> &'a str {
        value[name].as_str().unwrap_or_else(|| panic!("no {name}"))
    }

    fn credentials(vectors: &Value) -> Credentials {
        Credentials {
            client_token: text(vectors, "client_token").into(),
            client_secret: Secret::new(text(vectors, "client_secret").into()),
            access_token: text(vectors, "access_token").into(),
        }
    }

    /// Whatever EdgeGrid can sign, for the vectors of requests that we do not send.
    #[derive(Clone, Copy)]
    struct AnyRequest<'a> {
        method: &'a str,
        host: &'a str,
        target: &'a str,
        signed_headers: &'a [(&'a str, &'a str)],
        body: &'a [u8],
        body_bytes_max: usize,
    }

    const GET: AnyRequest<'_> =
        AnyRequest { method: "GET", host: "h", target: "/", signed_headers: &[], body: b"", body_bytes_max: 131_072 };

    fn data_to_sign(request: AnyRequest<'_>) -> String {
        let AnyRequest { method, host, target, signed_headers, .. } = request;
        let target = if target.is_empty() { "/" } else { target };
        let words = |value: &str| value.split_ascii_whitespace().collect::<Vec<_>>().join(" ");
        let header = |(name, value): &(&str, &str)| format!("{}:{}", name.to_ascii_lowercase(), words(value));
        let headers: Vec<String> = signed_headers.iter().map(header).collect();
        [method, "https", host, target, &headers.join("\t"), &content_hash(request)].join("\t")
    }

    fn content_hash(request: AnyRequest<'_>) -> String {
        if request.method != "POST" || request.body.is_empty() {
            return String::new();
        }
        STANDARD.encode(Sha256::digest(&request.body[..request.body.len().min(request.body_bytes_max)]))
    }

    /// Checks the header of one case, and the data to sign where the case names it.
    fn check(vectors: &Value, case: &Value) {
        let name = text(case, "testName");
        let request = &case["request"];
        let base = text(vectors, "base_url");
        let host = base.trim_start_matches("https://").trim_end_matches('/');
        let target = request["pathAndQuery"].as_str().or_else(|| request["path"].as_str()).unwrap();
        let sent: Vec<(String, String)> = request["headers"]
            .as_array()
            .map(|headers| {
                let members = headers.iter().flat_map(|header| header.as_object().unwrap());
                members.map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned())).collect()
            })
            .unwrap_or_default();
        let signed_headers: Vec<(&str, &str)> = vectors["headers_to_sign"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|wanted| sent.iter().find(|(name, _)| name == wanted.as_str().unwrap()))
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        let request = AnyRequest {
            method: text(request, "method"),
            host,
            target,
            signed_headers: &signed_headers,
            body: request["data"].as_str().unwrap_or_default().as_bytes(),
            body_bytes_max: usize::try_from(vectors["max_body"].as_u64().unwrap()).unwrap(),
        };
        let data = data_to_sign(request);
        if let Some(expected) = case["expectedDataToSign"].as_str() {
            assert_eq!(format!("{data}\t"), expected, "{name}");
        }
        let (timestamp, nonce) = (text(vectors, "timestamp"), text(vectors, "nonce"));
        let expected = text(case, "expectedAuthorization");
        assert_eq!(sign(&credentials(vectors), &data, timestamp, nonce), expected, "{name}");
        if request.method == "GET" && request.signed_headers.is_empty() && !target.is_empty() {
            let request = Request { scheme: "https", host, target };
            assert_eq!(authorization(&credentials(vectors), &request, timestamp, nonce), expected, "{name}");
        }
    }

    #[test]
    fn akamais_vectors_and_those_of_siem_requests_pass() {
        let vectors = vectors();
        let (official, siem) = (vectors["tests"].as_array().unwrap(), vectors["derivedTests"].as_array().unwrap());
        let with_data = official.iter().chain(siem).filter(|case| case["expectedDataToSign"].is_string()).count();
        assert_eq!((official.len(), siem.len(), with_data), (15, 6, 20));
        for case in official.iter().chain(siem) {
            check(&vectors, case);
        }
    }

    #[test]
    fn the_steps_have_the_values_of_akamais_own_tests() {
        let vectors = vectors();
        assert_eq!(signing_key(&credentials(&vectors), text(&vectors, "timestamp")), text(&vectors, "sign_key_test"));
        let post = AnyRequest { method: "POST", body: b"test_body", ..GET };
        assert_eq!(content_hash(post), text(&vectors, "content_hash_test"));
        for other in [AnyRequest { method: "PUT", ..post }, AnyRequest { body: b"", ..post }, GET] {
            assert_eq!(content_hash(other), "");
        }
    }

    #[test]
    fn akamais_test_of_a_json_body_passes() {
        let vectors = vectors();
        let host = text(&vectors, "base_url").trim_start_matches("https://").trim_end_matches('/');
        let body = br#"{"key": "value"}"#;
        let post = AnyRequest { method: "POST", host, target: "/testapi/v1/t3?extended=true", body, ..GET };
        let (timestamp, nonce) = (text(&vectors, "timestamp"), text(&vectors, "nonce"));
        let header = sign(&credentials(&vectors), &data_to_sign(post), timestamp, nonce);
        assert_eq!(header, text(&vectors, "jsontest_hash"));
    }

    #[test]
    fn a_body_is_hashed_up_to_its_limit() {
        let post = |body| AnyRequest { method: "POST", body, body_bytes_max: 4, ..GET };
        assert_eq!(content_hash(post(b"abcd")), content_hash(post(b"abcde")));
        assert_ne!(content_hash(post(b"abcd")), content_hash(post(b"abc")));
    }

    #[test]
    fn a_timestamp_is_utc_to_the_second() {
        for (seconds, expected) in [
            (1_395_430_461, "20140321T19:34:21+0000"),
            (0, "19700101T00:00:00+0000"),
            (1_709_164_799, "20240228T23:59:59+0000"),
            (1_709_164_800, "20240229T00:00:00+0000"),
            (i64::MAX, ""),
        ] {
            assert_eq!(timestamp(seconds), expected);
        }
    }

    #[test]
    fn credentials_do_not_show_themselves() {
        assert_eq!(format!("{:?}", credentials(&vectors())), "Credentials(***)");
    }
}
