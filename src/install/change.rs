//! Changes of files as a plan: shown, made, and undone as a whole. Never follows a link to a file that it writes.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::InstallError;
use crate::files::{FileError, create, put_in_place, remove};
use crate::wazuh::conf::merge::{Edit, apply};
use crate::wazuh::home::{Home, Owner};
use crate::wazuh::program::{self, PROGRAM_S_MAX};

/// What is added to the name of a file for the copy of how it was.
const BACKUP: &str = ".before-wazuh-akamai";

/// What is added to the name of a file that is not yet in its place.
const NEW: &str = ".new-wazuh-akamai";

/// Bytes of one extended attribute, and of the names of all (Linux's limit).
const ATTRIBUTE_BYTES_MAX: usize = 64 << 10;

/// A file as it is or should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Content {
    pub(super) text: Vec<u8>,
    pub(super) owner: Owner,
    pub(super) mode: u32,
}

/// What to do with one file: none is one that is not there.
#[derive(Debug)]
struct Change {
    path: PathBuf,
    before: Option<Content>,
    after: Option<Content>,
    /// How the one text becomes the other, where the file is not ours: a copy is kept until everything is done.
    edits: Vec<Edit>,
}

#[derive(Debug)]
pub(super) struct Plan<'a> {
    home: &'a Home,
    changes: Vec<Change>,
    /// Folders that go at the end, if nothing is left in them.
    folders: Vec<PathBuf>,
}

/// How to undo what was done.
#[derive(Debug, Default)]
pub(super) struct Undo {
    changed: Vec<(PathBuf, Option<Content>)>,
    backups: Vec<PathBuf>,
    made_folders: Vec<PathBuf>,
    emptied_folders: Vec<PathBuf>,
}

impl<'a> Plan<'a> {
    pub(super) fn new(home: &'a Home) -> Self {
        Self { home, changes: Vec::new(), folders: Vec::new() }
    }

    /// How a file should be in the end.
    pub(super) fn set(&mut self, path: &Path, after: Option<Content>) -> Result<(), InstallError> {
        if let Some(change) = self.changes.iter_mut().find(|change| change.path == path) {
            change.after = after;
            return Ok(());
        }
        let before = present(path)?;
        if before != after {
            self.changes.push(Change { path: path.to_owned(), before, after, edits: Vec::new() });
        }
        Ok(())
    }

    /// The same for a file below the Wazuh home: no link may lead it out of there.
    pub(super) fn put(&mut self, path: &Path, text: &[u8], owner: Owner, mode: u32) -> Result<(), InstallError> {
        let home = fs::canonicalize(self.home.folder()).map_err(FileError::of("read", self.home.folder()))?;
        let there = path.ancestors().skip(1).find_map(|folder| fs::canonicalize(folder).ok());
        if !there.is_some_and(|folder| folder.starts_with(&home)) {
            return Err(InstallError::Strange(path.to_owned()));
        }
        self.set(path, Some(Content { text: text.to_vec(), owner, mode }))
    }

    pub(super) fn remove(&mut self, path: &Path) -> Result<(), InstallError> {
        self.set(path, None)
    }

    /// Ahead of everything: the record of what is about to be made, so that an interruption is known of.
    pub(super) fn put_first(&mut self, path: &Path, after: Content) -> Result<(), InstallError> {
        let before = present(path)?;
        self.changes.insert(0, Change { path: path.to_owned(), before, after: Some(after), edits: Vec::new() });
        Ok(())
    }

    /// Edits a file, wherever a link leads; owner and mode stay.
    pub(super) fn edit(&mut self, path: &Path, old: &[u8], edits: Vec<Edit>) -> Result<(), InstallError> {
        let path = fs::canonicalize(path).map_err(FileError::of("read", path))?;
        match present(&path)? {
            Some(before) if before.text == old => {
                let after = Some(Content { text: apply(old, &edits), ..before.clone() });
                self.changes.push(Change { path, before: Some(before), after, edits });
                Ok(())
            }
            _ => Err(InstallError::Changed(path)),
        }
    }

    /// What an interrupted run leaves beside a file: a copy of how it was, or one that was not yet in its place.
    pub(super) fn remove_leftovers_of(&mut self, path: &Path) -> Result<(), InstallError> {
        for end in [BACKUP, NEW] {
            self.remove(&with_end(path, end))?;
        }
        Ok(())
    }

    /// Moves a file, unless there will be another one in its place; whether it is moved, or not there at all.
    pub(super) fn give(&mut self, path: &Path, to: &Path) -> Result<bool, InstallError> {
        let Some(Content { text, owner, mode }) = present(path)? else { return Ok(true) };
        let planned = self.changes.iter().find(|change| change.path == to);
        let is_taken =
            planned.map_or_else(|| present(to).map(|found| found.is_some()), |plan| Ok(plan.after.is_some()))?;
        if !is_taken {
            self.put(to, &text, owner, mode)?;
            self.remove(path)?;
        }
        Ok(!is_taken)
    }

