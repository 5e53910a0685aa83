//! `backfill` and `status`, and the user that the work is done as.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};

use serde_json::Value;

use super::recovery::rewrite;
use super::site::{Modulesd, Site, notices, numbers};
use crate::loopback::{Fault, Habits, Settings, now};
use crate::program::Ended;

fn all(numbers: std::ops::Range<u64>) -> Vec<u64> {
    numbers.collect()
}

fn backfill(site: &Site, ago: i64) -> Ended {
    site.place.run(&["backfill", "--from", &(now() - ago).to_string()])
}

fn status(site: &Site, code: i32) -> Value {
    serde_json::from_str(&site.place.run(&["status", "--json"]).expect(code).text()).unwrap()
}

#[test]
fn a_backfill_queues_a_past_span_once_and_leaves_the_cursor_alone() {
    let site = Site::with(Settings::default(), "limit = 1000\n");
    for (ago, first) in [(7_000, 0), (6_990, 700), (3_000, 1_400), (100, 1_500)] {
        site.store(ago, first..[0, 700, 1_400, 1_500, 1_510].into_iter().find(|next| *next > first).unwrap());
    }
    assert_eq!(numbers(&site.collect().expect(0).events()), all(1_500..1_510));
    let cursor = fs::read(&site.state_files("cursor-")[0]).unwrap();
    // A span with more events than one answer holds is asked for in smaller ones; what is known is left out.
    let ended = backfill(&site, 7_200).fails(0, "1500 events from");
    assert!(ended.stdout.is_empty());
    assert_eq!(fs::read(&site.state_files("cursor-")[0]).unwrap(), cursor);
    assert_eq!(numbers(&site.collect().expect(0).events()), all(0..1_500));
}

#[test]
fn a_backfill_asks_for_smaller_spans_where_akamai_enforces_a_lower_limit() {
    let site = Site::with(Settings { limit_max: Some(100), ..Settings::default() }, "limit = 1000\n");
    for second in 0..30_u64 {
        let ago = 2_000 - i64::try_from(second).unwrap();
        site.store(ago, second * 20..(second + 1) * 20);
    }
    backfill(&site, 2_500).fails(0, "600 events from");
    assert_eq!(numbers(&site.collect().expect(0).events()), all(0..600));
}

#[test]
fn a_backfill_of_a_second_that_is_too_much_for_one_answer_says_so() {
    let limit = "limit = 1000\n";
    let site = Site::with(Settings::default(), limit);
    site.store(2_000, 0..1_500);
    backfill(&site, 2_500).fails(5, "it is full with 1000 events");
}

#[test]
fn a_count_that_is_always_too_high_ends_no_backfill() {
    let site = Site::new();
    site.store(2_000, 0..500);
    site.akamai.misbehave(Habits { total_too_high: 7, ..Habits::default() });
    backfill(&site, 2_500).fails(0, "Akamai counts 7 events more than it sent, again");
    assert_eq!(numbers(&site.collect().expect(0).events()), all(0..500));
    // Where the smaller span comes whole nothing is given up.
    site.akamai.misbehave(Habits::default());
    site.akamai.fail([Fault::TotalTooHigh(7), Fault::TotalTooHigh(5)]);
    let ended = backfill(&site, 3_000).fails(0, "0 events from");
    assert!(!ended.stderr.contains("again"), "{}", ended.stderr);
}

#[test]
fn a_backfill_knows_what_came_whatever_the_source_was_asked_for_then() {
    let site = Site::new();
    site.store(200, 0..5);
    site.collect().expect(0);
    fs::remove_file(&site.state_files("cursor-")[0]).unwrap();
    backfill(&site, 600).fails(0, "0 events from");
    site.collect().expect(0);
    site.akamai.set_config_ids("14227;9");
    site.configure(&site.akamai.config());
    site.store(100, 5..8);
    backfill(&site, 600).fails(0, "3 events from");
    assert_eq!(numbers(&site.collect().expect(0).events()), all(5..8));
}

#[test]
fn a_backfill_that_waits_for_akamai_holds_nobody_up() {
    let site = Site::new();
    site.store(60, 0..5);
    site.akamai.misbehave(Habits { hangs: true, ..Habits::default() });
    let mut backfill = start_backfill(&site, 600);
    site.akamai.misbehave(Habits::default());
    let ended = site.collect().expect(0);
    let runs_still = backfill.try_wait().unwrap().is_none();
    backfill.kill().unwrap();
    backfill.wait().unwrap();
    assert!(runs_still);
    assert_eq!(numbers(&ended.events()), all(0..5), "{}", site.log());
}

