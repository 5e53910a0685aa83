//! Ordinary runs: first contact, following offsets, pages, several sources, configurations that are not ready.

use std::fs;
use std::time::Duration;

use serde_json::Value;

use super::recovery::rewrite;
use super::site::{Site, notices, numbers};
use crate::loopback::{Akamai, ContextShape, Fault, Settings, now, samples};

#[test]
fn the_first_run_asks_for_the_window_and_later_ones_go_on() {
    let site = Site::new();
    site.store(400, 0..5);
    site.store(200, 5..10);
    let first = site.collect().expect(0);
    assert_eq!((numbers(&first.events()), notices(&first.events())), ((5..10).collect(), vec!["started".to_owned()]));
    assert!(site.akamai.seen()[0].target.contains("?from=") && !site.akamai.seen()[0].target.contains("to="));
    site.store(60, 10..20);
    let second = site.collect().expect(0);
    assert_eq!((numbers(&second.events()), notices(&second.events())), ((10..20).collect(), vec![]));
    assert!(site.akamai.seen()[1].target.contains("?offset="));
    assert_eq!(site.collect().expect(0).events().len(), 0);
    assert_eq!(site.log().lines().filter(|line| line.contains(" info: ")).count(), 4, "{}", site.log());
    assert!(site.state_files("spool-").is_empty());
}

#[test]
fn full_pages_are_followed_at_most_one_request_a_second() {
    for shape in [ContextShape::Compact, ContextShape::LimitNull, ContextShape::BlanksWithoutLimit] {
        let site = Site::with(Settings { shape, overshoot: 3, ..Settings::default() }, "limit = 1000\n");
        site.store(60, 0..2_500);
        assert_eq!(numbers(&site.collect().expect(0).events()), (0..2_500).collect::<Vec<u64>>());
        let seen = site.akamai.seen();
        assert_eq!(seen.len(), 3, "{shape:?}");
        for pair in seen.windows(2) {
            assert!(pair[1].at - pair[0].at >= Duration::from_millis(950), "{:?}", pair[1].at - pair[0].at);
        }
    }
}

#[test]
fn an_empty_offset_keeps_the_one_before() {
    let site = Site::with(Settings { shape: ContextShape::EmptyOffsetWhenNothing, ..Settings::default() }, "");
    site.store(60, 0..3);
    assert_eq!(numbers(&site.collect().expect(0).events()), [0, 1, 2]);
    for _ in 0..2 {
        assert_eq!(site.collect().expect(0).events().len(), 0);
    }
    site.store(30, 3..5);
    assert_eq!(numbers(&site.collect().expect(0).events()), [3, 4]);
}

#[test]
fn window_mode_is_the_original_without_a_memory() {
    let site = Site::with(Settings::default(), "mode = window\nwindow = 100\n");
    site.store(200, 0..5);
    site.store(50, 5..10);
    for _ in 0..2 {
        assert_eq!(numbers(&site.collect().expect(0).events()), (5..10).collect::<Vec<u64>>());
    }
    let target = &site.akamai.seen()[0].target;
    assert!(target.contains("from=") && target.contains("&to="), "{target}");
    // The piece of a line is no event.
    site.akamai.fail([Fault::EndsAfter(8_000)]);
    let events = site.collect().expect(5).events();
    let lines: Vec<&Value> = events.iter().filter(|event| event["type"] == "akamai_siem").collect();
    assert!((1..5).contains(&lines.len()) && lines.iter().all(|line| line["akamai"]["parse_error"].is_null()));
    assert!(site.state_files("cursor-").is_empty() && site.state_files("spool-").is_empty());
}

#[test]
fn a_source_that_fails_never_stops_another() {
    let site = Site::new();
    let other = Akamai::start(Settings { config_ids: "7;8".into(), ..Settings::default() });
    other.store(60, (100..110).map(|number| samples::line(number, now() - 60)));
    site.store(60, 0..10);
    let config = format!(
        "[default]\nenabled = no\n{}{}\n[broken]\nhost = nonsense/\n",
        site.akamai.config().replace("[default]", "[wrong]").replace("akab-client-token", "akab-other-token"),
        other.config().replace("[default]", "[good]"),
    );
    site.configure(&config.replace("enabled = no\n", ""));
    let ended = site.collect().expect(3);
    assert_eq!(numbers(&ended.events()), (100..110).collect::<Vec<u64>>());
    let events = ended.events();
    assert!(events.iter().any(|event| event["akamai"]["source"] == "good"));
    let mut told = notices(&events);
    told.sort();
    assert_eq!(told, ["auth_failed", "config_error", "started", "started"]);
    assert!(notices(&site.collect().expect(3).events()).is_empty());
    site.configure(
        &config
            .replace("enabled = no\n", "")
            .replace("host = nonsense/\n", "enabled = no\n")
            .replace("akab-other-token", "akab-client-token"),
    );
    let ended = site.collect().expect(0);
    assert_eq!(numbers(&ended.events()), (0..10).collect::<Vec<u64>>());
    assert_eq!(notices(&ended.events()), ["recovered:auth_failed"]);
}

