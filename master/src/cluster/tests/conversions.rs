//! Reservations and volumes, by frameworks and by operators: who has what afterwards, who is told, and what stands against it.

use super::world::{World, agent_info, framework_info, r, running, task};
use crate::cluster::conversions::{Conversion, Kind};
use crate::cluster::effect::Event;
use crate::cluster::input::{Accept, Call, Operation, OperatorCall};
use api::refusal::Refusal;
use api::v1;
use model::framework::FrameworkInfo;
use model::id::{AgentId, OfferId, OperationId};
use model::resources::{Reservation, Resource, Resources};
use model::role::Role;
use std::sync::Arc;
use wire::message::ToAgent;

fn eng() -> Role {
    Role::parse("eng").expect("a role")
}

fn of_eng() -> FrameworkInfo {
    FrameworkInfo { roles: vec![eng()], ..framework_info() }
}

/// Reserved by somebody, on top of what they are.
fn reserved(resources: &Resources) -> Resources {
    let layer = Reservation { role: eng(), is_dynamic: true, principal: None, labels: Vec::new() };
    let reserve = |part: &Resource| {
        let reservations = part.reservations.iter().cloned().chain([layer.clone()]).collect();
        Resource { reservations, ..part.clone() }
    };
    resources.iter().map(reserve).collect()
}

/// Disk of eng's with a volume on it.
fn volume(mib: u32, id: &str) -> Resources {
    use api::convert::resources::{Format, part_from_v1, part_to_v1};
    let disk = reserved(&r(&format!("disk:{mib}"))).into_iter().next().expect("one");
    let mut sent = part_to_v1(&disk, Format::PLAIN);
    let volume = v1::Volume {
        container_path: "data".into(),
        mode: v1::volume::Mode::Rw as i32,
        ..v1::Volume::default()
    };
    let persistence = v1::resource::disk_info::Persistence { id: id.into(), principal: None };
    sent.disk = Some(v1::resource::DiskInfo {
        persistence: Some(persistence),
        volume: Some(volume),
        ..v1::resource::DiskInfo::default()
    });
    [part_from_v1(&sent).expect("a resource")].into_iter().collect()
}

fn sum(parts: &[&Resources]) -> Resources {
    let mut sum = Resources::default();
    parts.iter().for_each(|part| sum.add(part));
    sum
}

fn conversion(kind: Kind, resources: &Resources) -> Conversion {
    Conversion { kind, resources: resources.clone(), source: Resources::default() }
}

fn operation(kind: Kind, resources: &Resources) -> Operation {
    Operation::Convert { name: kind.name(), conversion: Ok(conversion(kind, resources)), id: None }
}

fn accept(offers: &[OfferId], operations: Vec<Operation>) -> Call {
    Call::Accept(Accept { offer_ids: offers.to_vec(), operations, refuse_ns: 0 })
}

fn by_operator(kind: Kind, agent_id: &AgentId, resources: &Resources) -> OperatorCall {
    OperatorCall::Convert { agent_id: agent_id.clone(), conversion: conversion(kind, resources) }
}

