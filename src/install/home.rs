//! The Wazuh that we install into: which one it is, to whom its files belong, and its own programs. Never changes a file.

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::program::{self, PROGRAM_S_MAX, Ran};
use super::{BLOCK, InstallError};
use crate::files::FileError;
use crate::wazuh::Wazuh;

/// Characters of a program's words that are repeated.
const SAYS_CHARS_MAX: usize = 2_000;

/// Time to wait for another `install` or `uninstall`, in seconds: it may test twice and restart.
const LOCK_S_MAX: u64 = 900;

/// Time between two looks at the lock, in milliseconds.
const LOCK_LOOK_MS: u64 = 50;

/// Where Wazuh lives up to 4.x, and its agents ever since.
const HOME: &str = "/var/ossec";

/// Where a manager lives from 5.0 on.
const MANAGER_5: &str = "var/wazuh-manager";

/// What to say of Wazuh 5.
const WAZUH_5: &str =
    "Wazuh 5 is not supported yet; what works today is a 4.14 agent with our wodle block, connected to the 5.x manager";

/// What kind of Wazuh it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A manager: it has rules.
    Manager,
    /// An agent: it has none.
    Agent,
}

/// A Wazuh 4.3 to 4.x.
#[derive(Clone, Debug)]
pub struct Home {
    folder: PathBuf,
    /// The same as Wazuh itself sees it: without the root.
    inside: PathBuf,
    version: String,
    /// What it is.
    pub kind: Kind,
    /// It is a worker of a cluster: its rules come from the master.
    pub is_worker: bool,
    /// The user and group that Wazuh works as.
    wazuh: (u32, u32),
    /// It is no image that is being built below a root of its own.
    pub(super) is_of_this_machine: bool,
}

/// Why there is nothing to install into. Packages install in any order: this is no failure.
#[derive(Debug, thiserror::Error)]
pub enum HomeError {
    /// No Wazuh.
    #[error("there is no Wazuh in {}; install it, then run: wazuh-akamai install", .0.display())]
    None(PathBuf),
    /// It cannot be looked at.
    #[error("cannot look at {}: {error}; run this as root", folder.display())]
    Unseen {
        /// Where.
        folder: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// One that is not supported yet.
    #[error("the Wazuh in {} is {version}: {WAZUH_5}", folder.display())]
    Five {
        /// Where.
        folder: PathBuf,
        /// What it says of itself.
        version: String,
    },
    /// Not one we know.
    #[error("the Wazuh in {} is {version}, and wazuh-akamai works with 4.3 to 4.x; nothing was changed", folder.display())]
    Version {
        /// Where.
        folder: PathBuf,
        /// What it says of itself.
        version: String,
    },
}

/// User and group of a file.
pub(super) type Owner = (u32, u32);

impl Home {
    /// Looks at the Wazuh home below `root`.
    ///
    /// # Errors
    /// None, or one that is not supported.
    pub fn find(root: &Path, configured: Option<&Path>) -> Result<Self, HomeError> {
        let home = Self::find_any(root, configured).map_err(|error| match error {
            HomeError::None(_) if configured.is_none_or(|folder| folder == Path::new(HOME)) => {
                manager_5(root).unwrap_or(error)
            }
            _ => error,
        })?;
        match home.wazuh_5_problem() {
            None if home.is_supported() => Ok(home),
            None => Err(HomeError::Version { folder: home.folder, version: home.version }),
            Some(_) => Err(HomeError::Five { folder: home.folder, version: home.version }),
        }
    }

    /// Whether it is one that we install into.
    pub fn is_supported(&self) -> bool {
        is_supported(&self.version)
    }

    /// Why it gets no lines. From 5.0 on a command wodle forwards one event a run, the whole output cut at 64 KiB (read in the
    /// sources of 5.0.0), and an agent that is upgraded keeps our block.
    pub fn wazuh_5_problem(&self) -> Option<String> {
        let is_5 = version_numbers(&self.version).is_some_and(|version| version >= (5, 0));
        is_5.then(|| format!("this is {self}, which gets no lines: {WAZUH_5}; they are kept in the spool"))
    }

    /// The same whatever its version: what we made there must come out of any.
    ///
    /// # Errors
    /// None.
    pub fn find_any(root: &Path, configured: Option<&Path>) -> Result<Self, HomeError> {
        let inside = configured.unwrap_or(Path::new(HOME));
        let folder = root.join(inside.strip_prefix("/").unwrap_or(inside));
        let none = |error: io::Error| match error.kind() {
            io::ErrorKind::PermissionDenied => HomeError::Unseen { folder: folder.clone(), error },
            _ => HomeError::None(folder.clone()),
        };
        let etc = fs::metadata(folder.join("etc")).map_err(none)?;
        let control = folder.join("bin/wazuh-control");
        let mut info = Command::new(&control);
        info.arg("info");
        let info = program::run(info, PROGRAM_S_MAX).map_err(none)?.words;
        let value = |name: &str| {
            info.lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
                .map(|text| text.trim_matches('"').to_owned())
        };
        let version = value("WAZUH_VERSION").unwrap_or_else(|| "of an unknown version".into());
        let kind = if value("WAZUH_TYPE").as_deref() == Some("agent") { Kind::Agent } else { Kind::Manager };
        let is_worker = kind == Kind::Manager && Wazuh::find(Some(&folder)).is_worker();
        let inside = inside.to_owned();
        let is_of_this_machine = root == Path::new("/");
        Ok(Self { folder, inside, version, kind, is_worker, wazuh: (etc.uid(), etc.gid()), is_of_this_machine })
    }

