//! Where a source goes on: what Akamai's last whole answer said, and nothing else. Never moves by itself.

use serde::{Deserialize, Serialize};

use super::record::StateFile;
use super::seen::SeenMark;
use super::{StateFolder, key};
use crate::akamai::query::ConfigIds;
use crate::config::Source;

/// Where the next request begins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Position {
    /// At this time in Unix seconds, by Akamai's clock: the first request, and after an offset was lost.
    Since(i64),
    /// Behind this offset.
    Offset(String),
}

impl Position {
    /// As a segment names it.
    pub fn text(&self) -> String {
        match self {
            Self::Since(time) => format!("from {time}"),
            Self::Offset(offset) => format!("offset {offset}"),
        }
    }
}

/// A source's cursor. Changed host or config ids have one of their own: an offset means nothing elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// Where the next request begins.
    pub position: Position,
    /// When the last page was committed, in Unix seconds by Akamai's clock. Everything stored 5 seconds before has come.
    pub committed_s: i64,
    /// When Akamai last had nothing more, in Unix seconds by its clock.
    pub caught_up_s: i64,
    /// The last segment that belongs to what came before `position`.
    pub segment: u64,
    /// Events to ask for.
    pub limit: u32,
    /// The limit that failed last, until a larger one has worked.
    #[serde(default)]
    pub limit_failed: Option<u32>,
    /// Events that the last answer lacked by its own count.
    #[serde(default)]
    pub shortfall: Option<u64>,
    /// The next page may hold lines that have come before: those are left out.
    pub skip_seen: bool,
    /// How many of the ids seen belong to what came before `position`.
    pub seen: SeenMark,
    /// Which generation of the burst counters belongs to what came before `position`.
    #[serde(default)]
    pub bursts: u64,
}

impl Cursor {
    /// That of a source that was never asked, which may ask for so many events.
    pub fn new(limit: u32) -> Self {
        Self {
            position: Position::Since(0),
            committed_s: 0,
            caught_up_s: 0,
            segment: 0,
            limit,
            limit_failed: None,
            shortfall: None,
            skip_seen: false,
            seen: SeenMark::default(),
            bursts: 0,
        }
    }
}

/// Where a source's cursor is kept.
pub type CursorFile = StateFile<Cursor>;

impl CursorFile {
    /// That of a source.
    pub fn of(state: &StateFolder, source: &Source) -> Self {
        Self::with_key(state, &cursor_key(source, &source.config_ids))
    }

    /// That with this key.
    pub fn with_key(state: &StateFolder, key: &str) -> Self {
        Self::named(state, &format!("cursor-{key}"))
    }
}

/// What stands for a source, its host and these of its config ids in file names and segments.
pub fn cursor_key(source: &Source, config_ids: &ConfigIds) -> String {
    key(&source.name, &[&source.host.authority, &config_ids.joined()])
}
