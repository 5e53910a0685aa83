//! Durable files: whole or not at all, whatever happens in between. Never writes a file in place.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Mode of every file that state is kept in.
pub const PRIVATE_MODE: u32 = 0o600;

/// An operation on a file that failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {operation} {}: {source}", path.display())]
pub struct FileError {
    /// What was to be done.
    pub operation: &'static str,
    /// To which file.
    pub path: PathBuf,
    /// What the system says.
    pub source: io::Error,
}

impl FileError {
    /// For `map_err`.
    pub fn of(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self { operation, path, source }
    }

    /// Whether it concerns the spool, or a folder that nothing can be written to.
    pub fn is_of_spool(&self) -> bool {
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("spool-") || self.source.kind() == io::ErrorKind::ReadOnlyFilesystem
    }

    /// Whether a newer version wrote the file.
    pub fn is_newer(&self) -> bool {
        self.source.kind() == io::ErrorKind::Unsupported
    }

    /// Whether there is no room: the disk is full, or the user's share of it.
    pub fn is_no_space(&self) -> bool {
        matches!(
            self.source.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
        )
    }
}

/// Puts `bytes` in the place of a file: whoever opens it finds the old text or the new one, also after a power failure.
///
/// # Errors
/// The operation that failed; the file is as it was before.
pub fn replace_file(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    let beside = beside(path);
    let mut file = create(&beside)?;
    let written = file.write_all(bytes).map_err(FileError::of("write", &beside));
    let placed = written.and_then(|()| put_in_place(&file, &beside, path));
    if placed.is_err() {
        // What is left behind does no harm: the next attempt writes over it.
        let _ = fs::remove_file(&beside);
    }
    placed
}

/// Syncs a file that was written, gives it its name and syncs the folder.
pub fn put_in_place(file: &File, written: &Path, path: &Path) -> Result<(), FileError> {
    file.sync_all().map_err(FileError::of("sync", written))?;
    fs::rename(written, path).map_err(FileError::of("rename", written))?;
    sync_folder(path)
}

/// Creates an empty private file, or empties the one there is. Links are not followed, nor is a pipe waited for.
pub fn create(path: &Path) -> Result<File, FileError> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(PRIVATE_MODE).custom_flags(no_waiting());
    regular(options.open(path).map_err(FileError::of("create", path))?, path)
}

/// Adds bytes to a file that only people read, as long as it has no more than `bytes_max`.
pub fn append(path: &Path, bytes: &[u8], bytes_max: u64) -> Result<(), FileError> {
    let mut file = open_to_add(path)?;
    let length = file.metadata().map_err(FileError::of("access", path))?.len();
    if length.saturating_add(bytes.len() as u64) > bytes_max {
        return Ok(());
    }
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(FileError::of("write", path))
}

/// Opens a private file, which need not exist, to write at its end.
///
/// # Errors
/// When it cannot be opened, or is no regular file.
pub fn open_to_add(path: &Path) -> Result<File, FileError> {
    let mut options = OpenOptions::new();
    options.append(true).create(true).mode(PRIVATE_MODE).custom_flags(no_waiting());
    regular(options.open(path).map_err(FileError::of("open", path))?, path)
}

/// Opens a file to read it; never a link, nor anything that is no regular file: a pipe would make its reader wait for ever.
pub fn open_regular(path: &Path) -> Result<File, FileError> {
    let opened = OpenOptions::new().read(true).custom_flags(no_waiting()).open(path);
    regular(opened.map_err(FileError::of("open", path))?, path)
}

/// Removes a file; one that is gone already is no error.
pub fn remove(path: &Path) -> Result<(), FileError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other.map_err(FileError::of("remove", path)),
    }
}

/// The flag that refuses symbolic links.
pub fn no_follow() -> i32 {
    rustix::fs::OFlags::NOFOLLOW.bits().cast_signed()
}

/// The same, and the one that waits for nobody at the other end of a pipe.
fn no_waiting() -> i32 {
    no_follow() | rustix::fs::OFlags::NONBLOCK.bits().cast_signed()
}

/// The file, if it is a regular one.
fn regular(file: File, path: &Path) -> Result<File, FileError> {
    let metadata = file.metadata().map_err(FileError::of("access", path))?;
    if metadata.is_file() {
        return Ok(file);
    }
    Err(FileError::of("use", path)(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file")))
}

fn sync_folder(of: &Path) -> Result<(), FileError> {
    // That of a bare name is the one we are in.
    let folder = of.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(FileError::of("sync", folder))
}

fn beside(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!("{name}.new"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt, symlink};

    #[test]
    fn a_file_is_replaced_whole_and_private() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        for text in ["one", "the second"] {
            replace_file(&path, text.as_bytes()).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, PRIVATE_MODE);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn links_are_not_followed_and_errors_name_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let elsewhere = folder.path().join("elsewhere");
        symlink(&elsewhere, folder.path().join("state.new")).unwrap();
        let error = replace_file(&folder.path().join("state"), b"x").unwrap_err();
        assert!(error.to_string().starts_with("cannot create ") && error.to_string().contains("state.new"), "{error}");
        assert!(!elsewhere.exists());
    }
}
