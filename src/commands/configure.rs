//! `configure`: credentials into the configuration, tried with one signed request before they are saved. Never shows a
//! secret, never takes one from the command line, where every user of the machine could read it.

use std::fmt::Display;
use std::fs;
use std::io::{self, IsTerminal, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::time::Duration;

use super::failed;
use crate::akamai::client::Client;
use crate::akamai::query::{Query, Range, Window};
use crate::cli::{Cli, ConfigureArgs};
use crate::clock::unix_seconds;
use crate::config::{self, Config, KEY_MISSING, SourceEntry, SourceState, TEMPLATE};
use crate::exit::Exit;
use crate::files::replace_file;

/// Time for the answer to the request that tries the credentials, in seconds.
const ANSWER_S_MAX: u64 = 60;

/// Seconds that are asked for: whether the answer is 200 is all that counts.
const TRIED_S: i64 = 10;

/// Bytes of a file that holds one secret.
const SECRET_BYTES_MAX: usize = 4 << 10;

/// The section that is written unless another one is named.
const SECTION: &str = "default";

/// The values, in the order of the template: key, variable, question, and whether it is a secret.
const VALUES: [(&str, &str, &str, bool); 5] = [
    ("host", "AKAMAI_HOST", "host (akab-….luna.akamaiapis.net)", false),
    ("config_id", "AKAMAI_CONFIG_ID", "config_id (several: separated by ;)", false),
    ("client_token", "AKAMAI_CLIENT_TOKEN", "client_token", false),
    ("client_secret", "AKAMAI_CLIENT_SECRET", "client_secret (not shown)", true),
    ("access_token", "AKAMAI_ACCESS_TOKEN", "access_token (not shown)", true),
];

pub fn run(cli: &Cli, args: &ConfigureArgs) -> Result<Exit, Exit> {
    let file = cli.config_file();
    let section = &config::section_name(args.source.as_deref().unwrap_or(SECTION)).map_err(wrong_usage)?;
    let before = match fs::read_to_string(&file) {
        Ok(text) => Some(text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(failed(format!("cannot read {}: {error}", file.display()))),
    };
    if args.unattended {
        return fill_in(&file, before.as_deref());
    }
    let before = before.unwrap_or_else(|| TEMPLATE.to_owned());
    let values = values(args, &before, section).map_err(wrong_usage)?;
    let without: &[&str] = match &args.edgerc {
        Some(_) => &["host", "client_token", "client_secret", "access_token"],
        None if values.iter().any(|(key, _)| *key == "client_secret") => &["edgerc", "edgerc_section"],
        None => &[],
    };
    let text = config::with_values(&before, section, &values, without);
    let config = config::parse_beside(&file, &text);
    save(&file, &text, &config, section, args.no_test)
}

/// Puts the template where there is no configuration, and into its first section what the environment gives and the file has
/// not; what is filled in already stays.
fn fill_in(file: &Path, before: Option<&str>) -> Result<Exit, Exit> {
    let text = before.unwrap_or(TEMPLATE);
    let parsed = config::parse_beside(file, text);
    let state = parsed.sources.iter().find(|entry| entry.name == SECTION).map(|entry| &entry.state);
    let is_open = |key: &str| match state {
        Some(SourceState::NotConfigured(open)) => open.contains(&key),
        // A key that is not there at all.
        Some(SourceState::Invalid(errors)) => {
            errors.iter().any(|error| error.key.as_deref() == Some(key) && error.problem.starts_with(KEY_MISSING))
        }
        Some(SourceState::Ready(_) | SourceState::Disabled) | None => false,
    };
    let mut values = Vec::new();
    for (key, variable, ..) in VALUES {
        let given = std::env::var(variable).unwrap_or_default().trim().to_owned();
        if given.contains(['\n', '\r']) {
            log::error!("{variable} must be one line");
        } else if !given.is_empty() && is_open(key) {
            values.push((key, given));
        } else if !given.is_empty() && !matches!(state, Some(SourceState::Ready(_))) {
            log::warn!(
                "{variable} is not used: {} has a {key} already, or no [{SECTION}] that asks Akamai",
                file.display()
            );
        }
    }
    let mut filled = if values.is_empty() { text.to_owned() } else { config::with_values(text, SECTION, &values, &[]) };
    let mut accepted = Ok(Exit::Done);
    for entry in config::parse_beside(file, &filled).sources.iter().filter(|entry| entry.name == SECTION) {
        if let SourceState::Invalid(errors) = &entry.state
            && !values.is_empty()
        {
            super::log_errors(errors);
            log::error!("the values of the AKAMAI_* variables were not saved");
            text.clone_into(&mut filled);
            accepted = Err(Exit::Config);
        }
    }
    if before != Some(&filled) {
        write(file, &filled)?;
    }
    accepted
}

/// The values that are given, each from the first place that has it: flag, environment, prompt.
fn values(args: &ConfigureArgs, before: &str, section: &str) -> Result<Vec<(&'static str, String)>, String> {
    let mut values = Vec::new();
    if let Some(edgerc) = &args.edgerc {
        let path = std::path::absolute(edgerc).map_err(|error| format!("cannot find {}: {error}", edgerc.display()))?;
        values.push(("edgerc", path.display().to_string()));
        values.push(("edgerc_section", args.section.clone().unwrap_or_else(|| "default".into())));
    }
    let secret_file = args.client_secret_file.as_deref().map(secret_from).transpose()?;
    for (key, variable, question, is_secret) in VALUES {
        let flag = match key {
            "host" => args.host.clone(),
            "config_id" => args.config_id.clone(),
            "client_token" => args.client_token.clone(),
            "client_secret" => secret_file.clone(),
            _ => None,
        };
        if args.edgerc.is_some() && key != "config_id" {
            continue;
        }
        let given = flag.or_else(|| std::env::var(variable).ok().filter(|value| !value.is_empty()));
        let value = match given {
            Some(value) => value,
            None if is_filled_in(before, section, key) => continue,
            None if io::stdin().is_terminal() => {
                ask(question, is_secret).map_err(|error| format!("cannot read {key}: {error}"))?
            }
            None => {
                return Err(format!(
                    "{key} is missing: give it as {variable} in the environment, or run this on a terminal"
                ));
            }
        };
        let value = value.trim().to_owned();
        if value.is_empty() || value.contains(['\n', '\r']) {
            return Err(format!("{key} must be a single line and not empty"));
        }
        values.push((key, value));
    }
    Ok(values)
}

/// For `map_err`: what cannot be done like this is logged.
fn wrong_usage(problem: impl Display) -> Exit {
    log::error!("{problem}");
    Exit::Usage
}

fn secret_from(path: &Path) -> Result<String, String> {
    let text = if path == Path::new("-") { io::read_to_string(io::stdin().lock()) } else { fs::read_to_string(path) };
    let text = text.map_err(|error| format!("cannot read the secret from {}: {error}", path.display()))?;
    if text.len() > SECRET_BYTES_MAX { Err(format!("{} holds more than one secret", path.display())) } else { Ok(text) }
}

/// Whether the section has a value already, of its own or from `[default]`, that is no placeholder and not wrong.
fn is_filled_in(text: &str, section: &str, key: &str) -> bool {
    let config = config::parse_beside(Path::new("akamai_config.ini"), text);
    let is_wrong = |entry: &SourceEntry| match &entry.state {
        SourceState::Invalid(errors) => errors.iter().any(|error| error.key.as_deref() == Some(key)),
        SourceState::Ready(_) | SourceState::Disabled | SourceState::NotConfigured(_) => false,
    };
    !config::open_values(text, section).contains(&key)
        && !config.sources.iter().any(|entry| entry.name == section && is_wrong(entry))
}

fn ask(question: &str, is_secret: bool) -> io::Result<String> {
    let prompt = format!("{question}: ");
    if is_secret {
        return rpassword::prompt_password(prompt);
    }
    io::stderr().write_all(prompt.as_bytes())?;
    let mut line = String::new();
    io::stdin().read_line(&mut line)?;
    Ok(line)
}

/// Tries the credentials and saves them.
fn save(file: &Path, text: &str, config: &Config, section: &str, no_test: bool) -> Result<Exit, Exit> {
    super::log_errors(&config.global_errors);
    let entry = config.sources.iter().find(|entry| entry.name == section);
    let source = entry.and_then(|entry| super::ready(entry, file)).ok_or(Exit::Config)?;
    if !config.global_errors.is_empty() {
        return Err(Exit::Config);
    }
    if !no_test {
        let now = unix_seconds();
        let window = Window::last(TRIED_S, now);
        let query = Query { config_ids: source.config_ids.clone(), range: Range::Window(window), limit: 1 };
        let asked = Client::new(source).and_then(|client| client.ask(&query, 0, Duration::from_secs(ANSWER_S_MAX)));
        if let Err(error) = asked {
            log::error!("{error}; nothing was saved");
            return Err(error.exit());
        }
        log::info!("Akamai accepts the credentials");
    }
    write(file, text)
}

fn write(file: &Path, text: &str) -> Result<Exit, Exit> {
    if let Some(folder) = file.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
        made.map_err(|error| failed(format!("cannot create {}: {error}", folder.display())))?;
    }
    // A link to it stays one.
    let real = fs::canonicalize(file).unwrap_or_else(|_| file.to_owned());
    replace_file(&real, text.as_bytes()).map_err(failed)?;
    log::info!("saved in {} (mode 0600); next: wazuh-akamai check", file.display());
    Ok(Exit::Done)
}
