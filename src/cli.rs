//! Every flag and its help; nothing else. Never acts on them.

use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand};

use crate::config::CONFIG_FILE;
use crate::exit::EXIT_CODES;

#[derive(Debug, Parser)]
#[command(name = "wazuh-akamai", version, about, max_term_width = 100, after_help = EXIT_CODES, after_long_help = format!("{START_HERE}\n\n{EXIT_CODES}"))]
pub struct Cli {
    /// Configuration file
    #[arg(long, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,
    /// More messages on stderr (twice: even more)
    #[arg(short, long, action = ArgAction::Count, global = true, conflicts_with = "quiet")]
    pub verbose: u8,
    /// Only errors; install and uninstall: one line
    #[arg(short, long, global = true)]
    pub quiet: bool,
    #[command(subcommand)]
    pub command: Command,
}

const START_HERE: &str = "\
Start here:
  wazuh-akamai configure                write the credentials, after trying them
  wazuh-akamai check                    what is wrong, and how to fix it
  wazuh-akamai install --dry-run        show what would change in Wazuh
  wazuh-akamai fetch --last 5m          print the events of the last 5 minutes
  wazuh-akamai decode saved.ndjson      convert saved lines, offline
  wazuh-akamai status                   the state of every source

Events go to stdout, one JSON object per line; everything else goes to stderr.";

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Deliver new events to Wazuh: this is what Wazuh's wodle runs
    ///
    /// Continues where the previous run stopped and keeps its state on disk. Writes only events to stdout and nothing to
    /// stderr; messages go to the log file. Not for a terminal: use fetch to look at events.
    #[command(after_help = COLLECT_EXAMPLES)]
    Collect,
    /// Query a time window and print all of its events
    ///
    /// Stores nothing and changes nothing. A window with more events than fit into one answer is queried in smaller ones.
    /// Without flags: the last 5 minutes that Akamai has; it leaves out the newest 5 seconds, and keeps 12 hours.
    #[command(after_help = FETCH_EXAMPLES)]
    Fetch(FetchArgs),
    /// Fetch a past time span and queue it for Wazuh
    ///
    /// Queries the span in slices, leaves out lines that are known to have been delivered, and puts the rest into the
    /// spool: the wodle's next runs deliver it. The cursor of the source does not move.
    #[command(after_help = BACKFILL_EXAMPLES)]
    Backfill(BackfillArgs),
    /// Show the state of every source: last success, lag, what is pending, what went wrong
    ///
    /// Exit code 0 if all is well: every enabled source succeeded within 15 minutes, nothing was lost within 24 hours, and
    /// the spool is less than 80 % full. Otherwise 1.
    #[command(after_help = STATUS_EXAMPLES)]
    Status(StatusArgs),
    /// Write credentials into the configuration, after Akamai has accepted them
    ///
    /// Takes each value from its flag, from the environment (AKAMAI_HOST, AKAMAI_CONFIG_ID, AKAMAI_CLIENT_TOKEN,
    /// AKAMAI_CLIENT_SECRET, AKAMAI_ACCESS_TOKEN), from an .edgerc, or asks for it. Secrets are never taken from the command
    /// line, where every user could read them, and never shown. Everything else in the file stays as it is.
    #[command(after_help = CONFIGURE_EXAMPLES)]
    Configure(ConfigureArgs),
    /// Find out what is wrong, and how to fix it
    ///
    /// Checks the configuration, the connection to Akamai, the clock and the credentials, the Wazuh side and the
    /// collector's state. Changes nothing. Exit code 1 if something is wrong.
    #[command(after_help = CHECK_EXAMPLES)]
    Check(CheckArgs),
    /// Set up the Wazuh side: binary, wodle block and rules
    ///
    /// Changes only what is missing or out of date, has Wazuh check the result, puts everything back if Wazuh rejects it, and
    /// restarts Wazuh if that is needed. Takes over the original Python integration. WAZUH_AKAMAI_NO_RESTART=1 leaves the
    /// restart to you; WAZUH_AKAMAI_NO_INSTALL=1 does nothing.
    #[command(after_help = INSTALL_EXAMPLES)]
    Install(InstallArgs),
    /// Remove the Wazuh side
    ///
    /// Removes what install created and puts ossec.conf back as it was; later edits by others stay.
    Uninstall(InstallArgs),
    /// Convert saved lines of Akamai's API to events, offline
    ///
    /// Reads files or stdin in constant memory. A line that is not an event is wrapped in one; the context line at the end
    /// of an answer is skipped.
    #[command(after_help = DECODE_EXAMPLES)]
    Decode(DecodeArgs),
}

