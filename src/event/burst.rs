//! Bursts: which event is one too many from the same source or on the same host. Counted on event time, in bounded memory;
//! the same events give the same marks however they are cut into pages and runs. Never looks at the clock.
//!
//! Wazuh's own correlation would walk its history for every event, on arrival time. Here each counter holds the few latest
//! events that a burst may be made of.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;

use super::classify::{AttackGroup, Category, Verdict};

/// Sources and hosts with counters, each of which had events lately.
const KEYS_MAX: usize = 50_000;

/// Memory of all counters, in bytes, as far as it can be reckoned.
const COUNTERS_BYTES_MAX: usize = 8 << 20;

/// The longest window of a burst, in milliseconds: what is older has expired.
const WINDOW_MS_MAX: i64 = 300_000;

/// The latest events by whose median the time is told: fewer than half of them may have a wrong one.
const RECENT: usize = 15;

/// Marks of one kind beyond those that complete a burst: what is ahead of the others must not take their room.
const SPARE_MARKS: usize = 2;

/// Marks of one source or host, of all kinds, in a saved state.
const MARKS_MAX: usize = 128;

/// The share of the keys that goes when there are too many, the least recent first: one in so many.
const EVICTED_SHARE: usize = 10;

/// What begins a saved state: a name and a version.
const MAGIC: &[u8; 8] = b"bursts\0\x03";

/// A kind of burst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub(super) enum Burst {
    SourceBlocked,
    SourceFlaggedHigh,
    SourceFlaggedLow,
    SourceScanner,
    HostDistributed,
    HostDos,
    SourceAto,
}

/// What makes a burst.
struct BurstRule {
    burst: Burst,
    /// Its word in `akamai.burst`.
    word: &'static str,
    /// Events, or different values, that complete it.
    needed: usize,
    window_ms: i64,
    /// It counts different values, not events.
    distinct: bool,
}

const RULES: [BurstRule; 7] = [
    rule(Burst::SourceBlocked, "source_blocked", 8, 300, false),
    rule(Burst::SourceFlaggedHigh, "source_flagged_high", 8, 300, false),
    rule(Burst::SourceFlaggedLow, "source_flagged_low", 8, 300, false),
    rule(Burst::SourceScanner, "source_scanner", 4, 300, true),
    rule(Burst::HostDistributed, "host_distributed", 10, 120, true),
    rule(Burst::HostDos, "host_dos", 10, 120, false),
    rule(Burst::SourceAto, "source_ato", 6, 300, false),
];

const fn rule(burst: Burst, word: &'static str, needed: usize, window_s: i64, distinct: bool) -> BurstRule {
    BurstRule { burst, word, needed, window_ms: window_s * 1_000, distinct }
}

/// What counts of an event.
#[derive(Clone, Copy, Debug)]
pub(super) struct Counted<'a> {
    /// When it happened, in Unix milliseconds.
    pub(super) time_ms: i64,
    /// Address of the client, if there is a valid one.
    pub(super) source: Option<IpAddr>,
    /// Host that was asked for, in lower case; may be empty.
    pub(super) host: &'a [u8],
    pub(super) verdict: Verdict,
    pub(super) category: Category,
    pub(super) group: Option<AttackGroup>,
}

/// The counters of one source of events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bursts {
    counters: HashMap<u64, Counter>,
    /// The times of the latest events, at most [`RECENT`].
    recent_ms: Vec<i64>,
    /// The time: the greatest median of the latest events. It steps back only when everything starts anew.
    now_ms: i64,
    /// Memory of the marks in all counters.
    marks_bytes: usize,
}

/// The latest events of one source or on one host, and which bursts they have completed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Counter {
    latest_ms: i64,
    marks: Vec<BurstMark>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct BurstMark {
    time_ms: i64,
    /// What tells two apart where different values count.
    value: u32,
    /// The number of a [`Burst`]; with [`COMPLETED`] it says when that was marked last.
    kind: u8,
}

const COMPLETED: u8 = 0x80;

impl Bursts {
    /// Counts an event; appends the words of the bursts that it completes, joined by blanks.
    pub(super) fn count(&mut self, event: &Counted<'_>, words: &mut String) {
        let blocked = event.verdict == Verdict::Mitigated;
        if !blocked && event.verdict != Verdict::Detected {
            return;
        }
        self.tell_time(event.time_ms);
        if event.time_ms <= self.expired_ms() {
            return;
        }
        let source = event.source.map(|source| hash(&network(source)));
        let host = Some(event.host).filter(|host| !host.is_empty()).map(|host| hash(&host));
        for rule in &RULES {
            let Some((key, value)) = takes_part(rule.burst, event, source, host) else { continue };
            if self.add(rule, key, value, event.time_ms) {
                if !words.is_empty() {
                    words.push(' ');
                }
                words.push_str(rule.word);
            }
        }
        if self.counters.len() > KEYS_MAX || self.bytes() > COUNTERS_BYTES_MAX {
            self.evict();
        }
    }

