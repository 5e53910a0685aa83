//! The configuration: text → types, PURE but for [`load`]. Parsed once; nothing downstream checks a value again.
//!
//! Every section is one source (one account, one cursor); keys in `[default]` are the defaults of the others. What is wrong
//! in one source disables that source only.

mod ini;
mod keys;
mod source;
mod values;

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

pub use self::keys::{KEYS, Key, Scope};
pub use self::source::{EVENT_LINE_BYTES, MaxEps, Mode, REDACT_HEADERS, RunOn, Source};
pub use self::values::Host;

use self::ini::{Section, Setting};
use self::values::{absolute_path, size, user_name, word};

/// Where the configuration is looked for.
pub const CONFIG_FILE: &str = "/etc/wazuh-akamai/akamai_config.ini";

/// Bytes of a configuration or `.edgerc` file.
pub const CONFIG_BYTES_MAX: u64 = 1 << 20;

/// The whole configuration.
#[derive(Debug)]
pub struct Config {
    /// What concerns the whole program, or what is wrong with it.
    pub global: Result<Global, Vec<ConfigError>>,
    /// The sources, in the order of the file; at least one.
    pub sources: Vec<SourceEntry>,
}

/// A source and how it stands.
#[derive(Debug)]
pub struct SourceEntry {
    /// Name of its section.
    pub name: String,
    /// How it stands.
    pub state: SourceState,
}

/// How a source stands.
#[derive(Debug)]
pub enum SourceState {
    /// It can be asked.
    Ready(Box<Source>),
    /// `enabled = no`.
    Disabled,
    /// These keys are still to be filled in.
    NotConfigured(Vec<&'static str>),
    /// It is disabled until this is mended.
    Invalid(Vec<ConfigError>),
}

/// The keys that only `[default]` has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Global {
    /// Wazuh's folder; none for "find it".
    pub wazuh_home: Option<PathBuf>,
    /// The user that `collect` becomes when started as root.
    pub user: String,
    /// Folder of cursors and spool.
    pub state_dir: PathBuf,
    /// Bytes that the spool may take.
    pub spool_bytes_max: u64,
    /// The log of `collect`.
    pub log_file: PathBuf,
    /// The least severe messages that are logged.
    pub log_level: log::LevelFilter,
}

/// One thing that is wrong, with its place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}: [{section}]{}: {problem}", key.as_ref().map(|key| format!(" {key}")).unwrap_or_default())]
pub struct ConfigError {
    /// The file.
    pub file: String,
    /// Its line, from 1.
    pub line: usize,
    /// The section.
    pub section: String,
    /// The key, if it concerns one.
    pub key: Option<String>,
    /// What is wrong and what is accepted.
    pub problem: String,
}

/// Why a file could not be used at all.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// There is none.
    #[error("there is no {}: copy the template akamai_config.ini there (mode 0600) and fill it in", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// Others than its owner may read or change it.
    #[error("{} can be read or written by every user of this machine (mode {mode:04o}), and it holds secrets; run: chmod 600 {}", path.display(), path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// It is no configuration: a folder, too large, not UTF-8.
    #[error("cannot use {}: {problem}", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What it is.
        problem: String,
    },
    /// It cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

/// Reads and parses a configuration file.
///
/// # Errors
/// A file that is missing, exposed, unreadable or too large; what is wrong inside it is part of the [`Config`].
pub fn load(path: &Path) -> Result<Config, LoadError> {
    let text = read_private(path)?;
    let folder = path.parent().unwrap_or(Path::new("/"));
    Ok(parse(&path.display().to_string(), &text, |edgerc| {
        read_private(&folder.join(edgerc)).map_err(|error| error.to_string())
    }))
}

/// Parses a configuration. `file` is its name for messages; `read_edgerc` gives the text of an `.edgerc` file that it
/// names.
pub fn parse(file: &str, text: &str, read_edgerc: impl Fn(&Path) -> Result<String, String>) -> Config {
    let mut sections = ini::sections(text);
    let orphans = sections.remove(0);
    let default_at = sections.iter().position(|section| section.name.eq_ignore_ascii_case("default"));
    let empty = Section { name: "default".into(), line: 1, ..Section::default() };
    let default = default_at.map_or(&empty, |at| &sections[at]);

    let mut errors = Errors { file, list: Vec::new() };
    for setting in &orphans.settings {
        errors.at(setting.line, "", Some(&setting.key), "the key stands before the first [section]");
    }
    errors.faults(&orphans);
    errors.faults(default);
    errors.keys(default, |_| None);
    let global = global(default, &mut errors);
    let global = if errors.list.is_empty() { Ok(global) } else { Err(errors.list) };

    let mut sources: Vec<SourceEntry> = sections
        .iter()
        .enumerate()
        .filter(|(at, section)| Some(*at) != default_at || sections.len() == 1 || section.get("config_id").is_some())
        .map(|(at, section)| SourceEntry {
            name: section.name.clone(),
            state: source::resolve(file, section, (Some(at) != default_at).then_some(default), &read_edgerc),
        })
        .collect();
    if sources.is_empty() {
        let missing = vec!["host", "config_id", "client_token", "client_secret", "access_token"];
        sources.push(SourceEntry { name: "default".into(), state: SourceState::NotConfigured(missing) });
    }
    Config { global, sources }
}

