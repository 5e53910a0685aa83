//! The loopback analysisd as a program, for the bench. Never part of a package.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

#[path = "mod.rs"]
mod analysisd;

use std::io::{self, Read, Write};
use std::path::PathBuf;

use analysisd::Analysisd;
use clap::Parser;

/// A loopback analysisd: works until stdin is closed, then prints how many of our lines it wrote, within how many seconds from
/// the first to the last that its rules saw, and how many it dropped.
#[derive(Debug, Parser)]
struct Args {
    /// Folder for its sockets
    folder: PathBuf,
    /// Events that its rules take in a second
    per_s: f64,
}

fn main() -> io::Result<()> {
    let args = Args::parse();
    let analysisd = Analysisd::start(&args.folder, args.per_s);
    analysisd.machine().keeps_lines = false;
    println!("ready");
    io::stdout().flush()?;
    io::stdin().lock().read_to_end(&mut Vec::new())?;
    let machine = analysisd.machine();
    println!("{} {} {}", machine.written_lines, machine.busy_ms as f64 / 1_000.0, machine.dropped_ours);
    Ok(())
}
