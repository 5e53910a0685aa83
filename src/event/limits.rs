//! Fits a finished line into its length: cuts the largest values and says so in `akamai.truncated`. Never changes a line
//! that fits; never makes one that is not JSON.

use std::cmp::Reverse;
use std::io::{self, Write};

use serde::Serialize;
use serde_json::ser::{Formatter, Serializer};
use serde_json::{Map, Value};

use super::emit::{NAME_NOTED_CHARS_MAX, NAMES_NOTED_MAX};
use super::text::is_taken_by_stock_decoder;

/// Bytes that every text keeps while there are others to cut.
const TEXT_BYTES_KEPT: usize = 48;

/// Rounds of cutting. Each ends below the length or cuts what was too much; only the names of what was cut, which are
/// bounded, make the line longer again. Two or three are enough for what was seen.
const ROUNDS_MAX: usize = 16;

/// The share of the line that the names of what was cut may take: one byte in so many.
const NAMES_SHARE: usize = 8;

/// Members that are never left out, although their text may be cut: what rules and bursts are made of.
const KEPT: &[&[&str]] = &[
    &["type"],
    &["srcip"],
    &["akamai"],
    &["akamai", "source"],
    &["akamai", "event_id"],
    &["akamai", "verdict"],
    &["akamai", "category"],
    &["akamai", "attack_group"],
    &["akamai", "burst"],
];

/// Cuts `line` (one JSON object) down to `line_bytes_max`, largest values first, until it fits.
pub(super) fn fit(line: &[u8], line_bytes_max: usize) -> Vec<u8> {
    let Ok(mut event) = serde_json::from_slice::<Map<String, Value>>(line) else {
        // Cannot happen: we wrote the line. A copy that is too long beats a lost event.
        return line.to_vec();
    };
    // They stand outside the event meanwhile: what is cut there would add a name, and be cut again, without an end.
    let mut names = take_names(&mut event);
    fit_in_rounds(&mut event, &mut names, line_bytes_max).unwrap_or_else(|| {
        keep_the_least(&mut event);
        render(&event, &[], 0)
    })
}

/// The line once it fits; none where it does not after [`ROUNDS_MAX`] rounds.
fn fit_in_rounds(event: &mut Map<String, Value>, names: &mut Vec<String>, line_bytes_max: usize) -> Option<Vec<u8>> {
    for _ in 0..ROUNDS_MAX {
        let rendered = render(event, names, line_bytes_max / NAMES_SHARE);
        if rendered.len() <= line_bytes_max {
            return Some(rendered);
        }
        let excess = rendered.len() - line_bytes_max;
        if !cut_texts(event, excess, names) {
            cut_members(event, excess, names);
        }
    }
    None
}

/// Leaves nothing but what is always kept, each text cut short: far less than the shortest limit of a line.
fn keep_the_least(event: &mut Map<String, Value>) {
    event.retain(|key, _| KEPT.contains(&&[key.as_str()][..]));
    for (key, value) in event.iter_mut() {
        if let Some(members) = value.as_object_mut() {
            members.retain(|inner, value| KEPT.contains(&&[key.as_str(), inner][..]) && value.is_string());
        }
        each_text(value, &mut String::new(), &mut |_, text| cut_text(text, TEXT_BYTES_KEPT));
    }
}

fn take_names(event: &mut Map<String, Value>) -> Vec<String> {
    let akamai = event.get_mut("akamai").and_then(Value::as_object_mut);
    let names = akamai.and_then(|akamai| akamai.shift_remove("truncated"));
    names.and_then(|names| serde_json::from_value(names).ok()).unwrap_or_default()
}

/// The line, with the first of the `names` as `akamai.truncated`, at its end.
fn render(event: &Map<String, Value>, names: &[String], names_bytes_max: usize) -> Vec<u8> {
    let mut out = written(event);
    let mut bytes = 0;
    let shown = names.iter().take_while(|name| {
        bytes += escaped_length(name) + 3;
        bytes <= names_bytes_max
    });
    // Every line of ours ends with the `akamai` object, and that is never empty.
    if out.ends_with(b"}}") && !names.is_empty() {
        out.truncate(out.len() - 2);
        out.extend_from_slice(b",\"truncated\":");
        out.extend_from_slice(&written(&shown.collect::<Vec<_>>()));
        out.extend_from_slice(b"}}");
    }
    out
}