    pub(super) fn remove_folder(&mut self, path: &Path) {
        if path.is_dir() {
            self.folders.push(path.to_owned());
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.folders.is_empty()
    }

    /// Whether Wazuh reads any of the files.
    pub(super) fn concerns_wazuh(&self) -> bool {
        let rules = self.home.path("etc/rules");
        self.changes.iter().any(|change| !change.edits.is_empty() || change.path.starts_with(&rules))
    }

    /// The plan for people, edits line by line.
    pub(super) fn describe(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for Change { path, before, after, edits } in &self.changes {
            let verb = if after.is_none() { "remove" } else { "write" };
            lines.push(format!("{} {}", if edits.is_empty() { verb } else { "edit" }, path.display()));
            let old = before.as_ref().map_or(&[][..], |before| &before.text);
            lines.extend(edits.iter().flat_map(|edit| hunk(old, edit)));
        }
        lines.extend(self.folders.iter().map(|folder| format!("remove {} if it is empty", folder.display())));
        lines
    }

    /// Makes the changes. What fails undoes those before it.
    pub(super) fn apply(self) -> Result<Undo, InstallError> {
        let mut undo = Undo { emptied_folders: self.folders, ..Undo::default() };
        for change in self.changes {
            if let Err(error) = make(change, &mut undo) {
                if !undo.roll_back() {
                    log::error!("not everything could be put back; there are copies beside the files");
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
        for (path, before) in self.changed.into_iter().rev() {
            let undone = match before {
                // What could not be changed in the first place needs no putting back, and could not be.
                before if present(&path).is_ok_and(|now| now == before) => Ok(()),
                Some(before) => write(&path, &before),
                None => remove(&path),
            };
            if let Err(error) = undone {
                log::error!("{error}");
                all_back = false;
            }
        }
        remove_all(if all_back { &self.backups } else { &[] }, &self.made_folders);
        all_back
    }

    /// Everything stays as it is now; the copies of how it was are no longer needed.
    pub(super) fn keep(self) {
        remove_all(&self.backups, &self.emptied_folders);
    }
}

/// A file too many does no harm, and a folder stays if anything is left in it.
fn remove_all(files: &[PathBuf], folders: &[PathBuf]) {
    files.iter().for_each(|file| drop(remove(file)));
    folders.iter().for_each(|folder| drop(fs::remove_dir(folder)));
}

/// A regular file; none if there is nothing of the name.
pub(super) fn present(path: &Path) -> Result<Option<Content>, InstallError> {
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_file() => {
            let text = fs::read(path).map_err(FileError::of("read", path))?;
            Ok(Some(Content { text, owner: (metadata.uid(), metadata.gid()), mode: metadata.mode() & 0o7777 }))
        }
        Ok(_) => Err(InstallError::Strange(path.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(FileError::of("access", path)(error).into()),
    }
}

/// The text of a regular file that lies inside the home, whatever links lead to it.
pub(super) fn read_inside(home: &Home, path: &Path) -> Result<Vec<u8>, InstallError> {
    let real = fs::canonicalize(path).map_err(FileError::of("read", path))?;
    let folder = fs::canonicalize(home.folder()).map_err(FileError::of("read", home.folder()))?;
    match present(&real)? {
        Some(found) if real.starts_with(&folder) => Ok(found.text),
        _ => Err(InstallError::Strange(path.to_owned())),
    }
}

fn make(change: Change, undo: &mut Undo) -> Result<(), InstallError> {
    let Change { path, before: planned, after, edits } = change;
    let before = present(&path)?;
    // Files that are ours alone may be written whatever they hold by now.
    if before != planned && !edits.is_empty() {
        return Err(InstallError::Changed(path));
    }
    if let Some(before) = before.as_ref().filter(|_| !edits.is_empty()) {
        let backup = with_end(&path, BACKUP);
        write(&backup, before)?;
        undo.backups.push(backup);
    }
    if let Some(after) = &after {
        make_folder(&path, after.owner, undo)?;
    }
    undo.changed.push((path.clone(), before));
    match after {
        Some(after) => write(&path, &after)?,
        None => remove(&path)?,
    }
    Ok(())
}

/// Writes a file beside its place, with its owner, mode and label, then puts it there.
pub(super) fn write(path: &Path, content: &Content) -> Result<(), FileError> {
    let beside = with_end(path, NEW);
    let is_new = !path.exists();
    let mut file = create(&beside)?;
    let written = file
        .write_all(&content.text)
        .map_err(FileError::of("write", &beside))
        .and_then(|()| own(&file, &beside, content.owner, content.mode))
        .and_then(|()| {
            copy_attributes(path, &file);
            put_in_place(&file, &beside, path)
        });
    match written {
        Ok(()) => relabel(path, is_new),
        Err(error) => {
            let _ = remove(&beside);
            // A file that is mounted by itself, as containers do, can only be written where it is.
            if error.source.kind() != io::ErrorKind::ResourceBusy {
                return Err(error);
            }
            write_in_place(path, &content.text)?;
        }
    }
    Ok(())
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

fn own(file: &File, path: &Path, (user, group): Owner, mode: u32) -> Result<(), FileError> {
    fchown(file, Some(user), Some(group)).map_err(FileError::of("change the owner of", path))?;
    file.set_permissions(fs::Permissions::from_mode(mode)).map_err(FileError::of("change the mode of", path))
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
    undo.made_folders.push(folder.to_owned());
    own(&File::open(folder).map_err(FileError::of("open", folder))?, folder, owner, 0o750)
}

fn with_end(path: &Path, end: &str) -> PathBuf {
    PathBuf::from(format!("{}{end}", path.display()))
}

/// An edit as lines of a diff.
fn hunk(old: &[u8], edit: &Edit) -> Vec<String> {
    let line = 1 + old[..edit.at.start].iter().filter(|byte| **byte == b'\n').count();
    let mut lines = vec![format!("@@ line {line} @@")];
    for (sign, text) in [('-', &old[edit.at.clone()]), ('+', &edit.with[..])] {
        let text = String::from_utf8_lossy(text);
        lines.extend(text.lines().filter(|line| !line.is_empty()).map(|line| format!("{sign}{line}")));
    }
    lines
}
