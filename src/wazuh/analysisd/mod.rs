//! Wazuh's analysisd from the side of who sends it events: its queue socket, and its counters. Decides nothing: `pace` says how
//! many lines may go, `barrier` what has arrived.

pub mod barrier;
pub mod pace;
pub mod stats;
mod unread;

use std::fs;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::net::sockopt;

use self::stats::{ANSWER_BYTES_MAX, Stats};
use super::TAG;
use super::home::Home;
use crate::files::open_regular;

/// Time to wait for room in the receiver's kernel queue, in milliseconds.
const SEND_MS_MAX: u64 = 100;

/// Bytes of the largest message: `max_line` at its most and its head. Wazuh makes as much room (OS_MAXSTR).
const MESSAGE_BYTES_MAX: usize = 65_536;

/// Time for an answer with counters, in seconds: during a hot reload it takes one.
const STATS_S_MAX: u64 = 3;

/// Time between two questions for counters that may still come.
const AGAIN: Duration = Duration::from_millis(100);

/// Bytes of room without which alerts may not be written: analysisd counts them all the same, and says nothing (observed on
/// 4.14.9).
const ROOM_BYTES_MIN: u64 = 1 << 20;

/// What is said where there is no such room.
pub const NO_ROOM: &str =
    "there is no room in Wazuh's logs/alerts, so that alerts would be lost: make room on that disk";

/// What to say where a socket of Wazuh's may not be used.
const DENIED: &str = "this user may not use it: set user = wazuh";

/// The way to analysisd.
#[derive(Debug)]
pub struct Analysisd {
    queue: PathBuf,
    control: PathBuf,
    alerts: PathBuf,
    /// What every message begins with: the queue of log lines, and the location.
    head: Vec<u8>,
    message: Vec<u8>,
    socket: Option<UnixDatagram>,
    /// It is of a version that has counters.
    has_counters: bool,
}

/// What became of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// The kernel has it.
    Taken,
    /// There is no room now.
    NoRoom,
}

