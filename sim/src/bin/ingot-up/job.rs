//! The example job, run by its own program, and the table of its tasks, printed by `ingot`.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use sim::processes::Cluster;
use tokio::process::Command;

/// Runs the job to its end; fails with the daemons' logs if it or one of them fails.
pub(crate) async fn run(cluster: &mut Cluster, programs: &Path, input: Option<&Path>) -> Result<()> {
    let mut command = Command::new(programs.join("wordcount"));
    command.args(["scheduler", "--top", "10", "--master", &cluster.master().to_string()]);
    if let Some(input) = input {
        command.arg("--input").arg(input);
    }
    // Interrupted, it is killed; its framework ends with its agent, a moment later.
    let mut job = command.kill_on_drop(true).spawn().context("cannot start wordcount")?;
    loop {
        tokio::select! {
            status = job.wait() => {
                let status = status.context("cannot wait for wordcount")?;
                if !status.success() {
                    bail!("the job failed: {status}\n{}", cluster.logs());
                }
                return Ok(());
            }
            () = tokio::time::sleep(Duration::from_millis(200)) => cluster.check()?,
        }
    }
}

/// Prints the table on stdout.
pub(crate) fn table(cluster: &Cluster, programs: &Path) -> Result<()> {
    let mut command = std::process::Command::new(programs.join("ingot"));
    let status = command.args(["tasks", "--master", &cluster.master().to_string()]).status();
    let status = status.context("cannot start ingot")?;
    anyhow::ensure!(status.success(), "`ingot tasks` failed: {status}");
    Ok(())
}
