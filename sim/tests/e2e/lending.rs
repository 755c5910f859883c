//! What an agent lends, from its flag to a task that runs on loan: real daemons, and clients of which one understands it.

use api::v1;
use api::v1::TaskState::{TaskKilled, TaskRunning};
use api::v1::framework_info::{Capability, capability};
use client::operator::Operator;
use client::scheduler;
use serde_json::Value;
use sim::processes::{Cluster, Options};

use crate::support::{Framework, Target, command_task, options};

/// CPUs of an offer, thousandths: its agent's own, and lent ones.
fn cpus(offer: &v1::Offer) -> (i64, i64) {
    let sum = |is_lent: bool| {
        let named = offer.resources.iter().filter(|part| part.name == "cpus");
        let meant = named.filter(|part| part.revocable.is_some() == is_lent);
        meant.filter_map(|part| part.scalar.as_ref()).map(|it| (it.value * 1000.0).round() as i64).sum()
    };
    (sum(false), sum(true))
}

async fn shown(at: &client::Address, path: &str) -> Value {
    Operator::new(at.clone()).get_json(path).await.unwrap()
}

#[tokio::test]
async fn what_an_agent_lends_goes_to_who_understands_it_and_comes_back() {
    let lending = ["--resource-estimator=fixed", "--estimator-resources=cpus:2"];
    let agent_flags = lending.map(str::to_owned).to_vec();
    let cluster = Cluster::start(Options { agent_flags, ..options() }).await.unwrap();
    let mut target = Target { master: cluster.master().clone(), cluster: Some(cluster) };
    let (master, agent) = (target.master.clone(), target.cluster.as_ref().unwrap().agent(0).clone());
    target
        .until("the master knows what is lent", async || {
            shown(&master, "/slaves").await["slaves"][0]["resources"]["cpus_revocable"] == 2.0
        })
        .await;

    let mut plain = Framework::subscribe(&target, None).await;
    assert_eq!(cpus(&plain.offer().await), (8_000, 0));
    let mut info = scheduler::framework("thrifty", "*").unwrap();
    let can = capability::Type::RevocableResources;
    info.capabilities.push(Capability { r#type: Some(can.into()) });
    let mut thrifty = Framework::subscribe_as(&target, info).await;
    let offer = thrifty.offer().await;
    assert_eq!(cpus(&offer), (0, 2_000), "the rest is held by the other one");

    let mut task = command_task("on-loan", &offer.agent_id, "sleep 1000");
    let mut on_loan = client::scalar("cpus", 1_500);
    on_loan.revocable = Some(v1::resource::RevocableInfo::default());
    task.resources = vec![on_loan];
    thrifty.calls.launch(vec![offer.id], vec![task], 0.0).await.unwrap();
    while thrifty.update("on-loan").await.state() != TaskRunning {}
    assert_eq!(cpus(&thrifty.offer().await), (0, 500));
    assert_eq!(shown(&master, "/metrics/snapshot").await["master/cpus_revocable_used"], 1.5);
    let own = shown(&agent, "/metrics/snapshot").await;
    assert_eq!(
        (&own["slave/cpus_revocable_total"], &own["slave/cpus_revocable_used"]),
        (&2.0.into(), &1.5.into())
    );
    let state = shown(&agent, "/slave(1)/state").await;
    assert_eq!(state["oversubscribed_resources"]["cpus_revocable"], 2.0, "{state}");

    let task_id = v1::TaskId { value: "on-loan".to_owned() };
    thrifty.calls.kill(task_id, None).await.unwrap();
    assert_eq!(thrifty.end("on-loan").await.state(), TaskKilled);
    assert_eq!(cpus(&thrifty.offer().await), (0, 1_500), "it is free again at once");
    thrifty.calls.teardown().await.unwrap();
    plain.calls.teardown().await.unwrap();
}
