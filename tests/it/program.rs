//! Runs the real program the way a user does. A failure shows command, status, stdout and stderr.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// A folder of its own with a configuration in it.
pub struct Place {
    pub folder: TempDir,
}

/// How the program ended.
pub struct Ended {
    pub code: i32,
    pub stdout: Vec<u8>,
    pub stderr: String,
    what: String,
}

impl Place {
    pub fn new(config: &str) -> Self {
        let place = Self { folder: tempfile::tempdir().unwrap() };
        fs::write(place.config(), config).unwrap();
        fs::set_permissions(place.config(), fs::Permissions::from_mode(0o600)).unwrap();
        place
    }

    pub fn config(&self) -> PathBuf {
        self.folder.path().join("akamai_config.ini")
    }

    /// Runs the program with this configuration.
    pub fn run(&self, args: &[&str]) -> Ended {
        let mut command = program();
        command.arg("--config").arg(self.config()).args(args);
        finish(command, b"")
    }
}

/// The program without a configuration, and with no proxy from the tests' environment.
pub fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wazuh-akamai"));
    for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"] {
        command.env_remove(name).env_remove(name.to_ascii_lowercase());
    }
    command
}

/// Runs a command to its end with this on stdin.
pub fn finish(mut command: Command, stdin: &[u8]) -> Ended {
    let what = format!("{command:?}");
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let bytes = stdin.to_vec();
    // A program that ends before it has read everything closes the pipe; that is its business.
    let writer = std::thread::spawn(move || drop(input.write_all(&bytes)));
    let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
    writer.join().unwrap();
    let stderr = String::from_utf8(stderr).unwrap();
    Ended { code: status.code().unwrap_or(-1), stdout, stderr, what }
}

impl Ended {
    pub fn of(what: &str, code: i32, stdout: Vec<u8>, stderr: String) -> Self {
        Self { code, stdout, stderr, what: what.into() }
    }

    pub fn expect(self, code: i32) -> Self {
        assert_eq!(
            self.code,
            code,
            "{}\nstdout: {}\nstderr: {}",
            self.what,
            String::from_utf8_lossy(&self.stdout),
            self.stderr
        );
        self
    }

    /// Checks the exit code and that stderr says this.
    pub fn fails(self, code: i32, says: &str) -> Self {
        let ended = self.expect(code);
        assert!(ended.stderr.contains(says), "{}\nstderr lacks {says:?}: {}", ended.what, ended.stderr);
        ended
    }

    /// Every line of stdout as JSON.
    pub fn events(&self) -> Vec<Value> {
        let lines = self.stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        lines
            .map(|line| serde_json::from_slice(line).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(line))))
            .collect()
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.stdout.clone()).unwrap()
    }
}
