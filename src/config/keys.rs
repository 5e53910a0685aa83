//! Every key of the configuration, what it accepts and where its value goes: the one list for parsing, messages and tests.
#![deny(clippy::disallowed_macros, clippy::disallowed_methods, clippy::disallowed_types)]

use super::values::{absolute_path, auto_or, header_names, host, number, proxy, secret, size, token, user_name, word};
use super::{Global, Mode, Output, RunOn, Source};
use crate::akamai::query::{ConfigIds, LIMIT_MAX, RETENTION_S};
use crate::event::{EVENT_LINE_BYTES_MAX, EVENT_LINE_BYTES_MIN};

/// Events a second that a configuration may ask for.
const MAX_EPS_MAX: u64 = 100_000;

/// A key, its name in lower case and, for messages, what it accepts.
#[derive(Debug)]
pub struct Key {
    pub name: &'static str,
    pub(super) accepted: &'static str,
    pub(super) set: Set,
}

/// How a value is taken.
#[derive(Debug)]
pub(super) enum Set {
    /// Read ahead of the others, which depend on it.
    First,
    /// In any section; in `[default]` it is the default of the others.
    Source(fn(&mut Source, &str) -> Result<(), String>),
    /// In `[default]` only: it concerns the whole program.
    Global(fn(&mut Global, &str) -> Result<(), String>),
}

/// All keys, in the order of the template.
#[rustfmt::skip]
pub const KEYS: &[Key] = &[
    source("host", "the API client's host, bare or with https://; http:// for a loopback address only",
        |source, text| host(text).map(|value| source.host = value)),
    source("config_id", "one or several numbers, separated by ; or ,",
        |source, text| ConfigIds::parse(text).map(|value| source.config_ids = value)),
    source("client_token", "the token as Akamai shows it",
        |source, text| token(text).map(|value| source.credentials.client_token = value)),
    source("client_secret", "the secret as Akamai shows it",
        |source, text| secret(text).map(|value| source.credentials.client_secret = value)),
    source("access_token", "the token as Akamai shows it",
        |source, text| token(text).map(|value| source.credentials.access_token = value)),
    first("edgerc", "the path of an .edgerc file, absolute or from this file's folder"),
    first("edgerc_section", "the name of a section of the .edgerc file"),
    first("enabled", "yes or no"),
    source("mode", "follow or window",
        |source, text| word(&[("follow", Mode::Follow), ("window", Mode::Window)])(text).map(|value| source.mode = value)),
    source("window", "1 to 43200 seconds",
        |source, text| number(1, RETENTION_S)(text).map(|value| source.window_s = value)),
    source("limit", "1 to 600000 events",
        |source, text| number(1, LIMIT_MAX)(text).map(|value| source.limit = value)),
    global("output", "stdout or queue",
        |global, text| word(&[("stdout", Output::Stdout), ("queue", Output::Queue)])(text).map(|value| global.output = value)),
    source("max_eps", "auto, or 1 to 100000 events a second",
        |source, text| auto_or(number(1, MAX_EPS_MAX))(text).map(|value| source.max_eps = value)),
    source("redact_headers", "header names separated by commas, or none",
        |source, text| header_names(text).map(|value| source.events.redact_headers = value)),
    source("max_line", "1024 to 65513 bytes",
        |source, text| number(EVENT_LINE_BYTES_MIN, EVENT_LINE_BYTES_MAX)(text).map(|value| source.events.line_bytes_max = value)),
    source("run_on", "master or any",
        |source, text| word(&[("master", RunOn::Master), ("any", RunOn::Any)])(text).map(|value| source.run_on = value)),
    source("proxy", "http://[user:password@]host[:port] or the same with https://",
        |source, text| proxy(text).map(|value| source.proxy = Some(value))),
    source("ca_file", "an absolute path",
        |source, text| absolute_path(text).map(|value| source.ca_file = Some(value))),
    global("wazuh_home", "auto, or an absolute path",
        |global, text| auto_or(absolute_path)(text).map(|value| global.wazuh_home = value)),
    global("user", "a user name",
        |global, text| user_name(text).map(|value| global.user = value)),
    global("state_dir", "an absolute path",
        |global, text| absolute_path(text).map(|value| global.state_dir = value)),
    global("spool_max", "a size such as 4GiB or 500MB",
        |global, text| size(text).map(|value| global.spool_bytes_max = value)),
    global("log_file", "an absolute path",
        |global, text| absolute_path(text).map(|value| global.log_file = value)),
    global("log_level", "error, warn, info, debug or trace",
        |global, text| word(LEVELS)(text).map(|value| global.log_level = value)),
];

const LEVELS: &[(&str, log::LevelFilter)] = &[
    ("error", log::LevelFilter::Error),
    ("warn", log::LevelFilter::Warn),
    ("info", log::LevelFilter::Info),
    ("debug", log::LevelFilter::Debug),
    ("trace", log::LevelFilter::Trace),
];

const fn first(name: &'static str, accepted: &'static str) -> Key {
    Key { name, accepted, set: Set::First }
}

const fn source(name: &'static str, accepted: &'static str, set: fn(&mut Source, &str) -> Result<(), String>) -> Key {
    Key { name, accepted, set: Set::Source(set) }
}

const fn global(name: &'static str, accepted: &'static str, set: fn(&mut Global, &str) -> Result<(), String>) -> Key {
    Key { name, accepted, set: Set::Global(set) }
}

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
    let near = KEYS
        .iter()
        .map(|key| (strsim::levenshtein(name, key.name), key.name))
        .min()
        .filter(|(distance, _)| *distance <= 2);
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
