//! Weights and quotas that operators set.

use super::world::*;
use crate::cluster::Settings;
use crate::cluster::effect::{Done, Event};
use crate::cluster::input::{Input, OperatorCall, Ticket};
use api::refusal::Refusal;
use model::quantity::Quantity;
use model::quota::Quota;
use model::role::Role;
use model::task::TaskState;

fn role(name: &str) -> Role {
    Role::parse(name).expect("a role")
}

fn quota(guarantees: &[(&str, u64)], limits: &[(&str, u64)]) -> Quota {
    let amounts = |list: &[(&str, u64)]| {
        list.iter().map(|(name, units)| ((*name).into(), Quantity::from_units(*units))).collect()
    };
    Quota { guarantees: amounts(guarantees), limits: amounts(limits) }
}

fn set(world: &mut World, quotas: &[(&str, Quota)], is_forced: bool) -> Result<Done, Refusal> {
    let quotas = quotas.iter().map(|(name, quota)| (role(name), quota.clone())).collect();
    world.operator(OperatorCall::UpdateQuota { quotas, is_forced })
}

fn why(answer: Result<Done, Refusal>) -> String {
    let refusal = answer.expect_err("refused");
    assert_eq!(refusal.status(), 400);
    refusal.to_string()
}

#[test]
fn quotas_are_set_all_or_none_and_shown() {
    let mut world = World::new();
    world.agent("cpus:4;mem:100");
    let both = [("eng", quota(&[("cpus", 2)], &[("cpus", 3)])), ("ops", quota(&[], &[("mem", 50)]))];
    assert_eq!(set(&mut world, &both, false), Ok(Done::Ok));
    let shown = |world: &mut World| world.cluster.snapshot(world.now).master.quotas.clone();
    assert_eq!(shown(&mut world)[&role("eng")], both[0].1);
    assert_eq!(shown(&mut world).len(), 2);
    let half_bad = [("ops", quota(&[], &[])), ("eng", quota(&[("cpus", 2)], &[("cpus", 1)]))];
    assert!(why(set(&mut world, &half_bad, true)).contains("the guarantee of 'cpus' is more than its limit"));
    assert_eq!(shown(&mut world).len(), 2, "none of it was done");
    assert_eq!(set(&mut world, &[("ops", quota(&[], &[]))], false), Ok(Done::Ok));
    assert_eq!(shown(&mut world).len(), 1, "a default quota is none");
}

#[test]
fn what_cannot_be_kept_has_to_be_forced() {
    let mut world = World::new();
    world.agent("cpus:4;mem:100");
    let too_much = [("eng", quota(&[("cpus", 5)], &[]))];
    assert!(why(set(&mut world, &too_much, false)).contains("exceed cluster capacity 'cpus:4'"));
    assert_eq!(set(&mut world, &too_much, true), Ok(Done::Ok));
    let nested = [("eng/web", quota(&[("cpus", 6)], &[]))];
    assert!(
        why(set(&mut world, &nested, true))
            .contains("Parent role 'eng' with quota 'cpus:5' does not contain")
    );
}

#[test]
fn a_limit_below_what_is_used_has_to_be_forced() {
    let mut world = World::new();
    let (session, agent) = world.agent("cpus:4;mem:100");
    let info = model::framework::FrameworkInfo { roles: vec![role("eng/web")], ..framework_info() };
    let scheduler = world.framework(info);
    let offers = world.offer_role(&scheduler, &role("eng/web"));
    world.launch(&scheduler, &offers[0], vec![task("t", &agent, "cpus:2")]);
    world.update(session, &scheduler.id, "t", TaskState::Running, 1);
    let limited = [("eng", quota(&[], &[("cpus", 1)]))];
    assert!(why(set(&mut world, &limited, false)).contains("Role 'eng' is already consuming 'cpus:2'"));
    assert_eq!(set(&mut world, &limited, true), Ok(Done::Ok));
}

