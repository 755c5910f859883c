//! Tasks: updates, acknowledgements, kills, reconciliation, executors.

use super::world::*;
use crate::cluster::Settings;
use crate::cluster::effect::{Done, Event};
use crate::cluster::input::{Call, Input, OperatorCall};
use bytes::Bytes;
use model::framework::FrameworkInfo;
use model::id::{AgentId, ExecutorId, FrameworkId, TaskId, UpdateId};
use model::task::{Reason, TaskInfo, TaskState};
use wire::message::{RunningTask, ToAgent, ToMaster};

/// A world with one agent and one framework that runs task "t".
fn one_task() -> (World, model::id::AgentId, crate::cluster::input::SessionId, Scheduler) {
    let mut world = World::new();
    let (session, agent) = world.agent("cpus:4;mem:100");
    let scheduler = world.framework(partition_aware());
    let offers = world.offer(&scheduler);
    world.launch(&scheduler, &offers[0], vec![task("t", &agent, "cpus:1")]);
    world.told(session);
    (world, agent, session, scheduler)
}

#[test]
fn an_update_goes_to_the_scheduler_and_its_acknowledgement_to_the_agent() {
    let (mut world, agent, session, scheduler) = one_task();
    world.update(session, &scheduler.id, "t", TaskState::Running, 1);
    assert_eq!(world.updates(&scheduler), [("t".into(), TaskState::Running, Some(1))]);
    world.acknowledge(&scheduler, &agent, "t", 9);
    assert_eq!(world.told(session), [], "nobody was told of update 9");
    world.acknowledge(&scheduler, &agent, "t", 1);
    let (framework_id, task_id) = (scheduler.id.clone(), TaskId::new("t"));
    let expected = ToAgent::Acknowledge { framework_id, task_id, update_id: UpdateId([1; 16]) };
    assert_eq!(world.told(session), std::slice::from_ref(&expected));
    world.update(session, &scheduler.id, "t", TaskState::Running, 1);
    assert_eq!(world.updates(&scheduler).len(), 1, "repeated, because the acknowledgement was lost");
    world.acknowledge(&scheduler, &agent, "t", 1);
    assert_eq!(world.told(session), [expected]);
}

#[test]
fn a_task_that_ends_frees_its_resources_before_anyone_acknowledges() {
    let (mut world, agent, session, scheduler) = one_task();
    let offers = world.offer(&scheduler);
    world.launch(&scheduler, &offers[0], vec![]);
    world.update(session, &scheduler.id, "t", TaskState::Finished, 1);
    assert_eq!(world.updates(&scheduler).len(), 1);
    let offers = world.offer(&scheduler);
    assert_eq!(world.cluster.offers[&offers[0]].resources, star("cpus:4;mem:100"));
    let framework = |world: &World| {
        let framework = world.cluster.frameworks.get(&scheduler.id).expect("subscribed");
        (framework.tasks.len(), framework.completed.len())
    };
    assert_eq!(framework(&world), (1, 0), "kept until acknowledged");
    world.acknowledge(&scheduler, &agent, "t", 1);
    assert_eq!(framework(&world), (0, 1));
    world.update(session, &scheduler.id, "t", TaskState::Running, 2);
    assert_eq!(framework(&world), (0, 1), "what is over stays over");
}

#[test]
fn a_task_may_be_over_while_its_scheduler_hears_that_it_starts() {
    let (mut world, agent, session, scheduler) = one_task();
    let mut status = model::task::TaskStatus::made_by(
        model::task::Source::Executor,
        TaskId::new("t"),
        TaskState::Starting,
        None,
        "",
    );
    status.update_id = Some(UpdateId([1; 16]));
    let framework_id = scheduler.id.clone();
    world.say(session, ToMaster::Update { framework_id, status, latest_state: TaskState::Finished });
    assert_eq!(world.updates(&scheduler), [("t".into(), TaskState::Starting, Some(1))]);
    assert!(world.cluster.agents.get(&agent).expect("registered").used.is_empty());
    world.acknowledge(&scheduler, &agent, "t", 1);
    world.call(&scheduler, Call::Reconcile { tasks: vec![] }).expect("taken");
    assert_eq!(world.updates(&scheduler), [("t".into(), TaskState::Starting, None)], "what it was told last");
}

