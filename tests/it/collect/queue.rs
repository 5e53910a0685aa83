//! `output = queue` against a loopback analysisd: every line arrives, none is dropped, and what a kill or restart takes with
//! it comes again.

use std::collections::HashSet;
use std::fs;
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::site::{Modulesd, Site, notices, numbers};
use crate::analysisd::Analysisd;
use crate::loopback::Settings;
use crate::program::Ended;

/// Time after which a test gives up, in seconds.
const PATIENCE_S: u64 = 60;

fn all(numbers: std::ops::Range<u64>) -> Vec<u64> {
    numbers.collect()
}

fn site(more: &str) -> Site {
    Site::with(Settings::default(), &format!("output = queue\n{more}"))
}

fn analysisd(site: &Site, per_s: u32) -> Analysisd {
    Analysisd::start(&site.wazuh("queue/sockets"), f64::from(per_s))
}

/// What has arrived in alerts.json.
fn arrived(analysisd: &Analysisd) -> Vec<Value> {
    analysisd.file().iter().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The numbers of the sample events among it, sorted: its threads swap neighbours.
fn arrived_numbers(analysisd: &Analysisd) -> Vec<u64> {
    let mut numbers = numbers(&arrived(analysisd));
    numbers.sort_unstable();
    numbers
}

fn wait_until(mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(PATIENCE_S);
    while !holds() {
        assert!(Instant::now() < until, "it takes too long");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Runs `collect`, whose output must be empty.
fn collect(site: &Site) -> Ended {
    let ended = site.collect();
    assert!(ended.stdout.is_empty(), "{}", ended.text());
    ended
}

fn start(site: &Site) -> Child {
    site.command().stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// Every number is there, whatever has come twice.
fn assert_all_arrived(analysisd: &Analysisd, stored: std::ops::Range<u64>, log: &str) {
    let arrived: HashSet<u64> = numbers(&arrived(analysisd)).into_iter().collect();
    let missing: Vec<u64> = stored.filter(|number| !arrived.contains(number)).collect();
    assert!(missing.is_empty(), "{} missing, the first is {:?}\n{log}", missing.len(), missing.first());
}

#[test]
fn lines_go_straight_to_analysisd_and_stay_until_they_have_arrived() {
    let site = site("");
    let analysisd = analysisd(&site, 5_000);
    site.store(60, 0..300);
    collect(&site).expect(0);
    let events = arrived(&analysisd);
    assert_eq!((arrived_numbers(&analysisd), notices(&events)), (all(0..300), vec!["started".to_owned()]));
    assert!(site.state_files("spool-").is_empty());
    assert!(site.log().contains("analysisd took 301 lines"), "{}", site.log());
    site.store(30, 300..310);
    collect(&site).expect(0);
    assert_eq!(arrived_numbers(&analysisd), all(0..310));
}

#[test]
fn a_slow_analysisd_gets_everything_once_and_drops_nothing() {
    let site = site("limit = 2000\n");
    let analysisd = analysisd(&site, 1_500);
    site.store(60, 0..9_000);
    collect(&site).expect(0);
    assert_eq!(arrived_numbers(&analysisd), all(0..9_000), "{}", site.log());
    assert_eq!(analysisd.machine().dropped_ours, 0);
}

#[test]
fn what_a_kill_of_analysisd_takes_with_it_comes_again() {
    let site = site("");
    let mut analysisd = analysisd(&site, 1_000);
    site.store(60, 0..5_000);
    let mut run = start(&site);
    for lines in [700, 2_000] {
        wait_until(|| analysisd.machine().written_lines >= lines);
        analysisd.kill();
        thread::sleep(Duration::from_millis(300));
        analysisd.start_again();
    }
    assert!(run.wait().unwrap().success(), "{}", site.log());
    assert_all_arrived(&analysisd, 0..5_000, &site.log());
    assert!(site.log().contains("are sent again"), "{}", site.log());
    assert!(site.state_files("spool-").is_empty());
}

#[test]
fn the_half_line_of_a_killed_analysisd_swallows_none_of_ours() {
    let site = site("");
    let mut analysisd = analysisd(&site, 5_000);
    site.store(60, 0..5);
    collect(&site).expect(0);
    site.store(50, 5..10);
    let mut run = start(&site);
    // Its writer has taken some, and flushed none.
    wait_until(|| analysisd.machine().unflushed() > 0);
    analysisd.kill();
    analysisd.start_again();
    assert!(run.wait().unwrap().success(), "{}", site.log());
    assert_all_arrived(&analysisd, 0..10, &site.log());
    // Nothing was wrong with the collector, so nothing is told of it.
    assert_eq!(notices(&arrived(&analysisd)), ["started"]);
}

#[test]
fn nor_does_it_where_most_alerts_are_under_the_level_that_is_written() {
    let site = site("");
    let mut analysisd = analysisd(&site, 5_000);
    analysisd.machine().is_under_level = |line| !line.contains("\"id\":\"8.");
    site.store(60, 0..5);
    collect(&site).expect(0);
    site.store(50, 5..10);
    let mut run = start(&site);
    wait_until(|| analysisd.machine().unflushed() > 0);
    analysisd.kill();
    analysisd.start_again();
    assert!(run.wait().unwrap().success(), "{}", site.log());
    assert_eq!(arrived_numbers(&analysisd), [8]);
}

#[test]
fn what_its_limit_of_events_holds_back_is_waited_for_and_not_lost_with_it() {
    let site = site("");
    site.set_interval(20);
    let mut analysisd = analysisd(&site, 5_000);
    site.store(60, 0..5);
    collect(&site).expect(0);
    // A limit that is used up for an hour: its queue is empty, and its threads hold what was in it.
    analysisd.machine().limit = Some((0, 3_600_000));
    site.store(50, 5..7);
    collect(&site).expect(0);
    assert_eq!(analysisd.machine().held(), 2);
    assert!(!site.state_files("spool-").is_empty());
    assert!(site.log().contains("2 unconfirmed"), "{}", site.log());
    analysisd.kill();
    analysisd.machine().limit = None;
    analysisd.start_again();
    collect(&site).expect(0);
    assert_all_arrived(&analysisd, 0..7, &site.log());
    assert_eq!(notices(&arrived(&analysisd)), ["started"]);
}

#[test]
fn what_waits_too_long_is_told_of() {
    let site = site("");
    site.set_interval(10);
    let analysisd = analysisd(&site, 5_000);
    analysisd.machine().limit = Some((0, 3_600_000));
    site.store(60, 0..5);
    collect(&site).expect(0);
    super::delivery::make_older(&site, 1_000);
    for _ in 0..2 {
        collect(&site).expect(0);
    }
    analysisd.machine().limit = None;
    collect(&site).expect(0);
    let mut told = notices(&arrived(&analysisd));
    told.sort_unstable();
    assert_eq!(told, ["backlog", "started"], "{}", site.log());
    collect(&site).expect(0);
    assert!(notices(&arrived(&analysisd)).contains(&"recovered:backlog".to_owned()));
}

#[test]
fn what_was_confirmed_does_not_come_again_after_a_kill_of_ours() {
    let site = site("");
    let analysisd = analysisd(&site, 1_000);
    site.store(60, 0..9_000);
    for lines in [3_500, 5_500] {
        let mut run = start(&site);
        wait_until(|| analysisd.machine().written_lines >= lines);
        run.kill().unwrap();
        run.wait().unwrap();
    }
    collect(&site).expect(0);
    assert_all_arrived(&analysisd, 0..9_000, &site.log());
    let repeated = arrived(&analysisd).len() - 9_001;
    // At most what was sent since the last look that was saved, twice.
    assert!(repeated < 5_000, "{repeated}");
    let twice = arrived_numbers(&analysisd).iter().filter(|number| **number == 0).count();
    assert_eq!(twice, 1);
}

#[test]
fn killed_at_random_moments_on_either_side_nothing_is_lost() {
    let site = site("");
    let mut analysisd = analysisd(&site, 3_000);
    let mut stored = 0;
    for kill in 0..16_u64 {
        site.store(60, stored..stored + 200);
        stored += 200;
        let mut run = start(&site);
        thread::sleep(Duration::from_millis((kill * 997) % 3_400));
        if kill % 3 == 2 {
            analysisd.kill();
            analysisd.start_again();
            thread::sleep(Duration::from_millis(200));
        }
        run.kill().unwrap();
        run.wait().unwrap();
    }
    collect(&site).expect(0);
    assert_all_arrived(&analysisd, 0..stored, &site.log());
    assert!(site.state_files("spool-").is_empty());
}

#[test]
fn a_segment_never_has_a_number_that_the_record_knows() {
    let site = site("");
    let analysisd = analysisd(&site, 5_000);
    site.store(60, 0..10);
    collect(&site).expect(0);
    // As a run leaves it that was killed between the removal of what had arrived and the record of that.
    super::recovery::rewrite(&site.state().join("delivery"), |record| {
        record["delivered"]["events"] = serde_json::json!({"segment": 0, "byte": 0});
        record["sent"]["received"]["events"] = serde_json::json!({"segment": 40, "byte": 100_000});
    });
    fs::remove_file(&site.state_files("cursor-")[0]).unwrap();
    site.store(30, 10..20);
    collect(&site).expect(0);
    assert_all_arrived(&analysisd, 0..20, &site.log());
}

#[test]
fn pending_lines_do_not_keep_akamai_from_being_asked() {
    let site = site("max_eps = 5\nlimit = 1000\n");
    site.set_interval(30);
    let analysisd = analysisd(&site, 5_000);
    site.store(60, 0..300);
    collect(&site).expect(0);
    site.store(50, 300..1_800);
    let asked = site.akamai.seen().len();
    collect(&site).expect(0);
    assert_eq!(site.akamai.seen().len(), asked + 2, "{}", site.log());
    assert!(analysisd.machine().written_lines < 300);
}

#[test]
fn lines_that_wait_behind_others_are_no_trouble() {
    let site = site("");
    let analysisd = analysisd(&site, 400);
    for _ in 0..8_000 {
        analysisd.machine().receive("1:/var/log/other:x");
    }
    site.store(60, 0..20);
    collect(&site).expect(0);
    assert_eq!(arrived_numbers(&analysisd), all(0..20), "{}", site.log());
}

#[test]
fn a_run_that_ends_before_the_last_line_arrived_is_taken_over_by_the_next() {
    let site = site("");
    site.set_interval(15);
    // A run has 13 seconds, and its last lines take ten until they are through.
    let analysisd = analysisd(&site, 100);
    site.store(60, 0..2_000);
    let mut runs = 0;
    while runs == 0 || !site.state_files("spool-").is_empty() {
        collect(&site).expect(0);
        runs += 1;
        assert!(runs < 10, "{}", site.log());
    }
    assert!(runs > 1);
    assert_eq!(arrived_numbers(&analysisd), all(0..2_000), "{}", site.log());
}

#[test]
fn what_wazuh_has_no_room_to_write_is_kept() {
    let site = site("");
    let analysisd = analysisd(&site, 5_000);
    let alerts = site.wazuh("logs/alerts");
    fs::create_dir_all(alerts.parent().unwrap()).unwrap();
    // A file system that says that it has no room.
    std::os::unix::fs::symlink("/proc", &alerts).unwrap();
    site.store(60, 0..20);
    collect(&site).expect(1);
    assert!(site.log().contains("no room in Wazuh's logs/alerts"), "{}", site.log());
    assert!(arrived(&analysisd).is_empty());
    fs::remove_file(&alerts).unwrap();
    fs::create_dir(&alerts).unwrap();
    collect(&site).expect(0);
    assert_all_arrived(&analysisd, 0..20, &site.log());
    assert_eq!(notices(&arrived(&analysisd)), ["started", "backlog", "recovered:backlog"]);
}

#[test]
fn an_analysisd_that_is_not_there_is_told_of_and_nothing_is_lost() {
    let site = site("");
    site.store(60, 0..20);
    collect(&site).expect(1);
    assert!(site.log().contains("lines are kept"), "{}", site.log());
    let mut analysisd = analysisd(&site, 5_000);
    collect(&site).expect(0);
    assert_eq!(arrived_numbers(&analysisd), all(0..20));
    let mut told = notices(&arrived(&analysisd));
    told.sort_unstable();
    assert_eq!(told, ["backlog", "recovered:backlog", "started"]);
    // It goes away for good in the middle of it.
    analysisd.kill();
    site.store(30, 20..30);
    collect(&site).expect(1);
    analysisd.start_again();
    collect(&site).expect(0);
    assert_all_arrived(&analysisd, 0..30, &site.log());
}

#[test]
fn an_analysisd_that_hangs_gets_nothing_until_it_answers() {
    let site = site("");
    let analysisd = analysisd(&site, 2_000);
    site.store(60, 0..6_000);
    let mut run = start(&site);
    wait_until(|| analysisd.machine().written_lines >= 500);
    analysisd.hang(true);
    thread::sleep(Duration::from_secs(4));
    analysisd.hang(false);
    assert!(run.wait().unwrap().success(), "{}", site.log());
    assert_eq!(arrived_numbers(&analysisd), all(0..6_000), "{}", site.log());
    assert_eq!(analysisd.machine().dropped_ours, 0);
}

#[test]
fn a_wodle_that_forwards_nothing_any_more_is_passed_by() {
    let site = Site::new();
    let first = site.bind_queue();
    site.store(100, 0..5);
    let mut modulesd = Modulesd::start(&site);
    assert_eq!(numbers(&modulesd.collect().expect(0).events()), all(0..5));
    modulesd.collect().expect(0);
    drop(first);
    let analysisd = analysisd(&site, 5_000);
    site.store(30, 5..12);
    assert!(modulesd.collect().expect(0).stdout.is_empty());
    assert_eq!(arrived_numbers(&analysisd), all(5..12), "{}", site.log());
    assert_eq!(notices(&arrived(&analysisd)), ["backlog"]);
    // Wazuh is restarted: its wodle works again.
    let mut modulesd = Modulesd::start(&site);
    site.store(20, 12..15);
    let ended = modulesd.collect().expect(0);
    assert_eq!(
        (numbers(&ended.events()), notices(&ended.events())),
        (all(12..15), vec!["recovered:backlog".to_owned()])
    );
}

#[test]
fn a_wazuh_that_cannot_confirm_is_a_configuration_error() {
    for (kind, version) in [("server", "v4.3.11"), ("agent", "v4.14.9")] {
        let site = site("");
        site.set_version(kind, version);
        let ended = site.collect().expect(3);
        assert_eq!(notices(&ended.events()), ["config_error"]);
        assert!(site.log().contains("output = queue needs a Wazuh manager 4.4 or later"), "{}", site.log());
        assert!(site.akamai.seen().is_empty());
    }
}

#[test]
fn window_mode_goes_through_the_queue_as_well() {
    let site = site("mode = window\nwindow = 100\n");
    let analysisd = analysisd(&site, 5_000);
    site.store(50, 0..10);
    collect(&site).expect(0);
    assert_eq!(arrived_numbers(&analysisd), all(0..10));
    assert!(site.state_files("cursor-").is_empty() && site.state_files("spool-").is_empty());
}

#[test]
fn what_0_1_0_left_on_its_way_is_sent_again() {
    let site = site("");
    let analysisd = analysisd(&site, 5_000);
    site.store(60, 0..10);
    // Sent and not confirmed: nobody knows how long that analysisd lives.
    analysisd.machine().limit = Some((0, 3_600_000));
    site.set_interval(10);
    collect(&site).expect(0);
    analysisd.machine().limit = None;
    super::recovery::rewrite(&site.state().join("delivery"), |record| {
        let sent = record["sent"].take();
        record["queued"] = serde_json::json!({"received": sent["received"], "counters": sent["memory"]["counters"]});
        record.as_object_mut().unwrap().remove("sent");
    });
    collect(&site).expect(0);
    assert_all_arrived(&analysisd, 0..10, &site.log());
    assert!(!site.log().contains("damaged"), "{}", site.log());
    assert!(site.state_files("spool-").is_empty());
}
