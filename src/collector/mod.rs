//! One run of `collect`: hand over what is pending, fetch what is new into the spool, remember how far, hand that over.
//!
//! The flow, and where each step stands: `source` asks Akamai and moves its cursor only once the page is sealed in the spool
//! (`page` reads it line by line); `hosts` lets those on different hosts not wait for each other. `route` gives the spool's
//! lines (`spool_lines`) either to the wodle (`deliver`) or to analysisd itself (`queueing`), which record how far. `store` is
//! what they share; `monitor` remembers what is wrong and tells Wazuh by a `notice`; `budget` bounds the run. `window` is the
//! original's way, without a memory; `damage` deals with what of the spool cannot be read; `backfill` fetches a past span into
//! the spool. Never writes anything but whole event lines to stdout.

pub mod backfill;
mod budget;
mod damage;
mod deliver;
mod hosts;
mod monitor;
mod notice;
mod page;
mod queueing;
mod route;
mod source;
mod spool_lines;
mod store;
mod window;

use std::collections::HashMap;
use std::thread;
use std::time::Instant;

pub use self::budget::{Budget, HANDOVER_BYTES_MAX};

use self::deliver::{Delivering, counted};
use self::hosts::{Deadlines, Shared, ask_hosts};
use self::monitor::Monitor;
use self::notice::Notice;
use self::queueing::Queueing;
use self::route::{Phase, Route};
use self::source::SourceRun;
use self::store::Store;
use self::window::WindowRunError;
use crate::akamai::client::{AskError, Client, REQUEST_GAP};
use crate::clock::unix_seconds;
use crate::config::{self, Mode, Source};
use crate::exit::Exit;
use crate::files::FileError;
use crate::state::delivery::{Delivery, DeliveryFile, Fate};
use crate::state::forward::roll_forward;
use crate::state::health::Condition;
use crate::state::spool::Spool;
use crate::state::{Loaded, StateFolder};
use crate::wazuh::analysisd::Analysisd;
use crate::wazuh::handover::Handover;
use crate::wazuh::home::Home;
use crate::wazuh::wodle::{Parent, SocketId};

/// A line that has waited so long for Wazuh is told of, in seconds.
const LATE_S: i64 = 900;

/// What is said of a source that has worked and cannot be asked any more.
const NO_LONGER_CONFIGURED: &str =
    "this source has worked and is not filled in any more: wazuh-akamai check names what is missing";

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
    /// Why there are no rules of ours. Everything is asked and delivered all the same.
    pub rules_problem: Option<String>,
    /// Where lines go.
    pub output: config::Output,
    /// Why this Wazuh gets nothing, whatever the output.
    pub holds_back: Option<String>,
    /// Lines a second that may go to the queue; none for as many as it takes.
    pub queue_lines_per_s_max: Option<u64>,
    /// Who runs us.
    pub parent: Parent,
    /// Wazuh's queue socket, if there is one.
    pub socket: Option<SocketId>,
    /// The Wazuh around us.
    pub home: Home,
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
    route: Route,
    /// The wodle above forwards nothing any more, though it is the output.
    is_mute: bool,
    monitor: Monitor,
    sources: Vec<(&'a Source, Result<Client, AskError>)>,
    broken: Vec<(String, Option<String>)>,
    global_error: Option<String>,
    rules_problem: Option<String>,
    home: Home,
    budget: Budget,
    started: Instant,
}

