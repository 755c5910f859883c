//! Offers: made, accepted, declined, taken back, and accepted wrongly.

use super::world::*;
use crate::cluster::Settings;
use crate::cluster::effect::{Done, Event};
use crate::cluster::input::{Accept, BadTask, Call, Operation};
use api::refusal::Refusal;
use model::id::{OfferId, OperationId, TaskId};
use model::task::{Reason, TaskState};
use wire::message::ToAgent;

fn accept(offers: &[OfferId], operations: Vec<Operation>) -> Call {
    Call::Accept(Accept { offer_ids: offers.to_vec(), operations, refuse_ns: 0 })
}

#[test]
fn what_is_accepted_runs_and_the_rest_comes_back() {
    let mut world = World::new();
    let (session, agent) = world.agent("cpus:4;mem:1024;ports:[31000-32000]");
    let scheduler = world.framework(framework_info());
    let offers = world.offer(&scheduler);
    assert_eq!(offers, [OfferId::new("m-O0")]);
    world.launch(
        &scheduler,
        &offers[0],
        vec![task("t1", &agent, "cpus:1;mem:32"), task("t2", &agent, "cpus:1;mem:32")],
    );
    let ran = |message: ToAgent| match message {
        ToAgent::Run { framework, task, .. } => {
            (framework.framework_id, task.task_id.to_string(), task.resources)
        }
        other => panic!("{other:?}"),
    };
    let ran: Vec<_> = world.told(session).into_iter().map(ran).collect();
    let id = Some(scheduler.id.clone());
    assert_eq!(
        ran,
        [(id.clone(), "t1".into(), star("cpus:1;mem:32")), (id, "t2".into(), star("cpus:1;mem:32"))]
    );
    let again = world.offer(&scheduler);
    let offer = &world.cluster.offers[&again[0]];
    assert_eq!(offer.resources, star("cpus:2;mem:960;ports:[31000-32000]"));
}

#[test]
fn an_offer_is_accepted_once() {
    let mut world = World::new();
    let (_, agent) = world.agent("cpus:4;mem:1024");
    let scheduler = world.framework(framework_info());
    let offers = world.offer(&scheduler);
    world.launch(&scheduler, &offers[0], vec![]);
    world.launch(&scheduler, &offers[0], vec![task("t", &agent, "cpus:1")]);
    let events = world.heard(&scheduler.stream);
    assert_eq!(&*message_of(&events), "Task launched with invalid offers: Offer m-O0 is no longer valid");
    let Event::Update { status } = &events[0] else { panic!("{events:?}") };
    assert_eq!((status.state, status.reason), (TaskState::Lost, Some(Reason::INVALID_OFFERS)));
    assert_eq!(status.update_id, None, "nobody waits for an acknowledgement");
}

#[test]
fn a_partition_aware_framework_hears_of_dropped_tasks() {
    let mut world = World::new();
    let (_, agent) = world.agent("cpus:4");
    let scheduler = world.framework(partition_aware());
    world.launch(&scheduler, &OfferId::new("nonsense"), vec![task("t", &agent, "cpus:1")]);
    assert_eq!(world.updates(&scheduler), [("t".into(), TaskState::Dropped, None)]);
}

#[test]
fn nobody_can_accept_or_take_away_anothers_offer() {
    let mut world = World::new();
    let (_, agent) = world.agent("cpus:4");
    let (owner, thief) = (world.framework(framework_info()), world.framework(framework_info()));
    let offers = world.offer(&owner);
    world.launch(&thief, &offers[0], vec![task("t", &agent, "cpus:1")]);
    let expected = "Task launched with invalid offers: Offer m-O0 has invalid framework m-0000 while framework m-0001 \
                    is expected";
    assert_eq!(&*message_of(&world.heard(&thief.stream)), expected);
    assert_eq!(
        world.call(&thief, Call::Decline { offer_ids: offers.clone(), refuse_ns: 0 }),
        Ok(Done::Accepted)
    );
    world.launch(&owner, &offers[0], vec![task("t", &agent, "cpus:4")]);
    assert_eq!(world.updates(&owner), [], "the offer still stood");
}

#[test]
fn offers_of_two_agents_do_not_mix() {
    let mut world = World::new();
    let (_, first) = world.agent("cpus:4");
    world.agent("cpus:2");
    let scheduler = world.framework(framework_info());
    let offers = world.offer(&scheduler);
    let launch = Operation::Launch { tasks: vec![Ok(task("t", &first, "cpus:5"))] };
    assert_eq!(world.call(&scheduler, accept(&offers, vec![launch])), Ok(Done::Accepted));
    let text = message_of(&world.heard(&scheduler.stream));
    assert!(text.contains("Aggregated offers must belong to one single agent"), "{text}");
    assert_eq!(world.offer(&scheduler).len(), 2, "both came back");
}

