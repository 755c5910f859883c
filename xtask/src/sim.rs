//! `cargo xtask sim`: whole clusters in one thread, each from a seed (docs/simulation.md). Built optimised, with the
//! checks of the development profile: the cores' own assertions are part of what is looked at.

use anyhow::{Context, Result, bail};
use std::process::Command;

use crate::sh;

/// Seeds that CI runs.
const CI_SEEDS: std::ops::Range<u64> = 0..500;

/// Which seeds to run.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// One seed.
    #[arg(long, conflicts_with = "seeds")]
    seed: Option<u64>,
    /// Seeds A..B; B is not among them. Default: what CI runs, 0..500.
    #[arg(long)]
    seeds: Option<String>,
    /// Print what happens, with its virtual time in seconds.
    #[arg(long)]
    trace: bool,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    sh::run(sh::cargo().args(["build", "--package", "sim", "--bin", "ingot-sim", "--profile", "sim"]))?;
    let program = sh::target_dir()?.join("sim").join("ingot-sim");
    let mut sim = Command::new(&program);
    match args.seed {
        Some(seed) => sim.args(["--seed", &seed.to_string()]),
        None => {
            let (from, to) = (CI_SEEDS.start, CI_SEEDS.end);
            sim.args(["--seeds", &args.seeds.clone().unwrap_or_else(|| format!("{from}..{to}"))])
        }
    };
    if args.trace {
        sim.arg("--trace");
    }
    let status = sim.status().with_context(|| format!("cannot start {}", program.display()))?;
    if !status.success() {
        bail!("a law is broken: see above");
    }
    Ok(())
}

pub(crate) fn check() -> Result<()> {
    run(&Args { seed: None, seeds: None, trace: false })
}
