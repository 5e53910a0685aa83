//! Every host has a thread of its own, which asks its sources one after the other, a page each, at most once a second. Never
//! hands anything over, never holds the store while it waits for Akamai.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{self, Sender};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Instant;

use super::source::{SourceRun, Standing};
use super::store::Store;
use crate::akamai::client::REQUEST_GAP;
use crate::config::Source;
use crate::exit::Exit;

/// The stack of a thread, in bytes: that of a main thread.
const STACK_BYTES: usize = 8 << 20;

/// The store, shared by the threads of all hosts.
pub(super) type Shared<'a> = Mutex<&'a mut Store>;

/// The store, for as long as it takes to reserve, commit or tell.
pub(super) fn lock<'a, 'b>(shared: &'a Shared<'b>) -> MutexGuard<'a, &'b mut Store> {
    // A thread that panicked changed nothing by halves: what is on the disk counts.
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// When a run stops asking.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadlines {
    /// No request after this.
    pub(super) last_request: Instant,
    /// An open page is given up then.
    pub(super) last_page: Instant,
}

/// Asks all of them until they are drained or the time is up; `between` is called after pages came. Gives them back.
pub(super) fn ask_hosts<'a>(
    runs: Vec<SourceRun<'a>>,
    store: &mut Store,
    until: Deadlines,
    mut between: impl FnMut(&Shared<'_>),
) -> Vec<SourceRun<'a>> {
    let mut hosts: Vec<Vec<SourceRun<'a>>> = Vec::new();
    for run in runs {
        match hosts.iter_mut().find(|host| host[0].source.host.authority == run.source.host.authority) {
            Some(host) => host.push(run),
            None => hosts.push(vec![run]),
        }
    }
    store.hosts = hosts.len().max(1) as u64;
    let shared = Shared::new(store);
    let (sender, pages) = mpsc::channel();
    thread::scope(|scope| {
        let mut threads = Vec::new();
        for runs in &mut hosts {
            let (page_came, shared) = (sender.clone(), &shared);
            let host = thread::Builder::new().stack_size(STACK_BYTES);
            threads.push(host.spawn_scoped(scope, move || ask_host(runs, shared, until, &page_came)));
        }
        drop(sender);
        while pages.recv().is_ok() {
            while pages.try_recv().is_ok() {}
            between(&shared);
        }
        for thread in threads {
            match thread.map(thread::ScopedJoinHandle::join) {
                Ok(Ok(())) => {}
                Ok(Err(_)) => log::error!("what asked a host ended by a bug; the others went on"),
                Err(error) => lock(&shared).full = Some(format!("cannot start a thread to ask a host: {error}")),
            }
        }
    });
    let mut runs: Vec<SourceRun<'a>> = hosts.into_iter().flatten().collect();
    for run in runs.iter_mut().filter(|run| run.is_asking) {
        run.failed = Some((Exit::Local, "the collector failed at a line; this is a bug, please report it".into()));
    }
    runs
}

fn ask_host(runs: &mut [SourceRun<'_>], shared: &Shared<'_>, until: Deadlines, page_came: &Sender<()>) {
    let mut free = Instant::now();
    loop {
        let ready = |run: &SourceRun<'_>| run.not_before.max(free);
        // The one that waits longest comes first, so that none starves.
        let now = Instant::now();
        let next = runs.iter_mut().filter(|run| run.standing == Standing::Open);
        let Some(run) = next.min_by_key(|run| (ready(run).max(now), run.asked)) else { return };
        if !has_room(&mut lock(shared), run.source) {
            run.standing = Standing::Stopped;
            continue;
        }
        let at = ready(run);
        if at.max(now) >= until.last_request {
            return;
        }
        thread::sleep(at.saturating_duration_since(now));
        run.is_asking = true;
        // A page that ends in a panic ends its source, not those beside it; what was not committed counts for nothing.
        let ended = catch_unwind(AssertUnwindSafe(|| run.step(shared, until.last_page)));
        lock(shared).promised.remove(&run.source.host.authority);
        let Ok(ended) = ended else {
            run.standing = Standing::Stopped;
            free = Instant::now() + REQUEST_GAP;
            continue;
        };
        run.is_asking = false;
        // From when the host had the request for sure.
        free = run.asked.unwrap_or(now) + REQUEST_GAP;
        if let Err(error) = ended {
            run.standing = Standing::Stopped;
            lock(shared).cannot_keep(&run.source.name, &error);
        }
        // Nobody listens where the run is at its end.
        let _ = page_came.send(());
    }
}

/// Whether anything of a source can be stored.
fn has_room(store: &mut Store, source: &Source) -> bool {
    let bytes = store.spool.bytes();
    if store.trouble.is_some() {
        return false;
    }
    if bytes >= store.spool_bytes_max {
        store.trouble = Some(format!("the spool is full: {bytes} bytes wait to be handed over"));
        return false;
    }
    let has_room = store.share_of_room(source) > 0;
    if !has_room {
        let (name, own) = (&source.name, store.spool.bytes_of(&source.name));
        store.full = Some(format!(
            "source {name} may have no more in the spool: {own} of the {bytes} bytes that wait are its own, and what is left is kept for other sources"
        ));
    }
    has_room
}
