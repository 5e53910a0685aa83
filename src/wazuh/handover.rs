//! Event lines to the wodle: stdout, whole lines only, whatever happens. Never blocks inside a line, so that a signal can end
//! the process between two lines at any moment.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::Timespec;
use rustix::io::Errno;
use rustix::stdio::stdout;

/// Bytes that a pipe takes whole or not at all (Linux's PIPE_BUF).
const ATOMIC_BYTES: usize = 4_096;

/// Bytes collected before they are written to something that is no pipe.
const WRITE_BYTES: usize = 64 << 10;

/// Time between two looks at a pipe that is full, in milliseconds.
const LOOK_MS: u64 = 20;

/// Held while a line is on its way; who takes it finds stdout between two lines.
#[derive(Clone, Debug, Default)]
pub struct LineGuard(Arc<Mutex<()>>);

/// Why nothing more can be written.
#[derive(Debug)]
pub enum HandoverError {
    /// The reader has closed the pipe: Wazuh does so when it has 64 MiB.
    Closed,
    /// stdout is a full disk, say.
    Failed(io::Error),
}

/// Writes lines to stdout.
#[derive(Debug)]
pub struct Handover {
    guard: LineGuard,
    is_pipe: bool,
    /// Whole lines not yet written.
    text: Vec<u8>,
    /// Lines so far.
    pub lines: u64,
    /// Bytes so far, of all lines.
    pub bytes: u64,
}

impl LineGuard {
    /// Waits until no line is on its way.
    pub fn between_lines(&self) -> MutexGuard<'_, ()> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The same for so long; none where a line is still stuck by then, because nobody reads.
    pub fn between_lines_within(&self, time: Duration) -> Option<MutexGuard<'_, ()>> {
        let until = Instant::now() + time;
        loop {
            match self.0.try_lock() {
                Ok(guard) => return Some(guard),
                Err(TryLockError::Poisoned(guard)) => return Some(guard.into_inner()),
                Err(TryLockError::WouldBlock) if Instant::now() >= until => return None,
                Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(1)),
            }
        }
    }
}

impl Handover {
    /// A writer that takes `guard` for each write.
    pub fn new(guard: LineGuard) -> Self {
        let is_pipe = rustix::pipe::fcntl_getpipe_size(stdout()).is_ok();
        Self { guard, is_pipe, text: Vec::with_capacity(WRITE_BYTES), lines: 0, bytes: 0 }
    }

    /// Writes a line, which has its line end.
    ///
    /// # Errors
    /// When nothing more can be written; what was written before is whole.
    pub fn write_line(&mut self, line: &[u8]) -> Result<(), HandoverError> {
        let room = if self.is_pipe { ATOMIC_BYTES } else { WRITE_BYTES };
        if self.text.len() + line.len() > room {
            self.flush()?;
        }
        self.text.extend_from_slice(line);
        self.lines += 1;
        self.bytes += line.len() as u64;
        Ok(())
    }

    /// Writes what is left.
    ///
    /// # Errors
    /// When nothing more can be written.
    pub fn flush(&mut self) -> Result<(), HandoverError> {
        if self.text.is_empty() {
            return Ok(());
        }
        if self.is_pipe {
            wait_for_room(self.text.len())?;
        }
        let written = {
            let _between_lines = self.guard.between_lines();
            write_all(&self.text)
        };
        self.text.clear();
        written
    }
}

/// Waits until a pipe takes so many bytes at once. A pipe that can be written to has room for 4,096; one that is empty has
/// room for any line.
fn wait_for_room(bytes: usize) -> Result<(), HandoverError> {
    let pause = Timespec { tv_sec: 0, tv_nsec: (LOOK_MS * 1_000_000).cast_signed() };
    loop {
        let out = stdout();
        let mut ready = [PollFd::new(&out, PollFlags::OUT)];
        match poll(&mut ready, Some(&pause)) {
            Err(Errno::INTR) | Ok(0) => continue,
            Err(error) => return Err(HandoverError::Failed(error.into())),
            Ok(_) => {}
        }
        if ready[0].revents().intersects(PollFlags::ERR | PollFlags::HUP | PollFlags::NVAL) {
            return Err(HandoverError::Closed);
        }
        if bytes <= ATOMIC_BYTES || rustix::io::ioctl_fionread(stdout()).unwrap_or(0) == 0 {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn write_all(mut text: &[u8]) -> Result<(), HandoverError> {
    while !text.is_empty() {
        match rustix::io::write(stdout(), text) {
            Ok(0) | Err(Errno::PIPE) => return Err(HandoverError::Closed),
            Ok(written) => text = &text[written..],
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => std::thread::sleep(Duration::from_millis(1)),
            Err(error) => return Err(HandoverError::Failed(error.into())),
        }
    }
    Ok(())
}
