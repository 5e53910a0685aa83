//! The exit codes: one table for `main`, `--help` and the README. Never ends the process itself.

/// How a command ended.
///
/// Never 127: Wazuh's command wodle throws away the whole output of a command that ends so (observed on 4.14.9).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Exit {
    /// Done; also when there was nothing to do.
    Done = 0,
    /// A local failure: disk, unreadable file, a bug.
    Local = 1,
    /// The command line is wrong.
    Usage = 2,
    /// The configuration is invalid, or not filled in yet.
    Config = 3,
    /// Akamai refused the request: credentials, permissions, clock.
    Refused = 4,
    /// Akamai could not be reached, was busy, or its answer was incomplete.
    Unavailable = 5,
    /// `ossec.conf` is not safely edited, or Wazuh does not take it; it is as it was.
    NotEditable = 6,
}

/// Every exit code with its meaning, as shown in `--help`.
pub const EXIT_CODES: &str = "\
Exit codes:
  0  done, also when there was nothing new; collect: also when another one is running, nothing is configured yet, or on a cluster worker
  1  local failure: disk, state, unreadable file, a bug; check: an error was found; status: not healthy
  2  wrong usage; collect on a terminal
  3  configuration invalid, or not filled in yet
  4  Akamai refused: 400, 401, 403, 404, clock
  5  Akamai unreachable, 429 or 5xx, or an incomplete answer
  6  ossec.conf not safely editable, or rejected by Wazuh: it is unchanged
With several sources: the lowest code that is not 0.";

impl Exit {
    /// The exit of two parts of the work together: the lower code that is not 0.
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Done, exit) | (exit, Self::Done) => exit,
            (one, other) => one.min(other),
        }
    }
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::Exit;

    #[test]
    fn several_sources_end_with_the_lowest_code_that_is_not_0() {
        assert_eq!(Exit::Done.and(Exit::Done), Exit::Done);
        assert_eq!(Exit::Done.and(Exit::Unavailable), Exit::Unavailable);
        assert_eq!(Exit::Unavailable.and(Exit::Config), Exit::Config);
    }

    #[test]
    fn the_help_lists_every_code() {
        for exit in
            [Exit::Done, Exit::Local, Exit::Usage, Exit::Config, Exit::Refused, Exit::Unavailable, Exit::NotEditable]
        {
            assert!(super::EXIT_CODES.contains(&format!("\n  {}  ", exit as u8)), "{exit:?}");
        }
    }
}
