//! `collect`: what the wodle runs. Prepares a run as root, gives root up, and does it. Never writes to stderr, and to stdout
//! nothing but event lines: Wazuh takes every line of both for an event.

use std::io::{self, IsTerminal};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use nix::unistd::{Gid, User};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::log_errors;
use crate::akamai::client::{AskError, Client};
use crate::cli::Cli;
use crate::collector::{self, Budget, Run};
use crate::config::{self, Config, ConfigError, Global, LoadError, Output, RunOn, Source, SourceState};
use crate::exit::Exit;
use crate::install::rules_problem;
use crate::state::attempt::Attempt;
use crate::state::health::Condition;
use crate::state::{StateFolder, StateLock};
use crate::wazuh::handover::{Handover, LineGuard};
use crate::wazuh::home::Home;
use crate::wazuh::wodle::{Parent, SocketId};
use crate::{logger, privileges};

/// Time that a line on its way has when a signal ends the process, in milliseconds.
const LINE_MS_MAX: u64 = 800;

/// Time to wait for the state folder, in seconds.
const LOCK_S_MAX: u64 = 10;

/// Time between two looks at it, in milliseconds.
const LOCK_LOOK_MS: u64 = 100;

pub fn run(cli: &Cli) -> Result<Exit, Exit> {
    let started = Instant::now();
    if io::stdout().is_terminal() {
        logger::start(log::LevelFilter::Info);
        log::error!(
            "collect hands events to Wazuh and will not deliver them a second time, so it does not write to a terminal; \
             to look at events use: wazuh-akamai fetch"
        );
        return Err(Exit::Usage);
    }
    let file = cli.config_file();
    let (config, unusable, is_missing) = match config::load(&file) {
        Ok(config) => (config, None, false),
        Err(error @ LoadError::Missing { .. }) => (Config::default(), Some(error), true),
        Err(error) => (Config::default(), Some(error), false),
    };
    start_log(cli, &config.global);
    let parent = Parent::of_this_process();
    let home = Home::find(Path::new("/"), config.global.wazuh_home.as_deref());
    let socket = SocketId::at(&home.queue_socket());
    let has_worked = StateFolder::at(&config.global.state_dir).has_cursor();
    // One that is gone is missed only where there was one.
    let unusable = unusable.filter(|_| !is_missing || has_worked);
    if is_missing && !has_worked {
        log::info!("not configured yet: there is no {}", file.display());
    }
    log_errors(&config.global_errors);
    let global_error = unusable.map(|error| error.to_string()).or_else(|| joined(&config.global_errors));
    let global_error = global_error.or_else(|| queue_problem(&config.global, &home));
    let holds_back = home.no_lines_problem();
    let rules_problem = rules_problem(&home).inspect(|error| log::error!("{error}"));
    let (sources, broken) = sources(&config, &file, home.is_worker);
    let state = StateFolder::at(&config.global.state_dir);
    let idle = sources.is_empty() && global_error.is_none() && broken.iter().all(|(_, error)| error.is_none());
    match &global_error {
        // Under a wodle even that run is taken note of: which socket it is connected to is known by the first one.
        None if idle && !state.path().exists() && !parent.is_modulesd() => return Ok(Exit::Done),
        // Where the state is kept is not known for sure: nothing is made anew there.
        Some(error) if config.sources.is_empty() && !state.path().exists() => {
            tell_directly(Condition::ConfigError, error);
            return Err(Exit::Config);
        }
        _ => {}
    }
    // The pace of all sources together: the least that is configured.
    let configured_eps = sources.iter().filter_map(|(source, _)| source.max_eps).min();
    let budget = Budget::new(home.interval_s(), configured_eps.unwrap_or_else(|| home.max_eps()));
    let output = if global_error.is_none() { config.global.output } else { Output::Stdout };
    leave_root(&config.global, home.group()).map_err(cannot_run)?;
    let guard = LineGuard::default();
    end_when_late(guard.clone(), budget.watchdog().saturating_sub(started.elapsed()));
    let _lock = lock(&state)?;
    let folder = state.clone();
    end_on_signal(guard.clone(), Exit::Done, move || Attempt::forget_all(&folder));
    let spool_bytes_max = config.global.spool_bytes_max;
    let handover = Handover::new(guard);
    Ok(collector::run(Run {
        state,
        spool_bytes_max,
        sources,
        broken,
        global_error,
        rules_problem,
        output,
        holds_back,
        queue_lines_per_s_max: configured_eps,
        parent,
        socket,
        home,
        budget,
        started,
        handover,
    }))
}

/// The lock of the state folder, or how to end where there is none to be had. A backfill gives it back after each slice.
fn lock(state: &StateFolder) -> Result<StateLock, Exit> {
    let until = Instant::now() + Duration::from_secs(LOCK_S_MAX);
    loop {
        match state.try_lock().map_err(cannot_run)? {
            Some(lock) => return Ok(lock),
            None if Instant::now() < until => thread::sleep(Duration::from_millis(LOCK_LOOK_MS)),
            None => break,
        }
    }
    match state.stuck_lock().map_err(cannot_run)? {
        Some(stuck) => Err(cannot_run(stuck)),
        None => {
            log::info!("another collect or backfill is running; this one has nothing to do");
            Err(Exit::Done)
        }
    }
}

