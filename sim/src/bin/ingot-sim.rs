//! `ingot-sim`: runs seeds of the one-thread cluster; `--trace` prints what happens in it.

use clap::Parser as _;
use sim::seeded::{Plan, run};

#[derive(clap::Parser)]
#[command(about = "Runs whole clusters in one thread, each from a seed; stops at the first broken law")]
struct Args {
    /// The seed to run, or the first of several.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// How many seeds to run, counting up.
    #[arg(long, default_value_t = 1)]
    count: u64,
    /// Print what happens, with its virtual time in seconds.
    #[arg(long)]
    trace: bool,
}

fn main() {
    let args = Args::parse();
    for seed in args.seed..args.seed + args.count {
        let outcome = run(&Plan { trace: args.trace, ..Plan::from_seed(seed) });
        println!("seed {seed}: {outcome:?}");
    }
}
