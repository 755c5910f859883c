//! What is durable before anybody hears of it, and what a master makes of what others have written.

use super::world::*;
use crate::cluster::effect::{Done, Event};
use crate::cluster::input::{Call, Input, OperatorCall};
use crate::cluster::{RemovalRate, Settings};
use crate::registrar::change::Change;
use crate::registrar::registry::Registry;
use model::id::{AgentId, FrameworkId, TaskId};
use model::resources::Resources;
use model::task::TaskState;
use model::time::UnixTime;
use std::sync::Arc;
use wire::message::{Reregister, ToAgent, ToMaster};
use wire::registry::{Standing, WithdrawalRecord};

fn agent(n: u16) -> AgentId {
    AgentId::new(format!("old-S{n}"))
}

fn info(n: u16) -> model::agent_info::AgentInfo {
    agent_info(6000 + n, "cpus:4;mem:100")
}

/// A registry with so many agents admitted.
fn registry(count: u16) -> Registry {
    let mut registry = Registry::default();
    for n in 0..count {
        registry.apply(&Change::Admit { agent_id: agent(n), info: Arc::new(info(n)) });
    }
    registry
}

fn settings() -> Settings {
    Settings { agent_reregister_timeout_ms: 600_000, offers_held_ms_max: 20_000, ..Settings::default() }
}

fn back(world: &mut World, n: u16) -> crate::cluster::input::SessionId {
    world.back(&agent(n), info(n), vec![], vec![])
}

#[test]
fn an_agent_is_told_it_is_registered_when_that_is_durable() {
    let mut world = World::new();
    world.is_storage_slow = true;
    let session = world.session();
    world.say(session, ToMaster::Register { info: info(0) });
    // What it says meanwhile is heard afterwards.
    world.say(session, ToMaster::Pong { sequence: 0 });
    let row = world.report_node(session);
    assert_eq!((world.told(session), world.cluster.agents.iter().count()), (vec![], 0));
    world.settle();
    let told = world.told(session);
    let [ToAgent::Registered { agent_id, .. }] = &told[..] else { panic!("{told:?}") };
    assert!(matches!(world.registry.agents[agent_id].standing, Standing::Admitted(_)));
    assert_eq!(world.cluster.agents.get(agent_id).expect("registered").node, Some(row));
}

#[test]
fn an_agent_that_left_before_it_was_registered_is_not_kept() {
    let mut world = World::new();
    world.is_storage_slow = true;
    let session = world.session();
    world.say(session, ToMaster::Register { info: info(0) });
    world.report_node(session);
    world.give(Input::AgentGone { session });
    assert_eq!(world.registry.agents.len(), 1);
    world.settle();
    assert_eq!(world.registry, Registry::default(), "nobody has ever heard of its id");
    let other = world.session();
    world.say(other, ToMaster::Register { info: info(0) });
    world.say(other, ToMaster::Register { info: info(0) });
    assert!(world.closed_sessions.contains(&other), "once is enough");
    world.settle();
    assert_eq!(world.registry, Registry::default());
}

#[test]
fn an_agent_that_comes_twice_before_it_is_admitted_is_admitted() {
    for first_is_noticed in [true, false] {
        let mut world = World::new();
        world.is_storage_slow = true;
        let first = back(&mut world, 0);
        if first_is_noticed {
            world.give(Input::AgentGone { session: first });
        }
        let second = back(&mut world, 0);
        world.settle();
        assert!(matches!(&world.told(second)[..], [ToAgent::Registered { .. }]));
        assert!(matches!(world.registry.agents[&agent(0)].standing, Standing::Admitted(_)));
        assert_eq!(world.cluster.agents.get(&agent(0)).expect("registered").session, Some(second));
    }
}

