//! `collect` killed and starved at every point: afterwards every event has been delivered, in order, and nothing but what a
//! stopped run had begun to hand over has come twice.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use wazuh_akamai::event::event_id;

use super::recovery::rewrite;
use super::site::{Site, notices, numbers, pure};
use crate::loopback::{Fault, Settings, now};
use crate::program::{Ended, finish};

/// Runs that are killed at a random moment, unless `scripts/stress` wants more.
const KILLS: u64 = 50;

/// System calls that change files or the output.
const CALLS: [&str; 8] = ["openat", "write", "fsync", "rename", "unlink", "ftruncate", "flock", "mkdir"];

fn all(numbers: std::ops::Range<u64>) -> Vec<u64> {
    numbers.collect()
}

/// What arrived, run by run, checked against what may repeat.
#[derive(Default)]
struct Arrived {
    numbers: Vec<u64>,
    /// Numbers that only a stopped run has handed over so far.
    doubtful: HashSet<u64>,
    seen: HashSet<u64>,
}

impl Arrived {
    fn add(&mut self, events: &[Value], stopped: bool) {
        for number in numbers(events) {
            let repeated = !self.seen.insert(number);
            assert!(!repeated || self.doubtful.contains(&number), "{number} came twice without need");
            if stopped {
                self.doubtful.insert(number);
            } else {
                self.doubtful.remove(&number);
            }
            if !repeated {
                self.numbers.push(number);
            }
        }
    }

    fn expect(&self, stored: std::ops::Range<u64>, after: &str) {
        let wrong = stored.clone().zip(&self.numbers).find(|(expected, number)| expected != *number);
        assert_eq!(wrong, None, "out of order after {after}");
        assert_eq!(self.numbers.len() as u64, stored.end, "lost after {after}");
    }
}

fn whole_lines(stdout: &[u8]) -> Vec<Value> {
    let end = stdout.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    assert_eq!(end, stdout.len(), "half a line");
    Ended::of("", 0, stdout.to_vec(), String::new()).events()
}

#[test]
fn killed_at_random_moments_it_loses_nothing() {
    let site = Site::with(Settings::default(), "limit = 1000\n");
    site.store(100, 0..1);
    let mut arrived = Arrived::default();
    arrived.add(&site.collect().expect(0).events(), false);
    let mut stored = 1;
    let kills = std::env::var("KILLS").map_or(KILLS, |kills| kills.parse().unwrap());
    for kill in 0..kills {
        site.store(50, stored..stored + 10);
        stored += 10;
        let child = site.command().stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // From before the first file is opened to after the last line is written.
        std::thread::sleep(Duration::from_micros((kill * 7_919) % 45_000 + kill % 97));
        let pid = rustix::process::Pid::from_raw(child.id().cast_signed()).unwrap();
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        let output = child.wait_with_output().unwrap();
        assert!(output.stderr.is_empty());
        arrived.add(&whole_lines(&output.stdout), output.status.code().is_none());
    }
    // What piled up is more than one run may hand over.
    loop {
        let events = site.collect().expect(0).events();
        if events.is_empty() {
            break;
        }
        arrived.add(&events, false);
    }
    arrived.expect(0..stored, "the kills");
    assert!(site.state_files("spool-").is_empty());
}

/// Runs `collect` with a fault at the `nth` call of this kind; whether there were as many calls.
pub fn collect_with_fault(site: &Site, call: &str, fault: &str, nth: u64) -> (Ended, bool) {
    let trace = site.path("trace");
    let _ = fs::remove_file(&trace);
    let collect = site.command();
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-o"]).arg(&trace);
    command.arg("-e").arg(format!("trace={call}")).arg("-e").arg(format!("inject={call}:{fault}:when={nth}"));
    command.arg(collect.get_program()).args(collect.get_args()).env("NO_PROXY", "*");
    let ended = finish(command, b"");
    let calls = fs::read_to_string(&trace).unwrap();
    let injected = calls.contains("INJECTED") || calls.contains("killed by SIGKILL");
    (ended, injected)
}

