//! Tar files, of every dialect that the `tar` crate reads (ustar, GNU, pax).

use std::cell::Cell;
use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::rc::Rc;

use tar::{Archive, EntryType};

use super::{At, ExtractError, Target, decode, member_path};

/// What may stand before a member's content: its headers, with names that do not fit in one. Bytes.
pub(crate) const HEADERS_BYTES_MAX: u64 = 1 << 20;

pub(super) fn extract(source: At<'_>, target: &mut Target<'_>) -> Result<(), ExtractError> {
    let budget = Rc::new(Cell::new(HEADERS_BYTES_MAX));
    let stream = decode::open(source).map_err(ExtractError::Read)?;
    let mut archive = Archive::new(Bounded { stream, budget: budget.clone() });
    let mut members = archive.entries().map_err(ExtractError::Read)?;
    loop {
        // The headers of one member are read into memory by whoever reads them.
        budget.set(HEADERS_BYTES_MAX);
        let Some(member) = members.next() else { return Ok(()) };
        let mut member = member.map_err(ExtractError::Read)?;
        target.count_member()?;
        budget.set(u64::MAX);
        one(&mut member, target)?;
        // What of the content nobody wanted is skipped here, and counts like what somebody did.
        let skipped = io::copy(&mut (&mut member).take(target.bytes_max.saturating_add(1)), &mut io::sink());
        target.bytes += skipped.map_err(ExtractError::Read)?;
        if target.bytes > target.bytes_max {
            return Err(ExtractError::TooMuch { bytes_max: target.bytes_max });
        }
    }
}

fn one<R: Read>(member: &mut tar::Entry<'_, R>, target: &mut Target<'_>) -> Result<(), ExtractError> {
    let kind = member.header().entry_type();
    if matches!(kind, EntryType::XGlobalHeader) {
        return Ok(());
    }
    let name = member.path_bytes().into_owned();
    let refused = |why| ExtractError::Refused { name: String::from_utf8_lossy(&name).into_owned(), why };
    let Some(path) = member_path(&name)? else {
        // `./`, with which many archives begin.
        return if kind.is_dir() { Ok(()) } else { Err(refused("it has no name")) };
    };
    let link = |member: &tar::Entry<'_, R>| {
        let link = member.link_name_bytes().map(|link| link.into_owned());
        link.ok_or_else(|| refused("it is a link to nowhere"))
    };
    match kind {
        EntryType::Directory => target.folder(&path),
        // A name that ends in a slash is a folder's, in archives older than folders' own kind.
        EntryType::Regular if name.ends_with(b"/") => target.folder(&path),
        EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
            let mode = member.header().mode().map_err(ExtractError::Read)?;
            let mtime = member.header().mtime().ok();
            target.file(&path, mode, mtime, member)
        }
        EntryType::Symlink => {
            let link = link(member)?;
            target.symlink(&path, Path::new(OsStr::from_bytes(&link)))
        }
        EntryType::Link => match member_path(&link(member)?)? {
            Some(to) => target.hardlink(&path, &to),
            None => Err(refused("it is a link to nowhere")),
        },
        EntryType::Char | EntryType::Block => Err(refused("it is a device")),
        EntryType::Fifo => Err(refused("it is a named pipe")),
        _ => Err(refused("it is of an unknown kind")),
    }
}

/// A stream that ends in an error when more is read of it than was expected.
pub(crate) struct Bounded<R> {
    pub(crate) stream: R,
    /// Bytes; set anew by who shares it.
    pub(crate) budget: Rc<Cell<u64>>,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.stream.read(into)?;
        match self.budget.get().checked_sub(count as u64) {
            Some(left) => self.budget.set(left),
            None => return Err(io::Error::other("a member has more than 1 MiB of headers")),
        }
        Ok(count)
    }
}
