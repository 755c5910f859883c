//! Ends everything that a container has started.
//!
//! With a cgroup that is one write to `cgroup.kill`, which no fork escapes. Without one (an ordinary user's agent) the
//! process table is searched for the container's processes, round after round until a round finds none; see
//! `sys::processes` for what that can miss.

use std::os::fd::{AsFd, OwnedFd};

use tokio::io::Interest;

use super::launch::Launcher;
use crate::sys::processes::{self, Mark, Table};
use crate::sys::watch::Watch;
use crate::sys::{SysError, pidfd};

/// Kills every process that the mark finds, until there is none. Returns when all have ended.
pub(super) async fn kill_marked(launcher: &Launcher, mark: &Mark) -> std::io::Result<()> {
    loop {
        let mark = mark.clone();
        let round = launcher.run(move || kill_round(&mark)).await.map_err(std::io::Error::other)?;
        if round.is_empty() {
            return Ok(());
        }
        for process in round {
            let watch = Watch::new(process, Interest::READABLE)?;
            while !pidfd::has_ended(&watch).map_err(std::io::Error::other)? {
                watch.event().await?;
            }
        }
    }
}

/// The same on this thread, which it blocks until all have ended: for a few processes that hold nothing.
pub(crate) fn kill_marked_now(mark: &Mark) -> Result<(), SysError> {
    loop {
        let round = kill_round(mark)?;
        if round.is_empty() {
            return Ok(());
        }
        for process in round {
            pidfd::wait_for_end(&[process.as_fd()], None)?;
        }
    }
}

/// One look at the process table. All that is found is stopped before the first is killed, so that no parent can notice
/// its child's death and fork another in the meantime; what was forked before the stop is found by the next round.
fn kill_round(mark: &Mark) -> Result<Vec<OwnedFd>, SysError> {
    let mut round = Vec::new();
    for member in Table::read().members(mark) {
        let Ok(process) = pidfd::open(member.pid) else { continue };
        // Between the look and the open the number may have gone to somebody else.
        if processes::stat(member.pid).is_none_or(|now| now.start_ticks != member.start_ticks) {
            continue;
        }
        match pidfd::send_signal(&process, libc::SIGSTOP) {
            Ok(()) => round.push(process),
            Err(SysError { errno: nix::errno::Errno::ESRCH, .. }) => {}
            Err(error) => return Err(error),
        }
    }
    for process in &round {
        match pidfd::send_signal(process, libc::SIGKILL) {
            Ok(()) | Err(SysError { errno: nix::errno::Errno::ESRCH, .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(round)
}
