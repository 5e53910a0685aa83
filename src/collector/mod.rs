//! One run of `collect`: hand over what is pending, fetch what is new into the spool, remember how far, hand that over.
//!
//! The flow, and where each step stands: `source` asks Akamai and moves its cursor only once the page is sealed in the spool
//! (`page` reads it line by line); `deliver` hands the spool's lines to the wodle and records how far; `store` is what they
//! share; `notice` makes the events that tell Wazuh what is wrong; `budget` bounds the run; `window` is the original's way,
//! without a memory. Never writes anything but whole event lines to stdout.

mod budget;
mod deliver;
mod notice;
mod page;
mod source;
mod store;
mod window;

use std::collections::HashMap;
use std::thread;
use std::time::{Duration, Instant};

pub use self::budget::Budget;

use self::deliver::Delivering;
use self::notice::Notice;
use self::source::{REQUEST_GAP, SourceRun, Standing, note_config};
use self::store::Store;
use crate::client::{AskError, Client};
use crate::clock::unix_seconds;
use crate::config::{Mode, Source};
use crate::exit::Exit;
use crate::files::FileError;
use crate::handover::Handover;
use crate::state::delivery::{Delivery, DeliveryFile};
use crate::state::health::{Condition, Health, HealthFile};
use crate::state::spool::Spool;
use crate::state::{Loaded, StateFolder};
use crate::wazuh::Wazuh;
use crate::wodle::{Parent, SocketId};

/// What a run is made of; everything that needed root has been read.
pub struct Run<'a> {
    /// The folder, locked by the caller.
    pub state: StateFolder,
    /// Bytes that the spool may take.
    pub spool_bytes_max: u64,
    /// The sources to ask, each with what asks for it.
    pub sources: Vec<(&'a Source, Result<Client, AskError>)>,
    /// Sources that cannot be asked: what is wrong, or none where they are just not configured yet.
    pub broken: Vec<(String, Option<String>)>,
    /// What is wrong with the configuration as a whole: nothing is asked then.
    pub global_error: Option<String>,
    /// Who runs us.
    pub parent: Parent,
    /// The Wazuh around us.
    pub wazuh: Wazuh,
    /// Bounds of the run.
    pub budget: Budget,
    /// When it began.
    pub started: Instant,
    /// Writes to stdout.
    pub handover: Handover,
}

/// Does the run.
pub fn run(run: Run<'_>) -> Exit {
    match Collector::open(run) {
        Ok(collector) => collector.run(),
        Err((error, handover)) => {
            log::error!("{error}");
            tell_directly(Condition::Backlog, &error.to_string(), handover);
            Exit::Local
        }
    }
}

/// Tells Wazuh what keeps a run from its state: without it there is no spool to tell it through.
pub fn tell_directly(condition: Condition, error: &str, mut handover: Handover) {
    let line = Notice::began("", condition, error).line();
    let told = handover.write_line(line.as_bytes()).and_then(|()| handover.flush());
    // Nobody is left to hear that nobody listens.
    drop(told);
}

struct Collector<'a> {
    store: Store,
    delivering: Delivering,
    health_file: HealthFile,
    health: Health,
    sources: Vec<(&'a Source, Result<Client, AskError>)>,
    broken: Vec<(String, Option<String>)>,
    global_error: Option<String>,
    wazuh: Wazuh,
    budget: Budget,
    started: Instant,
}

impl<'a> Collector<'a> {
    fn open(run: Run<'a>) -> Result<Self, (FileError, Handover)> {
        let socket = SocketId::at(&run.wazuh.queue_socket());
        let file = DeliveryFile::of(&run.state);
        match load(&run.state, &file, &run.parent, socket.as_ref()) {
            Ok((record, health_file, health, spool)) => {
                let store = Store {
                    state: run.state,
                    spool,
                    spool_bytes_max: run.spool_bytes_max,
                    direct: Vec::new(),
                    trouble: None,
                };
                let delivering = Delivering::new(file, record, run.parent, socket, run.handover);
                Ok(Self {
                    store,
                    delivering,
                    health_file,
                    health,
                    sources: run.sources,
                    broken: run.broken,
                    global_error: run.global_error,
                    wazuh: run.wazuh,
                    budget: run.budget,
                    started: run.started,
                })
            }
            Err(error) => Err((error, run.handover)),
        }
    }

