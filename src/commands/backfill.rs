//! `backfill`: a past span of time into the spool. Never moves a cursor; the wodle's next runs hand it over.

use std::io::{self, IsTerminal};
use std::thread;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::collect::{end_on_signal, leave_root};
use super::{load_config, ready, select};
use crate::akamai::client::{Client, Pace};
use crate::akamai::query::{NEWEST_S, Window};
use crate::cli::{BackfillArgs, Cli};
use crate::clock::{rfc_3339, unix_seconds};
use crate::collector::backfill::{Backfill, BackfillError};
use crate::exit::Exit;
use crate::state::{StateFolder, StateLock};
use crate::wazuh::handover::LineGuard;

/// Time to wait for a run of `collect` to end, in seconds.
const LOCK_S_MAX: u64 = 60;

/// Runs the command.
pub fn run(cli: &Cli, args: &BackfillArgs) -> Exit {
    let now = unix_seconds();
    let window = match Window::named(args.from, args.to, now) {
        Ok(window) => window,
        Err(problem) => {
            log::error!("{problem}");
            return Exit::Usage;
        }
    };
    let file = cli.config_file();
    let config = match load_config(&file) {
        Ok(config) => config,
        Err(exit) => return exit,
    };
    let selected = match select(&config, args.source.as_deref(), &file) {
        Ok(selected) => selected,
        Err(exit) => return exit,
    };
    let mut exit = Exit::Done;
    let mut sources = Vec::new();
    for entry in selected {
        match ready(entry, &file).map(|source| (source, Client::new(source))) {
            Some((source, Ok(client))) => sources.push((source, client)),
            Some((source, Err(error))) => {
                log::error!("source {}: {error}", source.name);
                exit = exit.and(error.exit());
            }
            None => exit = exit.and(Exit::Config),
        }
    }
    if sources.is_empty() {
        return exit;
    }
    if let Err(error) = leave_root(&config.global, None) {
        log::error!("{error}");
        return Exit::Local;
    }
    end_on_signal(LineGuard::default(), Exit::Local, || {});
    let state = StateFolder::at(&config.global.state_dir);
    let mut pace = Pace::default();
    let to = window.to.unwrap_or(now - NEWEST_S);
    for (source, client) in &sources {
        let backfill = Backfill { source, client, state: &state, spool_bytes_max: config.global.spool_bytes_max };
        exit = exit.and(fetch(&backfill, (window.from, to), &mut pace, cli.quiet));
    }
    exit
}

fn lock(state: &StateFolder) -> Option<StateLock> {
    let until = Instant::now() + Duration::from_secs(LOCK_S_MAX);
    let mut told = false;
    loop {
        match state.try_lock() {
            Ok(Some(lock)) => return Some(lock),
            Ok(None) if Instant::now() >= until => {
                log::error!("another collect or backfill is at work since {LOCK_S_MAX} s; try again later");
                return None;
            }
            Ok(None) => {
                if !told {
                    log::info!("waiting for another collect or backfill to end (up to {LOCK_S_MAX} s)");
                    told = true;
                }
                thread::sleep(Duration::from_millis(200));
            }
            Err(error) => {
                log::error!("{error}");
                return None;
            }
        }
    }
}

fn fetch(backfill: &Backfill<'_>, (from, to): (i64, i64), pace: &mut Pace, quiet: bool) -> Exit {
    let source = backfill.source;
    let bar = ProgressBar::new(to.abs_diff(from));
    if quiet || !io::stderr().is_terminal() {
        bar.set_draw_target(ProgressDrawTarget::hidden());
    }
    if let Ok(style) = ProgressStyle::with_template("{msg} {wide_bar} {percent} %, {eta} left") {
        bar.set_style(style);
    }
    bar.set_message(source.name.clone());
    let (mut stored_to, mut stored) = (from, 0);
    let ended = backfill.run(
        (from, to),
        pace,
        || lock(backfill.state),
        |at, events| {
            (stored_to, stored) = (at, events);
            bar.set_position(at.abs_diff(from));
            bar.set_message(format!("{}: {events} events", source.name));
        },
    );
    bar.finish_and_clear();
    match ended {
        Ok(events) => {
            log::info!(
                "source {}: {events} events from {} to {} are queued; the wodle's next runs hand them over",
                source.name,
                rfc_3339(from),
                rfc_3339(to)
            );
            Exit::Done
        }
        Err(error) => {
            log::error!(
                "source {}: {error}; {stored} events are queued: go on with --from {}",
                source.name,
                rfc_3339(stored_to)
            );
            match error {
                BackfillError::Ask(error) => error.exit(),
                BackfillError::File(_) | BackfillError::Full(_) | BackfillError::Locked => Exit::Local,
                BackfillError::Incomplete { .. } => Exit::Unavailable,
            }
        }
    }
}
