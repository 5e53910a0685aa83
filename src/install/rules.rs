//! What to do about the rules file: whether ours may be put there, and which ids are taken. Never writes a file.

use std::fs;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use super::change::present;
use super::record::Record;
use super::{InstallError, RULES_FILE};
use crate::files::FileError;
use crate::wazuh::TAG;
use crate::wazuh::conf::scan::{Document, Element, scan};
use crate::wazuh::home::Home;

/// Our ids.
const IDS: RangeInclusive<u32> = 100_100..=100_199;

/// What to do.
pub(super) enum RulesPlan {
    /// Put ours there; the original integration's file is in the way.
    Install { replaces: Option<PathBuf> },
    /// Somebody has edited ours.
    Edited,
    /// Ids of ours are taken: where.
    Clash(Vec<String>),
}

/// Looks at the rules folder.
pub(super) fn plan(home: &Home, record: &Record) -> Result<RulesPlan, InstallError> {
    let ours = home.path(RULES_FILE);
    let mut replaces = None;
    let mut clashes = Vec::new();
    let folder = home.path("etc/rules");
    for entry in fs::read_dir(&folder).map_err(FileError::of("list", &folder))? {
        let path = entry.map_err(FileError::of("list", &folder))?.path();
        // Wazuh passes over hidden files as well; what is no file holds no rules.
        let is_hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        let is_xml = path.extension().is_some_and(|extension| extension == "xml");
        if path == ours || is_hidden || !is_xml || !path.is_file() {
            continue;
        }
        let text = fs::read(&path).map_err(FileError::of("read", &path))?;
        if is_original(&text) {
            replaces = Some(path);
        } else {
            clashes.extend(taken(&text).into_iter().map(|(id, lines)| {
                format!(
                    "{}:{}-{}: rule {id} (remove these lines, then run install again)",
                    path.display(),
                    lines.start(),
                    lines.end()
                )
            }));
        }
    }
    if !clashes.is_empty() {
        return Ok(RulesPlan::Clash(clashes));
    }
    match present(&ours)?.map(|found| found.text) {
        Some(found) if is_original(&found) => Ok(RulesPlan::Install { replaces: Some(ours) }),
        Some(found) if !record.has_made(&found) => Ok(RulesPlan::Edited),
        _ => Ok(RulesPlan::Install { replaces }),
    }
}

/// Active responses to rules of ours: in Wazuh's own guide 100100 blocks addresses, and so it would those of every event.
pub(super) fn active_responses(text: &[u8], path: &Path) -> Vec<String> {
    let Ok(document) = scan(text) else { return Vec::new() };
    let mut found = Vec::new();
    for (response, element) in document.sections("active-response") {
        let ids = String::from_utf8_lossy(document.value(response, "rules_id").unwrap_or_default());
        let mut numbers = ids.split(|c: char| !c.is_ascii_digit()).filter_map(|id| id.parse().ok());
        if numbers.any(|id| IDS.contains(&id)) {
            found.push(format!(
                "WARNING: {}:{}: an <active-response> acts on rules {ids}, which are ours: it would act on every such Akamai event; remove it unless that is intended",
                path.display(),
                document.line(element.span.start)
            ));
        }
    }
    found
}

/// The file of the original integration: rule 100100 with its location and nothing else, blanks and comments aside.
fn is_original(text: &[u8]) -> bool {
    let Ok(document) = scan(text) else { return false };
    let [(index, rule)] = rules(&document)[..] else { return false };
    let location = document.value(index, "location").map(<[u8]>::trim_ascii);
    id(&document, rule) == Some(100_100)
        && location.and_then(|location| location.strip_prefix(b"command_")) == Some(TAG.as_bytes())
        && document.elements.iter().filter(|element| element.parent.is_none()).count() == 1
}

/// Ids of ours that a file has, with their lines.
fn taken(text: &[u8]) -> Vec<(u32, RangeInclusive<usize>)> {
    let Ok(document) = scan(text) else { return taken_by_text(text) };
    let found = rules(&document).into_iter().filter_map(|(_, rule)| {
        let id = id(&document, rule).filter(|id| IDS.contains(id))?;
        // Wazuh's own way of tuning a rule of somebody else's.
        let is_overwrite = document.attribute(rule, "overwrite") == Some(b"yes");
        (!is_overwrite).then(|| (id, document.line(rule.span.start)..=document.line(rule.span.end - 1)))
    });
    found.collect()
}

/// The same for a file that is not understood, by what its lines look like.
fn taken_by_text(text: &[u8]) -> Vec<(u32, RangeInclusive<usize>)> {
    let text = String::from_utf8_lossy(text);
    let lines = text.lines().enumerate().filter(|(_, line)| line.contains("<rule"));
    lines
        .filter_map(|(index, line)| {
            let value = line.split("id=").nth(1)?.trim_start_matches(['"', '\'']);
            let digits: String = value.chars().take_while(char::is_ascii_digit).collect();
            let id = digits.parse().ok().filter(|id| IDS.contains(id))?;
            Some((id, index + 1..=index + 1))
        })
        .collect()
}

fn rules<'a>(document: &'a Document<'_>) -> Vec<(usize, &'a Element)> {
    let elements = document.elements.iter().enumerate();
    elements.filter(|(_, element)| document.at(&element.name) == b"rule").collect()
}

fn id(document: &Document<'_>, rule: &Element) -> Option<u32> {
    std::str::from_utf8(document.attribute(rule, "id")?).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::install::RULES;

    const ORIGINAL: &str = "<!-- Akamai -->\n<group name=\"akamai,\">\n  <rule id=\"100100\" level=\"3\">\n    <location>command_akamai_siem</location>\n    <description>Akamai - Event fetched.</description>\n  </rule>\n</group>\n";

    #[test]
    fn the_originals_file_is_known_whatever_its_blanks() {
        assert!(is_original(ORIGINAL.as_bytes()));
        assert!(is_original(ORIGINAL.replace('\n', "\r\n").as_bytes()));
        assert!(!is_original(ORIGINAL.replace("100100", "100101").as_bytes()));
        assert!(!is_original(ORIGINAL.replace("akamai_siem", "other").as_bytes()));
        assert!(!is_original(RULES.as_bytes()));
        let two = ORIGINAL.replace("</group>", "<rule id=\"100200\" level=\"1\"></rule></group>");
        assert!(!is_original(two.as_bytes()));
        assert_eq!(taken(two.as_bytes()), [(100_100, 3..=6)]);
        assert_eq!(taken(two.replace("</group>", "<a").as_bytes()), [(100_100, 3..=3)]);
        assert!(taken(two.replace("level=\"3\"", "level=\"3\" overwrite=\"yes\"").as_bytes()).is_empty());
    }

    #[test]
    fn an_active_response_to_our_rules_is_noticed() {
        let conf =
            "<ossec_config>\n<active-response>\n<rules_id>5710, 100100</rules_id>\n</active-response>\n</ossec_config>";
        let found = active_responses(conf.as_bytes(), Path::new("x"));
        assert!(found.len() == 1 && found[0].starts_with("WARNING: x:2: "), "{found:?}");
        assert!(active_responses(conf.replace("100100", "100200").as_bytes(), Path::new("x")).is_empty());
    }
}
