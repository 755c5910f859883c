//! Starts a program in a new process that is born inside its cgroup, with chosen descriptors, a pidfd from the first moment,
//! and without copying the caller's memory: the child borrows it, and the calling thread stands still until the program runs
//! (`CLONE_VM | CLONE_VFORK`). What a start costs therefore does not grow with the caller.
//!
//! Borrowed memory is safe only with a child that nobody else may touch: it stays who it is, makes a dozen system calls that
//! cannot block for long, and becomes a program of ours. Whatever must happen as another user, or in another file system,
//! happens in that program (init). For programs that are not ours there is [`super::clone`].
//!
//! Where `clone3` is refused (a kernel before 5.7, or a seccomp filter that answers `ENOSYS`), plain `clone` is used and the
//! child moves itself into the cgroup before it executes anything.
#![expect(
    unsafe_code,
    reason = "a child on borrowed memory needs a stack of its own, which no library arranges"
)]

use std::arch::asm;
use std::cell::Cell;
use std::ffi::{CString, c_char, c_long};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;

use super::SysError;
use super::clone::{CLONE_INTO_CGROUP, CLONE_PIDFD, Child, CloneArgs};

/// What is to be started.
#[derive(Debug)]
pub struct Start<'a> {
    /// An open file that can be executed.
    pub program: BorrowedFd<'a>,
    pub args: &'a [CString],
    /// `NAME=value`
    pub env: &'a [CString],
    /// Become 0, 1, 2 and so on; all others are closed.
    pub descriptors: &'a [BorrowedFd<'a>],
    /// A cgroup's directory.
    pub cgroup: Option<BorrowedFd<'a>>,
    /// New namespaces that it begins in: `CLONE_NEW*`.
    pub namespaces: u64,
}

/// For the child: it calls a few functions that are not deep.
const STACK_BYTES: usize = 32 << 10;

/// Starts the program, with every signal blocked. When this returns, it runs; an error of a call that the child made before
/// comes back as well, the child being reaped already.
pub fn start(start: &Start<'_>) -> Result<Child, SysError> {
    match start_by(libc::SYS_clone3, start) {
        // ENOSYS, EPERM: a filter. EINVAL, E2BIG: a kernel that does not know the flag.
        Err(SysError {
            call: "clone3",
            errno: Errno::ENOSYS | Errno::EPERM | Errno::EINVAL | Errno::E2BIG,
        }) => start_by(libc::SYS_clone, start),
        result => result,
    }
}

/// What the child does. It lives on the parent's stack, which stands still meanwhile.
struct Job<'a> {
    program: RawFd,
    args: &'a [*const c_char],
    env: &'a [*const c_char],
    descriptors: &'a [RawFd],
    /// To be entered; negative when the child was born there, or there is none.
    cgroup: RawFd,
    /// Which call failed. The child's only word to its parent.
    failed: Cell<Option<SysError>>,
}

fn start_by(call: c_long, start: &Start<'_>) -> Result<Child, SysError> {
    let null = || std::iter::once(std::ptr::null());
    let pointers = |texts: &[CString]| texts.iter().map(|it| it.as_ptr()).chain(null()).collect::<Vec<_>>();
    let (args, env) = (pointers(start.args), pointers(start.env));
    let descriptors: Vec<RawFd> = start.descriptors.iter().map(AsRawFd::as_raw_fd).collect();
    let is_born_there = call == libc::SYS_clone3;
    let job = Job {
        program: start.program.as_raw_fd(),
        args: &args,
        env: &env,
        descriptors: &descriptors,
        cgroup: start.cgroup.filter(|_| !is_born_there).map_or(-1, |fd| fd.as_raw_fd()),
        failed: Cell::new(None),
    };
    let all = nix::sys::signal::SigSet::all();
    // A handler that ran in the child would run in the caller's memory. The program finds them blocked and says when not.
    let before =
        all.thread_swap_mask(nix::sys::signal::SigmaskHow::SIG_SETMASK).map_err(SysError::of("sigmask"))?;
    let made = make(call, &job, start.namespaces, start.cgroup.filter(|_| is_born_there));
    before.thread_set_mask().map_err(SysError::of("sigmask"))?;
    let child = made?;
    match job.failed.get() {
        None => Ok(child),
        Some(error) => {
            // It has exited before this thread went on.
            let _ = super::pidfd::wait_for_end(&[std::os::fd::AsFd::as_fd(&child.pidfd)], None)?;
            let _ = super::pidfd::try_reap(&child.pidfd)?;
            Err(error)
        }
    }
}

