//! A process that grows, forks and shrinks. At each step it says where it is and waits to be told to go on.
#![expect(unsafe_code, reason = "a fork that shares its memory with its parent is not to be had without")]

use std::io::{BufRead, Write};

use anyhow::Context;
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, fork, pipe, read};

const MIB: usize = 1 << 20;
/// Threads that grow side by side, so that the kernel puts off counting on several CPUs.
const THREADS: usize = 4;

pub(super) fn grow(mib: usize) -> anyhow::Result<()> {
    step("start")?;
    // 128 KiB and more are mappings of their own, which their drop unmaps.
    let whole = touched(mib * MIB);
    step("grown in one piece")?;
    let mut pieces: Vec<Vec<u8>> = (0..mib).map(|_| touched(MIB)).collect();
    step("grown in many pieces")?;
    let by_threads = std::thread::scope(|scope| {
        let grow = || touched(mib * MIB / THREADS);
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(grow)).collect();
        threads.into_iter().map(|it| it.join().expect("touching memory does not panic")).collect::<Vec<_>>()
    });
    step("grown by threads")?;
    forked(whole)?;
    pieces.truncate(mib / 2);
    step("half of the pieces unmapped")?;
    drop((pieces, by_threads));
    step("all unmapped")?;
    let _again = touched(mib * MIB);
    step("grown again")?;
    say("done")
}

/// The memory shared with a child, then half of it made its own, then the child gone.
fn forked(mut whole: Vec<u8>) -> anyhow::Result<()> {
    let (child_waits, parent_lets_go) = pipe()?;
    let (parent_waits, child_is_ready) = pipe()?;
    // SAFETY: this process has one thread now. The child writes to memory that is there, and makes raw calls only.
    let child = match unsafe { fork() }? {
        ForkResult::Child => {
            drop((parent_lets_go, parent_waits));
            let wait = || matches!(read(&child_waits, &mut [0]), Ok(1));
            let _ = nix::unistd::write(&child_is_ready, &[0]);
            if wait() {
                let half = whole.len() / 2;
                touch(&mut whole[..half]);
                let _ = nix::unistd::write(&child_is_ready, &[0]);
                wait();
            }
            // SAFETY: ends this process without running what the parent has registered for its own end.
            unsafe { libc::_exit(0) }
        }
        ForkResult::Parent { child } => child,
    };
    drop((child_waits, child_is_ready));
    let ready = || read(&parent_waits, &mut [0]).context("the child is gone");
    ready()?;
    step("forked")?;
    nix::unistd::write(&parent_lets_go, &[0])?;
    ready()?;
    step("the child has written to half")?;
    drop(parent_lets_go);
    waitpid(child, None)?;
    step("the child gone")
}

/// So many bytes, all of them resident.
fn touched(bytes: usize) -> Vec<u8> {
    let mut memory = vec![0; bytes];
    touch(&mut memory);
    memory
}

fn touch(memory: &mut [u8]) {
    memory.iter_mut().step_by(4096).for_each(|byte| *byte = byte.wrapping_add(1));
    std::hint::black_box(memory);
}

fn step(name: &str) -> anyhow::Result<()> {
    say(name)?;
    std::io::stdin().lock().read_line(&mut String::new())?;
    Ok(())
}

fn say(line: &str) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{line}")?;
    Ok(stdout.flush()?)
}
