//! `cargo xtask up`: builds the daemons, the example and the command line, then becomes `ingot-up`, which runs them.
//!
//! Built in the development profile: it takes a fraction of the release build's time, and the tests use the same
//! artifacts. Who wants to measure says `--release`.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::sh;

/// What to run, and how to build it.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Stop everything after the job.
    #[arg(long)]
    once: bool,
    /// What to count: a file or a folder (default: the sources of all crates in Cargo's registry cache).
    #[arg(long)]
    input: Option<PathBuf>,
    /// The master's port on 127.0.0.1.
    #[arg(long, default_value_t = 5050)]
    master_port: u16,
    /// The agent's port on 127.0.0.1.
    #[arg(long, default_value_t = 5051)]
    agent_port: u16,
    /// Build optimised: minutes longer, the first time.
    #[arg(long)]
    release: bool,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let mut build = sh::cargo();
    build.args(["build", "--workspace", "--bins"]);
    if args.release {
        build.arg("--release");
    }
    sh::run(&mut build)?;
    let target = sh::target_dir()?;
    let program = target.join(if args.release { "release" } else { "debug" }).join("ingot-up");
    let mut up = Command::new(&program);
    up.arg("--folder").arg(target.join("up"));
    up.args(["--master-port", &args.master_port.to_string(), "--agent-port", &args.agent_port.to_string()]);
    if args.once {
        up.arg("--once");
    }
    if let Some(input) = &args.input {
        up.arg("--input").arg(input);
    }
    // Returns only if it could not be started: its process is now ours, and so is its Ctrl-C.
    Err(up.exec()).with_context(|| format!("cannot start {}", program.display()))
}
