//! Agents that operators take out of use.

use super::world::*;
use crate::cluster::effect::{Done, Event};
use crate::cluster::input::{Call, Input, OperatorCall, SessionId};
use api::refusal::Refusal;
use model::framework::FrameworkInfo;
use model::id::{AgentId, TaskId};
use model::task::{Reason, TaskState};
use wire::message::ToAgent;

struct Scene {
    world: World,
    session: SessionId,
    agent: AgentId,
    scheduler: Scheduler,
}

/// A task that runs, and an offer of the rest.
fn scene(info: FrameworkInfo) -> Scene {
    let mut world = World::new();
    let (session, agent) = world.agent("cpus:4;mem:100");
    let scheduler = world.framework(info);
    let offers = world.offer(&scheduler);
    world.launch(&scheduler, &offers[0], vec![task("t", &agent, "cpus:1")]);
    world.update(session, &scheduler.id, "t", TaskState::Running, 1);
    world.acknowledge(&scheduler, &agent, "t", 1);
    world.told(session);
    world.heard(&scheduler.stream);
    Scene { world, session, agent, scheduler }
}

fn is_rescinded(events: &[Event]) -> bool {
    events.iter().any(|event| matches!(event, Event::Rescind { .. }))
}

fn refused(answer: Result<Done, Refusal>) -> (u16, String) {
    let refusal = answer.expect_err("refused");
    (refusal.status(), refusal.to_string())
}

#[test]
fn a_deactivated_agent_is_not_offered_until_it_is_reactivated() {
    let Scene { mut world, session, agent, scheduler } = scene(framework_info());
    assert_eq!(world.offer(&scheduler).len(), 1);
    world.heard(&scheduler.stream);
    let deactivate = OperatorCall::Deactivate { agent_id: agent.clone() };
    assert_eq!(world.operator(deactivate.clone()), Ok(Done::Ok));
    assert!(is_rescinded(&world.heard(&scheduler.stream)));
    assert_eq!(world.offer(&scheduler), []);
    assert_eq!(world.told(session), [], "its tasks stay");
    let snapshot = world.cluster.snapshot(world.now);
    assert!(!snapshot.is_active(&snapshot.agents[0]) && snapshot.withdrawal(&agent).is_some());
    // Not by coming back, either.
    let info = world.agent_info(&agent);
    world.give(Input::AgentGone { session });
    let session = world.back(&agent, info, vec![], vec![]);
    assert_eq!(world.offer(&scheduler), []);
    world.told(session);
    let reactivate = OperatorCall::Reactivate { agent_id: agent.clone() };
    assert_eq!(world.operator(reactivate.clone()), Ok(Done::Ok));
    assert_eq!(world.offer(&scheduler).len(), 1);
    assert_eq!(refused(world.operator(reactivate)), (400, "Agent is not deactivated".into()));
    let unknown = OperatorCall::Deactivate { agent_id: AgentId::new("x") };
    assert_eq!(refused(world.operator(unknown)), (400, "Unknown agent".into()));
}

#[test]
fn a_drained_agent_has_no_task_left_and_waits_to_be_reactivated() {
    let Scene { mut world, session, agent, scheduler } = scene(framework_info());
    let drain = OperatorCall::Drain { agent_id: agent.clone(), max_grace_ns: Some(7), marks_gone: false };
    assert_eq!(world.operator(drain), Ok(Done::Ok));
    let order = ToAgent::Drain { max_grace_ns: Some(7), marks_gone: false };
    assert_eq!(world.told(session), std::slice::from_ref(&order));
    let state = |world: &mut World| {
        let snapshot = world.cluster.snapshot(world.now);
        snapshot
            .withdrawal(&agent)
            .and_then(|it| it.drain)
            .map(|drain| (drain.is_drained, drain.started.is_some()))
    };
    assert_eq!(state(&mut world), Some((false, true)));
    let reactivate = OperatorCall::Reactivate { agent_id: agent.clone() };
    let told = refused(world.operator(reactivate.clone()));
    assert_eq!(told, (400, "Agent is still in the DRAINING state".into()));
    // It is told again when it comes back.
    let on_agent =
        world.cluster.frameworks.get(&scheduler.id).expect("subscribed").tasks["t"].info.as_ref().clone();
    let info = world.agent_info(&agent);
    world.give(Input::AgentGone { session });
    let tasks = vec![running(&scheduler.id, on_agent, TaskState::Running)];
    let session = world.back(&agent, info, vec![], tasks);
    assert!(world.told(session).contains(&order));
    world.update(session, &scheduler.id, "t", TaskState::Killed, 2);
    assert_eq!(state(&mut world), Some((false, true)), "its end is not acknowledged");
    world.acknowledge(&scheduler, &agent, "t", 2);
    assert_eq!(state(&mut world), Some((true, true)));
    world.heard(&scheduler.stream);
    assert_eq!(world.offer(&scheduler), []);
    assert_eq!(world.operator(reactivate), Ok(Done::Ok));
    assert_eq!(state(&mut world), None);
    assert_eq!(world.offer(&scheduler).len(), 1);
}

