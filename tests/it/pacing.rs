//! Pace and confirmation against the inside of a loopback analysisd in made-up time: whatever happens to it, every line is
//! delivered, and it drops none of ours unless somebody else fills its queue.

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use proptest::prelude::*;
use wazuh_akamai::wazuh::analysisd::barrier::{Barriers, Life, Point};
use wazuh_akamai::wazuh::analysisd::pace::{self, LOOK_MS};
use wazuh_akamai::wazuh::analysisd::stats;

use crate::analysisd::machine::Machine;

/// What happens at some time.
#[derive(Clone, Copy, Debug)]
enum Incident {
    /// It works off so many events a second from now on.
    Pace(u32),
    /// It is killed and starts again at once.
    Restart,
    /// It hangs for so many milliseconds.
    Hang(u16),
    /// Somebody else sends so many messages at once.
    Flood(u16),
    /// Somebody else sends so many messages in every millisecond from now on.
    Others(u8),
    /// It has a limit of so many events in each timeframe of so many milliseconds from now on.
    Limit(u16, u16),
    /// We are killed: what were not saved is not known to the next run.
    Killed,
}

/// The sender of a run, in made-up time: the loop of `collector::queueing`, with a number for each line of the spool.
struct Sender {
    barriers: Barriers<u64>,
    sent: Point<u64>,
    /// Lines confirmed, and the record of the last confirmation.
    confirmed: u64,
    saved: (u64, Option<(u64, Life)>),
}

struct World {
    machine: Machine,
    /// The receiver's kernel queue, as on hosts with the default.
    kernel: VecDeque<String>,
    ms: u64,
    started_s: i64,
    hangs_until: u64,
    others: u8,
    /// The next message goes to a process that is no more.
    is_refused: bool,
}

const KERNEL_MAX: usize = 11;

impl Sender {
    fn new(confirmed: u64, queued: Option<(u64, Life)>) -> Self {
        let from = Point { lines: 0, to: confirmed };
        let sent = queued.filter(|(received, _)| *received > confirmed);
        let sent = sent.map_or(from, |(received, _)| Point { lines: 1, to: received });
        let barriers = Barriers::new(from, sent, queued.map(|(_, memory)| memory), 2);
        Self { barriers, sent, confirmed, saved: (confirmed, queued) }
    }

    fn save(&mut self) {
        let (received, memory) = self.barriers.received();
        self.saved = (self.confirmed, memory.map(|memory| (received.to, memory)));
    }

    fn step(&mut self, world: &mut World, total: u64) {
        if world.ms < world.hangs_until {
            return;
        }
        let unread = world.kernel.len() as u64;
        let Some(stats) = stats::parse(world.machine.stats().to_string().as_bytes()).unwrap() else { return };
        let look = self.barriers.look(Duration::from_millis(world.ms), unread, self.sent, &stats);
        if let Some(position) = look.back_to.filter(|position| position.lines < self.sent.lines) {
            self.sent = position;
        }
        if let Some(position) = look.confirmed {
            self.confirmed = position.to;
        }
        let is_new_process = self.saved.1.is_none_or(|(_, memory)| !memory.counters.go_on_as(&stats.counters));
        if look.confirmed.is_some() || is_new_process {
            self.save();
        }
        let own = self.sent.lines.saturating_sub(self.barriers.processed_lines());
        if std::mem::replace(&mut world.is_refused, false) {
            // Only who sends notices that the connection is a dead one.
            self.sent = self.barriers.disconnected();
            return;
        }
        for _ in 0..pace::lines(&stats, unread, own).min(self.barriers.lines_max(self.sent)) {
            let next = self.sent.to;
            if next == total || !world.send(format!("1:command_akamai_siem:{next}")) {
                break;
            }
            self.sent = Point { lines: self.sent.lines + 1, to: next + 1 };
        }
    }
}

impl World {
    fn new(per_s: u32) -> Self {
        let mut machine = Machine::new(f64::from(per_s), 1);
        // A real one begins with an alert of its own: that the server was started.
        machine.receive("1:wazuh-monitord:started");
        (0..100).for_each(|_| machine.tick());
        Self { machine, kernel: VecDeque::new(), ms: 0, started_s: 1, hangs_until: 0, others: 0, is_refused: false }
    }

