//! Loads whose speed is compared: each runs for a time and then says how much it has done in how many nanoseconds.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

const BLOCK_BYTES: usize = 64 << 10;
/// What a compiler of one file may have in memory.
const UNIT_BYTES: usize = 8 << 20;
/// Rounds over it: some ten milliseconds.
const UNIT_ROUNDS: u32 = 2;

fn say(done: u64, start: Instant) -> anyhow::Result<()> {
    Ok(writeln!(std::io::stdout(), "{done} {}", start.elapsed().as_nanos())?)
}

/// Two processes on one CPU hand each other a byte through pipes: nothing but switches. Done: round trips.
pub(super) fn ping(time: Duration) -> anyhow::Result<()> {
    let here = sched_getaffinity(Pid::from_raw(0))?;
    let cpu = (0..CpuSet::count()).find(|cpu| here.is_set(*cpu).unwrap_or(false)).context("no CPU")?;
    let mut one = CpuSet::new();
    one.set(cpu)?;
    // The other inherits it.
    sched_setaffinity(Pid::from_raw(0), &one)?;
    let mut other = Command::new(std::env::current_exe()?)
        .args(["workload", "pong"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let (mut to, mut from) = (other.stdin.take().context("piped")?, other.stdout.take().context("piped")?);
    let mut round = || to.write_all(&[1]).and_then(|()| from.read_exact(&mut [0]));
    // Until it is there.
    round()?;
    let (start, mut done) = (Instant::now(), 0);
    while start.elapsed() < time {
        for _ in 0..64 {
            round()?;
        }
        done += 64;
    }
    say(done, start)?;
    drop(to);
    ensure!(other.wait()?.success(), "pong fails");
    Ok(())
}

/// Gives back every byte until there is none.
pub(super) fn pong() -> anyhow::Result<()> {
    let (mut from, mut to) = (
        std::fs::File::from(nix::unistd::dup(std::io::stdin())?),
        std::fs::File::from(nix::unistd::dup(std::io::stdout())?),
    );
    let mut byte = [0];
    while from.read(&mut byte)? == 1 {
        to.write_all(&byte)?;
    }
    Ok(())
}

/// A TCP transfer over loopback, both ends here. Done: bytes received.
pub(super) fn stream(time: Duration) -> anyhow::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let mut sends = TcpStream::connect(listener.local_addr()?)?;
    let (mut receives, _) = listener.accept()?;
    let sender = std::thread::spawn(move || {
        let block = vec![7; BLOCK_BYTES];
        // Until the other end is closed.
        while sends.write_all(&block).is_ok() {}
    });
    let mut block = vec![0; BLOCK_BYTES];
    let (start, mut done) = (Instant::now(), 0);
    while start.elapsed() < time {
        done += receives.read(&mut block)? as u64;
    }
    say(done, start)?;
    drop(receives);
    sender.join().expect("it does not panic");
    Ok(())
}

/// Datagrams of one byte over loopback, sent and read in turn. Done: datagrams.
pub(super) fn datagrams(time: Duration) -> anyhow::Result<()> {
    let (sends, receives) =
        (UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?, UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?);
    sends.connect(receives.local_addr()?)?;
    let (start, mut done) = (Instant::now(), 0);
    while start.elapsed() < time {
        sends.send(&[1])?;
        receives.recv(&mut [0; 2])?;
        done += 1;
    }
    say(done, start)
}

/// Like a compiler under `make -j`: processes that each read a file, work in memory for some ten milliseconds, write a
/// file, and start another short process. Done: units.
pub(super) fn compile(time: Duration) -> anyhow::Result<()> {
    let done = AtomicU64::new(0);
    let start = Instant::now();
    let program = std::env::current_exe()?;
    let jobs = || -> anyhow::Result<()> {
        while start.elapsed() < time {
            let status = Command::new(&program).args(["workload", "unit"]).status()?;
            ensure!(status.success(), "a unit fails");
            done.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let count = std::thread::available_parallelism().map_or(1, usize::from);
        let all: Vec<_> = (0..count).map(|_| scope.spawn(jobs)).collect();
        all.into_iter().try_for_each(|it| it.join().expect("it does not panic"))
    })?;
    say(done.into_inner(), start)
}

/// One unit of [`compile`]: always the same work.
pub(super) fn unit() -> anyhow::Result<()> {
    let mut source = vec![0; 1 << 20];
    std::fs::File::open("/proc/self/exe")?.read_exact(&mut source)?;
    let mut memory = vec![0_u64; UNIT_BYTES / size_of::<u64>()];
    let mut random = u64::from_ne_bytes(source[..8].try_into().expect("8 bytes")) | 1;
    for _ in 0..UNIT_ROUNDS {
        for at in 0..memory.len() / 8 {
            // xorshift64 (Marsaglia, 2003).
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let place = random as usize % memory.len();
            memory[place] = memory[at].wrapping_add(random);
        }
    }
    memory.truncate(16 << 10);
    memory.sort_unstable();
    let mut object = tempfile()?;
    memory.iter().try_for_each(|word| object.write_all(&word.to_ne_bytes()))?;
    ensure!(Command::new("/bin/true").status()?.success(), "/bin/true fails");
    Ok(())
}

/// A buffered file that has no name any more.
fn tempfile() -> anyhow::Result<std::io::BufWriter<std::fs::File>> {
    let path = std::env::temp_dir().join(format!("ingot-bench-{}", std::process::id()));
    let file = std::fs::File::create_new(&path)?;
    std::fs::remove_file(&path)?;
    Ok(std::io::BufWriter::new(file))
}
