//! `rules/akamai.xml` against events that our own decoder makes from lines of Akamai's (`tests/data/rules/cases.ndjson`): every
//! rule is reached by one. The same events stand in `wazuh-logtest.ini`, for Wazuh's own engine.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::PathBuf;

use serde_json::Value;
use wazuh_akamai::event::{Bursts, EventDecoder, EventSettings};
use wazuh_akamai::install::RULES;
use wazuh_akamai::wazuh::conf::scan::{Document, scan};

pub struct Rule {
    pub id: u32,
    pub level: u32,
    noalert: bool,
    parents: Vec<u32>,
    /// Name, pattern.
    fields: Vec<(String, String)>,
    status: bool,
    list: bool,
    pub description: String,
    pub groups: String,
}

fn data(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/rules").join(name)
}

fn attribute(document: &Document<'_>, element: usize, name: &str) -> Option<String> {
    let attributes = document.elements[element].attributes.iter();
    attributes
        .map(|(key, value)| (&RULES[key.clone()], &RULES[value.clone()]))
        .find(|(key, _)| *key == name)
        .map(|(_, value)| value.to_owned())
}

pub fn rules() -> Vec<Rule> {
    let text = RULES.as_bytes();
    let document = scan(text).unwrap();
    let (group, _) = document.children(None, "group").next().unwrap();
    let value = |rule, name| document.value(rule, name).map(|text| String::from_utf8(text.to_vec()).unwrap());
    let rules = document.children(Some(group), "rule").map(|(rule, _)| Rule {
        id: attribute(&document, rule, "id").unwrap().parse().unwrap(),
        level: attribute(&document, rule, "level").unwrap().parse().unwrap(),
        noalert: attribute(&document, rule, "noalert").is_some(),
        parents: value(rule, "if_sid").unwrap_or_default().split(',').filter_map(|id| id.trim().parse().ok()).collect(),
        fields: document
            .children(Some(rule), "field")
            .map(|(field, element)| {
                (attribute(&document, field, "name").unwrap(), RULES[element.content.clone()].to_owned())
            })
            .collect(),
        status: value(rule, "status").is_some(),
        list: document.children(Some(rule), "list").next().is_some(),
        description: value(rule, "description").unwrap(),
        groups: value(rule, "group").unwrap_or_default(),
    });
    rules.collect()
}

fn field(event: &Value, name: &str) -> Option<String> {
    let found = name.split('.').try_fold(event, |value, key| value.get(key))?;
    found.as_str().map(str::to_owned)
}

impl Rule {
    /// The patterns that our rules use: a word, alternatives of whole words, or "anything".
    fn matches(&self, event: &Value) -> bool {
        let fits = |(name, pattern): &(String, String)| {
            let Some(value) = field(event, name) else { return false };
            pattern == "\\.+" && !value.is_empty()
                || pattern.split('|').any(|word| match word.strip_prefix('^').and_then(|word| word.strip_suffix('$')) {
                    Some(word) => value == word,
                    None => value.contains(word),
                })
        };
        let answered =
            !self.status || field(event, "status").is_some_and(|status| status.len() == 3 && status.starts_with('2'));
        // Membership of Wazuh's list of addresses is nothing that an event says.
        self.fields.iter().all(fits) && answered && !self.list
    }
}

/// The rule that alerts: among siblings level 0 is tried first, then from the highest level down; the deepest match counts.
pub fn alerting(rules: &[Rule], event: &Value) -> Option<u32> {
    fn descend(rules: &[Rule], parent: u32, event: &Value) -> Option<u32> {
        let mut children: Vec<&Rule> = rules.iter().filter(|rule| rule.parents.contains(&parent)).collect();
        children.sort_by_key(|rule| if rule.level == 0 { 0 } else { 100 - rule.level });
        children
            .iter()
            .filter(|rule| rule.matches(event))
            .find_map(|rule| descend(rules, rule.id, event).or((!rule.noalert).then_some(rule.id)))
    }
    descend(rules, 100_199, event)
}

