//! Snapshots: what has not changed is not made again.

use super::world::*;
use model::task::TaskState;
use std::sync::Arc;

#[test]
fn a_picture_of_what_has_not_changed_is_the_same_picture() {
    let mut world = World::new();
    let (session, agent) = world.agent("cpus:4");
    world.agent("cpus:4");
    let scheduler = world.framework(framework_info());
    let bystander = world.framework(framework_info());
    let offers = world.offer(&scheduler);
    world.launch(&scheduler, &offers[0], vec![task("t", &agent, "cpus:1"), task("u", &agent, "cpus:1")]);
    let first = world.cluster.snapshot(world.now);
    assert!(Arc::ptr_eq(&first, &world.cluster.snapshot(world.now)));
    world.update(session, &scheduler.id, "t", TaskState::Running, 1);
    let second = world.cluster.snapshot(world.now);
    let view = |snapshot: &crate::cluster::snapshot::Snapshot, id| {
        Arc::clone(snapshot.framework(id).expect("known"))
    };
    assert!(Arc::ptr_eq(&view(&first, &bystander.id), &view(&second, &bystander.id)));
    assert!(Arc::ptr_eq(&first.agents[1], &second.agents[1]));
    let (before, after) = (view(&first, &scheduler.id), view(&second, &scheduler.id));
    assert_eq!((before.tasks[0].state, after.tasks[0].state), (TaskState::Staging, TaskState::Running));
    assert!(Arc::ptr_eq(&before.tasks[1], &after.tasks[1]), "only the task that changed was copied");
}

#[test]
fn a_picture_adds_up() {
    let mut world = World::new();
    let (_, agent) = world.agent("cpus:4;mem:100");
    let scheduler = world.framework(framework_info());
    let offers = world.offer(&scheduler);
    let info =
        model::task::TaskInfo { executor: Some(executor("e", "mem:8")), ..task("t", &agent, "cpus:1") };
    world.launch(&scheduler, &offers[0], vec![info]);
    world.offer(&scheduler);
    let snapshot = world.cluster.snapshot(world.now);
    let (framework, on) = (&snapshot.frameworks[0], &snapshot.agents[0]);
    assert_eq!((&framework.used, &framework.offered), (&on.used, &on.offered));
    assert_eq!(on.used, star("cpus:1;mem:8"));
    let roles = snapshot.roles();
    assert_eq!((roles.len(), roles[0].role.as_str()), (1, "*"));
    assert_eq!((&roles[0].allocated, &roles[0].offered), (&on.used, &on.offered));
    assert_eq!(roles[0].frameworks, [scheduler.id]);
}
