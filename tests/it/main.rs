//! The integration tests: the real program and the real library against files, processes and a loopback Akamai.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

/// Akamai lines against decodings that were made independently.
mod expected;
/// What keeps the project in shape: pure modules, documentation that says what the code does.
mod tidy;
