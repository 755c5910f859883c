//! What agents lend out beside what they have.

use super::world::*;
use crate::cluster::effect::Event;
use crate::cluster::input::{Call, Input, SessionId};
use model::framework::FrameworkInfo;
use model::id::{AgentId, OfferId};
use model::resources::Resources;
use model::task::{TaskInfo, TaskState};
use wire::message::{Reregister, ToMaster};

impl World {
    /// An agent of its own 4 CPUs and 1000 MiB that lends so much.
    fn lender(&mut self, text: &str) -> (SessionId, AgentId) {
        let (session, agent) = self.agent("cpus:4;mem:1000");
        self.estimate(session, text);
        (session, agent)
    }

    fn estimate(&mut self, session: SessionId, text: &str) {
        self.say(session, ToMaster::Oversubscribed { total: r(text).revocable() });
    }

    /// What is lent out in the offers that stand.
    fn lent_out(&self) -> Vec<(OfferId, Resources)> {
        let lent = |resources: &Resources| crate::cluster::revocable::lent(resources);
        self.cluster.offers.values().map(|offer| (offer.id.clone(), lent(&offer.resources))).collect()
    }

    fn total(&self, agent: &AgentId) -> Resources {
        self.cluster.agents.get(agent).expect("registered").total()
    }

    fn used(&self, agent: &AgentId) -> Resources {
        self.cluster.agents.get(agent).expect("registered").used.unallocated()
    }
}

fn on_loan(id: &str, agent: &AgentId, text: &str) -> TaskInfo {
    TaskInfo { resources: r(text).revocable(), ..task(id, agent, "") }
}

fn sum(a: &str, lent: &str) -> Resources {
    let mut all = r(a);
    all.add(&r(lent).revocable());
    all
}

#[test]
fn an_estimate_adds_to_what_there_is_and_replaces_the_one_before() {
    let mut world = World::new();
    let (session, agent) = world.lender("cpus:2;mem:100");
    assert_eq!(world.total(&agent), sum("cpus:4;mem:1000", "cpus:2;mem:100"));
    let scheduler = world.framework(revocable());
    let offers = world.offer(&scheduler);
    assert_eq!(world.cluster.offers[&offers[0]].resources.unallocated(), world.total(&agent));
    world.estimate(session, "cpus:3;mem:100");
    assert!(world.heard(&scheduler.stream).is_empty(), "more is no reason to take anything back");
    assert_eq!(world.total(&agent), sum("cpus:4;mem:1000", "cpus:3;mem:100"));
    world.offer(&scheduler);
    assert_eq!(world.lent_out()[1].1, r("cpus:1").revocable());
    assert_eq!(world.agent_info(&agent).total, r("cpus:4;mem:1000"), "what is kept of it is its own alone");
}

#[test]
fn a_smaller_estimate_takes_back_what_is_offered_and_no_more_than_it_must() {
    let mut world = World::new();
    let (session, agent) = world.lender("cpus:2");
    let scheduler = world.framework(revocable());
    let first = world.offer(&scheduler);
    world.estimate(session, "cpus:3");
    let second = world.offer(&scheduler);
    world.heard(&scheduler.stream);
    world.estimate(session, "cpus:2.5");
    let events = world.heard(&scheduler.stream);
    assert!(matches!(&events[..], [Event::Rescind { offer_id }] if *offer_id == second[0]), "{events:?}");
    // One that is all regular stands, whatever becomes of the rest.
    world.estimate(session, "");
    let events = world.heard(&scheduler.stream);
    assert!(matches!(&events[..], [Event::Rescind { offer_id }] if *offer_id == first[0]), "{events:?}");
    let third = world.offer(&scheduler);
    assert_eq!(world.cluster.offers[&third[0]].resources.unallocated(), r("cpus:4;mem:1000"));
    world.estimate(session, "cpus:1");
    world.estimate(session, "");
    assert!(world.heard(&scheduler.stream).is_empty());
    assert_eq!(world.total(&agent), r("cpus:4;mem:1000"));
}

#[test]
fn what_tasks_use_is_left_to_their_agent() {
    let mut world = World::new();
    let (session, agent) = world.lender("cpus:2");
    let scheduler = world.framework(revocable());
    let offers = world.offer(&scheduler);
    world.launch(&scheduler, &offers[0], vec![on_loan("t", &agent, "cpus:2")]);
    world.heard(&scheduler.stream);
    world.estimate(session, "cpus:0.5");
    assert_eq!(world.heard(&scheduler.stream).len(), 0, "nothing is offered, and tasks are not its affair");
    assert_eq!(world.used(&agent), r("cpus:2").revocable());
    // More is in use than is lent: that takes nothing from what is the agent's own.
    let offers = world.offer(&scheduler);
    assert_eq!(world.cluster.offers[&offers[0]].resources.unallocated(), r("cpus:4;mem:1000"));
    let decline = Call::Decline { offer_ids: offers, refuse_ns: 0 };
    world.call(&scheduler, decline).expect("taken");
    world.update(session, &scheduler.id, "t", TaskState::Failed, 1);
    world.heard(&scheduler.stream);
    assert_eq!(world.used(&agent), Resources::default());
    let offers = world.offer(&scheduler);
    assert_eq!(world.cluster.offers[&offers[0]].resources.unallocated(), sum("cpus:4;mem:1000", "cpus:0.5"));
}

