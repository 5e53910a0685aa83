//! Writes man pages and shell completions from the command line's own definitions into the folder named by the first
//! argument. Never part of the program itself.

use std::path::PathBuf;
use std::{env, fs, io};

use clap::CommandFactory;
use clap_complete::Shell;
use wazuh_akamai::cli::Cli;

fn main() -> io::Result<()> {
    let folder: PathBuf = env::args_os().nth(1).unwrap_or_else(|| "target/docs".into()).into();
    fs::create_dir_all(&folder)?;
    clap_mangen::generate_to(Cli::command(), &folder)?;
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        clap_complete::generate_to(shell, &mut Cli::command(), "wazuh-akamai", &folder)?;
    }
    Ok(())
}
