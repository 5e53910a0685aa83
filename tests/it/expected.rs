//! Every sample line decoded by the library, compared field by field with decodings that were made independently
//! (`tests/data/siem/expected`). Never looks at how the decoder works.

use std::fs;
use std::path::Path;

use serde_json::Value;
use wazuh_akamai::event::{EventDecoder, EventSettings};

const LISTS: [(&str, &str); 7] = [
    ("rules", "id"),
    ("ruleVersions", "version"),
    ("ruleMessages", "message"),
    ("ruleTags", "tag"),
    ("ruleData", "data"),
    ("ruleSelectors", "selector"),
    ("ruleActions", "action"),
];

fn decode(line: &[u8]) -> Value {
    let settings = EventSettings { source: "default".into(), line_bytes_max: 65_000, redact_headers: Vec::new() };
    let mut out = Vec::new();
    EventDecoder::new(settings).decode_into(line, &mut out);
    assert_eq!(out.iter().filter(|byte| **byte == b'\n').count(), 1);
    serde_json::from_slice(&out).unwrap()
}

/// As the event line has it: our U+FFFD stands for a NUL too, since Wazuh cuts a value there, and control characters are
/// percent-encoded.
fn text(value: &Value) -> String {
    let mut text = String::new();
    for character in value.as_str().unwrap_or_else(|| panic!("{value}")).chars() {
        match character {
            '\0' => text.push('\u{fffd}'),
            '\u{1}'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}' => {
                character.to_string().bytes().for_each(|byte| text += &format!("%{byte:02x}"));
            }
            other => text.push(other),
        }
    }
    text
}

/// The value as a header's line has it.
fn header_line(pair: &Value) -> String {
    let name = text(&pair[0]);
    if pair[1].is_null() { name } else { format!("{name}:{}", text(&pair[1])) }
}

/// A line of a header without the blanks around its value.
fn trimmed(line: &Value) -> String {
    match text(line).split_once(':') {
        Some((name, value)) => format!("{name}:{}", value.trim()),
        None => text(line),
    }
}

fn check(name: &str, minimum: usize) {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/siem");
    let source = fs::read(data.join(name)).unwrap();
    let expected = fs::read_to_string(data.join("expected").join(name.replace('/', "__"))).unwrap();
    let mut compared = 0;
    for (line, expected) in source.split(|byte| *byte == b'\n').zip(expected.lines()) {
        let expected: Value = serde_json::from_str(expected).unwrap();
        if expected.get("metadata").is_some() {
            continue;
        }
        let event = decode(line);
        let what = expected["requestId"].as_str().unwrap_or("no id");
        let rules = expected["rules"].as_array().unwrap();
        for (list, member) in LISTS {
            let Some(items) = event["attackData"][list].as_array() else {
                assert!(rules.is_empty(), "{what}: {list} is missing");
                continue;
            };
            let mut wanted: Vec<String> = rules.iter().map(|rule| text(&rule[member])).collect();
            wanted.extend(expected["extraItems"][list].as_array().into_iter().flatten().map(text));
            assert_eq!(items.iter().map(text).collect::<Vec<_>>(), wanted, "{what}: {list}");
            let lossy = rules.iter().any(|rule| rule.get(format!("{member}_b64")).is_some());
            assert_eq!(event["attackData"].get(format!("{list}Raw")).is_some(), lossy, "{what}: {list}Raw");
            compared += wanted.len();
        }
        for headers in ["requestHeaders", "responseHeaders"] {
            if let Some(wanted) = expected["httpMessage"].get(headers) {
                let came: Vec<String> = event["httpMessage"][headers].as_array().unwrap().iter().map(trimmed).collect();
                let wanted: Vec<String> = wanted.as_array().unwrap().iter().map(header_line).collect();
                assert_eq!(came, wanted, "{what}: {headers}");
                compared += 1;
            }
        }
        for (decoded, field) in [("pathDecoded", "path"), ("queryDecoded", "query")] {
            let wanted = expected["httpMessage"].get(decoded).map(text);
            assert_eq!(event["httpMessage"].get(field).map(text), wanted, "{what}: {field}");
        }
        match expected.get("custom") {
            Some(Value::String(custom)) => assert_eq!(event["custom"]["value"], *custom, "{what}"),
            Some(custom) => {
                let mut decoded = event["custom"].as_object().unwrap().clone();
                decoded.retain(|name, _| !name.ends_with("Raw"));
                assert_eq!(&Value::from(decoded), custom, "{what}");
            }
            None => assert!(event.get("custom").is_none(), "{what}"),
        }
    }
    assert!(compared >= minimum, "only {compared} fields were compared");
}

#[test]
fn the_synthetic_events_are_decoded_as_expected() {
    check("synthetic/events.ndjson", 250);
}

#[test]
fn akamais_published_event_is_decoded_as_expected() {
    check("openapi/siem-event-200.ndjson", 20);
}
