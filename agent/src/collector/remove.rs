//! Deletes a folder with everything in it, whatever it is that a task has left there.
//!
//! Every step is taken from an open folder to a name in it: through no link, onto no other file system, and nobody who
//! moves folders meanwhile leads it elsewhere. The depth is not limited, the open files are. What cannot be deleted does
//! not keep the rest.

use std::ffi::{CStr, CString, OsStr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::dir::{Dir, Type};
use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2, renameat};
use nix::mount::{MntFlags, umount2};
use nix::sys::stat::{FchmodatFlags, Mode, fchmodat};
use nix::unistd::{UnlinkatFlags, unlinkat};

/// What was left, and why the first of it was.
#[derive(Debug, thiserror::Error)]
#[error("{left} of its entries stay, '{name}' among them: {}", errno.desc())]
pub struct RemoveError {
    pub left: u64,
    pub name: String,
    pub errno: Errno,
}

/// Folders that are open at the same time. What lies deeper is moved up first.
const DEPTH_MAX: usize = 64;
/// Names of one folder that are read at a time.
const NAMES_MAX: usize = 4096;

/// Deletes `path`. That it is not there is no error.
pub fn remove_tree(path: &Path) -> Result<(), RemoveError> {
    let (Some(above), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(failure(path.as_os_str().as_bytes(), Errno::EINVAL));
    };
    let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let above = match Dir::open(above, flags, Mode::empty()) {
        Ok(above) => above,
        Err(Errno::ENOENT) => return Ok(()),
        Err(errno) => return Err(failure(above.as_os_str().as_bytes(), errno)),
    };
    let name = CString::new(name.as_bytes()).map_err(|_| failure(name.as_bytes(), Errno::EINVAL))?;
    let mut removal = Removal { open: Vec::new(), moved_count: 0, failed: None };
    removal.enter(above.as_fd(), name, true);
    removal.work(above.as_fd());
    removal.failed.map_or(Ok(()), Err)
}

fn failure(name: &[u8], errno: Errno) -> RemoveError {
    RemoveError { left: 1, name: String::from_utf8_lossy(name).into_owned(), errno }
}

/// A folder that is being emptied.
struct Folder {
    dir: Dir,
    name: CString,
    /// Read and not yet dealt with.
    names: Vec<(CString, bool)>,
    /// Entries that stay.
    left: usize,
}

struct Removal {
    /// From the one to be deleted downwards.
    open: Vec<Folder>,
    moved_count: u64,
    failed: Option<RemoveError>,
}

impl Removal {
    fn work(&mut self, above: BorrowedFd<'_>) {
        while let Some(folder) = self.open.last_mut() {
            if folder.names.is_empty() {
                folder.names = names(&mut folder.dir, folder.left);
            }
            match folder.names.pop() {
                Some((name, true)) => self.descend(name),
                Some((name, false)) => self.unlink(&name),
                None => self.leave(above),
            }
        }
    }

    /// Into a folder of the innermost one. One that would be too deep becomes the outermost one's, which is read again.
    fn descend(&mut self, name: CString) {
        let Some(inner) = self.open.last() else { return };
        if self.open.len() < DEPTH_MAX {
            let Ok(fd) = inner.dir.as_fd().try_clone_to_owned() else {
                return self.fail(&name, Errno::EMFILE);
            };
            return self.enter(fd.as_fd(), name, false);
        }
        self.moved_count += 1;
        let to = format!(".ingot-deep-{}", self.moved_count);
        match renameat(inner.dir.as_fd(), name.as_c_str(), self.open[0].dir.as_fd(), to.as_str()) {
            // A folder of that name, from an attempt that was cut off: the next number is tried.
            Err(Errno::ENOTEMPTY | Errno::EEXIST) => self.descend(name),
            Err(errno) => self.fail(&name, errno),
            Ok(()) => {}
        }
    }

    fn enter(&mut self, parent: BorrowedFd<'_>, name: CString, is_outermost: bool) {
        let open = || {
            let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
            let resolve = ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_XDEV;
            let how = OpenHow::new().flags(flags).resolve(resolve | ResolveFlag::RESOLVE_NO_SYMLINKS);
            openat2(parent, name.as_c_str(), how)
        };
        let opened = match open() {
            Err(Errno::EXDEV) => unmount(parent, &name).and_then(|()| open()),
            // Only an ordinary user's agent meets this, in folders of its own.
            Err(Errno::EACCES) => unlock(parent, &name).and_then(|()| open()),
            other => other,
        };
        match opened.and_then(Dir::from_fd) {
            Ok(dir) => self.open.push(Folder { dir, name, names: Vec::new(), left: 0 }),
            Err(Errno::ENOENT) => {}
            // No folder after all, or not any more.
            Err(Errno::ENOTDIR | Errno::ELOOP) if is_outermost => {
                if let Err(errno) = unlinkat(parent, name.as_c_str(), UnlinkatFlags::NoRemoveDir) {
                    self.fail(&name, errno);
                }
            }
            Err(Errno::ENOTDIR | Errno::ELOOP) => self.unlink(&name),
            Err(errno) => self.fail(&name, errno),
        }
    }

    fn unlink(&mut self, name: &CStr) {
        let Some(folder) = self.open.last() else { return };
        let unlink = || unlinkat(folder.dir.as_fd(), name, UnlinkatFlags::NoRemoveDir);
        let unlinked = match unlink() {
            // A file that something is mounted on.
            Err(Errno::EBUSY) => unmount(folder.dir.as_fd(), name).and_then(|()| unlink()),
            Err(Errno::EACCES) => unlock(folder.dir.as_fd(), c".").and_then(|()| unlink()),
            other => other,
        };
        match unlinked {
            Ok(()) | Err(Errno::ENOENT) => {}
            Err(errno) => self.fail(name, errno),
        }
    }

