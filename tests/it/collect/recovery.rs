//! Everything that goes wrong between here and Akamai, and how `collect` goes on.

use std::time::Duration;

use serde_json::Value;

use super::site::{Site, notices, numbers};
use crate::loopback::{Fault, Habits, Settings, now};

fn all(numbers: std::ops::Range<u64>) -> Vec<u64> {
    numbers.collect()
}

/// Runs until nothing more comes; everything that came, in order.
fn drained(site: &Site) -> Vec<Value> {
    let mut events = Vec::new();
    for _ in 0..20 {
        let ended = site.collect();
        if ended.code == 0 && ended.stdout.is_empty() {
            return events;
        }
        events.extend(ended.events());
    }
    panic!("it never ends: {}", site.log());
}

#[test]
fn answers_that_break_off_are_asked_for_again_and_nothing_comes_twice() {
    for fault in [
        Fault::CutAfter(30_000),
        Fault::CutGzip(3_000),
        Fault::NoContext,
        Fault::TotalTooHigh(7),
        Fault::Reset,
        Fault::Status(503, None),
        Fault::Status(500, None),
        Fault::Html(502),
        Fault::Status(429, None),
    ] {
        let site = Site::new();
        site.store(60, 0..50);
        site.akamai.fail([fault.clone()]);
        let ended = site.collect().expect(0);
        assert_eq!(numbers(&ended.events()), all(0..50), "{fault:?}");
        let seen = site.akamai.seen();
        assert_eq!(seen.len(), 2, "{fault:?}");
        assert!(seen[1].at - seen[0].at >= Duration::from_millis(450));
        let halved = seen[1].target.contains("limit=300000");
        let incomplete =
            matches!(fault, Fault::CutAfter(_) | Fault::CutGzip(_) | Fault::NoContext | Fault::TotalTooHigh(_));
        assert_eq!(halved, incomplete, "{fault:?}");
        // The limit grows back, slowly up to the one that failed.
        site.collect().expect(0);
        let limit = if incomplete { "limit=337500" } else { "limit=600000" };
        assert!(site.akamai.seen()[2].target.ends_with(limit), "{fault:?}");
    }
}

#[test]
fn the_same_shortfall_twice_is_accepted_and_told() {
    let site = Site::new();
    site.store(60, 0..50);
    site.akamai.fail([Fault::TotalTooHigh(7), Fault::TotalTooHigh(7)]);
    let ended = site.collect().expect(0);
    assert_eq!(numbers(&ended.events()), all(0..50));
    assert_eq!(notices(&ended.events()), ["started", "truncated"]);
    site.store(30, 50..60);
    let ended = site.collect().expect(0);
    assert_eq!(
        (numbers(&ended.events()), notices(&ended.events())),
        (all(50..60), vec!["recovered:truncated".to_owned()])
    );
}

#[test]
fn where_answers_stay_incomplete_their_lines_are_delivered_once() {
    let site = Site::with(Settings::default(), "limit = 1000\n");
    site.set_interval(20);
    site.store(60, 0..40);
    site.akamai.fail([Fault::CutAfter(30_000), Fault::NoContext, Fault::CutAfter(20_000), Fault::CutAfter(50_000)]);
    let events = drained(&site);
    assert_eq!(numbers(&events), all(0..40));
    assert_eq!(notices(&events), ["started", "truncated", "recovered:truncated"]);
}

#[test]
fn retry_after_is_honoured_within_the_run_and_beyond_it() {
    let site = Site::new();
    site.store(60, 0..5);
    site.akamai.fail([Fault::Status(429, Some("3".into()))]);
    let ended = site.collect().expect(0);
    assert_eq!(numbers(&ended.events()), all(0..5));
    // What a run gets over by itself is nothing to tell.
    assert_eq!(notices(&ended.events()), ["started"]);
    let seen = site.akamai.seen();
    assert!(seen[1].at - seen[0].at >= Duration::from_secs(3));
    site.akamai.fail([Fault::Status(429, Some("3600".into()))]);
    assert_eq!(notices(&site.collect().expect(5).events()), ["rate_limited"]);
    assert_eq!(site.akamai.seen().len(), 3);
    assert_eq!(notices(&site.collect().expect(0).events()), ["recovered:rate_limited"]);
    // Longer than any clock counts.
    site.akamai.fail([Fault::Status(503, Some(u64::MAX.to_string()))]);
    site.collect().expect(5);
}

