//! Agents: pings, loss, return, and what happens to tasks meanwhile.

use super::world::*;
use crate::cluster::effect::Event;
use crate::cluster::input::{Call, Input};
use model::framework::FrameworkInfo;
use model::id::{FrameworkId, TaskId, UpdateId};
use model::task::{Reason, TaskState};
use wire::message::{RunningTask, ToAgent, ToMaster};

fn with_task(
    info: FrameworkInfo,
) -> (World, crate::cluster::input::SessionId, model::id::AgentId, Scheduler) {
    let mut world = World::new();
    let (session, agent) = world.agent("cpus:4;mem:100");
    let scheduler = world.framework(info);
    let offers = world.offer(&scheduler);
    world.launch(&scheduler, &offers[0], vec![task("t", &agent, "cpus:1")]);
    world.told(session);
    (world, session, agent, scheduler)
}

#[test]
fn an_agent_that_misses_five_pings_is_unreachable() {
    let (mut world, session, agent, scheduler) = with_task(partition_aware());
    world.pass_ms(15_000);
    assert_eq!(world.told(session), [ToAgent::Ping { sequence: 1 }]);
    world.say(session, ToMaster::Pong { sequence: 1 });
    world.pass_ms(75_000);
    assert!(world.cluster.agents.contains(&agent), "the fifth may still be answered");
    world.heard(&scheduler.stream);
    world.pass_ms(15_000);
    assert!(!world.cluster.agents.contains(&agent) && world.closed_sessions.contains(&session));
    let events = world.heard(&scheduler.stream);
    let status = events.iter().find_map(|event| match event {
        Event::Update { status } => Some(status),
        _ => None,
    });
    let status = status.expect("an update");
    assert_eq!((status.state, status.reason), (TaskState::Unreachable, Some(Reason::AGENT_REMOVED)));
    let whole = api::convert::status::to_v1(status).expect("readable");
    assert!(whole.unreachable_time.is_some());
    let lost = |event: &Event| matches!(event, Event::Failure { agent_id, executor_id: None, .. } if *agent_id == agent);
    assert!(events.iter().any(lost));
    let ask = Call::Reconcile { tasks: vec![(TaskId::new("t"), Some(agent.clone()))] };
    world.call(&scheduler, ask).expect("taken");
    assert_eq!(world.updates(&scheduler), [("t".into(), TaskState::Unreachable, None)]);
}

#[test]
fn a_framework_that_knows_no_partitions_hears_lost() {
    let (mut world, session, _, scheduler) = with_task(framework_info());
    world.give(Input::AgentGone { session });
    world.pass_ms(80_000);
    assert_eq!(world.updates(&scheduler), [("t".into(), TaskState::Lost, None)]);
}

#[test]
fn an_unreachable_agent_comes_back_with_its_task() {
    let (mut world, session, agent, scheduler) = with_task(partition_aware());
    let info = world.agent_info(&agent);
    let on_agent =
        world.cluster.frameworks.get(&scheduler.id).expect("subscribed").tasks["t"].info.as_ref().clone();
    world.give(Input::AgentGone { session });
    world.pass_ms(80_000);
    world.heard(&scheduler.stream);
    let frameworks = vec![world.cluster.frameworks.get(&scheduler.id).expect("known").info.as_ref().clone()];
    let new =
        world.back(&agent, info, frameworks, vec![running(&scheduler.id, on_agent, TaskState::Running)]);
    assert_eq!(world.updates(&scheduler), [("t".into(), TaskState::Running, None)]);
    let told = world.told(new);
    assert!(matches!(&told[..], [ToAgent::Registered { reconcile, .. }] if reconcile.is_empty()), "{told:?}");
    assert_eq!(world.cluster.agents.get(&agent).expect("back").used, star("cpus:1"));
    assert_eq!(world.cluster.snapshot(world.now).unreachable_agents, []);
}

#[test]
fn an_agent_that_reconnects_keeps_its_tasks_and_is_asked_about_the_missing() {
    let (mut world, session, agent, scheduler) = with_task(framework_info());
    let info = world.agent_info(&agent);
    world.give(Input::AgentGone { session });
    assert_eq!(world.updates(&scheduler), [], "a lost connection is not a lost agent");
    let new = world.back(&agent, info, vec![], vec![]);
    let told = world.told(new);
    let missing = vec![(scheduler.id.clone(), TaskId::new("t"))];
    assert!(
        matches!(&told[..], [ToAgent::Registered { agent_id, reconcile, .. }]
        if *agent_id == agent && *reconcile == missing),
        "{told:?}"
    );
    world.update(new, &scheduler.id, "t", TaskState::Gone, 1);
    assert_eq!(world.updates(&scheduler), [("t".into(), TaskState::Gone, Some(1))]);
    assert_eq!(world.offer(&scheduler).len(), 1, "and it is offered again");
}

