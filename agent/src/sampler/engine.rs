//! How held files are read: by the ring where it reads at once, else one after another. Which of the two, callers need not
//! know.

use std::fs::File;
use std::io;

use super::plain::Plain;
use super::ring::Ring;

/// Room that a text is given. A longer one is read all the same, by further reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    /// Files that the kernel writes in one piece, of a few short lines.
    Line,
    /// All others: a page.
    Page,
}

/// The kernel brings what fits into a page and cuts a text between two records, none of which is longer than this.
const RECORD_BYTES_MAX: usize = 2048;

impl Room {
    pub(super) const fn bytes(self) -> usize {
        match self {
            Self::Line => 512,
            Self::Page => 4096,
        }
    }

    /// Whether a read that brought so much may not have brought all.
    pub(super) const fn may_go_on(self, length: usize) -> bool {
        match self {
            Self::Line => length == self.bytes(),
            Self::Page => length + RECORD_BYTES_MAX > self.bytes(),
        }
    }
}

/// One read of a held file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Request {
    /// What [`Engine::hold`] returned.
    pub(super) place: u32,
    pub(super) room: Room,
}

#[derive(Debug)]
pub(super) enum Engine {
    Ring(Box<Ring>),
    Plain(Plain),
}

impl Engine {
    /// # Panics
    /// Outside of a tokio runtime.
    pub(super) fn new() -> Self {
        match Ring::new() {
            Ok(ring) => Self::Ring(Box::new(ring)),
            Err(error) => {
                tracing::info!(%error, "cgroup files are read one by one, not by io_uring");
                Self::plain()
            }
        }
    }

    pub(super) fn plain() -> Self {
        Self::Plain(Plain::default())
    }

    /// Keeps a file open, to be read again and again. `None`: there is no room for more.
    pub(super) fn hold(&mut self, file: File) -> Option<u32> {
        match self {
            Self::Ring(ring) => ring.hold(&file).ok(),
            Self::Plain(plain) => Some(plain.hold(file)),
        }
    }

    pub(super) fn release(&mut self, place: u32) {
        match self {
            Self::Ring(ring) => ring.release(place),
            Self::Plain(plain) => plain.release(place),
        }
    }

    /// Reads each file from its start and shows its text or why there is none, each request once.
    ///
    /// # Errors
    /// The ring failed. What was shown is true; what is held is lost.
    pub(super) async fn read(
        &mut self,
        requests: &[Request],
        see: impl FnMut(usize, io::Result<&[u8]>),
    ) -> io::Result<()> {
        match self {
            Self::Ring(ring) => ring.read(requests, see).await,
            Self::Plain(plain) => {
                plain.read(requests, see).await;
                Ok(())
            }
        }
    }
}
