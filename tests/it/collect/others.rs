//! `backfill` and `status`, and the user that the work is done as.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use serde_json::Value;

use super::recovery::rewrite;
use super::site::{Modulesd, Site, notices, numbers};
use crate::loopback::{Fault, Settings, now};
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
    let site = Site::with(Settings::default(), limit);
    site.store(2_000, 0..500);
    site.akamai.fail(vec![Fault::TotalTooHigh(7); 40]);
    backfill(&site, 2_500).fails(5, "Akamai counts 7 events more than it sent");
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
    if !rustix::process::geteuid().is_root() {
        // Only root can give up root: this is tested where the tests run as root.
        return;
    }
    let site = Site::new();
    fs::set_permissions(site.place.folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let config = fs::read_to_string(site.place.config()).unwrap().replace("user = root", "user = nobody");
    fs::write(site.place.config(), config).unwrap();
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
    // A link in the folder's place is refused.
    fs::rename(site.state(), site.path("elsewhere")).unwrap();
    symlink(site.path("elsewhere"), site.state()).unwrap();
    assert_eq!(notices(&site.collect().expect(1).events()), ["backlog"]);
    let config = fs::read_to_string(site.place.config()).unwrap().replace("user = nobody", "user = nosuchuser");
    fs::write(site.place.config(), config).unwrap();
    site.collect();
    assert!(site.log().contains("there is no user nosuchuser"), "{}", site.log());
}
