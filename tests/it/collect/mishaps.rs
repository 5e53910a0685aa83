//! What befalls a run from outside: Wazuh stops it, the power fails, every answer breaks off at one place, a clock is wrong, a
//! message is long. Nothing is lost and nothing is stuck.

use std::fs;
use std::path::Path;
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};

use super::crash::long_line;
use super::recovery::rewrite;
use super::site::{Site, notices, numbers};
use crate::loopback::{Akamai, Fault, Habits, Settings, now};

/// Runs `collect` and ends it as Wazuh does, as soon as it is time.
fn stop_when(site: &Site, is_time: impl Fn() -> bool) {
    let mut child =
        site.command().stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it starts");
    while child.try_wait().expect("it is ours").is_none() {
        if is_time() {
            kill_process(Pid::from_raw(child.id().cast_signed()).expect("a pid"), Signal::TERM).expect("it runs");
            child.wait().expect("it ends");
            return;
        }
    }
    panic!("it was over before it was time\n{}", site.log());
}

#[test]
fn a_line_at_which_wazuh_stopped_the_collector_twice_is_an_event_like_others() {
    let site = Site::new();
    site.store(100, 0..3);
    site.collect().expect(0);
    site.store(60, 3..6);
    site.akamai.store(50, [long_line()]);
    let is_reading = || site.state_files("attempt-").iter().any(|path| path.extension().is_none());
    stop_when(&site, is_reading);
    // A run that died otherwise, so that the next one marks its lines.
    let key = site.state_files("cursor-")[0].file_name().and_then(|name| name.to_str()).expect("a name").to_owned();
    assert!(site.state_files("attempt-").is_empty(), "{key}");
    let is_in_a_line = || {
        let mark = site.state_files("mark-").first().and_then(|mark| fs::read(mark).ok());
        is_reading() && mark.is_none_or(|mark| mark.iter().any(|byte| *byte != 0))
    };
    stop_when(&site, is_in_a_line);
    let events = site.collect().expect(0).events();
    assert!(!events.iter().any(|event| event.to_string().contains("twice")), "{events:#?}");
    assert_eq!(events.iter().filter(|event| event["type"] == "akamai_siem").count(), 4, "{}", site.log());
}

#[test]
fn ids_that_went_with_the_power_make_no_other_line_known() {
    let site = Site::new();
    site.store(60, 0..20);
    site.collect().expect(0);
    let seen = &site.state_files("seen-")[0];
    fs::OpenOptions::new().write(true).open(seen).and_then(|file| file.set_len(5 * 16)).expect("it is ours");
    rewrite(&site.state_files("cursor-")[0], |record| {
        for time in ["committed_s", "caught_up_s"] {
            record[time] = (now() - 13 * 3_600).into();
        }
    });
    site.akamai.forget_before(30);
    site.store(20, 20..60);
    site.akamai.fail([Fault::BadOffsetTail, Fault::CutAfter(60_000)]);
    let mut got: Vec<u64> = (0..3).flat_map(|_| numbers(&site.collect().events())).collect();
    got.sort_unstable();
    assert_eq!(got, (20..60).collect::<Vec<u64>>(), "{}", site.log());
}

#[test]
fn answers_that_are_always_cut_at_one_place_come_all_the_same() {
    let site = Site::with(Settings { gzip: false, ..Settings::default() }, "limit = 1000\n");
    site.set_interval(20);
    site.store(60, 0..24);
    site.akamai.fail(std::iter::repeat_n(Fault::AtMost(20_000), 60));
    let mut got: Vec<u64> = Vec::new();
    for _ in 0..6 {
        got.extend(numbers(&site.collect().events()));
    }
    assert_eq!(got, (0..24).collect::<Vec<u64>>(), "{}", site.log());
}

#[test]
fn the_clock_is_corrected_whatever_else_failed_before() {
    let site = Site::new();
    site.store(60, 0..5);
    site.akamai.set_clock_ahead(100);
    site.akamai.fail([Fault::Reset]);
    let ended = site.collect().expect(0);
    assert_eq!(numbers(&ended.events()), [0, 1, 2, 3, 4], "{}", site.log());
}

#[test]
fn a_long_error_is_told_once_and_takes_no_state_with_it() {
    let site = Site::new();
    site.store(60, 0..5);
    site.collect().expect(0);
    let wrong: String = (0..900).map(|number| format!("unknown_key_number_{number} = x\n")).collect();
    site.configure(&format!("{}[second]\n{wrong}", site.akamai.config()));
    let told = |site: &Site| notices(&site.collect().expect(3).events()).len();
    assert_eq!((told(&site), told(&site), told(&site)), (1, 0, 0), "{}", site.log());
    let bytes = |path: &Path| fs::metadata(path).map_or(0, |metadata| metadata.len());
    assert!(site.state_files("health").iter().all(|path| bytes(path) < 4_096));
}

#[test]
fn ids_asked_for_without_a_refused_one_go_on_from_where_all_of_them_were() {
    let site = Site::with(Settings { config_ids: "14227;7".into(), ..Settings::default() }, "");
    site.store(60, 0..5);
    site.collect().expect(0);
    let of_all = site.state_files("cursor-");
    let refuse = || site.akamai.misbehave(Habits { refused: Some(("7".into(), 403)), ..Habits::default() });
    refuse();
    site.collect().expect(4);
    let without = site.state_files("cursor-").into_iter().find(|path| !of_all.contains(path)).expect("one of its own");
    // A month passes in which nothing is refused.
    site.akamai.misbehave(Habits::default());
    site.akamai.expire_offsets();
    site.store(40, 5..8);
    site.collect().expect(0);
    rewrite(&without, |record| {
        for time in ["committed_s", "caught_up_s"] {
            record[time] = (now() - 30 * 86_400).into();
        }
    });
    refuse();
    site.store(20, 8..10);
    let events = site.collect().expect(4).events();
    assert_eq!((numbers(&events), notices(&events)), (vec![8, 9], vec!["auth_failed".to_owned()]), "{}", site.log());
}

#[test]
fn what_a_run_has_told_is_not_told_again_when_that_run_is_stopped() {
    let site = Site::new();
    let hanging = Akamai::start(Settings::default());
    hanging.misbehave(Habits { hangs: true, ..Habits::default() });
    let refused = site.akamai.config().replace("[default]", "[refused]");
    site.configure(&format!("[default]\n{refused}{}", hanging.config().replace("[default]", "[hangs]")));
    site.akamai.fail(vec![Fault::Status(403, None); 9]);
    stop_when(&site, || site.log().contains("source refused: Akamai"));
    hanging.misbehave(Habits::default());
    let events = site.collect().expect(4).events();
    assert_eq!(notices(&events).iter().filter(|notice| *notice == "auth_failed").count(), 1, "{}", site.log());
}
