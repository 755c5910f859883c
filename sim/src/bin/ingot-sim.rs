//! `ingot-sim`: runs seeds of the one-thread clusters, a thread a processor; `--trace` prints what happens in one.

use anyhow::Context as _;
use clap::Parser as _;
use sim::seeded::plan::command;
use sim::seeded::{Outcome, Plan, run};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

#[derive(clap::Parser)]
#[command(about = "Runs whole clusters, each in one thread and from a seed; stops at the first broken law")]
struct Args {
    /// The seed to run.
    #[arg(long, conflicts_with = "seeds")]
    seed: Option<u64>,
    /// Seeds to run, A..B; B is not among them.
    #[arg(long, value_parser = range, default_value = "0..500")]
    seeds: std::ops::Range<u64>,
    /// Print what happens, with its virtual time in seconds.
    #[arg(long, requires = "seed")]
    trace: bool,
}

fn range(text: &str) -> anyhow::Result<std::ops::Range<u64>> {
    let (from, to) = text.split_once("..").context("two numbers, as in 0..500")?;
    Ok(from.parse()?..to.parse()?)
}

/// What several threads come to.
#[derive(Default)]
struct Total {
    next: AtomicU64,
    is_broken: AtomicBool,
    outcome: Mutex<Outcome>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let seeds = args.seed.map_or(args.seeds, |seed| seed..seed + 1);
    let total = Total { next: AtomicU64::new(seeds.start), ..Total::default() };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| work(&total, seeds.end, args.trace));
        }
    });
    println!("{} seeds: {:?}", seeds.end - seeds.start, total.outcome.into_inner().unwrap_or_default());
    if total.is_broken.into_inner() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn work(total: &Total, end: u64, trace: bool) {
    while !total.is_broken.load(Ordering::Relaxed) {
        let seed = total.next.fetch_add(1, Ordering::Relaxed);
        if seed >= end {
            return;
        }
        let plan = Plan { trace, ..Plan::from_seed(seed) };
        match catch_unwind(AssertUnwindSafe(|| run(&plan))) {
            Ok(Ok(outcome)) => total.outcome.lock().unwrap_or_else(|it| it.into_inner()).add(&outcome),
            Ok(Err(violation)) => {
                eprintln!("{violation}");
                total.is_broken.store(true, Ordering::Relaxed);
            }
            Err(_) => {
                eprintln!("seed {seed}: a core's own assertion failed, see above\nagain: {}", command(seed));
                total.is_broken.store(true, Ordering::Relaxed);
            }
        }
    }
}