/// The allocator has handed out, and the master not yet heard, what the agent meanwhile lends no more.
#[test]
fn an_allocation_of_what_is_lent_no_more_becomes_no_offer() {
    let mut world = World::new();
    let (session, agent) = world.lender("cpus:2");
    let scheduler = world.framework(revocable());
    world.estimate(session, "cpus:1");
    let late = world.handed_out(&scheduler, &agent, &r("cpus:2").revocable());
    world.give(Input::Allocations(vec![late]));
    assert_eq!(world.cluster.offers.len(), 0);
    world.offer(&scheduler);
    assert_eq!(world.lent_out()[0].1, r("cpus:1").revocable(), "it came back");
}

#[test]
fn an_estimate_of_an_agent_that_was_given_up_is_counted_and_changes_nothing() {
    let mut world = World::new();
    let (session, agent) = world.lender("cpus:2");
    world.say(session, ToMaster::Unregister);
    assert!(world.cluster.agents.get(&agent).is_none());
    world.estimate(session, "cpus:9");
    assert_eq!(world.cluster.counters.oversubscribed_dropped, 1);
    assert_eq!(world.cluster.counters.messages_update_slave, 1, "the first alone was an agent's");
    let (session, agent) = world.agent("cpus:1");
    assert_eq!(world.total(&agent), r("cpus:1"));
    assert!(!world.closed_sessions.contains(&session));
}

/// A new master learns from the agent what it lends, and what of that is in use.
#[test]
fn an_agent_comes_back_with_what_it_lends_and_what_is_on_loan() {
    let mut world = World::new();
    let scheduler = world.framework(revocable());
    let framework = world.cluster.frameworks.get(&scheduler.id).expect("known").info.as_ref().clone();
    let agent = AgentId::new("old-S0");
    let runs = running(&scheduler.id, on_loan("t", &agent, "cpus:2"), TaskState::Running);
    let back = |world: &mut World, lent: &str| {
        let session = world.session();
        let message = Reregister {
            agent_id: agent.clone(),
            info: agent_info(5051, "cpus:4"),
            frameworks: vec![framework.clone()],
            executors: Vec::new(),
            tasks: vec![runs.clone()],
            oversubscribed: r(lent).revocable(),
        };
        world.say(session, ToMaster::Reregister(message));
        session
    };
    let session = back(&mut world, "cpus:3");
    assert_eq!((world.total(&agent), world.used(&agent)), (sum("cpus:4", "cpus:3"), r("cpus:2").revocable()));
    let offers = world.offer(&scheduler);
    assert_eq!(world.cluster.offers[&offers[0]].resources.unallocated(), sum("cpus:4", "cpus:1"));
    world.give(Input::AgentGone { session });
    world.heard(&scheduler.stream);
    // It lends less than is on loan by now.
    back(&mut world, "cpus:1");
    let offers = world.offer(&scheduler);
    assert_eq!(world.cluster.offers[&offers[0]].resources.unallocated(), r("cpus:4"));
    assert_eq!(world.total(&agent), sum("cpus:4", "cpus:1"));
}

#[test]
fn tasks_and_executors_are_on_loan_as_a_whole_or_not_at_all() {
    let mut world = World::new();
    let (_, agent) = world.lender("cpus:4;mem:500");
    let scheduler = world.framework(revocable());
    let lent = |text: &str| r(text).revocable();
    let with = |id: &str, resources: Resources, executor_has: Resources| TaskInfo {
        executor: Some(model::executor::ExecutorInfo { resources: executor_has, ..executor(id, "") }),
        ..TaskInfo { resources, ..task(id, &agent, "") }
    };
    let mixed = [
        (with("a", lent("cpus:1"), r("cpus:0.1")), "Task and its executor mix"),
        (with("b", lent("cpus:1"), sum("mem:32", "mem:1")), "Executor mixes"),
    ];
    for (task, why) in mixed {
        let offers = world.offer(&scheduler);
        world.launch(&scheduler, &offers[0], vec![task]);
        let message = message_of(&world.heard(&scheduler.stream));
        assert!(message.starts_with(why) && message.contains("Cannot use both revocable"), "{message}");
    }
    let offers = world.offer(&scheduler);
    world.launch(&scheduler, &offers[0], vec![with("c", lent("cpus:1"), r("mem:32"))]);
    assert_eq!(world.heard(&scheduler.stream).len(), 0, "of different names either may be on loan");
    assert_eq!(world.used(&agent), sum("mem:32", "cpus:1"));
}

/// It was offered what it understood then.
#[test]
fn who_does_not_understand_what_is_lent_may_not_use_it() {
    let mut world = World::new();
    let (_, agent) = world.lender("cpus:2");
    let scheduler = world.framework(revocable());
    let offers = world.offer(&scheduler);
    let framework_id = Some(scheduler.id.clone());
    let framework = Box::new(FrameworkInfo { framework_id, ..partition_aware() });
    let constraints = std::sync::Arc::default();
    let update = Call::UpdateFramework { framework, suppressed: Vec::new(), constraints };
    world.call(&scheduler, update).expect("taken");
    world.heard(&scheduler.stream);
    world.launch(&scheduler, &offers[0], vec![on_loan("t", &agent, "cpus:1")]);
    let message = message_of(&world.heard(&scheduler.stream));
    assert!(message.contains("without the capability REVOCABLE_RESOURCES"), "{message}");
    assert_eq!(world.used(&agent), Resources::default());
}
