//! Where an image is read from: a folder, or a tar file that is read in place. What is in either is named by paths, which lead
//! nowhere else.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};

use crate::containerizer::fetch::extract::tar::{Bounded, HEADERS_BYTES_MAX};

/// An image's folder or archive, open.
#[derive(Debug)]
pub enum Source {
    Folder(OwnedFd),
    Archive { file: Arc<File>, members: BTreeMap<PathBuf, Member> },
}

#[derive(Debug)]
pub enum Member {
    File {
        begin: u64,
        bytes: u64,
    },
    /// Another name of that member: `docker save` wrote each layer once.
    Link(PathBuf),
}

/// One content of a source, read from a place of its own.
#[derive(Debug)]
pub struct Part {
    file: Arc<File>,
    at: u64,
    end: u64,
}

/// Members of one archive; there are two or three to a layer.
const MEMBERS_MAX: usize = 100_000;
const GZIP: [u8; 2] = [0x1f, 0x8b];
/// Links that lead to links.
const LINKS_MAX: usize = 8;

impl Source {
    /// `Ok(None)`: there is nothing of that name.
    pub fn open(path: &Path) -> io::Result<Option<Self>> {
        // Not to wait for somebody at the other end of a named pipe.
        let file = match File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path) {
            Ok(file) => file,
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let metadata = file.metadata()?;
        if metadata.is_dir() {
            return Ok(Some(Self::Folder(file.into())));
        }
        if !metadata.is_file() {
            return Err(io::Error::other("it is neither a folder nor a file"));
        }
        let mut begin = [0; 2];
        if file.read_at(&mut begin, 0)? == 2 && begin == GZIP {
            return Err(io::Error::other("it is compressed, and images are read in place: gunzip it"));
        }
        let file = Arc::new(file);
        let members = members(&file, metadata.len())?;
        Ok(Some(Self::Archive { file, members }))
    }

    /// `Ok(None)`: it has none of that path.
    pub fn part(&self, path: &Path) -> io::Result<Option<Part>> {
        match self {
            Self::Folder(folder) => {
                let how = OpenHow::new().flags(OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK);
                match openat2(folder, path, how.resolve(ResolveFlag::RESOLVE_BENEATH)) {
                    Ok(file) => Part::whole(file.into()).map(Some),
                    Err(Errno::ENOENT | Errno::ENOTDIR) => Ok(None),
                    Err(errno) => Err(errno.into()),
                }
            }
            Self::Archive { file, members } => {
                let mut path = path;
                for _ in 0..=LINKS_MAX {
                    match members.get(path) {
                        None => return Ok(None),
                        Some(Member::Link(to)) => path = to,
                        Some(Member::File { begin, bytes }) => {
                            return Ok(Some(Part { file: file.clone(), at: *begin, end: begin + bytes }));
                        }
                    }
                }
                Err(io::Error::other("its links lead in a circle"))
            }
        }
    }
}

impl Part {
    fn whole(file: File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::other("it is not a file"));
        }
        Ok(Self { file: Arc::new(file), at: 0, end: metadata.len() })
    }

    /// What was not yet read, bytes.
    pub fn left(&self) -> u64 {
        self.end - self.at
    }
}

impl Read for Part {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let length = into.len().min(usize::try_from(self.left()).unwrap_or(usize::MAX));
        let count = self.file.read_at(&mut into[..length], self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}

/// Where everything in the tar file is; contents are passed over.
fn members(file: &Arc<File>, length: u64) -> io::Result<BTreeMap<PathBuf, Member>> {
    let budget = Rc::new(Cell::new(HEADERS_BYTES_MAX));
    let stream = Whole(Part { file: file.clone(), at: 0, end: length });
    let mut archive = tar::Archive::new(Bounded { stream, budget: budget.clone() });
    let mut found = BTreeMap::new();
    for member in archive.entries_with_seek()? {
        budget.set(HEADERS_BYTES_MAX);
        let member = member?;
        let Some(path) = plain(&member.path()?) else { continue };
        let kind = member.header().entry_type();
        let entry = if kind.is_file() {
            let (begin, bytes) = (member.raw_file_position(), member.size());
            if begin.checked_add(bytes).is_none_or(|end| end > length) {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            Member::File { begin, bytes }
        } else if kind.is_symlink() || kind.is_hard_link() {
            let Some(to) = member.link_name()? else { continue };
            // A symbolic link starts from where it lies, a hard link from the top.
            let from = path.parent().filter(|_| kind.is_symlink()).unwrap_or(Path::new(""));
            let Some(to) = plain(&from.join(to)) else { continue };
            Member::Link(to)
        } else {
            continue;
        };
        found.insert(path, entry);
        if found.len() > MEMBERS_MAX {
            return Err(io::Error::other("it has too many members for an image"));
        }
    }
    Ok(found)
}

/// By names alone, `..` taken back; `None` for what leads out or is nothing.
fn plain(path: &Path) -> Option<PathBuf> {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => plain.push(name),
            Component::ParentDir if !plain.pop() => return None,
            Component::ParentDir | Component::CurDir => {}
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    (!plain.as_os_str().is_empty()).then_some(plain)
}

/// A part from its begin, in which the reader may go elsewhere.
struct Whole(Part);

impl Read for Whole {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.0.read(into)
    }
}

impl Seek for Bounded<Whole> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let part = &mut self.stream.0;
        let (base, by) = match to {
            SeekFrom::Start(at) => (at, 0),
            SeekFrom::Current(by) => (part.at, by),
            SeekFrom::End(by) => (part.end, by),
        };
        let at = base.checked_add_signed(by).filter(|at| *at <= part.end);
        part.at = at.ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))?;
        Ok(part.at)
    }
}
