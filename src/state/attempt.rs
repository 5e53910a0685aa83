//! At which position a page is being read, and, once a run has died there, at which line: a line that ends runs must not do so
//! for ever. Never decides what becomes of the line.
//!
//! A run that finds that one before it died while it read at the same position marks each line before it decodes it. The line at
//! which two such runs died is the suspect: one death may be a kill or a power failure, which finds any line.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::StateFolder;
use super::record::{Loaded, StateFile};
use crate::event::EventId;
use crate::files::{FileError, create, open_regular, remove};

/// Suspects of one position that are remembered.
const SUSPECTS_MAX: usize = 1_000;

/// What stands in the mark between two lines.
const NO_LINE: EventId = [0; size_of::<EventId>()];

/// The attempt to read a page.
#[derive(Debug)]
pub struct Attempt {
    record: StateFile<AttemptRecord>,
    mark: PathBuf,
    /// The mark, where each line is marked.
    marking: Option<File>,
    suspects: Vec<EventId>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct AttemptRecord {
    position: String,
    /// The lines of this attempt are marked.
    marks: bool,
    /// The line at which a run died that had marked it.
    #[serde(default)]
    died_at: Option<EventId>,
    suspects: Vec<EventId>,
}

impl Attempt {
    /// That of the source with this cursor key.
    pub fn of(state: &StateFolder, key: &str) -> Self {
        let record = StateFile::named(state, &format!("attempt-{key}"));
        Self { record, mark: state.path().join(format!("mark-{key}")), marking: None, suspects: Vec::new() }
    }

    /// A run is ended by somebody, and by no line: nothing is suspect. Only for whoever holds the lock.
    pub fn forget_all(state: &StateFolder) {
        let names = ["attempt-", "mark-"].map(|start| state.names(start).unwrap_or_default());
        for name in names.iter().flatten() {
            // What stays only makes the next run mark its lines.
            let _ = remove(&state.path().join(name));
        }
    }

    /// Begins to read at this position.
    pub fn begin(&mut self, position: &str) -> Result<(), FileError> {
        let mut now = AttemptRecord { position: position.to_owned(), ..AttemptRecord::default() };
        if let Loaded::Intact(before) = self.record.load()?
            && before.position == position
        {
            now.suspects.clone_from(&before.suspects);
            let line = marked(&self.mark).filter(|_| before.marks);
            now.suspects.extend(line.filter(|id| before.died_at == Some(*id) && !before.suspects.contains(id)));
            now.died_at = line.or(before.died_at);
            now.suspects.truncate(SUSPECTS_MAX);
            now.marks = true;
        }
        self.record.save(&now)?;
        if now.marks {
            self.marking = Some(create(&self.mark)?);
        }
        self.suspects = now.suspects;
        self.set_mark(&NO_LINE);
        Ok(())
    }

    /// Whether lines must be marked, or may be suspect.
    pub fn is_wary(&self) -> bool {
        self.marking.is_some()
    }

    /// Whether this line has ended a run.
    pub fn is_suspect(&self, id: &EventId) -> bool {
        self.suspects.contains(id)
    }

    /// This line is about to be decoded.
    pub fn line_begins(&self, id: &EventId) {
        self.set_mark(id);
    }

    /// It is decoded.
    pub fn line_ends(&self) {
        self.set_mark(&NO_LINE);
    }

    /// The page is read, however it ended.
    pub fn end(&mut self) -> Result<(), FileError> {
        self.suspects.clear();
        self.marking = None;
        remove(&self.mark)?;
        self.record.remove()
    }

    fn set_mark(&self, id: &EventId) {
        // Without a mark a line that ends runs stays unknown: no reason to hold the others back.
        if let Some(Err(error)) = self.marking.as_ref().map(|file| file.write_all_at(id, 0)) {
            log::debug!("cannot write {}: {error}", self.mark.display());
        }
    }
}

/// The line at which the run before died.
fn marked(path: &Path) -> Option<EventId> {
    let mut id = NO_LINE;
    let read = open_regular(path).is_ok_and(|mut file| file.read_exact(&mut id).is_ok());
    (read && id != NO_LINE).then_some(id)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_line_at_which_two_runs_died_is_the_suspect() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateFolder::at(folder.path());
        let begin = |position: &str| {
            let mut attempt = Attempt::of(&state, "a-1");
            attempt.begin(position).unwrap();
            attempt
        };
        let (one, two) = ([1; 16], [2; 16]);
        // It dies somewhere; then between two lines; then at a line.
        assert!(!begin("x").is_wary());
        let second = begin("x");
        second.line_begins(&one);
        second.line_ends();
        begin("x").line_begins(&two);
        // Each time at another line; then at the same.
        begin("x").line_begins(&one);
        let again = begin("x");
        assert!(!again.is_suspect(&one) && !again.is_suspect(&two));
        again.line_begins(&one);
        // That line is known from then on, and another one may follow.
        for _ in 0..2 {
            let next = begin("x");
            assert!(next.is_suspect(&one) && !next.is_suspect(&two));
            next.line_begins(&two);
        }
        let mut fifth = begin("x");
        assert!(fifth.is_suspect(&one) && fifth.is_suspect(&two));
        // Behind the page all is forgotten, as it is at another position.
        fifth.end().unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        begin("x");
        assert!(!begin("y").is_wary());
    }

    #[test]
    fn a_pipe_in_the_place_of_the_mark_is_not_written_to_and_goes_with_the_page() {
        let folder = tempfile::tempdir().unwrap();
        let mut attempt = Attempt::of(&StateFolder::at(folder.path()), "a-1");
        attempt.begin("x").unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, &attempt.mark, rustix::fs::Mode::from_raw_mode(0o600)).unwrap();
        // With a reader nobody would have to wait.
        let _reader = std::fs::OpenOptions::new().read(true).write(true).open(&attempt.mark).unwrap();
        assert!(attempt.begin("x").is_err() && !attempt.is_wary());
        attempt.end().unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
