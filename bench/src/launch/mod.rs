//! How fast one agent launches, what a container costs, and how soon a killed agent is back: real master, real agent, real
//! command tasks with checkpoints, a framework over HTTP, all on this machine.

mod framework;
mod memory;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::json;
use sim::processes::{Cluster, Options, Ports, agent_cgroup};

use self::framework::{Framework, Until, Wave};
use self::memory::Memory;
use crate::clock::{self, Times};
use crate::daemons;
use crate::report::{Better, Goal, Report};

const THROUGHPUT: Goal = Goal {
    name: "1,000 `true` containers, from the first ACCEPT to the last TASK_FINISHED",
    unit: "s",
    better: Better::Lower,
    bar: 10.0,
};
const LATENCY: Goal = Goal {
    name: "median from ACCEPT to TASK_RUNNING, one launch at a time",
    unit: "ms",
    better: Better::Lower,
    bar: 15.0,
};
const RESTART: Goal = Goal {
    name: "killed agent with 1,000 live containers, from its start to re-registered",
    unit: "s",
    better: Better::Lower,
    bar: 2.0,
};
const MEMORY: Goal = Goal {
    name: "memory of a container besides its task (PSS of init and executor)",
    unit: "MiB",
    better: Better::Lower,
    bar: 1.5,
};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Containers at a time.
    #[arg(long, default_value_t = 1_000)]
    containers: usize,
    /// Launches one by one.
    #[arg(long, default_value_t = 100)]
    single: usize,
    /// A folder for the agent's work, on the disk that is to be measured; a temporary one if left out.
    #[arg(long)]
    folder: Option<PathBuf>,
}

/// Until what has been stirred up has settled.
const SETTLE: Duration = Duration::from_secs(3);
/// For an agent to come back.
const RETURN_MAX: Duration = Duration::from_secs(60);
/// How often the agent is looked at while it comes back: the resolution of that figure.
const LOOK_AGAIN: Duration = Duration::from_millis(2);

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<Report> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(measure(arguments))
}

async fn measure(arguments: &Arguments) -> anyhow::Result<Report> {
    let mut report = Report::new("launch");
    let folder = tempfile_in(arguments.folder.as_deref())?;
    let options = Options {
        programs: daemons::programs()?,
        folder: Some(folder.clone()),
        ports: Ports::Free,
        agents: 1,
        resources: "cpus:4000;mem:640000;disk:64000;ports:[31000-32000]".to_owned(),
        master_flags: Vec::new(),
        agent_flags: Vec::new(),
    };
    let mut cluster = Cluster::start(options).await?;
    let measured = measure_on(&mut cluster, arguments, &mut report).await;
    if measured.is_err() {
        eprintln!("{}", cluster.logs());
    }
    // Not asked to end: a thousand containers take longer than that waits for.
    drop(cluster);
    let _ = std::fs::remove_dir_all(&folder);
    measured.map(|()| report)
}

async fn measure_on(cluster: &mut Cluster, arguments: &Arguments, report: &mut Report) -> anyhow::Result<()> {
    let mut framework = Framework::subscribe(cluster.master().clone())?;
    one_by_one(&mut framework, arguments.single, report).await?;
    all_at_once(cluster, &mut framework, arguments.containers, report).await?;
    framework.rest(SETTLE).await?;
    stay(cluster, &mut framework, arguments.containers, report).await?;
    restart(cluster, &mut framework, arguments.containers, report).await
}

async fn one_by_one(framework: &mut Framework, count: usize, report: &mut Report) -> anyhow::Result<()> {
    let mut times = Times::with_capacity(count);
    for _ in 0..count {
        let wave = framework.wave(1, &["/bin/true"], Until::Finished).await?;
        running_times(&wave).for_each(|time| times.add(time));
    }
    let times = times.sorted();
    report.goal(&LATENCY, Ok(times.us(500) / 1000.0));
    report.detail("accept_to_running_one_by_one", times.summary());
    Ok(())
}

async fn all_at_once(
    cluster: &Cluster,
    framework: &mut Framework,
    count: usize,
    report: &mut Report,
) -> anyhow::Result<()> {
    let agent = cluster.agent_process(0).context("the agent has ended")?;
    let (began, cpu, machine) = (clock::now(), clock::cpu_of_process(agent)?, machine_cpu());
    let wave = framework.wave(count, &["/bin/true"], Until::Finished).await?;
    let first = wave.tasks.values().map(|told| told.accepted).min().unwrap_or(began);
    let last = wave.tasks.values().filter_map(|told| told.ended).max().unwrap_or(began);
    let mut times = Times::with_capacity(count);
    running_times(&wave).for_each(|time| times.add(time));
    report.goal(&THROUGHPUT, at_full(count, last - first));
    report.detail("accept_to_running_all_at_once", times.sorted().summary());
    let agent_cpu = clock::cpu_of_process(agent)? - cpu;
    report.detail(
        "cpu_s_of_all_at_once",
        json!({ "agent": agent_cpu.as_secs_f64(), "machine": machine_cpu() - machine }),
    );
    Ok(())
}

