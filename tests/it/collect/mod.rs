//! `collect` against the loopback Akamai: what it fetches, what it hands over, what it remembers.

pub mod crash;
mod delivery;
mod disk;
mod guards;
mod mishaps;
mod others;
mod queue;
pub mod recovery;
mod runs;
pub mod site;
mod together;
mod user;
