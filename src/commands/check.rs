//! `check`: what is wrong, how it was seen, and how to mend it. Never changes anything; says what it could not see.

mod akamai;
mod kept;
mod local;
mod manager;

use std::io::{self, Write};
use std::path::Path;

use serde_json::json;

use crate::cli::{CheckArgs, Cli};
use crate::config::{self, Config, LoadError, SourceState};
use crate::exit::Exit;
use crate::state::StateFolder;
use crate::wazuh::home::Home;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Ok,
    /// It could not be seen.
    Unknown,
    /// Not wrong now, but it may become so.
    Warning,
    Error,
}

/// One thing that was looked at.
#[derive(Debug)]
struct Finding {
    level: Level,
    /// What was looked at.
    about: String,
    /// What was seen.
    seen: String,
    /// How to mend it; empty where there is nothing to mend.
    mend: String,
}

/// Collects findings.
#[derive(Debug, Default)]
struct Findings {
    list: Vec<Finding>,
}

impl Findings {
    fn add(&mut self, level: Level, about: impl Into<String>, seen: impl Into<String>, mend: impl Into<String>) {
        self.list.push(Finding { level, about: about.into(), seen: seen.into(), mend: mend.into() });
    }

    fn ok(&mut self, about: impl Into<String>, seen: impl Into<String>) {
        self.add(Level::Ok, about, seen, "");
    }
}

impl Level {
    fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Unknown => "unknown",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// Runs the command.
pub fn run(cli: &Cli, args: &CheckArgs) -> Exit {
    let mut findings = Findings::default();
    let file = cli.config_file();
    let config = match config::load(&file) {
        Ok(config) => {
            findings.ok("configuration", format!("{} is private and readable", file.display()));
            config
        }
        Err(error) => {
            let mend = match &error {
                LoadError::Missing { .. } => "wazuh-akamai configure".to_owned(),
                LoadError::Exposed { path, .. } => format!("chmod 600 {}", path.display()),
                denied if denied.is_denied() => "run check as root".to_owned(),
                LoadError::Unusable { .. } | LoadError::Unreadable { .. } => "put a whole file in its place".to_owned(),
            };
            findings.add(Level::Error, "configuration", error.to_string(), mend);
            Config { global: config::Global::default(), global_errors: Vec::new(), sources: Vec::new() }
        }
    };
    note_config(&config, &mut findings);
    let home = Home::find(Path::new("/"), config.global.wazuh_home.as_deref());
    let state = StateFolder::at(&config.global.state_dir);
    if !args.offline {
        akamai::check(&config, &mut findings);
    }
    local::check(&config, &state, &home, &mut findings);
    manager::check(&config, &home, &mut findings);
    show(&findings, args.json)
}

fn note_config(config: &Config, findings: &mut Findings) {
    for error in &config.global_errors {
        findings.add(
            Level::Error,
            "configuration",
            error.to_string(),
            "mend this line; nothing is asked of Akamai until then",
        );
    }
    for entry in &config.sources {
        let about = format!("source {}", entry.name);
        match &entry.state {
            SourceState::Ready(_) => findings.ok(about, "configured"),
            SourceState::Disabled => findings.add(
                Level::Warning,
                about,
                "switched off (enabled = no)",
                "enabled = yes, if it should be asked",
            ),
            SourceState::NotConfigured(keys) => {
                findings.add(
                    Level::Error,
                    about,
                    format!("not configured yet: {}", keys.join(", ")),
                    "wazuh-akamai configure",
                );
            }
            SourceState::Invalid(errors) => {
                for error in errors {
                    findings.add(
                        Level::Error,
                        about.clone(),
                        error.to_string(),
                        "mend this line; the source is not asked until then",
                    );
                }
            }
        }
    }
}

fn show(findings: &Findings, as_json: bool) -> Exit {
    let worst = findings.list.iter().map(|finding| finding.level).max().unwrap_or(Level::Ok);
    let text = if as_json {
        let list: Vec<_> = findings
            .list
            .iter()
            .map(|finding| json!({"level": finding.level.word(), "about": finding.about, "seen": finding.seen, "mend": finding.mend}))
            .collect();
        format!("{:#}\n", json!({"worst": worst.word(), "findings": list}))
    } else {
        findings.list.iter().map(line).collect()
    };
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            log::error!("cannot write to stdout: {error}");
            Exit::Local
        }
        _ if worst == Level::Error => Exit::Local,
        _ => Exit::Done,
    }
}

fn line(finding: &Finding) -> String {
    let mend = if finding.mend.is_empty() { String::new() } else { format!("\n         mend: {}", finding.mend) };
    format!("{:<8} {}: {}{mend}\n", finding.level.word(), finding.about, finding.seen)
}
