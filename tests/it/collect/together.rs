//! What goes wrong together: two faults at once, and faults while the source is in a state that is rare.

use std::fs;
use std::net::TcpListener;
use std::process::Stdio;
use std::time::Duration;

use super::crash::collect_with_fault;
use super::recovery::rewrite;
use super::runs::{numbers_that_complete_a_burst, store_denied};
use super::site::{Modulesd, Site, notices, numbers};
use crate::loopback::{Akamai, Fault, Habits, Settings, now, samples};

fn all(numbers: std::ops::Range<u64>) -> Vec<u64> {
    numbers.collect()
}

/// Stops `collect` when a page is sealed and its cursor has not moved.
fn seal_and_die(site: &Site) {
    let cursor = fs::read(&site.state_files("cursor-")[0]).unwrap();
    for nth in 1..20 {
        let (ended, _) = collect_with_fault(site, "rename", "signal=SIGKILL", nth);
        assert!(ended.stdout.is_empty(), "it got too far");
        let sealed = site.state_files("spool-").iter().any(|path| path.extension().unwrap() == "events");
        if sealed {
            assert_eq!(fs::read(&site.state_files("cursor-")[0]).unwrap(), cursor);
            return;
        }
    }
    panic!("no page was sealed");
}

#[test]
fn a_sealed_page_whose_cursor_did_not_move_is_delivered_once_whatever_comes_next() {
    // It comes again; its offset expires; its source is no longer asked.
    for next in ["again", "expired", "disabled"] {
        let site = Site::new();
        site.store(40, 0..10);
        site.collect().expect(0);
        site.store(30, 10..20);
        seal_and_die(&site);
        match next {
            "expired" => site.akamai.expire_offsets(),
            "disabled" => site.configure(&format!("{}enabled = no\n", site.akamai.config())),
            _ => {}
        }
        let mut events = site.collect().expect(0).events();
        events.extend(site.collect().expect(0).events());
        assert_eq!(numbers(&events), all(10..20), "{next}: {}", site.log());
        assert!(site.state_files("spool-").is_empty());
    }
}

#[test]
fn a_sealed_page_is_never_asked_for_again() {
    let site = Site::new();
    site.store(40, 0..10);
    site.collect().expect(0);
    site.store(30, 10..20);
    seal_and_die(&site);
    let before = site.akamai.seen().last().unwrap().target.clone();
    assert_eq!(numbers(&site.collect().expect(0).events()), all(10..20));
    assert_ne!(site.akamai.seen().last().unwrap().target, before);
}

#[test]
fn a_sealed_page_whose_cursor_is_damaged_meanwhile_says_where_to_go_on() {
    let site = Site::new();
    site.store(40, 0..10);
    site.collect().expect(0);
    site.store(30, 10..20);
    seal_and_die(&site);
    fs::write(&site.state_files("cursor-")[0], "x").unwrap();
    site.store(20, 20..25);
    assert_eq!(numbers(&site.collect().expect(0).events()), all(10..25), "{}", site.log());
    assert!(site.akamai.seen().last().unwrap().target.contains("offset="));
    assert_eq!(site.state_files("corrupt-").len(), 1);
    site.store(10, 25..27);
    assert_eq!(numbers(&site.collect().expect(0).events()), all(25..27));
}

#[test]
fn the_ids_of_a_sealed_page_are_known_to_whatever_its_source_is_asked_for_next() {
    let site = Site::new();
    site.store(40, 0..10);
    site.collect().expect(0);
    site.store(30, 10..20);
    seal_and_die(&site);
    site.akamai.set_config_ids("14227;9");
    site.configure(&site.akamai.config());
    site.store(20, 20..25);
    assert_eq!(numbers(&site.collect().expect(0).events()), all(10..25), "{}", site.log());
}

#[test]
fn the_lines_of_an_incomplete_page_that_was_sealed_come_once() {
    let site = Site::with(Settings::default(), "limit = 1000\n");
    site.store(40, 0..10);
    site.collect().expect(0);
    site.store(30, 10..20);
    site.akamai.fail(vec![Fault::NoContext; 20]);
    seal_and_die(&site);
    site.akamai.fail_no_more();
    site.store(20, 20..25);
    assert_eq!(numbers(&site.collect().expect(0).events()), all(10..25), "{}", site.log());
}

#[test]
fn bursts_count_the_events_of_a_sealed_page_once() {
    let site = Site::new();
    store_denied(&site, 0..3);
    site.collect().expect(0);
    store_denied(&site, 3..6);
    seal_and_die(&site);
    store_denied(&site, 6..9);
    let events = site.collect().expect(0).events();
    assert_eq!((numbers(&events), numbers_that_complete_a_burst(&events)), (all(3..9), vec![7]));
}

