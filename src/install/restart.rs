//! Has a Wazuh that runs take up what was changed, and knows whether it has. Never stops one that could not start again: where
//! systemd would stop it first, all of Wazuh's own checks come before.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use super::home::{Home, Kind, words};
use super::program::{self, PROGRAM_S_MAX};

/// Time for a restart, in seconds: it waits for each daemon to end.
const RESTART_S_MAX: u64 = 300;

/// Where systemd is in charge of this machine.
const SYSTEMD: &str = "/run/systemd/system";

/// The daemons that read what we change; their pid files tell one life of theirs from the next.
const READERS: [&str; 3] = ["wazuh-modulesd-", "wazuh-analysisd-", "wazuh-agentd-"];

impl Home {
    /// Whether any of it runs.
    pub(super) fn is_running(&self) -> bool {
        let mut status = Command::new(self.path("bin/wazuh-control"));
        status.arg("status");
        program::run(status, PROGRAM_S_MAX).is_ok_and(|ran| ran.words.contains("is running"))
    }

    /// What tells this life of its daemons from the next one.
    pub(super) fn life(&self) -> String {
        let entries = fs::read_dir(self.path("var/run")).into_iter().flatten().flatten();
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
    pub(super) fn restart(&self) -> Result<(), String> {
        let unit = match self.kind {
            Kind::Manager => "wazuh-manager",
            Kind::Agent => "wazuh-agent",
        };
        let (name, mut command) = if self.is_run_by_systemd(unit) {
            self.test_daemons()?;
            let mut command = Command::new("systemctl");
            command.args(["restart", unit]);
            ("systemctl", command)
        } else {
            let mut command = Command::new("/bin/sh");
            command.args(["-c", "umask 022; exec \"$0\" restart"]).arg(self.path("bin/wazuh-control"));
            ("wazuh-control", command)
        };
        command.process_group(0);
        let says = match program::run(command, RESTART_S_MAX) {
            Ok(ran) if ran.status.success() => return Ok(()),
            Ok(ran) => words(&ran),
            Err(error) => error.to_string(),
        };
        Err(format!("{name} restart says: {says}"))
    }

    /// Whether this unit runs the Wazuh of this home.
    fn is_run_by_systemd(&self, unit: &str) -> bool {
        if !self.is_of_this_machine || !Path::new(SYSTEMD).is_dir() {
            return false;
        }
        let mut show = Command::new("systemctl");
        show.args(["show", "--property=ActiveState,ExecStart", unit]);
        let control = self.path("bin/wazuh-control").display().to_string();
        program::run(show, PROGRAM_S_MAX).is_ok_and(|ran| {
            ran.status.success()
                && ran.words.lines().any(|line| line == "ActiveState=active")
                && ran.words.contains(&control)
        })
    }

    /// `systemctl restart` stops first: what would keep Wazuh from starting again must be known before. These are the checks
    /// that wazuh-control makes at a start, of the daemons that it names.
    fn test_daemons(&self) -> Result<(), String> {
        let control = fs::read_to_string(self.path("bin/wazuh-control")).map_err(|error| error.to_string())?;
        let names = control.lines().find_map(|line| line.strip_prefix("DAEMONS=\"")?.strip_suffix('"'));
        for name in names.unwrap_or_default().split_ascii_whitespace() {
            self.test(name).map_err(|says| format!("{name} says: {says}"))?;
        }
        Ok(())
    }
}