#[test]
fn an_event_on_the_edge_of_two_slices_comes_once() {
    let site = Site::new();
    for second in 0..40_u64 {
        let ago = 2_000 - i64::try_from(second).unwrap() * 50;
        site.store(ago, second..second + 1);
    }
    // The loopback Akamai counts both ends of a span.
    backfill(&site, 2_000).expect(0);
    let got = numbers(&site.collect().expect(0).events());
    let mut once = got.clone();
    once.dedup();
    assert_eq!(got, once);
}

#[test]
fn a_backfill_says_what_it_cannot_do_and_where_to_go_on() {
    let site = Site::new();
    site.store(2_000, 0..50);
    backfill(&site, 50_000).fails(2, "12 hours");
    site.place.run(&["backfill"]).fails(2, "--from");
    site.akamai.fail([Fault::Status(401, None)]);
    backfill(&site, 3_000).fails(4, "go on with --from");
    site.akamai.fail([Fault::Status(503, None), Fault::CutAfter(20_000)]);
    backfill(&site, 3_000).fails(0, "50 events from");
    site.configure(&format!("{}spool_max = 10kB\n", site.akamai.config()));
    backfill(&site, 3_000).fails(1, "the spool is full");
}

#[test]
fn the_status_says_how_every_source_fares() {
    let site = Site::with(Settings::default(), "max_eps = 1\n");
    assert_eq!(status(&site, 1)["healthy"], false);
    let _queue = site.bind_queue();
    site.set_interval(20);
    site.store(60, 0..40);
    let mut modulesd = Modulesd::start(&site);
    let handed_over = modulesd.collect().expect(0).events().len() - 1;
    let report = status(&site, 0);
    let source = &report["sources"][0];
    assert_eq!((&report["healthy"], &source["source"]), (&true.into(), &"default".into()));
    assert_eq!(source["pending_events"], 40 - handed_over);
    assert!(source["lag_seconds"].as_i64().unwrap() < 30 && source["last_success"].is_string());
    let text = site.place.run(&["status"]).expect(0).text();
    assert!(text.starts_with("healthy\n") && text.contains("pending"), "{text}");
    // Nothing of this changes anything.
    assert_eq!(status(&site, 0)["sources"][0]["pending_events"], 40 - handed_over);

    rewrite(&site.state_files("health-")[0], |record| {
        record["last_success_s"] = (now() - 1_000).into();
        record["last_gap"] = serde_json::json!([1_000, 2_000, now() - 80_000]);
    });
    let problems = status(&site, 1)["sources"][0]["problems"].to_string();
    assert!(problems.contains("1000 s ago") && problems.contains("1970-01-01T00:16:40Z"), "{problems}");
    site.akamai.fail([Fault::Status(403, None)]);
    modulesd.collect().expect(4);
    let text = site.place.run(&["status"]).expect(1).text();
    assert!(text.contains("Manage SIEM") && text.contains("auth_failed"), "{text}");
}