impl<'a> Collector<'a> {
    fn open(run: Run<'a>) -> Result<Self, (FileError, Handover)> {
        let file = DeliveryFile::of(&run.state);
        let analysisd = Analysisd::of(&run.home);
        match load(&run, &file, &analysisd) {
            Ok((record, fate, mut monitor, spool)) => {
                if run.state.forget_stuck_lock().unwrap_or(false) {
                    // It was told then; how it stands now is found out at the end.
                    monitor.health.begin(Condition::Backlog, unix_seconds());
                }
                let store = Store {
                    state: run.state,
                    spool,
                    spool_bytes_max: run.spool_bytes_max,
                    hosts: 1,
                    promised: HashMap::new(),
                    direct: Vec::new(),
                    trouble: None,
                    full: None,
                    gap: None,
                };
                let wants_queue = run.output == config::Output::Queue && run.holds_back.is_none();
                let is_mute =
                    !wants_queue && run.holds_back.is_none() && record.is_mute(&run.parent, run.socket.as_ref());
                let is_queue = wants_queue || (is_mute && analysisd.has_counters());
                let budget = if is_queue { run.budget.for_queue() } else { run.budget };
                let route = if is_queue {
                    let pace = run.queue_lines_per_s_max;
                    // What still waits on a wodle's way goes here.
                    let record = Delivery { batch: None, ..record };
                    Route::Queue(Box::new(Queueing::new(analysisd, file, record, pace, run.started)))
                } else {
                    // What it has not confirmed goes to the wodle.
                    let record = Delivery { sent: None, ..record };
                    let wodle = Delivering::new(file, record, run.parent, run.socket, analysisd, fate, run.handover);
                    match run.holds_back {
                        Some(why) => Route::Kept(wodle, why),
                        None if is_mute => Route::MuteWodle(wodle),
                        None => Route::Wodle(wodle),
                    }
                };
                Ok(Self {
                    store,
                    route,
                    is_mute,
                    monitor,
                    sources: run.sources,
                    broken: run.broken,
                    global_error: run.global_error,
                    rules_problem: run.rules_problem,
                    home: run.home,
                    budget,
                    started: run.started,
                })
            }
            Err(error) => Err((error, run.handover)),
        }
    }

    fn run(mut self) -> Exit {
        self.note_mute();
        let mut exit = self.note_configuration();
        exit = exit.and(self.deliver(Phase::Before));
        let mut events = 0;
        if self.global_error.is_none() {
            let fetched = self.fetch();
            exit = exit.and(fetched.0);
            events = fetched.1;
        }
        self.note_trouble();
        exit = exit.and(self.deliver(Phase::After));
        exit = exit.and(self.note_output());
        if !self.store.direct.is_empty() {
            exit = exit.and(self.deliver(Phase::After));
        }
        if let Some((from_s, to_s)) = self.store.gap {
            self.monitor.health.last_gap = Some((from_s, to_s, unix_seconds()));
        }
        exit = exit.and(self.monitor.save());
        self.store.state.keep_reserve();
        log::info!(
            "{events} events fetched, {}, {} segments ({} bytes) in the spool, {:.1} s, exit {}",
            self.route.summary(),
            self.store.spool.segments.len(),
            self.store.spool.bytes(),
            self.started.elapsed().as_secs_f64(),
            exit as u8
        );
        exit
    }

    /// A wodle that forwards nothing any more gets nothing: lines go to analysisd itself, or are kept where that is not to be
    /// had. Then Wazuh is told past the spool, once.
    fn note_mute(&mut self) {
        if !self.is_mute {
            return self.monitor.end(&mut self.store, Condition::Mute);
        }
        let error = "Wazuh's queue socket was replaced, or nobody listens there any more, while wazuh-modulesd kept running: its wodles forward nothing until the manager is restarted";
        if matches!(self.route, Route::Queue(_)) {
            log::warn!("{error}; lines go to the queue socket itself");
            self.monitor.begin(&mut self.store, Condition::Mute, error);
        } else if !self.monitor.health.conditions.contains_key(&Condition::Mute) {
            log::error!("{error}; lines are kept");
            let notice = Notice::began("", Condition::Mute, error).line();
            let told = Analysisd::of(&self.home).send_now(notice.as_bytes());
            match told {
                Ok(()) => drop(self.monitor.health.begin(Condition::Mute, unix_seconds())),
                Err(error) => log::error!("cannot tell Wazuh through its queue socket: {error}"),
            }
        }
    }

    fn note_configuration(&mut self) -> Exit {
        let mut exit = if self.global_error.is_some() { Exit::Config } else { Exit::Done };
        let error = self.global_error.as_deref().or(self.rules_problem.as_deref());
        self.monitor.note_config(&mut self.store, error);
        for (name, error) in std::mem::take(&mut self.broken) {
            exit = exit.and(self.note_source_config(&name, error.as_deref()));
        }
        exit
    }

