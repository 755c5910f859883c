//! Learns that a container's first process has ended, and how, without polling and without a thread: its pidfd becomes
//! readable in the agent's own event loop. Works for a process that an earlier life of the agent started, too; only how
//! that one ended is known to nobody.

use std::os::fd::OwnedFd;

use tokio::io::Interest;
use tokio::sync::OnceCell;

use crate::sys::SysError;
use crate::sys::pidfd::{self, Ended, Exit};
use crate::sys::watch::Watch;

/// One process that is waited for, by any number of waiters.
#[derive(Debug)]
pub struct Reaper {
    /// `None`: it had ended before we came.
    process: Option<Watch>,
    end: OnceCell<Ended>,
}

impl Reaper {
    pub(super) fn of(pidfd: OwnedFd) -> std::io::Result<Self> {
        Ok(Self { process: Some(Watch::new(pidfd, Interest::READABLE)?), end: OnceCell::new() })
    }

    pub(super) fn of_nobody() -> Self {
        Self { process: None, end: OnceCell::new() }
    }

    /// Returns when the process has ended; every later call returns the same at once.
    pub(super) async fn wait(&self) -> Ended {
        let unknown = Ended { exit: Exit::Unknown, usage: None };
        let Some(process) = &self.process else { return unknown };
        let wait = || async {
            loop {
                match pidfd::try_reap(process) {
                    Ok(Some(ended)) => return ended,
                    Ok(None) => {}
                    Err(error) => {
                        tracing::error!(%error, "cannot wait for a process");
                        return unknown;
                    }
                }
                if let Err(error) = process.event().await {
                    // The runtime is shutting down: nobody will act on the answer.
                    tracing::error!(%error, "cannot watch a process");
                    return unknown;
                }
            }
        };
        *self.end.get_or_init(wait).await
    }

    /// Sends a signal to this very process; that it has ended already is no error.
    pub(super) fn signal(&self, number: i32) -> Result<(), SysError> {
        let Some(process) = &self.process else { return Ok(()) };
        match pidfd::send_signal(process, number) {
            Err(SysError { errno: nix::errno::Errno::ESRCH, .. }) => Ok(()),
            result => result,
        }
    }
}
