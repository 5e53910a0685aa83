//! What the collector remembers, read once for `status` and `check`. Never writes a file.

use crate::config::{Config, Mode, SourceEntry, SourceState};
use crate::files::FileError;
use crate::state::cursor::{Cursor, CursorFile};
use crate::state::delivery::{Delivery, DeliveryFile};
use crate::state::health::{Health, HealthFile};
use crate::state::spool::Spool;
use crate::state::{Loaded, StateFolder};

type Read<T> = Result<Loaded<T>, FileError>;

pub(super) struct Overview<'a> {
    pub(super) spool: Result<Spool, FileError>,
    pub(super) delivery: Read<Delivery>,
    /// Of what concerns all sources.
    pub(super) health: Read<Health>,
    pub(super) sources: Vec<SourceOverview<'a>>,
}

pub(super) struct SourceOverview<'a> {
    pub(super) entry: &'a SourceEntry,
    pub(super) health: Read<Health>,
    /// Missing for one that has none, or is not asked.
    pub(super) cursor: Read<Cursor>,
}

impl<'a> Overview<'a> {
    pub(super) fn read(config: &'a Config, state: &StateFolder) -> Self {
        let source = |entry: &'a SourceEntry| SourceOverview {
            entry,
            health: HealthFile::of(state, &entry.name).load(),
            cursor: match &entry.state {
                SourceState::Ready(source) if source.mode == Mode::Follow => CursorFile::of(state, source).load(),
                _ => Ok(Loaded::Missing),
            },
        };
        Self {
            spool: Spool::look(state),
            delivery: DeliveryFile::of(state).load(),
            health: HealthFile::of_all(state).load(),
            sources: config.sources.iter().map(source).collect(),
        }
    }
}

/// What was read, if it is whole.
pub(super) fn intact<T>(read: &Read<T>) -> Option<&T> {
    match read {
        Ok(Loaded::Intact(found)) => Some(found),
        _ => None,
    }
}
