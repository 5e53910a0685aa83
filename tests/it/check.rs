//! `check`: every finding says what was seen and how to fix it.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::thread;

use serde_json::Value;

use crate::analysisd::Analysisd;
use crate::analysisd::machine::Machine;
use crate::collect::site::{Modulesd, Site};
use crate::install::Root;
use crate::loopback::Fault;

/// A site whose Wazuh home is that of `root`.
pub fn site(root: &Root) -> Site {
    let site = Site::new();
    site.configure(&site.akamai.config());
    let config = fs::read_to_string(site.place.config()).unwrap();
    let lines = config.lines().map(|line| match line.starts_with("wazuh_home") {
        true => format!("wazuh_home = {}\n", root.home("").display()),
        false => format!("{line}\n"),
    });
    fs::write(site.place.config(), lines.collect::<String>()).unwrap();
    site
}

fn findings(site: &Site, code: i32) -> Vec<(String, String, String)> {
    let report: Value = serde_json::from_str(&site.place.run(&["check", "--json"]).expect(code).text()).unwrap();
    let text = |finding: &Value, name: &str| finding[name].as_str().unwrap().to_owned();
    let list = report["findings"].as_array().unwrap();
    list.iter()
        .map(|finding| {
            (
                text(finding, "level"),
                text(finding, "about"),
                format!("{} | {}", text(finding, "seen"), text(finding, "fix")),
            )
        })
        .collect()
}

fn find<'a>(findings: &'a [(String, String, String)], about: &str, says: &str) -> &'a str {
    let found = findings.iter().find(|(_, what, text)| what.contains(about) && text.contains(says));
    &found.unwrap_or_else(|| panic!("{about}: {says}: {findings:#?}")).0
}

/// analysisd's counters, with so many dropped events.
fn analysisd(root: &Root, dropped: u64) {
    let path = root.home("queue/sockets/analysis");
    let _ = fs::remove_file(&path);
    let listener = UnixListener::bind(path).unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut length = [0; 4];
            stream.read_exact(&mut length).unwrap();
            let mut request = vec![0; u32::from_le_bytes(length) as usize];
            stream.read_exact(&mut request).unwrap();
            assert!(String::from_utf8(request).unwrap().contains("getstats"));
            let mut machine = Machine::new(1.0, 1);
            // It is past its start.
            (0..10).for_each(|_| machine.tick());
            let mut answer = machine.stats();
            *answer
                .pointer_mut("/data/metrics/events/received_breakdown/dropped_breakdown/modules_breakdown/command")
                .unwrap() = dropped.into();
            let answer = answer.to_string();
            stream.write_all(&u32::try_from(answer.len()).unwrap().to_le_bytes()).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
        }
    });
}

#[test]
fn a_healthy_installation_has_no_finding() {
    let root = Root::manager();
    let site = site(&root);
    site.place.run(&["install"]).expect(0);
    let _queue = UnixDatagram::bind(root.home("queue/sockets/queue")).unwrap();
    analysisd(&root, 0);
    site.collect().expect(0);
    let found = findings(&site, 0);
    assert!(found.iter().all(|(level, ..)| level == "ok"), "{found:#?}");
    for (about, says) in [
        ("Akamai", "config id 14227: the credentials are accepted"),
        ("clock", "0 s"),
        ("wodle block", "ossec.conf"),
        ("rules", "up to date"),
        ("queue", "accepts events"),
        ("analysisd", "dropped no event"),
        ("spool", "0 lines"),
    ] {
        find(&found, about, says);
    }
    let text = site.place.run(&["check"]).expect(0).text();
    assert!(text.lines().all(|line| line.starts_with("ok ")), "{text}");
}

#[test]
fn what_is_wrong_is_named_with_its_cure() {
    let root = Root::manager();
    let site = site(&root);
    analysisd(&root, 17);
    site.akamai.fail([Fault::Status(403, None)]);
    let found = findings(&site, 1);
    assert_eq!(find(&found, "Akamai", "Manage SIEM"), "error");
    assert_eq!(find(&found, "wodle block", "does not contain our block | wazuh-akamai install"), "error");
    assert_eq!(find(&found, "rules", "there is no"), "error");
    assert_eq!(find(&found, "queue", "start Wazuh"), "error");
    assert_eq!(find(&found, "analysisd", "dropped 17 events"), "error");
    assert_eq!(find(&found, "state", "collect has not run"), "warning");

    site.place.run(&["install"]).expect(0);
    let conf = fs::read_to_string(root.home("etc/ossec.conf")).unwrap();
    fs::write(root.home("etc/ossec.conf"), conf.replace("<interval>5m", "<interval>1m")).unwrap();
    fs::write(
        root.home("etc/rules/local_rules.xml"),
        "<group name=\"x,\">\n<rule id=\"100150\" level=\"3\"></rule>\n</group>",
    )
    .unwrap();
    site.akamai.set_clock_ahead(600);
    let found = findings(&site, 1);
    assert_eq!(find(&found, "wodle block", "was edited"), "warning");
    assert_eq!(find(&found, "wodle block", "every 60 s"), "warning");
    assert_eq!(find(&found, "rules", "local_rules.xml:2-2: rule 100150"), "error");
    // Whole seconds pass between two looks at two clocks.
    let behind = |seconds: i32| found.iter().any(|(_, _, text)| text.contains(&format!("{seconds} s behind Akamai's")));
    assert!((595..=605).any(behind), "{found:#?}");
    assert_eq!(find(&found, "clock", "s behind Akamai's"), "warning");
}

