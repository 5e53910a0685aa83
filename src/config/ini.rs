//! The lines of an INI file, each with its number. Never judges a key or a value.
//!
//! The grammar of a line is that of the `configparser` crate; it is given one line at a time, so that what is wrong can be
//! named with its line.

use configparser::ini::Ini;

/// `key = value` and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Setting {
    /// In lower case.
    pub(super) key: String,
    /// Everything behind the first `=`, without blanks around it.
    pub(super) value: String,
    /// Line number, from 1.
    pub(super) line: usize,
}

/// A section and its settings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Section {
    pub(super) name: String,
    pub(super) line: usize,
    pub(super) settings: Vec<Setting>,
    /// Lines that are no setting: number and what is wrong.
    pub(super) faults: Vec<(usize, String)>,
}

impl Section {
    pub(super) fn get(&self, key: &str) -> Option<&Setting> {
        self.settings.iter().find(|setting| setting.key == key)
    }
}

/// Splits a file into sections. What stands before the first one comes in a section without a name.
pub(super) fn sections(text: &str) -> Vec<Section> {
    let mut sections = vec![Section { line: 1, ..Section::default() }];
    for (index, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        let number = index + 1;
        let current = sections.len() - 1;
        match read_line(line) {
            Line::Blank => {}
            Line::Section(name) => {
                let known = sections.iter().find(|section| section.name == name).map(|section| section.line);
                let mut section = Section { name, line: number, ..Section::default() };
                if let Some(first) = known {
                    section.faults.push((number, format!("the section is given twice, first in line {first}")));
                }
                sections.push(section);
            }
            Line::Setting(key, value) => match sections[current].get(&key).map(|first| first.line) {
                Some(first) => {
                    sections[current]
                        .faults
                        .push((number, format!("{key}: the key is given twice, first in line {first}")));
                }
                None => sections[current].settings.push(Setting { key, value, line: number }),
            },
            Line::Fault(what) => sections[current].faults.push((number, what.into())),
        }
    }
    sections
}

enum Line {
    Blank,
    Section(String),
    Setting(String, String),
    Fault(&'static str),
}

fn read_line(line: &str) -> Line {
    const NO_SETTING: &str = "neither a [section] nor a line of the form key = value";
    if line.trim().is_empty() {
        return Line::Blank;
    }
    let mut grammar = Ini::new_cs().defaults();
    grammar.comment_symbols = vec![';', '#'];
    // Config ids and secrets hold these characters.
    grammar.inline_comment_symbols = Some(Vec::new());
    grammar.delimiters = vec!['='];
    let Ok(map) = Ini::new_from_defaults(grammar).read(line.to_owned()) else { return Line::Fault(NO_SETTING) };
    let Some((name, settings)) = map.into_iter().next() else { return Line::Blank };
    if line.trim_start().starts_with('[') {
        let proper = line.trim_end().ends_with(']') && !name.is_empty();
        return if proper { Line::Section(name) } else { Line::Fault("a section is named [name], alone on its line") };
    }
    match settings.into_iter().next() {
        Some((key, Some(value))) if !key.is_empty() => Line::Setting(key.to_ascii_lowercase(), value),
        _ => Line::Fault(NO_SETTING),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_taken_literally_from_the_first_equals_sign() {
        let sections = sections(
            "\u{feff}[a]\r\n Host = x:1 \r\n; c\r\n# d\r\nclient_secret = a=b;c#d%(e)s==\r\nids=1;2\r\nempty =\r\n",
        );
        assert_eq!(sections.len(), 2);
        let values: Vec<_> = sections[1].settings.iter().map(|s| (s.key.as_str(), s.value.as_str(), s.line)).collect();
        assert_eq!(
            values,
            [("host", "x:1", 2), ("client_secret", "a=b;c#d%(e)s==", 5), ("ids", "1;2", 6), ("empty", "", 7)]
        );
        assert!(sections.iter().all(|section| section.faults.is_empty()));
    }

    #[test]
    fn what_is_no_setting_is_a_fault_of_its_section() {
        let sections = sections("x = 1\n[a]\nword\n= 1\nk = 1\nK = 2\n[b\n[a]\n");
        assert_eq!(sections[0].settings.len(), 1);
        let lines: Vec<usize> = sections[1].faults.iter().map(|(line, _)| *line).collect();
        assert_eq!(lines, [3, 4, 6, 7]);
        assert!(sections[1].faults[2].1.contains("twice, first in line 5"));
        assert!(sections[2].faults[0].1.contains("twice, first in line 2"));
    }
}
