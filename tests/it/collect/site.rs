//! A place where `collect` runs: its own state, log and Wazuh home, and an Akamai to ask. Everything is real.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::loopback::{Akamai, Settings, now, samples};
use crate::program::{Ended, Place, finish, program};

pub struct Site {
    pub akamai: Akamai,
    pub place: Place,
}

impl Site {
    pub fn new() -> Self {
        Self::with(Settings::default(), "")
    }

    /// With these lines more in `[default]`.
    pub fn with(settings: Settings, more: &str) -> Self {
        let akamai = Akamai::start(settings);
        let site = Self { place: Place::new(&akamai.config()), akamai };
        fs::create_dir_all(site.wazuh("queue/sockets")).unwrap();
        fs::create_dir_all(site.wazuh("etc")).unwrap();
        site.configure(&format!("{}{more}", site.akamai.config()));
        site
    }

    /// One whose collector works as nobody; none where the tests do not run as root: only root can become somebody else.
    pub fn as_nobody(more: &str) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            return None;
        }
        let site = Self::with(Settings::default(), more);
        fs::set_permissions(site.place.folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        site.become_nobody();
        Some(site)
    }

    /// The collector works as nobody from now on.
    pub fn become_nobody(&self) {
        let config = fs::read_to_string(self.place.config()).unwrap();
        fs::write(self.place.config(), config.replace("user = root\n", "user = nobody\n")).unwrap();
    }

    /// Writes the configuration, with this site's folders.
    pub fn configure(&self, config: &str) {
        let folders = format!(
            "[default]\nstate_dir = {}\nlog_file = {}\nwazuh_home = {}\nuser = root\n",
            self.state().display(),
            self.path("log").display(),
            self.path("ossec").display()
        );
        fs::write(self.place.config(), config.replacen("[default]\n", &folders, 1)).unwrap();
        fs::set_permissions(self.place.config(), fs::Permissions::from_mode(0o600)).unwrap();
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.place.folder.path().join(name)
    }

    pub fn state(&self) -> PathBuf {
        self.path("state")
    }

    pub fn wazuh(&self, name: &str) -> PathBuf {
        self.path("ossec").join(name)
    }

    /// Makes a run as short as one of a wodle with this interval.
    pub fn set_interval(&self, seconds: u64) {
        let block = format!(
            "<ossec_config><wodle name=\"command\"><command>/x/wazuh-akamai collect</command><interval>{seconds}s</interval></wodle></ossec_config>"
        );
        fs::write(self.wazuh("etc/ossec.conf"), block).unwrap();
    }

    /// Lets Wazuh say of itself what it is.
    pub fn set_version(&self, kind: &str, version: &str) {
        let control = self.wazuh("bin/wazuh-control");
        fs::create_dir_all(control.parent().unwrap()).unwrap();
        let info = format!("#!/bin/sh\necho 'WAZUH_VERSION=\"{version}\"'\necho 'WAZUH_TYPE=\"{kind}\"'\n");
        fs::write(&control, info).unwrap();
        fs::set_permissions(&control, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Binds Wazuh's queue socket anew.
    pub fn bind_queue(&self) -> UnixDatagram {
        let path = self.wazuh("queue/sockets/queue");
        let _ = fs::remove_file(&path);
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_nonblocking(true).unwrap();
        socket
    }

    /// Stores sample events numbered so, as of `seconds_ago`.
    pub fn store(&self, seconds_ago: i64, numbers: std::ops::Range<u64>) {
        self.akamai.store(seconds_ago, numbers.map(|number| samples::line(number, now() - seconds_ago)));
    }

    pub fn command(&self) -> Command {
        let mut command = program();
        command.arg("--config").arg(self.place.config()).arg("collect");
        command
    }

    /// Runs `collect`, which must write nothing to stderr and nothing but event lines to stdout.
    pub fn collect(&self) -> Ended {
        pure(finish(self.command(), b""))
    }

    /// The same where the default folder and log, which it turns to without a configuration, cannot be had: they may be those of a
    /// collector that works on this machine.
    pub fn collect_without_defaults(&self) -> Ended {
        let collect = self.command();
        let mut command = Command::new("strace");
        command.args([
            "-f",
            "-qq",
            "-o",
            "/dev/null",
            "-P",
            "/var/lib/wazuh-akamai",
            "-P",
            "/var/log/wazuh-akamai.log",
        ]);
        command.args(["-e", "trace=%file", "-e", "inject=%file:error=ENOENT"]);
        command.arg(collect.get_program()).args(collect.get_args()).env("NO_PROXY", "*");
        pure(finish(command, b""))
    }

    /// The same without a look at each line.
    pub fn collect_unchecked(&self) -> Ended {
        finish(self.command(), b"")
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// Names of the files in the state folder that begin so.
    pub fn state_files(&self, start: &str) -> Vec<PathBuf> {
        let mut files: Vec<PathBuf> = fs::read_dir(self.state())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with(start))
            .collect();
        files.sort();
        files
    }
}

/// Checks that stderr is empty and stdout holds whole event lines.
pub fn pure(ended: Ended) -> Ended {
    assert_eq!(ended.stderr, "", "stderr belongs to Wazuh");
    assert!(ended.stdout.is_empty() || ended.stdout.ends_with(b"\n"), "half a line");
    for event in ended.events() {
        assert!(["akamai_siem", "akamai_collector"].contains(&event["type"].as_str().unwrap()), "{event}");
    }
    ended
}

/// The numbers of the sample events among lines.
pub fn numbers(events: &[Value]) -> Vec<u64> {
    let siem = events.iter().filter(|event| event["type"] == "akamai_siem");
    siem.map(|event| {
        let id = event["id"].as_str().unwrap();
        u64::from_str_radix(id.split('.').next().unwrap(), 16).unwrap()
    })
    .collect()
}

/// The collector events among lines, as `event` or `recovered:of`.
pub fn notices(events: &[Value]) -> Vec<String> {
    let notices = events.iter().filter(|event| event["type"] == "akamai_collector");
    notices
        .map(|event| {
            let collector = &event["akamai"]["collector"];
            let name = collector["event"].as_str().unwrap();
            collector["of"].as_str().map_or_else(|| name.to_owned(), |of| format!("{name}:{of}"))
        })
        .collect()
}

/// A process that calls itself wazuh-modulesd and runs `collect` when told.
pub struct Modulesd {
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
    output: PathBuf,
}

impl Modulesd {
    pub fn start(site: &Site) -> Self {
        let script = r#"printf wazuh-modulesd > /proc/$$/comm
            while read -r out; do "$0" --config "$1" collect > "$out" 2> "$out.err" < /dev/null; echo $?; done"#;
        let mut child = Command::new("bash")
            .args(["-c", script, env!("CARGO_BIN_EXE_wazuh-akamai")])
            .arg(site.place.config())
            .env("NO_PROXY", "*")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let orders = child.stdin.take().unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap());
        Self { child, orders, answers, output: site.path("output") }
    }

    pub fn collect(&mut self) -> Ended {
        writeln!(self.orders, "{}", self.output.display()).unwrap();
        let mut code = String::new();
        self.answers.read_line(&mut code).unwrap();
        let stderr = fs::read_to_string(self.output.with_extension("err")).unwrap_or_default();
        pure(Ended::of(
            "collect under wazuh-modulesd",
            code.trim().parse().unwrap(),
            fs::read(&self.output).unwrap(),
            stderr,
        ))
    }
}

/// A wazuh-modulesd with its command wodle: connected once to Wazuh's queue, it forwards the whole output of a run, and only
/// then runs `collect` again. Once its socket is a dead one it forwards nothing any more, and says nothing.
pub struct Wodle {
    modulesd: Modulesd,
    queue: UnixDatagram,
}

impl Wodle {
    pub fn start(site: &Site) -> Self {
        let queue = UnixDatagram::unbound().unwrap();
        queue.connect(site.wazuh("queue/sockets/queue")).unwrap();
        queue.set_write_timeout(Some(Duration::from_secs(10))).unwrap();
        Self { modulesd: Modulesd::start(site), queue }
    }

    pub fn collect(&mut self) -> Ended {
        let ended = self.modulesd.collect();
        for line in ended.text().lines() {
            let _ = self.queue.send(format!("1:command_akamai_siem:{line}").as_bytes());
        }
        ended
    }
}

impl Drop for Modulesd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
