//! What the node does, told as scenes.

use crate::node::effect::{Effect, Ending, Record, Run};
use crate::node::input::{ContainerEnd, ExecutorCall, Input, OutOfMemory};
use crate::node::world::{PING_TIMEOUT_MS, World, status, task};
use model::framework::Capabilities;
use model::id::{ContainerId, ExecutorId, FrameworkId, TaskId, UpdateId};
use model::task::{Reason, Source, TaskState};
use wire::message::ToAgent;

impl World {
    /// The one container that is being, or was, launched.
    pub(super) fn container(&self) -> ContainerId {
        let launching = self.launching.iter().map(|run| &run.container_id);
        launching.chain(self.processes.keys()).next().expect("a container").clone()
    }

    /// A task that its executor has.
    pub(super) fn with_task(checkpoint: bool, executor: Option<&str>) -> (Self, ContainerId) {
        let mut world = Self::registered(checkpoint);
        world.run(task("t", executor));
        world.flush();
        world.launch_one();
        world.flush();
        let container_id = world.container();
        world.subscribe(&container_id);
        world.flush();
        (world, container_id)
    }

    /// Somebody sets the wall clock.
    pub(super) fn jump_clock(&mut self, hours: i64) {
        self.now.unix.0 = self.now.unix.0.saturating_add_signed(hours * 3_600_000_000);
    }

    /// A crash of the whole machine: nothing lives on.
    pub(super) fn reboot(&mut self) {
        self.processes.clear();
        self.come_back(true);
    }

    pub(super) fn last(&self, n: usize) -> Vec<&str> {
        self.seen[self.seen.len().saturating_sub(n)..].iter().map(String::as_str).collect()
    }

    pub(super) fn states(&self, task_id: &str) -> Vec<TaskState> {
        self.told
            .get(&TaskId::new(task_id))
            .map_or(Vec::new(), |told| told.iter().map(|(_, state)| *state).collect())
    }
}

#[test]
fn the_id_is_durable_before_the_agent_counts_as_registered() {
    let mut world = World::new(true);
    world.connect();
    world.run(task("early", None));
    assert!(!world.node.is_registered());
    assert!(matches!(world.to_disk.front(), Some((_, Record::Agent { .. }))));
    assert!(world.launching.is_empty(), "a task ran before its agent could be known again");
    world.flush();
    assert!(world.node.is_registered());
    assert_eq!(world.launching.len(), 1, "what the master said meanwhile was not heard");
}

#[test]
fn a_command_task_from_run_to_its_acknowledged_end() {
    let (mut world, container_id) = World::with_task(false, None);
    assert_eq!(world.last(3), ["answer Streaming", "subscribed", "launch t"]);
    let id = TaskId::new("t");
    world.executor_tells(&container_id, &id, TaskState::Starting);
    world.executor_tells(&container_id, &id, TaskState::Running);
    assert_eq!(world.states("t"), [TaskState::Starting], "one at a time");
    world.acknowledge_one();
    world.executor_tells(&container_id, &id, TaskState::Finished);
    assert_eq!(world.last(2), ["answer Accepted", "acknowledged t"]);
    world.acknowledge_one();
    assert_eq!(world.last(1), ["update t TASK_FINISHED latest TASK_FINISHED"]);
    world.acknowledge_one();
    world.end_container(&container_id);
    assert_eq!(world.node.frameworks().count(), 0);
    let done = world.node.completed_frameworks().next().expect("remembered");
    assert_eq!(done.completed_executors[0].completed_tasks[0].state, TaskState::Finished);
}

#[test]
fn a_task_of_an_executor_that_goes_on_is_retired_when_its_end_is_acknowledged() {
    for (checkpoint, executor, is_retired) in
        [(true, Some("e"), true), (false, Some("e"), false), (true, None, false)]
    {
        let (mut world, container_id) = World::with_task(checkpoint, executor);
        world.executor_tells(&container_id, &TaskId::new("t"), TaskState::Finished);
        world.flush();
        let retired = |world: &World| world.seen.iter().any(|seen| seen == "retire task t");
        assert!(!retired(&world));
        world.acknowledge_one();
        world.flush();
        assert_eq!(retired(&world), is_retired, "{checkpoint} {executor:?}");
    }
}

