//! Values into the text of a configuration, PURE: what is not set stays as it is, byte for byte, comments included.
#![deny(clippy::disallowed_macros, clippy::disallowed_methods, clippy::disallowed_types)]

use super::ini::{Line, read_line};

/// The text with these values in `section`: in the place of those that are there, else behind the section's header; a section
/// that is missing comes to the end. Values must hold no line breaks. The keys of `without` are taken out of the section.
pub fn with_values(text: &str, section: &str, values: &[(&str, String)], without: &[&str]) -> String {
    let mut before: Vec<String> = text.split_inclusive('\n').map(str::to_owned).collect();
    if let Some(last) = before.last_mut().filter(|last| !last.ends_with('\n')) {
        last.push('\n');
    }
    let is_header = |line: &String| matches!(read_line(line), Line::Section(name) if name == section);
    let header = before.iter().position(is_header).unwrap_or_else(|| {
        if !before.is_empty() {
            before.push("\n".into());
        }
        before.push(format!("[{section}]\n"));
        before.len() - 1
    });
    let mut inside = before.split_off(header + 1);
    let end = inside.iter().position(|line| matches!(read_line(line), Line::Section(_))).unwrap_or(inside.len());
    let behind = inside.split_off(end);
    let has_key = |line: &String, key: &str| matches!(read_line(line), Line::Setting(found, _) if found == key);
    inside.retain(|line| !without.iter().any(|key| has_key(line, key)));
    let mut next = 0;
    for (key, value) in values {
        let line = format!("{key} = {value}\n");
        if let Some(at) = inside.iter().position(|line| has_key(line, key)) {
            inside[at] = line;
            next = next.max(at + 1);
        } else {
            inside.insert(next, line);
            next += 1;
        }
    }
    [before, inside, behind].concat().concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_where_they_belong_and_the_rest_stays() {
        let text = "; c\n[default]\nHost = old\n;host = x\nlimit = 5\n\n[b]\nhost = b\n";
        assert_eq!(
            with_values(text, "default", &[("host", "new==".into()), ("config_id", "7;8".into())], &["limit"]),
            "; c\n[default]\nhost = new==\nconfig_id = 7;8\n;host = x\n\n[b]\nhost = b\n"
        );
        assert_eq!(with_values("[a]\nx = 1", "b", &[("host", "h".into())], &[]), "[a]\nx = 1\n\n[b]\nhost = h\n");
        assert_eq!(
            with_values("[a]\nHost: x\nclient-token: y\n", "a", &[("host", "h".into())], &["client_token"]),
            "[a]\nhost = h\n"
        );
        assert_eq!(with_values("", "b", &[("host", "h".into())], &["x"]), "[b]\nhost = h\n");
    }
}
