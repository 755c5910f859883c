//! Quota: promises one by one, and its law from the outside under random histories: nobody is given what takes a role
//! above its limit, at any role above, offers included.

use crate::{ROLES, Step, World, step};
use master::allocator::core::Core;
use master::allocator::event::{Allocation, Claims, Event, Refusal};
use master::allocator::key::{AgentKey, FrameworkKey, KeyPool};
use model::quantity::Quantity;
use model::quota::{Amounts, Quota};
use model::resources::{CPUS, MEM, Reservation, Resource, Resources, Value};
use model::role::Role;
use model::time::Time;
use proptest::prelude::*;
use std::collections::BTreeMap;

fn amounts(list: &[(&str, u64)]) -> Amounts {
    list.iter().map(|(name, units)| ((*name).into(), Quantity::from_units(*units))).collect()
}

#[derive(Default)]
struct Cluster {
    now: Time,
    core: Core,
    agents: KeyPool<AgentKey>,
    frameworks: KeyPool<FrameworkKey>,
}

impl Cluster {
    /// What is offered because of the event, and within the time that quota may take to follow it.
    fn tell(&mut self, event: Event) -> Vec<Allocation> {
        let mut out = Vec::new();
        self.core.handle(self.now, event, &mut out);
        self.core.invariants(self.now);
        let until = self.now.plus_ns(10_000_000);
        while let Some(at) = self.core.deadline().filter(|at| *at <= until) {
            self.now = at;
            self.core.expire(at, &mut out);
            self.core.invariants(at);
        }
        self.now = until;
        out
    }

    fn quota(&mut self, role: &str, guarantees: &[(&str, u64)], limits: &[(&str, u64)]) -> Vec<Allocation> {
        let quota = Quota { guarantees: amounts(guarantees), limits: amounts(limits) };
        self.tell(Event::SetQuota { role: Role::parse(role).unwrap(), quota })
    }

    fn agent(&mut self, total: &str) -> Vec<Allocation> {
        let (agent, total) = (self.agents.take(), total.parse().unwrap());
        self.tell(Event::AddAgent { agent, total, used: Vec::new() })
    }

    fn framework(&mut self, role: &str) -> Vec<Allocation> {
        let info = Claims { roles: vec![Role::parse(role).unwrap()], ..Claims::default() };
        let framework = self.frameworks.take();
        self.tell(Event::AddFramework { framework, info, is_active: true })
    }

    fn release(&mut self, offer: &Allocation, part: &str) -> Vec<Allocation> {
        let resources = part.parse::<Resources>().unwrap().allocated_to(&offer.role);
        let Allocation { framework, agent, .. } = *offer;
        self.tell(Event::Release { framework, agent, resources, refusal: Refusal::None })
    }
}

fn shown(offers: &[Allocation]) -> Vec<String> {
    offers.iter().map(|offer| format!("{} {}", offer.role, offer.resources.unallocated())).collect()
}

/// Reserved for the role, in its hands or not, it counts for the role; and never twice.
#[test]
fn what_is_reserved_out_of_an_offer_counts_once_and_is_nobody_elses() {
    let mut cluster = Cluster::default();
    cluster.quota("eng", &[], &[("cpus", 3)]);
    cluster.framework("eng");
    let offers = cluster.agent("cpus:4");
    assert_eq!(shown(&offers), ["eng cpus:3"]);
    let Allocation { framework, agent, ref role, .. } = offers[0];
    let layer = Reservation { role: role.clone(), is_dynamic: true, principal: None, labels: Vec::new() };
    let reserved: Resources =
        [Resource { reservations: vec![layer], ..Resource::scalar(CPUS, Quantity::from_units(2)) }]
            .into_iter()
            .collect();
    let (consumed, converted) = ("cpus:2".parse::<Resources>().unwrap(), reserved.clone());
    let (consumed, converted) = (consumed.allocated_to(role), converted.allocated_to(role));
    let told = cluster.tell(Event::Convert { framework, agent, consumed, converted });
    assert!(told.is_empty(), "it has as much as before: {told:?}");
    assert_eq!(shown(&cluster.framework("ops")), ["ops cpus:1"]);
    let mut all = "cpus:1".parse::<Resources>().unwrap();
    all.add(&reserved);
    let resources = all.allocated_to(role);
    let again = cluster.tell(Event::Release { framework, agent, resources, refusal: Refusal::None });
    // One is anybody's, and ops has one; eng, with what is reserved for it, may have it as well.
    let of = |of: &str| -> u64 {
        let theirs = again.iter().filter(|offer| offer.role.as_str() == of);
        theirs.map(|offer| offer.resources.scalar(CPUS).milli() / 1000).sum()
    };
    assert!(of("eng") >= 2 && of("eng") + of("ops") == 3, "{:?}", shown(&again));
}

#[test]
fn a_limit_cuts_offers_and_what_comes_back_is_offered_again() {
    let mut cluster = Cluster::default();
    cluster.quota("eng", &[], &[("cpus", 3), ("mem", 300)]);
    cluster.framework("eng");
    let first = cluster.agent("cpus:2;mem:200;ports:[1-9]");
    assert_eq!(shown(&first), ["eng cpus:2; mem:200; ports:[1-9]"]);
    let second = cluster.agent("cpus:2;mem:200;ports:[1-9]");
    assert_eq!(shown(&second), ["eng cpus:1; mem:100; ports:[1-9]"]);
    assert!(cluster.agent("cpus:2;mem:200").is_empty(), "at its limit");
    // A task of it ends: as much may be had of either agent, and no more.
    let more = cluster.release(&first[0], "cpus:1;mem:50");
    let sum: Quantity = more.iter().map(|offer| offer.resources.scalar(CPUS)).sum();
    assert_eq!(sum, Quantity::from_units(1));
    assert!(!cluster.quota("eng", &[], &[]).is_empty(), "without limit it has what is left");
}

