//! The Wazuh around us: where it lives, what it is, to whom its files belong, and what they say about pace, interval and
//! cluster. Never changes a file.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::unistd::Gid;
use rustix::fs::OFlags;

use super::conf::scan::scan;
use super::program::{self, PROGRAM_S_MAX};

/// Where Wazuh lives up to 4.x, and its agents ever since, unless the program lies in another one's folder of wodles.
const HOME: &str = "/var/ossec";

/// Where a manager lives from 5.0 on.
const MANAGER_5: &str = "var/wazuh-manager";

/// What to say of Wazuh 5.
const WAZUH_5: &str =
    "Wazuh 5 is not supported yet; what works today is a 4.14 agent with our wodle block, connected to the 5.x manager";

/// Bytes read of a file of Wazuh's.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// Events a second that the wodle forwards unless Wazuh's options say otherwise, and the bounds of that option
/// (`wazuh_modules.max_eps` in internal_options.conf of 4.14.9).
const MAX_EPS: u64 = 100;
const MAX_EPS_RANGE: std::ops::RangeInclusive<u64> = 1..=1_000;

/// Seconds between two runs: those of our block, and what counts where it cannot be found.
pub const INTERVAL_S: u64 = 300;

/// Seconds of an interval that are believed; a wodle that runs more often would find us still running.
const INTERVAL_S_MIN: u64 = 10;

/// What kind of Wazuh it is: only a manager has rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Manager,
    Agent,
}

/// User and group of a file.
pub type Owner = (u32, u32);

/// A Wazuh, or the place where it should be.
#[derive(Debug)]
pub struct Home {
    folder: PathBuf,
    /// The same as Wazuh itself sees it: without the root.
    inside: PathBuf,
    /// None where there is no Wazuh, or its program cannot be run.
    version: Option<String>,
    pub kind: Kind,
    /// It is a worker of a cluster: rules come from the master, which also fetches.
    pub is_worker: bool,
    /// Why nothing can be installed into it.
    pub problem: Option<HomeError>,
    /// Whom Wazuh works as.
    pub wazuh: Owner,
    /// It is no image that is being built below a root of its own.
    pub is_of_this_machine: bool,
}

/// Why there is nothing to install into. Packages install in any order: this is no failure.
#[derive(Debug, thiserror::Error)]
pub enum HomeError {
    #[error("there is no Wazuh in {}; install it, then run: wazuh-akamai install", .0.display())]
    None(PathBuf),
    #[error("cannot access {}: {error}; run this as root", folder.display())]
    Unseen { folder: PathBuf, error: io::Error },
    #[error("the Wazuh in {} is {version}: {WAZUH_5}", folder.display())]
    Five { folder: PathBuf, version: String },
    #[error("the Wazuh in {} is {version}, and wazuh-akamai works with 4.3 to 4.x; nothing was changed", folder.display())]
    Version { folder: PathBuf, version: String },
}

