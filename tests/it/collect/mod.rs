//! `collect` against the loopback Akamai: what it fetches, what it hands over, what it remembers.

mod crash;
mod delivery;
mod others;
mod recovery;
mod runs;
pub mod site;
