//! What happens inside analysisd, in time that the caller keeps: three queues, threads between them that have events in hand,
//! counters, and a file that is flushed every second. Knows no socket and no clock.
//!
//! As observed on a real 4.14.9: an event that finds the input queue full is dropped and counted; the decoders stop when the
//! queue before the rules is full; with a limit of events they take one more each from the queue and hold it, uncounted, until
//! the limit's next timeframe; neighbours swap between threads; an alert under `log_alert_level` is not written; a stop or
//! kill throws away all that is not flushed, and leaves half a line to which the next alert is glued.

use std::collections::VecDeque;

use serde_json::{Value, json};

/// Elements that a queue of analysisd takes.
pub const QUEUE_MAX: usize = 16_383;

/// Threads between two queues: each has one event in hand.
const THREADS: usize = 2;

/// Events that the decoders take in a millisecond.
const DECODED_PER_MS: usize = 100;

/// Milliseconds between two flushes of the file.
const FLUSH_MS: u64 = 1_000;

/// Milliseconds from its start in which it says nothing of itself.
const STARTING_MS: u64 = 5;

/// The location of our lines, as in front of them.
const OURS: &str = "1:command_akamai_siem:";

/// An event: one of ours with its line, one of another command wodle, or one of somebody else.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Event {
    Ours(String),
    Command,
    Other,
}

/// One analysisd, over its restarts.
#[derive(Debug)]
pub struct Machine {
    /// Events that the rules take in a second.
    pub per_s: f64,
    /// Our lines in alerts.json, in order; empty where they are only counted.
    pub file: Vec<String>,
    /// How many of ours have been written to it.
    pub written_lines: u64,
    /// Whether lines are kept in `file`.
    pub keeps_lines: bool,
    /// Milliseconds from the first of our lines that the rules saw to the last.
    pub busy_ms: u64,
    /// Our lines dropped, over all lives.
    pub dropped_ours: u64,
    /// `<limits><eps>`: so many events in each timeframe of so many milliseconds.
    pub limit: Option<(u64, u64)>,
    /// Lines of ours whose alerts are under `log_alert_level`.
    pub is_under_level: fn(&str) -> bool,
    /// The file ends with half a line: the next alert is glued to it, and lost for who reads lines.
    half_line: bool,
    life: Life,
}

/// What ends with the process.
#[derive(Debug, Default)]
struct Life {
    started_s: i64,
    ms: u64,
    input: VecDeque<Event>,
    /// Taken from the queue, and not counted before the limit allows it.
    held: VecDeque<Event>,
    /// Events that the limit has let through in its present timeframe.
    used: u64,
    decoding: Vec<Event>,
    rules: VecDeque<Event>,
    matching: Vec<Event>,
    alerts: VecDeque<Event>,
    writing: Vec<Event>,
    unflushed: Vec<Event>,
    carry: f64,
    first_ms: Option<u64>,
    decoded_commands: u64,
    decoded_others: u64,
    processed: u64,
    written: u64,
    dropped: u64,
    dropped_others: u64,
}

impl Machine {
    /// One that starts now.
    pub fn new(per_s: f64, started_s: i64) -> Self {
        let life = Life { started_s, ..Life::default() };
        Self {
            per_s,
            file: Vec::new(),
            written_lines: 0,
            keeps_lines: true,
            half_line: false,
            busy_ms: 0,
            dropped_ours: 0,
            limit: None,
            is_under_level: |_| false,
            life,
        }
    }

    /// It is killed, and starts again at this time. What it had in hand for the file is half written.
    pub fn restart(&mut self, started_s: i64) {
        self.half_line |= !self.life.unflushed.is_empty() || !self.life.writing.is_empty();
        self.life = Life { started_s, ..Life::default() };
    }

    /// Its receiver takes a message from the socket.
    pub fn receive(&mut self, message: &str) {
        let event = match message.strip_prefix(OURS) {
            Some(line) => Event::Ours(line.to_owned()),
            None if message.starts_with("1:command_") => Event::Command,
            None => Event::Other,
        };
        if self.life.input.len() < QUEUE_MAX {
            self.life.input.push_back(event);
        } else if event == Event::Other {
            self.life.dropped_others += 1;
        } else {
            self.life.dropped += 1;
            self.dropped_ours += u64::from(event != Event::Command);
        }
    }