#[test]
fn an_agent_that_returns_while_it_is_given_up_is_given_up_first() {
    let mut world = World::after(registry(1), settings());
    let scheduler = world.framework(partition_aware());
    let session = back(&mut world, 0);
    world.give(Input::AgentGone { session });
    world.is_storage_slow = true;
    world.pass_ms(80_000);
    assert!(world.cluster.agents.contains(&agent(0)), "not before it is durable");
    let new = back(&mut world, 0);
    // Nothing is certain of its tasks meanwhile.
    let ask = || Call::Reconcile { tasks: vec![(TaskId::new("t"), Some(agent(0)))] };
    world.call(&scheduler, ask()).expect("taken");
    assert_eq!(world.updates(&scheduler), []);
    world.settle();
    assert!(matches!(&world.told(new)[..], [ToAgent::Registered { .. }]));
    assert!(matches!(world.registry.agents[&agent(0)].standing, Standing::Admitted(_)));
    let lost = world.heard(&scheduler.stream);
    assert!(matches!(&lost[..], [Event::Failure { .. }]), "{lost:?}");
    world.call(&scheduler, ask()).expect("taken");
    assert_eq!(world.updates(&scheduler), [("t".into(), TaskState::Gone, None)]);
}

#[test]
fn offers_are_held_back_until_most_agents_are_back() {
    let mut world = World::after(registry(5), settings());
    let scheduler = world.framework(framework_info());
    (0..3).for_each(|n| _ = back(&mut world, n));
    assert_eq!(world.offer(&scheduler), []);
    // Nor is anything of a new one, which may be the only one that others do not use.
    world.agent("cpus:1");
    assert_eq!(world.offer(&scheduler), []);
    back(&mut world, 3);
    assert_eq!(world.offer(&scheduler).len(), 5, "four of five are back, and one is new");
}

#[test]
fn offers_are_held_back_no_longer_than_that() {
    let mut world = World::after(registry(5), settings());
    let scheduler = world.framework(framework_info());
    back(&mut world, 0);
    world.pass_ms(14_000);
    world.heard(&scheduler.stream);
    assert_eq!(world.offer(&scheduler), []);
    world.say(crate::cluster::input::SessionId(1), ToMaster::Pong { sequence: 1 });
    world.pass_ms(6_000);
    world.heard(&scheduler.stream);
    assert_eq!(world.offer(&scheduler).len(), 1);
}

#[test]
fn who_does_not_come_back_is_unreachable_one_after_the_other() {
    let rate = Some(RemovalRate { count: 2, interval_ms: 60_000 });
    let settings = Settings {
        agent_removal_rate_limit: rate,
        agent_reregister_timeout_ms: 10_000,
        agent_ping_timeout_ms: 600_000,
        ..settings()
    };
    let mut world = World::after(registry(4), settings);
    let scheduler = world.framework(partition_aware());
    let snapshot = world.cluster.snapshot(world.now);
    assert_eq!((snapshot.expected_agents.len(), snapshot.unreachable_agents.len()), (4, 0));
    let ask = |n| Call::Reconcile { tasks: vec![(TaskId::new("t"), n)] };
    for agent_id in [Some(agent(3)), None] {
        world.call(&scheduler, ask(agent_id)).expect("taken");
        assert_eq!(world.updates(&scheduler), [], "it may yet come back");
    }
    world.pass_ms(10_000);
    let unreachable = |world: &mut World| {
        let standing =
            world.registry.agents.values().filter(|it| matches!(it.standing, Standing::Unreachable(_)));
        assert_eq!(standing.count(), world.cluster.snapshot(world.now).unreachable_agents.len());
        world.cluster.snapshot(world.now).unreachable_agents.len()
    };
    assert_eq!(unreachable(&mut world), 1);
    world.pass_ms(30_000);
    assert_eq!(unreachable(&mut world), 2);
    back(&mut world, 2);
    world.pass_ms(30_000);
    assert_eq!(unreachable(&mut world), 3, "its turn is the next one's");
    let counters = world.cluster.counters;
    assert_eq!((counters.slave_unreachable_scheduled, counters.slave_unreachable_canceled), (4, 1));
    assert_eq!((counters.slave_unreachable_completed, counters.recovery_slave_removals), (3, 3));
    world.heard(&scheduler.stream);
    world.call(&scheduler, ask(Some(agent(3)))).expect("taken");
    assert_eq!(world.updates(&scheduler), [("t".into(), TaskState::Unreachable, None)]);
    world.call(&scheduler, ask(None)).expect("taken");
    assert_eq!(world.updates(&scheduler), [("t".into(), TaskState::Unknown, None)], "nobody is expected");
}

