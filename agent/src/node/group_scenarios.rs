//! What the node does with groups of tasks, told as scenes.

use crate::node::effect::Record;
use crate::node::world::{World, task};
use model::id::TaskId;
use model::task::{Reason, TaskInfo, TaskState};
use wire::message::ToAgent;

fn group(ids: &[&str]) -> Vec<TaskInfo> {
    ids.iter().map(|id| task(id, Some("e"))).collect()
}

/// A group on its way to an executor that is not there yet.
fn sent(checkpoint: bool) -> World {
    let mut world = World::registered(checkpoint);
    world.run_group(group(&["b", "a", "c"]));
    world
}

/// The reason of the last update that is on disk, by task.
fn reason(world: &World, id: &str) -> Option<Reason> {
    let of = |record: &Record| match record {
        Record::Update { status, .. } if status.task_id == TaskId::new(id) => status.reason,
        _ => None,
    };
    world.disk.iter().rev().find_map(of)
}

#[test]
fn a_group_is_delivered_at_once_in_its_own_order() {
    for checkpoint in [false, true] {
        let mut world = sent(checkpoint);
        world.flush();
        world.launch_one();
        let container_id = world.container();
        world.subscribe(&container_id);
        world.flush();
        let expected = format!("launch group {:?}", ["b", "a", "c"].map(TaskId::new));
        assert_eq!(world.last(1), [expected]);
        let shares = world.node.shares(&container_id).expect("known");
        assert_eq!(shares.1.len(), 3, "the container may use what all of them were given");
    }
}

#[test]
fn a_group_waits_until_all_of_it_is_saved() {
    let mut world = sent(true);
    // The framework, the executor and two of the tasks.
    for _ in 0..4 {
        world.write_one();
    }
    world.launch_one();
    let container_id = world.container();
    world.subscribe(&container_id);
    assert_eq!(world.last(1), ["subscribed"]);
    world.flush();
    assert!(world.last(1)[0].starts_with("launch group"), "{:?}", world.last(1));
}

#[test]
fn a_task_behind_a_group_comes_behind_it() {
    let mut world = sent(true);
    world.run(task("z", Some("e")));
    world.flush();
    world.launch_one();
    let container_id = world.container();
    world.subscribe(&container_id);
    assert!(world.last(2)[0].starts_with("launch group"), "{:?}", world.last(2));
    assert_eq!(world.last(1), ["launch z"]);
}

#[test]
fn to_kill_one_before_delivery_is_to_kill_all() {
    let mut world = sent(true);
    world.flush();
    world.launch_one();
    world.kill("a");
    world.flush();
    for id in ["a", "b", "c"] {
        assert_eq!(world.states(id), [TaskState::Killed], "{id}");
        assert_eq!(reason(&world, id), Some(Reason::TASK_KILLED_DURING_LAUNCH), "{id}");
    }
    let container_id = world.container();
    world.subscribe(&container_id);
    assert_eq!(world.last(1), ["shutdown"], "nothing will ever come for it");
}

#[test]
fn to_kill_one_after_delivery_is_its_executors_affair() {
    let mut world = sent(false);
    world.launch_one();
    let container_id = world.container();
    world.subscribe(&container_id);
    world.kill("a");
    assert_eq!(world.states("a"), [TaskState::Killed]);
    assert!(world.states("b").is_empty() && world.states("c").is_empty());
}

#[test]
fn a_group_for_an_executor_that_is_ending_is_dropped_whole() {
    let mut world = sent(false);
    world.launch_one();
    let container_id = world.container();
    world.subscribe(&container_id);
    let framework_id = world.framework.framework_id.clone().expect("set");
    world.say(ToAgent::ShutdownExecutor { framework_id, executor_id: "e".into() });
    world.run_group(group(&["x", "y"]));
    assert_eq!((world.states("x"), world.states("y")), (vec![TaskState::Dropped], vec![TaskState::Dropped]));
}

