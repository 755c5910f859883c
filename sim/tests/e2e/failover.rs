//! A framework that goes and returns under its id: its tasks go on, and it hears what became of them meanwhile.

use api::v1::TaskState;

use crate::support::{Framework, Target, command_task};

#[tokio::test]
async fn a_framework_that_returns_hears_of_its_tasks() {
    let mut target = Target::start().await;
    let folder = tempfile::tempdir().unwrap();
    let sign = folder.path().join("sign");
    let mut framework = Framework::subscribe(&target, None).await;
    let offer = framework.offer().await;
    let command = format!("until [ -e {} ]; do sleep 0.05; done", sign.display());
    let name = format!("patient-{}", fastrand::u32(..));
    let tasks = vec![command_task(&name, &offer.agent_id, &command)];
    framework.calls.launch(vec![offer.id], tasks, 0.0).await.unwrap();
    while framework.update(&name).await.state() != TaskState::TaskRunning {}

    let id = framework.id.clone();
    drop(framework); // No teardown: the connection just breaks.
    std::fs::write(&sign, "").unwrap();
    let master = Target { master: target.master.clone(), cluster: None };
    target
        .until("the master knows that the task ended", async || {
            master.task(&name).await.is_some_and(|it| it["state"] == "TASK_FINISHED")
        })
        .await;

    let mut framework = Framework::subscribe(&target, Some(id.clone())).await;
    assert_eq!(framework.id, id);
    let status = framework.end(&name).await;
    assert_eq!(status.state(), TaskState::TaskFinished);
    assert!(status.uuid.is_some(), "it is to be acknowledged");
    framework.calls.teardown().await.unwrap();
}

#[tokio::test]
async fn a_second_subscriber_under_an_id_takes_the_first_one_s_place() {
    let target = Target::start().await;
    let mut first = Framework::subscribe(&target, None).await;
    let mut second = Framework::subscribe(&target, Some(first.id.clone())).await;
    let told = first.next("ERROR", |event| event.error.clone()).await;
    assert_eq!(told.message, "Framework failed over");
    second.calls.teardown().await.unwrap();
}
