//! `cargo xtask ci`: everything CI runs, in the order that finds a mistake soonest. All steps run even when one has
//! failed, so that one run of CI tells everything there is to mend.

#![expect(clippy::disallowed_methods, reason = "a shell: it tells how long each step took")]

use std::time::Instant;

use anyhow::{Result, bail};

use crate::{codegen, ebpf, instructions, sh, sim, test, tidy, vm};

/// Which part of CI to run.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Leave the tests out: they ran just before.
    #[arg(long)]
    no_test: bool,
}

type Step = (&'static str, fn() -> Result<()>);

const STEPS: &[Step] = &[
    ("formatting", || sh::run(sh::cargo().args(["fmt", "--all", "--check"]))),
    ("tidy", tidy::run),
    ("generated Cap'n Proto code", || codegen::run(&codegen::Args { check: true })),
    ("BPF object", || ebpf::run(&ebpf::Args { check: true })),
    ("clippy", clippy),
    ("instructions of hot paths", instructions::check),
    ("licenses, sources, bans", deny),
    ("seeds of simulated clusters", sim::check),
    ("faults and limits on other kernels", vm::check),
];

pub(crate) fn run(args: &Args) -> Result<()> {
    if !sh::everything_required() {
        sh::say("REQUIRE=all is not set: what cannot run here is skipped, as CI would not");
    }
    let mut failed = Vec::new();
    if !args.no_test {
        step("tests", || test::run(&test::Args::default()), &mut failed);
    }
    for (name, chore) in STEPS {
        step(name, chore, &mut failed);
    }
    if !failed.is_empty() {
        bail!("failed: {}", failed.join(", "));
    }
    Ok(())
}

fn step(name: &'static str, chore: impl FnOnce() -> Result<()>, failed: &mut Vec<&'static str>) {
    sh::say(&format!("--- {name}"));
    let started = Instant::now();
    let result = chore();
    let seconds = started.elapsed().as_secs();
    match result {
        Ok(()) => sh::say(&format!("--- {name}: ok, {seconds} s")),
        Err(error) => {
            eprintln!("--- {name}: FAILED after {seconds} s: {error:#}");
            failed.push(name);
        }
    }
}

fn clippy() -> Result<()> {
    sh::run(sh::cargo().args(["clippy", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"]))
}

/// cargo-deny takes minutes to build and its advisory database is not always within reach, so it runs where it is
/// installed and checks what needs no network.
fn deny() -> Result<()> {
    if !sh::works("cargo-deny", &["--version"]) {
        eprintln!("cargo-deny is not installed: not checked (cargo install --locked cargo-deny)");
        return Ok(());
    }
    sh::run(sh::cargo().args(["deny", "--offline", "check", "licenses", "bans", "sources"]))
}
