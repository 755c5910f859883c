//! What a container's program reads and writes, and whose ends the agent has: none for the sandbox's files, one of a
//! terminal, three of pipes.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::fcntl::{FcntlArg, OFlag, fcntl};

use super::streams::{Io, Window};
use crate::sys::identity::Identity;
use crate::sys::{SysError, terminal};

/// The agent's ends, none of which blocks.
#[derive(Debug)]
pub enum Ends {
    Pipes {
        stdin: OwnedFd,
        stdout: OwnedFd,
        stderr: OwnedFd,
    },
    /// Reads all that the program writes and writes what it reads.
    Terminal(OwnedFd),
}

/// What passes through the agent: its ends, and the sandbox's files, which get all that comes out.
#[derive(Debug)]
pub struct Switched {
    pub ends: Ends,
    pub stdout: File,
    pub stderr: File,
}

/// The program's side, and ours where there is one.
#[derive(Debug)]
pub(super) struct Made {
    pub(super) programs: [OwnedFd; 3],
    pub(super) ends: Option<Ends>,
}

/// `files`: standard input, output and error of a program that is given files. `owner`: who must be able to open the
/// terminal again, by its name.
pub(super) fn make(io: Io, files: &[OwnedFd; 3], owner: Option<&Identity>) -> Result<Made, SysError> {
    match io {
        Io::Files => {
            let copy = |fd: &OwnedFd| fd.try_clone().map_err(|_| SysError::last("fcntl(F_DUPFD_CLOEXEC)"));
            let [stdin, stdout, stderr] = files;
            Ok(Made { programs: [copy(stdin)?, copy(stdout)?, copy(stderr)?], ends: None })
        }
        Io::Pipes => pipes(),
        Io::Terminal(window) => on_terminal(window, owner),
    }
}

fn pipes() -> Result<Made, SysError> {
    let pipe = || nix::unistd::pipe2(OFlag::O_CLOEXEC).map_err(SysError::of("pipe2"));
    let ((stdin, to_stdin), (from_stdout, stdout), (from_stderr, stderr)) = (pipe()?, pipe()?, pipe()?);
    for fd in [&to_stdin, &from_stdout, &from_stderr] {
        make_nonblocking(fd.as_fd())?;
    }
    let ends = Ends::Pipes { stdin: to_stdin, stdout: from_stdout, stderr: from_stderr };
    Ok(Made { programs: [stdin, stdout, stderr], ends: Some(ends) })
}

fn on_terminal(window: Option<Window>, owner: Option<&Identity>) -> Result<Made, SysError> {
    let terminal::Pair { ours, programs } = terminal::pair()?;
    if let Some(Window { rows, columns }) = window {
        terminal::set_size(&ours, rows, columns)?;
    }
    if let Some(owner) = owner {
        let (uid, gid) = (nix::unistd::Uid::from_raw(owner.uid), nix::unistd::Gid::from_raw(owner.gid));
        nix::unistd::fchown(&programs, Some(uid), Some(gid)).map_err(SysError::of("fchown"))?;
    }
    make_nonblocking(ours.as_fd())?;
    let copy = || programs.try_clone().map_err(|_| SysError::last("fcntl(F_DUPFD_CLOEXEC)"));
    Ok(Made { programs: [copy()?, copy()?, programs], ends: Some(Ends::Terminal(ours)) })
}

/// The flag belongs to what is open, not to the descriptor: for ends that nobody else reads or writes.
fn make_nonblocking(fd: BorrowedFd<'_>) -> Result<(), SysError> {
    fcntl(fd, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).map(drop).map_err(SysError::of("fcntl(F_SETFL)"))
}
