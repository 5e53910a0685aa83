//! What nobody sees until it is missing: the order in which files become durable, the watchdog, all groups given up, and that
//! nothing is touched but what the configuration names.

use std::fs;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::site::{Site, numbers};
use crate::loopback::Fault;
use crate::program::finish;

/// Runs the program with these arguments under strace; its calls of these kinds, with the paths of descriptors.
fn calls(site: &Site, args: &[&str], kinds: &str) -> Vec<String> {
    let trace = site.path("trace");
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-y", "-o"]).arg(&trace).arg("-e").arg(format!("trace={kinds}"));
    command.arg(env!("CARGO_BIN_EXE_wazuh-akamai")).arg("--config").arg(site.place.config()).args(args);
    command.env("NO_PROXY", "*");
    finish(command, b"");
    let text = fs::read_to_string(&trace).unwrap();
    // Each line begins with the process; signals have lines as well.
    let calls = text.lines().filter_map(|line| Some(line.trim_start().split_once(' ')?.1.trim_start().to_owned()));
    calls.filter(|call| !call.starts_with("---")).collect()
}

#[test]
fn every_file_is_synced_before_it_gets_its_name_and_the_folder_behind() {
    let site = Site::new();
    site.store(60, 0..5);
    site.collect().expect(0);
    site.store(30, 5..10);
    let calls = calls(&site, &["collect"], "fsync,fdatasync,rename,renameat,renameat2");
    let folder = format!("{}>", site.state().display());
    let mut named = Vec::new();
    for (at, call) in calls.iter().enumerate().filter(|(_, call)| call.starts_with("rename")) {
        let (from, to) = (call.split('"').nth(1).unwrap(), call.split('"').nth(3).unwrap());
        let synced =
            |call: &String, path: &str| call.starts_with("fsync(") && call.contains(path) && call.ends_with("= 0");
        assert!(at > 0 && synced(&calls[at - 1], &format!("{from}>")), "{from} is not synced: {calls:#?}");
        assert!(synced(&calls[at + 1], &folder), "the folder of {to} is not synced: {calls:#?}");
        named.push(to.rsplit('/').next().unwrap().to_owned());
    }
    // The counters of bursts, then the page, and only then its cursor; the records at the end.
    let at = |start: &str| named.iter().position(|name| name.starts_with(start)).unwrap();
    assert!(
        at("bursts-") < at("spool-") && at("spool-") < at("cursor-") && at("cursor-") < at("delivery"),
        "{named:?}"
    );
}

#[test]
fn a_run_that_nothing_ends_is_ended_by_its_watchdog() {
    let site = Site::new();
    site.set_interval(10);
    site.store(60, 0..200);
    let mut child = site.command().stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    // Nobody reads what it writes, and nobody closes the pipe.
    let mut stdout = child.stdout.take().unwrap();
    let ended = (0..600).find_map(|_| {
        std::thread::sleep(Duration::from_millis(100));
        child.try_wait().unwrap()
    });
    let _ = child.kill();
    let _ = child.wait();
    assert_eq!(ended.and_then(|status| status.code()), Some(1), "{}", site.log());
    assert!(site.log().contains("took too long"), "{}", site.log());
    let mut text = String::new();
    stdout.read_to_string(&mut text).unwrap();
    assert!(text.ends_with('\n'));
}

#[test]
fn all_that_root_has_is_given_up() {
    let Some(site) = Site::as_nobody("") else { return };
    // Wazuh's group is the one that is kept.
    std::os::unix::fs::chown(site.wazuh("etc"), None, Some(42)).unwrap();
    site.store(60, 0..50);
    site.akamai.fail([Fault::Trickle(500, Duration::from_millis(20))]);
    let collect = site.command();
    let mut command = Command::new("setpriv");
    command.args(["--groups", "0,4,4711"]).arg(collect.get_program()).args(collect.get_args()).env("NO_PROXY", "*");
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    while site.akamai.seen().is_empty() {
        std::thread::sleep(Duration::from_millis(5));
    }
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    assert!(child.wait_with_output().unwrap().status.success());
    let ids = |name: &str| -> Vec<u32> {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.split_whitespace().map(|id| id.parse().unwrap()).collect()
    };
    let group = ids("Gid:")[0];
    assert_eq!((ids("Uid:"), ids("Gid:"), ids("Groups:")), (vec![65_534; 4], vec![group; 4], vec![42, group]));
    assert!(group != 0 && status.contains("CapEff:\t0000000000000000") && status.contains("CapPrm:\t0000000000000000"));
}

#[test]
fn a_folder_with_folders_of_others_is_not_taken_for_the_state() {
    let Some(site) = Site::as_nobody("") else { return };
    fs::create_dir_all(site.state().join("lost+found")).unwrap();
    site.store(60, 0..5);
    assert_eq!(numbers(&site.collect().expect(0).events()), (0..5).collect::<Vec<_>>());
    fs::create_dir(site.state().join("ssl")).unwrap();
    fs::write(site.state().join("passwd"), "").unwrap();
    fs::set_permissions(site.state(), fs::Permissions::from_mode(0o755)).unwrap();
    let ended = site.collect().expect(1);
    assert!(ended.text().contains("set state_dir to an empty one"), "{}", ended.text());
    assert_eq!(fs::metadata(site.state()).unwrap().permissions().mode() & 0o777, 0o755);
    assert_eq!(fs::metadata(site.state().join("passwd")).unwrap().uid(), 0);
}

#[test]
fn nothing_is_touched_but_what_the_configuration_names() {
    let site = Site::new();
    site.store(60, 0..5);
    for args in
        [&["collect"][..], &["status"], &["check", "--offline"], &["backfill", "--from", "2026-01-01T00:00:00Z"]]
    {
        let calls = calls(&site, args, "%file");
        assert!(args[0] == "backfill" || calls.iter().any(|call| call.contains(&*site.state().to_string_lossy())));
        let default = ["/var/lib/wazuh-akamai", "/var/log/wazuh-akamai.log", "/etc/wazuh-akamai"];
        let touched = calls.iter().find(|call| default.iter().any(|path| call.contains(path)));
        assert_eq!(touched, None, "{args:?}");
    }
    assert_eq!(numbers(&site.collect().expect(0).events()), Vec::<u64>::new());
}
