//! What must hold for any bytes: one function a fuzz target. The fuzzer and an ordinary test over the corpus call the same.

use std::io::{self, Read};

use serde_json::Value;
use wazuh_akamai::akamai::page::{Context, PageLine, PageReader};
use wazuh_akamai::config;
use wazuh_akamai::event::{EventDecoder, EventSettings};

/// A configuration of any text is parsed or refused, and no error shows a secret.
pub fn config(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let parsed = config::parse("f", &format!("{text}\n[z]\nclient_secret = geheim geheim\n"), |_| Ok(text.to_string()));
    assert!(!format!("{parsed:?}").contains("geheim"));
}

/// The lines of an answer do not depend on how it is cut into pieces, and a context line is one when read again.
pub fn page(bytes: &[u8]) {
    let whole = lines(PageReader::new(bytes));
    for size in 1..=bytes.len().min(16) {
        assert_eq!(lines(PageReader::new(Pieces { bytes, size })), whole);
    }
    for line in bytes.split(|byte| *byte == b'\n') {
        if let Some(context) = Context::parse(line) {
            assert_eq!(Context::parse(context.line.as_bytes()), Some(context));
        }
    }
}

/// Any line becomes exactly one JSON object of strings within Wazuh's limits, the same each time.
pub fn event(bytes: &[u8]) {
    for line_bytes_max in [1_024, 65_513] {
        let settings = EventSettings {
            source: "s".into(),
            line_bytes_max,
            redact_headers: vec!["cookie".into(), "set-cookie".into()],
        };
        let mut decoder = EventDecoder::new(settings);
        let (mut first, mut second) = (Vec::new(), Vec::new());
        decoder.decode_into(bytes, &mut first);
        decoder.decode_into(bytes, &mut second);
        assert_eq!(first, second);
        let (last, line) = first.split_last().expect("a line");
        assert!(*last == b'\n' && line.len() <= line_bytes_max && !line.contains(&b'\n') && !line.contains(&0));
        let event: Value = serde_json::from_slice(line).expect("JSON");
        assert_eq!(event["type"], "akamai_siem");
        assert!(event["akamai"]["verdict"].is_string() && event["akamai"]["event_id"].is_string());
        let fields = fields(&event);
        assert!(fields < 256, "{fields}");
    }
}

fn fields(value: &Value) -> usize {
    match value {
        Value::Object(members) => {
            let mut names: Vec<String> = members.keys().map(|name| name.to_ascii_lowercase()).collect();
            names.sort();
            assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "a name twice");
            members.values().map(fields).sum()
        }
        Value::Array(items) => {
            for item in items {
                fields(item);
            }
            1
        }
        Value::String(text) => {
            assert!(text.len() <= 32_000 && !text.chars().any(char::is_control));
            1
        }
        other => panic!("a scalar that is no string: {other}"),
    }
}

fn lines<R: Read>(mut page: PageReader<R>) -> Vec<String> {
    let mut lines = Vec::new();
    while let Some(line) = page.next_line().expect("no error") {
        lines.push(match line {
            PageLine::Event(line) | PageLine::Fragment(line) => format!("{line:?}"),
            other => format!("{other:?}"),
        });
    }
    lines
}

struct Pieces<'a> {
    bytes: &'a [u8],
    size: usize,
}

impl Read for Pieces<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.size.min(self.bytes.len()).min(buffer.len());
        let (piece, rest) = self.bytes.split_at(length);
        buffer[..length].copy_from_slice(piece);
        self.bytes = rest;
        Ok(length)
    }
}