/// Calls of `openat` up to that for the configuration.
fn calls_until_configured(site: &Site) -> u64 {
    let (_, injected) = collect_with_fault(site, "openat", "error=EIO", 10_000);
    assert!(!injected);
    let calls = fs::read_to_string(site.path("trace")).unwrap();
    let config = site.place.config();
    let before = calls.lines().take_while(|call| !call.contains(config.to_str().unwrap()));
    before.count() as u64 + 1
}

#[test]
fn killed_or_refused_at_every_file_operation_it_loses_nothing() {
    for fault in ["signal=SIGKILL", "error=ENOSPC", "error=EIO"] {
        for call in CALLS {
            let site = Site::new();
            site.store(100, 0..5);
            let mut arrived = Arrived::default();
            arrived.add(&site.collect().expect(0).events(), false);
            let mut stored = 5;
            // Calls before the work begins (libraries, configuration) are skipped: without a configuration it would turn to
            // the default folders.
            let first = if call == "openat" { calls_until_configured(&site) + 1 } else { 1 };
            for nth in first.. {
                site.store(50, stored..stored + 5);
                stored += 5;
                let (ended, injected) = collect_with_fault(&site, call, fault, nth);
                assert_eq!(ended.stderr, "", "{call} {nth} {fault}");
                arrived.add(&whole_lines(&ended.stdout), injected);
                if !injected {
                    break;
                }
                // The next run makes good what this one could not do, at once.
                arrived.add(&site.collect().expect(0).events(), false);
                arrived.expect(0..stored, &format!("{fault} at {call} {nth}\n{}", site.log()));
            }
            arrived.expect(0..stored, call);
            assert!(site.state_files("spool-").is_empty(), "{call} {fault}");
        }
    }
}

#[test]
fn a_damaged_cursor_is_set_aside_and_nothing_is_lost() {
    for damage in ["", "{", "{\"position\":{\"since\":1}}\nabc\n"] {
        let site = Site::new();
        site.store(100, 0..10);
        site.collect().expect(0);
        site.store(50, 10..15);
        fs::write(&site.state_files("cursor-")[0], damage).unwrap();
        let ended = site.collect().expect(0);
        assert_eq!((numbers(&ended.events()), notices(&ended.events())), (all(10..15), vec![]), "{}", site.log());
        assert_eq!(site.state_files("corrupt-").len(), 1);
        assert!(site.log().contains("the cursor is damaged"));
    }
}

#[test]
fn a_damaged_cursor_without_any_memory_goes_back_as_far_as_akamai_does_and_tells() {
    let site = Site::new();
    site.store(20_000, 0..10);
    site.store(100, 10..20);
    site.collect().expect(0);
    fs::write(&site.state_files("cursor-")[0], "x").unwrap();
    for file in ["health-", "seen-"] {
        fs::remove_file(&site.state_files(file)[0]).unwrap();
    }
    let ended = site.collect().expect(0);
    assert_eq!((numbers(&ended.events()), notices(&ended.events())), (all(0..20), vec!["data_gap".to_owned()]));
}

#[test]
fn a_damaged_delivery_record_repeats_at_most_and_loses_nothing() {
    let site = Site::new();
    let _queue = site.bind_queue();
    site.store(100, 0..10);
    let mut modulesd = super::site::Modulesd::start(&site);
    modulesd.collect().expect(0);
    fs::write(site.state().join("delivery"), "x").unwrap();
    assert_eq!(numbers(&modulesd.collect().expect(0).events()), all(0..10));
    assert_eq!(modulesd.collect().expect(0).events().len(), 0);
}

#[test]
fn a_state_folder_that_cannot_be_used_is_told_and_nothing_is_asked() {
    let site = Site::new();
    fs::write(site.state(), "a file").unwrap();
    let ended = site.collect().expect(1);
    assert_eq!(notices(&ended.events()), ["backlog"]);
    assert!(site.akamai.seen().is_empty());
}

#[test]
fn a_clock_that_jumped_loses_nothing() {
    for jump in [-86_400, 86_400] {
        let site = Site::new();
        site.store(100, 0..10);
        site.collect().expect(0);
        rewrite(&site.state_files("cursor-")[0], |record| {
            for time in ["committed_s", "caught_up_s"] {
                record[time] = (now() + jump).into();
            }
        });
        site.store(50, 10..15);
        site.akamai.expire_offsets();
        let mut events = site.collect().expect(0).events();
        events.extend(site.collect().expect(0).events());
        assert_eq!(numbers(&events), all(10..15), "{jump}: {}", site.log());
    }
}