#[test]
fn a_framework_reserves_makes_a_volume_and_runs_on_it_in_one_go() {
    let mut world = World::new();
    let (session, agent) = world.agent("cpus:4;disk:100");
    let scheduler = world.framework(of_eng());
    let offers = world.offer_role(&scheduler, &eng());
    let (cpus, disk) = (reserved(&r("cpus:1")), reserved(&r("disk:60")));
    let data = volume(60, "data");
    let used = sum(&[&cpus, &data]);
    let job = model::task::TaskInfo { resources: used.clone(), ..task("t", &agent, "") };
    let operations = vec![
        operation(Kind::Reserve, &sum(&[&cpus, &disk])),
        operation(Kind::Create, &data),
        Operation::Launch { tasks: vec![Ok(job)] },
    ];
    assert!(world.call(&scheduler, accept(&offers, operations)).is_ok());
    // The agent hears of what it has before it hears of the task.
    let total = sum(&[&r("cpus:3;disk:40"), &cpus, &data]);
    let told = world.told(session);
    let [ToAgent::UpdateTotal { .. }, ToAgent::UpdateTotal { total: last }, ToAgent::Run { task, .. }] =
        &told[..]
    else {
        panic!("{told:?}")
    };
    assert_eq!((last, &task.resources), (&total, &used.allocated_to(&eng())));
    // What is left is offered, as it is now.
    let offers = world.offer_role(&scheduler, &eng());
    assert_eq!(world.cluster.offers[&offers[0]].resources, r("cpus:3;disk:40").allocated_to(&eng()));
    // Unused again, the volume is there for another task, or to be destroyed and given up.
    world.call(&scheduler, Call::Decline { offer_ids: offers, refuse_ns: 0 }).expect("declined");
    world.update(session, &scheduler.id, "t", model::task::TaskState::Finished, 1);
    world.heard(&scheduler.stream);
    let offers = world.offer_role(&scheduler, &eng());
    assert_eq!(world.cluster.offers[&offers[0]].resources, total.allocated_to(&eng()));
    let undone = vec![operation(Kind::Destroy, &data), operation(Kind::Unreserve, &sum(&[&cpus, &disk]))];
    assert!(world.call(&scheduler, accept(&offers, undone)).is_ok());
    let told = world.told(session);
    let Some(ToAgent::UpdateTotal { total }) =
        told.iter().rev().find(|it| matches!(it, ToAgent::UpdateTotal { .. }))
    else {
        panic!("{told:?}")
    };
    assert_eq!(*total, r("cpus:4;disk:100"));
    let offers = world.offer_role(&scheduler, &eng());
    assert_eq!(world.cluster.offers[&offers[0]].resources, r("cpus:4;disk:100").allocated_to(&eng()));
}

#[test]
fn an_operation_that_cannot_be_done_changes_nothing_and_is_told_if_that_is_wished() {
    let mut world = World::new();
    let (session, _) = world.agent("cpus:4");
    let scheduler = world.framework(of_eng());
    let offers = world.offer_role(&scheduler, &eng());
    world.told(session);
    let too_much = Operation::Convert {
        name: "RESERVE",
        conversion: Ok(conversion(Kind::Reserve, &reserved(&r("cpus:5")))),
        id: Some(OperationId::new("op")),
    };
    let nonsense =
        Operation::Convert { name: "CREATE", conversion: Err(Arc::from("Invalid volumes")), id: None };
    assert!(world.call(&scheduler, accept(&offers, vec![too_much, nonsense])).is_ok());
    let events = world.heard(&scheduler.stream);
    let [Event::Operation { operation_id, state, message, .. }] = &events[..] else { panic!("{events:?}") };
    assert_eq!((operation_id.as_str(), *state), ("op", v1::OperationState::OperationError));
    assert!(message.contains("does not contain cpus(allocated: eng):5"), "{message}");
    assert_eq!(world.told(session), []);
    let offers = world.offer_role(&scheduler, &eng());
    assert_eq!(world.cluster.offers[&offers[0]].resources, r("cpus:4").allocated_to(&eng()));
}

#[test]
fn a_volumes_name_is_unique_for_its_role() {
    let mut world = World::new();
    let (_, agent) = world.agent("disk:100");
    let reserve = by_operator(Kind::Reserve, &agent, &reserved(&r("disk:100")));
    assert!(world.operator(reserve).is_ok());
    assert!(world.operator(by_operator(Kind::Create, &agent, &volume(40, "data"))).is_ok());
    let again = world.operator(by_operator(Kind::Create, &agent, &volume(60, "data")));
    let why = again.expect_err("a refusal").to_string();
    assert!(why.ends_with("Persistence ID 'data' is not unique"), "{why}");
    assert!(world.operator(by_operator(Kind::Create, &agent, &volume(60, "more"))).is_ok());
}

#[test]
fn an_operator_reserves_what_nobody_uses_and_takes_offers_back_that_stand_against_it() {
    let mut world = World::new();
    let (session, agent) = world.agent("cpus:4;mem:100");
    let scheduler = world.framework(framework_info());
    let offers = world.offer(&scheduler);
    world.launch(&scheduler, &offers[0], vec![task("t", &agent, "cpus:1")]);
    let offers = world.offer(&scheduler);
    world.heard(&scheduler.stream);
    let too_much = world.operator(by_operator(Kind::Reserve, &agent, &reserved(&r("cpus:4"))));
    assert!(matches!(too_much, Err(Refusal::Conflict(_))), "{too_much:?}");
    assert!(world.heard(&scheduler.stream).is_empty(), "nothing is taken back for what cannot be");
    world.told(session);
    assert!(world.operator(by_operator(Kind::Reserve, &agent, &reserved(&r("cpus:2")))).is_ok());
    let events = world.heard(&scheduler.stream);
    assert!(matches!(&events[..], [Event::Rescind { offer_id }] if *offer_id == offers[0]), "{events:?}");
    let told = world.told(session);
    let total = sum(&[&r("cpus:2;mem:100"), &reserved(&r("cpus:2"))]);
    assert!(matches!(&told[..], [ToAgent::UpdateTotal { total: it }] if *it == total), "{told:?}");
    assert_eq!(world.cluster.agents.get(&agent).map(|agent| agent.info.total.clone()), Some(total));
    let nowhere = world.operator(by_operator(Kind::Reserve, &"x".into(), &reserved(&r("cpus:2"))));
    assert_eq!(nowhere, Err(Refusal::Bad("No agent found with specified ID".into())));
}

