//! The program: command line → command → exit code. Never does the work itself.

use std::panic;
use std::process::ExitCode;

use clap::Parser;
use log::LevelFilter;
use wazuh_akamai::cli::{Cli, Command};
use wazuh_akamai::exit::Exit;
use wazuh_akamai::{commands, logger};

fn main() -> ExitCode {
    let cli = Cli::parse();
    logger::start(match (cli.quiet, cli.verbose) {
        (true, _) => LevelFilter::Error,
        (false, 0) => LevelFilter::Info,
        (false, 1) => LevelFilter::Debug,
        (false, _) => LevelFilter::Trace,
    });
    panic::set_hook(Box::new(|panic| log::error!("this is a bug, please report it: {panic}")));
    let ended = panic::catch_unwind(|| match &cli.command {
        Command::Fetch(args) => commands::fetch::run(&cli, args),
        Command::Decode(args) => commands::decode::run(&cli, args),
    });
    ended.unwrap_or(Exit::Local).into()
}