    /// Whether there was room; a sender that waits is one whose receiver takes something meanwhile.
    fn send(&mut self, message: String) -> bool {
        if self.kernel.len() >= KERNEL_MAX {
            if self.ms < self.hangs_until {
                return false;
            }
            self.receive();
        }
        self.kernel.push_back(message);
        true
    }

    fn receive(&mut self) {
        while let Some(message) = self.kernel.pop_front() {
            self.machine.receive(&message);
        }
    }

    fn tick(&mut self) {
        self.ms += 1;
        if self.ms < self.hangs_until {
            return;
        }
        for _ in 0..self.others {
            self.machine.receive(if self.ms.is_multiple_of(2) { "1:/var/log/other:x" } else { "1:command_other:x" });
        }
        self.receive();
        self.machine.tick();
    }

    fn happens(&mut self, incident: Incident, sender: &mut Sender) {
        match incident {
            Incident::Pace(per_s) => self.machine.per_s = f64::from(per_s),
            Incident::Restart => {
                self.kernel.clear();
                self.started_s += 3;
                self.machine.restart(self.started_s);
                self.is_refused = true;
            }
            Incident::Hang(ms) => self.hangs_until = self.ms + u64::from(ms),
            Incident::Flood(messages) => {
                for _ in 0..messages {
                    self.machine.receive("1:command_other:x");
                }
            }
            Incident::Others(per_ms) => self.others = per_ms,
            Incident::Limit(events, frame_ms) => self.machine.limit = Some((u64::from(events), u64::from(frame_ms))),
            Incident::Killed => {
                *sender = Sender::new(sender.saved.0, sender.saved.1);
                self.is_refused = false;
            }
        }
    }
}

/// Runs until all lines are confirmed; returns the numbers that arrived, in order, and how many of ours were dropped.
fn deliver(per_s: u32, total: u64, incidents: &[(u16, Incident)]) -> (Vec<u64>, u64) {
    run(World::new(per_s), total, incidents)
}

fn run(mut world: World, total: u64, incidents: &[(u16, Incident)]) -> (Vec<u64>, u64) {
    let mut sender = Sender::new(0, None);
    let mut coming = incidents.to_vec();
    coming.sort_by_key(|(at, _)| *at);
    let mut coming = VecDeque::from(coming);
    while sender.confirmed < total || !coming.is_empty() {
        assert!(world.ms < 300_000, "{} of {total} confirmed, {} sent", sender.confirmed, sender.sent.to);
        while let Some((at, incident)) = coming.front().copied()
            && u64::from(at) <= world.ms
        {
            coming.pop_front();
            world.happens(incident, &mut sender);
            if coming.is_empty() {
                // An overload that never ends would leave no room for ours for ever.
                world.others = 0;
                world.machine.limit = None;
                world.machine.per_s = world.machine.per_s.max(1_000.0);
            }
        }
        world.tick();
        if world.ms.is_multiple_of(LOOK_MS) {
            sender.step(&mut world, total);
        }
    }
    let file = world.machine.file.iter().map(|line| line.parse().unwrap()).collect();
    (file, world.machine.dropped_ours)
}

fn assert_all_arrived(arrived: &[u64], total: u64) {
    let arrived: HashSet<u64> = arrived.iter().copied().collect();
    let missing: Vec<u64> = (0..total).filter(|number| !arrived.contains(number)).collect();
    assert!(missing.is_empty(), "{} missing: {:?}", missing.len(), &missing[..missing.len().min(10)]);
}