/// Why there are no counters.
#[derive(Debug, thiserror::Error)]
pub enum StatsError {
    /// Nobody answers, or not in time.
    #[error("{} does not answer: {error}", path.display())]
    NoAnswer {
        /// The socket.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// The answer has no counters: Wazuh 4.3 speaks another protocol there.
    #[error("{} answers without counters ({problem}): they need Wazuh 4.4 or later", path.display())]
    NoCounters {
        /// The socket.
        path: PathBuf,
        /// What is wrong with the answer.
        problem: String,
    },
    /// It has counters, and they are not for us.
    #[error("cannot use {} ({error}): {DENIED}", path.display())]
    Denied {
        /// The socket.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// It has only just started.
    #[error("analysisd is just starting")]
    Starting,
}

impl StatsError {
    /// Whether there may be counters soon: somebody listens who has them, or somebody else may mend it.
    pub fn may_pass(&self) -> bool {
        use io::ErrorKind::{ConnectionRefused, NotFound, PermissionDenied};
        match self {
            Self::Starting | Self::Denied { .. } => true,
            Self::NoCounters { .. } => false,
            Self::NoAnswer { error, .. } => !matches!(error.kind(), ConnectionRefused | NotFound | PermissionDenied),
        }
    }
}

impl Analysisd {
    /// That of this Wazuh.
    pub fn of(home: &Home) -> Self {
        Self {
            queue: home.queue_socket(),
            control: home.counters_socket(),
            alerts: home.path("logs/alerts"),
            // The tag holds no `:`, which would have to be escaped.
            head: format!("1:command_{TAG}:").into_bytes(),
            message: Vec::new(),
            socket: None,
            has_counters: home.queue_problem().is_none(),
        }
    }

    /// Whether analysisd has room to write alerts.
    pub fn has_room(&self) -> bool {
        // Where that cannot be known there is no reason to wait.
        rustix::fs::statvfs(&self.alerts)
            .map_or(true, |disk| disk.f_bavail.saturating_mul(disk.f_frsize) >= ROOM_BYTES_MIN)
    }

    /// Whether alerts.json is known to end where a line ends.
    fn ends_with_a_whole_line(&self) -> bool {
        let Ok(mut file) = open_regular(&self.alerts.join("alerts.json")) else { return false };
        let mut last = [b'\n'];
        let is_empty = file.seek(SeekFrom::End(-1)).is_err();
        (is_empty || file.read_exact(&mut last).is_ok()) && last == [b'\n']
    }

    /// Connects to the queue socket unless that has been done.
    pub fn connect(&mut self) -> io::Result<()> {
        if self.socket.is_some() {
            return Ok(());
        }
        let named = |error: io::Error| {
            let why = if error.kind() == io::ErrorKind::PermissionDenied { DENIED } else { "is Wazuh running?" };
            io::Error::new(error.kind(), format!("cannot connect to {} ({error}): {why}", self.queue.display()))
        };
        let socket = UnixDatagram::unbound()?;
        allow_largest_message(&socket)?;
        socket.set_write_timeout(Some(Duration::from_millis(SEND_MS_MAX)))?;
        socket.connect(&self.queue).map_err(named)?;
        self.socket = Some(socket);
        Ok(())
    }

    /// Sends a line, whose line end is left out. What fails ends the connection.
    ///
    /// # Errors
    /// When nobody listens any more, or nobody did.
    pub fn send(&mut self, line: &[u8]) -> io::Result<Sent> {
        let socket = self.socket.as_ref().ok_or(io::ErrorKind::NotConnected)?;
        self.message.clear();
        self.message.extend_from_slice(&self.head);
        self.message.extend_from_slice(line.strip_suffix(b"\n").unwrap_or(line));
        loop {
            match socket.send(&self.message) {
                Ok(_) => return Ok(Sent::Taken),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if is_no_room(&error) => return Ok(Sent::NoRoom),
                Err(error) => {
                    self.socket = None;
                    return Err(error);
                }
            }
        }
    }

    /// Sends one line, come what may: for what cannot wait its turn.
    pub fn send_now(&mut self, line: &[u8]) -> io::Result<()> {
        self.connect()?;
        match self.send(line)? {
            Sent::Taken => Ok(()),
            Sent::NoRoom => Err(io::Error::new(io::ErrorKind::WouldBlock, "Wazuh's queue is full")),
        }
    }

    /// Bytes sent that it has not taken from its socket; at 0 it has received everything (observed on 4.14.9, without an
    /// exception in 2,000 looks).
    pub fn unread_bytes(&self) -> io::Result<u64> {
        unread::bytes(self.socket.as_ref().ok_or(io::ErrorKind::NotConnected)?)
    }

    /// Its counters. They take 0.1 to 0.3 ms.
    pub fn stats(&self) -> Result<Stats, StatsError> {
        let path = || self.control.clone();
        let answer = self.ask().map_err(|error| match error.kind() {
            io::ErrorKind::PermissionDenied if self.has_counters => StatsError::Denied { path: path(), error },
            _ => StatsError::NoAnswer { path: path(), error },
        })?;
        let stats = stats::parse(&answer).map_err(|problem| StatsError::NoCounters { path: path(), problem })?;
        let mut stats = stats.ok_or(StatsError::Starting)?;
        stats.counters.boot = crate::wazuh::wodle::boot();
        stats.may_be_glued = stats.may_be_glued && !self.ends_with_a_whole_line();
        Ok(stats)
    }

    /// The same, asked again for so long as an answer may still come.
    pub fn stats_within(&self, time: Duration) -> Result<Stats, StatsError> {
        let until = Instant::now() + time;
        loop {
            match self.stats() {
                Err(error) if error.may_pass() && Instant::now() < until => std::thread::sleep(AGAIN),
                other => return other,
            }
        }
    }

    /// Whether it can be asked for counters, if not at once.
    pub fn has_counters(&self) -> bool {
        matches!(self.stats(), Ok(_) | Err(StatsError::Starting))
    }

    /// A connection that asks nothing would keep everybody else's questions waiting.
    fn ask(&self) -> io::Result<Vec<u8>> {
        let mut stream = connect_at_once(&self.control)?;
        let limit = Some(Duration::from_secs(STATS_S_MAX));
        stream.set_read_timeout(limit)?;
        stream.set_write_timeout(limit)?;
        stream.write_all(&stats::request())?;
        let mut length = [0; 4];
        stream.read_exact(&mut length)?;
        let length = u32::from_le_bytes(length);
        if length > ANSWER_BYTES_MAX {
            // 4.3 answers with text: its first letters are no length.
            return Ok(length.to_le_bytes().to_vec());
        }
        let mut answer = vec![0; length as usize];
        stream.read_exact(&mut answer)?;
        Ok(answer)
    }
}

/// Cores of this machine, for analysisd has a thread of each kind on each of them; 0 where they are not known.
pub fn cores() -> u64 {
    let online = fs::read_to_string("/sys/devices/system/cpu/online").unwrap_or_default();
    let last = online.trim().rsplit(['-', ',']).next().and_then(|last| last.parse::<u64>().ok());
    last.map_or(0, |last| last.saturating_add(1))
}

/// Connects, or fails where the listener's queue is full: one that hangs would keep us waiting without a limit.
fn connect_at_once(path: &Path) -> io::Result<UnixStream> {
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
    let stream = UnixStream::from(socket);
    stream.set_nonblocking(false)?;
    Ok(stream)
}

/// Lets the largest message through, where the system's default (`net.core.wmem_default`) is too small for it. The kernel gives
/// twice what it is asked for, and counts what it adds.
fn allow_largest_message(socket: &UnixDatagram) -> io::Result<()> {
    if sockopt::socket_send_buffer_size(socket)? < 2 * MESSAGE_BYTES_MAX {
        sockopt::set_socket_send_buffer_size(socket, MESSAGE_BYTES_MAX)?;
    }
    Ok(())
}

/// The kernel's queue is full, or its memory for what is under way.
fn is_no_room(error: &io::Error) -> bool {
    let no_buffers = rustix::io::Errno::NOBUFS.raw_os_error();
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
        || error.raw_os_error() == Some(no_buffers)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    #[test]
    fn the_largest_message_has_room_whatever_the_systems_default_is() {
        let (socket, _receiver) = UnixDatagram::pair().unwrap();
        sockopt::set_socket_send_buffer_size(&socket, 8 << 10).unwrap();
        let message = [b'x'; MESSAGE_BYTES_MAX];
        let too_large = rustix::io::Errno::MSGSIZE.raw_os_error();
        assert_eq!(socket.send(&message).unwrap_err().raw_os_error(), Some(too_large));
        allow_largest_message(&socket).unwrap();
        assert_eq!(socket.send(&message).unwrap(), MESSAGE_BYTES_MAX);
    }

    #[test]
    fn a_listener_that_takes_nobody_is_no_reason_to_wait() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("analysis");
        let _listener = UnixListener::bind(&path).unwrap();
        let mut taken = Vec::new();
        let error = (0..100_000).find_map(|_| match connect_at_once(&path) {
            Ok(stream) => {
                taken.push(stream);
                None
            }
            Err(error) => Some(error),
        });
        assert_eq!(error.unwrap().kind(), io::ErrorKind::WouldBlock);
    }
}