#[test]
fn updates_of_a_framework_that_is_away_are_left_to_the_agent() {
    let (mut world, agent, session, scheduler) = one_task();
    world.give(Input::StreamGone { stream: scheduler.stream.clone() });
    world.update(session, &scheduler.id, "t", TaskState::Finished, 1);
    assert!(world.cluster.agents.get(&agent).expect("registered").used.is_empty(), "freed all the same");
    let back = world.framework(model::framework::FrameworkInfo {
        framework_id: Some(scheduler.id.clone()),
        ..partition_aware()
    });
    assert_eq!(world.updates(&back), []);
    world.update(session, &scheduler.id, "t", TaskState::Finished, 1);
    assert_eq!(world.updates(&back), [("t".into(), TaskState::Finished, Some(1))]);
    world.acknowledge(&back, &agent, "t", 1);
}

/// An answer that ran ahead of the update still to come would make a task live again after its end
/// (`ingot-sim --seed 38`).
#[test]
fn reconciliation_does_not_run_ahead_of_updates_that_a_framework_missed() {
    let (mut world, _, session, scheduler) = one_task();
    world.give(Input::StreamGone { stream: scheduler.stream.clone() });
    let mut status = model::task::TaskStatus::made_by(
        model::task::Source::Executor,
        TaskId::new("t"),
        TaskState::Running,
        None,
        "",
    );
    status.update_id = Some(UpdateId([1; 16]));
    let framework_id = scheduler.id.clone();
    world.say(session, ToMaster::Update { framework_id, status, latest_state: TaskState::Failed });
    let back = world.framework(model::framework::FrameworkInfo {
        framework_id: Some(scheduler.id.clone()),
        ..partition_aware()
    });
    world.call(&back, Call::Reconcile { tasks: vec![] }).expect("taken");
    assert_eq!(world.updates(&back), [("t".into(), TaskState::Running, None)]);
}

#[test]
fn data_goes_to_the_scheduler_and_is_not_kept() {
    let (mut world, _, session, scheduler) = one_task();
    let mut status = model::task::TaskStatus::made_by(
        model::task::Source::Executor,
        TaskId::new("t"),
        TaskState::Running,
        None,
        "hello",
    );
    status.data = Some(Bytes::from(vec![7; 1000]));
    let whole = api::convert::status::to_v1(&status).expect("writable");
    status.body = model::body::Body::new(api::protobuf::encode(&whole));
    let framework_id = scheduler.id.clone();
    world.say(session, ToMaster::Update { framework_id, status, latest_state: TaskState::Running });
    let events = world.heard(&scheduler.stream);
    assert!(
        matches!(&events[..], [Event::Update { status }] if status.data.as_ref().is_some_and(|data| data.len() == 1000))
    );
    let kept = &world.cluster.frameworks.get(&scheduler.id).expect("subscribed").tasks["t"].statuses[0];
    assert!(kept.data.is_none() && kept.body.0.len() < 100, "{kept:?}");
    assert_eq!(api::convert::status::to_v1(kept).expect("readable").message.as_deref(), Some("hello"));
}

#[test]
fn kill_goes_to_the_agent_and_is_answered_when_there_is_nothing_to_kill() {
    let (mut world, agent, session, scheduler) = one_task();
    let kill = |task: &str, agent: Option<&AgentId>| Call::Kill {
        task_id: TaskId::new(task),
        agent_id: agent.cloned(),
        grace_ns: Some(5),
    };
    assert_eq!(world.call(&scheduler, kill("t", None)), Ok(Done::Accepted));
    let (framework_id, task_id) = (scheduler.id.clone(), TaskId::new("t"));
    assert_eq!(world.told(session), [ToAgent::Kill { framework_id, task_id, grace_ns: Some(5) }]);
    for (id, expected) in [
        (None, TaskState::Unknown),
        (Some(AgentId::new("nowhere")), TaskState::Unknown),
        (Some(agent), TaskState::Gone),
    ] {
        assert_eq!(world.call(&scheduler, kill("x", id.as_ref())), Ok(Done::Accepted));
        assert_eq!(world.updates(&scheduler), [("x".into(), expected, None)]);
    }
    assert_eq!(world.told(session), []);
}