#[test]
fn a_newer_session_replaces_the_older() {
    let (mut world, session, agent, scheduler) = with_task(framework_info());
    let offers = world.offer(&scheduler);
    let on_agent =
        world.cluster.frameworks.get(&scheduler.id).expect("subscribed").tasks["t"].info.as_ref().clone();
    let info = world.agent_info(&agent);
    let tasks = vec![running(&scheduler.id, on_agent, TaskState::Running)];
    let new = world.back(&agent, info, vec![], tasks);
    assert!(world.closed_sessions.contains(&session));
    world.give(Input::AgentGone { session });
    world.told(new);
    world.launch(&scheduler, &offers[0], vec![task("u", &agent, "cpus:1")]);
    assert!(
        matches!(&world.told(new)[..], [ToAgent::Run { .. }]),
        "the offer stood, and the new session is used"
    );
}

#[test]
fn kills_that_a_disconnected_agent_missed_are_repeated() {
    let (mut world, session, agent, scheduler) = with_task(framework_info());
    let on_agent =
        world.cluster.frameworks.get(&scheduler.id).expect("subscribed").tasks["t"].info.as_ref().clone();
    let info = world.agent_info(&agent);
    world.give(Input::AgentGone { session });
    world
        .call(&scheduler, Call::Kill { task_id: TaskId::new("t"), agent_id: None, grace_ns: None })
        .expect("taken");
    let new = world.back(&agent, info, vec![], vec![running(&scheduler.id, on_agent, TaskState::Running)]);
    let told = world.told(new);
    assert!(
        matches!(&told[..], [ToAgent::Registered { .. }, ToAgent::Kill { task_id, .. }] if task_id.as_str() == "t")
    );
}

#[test]
fn agents_bring_frameworks_back_to_a_master_that_knows_none() {
    let mut world = World::new();
    let id = FrameworkId::new("old-0000");
    let info = FrameworkInfo { framework_id: Some(id.clone()), ..framework_info() };
    let agent = model::id::AgentId::new("old-S0");
    let mut tasks = vec![running(&id, task("t", &agent, "cpus:1"), TaskState::Running)];
    tasks.push(running(&FrameworkId::new("nobody"), task("u", &agent, "cpus:1"), TaskState::Running));
    let session = world.back(&agent, agent_info(7000, "cpus:4"), vec![info.clone()], tasks);
    let told = world.told(session);
    assert!(
        matches!(&told[..], [ToAgent::Registered { .. }, ToAgent::ShutdownFramework { framework_id }]
        if framework_id.as_str() == "nobody"),
        "{told:?}"
    );
    assert_eq!(world.cluster.agents.get(&agent).expect("back").used, star("cpus:1"));
    let scheduler = world.framework(info);
    world.update(session, &id, "t", TaskState::Finished, 1);
    assert_eq!(world.updates(&scheduler), [("t".into(), TaskState::Finished, Some(1))]);
    assert!(matches!(&world.told(session)[..], [ToAgent::UpdateFramework { .. }]), "the scheduler is there");
    world.acknowledge(&scheduler, &agent, "t", 1);
    assert_eq!(world.told(session).len(), 1);
}

#[test]
fn a_task_the_master_never_heard_of_is_adopted_from_a_known_agent() {
    let (mut world, _, agent, scheduler) = with_task(framework_info());
    let on_agent =
        world.cluster.frameworks.get(&scheduler.id).expect("subscribed").tasks["t"].info.as_ref().clone();
    let info = world.agent_info(&agent);
    let tasks = vec![
        running(&scheduler.id, on_agent, TaskState::Running),
        running(&scheduler.id, task("u", &agent, "cpus:1"), TaskState::Running),
    ];
    world.back(&agent, info, vec![], tasks);
    assert_eq!(world.cluster.agents.get(&agent).expect("back").used, star("cpus:2"));
    assert_eq!(world.offer(&scheduler).len(), 1);
}

#[test]
fn an_agent_that_says_goodbye_takes_its_tasks_with_it() {
    let (mut world, session, agent, scheduler) = with_task(partition_aware());
    world.say(session, ToMaster::Unregister);
    assert!(!world.cluster.agents.contains(&agent));
    let events = world.heard(&scheduler.stream);
    let Event::Update { status } = &events[0] else { panic!("{events:?}") };
    let host = "Agent host5052 removed: the agent unregistered";
    assert_eq!((status.state, status.message.as_deref()), (TaskState::Lost, Some(host)));
}

#[test]
fn an_agent_that_forgot_its_id_replaces_what_it_was() {
    let (mut world, session, agent, scheduler) = with_task(framework_info());
    let info = world.agent_info(&agent);
    let new = world.session();
    world.say(new, ToMaster::Register { info });
    assert!(!world.cluster.agents.contains(&agent) && world.closed_sessions.contains(&session));
    assert_eq!(world.updates(&scheduler), [("t".into(), TaskState::Lost, None)]);
    assert!(
        matches!(&world.told(new)[..], [ToAgent::Registered { agent_id, .. }] if agent_id.as_str() == "m-S1")
    );
}

#[test]
fn a_session_begins_with_a_registration_and_has_one() {
    let mut world = World::new();
    let stranger = world.session();
    world.say(stranger, ToMaster::Pong { sequence: 1 });
    assert!(world.closed_sessions.contains(&stranger));
    let (session, agent) = world.agent("cpus:4");
    let info = world.agent_info(&agent);
    world.say(session, ToMaster::Register { info });
    assert!(world.closed_sessions.contains(&session));
    assert!(world.cluster.agents.get(&agent).expect("known").session.is_none());
}

