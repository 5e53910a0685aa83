//! From root to the user that the work is done as: the state folder is made ready, then root is given up for good. Never
//! follows a link, never comes back.

use std::ffi::CStr;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::thread;

use nix::unistd::{Gid, Uid, User, geteuid, setgroups, setresgid, setresuid, setuid};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, chownat, fchmod, fchown, openat};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};

use crate::files::FileError;

/// Mode of the state folder.
const FOLDER_MODE: u32 = 0o700;

/// Folders that a folder, or a file system of its own, may hold.
const OF_EVERY_FOLDER: [&CStr; 3] = [c".", c"..", c"lost+found"];

/// Whether this process is root.
pub fn is_root() -> bool {
    geteuid().is_root()
}

/// The user of this name, if there is one and it is not root.
pub fn user(name: &str) -> Option<User> {
    User::from_name(name).ok().flatten().filter(|user| !user.uid.is_root())
}

/// Makes sure that the state folder exists, private, and that it and its files belong to `owner` (none: to whom they do):
/// whoever had them before, since Wazuh may have been installed anew, or `user` have been another. Only regular files with one
/// name are given away: what has another name elsewhere may be root's own. A folder that holds others, such as `/etc`, is
/// refused: the collector's own holds none.
///
/// # Errors
/// The file operation that failed; a link where the folder should be.
pub fn prepare_folder(path: &Path, owner: Option<&User>) -> Result<(), FileError> {
    DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(path).map_err(FileError::of("create", path))?;
    let Some(owner) = owner else { return Ok(()) };
    let flags = (OFlags::DIRECTORY | OFlags::NOFOLLOW).bits().cast_signed();
    let folder = OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(FileError::of("open", path))?;
    let (uid, gid) = ids(owner);
    let failed = |operation| move |error: rustix::io::Errno| FileError::of(operation, path)(error.into());
    for entry in Dir::read_from(&folder).map_err(failed("list"))? {
        let entry = entry.map_err(failed("list"))?;
        let is_ours = entry.file_type() != FileType::Directory || OF_EVERY_FOLDER.contains(&entry.file_name());
        if !is_ours {
            let error = format!(
                "there is a folder in it ({}), so it is not the collector's own: set state_dir to an empty one",
                entry.file_name().to_string_lossy()
            );
            return Err(FileError::of("use", path)(io::Error::new(io::ErrorKind::InvalidInput, error)));
        }
    }
    fchmod(&folder, Mode::from_raw_mode(FOLDER_MODE)).map_err(failed("change the mode of"))?;
    for entry in Dir::read_from(&folder).map_err(failed("list"))? {
        let entry = entry.map_err(failed("list"))?;
        // Opened as a name only: nothing is read, no pipe is waited for.
        let Ok(file) =
            openat(&folder, entry.file_name(), OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
        else {
            continue;
        };
        let metadata = fs::File::from(file.try_clone().map_err(FileError::of("access", path))?).metadata();
        if metadata.is_ok_and(|metadata| metadata.is_file() && metadata.nlink() == 1 && metadata.uid() != uid.as_raw())
        {
            chownat(&file, "", Some(uid), Some(gid), AtFlags::EMPTY_PATH)
                .map_err(failed("change the owner of a file in"))?;
        }
    }
    fchown(&folder, Some(uid), Some(gid)).map_err(failed("change the owner of"))
}

/// Becomes `user`, with the user's own group and that of Wazuh only, for the whole process and for good. Must come before any
/// thread starts.
///
/// # Errors
/// When the system refuses, or when root could still come back: then nothing may go on.
pub fn become_user(user: &User, wazuh: Option<Gid>) -> io::Result<()> {
    let root: (Uid, Gid) = (Uid::from_raw(0), Gid::from_raw(0));
    setgroups(&groups(user, wazuh))?;
    setresgid(user.gid, user.gid, user.gid)?;
    setresuid(user.uid, user.uid, user.uid)?;
    if setuid(root.0).is_ok() || setresgid(root.1, root.1, root.1).is_ok() || is_root() {
        return Err(io::Error::other("root could come back"));
    }
    Ok(())
}

/// What `trial` finds as `user` with the same groups: in a thread of its own, so that nothing else changes.
///
/// # Errors
/// When the system refuses.
pub fn as_user<T: Send>(user: &User, wazuh: Option<Gid>, trial: impl FnOnce() -> T + Send) -> io::Result<T> {
    let (uid, gid) = ids(user);
    let groups: Vec<_> = groups(user, wazuh).iter().map(|gid| rustix::fs::Gid::from_raw(gid.as_raw())).collect();
    let tried = move || {
        set_thread_groups(&groups)?;
        set_thread_res_gid(gid, gid, gid)?;
        set_thread_res_uid(uid, uid, uid)?;
        Ok(trial())
    };
    thread::scope(|scope| scope.spawn(tried).join()).unwrap_or_else(|_| Err(io::Error::other("the trial ended early")))
}

fn groups(user: &User, wazuh: Option<Gid>) -> Vec<Gid> {
    [Some(user.gid), wazuh].into_iter().flatten().collect()
}

fn ids(user: &User) -> (rustix::fs::Uid, rustix::fs::Gid) {
    (rustix::fs::Uid::from_raw(user.uid.as_raw()), rustix::fs::Gid::from_raw(user.gid.as_raw()))
}
