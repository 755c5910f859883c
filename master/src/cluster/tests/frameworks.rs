//! Frameworks: subscription, failover, disconnection, removal, refusals.

use super::world::*;
use crate::cluster::Settings;
use crate::cluster::effect::{Done, Event};
use crate::cluster::input::{Call, Input, StreamId, Subscribe};
use api::refusal::Refusal;
use model::framework::FrameworkInfo;
use model::id::FrameworkId;
use model::role::Role;
use model::task::TaskState;
use std::sync::Arc;
use wire::message::ToAgent;

fn with_id(id: &FrameworkId) -> FrameworkInfo {
    FrameworkInfo { framework_id: Some(id.clone()), ..framework_info() }
}

fn refusal(world: &mut World, info: FrameworkInfo, suppressed: Vec<Role>) -> String {
    let stream = world.stream();
    world.give(Input::Subscribe(Subscribe {
        stream: stream.clone(),
        framework: info,
        suppressed,
        constraints: Arc::default(),
    }));
    assert!(world.closed_streams.contains(&stream));
    message_of(&world.heard(&stream)).to_string()
}

#[test]
fn calls_need_a_subscription_and_its_stream() {
    let mut world = World::new();
    let scheduler = world.framework(framework_info());
    let (id, stream) = (scheduler.id.clone(), scheduler.stream.clone());
    let other = FrameworkId::new("other");
    let revive = || Call::Revive { roles: vec![] };
    assert_eq!(world.call_as(&other, Some(stream.clone()), revive()), Err(Refusal::FrameworkNotFound));
    assert_eq!(world.call_as(&id, None, revive()), Err(Refusal::StreamIdMissing));
    let stale = Refusal::StreamIdStale { got: "stale".into(), framework_id: id.to_string() };
    assert_eq!(world.call_as(&id, Some(StreamId("stale".into())), revive()), Err(stale));
    assert_eq!(world.call_as(&id, Some(stream.clone()), revive()), Ok(Done::Accepted));
    world.give(Input::StreamGone { stream: stream.clone() });
    assert_eq!(world.call_as(&id, Some(stream), revive()), Err(Refusal::FrameworkNotSubscribed));
}

#[test]
fn a_second_scheduler_takes_over_and_the_first_is_told() {
    let mut world = World::new();
    let (session, agent) = world.agent("cpus:4");
    let first = world.framework(framework_info());
    let offers = world.offer(&first);
    world.launch(&first, &offers[0], vec![task("t", &agent, "cpus:1")]);
    world.offer(&first);
    world.told(session);
    let second = world.framework(FrameworkInfo { name: "renamed".into(), ..with_id(&first.id) });
    assert_eq!(second.id, first.id);
    assert_eq!(&*message_of(&world.heard(&first.stream)), "Framework failed over");
    assert!(world.closed_streams.contains(&first.stream));
    assert!(
        matches!(&world.told(session)[..], [ToAgent::UpdateFramework { framework }] if &*framework.name == "renamed")
    );
    assert_eq!(world.cluster.offers.len(), 0, "the first one's offers are gone");
    let late = world.call(&first, Call::Revive { roles: vec![] });
    assert!(matches!(late, Err(Refusal::StreamIdStale { .. })), "{late:?}");
    world.give(Input::StreamGone { stream: first.stream.clone() });
    world.update(session, &second.id, "t", TaskState::Running, 1);
    assert_eq!(world.updates(&second).len(), 1, "the old stream's end is not the new one's");
}

#[test]
fn a_framework_that_does_not_come_back_is_torn_down() {
    let mut world = World::new();
    let (session, agent) = world.agent("cpus:4;mem:10");
    let scheduler = world.framework(framework_info());
    let offers = world.offer(&scheduler);
    let info =
        model::task::TaskInfo { executor: Some(executor("e", "mem:5")), ..task("t", &agent, "cpus:1") };
    world.launch(&scheduler, &offers[0], vec![info]);
    world.offer(&scheduler);
    world.told(session);
    world.give(Input::StreamGone { stream: scheduler.stream.clone() });
    // The agent answers its pings meanwhile.
    for n in 1..=6 {
        world.pass_ms(15_000);
        world.say(session, wire::message::ToMaster::Pong { sequence: n });
    }
    assert!(world.cluster.frameworks.contains(&scheduler.id), "90 of 100 seconds");
    world.pass_ms(10_000);
    assert!(!world.cluster.frameworks.contains(&scheduler.id));
    let told = world.told(session);
    assert!(told.contains(&ToAgent::ShutdownFramework { framework_id: scheduler.id.clone() }), "{told:?}");
    assert!(world.cluster.agents.get(&agent).expect("registered").used.is_empty());
    let snapshot = world.cluster.snapshot(world.now);
    let [over] = &snapshot.completed_frameworks[..] else { panic!("one completed") };
    assert_eq!(over.completed_tasks[0].state, TaskState::Killed);
    assert_eq!(over.completed_tasks[0].statuses[0].message.as_deref(), Some("Framework m-0000 removed"));
    assert!(over.unregistered.is_some());
    assert_eq!(refusal(&mut world, with_id(&scheduler.id), vec![]), "Framework has been removed");
}

