//! Akamai's SIEM protocol, PURE: what is asked, what comes back, what an event is. Never does I/O, never knows the time.

mod blocks;
pub(crate) mod control;
pub mod event;
mod json;
pub mod page;
mod percent;
pub mod problem;
pub mod query;
mod text;
mod unescape;