    /// Out of the innermost folder, which is empty but for what stays.
    fn leave(&mut self, above: BorrowedFd<'_>) {
        let Some(Folder { name, left, .. }) = self.open.pop() else { return };
        let parent = self.open.last().map_or(above, |folder| folder.dir.as_fd());
        match unlinkat(parent, name.as_c_str(), UnlinkatFlags::RemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => {}
            // What is in it has been told of already.
            Err(Errno::ENOTEMPTY) if left > 0 => self.stay(),
            Err(Errno::EACCES) if unlock(parent, c".").is_ok() => {
                if let Err(errno) = unlinkat(parent, name.as_c_str(), UnlinkatFlags::RemoveDir) {
                    self.fail(&name, errno);
                }
            }
            Err(errno) => self.fail(&name, errno),
        }
    }

    fn fail(&mut self, name: &CStr, errno: Errno) {
        self.stay();
        match &mut self.failed {
            Some(failed) => failed.left += 1,
            None => self.failed = Some(failure(name.to_bytes(), errno)),
        }
    }

    fn stay(&mut self) {
        if let Some(folder) = self.open.last_mut() {
            folder.left += 1;
        }
    }
}

/// The next names of a folder, whether each is a folder's; those that stay are passed over.
fn names(dir: &mut Dir, left: usize) -> Vec<(CString, bool)> {
    let is_entry = |name: &CStr| name != c"." && name != c"..";
    let entries = dir.iter().filter_map(Result::ok).filter(|entry| is_entry(entry.file_name()));
    let entries = entries.skip(left).take(NAMES_MAX);
    // Where the file system does not tell, it is found out by trying.
    let is_folder = |kind| matches!(kind, Some(Type::Directory) | None);
    entries.map(|entry| (entry.file_name().to_owned(), is_folder(entry.file_type()))).collect()
}

/// Takes away what is mounted on `name`: of a volume that was mounted for a task only its mount must go. A mount that is
/// in use stays.
fn unmount(folder: BorrowedFd<'_>, name: &CStr) -> nix::Result<()> {
    let mut path = format!("/proc/self/fd/{}/", folder.as_raw_fd()).into_bytes();
    path.extend(name.to_bytes());
    umount2(Path::new(OsStr::from_bytes(&path)), MntFlags::UMOUNT_NOFOLLOW)
}

fn unlock(folder: BorrowedFd<'_>, name: &CStr) -> nix::Result<()> {
    fchmodat(folder, name, Mode::S_IRWXU, FchmodatFlags::FollowSymlink)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn everything_goes_and_nothing_else() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (tree, outside) = (folder.path().join("tree"), folder.path().join("outside"));
        fs::create_dir_all(tree.join("a/b/c")).expect("mkdir");
        fs::create_dir(&outside).expect("mkdir");
        fs::write(outside.join("precious"), "").expect("write");
        for name in ["x", "a/y", "a/b/c/z"] {
            fs::write(tree.join(name), "text").expect("write");
        }
        std::os::unix::fs::symlink(&outside, tree.join("a/link")).expect("link");
        std::os::unix::fs::symlink("/nowhere", tree.join("dangling")).expect("link");
        fs::hard_link(outside.join("precious"), tree.join("same")).expect("link");
        nix::unistd::mkfifo(&tree.join("pipe"), Mode::S_IRWXU).expect("mkfifo");
        // As the module caches of some languages are.
        fs::set_permissions(tree.join("a/b"), std::os::unix::fs::PermissionsExt::from_mode(0o500))
            .expect("chmod");
        remove_tree(&tree).expect("it can be");
        assert!(!tree.exists());
        assert!(outside.join("precious").exists());
        remove_tree(&tree).expect("it is not there");
        remove_tree(&folder.path().join("no/such/folder")).expect("it is not there");
    }

    #[test]
    fn a_link_is_deleted_itself() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        fs::create_dir(folder.path().join("kept")).expect("mkdir");
        let link = folder.path().join("link");
        std::os::unix::fs::symlink("kept", &link).expect("link");
        remove_tree(&link).expect("it can be");
        assert!(link.symlink_metadata().is_err() && folder.path().join("kept").exists());
    }

    /// Deeper than folders are kept open, by far, and than a path can be long.
    #[test]
    fn depth_is_no_obstacle() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let tree = folder.path().join("tree");
        fs::create_dir(&tree).expect("mkdir");
        let mut inner = Dir::open(&tree, OFlag::O_DIRECTORY, Mode::empty()).expect("a folder");
        let name = "a-folder-with-quite-a-long-name";
        for _ in 0..300 {
            nix::sys::stat::mkdirat(inner.as_fd(), name, Mode::S_IRWXU).expect("mkdir");
            inner = Dir::openat(inner.as_fd(), name, OFlag::O_DIRECTORY, Mode::empty()).expect("a folder");
        }
        remove_tree(&tree).expect("it can be");
        assert!(!tree.exists());
    }

    #[test]
    fn a_wide_folder_is_emptied() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let tree = folder.path().join("tree");
        fs::create_dir(&tree).expect("mkdir");
        for number in 0..2 * NAMES_MAX + 10 {
            fs::write(tree.join(number.to_string()), "").expect("write");
        }
        remove_tree(&tree).expect("it can be");
        assert!(!tree.exists());
    }
}
