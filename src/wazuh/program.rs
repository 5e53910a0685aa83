//! Wazuh's own programs, run for so long and no longer, with an environment of our choosing. Waits for the program alone:
//! daemons that it starts may keep its output open for ever (wazuh-control start leaves them its own). Never passes on a
//! variable: those of whoever runs us may hold credentials, and a daemon would keep them.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::process::{Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{MemfdFlags, memfd_create};

/// Bytes of a program's words that are read.
const WORDS_BYTES_MAX: u64 = 64 << 10;

/// Characters of them that are repeated.
const SAYS_CHARS_MAX: usize = 2_000;

/// Time for one program, in seconds: Wazuh's check of many rules takes some.
pub const PROGRAM_S_MAX: u64 = 120;

/// The whole environment of a program that we start.
const ENVIRONMENT: [(&str, &str); 2] =
    [("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"), ("LANG", "C.UTF-8")];

/// Time between two looks whether it has ended, in milliseconds.
const LOOK_MS: u64 = 10;

/// How a program ended.
#[derive(Debug)]
pub struct Ran {
    /// Its exit status.
    pub status: ExitStatus,
    /// What it wrote to stdout and stderr, as far as it is read.
    pub words: String,
}

impl Ran {
    /// What a program says that failed.
    pub fn says(&self) -> String {
        match self.words.trim() {
            "" => format!("nothing, and it ended with {}", self.status),
            text => text.chars().take(SAYS_CHARS_MAX).collect(),
        }
    }
}

/// Runs it to its end, or kills it after `seconds_max`.
///
/// # Errors
/// When it cannot be started, or did not end in time.
pub fn run(mut command: Command, seconds_max: u64) -> io::Result<Ran> {
    let mut output = File::from(memfd_create("words", MemfdFlags::CLOEXEC)?);
    command.env_clear().envs(ENVIRONMENT).stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output.try_clone()?);
    let mut child = command.spawn()?;
    let until = Instant::now() + Duration::from_secs(seconds_max);
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if Instant::now() >= until {
            child.kill()?;
            child.wait()?;
            return Err(io::Error::new(io::ErrorKind::TimedOut, format!("it did not end within {seconds_max} s")));
        }
        thread::sleep(Duration::from_millis(LOOK_MS));
    };
    let mut words = Vec::new();
    output.rewind()?;
    output.take(WORDS_BYTES_MAX).read_to_end(&mut words)?;
    Ok(Ran { status, words: String::from_utf8_lossy(&words).into_owned() })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn what_it_starts_is_not_waited_for() {
        let ran = run(shell("sleep 30 & echo one; echo two >&2; exit 3"), 20).unwrap();
        assert_eq!((ran.status.code(), ran.words.as_str()), (Some(3), "one\ntwo\n"));
    }

    #[test]
    fn one_that_does_not_end_is_killed() {
        assert_eq!(run(shell("exec sleep 30"), 0).unwrap_err().to_string(), "it did not end within 0 s");
    }
}
