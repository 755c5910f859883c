//! The kernel calls that nix lacks, behind one door: launching a process into a cgroup, pidfds, a thread's own file
//! identity, the process table. Every error names its call. Nothing here knows containers or tasks.

pub mod clone;
pub mod identity;
pub(crate) mod memory;
pub mod pidfd;
pub mod policy;
pub mod processes;
pub mod terminal;
pub mod vfork;
pub mod watch;
pub mod xattr;

use nix::errno::Errno;

/// A kernel call that failed, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{call}: {}", errno.desc())]
pub struct SysError {
    pub call: &'static str,
    pub errno: Errno,
}

impl SysError {
    pub(crate) fn last(call: &'static str) -> Self {
        Self { call, errno: Errno::last() }
    }

    pub(crate) fn of(call: &'static str) -> impl Fn(Errno) -> Self {
        move |errno| Self { call, errno }
    }
}
