//! `check`: what is wrong, how it was seen, and how to fix it. Never changes anything; says what it could not see.

mod akamai;
mod state;
mod wazuh;

use std::path::Path;

use super::overview::Overview;
use super::show;
use crate::cli::{CheckArgs, Cli};
use crate::config::{self, Config, LoadError, SourceState};
use crate::exit::Exit;
use crate::findings::{Findings, Level};
use crate::state::StateFolder;
use crate::wazuh::home::Home;

pub fn run(cli: &Cli, args: &CheckArgs) -> Result<Exit, Exit> {
    let mut findings = Findings::default();
    let file = cli.config_file();
    let config = match config::load(&file) {
        Ok(config) => {
            findings.ok("configuration", format!("{} is private and readable", file.display()));
            config
        }
        Err(error) => {
            let fix = match &error {
                LoadError::Missing { .. } => "wazuh-akamai configure".to_owned(),
                LoadError::Exposed { path, .. } => format!("chmod 600 {}", path.display()),
                denied if denied.is_denied() => "run check as root".to_owned(),
                LoadError::Unusable { .. } | LoadError::Unreadable { .. } => "replace it with a valid file".to_owned(),
            };
            findings.error("configuration", error, fix);
            Config::default()
        }
    };
    check_config(&config, &mut findings);
    let home = Home::find(Path::new("/"), config.global.wazuh_home.as_deref());
    let state = StateFolder::at(&config.global.state_dir);
    if !args.offline {
        akamai::check(&config, &mut findings);
    }
    state::check(&config, &Overview::read(&config, &state), &state, &home, &mut findings);
    wazuh::check(&config, &home, &mut findings);
    show(|| findings.text(), || findings.json(), args.json)?;
    Ok(if findings.worst() == Level::Error { Exit::Local } else { Exit::Done })
}

fn check_config(config: &Config, findings: &mut Findings) {
    for error in &config.global_errors {
        findings.error("configuration", error, "fix this line; nothing is collected until then");
    }
    for entry in &config.sources {
        let about = &format!("source {}", entry.name);
        match &entry.state {
            SourceState::Ready(_) => findings.ok(about, "configured"),
            SourceState::Disabled => {
                findings.warn(about, "disabled (enabled = no)", "set enabled = yes to collect from it");
            }
            SourceState::NotConfigured(keys) => {
                findings.error(about, format!("not configured yet: {}", keys.join(", ")), "wazuh-akamai configure");
            }
            SourceState::Invalid(errors) => {
                for error in errors {
                    findings.error(about, error, "fix this line; the source is not collected until then");
                }
            }
        }
    }
}
