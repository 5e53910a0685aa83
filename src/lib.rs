//! Brings Akamai's security events into Wazuh.
//!
//! The flow of an event, and the modules in reading order: [`config`] says whom to ask; [`siem::query`] builds the request,
//! [`edgegrid`] signs it, [`transport`] sends it; [`siem::page`] reads the answer line by line; [`siem::event`] turns each
//! line into one event line that Wazuh's decoder, rules and index understand; [`collector`] keeps those until Wazuh has them, through
//! the wodle that runs it or by [`analysisd`] itself; the other [`commands`] write them to stdout.
//!
//! Pure modules (`siem`, `edgegrid`, what decides in `analysisd`, and `config` but for its `load`) take time, nonce and files as arguments and never
//! touch the world; `tests/it/tidy.rs` keeps them so. Arrows point down: nothing in a pure module knows a command.

pub mod analysisd;
pub mod cli;
pub mod client;
pub mod clock;
pub mod collector;
pub mod commands;
pub mod config;
pub mod edgegrid;
pub mod exit;
pub mod files;
pub mod handover;
pub mod install;
pub mod logger;
pub mod ossec;
pub mod privileges;
pub mod retry;
pub mod secret;
pub mod siem;
pub mod state;
pub mod transport;
pub mod wazuh;
pub mod wodle;