const COLLECT_EXAMPLES: &str = "\
Example (as in Wazuh's ossec.conf):
  /var/ossec/wodles/akamai/wazuh-akamai collect";

const FETCH_EXAMPLES: &str = "\
Examples:
  wazuh-akamai fetch
  wazuh-akamai fetch --last 2h --source shop
  wazuh-akamai fetch --from 2026-11-24T06:00:00Z --to 2026-11-24T06:05:00Z
  wazuh-akamai fetch --raw > answer.ndjson";

const BACKFILL_EXAMPLES: &str = "\
Examples:
  wazuh-akamai backfill --from 2026-11-24T06:00:00Z --to 2026-11-24T08:00:00Z
  wazuh-akamai backfill --from 1795500000 --source shop";

const STATUS_EXAMPLES: &str = "\
Examples:
  wazuh-akamai status
  wazuh-akamai status --json | jq .sources";

const CONFIGURE_EXAMPLES: &str = "\
Examples:
  wazuh-akamai configure
  wazuh-akamai configure --edgerc ~/.edgerc --section siem --config-id 12345
  AKAMAI_CLIENT_SECRET=\"$(cat secret)\" wazuh-akamai configure --host akab-….luna.akamaiapis.net …";

const CHECK_EXAMPLES: &str = "\
Examples:
  wazuh-akamai check
  wazuh-akamai check --json | jq '.findings[] | select(.level == \"error\")'";

const INSTALL_EXAMPLES: &str = "\
Examples:
  wazuh-akamai install --dry-run
  wazuh-akamai install";

const DECODE_EXAMPLES: &str = "\
Examples:
  wazuh-akamai decode answer.ndjson
  wazuh-akamai fetch --raw | wazuh-akamai decode
  wazuh-akamai --config akamai_config.ini decode --source shop answer.ndjson";

#[derive(Debug, Args)]
pub struct FetchArgs {
    /// How far back, such as 90s, 5m or 2h (at most 12h)
    #[arg(long, value_name = "SPAN", conflicts_with_all = ["from", "to"], value_parser = span)]
    pub last: Option<i64>,
    /// Start of the window: Unix seconds or RFC 3339
    #[arg(long, value_name = "TIME", value_parser = time, allow_negative_numbers = true)]
    pub from: Option<i64>,
    /// End of the window (default: 5 seconds ago)
    #[arg(long, value_name = "TIME", value_parser = time, allow_negative_numbers = true, requires = "from")]
    pub to: Option<i64>,
    /// Only this source (default: all enabled ones)
    #[arg(long, value_name = "NAME")]
    pub source: Option<String>,
    /// Print Akamai's lines as received, including the context line; secrets in them are not redacted
    #[arg(long)]
    pub raw: bool,
}

#[derive(Debug, Args)]
pub struct BackfillArgs {
    /// Start of the span, at most 12 hours ago: Unix seconds or RFC 3339
    #[arg(long, value_name = "TIME", value_parser = time, allow_negative_numbers = true)]
    pub from: i64,
    /// End of the span (default: 5 seconds ago)
    #[arg(long, value_name = "TIME", value_parser = time, allow_negative_numbers = true)]
    pub to: Option<i64>,
    /// Only this source (default: all enabled ones)
    #[arg(long, value_name = "NAME")]
    pub source: Option<String>,
}