#[test]
fn reconciliation_tells_what_is_known() {
    let (mut world, agent, session, scheduler) = one_task();
    world.update(session, &scheduler.id, "t", TaskState::Running, 1);
    world.heard(&scheduler.stream);
    let ask = |tasks: &[(&str, Option<&AgentId>)]| Call::Reconcile {
        tasks: tasks.iter().map(|(task, agent)| (TaskId::new(task), agent.cloned())).collect(),
    };
    world.call(&scheduler, ask(&[])).expect("taken");
    let events = world.heard(&scheduler.stream);
    let [Event::Update { status }] = &events[..] else { panic!("{events:?}") };
    assert_eq!(
        (status.state, status.reason, status.update_id),
        (TaskState::Running, Some(Reason::RECONCILIATION), None)
    );
    assert_eq!(status.message.as_deref(), Some("Reconciliation: Latest task state"));
    world.call(&scheduler, ask(&[("t", None), ("x", Some(&agent)), ("y", None)])).expect("taken");
    assert_eq!(
        world.updates(&scheduler),
        [
            ("t".into(), TaskState::Running, None),
            ("x".into(), TaskState::Gone, None),
            ("y".into(), TaskState::Unknown, None),
        ]
    );
}

/// Each state that only partition-aware frameworks know, asked after; the others hear LOST for all of them.
#[test]
fn what_became_of_a_task_depends_on_its_agent_and_on_who_asks() {
    let mut world = World::new();
    let (_, there) = world.agent("cpus:1");
    let (session, unreachable) = world.agent("cpus:1");
    let (_, gone) = world.agent("cpus:1");
    world.give(Input::AgentGone { session });
    world.operator(OperatorCall::MarkGone { agent_id: gone.clone() }).expect("known");
    world.pass_ms(80_000);
    let agents = [Some(there), Some(unreachable), Some(gone), Some(AgentId::new("nowhere")), None];
    let aware = [
        TaskState::Gone,
        TaskState::Unreachable,
        TaskState::GoneByOperator,
        TaskState::Unknown,
        TaskState::Unknown,
    ];
    for (info, states) in [(partition_aware(), aware), (framework_info(), [TaskState::Lost; 5])] {
        let scheduler = world.framework(info);
        let tasks = agents.iter().map(|agent| (TaskId::new("x"), agent.clone())).collect();
        world.call(&scheduler, Call::Reconcile { tasks }).expect("taken");
        assert_eq!(world.updates(&scheduler), states.map(|state| ("x".into(), state, None)));
    }
}

/// As Mesos of tasks on agents that it has "recovered" but not seen yet.
#[test]
fn nothing_is_told_of_tasks_that_may_be_on_an_agent_yet_to_return() {
    let mut world = World::new();
    let info = FrameworkInfo { framework_id: Some(FrameworkId::new("old-0000")), ..framework_info() };
    let returned = world.framework(info.clone());
    let (old, other) = (AgentId::new("old-S0"), AgentId::new("old-S1"));
    let ask = |tasks: &[(&str, Option<&AgentId>)]| Call::Reconcile {
        tasks: tasks.iter().map(|(task, agent)| (TaskId::new(task), agent.cloned())).collect(),
    };
    let all = [("t", Some(&old)), ("u", Some(&other)), ("v", None)];
    world.call(&returned, ask(&all)).expect("taken");
    let kill = Call::Kill { task_id: TaskId::new("u"), agent_id: Some(other.clone()), grace_ns: None };
    world.call(&returned, kill).expect("taken");
    assert_eq!(world.updates(&returned), []);
    let own = AgentId::new(format!("{MASTER}-S7"));
    world.call(&returned, ask(&[("w", Some(&own))])).expect("taken");
    assert_eq!(world.updates(&returned), [("w".into(), TaskState::Lost, None)], "never given to an agent");

    let new = world.framework(framework_info());
    world.call(&new, ask(&all)).expect("taken");
    let lost = |task: &str| (task.into(), TaskState::Lost, None);
    assert_eq!(world.updates(&new), [lost("t"), lost("u"), lost("v")], "it cannot have had tasks before");

    let on_agent = RunningTask {
        framework_id: returned.id.clone(),
        ..running(&returned.id, task("t", &old, "cpus:1"), TaskState::Running)
    };
    world.back(&old, agent_info(7000, "cpus:4"), vec![info], vec![on_agent]);
    world.heard(&returned.stream);
    world.call(&returned, ask(&[("t", Some(&old)), ("x", Some(&old)), ("u", Some(&other))])).expect("taken");
    assert_eq!(world.updates(&returned), [("t".into(), TaskState::Running, None), lost("x")]);

    world.pass_ms(model::limits::AGENT_REREGISTER_TIMEOUT_MS);
    world.heard(&returned.stream);
    world.call(&returned, ask(&all[1..])).expect("taken");
    assert_eq!(world.updates(&returned), [lost("u"), lost("v")]);
}