    fn note_source_config(&mut self, name: &str, error: Option<&str>) -> Exit {
        match Monitor::of(&self.store.state, name) {
            Ok(mut monitor) => {
                // One that has worked is not merely "not configured yet".
                let error = error.or_else(|| monitor.health.last_success_s.map(|_| NO_LONGER_CONFIGURED));
                monitor.note_config(&mut self.store, error);
                let exit = if error.is_some() { Exit::Config } else { Exit::Done };
                exit.and(monitor.save())
            }
            Err(error) => {
                log::error!("source {name}: {error}");
                Exit::Local
            }
        }
    }

    fn deliver(&mut self, phase: Phase) -> Exit {
        match self.route.deliver(&Shared::new(&mut self.store), phase, &self.budget, self.started) {
            Ok(()) => Exit::Done,
            Err(error) => {
                log::error!("{error}");
                Exit::Local
            }
        }
    }

    /// Asks every source until all are drained or the time is up.
    fn fetch(&mut self) -> (Exit, u64) {
        let mut exit = Exit::Done;
        let (mut open, mut windows) = (Vec::new(), Vec::new());
        for (source, client) in std::mem::take(&mut self.sources) {
            let client = match client {
                Ok(client) => client,
                Err(error) => {
                    log::error!("source {}: {error}", source.name);
                    exit = exit.and(error.exit()).and(self.note_source_config(&source.name, Some(&error.to_string())));
                    continue;
                }
            };
            if source.mode == Mode::Window {
                windows.push((source, client));
                continue;
            }
            match SourceRun::open(source, client, &mut self.store) {
                Ok(run) => open.push(run),
                Err(error) => {
                    self.store.cannot_keep(&source.name, &error);
                    exit = exit.and(Exit::Local);
                }
            }
        }
        // Who was asked longest ago comes first: one that takes all the time of a run does not take that of the next as well.
        open.sort_by_key(SourceRun::asked_s);
        let last_page = self.started + self.budget.last_page();
        // Whatever this run has waited for so far, Akamai is asked once.
        let until = Deadlines {
            last_request: (self.started + self.budget.last_request())
                .max((Instant::now() + REQUEST_GAP).min(last_page)),
            last_page,
        };
        let Self { store, route, budget, started, .. } = self;
        let mut delivered = Exit::Done;
        let mut open = ask_hosts(open, store, until, |shared| {
            if let Err(error) = route.deliver(shared, Phase::Between, budget, *started) {
                log::error!("{error}");
                delivered = Exit::Local;
            }
        });
        exit = exit.and(delivered);
        if self.store.trouble.is_some() || self.store.full.is_some() {
            exit = exit.and(Exit::Local);
        }
        let mut asked: HashMap<String, Instant> = HashMap::new();
        for run in &open {
            let host = asked.entry(run.source.host.authority.clone());
            let at = run.asked.unwrap_or(self.started);
            host.and_modify(|latest| *latest = at.max(*latest)).or_insert(at);
        }
        for (source, client) in &windows {
            if matches!(self.route, Route::MuteWodle(_) | Route::Kept(..)) {
                break;
            }
            wait_for_host(&mut asked, source);
            exit = exit.and(self.fetch_window(source, client));
        }
        let mut events = 0;
        for run in &mut open {
            events += run.events;
            exit = exit.and(run.close(&mut self.store));
        }
        (exit, events)
    }

    fn fetch_window(&mut self, source: &Source, client: &Client) -> Exit {
        let mut monitor = match Monitor::of(&self.store.state, &source.name) {
            Ok(monitor) => monitor,
            Err(error) => {
                log::error!("source {}: {error}", source.name);
                return Exit::Local;
            }
        };
        let deadline = self.started + self.budget.last_page();
        let fetched = match self.route.stdout() {
            Some(handover) => window::to_stdout(source, client, handover, deadline),
            None => window::to_spool(source, client, &mut self.store, deadline),
        };
        let exit = match fetched {
            Ok(()) => {
                monitor.succeeded(&mut self.store);
                monitor.end(&mut self.store, Condition::Truncated);
                Exit::Done
            }
            Err(WindowRunError::Closed) => Exit::Done,
            Err(error) => {
                log::error!("source {}: {error}", source.name);
                if error.exit() == Exit::Refused {
                    monitor.begin(&mut self.store, Condition::AuthFailed, &error.to_string());
                }
                if matches!(error, WindowRunError::Incomplete(_)) {
                    monitor.begin(&mut self.store, Condition::Truncated, &error.to_string());
                }
                monitor.run_failed(&mut self.store, &error.to_string());
                error.exit()
            }
        };
        exit.and(monitor.save())
    }

