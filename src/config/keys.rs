//! Every key of the configuration with what it accepts: the one list for messages, template and tests.

/// Where a key may stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// In any section; in `[default]` it is the default of the others.
    Source,
    /// In `[default]` only: it concerns the whole program.
    Global,
}

/// A key.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Its name, in lower case.
    pub name: &'static str,
    /// Where it may stand.
    pub scope: Scope,
    /// What it accepts, for messages.
    pub accepted: &'static str,
}

/// All keys, in the order of the template.
pub const KEYS: &[Key] = &[
    source("host", "the API client's host, bare or with https://; http:// for a loopback address only"),
    source("config_id", "one or several numbers, separated by ; or ,"),
    source("client_token", "the token as Akamai shows it"),
    source("client_secret", "the secret as Akamai shows it"),
    source("access_token", "the token as Akamai shows it"),
    source("edgerc", "the path of an .edgerc file, absolute or from this file's folder"),
    source("edgerc_section", "the name of a section of the .edgerc file"),
    source("enabled", "yes or no"),
    source("mode", "follow or window"),
    source("window", "1 to 43200 seconds"),
    source("limit", "1 to 600000 events"),
    global("output", "stdout or queue"),
    source("max_eps", "auto, or 1 to 100000 events a second"),
    source("redact_headers", "header names separated by commas, or none"),
    source("max_line", "1024 to 65513 bytes"),
    source("run_on", "master or any"),
    source("proxy", "http://[user:password@]host[:port] or the same with https://"),
    source("ca_file", "an absolute path"),
    global("wazuh_home", "auto, or an absolute path"),
    global("user", "a user name"),
    global("state_dir", "an absolute path"),
    global("spool_max", "a size such as 4GiB or 500MB"),
    global("log_file", "an absolute path"),
    global("log_level", "error, warn, info, debug or trace"),
];

/// What is said of a key that is not there.
pub const KEY_MISSING: &str = "the key is missing";

/// The key of this name.
pub(super) fn named(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

/// Whether a name that is no key may be shown: it looks like a mistyped one. What does not may be a value that went on in a
/// line of its own, and a secret; what begins like the key of one may hold it.
pub(super) fn may_show(name: &str) -> bool {
    let holds_one = ["client_secret", "client_token", "access_token"].iter().any(|key| name.starts_with(key));
    !holds_one && name.len() <= 24 && name.bytes().all(|byte| byte.is_ascii_alphabetic() || b"_- ".contains(&byte))
}

/// What to say of a name that is no key.
pub(super) fn unknown(name: &str) -> String {
    let near = KEYS.iter().map(|key| (distance(name, key.name), key.name)).min().filter(|(distance, _)| *distance <= 2);
    let question = near.map(|(_, key)| format!(" (did you mean {key}?)")).unwrap_or_default();
    let known: Vec<&str> = KEYS.iter().map(|key| key.name).collect();
    format!("unknown key{question}; accepted: {}", known.join(", "))
}

/// `problem` with what the key accepts.
pub(super) fn with_accepted(name: &str, problem: &str) -> String {
    match named(name) {
        Some(key) => format!("{problem}; accepted: {}", key.accepted),
        None => problem.to_owned(),
    }
}

const fn source(name: &'static str, accepted: &'static str) -> Key {
    Key { name, scope: Scope::Source, accepted }
}

const fn global(name: &'static str, accepted: &'static str) -> Key {
    Key { name, scope: Scope::Global, accepted }
}

/// Letters to insert, drop or change to get from one name to the other (Levenshtein). Names are short: `ini` bounds them.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, letter) in one.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, other_letter) in other.iter().enumerate() {
            let change = diagonal + usize::from(letter != *other_letter);
            diagonal = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_near_miss_is_recognised() {
        assert!(unknown("confg_id").starts_with("unknown key (did you mean config_id?); accepted: host, config_id, "));
        assert!(!may_show("client_secretabc"));
        assert!(may_show("confg_id") && !may_show("u1vqagvydxrlzw==") && !may_show("akab-h05tnam3wl42son7"));
        assert!(unknown("password").starts_with("unknown key; accepted: host, config_id, "));
    }
}
