//! What frameworks may rely on, one promise a test.

use crate::reference::revocable;
use master::allocator::core::Core;
use master::allocator::event::{Allocation, Claims, Event, Refusal};
use master::allocator::key::{AgentKey, FrameworkKey, KeyPool};
use model::framework::Capabilities;
use model::quantity::Quantity;
use model::resources::{CPUS, Resources};
use model::role::Role;
use model::time::Time;

const MS: u64 = 1_000_000;

#[derive(Default)]
pub(crate) struct Cluster {
    pub(crate) now: Time,
    pub(crate) core: Core,
    pub(crate) agents: KeyPool<AgentKey>,
    pub(crate) frameworks: KeyPool<FrameworkKey>,
}

impl Cluster {
    /// What is offered because of the event.
    pub(crate) fn tell(&mut self, event: Event) -> Vec<Allocation> {
        let mut out = Vec::new();
        self.core.handle(self.now, event, &mut out);
        self.core.invariants(self.now);
        out
    }

    /// What is offered by then because time passes, and when.
    pub(crate) fn wait(&mut self, until: Time) -> Vec<(Time, Allocation)> {
        let mut all = Vec::new();
        while let Some(deadline) = self.core.deadline().filter(|deadline| *deadline <= until) {
            self.now = deadline;
            let mut out = Vec::new();
            self.core.expire(self.now, &mut out);
            self.core.invariants(self.now);
            all.extend(out.into_iter().map(|allocation| (deadline, allocation)));
        }
        self.now = until;
        all
    }

    pub(crate) fn agent(&mut self, total: &str) -> (AgentKey, Vec<Allocation>) {
        self.agent_with(total.parse().unwrap())
    }

    pub(crate) fn agent_with(&mut self, total: Resources) -> (AgentKey, Vec<Allocation>) {
        let agent = self.agents.take();
        (agent, self.tell(Event::AddAgent { agent, total, used: Vec::new() }))
    }

    pub(crate) fn framework(&mut self, role: &str) -> (FrameworkKey, Vec<Allocation>) {
        self.framework_that(role, Capabilities::default())
    }

    pub(crate) fn framework_that(
        &mut self,
        role: &str,
        can: Capabilities,
    ) -> (FrameworkKey, Vec<Allocation>) {
        let framework = self.frameworks.take();
        let roles = vec![Role::parse(role).unwrap()];
        let info = Claims { roles, capabilities: can, ..Claims::default() };
        (framework, self.tell(Event::AddFramework { framework, info, is_active: true }))
    }

    pub(crate) fn release(&mut self, offer: &Allocation, refusal: Refusal) -> Vec<Allocation> {
        let Allocation { framework, agent, resources, .. } = offer.clone();
        self.tell(Event::Release { framework, agent, resources, refusal })
    }
}

pub(crate) fn whose(offers: &[Allocation]) -> Vec<FrameworkKey> {
    offers.iter().map(|offer| offer.framework).collect()
}

pub(crate) fn decline(ms: u64) -> Refusal {
    Refusal::For { ns: ms * MS }
}

#[test]
fn what_comes_free_is_offered_at_once_and_whole() {
    let mut cluster = Cluster::default();
    let (framework, _) = cluster.framework("*");
    let (agent, offers) = cluster.agent("cpus:4;mem:1024;ports:[1-9]");
    let expect: Resources = "cpus:4;mem:1024;ports:[1-9]".parse().unwrap();
    assert_eq!(offers.len(), 1);
    assert_eq!(offers[0].resources, expect.allocated_to(&Role::star()));
    assert_eq!((offers[0].framework, offers[0].agent), (framework, agent));
    let part: Resources = "cpus:1;mem:32".parse().unwrap();
    let resources = part.allocated_to(&Role::star());
    let again = cluster.tell(Event::Release {
        framework,
        agent,
        resources: resources.clone(),
        refusal: Refusal::None,
    });
    assert_eq!(again[0].resources, resources);
}

