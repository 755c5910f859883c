//! `ingot update-limits`: what a running task may use, changed on its agent. What is promised to it stays: that was offered and
//! accepted.

use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value, json};

use crate::Cluster;
use crate::sandbox::{Sandbox, Task};

/// Which task, and what of it. A limit is a number, "unlimited", or "default": what follows from what the task was given. They
/// hold for the task's container, which it may share with others of its executor.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The task's id, as `ingot tasks` lists it.
    task: String,
    /// CPUs.
    #[arg(long, value_name = "CPUS")]
    cpu_limit: Option<Limit>,
    /// Memory, MiB; refused below what is in use and cannot be reclaimed.
    #[arg(long, value_name = "MIB")]
    mem_limit: Option<Limit>,
    /// Processes and threads.
    #[arg(long, value_name = "COUNT")]
    pids_limit: Option<Limit>,
    /// What it sends, MiB a second.
    #[arg(long, value_name = "MIB")]
    egress_limit: Option<Limit>,
    /// Speed on a block device, such as '8:0 rbps=1048576 wiops=120', or "default" for all devices; may be repeated.
    #[arg(long, value_name = "LINE")]
    io: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Limit {
    Default,
    Unlimited,
    At(f64),
}

impl std::str::FromStr for Limit {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "default" => Ok(Self::Default),
            "unlimited" => Ok(Self::Unlimited),
            number => match number.parse::<f64>() {
                Ok(at) if at.is_finite() && at > 0.0 => Ok(Self::At(at)),
                _ => Err("expected a number above zero, unlimited, or default"),
            },
        }
    }
}

pub(crate) async fn run(cluster: &Cluster, args: &Args) -> Result<ExitCode> {
    let task = Task::find(cluster, &args.task).await?;
    if task.has_ended() {
        bail!("task {} has ended ({})", task.id, task.state);
    }
    let sandbox = Sandbox::find(cluster, &task).await?;
    let mut sandbox =
        sandbox.with_context(|| format!("task {} does not run yet ({})", task.id, task.state))?;
    let call = call(args, sandbox.container_id());
    sandbox.agent.call("/slave(1)/api/v1", &call).await?;
    Ok(ExitCode::SUCCESS)
}

fn call(args: &Args, container_id: &str) -> Value {
    let given = [
        ("cpus", args.cpu_limit),
        ("mem", args.mem_limit),
        ("pids", args.pids_limit),
        ("egress_bandwidth", args.egress_limit),
    ];
    let (mut limits, mut unset) = (Map::new(), Vec::new());
    for (name, limit) in given {
        match limit {
            None => {}
            Some(Limit::Default) => unset.push(name),
            Some(Limit::Unlimited) => _ = limits.insert(name.to_owned(), json!({"value": "Infinity"})),
            Some(Limit::At(at)) => _ = limits.insert(name.to_owned(), json!({"value": at})),
        }
    }
    unset.extend(args.io.iter().any(|line| line == "default").then_some("io_max"));
    let lines: Vec<&String> = args.io.iter().filter(|line| *line != "default").collect();
    json!({
        "type": "UPDATE_CONTAINER_LIMITS",
        "update_container_limits": {
            "container_id": {"value": container_id}, "limits": limits, "unset": unset, "io_max": lines,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    #[test]
    fn flags_become_a_call() {
        let line = ["x", "t", "--cpu-limit=1.5", "--mem-limit=unlimited", "--pids-limit=default"];
        let io = ["--io=8:0 rbps=1", "--io=default"];
        let args = Line::try_parse_from(line.into_iter().chain(io)).expect("good").args;
        let expect = json!({
            "container_id": {"value": "c"}, "limits": {"cpus": {"value": 1.5}, "mem": {"value": "Infinity"}},
            "unset": ["pids", "io_max"], "io_max": ["8:0 rbps=1"],
        });
        assert_eq!(call(&args, "c")["update_container_limits"], expect);
        for bad in ["0", "-1", "inf", "x"] {
            assert!(Line::try_parse_from(["x", "t", &format!("--cpu-limit={bad}")]).is_err(), "{bad}");
        }
    }
}
