//! What analysisd says of itself when asked for `getstats` (4.4 and later), PURE: the request, and the answer as numbers.
#![deny(clippy::disallowed_macros, clippy::disallowed_methods, clippy::disallowed_types)]

use serde_json::{Value, json};

/// Bytes of an answer; it has some 1.7 kB.
pub const ANSWER_BYTES_MAX: u32 = 1 << 20;

/// Elements of a queue where analysisd does not say (with `analysisd.state_interval=0`): its default.
const QUEUE_SIZE: u64 = 16_384;

/// What passes the input queue, by its name in the breakdown of decoded events. What is not listed has a queue of its own;
/// counting too little makes a confirmation late, counting too much would make it early.
const THROUGH_INPUT_QUEUE: &[&str] = &[
    "agent",
    "agentless",
    "monitor",
    "remote",
    "syslog",
    "virustotal",
    "aws",
    "azure",
    "ciscat",
    "command",
    "docker",
    "gcp",
    "github",
    "ms_graph",
    "office365",
    "oscap",
    "osquery",
    "vulnerability",
    "others",
    "eventlog",
    "macos",
];

/// Its counters since it started, and how full its queues are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// What only grows.
    pub counters: Counters,
    /// Events that wait to be decoded.
    pub input: u64,
    /// Events that wait for the rules.
    pub rules: u64,
    /// Alerts that wait to be written.
    pub alerts: u64,
    /// Elements that the input queue takes.
    pub input_max: u64,
    /// Its limit of events (`<limits><eps>`) is used up: its threads hold what they took from the queue, for as long as the
    /// limit's timeframe lasts (up to an hour), and count it only then.
    pub is_limited: bool,
    /// It has written no alert yet, and the one before may have left half a line to which the first is glued.
    pub may_be_glued: bool,
}

/// Counters of one life of analysisd.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Counters {
    /// The start of the machine under which it runs: the same second may come again after another one.
    #[serde(default)]
    pub boot: u64,
    /// When it started, in Unix seconds: another value is another process.
    pub started_s: i64,
    /// Events taken from the input queue.
    pub decoded: u64,
    /// Those of them that are of command wodles (and ours).
    #[serde(default)]
    pub decoded_commands: u64,
    /// Events taken from the queue before the rules.
    pub processed: u64,
    /// Alerts taken from the writer's queue.
    pub written: u64,
    /// Events of command wodles (and of ours) that found the input queue full.
    pub dropped: u64,
}

impl Counters {
    /// Whether these can be of the same process, later.
    pub fn go_on_as(&self, later: &Self) -> bool {
        (self.boot, self.started_s) == (later.boot, later.started_s)
            && self.decoded <= later.decoded
            && self.decoded_commands <= later.decoded_commands
            && self.processed <= later.processed
            && self.written <= later.written
            && self.dropped <= later.dropped
    }
}

/// The request, framed: four bytes of length and JSON.
pub fn request() -> Vec<u8> {
    let text =
        json!({"version": 1, "origin": {"module": "akamai"}, "command": "getstats", "parameters": {}}).to_string();
    let length = u32::try_from(text.len()).unwrap_or(0).to_le_bytes();
    [&length[..], text.as_bytes()].concat()
}

/// The numbers of an answer, which does not know of the machine's start; none while analysisd is only starting.
///
/// # Errors
/// What is wrong with the answer, in a few words.
pub fn parse(answer: &[u8]) -> Result<Option<Stats>, String> {
    let answer: Value = serde_json::from_slice(answer).map_err(|error| error.to_string())?;
    let number = |path: &str| answer.pointer(path).and_then(Value::as_u64).ok_or_else(|| format!("no {path}"));
    let events = |path: &str| number(&format!("/data/metrics/events/{path}"));
    let started_s = answer.pointer("/data/uptime").and_then(Value::as_i64).ok_or("no /data/uptime")?;
    let decoded = answer
        .pointer("/data/metrics/events/received_breakdown/decoded_breakdown")
        .ok_or("no breakdown of decoded events")?;
    let queue = |name: &str| {
        let queue =
            answer.pointer(&format!("/data/metrics/queues/{name}")).ok_or_else(|| format!("no queue {name}"))?;
        let size = queue.get("size").and_then(Value::as_u64).filter(|size| *size > 0).unwrap_or(QUEUE_SIZE);
        let usage = queue.get("usage").and_then(Value::as_f64).ok_or_else(|| format!("no usage of queue {name}"))?;
        Ok::<_, String>((elements(usage, size), size))
    };
    let ((input, input_max), (rules, _), (alerts, _)) = (queue("others")?, queue("processed")?, queue("alerts")?);
    let counters = Counters {
        boot: 0,
        started_s,
        decoded: through_input_queue(decoded),
        decoded_commands: events("received_breakdown/decoded_breakdown/modules_breakdown/command")?,
        processed: events("processed")?,
        written: events("written_breakdown/alerts")?,
        dropped: events("received_breakdown/dropped_breakdown/modules_breakdown/command")?,
    };
    let (Some(input), Some(rules), Some(alerts)) = (input, rules, alerts) else { return Ok(None) };
    // Only where there is a limit.
    let is_limited = answer.pointer("/data/metrics/eps/available_credits").and_then(Value::as_u64) == Some(0);
    let may_be_glued = counters.written == 0;
    Ok((started_s > 0).then_some(Stats { counters, input, rules, alerts, input_max, is_limited, may_be_glued }))
}

