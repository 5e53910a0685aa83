//! One signed question to Akamai for one source, and what the answer amounts to. Never asks twice, never reads a page.

use std::collections::HashMap;
use std::fmt;
use std::fs;
use std::io::{self, Read};
use std::thread;
use std::time::{Duration, Instant};

use crate::akamai::edgegrid::{self, Credentials, Request};
use crate::akamai::page::is_akamais;
use crate::akamai::problem::{PROBLEM_BYTES_MAX, Problem, shown};
use crate::akamai::query::Query;
use crate::akamai::transport::{Answer, Transport, TransportError, TransportSettings};
use crate::clock::unix_seconds;
use crate::config::Source;
use crate::exit::Exit;

/// Bytes of an answer that are looked at for a line of Akamai's where the first is none.
const START_BYTES_MAX: usize = 64 << 10;

/// The time between two requests to one host, by whatever source.
pub const REQUEST_GAP: Duration = Duration::from_secs(1);

/// When each host was asked last.
#[derive(Debug, Default)]
pub struct Pace(HashMap<String, Instant>);

/// Asks for one source.
#[derive(Debug)]
pub struct Client {
    name: String,
    scheme: &'static str,
    authority: String,
    url: String,
    credentials: Credentials,
    transport: Transport,
}

/// Why there is no page.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// The certificates to trust cannot be read.
    #[error("cannot read ca_file {0}: {1}")]
    CaFile(String, io::Error),
    /// No random bytes for a nonce.
    #[error("cannot get random bytes from the system: {0}")]
    Nonce(getrandom::Error),
    /// No answer.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// An answer with another status than 200.
    #[error("{0}")]
    Refused(Box<Refusal>),
    /// Somebody else answered with status 200; how that begins.
    #[error(
        "the answer is not Akamai's: it begins with {0:?}. A captive portal or a proxy answers in its place; open the way to \
         this host (port 443), or set proxy"
    )]
    Foreign(String),
}

impl AskError {
    /// How a command ends that could not go on for this.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Nonce(_) => Exit::Local,
            Self::CaFile(..) | Self::Transport(TransportError::NoCertificate | TransportError::BadProxy(_)) => {
                Exit::Config
            }
            Self::Refused(refusal) if !refusal.problem.is_passing() => Exit::Refused,
            _ => Exit::Unavailable,
        }
    }
}

/// An answer with another status than 200.
#[derive(Debug)]
pub struct Refusal {
    /// What Akamai says.
    pub problem: Problem,
    /// Seconds by which Akamai's clock is ahead of the one that was used to sign; none where the answer names no time.
    pub skew_s: Option<i64>,
    /// Seconds to wait, where the answer says so.
    pub retry_after_s: Option<u64>,
    /// Where a redirect points.
    location: Option<String>,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.problem)?;
        if let Some(skew) = self.skew_s.filter(|_| self.problem.is_invalid_timestamp()) {
            write!(f, "; it is {} s {} Akamai's", skew.abs(), if skew > 0 { "behind" } else { "ahead of" })?;
        }
        match &self.location {
            Some(location) => write!(f, "; it redirects to {location:?}, which is not followed"),
            None => Ok(()),
        }
    }
}

impl Pace {
    /// Asks the host of this source as soon as it may be asked again. It counts from the answer: by then the host has had the
    /// request for sure.
    pub fn ask<T>(&mut self, source: &Source, ask: impl FnOnce() -> T) -> T {
        if let Some(asked) = self.0.get(&source.host.authority) {
            thread::sleep(REQUEST_GAP.saturating_sub(asked.elapsed()));
        }
        let answer = ask();
        self.0.insert(source.host.authority.clone(), Instant::now());
        answer
    }
}

impl Client {
    /// Reads what is needed to ask: certificates, and the proxy from the environment.
    ///
    /// # Errors
    /// A CA file or proxy that cannot be used.
    pub fn new(source: &Source) -> Result<Self, AskError> {
        let read = |path: &std::path::PathBuf| {
            fs::read(path).map_err(|error| AskError::CaFile(path.display().to_string(), error))
        };
        let ca_pem = source.ca_file.as_ref().map(read).transpose()?;
        let settings = TransportSettings { proxy: source.proxy.clone(), ca_pem };
        Ok(Self {
            name: source.name.clone(),
            scheme: source.host.scheme,
            authority: source.host.authority.clone(),
            url: source.host.url(),
            credentials: source.credentials.clone(),
            transport: Transport::new(&settings, source.host.scheme, |name| std::env::var(name).ok())?,
        })
    }

