//! The look at the disk that an answer needs.

use super::list::{Shown, list};
use super::open::{Closed, Opened};
use super::place::Place;
use super::types;
use api::legacy::each::Each;
use api::legacy::{Query, Reply};
use api::media::Encoding;
use api::refusal::Refusal;
use api::v1::agent::{Response, response};
use serde::Serialize;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Largest part of a file in one answer, bytes: 16 pages, as in Mesos.
pub(super) const READ_BYTES_MAX: u64 = 16 * 4096;

/// Something to look at. Owns all it needs.
#[derive(Debug)]
pub struct Job {
    /// The path as it was asked for, without a last `/`.
    pub(super) asked: String,
    pub(super) place: Place,
    pub(super) what: What,
    /// For `jsonp`.
    pub(super) query: Query,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum What {
    Browse,
    /// Without an offset only the size is wanted; without a length all there is.
    Read {
        offset: Option<u64>,
        length: Option<u64>,
    },
    Download,
    List(Encoding),
    ReadFile {
        offset: u64,
        length: Option<u64>,
        encoding: Encoding,
    },
}

/// What came of it.
#[derive(Debug)]
pub enum Done {
    Reply(Reply),
    Download(Download),
}

/// A file to be sent whole, in pieces as the reader takes them.
#[derive(Debug)]
pub struct Download {
    pub content_type: &'static str,
    /// For `Content-Disposition`: what a browser saves it as.
    pub disposition: String,
    /// How much of it there was when it was opened, bytes. It may grow meanwhile; so much is sent.
    pub size: u64,
    pub file: File,
}

impl Job {
    /// Blocks: it reads the disk, and asks the system for names of users.
    pub fn run(self) -> Done {
        let done = self.place.open().map_err(Failed::from).and_then(|opened| self.look(&opened));
        done.unwrap_or_else(|failed| Done::Reply(self.refused(&failed)))
    }

    fn look(&self, opened: &Opened) -> Result<Done, Failed> {
        Ok(Done::Reply(match self.what {
            What::Browse => {
                let entries = list(opened, &self.asked)?;
                Reply::json(&Each(|| entries.iter().map(Shown::of)), &self.query)
            }
            What::List(encoding) => {
                let mut out = Response::default();
                out.set_type(response::Type::ListFiles);
                out.list_files = Some(response::ListFiles { file_infos: list(opened, &self.asked)? });
                Reply::message(encoding, &out)
            }
            What::Read { offset, length } => {
                // Without an offset: the size, and no data.
                let length = if offset.is_some() { length } else { Some(0) };
                let Part { size, data } = part(opened, offset.unwrap_or(0), length)?;
                let data = String::from_utf8_lossy(&data);
                Reply::json(&Piece { data: &data, offset: offset.unwrap_or(size) }, &self.query)
            }
            What::ReadFile { offset, length, encoding } => {
                let Part { size, data } = part(opened, offset, length)?;
                let mut out = Response::default();
                out.set_type(response::Type::ReadFile);
                out.read_file = Some(response::ReadFile { size, data: data.into() });
                Reply::message(encoding, &out)
            }
            What::Download => return download(opened, &self.place.name()).map(Done::Download),
        }))
    }

    fn refused(&self, failed: &Failed) -> Reply {
        let told = |why: &dyn std::fmt::Display| {
            Reply::text(500, format!("Failed to open file at '{}': {why}.\n", self.asked))
        };
        match failed {
            Failed::Closed(Closed::NotFound) => not_found(&self.what),
            Failed::Closed(Closed::Outside) => Reply::bad(&format!("'{}' is inaccessible.\n", self.asked)),
            Failed::Closed(Closed::Failed(errno)) => told(&errno.desc()),
            Failed::Io(error) => told(error),
            Failed::Kind(why) => Reply::bad(why),
        }
    }
}

/// A 404, which has words for downloads only.
pub(super) fn not_found(what: &What) -> Reply {
    match what {
        What::Download => Reply::refused(&Refusal::NotFound),
        _ => Reply::text(404, String::new()),
    }
}

enum Failed {
    Closed(Closed),
    Io(io::Error),
    /// Not a kind of file that this is done to.
    Kind(&'static str),
}

impl From<Closed> for Failed {
    fn from(closed: Closed) -> Self {
        Self::Closed(closed)
    }
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// `{"data": "...", "offset": 0}`
///
/// Data that is no UTF-8 is shown as a browser would show it. Who wants the bytes reads them by READ_FILE.
#[derive(Serialize)]
struct Piece<'a> {
    data: &'a str,
    offset: u64,
}

struct Part {
    /// Of the whole file, bytes.
    size: u64,
    data: Vec<u8>,
}

fn part(opened: &Opened, offset: u64, length: Option<u64>) -> Result<Part, Failed> {
    if opened.is_directory() {
        return Err(Failed::Kind("Cannot read a directory.\n"));
    }
    if !opened.is_file() {
        // Ours: Mesos would wait for the other end of a FIFO.
        return Err(Failed::Kind("Cannot read what is not a regular file.\n"));
    }
    let size = size(opened);
    let left = size.saturating_sub(offset);
    let length = length.unwrap_or(left).min(left).min(READ_BYTES_MAX);
    let mut data = vec![0; usize::try_from(length).expect("at most READ_BYTES_MAX")];
    if length > 0 {
        let filled = fill(&opened.read()?, offset, &mut data)?;
        data.truncate(filled);
    }
    Ok(Part { size, data })
}

fn size(opened: &Opened) -> u64 {
    u64::try_from(opened.stat.st_size).unwrap_or(0)
}

/// Reads from `offset` until `data` is full or the file ends; how much it read.
fn fill(file: &File, offset: u64, data: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < data.len() {
        match file.read_at(&mut data[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

fn download(opened: &Opened, name: &str) -> Result<Download, Failed> {
    if opened.is_directory() {
        return Err(Failed::Kind("Cannot download a directory.\n"));
    }
    if !opened.is_file() {
        return Err(Failed::Kind("Cannot download what is not a regular file.\n"));
    }
    Ok(Download {
        content_type: types::of(name),
        disposition: format!("attachment; filename={}", header_safe(name)),
        size: size(opened),
        file: opened.read()?,
    })
}

/// A task chooses its files' names: one with a line break in it must not become a header of its own.
fn header_safe(name: &str) -> String {
    name.chars()
        .map(|c| if c.is_ascii_graphic() && !matches!(c, '"' | ';' | ',') { c } else { '_' })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::header_safe;

    #[test]
    fn a_name_cannot_end_its_header() {
        assert_eq!(header_safe("stdout.1"), "stdout.1");
        assert_eq!(header_safe("a\r\nSet-Cookie: x"), "a__Set-Cookie:_x");
        assert_eq!(header_safe("a b\";ü"), "a_b___");
    }
}
