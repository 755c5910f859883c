//! Learns that a container's first process has ended, and how, without polling and without a thread: its pidfd becomes
//! readable in the agent's own event loop. Works for a process that an earlier life of the agent started, too, and for one
//! that ended while there was no agent: the process is init, which wrote down how the program ended.

use std::os::fd::OwnedFd;

use nix::errno::Errno;
use tokio::io::Interest;
use tokio::sync::OnceCell;

use super::init::Runtime;
use super::spec::KEEP_FD;
use crate::sys::SysError;
use crate::sys::pidfd::{self, Ended, Exit};
use crate::sys::watch::Watch;

/// One process that is waited for, by any number of waiters.
#[derive(Debug)]
pub struct Reaper {
    /// `None`: it had ended before we came.
    process: Option<Watch>,
    /// Where init writes.
    runtime: Runtime,
    end: OnceCell<Ended>,
}

impl Reaper {
    pub(super) fn of(pidfd: OwnedFd, runtime: Runtime) -> std::io::Result<Self> {
        Ok(Self { process: Some(Watch::new(pidfd, Interest::READABLE)?), runtime, end: OnceCell::new() })
    }

    pub(super) fn of_nobody(runtime: Runtime) -> Self {
        Self { process: None, runtime, end: OnceCell::new() }
    }

    /// Returns when the process has ended; every later call returns the same at once. Where init was killed before the
    /// program ended, its own end is what there is to tell.
    pub(super) async fn wait(&self) -> Ended {
        let ended = async || {
            let of_init = self.of_init().await;
            self.runtime.ended().unwrap_or(of_init)
        };
        *self.end.get_or_init(ended).await
    }

    /// Whether the process has not ended yet, as far as can be told.
    pub(super) fn is_alive(&self) -> bool {
        let ended = self.process.as_ref().map(pidfd::has_ended);
        matches!(ended, Some(Ok(false)))
    }

    async fn of_init(&self) -> Ended {
        let unknown = Ended { exit: Exit::Unknown, usage: None };
        let Some(process) = &self.process else { return unknown };
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
    }

    /// What init keeps open for the agent (`spec::KEEP_FD`); `None` if init has ended, or has nothing.
    pub(super) fn kept(&self) -> Result<Option<OwnedFd>, SysError> {
        let Some(process) = &self.process else { return Ok(None) };
        match pidfd::copy_descriptor(process, KEEP_FD) {
            Ok(fd) => Ok(Some(fd)),
            Err(SysError { errno: Errno::EBADF | Errno::ESRCH, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Sends a signal to this very process; that it has ended already is no error.
    pub(super) fn signal(&self, number: i32) -> Result<(), SysError> {
        let Some(process) = &self.process else { return Ok(()) };
        match pidfd::send_signal(process, number) {
            Err(SysError { errno: Errno::ESRCH, .. }) => Ok(()),
            result => result,
        }
    }
}
