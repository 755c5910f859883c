//! LAUNCH_GROUP: all of a group, or none of it.

use super::world::*;
use crate::cluster::effect::{Done, Event};
use crate::cluster::input::{Accept, Call, GroupRequest, Operation};
use model::executor::ExecutorInfo;
use model::id::{AgentId, OfferId, TaskId};
use model::task::{Reason, TaskInfo, TaskState};
use wire::message::ToAgent;

fn group(tasks: Vec<TaskInfo>) -> Operation {
    let ids = |task: &TaskInfo| (task.task_id.clone(), task.agent_id.clone());
    Operation::LaunchGroup(GroupRequest { members: tasks.iter().map(ids).collect(), tasks: Ok(tasks) })
}

fn member(id: &str, agent: &AgentId, resources: &str, info: &ExecutorInfo) -> TaskInfo {
    TaskInfo { executor: Some(info.clone()), ..task(id, agent, resources) }
}

/// As http has seen to: the framework names itself in it.
fn shared(scheduler: &Scheduler, id: &str, resources: &str) -> ExecutorInfo {
    ExecutorInfo { framework_id: Some(scheduler.id.clone()), ..executor(id, resources) }
}

fn accept(world: &mut World, scheduler: &Scheduler, offers: &[OfferId], operations: Vec<Operation>) {
    let accept = Accept { offer_ids: offers.to_vec(), operations, refuse_ns: 0 };
    assert_eq!(world.call(scheduler, Call::Accept(accept)), Ok(Done::Accepted));
}

#[test]
fn a_group_is_one_message_and_is_charged_once() {
    let mut world = World::new();
    let (session, agent) = world.agent("cpus:4;mem:1024");
    let scheduler = world.framework(framework_info());
    let offers = world.offer(&scheduler);
    let info = shared(&scheduler, "e", "cpus:0.5;mem:64");
    let of = |id: &str| member(id, &agent, "cpus:1;mem:100", &info);
    accept(&mut world, &scheduler, &offers, vec![group(vec![of("b"), of("a")])]);
    let told = world.told(session);
    let [ToAgent::RunGroup { framework, tasks, .. }] = &told[..] else { panic!("{told:?}") };
    assert_eq!(framework.framework_id, Some(scheduler.id.clone()));
    let ids: Vec<&str> = tasks.iter().map(|task| task.task_id.as_str()).collect();
    assert_eq!(ids, ["b", "a"], "in their framework's order");
    assert!(tasks.iter().all(|task| task.resources == star("cpus:1;mem:100")));

    // A second group of the same executor pays for its tasks only.
    let offers = world.offer(&scheduler);
    assert_eq!(world.cluster.offers[&offers[0]].resources, star("cpus:1.5;mem:760"));
    accept(&mut world, &scheduler, &offers, vec![group(vec![of("c")])]);
    let offers = world.offer(&scheduler);
    assert_eq!(world.cluster.offers[&offers[0]].resources, star("cpus:0.5;mem:660"));
}

#[test]
fn a_group_and_a_task_share_an_offer() {
    let mut world = World::new();
    let (session, agent) = world.agent("cpus:2;mem:1024");
    let scheduler = world.framework(framework_info());
    let offers = world.offer(&scheduler);
    let info = shared(&scheduler, "e", "cpus:0.5;mem:64");
    let alone = Operation::Launch { tasks: vec![Ok(task("alone", &agent, "cpus:1"))] };
    let too_much = group(vec![member("a", &agent, "cpus:1", &info)]);
    let fits = group(vec![member("b", &agent, "cpus:0.5", &info)]);
    accept(&mut world, &scheduler, &offers, vec![alone, too_much, fits]);
    let expected = "Total resources cpus(allocated: *):1.5; mem(allocated: *):64 required by task group and its \
                    executor are more than available cpus(allocated: *):1; mem(allocated: *):1024";
    assert_eq!(&*message_of(&world.heard(&scheduler.stream)), expected);
    assert!(matches!(&world.told(session)[..], [ToAgent::Run { .. }, ToAgent::RunGroup { .. }]));
}

