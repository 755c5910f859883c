//! Pidfds: a handle on a process that can never come to mean another one, unlike its number.
#![expect(
    unsafe_code,
    reason = "pidfd_open and pidfd_send_signal have no wrapper in nix, its waitid no real-time signals"
)]

use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;

use super::SysError;

/// A handle on the process that has this number now. The caller checks that it is the one it means (its start time),
/// after this call: from here on the handle cannot change its meaning.
pub fn open(pid: i32) -> Result<OwnedFd, SysError> {
    // SAFETY: takes two integers, touches no memory of ours; a result >= 0 is a fresh descriptor that nobody else owns.
    unsafe {
        let fd = libc::syscall(libc::SYS_pidfd_open, pid, 0u32);
        if fd < 0 {
            return Err(SysError::last("pidfd_open"));
        }
        Ok(OwnedFd::from_raw_fd(fd as RawFd))
    }
}

/// `ESRCH` when the process has been reaped.
pub fn send_signal(pidfd: impl AsFd, signal: i32) -> Result<(), SysError> {
    // SAFETY: the descriptor is open for the length of the borrow; a null `siginfo` is allowed (as kill(2) would fill it).
    let sent = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_fd().as_raw_fd(),
            signal,
            std::ptr::null::<libc::siginfo_t>(),
            0u32,
        )
    };
    if sent < 0 { Err(SysError::last("pidfd_send_signal")) } else { Ok(()) }
}

/// A copy of a descriptor that the process has. Needs the right to trace it, which root has, and an ordinary user with its
/// own processes as far as the machine allows (`kernel.yama.ptrace_scope`).
pub fn copy_descriptor(pidfd: impl AsFd, number: RawFd) -> Result<OwnedFd, SysError> {
    // SAFETY: takes integers, touches no memory of ours; a result >= 0 is a fresh descriptor that nobody else owns.
    unsafe {
        let fd = libc::syscall(libc::SYS_pidfd_getfd, pidfd.as_fd().as_raw_fd(), number, 0u32);
        if fd < 0 {
            return Err(SysError::last("pidfd_getfd"));
        }
        Ok(OwnedFd::from_raw_fd(fd as RawFd))
    }
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    Code(i32),
    Signal {
        number: i32,
        core_dumped: bool,
    },
    /// It has ended, but it is not our child (it was started by an earlier life of the agent), or somebody else reaped it.
    Unknown,
}

impl Exit {
    /// From what waitpid(2) tells of one that has ended.
    pub fn from_wait_status(status: i32) -> Self {
        match status & 0x7f {
            0 => Self::Code(status >> 8 & 0xff),
            number => Self::Signal { number, core_dumped: status & 0x80 != 0 },
        }
    }
}

/// In Mesos' words: `exited with status 1`, `terminated with signal Killed (core dumped)`.
impl std::fmt::Display for Exit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exited with status {code}"),
            Self::Signal { number, core_dumped } => {
                let name = SIGNAL_NAMES.iter().find(|(n, _)| n == number).map_or("", |(_, name)| name);
                let core = if *core_dumped { " (core dumped)" } else { "" };
                match name {
                    "" => write!(f, "terminated with signal {number}{core}"),
                    name => write!(f, "terminated with signal {name}{core}"),
                }
            }
            Self::Unknown => write!(f, "ended, nobody knows how"),
        }
    }
}

/// Those that end processes in practice, as strsignal(3) calls them.
const SIGNAL_NAMES: [(i32, &str); 14] = [
    (libc::SIGHUP, "Hangup"),
    (libc::SIGINT, "Interrupt"),
    (libc::SIGQUIT, "Quit"),
    (libc::SIGILL, "Illegal instruction"),
    (libc::SIGTRAP, "Trace/breakpoint trap"),
    (libc::SIGABRT, "Aborted"),
    (libc::SIGBUS, "Bus error"),
    (libc::SIGFPE, "Floating point exception"),
    (libc::SIGKILL, "Killed"),
    (libc::SIGSEGV, "Segmentation fault"),
    (libc::SIGPIPE, "Broken pipe"),
    (libc::SIGALRM, "Alarm clock"),
    (libc::SIGTERM, "Terminated"),
    (libc::SIGSYS, "Bad system call"),
];