#[test]
fn an_update_is_told_to_nobody_before_it_is_durable() {
    let (mut world, container_id) = World::with_task(true, None);
    world.executor_tells(&container_id, &TaskId::new("t"), TaskState::Running);
    assert_eq!(world.last(1), ["answer Accepted"]);
    world.flush();
    assert_eq!(world.last(2), ["acknowledged t", "update t TASK_RUNNING latest TASK_RUNNING"]);
}

#[test]
fn an_unacknowledged_update_is_sent_again_ever_more_rarely() {
    let (mut world, container_id) = World::with_task(false, None);
    world.executor_tells(&container_id, &TaskId::new("t"), TaskState::Running);
    let mut waits = Vec::new();
    for _ in 0..9 {
        let before = (world.now.time, world.seen.len());
        world.wait_until(|world| world.seen.len() > before.1);
        assert_eq!(world.last(1), ["update t TASK_RUNNING latest TASK_RUNNING"]);
        waits.push(world.now.time.since_ns(before.0) / 1_000_000_000);
    }
    assert_eq!(waits, [10, 20, 40, 80, 160, 320, 600, 600, 600]);
}

#[test]
fn a_scheduler_that_comes_back_is_told_at_once() {
    let (mut world, container_id) = World::with_task(false, None);
    world.executor_tells(&container_id, &TaskId::new("t"), TaskState::Running);
    let before = world.seen.len();
    world.say(ToAgent::UpdateFramework { framework: world.framework.clone() });
    assert_eq!(world.seen.len(), before + 1);
    assert_eq!(world.last(1), ["update t TASK_RUNNING latest TASK_RUNNING"]);
}

#[test]
fn an_executor_that_never_subscribes_is_ended_and_its_tasks_fail() {
    let mut world = World::registered(false);
    world.run(task("t", Some("e")));
    world.launch_one();
    let container_id = world.container();
    world.wait_until(|world| !world.dying.is_empty());
    assert_eq!(world.now.time, model::time::Time::from_ms(60_001));
    world.end_container(&container_id);
    let told = world.node.frameworks().next().expect("owed").executors[0].tasks[0].statuses[0].clone();
    assert_eq!(told.reason, Some(Reason::EXECUTOR_REGISTRATION_TIMEOUT));
    assert_eq!(told.message.as_deref(), Some("Executor did not register within 1mins"));
    assert_eq!(world.states("t"), [TaskState::Failed]);
}

#[test]
fn an_executor_that_dies_leaves_no_task_without_an_end() {
    let (mut world, container_id) = World::with_task(false, Some("e"));
    world.run(task("u", Some("e")));
    world.executor_tells(&container_id, &TaskId::new("t"), TaskState::Running);
    world.end_container(&container_id);
    assert_eq!(world.last(1), ["master hears ExecutorExited"]);
    assert_eq!(world.states("u"), [TaskState::Failed]);
    world.settle();
    assert_eq!(world.states("t"), [TaskState::Running, TaskState::Failed]);
    let done = world.node.completed_frameworks().next().expect("remembered");
    let told = &done.completed_executors[0].completed_tasks[0].statuses;
    let failed = told.last().expect("an end");
    assert_eq!(
        (failed.reason, failed.message.as_deref()),
        (Some(Reason::EXECUTOR_TERMINATED), Some("Executor terminated"))
    );
}

/// The master heard of the executor's end and sent a task that begins it anew, while the agent still owed updates for the
/// old one. Unless it hears again that there is none, the master holds a new executor's resources for ever
/// (`ingot-sim --seed 8`).
#[test]
fn a_task_for_an_executor_that_just_ended_leaves_the_master_no_executor() {
    let (mut world, container_id) = World::with_task(false, Some("e"));
    world.end_container(&container_id);
    world.run(task("late", Some("e")));
    assert_eq!(world.states("late"), [TaskState::Dropped]);
    assert_eq!(world.last(1), ["master hears ExecutorExited"]);
}

/// The introduction has named the executor; a master that never hears of its end holds its resources for ever.
#[test]
fn an_executor_that_ends_while_the_agent_introduces_itself_is_told_of() {
    let (mut world, container_id) = World::with_task(false, Some("e"));
    world.lose_link();
    world.wait_until(|world| world.dialing.is_some());
    let session = world.dialing.take().expect("waited for");
    world.input(Input::LinkUp { session });
    // It has the introduction, and takes its time to answer.
    world.session = Some(session);
    world.end_container(&container_id);
    world.admit(session, Vec::new());
    assert!(world.seen.contains(&"master hears ExecutorExited".to_owned()), "{:?}", world.seen);
}

