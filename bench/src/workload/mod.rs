//! What runs inside the measured containers: this same binary, so that nothing else has to be installed. A workload
//! says what it has to say in lines on stdout, and waits, where it does, for a line on stdin.
#![expect(clippy::disallowed_methods, reason = "a workload is something that runs for a time")]

mod grow;
mod load;
mod serve;
pub(crate) mod transfer;

use std::net::{Ipv4Addr, SocketAddrV4};
use std::process::Command;
use std::time::{Duration, Instant};

#[derive(clap::Subcommand)]
pub(crate) enum Workload {
    /// Threads that never wait.
    Busy {
        #[arg(long)]
        threads: u32,
        #[arg(long)]
        ms: u64,
    },
    /// A thread that works and sleeps in turn.
    Doze {
        #[arg(long)]
        work_us: u64,
        #[arg(long)]
        sleep_us: u64,
        #[arg(long)]
        ms: u64,
    },
    /// One process after another, each living for a millisecond.
    Forks {
        #[arg(long)]
        ms: u64,
    },
    /// A process that grows, forks and shrinks, step by step.
    Grow {
        #[arg(long)]
        mib: usize,
    },
    /// Listens, says on which port, and takes one transfer.
    Receive {
        #[arg(long)]
        address: Ipv4Addr,
        #[command(flatten)]
        end: transfer::End,
    },
    Send {
        #[arg(long)]
        to: SocketAddrV4,
        #[arg(long)]
        abrupt: bool,
        #[command(flatten)]
        end: transfer::End,
    },
    /// A byte to and fro between two processes on one CPU.
    Ping {
        #[arg(long)]
        ms: u64,
    },
    Pong,
    /// A TCP transfer over loopback, both ends in one process.
    Stream {
        #[arg(long)]
        ms: u64,
    },
    /// Small datagrams over loopback, both ends in one process.
    Datagrams {
        #[arg(long)]
        ms: u64,
    },
    /// Processes such as a compiler and its driver start.
    Compile {
        #[arg(long)]
        ms: u64,
    },
    Unit,
    /// Calls, and answers bytes by bytes after some work.
    Serve {
        #[arg(long)]
        to: SocketAddrV4,
        #[arg(long)]
        work_us: u64,
    },
    /// Calls, and keeps all CPUs busy when told to.
    Burst {
        #[arg(long)]
        to: SocketAddrV4,
    },
}

pub(crate) fn run(workload: Workload) -> anyhow::Result<()> {
    let ms = Duration::from_millis;
    match workload {
        Workload::Busy { threads, ms: time } => busy(threads, ms(time)),
        Workload::Doze { work_us, sleep_us, ms: time } => {
            doze(Duration::from_micros(work_us), Duration::from_micros(sleep_us), ms(time));
        }
        Workload::Forks { ms: time } => forks(ms(time))?,
        Workload::Grow { mib } => grow::grow(mib)?,
        Workload::Ping { ms: time } => load::ping(ms(time))?,
        Workload::Pong => load::pong()?,
        Workload::Stream { ms: time } => load::stream(ms(time))?,
        Workload::Datagrams { ms: time } => load::datagrams(ms(time))?,
        Workload::Compile { ms: time } => load::compile(ms(time))?,
        Workload::Serve { to, work_us } => serve::serve(to, Duration::from_micros(work_us))?,
        Workload::Burst { to } => serve::burst(to)?,
        Workload::Unit => load::unit()?,
        Workload::Receive { address, end } => transfer::receive(&end, address)?,
        Workload::Send { to, abrupt, end } => transfer::send(&end, to, abrupt)?,
    }
    Ok(())
}

fn spin(time: Duration) {
    let start = Instant::now();
    while start.elapsed() < time {
        std::hint::black_box(start);
    }
}

fn busy(threads: u32, time: Duration) {
    std::thread::scope(|scope| {
        (0..threads).for_each(|_| {
            scope.spawn(|| spin(time));
        });
    });
}

fn doze(work: Duration, sleep: Duration, time: Duration) {
    let start = Instant::now();
    while start.elapsed() < time {
        spin(work);
        std::thread::sleep(sleep);
    }
}

fn forks(time: Duration) -> anyhow::Result<()> {
    let start = Instant::now();
    while start.elapsed() < time {
        anyhow::ensure!(Command::new("/bin/true").status()?.success(), "/bin/true fails");
    }
    Ok(())
}
