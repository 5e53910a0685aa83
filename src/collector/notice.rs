//! Collector events: what goes wrong between Akamai and Wazuh, as lines that Wazuh's rules can raise. Never an event of
//! Akamai's.

use serde_json::{Map, Value, json};

use crate::clock::rfc_3339;
use crate::event::encode_controls;
use crate::state::health::Condition;

/// Characters of an error that an event holds, and that are remembered.
pub(super) const ERROR_CHARS_MAX: usize = 1_000;

/// A collector event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Notice {
    /// Name of the source; empty for what concerns all of them.
    pub(super) source: String,
    /// What happened.
    pub(super) event: &'static str,
    /// What went wrong, for people.
    pub(super) error: Option<String>,
    /// The span of time that is meant, in Unix seconds; its beginning may not be known.
    pub(super) span: Option<(Option<i64>, i64)>,
    /// For `recovered`: what ended.
    pub(super) of: Option<&'static str>,
    /// How far behind the source is.
    pub(super) lag_s: Option<i64>,
    /// By how much Akamai's clock is ahead of this machine's.
    pub(super) skew_s: Option<i64>,
}

impl Notice {
    /// An event of a source.
    pub(super) fn new(source: &str, event: &'static str) -> Self {
        Self { source: source.to_owned(), event, ..Self::default() }
    }

    /// A state has begun.
    pub(super) fn began(source: &str, condition: Condition, error: &str) -> Self {
        Self { error: Some(error.to_owned()), ..Self::new(source, condition.word()) }
    }

    /// A state has ended.
    pub(super) fn recovered(source: &str, condition: Condition) -> Self {
        Self { of: Some(condition.word()), ..Self::new(source, "recovered") }
    }

    /// Events of this span are lost; `from` is 0 where it is not known.
    pub(super) fn gap(source: &str, from: i64, to: i64, error: &str) -> Self {
        Self {
            span: Some(((from > 0).then_some(from), to)),
            error: Some(error.to_owned()),
            ..Self::new(source, "data_gap")
        }
    }

    /// The event line, with its line end.
    pub(super) fn line(&self) -> String {
        let mut collector = Map::from_iter([("event".to_owned(), json!(self.event))]);
        let mut add = |key: &str, value: Option<Value>| {
            if let Some(value) = value {
                collector.insert(key.to_owned(), value);
            }
        };
        // Akamai's words, or those of whoever answers in its place, stand in an error: they get no line of their own either.
        let shown = |text: &String| json!(encode_controls(&text.chars().take(ERROR_CHARS_MAX).collect::<String>()));
        add("error", self.error.as_ref().map(shown));
        add("from", self.span.and_then(|(from, _)| from).map(|from| json!(rfc_3339(from))));
        add("to", self.span.map(|(_, to)| json!(rfc_3339(to))));
        add("of", self.of.map(|of| json!(of)));
        add("lag_seconds", self.lag_s.map(|seconds| json!(seconds.to_string())));
        add("skew_seconds", self.skew_s.map(|seconds| json!(seconds.to_string())));
        let mut akamai = Map::new();
        if !self.source.is_empty() {
            akamai.insert("source".to_owned(), json!(self.source));
        }
        akamai.insert("collector".to_owned(), Value::Object(collector));
        format!("{}\n", json!({"type": "akamai_collector", "akamai": akamai}))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notice_is_one_line_with_what_is_known() {
        let gap = Notice::gap("shop", 1, 60, "a \"quoted\"\nerror");
        assert_eq!(
            gap.line(),
            "{\"type\":\"akamai_collector\",\"akamai\":{\"source\":\"shop\",\"collector\":{\"event\":\"data_gap\",\
             \"error\":\"a \\\"quoted\\\"%0aerror\",\"from\":\"1970-01-01T00:00:01Z\",\"to\":\"1970-01-01T00:01:00Z\"}}}\n"
        );
        let long = Notice::began("", Condition::Backlog, &"x".repeat(10_000)).line();
        assert!(long.len() < 1_200 && !long.contains("source"), "{long}");
    }

    #[test]
    fn the_notices_of_the_test_data_are_ones_that_it_writes() {
        let cases = include_str!("../../tests/data/rules/cases.ndjson").lines();
        let mut checked = 0;
        for case in cases.map(|case| serde_json::from_str::<Value>(case).unwrap_or_default()) {
            let Some(event) = case.get("event") else { continue };
            let text = |name: &str| event["akamai"]["collector"][name].as_str().map(str::to_owned);
            let word = |name: &str| text(name).map(|word| &*word.leak());
            let seconds = |name: &str| text(name).and_then(|text| text.parse().ok());
            let time = |name: &str| text(name)?.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_second);
            let notice = Notice {
                source: event["akamai"]["source"].as_str().unwrap_or_default().to_owned(),
                event: word("event").unwrap_or_default(),
                error: text("error"),
                span: time("to").map(|to| (time("from"), to)),
                of: word("of"),
                lag_s: seconds("lag_seconds"),
                skew_s: seconds("skew_seconds"),
            };
            assert_eq!(serde_json::from_str::<Value>(&notice.line()).ok().as_ref(), Some(event));
            checked += 1;
        }
        assert!(checked >= 12);
    }
}