#[test]
fn an_agent_that_shrank_is_offered_as_it_is() {
    let (mut world, session, agent, scheduler) = with_task(framework_info());
    world.offer(&scheduler);
    let on_agent =
        world.cluster.frameworks.get(&scheduler.id).expect("subscribed").tasks["t"].info.as_ref().clone();
    world.give(Input::AgentGone { session });
    world.heard(&scheduler.stream);
    let info = agent_info(5052, "cpus:2;mem:100");
    world.back(&agent, info, vec![], vec![running(&scheduler.id, on_agent, TaskState::Running)]);
    let offers = world.offer(&scheduler);
    assert_eq!(world.cluster.offers[&offers[0]].resources, star("cpus:1;mem:100"));
}

#[test]
fn an_executor_that_is_not_named_has_ended() {
    let mut world = World::new();
    let (session, agent) = world.agent("cpus:4;mem:100");
    let scheduler = world.framework(framework_info());
    let offers = world.offer(&scheduler);
    let info =
        model::task::TaskInfo { executor: Some(executor("e", "mem:8")), ..task("t", &agent, "cpus:1") };
    world.launch(&scheduler, &offers[0], vec![info]);
    world.report(session, &scheduler.id, "e", "c");
    let known = world.cluster.frameworks.get(&scheduler.id).expect("subscribed");
    let on_agent = known.tasks["t"].info.as_ref().clone();
    let info = world.agent_info(&agent);
    world.give(Input::AgentGone { session });
    world.back(&agent, info, vec![], vec![running(&scheduler.id, on_agent, TaskState::Running)]);
    assert_eq!(
        world.cluster.agents.get(&agent).expect("back").used,
        star("cpus:1"),
        "the task's end is yet to come"
    );
}

/// Seed 665 of the simulator: FINISHED was told of it, and then the RUNNING that was still owed.
#[test]
fn a_task_that_is_back_is_told_in_the_state_that_is_owed_of_it() {
    let (mut world, session, agent, scheduler) = with_task(partition_aware());
    let info = world.agent_info(&agent);
    let known = world.cluster.frameworks.get(&scheduler.id).expect("subscribed");
    let (on_agent, framework) = (known.tasks["t"].info.as_ref().clone(), known.info.as_ref().clone());
    world.give(Input::AgentGone { session });
    world.pass_ms(80_000);
    world.heard(&scheduler.stream);
    let owed = RunningTask {
        pending: Some((TaskState::Running, UpdateId([1; 16]))),
        ..running(&scheduler.id, on_agent, TaskState::Finished)
    };
    world.back(&agent, info, vec![framework], vec![owed]);
    assert_eq!(world.updates(&scheduler), [("t".into(), TaskState::Running, None)]);
    let known = world.cluster.frameworks.get(&scheduler.id).expect("subscribed");
    assert_eq!(known.tasks["t"].state, TaskState::Finished, "it is over all the same");
}

#[test]
fn a_task_that_was_unreachable_lets_go_of_its_old_figures() {
    let (mut world, session, agent, scheduler) = with_task(partition_aware());
    let info = world.agent_info(&agent);
    let known = world.cluster.frameworks.get(&scheduler.id).expect("subscribed");
    let (on_agent, framework) = (known.tasks["t"].info.as_ref().clone(), known.info.as_ref().clone());
    world.report(session, &scheduler.id, "t", "c");
    world.give(Input::AgentGone { session });
    world.pass_ms(80_000);
    assert_eq!(world.cluster.rows.counts().len(), 1, "shown by the unreachable task");
    let tasks = vec![running(&scheduler.id, on_agent, TaskState::Running)];
    let new = world.back(&agent, info, vec![framework], tasks);
    assert_eq!(world.cluster.rows.counts().len(), 0);
    world.report(new, &scheduler.id, "t", "c");
    let known = world.cluster.frameworks.get(&scheduler.id).expect("subscribed");
    assert!(known.tasks["t"].usage.is_some() && known.unreachable.is_empty());
}

#[test]
fn a_nodes_figures_stay_where_they_are_until_its_agent_is_removed() {
    let (mut world, session, agent, _) = with_task(partition_aware());
    let row = world.report_node(session);
    let shown = |world: &World| world.cluster.agents.get(&agent).expect("registered").node;
    assert_eq!(shown(&world), Some(row));
    world.give(Input::AgentGone { session });
    let info = world.agent_info(&agent);
    let new = world.back(&agent, info, vec![], vec![]);
    assert_eq!((shown(&world), &world.kept[..]), (Some(row), &[(new, row)][..]), "its session is told");
    let other = world.report_node(new);
    assert_eq!(shown(&world), Some(other), "should it have another all the same, the first is free");
    world.say(new, ToMaster::Unregister);
    world.report_node(new);
    assert!(world.cluster.agents.get(&agent).is_none());
}
