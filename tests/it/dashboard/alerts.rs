//! Alerts as Wazuh would index them: events that our own decoder makes from every sample, under the rule that they reach.
//! Never runs Wazuh.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use wazuh_akamai::event::{Bursts, EventDecoder, EventSettings};

use crate::loopback::samples;
use crate::rules::{self, Rule};

/// What the index makes of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Keyword,
    Number,
    Date,
    GeoPoint,
    /// Searched by words; cannot be counted or grouped.
    Text,
}

/// What Wazuh adds to an event and a panel may use, by the index template of 4.14.9
/// (`extensions/elasticsearch/7.x/wazuh-template.json`; GeoLocation is filled from `data.srcip` by the ingest pipeline of
/// `extensions/filebeat/7.x/wazuh-module`).
const ADDED: &[(&str, Kind)] = &[
    ("timestamp", Kind::Date),
    ("location", Kind::Keyword),
    ("full_log", Kind::Text),
    ("agent.id", Kind::Keyword),
    ("agent.name", Kind::Keyword),
    ("agent.ip", Kind::Keyword),
    ("manager.name", Kind::Keyword),
    ("cluster.name", Kind::Keyword),
    ("cluster.node", Kind::Keyword),
    ("decoder.name", Kind::Keyword),
    ("rule.id", Kind::Keyword),
    ("rule.level", Kind::Number),
    ("rule.description", Kind::Keyword),
    ("rule.groups", Kind::Keyword),
    ("rule.firedtimes", Kind::Number),
    ("rule.mitre.id", Kind::Keyword),
    ("rule.mitre.tactic", Kind::Keyword),
    ("rule.mitre.technique", Kind::Keyword),
    ("GeoLocation.city_name", Kind::Keyword),
    ("GeoLocation.country_name", Kind::Keyword),
    ("GeoLocation.region_name", Kind::Keyword),
    ("GeoLocation.location", Kind::GeoPoint),
];

/// The alerts, and every field that any of them has below `data`.
pub struct Alerts {
    pub all: Vec<Value>,
    emitted: BTreeSet<String>,
}

impl Alerts {
    pub fn of_the_samples() -> Self {
        let rules = rules::rules();
        let mut events: Vec<Value> = rules::cases().into_iter().map(|(_, _, event)| event).collect();
        events.extend(decoded());
        let mut emitted = BTreeSet::new();
        for event in &events {
            note_fields("data", event, &mut emitted);
        }
        let mut all: Vec<Value> = events
            .iter()
            .filter_map(|event| {
                let id = rules::alerting(&rules, event)?;
                Some(alert(rules.iter().find(|rule| rule.id == id)?, event))
            })
            .collect();
        // No event says that its address is on Wazuh's list.
        let listed = rules.iter().find(|rule| rule.id == 100_164).unwrap();
        all.push(alert(listed, &events[0]));
        Self { all, emitted }
    }

    /// What the index makes of a field: nothing where neither the collector nor Wazuh writes it.
    pub fn kind(&self, field: &str) -> Option<Kind> {
        // The template maps this one member of an event as a date; every string it does not name becomes a keyword.
        let emitted = self.emitted.contains(field).then_some(match field {
            "data.timestamp" => Kind::Date,
            _ => Kind::Keyword,
        });
        emitted.or_else(|| ADDED.iter().find(|(name, _)| *name == field).map(|(_, kind)| *kind))
    }
}

/// The fields of an event. Lists count as one field: the index takes each of their items for a value of it.
fn note_fields(path: &str, value: &Value, fields: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                note_fields(&format!("{path}.{name}"), value, fields);
            }
        }
        Value::Array(items) => {
            assert!(items.iter().all(Value::is_string), "{path} would be no keyword: {value}");
            fields.insert(path.to_owned());
        }
        _ => {
            assert!(value.is_string(), "{path} would be no keyword: {value}");
            fields.insert(path.to_owned());
        }
    }
}

fn alert(rule: &Rule, event: &Value) -> Value {
    let groups: Vec<&str> =
        std::iter::once("akamai").chain(rule.groups.split(',')).filter(|word| !word.is_empty()).collect();
    json!({
        "timestamp": "2026-11-24T12:00:00.000+0000",
        "rule": {"id": rule.id.to_string(), "level": rule.level, "groups": groups, "description": rule.description,
            "mitre": {"technique": ["Exploit Public-Facing Application"]}},
        "GeoLocation": {"country_name": "United States", "location": {"lat": 39.0, "lon": -77.5}},
        "manager": {"name": "wazuh"},
        "data": event,
    })
}

/// Events of the published and our own samples, of every kind that the loopback Akamai has, and of lines that had to be cut or
/// are no events.
fn decoded() -> Vec<Value> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/siem");
    let mut lines: Vec<Vec<u8>> = (0..200).map(|number| samples::line(number, 1_763_900_000).into_bytes()).collect();
    for name in ["synthetic/events.ndjson", "openapi/siem-event-200.ndjson"] {
        let text = fs::read(folder.join(name)).unwrap();
        lines.extend(text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(<[u8]>::to_vec));
    }
    lines.push(b"<html>no event</html>".to_vec());
    lines.push(format!("{{\"httpMessage\":{{\"path\":\"/{}\"}}}}", "a".repeat(70_000)).into_bytes());
    let settings = EventSettings { source: "default".into(), line_bytes_max: 65_000, redact_headers: Vec::new() };
    let mut decoder = EventDecoder::new(settings);
    decoder.bursts = Some(Bursts::default());
    let decode = |line: &Vec<u8>| {
        let mut out = Vec::new();
        decoder.decode_into(line, &mut out);
        serde_json::from_slice(&out).unwrap()
    };
    // The context line is no event: it has no object of an event.
    lines.iter().filter(|line| !line.starts_with(b"{\"total\"")).map(decode).collect()
}
