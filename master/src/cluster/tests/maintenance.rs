//! Machines that are planned to be away: the schedule, inverse offers, and agents on machines that are down.

use super::world::*;
use crate::cluster::Settings;
use crate::cluster::effect::{Done, Event};
use crate::cluster::input::{Call, Input, OperatorCall, Subscribe, Ticket};
use crate::cluster::inverse::InverseAnswer;
use crate::registrar::change::Change;
use crate::registrar::registry::Registry;
use model::id::{AgentId, OfferId, TaskId};
use model::maintenance::{MachineId, Unavailability, Window};
use model::task::{Reason, TaskState};
use std::sync::Arc;
use wire::message::{ToAgent, ToMaster};

/// The port of a world's first agent, and so its host.
const FIRST: u16 = 5052;

fn here() -> MachineId {
    MachineId::of(&agent_info(FIRST, "cpus:1"))
}

fn away(start_ns: i64) -> Unavailability {
    Unavailability { start_ns, duration_ns: Some(5) }
}

fn plan(machines: &[MachineId], start_ns: i64) -> OperatorCall {
    let window = Window { machines: machines.to_vec(), unavailability: away(start_ns) };
    OperatorCall::UpdateSchedule { windows: vec![window] }
}

fn down(machine: MachineId) -> OperatorCall {
    OperatorCall::StartMaintenance { machines: vec![machine] }
}

fn up(machine: MachineId) -> OperatorCall {
    OperatorCall::StopMaintenance { machines: vec![machine] }
}

fn refused(world: &mut World, call: OperatorCall) -> String {
    world.operator(call).expect_err("refused").to_string()
}

/// The inverse offers among these events.
fn asked(events: &[Event]) -> Vec<(OfferId, Unavailability)> {
    let offers = events.iter().filter_map(|event| match event {
        Event::InverseOffers { offers } => Some(offers),
        _ => None,
    });
    offers.flatten().map(|offer| (offer.id.clone(), offer.unavailability)).collect()
}

/// What an offer says of when it ends.
fn offered(world: &mut World, scheduler: &Scheduler) -> Option<Unavailability> {
    let ids = world.offer(scheduler);
    world.cluster.offers[&ids[0]].unavailability
}

fn answers(world: &mut World) -> Vec<InverseAnswer> {
    let snapshot = world.cluster.snapshot(world.now);
    snapshot.inverse_answers.get(&here()).cloned().unwrap_or_default()
}

/// An agent with a task that runs, and its scheduler.
fn scene(settings: Settings) -> (World, crate::cluster::input::SessionId, AgentId, Scheduler) {
    let mut world = World::with(settings);
    let (session, agent) = world.agent("cpus:4;mem:100");
    let scheduler = world.framework(framework_info());
    let offers = world.offer(&scheduler);
    world.launch(&scheduler, &offers[0], vec![task("t", &agent, "cpus:1")]);
    world.update(session, &scheduler.id, "t", TaskState::Running, 1);
    world.acknowledge(&scheduler, &agent, "t", 1);
    world.told(session);
    world.heard(&scheduler.stream);
    (world, session, agent, scheduler)
}