    fn run(mut self) -> Exit {
        let health_before = self.health.clone();
        let mute = self.note_mute();
        let mut exit = self.note_configuration();
        exit = exit.and(self.deliver(mute, self.budget.last_request()));
        let mut events = 0;
        if self.global_error.is_none() {
            let fetched = self.fetch(mute);
            exit = exit.and(fetched.0);
            events = fetched.1;
        }
        self.note_trouble(mute);
        exit = exit.and(self.deliver(mute, self.started.elapsed()));
        if self.health != health_before
            && let Err(error) = self.store.save(|| self.health_file.save(&self.health))
        {
            log::error!("{error}");
            exit = exit.and(Exit::Local);
        }
        self.store.keep_reserve();
        log::info!(
            "{events} events fetched, {} lines handed over, {} segments ({} bytes) in the spool, {:.1} s, exit {}",
            self.delivering.lines,
            self.store.spool.segments.len(),
            self.store.spool.bytes(),
            self.started.elapsed().as_secs_f64(),
            exit as u8
        );
        exit
    }

    /// A wodle that forwards nothing any more gets nothing. Wazuh is told through the queue socket itself, once.
    fn note_mute(&mut self) -> bool {
        let mute = self.delivering.is_mute();
        if mute && !self.health.conditions.contains_key(&Condition::Backlog) {
            let error = "Wazuh's queue socket was replaced while wazuh-modulesd kept running: its wodles forward nothing until the manager is restarted";
            log::error!("{error}; lines are kept");
            let told = self.wazuh.send_to_queue(Notice::began("", Condition::Backlog, error).line().as_bytes());
            match told {
                Ok(()) => drop(self.health.begin(Condition::Backlog, unix_seconds())),
                Err(error) => log::error!("cannot tell Wazuh through its queue socket: {error}"),
            }
        }
        mute
    }

    fn note_configuration(&mut self) -> Exit {
        let mut exit = Exit::Done;
        let now = unix_seconds();
        match &self.global_error {
            Some(error) => {
                exit = Exit::Config;
                if self.health.begin(Condition::ConfigError, now) {
                    self.store.tell(&Notice::began("", Condition::ConfigError, error));
                }
            }
            None => {
                if self.health.end(Condition::ConfigError) {
                    self.store.tell(&Notice::recovered("", Condition::ConfigError));
                }
            }
        }
        for (name, error) in &self.broken {
            if error.is_some() {
                exit = exit.and(Exit::Config);
            }
            let state = self.store.state.clone();
            if let Err(error) = note_config(&mut self.store, &state, name, error.as_deref()) {
                log::error!("source {name}: {error}");
                exit = exit.and(Exit::Local);
            }
        }
        exit
    }

    /// Hands over what is pending, within what the wodle forwards when the run has taken `elapsed`.
    fn deliver(&mut self, mute: bool, elapsed: Duration) -> Exit {
        if mute {
            return Exit::Done;
        }
        let lines_max = self.budget.lines(elapsed.max(self.started.elapsed()));
        let delivered = self.delivering.run(&mut self.store, lines_max);
        match delivered.and_then(|()| self.delivering.settle(&mut self.store)) {
            Ok(()) => Exit::Done,
            Err(error) => {
                log::error!("{error}");
                Exit::Local
            }
        }
    }

    /// Asks one source after the other, a page each, until all are drained or the time is up.
    fn fetch(&mut self, mute: bool) -> (Exit, u64) {
        let mut exit = Exit::Done;
        let mut open = Vec::new();
        for (source, client) in std::mem::take(&mut self.sources) {
            let client = match client {
                Ok(client) => client,
                Err(error) => {
                    log::error!("source {}: {error}", source.name);
                    let state = self.store.state.clone();
                    // That it could not be remembered is the smaller trouble.
                    drop(note_config(&mut self.store, &state, &source.name, Some(&error.to_string())));
                    exit = exit.and(error.exit());
                    continue;
                }
            };
            if source.mode == Mode::Window {
                if !mute {
                    exit = exit.and(window::run(
                        source,
                        &client,
                        &mut self.delivering.handover,
                        self.started + self.budget.last_page(),
                    ));
                }
                continue;
            }
            match SourceRun::open(source, client, &mut self.store) {
                Ok(run) => open.push(run),
                Err(error) => exit = exit.and(self.local_failure(&source.name, &error)),
            }
        }
        self.fetch_pages(&mut open, &mut exit);
        let mut events = 0;
        for run in &mut open {
            events += run.events;
            exit = exit.and(run.close(&mut self.store));
        }
        (exit, events)
    }