#[test]
fn a_group_with_a_task_that_is_here_is_dropped_but_for_that_task() {
    let mut world = sent(false);
    world.run_group(group(&["x", "a"]));
    assert_eq!(world.states("x"), [TaskState::Dropped]);
    assert!(world.states("a").is_empty(), "it is still to be delivered, with those it came with");
}

#[test]
fn a_group_that_was_saved_in_part_is_not_delivered_after_a_restart() {
    let mut world = sent(true);
    // The framework, the executor, its process and one task.
    for _ in 0..3 {
        world.write_one();
    }
    world.launch_one();
    while world.disk.iter().filter(|record| matches!(record, Record::Forked { .. })).count() == 0 {
        let at = world.to_disk.iter().position(|(_, record)| matches!(record, Record::Forked { .. }));
        let (_, forked) = world.to_disk.remove(at.expect("it was launched")).expect("as found");
        world.disk.push(forked);
    }
    world.crash();
    world.connect();
    world.flush();
    let container_id = world.container();
    world.subscribe(&container_id);
    world.flush();
    for id in ["a", "b", "c"] {
        assert_eq!(world.states(id), [TaskState::Dropped], "{id}");
    }
    assert!(world.seen.iter().any(|seen| seen == "shutdown"), "nothing will ever come for it");
}

#[test]
fn a_group_that_was_saved_whole_is_delivered_after_a_restart() {
    let mut world = sent(true);
    world.flush();
    world.launch_one();
    world.flush();
    world.crash();
    world.connect();
    let container_id = world.container();
    world.subscribe(&container_id);
    world.flush();
    assert!(world.last(1)[0].starts_with("launch group"), "{:?}", world.last(1));
}

#[test]
fn a_group_that_runs_is_known_after_a_restart_and_not_delivered_again() {
    let mut world = sent(true);
    world.flush();
    world.launch_one();
    let container_id = world.container();
    world.subscribe(&container_id);
    world.flush();
    world.executor_tells(&container_id, &TaskId::new("a"), TaskState::Running);
    world.flush();
    world.crash();
    world.connect();
    let before = world.seen.len();
    world.subscribe(&container_id);
    world.flush();
    let launched = |seen: &String| seen.starts_with("launch");
    assert!(!world.seen[before..].iter().any(launched), "{:?}", &world.seen[before..]);
    world.settle();
    assert_eq!(world.states("b"), [TaskState::Finished]);
    assert_eq!(world.states("a"), [TaskState::Running, TaskState::Finished]);
}

/// Nobody would ever give it work, and nobody would ever end it.
#[test]
fn an_executor_whose_group_was_killed_before_it_came_ends_though_the_agent_was_started_anew() {
    // All of it was told to be killed, or two of it when the agent was killed itself.
    for updates_on_disk in [3, 2] {
        let mut world = sent(true);
        world.flush();
        world.launch_one();
        let container_id = world.container();
        world.kill("a");
        for _ in 0..updates_on_disk {
            world.write_one();
        }
        world.crash();
        world.connect();
        world.subscribe(&container_id);
        assert!(world.processes[&container_id].is_shut_down, "{updates_on_disk}: {:?}", world.seen);
        world.settle();
        for id in ["a", "b", "c"] {
            assert!(world.states(id).last().is_some_and(|state| state.is_terminal()), "{id}");
        }
    }
}

/// It was sent, the stream broke, and it comes back without.
#[test]
fn an_executor_whose_first_task_got_lost_on_its_way_ends() {
    let mut world = World::registered(true);
    world.run(task("t", Some("e")));
    world.flush();
    world.launch_one();
    let container_id = world.container();
    world.subscribe(&container_id);
    let process = world.processes.get_mut(&container_id).expect("lives");
    (process.tasks, process.unheard) = Default::default();
    world.subscribe(&container_id);
    assert!(world.processes[&container_id].is_shut_down, "{:?}", world.seen);
    world.settle();
    assert_eq!(world.states("t").len(), 1);
}
