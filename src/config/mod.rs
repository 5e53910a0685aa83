//! The configuration: text → types, PURE but for [`load`]. Parsed once; nothing downstream checks a value again.
//!
//! Every section is one source (one account, one cursor); keys in `[default]` are the defaults of the others. What is wrong
//! in one source disables that source only.

mod edit;
mod ini;
mod keys;
mod source;
mod values;

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

pub use self::edit::with_values;
pub use self::ini::section_name;
pub use self::keys::{KEY_MISSING, KEYS, Key};
pub use self::source::{Mode, REDACT_HEADERS, RunOn, Source};
pub use self::values::Host;

use self::ini::{Section, Setting};
use self::keys::Set;

/// Where the configuration is looked for.
pub const CONFIG_FILE: &str = "/etc/wazuh-akamai/akamai_config.ini";

/// The commented template that is shipped.
pub const TEMPLATE: &str = include_str!("../../etc/akamai_config.ini");

/// The section whose keys are the defaults of the others.
const DEFAULT: &str = "default";

/// Bytes of a configuration or `.edgerc` file.
pub const CONFIG_BYTES_MAX: u64 = 1 << 20;

/// The whole configuration.
#[derive(Debug, Default)]
pub struct Config {
    /// What concerns the whole program; a default stands where a value is wrong.
    pub global: Global,
    /// What is wrong with that. Nothing is asked of Akamai until it is fixed.
    pub global_errors: Vec<ConfigError>,
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
    /// It is disabled until this is fixed.
    Invalid(Vec<ConfigError>),
}

/// The keys that only `[default]` has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Global {
    /// Where event lines go.
    pub output: Output,
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

/// Where event lines go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// To whoever runs us: the wodle, which forwards them.
    Stdout,
    /// To Wazuh's queue socket. Needs a manager 4.4 or later.
    Queue,
}

/// One thing that is wrong, with its place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}: {}{problem}", self.place())]
pub struct ConfigError {
    /// The file.
    pub file: String,
    /// Its line, from 1.
    pub line: usize,
    /// The section; empty before the first one.
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
    #[error("{} can be read or written by every user of this machine (mode {mode:04o}), and it contains secrets; run: chmod 600 {}", path.display(), path.display())]
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
    #[error("cannot read {}: {source}{}", path.display(), if self.is_denied() { "; run this as root" } else { "" })]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

impl LoadError {
    /// Whether somebody else, root that is, could read it.
    pub fn is_denied(&self) -> bool {
        matches!(self, Self::Unreadable { source, .. } if source.kind() == io::ErrorKind::PermissionDenied)
    }
}

/// Reads and parses a configuration file.
///
/// # Errors
/// A file that is missing, exposed, unreadable or too large; what is wrong inside it is part of the [`Config`].
pub fn load(path: &Path) -> Result<Config, LoadError> {
    let text = read_private(path)?;
    Ok(parse_beside(path, &text))
}

/// Parses a text as the configuration that stands at `path`, reading the `.edgerc` files that it names.
pub fn parse_beside(path: &Path, text: &str) -> Config {
    parse(&path.display().to_string(), text, |edgerc| {
        read_private(edgerc).map_err(|error| match error {
            LoadError::Missing { path } => format!("there is no {}", path.display()),
            other => other.to_string(),
        })
    })
}

/// The required values that `section` has still to be given, counting what it takes from `[default]` or an `.edgerc`.
pub fn open_values(text: &str, section: &str) -> Vec<&'static str> {
    let sections = ini::sections("", text);
    let named = |name: &str| sections.iter().find(|section| section.name == name);
    let layers: Vec<&Section> = [section, DEFAULT].into_iter().filter_map(named).collect();
    source::open_values(&layers)
}

/// Parses a configuration. `file` is its path, for messages and for the `.edgerc` files that it names relative to its
/// folder; `read_edgerc` gives the text of one.
pub fn parse(file: &str, text: &str, read_edgerc: impl Fn(&Path) -> Result<String, String>) -> Config {
    let mut sections = ini::sections(file, text);
    let orphans = sections.remove(0);
    let default_at = sections.iter().position(|section| section.name == DEFAULT);
    let empty = Section { file: file.to_owned(), name: DEFAULT.into(), line: 1, ..Section::default() };
    let default = default_at.map_or(&empty, |at| &sections[at]);

    let mut errors = Errors::default();
    for setting in &orphans.settings {
        errors.at(&orphans, setting.line, Some(&setting.key), "the key comes before the first [section]");
    }
    errors.faults(&orphans);
    errors.faults(default);
    errors.keys(default, |_| None);
    let mut global = Global::default();
    for key in KEYS {
        if let Set::Global(set) = key.set {
            errors.take(default.get(key.name).map(|setting| (default, setting)), |text| set(&mut global, text));
        }
    }

    let mut sources: Vec<SourceEntry> = sections
        .iter()
        .enumerate()
        .filter(|(at, section)| Some(*at) != default_at || sections.len() == 1 || section.get("config_id").is_some())
        .map(|(at, section)| SourceEntry {
            name: section.name.clone(),
            state: source::resolve(section, (Some(at) != default_at).then_some(default), &read_edgerc),
        })
        .collect();
    if sources.is_empty() {
        sources
            .push(SourceEntry { name: DEFAULT.into(), state: SourceState::NotConfigured(source::REQUIRED.to_vec()) });
    }
    Config { global, global_errors: errors.list, sources }
}

