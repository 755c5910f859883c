//! Starts a program in a new process that is born inside its cgroup, with a pidfd from the first moment.
//!
//! Linux 5.11 is needed (`close_range`); from 5.7 on `clone3` puts the child into the cgroup before it exists for anybody.
//! Where `clone3` is refused (an older kernel, or a seccomp filter that answers `ENOSYS`, as container runtimes set), plain
//! `clone` is used and the child moves itself before `execve`, so that no instruction of the program runs outside.
//!
//! The child does not share our memory (no `CLONE_VM`): it changes its user before `execve`, from when on that user may
//! stop or trace it, and whoever shared memory or waited for it as `vfork` does would be stopped with it.
#![expect(
    unsafe_code,
    reason = "between clone and execve there is no Rust runtime to stand on: only raw calls"
)]

use std::ffi::{CStr, CString, c_char, c_int};
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

use nix::errno::Errno;

use super::identity::Identity;
use super::{SysError, pidfd};

/// From `clone` to `execve` the child makes about ten calls; one that takes this long is stuck (a dead network file
/// system, a stop signal) and is killed, so that the launcher thread never hangs.
const EXEC_DEADLINE: Duration = Duration::from_secs(10);

// linux/sched.h; libc has these two as 32-bit integers, in which they do not fit.
pub(super) const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
pub(super) const CLONE_PIDFD: u64 = 0x1000;

/// What the new process is to be. It gets a session of its own, default signal handling, umask 022, no descriptors
/// but its three, and none of our environment.
pub struct Command {
    /// Tried in turn, as `execvp` does with the folders of `PATH`; the first is the one for an error to name.
    pub programs: Vec<CString>,
    pub args: Vec<CString>,
    /// `NAME=value`
    pub env: Vec<CString>,
    pub directory: CString,
    pub stdio: [OwnedFd; 3],
    /// `None`: as we are.
    pub identity: Option<Identity>,
}

/// A running child. Nobody but the holder reaps it.
#[derive(Debug)]
pub struct Child {
    pub pid: i32,
    pub pidfd: OwnedFd,
}

/// Which call makes the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Clone3,
    Clone,
}

/// Starts `command`, in `cgroup` when there is one (a descriptor of its directory). When this returns, the program runs.
///
/// An error of a call that the child made before or at `execve` comes back as well, the child being reaped already.
pub fn spawn(command: &Command, cgroup: Option<BorrowedFd<'_>>) -> Result<Child, SysError> {
    match spawn_by(Way::Clone3, command, cgroup) {
        // ENOSYS, EPERM: a filter. EINVAL, E2BIG: a kernel that does not know the flag.
        Err(SysError {
            call: "clone3",
            errno: Errno::ENOSYS | Errno::EPERM | Errno::EINVAL | Errno::E2BIG,
        }) => spawn_by(Way::Clone, command, cgroup),
        result => result,
    }
}

fn spawn_by(way: Way, command: &Command, cgroup: Option<BorrowedFd<'_>>) -> Result<Child, SysError> {
    let (reader, writer) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).map_err(SysError::of("pipe2"))?;
    let mut arrays = Arrays::of(command);
    let joined = cgroup.filter(|_| way == Way::Clone);
    let job = Job::of(command, &mut arrays, writer.as_raw_fd(), joined);

    let all = nix::sys::signal::SigSet::all();
    // Blocked, because a handler of ours that ran in the child would run in a copy of a process it knows nothing of.
    let before =
        all.thread_swap_mask(nix::sys::signal::SigmaskHow::SIG_SETMASK).map_err(SysError::of("sigmask"))?;
    let made = match way {
        Way::Clone3 => clone3(&job, cgroup),
        Way::Clone => clone(&job),
    };
    before.thread_set_mask().map_err(SysError::of("sigmask"))?;
    let child = made?;
    drop(writer);
    match read_report(reader, &child.pidfd)? {
        None => Ok(child),
        Some(error) => {
            let _ = pidfd::wait_for_end(&[child.pidfd.as_fd()], Some(EXEC_DEADLINE))?;
            let _ = pidfd::try_reap(&child.pidfd)?;
            Err(error)
        }
    }
}

