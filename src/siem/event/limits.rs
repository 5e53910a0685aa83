//! Fits a finished line into its length: cuts the largest values and says so in `akamai.truncated`. Never changes a line
//! that fits; never makes one that is not JSON.

use serde_json::{Map, Value};

use crate::siem::text::{Place, write_text};

/// Bytes that every text keeps while there are others to cut.
const TEXT_BYTES_KEPT: usize = 48;

/// Members that are never left out, although their text may be cut: what rules and bursts are made of.
const KEPT: &[&[&str]] = &[
    &["type"],
    &["srcip"],
    &["akamai"],
    &["akamai", "event_id"],
    &["akamai", "verdict"],
    &["akamai", "category"],
    &["akamai", "attack_group"],
    &["akamai", "burst"],
    &["akamai", "truncated"],
];

/// Cuts `line` (one JSON object) down to `line_bytes_max`, largest values first, until it fits.
pub(super) fn fit(line: &[u8], line_bytes_max: usize) -> Vec<u8> {
    let Ok(mut event) = serde_json::from_slice::<Map<String, Value>>(line) else {
        // Cannot happen: we wrote the line. A copy that is too long beats a lost event.
        return line.to_vec();
    };
    let mut names = take_names(&mut event);
    // Room for the names of what is cut, which grow the line again.
    let names_bytes_max = line_bytes_max / 8;
    loop {
        let rendered = render(&mut event, &names, names_bytes_max);
        if rendered.len() <= line_bytes_max {
            return rendered;
        }
        let excess = rendered.len() - line_bytes_max;
        if !cut_texts(&mut event, excess, &mut names) && !cut_largest_member(&mut event, &mut names) {
            return rendered;
        }
    }
}

fn take_names(event: &mut Map<String, Value>) -> Vec<String> {
    let akamai = event.get_mut("akamai").and_then(Value::as_object_mut);
    let names = akamai.and_then(|akamai| akamai.shift_remove("truncated"));
    names
        .as_ref()
        .and_then(Value::as_array)
        .map_or_else(Vec::new, |names| names.iter().filter_map(Value::as_str).map(String::from).collect())
}

fn render(event: &mut Map<String, Value>, names: &[String], names_bytes_max: usize) -> Vec<u8> {
    let mut bytes = 0;
    let shown: Vec<Value> = names
        .iter()
        .take_while(|name| {
            bytes += escaped_length(name) + 3;
            bytes <= names_bytes_max
        })
        .map(|name| Value::from(name.as_str()))
        .collect();
    if let Some(akamai) = event.get_mut("akamai").and_then(Value::as_object_mut) {
        akamai.insert("truncated".into(), shown.into());
    }
    let mut out = Vec::new();
    write_object(event, &mut out);
    out
}

/// Written with our own escapes, so that what is safe for Wazuh stays so. Texts came out of [`write_text`] once: a leading
/// blank before `[` is there already.
fn write_value(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::String(text) => {
            write_text(out, text.as_str().into(), Place::Item);
        }
        Value::Array(items) => {
            out.push(b'[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write_value(item, out);
            }
            out.push(b']');
        }
        Value::Object(members) => write_object(members, out),
        Value::Null | Value::Bool(_) | Value::Number(_) => out.extend_from_slice(value.to_string().as_bytes()),
    }
}

fn write_object(members: &Map<String, Value>, out: &mut Vec<u8>) {
    out.push(b'{');
    for (index, (key, value)) in members.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write_text(out, key.as_str().into(), Place::Item);
        out.push(b':');
        write_value(value, out);
    }
    out.push(b'}');
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

/// Leaves out the largest member of the line or of one of its objects; an array loses the second half of its items.
fn cut_largest_member(event: &mut Map<String, Value>, names: &mut Vec<String>) -> bool {
    let mut largest: (usize, Vec<String>) = (0, Vec::new());
    for (key, value) in event.iter() {
        let mut consider = |path: &[&str], value: &Value| {
            let size = value.to_string().len();
            if size > largest.0 && !KEPT.contains(&path) {
                largest = (size, path.iter().map(ToString::to_string).collect());
            }
        };
        match value.as_object().filter(|members| !members.is_empty()) {
            Some(members) => members.iter().for_each(|(inner, value)| consider(&[key, inner], value)),
            None => consider(&[key], value),
        }
    }
    let (_, path) = largest;
    let Some((last, parents)) = path.split_last() else { return false };
    let members = match parents.first() {
        Some(parent) => event.get_mut(parent).and_then(Value::as_object_mut),
        None => Some(event),
    };
    let Some(members) = members else { return false };
    match members.get_mut(last) {
        Some(Value::Array(items)) if items.len() > 1 => items.truncate(items.len() / 2),
        _ => {
            members.shift_remove(last);
        }
    }
    note(names, &path.join("."));
    true
}

fn note(names: &mut Vec<String>, path: &str) {
    if !names.iter().any(|name| name == path) {
        names.push(path.to_owned());
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

/// Bytes of `text` between the quotes of its JSON form.
fn escaped_length(text: &str) -> usize {
    text.chars().map(escaped_char_length).sum()
}

fn escaped_char_length(character: char) -> usize {
    match character {
        '"' | '\\' | '\r' | '\n' | '\t' => 2,
        '\u{0}'..='\u{1f}' | '\u{85}' | '\u{2028}' | '\u{2029}' => 6,
        other => other.len_utf8(),
    }
}

fn cut_text(text: &mut String, length_max: usize) {
    let mut length = 0;
    let end = text.char_indices().find_map(|(at, character)| {
        length += escaped_char_length(character);
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
    use serde_json::json;

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
    fn names_already_noted_stay() {
        let event = json!({"a": "x".repeat(9000), "akamai": {"event_id": "0", "truncated": ["url"]}});
        assert_eq!(check(&event, 1500)["akamai"]["truncated"], json!(["url", "a"]));
    }
}