impl Config {
    /// The sources to work on: the one named, or all that are not disabled.
    ///
    /// # Errors
    /// A name that no section has; the message lists those there are.
    pub fn select(&self, name: Option<&str>) -> Result<Vec<&SourceEntry>, String> {
        let Some(name) = name else {
            return Ok(self.sources.iter().filter(|source| !matches!(source.state, SourceState::Disabled)).collect());
        };
        let found: Vec<_> = self.sources.iter().filter(|source| source.name == name).collect();
        if found.is_empty() {
            let known: Vec<&str> = self.sources.iter().map(|source| source.name.as_str()).collect();
            return Err(format!("there is no source \"{name}\"; the configuration has: {}", known.join(", ")));
        }
        Ok(found)
    }
}

/// Collects what is wrong.
struct Errors<'a> {
    file: &'a str,
    list: Vec<ConfigError>,
}

impl Errors<'_> {
    fn at(&mut self, line: usize, section: &str, key: Option<&str>, problem: impl Into<String>) {
        self.list.push(ConfigError {
            file: self.file.to_owned(),
            line,
            section: section.to_owned(),
            key: key.map(str::to_owned),
            problem: problem.into(),
        });
    }

    fn faults(&mut self, section: &Section) {
        for (line, problem) in &section.faults {
            self.at(*line, &section.name, None, problem);
        }
    }

    /// Unknown keys, and those that `refuse` gives a reason for.
    fn keys(&mut self, section: &Section, refuse: impl Fn(&Key) -> Option<&'static str>) {
        for setting in &section.settings {
            match keys::named(&setting.key) {
                None => self.at(setting.line, &section.name, Some(&setting.key), keys::unknown(&setting.key)),
                Some(key) => {
                    if let Some(reason) = refuse(key) {
                        self.at(setting.line, &section.name, Some(key.name), reason);
                    }
                }
            }
        }
    }

    /// The typed value of a setting, or `default` where there is none or it is wrong.
    fn value<T>(
        &mut self,
        found: Option<(&Section, &Setting)>,
        parse: impl Fn(&str) -> Result<T, String>,
        default: T,
    ) -> T {
        let Some((section, setting)) = found else { return default };
        parse(&setting.value).unwrap_or_else(|problem| {
            let accepted = keys::named(&setting.key).map_or("", |key| key.accepted);
            self.at(setting.line, &section.name, Some(&setting.key), format!("{problem}; accepted: {accepted}"));
            default
        })
    }
}

fn global(default: &Section, errors: &mut Errors<'_>) -> Global {
    let find = |key| default.get(key).map(|setting| (default, setting));
    let output = |value: &str| match value {
        "stdout" => Ok(()),
        "queue" => Err("this version cannot write to Wazuh's queue socket yet".to_owned()),
        other => Err(format!("\"{other}\" is not known")),
    };
    errors.value(find("output"), output, ());
    let home = |value: &str| if value == "auto" { Ok(None) } else { absolute_path(value).map(Some) };
    let levels = word(&[
        ("error", log::LevelFilter::Error),
        ("warn", log::LevelFilter::Warn),
        ("info", log::LevelFilter::Info),
        ("debug", log::LevelFilter::Debug),
        ("trace", log::LevelFilter::Trace),
    ]);
    Global {
        wazuh_home: errors.value(find("wazuh_home"), home, None),
        user: errors.value(find("user"), user_name, "wazuh".into()),
        state_dir: errors.value(find("state_dir"), absolute_path, "/var/lib/wazuh-akamai".into()),
        spool_bytes_max: errors.value(find("spool_max"), size, 4 << 30),
        log_file: errors.value(find("log_file"), absolute_path, "/var/log/wazuh-akamai.log".into()),
        log_level: errors.value(find("log_level"), levels, log::LevelFilter::Info),
    }
}

/// The text of a file that holds secrets.
fn read_private(path: &Path) -> Result<String, LoadError> {
    let unreadable = |source| LoadError::Unreadable { path: path.to_owned(), source };
    let unusable = |problem: &str| LoadError::Unusable { path: path.to_owned(), problem: problem.to_owned() };
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(LoadError::Missing { path: path.to_owned() });
        }
        opened => opened.map_err(unreadable)?,
    };
    let metadata = file.metadata().map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(unusable("it is no regular file"));
    }
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & 0o006 != 0 {
        return Err(LoadError::Exposed { path: path.to_owned(), mode });
    }
    let mut bytes = Vec::new();
    file.take(CONFIG_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > CONFIG_BYTES_MAX {
        return Err(unusable("it is larger than 1 MiB"));
    }
    String::from_utf8(bytes).map_err(|error| {
        let line =
            1 + error.as_bytes()[..error.utf8_error().valid_up_to()].iter().filter(|byte| **byte == b'\n').count();
        unusable(&format!("line {line} is not UTF-8"))
    })
}

#[cfg(test)]
mod tests;
