//! Descriptors that the runtime watches for an event.
#![expect(
    unsafe_code,
    reason = "tokio leaves it to the caller that a descriptor stays open while it is watched"
)]

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A descriptor and the runtime's interest in it, from its making to its drop.
#[derive(Debug)]
pub struct Watch {
    fd: AsyncFd<OwnedFd>,
    interest: Interest,
}

impl Watch {
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn new(fd: OwnedFd, interest: Interest) -> io::Result<Self> {
        // SAFETY: an `OwnedFd` names one open descriptor from its making to its drop. The `AsyncFd` owns it and is private
        // to this file, which never takes it out nor puts another one in its place.
        let fd = unsafe { AsyncFd::register_with_interest(fd, interest) }?;
        Ok(Self { fd, interest })
    }

    /// Returns when the event has happened since the last return, or may have: the caller looks for itself.
    pub async fn event(&self) -> io::Result<()> {
        self.fd.ready(self.interest).await?.clear_ready();
        Ok(())
    }
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.get_ref().as_fd()
    }
}
