//! The ids of lines that came lately, so that a request that has to reach back repeats none of them. Losing them loses no
//! event: some would come twice. Never synced for that reason.

use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{StateFolder, key};
use crate::event::EventId;
use crate::files::{FileError, open_regular, open_to_add, remove};

/// Ids in one generation; the last two are kept, so that at least this many of the latest ids are known and at most twice as
/// many (8 MB).
const GENERATION_IDS_MAX: u64 = 250_000;

const ID_BYTES: u64 = size_of::<EventId>() as u64;

/// How far the ids count: all of earlier generations that are still there, and so many of this one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SeenMark {
    /// The latest generation.
    pub generation: u64,
    /// Ids in it.
    pub ids: u64,
}

/// Where the ids of one source are kept.
#[derive(Clone, Debug)]
pub struct SeenFiles {
    state: StateFolder,
    key: String,
}

/// Adds ids.
#[derive(Debug)]
pub struct SeenWriter<'a> {
    files: &'a SeenFiles,
    mark: SeenMark,
    out: BufWriter<File>,
}

/// Ids to look up.
#[derive(Debug, Default)]
pub struct SeenIds {
    sorted: Vec<EventId>,
}

impl SeenFiles {
    /// Those of the source of this name, whatever it is asked for.
    pub fn of(state: &StateFolder, source: &str) -> Self {
        Self { state: state.clone(), key: key(source, &[]) }
    }

    /// Those that a backfill has brought for the source of this name. No cursor counts them.
    pub fn of_backfill(state: &StateFolder, source: &str) -> Self {
        Self { state: state.clone(), key: key(source, &["backfill"]) }
    }

    /// Forgets all ids of the source of this name, those of a backfill as well; of every source where the name is not known.
    pub fn forget_all(state: &StateFolder, source: &str) -> Result<(), FileError> {
        let starts = match source {
            "" => vec!["seen-".to_owned()],
            _ => vec![Self::of(state, source).start(), Self::of_backfill(state, source).start()],
        };
        for start in starts {
            for name in state.names(&start)? {
                remove(&state.path().join(name))?;
            }
        }
        Ok(())
    }

    /// How far they go by what is on disk.
    pub fn mark(&self) -> Result<SeenMark, FileError> {
        let generation = self.generations()?.into_iter().max().unwrap_or(0);
        let bytes = std::fs::metadata(self.path(generation)).map_or(0, |metadata| metadata.len());
        Ok(SeenMark { generation, ids: bytes / ID_BYTES })
    }

    /// The ids on disk, if any were added in the last so many seconds.
    pub fn load_recent(&self, age_s_max: u64) -> Result<Option<SeenIds>, FileError> {
        let mark = self.mark()?;
        let modified = std::fs::metadata(self.path(mark.generation)).and_then(|metadata| metadata.modified());
        let age_s = modified.ok().map(|time| time.elapsed().map_or(0, |age| age.as_secs()));
        if age_s.is_some_and(|age_s| age_s <= age_s_max) { self.load(mark).map(Some) } else { Ok(None) }
    }

    /// Goes on behind `mark`; ids beyond it came with a page that was thrown away.
    pub fn append(&self, mark: SeenMark) -> Result<SeenWriter<'_>, FileError> {
        for generation in self.generations()?.into_iter().filter(|generation| *generation > mark.generation) {
            remove(&self.path(generation))?;
        }
        let path = self.path(mark.generation);
        let file = self.open(mark.generation)?;
        // A file that lost its end with the power gets zeros for it, which are no id: what is added stands behind the mark.
        let mark = SeenMark { ids: mark.ids.min(GENERATION_IDS_MAX), ..mark };
        file.set_len(mark.ids * ID_BYTES).map_err(FileError::of("shorten", &path))?;
        Ok(SeenWriter { files: self, mark, out: BufWriter::new(file) })
    }

    /// Removes what is too old once `mark` is what counts.
    pub fn forget_before(&self, mark: SeenMark) -> Result<(), FileError> {
        for generation in self.generations()?.into_iter().filter(|generation| generation + 1 < mark.generation) {
            remove(&self.path(generation))?;
        }
        Ok(())
    }

    /// The ids up to `mark`.
    pub fn load(&self, mark: SeenMark) -> Result<SeenIds, FileError> {
        let mut bytes = Vec::new();
        for generation in [mark.generation.checked_sub(1), Some(mark.generation)].into_iter().flatten() {
            let path = self.path(generation);
            let ids = if generation == mark.generation { mark.ids } else { GENERATION_IDS_MAX };
            match open_regular(&path) {
                Ok(file) => {
                    // A mark that says more is no reason to read more.
                    let bytes_max = ids.min(GENERATION_IDS_MAX) * ID_BYTES;
                    file.take(bytes_max).read_to_end(&mut bytes).map_err(FileError::of("read", &path))?;
                }
                Err(error) if error.source.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(SeenIds::new(bytes.as_chunks().0.to_vec()))
    }

    fn generations(&self) -> Result<Vec<u64>, FileError> {
        let start = self.start();
        let names = self.state.names(&start)?;
        Ok(names.iter().filter_map(|name| name[start.len()..].parse().ok()).collect())
    }

    fn start(&self) -> String {
        format!("seen-{}.", self.key)
    }

    fn path(&self, generation: u64) -> PathBuf {
        self.state.path().join(format!("{}{generation}", self.start()))
    }

    fn open(&self, generation: u64) -> Result<File, FileError> {
        let path = self.path(generation);
        open_to_add(&path)
    }
}

impl SeenWriter<'_> {
    /// Adds the id of a line.
    pub fn add(&mut self, id: EventId) -> Result<(), FileError> {
        if self.mark.ids >= GENERATION_IDS_MAX {
            self.flush()?;
            self.mark = SeenMark { generation: self.mark.generation + 1, ids: 0 };
            self.out = BufWriter::new(self.files.open(self.mark.generation)?);
        }
        self.mark.ids += 1;
        // The path is for the error only, and this is done for every line.
        self.out.write_all(&id).map_err(|error| self.failed(error))
    }

    /// Hands everything to the system; gives how far the ids go now.
    pub fn finish(mut self) -> Result<SeenMark, FileError> {
        self.flush()?;
        Ok(self.mark)
    }

    fn flush(&mut self) -> Result<(), FileError> {
        self.out.flush().map_err(|error| self.failed(error))
    }

    fn failed(&self, error: io::Error) -> FileError {
        FileError::of("write", &self.files.path(self.mark.generation))(error)
    }
}

