//! The Wazuh around us: where it lives, and what its own files say about pace, interval and cluster. Never writes a file.

pub mod analysisd;
pub mod conf;
pub mod handover;
pub mod wodle;

use std::fs;
use std::io::{self, Read};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::Duration;

use self::conf::scan::scan;

/// Where Wazuh lives unless the binary lies in another one's folder of wodles.
const HOME: &str = "/var/ossec";

/// Bytes read of a file of Wazuh's.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// Events a second that the wodle forwards unless Wazuh's options say otherwise, and the bounds of that option
/// (`wazuh_modules.max_eps` in internal_options.conf of 4.14.9).
const MAX_EPS: u64 = 100;
const MAX_EPS_RANGE: std::ops::RangeInclusive<u64> = 1..=1_000;

/// Seconds between two runs where the wodle's block cannot be found.
const INTERVAL_S: u64 = 300;

/// Seconds of an interval that are believed; a wodle that runs more often would find us still running.
const INTERVAL_S_MIN: u64 = 10;

/// Time to hand a line to the queue socket, in milliseconds.
const SEND_MS_MAX: u64 = 1_000;

/// The tag of our wodle's block, as in the location `command_akamai_siem` that the rules look for.
pub const LOCATION: &str = "command_akamai_siem";

/// A Wazuh installation.
#[derive(Clone, Debug)]
pub struct Wazuh {
    home: PathBuf,
}

impl Wazuh {
    /// The one that is configured, or that whose `wodles/akamai` holds this program, or the usual one.
    pub fn find(configured: Option<&Path>) -> Self {
        let beside_program = || {
            let folder = std::env::current_exe().ok()?.parent()?.to_owned();
            folder.ends_with("wodles/akamai").then(|| folder.parent()?.parent().map(Path::to_owned))?
        };
        let home = configured.map(Path::to_owned).or_else(beside_program).unwrap_or_else(|| HOME.into());
        Self { home }
    }

    /// Its folder.
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// The socket that events go through.
    pub fn queue_socket(&self) -> PathBuf {
        self.home.join("queue/sockets/queue")
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

    /// Whether this is a cluster's worker, which leaves fetching to the master.
    pub fn is_worker(&self) -> bool {
        self.read("etc/ossec.conf").is_some_and(|text| is_worker(&text))
    }

    /// Sends one line through the queue socket, past a wodle that forwards nothing any more.
    ///
    /// # Errors
    /// When nobody takes it.
    pub fn send_to_queue(&self, line: &[u8]) -> io::Result<()> {
        let socket = UnixDatagram::unbound()?;
        socket.set_write_timeout(Some(Duration::from_millis(SEND_MS_MAX)))?;
        let message = [format!("1:{LOCATION}:").as_bytes(), line.trim_ascii_end()].concat();
        socket.send_to(&message, self.queue_socket()).map(drop)
    }

    fn read(&self, file: &str) -> Option<String> {
        let mut text = Vec::new();
        fs::File::open(self.home.join(file)).ok()?.take(FILE_BYTES_MAX).read_to_end(&mut text).ok()?;
        Some(String::from_utf8_lossy(&text).into_owned())
    }
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
    let text = ossec_conf.as_bytes();
    let document = scan(text).ok()?;
    let roots = document.children(text, None, "ossec_config");
    let wodles = roots.flat_map(|(root, _)| document.children(text, Some(root), "wodle"));
    let value = |wodle, name| document.value(text, wodle, name).and_then(|value| std::str::from_utf8(value).ok());
    let runs_us = |wodle: usize| {
        value(wodle, "command").is_some_and(|command| command.contains("wazuh-akamai") && command.contains("collect"))
    };
    let ours = wodles.map(|(wodle, _)| wodle).find(|wodle| runs_us(*wodle))?;
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
    let text = ossec_conf.as_bytes();
    let Ok(document) = scan(text) else { return false };
    let roots = document.children(text, None, "ossec_config");
    let clusters: Vec<usize> = roots
        .flat_map(|(root, _)| document.children(text, Some(root), "cluster"))
        .map(|(cluster, _)| cluster)
        .collect();
    let last = |name| clusters.iter().filter_map(|cluster| document.value(text, *cluster, name)).next_back();
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
        let wazuh = Wazuh::find(Some(home.path()));
        assert_eq!((wazuh.max_eps(), wazuh.interval_s(), wazuh.is_worker()), (100, 300, false));
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
}
