//! The program: command line → command → exit code. Never does the work itself.

use std::io::{self, IsTerminal};
use std::panic;
use std::process::ExitCode;

use clap::Parser;
use log::LevelFilter;
use wazuh_akamai::cli::{Cli, Command};
use wazuh_akamai::exit::Exit;
use wazuh_akamai::{commands, logger};

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    if !matches!(cli.command, Command::Collect) {
        logger::start(match (cli.quiet, cli.verbose) {
            (true, _) => LevelFilter::Error,
            (false, 0) => LevelFilter::Info,
            (false, 1) => LevelFilter::Debug,
            (false, _) => LevelFilter::Trace,
        });
    }
    panic::set_hook(Box::new(|panic| log::error!("this is a bug, please report it: {panic}")));
    let ended = panic::catch_unwind(|| match &cli.command {
        Command::Collect => commands::collect::run(&cli),
        Command::Fetch(args) => Ok(commands::fetch::run(&cli, args)),
        Command::Backfill(args) => Ok(commands::backfill::run(&cli, args)),
        Command::Status(args) => commands::status::run(&cli, args),
        Command::Configure(args) => commands::configure::run(&cli, args),
        Command::Check(args) => commands::check::run(&cli, args),
        Command::Install(args) => commands::install::install(&cli, args),
        Command::Uninstall(args) => commands::install::uninstall(&cli, args),
        Command::Decode(args) => commands::decode::run(&cli, args),
    });
    ended.map_or(Exit::Local, |ended| ended.unwrap_or_else(|exit| exit)).into()
}

/// Shows help, or what is wrong with the command line. A wodle would take the text for events: it gets none.
fn usage(error: &clap::Error) -> ExitCode {
    let collects = std::env::args_os().any(|argument| argument == "collect");
    if !collects || io::stderr().is_terminal() || error.exit_code() == 0 {
        // A closed stderr is no reason to fail in another way.
        let _ = error.print();
    }
    u8::try_from(error.exit_code()).unwrap_or(Exit::Usage as u8).into()
}
