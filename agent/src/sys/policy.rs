//! How a thread is scheduled: the resting class of lent containers where no cgroup has one (`cpu.idle`).
#![expect(unsafe_code, reason = "neither the language nor nix has a name for sched_setattr(2)")]

use super::SysError;

/// `struct sched_attr` of include/uapi/linux/sched/types.h, version 0.
#[repr(C)]
#[derive(Default)]
struct Attributes {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    runtime: u64,
    deadline: u64,
    period: u64,
}

/// Of an idle thread, nanoseconds: the most that the kernel takes. One with a shorter slice (3 ms by default) that wakes
/// up need not wait for its end (Linux 6.12, `PREEMPT_SHORT`); before, it says nothing.
const IDLE_SLICE_NS: u64 = 100_000_000;

/// Lets a thread run when nobody else wants to (`SCHED_IDLE`), or as is usual. Its children inherit it. `tid` 0: this one.
///
/// # Errors
/// ESRCH: it is gone. EPERM: a privileged caller is wanted to make it usual again.
pub fn set_idle(tid: i32, is_idle: bool) -> Result<(), SysError> {
    let (policy, runtime) = if is_idle { (libc::SCHED_IDLE, IDLE_SLICE_NS) } else { (libc::SCHED_OTHER, 0) };
    let attributes = Attributes {
        size: u32::try_from(size_of::<Attributes>()).expect("48"),
        policy: policy.cast_unsigned(),
        runtime,
        ..Attributes::default()
    };
    // SAFETY: the kernel reads `size` bytes of a struct that lives through the call, and writes nothing unless it is larger
    // than its own, which version 0 never is.
    let done = unsafe { libc::syscall(libc::SYS_sched_setattr, tid, &raw const attributes, 0) };
    if done < 0 { Err(SysError::last("sched_setattr")) } else { Ok(()) }
}

/// Whether a thread runs only when nobody else wants to; `None`: it is gone.
pub fn is_idle(tid: i32) -> Option<bool> {
    // SAFETY: takes a number and returns one.
    let policy = unsafe { libc::sched_getscheduler(tid) };
    (policy >= 0).then_some(policy & !libc::SCHED_RESET_ON_FORK == libc::SCHED_IDLE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_and_its_children_become_idle() {
        std::thread::spawn(|| {
            assert_eq!(is_idle(0), Some(false));
            set_idle(0, true).expect("anybody may become idle");
            assert_eq!(is_idle(0), Some(true));
            let child = std::thread::spawn(|| is_idle(0)).join();
            assert_eq!(child.expect("it ends"), Some(true));
        })
        .join()
        .expect("no panic");
        assert_eq!(is_idle(i32::MAX), None);
    }
}