/// The allocator has handed out, and the master not yet heard, what an operator meanwhile reserves.
#[test]
fn an_allocation_of_what_is_no_more_becomes_no_offer() {
    let mut world = World::new();
    let (_, agent) = world.agent("cpus:4");
    let scheduler = world.framework(framework_info());
    assert!(world.operator(by_operator(Kind::Reserve, &agent, &reserved(&r("cpus:1")))).is_ok());
    let late = world.handed_out(&scheduler, &agent, &r("cpus:4"));
    world.give(crate::cluster::input::Input::Allocations(vec![late]));
    assert_eq!(world.cluster.offers.len(), 0);
    let offers = world.offer(&scheduler);
    let left = sum(&[&r("cpus:3"), &reserved(&r("cpus:1"))]);
    assert_eq!(
        world.cluster.offers[&offers[0]].resources,
        left.allocated_to(&Role::star()),
        "all of it came back"
    );
}

/// Who has reserved what is known by the agents: a new master hears it from them.
#[test]
fn reservations_outlive_the_master() {
    let mut world = World::new();
    let total = sum(&[&r("cpus:2"), &reserved(&r("cpus:2")), &volume(10, "data")]);
    let scheduler = world.framework(of_eng());
    let info = model::agent_info::AgentInfo { total: total.clone(), ..agent_info(5051, "") };
    let on_it = model::task::TaskInfo {
        resources: volume(10, "data").allocated_to(&eng()),
        ..task("t", &AgentId::new("old-S0"), "")
    };
    let runs = running(&scheduler.id, on_it, model::task::TaskState::Running);
    let framework = world.cluster.frameworks.get(&scheduler.id).expect("known").info.as_ref().clone();
    let agent = AgentId::new("old-S0");
    world.back(&agent, info, vec![framework], vec![runs]);
    assert_eq!(world.cluster.agents.get(&agent).map(|agent| agent.info.total.clone()), Some(total));
    let offers = world.offer_role(&scheduler, &eng());
    let left = sum(&[&r("cpus:2"), &reserved(&r("cpus:2"))]);
    assert_eq!(world.cluster.offers[&offers[0]].resources, left.allocated_to(&eng()));
    let busy = world.operator(by_operator(Kind::Destroy, &agent, &volume(10, "data")));
    assert!(matches!(busy, Err(Refusal::Conflict(_))), "{busy:?}");
}

/// The connection broke before the agent heard of it: it is told again.
#[test]
fn what_was_converted_is_told_again_to_an_agent_that_has_not_heard_it() {
    let mut world = World::new();
    let (session, agent) = world.agent("cpus:4");
    let info = world.agent_info(&agent);
    let reserve = by_operator(Kind::Reserve, &agent, &reserved(&r("cpus:1")));
    assert!(world.operator(reserve).is_ok());
    world.told(session);
    world.give(crate::cluster::input::Input::AgentGone { session });
    let session = world.back(&agent, info, vec![], vec![]);
    let total = sum(&[&r("cpus:3"), &reserved(&r("cpus:1"))]);
    let told = world.told(session);
    assert!(
        told.iter().any(|it| matches!(it, ToAgent::UpdateTotal { total: it } if *it == total)),
        "{told:?}"
    );
    assert_eq!(world.agent_info(&agent).total, total);
    // One whose operator has changed it is as it says.
    world.give(crate::cluster::input::Input::AgentGone { session });
    world.back(&agent, agent_info(7000, "cpus:8"), vec![], vec![]);
    assert_eq!(world.agent_info(&agent).total, r("cpus:8"));
}