    /// A millisecond passes.
    pub fn tick(&mut self) {
        let life = &mut self.life;
        life.ms += 1;
        if self.limit.is_some_and(|(_, frame_ms)| life.ms.is_multiple_of(frame_ms)) {
            life.used = 0;
        }
        life.unflushed.append(&mut life.writing);
        while let Some(event) = life.alerts.pop_front() {
            life.written += 1;
            // The writer has one in hand.
            life.unflushed.append(&mut life.writing);
            life.writing.push(event);
        }
        life.alerts.extend(life.matching.drain(..));
        life.carry = (life.carry + self.per_s / 1_000.0).min((self.per_s / 1_000.0).max(1.0) + 1.0);
        while life.carry >= 1.0
            && let Some(event) = life.rules.pop_front()
        {
            life.carry -= 1.0;
            life.processed += 1;
            if let Event::Ours(_) = event {
                let first_ms = *life.first_ms.get_or_insert(life.ms);
                self.busy_ms = life.ms - first_ms;
            }
            if matches!(&event, Event::Ours(line) if (self.is_under_level)(line)) {
                continue;
            }
            life.matching.push(event);
            if life.matching.len() > THREADS {
                let first = life.first_of_two(life.processed);
                life.alerts.push_back(life.matching.remove(first));
            }
        }
        while !life.decoding.is_empty() && life.rules.len() < QUEUE_MAX {
            life.rules.push_back(life.decoding.remove(0));
        }
        self.decode();
        let life = &mut self.life;
        if life.ms.is_multiple_of(FLUSH_MS) {
            for event in std::mem::take(&mut life.unflushed) {
                if std::mem::take(&mut self.half_line) {
                    continue;
                }
                if let Event::Ours(line) = event {
                    self.written_lines += 1;
                    if self.keeps_lines {
                        self.file.push(line);
                    }
                }
            }
        }
    }

    /// The decoders work for a millisecond.
    fn decode(&mut self) {
        let life = &mut self.life;
        let mut decoded = 0;
        while decoded < DECODED_PER_MS && life.rules.len() + life.decoding.len() < QUEUE_MAX {
            let is_allowed = self.limit.is_none_or(|(events, _)| life.used < events);
            if !is_allowed && life.held.len() >= THREADS {
                break;
            }
            let event = if is_allowed { life.held.pop_front() } else { None };
            let Some(event) = event.or_else(|| life.input.pop_front()) else { break };
            if !is_allowed {
                life.held.push_back(event);
                continue;
            }
            life.used += 1;
            match event {
                Event::Ours(_) | Event::Command => life.decoded_commands += 1,
                Event::Other => life.decoded_others += 1,
            }
            decoded += 1;
            life.decoding.push(event);
            // All but what the threads have in hand is passed on at once.
            if life.decoding.len() > THREADS {
                let first = life.first_of_two(life.decoded_commands);
                life.rules.push_back(life.decoding.remove(first));
            }
        }
    }

    /// Events that the decoders hold because of the limit.
    pub fn held(&self) -> usize {
        self.life.held.len()
    }

    /// Events that the writer took and that are not in the file.
    pub fn unflushed(&self) -> usize {
        self.life.unflushed.len() + self.life.writing.len()
    }

    /// Its answer to `getstats`.
    pub fn stats(&self) -> Value {
        let life = &self.life;
        let is_starting = life.ms < STARTING_MS;
        let queue = |elements: usize| {
            // A 32-bit float, as the real one.
            #[allow(clippy::cast_possible_truncation)]
            let usage = (elements as f64 / QUEUE_MAX as f64) as f32;
            json!({"size": if is_starting { 0 } else { QUEUE_MAX + 1 }, "usage": usage})
        };
        let breakdown = |ours: u64, others: u64| {
            json!({"agent": 0, "dbsync": 3, "syslog": 0, "modules_breakdown": {
                "command": ours, "syscheck": 5, "logcollector_breakdown": {"others": others, "eventchannel": 0}}})
        };
        let mut answer = json!({"error": 0, "message": "ok", "data": {"uptime": if is_starting { 0 } else { life.started_s }, "name": "wazuh-analysisd", "metrics": {
            "bytes": {"received": 0},
            "events": {
                "processed": life.processed,
                "received": life.decoded_commands + life.decoded_others + life.dropped + life.dropped_others
                    + (life.input.len() + life.held.len()) as u64,
                "received_breakdown": {
                    "decoded_breakdown": breakdown(life.decoded_commands, life.decoded_others),
                    "dropped_breakdown": breakdown(life.dropped, life.dropped_others)},
                "written_breakdown": {"alerts": life.written, "archives": 0}},
            "queues": {
                "others": queue(life.input.len()),
                "processed": queue(life.rules.len()),
                "alerts": queue(life.alerts.len())}}}});
        if let Some((events, _)) = self.limit {
            answer["data"]["metrics"]["eps"] = json!({"available_credits": events - life.used.min(events)});
        }
        answer
    }
}

impl Life {
    /// Which of two neighbours goes first: one in seven times the later one.
    fn first_of_two(&self, count: u64) -> usize {
        usize::from(count.is_multiple_of(7))
    }
}
