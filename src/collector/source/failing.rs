//! What a source does when Akamai does not answer, refuses, or breaks off: wait, correct its clock, ask for less, go on by
//! time, or leave it for the next run. Never moves the cursor forward.

use std::time::Instant;

use super::{LIMIT_MIN, OVERLAP_S, SourceRun, Standing};
use crate::akamai::client::{AskError, Refusal};
use crate::akamai::query::{RETENTION_MARGIN_S, RETENTION_S};
use crate::akamai::retry::{self, Failure, Reaction};
use crate::akamai::transport::TransportError;
use crate::clock::rfc_3339;
use crate::collector::page::PageEnd;
use crate::collector::store::Store;
use crate::exit::Exit;
use crate::files::FileError;
use crate::state::cursor::{Cursor, Position};
use crate::state::health::Condition;

/// Near a size that failed each whole page makes the next one larger by this part.
const SLOWLY: u32 = 8;

impl SourceRun<'_> {
    pub(super) fn ask_failed(&mut self, store: &mut Store, error: &AskError) -> Result<(), FileError> {
        let text = error.to_string();
        self.failed = Some((error.exit(), text.clone()));
        let failure = match failure(error) {
            Failure::Refused if self.may_have_expired(error) => Failure::Expired,
            other => other,
        };
        match failure {
            Failure::Busy(_) if is_too_many(error) => self.slowed = Some(text.clone()),
            Failure::Refused => self.monitor.begin(store, Condition::AuthFailed, &text),
            _ => {}
        }
        // Whatever else has failed before: the clock is corrected once.
        let is_clock = matches!(failure, Failure::InvalidTimestamp(_));
        let attempt = if is_clock { u32::from(self.clock_corrected) } else { self.failures };
        match retry::after(failure, attempt, random()) {
            Reaction::Wait(wait) => {
                log::warn!("source {}: {text}; asking again in {:.1} s", self.source.name, wait.as_secs_f64());
                self.not_before = Instant::now() + wait;
                // It may be too much to prepare at once.
                if is_silent(error) || (is_fault(error) && (self.failures > 0 || self.monitor.health.failures > 0)) {
                    self.halve_limit()?;
                }
            }
            Reaction::CorrectClock(skew) => {
                log::warn!("source {}: {text}; going on with Akamai's time", self.source.name);
                self.clock_corrected = true;
                self.monitor.health.skew_s += skew;
                let skew_s = self.monitor.health.skew_s;
                self.monitor.begin_with(store, Condition::ClockSkew, &text, |notice| notice.skew_s = Some(skew_s));
            }
            Reaction::Recover if !self.recovered => return self.recover(store, &text),
            Reaction::Recover | Reaction::GiveUp => {
                log::error!("source {}: {text}", self.source.name);
                self.standing = Standing::Stopped;
            }
        }
        self.failures += 1;
        Ok(())
    }

    /// A page that is thrown away.
    pub(super) fn page_refused(
        &mut self,
        store: &mut Store,
        end: PageEnd,
        received: u64,
        lacking: u64,
        at_floor: bool,
    ) -> Result<(), FileError> {
        let is_cut = matches!(end, PageEnd::Incomplete(_));
        let reason = match end {
            PageEnd::Expired => {
                const WHY: &str = "Akamai says \"Bad offset, expired data requested\"";
                if !self.recovered {
                    return self.recover(store, WHY);
                }
                // A position by time that is as bad as the offset was: asking once more makes it no better.
                let error = format!("{WHY} once more, for a time that it should still have");
                log::error!("source {}: {error}", self.source.name);
                self.failed = Some((Exit::Unavailable, error));
                self.standing = Standing::Stopped;
                return Ok(());
            }
            PageEnd::NoRoom => {
                store.full = Some(format!(
                    "the spool is full: {} of {} bytes, and a page of source {} did not fit",
                    store.spool.bytes(),
                    store.spool_bytes_max,
                    self.source.name
                ));
                // Others may still find room, and so may a smaller page.
                self.standing = Standing::Stopped;
                return if at_floor { Ok(()) } else { self.halve_limit() };
            }
            PageEnd::Incomplete(reason) => reason,
            PageEnd::Whole(_) => format!("Akamai counts {lacking} events more"),
        };
        let error = format!("the answer is incomplete after {received} events: {reason}");
        let whole = u32::try_from(received).unwrap_or(u32::MAX).min(self.cursor.limit / 2);
        if at_floor && is_cut && whole > 0 {
            // Its whole lines have come before: so many fit into an answer, and the cursor moves behind them.
            log::warn!("source {}: {error}; asking again for {whole}", self.source.name);
            self.failed = Some((Exit::Unavailable, error));
            self.cursor.limit = whole;
            return self.save_cursor();
        }
        if at_floor {
            self.page_failed(error);
            return self.save_cursor();
        }
        log::warn!("source {}: {error}; asking again for half as many", self.source.name);
        self.failed = Some((Exit::Unavailable, error));
        self.halve_limit()
    }

    /// The next page is smaller; each whole page makes it larger again.
    pub(super) fn halve_limit(&mut self) -> Result<(), FileError> {
        let halved = (self.cursor.limit / 2).max(LIMIT_MIN.min(self.source.limit));
        if halved < self.cursor.limit {
            self.cursor.limit_failed = Some(self.cursor.limit);
            self.cursor.limit = halved;
        }
        self.save_cursor()
    }

    /// Whether a refusal may mean that the offset has expired, whatever it says: Akamai keeps no longer what lies behind it.
    fn may_have_expired(&self, error: &AskError) -> bool {
        let AskError::Refused(refusal) = error else { return false };
        matches!(self.cursor.position, Position::Offset(_))
            && self.now() - self.cursor.committed_s > RETENTION_S
            && matches!(refusal.problem.status, 400..=499)
            && !matches!(refusal.problem.status, 401 | 403 | 404)
    }

    /// An answer that brought nothing new: the same later.
    pub(super) fn page_failed(&mut self, error: String) {
        log::warn!("source {}: {error}", self.source.name);
        self.failed = Some((Exit::Unavailable, error));
        if let Reaction::Wait(wait) = retry::after(Failure::Unreachable, self.failures, random()) {
            self.not_before = Instant::now() + wait;
        }
        self.failures += 1;
    }

    /// The offset is lost: goes on by time, a little before the last page, without what has come already.
    fn recover(&mut self, store: &mut Store, why: &str) -> Result<(), FileError> {
        self.recovered = true;
        let now = self.now();
        let oldest = now - RETENTION_S + RETENTION_MARGIN_S;
        let known = self.cursor.caught_up_s.min(now);
        let from = (known - OVERLAP_S).max(oldest);
        log::warn!("source {}: {why}; going on from {}", self.source.name, rfc_3339(from));
        if known < oldest {
            self.monitor.tell_gap(store, known, oldest, why);
        }
        self.cursor.position = Position::Since(from);
        // What was told once is not told again, whatever becomes of this request.
        self.cursor.caught_up_s = self.cursor.caught_up_s.max(from);
        self.cursor.skip_seen = true;
        self.save_cursor()
    }
}

