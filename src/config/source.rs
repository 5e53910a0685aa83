//! One section → one source. Never reads a file itself: the text of an `.edgerc` comes from the caller.
#![deny(clippy::disallowed_macros, clippy::disallowed_methods, clippy::disallowed_types)]

use std::path::{Path, PathBuf};

use super::ini::{self, Section};
use super::keys::{self, Set};
use super::values::{Host, flag, is_placeholder};
use super::{DEFAULT, Errors, KEYS, SourceState};
use crate::akamai::edgegrid::Credentials;
use crate::akamai::query::{ConfigIds, LIMIT_MAX};
use crate::event::EventSettings;
use crate::secret::Secret;

/// Headers whose values are redacted unless the configuration says otherwise.
pub const REDACT_HEADERS: [&str; 7] = [
    "authorization",
    "proxy-authorization",
    "cookie",
    "set-cookie",
    "x-api-key",
    "x-auth-token",
    "x-amz-security-token",
];

/// Bytes of an event line unless the configuration says otherwise: Wazuh's limit with a margin.
const EVENT_LINE_BYTES: usize = 65_000;

/// Seconds of a window unless the configuration says otherwise: the original integration's 5 minutes.
const WINDOW_S: i64 = 300;

/// One account whose events are fetched.
#[derive(Clone, Debug)]
pub struct Source {
    /// Name of its section.
    pub name: String,
    pub host: Host,
    pub credentials: Credentials,
    pub config_ids: ConfigIds,
    pub mode: Mode,
    /// Seconds of the first look, or of each.
    pub window_s: i64,
    /// Events asked for in one request, at most.
    pub limit: u32,
    /// Events a second handed to Wazuh, at most; none for as many as it takes.
    pub max_eps: Option<u64>,
    pub events: EventSettings,
    pub run_on: RunOn,
    /// A proxy to go through, with its password.
    pub proxy: Option<Secret>,
    /// Certificates to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
}

impl Source {
    /// One with the defaults of all keys that have one.
    pub fn new(name: &str) -> Self {
        let redact_headers = REDACT_HEADERS.map(String::from).to_vec();
        Self {
            name: name.to_owned(),
            host: Host::default(),
            credentials: Credentials::default(),
            config_ids: ConfigIds::default(),
            mode: Mode::Follow,
            window_s: WINDOW_S,
            limit: LIMIT_MAX,
            max_eps: None,
            events: EventSettings { source: name.to_owned(), line_bytes_max: EVENT_LINE_BYTES, redact_headers },
            run_on: RunOn::Master,
            proxy: None,
            ca_file: None,
        }
    }
}

/// How a source goes on from run to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// From the offset that Akamai returned.
    Follow,
    /// Each time the last window, remembering nothing.
    Window,
}

/// Where in a Wazuh cluster a source runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunOn {
    /// On the master only.
    Master,
    /// On any node.
    Any,
}

/// The keys without which no request can be signed.
pub(super) const REQUIRED: [&str; 5] = ["host", "config_id", "client_token", "client_secret", "access_token"];

/// Those of them that an `.edgerc` gives.
const FROM_EDGERC: [&str; 4] = ["host", "client_token", "client_secret", "access_token"];

/// Makes a source of `section`, with `default` for what it leaves out.
pub(super) fn resolve(
    section: &Section,
    default: Option<&Section>,
    read_edgerc: &impl Fn(&Path) -> Result<String, String>,
) -> SourceState {
    let mut errors = Errors::default();
    if default.is_some() {
        errors.faults(section);
        errors.keys(section, |key| matches!(key.set, Set::Global(_)).then_some("this key belongs in [default]"));
    }
    let layers: Vec<&Section> = std::iter::once(section).chain(default).collect();
    let find = |key: &str| layers.iter().find_map(|section| Some((*section, section.get(key)?)));
    let mut is_enabled = true;
    errors.take(find("enabled"), |text| flag(text).map(|value| is_enabled = value));
    if !is_enabled {
        return if errors.list.is_empty() { SourceState::Disabled } else { SourceState::Invalid(errors.list) };
    }

    let edgerc = edgerc(&layers, read_edgerc, &mut errors);
    let find = |key: &str| match &edgerc {
        Edgerc::Section(edgerc) if FROM_EDGERC.contains(&key) => edgerc.get(key).map(|setting| (edgerc, setting)),
        Edgerc::Unusable if FROM_EDGERC.contains(&key) => None,
        _ => find(key),
    };
    let (set, missing): (Vec<&'static str>, Vec<&'static str>) =
        REQUIRED.into_iter().partition(|key| find(key).is_some());
    let untouched = set.is_empty() && matches!(edgerc, Edgerc::Unused);
    for key in missing {
        // What an .edgerc lacks has been said already.
        let said = !matches!(edgerc, Edgerc::Unused) && FROM_EDGERC.contains(&key);
        if !untouched && !said {
            errors.at(section, section.line, Some(key), keys::with_accepted(key, keys::KEY_MISSING));
        }
    }
    let open: Vec<&'static str> = REQUIRED
        .into_iter()
        .filter(|key| find(key).is_none_or(|(_, setting)| is_placeholder(key, &setting.value)))
        .collect();
    let mut source = Source::new(&section.name);
    for key in KEYS.iter().filter(|key| !open.contains(&key.name)) {
        if let Set::Source(set) = key.set {
            errors.take(find(key.name), |text| set(&mut source, text));
        }
    }
    if !errors.list.is_empty() {
        SourceState::Invalid(errors.list)
    } else if open.is_empty() {
        SourceState::Ready(Box::new(source))
    } else {
        SourceState::NotConfigured(open)
    }
}