#[test]
fn teardown_closes_the_stream_and_stops_late_updates_at_the_agent() {
    let mut world = World::new();
    let (session, agent) = world.agent("cpus:4");
    let scheduler = world.framework(framework_info());
    let offers = world.offer(&scheduler);
    world.launch(&scheduler, &offers[0], vec![task("t", &agent, "cpus:1")]);
    assert_eq!(world.call(&scheduler, Call::Teardown), Ok(Done::Accepted));
    assert!(world.closed_streams.contains(&scheduler.stream));
    world.told(session);
    world.update(session, &scheduler.id, "t", TaskState::Killed, 1);
    assert_eq!(world.told(session), [ToAgent::ShutdownFramework { framework_id: scheduler.id.clone() }]);
}

#[test]
fn completed_frameworks_are_kept_within_bounds() {
    let mut world = World::with(Settings { max_completed_frameworks: 2, ..Settings::default() });
    for _ in 0..4 {
        let scheduler = world.framework(framework_info());
        world.call(&scheduler, Call::Teardown).expect("taken");
    }
    let snapshot = world.cluster.snapshot(world.now);
    let ids: Vec<_> = snapshot.completed_frameworks.iter().map(|framework| framework.id.as_str()).collect();
    assert_eq!(ids, ["m-0002", "m-0003"]);
}

#[test]
fn subscriptions_that_cannot_be_are_refused_on_their_stream() {
    let mut world = World::new();
    let eng = Role::parse("eng").expect("a role");
    assert_eq!(
        refusal(&mut world, framework_info(), vec![eng]),
        "Suppressed role 'eng' is not contained in the list of roles"
    );
    let scheduler = world.framework(FrameworkInfo { principal: Some("alice".into()), ..framework_info() });
    let bob = FrameworkInfo { principal: Some("bob".into()), ..with_id(&scheduler.id) };
    assert_eq!(refusal(&mut world, bob, vec![]), "Changing framework's principal is not allowed.");
    assert!(world.heard(&scheduler.stream).is_empty(), "who was subscribed stays so");
}

#[test]
fn a_client_may_choose_its_frameworks_id() {
    let mut world = World::new();
    let chosen = FrameworkId::new("dispatcher-driver-1");
    let scheduler = world.framework(with_id(&chosen));
    assert_eq!(scheduler.id, chosen);
    assert_eq!(world.framework(framework_info()).id, FrameworkId::new("m-0000"));
}

#[test]
fn heartbeats_come_every_fifteen_seconds() {
    let mut world = World::new();
    let scheduler = world.framework(framework_info());
    world.pass_ms(14_999);
    assert!(world.heard(&scheduler.stream).is_empty());
    world.pass_ms(1);
    assert!(matches!(&world.heard(&scheduler.stream)[..], [Event::Heartbeat]));
    world.pass_ms(30_000);
    assert!(matches!(&world.heard(&scheduler.stream)[..], [Event::Heartbeat, Event::Heartbeat]));
}

#[test]
fn a_framework_may_change_what_it_says_of_itself_but_not_who_it_is() {
    let mut world = World::new();
    world.agent("cpus:4");
    let eng = Role::parse("eng").expect("a role");
    let scheduler = world.framework(framework_info());
    world.offer(&scheduler);
    let update = |framework: FrameworkInfo| Call::UpdateFramework {
        framework: Box::new(framework),
        suppressed: vec![],
        constraints: Arc::default(),
    };
    let moved = FrameworkInfo { roles: vec![eng.clone()], ..with_id(&scheduler.id) };
    assert_eq!(world.call(&scheduler, update(moved)), Ok(Done::Ok));
    assert!(
        matches!(&world.heard(&scheduler.stream)[..], [Event::Rescind { .. }]),
        "an offer of the role it left"
    );
    assert_eq!(world.offer_role(&scheduler, &eng).len(), 1);
    let other = FrameworkInfo { user: "nobody".into(), ..with_id(&scheduler.id) };
    let expected = "FrameworkInfo update is not valid: Updating 'FrameworkInfo.user' is unsupported; attempted to update \
                    from 'root' to 'nobody'";
    assert_eq!(world.call(&scheduler, update(other)), Err(Refusal::Bad(expected.into())));
}
