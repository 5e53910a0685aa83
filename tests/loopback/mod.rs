//! A loopback Akamai: a real HTTP server that behaves as the SIEM API does, checks every signature and can fail in every
//! way the API can. Never talks to anything but this machine.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::panic)]
// A refusal is an answer like any other.
#![allow(clippy::result_large_err)]

mod answer;
pub mod samples;
pub mod signature;

use std::collections::{HashSet, VecDeque};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

pub use self::answer::{ContextShape, Fault};
use self::signature::Credentials;

/// Seconds that events are kept.
pub const RETENTION_S: i64 = 43_200;

/// Seconds that are left out of every answer.
pub const NEWEST_S: i64 = 5;

/// What the server is like.
#[derive(Clone, Debug)]
pub struct Settings {
    pub credentials: Credentials,
    /// As they stand in the path, joined by `;`.
    pub config_ids: String,
    pub shape: ContextShape,
    /// Gzip when the client takes it.
    pub gzip: bool,
    /// Events that a page may hold beyond its limit.
    pub overshoot: usize,
    /// The most events that an answer holds, whatever limit was asked for.
    pub limit_max: Option<u64>,
    /// So many made-up events instead of the stored ones, streamed without holding them.
    pub bulk: Option<u64>,
    /// Clients reach it by TLS under this host (and port); who speaks that for it is somebody else.
    pub behind: Option<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            credentials: Credentials {
                client_token: "akab-client-token".into(),
                client_secret: "bG9vcGJhY2sgc2VjcmV0=".into(),
                access_token: "akab-access-token".into(),
            },
            config_ids: "14227".into(),
            shape: ContextShape::Compact,
            gzip: true,
            overshoot: 0,
            limit_max: None,
            bulk: None,
            behind: None,
        }
    }
}

/// How the server misbehaves for as long as it does.
#[derive(Clone, Debug, Default)]
pub struct Habits {
    /// The first byte comes a second later for every so many events of the limit asked for.
    pub events_per_s_before_first_byte: Option<u64>,
    /// 503 where more than so many events are asked for.
    pub limit_served: Option<u64>,
    /// The status that an expired offset gets, where it is not 416.
    pub expired_status: Option<u16>,
    /// Every context counts so many events more than came.
    pub total_too_high: u64,
    /// Nothing is ever answered.
    pub hangs: bool,
    /// Every answer is a page of something in between, with status 200 and this type.
    pub portal: Option<&'static str>,
    /// Config ids that are refused, alone or among others, with this status.
    pub refused: Option<(String, u16)>,
}

/// A request that came.
#[derive(Clone, Debug)]
pub struct Seen {
    /// When it came.
    pub at: Instant,
    /// Path and query as sent.
    pub target: String,
    /// The status it got; 0 for none.
    pub status: u16,
    /// Header names and values.
    pub headers: Vec<(String, String)>,
}

struct State {
    settings: Settings,
    /// When each event was stored, and its line; in order.
    events: Vec<(i64, String)>,
    faults: VecDeque<Fault>,
    habits: Habits,
    seen: Vec<Seen>,
    nonces: HashSet<String>,
    /// Seconds that the server's clock is ahead.
    clock_ahead_s: i64,
    /// Offsets given so far; each holds its number.
    offsets: u64,
    /// Offsets up to this number are too old.
    expired: u64,
}

/// The running server; ends when dropped.
pub struct Akamai {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    _runtime: Runtime,
}

impl Akamai {
    pub fn start(settings: Settings) -> Self {
        let runtime = Runtime::new().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State {
            settings,
            events: Vec::new(),
            faults: VecDeque::new(),
            habits: Habits::default(),
            seen: Vec::new(),
            nonces: HashSet::new(),
            clock_ahead_s: 0,
            offsets: 0,
            expired: 0,
        }));
        let shared = Arc::clone(&state);
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let state = Arc::clone(&shared);
                tokio::spawn(async move {
                    let service = service_fn(move |request| {
                        let mut state = state.lock().unwrap();
                        let answer = answer::answer(&mut state, &request, address);
                        let pause = answer::pause(&state.habits, &request);
                        async move {
                            match pause {
                                Some(pause) => tokio::time::sleep(pause).await,
                                None => std::future::pending().await,
                            }
                            answer.ok_or("the connection is reset")
                        }
                    });
                    // A broken connection is what some faults are for.
                    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
                    Ok::<(), Infallible>(())
                });
            }
        });
        Self { address, state, _runtime: runtime }
    }

    /// For the configuration's `host`.
    pub fn url(&self) -> String {
        match &self.state.lock().unwrap().settings.behind {
            Some(host) => format!("https://{host}"),
            None => format!("http://{}", self.address),
        }
    }

    /// Where it listens itself.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stores lines as of `seconds_ago`. What comes before events that an answer has given moves those: offsets count
    /// events, and Akamai stores none in the past either.
    pub fn store(&self, seconds_ago: i64, lines: impl IntoIterator<Item = String>) {
        let mut state = self.state.lock().unwrap();
        let stored = now() - seconds_ago;
        state.events.extend(lines.into_iter().map(|line| (stored, line)));
        state.events.sort_by_key(|(stored, _)| *stored);
    }

    /// The next requests fail so, one each.
    pub fn fail(&self, faults: impl IntoIterator<Item = Fault>) {
        self.state.lock().unwrap().faults.extend(faults);
    }

    /// From now on it misbehaves so.
    pub fn misbehave(&self, habits: Habits) {
        self.state.lock().unwrap().habits = habits;
    }

    /// No request fails any more.
    pub fn fail_no_more(&self) {
        self.state.lock().unwrap().faults.clear();
    }

    /// Sets the server's clock ahead of the real one.
    pub fn set_clock_ahead(&self, seconds: i64) {
        self.state.lock().unwrap().clock_ahead_s = seconds;
    }

    /// Every offset given so far is from now on older than what is kept.
    pub fn expire_offsets(&self) {
        let mut state = self.state.lock().unwrap();
        state.expired = state.offsets;
    }

    /// What was stored more than so many seconds ago is gone.
    pub fn forget_before(&self, seconds_ago: i64) {
        let oldest = now() - seconds_ago;
        let mut state = self.state.lock().unwrap();
        state.expired = state.offsets;
        state.events.retain(|(stored, _)| *stored >= oldest);
    }

    /// From now on other configurations are asked for.
    pub fn set_config_ids(&self, ids: &str) {
        self.state.lock().unwrap().settings.config_ids = ids.into();
    }

    /// The requests so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.state.lock().unwrap().seen.clone()
    }

    /// A configuration that asks this server.
    pub fn config(&self) -> String {
        let settings = self.state.lock().unwrap().settings.clone();
        let Credentials { client_token, client_secret, access_token } = settings.credentials;
        format!(
            "[default]\nhost = {}\nconfig_id = {}\nclient_token = {client_token}\nclient_secret = {client_secret}\naccess_token = {access_token}\n",
            self.url(),
            settings.config_ids
        )
    }
}

/// The real time in Unix seconds.
pub fn now() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap()
}