fn written(value: &impl Serialize) -> Vec<u8> {
    let mut out = Vec::new();
    // Texts, lists and objects in memory can be written.
    let _ = value.serialize(&mut Serializer::with_formatter(&mut out, SafeForWazuh));
    out
}

/// Texts come from a line of ours and need nothing but JSON's escapes, but for what a stock decoder would search for.
struct SafeForWazuh;

impl Formatter for SafeForWazuh {
    fn write_string_fragment<W: Write + ?Sized>(&mut self, out: &mut W, text: &str) -> io::Result<()> {
        if is_taken_by_stock_decoder(text.as_bytes()) {
            write!(out, "\\u{:04x}{}", text.as_bytes()[0], &text[1..])
        } else {
            out.write_all(text.as_bytes())
        }
    }
}

/// Cuts the longest texts to one common length so that `excess` bytes go; false if that is not to be had from texts.
fn cut_texts(event: &mut Map<String, Value>, excess: usize, names: &mut Vec<String>) -> bool {
    let mut lengths = Vec::new();
    for (_, value) in event.iter_mut() {
        each_text(value, &mut String::new(), &mut |_, text| lengths.push(escaped_length(text)));
    }
    lengths.sort_unstable_by(|a, b| b.cmp(a));
    let Some(length_max) = common_length(&lengths, excess) else { return false };
    for (key, value) in event.iter_mut() {
        each_text(value, &mut key.clone(), &mut |path, text| {
            if escaped_length(text) > length_max {
                cut_text(text, length_max);
                note(names, path);
            }
        });
    }
    true
}

/// The length to which the texts (longest first) must be cut to save `excess` bytes: as great as can be, and none below
/// [`TEXT_BYTES_KEPT`].
fn common_length(lengths: &[usize], excess: usize) -> Option<usize> {
    let mut sum = 0;
    for (index, &length) in lengths.iter().enumerate() {
        if length <= TEXT_BYTES_KEPT {
            return None;
        }
        sum += length;
        let next = lengths.get(index + 1).copied().unwrap_or(0).max(TEXT_BYTES_KEPT);
        let count = index + 1;
        if sum - next * count >= excess {
            return Some((sum - excess) / count);
        }
    }
    None
}

/// Leaves out the largest members of the line and of its objects until `excess` bytes are gone; of an array only the last
/// items, if that is enough.
fn cut_members(event: &mut Map<String, Value>, mut excess: usize, names: &mut Vec<String>) {
    let mut members: Vec<(usize, String, Option<String>)> = Vec::new();
    for (key, value) in event.iter() {
        match value.as_object().filter(|inner| !inner.is_empty()) {
            Some(inner) => {
                let kept = |name: &str| KEPT.contains(&&[key.as_str(), name][..]);
                let sized = inner.iter().filter(|(name, _)| !kept(name));
                members
                    .extend(sized.map(|(name, value)| (member_length(name, value), key.clone(), Some(name.clone()))));
            }
            None if KEPT.contains(&&[key.as_str()][..]) => {}
            None => members.push((member_length(key, value), key.clone(), None)),
        }
    }
    members.sort_by_key(|(size, ..)| Reverse(*size));
    for (size, key, inner) in members {
        if excess == 0 {
            return;
        }
        let (object, name) = match &inner {
            Some(inner) => (event.get_mut(&key).and_then(Value::as_object_mut), inner),
            None => (Some(&mut *event), &key),
        };
        let Some(object) = object else { continue };
        let gone = match object.get_mut(name).and_then(Value::as_array_mut) {
            Some(items) if items.len() > 1 => drop_last_items(items, excess),
            _ => {
                object.shift_remove(name);
                size
            }
        };
        excess = excess.saturating_sub(gone);
        note(names, &inner.map_or(key.clone(), |inner| format!("{key}.{inner}")));
    }
}