#[test]
fn root_is_given_up_and_traps_in_the_state_folder_are_not_touched() {
    let Some(site) = Site::as_nobody("") else { return };
    let treasure = site.path("treasure");
    fs::write(&treasure, "root's").unwrap();
    fs::create_dir(site.state()).unwrap();
    symlink(&treasure, site.state().join("link")).unwrap();
    fs::hard_link(&treasure, site.state().join("hard-link")).unwrap();
    fs::write(site.state().join("old"), "x").unwrap();
    site.store(60, 0..5);
    let ended = site.collect().expect(0);
    assert_eq!((numbers(&ended.events()), notices(&ended.events())), (all(0..5), vec!["started".to_owned()]));
    let nobody = 65_534;
    let folder = fs::metadata(site.state()).unwrap();
    assert_eq!((folder.uid(), folder.mode() & 0o777), (nobody, 0o700));
    assert_eq!(fs::metadata(&treasure).unwrap().uid(), 0);
    assert_eq!(fs::symlink_metadata(site.state().join("link")).unwrap().uid(), 0);
    assert_eq!(fs::metadata(site.state().join("old")).unwrap().uid(), nobody);
    // Made after root was gone.
    assert_eq!(fs::metadata(&site.state_files("cursor-")[0]).unwrap().uid(), nobody);
    // Files that came to belong to somebody else are given back: Wazuh was installed anew, or `user` was another.
    for (file, owner) in [("cursor-", 4_711), ("health-", 0)] {
        std::os::unix::fs::chown(&site.state_files(file)[0], Some(owner), Some(owner)).unwrap();
    }
    let check = site.place.run(&["check", "--offline"]).text();
    assert!(check.contains("do not belong to nobody") && check.contains("have several hard links"), "{check}");
    site.store(10, 5..7);
    assert_eq!(numbers(&site.collect().expect(0).events()), all(5..7), "{}", site.log());
    assert_eq!(fs::metadata(&site.state_files("cursor-")[0]).unwrap().uid(), nobody);
    assert_eq!(fs::metadata(&treasure).unwrap().uid(), 0);
    // A link in the folder's place is refused.
    fs::rename(site.state(), site.path("elsewhere")).unwrap();
    symlink(site.path("elsewhere"), site.state()).unwrap();
    assert_eq!(notices(&site.collect().expect(1).events()), ["backlog"]);
    let config = fs::read_to_string(site.place.config()).unwrap().replace("user = nobody", "user = nosuchuser");
    fs::write(site.place.config(), config).unwrap();
    site.collect();
    assert!(site.log().contains("there is no user nosuchuser"), "{}", site.log());
}

#[test]
fn a_backfill_of_the_same_span_brings_nothing_twice() {
    let site = Site::new();
    site.store(2_000, 0..50);
    backfill(&site, 2_500).fails(0, "50 events from");
    assert_eq!(numbers(&site.collect().expect(0).events()), all(0..50));
    site.store(1_500, 50..60);
    backfill(&site, 2_500).fails(0, "10 events from");
    // To the loopback Akamai these lie behind the offset as well: a run leaves out what a backfill has brought.
    assert_eq!(numbers(&site.collect().expect(0).events()), all(50..60));
}

#[test]
fn a_backfill_of_several_sources_asks_one_host_at_most_once_a_second() {
    let site = Site::new();
    let config = site.akamai.config();
    site.configure(&format!("{config}[a]\nenabled = yes\n[b]\nenabled = yes\n"));
    backfill(&site, 600).expect(0);
    let seen = site.akamai.seen();
    assert_eq!(seen.len(), 3);
    for pair in seen.windows(2) {
        assert!(pair[1].at - pair[0].at >= std::time::Duration::from_millis(950));
    }
}

/// Starts a backfill that runs beside the test.
fn start_backfill(site: &Site, ago: i64) -> std::process::Child {
    let mut command = crate::program::program();
    command.arg("--config").arg(site.place.config()).args(["backfill", "--from", &(now() - ago).to_string()]);
    command.stderr(std::process::Stdio::null());
    let before = site.akamai.seen().len();
    let child = command.spawn().unwrap();
    while site.akamai.seen().len() == before {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    child
}

#[test]
fn a_run_gets_in_between_two_slices_of_a_backfill() {
    let site = Site::new();
    site.store(60, 0..5);
    let mut backfill = start_backfill(&site, 43_000);
    let ended = site.collect().expect(0);
    let runs_still = backfill.try_wait().unwrap().is_none();
    backfill.kill().unwrap();
    backfill.wait().unwrap();
    assert!(runs_still);
    assert_eq!(numbers(&ended.events()), all(0..5), "{}", site.log());
}

#[test]
fn a_state_folder_that_somebody_holds_for_too_long_is_told_once() {
    let site = Site::new();
    site.collect().expect(0);
    // A backfill is stopped (Ctrl-Z) and forgotten.
    let lock = site.state().join("lock");
    let held = fs::File::open(&lock).unwrap();
    held.lock().unwrap();
    fs::write(&lock, format!("1 {}\n", now() - 1_000)).unwrap();
    assert_eq!(notices(&site.collect().expect(1).events()), ["backlog"]);
    assert!(notices(&site.collect().expect(0).events()).is_empty());
    drop(held);
    site.store(30, 0..5);
    let events = site.collect().expect(0).events();
    assert_eq!((numbers(&events), notices(&events)), (all(0..5), vec!["recovered:backlog".to_owned()]));
}