    /// Lines that cannot be stored, or that pile up.
    fn note_trouble(&mut self) {
        let full = self.store.is_full().then(|| format!("{} bytes wait in the spool", self.store.spool.bytes()));
        let trouble = self.store.trouble.take();
        let (late, is_queue) = (self.late(), matches!(self.route, Route::Queue(_)));
        match trouble.or(self.store.full.take()).or(full).or(late.clone().filter(|_| !is_queue)) {
            Some(error) => {
                log::error!("{error}");
                self.monitor.begin(&mut self.store, Condition::Backlog, &error);
            }
            // An output that took nothing so far may have begun it, and may still.
            None if self.route.trouble().is_some() || late.is_some() => {}
            None => self.monitor.end(&mut self.store, Condition::Backlog),
        }
    }

    /// An output that takes nothing at the end of a run: told as soon as it takes something again.
    fn note_output(&mut self) -> Exit {
        let (trouble, late) = (self.route.trouble(), self.late());
        let exit = if trouble.is_some() { Exit::Local } else { Exit::Done };
        if let Some(error) = trouble.or(late) {
            log::error!("{error}");
            self.monitor.begin(&mut self.store, Condition::Backlog, &error);
        }
        exit
    }

    /// Lines that have waited too long, whatever for.
    fn late(&self) -> Option<String> {
        let waiting_s = self.route.waiting_s(&self.store.spool).filter(|seconds| *seconds >= LATE_S)?;
        let bytes = self.store.spool.bytes();
        Some(format!("the oldest line has waited for Wazuh for {waiting_s} s; {bytes} bytes are in the spool"))
    }
}

/// Waits until a host may be asked again.
fn wait_for_host(asked: &mut HashMap<String, Instant>, source: &Source) {
    if let Some(before) = asked.get(&source.host.authority) {
        thread::sleep(REQUEST_GAP.saturating_sub(before.elapsed()));
    }
    asked.insert(source.host.authority.clone(), Instant::now());
}

/// What the run before left, and what became of its batch.
type Loading = (Delivery, Option<Fate>, Monitor, Spool);

/// Reads what the run before left, and settles what became of its batch.
fn load(run: &Run<'_>, file: &DeliveryFile, analysisd: &Analysisd) -> Result<Loading, FileError> {
    let state = &run.state;
    let mut is_damaged = false;
    let mut record = match file.load()? {
        Loaded::Intact(record) => record,
        Loaded::Missing => Delivery::default(),
        Loaded::Corrupt => {
            is_damaged = true;
            let aside = file.set_aside()?;
            log::error!(
                "the record of what was delivered is damaged and set aside as {}; the spool is handed over again",
                aside.display()
            );
            Delivery::default()
        }
    };
    let before = record.clone();
    // What came under it before is not known, but a wodle connects once, and at its start.
    let is_late = run.socket.as_ref().is_some_and(|socket| run.parent.is_older_than(socket));
    if run.parent.is_modulesd() && record.is_new_parent(&run.parent) && is_late {
        record.note_mute(&run.parent);
    }
    let fate = record.begin_run(&run.parent, run.socket.as_ref(), |batch| counted(batch, analysisd, &run.budget));
    match fate {
        Some(Fate::Lost | Fate::NotForwarded) => {
            log::warn!("what the run before handed over may not have arrived; it is handed over again");
        }
        Some(Fate::Waiting) => log::warn!("analysisd has not worked off what the run before handed over"),
        Some(Fate::Arrived) | None => {}
    }
    if let Err(error) = state.forget_set_aside() {
        log::warn!("{error}");
    }
    let mut spool = Spool::recover(state)?;
    // No number comes twice, whichever of the two records is on disk.
    spool.number_beyond(record.last_segment().max(before.last_segment()));
    // A damaged one is replaced at once, or each run would set it aside.
    if (is_damaged || record != before)
        && let Err(error) = file.save(&record)
    {
        log::error!("{error}");
    }
    roll_forward(state, &mut spool)?;
    spool.remove_delivered(&record.delivered)?;
    Ok((record, fate, Monitor::of_all(state)?, spool))
}