/// Drops items from the end until `excess` bytes are gone or one is left; returns how many bytes went.
fn drop_last_items(items: &mut Vec<Value>, excess: usize) -> usize {
    let mut gone = 0;
    while gone < excess && items.len() > 1 {
        gone += items.pop().map_or(0, |item| written(&item).len() + 1);
    }
    gone
}

/// With the quotes of its name, its colon and its comma.
fn member_length(name: &str, value: &Value) -> usize {
    escaped_length(name) + 4 + written(value).len()
}

/// As many and as long as those that [`super::emit`] notes.
fn note(names: &mut Vec<String>, path: &str) {
    let name: String = path.chars().take(NAME_NOTED_CHARS_MAX).collect();
    if names.len() < NAMES_NOTED_MAX && !names.contains(&name) {
        names.push(name);
    }
}

/// Visits every text, with the path of the member it belongs to.
fn each_text(value: &mut Value, path: &mut String, visit: &mut impl FnMut(&str, &mut String)) {
    match value {
        Value::String(text) => visit(path, text),
        Value::Array(items) => items.iter_mut().for_each(|item| each_text(item, path, visit)),
        Value::Object(members) => {
            let length = path.len();
            for (key, value) in members.iter_mut() {
                path.push('.');
                path.push_str(key);
                each_text(value, path, visit);
                path.truncate(length);
            }
        }
        _ => {}
    }
}

/// Bytes of `text`, which is one of ours, between the quotes of its JSON form.
fn escaped_length(text: &str) -> usize {
    text.len() + text.bytes().filter(|byte| b"\"\\".contains(byte)).count()
}

