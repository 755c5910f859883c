//! What is killed under a task ends the task, and takes the rest of its container along.

use api::v1::TaskState;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::{Framework, Target, command_task, processes};

#[tokio::test]
async fn a_killed_executor_ends_its_task_and_its_processes() {
    let test = "a_killed_executor_ends_its_task_and_its_processes";
    let Some((mut target, folder)) = Target::start_own(test).await else { return };
    let mut framework = Framework::subscribe(&target, None).await;
    let offer = framework.offer().await;
    let task = command_task("doomed", &offer.agent_id, "sleep 4242");
    framework.calls.launch(vec![offer.id], vec![task], 0.0).await.unwrap();
    while framework.update("doomed").await.state() != TaskState::TaskRunning {}

    let executors = processes(&folder, "command-executor");
    assert_eq!(executors.len(), 1, "one container, one executor");
    assert!(!processes(&folder, "sleep 4242").is_empty());
    kill(Pid::from_raw(executors[0]), Signal::SIGKILL).unwrap();

    let status = framework.end("doomed").await;
    assert!(matches!(status.state(), TaskState::TaskFailed | TaskState::TaskLost), "{status:?}");
    target.until("the task's process is gone", async || processes(&folder, "sleep 4242").is_empty()).await;
    let mut operator = client::operator::Operator::new(target.master.clone());
    target
        .until("its resources are free again", async || {
            let agents = operator.get_json("/slaves").await.unwrap();
            agents["slaves"][0]["used_resources"]["cpus"] == 0.0
        })
        .await;
    framework.calls.teardown().await.unwrap();
}