#[test]
fn operations_asked_about_are_not_known() {
    let (mut world, agent, _, scheduler) = one_task();
    let operations =
        vec![("a".into(), None), ("b".into(), Some(agent)), ("c".into(), Some(AgentId::new("nowhere")))];
    world.call(&scheduler, Call::ReconcileOperations { operations }).expect("taken");
    let texts: Vec<_> = world
        .heard(&scheduler.stream)
        .into_iter()
        .map(|event| match event {
            Event::Operation { operation_id, state, message, .. } => {
                assert_eq!(state, api::v1::OperationState::OperationUnknown);
                format!("{operation_id}: {message}")
            }
            other => panic!("{other:?}"),
        })
        .collect();
    let expected = [
        "a: Reconciliation: Operation is unknown and no 'agent_id' was provided",
        "b: Reconciliation: Operation is unknown",
        "c: Reconciliation: Both operation and agent are unknown",
    ];
    assert_eq!(texts, expected);
}

#[test]
fn a_task_may_ask_for_nothing() {
    let mut world = World::new();
    let (session, agent) = world.agent("cpus:4");
    let scheduler = world.framework(framework_info());
    let offers = world.offer(&scheduler);
    world.launch(&scheduler, &offers[0], vec![task("t", &agent, "cpus:0")]);
    assert!(matches!(&world.told(session)[..], [ToAgent::Run { .. }]), "as in Mesos");
    world.update(session, &scheduler.id, "t", TaskState::Finished, 1);
    world.acknowledge(&scheduler, &agent, "t", 1);
}

#[test]
fn an_executor_holds_its_share_until_its_container_has_ended() {
    let mut world = World::new();
    let (session, agent) = world.agent("cpus:4;mem:100");
    let scheduler = world.framework(framework_info());
    let offers = world.offer(&scheduler);
    let info = TaskInfo { executor: Some(executor("e", "mem:32")), ..task("t", &agent, "cpus:1") };
    world.launch(&scheduler, &offers[0], vec![info]);
    world.update(session, &scheduler.id, "t", TaskState::Failed, 1);
    world.heard(&scheduler.stream);
    assert_eq!(world.cluster.agents.get(&agent).expect("registered").used, star("mem:32"));
    let exited = |container: &str| ToMaster::ExecutorExited {
        framework_id: scheduler.id.clone(),
        executor_id: ExecutorId::new("e"),
        container_id: container.into(),
        wait_status: Some(256),
    };
    world.say(session, exited("c"));
    let events = world.heard(&scheduler.stream);
    let [Event::Failure { agent_id, executor_id: Some(id), status: Some(256) }] = &events[..] else {
        panic!("{events:?}")
    };
    assert_eq!((agent_id, id.as_str()), (&agent, "e"));
    assert!(world.cluster.agents.get(&agent).expect("registered").used.is_empty());
    world.say(session, exited("c"));
    assert!(world.heard(&scheduler.stream).is_empty(), "it ends once");
}