/// Waits until the child has reached `execve` (the pipe closes by itself) or says which call failed.
fn read_report(reader: OwnedFd, child: &OwnedFd) -> Result<Option<SysError>, SysError> {
    // `wait_for_end` is a poll for readable: a pipe becomes so by a report and by its end.
    if pidfd::wait_for_end(&[reader.as_fd()], Some(EXEC_DEADLINE))? == 0 {
        let _ = pidfd::send_signal(child, libc::SIGKILL);
        return Ok(Some(SysError { call: "execve", errno: Errno::ETIMEDOUT }));
    }
    let mut report = [0; 8];
    let mut pipe = File::from(reader);
    let mut length = 0;
    while length < report.len() {
        match pipe.read(&mut report[length..]) {
            Ok(0) => return Ok(None),
            Ok(read) => length += read,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => {
                return Err(SysError {
                    call: "read",
                    errno: Errno::from_raw(error.raw_os_error().unwrap_or(0)),
                });
            }
        }
    }
    let [step, errno] = [&report[..4], &report[4..]].map(|b| i32::from_ne_bytes([b[0], b[1], b[2], b[3]]));
    let call = Step::NAMES.get(step as usize).copied().unwrap_or("clone");
    Ok(Some(SysError { call, errno: Errno::from_raw(errno) }))
}

/// Linux' `struct clone_args` (linux/sched.h), the 88 bytes of 5.7.
#[repr(C)]
#[derive(Default)]
pub(super) struct CloneArgs {
    pub(super) flags: u64,
    pub(super) pidfd: u64,
    pub(super) child_tid: u64,
    pub(super) parent_tid: u64,
    pub(super) exit_signal: u64,
    pub(super) stack: u64,
    pub(super) stack_size: u64,
    pub(super) tls: u64,
    pub(super) set_tid: u64,
    pub(super) set_tid_size: u64,
    pub(super) cgroup: u64,
}

fn clone3(job: &Job, cgroup: Option<BorrowedFd<'_>>) -> Result<Child, SysError> {
    let mut fd: RawFd = -1;
    let mut args = CloneArgs {
        flags: CLONE_PIDFD,
        pidfd: (&raw mut fd) as u64,
        exit_signal: libc::SIGCHLD as u64,
        ..CloneArgs::default()
    };
    if let Some(cgroup) = cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = cgroup.as_raw_fd() as u64;
    }
    // SAFETY: without CLONE_VM the child is a copy of this thread on a copy of its stack, so returning twice is sound. All
    // signals are blocked (by `spawn_by`). The child goes straight into `run_child`, which only makes raw system calls on
    // memory that was prepared before. The kernel writes the descriptor to `fd`, which outlives the call.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size_of::<CloneArgs>()) };
    // SAFETY: the kernel filled `fd` where it made a child.
    unsafe { finish_clone("clone3", pid, job, &raw const fd) }
}

fn clone(job: &Job) -> Result<Child, SysError> {
    let mut fd: RawFd = -1;
    let flags = CLONE_PIDFD | libc::SIGCHLD as u64;
    let none = std::ptr::null_mut::<c_int>();
    // SAFETY: as for clone3. The first three arguments stand in this order on every architecture but s390; the two that
    // change places are both null.
    let pid = unsafe { libc::syscall(libc::SYS_clone, flags, none, &raw mut fd, none, none) };
    // SAFETY: the kernel filled `fd` where it made a child.
    unsafe { finish_clone("clone", pid, job, &raw const fd) }
}

/// Both sides of a clone come through here.
///
/// # Safety
/// `pid` is what a clone with `CLONE_PIDFD` and without `CLONE_VM` returned just now, and `fd` is where it left the pidfd.
unsafe fn finish_clone(
    call: &'static str,
    pid: libc::c_long,
    job: &Job,
    fd: *const RawFd,
) -> Result<Child, SysError> {
    match pid {
        0 => run_child(job),
        pid if pid < 0 => Err(SysError::last(call)),
        // SAFETY: by this function's contract, and read anew because the compiler saw only a pointer go into the call; the
        // descriptor is fresh and nobody else's.
        pid => Ok(Child { pid: pid as i32, pidfd: unsafe { OwnedFd::from_raw_fd(fd.read_volatile()) } }),
    }
}

/// Null-terminated arrays of pointers into a `Command`, made before the clone because the child must not allocate.
struct Arrays {
    programs: Vec<*const c_char>,
    args: Vec<*const c_char>,
    env: Vec<*const c_char>,
    /// `sh`, room for the program's path, then its arguments: for a script without an interpreter line.
    script_args: Vec<*const c_char>,
}