#[test]
fn a_user_that_is_not_there_is_named_and_nothing_is_to_be_given_to_it() {
    let root = Root::manager();
    let site = site(&root);
    let config = fs::read_to_string(site.place.config()).unwrap();
    fs::write(site.place.config(), config.replace("user = root", "user = nosuch")).unwrap();
    site.collect().expect(0);
    let found = findings(&site, 1);
    assert_eq!(find(&found, "user", "there is no user nosuch"), "warning");
    assert!(found.iter().all(|(_, _, text)| !text.contains("chown -R nosuch")), "{found:#?}");
}

#[test]
fn what_only_root_may_read_is_to_be_looked_at_as_root() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let site = Site::new();
    for command in ["check", "status"] {
        let mut run = std::process::Command::new("setpriv");
        run.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(env!("CARGO_BIN_EXE_wazuh-akamai"));
        run.arg("--config").arg(site.place.config()).arg(command);
        let ended = crate::program::finish(run, b"").expect(1);
        let said = ended.text() + &ended.stderr;
        assert!(said.contains("Permission denied (os error 13); run this as root"), "{said}");
        assert!(!said.contains("wazuh-akamai configure"), "{said}");
    }
}

#[test]
fn a_mute_wodle_is_noticed() {
    let root = Root::manager();
    let site = site(&root);
    let socket = root.home("queue/sockets/queue");
    let _first = UnixDatagram::bind(&socket).unwrap();
    let mut modulesd = Modulesd::start(&site);
    modulesd.collect().expect(0);
    assert_eq!(find(&findings(&site, 1), "wodle", "the queue socket that it connected to"), "ok");
    fs::remove_file(&socket).unwrap();
    let _second = UnixDatagram::bind(&socket).unwrap();
    let found = findings(&site, 1);
    assert_eq!(find(&found, "wodle", "nothing that its wodles send arrives | wazuh-control restart"), "error");
    drop(modulesd);
    assert!(findings(&site, 1).iter().all(|(_, about, _)| about != "wodle"));
}

#[test]
fn a_wodle_that_is_nearly_full_is_told_of_with_the_faster_way() {
    let root = Root::manager();
    let site = site(&root);
    let config = fs::read_to_string(site.place.config()).unwrap();
    site.store(60, 0..5);
    site.collect().expect(0);
    assert_eq!(find(&findings(&site, 1), "pace", "handed over 6 of the"), "ok");
    fs::write(site.place.config(), format!("{config}max_eps = 1\n")).unwrap();
    site.store(30, 5..300);
    site.collect().expect(0);
    assert_eq!(find(&findings(&site, 1), "pace", "| if this persists: output = queue"), "warning");
    fs::write(site.place.config(), format!("{config}output = queue\n")).unwrap();
    let _analysisd = Analysisd::start(&root.home("queue/sockets"), 5_000.0);
    site.collect().expect(0);
    assert_eq!(find(&findings(&site, 1), "pace", "lines a second, 0 unconfirmed"), "ok");
    assert_eq!(find(&findings(&site, 1), "analysisd", "dropped no event"), "ok");
    let status = site.place.run(&["status"]).expect(0).text();
    assert!(status.contains("lines a second, 0 unconfirmed, 0 dropped by analysisd"), "{status}");
    let status: Value = serde_json::from_str(&site.place.run(&["status", "--json"]).expect(0).text()).unwrap();
    assert_eq!(status["queue"]["unconfirmed_lines"], 0);
}

#[test]
fn without_configuration_and_without_wazuh_it_says_so() {
    let site = Site::new();
    let found = findings(&site, 0);
    assert_eq!(find(&found, "Wazuh", "there is no Wazuh in"), "warning");
    fs::write(site.place.config(), "[default]\nhost = akab-xxxx.luna.akamaiapis.net\nconfig_id = 1\nclient_token = ...\nclient_secret = ...\naccess_token = ...\n").unwrap();
    let found = findings(&site, 1);
    assert_eq!(find(&found, "source default", "not configured yet"), "error");
    fs::remove_file(site.place.config()).unwrap();
    assert_eq!(find(&findings(&site, 1), "configuration", "wazuh-akamai configure"), "error");
}
