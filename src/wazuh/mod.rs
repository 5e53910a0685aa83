//! Wazuh: the home it lives in, its `ossec.conf`, the wodle that runs us, and analysisd. Never changes a file.

pub mod analysisd;
pub mod conf;
pub mod handover;
pub mod home;
pub mod program;
pub mod wodle;

/// The tag of our wodle's block, which was the original integration's as well; rules look for `command_` and it.
pub const TAG: &str = "akamai_siem";

/// Our block of `ossec.conf`, between the markers.
pub const BLOCK: &str = include_str!("../../ossec-snippets/wodle.xml");
