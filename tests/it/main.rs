//! The integration tests: the real program and the real library against files, processes and a loopback Akamai.
#![allow(unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

/// The loopback analysisd.
#[path = "../analysisd/mod.rs"]
mod analysisd;
/// The loopback Akamai.
#[path = "../loopback/mod.rs"]
mod loopback;
/// The loopback Akamai keeps to its own rules.
mod loopback_rules;
/// Runs the real program.
mod program;

/// `check`.
mod check;
/// `collect` and what it remembers.
mod collect;
/// `configure`.
mod configure;
/// `etc/dashboard`.
mod dashboard;
/// `decode` and hostile lines.
mod decode;
/// Akamai lines against decodings that were made independently.
mod expected;
/// `fetch` against the loopback Akamai.
mod fetch;
/// The fuzzer's corpus.
mod fuzz;
/// `install` and `uninstall`.
mod install;
/// Pace and confirmation, in made-up time.
mod pacing;
/// The rules, and events that reach them.
mod rules;
/// What keeps the project in shape: pure modules, documentation that says what the code does.
mod tidy;
/// HTTPS, its certificates, and proxies on the way.
mod tls;