    /// The state as bytes, without what has expired.
    pub fn to_bytes(&self) -> Vec<u8> {
        let expired_ms = self.expired_ms();
        let mut live: Vec<(&u64, &Counter)> =
            self.counters.iter().filter(|(_, counter)| counter.latest_ms > expired_ms).collect();
        live.sort_unstable_by_key(|(key, _)| **key);
        let mut bytes = Vec::with_capacity(256 + live.len() * 64);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&self.now_ms.to_le_bytes());
        bytes.extend_from_slice(&(self.recent_ms.len() as u64).to_le_bytes());
        self.recent_ms.iter().for_each(|time_ms| bytes.extend_from_slice(&time_ms.to_le_bytes()));
        bytes.extend_from_slice(&(live.len() as u64).to_le_bytes());
        for (key, counter) in live {
            let marks = counter.marks.iter().filter(|mark| mark.time_ms > expired_ms);
            bytes.extend_from_slice(&key.to_le_bytes());
            bytes.extend_from_slice(&(marks.clone().count() as u64).to_le_bytes());
            for mark in marks {
                bytes.extend_from_slice(&mark.time_ms.to_le_bytes());
                bytes.extend_from_slice(&mark.value.to_le_bytes());
                bytes.push(mark.kind);
            }
        }
        bytes
    }

    /// A state that [`Self::to_bytes`] gave; none for anything else.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes.strip_prefix(MAGIC)?;
        let mut bursts = Self { now_ms: i64::from_le_bytes(*take(&mut rest)?), ..Self::default() };
        for _ in 0..count(&mut rest, RECENT)? {
            bursts.recent_ms.push(i64::from_le_bytes(*take(&mut rest)?));
        }
        for _ in 0..count(&mut rest, KEYS_MAX)? {
            let key = u64::from_le_bytes(*take(&mut rest)?);
            let mut counter = Counter { latest_ms: i64::MIN, marks: Vec::new() };
            for _ in 0..count(&mut rest, MARKS_MAX)? {
                let time_ms = i64::from_le_bytes(*take(&mut rest)?);
                let value = u32::from_le_bytes(*take(&mut rest)?);
                let [kind] = *take(&mut rest)?;
                counter.marks.push(BurstMark { time_ms, value, kind });
                counter.latest_ms = counter.latest_ms.max(time_ms);
            }
            bursts.marks_bytes += counter.bytes();
            bursts.counters.insert(key, counter);
        }
        rest.is_empty().then_some(bursts)
    }

    /// One event far off the others moves the median hardly at all. Where most of the latest are far behind, it was the time
    /// that was wrong: everything starts anew.
    fn tell_time(&mut self, time_ms: i64) {
        if self.recent_ms.len() == RECENT {
            self.recent_ms.remove(0);
        }
        self.recent_ms.push(time_ms);
        let mut sorted = [i64::MAX; RECENT];
        sorted[..self.recent_ms.len()].copy_from_slice(&self.recent_ms);
        sorted.sort_unstable();
        if self.recent_ms.len() < 3 {
            // Of one or two nobody knows which is wrong.
            self.now_ms = sorted[0];
            return;
        }
        let median_ms = sorted[(self.recent_ms.len() - 1) / 2];
        if median_ms < self.now_ms.saturating_sub(WINDOW_MS_MAX) {
            let recent_ms = std::mem::take(&mut self.recent_ms);
            *self = Self { recent_ms, now_ms: median_ms, ..Self::default() };
        }
        self.now_ms = self.now_ms.max(median_ms);
    }

    /// What is not younger does not count, whether it has been cleared away already or not.
    fn expired_ms(&self) -> i64 {
        self.now_ms.saturating_sub(WINDOW_MS_MAX)
    }

    /// Whether this completes the burst, for the first time within its window.
    fn add(&mut self, rule: &BurstRule, key: u64, value: u32, time_ms: i64) -> bool {
        let expired_ms = self.expired_ms();
        let counter = self.counters.entry(key).or_insert_with(|| Counter { latest_ms: i64::MIN, marks: Vec::new() });
        let before = counter.bytes();
        counter.latest_ms = counter.latest_ms.max(time_ms);
        counter.marks.retain(|mark| mark.time_ms > expired_ms);
        let complete = counter.add(rule, value, time_ms, self.now_ms.saturating_add(WINDOW_MS_MAX));
        self.marks_bytes = self.marks_bytes - before + counter.bytes();
        complete
    }

    fn bytes(&self) -> usize {
        self.counters.len() * (size_of::<(u64, Counter)>() + size_of::<u64>()) + self.marks_bytes
    }

    /// Expired counters go; if there are still too many, the least recent ones.
    fn evict(&mut self) {
        let expired_ms = self.expired_ms();
        self.counters.retain(|_, counter| counter.latest_ms > expired_ms);
        self.reckon();
        while self.counters.len() > KEYS_MAX || self.bytes() > COUNTERS_BYTES_MAX {
            let mut order: Vec<(i64, u64)> =
                self.counters.iter().map(|(key, counter)| (counter.latest_ms, *key)).collect();
            let (evicted, _, _) = order.select_nth_unstable(self.counters.len() / EVICTED_SHARE);
            for (_, key) in evicted {
                self.counters.remove(key);
            }
            self.reckon();
        }
    }

    fn reckon(&mut self) {
        self.marks_bytes = self.counters.values().map(Counter::bytes).sum();
    }
}