#[test]
fn an_agent_that_is_drained_for_good_is_gone_with_its_last_task() {
    let Scene { mut world, session, agent, scheduler } = scene(partition_aware());
    let drain = OperatorCall::Drain { agent_id: agent.clone(), max_grace_ns: None, marks_gone: true };
    assert_eq!(world.operator(drain), Ok(Done::Ok));
    world.told(session);
    world.update(session, &scheduler.id, "t", TaskState::GoneByOperator, 2);
    world.acknowledge(&scheduler, &agent, "t", 2);
    assert!(!world.cluster.agents.contains(&agent));
    let told = world.told(session);
    assert!(matches!(told.last(), Some(ToAgent::Refused { .. })), "{told:?}");
    assert!(world.closed_sessions.contains(&session));
}

#[test]
fn an_agent_that_is_gone_takes_its_tasks_along_and_may_not_come_back() {
    for (info, state, reason) in [
        (partition_aware(), TaskState::GoneByOperator, Reason::AGENT_REMOVED_BY_OPERATOR),
        (framework_info(), TaskState::Lost, Reason::AGENT_REMOVED),
    ] {
        let Scene { mut world, session, agent, scheduler } = scene(info);
        let described = world.agent_info(&agent);
        let gone = OperatorCall::MarkGone { agent_id: agent.clone() };
        assert_eq!(world.operator(gone.clone()), Ok(Done::Ok));
        assert_eq!(world.told(session), [ToAgent::Refused { reason: "Agent has been marked gone".into() }]);
        let events = world.heard(&scheduler.stream);
        let status = events.iter().find_map(|event| match event {
            Event::Update { status } => Some(status),
            _ => None,
        });
        let status = status.expect("an update");
        assert_eq!((status.state, status.reason), (state, Some(reason)));
        assert_eq!(world.operator(gone), Ok(Done::Ok), "again, to no effect");
        let new = world.back(&agent, described, vec![], vec![]);
        assert!(matches!(&world.told(new)[..], [ToAgent::Refused { .. }]));
        assert!(!world.cluster.agents.contains(&agent));
        let ask = Call::Reconcile { tasks: vec![(TaskId::new("t"), Some(agent.clone()))] };
        world.call(&scheduler, ask).expect("taken");
        assert_eq!(world.updates(&scheduler), [("t".into(), state, None)]);
        let unknown = OperatorCall::MarkGone { agent_id: AgentId::new("x") };
        assert_eq!(refused(world.operator(unknown)), (404, "Agent 'x' not found".into()));
    }
}

#[test]
fn an_unreachable_agent_that_is_gone_is_no_longer_waited_for() {
    let Scene { mut world, session, agent, scheduler } = scene(partition_aware());
    world.give(Input::AgentGone { session });
    world.pass_ms(80_000);
    assert_eq!(world.updates(&scheduler), [("t".into(), TaskState::Unreachable, None)]);
    // A drain waits for it to come back.
    let drain = OperatorCall::Drain { agent_id: agent.clone(), max_grace_ns: None, marks_gone: false };
    assert_eq!(world.operator(drain), Ok(Done::Ok));
    assert_eq!(world.operator(OperatorCall::MarkGone { agent_id: agent.clone() }), Ok(Done::Ok));
    assert_eq!(world.updates(&scheduler), [("t".into(), TaskState::GoneByOperator, None)]);
    let snapshot = world.cluster.snapshot(world.now);
    assert!(snapshot.unreachable_agents.is_empty() && snapshot.frameworks[0].unreachable_tasks.is_empty());
}
