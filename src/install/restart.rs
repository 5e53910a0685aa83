//! Has a Wazuh that runs take up what was changed, and knows whether it has. Never stops one that could not start again: where
//! systemd would stop it first, all of Wazuh's own checks come before.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use crate::wazuh::home::{Home, Kind};
use crate::wazuh::program::{self, PROGRAM_S_MAX};

/// Time for a restart, in seconds: it waits for each daemon to end.
const RESTART_S_MAX: u64 = 300;

/// Where systemd is in charge of this machine.
const SYSTEMD: &str = "/run/systemd/system";

/// The daemons that read what we change; their pid files tell one life of theirs from the next.
const READERS: [&str; 3] = ["wazuh-modulesd-", "wazuh-analysisd-", "wazuh-agentd-"];

/// Has Wazuh's own programs check its configuration; gives the words of the one that refuses.
pub(super) fn validate(home: &Home) -> Result<(), String> {
    test(home, "wazuh-modulesd")?;
    test(home, if home.kind == Kind::Manager { "wazuh-analysisd" } else { "wazuh-agentd" })
}

fn test(home: &Home, name: &str) -> Result<(), String> {
    let mut test = Command::new(home.path("bin").join(name));
    test.arg("-t");
    run_well(name, test, PROGRAM_S_MAX)
}

/// Runs a program; gives its words where it fails.
fn run_well(name: &str, command: Command, seconds_max: u64) -> Result<(), String> {
    let says = match program::run(command, seconds_max) {
        Ok(ran) if ran.status.success() => return Ok(()),
        Ok(ran) => ran.says(),
        Err(error) => error.to_string(),
    };
    Err(format!("{name} says: {says}"))
}

/// Whether any of it runs.
pub(super) fn is_running(home: &Home) -> bool {
    let mut status = Command::new(home.path("bin/wazuh-control"));
    status.arg("status");
    program::run(status, PROGRAM_S_MAX).is_ok_and(|ran| ran.words.contains("is running"))
}

/// What tells this life of its daemons from the next one.
pub(super) fn life(home: &Home) -> String {
    let entries = fs::read_dir(home.path("var/run")).into_iter().flatten().flatten();
    let files = entries.filter_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        let metadata = entry.metadata().ok()?;
        READERS
            .iter()
            .any(|reader| name.starts_with(reader))
            .then(|| format!("{name}:{}:{}.{}", metadata.ino(), metadata.ctime(), metadata.ctime_nsec()))
    });
    let mut files: Vec<String> = files.collect();
    files.sort();
    files.join(" ")
}

/// Restarts it: by systemd where that runs it, so that its daemons keep the unit's limits, environment and control group;
/// else by its own wazuh-control, with the umask that its start-up expects.
pub(super) fn restart(home: &Home) -> Result<(), String> {
    let unit = match home.kind {
        Kind::Manager => "wazuh-manager",
        Kind::Agent => "wazuh-agent",
    };
    let (name, mut command) = if is_run_by_systemd(home, unit) {
        test_daemons(home)?;
        let mut command = Command::new("systemctl");
        command.args(["restart", unit]);
        ("systemctl restart", command)
    } else {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "umask 022; exec \"$0\" restart"]).arg(home.path("bin/wazuh-control"));
        ("wazuh-control restart", command)
    };
    command.process_group(0);
    run_well(name, command, RESTART_S_MAX)
}

/// Whether this unit runs the Wazuh of this home.
fn is_run_by_systemd(home: &Home, unit: &str) -> bool {
    if !home.is_of_this_machine || !Path::new(SYSTEMD).is_dir() {
        return false;
    }
    let mut show = Command::new("systemctl");
    show.args(["show", "--property=ActiveState,ExecStart", unit]);
    let control = home.path("bin/wazuh-control").display().to_string();
    program::run(show, PROGRAM_S_MAX).is_ok_and(|ran| {
        ran.status.success()
            && ran.words.lines().any(|line| line == "ActiveState=active")
            && ran.words.contains(&control)
    })
}

/// `systemctl restart` stops first: what would keep Wazuh from starting again must be known before. These are the checks
/// that wazuh-control makes at a start, of the daemons that it names.
fn test_daemons(home: &Home) -> Result<(), String> {
    let control = fs::read_to_string(home.path("bin/wazuh-control")).map_err(|error| error.to_string())?;
    let names = control.lines().find_map(|line| line.strip_prefix("DAEMONS=\"")?.strip_suffix('"'));
    for name in names.unwrap_or_default().split_ascii_whitespace() {
        test(home, name)?;
    }
    Ok(())
}
