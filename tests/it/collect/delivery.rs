//! What counts as delivered: parents, sockets, budgets, readers that go away, signals.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::process::Stdio;
use std::time::{Duration, Instant, SystemTime};

use super::site::{Modulesd, Site, Wodle, notices, numbers, pure};
use crate::analysisd::Analysisd;
use crate::loopback::{Fault, Settings};
use crate::program::Ended;

fn all(numbers: std::ops::Range<u64>) -> Vec<u64> {
    numbers.collect()
}

fn received(socket: &UnixDatagram) -> Vec<String> {
    let mut buffer = vec![0; 70_000];
    let mut lines = Vec::new();
    while let Ok(length) = socket.recv(&mut buffer) {
        lines.push(String::from_utf8(buffer[..length].to_vec()).unwrap());
    }
    lines
}

#[test]
fn under_modulesd_a_batch_is_kept_until_the_next_run_confirms_it() {
    let site = Site::new();
    let _queue = site.bind_queue();
    site.store(60, 0..10);
    let mut modulesd = Modulesd::start(&site);
    assert_eq!(numbers(&modulesd.collect().expect(0).events()), all(0..10));
    assert_eq!(site.state_files("spool-").len(), 2);
    site.store(30, 10..15);
    assert_eq!(numbers(&modulesd.collect().expect(0).events()), all(10..15));
    // A new modulesd: the last batch may have died with the old one, the one before was confirmed.
    drop(modulesd);
    let mut modulesd = Modulesd::start(&site);
    site.store(20, 15..18);
    assert_eq!(numbers(&modulesd.collect().expect(0).events()), all(10..18));
    assert_eq!(modulesd.collect().expect(0).events().len(), 0);
    assert!(site.state_files("spool-").is_empty());
}

#[test]
fn a_mute_wodle_gets_nothing_and_wazuh_is_told_through_the_queue() {
    let site = Site::new();
    let _first = site.bind_queue();
    site.store(60, 0..10);
    let mut modulesd = Modulesd::start(&site);
    assert_eq!(numbers(&modulesd.collect().expect(0).events()), all(0..10));
    let queue = site.bind_queue();
    site.store(30, 10..15);
    for _ in 0..3 {
        assert_eq!(modulesd.collect().expect(0).stdout.len(), 0);
    }
    let told = received(&queue);
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(
        told[0].starts_with("1:command_akamai_siem:{\"type\":\"akamai_collector\"") && told[0].contains("\"backlog\"")
    );
    drop(modulesd);
    let mut modulesd = Modulesd::start(&site);
    let ended = modulesd.collect().expect(0);
    // What the mute wodle had taken is handed over again, and then the rest.
    assert_eq!(numbers(&ended.events()), all(0..15));
    assert!(notices(&ended.events()).contains(&"recovered:backlog".to_owned()));
    assert_eq!(modulesd.collect().expect(0).events().len(), 0);
}

#[test]
fn another_parent_has_a_batch_once_it_is_written_whole() {
    let site = Site::new();
    let _queue = site.bind_queue();
    site.store(60, 0..10);
    assert_eq!(site.collect().expect(0).events().len(), 11);
    let mut modulesd = Modulesd::start(&site);
    assert_eq!(modulesd.collect().expect(0).events().len(), 0);
}

#[test]
fn no_more_is_handed_over_than_the_wodle_forwards_before_the_next_run() {
    let site = Site::new();
    site.set_interval(60);
    fs::write(site.wazuh("etc/local_internal_options.conf"), "wazuh_modules.max_eps=2\n").unwrap();
    site.store(60, 0..200);
    let mut got = Vec::new();
    for run in 0..3 {
        let ended = site.collect().expect(0);
        let lines = ended.events().len();
        // (60 s - 10 s) x 2 a second x 0.95.
        assert!(lines <= 95 && (lines >= 60 || run == 2), "{lines}");
        got.extend(numbers(&ended.events()));
    }
    assert_eq!(got, all(0..200));
}