#[test]
fn what_drains_is_offered_with_its_end_and_asked_for() {
    let (mut world, session, agent, scheduler) = scene(Settings::default());
    assert_eq!(offered(&mut world, &scheduler), None);
    world.heard(&scheduler.stream);
    assert_eq!(world.operator(plan(&[here()], 7)), Ok(Done::Ok));
    let heard = world.heard(&scheduler.stream);
    assert!(heard.iter().any(|event| matches!(event, Event::Rescind { .. })), "offered without it");
    let [(id, unavailability)] = &asked(&heard)[..] else { panic!("{heard:?}") };
    assert_eq!(*unavailability, away(7));
    assert_eq!(offered(&mut world, &scheduler), Some(away(7)));
    assert_eq!(asked(&world.heard(&scheduler.stream)), [], "asked already");
    // Its answer shows, and it is asked again when it wants to be.
    let answer = |offer_ids, is_accepted, seconds: u64| Call::AnswerInverseOffers {
        offer_ids,
        is_accepted,
        refuse_ns: seconds * 1_000_000_000,
    };
    world.call(&scheduler, answer(vec![id.clone()], true, 60)).expect("taken");
    let said = |world: &mut World| answers(world).iter().map(|it| it.is_accepted).collect::<Vec<_>>();
    assert_eq!(said(&mut world), [true]);
    world.pass_ms(59_000);
    assert_eq!(asked(&world.heard(&scheduler.stream)), []);
    world.pass_ms(1_001);
    let [(again, _)] = &asked(&world.heard(&scheduler.stream))[..] else { panic!("not asked again") };
    assert_ne!(again, id);
    // One that stands no more is passed over.
    world.call(&scheduler, answer(vec![id.clone()], true, 0)).expect("taken");
    world.call(&scheduler, answer(vec![again.clone()], false, 0)).expect("taken");
    assert_eq!(said(&mut world), [false]);
    assert_eq!(asked(&world.heard(&scheduler.stream)), [], "not at once");
    world.pass_ms(1_001);
    assert_eq!(asked(&world.heard(&scheduler.stream)).len(), 1);
    // An agent that is away is not asked about; when it is back it is, and what was said still stands.
    world.give(Input::AgentGone { session });
    let heard = world.heard(&scheduler.stream);
    assert!(heard.iter().any(|event| matches!(event, Event::RescindInverseOffer { .. })));
    let on_agent =
        world.cluster.frameworks.get(&scheduler.id).expect("subscribed").tasks["t"].info.as_ref().clone();
    let info = world.agent_info(&agent);
    world.back(&agent, info, vec![], vec![running(&scheduler.id, on_agent, TaskState::Running)]);
    assert_eq!(asked(&world.heard(&scheduler.stream)).len(), 1);
    assert_eq!(said(&mut world), [false]);
    // Another plan is another question, and none is none.
    assert_eq!(world.operator(plan(&[here()], 8)), Ok(Done::Ok));
    let heard = world.heard(&scheduler.stream);
    assert_eq!(asked(&heard).iter().map(|(_, it)| *it).collect::<Vec<_>>(), [away(8)]);
    assert!(said(&mut world).is_empty());
    assert_eq!(world.operator(OperatorCall::UpdateSchedule { windows: vec![] }), Ok(Done::Ok));
    let heard = world.heard(&scheduler.stream);
    assert!(heard.iter().any(|event| matches!(event, Event::RescindInverseOffer { .. })));
    assert_eq!(offered(&mut world, &scheduler), None);
}

#[test]
fn an_inverse_offer_ends_with_the_offer_timeout_and_is_made_again_to_who_is_back() {
    let (mut world, _, _, scheduler) =
        scene(Settings { offer_timeout_ms: Some(5_000), ..Settings::default() });
    assert_eq!(world.operator(plan(&[here()], 7)), Ok(Done::Ok));
    assert_eq!(asked(&world.heard(&scheduler.stream)).len(), 1);
    world.pass_ms(5_001);
    let heard = world.heard(&scheduler.stream);
    assert!(heard.iter().any(|event| matches!(event, Event::RescindInverseOffer { .. })));
    assert_eq!(asked(&heard).len(), 1);
    let stream = scheduler.stream.clone();
    world.give(Input::StreamGone { stream });
    let mut info = framework_info();
    info.framework_id = Some(scheduler.id.clone());
    let stream = world.stream();
    let constraints = std::sync::Arc::default();
    let subscribe = Subscribe { stream: stream.clone(), framework: info, suppressed: vec![], constraints };
    world.give(Input::Subscribe(subscribe));
    let heard = world.heard(&stream);
    assert!(matches!(heard[0], Event::Subscribed { .. }), "nothing is said before it is subscribed");
    assert_eq!(asked(&heard).len(), 1);
    let scheduler = Scheduler { stream, ..scheduler };
    world.call(&scheduler, Call::Teardown).expect("taken");
}