    /// A path inside it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Why its queue cannot be the output: without analysisd's counters nobody would know what arrived.
    pub fn queue_problem(&self) -> Option<String> {
        let has_counters = version_numbers(&self.version).is_some_and(|version| version >= (4, 4));
        (self.kind == Kind::Agent || !has_counters).then(|| {
            format!("output = queue needs a Wazuh manager 4.4 or later, and this is {self}: set output = stdout")
        })
    }

    /// Our block of `ossec.conf`, for this home.
    pub(super) fn block(&self) -> String {
        BLOCK.replace("/var/ossec/", &format!("{}/", self.inside.display()))
    }

    /// root and Wazuh's group.
    pub(super) fn binary_owner(&self) -> Owner {
        // Where the tests are not root, files can only belong to whoever runs them.
        let root = if nix::unistd::geteuid().is_root() { 0 } else { nix::unistd::geteuid().as_raw() };
        (root, self.wazuh.1)
    }

    /// Wazuh's user and group.
    pub(super) fn rules_owner(&self) -> Owner {
        self.wazuh
    }

    /// Makes sure that no link leads a path of ours out of the home.
    pub(super) fn contains(&self, path: &Path) -> Result<(), InstallError> {
        let home = fs::canonicalize(&self.folder).map_err(FileError::of("read", &self.folder))?;
        let there = path.ancestors().skip(1).find_map(|folder| fs::canonicalize(folder).ok());
        if there.is_some_and(|folder| folder.starts_with(&home)) {
            Ok(())
        } else {
            Err(InstallError::Strange(path.to_owned()))
        }
    }

    /// What a path is called inside the home.
    pub(super) fn name_of(&self, path: &Path) -> Option<String> {
        path.strip_prefix(&self.folder).ok()?.to_str().map(str::to_owned)
    }

    /// The text of a regular file that lies inside the home, whatever links lead to it.
    pub(super) fn read_inside(&self, path: &Path) -> Result<Vec<u8>, InstallError> {
        let real = fs::canonicalize(path).map_err(FileError::of("read", path))?;
        let home = fs::canonicalize(&self.folder).map_err(FileError::of("read", &self.folder))?;
        if !real.starts_with(&home) || !fs::metadata(&real).is_ok_and(|metadata| metadata.is_file()) {
            return Err(InstallError::Strange(path.to_owned()));
        }
        fs::read(&real).map_err(|error| FileError::of("read", path)(error).into())
    }

    /// Has Wazuh's own programs check its configuration; gives the program that refuses and its words.
    pub(super) fn validate(&self) -> Result<(), (String, String)> {
        let programs: &[&str] = match self.kind {
            Kind::Manager => &["wazuh-modulesd", "wazuh-analysisd"],
            Kind::Agent => &["wazuh-modulesd", "wazuh-agentd"],
        };
        for name in programs {
            self.test(name).map_err(|says| ((*name).to_owned(), says))?;
        }
        Ok(())
    }

    /// Has one of Wazuh's programs check the configuration; gives its words where it refuses.
    pub(super) fn test(&self, name: &str) -> Result<(), String> {
        let mut test = Command::new(self.path("bin").join(name));
        test.arg("-t");
        let ran = program::run(test, PROGRAM_S_MAX).map_err(|error| error.to_string())?;
        if ran.status.success() { Ok(()) } else { Err(words(&ran)) }
    }

    /// Keeps every other `install` and `uninstall` out until the lock is dropped; waits for the one that is at work.
    pub(super) fn lock(&self) -> Result<File, InstallError> {
        let folder = self.path("bin");
        let failed = FileError::of("lock", &folder);
        let lock = File::open(&folder).map_err(FileError::of("open", &folder))?;
        let until = Instant::now() + Duration::from_secs(LOCK_S_MAX);
        let mut is_told = false;
        loop {
            match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(lock),
                Err(Errno::INTR) => {}
                Err(Errno::WOULDBLOCK) if Instant::now() < until => {
                    if !is_told {
                        log::info!("another install or uninstall is at work: waiting for it");
                    }
                    is_told = true;
                    thread::sleep(Duration::from_millis(LOCK_LOOK_MS));
                }
                Err(error) => return Err(failed(error.into()).into()),
            }
        }
    }
}

impl fmt::Display for Home {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match (self.kind, self.is_worker) {
            (Kind::Manager, false) => "manager",
            (Kind::Manager, true) => "manager (a cluster's worker)",
            (Kind::Agent, _) => "agent",
        };
        write!(f, "Wazuh {} {kind} in {}", self.version, self.folder.display())
    }
}

/// A manager of 5.0 or later below `root`, if there is one.
fn manager_5(root: &Path) -> Option<HomeError> {
    let folder = root.join(MANAGER_5);
    folder.is_dir().then(|| HomeError::Five { folder, version: "a manager of 5.0 or later".into() })
}

fn is_supported(version: &str) -> bool {
    version_numbers(version).is_some_and(|(major, minor)| major == 4 && minor >= 3)
}

/// What a program says that failed.
pub(super) fn words(ran: &Ran) -> String {
    match ran.words.trim() {
        "" => format!("nothing, and it ended with {}", ran.status),
        text => text.chars().take(SAYS_CHARS_MAX).collect(),
    }
}

/// The first two numbers of a version.
fn version_numbers(version: &str) -> Option<(u32, u32)> {
    let mut numbers = version.trim_start_matches('v').split('.').map(|number| number.parse().ok());
    Some((numbers.next()??, numbers.next()??))
}

#[cfg(test)]
mod tests {
    use super::is_supported;

    #[test]
    fn versions_4_3_to_4_x_are_supported() {
        for version in ["v4.3.0", "v4.14.9", "4.99.1"] {
            assert!(is_supported(version), "{version}");
        }
        for version in ["v4.2.7", "v5.0.0", "v3.13.1", "", "v4"] {
            assert!(!is_supported(version), "{version}");
        }
    }
}
