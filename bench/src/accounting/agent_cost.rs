//! What the agent itself costs: the real one, with a real master, a framework and a thousand containers that sleep, every
//! figure on, a report a second. Its CPU time and memory are the kernel's figures of its process.

use std::time::Duration;

use anyhow::{Context, bail};
use api::v1;
use client::scheduler::{self, Calls, Events, Incoming};
use client::{Encoding, scalar};
use serde_json::json;
use sim::processes::{Cluster, Options, Ports, agent_cgroup};

use super::needs::COUNTED_CONTAINERS;
use super::scene::Scene;
use super::{Findings, Part};
use crate::clock;
use crate::daemons;
use crate::report::{Better, Goal};

const CPU: Goal = Goal {
    name: "agent's own CPU at 1,000 containers, 1 Hz, everything on",
    unit: "%",
    better: Better::Lower,
    bar: 2.0,
};
const MEMORY: Goal =
    Goal { name: "agent's memory a container, at 1,000", unit: "KiB", better: Better::Lower, bar: 20.0 };

pub(super) const PART: Part =
    Part { name: "agent-cost", needs: COUNTED_CONTAINERS, goals: &[CPU, MEMORY], run };

const CONTAINERS: usize = 1_000;
/// Launched by one call.
const BATCH: usize = 50;
const LAUNCH_MAX: Duration = Duration::from_secs(300);
/// Every file has its turn within 64 looks.
const MEASURED: Duration = Duration::from_secs(64);
/// Until what launching has stirred up has settled.
const SETTLE: Duration = Duration::from_secs(5);
/// The executors only sleep: none of them ever subscribes.
const AGENT_FLAGS: [&str; 1] = ["--executor-registration-timeout=1days"];

fn run(_: &Scene, findings: &mut Findings) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(measure(findings))
}

async fn measure(findings: &mut Findings) -> anyhow::Result<()> {
    let options = Options {
        programs: daemons::programs()?,
        folder: None,
        ports: Ports::Free,
        agents: 1,
        resources: "cpus:4000;mem:64000;disk:64000;ports:[31000-32000]".to_owned(),
        master_flags: Vec::new(),
        agent_flags: AGENT_FLAGS.map(str::to_owned).to_vec(),
    };
    let mut cluster = Cluster::start(options).await?;
    let pid = cluster.agent_process(0).context("the agent has ended")?;
    tokio::time::sleep(SETTLE).await;
    let idle = Cost::over(pid, SETTLE).await?;
    let status = format!("/proc/{pid}/status");
    let memory = || {
        Ok::<_, anyhow::Error>([
            clock::bytes_in(&status, "VmRSS")?,
            clock::bytes_in("/proc/meminfo", "SUnreclaim")?,
        ])
    };
    let [memory_before, slab_before] = memory()?;
    launch(&mut cluster).await?;
    tokio::time::sleep(SETTLE).await;
    let cost = Cost::over(pid, MEASURED).await?;
    let [memory_after, slab_after] = memory()?;
    let a_container = |bytes: u64| bytes as f64 / 1024.0 / CONTAINERS as f64;
    findings.goal(&CPU, cost.percent());
    findings.goal(&MEMORY, a_container(memory_after.saturating_sub(memory_before)));
    findings.detail(
        "without_containers",
        json!({ "cpu_percent": idle.percent(), "memory_bytes": memory_before }),
    );
    findings
        .detail("memory_bytes", json!({ "now": memory_after, "peak": clock::bytes_in(&status, "VmHWM")? }));
    // Of all the machine did meanwhile, the containers' processes, cgroups and counters among it.
    findings.detail("kernel_slab_kib_a_container", a_container(slab_after.saturating_sub(slab_before)));
    findings.detail("threads", thread_times(pid));
    cluster.stop()
}

struct Cost {
    cpu: Duration,
    wall: Duration,
}

