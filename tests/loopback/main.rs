//! The loopback Akamai as a program, for the demo and the bench. Never part of a package.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

#[path = "mod.rs"]
mod loopback;

use std::io::{self, BufWriter, Read, Write};
use std::path::PathBuf;
use std::{fs, thread};

use clap::Parser;
use loopback::{Akamai, Settings, now, samples};

/// A loopback Akamai: serves sample events until stdin is closed.
#[derive(Debug, Parser)]
struct Args {
    /// Write a configuration that asks this server into this file (mode 0600)
    #[arg(long, value_name = "FILE")]
    write_config: Option<PathBuf>,
    /// Events to store, spread over the last four minutes
    #[arg(long, default_value_t = 28)]
    events: u64,
    /// Serve so many events in one page, made while they are sent
    #[arg(long)]
    bulk: Option<u64>,
    /// Print so many sample lines and end
    #[arg(long, value_name = "N")]
    write_samples: Option<u64>,
}

fn main() -> io::Result<()> {
    let args = Args::parse();
    if let Some(count) = args.write_samples {
        let mut out = BufWriter::with_capacity(1 << 20, io::stdout().lock());
        for number in 0..count {
            writeln!(out, "{}", samples::line(number, 1_763_900_000))?;
        }
        return out.flush();
    }
    let akamai = Akamai::start(Settings { bulk: args.bulk, gzip: args.bulk.is_none(), ..Settings::default() });
    for number in 0..args.events {
        let ago = 240 - i64::try_from(number * 230 / args.events).unwrap();
        akamai.store(ago, [samples::line(number, now() - ago)]);
    }
    if let Some(path) = args.write_config {
        write_private(&path, &akamai.config())?;
    }
    println!("{}", akamai.url());
    io::stdout().flush()?;
    // Ends with the process that started it.
    io::stdin().lock().read_to_end(&mut Vec::new())?;
    thread::yield_now();
    Ok(())
}

/// Beside it first, then in its place: who waits for the file finds it whole.
fn write_private(path: &std::path::Path, text: &str) -> io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    let beside = path.with_extension("new");
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    file.write_all(text.as_bytes())?;
    fs::rename(beside, path)
}
