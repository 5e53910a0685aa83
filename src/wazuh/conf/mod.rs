//! Wazuh's `ossec.conf`, PURE: text → spans, and edits as values over byte ranges. Never reads or writes a file, never
//! re-serialises: what is not edited stays as it is, byte for byte.
#![deny(clippy::disallowed_macros, clippy::disallowed_methods, clippy::disallowed_types)]

pub mod merge;
pub mod scan;
