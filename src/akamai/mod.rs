//! Akamai's SIEM API: what is asked, signed and sent, and how an answer is read. Never knows what an event means.
//!
//! `query`, `page`, `problem`, `edgegrid` and `retry` are PURE: they never do I/O and never know the time.

pub mod client;
pub mod edgegrid;
pub mod page;
pub mod problem;
pub mod query;
pub mod retry;
pub mod transport;