#[test]
fn refusals_are_told_once_with_akamais_words_and_not_repeated() {
    for (status, says) in [(401, "API client"), (403, "Manage SIEM"), (404, "config_id"), (400, "config_id")] {
        let site = Site::new();
        site.store(60, 0..5);
        site.akamai.fail([Fault::Status(status, None), Fault::Status(status, None)]);
        let ended = site.collect().expect(4);
        assert_eq!(site.akamai.seen().len(), 1);
        assert_eq!(notices(&ended.events()), ["started", "auth_failed"]);
        let error = ended.events()[1]["akamai"]["collector"]["error"].to_string();
        for text in [says, "As the test ordered", "1234abcd", "192.0.2.1", &status.to_string()] {
            assert!(error.contains(text), "{error}");
        }
        assert!(notices(&site.collect().expect(4).events()).is_empty());
        let ended = site.collect().expect(0);
        assert_eq!(
            (numbers(&ended.events()), notices(&ended.events())),
            (all(0..5), vec!["recovered:auth_failed".into()])
        );
    }
}

#[test]
fn a_wrong_clock_is_corrected_by_akamais_and_the_offset_kept() {
    for ahead in [-3_600, 3_600] {
        let site = Site::new();
        site.store(60, 0..5);
        site.collect().expect(0);
        site.akamai.set_clock_ahead(ahead);
        // Stored by Akamai's clock.
        site.store(10 - ahead.min(0), 5..8);
        let ended = site.collect().expect(0);
        assert_eq!(notices(&ended.events()), ["clock_skew"], "{}", site.log());
        let skew: i64 = ended.events()[0]["akamai"]["collector"]["skew_seconds"].as_str().unwrap().parse().unwrap();
        assert!((skew - ahead).abs() <= 2, "{skew}");
        assert!(site.akamai.seen().iter().skip(1).all(|seen| seen.target.contains("offset=")));
        // The correction is remembered.
        let requests = site.akamai.seen().len();
        site.collect().expect(0);
        assert_eq!(site.akamai.seen().len(), requests + 1);
        site.akamai.set_clock_ahead(0);
        assert_eq!(notices(&drained(&site)), ["recovered:clock_skew"]);
    }
}

#[test]
fn an_expired_offset_is_replaced_by_a_time_and_nothing_comes_twice() {
    for tail in [false, true] {
        let site = Site::new();
        site.store(30, 0..20);
        assert_eq!(numbers(&site.collect().expect(0).events()), all(0..20));
        site.store(20, 20..30);
        if tail {
            site.akamai.fail([Fault::BadOffsetTail]);
        } else {
            site.akamai.expire_offsets();
        }
        let events = drained(&site);
        assert_eq!(numbers(&events), all(20..30));
        assert!(notices(&events).is_empty(), "{:?}", notices(&events));
        let seen = site.akamai.seen();
        let recovery = seen.iter().rfind(|seen| seen.target.contains("from=")).unwrap();
        let from: i64 = recovery.target.split("from=").nth(1).unwrap().split('&').next().unwrap().parse().unwrap();
        assert!((50..=90).contains(&(now() - from)), "{}", recovery.target);
        assert!(seen.last().unwrap().target.contains("offset="));
    }
}

#[test]
fn what_akamai_no_longer_has_is_told_as_one_gap() {
    let site = Site::new();
    site.store(60, 0..20);
    site.collect().expect(0);
    // The last run was 13 hours ago.
    let cursor = &site.state_files("cursor-")[0];
    rewrite(cursor, |record| {
        for time in ["committed_s", "caught_up_s"] {
            record[time] = (now() - 13 * 3_600).into();
        }
    });
    site.akamai.forget_before(30);
    site.store(20, 20..25);
    let events = drained(&site);
    assert_eq!((numbers(&events), notices(&events)), (all(20..25), vec!["data_gap".to_owned()]));
    let gap = &events.iter().find(|event| event["type"] == "akamai_collector").unwrap()["akamai"]["collector"];
    let time = |name: &str| gap[name].as_str().unwrap().parse::<jiff::Timestamp>().unwrap().as_second();
    assert!(
        (time("from") - (now() - 13 * 3_600)).abs() < 30 && (time("to") - (now() - 12 * 3_600)).abs() < 120,
        "{gap}"
    );
}