/// Not only its tasks' ends: the framework hears FAILURE, with a status. So the master is told of an executor that it may
/// never have heard of, and then how that ended; once.
#[test]
fn an_executor_that_ends_while_there_is_no_master_is_named_and_then_told_of() {
    for is_restart in [false, true] {
        let (mut world, container_id) = World::with_task(true, Some("e"));
        world.flush();
        world.lose_link();
        if is_restart {
            world.crash();
        }
        world.end_container(&container_id);
        // Nothing else keeps the framework here then.
        let heard = |world: &World| world.seen.iter().filter(|it| it.contains("ExecutorExited")).count();
        assert_eq!(heard(&world), 0);
        world.connect();
        assert_eq!(world.introduced, std::slice::from_ref(&container_id));
        assert_eq!(heard(&world), 1);
        world.lose_link();
        world.connect();
        assert_eq!(world.introduced, []);
        assert_eq!(heard(&world), 1);
    }
}

/// All of them died with it, whichever took the memory.
#[test]
fn a_memory_limit_that_was_met_is_what_every_live_task_of_the_executor_is_told() {
    let (mut world, container_id) = World::with_task(false, Some("e"));
    world.run(task("u", Some("e")));
    world.executor_tells(&container_id, &TaskId::new("t"), TaskState::Running);
    world.processes.clear();
    let out_of_memory = OutOfMemory {
        limit_met_count: 1,
        kills_count: 1,
        limit_bytes: Some(64 << 20),
        peak_bytes: 64 << 20,
        ..OutOfMemory::default()
    };
    let end = ContainerEnd { wait_status: Some(9), out_of_memory: Some(out_of_memory) };
    world.input(Input::ContainerEnded { container_id, end });
    let owed = world.node.frameworks().next().expect("owed");
    for task_id in ["t", "u"] {
        let of = |task: &&crate::node::view::TaskView<'_>| task.info.task_id.as_str() == task_id;
        let executor = &owed.executors[0];
        let told = executor.tasks.iter().find(of).expect("owed").statuses.last().expect("told").clone();
        assert_eq!((told.state, told.source), (TaskState::Failed, Some(Source::Agent)));
        assert_eq!(told.reason, Some(Reason::CONTAINER_LIMITATION_MEMORY));
        assert!(told.message.as_deref().is_some_and(|text| text.contains("Requested: 64MB")), "{told:?}");
        let limited =
            api::convert::status::to_v1(&told).expect("readable").limitation.expect("limited").resources;
        assert_eq!(api::convert::resources::from_v1(&limited).expect("resources").to_string(), "mem:64");
    }
}

#[test]
fn a_sandbox_over_its_limit_ends_its_container_and_tells_its_tasks_why() {
    let (mut world, container_id) = World::with_task(false, Some("e"));
    let over = || Input::DiskOverstepped {
        container_id: container_id.clone(),
        limit_bytes: 10 << 20,
        used_bytes: 21 << 19,
    };
    world.input(over());
    assert!(world.dying.contains(&container_id), "it lives");
    assert_eq!(world.states("t"), [], "told before it is gone");
    // The next look finds it so, too.
    world.input(over());
    world.end_container(&container_id);
    let owed = world.node.frameworks().next().expect("owed");
    let told = owed.executors[0].tasks[0].statuses.last().expect("told").clone();
    assert_eq!((told.state, told.source), (TaskState::Failed, Some(Source::Agent)));
    assert_eq!(told.reason, Some(Reason::CONTAINER_LIMITATION_DISK));
    assert_eq!(told.message.as_deref(), Some("Disk usage (10.5MB) exceeds quota (10MB)"));
}

#[test]
fn a_kill_before_delivery_is_answered_by_the_agent() {
    let mut world = World::registered(false);
    world.run(task("t", None));
    world.launch_one();
    world.kill("t");
    assert_eq!(world.states("t"), [TaskState::Killed]);
    let container_id = world.container();
    world.subscribe(&container_id);
    assert_eq!(world.last(2)[1], "shutdown", "an executor without work is not kept");
}