#[test]
fn who_has_least_is_next_and_weights_count() {
    let mut cluster = Cluster::default();
    let ops = Role::parse("ops").unwrap();
    cluster.tell(Event::SetWeight { role: ops.clone(), weight: Quantity::from_units(2) });
    let (eng, _) = cluster.framework("eng");
    let (ops, _) = cluster.framework("ops");
    let offers: Vec<_> = (0..30).flat_map(|_| cluster.agent("cpus:1;mem:100").1).collect();
    let count = |of| offers.iter().filter(|offer| offer.framework == of).count();
    assert_eq!((count(eng), count(ops)), (10, 20));
}

#[test]
fn a_department_is_one_among_its_siblings_however_many_teams_it_has() {
    let mut cluster = Cluster::default();
    let (web, _) = cluster.framework("eng/web");
    let (db, _) = cluster.framework("eng/db");
    let (own, _) = cluster.framework("eng");
    let (ops, _) = cluster.framework("ops");
    let offers: Vec<_> = (0..24).flat_map(|_| cluster.agent("cpus:1;mem:100").1).collect();
    let count = |of| offers.iter().filter(|offer| offer.framework == of).count();
    assert_eq!([web, db, own, ops].map(count), [4, 4, 4, 12]);
}

#[test]
fn a_refusal_covers_as_much_and_less_until_it_ends() {
    let mut cluster = Cluster::default();
    let (framework, _) = cluster.framework("*");
    let (agent, offers) = cluster.agent("cpus:4;mem:1024");
    let part = |text: &str| text.parse::<Resources>().unwrap().allocated_to(&Role::star());
    let left_over = part("cpus:3;mem:512");
    let release = |resources, refusal| Event::Release { framework, agent, resources, refusal };
    assert_eq!(cluster.tell(release(left_over, decline(5000))), []);
    // A task of one CPU ends: more than was refused is free.
    let grown = cluster.tell(release(part("cpus:1;mem:512"), Refusal::None));
    assert_eq!(grown[0].resources, offers[0].resources);
    // Less of it comes back: still refused, for as long as was asked and a 32nd more at most.
    assert_eq!(cluster.tell(release(part("cpus:2;mem:500"), Refusal::None)), []);
    let later = cluster.wait(Time::from_ms(6000));
    assert_eq!(later.len(), 1);
    assert!((Time::from_ms(5000)..Time::from_ms(5157)).contains(&later[0].0), "{:?}", later[0].0);
    assert_eq!(later[0].1.resources, part("cpus:2;mem:500"));
}

#[test]
fn a_refusal_is_nobody_elses() {
    let mut cluster = Cluster::default();
    let (one, _) = cluster.framework("*");
    let (_, offers) = cluster.agent("cpus:4;mem:1024");
    let (other, _) = cluster.framework("*");
    let offers = cluster.release(&offers[0], decline(5000));
    assert_eq!(whose(&offers), [other]);
    assert_eq!(cluster.release(&offers[0], decline(7000)), []);
    let (at, offer) = cluster.wait(Time::from_ms(6000)).remove(0);
    assert!((Time::from_ms(5000)..Time::from_ms(5157)).contains(&at), "{at:?}");
    assert_eq!(offer.framework, one);
}

#[test]
fn a_revive_forgets_refusals_and_a_suppress_stops_offers() {
    let mut cluster = Cluster::default();
    let (framework, _) = cluster.framework("*");
    let (_, offers) = cluster.agent("cpus:4;mem:1024");
    assert_eq!(cluster.release(&offers[0], Refusal::For { ns: u64::MAX }), []);
    let offers = cluster.tell(Event::Revive { framework, roles: vec![] });
    assert_eq!(whose(&offers), [framework]);
    assert_eq!(cluster.tell(Event::Suppress { framework, roles: vec![Role::star()] }), []);
    assert_eq!(cluster.release(&offers[0], Refusal::None), []);
    assert_eq!(cluster.tell(Event::Revive { framework, roles: vec![Role::star()] }).len(), 1);
}