fn cut_text(text: &mut String, length_max: usize) {
    let mut length = 0;
    let end = text.char_indices().find_map(|(at, character)| {
        length += escaped_length(character.encode_utf8(&mut [0; 4]));
        (length > length_max).then_some(at)
    });
    if let Some(end) = end {
        text.truncate(end);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;
    use std::iter;

    fn check(event: &Value, line_bytes_max: usize) -> Value {
        let line = fit(event.to_string().as_bytes(), line_bytes_max);
        assert!(line.len() <= line_bytes_max, "{} bytes of {line_bytes_max}", line.len());
        serde_json::from_slice(&line).unwrap()
    }

    #[test]
    fn the_largest_values_are_cut_first_and_named() {
        let event = json!({"type": "akamai_siem", "a": {"long": "x".repeat(5000), "longer": "\"".repeat(5000), "short": "y"},
            "akamai": {"event_id": "0", "verdict": "detected"}});
        let fitted = check(&event, 2000);
        assert_eq!(fitted["akamai"]["truncated"], json!(["a.long", "a.longer"]));
        assert_eq!(fitted["a"]["short"], "y");
        let (long, longer) =
            (fitted["a"]["long"].as_str().unwrap().len(), fitted["a"]["longer"].as_str().unwrap().len());
        assert!(long > 800 && long.abs_diff(2 * longer) <= 2, "{long} {longer}");
    }

    #[test]
    fn only_as_much_is_cut_as_must_be() {
        let event = json!({"a": "é".repeat(3000), "b": "z".repeat(100), "akamai": {"event_id": "0"}});
        let line = fit(event.to_string().as_bytes(), 3000);
        assert!(line.len() > 2990 && line.len() <= 3000);
    }

    #[test]
    fn many_small_values_are_left_out_at_last() {
        let members: Map<String, Value> = (0..200).map(|n| (format!("member{n}"), json!("tiny"))).collect();
        let items: Vec<String> = (0..900).map(|n| n.to_string()).collect();
        let event = json!({"type": "akamai_siem", "srcip": "192.0.2.1", "x": members, "y": {"list": items}, "akamai": {
            "event_id": "0123", "verdict": "mitigated", "category": "waf"}});
        let fitted = check(&event, 1024);
        assert_eq!(fitted["type"], "akamai_siem");
        assert_eq!(fitted["akamai"]["verdict"], "mitigated");
        assert_eq!(fitted["akamai"]["truncated"][0], "y.list");
    }

    #[test]
    fn of_many_like_members_no_more_are_left_out_than_must_be() {
        for (count, name_bytes, value_bytes, line_bytes_max) in
            [(60, 7, 300, 1_024), (200, 7, 300, 2_000), (150, 7, 40, 4_000), (215, 247, 80, 65_000)]
        {
            let name = |n: usize| format!("{}{n:03}", "m".repeat(name_bytes));
            let members: Map<String, Value> = (0..count).map(|n| (name(n), json!("v".repeat(value_bytes)))).collect();
            let event = json!({"type": "akamai_siem", "url": "/", "x": members, "attackData": {"policyId": "p"},
                "akamai": {"event_id": "0", "verdict": "mitigated"}});
            let line = fit(event.to_string().as_bytes(), line_bytes_max);
            let most_bytes_lost = name_bytes + value_bytes + line_bytes_max / NAMES_SHARE;
            assert!(line.len() <= line_bytes_max && line.len() + most_bytes_lost > line_bytes_max, "{}", line.len());
            let fitted: Value = serde_json::from_slice(&line).unwrap();
            assert_eq!((&fitted["url"], &fitted["attackData"]["policyId"]), (&json!("/"), &json!("p")));
            let names = fitted["akamai"]["truncated"].as_array().unwrap();
            assert!(
                !names.is_empty() && names.iter().all(|name| name.as_str().unwrap().starts_with("x.m")),
                "{names:?}"
            );
        }
    }

    #[test]
    fn names_already_noted_stay() {
        let event = json!({"a": "x".repeat(9000), "akamai": {"event_id": "0", "truncated": ["url"]}});
        assert_eq!(check(&event, 1500)["akamai"]["truncated"], json!(["url", "a"]));
    }

    /// An event of objects, lists and texts with names and values of these lengths.
    fn event(count: usize, name_bytes: usize, value_bytes: usize, letter: char) -> Map<String, Value> {
        let mut event = Map::new();
        for index in 0..count {
            let name = format!("{index}{}", letter.to_string().repeat(name_bytes / letter.len_utf8()));
            let value: String = iter::repeat_n(letter, value_bytes / letter.len_utf8()).collect();
            let value = match index % 5 {
                0 => json!(vec![value; index % 30]),
                1 => json!({name.clone(): {name.clone(): value}}),
                _ => json!(value),
            };
            let object = event.entry(["attackData", "custom", "new"][index % 3]).or_insert_with(|| json!({}));
            object.as_object_mut().unwrap().insert(name, value);
        }
        let akamai = json!({"source": "s".repeat(300), "event_id": "0", "verdict": "detected", "extra": event.clone()});
        event.insert("akamai".into(), akamai);
        event
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn any_line_fits_after_a_few_rounds(
            count in 1_usize..240,
            name_bytes in 1_usize..256,
            value_bytes in 0_usize..800,
            letter in "[aé\"€]",
            known in proptest::collection::vec("[a-z.]{1,90}", 0..40),
            line_bytes_max in 1_024_usize..=65_513,
        ) {
            let mut event = event(count, name_bytes, value_bytes, letter.chars().next().unwrap());
            let rendered = fit_in_rounds(&mut event.clone(), &mut known.clone(), line_bytes_max);
            prop_assert!(rendered.is_some_and(|line| line.len() <= line_bytes_max));
            event["akamai"]["truncated"] = known.into();
            let fitted = fit(Value::from(event.clone()).to_string().as_bytes(), line_bytes_max);
            prop_assert!(fitted.len() <= line_bytes_max);
            let fitted: Value = serde_json::from_slice(&fitted).unwrap();
            prop_assert_eq!(&fitted["akamai"]["verdict"], "detected");
            keep_the_least(&mut event);
            prop_assert!(render(&event, &[], 0).len() < 1_024);
        }
    }
}
