//! Writing in a sandbox (or in a layer of an image) and nowhere else. Every name is resolved by the kernel beneath the sandbox's own descriptor, through
//! no link, whatever was planted in the sandbox meanwhile.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::stat::{Mode, mkdirat};
use nix::unistd::{UnlinkatFlags, linkat, symlinkat, unlinkat};

/// An open sandbox. All paths are relative to it and of plain names.
pub(crate) struct Sandbox {
    root: OwnedFd,
    /// The folder that was used last: members of an archive mostly lie side by side.
    last: Option<(PathBuf, OwnedFd)>,
}

const FILE_MODE: u32 = 0o600;
const FOLDER_MODE: u32 = 0o755;

impl Sandbox {
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { root: File::open(path)?.into(), last: None })
    }

    /// Opens a file for writing and reading, making the folders on the way. What was in it is gone.
    pub(crate) fn create(&mut self, path: &Path) -> io::Result<File> {
        let name = name(path).to_owned();
        let folder = self.folder(parent(path))?;
        open_file(folder, &name, OFlag::O_RDWR | OFlag::O_TRUNC)
    }

    /// Makes a new file in the place of whatever had its name; that itself is not written to, as it may have other names.
    pub(crate) fn replace(&mut self, path: &Path) -> io::Result<File> {
        let (name, folder) = self.cleared(path)?;
        open_file(folder, &name, OFlag::O_WRONLY | OFlag::O_EXCL)
    }

    /// Where it leads is the caller's to judge.
    pub(crate) fn symlink(&mut self, path: &Path, target: &Path) -> io::Result<()> {
        let (name, folder) = self.cleared(path)?;
        Ok(symlinkat(target, folder.as_fd(), name.as_os_str())?)
    }

    /// Another name for the file `target`; of a link, for the link.
    pub(crate) fn hardlink(&mut self, path: &Path, target: &Path) -> io::Result<()> {
        let from = self.folder(parent(target))?.try_clone()?;
        let (new, folder) = self.cleared(path)?;
        Ok(linkat(from.as_fd(), name(target), folder.as_fd(), new.as_os_str(), AtFlags::empty())?)
    }

    /// The folder that `path` is in, and its name there.
    pub(crate) fn place(&mut self, path: &Path) -> io::Result<(&OwnedFd, OsString)> {
        let name = name(path).to_owned();
        Ok((self.folder(parent(path))?, name))
    }

    /// That nothing has that name is no error; a folder is one.
    pub(crate) fn remove(&mut self, path: &Path) -> io::Result<()> {
        self.cleared(path).map(drop)
    }

    /// The folder, with all above it, made where it is missing.
    pub(crate) fn folder(&mut self, path: &Path) -> io::Result<&OwnedFd> {
        if path.as_os_str().is_empty() {
            return Ok(&self.root);
        }
        if self.last.as_ref().is_none_or(|(last, _)| last != path) {
            let folder = match open_folder(&self.root, path.as_os_str()) {
                Err(Errno::ENOENT) => self.make(path)?,
                other => other?,
            };
            self.last = Some((path.to_owned(), folder));
        }
        Ok(&self.last.as_ref().expect("it was just set").1)
    }

    fn make(&self, path: &Path) -> io::Result<OwnedFd> {
        let mut folder = self.root.try_clone()?;
        for part in path.components() {
            match mkdirat(folder.as_fd(), part.as_os_str(), Mode::from_bits_truncate(FOLDER_MODE)) {
                Ok(()) | Err(Errno::EEXIST) => {}
                Err(errno) => return Err(errno.into()),
            }
            folder = open_folder(&folder, part.as_os_str())?;
        }
        Ok(folder)
    }

    /// The folder that `path` is in, and its name there, which nothing has any more.
    fn cleared(&mut self, path: &Path) -> io::Result<(OsString, &OwnedFd)> {
        let name = name(path).to_owned();
        let folder = self.folder(parent(path))?;
        match unlinkat(folder.as_fd(), name.as_os_str(), UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => Ok((name, folder)),
            Err(errno) => Err(errno.into()),
        }
    }
}

fn how() -> OpenHow {
    OpenHow::new().resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS)
}

fn open_folder(beneath: &OwnedFd, path: &OsStr) -> nix::Result<OwnedFd> {
    openat2(beneath.as_fd(), path, how().flags(OFlag::O_DIRECTORY | OFlag::O_CLOEXEC))
}

fn open_file(folder: &OwnedFd, name: &OsStr, also: OFlag) -> io::Result<File> {
    let flags = OFlag::O_CREAT | OFlag::O_CLOEXEC | also;
    let how = how().flags(flags).mode(Mode::from_bits_truncate(FILE_MODE));
    Ok(openat2(folder.as_fd(), name, how)?.into())
}

fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new(""))
}

fn name(path: &Path) -> &OsStr {
    path.file_name().expect("a plain path ends in a name")
}
