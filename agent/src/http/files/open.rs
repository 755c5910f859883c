//! Opening what is in a sandbox, and never anything else, whatever links a task has made and makes meanwhile.
//!
//! The kernel resolves the path beneath the sandbox's own descriptor (`openat2`, RESOLVE_BENEATH), so that neither `..`
//! nor a link leads out. Files are opened for reading only after they are known to be regular: opening a FIFO would wait
//! for its other end, and opening a device is an act.

use super::place::Place;
use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::stat::{FileStat, Mode, fstat};
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

/// Something that may be looked at. Its descriptor is good for `fstat` and as a place to open from, not for reading.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) descriptor: OwnedFd,
    pub(super) stat: FileStat,
    /// The sandbox that it is in, and its path there; `None` for the log.
    sandbox: Option<(OwnedFd, PathBuf)>,
}

/// Why something may not be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Closed {
    NotFound,
    /// It leads out of the sandbox.
    Outside,
    Failed(Errno),
}

impl From<Errno> for Closed {
    fn from(errno: Errno) -> Self {
        match errno {
            Errno::ENOENT | Errno::ENOTDIR | Errno::ENAMETOOLONG => Self::NotFound,
            // A loop of links, a link into /proc, or one that was made between two looks.
            Errno::EXDEV | Errno::ELOOP => Self::Outside,
            other => Self::Failed(other),
        }
    }
}

/// Mesos reads these two from a kind's bits of `st_mode`.
impl Opened {
    pub(super) fn is_directory(&self) -> bool {
        self.stat.st_mode & libc::S_IFMT == libc::S_IFDIR
    }

    pub(super) fn is_file(&self) -> bool {
        self.stat.st_mode & libc::S_IFMT == libc::S_IFREG
    }

    /// A directory's or a regular file's own path: what was opened is what is read, whatever its name has come to mean.
    pub(super) fn again(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.descriptor.as_raw_fd()))
    }

    /// Opens a regular file for reading.
    pub(super) fn read(&self) -> std::io::Result<File> {
        File::open(self.again())
    }

    /// What `name` in this directory is: of a link that stays in the sandbox, what it leads to; of one that leads out, the
    /// link itself. `None` for one that leads nowhere.
    pub(super) fn look(&self, name: &Path) -> Option<FileStat> {
        let (sandbox, path) = self.sandbox.as_ref()?;
        match within(sandbox, &path.join(name)) {
            Ok(found) => fstat(&found).ok(),
            Err(Closed::NotFound) => None,
            Err(_) => {
                let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
                let link = beneath(self.descriptor.as_fd(), name, flags, ResolveFlag::empty()).ok()?;
                fstat(&link).ok()
            }
        }
    }
}

impl Place {
    pub(super) fn open(&self) -> Result<Opened, Closed> {
        let flags = OFlag::O_PATH | OFlag::O_CLOEXEC;
        let (descriptor, sandbox) = match self {
            Self::Log(path) => (nix::fcntl::open(path, flags, Mode::empty())?, None),
            Self::Sandbox { top, run, rest } => {
                let flags = flags | OFlag::O_DIRECTORY;
                let top = nix::fcntl::open(top, flags, Mode::empty())?;
                let sandbox = beneath(top.as_fd(), run, flags, ResolveFlag::empty())?;
                let rest = if rest.as_os_str().is_empty() { Path::new(".") } else { rest };
                (within(&sandbox, rest)?, Some((sandbox, rest.to_owned())))
            }
        };
        let stat = fstat(&descriptor)?;
        Ok(Opened { descriptor, stat, sandbox })
    }
}

/// What `path` leads to in a sandbox. A link that names a place in it by its full path is as good as any other, but the
/// kernel does not know where the sandbox is: such a path is resolved here, and then opened without following any link.
fn within(sandbox: &OwnedFd, path: &Path) -> Result<OwnedFd, Closed> {
    match beneath(sandbox.as_fd(), path, OFlag::O_PATH | OFlag::O_CLOEXEC, ResolveFlag::empty()) {
        Err(Errno::EXDEV) => {}
        other => return other.map_err(Closed::from),
    }
    let at =
        std::fs::read_link(format!("/proc/self/fd/{}", sandbox.as_raw_fd())).map_err(|_| Closed::Outside)?;
    // What is missing outside is told no differently from what is there.
    let real = std::fs::canonicalize(at.join(path)).map_err(|_| Closed::Outside)?;
    let inside = real.strip_prefix(&at).map_err(|_| Closed::Outside)?;
    let inside = if inside.as_os_str().is_empty() { Path::new(".") } else { inside };
    let flags = OFlag::O_PATH | OFlag::O_CLOEXEC;
    Ok(beneath(sandbox.as_fd(), inside, flags, ResolveFlag::RESOLVE_NO_SYMLINKS)?)
}

/// The kernel asks to be asked again when something was renamed while it looked; a task that renames without end gets no
/// more tries than this.
const TRIES: usize = 16;

fn beneath(root: BorrowedFd<'_>, path: &Path, flags: OFlag, more: ResolveFlag) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_MAGICLINKS | more;
    for _ in 1..TRIES {
        match openat2(root, path, OpenHow::new().flags(flags).resolve(resolve)) {
            Err(Errno::EAGAIN) => {}
            other => return other,
        }
    }
    openat2(root, path, OpenHow::new().flags(flags).resolve(resolve))
}
