//! The loopback Akamai itself: offsets go on where an answer ended, and no request stops it. Never tests the product.

use std::io::Read;
use std::time::Duration;

use wazuh_akamai::akamai::edgegrid::{self, Credentials, Request};
use wazuh_akamai::akamai::transport::{Transport, TransportSettings};
use wazuh_akamai::secret::Secret;

use crate::loopback::{Akamai, Settings, now, samples};

/// Status and lines of the answer to a signed request with this query.
fn ask(akamai: &Akamai, query: &str) -> (u16, Vec<String>) {
    let known = Settings::default().credentials;
    let credentials = Credentials {
        client_token: known.client_token,
        client_secret: Secret::new(known.client_secret),
        access_token: known.access_token,
    };
    let (url, target) = (akamai.url(), format!("/siem/v1/configs/14227?{query}"));
    let host = url.trim_start_matches("http://");
    let nonce = format!("nonce-{}", akamai.seen().len());
    let request = Request { scheme: "http", host, target: &target };
    let header = edgegrid::authorization(&credentials, &request, &edgegrid::timestamp(now()), &nonce);
    let transport = Transport::new(&TransportSettings::default(), "http", |_| None).unwrap();
    let mut answer = transport.get(&url, &target, &header, Duration::from_secs(60)).unwrap();
    let mut body = String::new();
    answer.body.read_to_string(&mut body).unwrap();
    (answer.status, body.lines().map(str::to_owned).collect())
}

/// The offset of the context line that ends these lines.
fn offset(lines: &[String]) -> String {
    let context: serde_json::Value = serde_json::from_str(lines.last().unwrap()).unwrap();
    context["offset"].as_str().unwrap().replace(';', "%3B")
}

#[test]
fn offsets_give_every_event_once() {
    let akamai = Akamai::start(Settings::default());
    let stored: Vec<String> = (0..7).map(|number| samples::line(number, now() - 60)).collect();
    akamai.store(60, stored.clone());
    let mut query = "offset=NULL&limit=3".to_owned();
    let mut came = Vec::new();
    loop {
        let (status, mut lines) = ask(&akamai, &query);
        assert_eq!(status, 200);
        query = format!("offset={}&limit=3", offset(&lines));
        lines.pop();
        if lines.is_empty() {
            break;
        }
        came.extend(lines);
    }
    assert_eq!(came, stored);
    akamai.store(30, [samples::line(7, now())]);
    assert_eq!(ask(&akamai, &query).1.len(), 2);
}

#[test]
fn old_and_malformed_offsets_are_refused_and_stop_nothing() {
    let akamai = Akamai::start(Settings::default());
    let (_, lines) = ask(&akamai, "offset=NULL");
    for malformed in ["x", "x;YQ", "x;%25", "7;MHwx"] {
        assert_eq!(ask(&akamai, &format!("offset={malformed}")).0, 400, "{malformed}");
    }
    assert_eq!(ask(&akamai, &format!("offset={}", offset(&lines))).0, 200);
    assert_eq!(ask(&akamai, &format!("offset={}&from=1", offset(&lines))).0, 400);
    // One that was given more than 12 hours ago.
    let old = base64::Engine::encode(
        &base64::engine::general_purpose::URL_SAFE_NO_PAD,
        format!("0|{}|9|14227", now() - 43_210),
    );
    assert_eq!(ask(&akamai, &format!("offset=7;{old}")).0, 416);
}

#[test]
fn a_bulk_page_ends_with_an_offset_that_goes_on() {
    let akamai = Akamai::start(Settings { bulk: Some(50), ..Settings::default() });
    let (_, lines) = ask(&akamai, &format!("from={}", now() - 100));
    assert_eq!(lines.len(), 51);
    let (status, rest) = ask(&akamai, &format!("offset={}", offset(&lines)));
    assert_eq!((status, rest.len()), (200, 1));
}