#[test]
fn a_kill_of_a_task_that_is_not_here_is_answered_in_words_the_framework_understands() {
    let (mut world, _) = World::with_task(false, Some("e"));
    world.kill("x");
    assert_eq!(world.states("x"), [TaskState::Dropped]);
    let mut old = world.framework.clone();
    old.capabilities = Capabilities::default();
    world.say(ToAgent::UpdateFramework { framework: old });
    world.kill("y");
    assert_eq!(world.states("y"), [TaskState::Lost]);
}

#[test]
fn a_kill_waits_for_an_executor_that_is_away() {
    let (mut world, container_id) = World::with_task(false, Some("e"));
    let caller = world.processes[&container_id].stream.expect("subscribed");
    world.input(Input::StreamClosed { caller });
    world.processes.get_mut(&container_id).expect("there").stream = None;
    world.kill("t");
    assert_eq!(world.states("t"), []);
    world.subscribe(&container_id);
    assert_eq!(world.states("t"), [TaskState::Killed]);
}

#[test]
fn a_shutdown_is_asked_first_and_forced_after_the_grace_period() {
    let (mut world, container_id) = World::with_task(false, Some("e"));
    let (framework_id, executor_id) = (FrameworkId::new("F"), ExecutorId::new("e"));
    world.say(ToAgent::ShutdownExecutor { framework_id, executor_id });
    assert_eq!(world.last(1), ["shutdown"]);
    assert!(world.dying.is_empty());
    let asked = world.now.time;
    world.wait();
    assert_eq!(world.now.time.since_ns(asked), 5_000_000_000);
    assert!(world.dying.contains(&container_id));
    world.run(task("u", Some("e")));
    assert_eq!(world.states("u"), [TaskState::Dropped], "nothing is given to an executor that is going");
}

#[test]
fn an_executors_own_grace_period_counts() {
    let mut world = World::registered(false);
    let mut own = task("t", Some("e"));
    own.executor.as_mut().expect("asked for").shutdown_grace_ns = Some(9_000_000_000);
    world.run(own);
    world.launch_one();
    let container_id = world.container();
    world.subscribe(&container_id);
    let asked = world.now.time;
    world.say(ToAgent::ShutdownFramework { framework_id: FrameworkId::new("F") });
    world.wait();
    assert_eq!(world.now.time.since_ns(asked), 9_000_000_000);
}

#[test]
fn a_framework_that_is_shut_down_is_owed_nothing() {
    let (mut world, container_id) = World::with_task(true, Some("e"));
    world.executor_tells(&container_id, &TaskId::new("t"), TaskState::Running);
    world.flush();
    world.say(ToAgent::ShutdownFramework { framework_id: FrameworkId::new("F") });
    let updates = world.told.len();
    world.executor_tells(&container_id, &TaskId::new("t"), TaskState::Killed);
    assert_eq!(world.last(1), ["acknowledged t"], "its executor need not wait");
    world.end_container(&container_id);
    world.flush();
    assert_eq!(world.told.len(), updates);
    assert_eq!(world.node.frameworks().count(), 0);
}

#[test]
fn a_caller_that_is_not_known_is_refused() {
    let (mut world, container_id) = World::with_task(false, Some("e"));
    let update = || ExecutorCall::Update(Box::new(status("t", TaskState::Running, 9)));
    let run = |framework: &str, executor: &str| Run {
        framework_id: FrameworkId::new(framework),
        executor_id: ExecutorId::new(executor),
        container_id: container_id.clone(),
    };
    world.call(&run("G", "e"), update());
    assert_eq!(world.last(1), ["answer Refused(FrameworkUnknown)"]);
    world.call(&run("F", "x"), update());
    assert_eq!(world.last(1), ["answer Refused(ExecutorUnknown)"]);
    world.run(task("u", Some("late")));
    world.launch_one();
    world.call(&run("F", "late"), update());
    assert_eq!(world.last(1), ["answer Refused(NotSubscribed)"]);
}

#[test]
fn a_silent_master_is_given_up() {
    let mut world = World::registered(false);
    world.wait();
    assert_eq!(world.now.time, model::time::Time::from_ms(1 + PING_TIMEOUT_MS));
    assert!(!world.node.is_registered() && world.session.is_none());
    world.connect();
    assert!(world.node.is_registered());
}