#[test]
fn who_is_on_a_machine_that_goes_down_ends_and_may_not_come_back_before_it_is_up() {
    let (mut world, session, agent, scheduler) = scene(Settings::default());
    assert_eq!(world.operator(plan(&[here()], 7)), Ok(Done::Ok));
    world.heard(&scheduler.stream);
    assert_eq!(world.operator(down(here())), Ok(Done::Ok));
    let refusal = ToAgent::Refused { reason: "Operator initiated 'Machine DOWN'".into() };
    assert_eq!(world.told(session), [refusal]);
    let heard = world.heard(&scheduler.stream);
    let lost = heard.iter().find_map(|event| match event {
        Event::Update { status } => Some((status.task_id.clone(), status.state, status.reason)),
        _ => None,
    });
    assert_eq!(lost, Some((TaskId::new("t"), TaskState::Lost, Some(Reason::AGENT_REMOVED))));
    assert_eq!(world.registry.agents.len(), 0);
    let is_refused = |world: &mut World| {
        let session = world.session();
        world.say(session, ToMaster::Register { info: agent_info(FIRST, "cpus:1") });
        world.told(session).pop() == Some(ToAgent::Refused { reason: "Machine is `DOWN`".into() })
    };
    assert!(is_refused(&mut world));
    let info = agent_info(FIRST, "cpus:1");
    let again = world.back(&agent, info, vec![], vec![]);
    assert_eq!(world.told(again), [ToAgent::Refused { reason: "Machine is `DOWN`".into() }]);
    // The next master knows.
    let registry = world.registry.clone();
    let mut next = World::after(registry, Settings::default());
    assert!(is_refused(&mut next));
    assert_eq!(next.operator(up(here())), Ok(Done::Ok));
    assert!(!is_refused(&mut next));
    assert_eq!((next.registry.machines.len(), next.registry.agents.len()), (0, 1));
    assert!(next.cluster.snapshot(next.now).machines.is_empty());
}

#[test]
fn what_may_not_be_planned_is_refused_in_mesos_words() {
    let mut world = World::new();
    let name = here().to_string();
    let other = || MachineId::new("other", None);
    let not_planned = format!("Machine '{name}' is not part of a maintenance schedule");
    assert_eq!(refused(&mut world, down(here())), not_planned);
    assert_eq!(refused(&mut world, up(here())), not_planned);
    assert_eq!(world.operator(plan(&[here(), other()], 7)), Ok(Done::Ok));
    let text = format!("Machine '{name}' is not in DOWN mode and cannot be brought up");
    assert_eq!(refused(&mut world, up(here())), text);
    assert_eq!(world.operator(down(here())), Ok(Done::Ok));
    let text = format!("Machine '{name}' is not in DRAINING mode and cannot be brought down");
    assert_eq!(refused(&mut world, down(here())), text);
    let text = format!("Machine '{name}' is deactivated and cannot be removed from the schedule");
    assert_eq!(refused(&mut world, plan(&[other()], 7)), text);
    // Nothing of what was refused was done.
    assert_eq!(world.registry.machines.len(), 2);
    assert_eq!(world.operator(up(here())), Ok(Done::Ok));
    let windows = model::maintenance::windows(&world.registry.machines);
    assert_eq!(windows, [Window { machines: vec![other()], unavailability: away(7) }]);
}

#[test]
fn a_call_is_checked_against_those_that_are_not_durable_yet() {
    let mut world = World::new();
    world.is_storage_slow = true;
    let tickets = [Ticket(900), Ticket(901)];
    for (ticket, call) in tickets.into_iter().zip([plan(&[here()], 7), down(here())]) {
        world.give(Input::Operator { ticket, call });
    }
    // It introduced itself before that was durable; it does not get further.
    let session = world.session();
    world.say(session, ToMaster::Register { info: agent_info(FIRST, "cpus:1") });
    assert_eq!(world.told(session), []);
    world.settle();
    assert_eq!(tickets.map(|ticket| world.answer(ticket)), [const { Some(Ok(Done::Ok)) }; 2]);
    assert_eq!(world.told(session), [ToAgent::Refused { reason: "Machine is `DOWN`".into() }]);
    assert!(world.registry.machines[&here()].is_down);
    assert_eq!(world.registry.agents.len(), 0, "nobody has heard of it");
}

#[test]
fn an_expected_agent_of_a_machine_that_goes_down_is_not_waited_for() {
    let mut registry = Registry::default();
    let agent_id = AgentId::new("old-S0");
    registry
        .apply(&Change::Admit { agent_id: agent_id.clone(), info: Arc::new(agent_info(FIRST, "cpus:1")) });
    let mut world = World::after(registry, Settings::default());
    let scheduler = world.framework(framework_info());
    assert_eq!(world.operator(plan(&[here()], 7)), Ok(Done::Ok));
    assert_eq!(world.operator(down(here())), Ok(Done::Ok));
    let heard = world.heard(&scheduler.stream);
    let is_told = |event: &Event| matches!(event, Event::Failure { agent_id: id, .. } if *id == agent_id);
    assert!(heard.iter().any(is_told), "{heard:?}");
    assert!(world.registry.agents.is_empty() && !world.cluster.expected.holds_offers());
}
