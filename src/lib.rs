//! Brings Akamai's security events into Wazuh.
//!
//! The flow of an event, and the modules in reading order: [`config`] says whom to ask; [`akamai`] builds, signs and sends one request
//! and reads the answer line by line; [`event`] turns each line into one event line that Wazuh's decoder, rules and index
//! understand; [`collector`] keeps those in [`state`] until [`wazuh`] has them; the other [`commands`] write them to stdout.
//!
//! Pure modules (`event`, what `akamai` and `wazuh` name as such, and `config` but for its `load`) take time, nonce and files as arguments and
//! never touch the world; the compiler keeps them so (`clippy.toml`). Arrows point down: nothing in a pure module knows a command.

pub mod akamai;
pub mod cli;
pub mod clock;
pub mod collector;
pub mod commands;
pub mod config;
pub mod event;
pub mod exit;
pub mod files;
mod findings;
pub mod install;
pub mod logger;
pub mod privileges;
pub mod secret;
pub mod state;
pub mod wazuh;