#[test]
fn a_sealed_page_of_a_source_that_is_no_longer_asked_is_delivered_once_over_many_runs() {
    let site = Site::with(Settings::default(), "max_eps = 1\n");
    let _queue = site.bind_queue();
    site.set_interval(20);
    let mut modulesd = Modulesd::start(&site);
    modulesd.collect().expect(0);
    // Settles what became of the first run's lines.
    modulesd.collect().expect(0);
    site.store(30, 0..70);
    seal_and_die(&site);
    site.configure(&format!("{}max_eps = 1\nenabled = no\n", site.akamai.config()));
    let mut got = Vec::new();
    for _ in 0..8 {
        got.extend(numbers(&modulesd.collect().expect(0).events()));
    }
    // Asked again later, it does not bring them once more.
    site.configure(&site.akamai.config());
    got.extend(numbers(&modulesd.collect().expect(0).events()));
    assert_eq!(got, all(0..70), "{}", site.log());
}

#[test]
fn a_sealed_page_that_comes_again_is_delivered_once_wherever_the_next_run_is_killed() {
    for call in ["rename", "unlink"] {
        for next in ["again", "disabled"] {
            for nth in 1.. {
                let site = Site::new();
                site.store(40, 0..10);
                site.collect().expect(0);
                site.store(30, 10..20);
                seal_and_die(&site);
                let (killed, was_killed) = collect_with_fault(&site, call, "signal=SIGKILL", nth);
                // What a killed run hands over may come again; here it hands over nothing before its last page is committed.
                let handed_over = numbers(&killed.events());
                if next == "disabled" {
                    site.configure(&format!("{}enabled = no\n", site.akamai.config()));
                }
                let mut got = numbers(&site.collect().expect(0).events());
                got.extend(numbers(&site.collect().expect(0).events()));
                let after = format!("killed at {call} {nth}, then {next}: {}", site.log());
                if handed_over.is_empty() {
                    assert_eq!(got, all(10..20), "{after}");
                } else if was_killed {
                    assert!(
                        all(10..20).iter().all(|number| got.contains(number) || handed_over.contains(number)),
                        "{after}"
                    );
                }
                if !was_killed {
                    assert_eq!(handed_over, all(10..20));
                    assert!(got.is_empty());
                    break;
                }
            }
        }
    }
}

#[test]
fn a_sealed_page_is_delivered_though_no_page_comes_whole_any_more() {
    let site = Site::with(Settings::default(), "limit = 1000\n");
    site.store(40, 0..10);
    site.collect().expect(0);
    site.store(30, 10..20);
    seal_and_die(&site);
    // Nor does enough of one come to be taken in part.
    site.akamai.fail(vec![Fault::CutAfter(100); 20]);
    site.set_interval(10);
    let mut got = Vec::new();
    for _ in 0..2 {
        got.extend(numbers(&site.collect().expect(5).events()));
    }
    assert_eq!(got, all(10..20), "{}", site.log());
}

#[test]
fn a_damaged_cursor_after_a_killed_page_loses_none_of_it() {
    let site = Site::new();
    site.store(100, 0..5);
    site.collect().expect(0);
    site.store(50, 5..60);
    site.akamai.fail([Fault::Trickle(300, Duration::from_millis(50))]);
    let mut child = site.command().stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    while site.state_files("spool-").iter().all(|path| path.extension().unwrap() != "open") {
        std::thread::sleep(Duration::from_millis(5));
    }
    std::thread::sleep(Duration::from_millis(200));
    child.kill().unwrap();
    child.wait().unwrap();
    fs::write(&site.state_files("cursor-")[0], "x").unwrap();
    assert_eq!(numbers(&site.collect().expect(0).events()), all(5..60));
}

#[test]
fn a_source_that_hangs_does_not_keep_others_from_being_asked() {
    let hanging = TcpListener::bind("127.0.0.1:0").unwrap();
    let site = Site::new();
    let other = Akamai::start(Settings::default());
    other.store(60, (0..5).map(|number| samples::line(number, now() - 60)));
    let host = format!("http://{}", hanging.local_addr().unwrap());
    let first = site.akamai.config().replace(&site.akamai.url(), &host).replace("[default]", "[a]");
    site.configure(&format!("[default]\n{first}{}", other.config().replace("[default]", "[b]")));
    site.set_interval(10);
    let mut got = Vec::new();
    // Asked in the second run, whose time is up then; handed over in the third.
    for _ in 0..3 {
        got.extend(numbers(&site.collect().expect(5).events()));
    }
    assert_eq!(got, all(0..5), "{}", site.log());
}

#[test]
fn a_clock_that_is_a_day_wrong_before_the_first_answer_loses_nothing() {
    for ahead in [-86_400, 86_400] {
        let site = Site::new();
        site.akamai.fail([Fault::Status(403, None)]);
        site.collect().expect(4);
        site.akamai.set_clock_ahead(ahead);
        site.store(60 - ahead.min(0), 0..10);
        if ahead > 0 {
            // Stored a minute ago by Akamai's clock, which is a day ahead.
            site.akamai.forget_before(0);
            site.store(60 - ahead, 0..10);
        }
        let ended = site.collect().expect(0);
        assert_eq!(numbers(&ended.events()), all(0..10), "{ahead}: {}", site.log());
        assert!(!notices(&ended.events()).contains(&"data_gap".to_owned()));
    }
}

