//! Bursts: which event is one too many from the same source or on the same host. Counted on event time, in bounded memory;
//! the same events give the same marks however they are cut into pages and runs. Never looks at the clock.
//!
//! Wazuh's own correlation would walk its history for every event, on arrival time. Here each counter holds the few latest
//! events that a burst may be made of.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, DefaultHasher, Hash, Hasher};

use super::classify::{AttackGroup, Category, Verdict};

/// Counters kept: one for each kind of burst and each source or host that had events lately.
const COUNTERS_MAX: usize = 50_000;

/// Memory of all counters, in bytes, as far as they can be reckoned.
const COUNTERS_BYTES_MAX: usize = 8 << 20;

/// Memory of one mark at most, in bytes: a list may have room for twice as many as it holds.
const MARK_BYTES: usize = 2 * size_of::<Mark>();

/// The longest window of a burst, in milliseconds: a counter without an event for so long has expired.
const WINDOW_MS_MAX: i64 = 300_000;

/// A step back in event time, in milliseconds, that no delay explains: all counters start anew. One event with a time far
/// ahead must not make all that follow count as late.
const STEP_BACK_MS_MAX: i64 = 3_600_000;

/// The share of the counters that goes when there are too many, the least recent first: one in so many.
const EVICTED_SHARE: usize = 10;

/// What begins a saved state: a name and a version.
const MAGIC: &[u8; 8] = b"bursts\0\x01";

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
struct Rule {
    burst: Burst,
    /// Its word in `akamai.burst`.
    word: &'static str,
    /// Events, or different values, that complete it.
    needed: usize,
    window_ms: i64,
    /// It counts different values, not events.
    distinct: bool,
}

const RULES: [Rule; 7] = [
    rule(Burst::SourceBlocked, "source_blocked", 8, 300, false),
    rule(Burst::SourceFlaggedHigh, "source_flagged_high", 8, 300, false),
    rule(Burst::SourceFlaggedLow, "source_flagged_low", 8, 300, false),
    rule(Burst::SourceScanner, "source_scanner", 4, 300, true),
    rule(Burst::HostDistributed, "host_distributed", 10, 120, true),
    rule(Burst::HostDos, "host_dos", 10, 120, false),
    rule(Burst::SourceAto, "source_ato", 6, 300, false),
];

const fn rule(burst: Burst, word: &'static str, needed: usize, window_s: i64, distinct: bool) -> Rule {
    Rule { burst, word, needed, window_ms: window_s * 1_000, distinct }
}

/// What counts of an event.
#[derive(Clone, Copy, Debug)]
pub(super) struct Counted<'a> {
    /// When it happened, in Unix milliseconds.
    pub(super) time_ms: i64,
    /// Address of the client, if there is a valid one.
    pub(super) source: Option<&'a str>,
    /// Host that was asked for, in lower case; may be empty.
    pub(super) host: &'a [u8],
    pub(super) verdict: Verdict,
    pub(super) category: Category,
    pub(super) group: Option<AttackGroup>,
}

/// The counters of one source of events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bursts {
    counters: HashMap<u64, Counter, BuildHasherDefault<AsItIs>>,
    /// The latest event of all.
    newest_ms: i64,
    /// Marks in all counters.
    marks: usize,
}

/// Keys are hashes already.
#[derive(Clone, Copy, Debug, Default)]
struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 = hash(&bytes);
    }

    fn write_u64(&mut self, key: u64) {
        self.0 = key;
    }
}

/// The latest events of one kind from one source or on one host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Counter {
    latest_ms: i64,
    marks: Vec<Mark>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mark {
    time_ms: i64,
    /// What tells two apart where different values count.
    value: u32,
}