impl Arrays {
    fn of(command: &Command) -> Self {
        let null = std::iter::once(std::ptr::null());
        let pointers =
            |texts: &[CString]| texts.iter().map(|t| t.as_ptr()).chain(null.clone()).collect::<Vec<_>>();
        let rest = command.args.iter().skip(1).map(|t| t.as_ptr());
        Self {
            programs: pointers(&command.programs),
            args: pointers(&command.args),
            env: pointers(&command.env),
            script_args: [SHELL.as_ptr(), SHELL.as_ptr()]
                .into_iter()
                .chain(rest)
                .chain(null.clone())
                .collect(),
        }
    }
}

const SHELL: &CStr = c"/bin/sh";

/// What the child does, as plain numbers and pointers that stay valid in its copy of our memory.
struct Job {
    programs: *const *const c_char,
    args: *const *const c_char,
    env: *const *const c_char,
    script_args: *mut *const c_char,
    directory: *const c_char,
    stdio: [RawFd; 3],
    report: RawFd,
    /// Directory of the cgroup that the child has to enter itself; negative when it was born there, or there is none.
    cgroup: RawFd,
    identity: Option<(u32, u32, *const u32, usize)>,
}

impl Job {
    fn of(command: &Command, arrays: &mut Arrays, report: RawFd, cgroup: Option<BorrowedFd<'_>>) -> Self {
        let stdio = [&command.stdio[0], &command.stdio[1], &command.stdio[2]].map(AsRawFd::as_raw_fd);
        // Else one `dup2` would overwrite what the next one copies. Rust's runtime keeps 0, 1 and 2 open from the start.
        assert!(
            stdio.iter().chain([&report]).all(|&fd| fd > 2),
            "a standard descriptor of the agent was closed"
        );
        Self {
            programs: arrays.programs.as_ptr(),
            args: arrays.args.as_ptr(),
            env: arrays.env.as_ptr(),
            script_args: arrays.script_args.as_mut_ptr(),
            directory: command.directory.as_ptr(),
            stdio,
            report,
            cgroup: cgroup.map_or(-1, |fd| fd.as_raw_fd()),
            identity: command.identity.as_ref().map(|i| (i.uid, i.gid, i.groups.as_ptr(), i.groups.len())),
        }
    }
}

/// Where the child failed; the number is what it reports.
#[derive(Clone, Copy)]
#[repr(i32)]
enum Step {
    JoinCgroup,
    Setsid,
    Dup,
    CloseRange,
    Chdir,
    Setgroups,
    Setgid,
    Setuid,
    Exec,
}

impl Step {
    const NAMES: [&'static str; 9] = [
        "cgroup.procs",
        "setsid",
        "dup2",
        "close_range",
        "chdir",
        "setgroups",
        "setresgid",
        "setresuid",
        "execve",
    ];
}

/// The child's side: only system calls until `execve`. No allocation, no lock, nothing that can panic: other threads
/// of the agent may have held any lock at the moment of the clone, and they do not exist here.
fn run_child(job: &Job) -> ! {
    // SAFETY: every pointer in `job` leads into memory that the caller of `spawn_by` keeps alive, of which this process has
    // its own copy. All calls are async-signal-safe (signal-safety(7)) or raw; none but the last returns into our caller.
    unsafe {
        reset_signals();
        let failed = prepare_child(job).err().unwrap_or_else(|| (Step::Exec, exec(job)));
        let report = [failed.0 as i32, failed.1];
        libc::write(job.report, report.as_ptr().cast(), size_of_val(&report));
        libc::_exit(127)
    }
}

/// Default handling for every signal: a task must not inherit what our runtime ignores (SIGPIPE).
///
/// # Safety
/// Only for a process that is about to `execve` or end.
unsafe fn reset_signals() {
    // All-zero is SIG_DFL, no flags and an empty mask in the kernel's own layout on every architecture, with room to spare.
    // Raw, because glibc's sigaction takes a lock for SIGABRT. SIGKILL and SIGSTOP refuse, rightly.
    let default = [0_u64; 8];
    let mut signal = 1;
    while signal <= 64 {
        // SAFETY: reads at most 64 bytes of `default`, writes nothing of ours.
        unsafe {
            libc::syscall(libc::SYS_rt_sigaction, signal, default.as_ptr(), std::ptr::null::<u64>(), 8)
        };
        signal += 1;
    }
}