/// Containers that live on, and what they cost.
async fn stay(
    cluster: &Cluster,
    framework: &mut Framework,
    count: usize,
    report: &mut Report,
) -> anyhow::Result<()> {
    let agent = cluster.agent_process(0).context("the agent has ended")?;
    let status = format!("/proc/{agent}/status");
    let outside = || Ok::<_, anyhow::Error>([memory::kernel_bytes()?, clock::bytes_in(&status, "VmRSS")?]);
    let before = outside()?;
    let began = clock::now();
    framework.wave(count, &["/bin/sleep", "100000"], Until::Running).await?;
    report.detail("sleepers_running_s", (clock::now() - began).as_secs_f64());
    framework.rest(SETTLE).await?;
    let group = agent_cgroup(cluster.agent(0).port).context("no cgroup v2 hierarchy")?;
    let used = Memory::below(&group)?;
    if used.inits.count < count || used.executors.count < count {
        bail!("{} inits and {} executors of {count} containers", used.inits.count, used.executors.count);
    }
    report.goal(&MEMORY, Ok(used.pss_bytes() as f64 / count as f64 / f64::from(1 << 20)));
    let after = outside()?;
    let each = |at: usize| after[at].saturating_sub(before[at]) as f64 / 1024.0 / count as f64;
    report.detail(
        "memory_a_container",
        json!({
            "init": used.inits.each(),
            "executor": used.executors.each(),
            // Of three processes, the task among them.
            "kernel_stacks_and_page_tables_kib": each(0),
            "agent_kib": each(1),
        }),
    );
    Ok(())
}

async fn restart(
    cluster: &mut Cluster,
    framework: &mut Framework,
    count: usize,
    report: &mut Report,
) -> anyhow::Result<()> {
    cluster.kill_agent(0);
    wait_for(cluster, false).await?;
    let began = clock::now();
    cluster.restart_agent(0)?;
    let returned = wait_for(cluster, true).await?;
    let cpu = clock::cpu_of_process(cluster.agent_process(0).context("the agent has ended")?)?;
    report.goal(&RESTART, at_full(count, returned - began));
    report.detail("restart_cpu_s_of_agent", cpu.as_secs_f64());
    // All of them go on: not one is told of otherwise.
    framework.rest(SETTLE).await?;
    let state = cluster.get("/state-summary").await?;
    let running = state["slaves"][0]["TASK_RUNNING"].as_u64();
    if running != Some(count as u64) {
        bail!("{running:?} of {count} tasks run after the restart");
    }
    Ok(())
}

/// Until the master says that its agent is there, or is not.
async fn wait_for(cluster: &Cluster, is_there: bool) -> anyhow::Result<Instant> {
    let end = clock::now() + RETURN_MAX;
    loop {
        let answer = cluster.get("/metrics/snapshot").await?;
        let now = clock::now();
        if (answer["master/slaves_connected"].as_f64() == Some(1.0)) == is_there {
            return Ok(now);
        }
        if now > end {
            bail!("the agent's connection did not change within {} s", RETURN_MAX.as_secs());
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// Bars are for 1,000.
fn at_full(count: usize, time: Duration) -> Result<f64, String> {
    if count == 1_000 {
        Ok(time.as_secs_f64())
    } else {
        Err(format!("{count} took {} s", time.as_secs_f64()))
    }
}

fn running_times(wave: &Wave) -> impl Iterator<Item = Duration> {
    wave.tasks.values().filter_map(|told| Some(told.running? - told.accepted))
}

fn tempfile_in(folder: Option<&std::path::Path>) -> anyhow::Result<PathBuf> {
    let folder = folder.map_or_else(std::env::temp_dir, std::path::Path::to_owned);
    let folder = folder.join(format!("ingot-bench-launch-{}", std::process::id()));
    std::fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
    Ok(folder)
}

/// Seconds that all processors were busy since boot, by the first line of /proc/stat (hundredths of a second).
fn machine_cpu() -> f64 {
    let text = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let fields = text.lines().next().unwrap_or_default().split_ascii_whitespace().skip(1);
    let ticks: Vec<f64> = fields.filter_map(|field| field.parse().ok()).collect();
    // user, nice, system; idle and iowait; irq, softirq.
    [0, 1, 2, 5, 6].iter().filter_map(|at| ticks.get(*at)).sum::<f64>() / 100.0
}