/// The required values that no layer gives.
pub(super) fn open_values(layers: &[&Section]) -> Vec<&'static str> {
    let find = |key: &str| layers.iter().find_map(|section| section.get(key));
    let has_edgerc = deciding(layers).is_some_and(|layer| layer.get("edgerc").is_some());
    REQUIRED
        .into_iter()
        .filter(|key| !(has_edgerc && FROM_EDGERC.contains(key)))
        .filter(|key| find(key).is_none_or(|setting| is_placeholder(key, &setting.value)))
        .collect()
}

/// Where host and credentials come from.
enum Edgerc {
    /// From the configuration itself.
    Unused,
    /// From this section of an `.edgerc`.
    Section(Section),
    /// From an `.edgerc` that cannot be used; why is among the errors.
    Unusable,
}

/// The innermost layer that names an `.edgerc`, a host or a credential: it decides where those come from.
fn deciding<'a>(layers: &[&'a Section]) -> Option<&'a Section> {
    layers.iter().find(|section| section.get("edgerc").is_some() || direct(section).is_some()).copied()
}

fn direct(section: &Section) -> Option<&'static str> {
    FROM_EDGERC.into_iter().find(|key| section.get(key).is_some())
}

/// Finds the section of the `.edgerc` that the source uses, if it does.
fn edgerc(layers: &[&Section], read_edgerc: &impl Fn(&Path) -> Result<String, String>, errors: &mut Errors) -> Edgerc {
    let Some((layer, setting)) = deciding(layers).and_then(|layer| Some((layer, layer.get("edgerc")?))) else {
        let alone = layers.iter().find_map(|layer| Some((*layer, layer.get("edgerc_section")?)));
        if let Some((layer, setting)) = alone.filter(|_| layers.iter().all(|layer| layer.get("edgerc").is_none())) {
            let problem = "there is no edgerc that this could be a section of; add one, or remove this key";
            errors.at(layer, setting.line, Some("edgerc_section"), problem);
        }
        return Edgerc::Unused;
    };
    let mut fail = |problem: &str| errors.at(layer, setting.line, Some("edgerc"), problem);
    if setting.value.is_empty() {
        fail(&keys::with_accepted("edgerc", "the value is empty"));
        return Edgerc::Unusable;
    }
    if let Some(key) = direct(layer) {
        fail(&format!("the section has {key} too; remove either edgerc or {}", FROM_EDGERC.join(", ")));
        return Edgerc::Unusable;
    }
    let path = Path::new(&layer.file).parent().unwrap_or(Path::new("")).join(&setting.value);
    let text = match read_edgerc(&path) {
        Ok(text) => text,
        Err(problem) => {
            fail(&problem);
            return Edgerc::Unusable;
        }
    };
    let name = layers.iter().find_map(|section| section.get("edgerc_section")).map(|setting| setting.value.as_str());
    let name = name.filter(|name| !name.eq_ignore_ascii_case(DEFAULT)).unwrap_or(DEFAULT);
    let file = path.display().to_string();
    let Some(mut found) = ini::sections(&file, &text).into_iter().skip(1).find(|section| section.name == name) else {
        fail(&format!("{file} has no section [{name}]"));
        return Edgerc::Unusable;
    };
    let lacking: Vec<&str> = FROM_EDGERC.into_iter().filter(|key| found.get(key).is_none()).collect();
    if !lacking.is_empty() {
        fail(&format!("[{name}] of {file} lacks {}", lacking.join(", ")));
    }
    errors.faults(&found);
    for setting in &mut found.settings {
        setting.value = unquoted(&setting.value).to_owned();
    }
    Edgerc::Section(found)
}

/// Some of Akamai's tools write quotes around the values of an `.edgerc`.
fn unquoted(value: &str) -> &str {
    let inner = |quote| value.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote));
    inner('"').or_else(|| inner('\'')).unwrap_or(value)
}
