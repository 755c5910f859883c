//! Task groups under the default executor: they share, they begin together, and they fall together.

use std::path::Path;
use std::time::Duration;

use api::v1;
use api::v1::TaskState::{self, TaskFailed, TaskFinished, TaskKilled, TaskRunning, TaskStarting};
use client::operator::Operator;

use crate::support::{Framework, PATIENCE, Target, command_task, finish, printed, processes, program};

/// The agent's own, of this framework.
fn executor(framework: &Framework, id: &str) -> v1::ExecutorInfo {
    let mut executor = v1::ExecutorInfo {
        executor_id: v1::ExecutorId { value: id.to_owned() },
        framework_id: Some(framework.id.clone()),
        resources: ["cpus", "mem", "disk"].map(|name| client::scalar(name, 32_000)).to_vec(),
        ..Default::default()
    };
    executor.resources[0] = client::scalar("cpus", 100);
    executor.set_type(v1::executor_info::Type::Default);
    executor
}

async fn launch(framework: &mut Framework, executor_id: &str, tasks: &[(&str, &str)]) {
    let offer = framework.offer().await;
    let tasks = tasks.iter().map(|(id, command)| command_task(id, &offer.agent_id, command)).collect();
    let executor = executor(framework, executor_id);
    framework.calls.launch_group(vec![offer.id], executor, tasks, 0.0).await.unwrap();
}

/// Its updates up to TASK_RUNNING, in order; gives the last.
async fn runs(framework: &mut Framework, id: &str) -> v1::TaskStatus {
    assert_eq!(framework.update(id).await.state(), TaskStarting, "{id}");
    let running = framework.update(id).await;
    assert_eq!(running.state(), TaskRunning, "{id}: {running:?}");
    running
}

fn container(status: &v1::TaskStatus) -> v1::ContainerId {
    let told = status.container_status.as_ref().and_then(|it| it.container_id.clone());
    told.unwrap_or_else(|| panic!("no container in {status:?}"))
}

async fn until_nothing_is_used(target: &mut Target) {
    let mut operator = Operator::new(target.master.clone());
    target
        .until("all resources are free again", async || {
            let agents = operator.get_json("/slaves").await.unwrap();
            agents["slaves"][0]["used_resources"]["cpus"] == 0.0
        })
        .await;
}

/// Writes and reads go through the sandbox of the executor, in which the tasks' own lie.
#[tokio::test]
async fn a_group_shares_a_sandbox_and_falls_together() {
    let test = "a_group_shares_a_sandbox_and_falls_together";
    let Some((mut target, folder)) = Target::start_own(test).await else { return };
    let mut framework = Framework::subscribe(&target, None).await;
    let tasks = [
        ("writer", "echo 42 > ../../shared; sleep 4243"),
        (
            "reader",
            "until [ -s ../../shared ]; do sleep 0.05; done; cat ../../shared; touch ../../read; sleep 4243",
        ),
        ("fails", "until [ -e ../../read ]; do sleep 0.05; done; exit 7"),
    ];
    launch(&mut framework, "e", &tasks).await;
    let mut containers = Vec::new();
    for (id, _) in tasks {
        containers.push(container(&runs(&mut framework, id).await));
    }
    let parents: Vec<_> = containers.iter().map(|it| it.parent.clone().expect("nested")).collect();
    assert!(parents.windows(2).all(|pair| pair[0] == pair[1]), "one executor: {parents:?}");
    assert!(containers[0] != containers[1] && containers[1] != containers[2], "each has its own");

    let failed = framework.end("fails").await;
    assert_eq!(failed.state(), TaskFailed);
    assert_eq!(failed.message.as_deref(), Some("Command exited with status 7"));
    for id in ["writer", "reader"] {
        assert_eq!(framework.end(id).await.state(), TaskKilled, "{id}");
    }
    target.until("their processes are gone", async || processes(&folder, "sleep 4243").is_empty()).await;
    until_nothing_is_used(&mut target).await;
    let sandbox = sandboxes(&folder).pop().expect("it stays for a while");
    let mut agent = Operator::new(target.cluster.as_ref().unwrap().agent(0).clone());
    let path = sandbox.join("tasks/reader/stdout");
    let said = agent.read_file(path.to_str().unwrap(), Some(0), 100).await.unwrap();
    assert_eq!(said.data, "42\n", "each task's sandbox by its id");
    let mut logs = program("ingot", &target);
    logs.args(["logs", "reader"]);
    let output = finish(logs).await;
    assert_eq!(String::from_utf8_lossy(&output.stdout), "42\n", "{}", printed(&output));
    framework.calls.teardown().await.unwrap();
}

/// Of executors' runs, by the master's agent's tree.
fn sandboxes(below: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![below.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(&folder).into_iter().flatten().flatten();
        for entry in entries.filter(|entry| entry.file_type().is_ok_and(|it| it.is_dir())) {
            match entry.file_name() == "tasks" {
                true if entry.path().join("reader").is_symlink() => found.push(folder.clone()),
                _ => folders.push(entry.path()),
            }
        }
    }
    found
}