#[test]
fn a_reader_that_closes_the_pipe_gets_the_rest_again() {
    let site = Site::new();
    site.store(60, 0..500);
    let mut child = site.command().stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut some = vec![0; 100_000];
    child.stdout.as_mut().unwrap().read_exact(&mut some).unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr.len()), (Some(0), 0));
    assert_eq!(numbers(&site.collect().expect(0).events()), all(0..500));
}

#[test]
fn sigterm_ends_it_within_a_second_between_two_lines() {
    let site = Site::new();
    site.store(60, 0..2_000);
    // At the reader, who stops reading; and at Akamai, which trickles.
    for (stalled, fault) in [(true, None), (false, Some(Fault::Trickle(200, Duration::from_millis(50))))] {
        site.akamai.fail(fault);
        let mut child =
            site.command().stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut got = Vec::new();
        if stalled {
            got = vec![0; 10_000];
            child.stdout.as_mut().unwrap().read_exact(&mut got).unwrap();
        }
        std::thread::sleep(Duration::from_millis(400));
        let asked = Instant::now();
        terminate(child.id());
        child.wait().unwrap();
        assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
        child.stdout.take().unwrap().read_to_end(&mut got).unwrap();
        let mut stderr = String::new();
        child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        pure(Ended::of("collect, terminated", 0, got, stderr));
    }
    assert_eq!(numbers(&site.collect().expect(0).events()), all(0..2_000));
}