#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Write JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct ConfigureArgs {
    /// Section to write (default: default)
    #[arg(long, value_name = "NAME")]
    pub source: Option<String>,
    /// The API client's host
    #[arg(long, value_name = "HOST")]
    pub host: Option<String>,
    /// One id or several, separated by ;
    #[arg(long, value_name = "IDS")]
    pub config_id: Option<String>,
    /// The client token
    #[arg(long, value_name = "TOKEN")]
    pub client_token: Option<String>,
    /// File that contains the client secret; - for stdin
    #[arg(long, value_name = "FILE")]
    pub client_secret_file: Option<PathBuf>,
    /// Take host and credentials from this .edgerc
    #[arg(long, value_name = "FILE", conflicts_with_all = ["host", "client_token", "client_secret_file"])]
    pub edgerc: Option<PathBuf>,
    /// Section of the .edgerc (default: default)
    #[arg(long, value_name = "NAME", requires = "edgerc")]
    pub section: Option<String>,
    /// Save without trying the credentials
    #[arg(long)]
    pub no_test: bool,
    /// For packages: fill in missing values from the environment, without prompts and without trying them
    ///
    /// If there is no configuration, the template is put there. Values that are filled in already stay.
    #[arg(long, conflicts_with_all = [
        "source", "host", "config_id", "client_token", "client_secret_file", "edgerc", "no_test",
    ])]
    pub unattended: bool,
}

#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Write JSON
    #[arg(long)]
    pub json: bool,
    /// Do not connect to Akamai
    #[arg(long)]
    pub offline: bool,
}

#[derive(Debug, Args)]
pub struct InstallArgs {
    /// Root of the file system, for images and tests
    #[arg(long, value_name = "DIR")]
    pub root: Option<PathBuf>,
    /// Only show what would change
    #[arg(long)]
    pub dry_run: bool,
}

#[derive(Debug, Args)]
pub struct DecodeArgs {
    /// Name for `akamai.source`; with --config, the source whose settings apply
    #[arg(long, value_name = "NAME")]
    pub source: Option<String>,
    /// Files to read; - or none: stdin
    #[arg(value_name = "FILE")]
    pub files: Vec<PathBuf>,
}

impl Cli {
    /// The configuration file to use.
    pub fn config_file(&self) -> PathBuf {
        self.config.clone().unwrap_or_else(|| CONFIG_FILE.into())
    }
}

/// Seconds of a span such as `5m`.
fn span(text: &str) -> Result<i64, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let factor = match unit {
        "" | "s" => Some(1),
        "m" => Some(60),
        "h" => Some(3_600),
        _ => None,
    };
    let seconds = number.parse::<i64>().ok().zip(factor).and_then(|(number, factor)| number.checked_mul(factor));
    seconds
        .filter(|seconds| *seconds > 0)
        .ok_or_else(|| "a span is a number with s, m or h, such as 90s, 5m or 2h".into())
}

/// Unix seconds of a point in time.
fn time(text: &str) -> Result<i64, String> {
    text.parse::<i64>()
        .ok()
        .or_else(|| text.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_second))
        .ok_or_else(|| "a time is in Unix seconds or RFC 3339, such as 2026-11-24T06:00:00Z".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definitions_are_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_long_help_holds_every_exit_code() {
        let help = Cli::command().get_after_long_help().map(ToString::to_string);
        assert!(help.is_some_and(|help| help.ends_with(EXIT_CODES)));
    }

    #[test]
    fn spans_and_times_are_read() {
        assert_eq!((span("90s"), span("5m"), span("2h"), span("7")), (Ok(90), Ok(300), Ok(7_200), Ok(7)));
        for text in ["", "0", "m", "5d", "-5m", "9999999999999999999"] {
            assert!(span(text).is_err(), "{text}");
        }
        assert_eq!(time("1491303422"), Ok(1_491_303_422));
        assert_eq!(time("2017-04-04T12:57:02+02:00"), Ok(1_491_303_422));
        assert!(time("yesterday").is_err());
    }
}
