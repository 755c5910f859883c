//! Who is entered by what is nested in a container: a process that is in all the namespaces which the two are to share.
//!
//! ```text
//!   init --- executor --- task        init: the container's own namespaces, those of its executor as well
//!                                     task: beyond these what a command task alone has: a root, a network, users
//! ```

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use nix::errno::Errno;

use super::launch::Leader;
use super::plan::Whom;
use crate::cgroup::container::Container;
use crate::sys::processes::{self, Mark, Stat, Table};
use crate::sys::{SysError, pidfd};

/// What init is called until it is somebody else's program: `init/main.rs` sets it.
const INIT: &str = "ingot-init";

/// A process that cannot be mistaken for another later.
#[derive(Debug)]
pub(super) struct Entered {
    pub(super) process: OwnedFd,
    /// The user namespace of what runs there; only if it was asked for.
    pub(super) users: Option<OwnedFd>,
}

/// `members`: everything that runs in the container. Blocks.
///
/// # Errors
/// ESRCH: it has ended, or does not run yet.
pub(super) fn find(
    leader: Leader,
    whom: Whom,
    members: &[Stat],
    wants_users: bool,
) -> Result<Entered, SysError> {
    let (pid, start_ticks) = (leader.0.cast_signed(), leader.1);
    let first = processes::stat(pid).filter(|it| it.start_ticks == start_ticks).ok_or(GONE)?;
    let program = || oldest(members, |it| it.parent == pid).ok_or(GONE);
    let task =
        |executor: Stat| oldest(members, |it| it.parent == executor.pid && is_task(it.pid, pid)).ok_or(GONE);
    let found = match whom {
        Whom::First => first,
        Whom::Task => task(program()?)?,
    };
    let process = pidfd::open(found.pid)?;
    let users = match whom {
        _ if !wants_users => None,
        // Init has the machine's users.
        Whom::First => Some(users(&program()?)?),
        Whom::Task => Some(users(&found)?),
    };
    still_there(&found)?;
    Ok(Entered { process, users })
}

fn users(of: &Stat) -> Result<OwnedFd, SysError> {
    let failed = |error: std::io::Error| {
        let errno = Errno::from_raw(error.raw_os_error().unwrap_or(0));
        SysError { call: "open ns/user", errno }
    };
    let users = File::open(format!("/proc/{}/ns/user", of.pid)).map_err(failed)?;
    still_there(of)?;
    Ok(users.into())
}

/// First the handle, then the look: whatever the number means afterwards, the handle means what was looked at.
fn still_there(process: &Stat) -> Result<(), SysError> {
    match processes::stat(process.pid) {
        Some(now) if now.start_ticks == process.start_ticks && !now.is_zombie() => Ok(()),
        _ => Err(GONE),
    }
}

/// Who runs in a container.
pub(super) fn members(cgroup: Option<&Container>, mark: &Mark) -> Vec<Stat> {
    match cgroup {
        Some(cgroup) => cgroup.processes().into_iter().filter_map(processes::stat).collect(),
        None => Table::read().members(mark),
    }
}

const GONE: SysError = SysError { call: "pidfd_open", errno: Errno::ESRCH };

fn oldest(members: &[Stat], is_it: impl Fn(&Stat) -> bool) -> Option<Stat> {
    members.iter().filter(|it| is_it(it)).min_by_key(|it| it.start_ticks).copied()
}

/// It has made its namespaces, and whatever was to be made in them: it is no init any more. Before that, who entered them
/// would still see the machine's files.
fn is_task(pid: i32, first: i32) -> bool {
    let is_apart = ["mnt", "net", "user"].into_iter().any(|kind| {
        let own = namespace(pid, kind);
        own.is_some() && own != namespace(first, kind)
    });
    let name = || std::fs::read_to_string(format!("/proc/{pid}/comm")).ok();
    is_apart && name().is_some_and(|name| name.trim_end() != INIT)
}

/// What names it; `None` where the process is gone.
fn namespace(pid: i32, kind: &str) -> Option<PathBuf> {
    std::fs::read_link(format!("/proc/{pid}/ns/{kind}")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_gone_or_has_no_task_yet_is_not_entered() {
        let own = processes::stat(std::process::id().cast_signed()).expect("it is there");
        let leader = (std::process::id(), own.start_ticks);
        find(leader, Whom::First, &[], false).expect("it runs");
        let later = find((leader.0, leader.1 + 1), Whom::First, &[], false).map(drop);
        assert_eq!(later.expect_err("another had the number").errno, Errno::ESRCH);
        let executor = Stat { pid: 1, parent: own.pid, ..own };
        let no_task = find(leader, Whom::Task, &[own, executor], false).map(drop);
        assert_eq!(no_task.expect_err("there is none").errno, Errno::ESRCH);
    }
}