impl Counter {
    /// Memory of the marks.
    fn bytes(&self) -> usize {
        self.marks.capacity() * size_of::<BurstMark>()
    }

    fn add(&mut self, rule: &BurstRule, value: u32, time_ms: i64, far_ms: i64) -> bool {
        let kind = rule.burst as u8;
        let near = |mark: &BurstMark| mark.time_ms.abs_diff(time_ms) < rule.window_ms.unsigned_abs();
        let known = |mark: &&mut BurstMark| mark.kind == kind && rule.distinct && mark.value == value && near(mark);
        match self.marks.iter_mut().find(known) {
            Some(known) => known.time_ms = known.time_ms.max(time_ms),
            None => self.push(BurstMark { time_ms, value, kind }, rule.needed + SPARE_MARKS, far_ms),
        }
        let completed = kind | COMPLETED;
        if self.marks.iter().any(|mark| mark.kind == completed && near(mark)) || !self.is_complete(rule, time_ms) {
            return false;
        }
        self.push(BurstMark { time_ms, value: 0, kind: completed }, SPARE_MARKS, far_ms);
        true
    }

    /// Adds a mark; of its kind the latest `marks_max` up to `far_ms` are kept, and as many beyond: what is far ahead of the
    /// time takes no room from the others.
    fn push(&mut self, mark: BurstMark, marks_max: usize, far_ms: i64) {
        self.marks.push(mark);
        for is_far in [false, true] {
            let like = |other: &BurstMark| other.kind == mark.kind && (other.time_ms > far_ms) == is_far;
            let alike = || self.marks.iter().enumerate().filter(|(_, other)| like(other));
            if alike().count() > marks_max
                && let Some((oldest, _)) = alike().min_by_key(|(_, other)| other.time_ms)
            {
                self.marks.remove(oldest);
            }
        }
    }

    /// Whether enough marks lie within one window with that of `time_ms`.
    fn is_complete(&self, rule: &BurstRule, time_ms: i64) -> bool {
        let times = || self.marks.iter().filter(|mark| mark.kind == rule.burst as u8).map(|mark| mark.time_ms);
        let within = |begin: i64| move |time: &i64| (begin..begin + rule.window_ms).contains(time);
        times().count() >= rule.needed
            && times()
                .filter(|begin| within(*begin)(&time_ms))
                .any(|begin| times().filter(within(begin)).count() >= rule.needed)
    }
}

/// What counts as one source: an IPv4 address, or the /64 that an IPv6 one is of.
fn network(address: IpAddr) -> [u8; 16] {
    match address.to_canonical() {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => (address.to_bits() >> 64 << 64).to_be_bytes(),
    }
}

/// The source or host for which an event counts towards a burst, and the value it counts with.
fn takes_part(burst: Burst, event: &Counted<'_>, source: Option<u64>, host: Option<u64>) -> Option<(u64, u32)> {
    use Category::{Ai, Api, Ato, Custom, Malware, Other, Rate, SlowPost, Waf};
    let is = |categories: &[Category]| categories.contains(&event.category);
    let blocked = event.verdict == Verdict::Mitigated;
    let high = !blocked && (event.category == Malware || event.group.is_some_and(is_high));
    let (takes_part, subject, value) = match burst {
        Burst::SourceBlocked => (blocked && is(&[Waf, Custom, Api, Malware, Ai, Other]), source, 0),
        Burst::SourceFlaggedHigh => (high, source, 0),
        Burst::SourceFlaggedLow => (!blocked && !high && is(&[Waf, Custom, Api, Ai, Other]), source, 0),
        Burst::SourceScanner => (event.group.is_some(), source, event.group.map_or(0, |group| group as u32)),
        Burst::HostDistributed => (is(&[Waf]) && source.is_some(), host, short(source.unwrap_or_default())),
        Burst::HostDos => (is(&[Rate, SlowPost]), host, 0),
        Burst::SourceAto => (is(&[Ato]), source, 0),
    };
    subject.filter(|_| takes_part).map(|subject| (subject, value))
}

/// The groups of attacks that, when they get through, do harm at once.
fn is_high(group: AttackGroup) -> bool {
    use AttackGroup::{Cmdi, Lfi, Phpi, Platform, Rfi, Sqli, Trojan};
    matches!(group, Sqli | Cmdi | Lfi | Rfi | Phpi | Platform | Trojan)
}

fn hash(value: &impl Hash) -> u64 {
    // Keyed the same in every run: saved counters must be found again.
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

fn short(hash: u64) -> u32 {
    let [a, b, c, d, ..] = hash.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

/// A number of things, of which there are `max` at most.
fn count(rest: &mut &[u8], max: usize) -> Option<usize> {
    usize::try_from(u64::from_le_bytes(*take(rest)?)).ok().filter(|count| *count <= max)
}

fn take<'a, const N: usize>(rest: &mut &'a [u8]) -> Option<&'a [u8; N]> {
    let (taken, left) = rest.split_first_chunk()?;
    *rest = left;
    Some(taken)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