fn make(
    call: c_long,
    job: &Job<'_>,
    namespaces: u64,
    cgroup: Option<BorrowedFd<'_>>,
) -> Result<Child, SysError> {
    // Words of 16 bytes, as the stack has to be aligned.
    let mut stack: Vec<u128> = Vec::with_capacity(STACK_BYTES / 16);
    let bottom = stack.spare_capacity_mut().as_mut_ptr();
    let mut pidfd: RawFd = -1;
    let flags = CLONE_PIDFD | (libc::CLONE_VM | libc::CLONE_VFORK) as u64 | namespaces;
    let name = if call == libc::SYS_clone3 { "clone3" } else { "clone" };
    let mut args = CloneArgs {
        flags: flags | if cgroup.is_some() { CLONE_INTO_CGROUP } else { 0 },
        pidfd: (&raw mut pidfd) as u64,
        exit_signal: libc::SIGCHLD as u64,
        stack: bottom as u64,
        stack_size: STACK_BYTES as u64,
        cgroup: cgroup.map_or(0, |fd| fd.as_raw_fd() as u64),
        ..CloneArgs::default()
    };
    let top = bottom as u64 + STACK_BYTES as u64;
    // clone's first three arguments are flags, stack and the place of the pidfd on both machines; the others are zero.
    let (first, second, third) = if call == libc::SYS_clone3 {
        ((&raw mut args) as u64, size_of::<CloneArgs>() as u64, 0)
    } else {
        (flags | libc::SIGCHLD as u64, top, (&raw mut pidfd) as u64)
    };
    // SAFETY: the child starts on `stack`, which is its own, and goes straight into `child_main`, which does not return; it
    // changes no memory but that stack, `job.failed` and this thread's errno. This thread goes on only when the child has
    // executed its program or ended, so what `job` borrows outlives its use. All signals are blocked.
    let pid = unsafe { clone_onto(call, first, second, third, job) };
    if pid < 0 {
        return Err(SysError { call: name, errno: Errno::from_raw(-pid as i32) });
    }
    // SAFETY: the kernel left a fresh descriptor there, read anew because the compiler saw only an address go into the call.
    Ok(Child { pid: pid as i32, pidfd: unsafe { OwnedFd::from_raw_fd((&raw const pidfd).read_volatile()) } })
}

/// The call, and the child's first steps: in it, the stack is new and holds nothing to return to.
///
/// # Safety
/// The arguments are those of a clone with `CLONE_VM | CLONE_VFORK` and a new stack; `job` lives until it returns.
unsafe fn clone_onto(call: c_long, first: u64, second: u64, third: u64, job: &Job<'_>) -> i64 {
    let result: i64;
    // SAFETY: in the parent only what the calling convention says changes. The child jumps away and never comes back.
    unsafe {
        #[cfg(target_arch = "x86_64")]
        asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "xor ebp, ebp",
            "mov rdi, r12",
            "call r13",
            "ud2",
            "2:",
            inlateout("rax") call => result,
            in("rdi") first, in("rsi") second, in("rdx") third, in("r10") 0_u64, in("r8") 0_u64,
            in("r12") std::ptr::from_ref(job), in("r13") child_main as *const (),
            lateout("rcx") _, lateout("r11") _,
        );
        #[cfg(target_arch = "aarch64")]
        asm!(
            "svc 0",
            "cbnz x0, 2f",
            "mov x29, xzr",
            "mov x0, {job}",
            "blr {main}",
            "brk #1",
            "2:",
            in("x8") call, inlateout("x0") first => result,
            in("x1") second, in("x2") third, in("x3") 0_u64, in("x4") 0_u64,
            job = in(reg) std::ptr::from_ref(job), main = in(reg) child_main as *const (),
        );
    }
    result
}

/// The child's whole life before its program.
extern "C" fn child_main(job: &Job<'_>) -> ! {
    let Err(error) = become_program(job);
    job.failed.set(Some(error));
    // SAFETY: ends this process without running anything that belongs to the one whose memory it is.
    unsafe { libc::_exit(127) }
}

fn become_program(job: &Job<'_>) -> Result<std::convert::Infallible, SysError> {
    // Out of the way of the places that are about to be filled.
    let count = job.descriptors.len() as i32;
    // SAFETY: all calls are raw or thin wrappers on numbers, and on texts and arrays that the parent keeps alive and still;
    // the descriptors are a copy of the parent's table, so whatever is done to them is done to this process alone.
    unsafe {
        let aside = |fd: RawFd| check("fcntl", libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, count));
        if job.cgroup >= 0 {
            let flags = libc::O_WRONLY | libc::O_CLOEXEC;
            let file = check("cgroup.procs", libc::openat(job.cgroup, c"cgroup.procs".as_ptr(), flags))?;
            check("cgroup.procs", libc::write(file, c"0".as_ptr().cast(), 1) as i32)?;
        }
        let program = aside(job.program)?;
        // Two rounds, or one's place might be where the next one still lies.
        let is_in_the_way = job.descriptors.iter().any(|fd| *fd < count);
        let mut moved = [0; DESCRIPTORS_MAX];
        for (place, fd) in moved.iter_mut().zip(job.descriptors) {
            *place = if is_in_the_way { aside(*fd)? } else { *fd };
        }
        for (place, fd) in (0..count).zip(moved) {
            check("dup2", libc::dup2(fd, place))?;
        }
        // Marked, not closed: the program's own has to be there until it runs.
        let marked =
            libc::syscall(libc::SYS_close_range, count.cast_unsigned(), u32::MAX, libc::CLOSE_RANGE_CLOEXEC);
        check("close_range", marked as i32)?;
        let (args, env, empty) = (job.args.as_ptr(), job.env.as_ptr(), c"".as_ptr());
        libc::syscall(libc::SYS_execveat, program, empty, args, env, libc::AT_EMPTY_PATH);
    }
    Err(SysError::last("execveat"))
}

const DESCRIPTORS_MAX: usize = 9;

fn check(call: &'static str, result: i32) -> Result<i32, SysError> {
    if result < 0 { Err(SysError::last(call)) } else { Ok(result) }
}
