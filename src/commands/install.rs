//! `install` and `uninstall`: words for people around `crate::install`. Never decides anything itself.

use std::io::{self, Write};
use std::path::Path;

use crate::cli::{Cli, InstallArgs};
use crate::config;
use crate::exit::Exit;
use crate::files::FileError;
use crate::install::{self, Home, HomeError, InstallError, Options, Report};

/// Runs `install`.
pub fn install(cli: &Cli, args: &InstallArgs) -> Exit {
    run(cli, args, install::install)
}

/// Runs `uninstall`.
pub fn uninstall(cli: &Cli, args: &InstallArgs) -> Exit {
    run(cli, args, install::uninstall)
}

fn run(cli: &Cli, args: &InstallArgs, act: impl Fn(&Home, &Options) -> Result<Report, InstallError>) -> Exit {
    if is_set("WAZUH_AKAMAI_NO_INSTALL") {
        log::info!("WAZUH_AKAMAI_NO_INSTALL is set: nothing was changed");
        return Exit::Done;
    }
    let root = args.root.clone().unwrap_or_else(|| "/".into());
    let config = cli.config_file();
    let config = root.join(config.strip_prefix("/").unwrap_or(&config));
    let wazuh_home = config::load(&config).ok().and_then(|config| config.global.wazuh_home);
    let home = match Home::find(&root, wazuh_home.as_deref()) {
        Ok(home) => home,
        Err(error @ HomeError::Unseen { .. }) => {
            log::error!("{error}");
            return Exit::Local;
        }
        Err(error @ (HomeError::None(_) | HomeError::Version { .. })) => {
            log::info!("{error}");
            return Exit::Done;
        }
    };
    let options = Options { root, config, dry_run: args.dry_run, no_restart: is_set("WAZUH_AKAMAI_NO_RESTART") };
    match act(&home, &options) {
        Ok(report) => show(&report),
        Err(error) => {
            log::error!("{error}");
            exit(&error)
        }
    }
}

fn show(report: &Report) -> Exit {
    let text: String = report.iter().map(|line| format!("{line}\n")).collect();
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            log::error!("{}", FileError { operation: "write to", path: Path::new("stdout").to_owned(), source: error });
            Exit::Local
        }
        _ => Exit::Done,
    }
}

fn exit(error: &InstallError) -> Exit {
    match error {
        InstallError::NotEditable { .. }
        | InstallError::Strange(_)
        | InstallError::BrokenBefore { .. }
        | InstallError::Changed(_)
        | InstallError::Refused { .. } => Exit::NotEditable,
        InstallError::File(_) | InstallError::OwnFile(_) | InstallError::Restart(_) => Exit::Local,
    }
}

fn is_set(name: &str) -> bool {
    std::env::var_os(name).is_some_and(|value| value == "1")
}
