//! The first process of every container: makes itself and the program's process what the agent's spec says (`spec.rs`), runs
//! the program, passes signals on to it, reaps whatever the container leaves behind, and writes down how the program ended
//! (`record.rs`), so that an agent that was away meanwhile knows. It holds nothing of the agent's and needs nothing of it.
//!
//! It is a program of its own, without a standard library: the agent carries it in itself (`agent/build.rs` compiles it) and
//! runs it from memory. A container pays a stack page or two for it, and it cannot be replaced or deleted under a running
//! one. What it makes of itself, namespaces, mounts, capabilities, filters, are steps (see `spec.rs`, `mount.rs`, `confine.rs`).
//!
//! Nothing here allocates, and nothing may panic: there would be nobody to tell.
#![no_std]
#![no_main]
#![deny(warnings, unsafe_op_in_unsafe_fn)]

mod confine;
mod kernel;
mod mount;
#[allow(dead_code, reason = "the other half is the agent's")]
mod record;
#[allow(dead_code, reason = "the other half is the agent's")]
mod spec;

use core::ffi::CStr;
use kernel::Errno;
use mount::Slots;
use record::Record;
use spec::{Exec, KEEP_FD, RECORD_FD, REPORT_FD, Report, SPEC_FD, Steps, Tag};

/// What a shell calls a program that could not be run.
const NOT_RUN: i32 = 127;
/// Added to a signal's number, for whoever looks only at how init itself ended.
const SIGNALLED: i32 = 128;

/// Where `_start` leads.
extern "C" fn init_main() -> ! {
    kernel::set_name(c"ingot-init");
    // What was ignored stays so through an exec, and a task must not inherit what the agent ignores.
    kernel::reset_signals();
    let _ = kernel::block_signals(u64::MAX);
    for fd in [SPEC_FD, REPORT_FD, RECORD_FD, KEEP_FD] {
        let _ = kernel::set_close_on_exec(fd);
    }
    let report = run();
    kernel::write(REPORT_FD, &report.encode());
    kernel::exit(NOT_RUN)
}

/// Does the steps. Comes back only with what failed: in the program's process, or in init before there is one.
fn run() -> Report {
    let mut place = 0;
    let senseless = Report { tag: 0, errno: kernel::EINVAL, place };
    let Ok(bytes) = kernel::map(SPEC_FD) else { return senseless };
    kernel::close(SPEC_FD);
    let (begin, length) = (bytes.as_mut_ptr(), bytes.len());
    let Some(mut steps) = Steps::of(bytes) else { return senseless };
    let mut held = Held { init: kernel::pid(), slots: Slots::new() };
    while let Some(step) = steps.next() {
        let Some((tag, payload)) = step else { return senseless };
        let failed = |errno| Report { tag: tag as u32, errno, place };
        if tag == Tag::Fork {
            // Not before: what becomes a program itself has no orphans to adopt.
            kernel::adopt_orphans();
            match kernel::fork() {
                Ok(0) => {}
                Ok(program) => {
                    // SAFETY: `steps` is not used again: this process never comes back from here.
                    unsafe { kernel::unmap(begin, length) };
                    supervise(program)
                }
                Err(errno) => return failed(errno),
            }
        } else if let Err(errno) = take(tag, payload, &mut held) {
            return failed(errno);
        }
        place += 1;
    }
    senseless
}

/// What one step leaves for a later one.
struct Held {
    /// The process that forks.
    init: usize,
    slots: Slots,
}