impl Home {
    /// The one below `root` that is configured, or that whose `wodles/akamai` holds this program, or the usual one.
    pub fn find(root: &Path, configured: Option<&Path>) -> Self {
        let is_of_this_machine = root == Path::new("/");
        let beside_program = || {
            let folder = std::env::current_exe().ok()?.parent()?.to_owned();
            folder.ends_with("wodles/akamai").then(|| folder.parent()?.parent().map(Path::to_owned))?
        };
        let inside = configured.map(Path::to_owned);
        let inside = inside.or_else(|| beside_program().filter(|_| is_of_this_machine)).unwrap_or_else(|| HOME.into());
        let folder = root.join(inside.strip_prefix("/").unwrap_or(&inside));
        let mut home = Self {
            folder,
            inside,
            version: None,
            kind: Kind::Manager,
            is_worker: false,
            problem: None,
            wazuh: (0, 0),
            is_of_this_machine,
        };
        home.problem = match home.ask() {
            Ok(()) => home.version_problem(),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                Some(HomeError::Unseen { folder: home.folder.clone(), error })
            }
            Err(_) => Some(home.manager_5(root).unwrap_or_else(|| HomeError::None(home.folder.clone()))),
        };
        home.is_worker = home.kind == Kind::Manager && home.read("etc/ossec.conf").is_some_and(|text| is_worker(&text));
        home
    }

    /// Has Wazuh say what it is.
    fn ask(&mut self) -> io::Result<()> {
        let etc = fs::metadata(self.path("etc"))?;
        self.wazuh = (etc.uid(), etc.gid());
        let mut info = Command::new(self.path("bin/wazuh-control"));
        info.arg("info");
        let info = program::run(info, PROGRAM_S_MAX)?.words;
        let value = |name: &str| {
            let found = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
            found.map(|text| text.trim_matches('"').to_owned())
        };
        self.version = Some(value("WAZUH_VERSION").unwrap_or_else(|| "of an unknown version".into()));
        if value("WAZUH_TYPE").as_deref() == Some("agent") {
            self.kind = Kind::Agent;
        }
        Ok(())
    }

    fn version_problem(&self) -> Option<HomeError> {
        let (folder, version) = (self.folder.clone(), self.version.clone().unwrap_or_default());
        match version_numbers(&version) {
            Some((4, 3..)) => None,
            Some((5.., _)) => Some(HomeError::Five { folder, version }),
            _ => Some(HomeError::Version { folder, version }),
        }
    }

    /// A manager of 5.0 or later, where the usual home is not there.
    fn manager_5(&self, root: &Path) -> Option<HomeError> {
        let folder = root.join(MANAGER_5);
        let version = "a manager of 5.0 or later".into();
        (self.inside == Path::new(HOME) && folder.is_dir()).then_some(HomeError::Five { folder, version })
    }

    /// Whether there is a Wazuh, of whatever version: what we made there must come out of any.
    pub fn is_there(&self) -> bool {
        self.version.is_some()
    }

    /// Whether our rules belong here.
    pub fn has_rules(&self) -> bool {
        self.kind == Kind::Manager && !self.is_worker
    }

    /// Why it gets no lines. From 5.0 on a command wodle forwards one event a run, the whole output cut at 64 KiB (read in the
    /// sources of 5.0.0), and an agent that is upgraded keeps our block. What does not tell its version may be such a one.
    pub fn no_lines_problem(&self) -> Option<String> {
        match self.numbers() {
            Some((5.., _)) => {
                Some(format!("this is {self}, which gets no lines: {WAZUH_5}; they are kept in the spool"))
            }
            Some(_) => None,
            None => self.unknown_version_problem(),
        }
    }

    /// A Wazuh is there and does not tell its version.
    pub fn unknown_version_problem(&self) -> Option<String> {
        let control = self.path("bin/wazuh-control");
        (self.numbers().is_none() && fs::symlink_metadata(&control).is_ok()).then(|| {
            format!(
                "{} info does not tell Wazuh's version, and Wazuh 5 would lose lines: they are kept in the spool until it does",
                control.display()
            )
        })
    }

    /// Why its queue cannot be the output: without analysisd's counters nobody would know what arrived.
    pub fn queue_problem(&self) -> Option<String> {
        let has_counters = self.numbers().is_some_and(|version| version >= (4, 4));
        (self.kind == Kind::Agent || !has_counters).then(|| {
            format!("output = queue needs a Wazuh manager 4.4 or later, and this is {self}: set output = stdout")
        })
    }

    fn numbers(&self) -> Option<(u32, u32)> {
        version_numbers(self.version.as_deref()?)
    }

    /// The group that may use its sockets, which is that of its files; none where they are root's.
    pub fn group(&self) -> Option<Gid> {
        (self.wazuh.1 != 0).then_some(Gid::from_raw(self.wazuh.1))
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A path inside it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// What a path is called inside it.
    pub fn name_of(&self, path: &Path) -> Option<String> {
        path.strip_prefix(&self.folder).ok()?.to_str().map(str::to_owned)
    }

    /// The socket that events go through.
    pub fn queue_socket(&self) -> PathBuf {
        self.path("queue/sockets/queue")
    }

    /// The socket that answers with analysisd's counters.
    pub fn counters_socket(&self) -> PathBuf {
        self.path("queue/sockets/analysis")
    }

    /// Our block of `ossec.conf`, for this home.
    pub fn block(&self) -> String {
        super::BLOCK.replace("/var/ossec/", &format!("{}/", self.inside.display()))
    }

    /// Events a second that the wodle forwards.
    pub fn max_eps(&self) -> u64 {
        let files = ["etc/local_internal_options.conf", "etc/internal_options.conf"];
        files.iter().find_map(|file| max_eps(&self.read(file)?)).unwrap_or(MAX_EPS)
    }

    /// Seconds between two runs of our wodle.
    pub fn interval_s(&self) -> u64 {
        self.read("etc/ossec.conf").and_then(|text| interval_s(&text)).unwrap_or(INTERVAL_S).max(INTERVAL_S_MIN)
    }

    fn read(&self, file: &str) -> Option<String> {
        let mut text = Vec::new();
        // A pipe would make its reader wait for ever.
        let nonblock = OFlags::NONBLOCK.bits().cast_signed();
        let file = OpenOptions::new().read(true).custom_flags(nonblock).open(self.path(file)).ok()?;
        file.take(FILE_BYTES_MAX).read_to_end(&mut text).ok()?;
        Some(String::from_utf8_lossy(&text).into_owned())
    }
}

impl fmt::Display for Home {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match (self.kind, self.is_worker) {
            (Kind::Manager, false) => "manager",
            (Kind::Manager, true) => "manager (a cluster worker)",
            (Kind::Agent, _) => "agent",
        };
        write!(f, "Wazuh {} {kind} in {}", self.version.as_deref().unwrap_or_default(), self.folder.display())
    }
}

/// The first two numbers of a version.
fn version_numbers(version: &str) -> Option<(u32, u32)> {
    let mut numbers = version.trim_start_matches('v').split('.').map(|number| number.parse().ok());
    Some((numbers.next()??, numbers.next()??))
}