#[test]
fn what_is_not_configured_yet_is_no_fault_and_changes_nothing() {
    let site = Site::new();
    site.configure("[default]\nhost = akab-xxxx.luna.akamaiapis.net\n");
    fs::remove_file(site.place.config()).unwrap();
    assert!(site.collect_without_defaults().expect(0).stdout.is_empty());
    site.configure(
        &site
            .akamai
            .config()
            .replace("14227", "12345")
            .replace("client_secret = bG9vcGJhY2sgc2VjcmV0=", "client_secret = ..."),
    );
    assert!(site.collect().expect(0).stdout.is_empty());
    assert!(site.log().contains("not configured yet: fill in"), "{}", site.log());
    assert!(!site.state().exists() && site.akamai.seen().is_empty());
}

#[test]
fn a_wrong_global_key_stops_asking_but_not_delivering() {
    let site = Site::with(Settings::default(), "max_eps = 1\n");
    site.set_interval(20);
    site.store(60, 0..30);
    let first = numbers(&site.collect().expect(0).events());
    assert!(!first.is_empty() && first.len() < 30);
    let requests = site.akamai.seen().len();
    site.configure(&format!("{}output = syslog\nmax_eps = 100\n", site.akamai.config()));
    let ended = site.collect().expect(3);
    assert_eq!(numbers(&ended.events()), (first.len() as u64..30).collect::<Vec<u64>>());
    assert_eq!(notices(&ended.events()), ["config_error"]);
    assert!(site.log().contains("\"syslog\" is not known"), "{}", site.log());
    assert_eq!(site.akamai.seen().len(), requests);
    site.configure(&site.akamai.config());
    assert_eq!(notices(&site.collect().expect(0).events()), ["recovered:config_error"]);
}

#[test]
fn changed_config_ids_have_a_cursor_of_their_own_that_goes_on_where_the_other_stood() {
    let site = Site::with(Settings::default(), "window = 100\n");
    site.store(60, 0..5);
    site.collect().expect(0);
    // It had everything 300 seconds ago, longer than the window.
    rewrite(&site.state_files("health-")[0], |record| record["committed_s"] = (now() - 300).into());
    site.akamai.store(200, (5..8).map(|number| samples::line(number, now() - 200)));
    site.akamai.set_config_ids("14227;9");
    site.configure(&format!("{}window = 100\n", site.akamai.config()));
    let ended = site.collect().expect(0);
    assert_eq!(numbers(&ended.events()), (5..8).collect::<Vec<u64>>());
    assert!(notices(&ended.events()).is_empty());
    assert_eq!(site.state_files("cursor-").len(), 2);
}

#[test]
fn a_terminal_is_refused() {
    let site = Site::new();
    let mut command = std::process::Command::new("script");
    let collect = format!("{} --config {} collect", env!("CARGO_BIN_EXE_wazuh-akamai"), site.place.config().display());
    command.args(["-q", "-e", "-c", &collect, "/dev/null"]);
    let ended = crate::program::finish(command, b"").expect(2);
    assert!(ended.text().contains("wazuh-akamai fetch"), "{}", ended.text());
    assert!(site.akamai.seen().is_empty());
}

#[test]
fn a_wrong_flag_says_nothing_to_wazuh() {
    let site = Site::new();
    let mut command = site.command();
    command.arg("--nonsense");
    let ended = crate::program::finish(command, b"").expect(2);
    assert_eq!((ended.stderr.as_str(), ended.stdout.len()), ("", 0));
}

/// Stores denied requests of one client.
pub fn store_denied(site: &Site, numbers: std::ops::Range<u64>) {
    let lines = numbers.map(|number| {
        format!(
            "{{\"attackData\":{{\"clientIP\":\"192.0.2.9\",\"appliedAction\":\"deny\"}},\"httpMessage\":{{\"start\":\"{}\",\"requestId\":\"{number:x}.a\",\"host\":\"a.example\"}}}}",
            now() - 60
        )
    });
    site.akamai.store(30, lines.collect::<Vec<String>>());
}

pub fn numbers_that_complete_a_burst(events: &[Value]) -> Vec<u64> {
    let completes = events.iter().filter(|event| event["akamai"]["burst"] == "source_blocked").cloned();
    numbers(&completes.collect::<Vec<_>>())
}

#[test]
fn bursts_are_counted_within_a_window_as_well() {
    let site = Site::with(Settings::default(), "mode = window\nwindow = 100\n");
    store_denied(&site, 0..12);
    assert_eq!(numbers_that_complete_a_burst(&site.collect().expect(0).events()), [7]);
}