/// What a process used, with all of its descendants that were waited for, one by another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rusage {
    pub user_us: u64,
    pub system_us: u64,
    /// The largest that any single one of them was, resident.
    pub rss_peak_bytes: u64,
}

/// The end of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    pub exit: Exit,
    /// `None` where `exit` is unknown.
    pub usage: Option<Rusage>,
}

/// Reaps the process if it has ended. `None` while it runs. Never blocks.
pub fn try_reap(pidfd: impl AsFd) -> Result<Option<Ended>, SysError> {
    let fd = pidfd.as_fd().as_raw_fd() as libc::id_t;
    // SAFETY: all-zero is a valid `siginfo_t` (integers and a union of integers and pointers) and `rusage` (integers); zero
    // is what a child that still runs leaves in the first. The call writes only into these two; the union's `si_status` is
    // read only after the kernel said by `si_signo` that a child changed state, which is when it is the valid member.
    // (Raw, because glibc's waitid hides the rusage; nix's reaps a child killed by a real-time signal and then has no name
    // for it.)
    let (code, status, usage) = unsafe {
        let mut info: libc::siginfo_t = std::mem::zeroed();
        let mut usage: libc::rusage = std::mem::zeroed();
        let flags = libc::WEXITED | libc::WNOHANG;
        if libc::syscall(libc::SYS_waitid, libc::P_PIDFD, fd, &raw mut info, flags, &raw mut usage) < 0 {
            let unknown = Ended { exit: Exit::Unknown, usage: None };
            return match SysError::last("waitid") {
                SysError { errno: Errno::ECHILD, .. } => Ok(has_ended(pidfd)?.then_some(unknown)),
                error => Err(error),
            };
        }
        if info.si_signo == 0 {
            return Ok(None);
        }
        (info.si_code, info.si_status(), usage)
    };
    let us = |time: libc::timeval| time.tv_sec.cast_unsigned() * 1_000_000 + time.tv_usec.cast_unsigned();
    let exit = match code {
        libc::CLD_EXITED => Exit::Code(status),
        code => Exit::Signal { number: status, core_dumped: code == libc::CLD_DUMPED },
    };
    let usage = Rusage {
        user_us: us(usage.ru_utime),
        system_us: us(usage.ru_stime),
        rss_peak_bytes: usage.ru_maxrss.cast_unsigned() * 1024,
    };
    Ok(Some(Ended { exit, usage: Some(usage) }))
}

/// True once the process has ended, whoever's child it is. Never blocks.
pub fn has_ended(pidfd: impl AsFd) -> Result<bool, SysError> {
    wait_for_end(&[pidfd.as_fd()], Some(std::time::Duration::ZERO)).map(|ended| ended == 1)
}