impl Bursts {
    /// Counts an event; appends the words of the bursts that it completes, joined by blanks.
    pub(super) fn count(&mut self, event: &Counted<'_>, words: &mut String) {
        let blocked = event.verdict == Verdict::Mitigated;
        if !blocked && event.verdict != Verdict::Detected {
            return;
        }
        if self.newest_ms.saturating_sub(event.time_ms) > STEP_BACK_MS_MAX {
            *self = Self { newest_ms: event.time_ms, ..Self::default() };
        }
        self.newest_ms = self.newest_ms.max(event.time_ms);
        if event.time_ms <= self.newest_ms - WINDOW_MS_MAX {
            return;
        }
        let source = event.source.map(|source| hash(&source));
        let host = Some(event.host).filter(|host| !host.is_empty()).map(|host| hash(&host));
        for rule in &RULES {
            let Some((subject, value)) = takes_part(rule.burst, event, source, host) else { continue };
            if self.add(rule, subject, value, event.time_ms) {
                if !words.is_empty() {
                    words.push(' ');
                }
                words.push_str(rule.word);
            }
        }
        if self.counters.len() > COUNTERS_MAX || self.bytes() > COUNTERS_BYTES_MAX {
            self.evict();
        }
    }

    /// The state as bytes, without what has expired.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut live: Vec<(&u64, &Counter)> =
            self.counters.iter().filter(|(_, counter)| !self.has_expired(counter)).collect();
        live.sort_unstable_by_key(|(key, _)| **key);
        let mut bytes = Vec::with_capacity(32 + live.len() * 48);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&self.newest_ms.to_le_bytes());
        bytes.extend_from_slice(&(live.len() as u64).to_le_bytes());
        for (key, counter) in live {
            bytes.extend_from_slice(&key.to_le_bytes());
            bytes.extend_from_slice(&counter.latest_ms.to_le_bytes());
            bytes.extend_from_slice(&(counter.marks.len() as u64).to_le_bytes());
            for mark in &counter.marks {
                bytes.extend_from_slice(&mark.time_ms.to_le_bytes());
                bytes.extend_from_slice(&mark.value.to_le_bytes());
            }
        }
        bytes
    }

    /// A state that [`Self::to_bytes`] gave; none for anything else.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes.strip_prefix(MAGIC)?;
        let mut bursts = Self { newest_ms: i64::from_le_bytes(*take(&mut rest)?), ..Self::default() };
        let counters = u64::from_le_bytes(*take(&mut rest)?);
        for _ in 0..counters {
            let key = u64::from_le_bytes(*take(&mut rest)?);
            let latest_ms = i64::from_le_bytes(*take(&mut rest)?);
            let count = usize::try_from(u64::from_le_bytes(*take(&mut rest)?)).ok().filter(|count| *count < 16)?;
            let mut marks = Vec::with_capacity(count);
            for _ in 0..count {
                let time_ms = i64::from_le_bytes(*take(&mut rest)?);
                marks.push(Mark { time_ms, value: u32::from_le_bytes(*take(&mut rest)?) });
            }
            bursts.marks += marks.len();
            bursts.counters.insert(key, Counter { latest_ms, marks });
        }
        rest.is_empty().then_some(bursts)
    }

    /// Whether this completes the burst.
    #[inline]
    fn add(&mut self, rule: &Rule, subject: u64, value: u32, time_ms: i64) -> bool {
        // An odd factor keeps different kinds for the same subject apart, and different subjects different.
        let key = subject.wrapping_mul(2 * rule.burst as u64 + 3).rotate_left(29);
        let counter = self.counters.entry(key).or_default();
        let before = counter.marks.len();
        if counter.marks.is_empty() && counter.latest_ms == 0 {
            counter.latest_ms = time_ms;
        }
        // What has expired does not count, whether it has been cleared away already or not.
        let begin = (counter.latest_ms.max(time_ms) - rule.window_ms).max(self.newest_ms - WINDOW_MS_MAX);
        if time_ms <= begin {
            return false;
        }
        counter.latest_ms = counter.latest_ms.max(time_ms);
        counter.marks.retain(|mark| mark.time_ms > begin);
        match counter.marks.iter_mut().find(|mark| rule.distinct && mark.value == value) {
            Some(known) => known.time_ms = known.time_ms.max(time_ms),
            None => counter.marks.push(Mark { time_ms, value }),
        }
        let complete = counter.marks.len() >= rule.needed;
        if complete {
            counter.marks.clear();
        }
        self.marks = self.marks - before + counter.marks.len();
        complete
    }

    fn has_expired(&self, counter: &Counter) -> bool {
        counter.latest_ms <= self.newest_ms - WINDOW_MS_MAX
    }

    fn bytes(&self) -> usize {
        self.counters.len() * (size_of::<(u64, Counter)>() + size_of::<u64>()) + self.marks * MARK_BYTES
    }

    /// Expired counters go; if there are still too many, the least recent ones.
    fn evict(&mut self) {
        let oldest = self.newest_ms - WINDOW_MS_MAX;
        self.counters.retain(|_, counter| counter.latest_ms > oldest);
        self.reckon();
        while self.counters.len() > COUNTERS_MAX || self.bytes() > COUNTERS_BYTES_MAX {
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
        self.marks = self.counters.values().map(|counter| counter.marks.len()).sum();
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

fn take<'a, const N: usize>(rest: &mut &'a [u8]) -> Option<&'a [u8; N]> {
    let (taken, left) = rest.split_first_chunk()?;
    *rest = left;
    Some(taken)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn event(time_s: i64, source: &str, category: Category, verdict: Verdict) -> Counted<'_> {
        let host = b"www.example.com";
        Counted { time_ms: time_s * 1_000, source: Some(source), host, verdict, category, group: None }
    }

    fn counted(bursts: &mut Bursts, event: &Counted<'_>) -> String {
        let mut words = String::new();
        bursts.count(event, &mut words);
        words
    }

    #[test]
    fn the_eighth_blocked_event_within_five_minutes_completes_a_burst_and_it_starts_anew() {
        let mut bursts = Bursts::default();
        let marks: Vec<i64> = (0..20)
            .filter(|time| {
                let words =
                    counted(&mut bursts, &event(1_000 + time * 10, "192.0.2.1", Category::Other, Verdict::Mitigated));
                words == "source_blocked"
            })
            .collect();
        assert_eq!(marks, [7, 15]);
        let slow = (0..50).filter(|time| {
            let event = event(10_000 + time * 50, "192.0.2.2", Category::Other, Verdict::Mitigated);
            !counted(&mut bursts, &event).is_empty()
        });
        assert_eq!(slow.count(), 0);
    }

    #[test]
    fn every_kind_is_completed_by_what_it_counts() {
        use AttackGroup::{Lfi, Protocol, Sqli, Wat, Xss};
        let sources: Vec<String> = (0..10).map(|number| format!("192.0.2.{number}")).collect();
        let base = |time, category, verdict| event(time, "192.0.2.1", category, verdict);
        for (word, events) in [
            (
                "source_flagged_high",
                (0..8)
                    .map(|time| Counted { group: Some(Sqli), ..base(time, Category::Waf, Verdict::Detected) })
                    .collect::<Vec<_>>(),
            ),
            ("source_flagged_high", (0..8).map(|time| base(time, Category::Malware, Verdict::Detected)).collect()),
            (
                "source_flagged_low",
                (0..8)
                    .map(|time| Counted { group: Some(Xss), ..base(time, Category::Waf, Verdict::Detected) })
                    .collect(),
            ),
            (
                "source_scanner",
                [Sqli, Sqli, Lfi, Wat, Protocol]
                    .iter()
                    .map(|group| Counted { group: Some(*group), ..base(5, Category::Waf, Verdict::Mitigated) })
                    .collect(),
            ),
            (
                "host_distributed",
                sources.iter().map(|source| event(5, source, Category::Waf, Verdict::Mitigated)).collect(),
            ),
            ("host_dos", (0..10).map(|time| base(time, Category::Rate, Verdict::Mitigated)).collect()),
            ("source_ato", (0..6).map(|time| base(time, Category::Ato, Verdict::Detected)).collect()),
        ] {
            let mut bursts = Bursts::default();
            let words: Vec<String> = events.iter().map(|event| counted(&mut bursts, event)).collect();
            assert!(words[..words.len() - 1].iter().all(String::is_empty), "{words:?}");
            assert_eq!(words.last().unwrap(), word);
        }
    }

    #[test]
    fn allowed_events_and_those_without_source_or_host_do_not_count() {
        let mut bursts = Bursts::default();
        for verdict in [Verdict::Allowed, Verdict::Other] {
            for time in 0..20 {
                assert_eq!(counted(&mut bursts, &event(time, "192.0.2.1", Category::Waf, verdict)), "");
            }
        }
        let nobody = Counted { source: None, host: b"", ..event(1, "", Category::Waf, Verdict::Mitigated) };
        for _ in 0..20 {
            assert_eq!(counted(&mut bursts, &nobody), "");
        }
        assert!(bursts.counters.is_empty());
    }

    #[test]
    fn one_wrong_time_does_not_stop_the_counting() {
        let mut bursts = Bursts::default();
        let at = |time| event(time, "192.0.2.1", Category::Other, Verdict::Mitigated);
        counted(&mut bursts, &at(1_000 + 20 * 3_600));
        let marks = (0..8).filter(|time| !counted(&mut bursts, &at(1_000 + time)).is_empty());
        assert_eq!(marks.collect::<Vec<i64>>(), [7]);
    }

    #[test]
    fn late_events_count_while_their_window_is_open() {
        let mut bursts = Bursts::default();
        let at = |time| event(time, "192.0.2.1", Category::Other, Verdict::Mitigated);
        for time in [1_000, 1_290, 1_010, 1_280, 1_020, 1_270, 1_030] {
            assert_eq!(counted(&mut bursts, &at(time)), "");
        }
        // 290 seconds before the latest, and too late to count.
        assert_eq!(counted(&mut bursts, &at(900)), "");
        assert_eq!(counted(&mut bursts, &at(1_040)), "source_blocked");
    }

    #[test]
    fn a_million_sources_stay_within_the_bound_and_the_latest_are_kept() {
        let mut bursts = Bursts::default();
        for number in 0..1_000_000_u32 {
            let source = std::net::Ipv4Addr::from(number).to_string();
            let event = Counted {
                group: Some(AttackGroup::Sqli),
                ..event(i64::from(number / 10_000), &source, Category::Waf, Verdict::Detected)
            };
            counted(&mut bursts, &event);
            assert!(bursts.counters.len() <= COUNTERS_MAX && bursts.bytes() <= COUNTERS_BYTES_MAX);
        }
        let last = std::net::Ipv4Addr::from(999_999).to_string();
        let again = Counted { group: Some(AttackGroup::Sqli), ..event(100, &last, Category::Waf, Verdict::Detected) };
        let words: Vec<String> = (0..7).map(|_| counted(&mut bursts, &again)).collect();
        assert!(words[6].contains("source_flagged_high"), "{words:?}");
        assert!(bursts.to_bytes().len() < COUNTERS_BYTES_MAX);
    }

    #[test]
    fn anything_else_than_a_saved_state_is_none() {
        let mut bursts = Bursts::default();
        counted(&mut bursts, &event(1, "192.0.2.1", Category::Waf, Verdict::Mitigated));
        let bytes = bursts.to_bytes();
        assert_eq!(Bursts::from_bytes(&bytes), Some(bursts));
        for length in 0..bytes.len() {
            assert_eq!(Bursts::from_bytes(&bytes[..length]), None);
        }
        assert_eq!(Bursts::from_bytes(&[&bytes[..], b"x"].concat()), None);
    }

    proptest! {
        #[test]
        fn cuts_make_no_difference(events in proptest::collection::vec((0..400_i64, 0..3_u8, 0..13_usize, any::<bool>()), 0..300), cuts in proptest::collection::vec(0..300_usize, 0..10)) {
            use Category::{Ato, Bot, Custom, Malware, Other, Rate, Waf};
            let categories = [Waf, Custom, Malware, Ato, Rate, Other, Bot];
            let (mut whole, mut cut) = (Bursts::default(), Bursts::default());
            for (number, (time, source, kind, blocked)) in events.into_iter().enumerate() {
                let source = format!("192.0.2.{source}");
                let verdict = if blocked { Verdict::Mitigated } else { Verdict::Detected };
                let groups = [AttackGroup::Sqli, AttackGroup::Xss, AttackGroup::Wat, AttackGroup::Lfi, AttackGroup::Policy];
                let group = groups.get(kind % 7).copied().filter(|_| kind < 5);
                let event = Counted { group, ..event(time, &source, categories[kind % 7], verdict) };
                if cuts.contains(&number) {
                    cut = Bursts::from_bytes(&cut.to_bytes()).unwrap();
                }
                prop_assert_eq!(counted(&mut whole, &event), counted(&mut cut, &event), "event {}", number);
            }
        }
    }
}