fn max_eps(options: &str) -> Option<u64> {
    let value = options
        .lines()
        .rev()
        .find_map(|line| line.trim().strip_prefix("wazuh_modules.max_eps")?.trim().strip_prefix('='))?;
    value.trim().parse().ok().filter(|eps| MAX_EPS_RANGE.contains(eps))
}

/// The interval of the wodle whose command runs this program.
fn interval_s(ossec_conf: &str) -> Option<u64> {
    let document = scan(ossec_conf.as_bytes()).ok()?;
    let value = |wodle, name| document.value(wodle, name).and_then(|value| std::str::from_utf8(value).ok());
    let (ours, _) = document.sections("wodle").find(|(wodle, _)| {
        value(*wodle, "command").is_some_and(|command| command.contains("wazuh-akamai") && command.contains("collect"))
    })?;
    let interval = value(ours, "interval")?.trim();
    let digits = interval.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = interval.split_at(digits);
    let seconds = match unit {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        "w" => 604_800,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(seconds)
}

fn is_worker(ossec_conf: &str) -> bool {
    let Ok(document) = scan(ossec_conf.as_bytes()) else { return false };
    let clusters = || document.sections("cluster").map(|(cluster, _)| cluster);
    let last = |name| clusters().filter_map(|cluster| document.value(cluster, name)).last();
    // `client` is the old name of a worker; a cluster section without `disabled` is switched on.
    matches!(last("node_type"), Some(b"worker" | b"client")) && matches!(last("disabled"), None | Some(b"no"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_pace_is_the_last_that_wazuh_would_take() {
        assert_eq!(max_eps("# x\nwazuh_modules.max_eps=250\n"), Some(250));
        assert_eq!(max_eps("wazuh_modules.max_eps=250\nwazuh_modules.max_eps = 300"), Some(300));
        for text in ["", "#wazuh_modules.max_eps=9", "wazuh_modules.max_eps=0", "wazuh_modules.max_eps=1001"] {
            assert_eq!(max_eps(text), None, "{text}");
        }
    }

    #[test]
    fn the_local_options_come_first() {
        let home = tempfile::tempdir().unwrap();
        fs::create_dir(home.path().join("etc")).unwrap();
        let wazuh = Home::find(Path::new("/"), Some(home.path()));
        assert_eq!((wazuh.max_eps(), wazuh.interval_s(), wazuh.is_worker), (100, 300, false));
        fs::write(home.path().join("etc/internal_options.conf"), "wazuh_modules.max_eps=100\n").unwrap();
        fs::write(home.path().join("etc/local_internal_options.conf"), "wazuh_modules.max_eps=1000\n").unwrap();
        assert_eq!(wazuh.max_eps(), 1_000);
    }

    #[test]
    fn the_interval_is_that_of_our_own_block() {
        let block = |command: &str, interval: &str| {
            format!(
                "<ossec_config><wodle name=\"command\"><command>{command}</command><interval>{interval}</interval></wodle></ossec_config>\n"
            )
        };
        let other = block("/bin/other", "1m");
        let ours = block("/var/ossec/wodles/akamai/wazuh-akamai collect", "2m");
        assert_eq!(interval_s(&format!("{other}{ours}")), Some(120));
        assert_eq!(interval_s(&format!("<!-- {ours} -->{other}")), None);
        assert_eq!(interval_s(&block("wazuh-akamai collect", "30")), Some(30));
        assert_eq!(interval_s(&block("wazuh-akamai collect", "soon")), None);
    }

    #[test]
    fn a_worker_is_one_whose_cluster_is_switched_on() {
        let cluster = |kind: &str, disabled: &str| {
            format!(
                "<ossec_config><cluster><node_type>{kind}</node_type><disabled>{disabled}</disabled></cluster></ossec_config>"
            )
        };
        assert!(is_worker(&cluster("worker", "no")));
        assert!(is_worker("<ossec_config><cluster><node_type>client</node_type></cluster></ossec_config>"));
        assert!(!is_worker(&cluster("worker", "yes")));
        assert!(!is_worker(&cluster("master", "no")));
        assert!(!is_worker(&format!("<!-- {} -->", cluster("worker", "no"))));
        assert!(!is_worker(""));
    }

    #[test]
    fn versions_4_3_to_4_x_are_supported() {
        let mut home = Home::find(Path::new("/nowhere"), None);
        assert!(matches!(home.problem, Some(HomeError::None(_))) && !home.is_there());
        let mut problem = |version: &str| {
            home.version = Some(version.into());
            home.version_problem()
        };
        for version in ["v4.3.0", "v4.14.9", "4.99.1"] {
            assert!(problem(version).is_none(), "{version}");
        }
        for version in ["v4.2.7", "v3.13.1", "", "v4"] {
            assert!(matches!(problem(version), Some(HomeError::Version { .. })), "{version}");
        }
        assert!(matches!(problem("v5.0.0"), Some(HomeError::Five { .. })));
    }
}
