//! Zip files: stored and deflated members, which is what there is.

use std::ffi::OsStr;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use zip::ZipArchive;
use zip::result::ZipError;

use super::{At, ExtractError, Target, member_path};

/// A zip file's table of contents is read into memory whole. Bytes of it in the file; in memory it takes a few times that.
const DIRECTORY_BYTES_MAX: u64 = 64 << 20;
/// The longest path that Linux knows.
const LINK_BYTES_MAX: u64 = 4096;

pub(super) fn extract(mut source: At<'_>, target: &mut Target<'_>) -> Result<(), ExtractError> {
    if directory_bytes(&mut source).map_err(ExtractError::Read)? > DIRECTORY_BYTES_MAX {
        return Err(ExtractError::TooMany);
    }
    source.seek(SeekFrom::Start(0)).map_err(ExtractError::Read)?;
    let mut archive = ZipArchive::new(BufReader::with_capacity(128 << 10, source)).map_err(read_error)?;
    for at in 0..archive.len() {
        target.count_member()?;
        one(&mut archive, at, target)?;
    }
    Ok(())
}

fn one<R: Read + Seek>(
    archive: &mut ZipArchive<R>,
    at: usize,
    target: &mut Target<'_>,
) -> Result<(), ExtractError> {
    let mut member = archive.by_index(at).map_err(read_error)?;
    let name = member.name_raw().to_owned();
    let refused = |why| ExtractError::Refused { name: String::from_utf8_lossy(&name).into_owned(), why };
    let Some(path) = member_path(&name)? else { return Ok(()) };
    let mode = member.unix_mode();
    match mode.map(|mode| mode & libc::S_IFMT).filter(|kind| *kind != 0) {
        _ if name.ends_with(b"/") => target.folder(&path),
        Some(libc::S_IFDIR) => target.folder(&path),
        Some(libc::S_IFLNK) => {
            let mut link = Vec::new();
            (&mut member).take(LINK_BYTES_MAX).read_to_end(&mut link).map_err(ExtractError::Read)?;
            if link.contains(&0) {
                return Err(refused("it is a link with a NUL byte"));
            }
            target.symlink(&path, Path::new(OsStr::from_bytes(&link)))
        }
        None | Some(libc::S_IFREG) => target.file(&path, mode.unwrap_or(0o644), None, &mut member),
        Some(_) => Err(refused("it is neither a file nor a folder nor a link")),
    }
}

fn read_error(error: ZipError) -> ExtractError {
    ExtractError::Read(match error {
        ZipError::Io(error) => error,
        other => io::Error::other(other.to_string()),
    })
}

/// How long the table of contents says that it is (APPNOTE.TXT 6.3, sections 4.3.14 to 4.3.16); the archive's own reader
/// judges the rest.
fn directory_bytes(source: &mut At<'_>) -> io::Result<u64> {
    const END: &[u8] = b"PK\x05\x06";
    const END_BYTES: u64 = 22;
    const COMMENT_BYTES_MAX: u64 = 65_535;
    const LOCATOR_BYTES: usize = 20;
    let length = source.seek(SeekFrom::End(0))?;
    // Far enough back for the locator of the longer record as well.
    let tail_bytes = length.min(END_BYTES + COMMENT_BYTES_MAX + LOCATOR_BYTES as u64);
    source.seek(SeekFrom::Start(length - tail_bytes))?;
    let mut tail = Vec::new();
    source.take(tail_bytes).read_to_end(&mut tail)?;
    // All that looks like an end: which of them the reader believes is its affair.
    let ends = tail.windows(END.len()).enumerate().filter(|(_, bytes)| *bytes == END);
    let mut most = 0;
    for (end, _) in ends {
        let short = number(&tail, end + 12, 4).filter(|bytes| *bytes != u64::from(u32::MAX)).unwrap_or(0);
        let locator = end.checked_sub(LOCATOR_BYTES).filter(|at| tail[*at..].starts_with(b"PK\x06\x07"));
        let long = match locator {
            Some(at) => long_bytes(source, number(&tail, at + 8, 8).unwrap_or(0))?.unwrap_or(length),
            None => 0,
        };
        most = most.max(short).max(long);
    }
    Ok(most.min(length))
}

/// What the longer record says, which is for archives of more than 4 GiB or 65,535 members; `None` if it is not there.
fn long_bytes(source: &mut At<'_>, offset: u64) -> io::Result<Option<u64>> {
    source.seek(SeekFrom::Start(offset))?;
    let mut record = Vec::new();
    source.take(56).read_to_end(&mut record)?;
    Ok(number(&record, 40, 8).filter(|_| record.starts_with(b"PK\x06\x06")))
}

/// Little-endian.
fn number(bytes: &[u8], at: usize, length: usize) -> Option<u64> {
    let bytes = bytes.get(at..at + length)?;
    Some(bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}