/// Each case: the rule, its level, and the event that must reach it.
pub fn cases() -> Vec<(u32, u32, Value)> {
    let text = fs::read_to_string(data("cases.ndjson")).unwrap();
    let cases = text.lines().map(|case| {
        let case: Value = serde_json::from_str(case).unwrap();
        let number = |name: &str| u32::try_from(case[name].as_u64().unwrap()).unwrap();
        let event = case.get("event").cloned().unwrap_or_else(|| {
            let settings =
                EventSettings { source: "default".into(), line_bytes_max: 65_000, redact_headers: Vec::new() };
            let mut decoder = EventDecoder::new(settings);
            decoder.bursts = Some(Bursts::default());
            let mut out = Vec::new();
            for line in case["lines"].as_array().unwrap() {
                out.clear();
                decoder.decode_into(line.to_string().as_bytes(), &mut out);
            }
            serde_json::from_slice(&out).unwrap()
        });
        (number("rule"), number("level"), event)
    });
    cases.collect()
}

#[test]
fn every_rule_is_reached_by_an_event_that_our_decoder_makes() {
    let rules = rules();
    let levels: HashMap<u32, u32> = rules.iter().map(|rule| (rule.id, rule.level)).collect();
    let mut reached = HashSet::new();
    for (id, level, event) in cases() {
        assert_eq!(alerting(&rules, &event), Some(id), "{event}");
        assert_eq!(levels[&id], level, "{id}");
        reached.insert(id);
    }
    // 100164 wants an address of Wazuh's list; the others alert through their children only.
    let missing: Vec<u32> = rules.iter().map(|rule| rule.id).filter(|id| !reached.contains(id)).collect();
    assert_eq!(missing, [100_199, 100_164, 100_169]);
}

#[test]
fn the_rules_keep_what_is_promised() {
    let rules = rules();
    let base = rules.iter().find(|rule| rule.id == 100_100).unwrap();
    assert_eq!((base.level, base.description.as_str()), (3, "Akamai - Event fetched."));
    assert!(RULES.contains(
        "<rule id=\"100100\" level=\"3\">\n    <if_sid>100199</if_sid>\n    <location>command_akamai_siem</location>"
    ));
    for word in ["frequency=", "<match>", "<regex>", "if_matched", "if_group", "same_", "timeframe"] {
        assert!(!RULES.contains(word), "{word}");
    }
    let mut seen = HashSet::new();
    for rule in &rules {
        assert!((100_100..=100_199).contains(&rule.id) && seen.insert(rule.id), "{}", rule.id);
        assert!(
            rule.id == 100_199 || rule.parents.iter().all(|parent| seen.contains(parent)),
            "{}: parents stand before",
            rule.id
        );
        assert!(rule.groups.is_empty() || rule.groups.ends_with(','), "{}", rule.id);
        for name in ["url", "srcip", "action", "status", "id", "protocol", "srcuser", "dstuser"] {
            // Static fields in <field> keep analysisd from starting.
            assert!(rule.fields.iter().all(|(field, _)| field != name), "{}", rule.id);
        }
    }
    let gap = rules.iter().find(|rule| rule.id == 100_186).unwrap();
    assert_eq!(gap.level, 12);
}

#[test]
fn the_rules_use_only_fields_that_are_made() {
    let events: Vec<Value> = cases().into_iter().map(|(_, _, event)| event).collect();
    for rule in rules() {
        let named = rule.description.split("$(").skip(1).map(|rest| rest.split(')').next().unwrap().to_owned());
        for name in rule.fields.iter().map(|(name, _)| name.clone()).chain(named) {
            assert!(events.iter().any(|event| field(event, &name).is_some()), "{}: {name}", rule.id);
        }
    }
}

#[test]
fn the_cases_for_wazuh_logtest_are_up_to_date() {
    let mut text = String::from(
        "; Events for Wazuh's own engine: wazuh-logtest -l command_akamai_siem, started anew for each. Made by the test suite from\n; cases.ndjson; where a test says that they are not up to date, run it with UPDATE=1.\n",
    );
    for (index, (rule, level, event)) in cases().iter().enumerate() {
        text += &format!(
            "\n[akamai {rule} case {}]\nlog 1 pass = {event}\nrule = {rule}\nalert = {level}\ndecoder = json\n",
            index + 1
        );
    }
    let path = data("wazuh-logtest.ini");
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&path, &text).unwrap();
    }
    assert!(fs::read_to_string(path).unwrap() == text, "tests/data/rules/wazuh-logtest.ini is out of date");
}
