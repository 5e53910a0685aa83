//! Changes of files as a plan: shown, made, and undone as a whole. Never follows a link to a file that it writes.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::InstallError;
use super::record::Record;
use crate::files::{FileError, create, put_in_place, remove};
use crate::wazuh::conf::merge::{Edit, apply};
use crate::wazuh::home::{Home, Owner};
use crate::wazuh::program::{self, PROGRAM_S_MAX};

/// What is behind the name of a file's copy from before.
const BACKUP: &str = ".before-wazuh-akamai";

/// What is behind the name of a file that is not yet in its place.
const NEW: &str = ".new-wazuh-akamai";

/// Bytes of one extended attribute, and of the names of all (Linux's limit).
const ATTRIBUTE_BYTES_MAX: usize = 64 << 10;

/// What to do with one file.
#[derive(Debug)]
enum Change {
    /// Write it whole.
    Put { path: PathBuf, text: Vec<u8>, owner: Owner, mode: u32 },
    /// Edit it; owner and mode stay.
    Edit { path: PathBuf, old: Vec<u8>, edits: Vec<Edit> },
    /// Remove it.
    Forget { path: PathBuf },
    /// Remove a folder, if nothing is left in it.
    ForgetFolder { path: PathBuf },
}

/// The plan.
#[derive(Debug)]
pub(super) struct Changes<'a> {
    home: &'a Home,
    list: Vec<Change>,
}

/// How to undo what was done.
#[derive(Debug, Default)]
pub(super) struct Undo {
    /// Files, and how they were: text, owner and mode; none where there was none.
    files: Vec<(PathBuf, Option<Before>)>,
    backups: Vec<PathBuf>,
    /// Folders that were made.
    folders: Vec<PathBuf>,
    /// Folders that go when everything stays, if nothing is left in them.
    emptied: Vec<PathBuf>,
}

/// A file as it was.
#[derive(Debug, PartialEq, Eq)]
struct Before {
    text: Vec<u8>,
    owner: Owner,
    mode: u32,
}

impl<'a> Changes<'a> {
    pub(super) fn new(home: &'a Home) -> Self {
        Self { home, list: Vec::new() }
    }

    /// A file as it should be; no change where it is so already.
    pub(super) fn put(&mut self, path: &Path, text: &[u8], owner: Owner, mode: u32) -> Result<(), InstallError> {
        self.contains(path)?;
        self.put_anywhere(path, text, owner, mode)
    }

    /// Makes sure that no link leads a path of ours out of the home.
    fn contains(&self, path: &Path) -> Result<(), InstallError> {
        let home = fs::canonicalize(self.home.folder()).map_err(FileError::of("read", self.home.folder()))?;
        let there = path.ancestors().skip(1).find_map(|folder| fs::canonicalize(folder).ok());
        if there.is_some_and(|folder| folder.starts_with(&home)) {
            Ok(())
        } else {
            Err(InstallError::Strange(path.to_owned()))
        }
    }

    /// The same for a file outside the Wazuh home.
    pub(super) fn put_anywhere(
        &mut self,
        path: &Path,
        text: &[u8],
        owner: Owner,
        mode: u32,
    ) -> Result<(), InstallError> {
        let as_it_should_be = present(path)?.is_some_and(|found| found == text)
            && fs::metadata(path).is_ok_and(|metadata| {
                (metadata.uid(), metadata.gid()) == owner && metadata.permissions().mode() & 0o7777 == mode
            });
        if !as_it_should_be {
            self.list.push(Change::Put { path: path.to_owned(), text: text.to_vec(), owner, mode });
        }
        Ok(())
    }

    /// The record of what is about to be made: ahead of everything, so that an interruption is known of.
    pub(super) fn record_first(&mut self, path: &Path, record: &Record) {
        let text = record.text().into_bytes();
        let owner = root_and_group(self.home);
        self.list.insert(0, Change::Put { path: path.to_owned(), text, owner, mode: 0o640 });
    }

