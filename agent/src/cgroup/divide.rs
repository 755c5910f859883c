//! A container's group in which others have limits of their own. The kernel gives a group's children controllers only while
//! no process is in the group itself, so what runs there is moved into a leaf:
//!
//! ```text
//! <tree>/ab12                   limits of the container          <tree>/ab12
//!     init, executor                                      ->       executor.own/   init, executor: no limits of their own
//!   web/  a nested one                                             web/            as before; it may have limits now
//!                                                                  logs/           made with limits of its own
//! ```
//! It is not done before somebody asks for it: most containers never need the second group. (Kernel doc:
//! Documentation/admin-guide/cgroup-v2.rst, "No Internal Process Constraint".)

use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

use super::knobs::Controller;
use super::{CgroupError, Enforcement};

/// The leaf. No nested container has this name: their ids hold no dot.
pub(super) const LEAF: &str = "executor.own";

/// What holds nested containers to limits of their own. The rest is the outermost's: what it may use of devices, of the
/// network, of huge pages and of which CPUs holds all in it.
const CONTROLLERS: [Controller; 4] = [Controller::Cpu, Controller::Memory, Controller::Pids, Controller::Io];

/// Looks at a group that forks while it is moved. Whoever was moved has its children in the leaf, so two or three do; but a
/// process that is about to end cannot be moved any more and is still seen, until it gets a CPU.
const ROUNDS_MAX: u32 = 1_000;
/// Looks that follow each other at once; after them there is a pause before each, so that who is about to end can.
const ROUNDS_AT_ONCE: u32 = 4;
const PAUSE: Duration = Duration::from_millis(1);

/// Makes it so that groups in this one can have limits, those that `enforcement` says can be had. Doing it again is harmless.
/// Blocks.
///
/// # Errors
/// `Set` with EBUSY: for a second processes were put into the group faster than they can be moved.
pub(super) fn divide(group: &Path, enforcement: &Enforcement) -> Result<(), CgroupError> {
    let leaf = group.join(LEAF);
    match std::fs::create_dir(&leaf) {
        Err(source) if source.kind() != ErrorKind::AlreadyExists => {
            return Err(CgroupError::Create { path: leaf, source });
        }
        _ => {}
    }
    let wanted = CONTROLLERS.into_iter().filter(|controller| enforcement.of(*controller).is_yes());
    let value: Vec<String> = wanted.map(|controller| format!("+{}", controller.as_str())).collect();
    let (path, value) = (group.join("cgroup.subtree_control"), value.join(" "));
    let mut refused = ErrorKind::ResourceBusy.into();
    for round in 0..ROUNDS_MAX {
        if round >= ROUNDS_AT_ONCE {
            pause();
        }
        if move_all(group, &leaf)? > 0 {
            continue;
        }
        match std::fs::write(&path, &value) {
            // Somebody has just been born there.
            Err(error) if error.kind() == ErrorKind::ResourceBusy => refused = error,
            Err(source) => return Err(CgroupError::Set { path, value, source: source.into() }),
            Ok(()) => return Ok(()),
        }
    }
    Err(CgroupError::Set { path, value, source: refused.into() })
}

#[expect(
    clippy::disallowed_methods,
    reason = "cgroup.events tells of those below, too: nobody says that a group itself is left"
)]
fn pause() {
    std::thread::sleep(PAUSE);
}

/// How many processes were in the group itself.
fn move_all(group: &Path, leaf: &Path) -> Result<usize, CgroupError> {
    let pids = processes(group);
    let path = leaf.join("cgroup.procs");
    for pid in &pids {
        match std::fs::write(&path, pid.to_string()) {
            // It has ended meanwhile.
            Err(source) if source.raw_os_error() != Some(libc::ESRCH) => {
                return Err(CgroupError::Set { path, value: pid.to_string(), source: source.into() });
            }
            _ => {}
        }
    }
    Ok(pids.len())
}

/// Those in this very group. None where it is not there.
pub(super) fn processes(group: &Path) -> Vec<i32> {
    let text = std::fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    text.lines().filter_map(|line| line.trim().parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroup::Enforced;

    /// Plain files in place of the kernel's: what is written where.
    #[test]
    fn controllers_that_are_there_are_enabled_below_and_the_leaf_is_made_once() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let group = folder.path();
        let read = |file: &str| std::fs::read_to_string(group.join(file)).ok();
        let none = Enforcement::none("nothing here");
        divide(group, &none).expect("nothing is in the way");
        assert!(group.join(LEAF).is_dir());
        assert_eq!(read("cgroup.subtree_control").as_deref(), Some(""));
        let some = Enforcement { memory: Enforced::Yes, pids: Enforced::Yes, hugetlb: Enforced::Yes, ..none };
        divide(group, &some).expect("it may be there already");
        assert_eq!(read("cgroup.subtree_control").as_deref(), Some("+memory +pids"));
    }

    #[test]
    fn a_group_that_never_gets_empty_is_an_error_and_not_a_loop() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        std::fs::write(folder.path().join("cgroup.procs"), "7\n8\n").expect("write");
        let error = divide(folder.path(), &Enforcement::none("")).expect_err("they stay");
        assert!(error.to_string().ends_with("cgroup.subtree_control"), "{error}");
        let moved = std::fs::read_to_string(folder.path().join(LEAF).join("cgroup.procs"));
        assert_eq!(moved.ok().as_deref(), Some("8"));
    }
}