#[test]
fn messages_pass_both_ways_while_both_ends_are_there() {
    let (mut world, agent, session, scheduler) = one_task();
    let data = Bytes::from_static(b"hi");
    let executor_id = ExecutorId::new("e");
    let message =
        Call::Message { agent_id: agent.clone(), executor_id: executor_id.clone(), data: data.clone() };
    world.call(&scheduler, message).expect("taken");
    let framework_id = scheduler.id.clone();
    let there = ToAgent::SchedulerMessage {
        framework_id: framework_id.clone(),
        executor_id: executor_id.clone(),
        data: data.clone(),
    };
    assert_eq!(world.told(session), [there]);
    world.say(session, ToMaster::ExecutorMessage { framework_id, executor_id, data });
    assert!(
        matches!(&world.heard(&scheduler.stream)[..], [Event::Message { agent_id, .. }] if *agent_id == agent)
    );
    let counters = world.cluster.counters;
    assert_eq!(
        (counters.valid_framework_to_executor_messages, counters.valid_executor_to_framework_messages),
        (1, 1)
    );
}

#[test]
fn completed_tasks_are_kept_within_bounds_with_their_figures() {
    let mut world = World::with(Settings { max_completed_tasks_per_framework: 2, ..Settings::default() });
    let (session, agent) = world.agent("cpus:4");
    let scheduler = world.framework(framework_info());
    for n in 0..4u8 {
        let name = format!("t{n}");
        let offers = world.offer(&scheduler);
        world.launch(&scheduler, &offers[0], vec![task(&name, &agent, "cpus:1")]);
        let row = world.report(session, &scheduler.id, &name, &format!("c{n}"));
        world.update(session, &scheduler.id, &name, TaskState::Finished, n);
        world.acknowledge(&scheduler, &agent, &name, n);
        world.heard(&scheduler.stream);
        let executor_id = ExecutorId::new(&name);
        world.give(Input::ContainerOver { session, framework_id: scheduler.id.clone(), executor_id, row });
    }
    let snapshot = world.cluster.snapshot(world.now);
    let framework = snapshot.framework(&scheduler.id).expect("subscribed");
    let names: Vec<_> = framework.completed_tasks.iter().map(|task| task.info.task_id.as_str()).collect();
    assert_eq!(names, ["t2", "t3"]);
    assert!(framework.completed_tasks.iter().all(|task| task.usage.is_some()));
    assert_eq!(world.cluster.rows.counts().len(), 2);
}

#[test]
fn a_short_task_shows_figures_that_come_after_its_end() {
    let (mut world, agent, session, scheduler) = one_task();
    world.update(session, &scheduler.id, "t", TaskState::Finished, 1);
    world.acknowledge(&scheduler, &agent, "t", 1);
    world.report(session, &scheduler.id, "t", "c");
    let completed = &world.cluster.frameworks.get(&scheduler.id).expect("subscribed").completed[0];
    assert!(completed.usage.is_some());
    assert_eq!(completed.container_id, Some("c".into()));
}

#[test]
fn so_does_one_whose_framework_is_over_as_well() {
    let (mut world, agent, session, scheduler) = one_task();
    world.update(session, &scheduler.id, "t", TaskState::Finished, 1);
    world.acknowledge(&scheduler, &agent, "t", 1);
    world.call(&scheduler, Call::Teardown).expect("taken");
    let before = world.cluster.snapshot(world.now);
    let row = world.report(session, &scheduler.id, "t", "c");
    let shown = |snapshot: &crate::cluster::snapshot::Snapshot| {
        snapshot.completed_frameworks[0].completed_tasks[0].usage
    };
    assert_eq!(shown(&before), None, "a picture stays as it was taken");
    let after = world.cluster.snapshot(world.now);
    assert_eq!(shown(&after), Some(row));
    let executor_id = ExecutorId::new("t");
    world.give(Input::ContainerOver { session, framework_id: scheduler.id.clone(), executor_id, row });
    assert_eq!(world.cluster.rows.counts().len(), 1, "kept with the task");
}