/// Elements of a queue: `usage` is their share of `size` up to 4.13 and of `size - 1` from 4.14, so this is at most one too
/// many, never too few. None where the usage is none yet.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn elements(usage: f64, size: u64) -> Option<u64> {
    (0.0..=1.0).contains(&usage).then(|| (usage * size as f64).round() as u64)
}

fn through_input_queue(breakdown: &Value) -> u64 {
    let members = breakdown.as_object().into_iter().flatten();
    members
        .map(|(name, value)| match value {
            Value::Object(_) => through_input_queue(value),
            _ if THROUGH_INPUT_QUEUE.contains(&name.as_str()) => value.as_u64().unwrap_or(0),
            _ => 0,
        })
        .sum()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::cast_possible_truncation)]
mod tests {
    use super::*;

    fn answer(uptime: i64, usage: f64) -> Value {
        json!({"error": 0, "message": "ok", "data": {"uptime": uptime, "name": "wazuh-analysisd", "metrics": {
            "events": {"processed": 70, "received": 100,
                "received_breakdown": {
                    "decoded_breakdown": {"agent": 1, "dbsync": 1_000, "integrations_breakdown": {"virustotal": 2},
                        "modules_breakdown": {"command": 4, "syscheck": 1_000,
                            "logcollector_breakdown": {"others": 8, "eventchannel": 1_000}}, "syslog": 16},
                    "dropped_breakdown": {"modules_breakdown": {"command": 5}}},
                "written_breakdown": {"alerts": 60}},
            "queues": {"others": {"size": 16_384, "usage": usage}, "processed": {"size": 16_384, "usage": 0.5},
                "alerts": {"size": 0, "usage": 0.0}}}}})
    }

    #[test]
    fn the_counters_are_found() {
        let stats = parse(answer(1_700_000_000, 1.0 / 16_383.0).to_string().as_bytes()).unwrap().unwrap();
        let counters = Counters {
            boot: 0,
            started_s: 1_700_000_000,
            decoded: 31,
            decoded_commands: 4,
            processed: 70,
            written: 60,
            dropped: 5,
        };
        assert_eq!(stats, Stats { counters, input: 1, rules: 8_192, alerts: 0, input_max: 16_384, ..Stats::default() });
    }

    #[test]
    fn a_limit_that_is_used_up_is_noticed() {
        for (credits, is_limited) in [(0, true), (3, false)] {
            let mut answer = answer(1_700_000_000, 0.0);
            answer["data"]["metrics"]["eps"] = json!({"available_credits": credits, "available_credits_prev": 0});
            assert_eq!(parse(answer.to_string().as_bytes()).unwrap().unwrap().is_limited, is_limited);
        }
    }

    #[test]
    fn another_start_of_the_machine_is_another_process() {
        let counters = Counters { boot: 1, started_s: 5, ..Counters::default() };
        assert!(counters.go_on_as(&Counters { decoded: 3, ..counters }));
        assert!(!counters.go_on_as(&Counters { boot: 2, decoded: 3, ..counters }));
    }

    #[test]
    fn an_analysisd_that_is_starting_has_none_yet() {
        for (uptime, usage) in [(0, 0.0), (1_700_000_000, -1.0)] {
            assert_eq!(parse(answer(uptime, usage).to_string().as_bytes()), Ok(None));
        }
    }

    #[test]
    fn what_is_no_answer_is_said() {
        assert!(parse(b"err ").unwrap_err().contains("expected value"));
        assert_eq!(parse(b"{}").unwrap_err(), "no /data/uptime");
    }

    #[test]
    fn the_count_of_elements_is_never_too_small() {
        for count in [0_u64, 1, 100, 8_191, 8_192, 16_382, 16_383] {
            for share_of in [16_383.0, 16_384.0] {
                let found = elements(f64::from((count as f64 / share_of) as f32), 16_384).unwrap();
                assert!(found == count || found == count + 1, "{count} of {share_of}: {found}");
                assert!(count > 0 || found == 0);
            }
        }
    }

    #[test]
    fn the_request_is_framed() {
        let request = request();
        assert_eq!(u32::from_le_bytes(request[..4].try_into().unwrap()) as usize, request.len() - 4);
        assert_eq!(serde_json::from_slice::<Value>(&request[4..]).unwrap()["command"], "getstats");
    }
}