/// Declining for no time at all hands an offer round, and does not make the allocator spin.
#[test]
fn two_who_always_decline_take_turns_at_a_measured_pace() {
    let mut cluster = Cluster::default();
    let (one, _) = cluster.framework("*");
    let (other, _) = cluster.framework("*");
    let (_, mut offers) = cluster.agent("cpus:4;mem:1024");
    let mut turns = Vec::new();
    while cluster.now < Time::from_ms(1000) {
        turns.extend(whose(&offers));
        // They answer at once: nothing takes time but the allocator.
        offers = offers.iter().flat_map(|offer| cluster.release(offer, Refusal::Pass)).collect();
        if offers.is_empty() {
            let deadline = cluster.core.deadline().unwrap();
            offers = cluster.wait(deadline).into_iter().map(|(_, offer)| offer).collect();
        }
    }
    let count = |of| turns.iter().filter(|turn| **turn == of).count();
    assert!(turns.chunks(2).all(|round| round.contains(&one) && round.contains(&other) || round.len() < 2));
    assert!((90..=101).contains(&count(one)) && (90..=101).contains(&count(other)), "{}", turns.len());
}

/// However many pass and however often: who would take it is asked in the first round.
#[test]
fn those_who_pass_cannot_starve_one_who_accepts() {
    let mut cluster = Cluster::default();
    let picky: Vec<_> = (0..200).map(|_| cluster.framework("*").0).collect();
    // It already has a lot, so by fairness it comes last.
    let (hungry, offers) = cluster.framework("*");
    assert_eq!(offers, []);
    let agent = cluster.agents.take();
    let resources: Resources = "cpus:9;mem:900".parse().unwrap();
    let used = vec![(hungry, resources.allocated_to(&Role::star()))];
    assert_eq!(cluster.tell(Event::AddAgent { agent, total: resources, used }), []);
    let (_, mut offers) = cluster.agent("cpus:4;mem:1024");
    let mut asked = 0;
    while whose(&offers) != [hungry] {
        asked += offers.len();
        let answers = std::mem::take(&mut offers);
        for offer in answers {
            cluster.now = cluster.now.plus_ns(MS / 2);
            offers.extend(cluster.release(&offer, Refusal::Pass));
            let until = cluster.now;
            offers.extend(cluster.wait(until).into_iter().map(|(_, offer)| offer));
        }
        if offers.is_empty() {
            offers =
                cluster.wait(cluster.core.deadline().unwrap()).into_iter().map(|(_, offer)| offer).collect();
        }
    }
    assert_eq!(asked, picky.len(), "each was asked once");
}

/// All agents handed round by all frameworks: the work this makes has a bound.
#[test]
fn passing_everything_on_all_the_time_is_bounded() {
    let mut cluster = Cluster::default();
    for _ in 0..5 {
        cluster.framework("*");
    }
    let mut offers: Vec<_> = (0..40).flat_map(|_| cluster.agent("cpus:4;mem:1024").1).collect();
    let mut count = 0;
    let end = Time::from_ms(200);
    while cluster.now < end {
        count += offers.len();
        offers = offers.iter().flat_map(|offer| cluster.release(offer, Refusal::Pass)).collect();
        if offers.is_empty() {
            let deadline = cluster.core.deadline().unwrap();
            offers = cluster.wait(deadline).into_iter().map(|(_, offer)| offer).collect();
        }
    }
    // 200 ms at one in 50 us, the first round, and what is under way at the end.
    assert!((1000..=4000 + 2 * 40).contains(&count), "{count}");
}

