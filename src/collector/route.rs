//! Where a run's lines go, and when: the wodle above, or analysisd itself. Never fetches.

use std::time::{Duration, Instant};

use super::budget::Budget;
use super::deliver::Delivering;
use super::hosts::{Shared, lock};
use super::queueing::{Queueing, Until};
use super::spool_lines::waiting_s;
use super::store::Store;
use crate::files::FileError;
use crate::state::spool::Spool;
use crate::wazuh::handover::Handover;

/// Time for lines between two pages: the queue is kept busy, and Akamai is asked all the same.
const BETWEEN_PAGES_MAX: Duration = Duration::from_secs(5);

/// Where the lines of a run go.
#[derive(Debug)]
pub(super) enum Route {
    /// stdout, which the wodle forwards.
    Wodle(Delivering),
    /// The same while that wodle forwards nothing any more: lines are kept.
    MuteWodle(Delivering),
    /// Nothing, for this reason: lines are kept.
    Kept(Delivering, String),
    /// Wazuh's queue socket.
    Queue(Box<Queueing>),
}

/// When lines go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Before anything is fetched: what is pending.
    Before,
    /// Between two pages.
    Between,
    /// When all is fetched.
    After,
}

impl Route {
    /// Hands over what is pending, as far as this phase of a run has time and the output takes it.
    pub(super) fn deliver(
        &mut self,
        shared: &Shared<'_>,
        phase: Phase,
        budget: &Budget,
        started: Instant,
    ) -> Result<(), FileError> {
        match self {
            Self::MuteWodle(_) | Self::Kept(..) => Ok(()),
            Self::Wodle(_) if phase == Phase::Between => Ok(()),
            Self::Wodle(wodle) => {
                let reserved = if phase == Phase::Before { budget.last_request() } else { Duration::ZERO };
                let store: &mut Store = &mut lock(shared);
                wodle.run(store, budget.lines(reserved.max(started.elapsed())))?;
                wodle.settle(store)
            }
            // Whatever it waits for, what Akamai has must not wait for ever.
            Self::Queue(queue) if phase == Phase::Between && queue.trouble.is_some() => Ok(()),
            Self::Queue(queue) => {
                let (until, deadline) = match phase {
                    Phase::Before => (Until::Sent, budget.first_lines()),
                    Phase::Between => (Until::Sent, (started.elapsed() + BETWEEN_PAGES_MAX).min(budget.last_request())),
                    Phase::After => (Until::Confirmed, budget.last_line()),
                };
                queue.run(shared, until, started + deadline)
            }
        }
    }

    /// What writes to stdout, where that is the output and somebody reads it.
    pub(super) fn stdout(&mut self) -> Option<&mut Handover> {
        match self {
            Self::Wodle(wodle) => Some(&mut wodle.handover),
            Self::MuteWodle(_) | Self::Kept(..) | Self::Queue(_) => None,
        }
    }

    /// Seconds for which the oldest line has waited that Wazuh was not given, or that is not confirmed where that is how it is
    /// told.
    pub(super) fn waiting_s(&self, spool: &Spool) -> Option<i64> {
        match self {
            Self::Wodle(wodle) | Self::MuteWodle(wodle) | Self::Kept(wodle, _) => waiting_s(spool, &wodle.waits_from()),
            Self::Queue(queue) => waiting_s(spool, &queue.confirmed()),
        }
    }

    /// Why the output takes nothing, where it should.
    pub(super) fn trouble(&self) -> Option<String> {
        match self {
            Self::Queue(queue) => queue.trouble.clone(),
            Self::Kept(_, why) => Some(why.clone()),
            Self::Wodle(_) | Self::MuteWodle(_) => None,
        }
    }

    /// How it went, for the log.
    pub(super) fn summary(&self) -> String {
        match self {
            Self::Wodle(wodle) | Self::MuteWodle(wodle) | Self::Kept(wodle, _) => {
                format!("{} lines handed over", wodle.lines)
            }
            Self::Queue(queue) => queue.summary().unwrap_or_else(|| "nothing to send".into()),
        }
    }
}
