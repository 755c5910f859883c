//! A master that has died and starts again, and agents that come back to it with what they run. From the start of its process
//! until it has registered the last of them, with those who play them on the same cores.

use std::time::Duration;

use anyhow::{Context, ensure};
use model::body::Body;
use model::framework::{Capabilities, FrameworkInfo};
use model::id::{FrameworkId, TaskId};
use model::resources::Resources;
use model::role::Role;
use model::task::{TaskInfo, TaskState};
use serde_json::json;
use wire::message::{Reregister, RunningTask, ToMaster};

use super::registry;
use crate::clock;
use crate::loopback::agents::Agents;
use crate::loopback::files;
use crate::loopback::master::{Master, threads_since};
use crate::loopback::turns::Turns;
use crate::report::Report;

const FRAMEWORK: &str = "0b2f0f1e-4f3c-4a51-8d0e-0a2b6f6a7c11-0000";

pub(super) fn run(count: usize, tasks: usize, report: &mut Report) -> anyhow::Result<Duration> {
    files::make_room(count)?;
    let folder = tempfile::tempdir().context("make a folder")?;
    registry::fill(&folder.path().join("master"), count)?;
    let mut turns = Turns::new()?;
    let framework = framework();
    let introduction = |number: usize, _| {
        Ok(ToMaster::Reregister(Reregister {
            agent_id: registry::agent_id(number),
            info: registry::info(number)?,
            frameworks: vec![framework.clone()],
            executors: Vec::new(),
            tasks: (0..tasks).map(|at| task(number, at)).collect::<anyhow::Result<_>>()?,
            oversubscribed: Resources::default(),
        }))
    };
    let (began, own) = (clock::now(), clock::process_cpu());
    let mut master = Master::start_in(folder.path(), &[])?;
    let started = began.elapsed();
    let threads = master.threads()?;
    let agents = Agents::introduce(count, master.address, &mut turns, &introduction)?;
    let took = began.elapsed();
    let details = json!({
        "agents": agents.len(),
        "tasks": agents.len() * tasks,
        "until_the_master_answers_s": started.as_secs_f64(),
        "until_all_are_back_s": took.as_secs_f64(),
        "cpu_s_of_the_master": master.cpu()?.as_secs_f64(),
        "cpu_s_of_the_master_by_thread": threads_since(&threads, &master.threads()?),
        "cpu_s_of_who_plays_agents": (clock::process_cpu() - own).as_secs_f64(),
    });
    report.detail("back after a master's start", details);
    master.check()?;
    let metrics = master.get("/metrics/snapshot")?;
    let figure = |name: &str| metrics[name].as_f64().with_context(|| format!("no figure {name}"));
    ensure!(figure("master/slaves_active")? == count as f64, "not all agents are active: {metrics}");
    ensure!(figure("master/tasks_running")? == (count * tasks) as f64, "not all tasks run: {metrics}");
    Ok(took)
}

fn framework() -> FrameworkInfo {
    FrameworkInfo {
        framework_id: Some(FrameworkId::new(FRAMEWORK)),
        name: "bench".into(),
        user: "root".into(),
        roles: vec![Role::star()],
        capabilities: Capabilities::default(),
        failover_timeout_ns: 3_600_000_000_000,
        checkpoint: true,
        hostname: "localhost".into(),
        webui_url: None,
        principal: None,
        body: Body::default(),
    }
}

fn task(number: usize, at: usize) -> anyhow::Result<RunningTask> {
    let name = format!("bench.{number}.{at}.5f3a8c1e-77d0-4b52-9e4c-0242ac120002");
    Ok(RunningTask {
        framework_id: FrameworkId::new(FRAMEWORK),
        task: TaskInfo {
            task_id: TaskId::new(&name),
            name: "bench".into(),
            agent_id: registry::agent_id(number),
            resources: "cpus:1;mem:1024".parse().context("resources")?,
            executor: None,
            kill_grace_ns: None,
            body: Body::default(),
        },
        latest_state: TaskState::Running,
        pending: None,
        statuses: Vec::new(),
    })
}
