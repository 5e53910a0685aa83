//! The lines of an INI file, each with its number, so that what is wrong can be named with its line. Never judges a key or a
//! value, never shows a line.
//!
//! Config ids and secrets hold `;` and `#`, so that a comment begins only where a line does. Python's configparser takes `=`
//! and `:`, and so the original integration's file may have either.
#![deny(clippy::disallowed_macros, clippy::disallowed_methods, clippy::disallowed_types)]

use std::collections::HashMap;

use super::DEFAULT;

/// Characters of a key. What stands before a `=` and is longer or holds other characters than keys do may be a part of a
/// secret that got onto a line of its own (they end in `=`), so no message shows it.
const KEY_CHARS_MAX: usize = 32;

/// Characters of a section's name.
const SECTION_CHARS_MAX: usize = 64;

/// `key = value` and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Setting {
    /// In lower case, with `_` for `-`.
    pub(super) key: String,
    /// Everything behind the first `=` or `:`, without blanks around it.
    pub(super) value: String,
    /// Line number, from 1.
    pub(super) line: usize,
}

/// A line that is no setting, or one too many.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) line: usize,
    pub(super) key: Option<String>,
    pub(super) problem: String,
}

/// A section and its settings; no key stands in it twice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Section {
    /// The file it stands in, for messages.
    pub(super) file: String,
    /// Without blanks around it; `default` in lower case.
    pub(super) name: String,
    /// Line of its name, from 1.
    pub(super) line: usize,
    pub(super) settings: Vec<Setting>,
    pub(super) faults: Vec<Fault>,
}

impl Section {
    pub(super) fn get(&self, key: &str) -> Option<&Setting> {
        self.settings.iter().find(|setting| setting.key == key)
    }

    fn fault(&mut self, line: usize, key: Option<String>, problem: impl Into<String>) {
        self.faults.push(Fault { line, key, problem: problem.into() });
    }
}

/// Splits a file into sections; no two have one name. What stands before the first one comes in a section without a name,
/// ahead of the others.
pub(super) fn sections(file: &str, text: &str) -> Vec<Section> {
    let mut sections = vec![Section { file: file.to_owned(), line: 1, ..Section::default() }];
    let mut current = 0;
    let mut known_sections: HashMap<String, usize> = HashMap::new();
    let mut known_keys: HashMap<(usize, String), usize> = HashMap::new();
    for (index, line) in text.lines().enumerate() {
        let number = index + 1;
        match read_line(line) {
            Line::Blank => {}
            Line::Section(name) => {
                current = *known_sections.entry(name.clone()).or_insert(sections.len());
                match sections.get_mut(current) {
                    Some(section) => {
                        let problem = format!("the section appears twice, first on line {}", section.line);
                        section.fault(number, None, problem);
                    }
                    None => {
                        sections.push(Section { file: file.to_owned(), name, line: number, ..Section::default() });
                    }
                }
            }
            Line::Setting(key, value) => {
                let first = *known_keys.entry((current, key.clone())).or_insert(number);
                if first == number {
                    sections[current].settings.push(Setting { key, value, line: number });
                } else {
                    sections[current].fault(number, Some(key), format!("the key appears twice, first on line {first}"));
                }
            }
            Line::Fault(problem) => sections[current].fault(number, None, problem),
        }
    }
    sections
}