/// Each line: a group, and what Mesos says of each of its tasks.
#[test]
fn groups_that_cannot_run_are_told_why() {
    let mut world = World::new();
    let (session, agent) = world.agent("cpus:4;mem:100;ports:[1-9]");
    let scheduler = world.framework(framework_info());
    let offers = world.offer(&scheduler);
    let info = shared(&scheduler, "e", "mem:32");
    let ok = |id: &str| member(id, &agent, "cpus:1", &info);
    accept(&mut world, &scheduler, &offers, vec![group(vec![ok("here")])]);
    world.told(session);
    let foreign = ExecutorInfo { framework_id: Some("other".into()), ..info.clone() };
    let other = ExecutorInfo { name: Some("other".into()), ..info.clone() };
    let ports = shared(&scheduler, "p", "ports:[2-3]");
    let cases = [
        (vec![ok("a"), ok("here")], "Task 'here' is invalid: Task has duplicate ID: here"),
        (vec![ok("a"), ok("b"), ok("a")], "Task 'a' is invalid: Task has duplicate ID: a"),
        (
            vec![ok("a"), member("far", &AgentId::new("elsewhere"), "cpus:1", &info)],
            "Task 'far' is invalid: Task uses invalid agent elsewhere while agent m-S0 is expected",
        ),
        (
            vec![member("a", &agent, "cpus:1", &foreign)],
            "ExecutorInfo has an invalid FrameworkID (Actual: other vs Expected: m-0000)",
        ),
        (
            vec![member("a", &agent, "cpus:1", &other)],
            "ExecutorInfo is not compatible with existing ExecutorInfo with same ExecutorID.",
        ),
        (
            vec![member("a", &agent, "ports:[4-5]", &ports), member("b", &agent, "ports:[5-6]", &ports)],
            "There are overlapping resources in the task group's task resources [ ports(allocated: *):[4-5], \
             ports(allocated: *):[5-6] ] and/or executor resources ports(allocated: *):[2-3]",
        ),
        (
            vec![ok("a"), member("b", &agent, "cpus:3", &info)],
            "Total resources cpus(allocated: *):4 required by task group and its executor are more than available \
             cpus(allocated: *):3; mem(allocated: *):68; ports(allocated: *):[1-9]",
        ),
    ];
    for (tasks, expected) in cases {
        let offers = world.offer(&scheduler);
        let count = tasks.len();
        accept(&mut world, &scheduler, &offers, vec![group(tasks)]);
        let events = world.heard(&scheduler.stream);
        assert_eq!(events.len(), count, "every task is told: {events:?}");
        for event in &events {
            let Event::Update { status } = event else { panic!("{event:?}") };
            let verdict = (TaskState::Error, Some(Reason::TASK_GROUP_INVALID));
            assert_eq!((status.state, status.reason), verdict);
            let message = status.message.as_deref().unwrap_or_default();
            assert!(message.starts_with(expected), "{message}");
        }
        assert!(world.told(session).is_empty(), "nothing of it runs: {expected}");
    }
    let offers = world.offer(&scheduler);
    assert_eq!(world.cluster.offers[&offers[0]].resources, star("cpus:3;mem:68;ports:[1-9]"));
}

#[test]
fn what_is_wrong_on_its_own_account_is_told_to_all() {
    let mut world = World::new();
    let (_, agent) = world.agent("cpus:4");
    let scheduler = world.framework(framework_info());
    let offers = world.offer(&scheduler);
    let members = ["a/b", "c"].map(|id| (TaskId::new(id), agent.clone())).to_vec();
    let request = GroupRequest { members, tasks: Err("as the edge says".into()) };
    accept(&mut world, &scheduler, &offers, vec![Operation::LaunchGroup(request)]);
    let error = TaskState::Error;
    assert_eq!(world.updates(&scheduler), [("a/b".into(), error, None), ("c".into(), error, None)]);
}

#[test]
fn a_group_of_nobody_leaves_nothing_behind() {
    let mut world = World::new();
    let (session, _) = world.agent("cpus:4");
    let scheduler = world.framework(framework_info());
    let offers = world.offer(&scheduler);
    accept(&mut world, &scheduler, &offers, vec![group(Vec::new())]);
    assert!(world.told(session).is_empty() && world.heard(&scheduler.stream).is_empty());
    let offers = world.offer(&scheduler);
    assert_eq!(world.cluster.offers[&offers[0]].resources, star("cpus:4"));
}

#[test]
fn a_group_for_offers_that_are_gone_is_lost_or_dropped() {
    for (info, state) in [(framework_info(), TaskState::Lost), (partition_aware(), TaskState::Dropped)] {
        let mut world = World::new();
        let (_, agent) = world.agent("cpus:4");
        let scheduler = world.framework(info);
        let shared = shared(&scheduler, "e", "cpus:1");
        let tasks = ["a", "b"].map(|id| member(id, &agent, "cpus:1", &shared)).to_vec();
        accept(&mut world, &scheduler, &[OfferId::new("nonsense")], vec![group(tasks)]);
        assert_eq!(world.updates(&scheduler), [("a".into(), state, None), ("b".into(), state, None)]);
    }
}

/// `share_cgroups` of a container, as a v1 task says it.
#[test]
fn tasks_of_one_executor_have_their_own_cgroups_or_none() {
    use api::v1::{ContainerInfo, LinuxInfo, TaskInfo as V1};
    let mut world = World::new();
    let (session, agent) = world.agent("cpus:4");
    let scheduler = world.framework(framework_info());
    let info = shared(&scheduler, "e", "cpus:1");
    let with = |id: &str, shares: bool| {
        let linux_info = Some(LinuxInfo { share_cgroups: Some(shares), ..LinuxInfo::default() });
        let container = Some(ContainerInfo { linux_info, ..ContainerInfo::default() });
        let body = api::protobuf::encode(&V1 { container, ..V1::default() });
        TaskInfo { body: model::body::Body::new(body), ..member(id, &agent, "cpus:1", &info) }
    };
    for (id, shares, runs) in [("a", false, true), ("b", true, false), ("c", false, true)] {
        let offers = world.offer(&scheduler);
        accept(&mut world, &scheduler, &offers, vec![group(vec![with(id, shares)])]);
        assert_eq!(world.told(session).len(), usize::from(runs), "{id}");
        let heard = world.heard(&scheduler.stream);
        assert_eq!(heard.is_empty(), runs, "{heard:?}");
    }
}