impl Cost {
    async fn over(pid: u32, time: Duration) -> anyhow::Result<Self> {
        let (began, before) = (clock::now(), clock::cpu_of_process(pid)?);
        tokio::time::sleep(time).await;
        Ok(Self { cpu: clock::cpu_of_process(pid)? - before, wall: clock::now() - began })
    }

    fn percent(&self) -> f64 {
        100.0 * self.cpu.as_secs_f64() / self.wall.as_secs_f64()
    }
}

/// What each of its threads has run since it began: name, user and system time, in hundredths of a second.
fn thread_times(pid: u32) -> serde_json::Value {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let line = |task: std::fs::DirEntry| {
        let text = std::fs::read_to_string(task.path().join("stat")).ok()?;
        let (name, rest) = text.split_once('(')?.1.rsplit_once(") ")?;
        let fields: Vec<&str> = rest.split(' ').collect();
        Some(json!({ "name": name, "user": fields.get(11)?, "system": fields.get(12)? }))
    };
    tasks.filter_map(line).collect()
}

/// Launches all containers and waits until something runs in each.
async fn launch(cluster: &mut Cluster) -> anyhow::Result<()> {
    let framework = scheduler::framework("ingot-bench", "*")?;
    let (mut calls, mut events) = scheduler::connect(cluster.master().clone(), framework, Encoding::Protobuf);
    let mut launched = 0;
    while launched < CONTAINERS {
        let offers =
            tokio::time::timeout(LAUNCH_MAX, next_offers(&mut events)).await.context("no offer came")??;
        for offer in offers {
            let count = BATCH.min(CONTAINERS - launched);
            let tasks = (launched..launched + count).map(|number| task(number, &offer.agent_id)).collect();
            calls.launch(vec![offer.id], tasks, 0.0).await?;
            launched += count;
        }
    }
    let group = agent_cgroup(cluster.agent(0).port).context("no cgroup v2 hierarchy")?;
    let running = || {
        let groups = std::fs::read_dir(&group).into_iter().flatten().flatten();
        groups
            .filter(|it| std::fs::read(it.path().join("cgroup.procs")).is_ok_and(|it| !it.is_empty()))
            .count()
    };
    cluster.until("all containers run", LAUNCH_MAX, async |_| Ok(running() >= CONTAINERS)).await?;
    keep(calls, events);
    Ok(())
}

/// Holds the framework's stream for the rest of the run: without one its tasks would be ended some day.
fn keep(calls: Calls, mut events: Events) {
    tokio::spawn(async move {
        while events.next().await.is_ok() {}
        drop(calls);
    });
}

async fn next_offers(events: &mut Events) -> anyhow::Result<Vec<v1::Offer>> {
    loop {
        let Incoming::Event(event) = events.next().await? else { continue };
        if let Some(error) = &event.error {
            bail!("the master ended the framework: {}", error.message);
        }
        if let Some(offers) = event.offers {
            return Ok(offers.offers);
        }
    }
}

/// One task and an executor of its own, which is a process that sleeps.
fn task(number: usize, agent_id: &v1::AgentId) -> v1::TaskInfo {
    let name = format!("sleeper-{number}");
    let command = v1::CommandInfo {
        shell: Some(false),
        value: Some("/bin/sleep".to_owned()),
        arguments: vec!["sleep".to_owned(), "100000".to_owned()],
        ..Default::default()
    };
    let executor = v1::ExecutorInfo {
        executor_id: v1::ExecutorId { value: name.clone() },
        command: Some(command),
        resources: vec![scalar("cpus", 100), scalar("mem", 1_000)],
        ..Default::default()
    };
    v1::TaskInfo {
        name: name.clone(),
        task_id: v1::TaskId { value: name },
        agent_id: agent_id.clone(),
        resources: vec![scalar("cpus", 1_000), scalar("mem", 32_000)],
        executor: Some(executor),
        ..Default::default()
    }
}
