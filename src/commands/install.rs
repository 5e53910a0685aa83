//! `install` and `uninstall`: words for people around `crate::install`. Never decides anything itself.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::{failed, print};
use crate::cli::{Cli, InstallArgs};
use crate::config::{self, ConfigError, Global, LoadError, SourceState};
use crate::exit::Exit;
use crate::findings::{Findings, Level};
use crate::install::{self, InstallError, Options, Report};
use crate::privileges;
use crate::wazuh::home::{Home, HomeError};

pub fn install(cli: &Cli, args: &InstallArgs) -> Result<Exit, Exit> {
    run(cli, args, Direction::In)
}

pub fn uninstall(cli: &Cli, args: &InstallArgs) -> Result<Exit, Exit> {
    run(cli, args, Direction::Out)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    In,
    Out,
}

fn run(cli: &Cli, args: &InstallArgs, direction: Direction) -> Result<Exit, Exit> {
    if is_set("WAZUH_AKAMAI_NO_INSTALL") {
        log::info!("WAZUH_AKAMAI_NO_INSTALL is set: nothing was changed");
        return show_line(cli, "WAZUH_AKAMAI_NO_INSTALL is set: Wazuh was left as it is");
    }
    let root = args.root.clone().unwrap_or_else(|| "/".into());
    let config = cli.config_file();
    let config = root.join(config.strip_prefix("/").unwrap_or(&config));
    let global = match (global(&config), direction) {
        (Err(_), Direction::Out) => {
            // A package that is removed must not leave a wodle without its program.
            log::warn!("going on with the Wazuh that is found without it");
            Global::default()
        }
        (global, _) => global?,
    };
    let home = Home::find(&root, global.wazuh_home.as_deref());
    match &home.problem {
        Some(error @ HomeError::Unseen { .. }) => {
            return Err(failed(error));
        }
        Some(_) if direction == Direction::Out && home.is_there() => {}
        Some(_) if direction == Direction::Out && !args.dry_run => return clear(cli, &home),
        Some(error @ HomeError::Five { .. }) => {
            log::info!("{error}; nothing was changed");
            return show_line(cli, &format!("{error}; nothing was changed"));
        }
        Some(error) => {
            log::info!("{error}");
            return show_line(cli, &error.to_string());
        }
        None => {}
    }
    let options = Options { root, config, dry_run: args.dry_run, no_restart: is_set("WAZUH_AKAMAI_NO_RESTART") };
    if direction == Direction::In && options.root == Path::new("/") && !options.dry_run {
        own_state(&global);
    }
    let done = match direction {
        Direction::In => install::install(&home, &options),
        Direction::Out => install::uninstall(&home, &options),
    };
    match done {
        Ok(report) if cli.quiet => show_line(cli, &summary(&home, &options, &report, direction)),
        Ok(report) => print(&(report.lines.join("\n") + "\n")).map(|()| Exit::Done),
        Err(error) => {
            log::error!("{error}");
            let next = match direction {
                _ if matches!(error, InstallError::Restart { .. }) => "Wazuh was not restarted".to_owned(),
                Direction::In => {
                    "the Wazuh side is not set up; when that is fixed, run: wazuh-akamai install".to_owned()
                }
                // A package that goes takes the other copy with it.
                Direction::Out => format!(
                    "the Wazuh side is not removed; when that is fixed, run: {} uninstall",
                    home.path("wodles/akamai/wazuh-akamai").display()
                ),
            };
            show_line(cli, &next)?;
            Err(exit(&error))
        }
    }
}

/// The settings of the whole program. Where it is not certain which Wazuh is meant none is touched.
fn global(file: &Path) -> Result<Global, Exit> {
    let config = match config::load(file) {
        Ok(config) => config,
        Err(LoadError::Missing { .. }) => return Ok(Global::default()),
        Err(error) => {
            log::error!("{error}");
            return Err(Exit::Config);
        }
    };
    // A line without a key may have been meant as this one.
    let is_about_home = |error: &ConfigError| error.key.as_deref().is_none_or(|key| key == "wazuh_home");
    let errors: Vec<_> = config.global_errors.into_iter().filter(is_about_home).collect();
    super::log_errors(&errors);
    if errors.is_empty() { Ok(config.global) } else { Err(Exit::Config) }
}

/// Gives state that another user has to the one who is to use it: Wazuh may have been removed and installed again. State that
/// is still root's is given away by the first run.
fn own_state(global: &Global) {
    let Some(user) = privileges::user(&global.user).filter(|_| privileges::is_root()) else { return };
    let is_anothers = fs::symlink_metadata(&global.state_dir).is_ok_and(|folder| folder.is_dir() && folder.uid() != 0);
    if is_anothers && let Err(error) = privileges::prepare_folder(&global.state_dir, Some(&user)) {
        log::warn!("{error}");
    }
}

/// Wazuh went before us.
fn clear(cli: &Cli, home: &Home) -> Result<Exit, Exit> {
    match install::clear_remains(home) {
        Ok(found) => {
            let text = format!("there is no Wazuh in {}", home.folder().display());
            log::info!("{text}{}", if found { "; our leftovers there are removed" } else { "" });
            show_line(cli, &text)
        }
        Err(error) => {
            log::error!("{error}");
            Err(exit(&error))
        }
    }
}

/// What was done and what is left to do, in one line.
fn summary(home: &Home, options: &Options, report: &Report, direction: Direction) -> String {
    let restart = if report.restart_is_left { "; left to do: wazuh-control restart" } else { "" };
    if direction == Direction::Out {
        // A purge runs this as well, and takes them afterwards.
        return format!("removed from {home}; {} kept unless they are purged{restart}", report.what_stays());
    }
    let mut findings = Findings::default();
    install::check(home, &mut findings);
    let is_ready = config::load(&options.config)
        .is_ok_and(|config| config.sources.iter().any(|source| matches!(source.state, SourceState::Ready(_))));
    let fill_in = if is_ready {
        String::new()
    } else if !options.config.exists() {
        "wazuh-akamai configure, then ".into()
    } else {
        format!("fill in {} or run wazuh-akamai configure, then ", options.config.display())
    };
    let restart = if report.restart_is_left { "wazuh-control restart, then " } else { "" };
    let but = if findings.worst() == Level::Ok { "set up" } else { "set up, but with problems," };
    format!("{but} in {home}; left to do: {fill_in}{restart}wazuh-akamai check")
}

/// The one line of `--quiet`.
fn show_line(cli: &Cli, line: &str) -> Result<Exit, Exit> {
    if cli.quiet {
        print(&format!("wazuh-akamai: {line}\n"))?;
    }
    Ok(Exit::Done)
}

fn exit(error: &InstallError) -> Exit {
    match error {
        InstallError::File(_) | InstallError::OwnFile(_) | InstallError::Restart { .. } => Exit::Local,
        _ => Exit::NotEditable,
    }
}

/// Whether a variable says yes: by anything but nothing, 0, no or false.
fn is_set(name: &str) -> bool {
    let value = std::env::var_os(name).unwrap_or_default().to_string_lossy().trim().to_ascii_lowercase();
    !["", "0", "no", "false"].contains(&value.as_str())
}
