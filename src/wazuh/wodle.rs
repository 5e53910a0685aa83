//! Who runs us, and the queue socket that Wazuh's events go through. Never changes either.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};

use crate::clock::unix_seconds;

/// Name of the process whose command wodle runs us.
const MODULESD: &str = "wazuh-modulesd";

/// Clock ticks a second in `/proc` (proc(5); 100 wherever Wazuh runs).
const TICKS_PER_S: f64 = 100.0;

/// Seconds after its start in which Wazuh's other daemons have made their sockets.
const CONNECTED_S_MAX: f64 = 60.0;

/// A process, told apart from a later one with the same number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parent {
    /// The start of the machine under which it runs.
    #[serde(default)]
    pub boot: u64,
    /// Its number.
    pub pid: i32,
    /// When it started, in clock ticks since the machine did.
    pub start: u64,
    /// Its name, as it calls itself.
    pub name: String,
}

/// A socket file, told apart from a later one in its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SocketId {
    /// Device of the file system.
    pub device: u64,
    /// Number of the file.
    pub inode: u64,
    /// When it was made (a change of its mode does not make another one of it); where the file system does not know, when
    /// its entry changed last. In nanoseconds.
    #[serde(default)]
    pub made_ns: i64,
}

impl Parent {
    /// The process that started this one.
    pub fn of_this_process() -> Self {
        let pid = rustix::process::getppid().map_or(0, |pid| pid.as_raw_nonzero().get());
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let (name, start) = name_and_start(&stat).unwrap_or_default();
        Self { boot: boot(), pid, start, name }
    }

    /// Whether it still runs.
    pub fn is_alive(&self) -> bool {
        if self.boot != boot() {
            return false;
        }
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid)).unwrap_or_default();
        name_and_start(&stat).is_some_and(|(_, start)| start == self.start)
    }

    /// Whether this socket was made so long after the process began that a wodle of its has connected to one before it.
    pub fn is_older_than(&self, socket: &SocketId) -> bool {
        let uptime = fs::read_to_string("/proc/uptime").unwrap_or_default();
        let uptime_s = uptime.split_ascii_whitespace().next().and_then(|seconds| seconds.parse::<f64>().ok());
        let Some(uptime_s) = uptime_s else { return false };
        let age_s = uptime_s - self.start as f64 / TICKS_PER_S;
        let socket_age_s = unix_seconds() as f64 - socket.made_ns as f64 / 1e9;
        age_s - socket_age_s > CONNECTED_S_MAX
    }

    /// Whether it is the one that runs wodles.
    pub fn is_modulesd(&self) -> bool {
        self.name == MODULESD
    }
}

impl SocketId {
    /// The socket at this path, if somebody listens there: a killed one leaves its file behind.
    pub fn at(path: &Path) -> Option<Self> {
        let metadata = fs::metadata(path).ok().filter(|metadata| metadata.file_type().is_socket())?;
        let reached = UnixDatagram::unbound().and_then(|socket| socket.connect(path));
        if reached.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused) {
            return None;
        }
        let made = metadata.created().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        let made_ns = made.and_then(|time| i64::try_from(time.as_nanos()).ok());
        let changed_ns = || metadata.ctime().saturating_mul(1_000_000_000).saturating_add(metadata.ctime_nsec());
        Some(Self { device: metadata.dev(), inode: metadata.ino(), made_ns: made_ns.unwrap_or_else(changed_ns) })
    }
}

/// What tells one start of this machine from another.
pub fn boot() -> u64 {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let digits = id.bytes().filter_map(|byte| char::from(byte).to_digit(16)).take(16);
    digits.fold(0, |number, digit| number << 4 | u64::from(digit))
}

/// From a line of `/proc/PID/stat`: the name stands in parentheses and may hold some itself, the start is field 22.
fn name_and_start(stat: &str) -> Option<(String, u64)> {
    let (before, after) = stat.rsplit_once(')')?;
    let (_, name) = before.split_once('(')?;
    let start = after.split_ascii_whitespace().nth(19)?.parse().ok()?;
    Some((name.to_owned(), start))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_by_name_and_start() {
        let stat = "12 (a) b (c)) S 1 12 12 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4711 9 9";
        assert_eq!(name_and_start(stat), Some(("a) b (c)".into(), 4711)));
        assert_eq!(name_and_start(""), None);
        let parent = Parent::of_this_process();
        assert!(parent.pid > 0 && parent.start > 0 && parent.boot > 0 && !parent.name.is_empty());
        assert!(parent.is_alive() && !Parent { boot: parent.boot ^ 1, ..parent }.is_alive());
    }

    #[test]
    fn a_socket_made_long_after_a_process_began_is_not_the_first() {
        let uptime = fs::read_to_string("/proc/uptime").unwrap();
        let uptime_s: u64 = uptime.split('.').next().unwrap().parse().unwrap();
        let began = |seconds_ago: u64| Parent {
            boot: boot(),
            pid: 1,
            start: uptime_s.saturating_sub(seconds_ago) * 100,
            name: MODULESD.into(),
        };
        let made = |seconds_ago: i64| SocketId {
            device: 1,
            inode: 1,
            made_ns: (unix_seconds() - seconds_ago) * 1_000_000_000,
        };
        let times = [(100, 110, false), (100, 95, false), (100, 50, false), (100, 20, true), (5, 0, false)];
        for (age_s, socket_age_s, is_older) in times {
            assert_eq!(began(age_s).is_older_than(&made(socket_age_s)), is_older, "{age_s} {socket_age_s}");
        }
    }

    #[test]
    fn a_socket_that_was_replaced_is_another_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("queue");
        assert_eq!(SocketId::at(&path), None);
        let first = UnixDatagram::bind(&path).unwrap();
        let id = SocketId::at(&path).unwrap();
        assert_eq!(SocketId::at(&path).unwrap(), id);
        fs::remove_file(&path).unwrap();
        let _second = UnixDatagram::bind(&path).unwrap();
        assert_ne!(SocketId::at(&path).unwrap(), id);
        drop(first);
    }

    #[test]
    fn a_socket_that_nobody_listens_at_counts_as_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("queue");
        drop(UnixDatagram::bind(&path).unwrap());
        assert!(fs::metadata(&path).unwrap().file_type().is_socket());
        assert_eq!(SocketId::at(&path), None);
    }
}