impl Default for Global {
    fn default() -> Self {
        Self {
            output: Output::Stdout,
            wazuh_home: None,
            user: "wazuh".into(),
            state_dir: "/var/lib/wazuh-akamai".into(),
            spool_bytes_max: 4 << 30,
            log_file: "/var/log/wazuh-akamai.log".into(),
            log_level: log::LevelFilter::Info,
        }
    }
}

impl Config {
    /// The sources to work on: the one named, whatever its state, or all that are not disabled.
    ///
    /// # Errors
    /// A name that no section has; the message lists those there are.
    pub fn select(&self, name: Option<&str>) -> Result<Vec<&SourceEntry>, String> {
        let Some(name) = name else {
            return Ok(self.sources.iter().filter(|source| !matches!(source.state, SourceState::Disabled)).collect());
        };
        let Some(found) = self.sources.iter().find(|source| source.name == name) else {
            let known: Vec<&str> = self.sources.iter().map(|source| source.name.as_str()).collect();
            return Err(format!("there is no source \"{name}\"; the configuration has: {}", known.join(", ")));
        };
        Ok(vec![found])
    }
}

impl ConfigError {
    /// `[section] key: `, as far as there are such.
    fn place(&self) -> String {
        let section = if self.section.is_empty() { String::new() } else { format!("[{}]", self.section) };
        let words: Vec<&str> = [section.as_str(), self.key.as_deref().unwrap_or_default()]
            .into_iter()
            .filter(|word| !word.is_empty())
            .collect();
        if words.is_empty() { String::new() } else { format!("{}: ", words.join(" ")) }
    }
}

/// Collects what is wrong.
#[derive(Default)]
struct Errors {
    list: Vec<ConfigError>,
}

impl Errors {
    fn at(&mut self, section: &Section, line: usize, key: Option<&str>, problem: impl Into<String>) {
        self.list.push(ConfigError {
            file: section.file.clone(),
            line,
            section: section.name.clone(),
            key: key.map(str::to_owned),
            problem: problem.into(),
        });
    }

    fn faults(&mut self, section: &Section) {
        for fault in &section.faults {
            self.at(section, fault.line, fault.key.as_deref(), &fault.problem);
        }
    }

    /// Unknown keys, and those that `refuse` gives a reason for.
    fn keys(&mut self, section: &Section, refuse: impl Fn(&Key) -> Option<&'static str>) {
        for setting in &section.settings {
            match keys::named(&setting.key) {
                None if keys::may_show(&setting.key) => {
                    self.at(section, setting.line, Some(&setting.key), keys::unknown(&setting.key));
                }
                None => {
                    let problem = "this line does not begin with a key (it is not shown: it may contain a secret); put each value on the line of its key";
                    self.at(section, setting.line, None, problem);
                }
                Some(key) => {
                    if let Some(reason) = refuse(key) {
                        self.at(section, setting.line, Some(key.name), reason);
                    }
                }
            }
        }
    }

    /// Takes the value of a setting, if there is one.
    fn take(&mut self, found: Option<(&Section, &Setting)>, set: impl FnOnce(&str) -> Result<(), String>) {
        let Some((section, setting)) = found else { return };
        let value = setting.value.as_str();
        let is_quoted = |quote| value.len() > 1 && value.starts_with(quote) && value.ends_with(quote);
        let taken = match value {
            "" => Err("the value is empty".into()),
            // Taken literally they would be a part of it, and a secret with them only fails at Akamai.
            _ if is_quoted('"') || is_quoted('\'') => Err("the value is in quotes; remove them".into()),
            value => set(value),
        };
        if let Err(problem) = taken {
            self.at(section, setting.line, Some(&setting.key), keys::with_accepted(&setting.key, &problem));
        }
    }
}

/// The text of a file that holds secrets.
fn read_private(path: &Path) -> Result<String, LoadError> {
    let unreadable = |source| LoadError::Unreadable { path: path.to_owned(), source };
    let unusable = |problem: &str| LoadError::Unusable { path: path.to_owned(), problem: problem.to_owned() };
    // A pipe is not even opened: that could wait for ever.
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_file() => {}
        Ok(_) => return Err(unusable("it is not a regular file")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(LoadError::Missing { path: path.to_owned() });
        }
        Err(error) => return Err(unreadable(error)),
    }
    let file = File::open(path).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
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