/// What keeps a run from its state is told to Wazuh.
#[allow(clippy::needless_pass_by_value)]
fn cannot_run(error: impl ToString) -> Exit {
    tell_directly(Condition::Backlog, &error.to_string());
    Exit::Local
}

/// The log of runs that nobody watches. Where it cannot be opened there is none: stderr belongs to Wazuh.
fn start_log(cli: &Cli, global: &Global) {
    let level = match cli.verbose {
        0 => global.log_level,
        1 => global.log_level.max(log::LevelFilter::Debug),
        _ => log::LevelFilter::Trace,
    };
    if let Ok(log) = logger::open(&global.log_file) {
        logger::start_in(log, if cli.quiet { log::LevelFilter::Error } else { level });
    }
}

type Ready<'a> = Vec<(&'a Source, Result<Client, AskError>)>;
type Broken = Vec<(String, Option<String>)>;

/// The sources that can be asked, and those that cannot. Certificates are read now, with root's eyes.
fn sources<'a>(config: &'a Config, file: &Path, is_worker: bool) -> (Ready<'a>, Broken) {
    let (mut ready, mut broken) = (Vec::new(), Vec::new());
    for entry in &config.sources {
        match &entry.state {
            SourceState::Ready(source) if is_worker && source.run_on == RunOn::Master => {
                log::info!("source {}: this is a cluster worker; the master collects it", source.name);
            }
            SourceState::Ready(source) => ready.push((&**source, Client::new(source))),
            SourceState::Disabled => {}
            SourceState::NotConfigured(open) => {
                log::info!(
                    "source {} is not configured yet: fill in {} in {}",
                    entry.name,
                    open.join(", "),
                    file.display()
                );
                broken.push((entry.name.clone(), None));
            }
            SourceState::Invalid(errors) => {
                log_errors(errors);
                broken.push((entry.name.clone(), joined(errors)));
            }
        }
    }
    (ready, broken)
}

fn joined(errors: &[ConfigError]) -> Option<String> {
    let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
    (!texts.is_empty()).then(|| texts.join("; "))
}

/// Why the queue cannot be the output that it is configured to be. A Wazuh that is not there (now) or that is
/// not supported is no reason.
fn queue_problem(global: &Global, home: &Home) -> Option<String> {
    if global.output != Output::Queue || home.problem.is_some() {
        return None;
    }
    home.queue_problem()
        .map(|problem| format!("{problem}; set output = stdout"))
        .inspect(|error| log::error!("{error}"))
}

/// Makes the state folder ready and becomes the user that the work is done as, with the group of Wazuh where its sockets are used.
pub(super) fn leave_root(global: &Global, wazuh: Option<Gid>) -> Result<(), String> {
    let owner: Option<User> = if privileges::is_root() && global.user != "root" {
        let user = privileges::user(&global.user);
        if user.is_none() {
            log::warn!("there is no user {}: continuing as root", global.user);
        }
        user
    } else {
        None
    };
    privileges::prepare_folder(&global.state_dir, owner.as_ref()).map_err(|error| error.to_string())?;
    match owner {
        Some(user) => {
            privileges::become_user(&user, wazuh).map_err(|error| format!("cannot become {}: {error}", user.name))
        }
        None => Ok(()),
    }
}

/// Wazuh must hear of what keeps a run from starting at all.
fn tell_directly(condition: Condition, error: &str) {
    log::error!("{error}");
    collector::tell_directly(condition, error, Handover::new(LineGuard::default()));
}

/// A signal ends the process between two lines, and `last` is done before. Nothing else needs an end: what a run was at is finished
/// by the next one.
pub(super) fn end_on_signal(guard: LineGuard, exit: Exit, last: impl Fn() + Send + 'static) {
    let Ok(mut signals) = Signals::new([SIGTERM, SIGINT, SIGHUP]) else { return };
    thread::spawn(move || {
        if let Some(signal) = signals.forever().next() {
            end(&guard, &format!("ended by signal {signal}"), log::Level::Info, exit, last);
        }
    });
}

/// The wodle waits for us without a limit, so a run has one of its own.
fn end_when_late(guard: LineGuard, after: Duration) {
    thread::spawn(move || {
        thread::sleep(after);
        end(&guard, "the run took too long and was ended", log::Level::Error, Exit::Local, || {});
    });
}

fn end(guard: &LineGuard, why: &str, level: log::Level, exit: Exit, last: impl Fn()) {
    let _between_lines = guard.between_lines_within(Duration::from_millis(LINE_MS_MAX));
    log::log!(level, "{why}");
    last();
    std::process::exit(exit as i32);
}
