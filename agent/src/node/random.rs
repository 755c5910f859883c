//! What the node never does, tried with random scripts.

use crate::node::input::Input;
use crate::node::world::{World, task};
use model::id::{ExecutorId, FrameworkId, TaskId};
use model::task::{TaskInfo, TaskState};
use proptest::prelude::*;
use wire::message::ToAgent;

/// One step of a random script; numbers choose among what is there.
#[derive(Clone, Debug)]
enum Step {
    Run(u8, u8),
    /// So many tasks of that executor together.
    RunGroup(u8, u8),
    Kill(u8),
    Launch,
    Subscribe(u8),
    Tell(u8, u8, bool),
    Disconnect(u8),
    Die(u8),
    Write,
    Acknowledge,
    Wait,
    LoseLink,
    Connect,
    Crash,
    Reboot,
    /// The wall clock, so many hours forth or back.
    ClockJump(i8),
    ShutdownExecutor(u8),
    /// So many CPUs may be lent out.
    Estimate(u8),
    Preempt(u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..12u8, 0..4u8).prop_map(|(t, e)| Step::Run(t, e)),
        2 => (1..4u8, 1..4u8).prop_map(|(n, e)| Step::RunGroup(n, e)),
        2 => (0..12u8).prop_map(Step::Kill),
        4 => Just(Step::Launch),
        4 => any::<u8>().prop_map(Step::Subscribe),
        6 => (any::<u8>(), any::<u8>(), any::<bool>()).prop_map(|(e, t, end)| Step::Tell(e, t, end)),
        1 => any::<u8>().prop_map(Step::Disconnect),
        1 => any::<u8>().prop_map(Step::Die),
        8 => Just(Step::Write),
        5 => Just(Step::Acknowledge),
        2 => Just(Step::Wait),
        1 => Just(Step::LoseLink),
        3 => Just(Step::Connect),
        1 => Just(Step::Crash),
        1 => Just(Step::Reboot),
        1 => any::<i8>().prop_map(Step::ClockJump),
        1 => (0..4u8).prop_map(Step::ShutdownExecutor),
        2 => (0..3u8).prop_map(Step::Estimate),
        1 => any::<u8>().prop_map(Step::Preempt),
    ]
}

/// A command task, or one of an executor; every second one on loan.
fn one(t: u8, e: u8, number: usize) -> TaskInfo {
    let executor = format!("e{e}");
    let executor = if e == 0 { None } else { Some(executor.as_str()) };
    let mut task = task(&format!("t{t}-{number}"), executor);
    if t.is_multiple_of(2) {
        task.resources = task.resources.revocable();
    }
    task
}

fn take(world: &mut World, step: &Step, number: usize) {
    let nth = |n: u8, world: &World| {
        world.processes.keys().nth(usize::from(n) % world.processes.len().max(1)).cloned()
    };
    match step {
        // Ids are not used twice, as the master sees to.
        Step::Run(t, e) => world.run(one(*t, *e, number)),
        Step::RunGroup(count, e) => {
            let executor = format!("e{e}");
            let member = |n| task(&format!("g{n}-{number}"), Some(&executor));
            world.run_group((0..*count).map(member).collect());
        }
        Step::Kill(n) => {
            let open: Vec<TaskId> = world.open.keys().cloned().collect();
            if let Some(task_id) = open.get(usize::from(*n)) {
                world.kill(task_id.as_str());
            }
        }
        Step::Launch => world.launch_one(),
        Step::Subscribe(n) => {
            if let Some(container_id) = nth(*n, world) {
                world.subscribe(&container_id);
            }
        }
        Step::Tell(e, t, end) => {
            let Some(container_id) = nth(*e, world) else { return };
            let tasks: Vec<TaskId> = world.processes[&container_id].tasks.iter().cloned().collect();
            let Some(task_id) = tasks.get(usize::from(*t) % tasks.len().max(1)) else { return };
            let state = if *end { TaskState::Finished } else { TaskState::Running };
            world.executor_tells(&container_id, task_id, state);
        }
        Step::Disconnect(n) => {
            let Some(container_id) = nth(*n, world) else { return };
            let stream = world.processes.get_mut(&container_id).and_then(|process| process.stream.take());
            if let Some(caller) = stream {
                world.input(Input::StreamClosed { caller });
            }
        }
        Step::Die(n) => {
            if let Some(container_id) = nth(*n, world) {
                world.end_container(&container_id);
            }
        }
        Step::Write => world.write_one(),
        Step::Acknowledge => world.acknowledge_one(),
        Step::Wait => world.wait(),
        Step::LoseLink => world.lose_link(),
        Step::Connect => world.connect(),
        Step::Crash => world.crash(),
        Step::Reboot => world.reboot(),
        Step::ClockJump(hours) => world.jump_clock(i64::from(*hours)),
        Step::ShutdownExecutor(e) => {
            let (framework_id, executor_id) = (FrameworkId::new("F"), ExecutorId::new(format!("e{e}")));
            world.say(ToAgent::ShutdownExecutor { framework_id, executor_id });
        }
        Step::Estimate(cpus) => {
            let total = format!("cpus:{cpus}").parse().expect("resources");
            world.input(Input::Oversubscribed { total });
        }
        Step::Preempt(n) => {
            if let Some(container_id) = nth(*n, world) {
                world.input(Input::Preempt { container_id, cause: "needed".into() });
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// Whatever happens, once the world is at rest every task that the master sent has an end that was acknowledged, its
    /// updates came in order, each after the one before was acknowledged, and nothing was told before it was durable (the
    /// world asserts these two as it goes). No executor was given a part of a group (the world again). What may be lent out is
    /// what the master was told last.
    #[test]
    fn nothing_stays_owed(steps in prop::collection::vec(step(), 1..120), checkpoint: bool) {
        let mut world = World::registered(checkpoint);
        let mut sent = std::collections::BTreeSet::new();
        for (number, step) in steps.iter().enumerate() {
            // Without checkpoints a restart loses executors too, which is another scene.
            if !checkpoint && matches!(step, Step::Crash | Step::Reboot) {
                continue;
            }
            take(&mut world, step, number);
            sent.extend(world.open.keys().cloned());
        }
        // A link that was lost just then may have taken tasks with it: the next registration finds out.
        world.lose_link();
        world.settle();
        for task_id in sent {
            let told = world.states(task_id.as_str());
            let ends = told.iter().filter(|state| state.is_terminal()).count();
            prop_assert_eq!(ends, 1, "{} was told {:?}", task_id, told);
            prop_assert!(told.last().is_some_and(|state| state.is_terminal()), "{} was told {:?}", task_id, told);
        }
        prop_assert_eq!(world.node.containers_since(model::time::Time(0)).len(), 0);
        prop_assert_eq!(&world.lent.total, world.node.oversubscribed());
    }
}
