//! `cargo xtask failover`: the tests with masters that die, at full counts. In `cargo xtask test` they run with few.

use anyhow::Result;

use crate::{needs, sh};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// How often the leading master is killed, of three around a ZooKeeper.
    #[arg(long, default_value_t = 20)]
    kills: u32,
    /// Tasks that run meanwhile.
    #[arg(long, default_value_t = 100)]
    tasks: u32,
    /// How often a master with its registry in a file is killed, under load.
    #[arg(long, default_value_t = 200)]
    crashes: u32,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    needs::provide()?;
    sh::run(sh::cargo().args(["build", "--workspace", "--bins"]))?;
    for package in ["master", "sim"] {
        let mut test = sh::cargo();
        test.args(["test", "--package", package, "--test", "failover", "--", "--nocapture"]);
        test.env("INGOT_TEST_BIN_DIR", sh::target_dir()?.join("debug"));
        test.env("INGOT_FAILOVER_KILLS", args.kills.to_string());
        test.env("INGOT_FAILOVER_TASKS", args.tasks.to_string());
        test.env("INGOT_FAILOVER_CRASHES", args.crashes.to_string());
        sh::run(&mut test)?;
    }
    Ok(())
}