#[test]
fn a_silent_agent_that_answers_before_its_turn_stays() {
    let rate = Some(RemovalRate { count: 1, interval_ms: 100_000 });
    let settings = Settings { agent_removal_rate_limit: rate, ..settings() };
    let mut world = World::with(settings);
    let (first, _) = world.agent("cpus:1");
    let (second, stays) = world.agent("cpus:1");
    world.give(Input::AgentGone { session: first });
    world.pass_ms(120_000);
    assert_eq!(world.cluster.agents.iter().count(), 1, "the first is given up, the second waits");
    world.say(second, ToMaster::Pong { sequence: 1 });
    world.pass_ms(60_000);
    world.say(second, ToMaster::Pong { sequence: 1 });
    assert!(world.cluster.agents.contains(&stays));
    assert_eq!(world.cluster.counters.slave_unreachable_canceled, 1);
}

#[test]
fn a_master_that_misses_too_many_goes_no_further() {
    let settings = Settings {
        recovery_agent_removal_limit_percent: 50,
        agent_reregister_timeout_ms: 10_000,
        ..settings()
    };
    for (count, is_over) in [(2, false), (1, true)] {
        let mut world = World::after(registry(4), settings.clone());
        (0..count).for_each(|n| _ = back(&mut world, n));
        world.pass_ms(10_000);
        assert_eq!(world.aborted.is_some(), is_over);
        let unreachable = world.cluster.snapshot(world.now).unreachable_agents.len();
        assert_eq!(unreachable, if is_over { 0 } else { 2 });
        if let Some(why) = &world.aborted {
            assert!(why.contains("of 4 agents in the registry, 3 did not"), "{why}");
        }
    }
}

#[test]
fn what_operators_have_done_outlives_the_master() {
    let mut world = World::after(registry(3), settings());
    (0..3).for_each(|n| _ = back(&mut world, n));
    let drain = OperatorCall::Drain { agent_id: agent(0), max_grace_ns: Some(7), marks_gone: false };
    let calls = [
        drain,
        OperatorCall::Deactivate { agent_id: agent(1) },
        OperatorCall::MarkGone { agent_id: agent(2) },
    ];
    for call in calls {
        assert_eq!(world.operator(call), Ok(Done::Ok));
    }
    let mut next = World::after(world.registry.clone(), settings());
    let scheduler = next.framework(framework_info());
    let sessions: Vec<_> = (0..3).map(|n| back(&mut next, n)).collect();
    let told = next.told(sessions[0]);
    let order = ToAgent::Drain { max_grace_ns: Some(7), marks_gone: false };
    assert!(told.contains(&order), "{told:?}");
    assert!(matches!(&next.told(sessions[2])[..], [ToAgent::Refused { .. }]), "it is gone");
    assert_eq!(next.offer(&scheduler), [], "the others are withdrawn");
    let snapshot = next.cluster.snapshot(next.now);
    let drained = snapshot.withdrawal(&agent(0)).and_then(|it| it.drain).map(|drain| drain.is_drained);
    assert_eq!((drained, snapshot.withdrawn.len()), (Some(true), 2));
    for n in [0, 1] {
        assert_eq!(next.operator(OperatorCall::Reactivate { agent_id: agent(n) }), Ok(Done::Ok));
    }
    assert_eq!(next.offer(&scheduler).len(), 2);
    let left = next.registry.agents.values().filter(|it| it.withdrawal != WithdrawalRecord::default());
    assert_eq!(left.count(), 0);
}

#[test]
fn an_operator_is_answered_when_it_is_durable() {
    let mut world = World::after(registry(1), settings());
    let ticket = crate::cluster::input::Ticket(900);
    world.is_storage_slow = true;
    world.give(Input::Operator { ticket, call: OperatorCall::MarkGone { agent_id: agent(0) } });
    assert_eq!(world.answer(ticket), None);
    // It comes back in the middle of it, which does not help it.
    let session = back(&mut world, 0);
    world.settle();
    assert_eq!(world.answer(ticket), Some(Ok(Done::Ok)));
    world.settle();
    assert!(matches!(world.registry.agents[&agent(0)].standing, Standing::Gone(_)));
    let told = world.told(session);
    assert!(matches!(told.last(), Some(ToAgent::Refused { .. })), "{told:?}");
    assert!(!world.cluster.agents.contains(&agent(0)));
}

