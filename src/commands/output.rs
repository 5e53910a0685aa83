//! Event lines to stdout, in large writes of whole lines. A reader that has gone away is no error.

use std::io::{self, StdoutLock, Write};

/// Bytes collected before they are written.
const WRITE_BYTES: usize = 64 << 10;

/// Where lines go.
pub(super) struct LineOutput {
    stdout: StdoutLock<'static>,
    /// Lines not yet written; whole lines only.
    pub(super) lines: Vec<u8>,
}

/// Why nothing more can be written.
pub(super) enum OutputError {
    /// The reader has closed the pipe: it has what it wanted.
    Closed,
    /// The disk behind stdout is full, say.
    Failed(io::Error),
}

impl LineOutput {
    pub(super) fn new() -> Self {
        Self { stdout: io::stdout().lock(), lines: Vec::with_capacity(2 * WRITE_BYTES) }
    }

    /// Writes what has been collected if it is enough.
    pub(super) fn flush_if_large(&mut self) -> Result<(), OutputError> {
        if self.lines.len() < WRITE_BYTES { Ok(()) } else { self.flush() }
    }

    /// Writes what has been collected.
    pub(super) fn flush(&mut self) -> Result<(), OutputError> {
        let written = self.stdout.write_all(&self.lines).and_then(|()| self.stdout.flush());
        self.lines.clear();
        written.map_err(|error| match error.kind() {
            io::ErrorKind::BrokenPipe => OutputError::Closed,
            _ => OutputError::Failed(error),
        })
    }
}