#[test]
fn reservations_go_to_their_role_and_below_it() {
    let mut cluster = Cluster::default();
    let (ops, _) = cluster.framework("ops");
    let (_, offers) = cluster.agent("cpus(eng):4;mem(eng):512;cpus:1");
    assert_eq!(whose(&offers), [ops]);
    assert_eq!(offers[0].resources.scalar(CPUS), Quantity::from_units(1));
    let (web, offers) = cluster.framework("eng/web");
    assert_eq!(whose(&offers), [web]);
    assert_eq!(offers[0].resources.scalar(CPUS), Quantity::from_units(4));
    assert!(offers[0].resources.iter().all(|part| part.reserved_for().is_some()));
}

#[test]
fn what_needs_understanding_goes_to_those_who_say_they_understand() {
    let mut cluster = Cluster::default();
    cluster.framework("*");
    assert_eq!(cluster.agent("cpus:4;mem:512;gpus:1").1, []);
    let (driver, offers) = cluster.framework_that("*", Capabilities::GPU_RESOURCES);
    assert_eq!(whose(&offers), [driver]);
    let mut total: Resources = "cpus:1;mem:64".parse().unwrap();
    total.add_part(&revocable("cpus", 3));
    let (_, offers) = cluster.agent_with(total);
    assert_eq!(offers.len(), 1);
    assert_eq!(offers[0].resources.scalar(CPUS), Quantity::from_units(1));
    let (flexible, offers) = cluster.framework_that("*", Capabilities::REVOCABLE_RESOURCES);
    assert_eq!(whose(&offers), [flexible]);
    assert_eq!(offers[0].resources.scalar(CPUS), Quantity::from_units(3));
}

#[test]
fn crumbs_are_not_offered() {
    let mut cluster = Cluster::default();
    cluster.framework("*");
    assert_eq!(cluster.agent("cpus:0.009;mem:31;disk:1000;ports:[1-1000]").1, []);
    assert_eq!(cluster.agent("cpus:0.01").1.len(), 1);
    assert_eq!(cluster.agent("mem:32").1.len(), 1);
}

#[test]
fn an_inactive_agent_keeps_what_it_runs_and_offers_nothing() {
    let mut cluster = Cluster::default();
    let (_, _) = cluster.framework("*");
    let (agent, offers) = cluster.agent("cpus:4;mem:1024");
    assert_eq!(cluster.tell(Event::DeactivateAgent { agent }), []);
    assert_eq!(cluster.release(&offers[0], Refusal::None), []);
    assert_eq!(cluster.tell(Event::ActivateAgent { agent }), offers);
}

#[test]
fn an_agent_that_shrinks_under_its_tasks_owes_until_they_end() {
    let mut cluster = Cluster::default();
    let (framework, _) = cluster.framework("*");
    let (agent, _) = cluster.agent("cpus:4;mem:1024");
    assert_eq!(cluster.tell(Event::UpdateAgent { agent, total: "cpus:2;mem:512".parse().unwrap() }), []);
    let part = |text: &str| text.parse::<Resources>().unwrap().allocated_to(&Role::star());
    let release =
        |text: &str| Event::Release { framework, agent, resources: part(text), refusal: Refusal::None };
    assert_eq!(cluster.tell(release("cpus:2;mem:512")), []);
    let offers = cluster.tell(release("cpus:1;mem:100"));
    assert_eq!(offers[0].resources, part("cpus:1;mem:100"));
}

#[test]
fn what_a_removed_framework_held_is_free_and_late_news_of_it_is_ignored() {
    let mut cluster = Cluster::default();
    let (gone, _) = cluster.framework("*");
    let (_, held) = cluster.agent("cpus:4;mem:1024");
    let (stays, _) = cluster.framework("*");
    let offers = cluster.tell(Event::RemoveFramework { framework: gone });
    assert_eq!(whose(&offers), [stays]);
    assert_eq!(cluster.release(&held[0], Refusal::None), []);
    assert_eq!(cluster.tell(Event::Revive { framework: gone, roles: vec![] }), []);
    let Allocation { agent, .. } = offers[0];
    assert_eq!(cluster.tell(Event::RemoveAgent { agent }), []);
    assert_eq!(cluster.release(&offers[0], Refusal::None), []);
}