/// Everything between the clone and `execve`. The order matters: the cgroup and the folder as who we are, then the
/// groups while we still may, the user last; signals are let in only when no handler of ours is left.
///
/// # Safety
/// As for `run_child`.
unsafe fn prepare_child(job: &Job) -> Result<(), (Step, i32)> {
    // SAFETY: see `run_child`.
    unsafe {
        if job.cgroup >= 0 {
            let file = libc::openat(job.cgroup, c"cgroup.procs".as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
            check(Step::JoinCgroup, libc::c_long::from(file))?;
            check(Step::JoinCgroup, libc::write(file, c"0".as_ptr().cast(), 1) as libc::c_long)?;
        }
        check(Step::Setsid, libc::c_long::from(libc::setsid()))?;
        check(Step::Dup, libc::c_long::from(libc::dup2(job.stdio[0], 0)))?;
        check(Step::Dup, libc::c_long::from(libc::dup2(job.stdio[1], 1)))?;
        check(Step::Dup, libc::c_long::from(libc::dup2(job.stdio[2], 2)))?;
        // Marked rather than closed: the report pipe has to live until `execve`, which then closes it.
        let close_on_exec = libc::CLOSE_RANGE_CLOEXEC;
        check(Step::CloseRange, libc::syscall(libc::SYS_close_range, 3_u32, u32::MAX, close_on_exec))?;
        libc::umask(0o022);
        check(Step::Chdir, libc::c_long::from(libc::chdir(job.directory)))?;
        if let Some((uid, gid, groups, count)) = job.identity {
            // Raw calls: glibc's wrappers signal every thread of the process to follow, and wait for them.
            check(Step::Setgroups, libc::syscall(libc::SYS_setgroups, count, groups))?;
            check(Step::Setgid, libc::syscall(libc::SYS_setresgid, gid, gid, gid))?;
            check(Step::Setuid, libc::syscall(libc::SYS_setresuid, uid, uid, uid))?;
        }
        let none = 0_u64;
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            &raw const none,
            std::ptr::null::<u64>(),
            8,
        );
        Ok(())
    }
}

/// Tries each program in turn with `execvp`'s rules; returns the errno to report when none could be run.
///
/// # Safety
/// As for `run_child`.
unsafe fn exec(job: &Job) -> i32 {
    let mut worst = libc::ENOENT;
    let mut program = job.programs;
    // SAFETY: `programs` is an array that ends with a null; `script_args` has at least three places, the second of which is
    // for this use, and our copy of it is ours to write.
    unsafe {
        while !(*program).is_null() {
            libc::execve(*program, job.args, job.env);
            let mut errno = *libc::__errno_location();
            if errno == libc::ENOEXEC {
                job.script_args.add(1).write(*program);
                libc::execve(SHELL.as_ptr(), job.script_args.cast_const(), job.env);
                errno = *libc::__errno_location();
            }
            match errno {
                libc::ENOENT | libc::ENOTDIR | libc::ESTALE | libc::ENODEV => {}
                // Another folder may have one that may be run; if none has, this is the better answer.
                libc::EACCES => worst = libc::EACCES,
                errno => return errno,
            }
            program = program.add(1);
        }
    }
    worst
}

