//! Messages to stderr: one line each, with the program's name and what kind it is. Never writes to stdout, never shows
//! what libraries log (their headers hold credentials).

use std::io::Write;

use log::LevelFilter;

/// Starts logging to stderr; call once.
pub fn start(level: LevelFilter) {
    let started = env_logger::Builder::new()
        .filter_module("wazuh_akamai", level)
        .format(|out, record| match record.level() {
            log::Level::Info => writeln!(out, "wazuh-akamai: {}", record.args()),
            level => writeln!(out, "wazuh-akamai: {}: {}", level.as_str().to_ascii_lowercase(), record.args()),
        })
        .write_style(env_logger::WriteStyle::Never)
        .try_init();
    // Already started: a test that calls twice keeps the first.
    drop(started);
}
