//! The body of a download: read piece by piece as its reader takes it, on a thread that may block.

use crate::http::files::Download;
use bytes::{Bytes, BytesMut};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::task::JoinHandle;

/// Bytes read at once, and held in memory for one download.
const PIECE_BYTES: u64 = 256 << 10;

pub(crate) struct Pieces {
    file: Arc<File>,
    /// What is left of it.
    at: u64,
    end: u64,
    reading: Option<JoinHandle<io::Result<Bytes>>>,
}

impl Pieces {
    pub(super) fn of(download: Download) -> Self {
        Self { file: Arc::new(download.file), at: 0, end: download.size, reading: None }
    }

    pub(super) fn left(&self) -> u64 {
        self.end - self.at
    }

    /// An error, which ends the connection, when the file has become shorter than was promised.
    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        if self.left() == 0 {
            return Poll::Ready(None);
        }
        let reading = self.reading.get_or_insert_with(|| {
            let (file, at, length) = (self.file.clone(), self.at, PIECE_BYTES.min(self.end - self.at));
            tokio::task::spawn_blocking(move || read(&file, at, length))
        });
        let piece = ready!(std::pin::Pin::new(reading).poll(context)).expect("reading a file does not panic");
        self.reading = None;
        if let Ok(piece) = &piece {
            self.at += piece.len() as u64;
        }
        Poll::Ready(Some(piece))
    }
}

/// What there is, at most `length` bytes and at least one.
fn read(file: &File, at: u64, length: u64) -> io::Result<Bytes> {
    let mut piece = BytesMut::zeroed(usize::try_from(length).expect("at most PIECE_BYTES"));
    loop {
        match file.read_at(&mut piece, at) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => {
                piece.truncate(count);
                return Ok(piece.freeze());
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn pieces(contents: &[u8], size: u64) -> Vec<io::Result<Bytes>> {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(contents).expect("written");
        let download = Download { content_type: "", disposition: String::new(), size, file };
        let mut pieces = Pieces::of(download);
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(async {
            let mut all = Vec::new();
            while let Some(piece) = std::future::poll_fn(|context| pieces.poll(context)).await {
                let is_over = piece.is_err();
                all.push(piece);
                if is_over {
                    break;
                }
            }
            all
        })
    }

    #[test]
    fn a_file_comes_whole_and_in_order() {
        let contents: Vec<u8> = (0..PIECE_BYTES * 2 + 10).map(|at| (at % 251) as u8).collect();
        let got = pieces(&contents, contents.len() as u64);
        assert_eq!(got.len(), 3);
        let got: Vec<u8> = got.into_iter().flat_map(|piece| piece.expect("read").to_vec()).collect();
        assert!(got == contents);
        assert!(pieces(b"", 0).is_empty());
    }

    #[test]
    fn what_it_has_grown_since_is_not_sent_and_what_is_missing_is_an_error() {
        assert_eq!(pieces(b"12345", 3).into_iter().map(Result::unwrap).collect::<Vec<_>>(), ["123"]);
        let short = pieces(b"123", 5);
        assert_eq!(
            short.last().map(|last| last.as_ref().map_err(io::Error::kind)),
            Some(Err(io::ErrorKind::UnexpectedEof))
        );
    }
}