#[test]
fn what_an_agent_says_of_itself_is_kept_when_it_changes() {
    let mut world = World::after(registry(1), settings());
    let grown = agent_info(6000, "cpus:8");
    let message = Reregister {
        agent_id: agent(0),
        info: grown.clone(),
        frameworks: vec![],
        executors: vec![],
        tasks: vec![running(&FrameworkId::new("nobody"), task("t", &agent(0), "cpus:1"), TaskState::Running)],
        oversubscribed: Resources::default(),
    };
    let session = world.session();
    world.is_storage_slow = true;
    world.say(session, ToMaster::Reregister(message));
    assert!(
        matches!(world.told(session).first(), Some(ToAgent::Registered { .. })),
        "nothing waits for that"
    );
    world.settle();
    assert_eq!(world.registry.agents[&agent(0)].standing, Standing::Admitted(Arc::new(grown)));
}

#[test]
fn an_agent_that_was_unreachable_for_the_master_before_comes_back() {
    let mut before = registry(1);
    before.apply(&Change::Unreachable { agent_id: agent(0), since: UnixTime(5) });
    let mut world = World::after(before, settings());
    let scheduler = world.framework(partition_aware());
    let ask = Call::Reconcile { tasks: vec![(TaskId::new("t"), Some(agent(0)))] };
    world.call(&scheduler, ask).expect("taken");
    assert_eq!(world.updates(&scheduler), [("t".into(), TaskState::Unreachable, None)]);
    let session = back(&mut world, 0);
    assert!(matches!(&world.told(session)[..], [ToAgent::Registered { .. }]));
    assert!(matches!(world.registry.agents[&agent(0)].standing, Standing::Admitted(_)));
    assert_eq!(world.offer(&scheduler).len(), 1, "nobody was expected, so nothing is held back");
}

/// Seed 1829 of the simulator: the master before admitted it anew and died before it had the old one forgotten.
#[test]
fn of_two_expected_agents_at_one_address_the_one_that_is_back_is_it() {
    let mut registry = registry(1);
    registry.apply(&Change::Admit { agent_id: agent(1), info: Arc::new(info(0)) });
    let mut world = World::after(registry, settings());
    world.back(&agent(1), info(0), vec![], vec![]);
    assert!(!world.registry.agents.contains_key(&agent(0)) && world.registry.agents.contains_key(&agent(1)));
    assert_eq!(world.cluster.snapshot(world.now).unreachable_agents.len(), 0);
}

/// Seed 193 of the simulator: it was admitted, and died before it had written down its id. Its task was unreachable for ever.
#[test]
fn an_expected_agent_whose_address_is_anothers_now_is_not_waited_for() {
    let mut world = World::after(registry(2), settings());
    let scheduler = world.framework(framework_info());
    let session = world.session();
    world.say(session, ToMaster::Register { info: info(0) });
    assert!(matches!(&world.told(session)[..], [ToAgent::Registered { .. }]));
    assert!(!world.registry.agents.contains_key(&agent(0)) && world.registry.agents.contains_key(&agent(1)));
    let heard = world.heard(&scheduler.stream);
    let is_told = |event: &Event| matches!(event, Event::Failure { agent_id, .. } if *agent_id == agent(0));
    assert!(heard.iter().any(is_told), "{heard:?}");
    let tasks = vec![(TaskId::new("t"), Some(agent(0)))];
    world.call(&scheduler, Call::Reconcile { tasks }).expect("taken");
    assert_eq!(world.updates(&scheduler), [("t".into(), TaskState::Lost, None)]);
    world.pass_ms(600_001);
    let snapshot = world.cluster.snapshot(world.now);
    let given_up: Vec<_> = snapshot.unreachable_agents.iter().map(|(id, _)| id.clone()).collect();
    assert!(given_up.contains(&agent(1)) && !given_up.contains(&agent(0)), "{given_up:?}");
}