#[test]
fn a_limit_takes_back_its_own_offers_and_a_guarantee_those_of_others() {
    let mut world = World::new();
    world.agent("cpus:4;mem:100");
    let scheduler = world.framework(framework_info());
    assert_eq!(world.offer(&scheduler).len(), 1);
    world.heard(&scheduler.stream);
    let is_rescinded = |events: Vec<Event>| events.iter().any(|event| matches!(event, Event::Rescind { .. }));
    assert_eq!(set(&mut world, &[("other", quota(&[], &[("cpus", 1)]))], false), Ok(Done::Ok));
    assert!(!is_rescinded(world.heard(&scheduler.stream)), "another's limit is none of its business");
    assert_eq!(set(&mut world, &[("other", quota(&[("cpus", 1)], &[("cpus", 1)]))], false), Ok(Done::Ok));
    assert!(is_rescinded(world.heard(&scheduler.stream)), "it may be what is guaranteed");
}

#[test]
fn weights_are_set_and_shown() {
    let mut world = World::new();
    let weights = vec![(role("eng"), Quantity::from_milli(2500))];
    assert_eq!(world.operator(OperatorCall::UpdateWeights { weights }), Ok(Done::Ok));
    let snapshot = world.cluster.snapshot(world.now);
    assert_eq!(snapshot.master.weights[&role("eng")], Quantity::from_milli(2500));
}

/// The call's ticket; the answer may come later.
fn ask(world: &mut World, call: OperatorCall) -> Ticket {
    let ticket = Ticket(1_000 + world.now.unix.0);
    world.give(Input::Operator { ticket, call });
    ticket
}

/// Answered when the registry has it, and not done before.
#[test]
fn nothing_is_done_before_it_is_durable() {
    let mut world = World::new();
    world.agent("cpus:4;mem:100");
    world.is_storage_slow = true;
    let quotas = vec![(role("eng"), quota(&[("cpus", 3)], &[]))];
    let first = ask(&mut world, OperatorCall::UpdateQuota { quotas, is_forced: false });
    let weights = vec![(role("eng"), Quantity::from_units(2))];
    let second = ask(&mut world, OperatorCall::UpdateWeights { weights });
    // What is on its way counts: with it this would be more than there is.
    let quotas = vec![(role("ops"), quota(&[("cpus", 2)], &[]))];
    let third = ask(&mut world, OperatorCall::UpdateQuota { quotas, is_forced: false });
    assert!(why(world.answer(third).expect("refused at once")).contains("exceed cluster capacity"));
    let shown = world.cluster.snapshot(world.now).master.clone();
    assert!(shown.quotas.is_empty() && shown.weights.is_empty());
    assert!(world.answer(first).is_none() && world.answer(second).is_none());
    world.settle();
    assert_eq!(world.answer(first), Some(Ok(Done::Ok)));
    assert_eq!(world.answer(second), Some(Ok(Done::Ok)));
    let shown = world.cluster.snapshot(world.now).master.clone();
    assert_eq!((shown.quotas.len(), shown.weights[&role("eng")]), (1, Quantity::from_units(2)));
}

#[test]
fn the_next_master_has_quotas_and_weights() {
    let mut world = World::new();
    world.agent("cpus:4;mem:100");
    let eng = quota(&[("cpus", 2)], &[("cpus", 3)]);
    let both = [("eng", eng.clone()), ("ops", quota(&[], &[("mem", 50)]))];
    assert_eq!(set(&mut world, &both, false), Ok(Done::Ok));
    assert_eq!(set(&mut world, &[("ops", quota(&[], &[]))], false), Ok(Done::Ok));
    let weights = vec![(role("eng"), Quantity::from_milli(2500))];
    assert_eq!(world.operator(OperatorCall::UpdateWeights { weights }), Ok(Done::Ok));
    let mut next = World::after(world.registry.clone(), Settings::default());
    let shown = next.cluster.snapshot(next.now).master.clone();
    assert_eq!(shown.quotas.iter().collect::<Vec<_>>(), [(&role("eng"), &eng)]);
    assert_eq!(shown.weights[&role("eng")], Quantity::from_milli(2500));
    // It counts there as where it was set: a child's guarantee is part of its parent's.
    let child = [("eng/web", quota(&[("cpus", 3)], &[]))];
    assert!(why(set(&mut next, &child, true)).contains("Parent role 'eng'"));
}