    pub(super) fn edit(&mut self, path: &Path, old: &[u8], edits: &[Edit]) -> Result<(), InstallError> {
        let path = fs::canonicalize(path).map_err(FileError::of("read", path))?;
        self.list.push(Change::Edit { path, old: old.to_vec(), edits: edits.to_vec() });
        Ok(())
    }

    /// What an interrupted run leaves beside a file: a copy from before, or one that was not yet in its place.
    pub(super) fn forget_leftovers_of(&mut self, path: &Path) -> Result<(), InstallError> {
        for end in [BACKUP, NEW] {
            self.forget(&PathBuf::from(format!("{}{end}", path.display())))?;
        }
        Ok(())
    }

    pub(super) fn forget(&mut self, path: &Path) -> Result<(), InstallError> {
        if present(path)?.is_some() {
            self.list.push(Change::Forget { path: path.to_owned() });
        }
        Ok(())
    }

    pub(super) fn forget_folder(&mut self, path: &Path) {
        if path.is_dir() {
            self.list.push(Change::ForgetFolder { path: path.to_owned() });
        }
    }

    /// Moves a file to where it is kept.
    pub(super) fn save_aside(&mut self, path: &Path, to: &Path) -> Result<(), InstallError> {
        let text = present(path)?.unwrap_or_default();
        let (owner, mode) = owner_and_mode_of(path)?;
        self.list.push(Change::Put { path: to.to_owned(), text, owner, mode });
        self.list.push(Change::Forget { path: path.to_owned() });
        Ok(())
    }

    /// Moves a kept file back to where it stood, unless there is another one now; whether that is so.
    pub(super) fn give_back(&mut self, kept: &Path, to: &Path) -> Result<bool, InstallError> {
        let Some(text) = present(kept)? else { return Ok(true) };
        let goes = self.list.iter().any(|change| matches!(change, Change::Forget { path } if path == to));
        self.contains(to)?;
        if present(to)?.is_some() && !goes {
            return Ok(false);
        }
        let (owner, mode) = owner_and_mode_of(kept)?;
        self.list.push(Change::Put { path: to.to_owned(), text, owner, mode });
        self.list.push(Change::Forget { path: kept.to_owned() });
        Ok(true)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Whether Wazuh has to take something up.
    pub(super) fn concern_wazuh(&self) -> bool {
        self.list.iter().any(|change| match change {
            Change::Edit { .. } => true,
            Change::Put { path, .. } | Change::Forget { path } => path.starts_with(self.home.path("etc/rules")),
            Change::ForgetFolder { .. } => false,
        })
    }

    /// The plan for people, edits line by line.
    pub(super) fn describe(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for change in &self.list {
            match change {
                Change::Put { path, .. } => lines.push(format!("write {}", path.display())),
                Change::Forget { path } => lines.push(format!("remove {}", path.display())),
                Change::ForgetFolder { path } => lines.push(format!("remove {} if it is empty", path.display())),
                Change::Edit { path, old, edits } => {
                    lines.push(format!("edit {}", path.display()));
                    let (mut line, mut at) = (1, 0);
                    for edit in edits {
                        line += old[at..edit.at.start].iter().filter(|byte| **byte == b'\n').count();
                        at = edit.at.start;
                        lines.extend(hunk(old, edit, line));
                    }
                }
            }
        }
        lines
    }

    /// Makes the changes. What fails undoes those before it.
    pub(super) fn apply(self) -> Result<Undo, InstallError> {
        let mut undo = Undo::default();
        for change in &self.list {
            if let Err(error) = make(change, &mut undo) {
                if !undo.roll_back() {
                    log::error!("not everything could be put back; copies lie beside the files");
                }
                return Err(error);
            }
        }
        Ok(undo)
    }
}

impl Undo {
    /// Puts everything back as it was; whether that was possible. Copies of what could not be put back stay.
    pub(super) fn roll_back(self) -> bool {
        let mut all_back = true;
        for (path, before) in self.files.into_iter().rev() {
            let undone = match before {
                // What could not be changed in the first place needs no putting back, and could not be.
                before if as_it_is(&path).is_ok_and(|now| now == before) => Ok(()),
                Some(Before { text, owner, mode }) => write(&path, &text, owner, mode),
                None => remove(&path),
            };
            if let Err(error) = undone {
                log::error!("{error}");
                all_back = false;
            }
        }
        for backup in self.backups.into_iter().filter(|_| all_back) {
            // A copy too many does no harm.
            let _ = remove(&backup);
        }
        for folder in self.folders {
            // Whatever else is in it is not ours.
            let _ = fs::remove_dir(folder);
        }
        all_back
    }