pub fn terminate(pid: u32) {
    let pid = rustix::process::Pid::from_raw(pid.cast_signed()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
}

#[test]
fn two_at_once_do_not_work_twice() {
    let site = Site::new();
    site.store(60, 0..30);
    site.akamai.fail([Fault::Trickle(2_000, Duration::from_millis(50))]);
    let first = site.command().stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    while site.akamai.seen().is_empty() {
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(site.collect().expect(0).stdout.len(), 0);
    assert!(site.log().contains("another collect or backfill is running"));
    let output = first.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    let whole = Ended::of("collect", 0, output.stdout, String::from_utf8(output.stderr).unwrap());
    assert_eq!(numbers(&pure(whole).events()), all(0..30));
}

#[test]
fn a_full_spool_stops_fetching_and_not_delivering() {
    let site = Site::with(Settings::default(), "limit = 1000\nspool_max = 3MB\nmax_eps = 1\n");
    site.set_interval(60);
    site.store(60, 0..3_000);
    let mut got = Vec::new();
    let ended = site.collect().expect(1);
    assert!(notices(&ended.events()).contains(&"backlog".to_owned()), "{}", site.log());
    got.extend(numbers(&ended.events()));
    let spooled: u64 = site.state_files("spool-").iter().map(|path| fs::metadata(path).unwrap().len()).sum();
    assert!(spooled < 3_000_000, "{spooled}");
    let second = site.collect().expect(1);
    assert!(notices(&second.events()).is_empty());
    got.extend(numbers(&second.events()));
    site.configure(&format!("{}limit = 1000\nspool_max = 3MB\nmax_eps = 1000\n", site.akamai.config()));
    for _ in 0..4 {
        got.extend(numbers(&site.collect().events()));
    }
    assert_eq!(got, all(0..3_000));
}

/// As if what is in the spool had been there for so long.
pub fn make_older(site: &Site, seconds: u64) {
    for path in site.state_files("spool-") {
        let time = SystemTime::now() - Duration::from_secs(seconds);
        File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
    }
}

fn analysisd(site: &Site) -> Analysisd {
    Analysisd::start(&site.wazuh("queue/sockets"), 5_000.0)
}

/// The numbers of the sample events in alerts.json, sorted.
fn in_file(analysisd: &Analysisd) -> Vec<u64> {
    let lines: Vec<_> = analysisd.file().iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let mut numbers = numbers(&lines);
    numbers.sort_unstable();
    numbers
}

/// The wodle forwards nothing while nobody listens, and what comes back is another analysisd.
#[test]
fn nothing_is_handed_over_for_an_analysisd_that_was_killed() {
    let site = Site::new();
    let mut analysisd = analysisd(&site);
    let mut wodle = Wodle::start(&site);
    site.store(100, 0..5);
    wodle.collect().expect(0);
    while in_file(&analysisd) != all(0..5) {
        std::thread::sleep(Duration::from_millis(5));
    }
    wodle.collect().expect(0);
    analysisd.kill();
    assert!(site.wazuh("queue/sockets/queue").exists());
    for run in 1..4_u64 {
        site.store(90 - run.cast_signed() * 10, run * 5..run * 5 + 5);
        assert!(wodle.collect().expect(0).stdout.is_empty());
    }
    analysisd.start_again();
    // Past the wodle, which is mute.
    wodle.collect().expect(0);
    assert_eq!(in_file(&analysisd), all(0..20), "{}", site.log());
}

#[test]
fn a_batch_that_a_full_queue_dropped_is_handed_over_again() {
    let site = Site::new();
    let mut analysisd = analysisd(&site);
    let mut wodle = Wodle::start(&site);
    analysisd.machine().limit = Some((0, 3_600_000));
    for _ in 0..17_000 {
        analysisd.machine().receive("1:/var/log/other:x");
    }
    site.store(60, 0..20);
    for _ in 0..2 {
        assert_eq!(numbers(&wodle.collect().expect(0).events()), all(0..20));
    }
    while analysisd.machine().dropped_ours < 40 {
        std::thread::sleep(Duration::from_millis(5));
    }
    // The whole manager is restarted.
    drop(wodle);
    analysisd.kill();
    analysisd.machine().limit = None;
    analysisd.start_again();
    analysisd.tell_of_start();
    let mut wodle = Wodle::start(&site);
    assert_eq!(numbers(&wodle.collect().expect(0).events()), all(0..20));
    assert!(wodle.collect().expect(0).stdout.is_empty());
    assert!(site.state_files("spool-").is_empty());
    std::thread::sleep(Duration::from_millis(1_500));
    assert_eq!(in_file(&analysisd), all(0..20), "{}", site.log());
}

#[test]
fn a_batch_that_waits_in_analysisd_is_not_handed_over_twice() {
    let site = Site::new();
    let analysisd = analysisd(&site);
    let mut wodle = Wodle::start(&site);
    analysisd.machine().limit = Some((0, 3_600_000));
    site.store(60, 0..20);
    assert_eq!(numbers(&wodle.collect().expect(0).events()), all(0..20));
    site.store(30, 20..30);
    assert!(wodle.collect().expect(0).stdout.is_empty());
    assert!(site.log().contains("has not worked off"), "{}", site.log());
    analysisd.machine().limit = None;
    assert_eq!(numbers(&wodle.collect().expect(0).events()), all(20..30));
    assert!(wodle.collect().expect(0).stdout.is_empty());
    assert!(site.state_files("spool-").is_empty());
}

#[test]
fn a_batch_that_waits_for_the_rules_goes_again_if_they_never_see_it() {
    let site = Site::new();
    let mut analysisd = analysisd(&site);
    let mut wodle = Wodle::start(&site);
    analysisd.machine().per_s = 0.0;
    site.store(60, 0..20);
    assert_eq!(numbers(&wodle.collect().expect(0).events()), all(0..20));
    assert!(wodle.collect().expect(0).stdout.is_empty());
    // The whole manager is restarted.
    drop(wodle);
    analysisd.kill();
    analysisd.machine().per_s = 5_000.0;
    analysisd.start_again();
    analysisd.tell_of_start();
    let mut wodle = Wodle::start(&site);
    assert_eq!(numbers(&wodle.collect().expect(0).events()), all(0..20), "{}", site.log());
    assert!(wodle.collect().expect(0).stdout.is_empty());
    // The one that the rules had in hand was written before.
    let mut arrived = in_file(&analysisd);
    arrived.dedup();
    assert_eq!(arrived, all(0..20), "{}", site.log());
}

#[test]
fn a_wodle_that_was_mute_before_our_first_run_is_found_out() {
    let site = Site::new();
    let mut analysisd = analysisd(&site);
    let mut wodle = Wodle::start(&site);
    analysisd.kill();
    analysisd.start_again();
    analysisd.tell_of_start();
    site.store(60, 0..20);
    assert_eq!(numbers(&wodle.collect().expect(0).events()), all(0..20));
    // Nothing came of that: from now on lines go past it.
    assert!(wodle.collect().expect(0).stdout.is_empty(), "{}", site.log());
    assert_eq!(in_file(&analysisd), all(0..20), "{}", site.log());
}

#[test]
fn a_wodle_that_was_mute_before_we_were_configured_is_known() {
    let site = Site::new();
    let mut analysisd = analysisd(&site);
    let mut wodle = Wodle::start(&site);
    site.configure(&site.akamai.config().replace("config_id = 14227", "config_id = YOUR_CONFIG_ID"));
    assert!(wodle.collect().expect(0).stdout.is_empty());
    assert!(site.log().contains("not configured yet"), "{}", site.log());
    analysisd.kill();
    analysisd.start_again();
    analysisd.tell_of_start();
    site.configure(&site.akamai.config());
    site.store(60, 0..20);
    assert!(wodle.collect().expect(0).stdout.is_empty(), "{}", site.log());
    assert_eq!(in_file(&analysisd), all(0..20), "{}", site.log());
}

#[test]
fn an_analysisd_that_hangs_gets_nothing() {
    let site = Site::new();
    let analysisd = analysisd(&site);
    let mut wodle = Wodle::start(&site);
    site.store(60, 0..20);
    analysisd.hang(true);
    assert!(wodle.collect().expect(0).stdout.is_empty());
    analysisd.hang(false);
    assert_eq!(numbers(&wodle.collect().expect(0).events()), all(0..20));
    assert!(wodle.collect().expect(0).stdout.is_empty());
}

#[test]
fn a_change_of_the_sockets_mode_repeats_nothing() {
    let site = Site::new();
    let _queue = site.bind_queue();
    let mut modulesd = Modulesd::start(&site);
    site.store(60, 0..3);
    assert_eq!(numbers(&modulesd.collect().expect(0).events()), all(0..3));
    std::thread::sleep(Duration::from_millis(20));
    fs::set_permissions(site.wazuh("queue/sockets/queue"), fs::Permissions::from_mode(0o600)).unwrap();
    assert!(modulesd.collect().expect(0).stdout.is_empty(), "{}", site.log());
    assert!(site.state_files("spool-").is_empty());
}

#[test]
fn what_the_wodle_cannot_keep_up_with_is_told_after_a_quarter_of_an_hour() {
    let site = Site::with(Settings::default(), "max_eps = 1\n");
    site.set_interval(60);
    site.store(60, 0..300);
    assert!(!notices(&site.collect().expect(0).events()).contains(&"backlog".to_owned()));
    make_older(&site, 1_000);
    assert_eq!(notices(&site.collect().expect(0).events()), ["backlog"]);
    assert!(notices(&site.collect().expect(0).events()).is_empty());
    site.configure(&format!("{}max_eps = 1000\n", site.akamai.config()));
    assert_eq!(notices(&site.collect().expect(0).events()), ["recovered:backlog"]);
}

#[test]
fn wazuh_5_gets_nothing_and_everything_is_kept() {
    for output in ["stdout", "queue"] {
        let site = Site::with(Settings::default(), &format!("output = {output}\n"));
        let analysisd = analysisd(&site);
        site.store(60, 0..10);
        site.set_version("agent", "v5.0.0");
        for _ in 0..2 {
            assert!(site.collect().expect(1).stdout.is_empty());
        }
        assert!(site.log().contains("Wazuh 5 is not supported yet"), "{}", site.log());
        for command in [&["status"][..], &["check"], &["install", "--dry-run"]] {
            let ended = site.place.run(command);
            let said = format!("{}{}", ended.text(), ended.stderr);
            assert!(
                said.contains("Wazuh 5 is not supported yet") && said.contains("4.14 agent"),
                "{command:?}: {said}"
            );
        }
        assert!(analysisd.file().is_empty());
        // Wazuh 4 again.
        site.set_version("server", "v4.14.9");
        let ended = site.collect().expect(0);
        let mut arrived = numbers(&ended.events());
        arrived.extend(in_file(&analysisd));
        assert_eq!(arrived, all(0..10));
    }
}

#[test]
fn a_wazuh_that_does_not_tell_its_version_gets_nothing_and_everything_is_kept() {
    for output in ["stdout", "queue"] {
        let site = Site::with(Settings::default(), &format!("output = {output}\n"));
        let analysisd = analysisd(&site);
        site.store(60, 0..10);
        site.set_version("agent", "");
        // It says nothing, or cannot be run.
        assert!(site.collect().expect(1).stdout.is_empty());
        fs::write(site.wazuh("bin/wazuh-control"), "").unwrap();
        assert!(site.collect().expect(1).stdout.is_empty());
        let seen = "wazuh-control info does not tell Wazuh's version";
        assert!(site.log().contains(seen), "{}", site.log());
        for command in ["status", "check"] {
            let said = site.place.run(&[command]).expect(1).text();
            assert!(said.contains(seen) && said.contains("kept in the spool"), "{command}: {said}");
        }
        site.set_version("server", "v4.14.9");
        let ended = site.collect().expect(0);
        let mut arrived = numbers(&ended.events());
        arrived.extend(in_file(&analysisd));
        assert_eq!(arrived, all(0..10));
    }
}

#[test]
fn a_damaged_record_of_nothing_is_set_aside_once() {
    let site = Site::new();
    site.store(60, 0..3);
    site.collect().expect(0);
    fs::write(site.state().join("delivery"), "x").unwrap();
    for _ in 0..3 {
        assert!(site.collect().expect(0).stdout.is_empty());
        std::thread::sleep(Duration::from_millis(1_000));
    }
    assert_eq!(site.state_files("corrupt-").len(), 1);
}

#[test]
fn what_is_dropped_run_after_run_is_told_of() {
    let site = Site::new();
    let analysisd = analysisd(&site);
    let mut wodle = Wodle::start(&site);
    analysisd.machine().limit = Some((0, 3_600_000));
    for _ in 0..17_000 {
        analysisd.machine().receive("1:/var/log/other:x");
    }
    site.store(60, 0..3);
    wodle.collect().expect(0);
    make_older(&site, 1_000);
    assert_eq!(notices(&wodle.collect().expect(0).events()), ["started", "backlog"]);
    let status = site.place.run(&["status"]);
    assert!(status.text().contains("backlog is active"), "{}", status.text());
}

#[test]
fn a_wodle_whose_socket_was_gone_before_its_first_run_is_mute() {
    let site = Site::new();
    let mut analysisd = analysisd(&site);
    let mut wodle = Wodle::start(&site);
    analysisd.kill();
    site.store(60, 0..3);
    assert!(wodle.collect().expect(0).stdout.is_empty());
    analysisd.start_again();
    assert!(wodle.collect().expect(0).stdout.is_empty());
    assert_eq!(in_file(&analysisd), all(0..3), "{}", site.log());
}

#[test]
fn check_looks_at_the_bytes_of_a_run_as_well_as_at_its_lines() {
    let site = Site::new();
    site.store(60, 0..3);
    site.collect().expect(0);
    for (bytes, mend) in [(59 << 20, true), (1 << 20, false)] {
        super::recovery::rewrite(&site.state().join("delivery"), |record| {
            record["wodle_share"]["bytes"] = serde_json::json!(bytes);
        });
        let said = site.place.run(&["check"]).text();
        assert!(said.contains(&format!("{bytes} of the 62914560 bytes")), "{said}");
        assert_eq!(said.contains("a shorter interval of the wodle"), mend, "{said}");
    }
}

#[test]
fn what_was_handed_over_while_analysisd_had_no_counters_yet_comes_once() {
    let site = Site::new();
    let analysisd = analysisd(&site);
    let mut wodle = Wodle::start(&site);
    let control = site.wazuh("queue/sockets/analysis");
    fs::rename(&control, site.path("aside")).unwrap();
    site.store(60, 0..20);
    assert_eq!(numbers(&wodle.collect().expect(0).events()), all(0..20));
    fs::rename(site.path("aside"), &control).unwrap();
    assert!(wodle.collect().expect(0).stdout.is_empty(), "{}", site.log());
    while in_file(&analysisd) != all(0..20) {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(site.state_files("spool-").is_empty());
}