impl SeenIds {
    /// These ids, in any order.
    pub fn new(mut ids: Vec<EventId>) -> Self {
        ids.sort_unstable();
        Self { sorted: ids }
    }

    /// These and those.
    pub fn and(self, those: Option<Self>) -> Self {
        let Some(those) = those else { return self };
        Self::new([self.sorted, those.sorted].concat())
    }

    /// Whether this id is among them.
    pub fn contains(&self, id: &EventId) -> bool {
        self.sorted.binary_search(id).is_ok()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::fs;

    fn id(number: u64) -> EventId {
        u128::from(number).to_be_bytes()
    }

    fn add(files: &SeenFiles, mark: SeenMark, numbers: std::ops::Range<u64>) -> SeenMark {
        let mut writer = files.append(mark).unwrap();
        for number in numbers {
            writer.add(id(number)).unwrap();
        }
        writer.finish().unwrap()
    }

    #[test]
    fn what_belongs_to_a_page_that_was_thrown_away_does_not_count() {
        let folder = tempfile::tempdir().unwrap();
        let files = SeenFiles::of(&StateFolder::at(folder.path()), "a-1");
        let first = add(&files, SeenMark::default(), 0..10);
        add(&files, first, 10..20);
        let second = add(&files, first, 20..30);
        let ids = files.load(second).unwrap();
        let known = |number| ids.contains(&id(number));
        assert!((0..10).all(known) && !(10..20).any(known) && (20..30).all(known));
    }

    #[test]
    fn what_is_forgotten_is_no_longer_known_and_a_mark_into_it_still_holds() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateFolder::at(folder.path());
        let sources = ["a", "b"].map(|source| [SeenFiles::of(&state, source), SeenFiles::of_backfill(&state, source)]);
        let mark =
            sources.each_ref().map(|files| files.each_ref().map(|files| add(files, SeenMark::default(), 0..10)))[0][0];
        let known = |files: &SeenFiles| files.load(files.mark().unwrap()).unwrap().contains(&id(5));
        SeenFiles::forget_all(&state, "a").unwrap();
        assert_eq!(sources.each_ref().map(|files| files.each_ref().map(known)), [[false; 2], [true; 2]]);
        let [files, _] = &sources[0];
        let later = add(files, mark, 10..20);
        let ids = files.load(later).unwrap();
        assert_eq!((later.ids, ids.contains(&id(5)), ids.contains(&id(15))), (20, false, true));
        SeenFiles::forget_all(&state, "").unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn the_latest_are_kept_and_the_rest_is_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let files = SeenFiles::of(&StateFolder::at(folder.path()), "a-1");
        let many = 3 * GENERATION_IDS_MAX + 5;
        let mark = add(&files, SeenMark::default(), 0..many);
        assert_eq!(mark, SeenMark { generation: 3, ids: 5 });
        files.forget_before(mark).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
        let ids = files.load(mark).unwrap();
        assert!(ids.contains(&id(many - 1)) && ids.contains(&id(many - GENERATION_IDS_MAX)));
        assert!(!ids.contains(&id(many - 2 * GENERATION_IDS_MAX)));
        // A page that began three generations back and is thrown away.
        let back = add(&files, SeenMark { generation: 2, ids: 7 }, 0..0);
        assert_eq!(back, SeenMark { generation: 2, ids: 7 });
        assert!(!files.path(3).exists());
    }
}