/// What a line holds.
pub(super) enum Line {
    Blank,
    Section(String),
    Setting(String, String),
    Fault(&'static str),
}

pub(super) fn read_line(line: &str) -> Line {
    let line = line.strip_prefix('\u{feff}').unwrap_or(line).trim();
    if line.is_empty() || line.starts_with([';', '#']) {
        return Line::Blank;
    }
    if let Some(rest) = line.strip_prefix('[') {
        return section_name(rest.strip_suffix(']').unwrap_or_default()).map_or_else(Line::Fault, Line::Section);
    }
    let Some((key, value)) = line.split_once(['=', ':']).filter(|(key, _)| !key.trim().is_empty()) else {
        return Line::Fault("the line is neither a [section] nor of the form key = value");
    };
    let (key, value) = (key.trim(), value.trim());
    let proper = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    if key.len() > KEY_CHARS_MAX || !key.bytes().all(proper) {
        return Line::Fault(
            "what comes before the first = or : is not a key; a key consists of letters, digits and _, followed by =",
        );
    }
    // Some of Akamai's tools write `client-token`.
    Line::Setting(key.to_ascii_lowercase().replace('-', "_"), value.to_owned())
}

/// The name of a section, as it counts.
pub fn section_name(name: &str) -> Result<String, &'static str> {
    let name = name.trim();
    if name.is_empty() {
        return Err("a section is named [name], alone on its line");
    }
    if name.chars().count() > SECTION_CHARS_MAX || name.chars().any(char::is_control) {
        return Err("the name of the section is longer than 64 characters or contains a control character");
    }
    Ok(if name.eq_ignore_ascii_case(DEFAULT) { DEFAULT } else { name }.to_owned())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn values_are_taken_literally_from_the_first_equals_sign_or_colon() {
        let text = "\u{feff}[a]\r\n Host = x:1 \r\n; c\r\n  # d\r\nclient_secret = a=b;c#d%(e)s==\r\nids: 1;2=3\r\nempty =\r\nA-b : c:d\r\n";
        let sections = sections("f", text);
        assert_eq!(sections.len(), 2);
        let values: Vec<_> = sections[1].settings.iter().map(|s| (s.key.as_str(), s.value.as_str(), s.line)).collect();
        assert_eq!(
            values,
            [
                ("host", "x:1", 2),
                ("client_secret", "a=b;c#d%(e)s==", 5),
                ("ids", "1;2=3", 6),
                ("empty", "", 7),
                ("a_b", "c:d", 8)
            ]
        );
        assert!(sections.iter().all(|section| section.faults.is_empty()));
    }

    #[test]
    fn an_indented_line_continues_nothing() {
        let sections = sections("f", "[a]\nk = 1\n  l = 2\n");
        assert_eq!((sections[1].get("k").unwrap().value.as_str(), sections[1].get("l").unwrap().line), ("1", 3));
    }

    #[test]
    fn what_is_no_setting_is_a_fault_of_its_section() {
        let sections = sections("f", "x = 1\n[a]\nword\n= 1\nk = 1\nK = 2\n[b\n[c] x\n[]\n[a]\nl = 1\nk = 3\n");
        assert_eq!(sections[0].settings.len(), 1);
        assert_eq!(sections.len(), 2);
        let faults: Vec<_> = sections[1].faults.iter().map(|f| (f.line, f.key.as_deref())).collect();
        assert_eq!(
            faults,
            [(3, None), (4, None), (6, Some("k")), (7, None), (8, None), (9, None), (10, None), (12, Some("k"))]
        );
        assert!(sections[1].faults[2].problem.contains("twice, first on line 5"));
        assert!(sections[1].faults[6].problem.contains("twice, first on line 2"));
        assert_eq!(sections[1].settings.len(), 2);
    }

    #[test]
    fn default_is_one_section_in_any_case() {
        let sections = sections("f", "[DEFAULT]\na = 1\n[Default]\nb = 1\n[Shop]\n[shop]\n");
        let names: Vec<_> = sections.iter().map(|section| (section.name.as_str(), section.faults.len())).collect();
        assert_eq!(names, [("", 0), ("default", 1), ("Shop", 0), ("shop", 0)]);
    }

    #[test]
    fn a_piece_of_a_secret_is_not_taken_for_a_key() {
        let long = format!("{}=", "g".repeat(43));
        for line in ["ge/heim=", "gehei+m==", "client_secret geheim=", "ä=", &long] {
            assert_eq!(sections("f", &format!("[a]\n{line}\n"))[1].faults.len(), 1, "{line}");
        }
    }

    #[test]
    fn a_large_file_takes_no_time() {
        let text: String = (0..40_000).map(|number| format!("[s{number}]\nk{number}=\n")).collect();
        assert_eq!(sections("f", &text).len(), 40_001);
        let text: String = (0..80_000).map(|number| format!("k{number}=\n")).collect();
        assert_eq!(sections("f", &text)[0].settings.len(), 80_000);
    }
}