#[tokio::test]
async fn who_kills_one_kills_its_group_and_no_other() {
    let mut target = Target::start().await;
    let mut framework = Framework::subscribe(&target, None).await;
    launch(&mut framework, "e", &[("a", "sleep 4244"), ("b", "sleep 4244")]).await;
    for id in ["a", "b"] {
        runs(&mut framework, id).await;
    }
    let folder = tempfile::tempdir().unwrap();
    let sign = folder.path().join("sign");
    let command = format!("until [ -e {} ]; do sleep 0.05; done", sign.display());
    launch(&mut framework, "e", &[("other", &command)]).await;
    runs(&mut framework, "other").await;
    framework.calls.kill(v1::TaskId { value: "a".to_owned() }, None).await.unwrap();
    for id in ["a", "b"] {
        assert_eq!(framework.end(id).await.state(), TaskKilled, "{id}");
    }
    std::fs::write(&sign, "").unwrap();
    assert_eq!(framework.end("other").await.state(), TaskFinished, "the same executor, another group");
    until_nothing_is_used(&mut target).await;
    framework.calls.teardown().await.unwrap();
}

#[tokio::test]
async fn a_group_outlives_its_agent_s_process() {
    let Some((mut target, below)) = Target::start_own("a_group_outlives_its_agent_s_process").await else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let sign = folder.path().join("sign");
    let wait = format!("until [ -e {} ]; do sleep 0.05; done", sign.display());
    let fail = format!("{wait}; exit 3");
    let mut framework = Framework::subscribe(&target, None).await;
    launch(&mut framework, "e", &[("a", &wait), ("b", &wait)]).await;
    launch(&mut framework, "f", &[("c", &fail), ("d", "sleep 4245")]).await;
    for id in ["a", "b", "c", "d"] {
        runs(&mut framework, id).await;
    }
    let before = processes(&below, "sign");
    assert_eq!(before.len(), 3);
    let cluster = target.cluster.as_mut().unwrap();
    cluster.kill_agent(0);
    // One of them ends while nobody looks.
    let dead = processes(&below, "sign");
    assert_eq!(dead, before, "nothing ends with the agent");
    std::fs::write(&sign, "").unwrap();
    let end = std::time::Instant::now() + PATIENCE;
    while !processes(&below, "sign").is_empty() {
        assert!(std::time::Instant::now() < end, "they do not see the sign");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    target.cluster.as_mut().unwrap().restart_agent(0).unwrap();
    for id in ["a", "b"] {
        assert_eq!(framework.end(id).await.state(), TaskFinished, "{id}");
    }
    let failed = framework.end("c").await;
    assert_eq!(
        (failed.state(), failed.message.as_deref()),
        (TaskFailed, Some("Command exited with status 3"))
    );
    assert_eq!(framework.end("d").await.state(), TaskKilled, "the executor is back, and keeps the rule");
    until_nothing_is_used(&mut target).await;
    framework.calls.teardown().await.unwrap();
}

/// Whatever the agent had done of it when it was killed: in the end all of a group ran, or none did.
#[tokio::test]
async fn a_group_whose_agent_dies_while_it_begins_is_not_torn() {
    let Some((mut target, below)) =
        Target::start_own("a_group_whose_agent_dies_while_it_begins_is_not_torn").await
    else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let mut framework = Framework::subscribe(&target, None).await;
    for (round, wait_ms) in [0u64, 3, 8, 20, 50].into_iter().enumerate() {
        let sign = folder.path().join(format!("sign-{round}"));
        let wait = format!("until [ -e {} ]; do sleep 0.05; done", sign.display());
        let ids: Vec<String> = (0..3).map(|n| format!("t{round}-{n}")).collect();
        let tasks: Vec<(&str, &str)> = ids.iter().map(|id| (&**id, &*wait)).collect();
        launch(&mut framework, &format!("e{round}"), &tasks).await;
        tokio::time::sleep(Duration::from_millis(wait_ms)).await;
        let cluster = target.cluster.as_mut().unwrap();
        cluster.kill_agent(0);
        cluster.restart_agent(0).unwrap();
        std::fs::write(&sign, "").unwrap();
        let mut ends = Vec::new();
        for id in &ids {
            ends.push(framework.end(id).await.state());
        }
        let finished = ends.iter().filter(|state| **state == TaskFinished).count();
        assert!(finished == 0 || finished == ids.len(), "round {round}: {ends:?}");
        assert!(!ends.contains(&TaskState::TaskError), "{ends:?}");
        target.until("nothing of it runs", async || processes(&below, &wait).is_empty()).await;
    }
    until_nothing_is_used(&mut target).await;
    framework.calls.teardown().await.unwrap();
}