/// After a whole page the next may be larger: twice as large, but a size that failed is come up to slowly.
pub(super) fn raise_limit(cursor: &mut Cursor, limit_max: u32) {
    let doubled = cursor.limit.saturating_mul(2);
    cursor.limit = match cursor.limit_failed {
        Some(failed) if doubled >= failed => {
            let slowly = cursor.limit.saturating_add((cursor.limit / SLOWLY).max(1));
            cursor.limit_failed = Some(failed).filter(|failed| slowly < *failed);
            slowly
        }
        _ => doubled,
    }
    .min(limit_max);
}

pub(in crate::collector) fn failure(error: &AskError) -> Failure {
    match error {
        AskError::Transport(
            TransportError::Unreachable { .. } | TransportError::Barred { .. } | TransportError::Silent { .. },
        )
        | AskError::Foreign(_) => Failure::Unreachable,
        AskError::Refused(refusal) => refused(refusal),
        AskError::Transport(_) | AskError::CaFile(..) | AskError::Nonce(_) => Failure::Refused,
    }
}

fn refused(refusal: &Refusal) -> Failure {
    let problem = &refusal.problem;
    if problem.is_invalid_timestamp() {
        Failure::InvalidTimestamp(refusal.skew_s)
    } else if problem.is_passing() {
        Failure::Busy(refusal.retry_after_s)
    } else if problem.status == 416 {
        Failure::Expired
    } else {
        Failure::Refused
    }
}

fn is_too_many(error: &AskError) -> bool {
    matches!(error, AskError::Refused(refusal) if refusal.problem.status == 429)
}

fn is_fault(error: &AskError) -> bool {
    matches!(error, AskError::Refused(refusal) if refusal.problem.status >= 500)
}

fn is_silent(error: &AskError) -> bool {
    matches!(error, AskError::Transport(TransportError::Silent { .. }))
}

/// From 0 to 1.
pub(in crate::collector) fn random() -> f64 {
    let mut bytes = [0; 4];
    // Without randomness every collector waits as long: no harm.
    let _ = getrandom::fill(&mut bytes);
    f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX)
}