#[test]
fn what_stays_of_a_run_that_died_while_it_fetched_is_no_hindrance() {
    let site = Site::new();
    site.store(60, 0..50);
    site.akamai.fail([Fault::Trickle(500, Duration::from_millis(20))]);
    let mut child = site.command().stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    while !site.state().exists() || site.state_files("spool-").iter().all(|path| path.extension().unwrap() != "open") {
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(site.state_files("spool-").iter().filter(|path| path.extension().unwrap() == "open").count(), 1);
    assert_eq!(numbers(&pure(site.collect()).expect(0).events()), all(0..50));
    assert!(site.state_files("spool-").is_empty());
}

/// A line that takes long to decode: in the middle of it a run can be ended from outside, as a bug would end it.
pub fn long_line() -> String {
    let items = "QUJDRA%3d%3d%3b".repeat(400_000);
    format!(
        "{{\"type\":\"akamai_siem\",\"attackData\":{{\"rules\":\"{items}\"}},\"httpMessage\":{{\"requestId\":\"ff.1\"}}}}"
    )
}

/// Runs `collect` and aborts it as soon as `is_time`; whether it came to that.
fn abort_when(site: &Site, is_time: impl Fn() -> bool) -> bool {
    let mut child = site.command().stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    while child.try_wait().unwrap().is_none() {
        if is_time() {
            let pid = rustix::process::Pid::from_raw(child.id().cast_signed()).unwrap();
            let signal = |signal| assert!(rustix::process::kill_process(pid, signal).is_ok(), "it is ours");
            // While it stands still it is where it was seen, or it was quicker than we are.
            signal(rustix::process::Signal::STOP);
            let is_still_time = is_time();
            if is_still_time {
                signal(rustix::process::Signal::ABORT);
            }
            signal(rustix::process::Signal::CONT);
            if is_still_time {
                child.wait().unwrap();
                return true;
            }
        }
    }
    false
}

#[test]
fn a_line_that_ended_two_runs_goes_on_without_being_decoded() {
    let site = Site::new();
    site.store(100, 0..3);
    site.collect().expect(0);
    site.store(60, 3..6);
    site.akamai.store(50, [long_line()]);
    site.store(40, 6..9);
    let is_reading = || site.state_files("attempt-").iter().any(|path| path.extension().is_none());
    assert!(abort_when(&site, is_reading), "{}", site.log());
    // The mark of the run before stands until the next one begins to read, which replaces the record.
    let record = || site.state_files("attempt-").into_iter().find(|path| path.extension().is_none());
    let inode = || record().and_then(|path| fs::metadata(path).ok()).map(|file| file.ino());
    let id = event_id(long_line().as_bytes());
    let is_at_it =
        || site.state_files("mark-").first().and_then(|mark| fs::read(mark).ok()).is_some_and(|mark| mark == id);
    // One death in a line may be by chance.
    for _ in 0..2 {
        let before = inode();
        assert!(abort_when(&site, || inode() != before && is_at_it()), "{}", site.log());
    }
    let events = site.collect().expect(0).events();
    let siem: Vec<Value> = events.iter().filter(|event| event["type"] == "akamai_siem").cloned().collect();
    assert_eq!((siem.len(), notices(&events)), (7, vec!["truncated".to_owned()]), "{}", site.log());
    let suspect = &siem[3]["akamai"];
    assert!(
        suspect["verdict"] == "unknown"
            && suspect["parse_error"].as_str().unwrap().contains("ended the collector twice")
    );
    let told = events.iter().find(|event| event["type"] == "akamai_collector").unwrap();
    assert!(told.to_string().contains(suspect["event_id"].as_str().unwrap()), "{told}");
    let others: Vec<Value> = siem.into_iter().filter(|event| event["id"].is_string()).collect();
    assert_eq!(numbers(&others), all(3..9));
    assert!(site.state_files("attempt-").is_empty() && site.state_files("mark-").is_empty());
}