/// One step.
fn take(tag: Tag, payload: &mut [u8], held: &mut Held) -> Result<(), Errno> {
    let number = || spec::only_number(payload).map(|number| number as usize).ok_or(kernel::EINVAL);
    let text = || CStr::from_bytes_until_nul(payload).map_err(|_| kernel::EINVAL);
    match tag {
        Tag::Session => kernel::setsid().map(drop),
        Tag::Terminal => kernel::make_controlling(0).map(drop),
        Tag::Umask => number().map(kernel::umask),
        Tag::Chdir => kernel::chdir(text()?).map(drop),
        Tag::Groups => kernel::setgroups(payload).map(drop),
        Tag::Gid => number().and_then(kernel::setresgid).map(drop),
        Tag::Uid => number().and_then(kernel::setresuid).map(drop),
        Tag::DieWithInit => {
            kernel::die_with_parent()?;
            // It may have died before it was asked for. Zero is one that is not of our PID namespace; when that one dies we
            // are somebody's of it.
            if [held.init, 0].contains(&kernel::parent()) { Ok(()) } else { Err(kernel::ESRCH) }
        }
        Tag::Signals => kernel::block_signals(0).map(drop),
        Tag::Exec => Err(spec::relocate(payload).map_or(kernel::EINVAL, |exec| execute(&exec))),
        Tag::Enter => confine::enter(payload),
        Tag::Unshare => number().and_then(confine::unshare),
        Tag::Await => confine::wait(),
        Tag::Propagation => number().and_then(mount::propagation),
        Tag::Mount => mount::mount(payload),
        Tag::Tree => mount::tree(payload, &mut held.slots),
        Tag::Filesystem => mount::filesystem(payload, &mut held.slots),
        Tag::Attach => mount::attach(payload, &mut held.slots),
        Tag::Pivot => mount::pivot(text()?),
        Tag::Symlink => mount::symlink(payload),
        Tag::Mask => mount::mask(text()?),
        Tag::ReadOnly => mount::read_only(text()?),
        Tag::Hostname => confine::hostname(text()?),
        Tag::Loopback => confine::loopback(),
        Tag::Rlimit => confine::rlimit(payload),
        Tag::Bounding => spec::only_number(payload).ok_or(kernel::EINVAL).and_then(confine::bounding),
        Tag::KeepCapabilities => confine::keep_capabilities(),
        Tag::Capabilities => confine::capabilities(payload),
        Tag::NoNewPrivileges => confine::no_new_privileges(),
        Tag::Seccomp => confine::seccomp(payload),
        // `run` does it.
        Tag::Fork => Err(kernel::EINVAL),
    }
}

/// Tries each program in turn by `execvp`'s rules; returns the errno to report when none could be run.
fn execute(exec: &Exec) -> Errno {
    let mut worst = kernel::ENOENT;
    let mut program = exec.programs;
    // SAFETY: `relocate` vouches for the arrays: each ends with a null, the texts in them with a NUL; `script_args` has at
    // least three places, the first two of which are the shell and a place for the program. All is this process's own copy.
    unsafe {
        while !(*program).is_null() {
            let mut errno = kernel::execve(*program, exec.args, exec.env);
            if errno == kernel::ENOEXEC {
                exec.script_args.add(1).write(*program);
                errno = kernel::execve(*exec.script_args, exec.script_args.cast_const(), exec.env);
            }
            match errno {
                kernel::ENOENT | kernel::ENOTDIR | kernel::ESTALE | kernel::ENODEV => {}
                // Another folder may have one that may be run; if none has, this is the better answer.
                kernel::EACCES => worst = errno,
                errno => return errno,
            }
            program = program.add(1);
        }
    }
    worst
}

/// The rest of init's life.
fn supervise(program: usize) -> ! {
    // Whoever reads what the program writes must see the end of it when the program has closed it.
    for fd in [0, 1, 2, REPORT_FD] {
        kernel::close(fd);
    }
    loop {
        match kernel::next_signal() {
            Ok(kernel::SIGCHLD) => {
                while let Some((pid, status)) = kernel::reap() {
                    if pid == program {
                        finish(status);
                    }
                }
            }
            Ok(signal) => kernel::kill(program, signal),
            Err(kernel::EINTR) => {}
            Err(errno) => kernel::exit(errno),
        }
    }
}

/// Writes down how the program ended, and ends. The record is the truth; init's own status is for who watches processes.
fn finish(wait_status: i32) -> ! {
    let usage = kernel::Usage::of_children();
    let record = Record {
        wait_status,
        user_us: usage.user_us(),
        system_us: usage.system_us(),
        rss_peak_bytes: usage.rss_peak_bytes(),
        ended_unix_us: kernel::unix_us(),
    };
    let bytes = record.encode();
    while kernel::overwrite(RECORD_FD, &bytes) == Err(kernel::EINTR) {}
    let signal = wait_status & 0x7f;
    kernel::exit(if signal == 0 { wait_status >> 8 & 0xff } else { SIGNALLED + signal })
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    kernel::exit(NOT_RUN)
}