fn incident() -> impl Strategy<Value = Incident> {
    prop_oneof![
        (50..12_000_u32).prop_map(Incident::Pace),
        Just(Incident::Restart),
        (1..5_000_u16).prop_map(Incident::Hang),
        (1..20_000_u16).prop_map(Incident::Flood),
        (0..2_u8).prop_map(Incident::Others),
        (1..500_u16, 500..20_000_u16).prop_map(|(events, frame_ms)| Incident::Limit(events, frame_ms)),
        Just(Incident::Killed),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn whatever_happens_every_line_is_delivered(
        per_s in 300..12_000_u32,
        total in 1..12_000_u64,
        incidents in proptest::collection::vec((0..20_000_u16, incident()), 0..8),
    ) {
        let (arrived, dropped) = deliver(per_s, total, &incidents);
        assert_all_arrived(&arrived, total);
        // Only a flood can fill the queue.
        let floods = incidents.iter().any(|(_, incident)| matches!(incident, Incident::Flood(_)));
        prop_assert!(floods || dropped == 0, "{dropped} dropped");
    }

    #[test]
    fn while_nothing_happens_every_line_arrives_once(per_s in 100..12_000_u32, total in 1..20_000_u64) {
        let (mut arrived, dropped) = deliver(per_s, total, &[]);
        prop_assert_eq!(dropped, 0);
        // Its threads swap neighbours.
        arrived.sort_unstable();
        prop_assert!(arrived.iter().copied().eq(0..total));
    }
}

#[test]
fn what_was_dropped_is_sent_again_from_before_it() {
    // The queue is filled by somebody else right behind a look, while ours are on their way: what was sent since the mark
    // before is in doubt, and only what is sent after going back may be marked again.
    let mut dropped_in_all = 0;
    for at in (2_010..4_000).step_by(90) {
        let (arrived, dropped) = deliver(3_000, 9_000, &[(at, Incident::Flood(40_000))]);
        assert_all_arrived(&arrived, 9_000);
        dropped_in_all += dropped;
    }
    assert!(dropped_in_all > 0, "{dropped_in_all}");
}

#[test]
fn what_waits_behind_others_is_not_confirmed_before_it_is_through() {
    // Both queues are nearly full of other events when ours come, and all of it is lost later.
    for at in (2_500..18_000).step_by(500) {
        let incidents = [(300, Incident::Flood(24_000)), (at, Incident::Restart)];
        let (arrived, _) = deliver(3_000, 4_000, &incidents);
        assert_all_arrived(&arrived, 4_000);
    }
}

#[test]
fn what_its_threads_hold_because_of_a_limit_is_not_lost_with_it() {
    for (total, at) in [(1, 3_000), (2, 3_000), (2, 20_000), (50, 20_000)] {
        let incidents = [(0, Incident::Limit(0, 60_000)), (at, Incident::Restart)];
        let (arrived, _) = deliver(3_000, total, &incidents);
        assert_all_arrived(&arrived, total);
    }
}

#[test]
fn the_half_line_of_a_killed_one_swallows_none_of_ours_whichever_write_alerts() {
    // Alerts of some lines, of all but the first of those that come again, and of hardly any are under the level.
    let levels: [fn(&str) -> bool; 3] = [|line| !line.ends_with('7'), |line| line != "5", |line| line != "1999"];
    for is_under_level in levels {
        for at in (90..3_000).step_by(270) {
            let mut world = World::new(1_000);
            world.machine.is_under_level = is_under_level;
            let (arrived, _) = run(world, 2_000, &[(at, Incident::Restart), (at + 1_500, Incident::Restart)]);
            let arrived: HashSet<u64> = arrived.into_iter().collect();
            let missing =
                (0..2_000).find(|number: &u64| !is_under_level(&number.to_string()) && !arrived.contains(number));
            assert_eq!(missing, None, "killed at {at}");
        }
    }
}

#[test]
fn it_keeps_a_drain_of_any_rate_busy() {
    for per_s in [100, 1_000, 10_000_u32] {
        let mut world = World::new(per_s);
        let mut sender = Sender::new(0, None);
        while world.ms < 20_000 {
            world.tick();
            if world.ms.is_multiple_of(LOOK_MS) {
                sender.step(&mut world, u64::MAX);
            }
        }
        let written = world.machine.written_lines;
        assert!(written >= u64::from(per_s) * 20 * 94 / 100, "{per_s}: {written}");
    }
}

#[test]
fn what_was_sent_counts_as_received_only_when_a_later_look_shows_no_drop() {
    let position = |lines| Point { lines, to: lines };
    let mut barriers = Barriers::new(position(0), position(0), None, 1);
    let stats = |dropped| stats::Stats {
        counters: stats::Counters { started_s: 1, dropped, ..stats::Counters::default() },
        input: 0,
        rules: 0,
        alerts: 0,
        input_max: 16_384,
        is_limited: false,
        may_be_glued: false,
    };
    barriers.look(Duration::from_millis(0), 0, position(0), &stats(0));
    barriers.look(Duration::from_millis(300), 0, position(5), &stats(0));
    assert_eq!(barriers.received().0, position(0));
    // It had been dropped, and its counters said so a moment later.
    let look = barriers.look(Duration::from_millis(330), 0, position(5), &stats(1));
    assert_eq!(look.back_to, Some(position(0)));
}
