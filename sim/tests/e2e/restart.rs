//! Daemons that crash and come back: what runs goes on, and nobody has to be told twice.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use api::v1;
use api::v1::TaskState;
use client::scheduler::Incoming;
use nix::sys::signal::Signal;
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::support::{Framework, PATIENCE, Target, command_task, processes, program};

/// Launches a task that runs until the sign is there; returns when it runs.
async fn launch_patient(framework: &mut Framework, sign: &Path) -> v1::AgentId {
    let offer = framework.offer().await;
    let command = format!("until [ -e {} ]; do sleep 0.05; done", sign.display());
    let task = command_task("patient", &offer.agent_id, &command);
    framework.calls.launch(vec![offer.id], vec![task], 0.0).await.unwrap();
    while framework.update("patient").await.state() != TaskState::TaskRunning {}
    offer.agent_id
}

#[tokio::test]
async fn a_task_outlives_its_agent_s_process() {
    let Some((mut target, below)) = Target::start_own("a_task_outlives_its_agent_s_process").await else {
        return;
    };
    let mut cluster = target.cluster.take().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let sign = folder.path().join("sign");
    let mut framework = Framework::subscribe(&target, None).await;
    let agent_id = launch_patient(&mut framework, &sign).await;
    let before = processes(&below, "until");

    cluster.kill_agent(0);
    cluster.restart_agent(0).unwrap();
    let is_back = async |cluster: &sim::processes::Cluster| {
        let agents = cluster.get("/slaves").await?;
        let list = agents["slaves"].as_array().unwrap();
        let back =
            |it: &serde_json::Value| it["active"] == true && it["reregistered_time"].as_f64() > Some(0.0);
        Ok(list.iter().any(|it| back(it) && it["id"] == agent_id.value.as_str()))
    };
    cluster.until("the agent is back under its id", PATIENCE, is_back).await.unwrap();
    assert_eq!(processes(&below, "until"), before, "the same processes go on");
    std::fs::write(&sign, "").unwrap();
    assert_eq!(framework.end("patient").await.state(), TaskState::TaskFinished);
    framework.calls.teardown().await.unwrap();
}

#[tokio::test]
async fn a_cluster_outlives_its_master_s_process() {
    let Some((mut target, _)) = Target::start_own("a_cluster_outlives_its_master_s_process").await else {
        return;
    };
    let mut cluster = target.cluster.take().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let sign = folder.path().join("sign");
    let mut framework = Framework::subscribe(&target, None).await;
    launch_patient(&mut framework, &sign).await;

    cluster.restart_master().await.unwrap();
    let back = async {
        while !matches!(framework.events.next().await.unwrap(), Incoming::Subscribed(it) if it.framework_id == framework.id)
        {
        }
    };
    tokio::time::timeout(PATIENCE, back).await.expect("the framework returns");
    cluster.until_registered().await.unwrap();
    std::fs::write(&sign, "").unwrap();
    assert_eq!(framework.end("patient").await.state(), TaskState::TaskFinished);
    // And it is a whole cluster again.
    let offer = tokio::time::timeout(Duration::from_secs(30), framework.offer()).await.expect("offers");
    assert!(client::unreserved_milli(&offer.resources, "cpus") > 0);
    framework.calls.teardown().await.unwrap();
}

/// The framework is back before the agent that has its task.
#[tokio::test]
async fn a_run_waits_for_its_agent_when_the_master_is_new() {
    let name = "a_run_waits_for_its_agent_when_the_master_is_new";
    let Some((mut target, below)) = Target::start_own(name).await else { return };
    let mut cluster = target.cluster.take().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let sign = folder.path().join("sign");
    let mut run = tokio::process::Command::from(program("ingot", &target));
    run.args(["run", "--name", "patient", "--"]);
    run.arg(format!("until [ -e {} ]; do sleep 0.05; done; echo done", sign.display()));
    let run = run.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut run = run.spawn().unwrap();
    let mut lines = BufReader::new(run.stderr.take().unwrap()).lines();
    let mut said = async |what: &str| {
        let mut all = String::new();
        let heard = async {
            while let Some(line) = lines.next_line().await.unwrap() {
                all += &line;
                all.push('\n');
                if line.contains(what) {
                    return true;
                }
            }
            false
        };
        assert!(matches!(tokio::time::timeout(PATIENCE, heard).await, Ok(true)), "no {what}: {all}");
    };
    said("TASK_RUNNING").await;
    // The shell; what it has just forked bears its name for a moment.
    let shell = || processes(&below, "until").into_iter().min();
    let running = shell();
    assert!(running.is_some());

    // Not killed: the framework does not checkpoint, so that its tasks would end with their agent.
    cluster.signal_agent(0, Signal::SIGSTOP).unwrap();
    cluster.restart_master().await.unwrap();
    let dropped = async |cluster: &sim::processes::Cluster| {
        let metrics = cluster.get("/metrics/snapshot").await?;
        Ok(metrics["master/messages_reconcile_tasks"].as_f64() > Some(0.0))
    };
    cluster.until("the framework is back and has asked", PATIENCE, dropped).await.unwrap();
    cluster.signal_agent(0, Signal::SIGCONT).unwrap();
    cluster.until_registered().await.unwrap();
    assert!(run.try_wait().unwrap().is_none(), "it goes on");
    assert_eq!(shell(), running, "and so does the task");
    std::fs::write(&sign, "").unwrap();
    said("TASK_FINISHED").await;
    let output = tokio::time::timeout(PATIENCE, run.wait_with_output()).await.unwrap().unwrap();
    assert_eq!((output.status.code(), &*output.stdout), (Some(0), &b"done\n"[..]));
}