fn check(step: Step, result: libc::c_long) -> Result<(), (Step, i32)> {
    if result >= 0 {
        return Ok(());
    }
    // SAFETY: the address of this thread's errno, valid for as long as the thread.
    Err((step, unsafe { *libc::__errno_location() }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::pidfd::Exit;
    use std::io::Seek;

    fn null() -> OwnedFd {
        File::options().read(true).write(true).open("/dev/null").expect("/dev/null").into()
    }

    fn command(program: &str, args: &[&str], stdout: Option<&File>) -> Command {
        let text = |t: &str| CString::new(t).expect("no NUL in tests");
        let stdout = stdout.map_or_else(null, |file| file.try_clone().expect("dup").into());
        Command {
            programs: vec![text(program)],
            args: args.iter().map(|a| text(a)).collect(),
            env: vec![text("A=1")],
            directory: text("/usr"),
            stdio: [null(), stdout, null()],
            identity: None,
        }
    }

    fn run(way: Way, program: &str, args: &[&str]) -> (Exit, String) {
        let mut output = tempfile::tempfile().expect("a temporary file");
        let child = spawn_by(way, &command(program, args, Some(&output)), None).expect("it starts");
        pidfd::wait_for_end(&[child.pidfd.as_fd()], None).expect("poll");
        let exit = pidfd::try_reap(&child.pidfd).expect("our child").expect("it ended").exit;
        let mut text = String::new();
        output.rewind().and_then(|()| output.read_to_string(&mut text)).expect("the file is readable");
        (exit, text)
    }

    const WAYS: [Way; 2] = [Way::Clone3, Way::Clone];

    #[test]
    fn the_child_has_its_own_session_and_only_what_it_was_given() {
        // Only what the shell itself reads: while it starts a program, it blocks signals for a moment.
        let script = r#"read _ _ _ ppid pgrp session rest < /proc/$$/stat
            [ $pgrp = $$ ] && [ $session = $$ ] && echo session
            pwd; umask; env | grep -v -e ^PWD= -e ^_= -e ^SHLVL= -e ^OLDPWD=; for fd in /proc/$$/fd/*; do [ -h $fd ] && printf '%s ' ${fd##*/}; done
            while read -r line; do case $line in SigBlk*|SigIgn*) echo "$line" ;; esac; done < /proc/$$/status
            exit 3"#;
        // A descriptor that is not close-on-exec, as a careless library may leave one.
        let _careless = nix::unistd::dup(std::io::stdin()).expect("dup");
        for way in WAYS {
            let (exit, text) = run(way, "/bin/sh", &["sh", "-c", script]);
            let zero = "0000000000000000";
            let expect = format!("session\n/usr\n0022\nA=1\n0 1 2 SigBlk:\t{zero}\nSigIgn:\t{zero}\n");
            assert_eq!((exit, text.as_str()), (Exit::Code(3), expect.as_str()), "{way:?}");
        }
    }

    #[test]
    fn a_program_that_cannot_run_is_an_error_and_leaves_no_zombie() {
        for way in WAYS {
            let missing = spawn_by(way, &command("/no/such/program", &["x"], None), None);
            assert_eq!(missing.expect_err("missing").to_string(), "execve: No such file or directory");
            let folder = spawn_by(way, &command("/etc", &["x"], None), None);
            assert_eq!(folder.expect_err("a folder").to_string(), "execve: Permission denied");
            let mut lost = command("/bin/true", &["true"], None);
            lost.directory = c"/no/such/folder".into();
            let error = spawn_by(way, &lost, None).expect_err("no folder");
            assert_eq!(error.to_string(), "chdir: No such file or directory");
        }
    }

    #[test]
    fn a_child_that_was_not_born_in_its_cgroup_enters_it_or_does_not_run() {
        // A plain folder in place of a cgroup shows what is written where.
        let folder = tempfile::tempdir().expect("a temporary folder");
        let directory = File::open(folder.path()).expect("it is there");
        let truly = command("/bin/true", &["true"], None);
        let error = spawn_by(Way::Clone, &truly, Some(directory.as_fd())).expect_err("no cgroup.procs");
        assert_eq!(error.to_string(), "cgroup.procs: No such file or directory");
        std::fs::write(folder.path().join("cgroup.procs"), "").expect("write");
        let child = spawn_by(Way::Clone, &truly, Some(directory.as_fd())).expect("it starts");
        pidfd::wait_for_end(&[child.pidfd.as_fd()], None).expect("poll");
        assert_eq!(std::fs::read_to_string(folder.path().join("cgroup.procs")).expect("readable"), "0");
        pidfd::try_reap(&child.pidfd).expect("our child");
        // Being born in what is no cgroup is not the kernel's refusal of the way, but an error.
        let error = spawn(&truly, Some(directory.as_fd())).expect_err("no cgroup");
        assert_eq!((error.call, error.errno), ("clone3", Errno::EBADF));
    }

    #[test]
    fn programs_are_tried_in_turn_as_execvp_does() {
        let mut true_ = command("/no/such/true", &["true"], None);
        true_.programs.extend([c"/etc/passwd/true".into(), c"/etc".into(), c"/bin/true".into()]);
        let child = spawn(&true_, None).expect("the last is there");
        pidfd::wait_for_end(&[child.pidfd.as_fd()], None).expect("poll");
        let ended = pidfd::try_reap(&child.pidfd).expect("our child").expect("it ended");
        assert_eq!(ended.exit, Exit::Code(0));
    }

    #[test]
    fn a_script_without_an_interpreter_line_is_run_by_the_shell() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().expect("a temporary folder");
        let script = folder.path().join("script");
        std::fs::write(&script, "echo \"$1 $2\"; exit 9").expect("write");
        std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).expect("chmod");
        let (exit, text) = run(Way::Clone3, script.to_str().expect("utf-8"), &["script", "one", "two"]);
        assert_eq!((exit, text.as_str()), (Exit::Code(9), "one two\n"));
    }
}