/// Each line: the task, and what Mesos says of it.
#[test]
fn tasks_that_cannot_run_are_told_why() {
    let mut world = World::new();
    let (session, agent) = world.agent("cpus:4;mem:100;ports:[1-9]");
    let scheduler = world.framework(framework_info());
    let with_executor =
        |id: &str, executor| model::task::TaskInfo { executor: Some(executor), ..task(id, &agent, "cpus:1") };
    let elsewhere = model::id::AgentId::new("elsewhere");
    let foreign =
        model::executor::ExecutorInfo { framework_id: Some("other".into()), ..executor("e2", "cpus:1") };
    let mut ports = with_executor("p", executor("e3", "ports:[2-3]"));
    ports.resources = r("ports:[3-4]");
    let offers = world.offer(&scheduler);
    let cases = [
        (
            task("big", &agent, "cpus:5"),
            "Total resources cpus(allocated: *):5 required by task and its executor is more \
                                         than available cpus(allocated: *):3; mem(allocated: *):100; ports(allocated: *):[1-9]",
        ),
        (task("ok", &agent, "cpus:1"), "Task has duplicate ID: ok"),
        (task("far", &elsewhere, "cpus:1"), "Task uses invalid agent elsewhere while agent m-S0 is expected"),
        (
            with_executor("f", foreign),
            "ExecutorInfo has an invalid FrameworkID (Actual: other vs Expected: m-0000)",
        ),
        (
            ports,
            "There are overlapping resources in the task resources ports(allocated: *):[3-4] and executor resources \
                 ports(allocated: *):[2-3]",
        ),
    ];
    let mut tasks = vec![Ok(task("ok", &agent, "cpus:1"))];
    tasks.extend(cases.iter().map(|(task, _)| Ok(task.clone())));
    tasks.push(Err(BadTask {
        task_id: TaskId::new("a/b"),
        agent_id: agent.clone(),
        why: "as the edge says".into(),
    }));
    assert_eq!(
        world.call(&scheduler, accept(&offers, vec![Operation::Launch { tasks }])),
        Ok(Done::Accepted)
    );
    let events = world.heard(&scheduler.stream);
    let texts: Vec<_> =
        events.iter().map(|event| message_of(std::slice::from_ref(event)).to_string()).collect();
    let mut expected: Vec<_> = cases.iter().map(|(_, text)| (*text).to_owned()).collect();
    expected.push("as the edge says".into());
    assert_eq!(texts, expected);
    assert!(events.iter().all(|event| matches!(event, Event::Update { status }
        if (status.state, status.reason) == (TaskState::Error, Some(Reason::TASK_INVALID)))));
    assert_eq!(world.told(session).len(), 1, "the good one runs");
    world.offer(&scheduler);
}

#[test]
fn one_executor_id_means_one_executor() {
    let mut world = World::new();
    let (_, agent) = world.agent("cpus:4;mem:100");
    let scheduler = world.framework(framework_info());
    let offers = world.offer(&scheduler);
    let with = |id: &str, info| model::task::TaskInfo { executor: Some(info), ..task(id, &agent, "cpus:1") };
    let other = model::executor::ExecutorInfo { name: Some("other".into()), ..executor("e", "mem:10") };
    world.launch(
        &scheduler,
        &offers[0],
        vec![with("a", executor("e", "mem:10")), with("b", executor("e", "mem:10")), with("c", other)],
    );
    let text = message_of(&world.heard(&scheduler.stream));
    assert!(
        text.starts_with("ExecutorInfo is not compatible with existing ExecutorInfo with same ExecutorID.\n")
    );
    let offers = world.offer(&scheduler);
    let offer = &world.cluster.offers[&offers[0]];
    assert_eq!(offer.resources, star("cpus:2;mem:90"), "the executor is charged once");
    assert_eq!(offer.executor_ids, [model::id::ExecutorId::new("e")]);
}

#[test]
fn what_is_not_supported_yet_is_refused_aloud_and_loses_nothing() {
    let mut world = World::new();
    world.agent("cpus:4");
    let scheduler = world.framework(framework_info());
    let offers = world.offer(&scheduler);
    let silent = Operation::Unsupported { name: "DESTROY_DISK", id: None };
    let heard = Operation::Unsupported { name: "CREATE_DISK", id: Some(OperationId::new("op")) };
    let answer = world.call(&scheduler, accept(&offers, vec![silent, heard]));
    assert_eq!(answer, Err(Refusal::Bad("DESTROY_DISK is not supported by this master".into())));
    let events = world.heard(&scheduler.stream);
    let [Event::Operation { operation_id, message, .. }] = &events[..] else { panic!("{events:?}") };
    assert_eq!((operation_id.as_str(), &**message), ("op", "CREATE_DISK is not supported by this master"));
    let offers = world.offer(&scheduler);
    assert_eq!(world.cluster.offers[&offers[0]].resources, star("cpus:4"));
}

#[test]
fn an_offer_nobody_answers_is_taken_back() {
    let mut world = World::with(Settings { offer_timeout_ms: Some(5000), ..Settings::default() });
    world.agent("cpus:4");
    let scheduler = world.framework(framework_info());
    let offers = world.offer(&scheduler);
    world.pass_ms(4999);
    assert!(world.heard(&scheduler.stream).is_empty());
    world.pass_ms(1);
    let events = world.heard(&scheduler.stream);
    assert!(matches!(&events[..], [Event::Rescind { offer_id }] if *offer_id == offers[0]), "{events:?}");
    assert_eq!(world.offer(&scheduler).len(), 1);
}

#[test]
fn offers_of_a_lost_agent_are_rescinded() {
    let mut world = World::new();
    let (session, _) = world.agent("cpus:4");
    let scheduler = world.framework(framework_info());
    let offers = world.offer(&scheduler);
    world.give(crate::cluster::input::Input::AgentGone { session });
    let events = world.heard(&scheduler.stream);
    assert!(matches!(&events[..], [Event::Rescind { offer_id }] if *offer_id == offers[0]), "{events:?}");
    assert_eq!(world.offer(&scheduler), [], "a disconnected agent is not offered");
}
