//! Unpacks archives into a sandbox, whoever made them. Nothing is written outside, no member is written through a link, and
//! what belongs to other users or to the machine (setuid bits, owners, devices) is not carried over.
//!
//! The whole of it is bounded: how much comes out, in how many members, and how much memory a decoder may take.

pub(crate) mod decode;
pub(crate) mod tar;
mod zip;

use std::ffi::OsStr;
use std::fs::{File, Permissions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};

use super::Stop;
use super::beneath::Sandbox;
use super::item::Archive;

/// Why an archive was not, or not wholly, extracted. What came before the member that is named stays.
#[derive(Debug, thiserror::Error)]
pub enum ExtractError {
    #[error("member '{name}': {why}")]
    Refused { name: String, why: &'static str },
    #[error("member '{name}': cannot be written")]
    Write { name: String, source: io::Error },
    #[error("the archive cannot be read")]
    Read(#[source] io::Error),
    #[error("more than {bytes_max} bytes come out of it (--fetcher-extract-max)")]
    TooMuch { bytes_max: u64 },
    #[error("it has more than {MEMBERS_MAX} members")]
    TooMany,
}

/// Files, folders and links of one archive.
pub(crate) const MEMBERS_MAX: u64 = 1_000_000;

/// What one decoder may need for its window, bytes. `xz -9` takes 64 MiB, `zstd --long=27` 128 MiB.
const WINDOW_BYTES_MAX: u64 = 160 << 20;

/// Unpacks into the sandbox itself. `gzip_target`: the name of what is in a gzipped single file.
pub(super) fn extract(
    archive: Archive,
    file: &File,
    sandbox: &mut Sandbox,
    gzip_target: Option<&Path>,
    bytes_max: u64,
    stop: &Stop,
) -> Result<(), ExtractError> {
    let source = At { file, offset: 0, stop };
    let mut target = Target { sandbox, bytes: 0, bytes_max, members: 0 };
    match archive {
        Archive::Tar => tar::extract(source, &mut target),
        Archive::Zip => zip::extract(source, &mut target),
        Archive::Gzip => {
            let path = gzip_target.expect("the item was refused without a name");
            let mut content = flate2::read::MultiGzDecoder::new(io::BufReader::new(source));
            target.file(path, 0o644, None, &mut content)
        }
    }
}

/// A file read from a place of its own: others may be reading it too. Where a fetch that nobody waits for ends.
struct At<'a> {
    file: &'a File,
    offset: u64,
    stop: &'a Stop,
}

impl Read for At<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.stop.is_wanted() {
            return Err(io::Error::other("nobody waits for it any more"));
        }
        let count = self.file.read_at(into, self.offset)?;
        self.offset += count as u64;
        Ok(count)
    }
}

impl Seek for At<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let (base, by) = match to {
            SeekFrom::Start(offset) => (offset, 0),
            SeekFrom::Current(by) => (self.offset, by),
            SeekFrom::End(by) => (self.file.metadata()?.len(), by),
        };
        let invalid = || io::Error::from(io::ErrorKind::InvalidInput);
        self.offset = base.checked_add_signed(by).ok_or_else(invalid)?;
        Ok(self.offset)
    }
}

/// Where members go, and what they have come to so far.
struct Target<'a> {
    sandbox: &'a mut Sandbox,
    bytes: u64,
    bytes_max: u64,
    members: u64,
}

impl Target<'_> {
    /// Before each member, whatever it is.
    fn count_member(&mut self) -> Result<(), ExtractError> {
        self.members += 1;
        if self.members > MEMBERS_MAX { Err(ExtractError::TooMany) } else { Ok(()) }
    }

    fn folder(&mut self, path: &Path) -> Result<(), ExtractError> {
        self.sandbox.folder(path).map(drop).map_err(|source| write_error(path, source))
    }

    /// `mtime`: seconds since 1970.
    fn file(
        &mut self,
        path: &Path,
        mode: u32,
        mtime: Option<u64>,
        content: &mut dyn Read,
    ) -> Result<(), ExtractError> {
        let error = |source| write_error(path, source);
        let mut file = self.sandbox.replace(path).map_err(error)?;
        let mut block = vec![0; 128 << 10];
        loop {
            let count = match content.read(&mut block) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(source) => return Err(ExtractError::Read(source)),
            };
            self.bytes += count as u64;
            if self.bytes > self.bytes_max {
                return Err(ExtractError::TooMuch { bytes_max: self.bytes_max });
            }
            file.write_all(&block[..count]).map_err(error)?;
        }
        if let Some(seconds) = mtime {
            let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds.min(1 << 40));
            // A time that the file system cannot hold is none.
            let _ = file.set_modified(time);
        }
        // Neither setuid nor setgid; and nobody but the user writes, as with umask 022.
        file.set_permissions(Permissions::from_mode(mode & 0o755 | 0o600)).map_err(error)
    }

    fn symlink(&mut self, path: &Path, target: &Path) -> Result<(), ExtractError> {
        if leads_out(path, target) {
            let why = "it is a link that leads out of the sandbox";
            return Err(ExtractError::Refused { name: path.display().to_string(), why });
        }
        self.sandbox.symlink(path, target).map_err(|source| write_error(path, source))
    }

    fn hardlink(&mut self, path: &Path, target: &Path) -> Result<(), ExtractError> {
        if path == target {
            return Ok(());
        }
        self.sandbox.hardlink(path, target).map_err(|source| write_error(path, source))
    }
}

pub(crate) fn write_error(path: &Path, source: io::Error) -> ExtractError {
    ExtractError::Write { name: path.display().to_string(), source }
}

/// A member's name as a path below the sandbox; `None` for the sandbox itself.
pub(crate) fn member_path(name: &[u8]) -> Result<Option<PathBuf>, ExtractError> {
    let refused = |why| ExtractError::Refused { name: String::from_utf8_lossy(name).into_owned(), why };
    if name.contains(&0) {
        return Err(refused("its name has a NUL byte"));
    }
    let mut path = PathBuf::new();
    for part in Path::new(OsStr::from_bytes(name)).components() {
        match part {
            Component::Normal(part) => path.push(part),
            Component::CurDir => {}
            Component::ParentDir => return Err(refused("its name has '..' in it")),
            Component::RootDir | Component::Prefix(_) => return Err(refused("its name is absolute")),
        }
    }
    Ok((!path.as_os_str().is_empty()).then_some(path))
}

/// Whether a link at `path` could lead out of the sandbox. `..` may only stand at its beginning: after a name it would
/// depend on whether that is a link. The folders above the link are no links, or it could not be made there.
fn leads_out(path: &Path, target: &Path) -> bool {
    let mut depth = path.components().count() - 1;
    let mut is_going_down = false;
    for part in target.components() {
        match part {
            Component::CurDir => {}
            Component::Normal(_) => is_going_down = true,
            Component::ParentDir if is_going_down || depth == 0 => return true,
            Component::ParentDir => depth -= 1,
            Component::RootDir | Component::Prefix(_) => return true,
        }
    }
    false
}

#[cfg(test)]
mod tests;