#[test]
fn a_limit_is_that_of_all_below_and_reservations_count() {
    let mut cluster = Cluster::default();
    cluster.quota("eng", &[], &[("cpus", 3)]);
    cluster.framework("eng/web");
    cluster.framework("eng/db");
    // Two of the three are reserved, used or not.
    let offers = cluster.agent("cpus:4;cpus(eng/db):2;mem:64");
    let of = |role: &str| {
        let mine = offers.iter().filter(|offer| offer.role.as_str() == role);
        mine.map(|offer| offer.resources.scalar(CPUS)).sum::<Quantity>()
    };
    assert_eq!(of("eng/web") + of("eng/db"), Quantity::from_units(3));
    assert!(of("eng/web") <= Quantity::from_units(1));
}

#[test]
fn what_is_guaranteed_stays_free_until_it_is_wanted() {
    let mut cluster = Cluster::default();
    cluster.quota("eng", &[("cpus", 3)], &[]);
    cluster.framework("ops");
    assert_eq!(shown(&cluster.agent("cpus:2;mem:64")), ["ops mem:64"], "all cpus are kept");
    assert_eq!(shown(&cluster.agent("cpus:2;mem:64")), ["ops cpus:1; mem:64"], "all but one");
    let mut kept = cluster.framework("eng/web");
    kept.sort_by_key(|offer| offer.agent);
    assert_eq!(shown(&kept), ["eng/web cpus:2", "eng/web cpus:1"]);
    // It has what it is guaranteed: the rest is for anybody.
    assert_eq!(cluster.agent("cpus:2;mem:64").len(), 1);
}

#[test]
fn nested_guarantees_are_kept_once() {
    let mut cluster = Cluster::default();
    cluster.quota("eng", &[("cpus", 4)], &[]);
    cluster.quota("eng/web", &[("cpus", 3)], &[]);
    cluster.framework("ops");
    assert_eq!(shown(&cluster.agent("cpus:6;mem:64")), ["ops cpus:2; mem:64"], "four are kept, not seven");
    // Another team has of its department's what its sibling is not guaranteed.
    assert_eq!(shown(&cluster.framework("eng/db")), ["eng/db cpus:1"]);
    assert_eq!(shown(&cluster.framework("eng/web")), ["eng/web cpus:3"]);
}

fn with_quota() -> impl Strategy<Value = Step> {
    let amounts = || {
        let name = proptest::sample::select(&[CPUS, MEM, "licences"][..]);
        let amount = (0..12u64).prop_map(|units| Quantity::from_milli(units * 1500));
        proptest::collection::btree_map(name.prop_map(std::sync::Arc::from), amount, 0..3)
    };
    // `*` may have none.
    let role = proptest::sample::select(&ROLES[1..]).prop_map(|role| Role::parse(role).unwrap());
    let quota = (role, amounts(), amounts())
        .prop_map(|(role, guarantees, limits)| Step::SetQuota { role, quota: Quota { guarantees, limits } });
    prop_oneof![6 => step(), 1 => quota]
}

/// What a role and those below it have of a scalar, but for what may be revoked.
fn consumed(world: &World, role: &Role, name: &str) -> Quantity {
    let amount = |part: &Resource| match part.value {
        Value::Scalar(amount) if &*part.name == name && !part.is_revocable => amount,
        _ => Quantity::ZERO,
    };
    let reserved = world.totals.values().flat_map(Resources::iter);
    let reserved = reserved.filter(|part| part.reserved_for().is_some_and(|owner| owner.is_within(role)));
    let held = world.held.iter().filter(|held| held.role.is_within(role));
    let charged = held.flat_map(|held| held.resources.iter()).filter(|part| part.reservations.is_empty());
    reserved.chain(charged).map(amount).sum()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, max_shrink_iters: 20_000, ..ProptestConfig::default() })]

    #[test]
    fn nobody_is_given_more_than_a_limit_allows(steps in proptest::collection::vec(with_quota(), 1..120)) {
        let mut world = World { reference: None, ..World::default() };
        let mut quotas = BTreeMap::<Role, Quota>::new();
        for step in steps {
            if let Step::SetQuota { role, quota } = &step {
                quotas.insert(role.clone(), quota.clone());
            }
            let given = world.take(step);
            for (role, quota) in &quotas {
                for (name, limit) in &quota.limits {
                    let is_of_it = |part: &&Resource| {
                        *part.name == **name && part.reservations.is_empty() && !part.is_revocable
                    };
                    let to_it = given.iter().filter(|offer| offer.role.is_within(role));
                    if to_it.flat_map(|offer| offer.resources.iter()).any(|part| is_of_it(&part)) {
                        let consumed = consumed(&world, role, name);
                        prop_assert!(consumed <= *limit, "{role} has {consumed} {name} of {limit}");
                    }
                }
            }
        }
    }

    /// The other policies keep every law that does not depend on the order.
    #[test]
    fn every_policy_keeps_the_laws(
        roles in 0..3usize, frameworks in 0..3usize, steps in proptest::collection::vec(with_quota(), 1..80)
    ) {
        use master::allocator::options::Options;
        use master::allocator::policy::Kind;
        let (role_policy, framework_policy) = (Kind::NAMES[roles].1, Kind::NAMES[frameworks].1);
        let options = Options { role_policy, framework_policy, ..Options::default() };
        let mut world = World { core: Core::new(options), reference: None, ..World::default() };
        for step in steps {
            world.take(step);
        }
    }
}