#[test]
fn a_correction_of_the_clock_that_is_no_longer_needed_loses_nothing() {
    let site = Site::new();
    site.store(100, 0..5);
    site.collect().expect(0);
    rewrite(&site.state_files("cursor-")[0], |record| record["position"] = serde_json::json!({"since": now() - 90}));
    rewrite(&site.state_files("health-")[0], |record| record["skew_s"] = 86_400.into());
    site.store(50, 5..9);
    assert_eq!(numbers(&site.collect().expect(0).events()), all(5..9), "{}", site.log());
}

#[test]
fn known_lines_are_left_out_on_every_page_after_an_offset_expired() {
    let site = Site::with(Settings::default(), "limit = 1000\n");
    site.store(20, 0..2_500);
    assert_eq!(numbers(&site.collect().expect(0).events()), all(0..2_500));
    site.store(10, 2_500..2_600);
    site.akamai.expire_offsets();
    assert_eq!(numbers(&site.collect().expect(0).events()), all(2_500..2_600));
}

#[test]
fn an_offset_that_is_bad_again_and_again_ends_the_run_and_is_told_once() {
    let site = Site::new();
    site.store(100, 0..5);
    site.collect().expect(0);
    rewrite(&site.state_files("cursor-")[0], |record| record["caught_up_s"] = (now() - 50_000).into());
    site.akamai.fail(vec![Fault::BadOffsetTail; 20]);
    let asked = site.akamai.seen().len();
    let ended = site.collect().expect(5);
    assert_eq!(notices(&ended.events()), ["data_gap"], "{}", site.log());
    // The offset, and the time instead of it.
    assert_eq!(site.akamai.seen().len(), asked + 2);
}

#[test]
fn a_page_that_does_not_fit_gets_smaller_until_it_does() {
    let site = Site::with(Settings::default(), "limit = 8000\nspool_max = 6MB\n");
    site.store(60, 0..5_000);
    let mut got = Vec::new();
    for _ in 0..12 {
        got.extend(numbers(&site.collect().events()));
        if got.len() == 5_000 {
            break;
        }
    }
    assert_eq!(got, all(0..5_000), "{}", site.log());
}

#[test]
fn a_busy_source_leaves_room_for_another_one_on_its_host() {
    let site = Site::new();
    let akamai = site.akamai.config().replace("[default]", "");
    let configure = |busy_limit: u32, quiet: &str| {
        let default = format!("[default]\n{akamai}spool_max = 3MB\nmax_eps = 1\nwindow = 3600\n");
        site.configure(&format!("{default}[busy]\nlimit = {busy_limit}\n{quiet}"));
    };
    site.set_interval(60);
    site.store(2_000, 0..3_000);
    for limit in [1_000, 50] {
        configure(limit, "");
        site.collect().expect(1);
    }
    site.store(20, 3_000..3_050);
    configure(50, "[quiet]\nlimit = 50\nwindow = 600\n");
    site.collect().expect(1);
    let sources = site.state_files("spool-").into_iter().map(|path| fs::read_to_string(path).unwrap());
    let quiet = sources.filter(|segment| segment.contains("\"source\":\"quiet\"")).collect::<String>();
    assert_eq!(quiet.matches("\"akamai_siem\"").count(), 50, "{}", site.log());
}

#[test]
fn a_secret_that_went_on_in_the_next_line_is_not_shown() {
    let site = Site::new();
    let config = site
        .akamai
        .config()
        .replace("client_secret = bG9vcGJhY2sgc2VjcmV0=", "client_secret =\n  bG9vcGJhY2sgc2VjcmV0=");
    site.configure(&config);
    let ended = site.collect().expect(3);
    let all = format!("{}{}", ended.text(), site.log()).to_lowercase();
    assert!(all.contains("client_secret") && !all.contains("bg9vcgjhy2sgc2vjcmv0"), "{all}");
}

#[test]
fn a_host_that_hangs_keeps_no_other_waiting() {
    let site = Site::new();
    site.set_interval(30);
    let hanging: Vec<Akamai> = (0..2).map(|_| Akamai::start(Settings::default())).collect();
    let mut config = String::new();
    for (index, akamai) in hanging.iter().enumerate() {
        akamai.misbehave(Habits { hangs: true, ..Habits::default() });
        config += &akamai.config().replace("[default]", &format!("[hangs{index}]"));
    }
    config += &site.akamai.config().replace("[default]", "[works]");
    site.configure(&format!("[default]\n{config}"));
    site.store(30, 0..10);
    assert_eq!(numbers(&site.collect().expect(5).events()), all(0..10), "{}", site.log());
}