    fn fetch_pages(&mut self, open: &mut [SourceRun<'_>], exit: &mut Exit) {
        let mut asked: HashMap<String, Instant> = HashMap::new();
        let last_request = self.started + self.budget.last_request();
        let last_page = self.started + self.budget.last_page();
        while self.store.trouble.is_none() {
            if self.store.room() == 0 {
                let bytes = self.store.spool.bytes();
                self.store.trouble = Some(format!("the spool is full: {bytes} bytes wait to be handed over"));
                break;
            }
            let ready = |run: &SourceRun<'_>| {
                let host_free = asked.get(&run.source.host.authority).map(|at| *at + REQUEST_GAP);
                host_free.map_or(run.not_before, |at| at.max(run.not_before))
            };
            // The one that waits longest comes first, so that none starves.
            let next =
                open.iter_mut().filter(|run| run.standing == Standing::Open).min_by_key(|run| (ready(run), run.asked));
            let Some(run) = next else { break };
            let at = ready(run);
            if at >= last_request || Instant::now() >= last_request {
                break;
            }
            thread::sleep(at.saturating_duration_since(Instant::now()));
            asked.insert(run.source.host.authority.clone(), Instant::now());
            if let Err(error) = run.step(&mut self.store, last_page) {
                run.standing = Standing::Stopped;
                let name = run.source.name.clone();
                *exit = exit.and(self.local_failure(&name, &error));
            }
        }
        if self.store.trouble.is_some() {
            *exit = exit.and(Exit::Local);
        }
    }

    /// What cannot be stored stops all fetching: the next page would fare no better.
    fn local_failure(&mut self, source: &str, error: &FileError) -> Exit {
        log::error!("source {source}: {error}");
        self.store.trouble = Some(error.to_string());
        Exit::Local
    }

    /// Lines that cannot be stored, or that pile up.
    fn note_trouble(&mut self, mute: bool) {
        let full = self.store.is_full().then(|| format!("{} bytes wait in the spool", self.store.spool.bytes()));
        match self.store.trouble.take().or(full) {
            Some(error) => {
                log::error!("{error}");
                if self.health.begin(Condition::Backlog, unix_seconds()) {
                    self.store.tell(&Notice::began("", Condition::Backlog, &error));
                }
            }
            None if mute => {}
            None => {
                if self.health.end(Condition::Backlog) {
                    self.store.tell(&Notice::recovered("", Condition::Backlog));
                }
            }
        }
    }
}

/// Reads what the run before left, and settles what became of its batch.
fn load(
    state: &StateFolder,
    file: &DeliveryFile,
    parent: &Parent,
    socket: Option<&SocketId>,
) -> Result<(Delivery, HealthFile, Health, Spool), FileError> {
    let mut record = match file.load()? {
        Loaded::Intact(record) => record,
        Loaded::Missing => Delivery::default(),
        Loaded::Corrupt => {
            let aside = file.set_aside()?;
            log::error!(
                "the record of what was delivered is damaged and set aside as {}; the spool is handed over again",
                aside.display()
            );
            Delivery::default()
        }
    };
    let before = record.clone();
    if record.begin_run(parent, socket) == Some(false) {
        log::warn!("what the run before handed over may not have arrived; it is handed over again");
    }
    let mut spool = Spool::recover(state)?;
    // No number comes twice, whichever of the two records is on disk.
    for progress in [Some(record.delivered), before.batch.as_ref().map(|batch| batch.to)].into_iter().flatten() {
        spool.number_beyond(progress.events.segment.max(progress.notices.segment));
    }
    if record != before
        && let Err(error) = file.save(&record)
    {
        log::error!("{error}");
    }
    spool.remove_delivered(&record.delivered)?;
    let health_file = HealthFile::of_all(state);
    let health = match health_file.load()? {
        Loaded::Intact(health) => health,
        Loaded::Missing | Loaded::Corrupt => Health::default(),
    };
    Ok((record, health_file, health, spool))
}