#[test]
fn bursts_are_counted_across_runs_and_put_back_with_a_page_that_is_thrown_away() {
    let site = Site::new();
    let mut marked = Vec::new();
    for stored in [0..3, 3..5, 5..7, 7..12, 12..20] {
        store_denied(&site, stored);
        // Each page comes once in vain: what it counted is put back.
        site.akamai.fail([Fault::NoContext]);
        let events = site.collect().expect(0).events();
        marked.extend(numbers_that_complete_a_burst(&events));
    }
    // Once a window, whichever run it was marked in.
    assert_eq!(marked, [7]);
    assert_eq!(site.state_files("bursts-").len(), 1);
}

#[test]
fn a_source_that_has_worked_and_is_not_filled_in_any_more_is_an_error() {
    let site = Site::new();
    let config = fs::read_to_string(site.place.config()).unwrap();
    let empty = config.replace("config_id = 14227", "config_id =");
    assert_ne!(empty, config);
    // One that has never worked is not configured yet.
    fs::write(site.place.config(), &empty).unwrap();
    assert!(!site.collect().expect(0).text().contains("config_error"));
    fs::write(site.place.config(), &config).unwrap();
    site.collect().expect(0);
    fs::write(site.place.config(), &empty).unwrap();
    let told = site.collect().expect(3).text();
    assert!(told.contains("\"config_error\"") && told.contains("is not filled in any more"), "{told}");
    assert!(!site.collect().expect(3).text().contains("config_error"));
    fs::write(site.place.config(), &config).unwrap();
    let told = site.collect().expect(0).text();
    assert!(told.contains("\"recovered\""), "{told}");
}

#[test]
fn status_says_whether_it_has_not_run_or_not_succeeded() {
    let site = Site::new();
    let says = |text: &str| site.place.run(&["status"]).expect(1).text().contains(text);
    assert!(says("collect has not run for it yet"));
    site.akamai.fail([Fault::Status(403, None)]);
    site.collect().expect(4);
    assert!(says("it has not succeeded yet") && !says("has not run"));
}

#[test]
fn on_a_clusters_worker_nothing_is_asked_unless_that_is_wished() {
    let site = Site::new();
    let conf = "<ossec_config><cluster><node_type>worker</node_type><disabled>no</disabled></cluster></ossec_config>";
    fs::write(site.wazuh("etc/ossec.conf"), conf).unwrap();
    site.collect().expect(0);
    assert_eq!(site.akamai.seen().len(), 0);
    let config = fs::read_to_string(site.place.config()).unwrap();
    fs::write(site.place.config(), config + "run_on = any\n").unwrap();
    site.collect().expect(0);
    assert_eq!(site.akamai.seen().len(), 1);
}

/// A folder that is the whole system for `collect`: then the default places are in it.
fn small_system(site: &Site) -> std::path::PathBuf {
    let root = site.path("root");
    let program = env!("CARGO_BIN_EXE_wazuh-akamai");
    let listed = std::process::Command::new("ldd").arg(program).output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    let libraries = listed.split_whitespace().filter(|word| word.starts_with('/'));
    for path in ["var/lib", "var/log", "etc"] {
        fs::create_dir_all(root.join(path)).unwrap();
    }
    for file in libraries.chain([program]) {
        let to = root.join(file.trim_start_matches('/'));
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(file, to).unwrap();
    }
    root
}

#[test]
fn a_configuration_that_is_gone_after_a_run_is_told_and_what_waits_is_delivered() {
    let site = Site::new();
    let root = small_system(&site);
    let config = root.join("etc/config.ini");
    let write = |more: &str| {
        fs::write(&config, site.akamai.config() + "user = root\n" + more).unwrap();
        fs::set_permissions(&config, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    };
    let collect = || {
        // Only root may do without a namespace of its own.
        let mut command = std::process::Command::new("unshare");
        command.args(if rustix::process::geteuid().is_root() { &[][..] } else { &["-r"][..] });
        command.arg("chroot").arg(&root).arg(env!("CARGO_BIN_EXE_wazuh-akamai"));
        command.args(["--config", "/etc/config.ini", "collect"]).env("NO_PROXY", "*");
        super::site::pure(crate::program::finish(command, b""))
    };
    // Nothing to lose yet.
    assert!(collect().expect(0).stdout.is_empty());
    write("max_eps = 1\n");
    site.store(60, 0..400);
    let first = numbers(&collect().expect(0).events());
    assert!(!first.is_empty() && first.len() < 400);
    fs::remove_file(&config).unwrap();
    let ended = collect().expect(3);
    assert_eq!(notices(&ended.events()), ["config_error"]);
    assert_eq!(numbers(&ended.events()), (first.len() as u64..400).collect::<Vec<u64>>());
    assert!(notices(&collect().expect(3).events()).is_empty());
    write("");
    assert_eq!(notices(&collect().expect(0).events()), ["recovered:config_error"]);
}
