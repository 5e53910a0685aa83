//! Our own sample events as Akamai's API sends them: every protection, several rules each. Never random: the same number
//! gives the same line.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

/// A triggered rule: id, version, message, tag, data, selector, action.
type Rule = [&'static str; 7];

const SQLI: &[Rule] = &[
    ["3000100", "1", "SQL Injection Attack (SmartDetect)", "ASE/WEB_ATTACK/SQLI", "' OR 1=1 --", "ARGS:q", "alert"],
    [
        "950901",
        "4",
        "SQL Injection Attack (Tautology Probes 1)",
        "ASE/WEB_ATTACK/SQL_INJECTION",
        "1=1",
        "ARGS:q",
        "alert",
    ],
    [
        "981242",
        "2",
        "SQL Injection Attack (SQL Operator and Expression Probes 1)",
        "ASE/WEB_ATTACK/SQL_INJECTION",
        "OR 1",
        "ARGS:q",
        "alert",
    ],
    ["3900001", "1", "Unknown Bots (HTTP Libraries)", "AKAMAI/BOT/UNKNOWN_BOT", "", "", "monitor"],
    [
        "SQL-INJECTION-ANOMALY",
        "1",
        "Anomaly Score Exceeded for SQL Injection",
        "AKAMAI/POLICY/SQL_INJECTION_ANOMALY",
        "Vector Score: 14, DENY threshold: 9, Alert Rules: 950901:981242, Deny Rule: , Last Matched Message: SQL Injection",
        "",
        "deny",
    ],
];
const XSS: &[Rule] = &[
    [
        "958051",
        "2",
        "Cross-site Scripting (XSS) Attack (Script Tag)",
        "ASE/WEB_ATTACK/XSS",
        "<script>",
        "ARGS:name",
        "alert",
    ],
    [
        "973335",
        "2",
        "Cross-site Scripting (XSS) Attack (IE XSS Filter Evasion Attempt)",
        "ASE/WEB_ATTACK/XSS",
        "<b onmouseover=x>",
        "ARGS:name",
        "alert",
    ],
    [
        "973305",
        "2",
        "Cross-site Scripting (XSS) Attack (URL Protocols)",
        "ASE/WEB_ATTACK/XSS",
        "javascript:",
        "ARGS:name",
        "alert",
    ],
];
const CMDI: &[Rule] = &[
    [
        "950002",
        "4",
        "CMD Injection Attack Detected (OS Commands 4)",
        "ASE/WEB_ATTACK/CMD_INJECTION",
        "telnet.exe",
        "ARGS:option",
        "alert",
    ],
    [
        "950006",
        "4",
        "CMD Injection Attack Detected (OS Commands 5)",
        "ASE/WEB_ATTACK/CMD_INJECTION",
        "telnet.exe",
        "ARGS:option",
        "alert",
    ],
    [
        "959976",
        "3",
        "PHP Injection Attack (Common Functions)",
        "ASE/WEB_ATTACK/CMD_INJECTION",
        "system(",
        "ARGS:option",
        "alert",
    ],
    [
        "CMD-INJECTION-ANOMALY",
        "1",
        "Anomaly Score Exceeded for Command Injection",
        "AKAMAI/POLICY/CMD_INJECTION_ANOMALY",
        "Vector Score: 10, DENY threshold: 9, Alert Rules: 950002:950006, Deny Rule: ",
        "",
        "deny",
    ],
];
const LFI: &[Rule] = &[
    [
        "950203",
        "3",
        "Local File Inclusion (LFI) Attack (Directory Traversal and Obfuscation Attempts)",
        "ASE/WEB_ATTACK/LFI",
        "../../etc/passwd",
        "REQUEST_URI",
        "alert",
    ],
    [
        "950216",
        "2",
        "Unicode Full/Half Width Abuse Attack Attempt",
        "ASE/WEB_ATTACK/PROTOCOL",
        "%uff0f",
        "REQUEST_URI",
        "alert",
    ],
    [
        "3000041",
        "2",
        "Local File Inclusion (LFI) Attack (Long Directory Traversal)",
        "ASE/WEB_ATTACK/LFI",
        "../../../../",
        "REQUEST_URI",
        "deny",
    ],
];
const BOT: &[Rule] = &[
    ["3900001", "1", "Unknown Bots (HTTP Libraries)", "AKAMAI/BOT/UNKNOWN_BOT", "curl", "", "monitor"],
    ["3903001", "1", "Unknown Bots (Request Anomaly)", "AKAMAI/BOT/UNKNOWN_BOT", "", "", "monitor"],
    ["3904001", "1", "Unknown Bots (Browser Impersonator)", "AKAMAI/BOT/UNKNOWN_BOT", "", "", "challenge_17"],
];
const RATE: &[Rule] = &[
    ["IPBLOCK-BURST4-54013", "1", "Burst threshold exceeded", "IPBLOCK", "", "", "deny"],
    ["IPBLOCK-SUMMARY4-54013", "1", "Average threshold exceeded", "IPBLOCK", "", "", "alert"],
    ["3910001", "1", "Unknown Bots (Aggressive Crawlers)", "AKAMAI/BOT/UNKNOWN_BOT", "", "", "monitor"],
];
const GEO: &[Rule] = &[
    ["IPBLOCK", "1", "Blocked country", "IPBLOCK", "", "", "deny"],
    ["3900001", "1", "Unknown Bots (HTTP Libraries)", "AKAMAI/BOT/UNKNOWN_BOT", "", "", "monitor"],
];
const REPUTATION: &[Rule] = &[
    ["REP-WEBATCK", "1", "Web Attackers (High Threat)", "REPUTATION", "", "", "alert"],
    ["REP-SCANTL", "1", "Scanning Tools (High Threat)", "REPUTATION", "", "", "alert"],
    ["3912001", "1", "Unknown Bots (Scanners)", "AKAMAI/BOT/UNKNOWN_BOT", "", "", "monitor"],
];
const CUSTOM: &[Rule] = &[
    ["60050123", "7", "No checkout without a cart", "shop-rule", "cart=", "ARGS", "deny_custom_4711"],
    ["60050124", "2", "Checkout from a new device", "shop-rule", "device=", "ARGS", "alert"],
];
const ACCOUNT: &[Rule] = &[
    ["USER-RISK-1", "1", "User risk is high", "", "score 91", "", "deny"],
    ["3990001", "1", "Unknown Bots (Credential Stuffing)", "AKAMAI/BOT/UNKNOWN_BOT", "", "", "monitor"],
];
const BINARY: &[Rule] = &[
    ["958053", "1", "Binary argument; with a semicolon", "ASE/WEB_ATTACK/PROTOCOL", "BINARY", "ARGS", "alert"],
    [
        "961012",
        "1",
        "POST Request Missing Content-Length Header",
        "ASE/WEB_ATTACK/PROTOCOL",
        "",
        "REQUEST_HEADERS",
        "alert",
    ],
    [
        "961904",
        "1",
        "Request Containing Content, but Missing Content-Type header",
        "ASE/WEB_ATTACK/PROTOCOL",
        "0",
        "REQUEST_HEADERS",
        "alert",
    ],
];
const SLOW_POST: &[Rule] = &[];
const PENALTY: &[Rule] = &[
    ["PENALTYBOX", "1", "Client in the penalty box", "AKAMAI/WAF/PENALTYBOX", "", "", "deny"],
    ["3900001", "1", "Unknown Bots (HTTP Libraries)", "AKAMAI/BOT/UNKNOWN_BOT", "", "", "monitor"],
];
const API: &[Rule] = &[
    ["API-3", "1", "Body larger than allowed", "API_REQUEST_CONSTRAINTS", "", "BODY", "alert"],
    ["API-7", "1", "Parameter not defined", "API_REQUEST_CONSTRAINTS", "debug", "ARGS", "alert"],
];

const KINDS: [&[Rule]; 14] =
    [SQLI, XSS, CMDI, LFI, BOT, RATE, GEO, REPUTATION, CUSTOM, ACCOUNT, BINARY, SLOW_POST, PENALTY, API];

/// The line of this number, for a request that began at `start` (Unix seconds). About 2.5 kB, as real ones are.
pub fn line(number: u64, start: i64) -> String {
    let kind = usize::try_from(number % KINDS.len() as u64).unwrap();
    let rules = KINDS[kind];
    let mut event = json!({
        "type": "akamai_siem", "format": "json", "version": "1.0",
        "attackData": attack_data(rules, number),
        "httpMessage": http_message(number, start),
        "geo": {"continent": "NA", "country": "US", "city": "ASHBURN", "regionCode": "VA", "asn": "14618"},
    });
    if kind % 3 == 1 || std::ptr::eq(rules, BOT) {
        event["botData"] = json!({"botScore": (number % 101).to_string(), "responseSegment": "3"});
    }
    if std::ptr::eq(rules, CUSTOM) {
        event["custom"] = json!({"edgeRequestId": STANDARD.encode(format!("{start}_{number}")), "team": STANDARD.encode("blue team")});
    }
    if std::ptr::eq(rules, ACCOUNT) {
        event["userRiskData"] = json!({"uuid": "964d54b7-0821-413a-a4d6-8131770ec8d5", "username": "user@example.com",
            "originUserId": "user007", "status": "0", "score": "91", "risk": "udfp:1325gdg4g4343g/M|unp:74256/H",
            "trust": "ugp:US", "general": "duc_1h:10|duc_1d:30", "allow": "0", "emailDomain": "example.com"});
    }
    if std::ptr::eq(rules, SLOW_POST) {
        event["attackData"]["slowPostAction"] = "A".into();
        event["attackData"]["slowPostRate"] = "10".into();
    }
    event.to_string()
}

fn attack_data(rules: &[Rule], number: u64) -> Value {
    let client = match number % 5 {
        0 => format!("2001:db8::{:x}", number % 65_521),
        n => {
            format!("{}.{}", ["192.0.2", "198.51.100", "203.0.113"][usize::try_from(n % 3).unwrap()], 1 + number % 250)
        }
    };
    let mut data = json!({"configId": "14227", "policyId": "qik1_26545", "clientIP": client});
    let names = ["rules", "ruleVersions", "ruleMessages", "ruleTags", "ruleData", "ruleSelectors", "ruleActions"];
    for (index, name) in names.iter().enumerate() {
        let items: Vec<String> = rules
            .iter()
            .map(|rule| match rule[index] {
                "BINARY" => STANDARD.encode(b"caf\xe9 \x00\x01>>>???"),
                text => STANDARD.encode(text),
            })
            .collect();
        data[name] = percent_encoded(&items.join(";"), "+").into();
    }
    data
}

fn http_message(number: u64, start: i64) -> Value {
    let request = format!(
        "Host: www.example.com\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64) Sample/{}\r\nAccept: text/html,application/xhtml+xml;q=0.9,*/*;q=0.8\r\n\
         Accept-Language: en-US,en;q=0.5\r\nAccept-Encoding: gzip, deflate, br\r\nReferer: https://www.example.com/shop?from=start&lang=en\r\n\
         sec-ch-ua: \"Chromium\";v=\"126\", \"Not/A)Brand\";v=\"8\"\r\nsec-fetch-site: same-origin\r\nUpgrade-Insecure-Requests: 1\r\nCookie: session=geheim{number}; theme=dark\r\nAuthorization: Basic Z2VoZWlt\r\nX-Forwarded-For: 203.0.113.{}\r\n",
        number % 40,
        1 + number % 250
    );
    let response = format!(
        "Server: AkamaiGHost\r\nMime-Version: 1.0\r\nContent-Type: text/html\r\nContent-Length: 266\r\nConnection: close\r\n\
         Set-Cookie: ak_bmsc=geheim{number:032x}; path=/; HttpOnly\r\n"
    );
    json!({
        "requestId": format!("{number:x}.{start:x}"), "start": format!("{start}.{:03}", number % 1000), "protocol": "h2",
        "method": if number.is_multiple_of(4) { "POST" } else { "GET" }, "host": "www.example.com", "port": "443",
        "path": format!("/shop/item%20{number}/a%2fb"), "query": format!("q=%27+OR+1%3d1+--&page={}&bad=%zz", number % 90),
        "requestHeaders": percent_encoded(&request, "(),*.-_$+"), "status": if number.is_multiple_of(2) { "403" } else { "200" },
        "bytes": "266", "responseHeaders": percent_encoded(&response, "(),*.-_$+"), "tls": "tls1.3",
    })
}

/// Percent-encodes as Akamai does: lower-case digits, letters and digits as they are, and `also`.
fn percent_encoded(text: &str, also: &str) -> String {
    let mut encoded = String::with_capacity(text.len() * 3 / 2);
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || also.as_bytes().contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02x}"));
        }
    }
    encoded
}
