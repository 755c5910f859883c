//! An agent is emptied for its operator: what its tasks are told, what is shown, and how it comes back or does not.

use std::time::{Duration, Instant};

use api::v1;
use api::v1::TaskState::{TaskGoneByOperator, TaskKilled, TaskKilling, TaskRunning};
use api::v1::framework_info::{Capability, capability};
use api::v1::task_status::Reason::{self, AgentDraining};
use client::operator::Operator;
use client::scheduler;
use serde_json::{Value, json};

use crate::support::{Framework, PATIENCE, Target, command_task};

/// One that knows every state.
async fn framework(target: &Target) -> Framework {
    let mut info = scheduler::framework("drained", "*").unwrap();
    let more = [capability::Type::TaskKillingState, capability::Type::PartitionAware];
    info.capabilities.extend(more.map(|it| Capability { r#type: Some(it.into()) }));
    Framework::subscribe_as(target, info).await
}

/// A task that does not end when it is asked to, and whose own policy would have it wait for ever; when it runs.
async fn launch_stubborn(framework: &mut Framework) -> v1::AgentId {
    let offer = framework.offer().await;
    let mut task = command_task("stubborn", &offer.agent_id, "trap '' TERM; while :; do sleep 1; done");
    let grace = v1::DurationInfo { nanoseconds: 3_600_000_000_000 };
    task.kill_policy = Some(v1::KillPolicy { grace_period: Some(grace) });
    framework.calls.launch(vec![offer.id], vec![task], 0.0).await.unwrap();
    while framework.update("stubborn").await.state() != TaskRunning {}
    offer.agent_id
}

async fn order(target: &Target, call: &Value) {
    Operator::new(target.master.clone()).call("/api/v1", call).await.unwrap();
}

fn drain(agent_id: &v1::AgentId, marks_gone: bool) -> Value {
    json!({"type": "DRAIN_AGENT", "drain_agent": {
        "agent_id": {"value": agent_id.value},
        "max_grace_period": {"seconds": 1},
        "mark_gone": marks_gone,
    }})
}

async fn agents(master: &client::Address) -> Vec<Value> {
    let mut operator = Operator::new(master.clone());
    operator.get_json("/slaves").await.unwrap()["slaves"].as_array().unwrap().clone()
}

#[tokio::test]
async fn a_drained_agent_is_empty_within_its_grace_and_can_be_had_again() {
    let test = "a_drained_agent_is_empty_within_its_grace_and_can_be_had_again";
    let Some((mut target, _)) = Target::start_own(test).await else { return };
    let mut framework = framework(&target).await;
    let agent_id = launch_stubborn(&mut framework).await;

    let asked = Instant::now();
    order(&target, &drain(&agent_id, false)).await;
    let killing = framework.update("stubborn").await;
    assert_eq!((killing.state(), killing.reason()), (TaskKilling, AgentDraining), "{killing:?}");
    let agent = target.cluster.as_ref().unwrap().agent(0).clone();
    let own = Operator::new(agent).call("/slave(1)/api/v1", &json!({"type": "GET_AGENT"})).await.unwrap();
    let own = &own.unwrap()["get_agent"];
    assert_eq!(own["drain_config"]["max_grace_period"]["nanoseconds"], 1_000_000_000, "{own}");
    assert!(own["estimated_drain_start_time"]["nanoseconds"].as_u64() > Some(0), "{own}");
    let shown = agents(&target.master).await.remove(0);
    assert_eq!((&shown["deactivated"], &shown["drain_info"]["state"]), (&json!(true), &json!("DRAINING")));

    let killed = framework.end("stubborn").await;
    assert_eq!((killed.state(), killed.reason()), (TaskKilled, AgentDraining), "{killed:?}");
    assert!(asked.elapsed() >= Duration::from_secs(1), "it had its grace: {:?}", asked.elapsed());
    let master = target.master.clone();
    target
        .until("the agent is drained", async || agents(&master).await[0]["drain_info"]["state"] == "DRAINED")
        .await;
    order(
        &target,
        &json!({"type": "REACTIVATE_AGENT", "reactivate_agent": {"agent_id": {"value": agent_id.value}}}),
    )
    .await;
    let offer = tokio::time::timeout(PATIENCE, framework.offer()).await.expect("it is offered again");
    assert_eq!(offer.agent_id, agent_id);
    framework.calls.teardown().await.unwrap();
}

#[tokio::test]
async fn an_agent_that_is_drained_for_good_is_gone() {
    let Some((target, _)) = Target::start_own("an_agent_that_is_drained_for_good_is_gone").await else {
        return;
    };
    let mut framework = framework(&target).await;
    let agent_id = launch_stubborn(&mut framework).await;
    order(&target, &drain(&agent_id, true)).await;
    let gone = framework.end("stubborn").await;
    assert_eq!((gone.state(), gone.reason()), (TaskGoneByOperator, AgentDraining), "{gone:?}");
    let end = Instant::now() + PATIENCE;
    while !agents(&target.master).await.is_empty() {
        assert!(Instant::now() < end, "the agent is not gone");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // Who asks later hears the same.
    let task = v1::scheduler::call::reconcile::Task {
        task_id: v1::TaskId { value: "stubborn".to_owned() },
        agent_id: Some(agent_id),
    };
    framework.calls.reconcile(vec![task]).await.unwrap();
    let told = framework.next("word of it", |event| Some(event.update.as_ref()?.status.clone())).await;
    assert_eq!((told.state(), told.reason()), (TaskGoneByOperator, Reason::Reconciliation), "{told:?}");
}
