//! The commands, one file each. They print events to stdout, log everything else, and return how they ended.

pub mod backfill;
pub mod check;
pub mod collect;
pub mod configure;
pub mod decode;
pub mod fetch;
pub mod install;
mod output;
mod overview;
pub mod status;

use std::fmt::Display;
use std::io::{self, Write};
use std::path::Path;

use crate::config::{self, Config, ConfigError, LoadError, SourceEntry, SourceState};
use crate::exit::Exit;

/// Reads the configuration; what keeps it from being used is logged.
fn load_config(path: &Path) -> Result<Config, Exit> {
    let config = config::load(path).map_err(|error| {
        log::error!("{error}");
        if matches!(error, LoadError::Unreadable { .. }) { Exit::Local } else { Exit::Config }
    })?;
    if !config.global_errors.is_empty() {
        log_errors(&config.global_errors);
        // The rest is not looked at now, but everything that is wrong can be fixed in one go.
        for source in &config.sources {
            if let SourceState::Invalid(errors) = &source.state {
                log_errors(errors);
            }
        }
        return Err(Exit::Config);
    }
    Ok(config)
}

/// For `map_err`: what failed on this machine is logged.
#[allow(clippy::needless_pass_by_value)]
fn failed(error: impl Display) -> Exit {
    log::error!("{error}");
    Exit::Local
}

/// Writes a report to stdout, as JSON or as text.
fn show(text: impl FnOnce() -> String, json: impl FnOnce() -> serde_json::Value, as_json: bool) -> Result<(), Exit> {
    print(&if as_json { format!("{:#}\n", json()) } else { text() })
}

/// Writes to stdout; a reader that has gone away is no error.
fn print(text: &str) -> Result<(), Exit> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(failed(format!("cannot write to stdout: {error}")))
        }
        _ => Ok(()),
    }
}

/// The source of this name, or all of them; a name that there is not is logged.
fn select<'a>(config: &'a Config, name: Option<&str>, file: &Path) -> Result<Vec<&'a SourceEntry>, Exit> {
    config.select(name).map_err(|problem| {
        log::error!("{}: {problem}", file.display());
        Exit::Usage
    })
}

/// The source if it can be asked; else why not is logged.
fn ready<'a>(entry: &'a SourceEntry, file: &Path) -> Option<&'a config::Source> {
    match &entry.state {
        SourceState::Ready(source) => return Some(source),
        SourceState::Disabled => log::error!("source {} is disabled (enabled = no)", entry.name),
        SourceState::NotConfigured(open) => {
            log::error!(
                "source {} is not configured yet: fill in {} in {}",
                entry.name,
                open.join(", "),
                file.display()
            );
        }
        SourceState::Invalid(errors) => log_errors(errors),
    }
    None
}

fn log_errors(errors: &[ConfigError]) {
    for error in errors {
        log::error!("{error}");
    }
}