/// Changes a record of the state folder, with its checksum.
pub fn rewrite(path: &std::path::Path, change: impl FnOnce(&mut Value)) {
    use sha2::Digest;
    let text = std::fs::read_to_string(path).unwrap();
    let mut record: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    change(&mut record);
    let json = record.to_string();
    let sum: String = sha2::Sha256::digest(json.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
    std::fs::write(path, format!("{json}\n{sum}\n")).unwrap();
}

#[test]
fn an_unreachable_akamai_is_told_on_the_third_run() {
    let site = Site::new();
    site.set_interval(10);
    let good = site.akamai.config();
    for host in ["host = https://akamai.invalid\n", "proxy = http://127.0.0.1:9\nhost = https://akamai.invalid\n"] {
        let lines: String =
            good.lines().filter(|line| !line.starts_with("host")).map(|line| format!("{line}\n")).collect();
        site.configure(&lines.replacen("[default]\n", &format!("[default]\n{host}"), 1));
        let told: Vec<Vec<String>> = (0..4).map(|_| notices(&site.collect().expect(5).events())).collect();
        let mut first = told[0].clone();
        first.retain(|event| event != "started");
        assert!(first.is_empty() && told[1].is_empty() && told[3].is_empty(), "{told:?}");
        assert_eq!(told[2], ["fetch_failed"]);
        site.configure(&good);
        site.store(10, 0..1);
        assert!(notices(&site.collect().expect(0).events()).contains(&"recovered:fetch_failed".to_owned()));
    }
}

#[test]
fn a_slow_answer_is_given_up_in_time() {
    let site = Site::new();
    site.set_interval(10);
    site.store(60, 0..50);
    site.akamai.fail([Fault::Trickle(500, Duration::from_millis(100))]);
    let started = std::time::Instant::now();
    let ended = site.collect();
    assert!(started.elapsed() < Duration::from_secs(9), "{:?}", started.elapsed());
    let mut events = ended.events();
    events.extend(drained(&site));
    assert_eq!(numbers(&events), all(0..50));
}

/// The limits that were asked for.
fn limits(site: &Site) -> Vec<u32> {
    let targets = site.akamai.seen().into_iter().map(|seen| seen.target);
    targets.map(|target| target.rsplit_once("limit=").unwrap().1.parse().unwrap()).collect()
}

#[test]
fn where_akamai_needs_long_for_much_less_is_asked_for() {
    let site = Site::new();
    site.set_interval(20);
    site.store(60, 0..50);
    // 600,000 events would take 24 seconds to begin with, of the 10 that a run has for it.
    site.akamai.misbehave(Habits { events_per_s_before_first_byte: Some(25_000), ..Habits::default() });
    let mut got = Vec::new();
    for _ in 0..4 {
        got.extend(numbers(&site.collect().events()));
    }
    assert_eq!(got, all(0..50), "{:?} {}", limits(&site), site.log());
    assert_eq!(limits(&site)[..3], [600_000, 300_000, 150_000]);
}

#[test]
fn where_akamai_fails_at_much_less_is_asked_for_from_the_second_time_on() {
    let site = Site::new();
    site.store(60, 0..50);
    site.akamai.misbehave(Habits { limit_served: Some(200_000), ..Habits::default() });
    assert_eq!(numbers(&site.collect().expect(0).events()), all(0..50), "{}", site.log());
    assert_eq!(limits(&site), [600_000, 600_000, 300_000, 150_000]);
    // The size that failed is come up to slowly.
    for _ in 0..3 {
        site.collect().expect(0);
    }
    assert_eq!(limits(&site)[4..], [168_750, 189_843, 213_573, 213_573, 106_786]);
}

#[test]
fn an_old_offset_that_is_refused_in_whatever_words_is_replaced_by_a_time() {
    for (status, hours, recovers) in [(400, 13, true), (422, 13, true), (400, 11, false), (403, 13, false)] {
        let site = Site::new();
        site.store(60, 0..20);
        site.collect().expect(0);
        rewrite(&site.state_files("cursor-")[0], |record| record["committed_s"] = (now() - hours * 3_600).into());
        site.akamai.expire_offsets();
        site.akamai.misbehave(Habits { expired_status: Some(status), ..Habits::default() });
        site.store(20, 20..25);
        let ended = site.collect();
        let expected = if recovers { all(20..25) } else { Vec::new() };
        assert_eq!(numbers(&ended.events()), expected, "{status} after {hours} h: {}", site.log());
        assert_eq!(ended.code, if recovers { 0 } else { 4 });
    }
}

#[test]
fn a_count_that_is_always_too_high_holds_nothing_up_however_short_the_runs() {
    let site = Site::new();
    site.set_interval(10);
    site.store(60, 0..50);
    // An answer takes so long that a run has time for one only.
    let slow = Some(250_000);
    site.akamai.misbehave(Habits { total_too_high: 7, events_per_s_before_first_byte: slow, ..Habits::default() });
    let mut events = Vec::new();
    for _ in 0..2 {
        events.extend(site.collect().events());
    }
    assert_eq!(site.akamai.seen().len(), 2);
    assert_eq!(numbers(&events), all(0..50), "{}", site.log());
    assert!(notices(&events).contains(&"truncated".to_owned()));
}

#[test]
fn what_somebody_else_answers_is_no_event() {
    // A captive portal says so by its type, another only by its text.
    for kind in ["text/html; charset=utf-8", "application/json"] {
        let site = Site::with(Settings::default(), "limit = 1000\n");
        site.set_interval(10);
        site.store(60, 0..5);
        site.akamai.misbehave(Habits { portal: Some(kind), ..Habits::default() });
        let mut events = Vec::new();
        for _ in 0..3 {
            events.extend(site.collect().expect(5).events());
        }
        assert_eq!(
            (numbers(&events), notices(&events)),
            (vec![], vec!["started".into(), "fetch_failed".into()]),
            "{kind}"
        );
        let told = events.last().unwrap()["akamai"]["collector"]["error"].as_str().unwrap();
        assert!(told.contains("captive portal") && told.contains("<!doctype html>"), "{told}");
        let ended = site.place.run(&["fetch"]).fails(5, "the answer is not Akamai's");
        assert!(ended.stdout.is_empty());
        site.place.run(&["check"]).expect(1);
        site.akamai.misbehave(Habits::default());
        assert_eq!(numbers(&site.collect().expect(0).events()), all(0..5));
    }
}

#[test]
fn one_config_id_that_is_refused_stops_no_other() {
    for status in [403, 404] {
        let site = Site::with(Settings { config_ids: "14227;7".into(), ..Settings::default() }, "");
        site.store(60, 0..5);
        site.collect().expect(0);
        site.akamai.misbehave(Habits { refused: Some(("7".into(), status)), ..Habits::default() });
        site.store(40, 5..8);
        let ended = site.collect().expect(4);
        assert_eq!(
            (numbers(&ended.events()), notices(&ended.events())),
            (all(5..8), vec!["auth_failed".into()]),
            "{}",
            site.log()
        );
        let told = ended.events().iter().find(|event| event["type"] == "akamai_collector").unwrap().to_string();
        assert!(told.contains(&format!("config id 7: Akamai answered {status}")), "{told}");
        site.store(20, 8..10);
        let ended = site.collect().expect(4);
        assert_eq!((numbers(&ended.events()), notices(&ended.events())), (all(8..10), vec![]), "{}", site.log());
        site.akamai.misbehave(Habits::default());
        site.store(10, 10..12);
        let ended = site.collect().expect(0);
        let told = vec!["recovered:auth_failed".to_owned()];
        assert_eq!((numbers(&ended.events()), notices(&ended.events())), (all(10..12), told), "{}", site.log());
    }
}

#[test]
fn a_window_that_is_more_than_the_wodle_takes_is_told() {
    let site = Site::with(Settings { bulk: Some(30_000), ..Settings::default() }, "mode = window\n");
    let ended = site.collect_unchecked().expect(5);
    assert!(ended.stdout.len() < 62 << 20, "{}", ended.stdout.len());
    let last = ended.stdout.rsplit(|byte| *byte == b'\n').nth(1).unwrap();
    assert!(String::from_utf8_lossy(last).contains("\"event\":\"truncated\""), "{}", site.log());
}

#[test]
fn windows_that_are_together_more_than_the_wodle_takes_are_told() {
    let site = Site::with(Settings { bulk: Some(12_000), ..Settings::default() }, "mode = window\n");
    site.collect_unchecked().expect(0);
    let one = format!("{}mode = window\n", site.akamai.config());
    let more = ["[second]", "[third]"].map(|name| one.replace("[default]", name)).concat();
    site.configure(&format!("{one}{more}"));
    let ended = site.collect_unchecked().expect(5);
    assert!(ended.stdout.len() < 62 << 20, "{}", ended.stdout.len());
    let last = ended.stdout.rsplit(|byte| *byte == b'\n').nth(1).unwrap();
    assert!(String::from_utf8_lossy(last).contains("\"event\":\"truncated\""), "{}", site.log());
}

#[test]
fn a_source_of_another_name_beside_known_ones_says_where_it_starts() {
    let site = Site::new();
    site.store(60, 0..5);
    site.collect().expect(0);
    site.configure(&format!("[default]\n{}", site.akamai.config().replace("[default]", "[renamed]")));
    let events = site.collect().expect(0).events();
    assert_eq!(notices(&events), ["started"]);
    let told = events.iter().find(|event| event["type"] == "akamai_collector").unwrap().to_string();
    assert!(told.contains("backfill --source renamed"), "{told}");
}