    /// Signs a query as of now by a clock that is `skew_s` seconds ahead of this machine's, sends it, and gives the page's
    /// answer (status 200), whose body ends within `answer_time`.
    ///
    /// # Errors
    /// No answer, or a refusal.
    pub fn ask(&self, query: &Query, skew_s: i64, answer_time: Duration) -> Result<Answer, AskError> {
        let target = query.target();
        let request = Request { scheme: self.scheme, host: &self.authority, target: &target };
        let timestamp = edgegrid::timestamp(unix_seconds() + skew_s);
        let authorization = edgegrid::authorization(&self.credentials, &request, &timestamp, &nonce()?);
        log::debug!("source {}: GET {}{target}", self.name, self.url);
        let answer = self.transport.get(&self.url, &target, &authorization, answer_time)?;
        if answer.status == 200 { akamais(answer) } else { Err(AskError::Refused(Box::new(refusal(answer, skew_s)))) }
    }
}

/// Seconds by which the clock of the server that answered is ahead of this machine's.
pub fn skew_s(answer: &Answer) -> Option<i64> {
    let server = jiff::fmt::rfc2822::parse(answer.date.as_deref()?).ok()?;
    Some(server.timestamp().as_second() - unix_seconds())
}

/// The answer, if it is one of Akamai's by its type and by how it begins.
fn akamais(mut answer: Answer) -> Result<Answer, AskError> {
    let mut start = Vec::new();
    let mut failed = None;
    while is_akamais(&start).is_none() && start.len() < START_BYTES_MAX && failed.is_none() {
        let mut piece = [0; 4_096];
        match answer.body.read(&mut piece) {
            Ok(0) => break,
            Ok(length) => start.extend_from_slice(&piece[..length]),
            Err(error) => failed = Some(error),
        }
    }
    let is_html = answer.content_type.as_ref().is_some_and(|kind| kind.to_ascii_lowercase().contains("html"));
    let is_empty = start.trim_ascii().is_empty();
    if is_html || (!is_empty && failed.is_none() && is_akamais(&start).is_none()) {
        return Err(AskError::Foreign(shown(&String::from_utf8_lossy(&start))));
    }
    let start = io::Cursor::new(start);
    answer.body = match failed {
        Some(error) => Box::new(start.chain(Fails(Some(error)))),
        None => Box::new(start.chain(answer.body)),
    };
    Ok(answer)
}

/// A body that broke off while its beginning was looked at.
struct Fails(Option<io::Error>);

impl Read for Fails {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        self.0.take().map_or(Ok(0), Err)
    }
}

fn refusal(answer: Answer, used_skew_s: i64) -> Refusal {
    let skew_s = skew_s(&answer).map(|skew| skew - used_skew_s);
    let mut body = Vec::new();
    // A refusal whose body breaks off is a refusal all the same.
    let _ = answer.body.take(PROBLEM_BYTES_MAX as u64).read_to_end(&mut body);
    Refusal {
        problem: Problem::parse(answer.status, &body),
        skew_s,
        retry_after_s: answer.retry_after.as_deref().and_then(retry_after),
        location: answer.location,
    }
}

/// Seconds of a `Retry-After`: a number, or a date.
fn retry_after(text: &str) -> Option<u64> {
    let text = text.trim();
    text.parse().ok().or_else(|| {
        let at = jiff::fmt::rfc2822::parse(text).ok()?.timestamp().as_second();
        Some(u64::try_from(at - unix_seconds()).unwrap_or(0))
    })
}

/// A random UUID, as Akamai's own clients use.
fn nonce() -> Result<String, AskError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(AskError::Nonce)?;
    let number = u128::from_be_bytes(bytes) & !(0xf << 76) | 4 << 76;
    let digits = format!("{number:032x}");
    Ok([&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]].join("-"))
}

#[cfg(test)]
mod tests {
    use super::retry_after;

    #[test]
    fn retry_after_is_a_number_or_a_date() {
        assert_eq!(retry_after(" 7 "), Some(7));
        assert_eq!(retry_after("Wed, 21 Oct 2015 07:28:00 GMT"), Some(0));
        assert_eq!(retry_after("soon"), None);
    }
}
