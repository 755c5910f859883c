//! `ingot logs`: a task's stdout or stderr, once or as it grows.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail};

use crate::Cluster;
use crate::sandbox::{Sandbox, Tail, Task};

/// What of which task.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The task's id, as `ingot tasks` lists it.
    task: String,
    /// Go on until the task has ended.
    #[arg(long, short)]
    follow: bool,
    /// Its stderr, not its stdout.
    #[arg(long)]
    stderr: bool,
}

/// How often a growing file is looked at: an eye does not see it sooner, and a master of many watchers is not asked
/// too often.
pub(crate) const LOOK_AGAIN: Duration = Duration::from_millis(500);

pub(crate) async fn run(cluster: &Cluster, args: &Args) -> Result<ExitCode> {
    let file = if args.stderr { "stderr" } else { "stdout" };
    let mut task = Task::find(cluster, &args.task).await?;
    let (mut sandbox, mut tail) = loop {
        if let Some(sandbox) = Sandbox::find(cluster, &task).await? {
            let tail = Tail::new(&sandbox, file);
            break (sandbox, tail);
        }
        if task.has_ended() || !args.follow {
            bail!("task {} ({}) has no sandbox", task.id, task.state);
        }
        tokio::time::sleep(LOOK_AGAIN).await;
        task = Task::find(cluster, &args.task).await?;
    };
    let mut out = std::io::stdout();
    loop {
        // Asked before the file is read, so that what is read after the end is all there is.
        let last = !args.follow || task.has_ended();
        tail.copy(&mut sandbox, &mut out).await?;
        if last {
            return Ok(ExitCode::SUCCESS);
        }
        tokio::time::sleep(LOOK_AGAIN).await;
        task = Task::find(cluster, &args.task).await?;
    }
}