/// Blocks until one of these processes has ended or the time is over; returns how many have ended.
pub fn wait_for_end(
    pidfds: &[std::os::fd::BorrowedFd<'_>],
    at_most: Option<std::time::Duration>,
) -> Result<usize, SysError> {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    let mut fds: Vec<_> = pidfds.iter().map(|fd| PollFd::new(*fd, PollFlags::POLLIN)).collect();
    let timeout = at_most.map_or(PollTimeout::NONE, |t| PollTimeout::try_from(t).unwrap_or(PollTimeout::MAX));
    loop {
        match poll(&mut fds, timeout) {
            Ok(count) => return Ok(count.unsigned_abs() as usize),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(SysError { call: "poll", errno }),
        }
    }
}

#[cfg(test)]
#[expect(clippy::zombie_processes, reason = "they are reaped through their pidfds: that is the test")]
mod tests {
    use super::*;
    use std::process::Command;

    fn exit(pidfd: &OwnedFd) -> Option<Exit> {
        try_reap(pidfd).expect("it can be asked").map(|ended| ended.exit)
    }

    #[test]
    fn a_child_is_signalled_and_reaped_through_its_pidfd() {
        let child = Command::new("sleep").arg("1000").spawn().expect("sleep exists");
        let pidfd = open(child.id() as i32).expect("it runs");
        assert_eq!(exit(&pidfd), None);
        send_signal(&pidfd, libc::SIGKILL).expect("it is ours");
        assert_eq!(wait_for_end(&[pidfd.as_fd()], None), Ok(1));
        let killed = Exit::Signal { number: libc::SIGKILL, core_dumped: false };
        assert_eq!(exit(&pidfd), Some(killed));
        // Reaped: its status can be had once only, and a signal finds nobody.
        assert_eq!(exit(&pidfd), Some(Exit::Unknown));
        let gone = send_signal(&pidfd, libc::SIGKILL).expect_err("it was reaped");
        assert_eq!((gone.call, gone.errno), ("pidfd_send_signal", Errno::ESRCH));
    }

    #[test]
    fn a_strangers_process_is_waited_for_but_its_status_is_unknown() {
        // The shell ends at once and prints the number of its child, which is then not ours.
        let mut shell = Command::new("sh");
        shell.args(["-c", "sleep 1000 >&2 & echo $!"]).stderr(std::process::Stdio::null());
        let output = shell.output().expect("sh exists");
        let pid: i32 = String::from_utf8_lossy(&output.stdout).trim().parse().expect("a number");
        let pidfd = open(pid).expect("it runs");
        assert_eq!(exit(&pidfd), None);
        send_signal(&pidfd, libc::SIGKILL).expect("same user");
        wait_for_end(&[pidfd.as_fd()], None).expect("poll");
        assert_eq!(exit(&pidfd), Some(Exit::Unknown));
    }

    #[test]
    fn exit_codes_and_real_time_signals_are_told_as_they_are() {
        for (script, expect) in [
            ("exit 7", Exit::Code(7)),
            ("kill -34 $$", Exit::Signal { number: 34, core_dumped: false }),
            ("exit 0", Exit::Code(0)),
        ] {
            let child = Command::new("sh").args(["-c", script]).spawn().expect("sh exists");
            let pidfd = open(child.id() as i32).expect("not reaped yet");
            wait_for_end(&[pidfd.as_fd()], None).expect("poll");
            assert_eq!(exit(&pidfd), Some(expect), "{script}");
        }
    }

    #[test]
    fn an_end_reads_as_mesos_writes_it() {
        assert_eq!(Exit::Code(7).to_string(), "exited with status 7");
        let killed = Exit::Signal { number: libc::SIGKILL, core_dumped: false };
        assert_eq!(killed.to_string(), "terminated with signal Killed");
        let real_time = Exit::Signal { number: 34, core_dumped: true };
        assert_eq!(real_time.to_string(), "terminated with signal 34 (core dumped)");
    }

    #[test]
    fn what_it_and_its_children_used_is_told_with_its_end() {
        // 64 MiB at once, and some work, in a child of the child.
        let line = "head -c 64M /dev/zero | tail -c 64M | wc -c";
        let child = Command::new("sh").args(["-c", line]).stdout(std::process::Stdio::null()).spawn();
        let pidfd = open(child.expect("sh exists").id() as i32).expect("not reaped yet");
        wait_for_end(&[pidfd.as_fd()], None).expect("poll");
        let usage = try_reap(&pidfd).expect("ours").expect("ended").usage.expect("known");
        assert!(usage.rss_peak_bytes > 60 << 20, "{usage:?}");
        assert!(usage.user_us + usage.system_us > 0, "{usage:?}");
    }

    #[test]
    fn no_process_has_the_largest_number() {
        let error = open(i32::MAX).expect_err("pid_max is lower");
        assert_eq!(error.to_string(), "pidfd_open: No such process");
    }
}