#[test]
fn what_the_master_knows_and_the_agent_does_not_is_told_to_be_gone() {
    let mut world = World::registered(false);
    world.open.insert(TaskId::new("ghost"), FrameworkId::new("F"));
    world.lose_link();
    world.connect();
    assert_eq!(world.states("ghost"), [TaskState::Dropped]);
    world.acknowledge_one();
    world.lose_link();
    world.connect();
    assert_eq!(world.states("ghost"), [TaskState::Dropped], "once is enough");
}

#[test]
fn an_agent_that_is_refused_ends_its_tasks_forgets_its_id_and_exits() {
    let (mut world, container_id) = World::with_task(true, Some("e"));
    let session = world.session.expect("connected");
    world.input(Input::FromMaster {
        session,
        message: Box::new(ToAgent::Refused { reason: "removed".into() }),
    });
    assert_eq!(world.last(1), ["shutdown"]);
    world.end_container(&container_id);
    assert!(!world.exited, "before its checkpoint says so");
    world.flush();
    assert!(world.exited && world.disk.contains(&Record::AgentGone));
}

#[test]
fn an_agent_that_unregisters_says_so() {
    let mut world = World::registered(false);
    let mut effects = Vec::new();
    world.node.handle(world.now, Input::End(Ending::Unregister), &mut effects);
    assert!(matches!(&effects[0], Effect::Send(message) if **message == wire::message::ToMaster::Unregister));
}

#[test]
fn after_a_restart_a_task_without_updates_is_delivered_unless_its_executor_has_it() {
    for executor_has_it in [true, false] {
        let mut world = World::registered(true);
        world.run(task("t", Some("e")));
        world.flush();
        world.launch_one();
        world.flush();
        let container_id = world.container();
        if executor_has_it {
            world.subscribe(&container_id);
        }
        world.crash();
        world.connect();
        world.subscribe(&container_id);
        let launches = world.seen.iter().filter(|line| *line == "launch t").count();
        assert_eq!(launches, 1, "delivered {launches} times (executor has it: {executor_has_it})");
        world.settle();
        assert_eq!(world.states("t"), [TaskState::Finished]);
    }
}

/// Every wait is by a clock that only goes forth; the one on the wall only dates what is told.
#[test]
fn a_clock_that_jumps_ends_nothing_and_delays_nothing() {
    for hours in [-24, 24] {
        let (mut world, container_id) = World::with_task(true, Some("e"));
        let deadline = world.node.deadline();
        world.jump_clock(hours);
        let mut effects = Vec::new();
        world.node.expire(world.now, &mut effects);
        assert!(effects.is_empty(), "{effects:?}");
        assert_eq!(world.node.deadline(), deadline);
        world.executor_tells(&container_id, &TaskId::new("t"), TaskState::Finished);
        world.settle();
        assert_eq!(world.states("t"), [TaskState::Finished]);
    }
}

#[test]
fn a_task_whose_machine_was_started_anew_is_gone() {
    let (mut world, container_id) = World::with_task(true, Some("e"));
    world.executor_tells(&container_id, &TaskId::new("t"), TaskState::Running);
    world.flush();
    world.acknowledge_one();
    world.flush();
    world.reboot();
    // Nobody looks for what cannot be there: its end is known before anything else happens.
    world.flush();
    world.connect();
    world.settle();
    assert_eq!(world.states("t"), [TaskState::Running, TaskState::Gone]);
    let status = world.disk.iter().find_map(|record| match record {
        Record::Update { status, .. } if status.state == TaskState::Gone => Some(status),
        _ => None,
    });
    assert_eq!(status.and_then(|it| it.reason), Some(Reason::AGENT_RESTARTED));
}

#[test]
fn an_update_sent_again_after_its_task_completed_is_acknowledged_and_not_told_twice() {
    let (mut world, container_id) = World::with_task(true, Some("e"));
    world.executor_tells(&container_id, &TaskId::new("t"), TaskState::Finished);
    world.flush();
    let update_id: UpdateId = world.told[&TaskId::new("t")][0].0;
    world.acknowledge_one();
    world.flush();
    world.crash();
    world.connect();
    let again = model::task::TaskStatus { update_id: Some(update_id), ..status("t", TaskState::Finished, 0) };
    world.processes.get_mut(&container_id).expect("lives").unacknowledged.push(again);
    world.subscribe(&container_id);
    assert!(world.processes[&container_id].unacknowledged.is_empty());
    assert_eq!(world.states("t"), [TaskState::Finished]);
}