    /// Everything stays as it is now; the copies from before are no longer needed.
    pub(super) fn keep(self) {
        for backup in self.backups {
            // A copy too many does no harm.
            let _ = remove(&backup);
        }
        for folder in self.emptied {
            // Whatever else is in it is not ours.
            let _ = fs::remove_dir(folder);
        }
    }
}

/// root and Wazuh's group. Where the tests are not root, files can only belong to whoever runs them.
pub(super) fn root_and_group(home: &Home) -> Owner {
    (nix::unistd::geteuid().as_raw(), home.wazuh.1)
}

/// The text of a regular file that lies inside the home, whatever links lead to it.
pub(super) fn read_inside(home: &Home, path: &Path) -> Result<Vec<u8>, InstallError> {
    let real = fs::canonicalize(path).map_err(FileError::of("read", path))?;
    let folder = fs::canonicalize(home.folder()).map_err(FileError::of("read", home.folder()))?;
    if !real.starts_with(&folder) || !fs::metadata(&real).is_ok_and(|metadata| metadata.is_file()) {
        return Err(InstallError::Strange(path.to_owned()));
    }
    fs::read(&real).map_err(|error| FileError::of("read", path)(error).into())
}

/// The text of a regular file; none if there is none.
pub(super) fn present(path: &Path) -> Result<Option<Vec<u8>>, InstallError> {
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_file() => Ok(Some(fs::read(path).map_err(FileError::of("read", path))?)),
        Ok(_) => Err(InstallError::Strange(path.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(FileError::of("look at", path)(error).into()),
    }
}

fn make(change: &Change, undo: &mut Undo) -> Result<(), InstallError> {
    match change {
        Change::Put { path, text, owner, mode } => {
            make_folder(path, *owner, undo)?;
            undo.files.push((path.clone(), as_it_is(path)?));
            write(path, text, *owner, *mode)?;
        }
        Change::Edit { path, old, edits } => {
            let before = as_it_is(path)?;
            if before.as_ref().is_none_or(|before| before.text != *old) {
                return Err(InstallError::Changed(path.clone()));
            }
            let (owner, mode) = before.as_ref().map_or(((0, 0), 0o660), |before| (before.owner, before.mode));
            let backup = PathBuf::from(format!("{}{BACKUP}", path.display()));
            write(&backup, old, owner, mode)?;
            undo.backups.push(backup);
            undo.files.push((path.clone(), before));
            write(path, &apply(old, edits), owner, mode)?;
        }
        Change::Forget { path } => {
            undo.files.push((path.clone(), as_it_is(path)?));
            remove(path)?;
        }
        // Once everything stays: until then the folder may be needed again.
        Change::ForgetFolder { path } => undo.emptied.push(path.clone()),
    }
    Ok(())
}

fn as_it_is(path: &Path) -> Result<Option<Before>, FileError> {
    match fs::symlink_metadata(path) {
        Ok(metadata) => {
            let text = fs::read(path).map_err(FileError::of("read", path))?;
            let (owner, mode) = ((metadata.uid(), metadata.gid()), metadata.permissions().mode() & 0o7777);
            Ok(Some(Before { text, owner, mode }))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(FileError::of("look at", path)(error)),
    }
}

/// Writes one file of ours at once.
pub(super) fn write_now(path: &Path, text: &[u8], owner: Owner, mode: u32) -> Result<(), FileError> {
    write(path, text, owner, mode)
}

/// Writes a file beside its place, with its owner, mode and label, then puts it there.
fn write(path: &Path, text: &[u8], owner: Owner, mode: u32) -> Result<(), FileError> {
    let beside = PathBuf::from(format!("{}{NEW}", path.display()));
    let is_new = !path.exists();
    let mut file = create(&beside)?;
    let written = file
        .write_all(text)
        .map_err(FileError::of("write", &beside))
        .and_then(|()| set_owner(&file, &beside, owner))
        .and_then(|()| {
            file.set_permissions(fs::Permissions::from_mode(mode)).map_err(FileError::of("change the mode of", &beside))
        })
        .and_then(|()| {
            copy_attributes(path, &file);
            put_in_place(&file, &beside, path)
        });
    match written {
        Ok(()) => {
            relabel(path, is_new);
            Ok(())
        }
        Err(error) => {
            let _ = remove(&beside);
            // A file that is mounted by itself, as containers do, can only be written where it is.
            if error.source.kind() == io::ErrorKind::ResourceBusy { write_in_place(path, text) } else { Err(error) }
        }
    }
}

fn write_in_place(path: &Path, text: &[u8]) -> Result<(), FileError> {
    let mut file = fs::OpenOptions::new().write(true).truncate(true).open(path).map_err(FileError::of("open", path))?;
    file.write_all(text).and_then(|()| file.sync_all()).map_err(FileError::of("write", path))
}

/// Extended attributes of the file that is replaced (access lists, its own SELinux label) go with its name. What cannot be
/// copied is left to the label of the place.
fn copy_attributes(from: &Path, to: &File) {
    let mut names = vec![0; ATTRIBUTE_BYTES_MAX];
    let Ok(length) = rustix::fs::listxattr(from, &mut names[..]) else { return };
    for name in names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let mut value = vec![0; ATTRIBUTE_BYTES_MAX];
        if let Ok(length) = rustix::fs::getxattr(from, name, &mut value[..]) {
            let _ = rustix::fs::fsetxattr(to, name, &value[..length], rustix::fs::XattrFlags::empty());
        }
    }
}

fn set_owner(file: &File, path: &Path, owner: Owner) -> Result<(), FileError> {
    fchown(file, Some(owner.0), Some(owner.1)).map_err(FileError::of("change the owner of", path))
}

/// Gives a new file the SELinux label of its place, where there is SELinux; one that took another's place has its label.
fn relabel(path: &Path, is_new: bool) {
    if is_new && Path::new("/sys/fs/selinux/enforce").exists() {
        // Without restorecon there is nothing to be done, and mostly nothing wrong.
        let mut restorecon = Command::new("restorecon");
        restorecon.arg(path);
        let _ = program::run(restorecon, PROGRAM_S_MAX);
    }
}

fn make_folder(path: &Path, owner: Owner, undo: &mut Undo) -> Result<(), FileError> {
    let Some(folder) = path.parent().filter(|folder| !folder.exists()) else { return Ok(()) };
    fs::create_dir(folder).map_err(FileError::of("create", folder))?;
    undo.folders.push(folder.to_owned());
    let handle = File::open(folder).map_err(FileError::of("open", folder))?;
    set_owner(&handle, folder, owner)?;
    handle.set_permissions(fs::Permissions::from_mode(0o750)).map_err(FileError::of("change the mode of", folder))
}

pub(super) fn owner_and_mode_of(path: &Path) -> Result<(Owner, u32), InstallError> {
    let metadata = fs::symlink_metadata(path).map_err(FileError::of("look at", path))?;
    Ok(((metadata.uid(), metadata.gid()), metadata.permissions().mode() & 0o7777))
}

/// An edit as lines of a diff.
fn hunk(old: &[u8], edit: &Edit, line: usize) -> Vec<String> {
    let mut lines = vec![format!("@@ line {line} @@")];
    let mut add = |sign: char, text: &[u8]| {
        lines.extend(
            String::from_utf8_lossy(text).lines().filter(|line| !line.is_empty()).map(|line| format!("{sign}{line}")),
        );
    };
    add('-', &old[edit.at.clone()]);
    add('+', &edit.with);
    lines
}
