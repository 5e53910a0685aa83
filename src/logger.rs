//! Messages: one line each. Never writes to stdout, never shows what libraries log (their headers hold credentials).

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use env_logger::{Builder, Target, WriteStyle};
use log::LevelFilter;

use crate::files::{FileError, no_follow};

/// Mode of the log file: it names hosts and config ids, but no secret.
const LOG_MODE: u32 = 0o640;

/// Starts logging to stderr, each line with the program's name; call once.
pub fn start(level: LevelFilter) {
    let started = Builder::new()
        .filter_module("wazuh_akamai", level)
        .format(|out, record| match record.level() {
            log::Level::Info => writeln!(out, "wazuh-akamai: {}", record.args()),
            level => writeln!(out, "wazuh-akamai: {}: {}", level.as_str().to_ascii_lowercase(), record.args()),
        })
        .write_style(WriteStyle::Never)
        .try_init();
    // Already started: a test that calls twice keeps the first.
    drop(started);
}

/// Opens a log file for appending. It is opened anew by each run, so that it can be rotated at any time.
///
/// # Errors
/// When it cannot be opened or made.
pub fn open(path: &Path) -> Result<File, FileError> {
    let mut options = OpenOptions::new();
    options.append(true).create(true).mode(LOG_MODE).custom_flags(no_follow());
    options.open(path).map_err(FileError::of("open", path))
}

/// Starts logging to a file, each line with its time and process; call once. Nothing goes to stderr.
pub fn start_in(file: File, level: LevelFilter) {
    let started = Builder::new()
        .filter_module("wazuh_akamai", level)
        .format(|out, record| {
            let (time, pid) = (out.timestamp_seconds(), std::process::id());
            writeln!(out, "{time} [{pid}] {}: {}", record.level().as_str().to_ascii_lowercase(), record.args())
        })
        .target(Target::Pipe(Box::new(file)))
        .write_style(WriteStyle::Never)
        .try_init();
    drop(started);
}
