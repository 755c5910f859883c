//! The allocator's rules as plainly as they can be put: everything is worked out anew from lists for every decision,
//! with [`Resources`], and every agent is decided after every event. Slow, and easy to believe.

use crate::constraints;
use master::allocator::event::{Allocation, Claims, Event, Refusal};
use master::allocator::key::{AgentKey, FrameworkKey};
use model::framework::Capabilities;
use model::quantity::Quantity;
use model::resources::{CPUS, DISK, GPUS, MEM, Resource, Resources, Value};
use model::role::Role;
use model::time::Time;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

const MS: u64 = 1_000_000;
const SCALARS: [&str; 5] = [CPUS, MEM, DISK, GPUS, "licences"];

type Totals = [u64; SCALARS.len()];
type ClaimantKey = (FrameworkKey, Role);

struct Agent {
    key: AgentKey,
    total: Resources,
    is_active: bool,
    rack: Option<usize>,
    held: Vec<(ClaimantKey, Resources)>,
    refusals: Vec<Refused>,
    round_end: Option<Time>,
    due: Option<Time>,
}

#[derive(Clone)]
struct Refused {
    by: ClaimantKey,
    what: Resources,
    until: Time,
    is_pass: bool,
}

struct Framework {
    sequence: u64,
    claims: Claims,
    is_active: bool,
}

#[derive(Default)]
pub(crate) struct Reference {
    agents: BTreeMap<u32, Agent>,
    frameworks: BTreeMap<FrameworkKey, Framework>,
    sequence: u64,
    weights: BTreeMap<Role, Quantity>,
    /// Allocations ever given: to claimants, to roles' own claimants, to roles with all below.
    counts: BTreeMap<ClaimantKey, u64>,
    own_counts: BTreeMap<Role, u64>,
    whole_counts: BTreeMap<Role, u64>,
    ranked_by: Totals,
    pass_next: Time,
}

/// Somebody in a queue: a role's own claimants as one (`None`), or a child role.
type Child = Option<Role>;

impl Reference {
    pub(crate) fn handle(&mut self, now: Time, event: &Event) -> Vec<Allocation> {
        let newly = self.apply(now, event);
        self.forget_the_gone();
        self.follow_totals();
        self.decide_all(now, &newly)
    }

    pub(crate) fn expire(&mut self, now: Time) -> Vec<Allocation> {
        let mut woken = BTreeSet::new();
        for agent in self.agents.values_mut() {
            let is_round_over = agent.round_end.is_some_and(|end| end <= now);
            agent.refusals.retain(|refused| {
                let is_over = refused.until <= now || is_round_over && refused.is_pass;
                if is_over {
                    woken.insert((agent.key, refused.by.clone()));
                }
                !is_over
            });
            agent.round_end = agent.round_end.filter(|_| !is_round_over);
            agent.due = agent.due.filter(|due| *due > now);
        }
        // Where a decision is put off, only those are asked whose refusals have ended.
        let mut out = Vec::new();
        for index in self.agents.keys().copied().collect::<Vec<_>>() {
            let key = self.agents[&index].key;
            let here = woken.iter().filter(|(agent, _)| *agent == key).map(|(_, by)| by.clone()).collect();
            self.decide(now, index, &here, &mut out);
        }
        out
    }

    pub(crate) fn deadline(&self) -> Option<Time> {
        let of = |agent: &Agent| {
            let refusals = agent.refusals.iter().map(|refused| refused.until);
            refusals.chain(agent.round_end).chain(agent.due).min()
        };
        self.agents.values().filter_map(of).min()
    }

    /// Returns who may have become willing by it.
    fn apply(&mut self, now: Time, event: &Event) -> BTreeSet<ClaimantKey> {
        match event {
            Event::AddAgent { agent, total, used } => self.add_agent(*agent, total, used),
            Event::UpdateAgent { agent, total } => {
                self.touched(*agent, |slot| slot.total = total.clone());
            }
            Event::RemoveAgent { agent } => drop(self.agents.remove(&agent.index)),
            Event::ActivateAgent { agent } => self.touched(*agent, |slot| slot.is_active = true),
            Event::DeactivateAgent { agent } => self.touched(*agent, |slot| slot.is_active = false),
            Event::AddFramework { framework, info, is_active } => {
                self.sequence += 1;
                let claims = Claims::default();
                let new = Framework { sequence: self.sequence, claims, is_active: *is_active };
                self.frameworks.insert(*framework, new);
                return self.update_framework(*framework, info);
            }
            Event::UpdateFramework { framework, info } => return self.update_framework(*framework, info),
            Event::RemoveFramework { framework } => self.remove_framework(*framework),
            Event::ActivateFramework { framework } => {
                self.frameworks.get_mut(framework).unwrap().is_active = true;
                return self.eager_of(*framework, &[]);
            }
            Event::DeactivateFramework { framework } => {
                self.frameworks.get_mut(framework).unwrap().is_active = false;
                self.forget(|(by, _)| by == framework);
            }
            Event::Release { framework, agent, resources, refusal } => {
                self.release(now, *framework, *agent, resources, *refusal);
            }
            Event::Convert { framework, agent, consumed, converted } => {
                let role = roles_of(consumed).pop().expect("they are allocated");
                let swap = |of: &mut Resources| {
                    *of = of.checked_sub(&consumed.unallocated()).expect("what is converted is there");
                    of.add(&converted.unallocated());
                };
                let slot = self.agents.get_mut(&agent.index).unwrap();
                swap(&mut slot.total);
                let by = (*framework, role);
                swap(&mut slot.held.iter_mut().find(|(holder, _)| *holder == by).unwrap().1);
            }
            Event::Suppress { framework, roles } => {
                let claims = &mut self.frameworks.get_mut(framework).unwrap().claims;
                let meant = claims.roles.iter().filter(|role| roles.is_empty() || roles.contains(role));
                claims.suppressed.extend(meant.cloned());
            }
            Event::Revive { framework, roles } => {
                let is_meant = |role: &Role| roles.is_empty() || roles.contains(role);
                let claims = &mut self.frameworks.get_mut(framework).unwrap().claims;
                claims.suppressed.retain(|role| !is_meant(role));
                self.forget(|(by, role)| by == framework && is_meant(role));
                return self.eager_of(*framework, roles);
            }
            Event::DescribeAgent { agent, description } => {
                self.touched(*agent, |slot| slot.rack = constraints::rack(description));
            }
            Event::SetQuota { .. } => unreachable!("no history that is compared has quotas"),
            Event::SetWeight { role, weight } => drop(self.weights.insert(role.clone(), *weight)),
        }
        BTreeSet::new()
    }

    fn touched(&mut self, agent: AgentKey, change: impl FnOnce(&mut Agent)) {
        let slot = self.agents.get_mut(&agent.index).unwrap();
        change(slot);
        slot.due = None;
    }

    fn add_agent(&mut self, key: AgentKey, total: &Resources, used: &[(FrameworkKey, Resources)]) {
        let mut held: Vec<(ClaimantKey, Resources)> = Vec::new();
        for (framework, resources) in used {
            for role in roles_of(resources) {
                let part = resources.filter(|part| part.allocation.as_ref() == Some(&role)).unallocated();
                self.count(&(*framework, role.clone()));
                held.push(((*framework, role), part));
            }
        }
        let agent = Agent {
            key,
            total: total.clone(),
            is_active: true,
            rack: None,
            held,
            refusals: Vec::new(),
            round_end: None,
            due: None,
        };
        self.agents.insert(key.index, agent);
    }

    fn update_framework(&mut self, key: FrameworkKey, claims: &Claims) -> BTreeSet<ClaimantKey> {
        let old = self.frameworks[&key].claims.clone();
        self.frameworks.get_mut(&key).unwrap().claims.roles.retain(|role| claims.roles.contains(role));
        self.forget_the_gone();
        self.frameworks.get_mut(&key).unwrap().claims = claims.clone();
        self.forget(|(by, role)| {
            let revived = old.suppressed.contains(role) && !claims.suppressed.contains(role);
            *by == key && (revived || !claims.roles.contains(role))
        });
        self.eager_of(key, &[])
    }

    fn remove_framework(&mut self, key: FrameworkKey) {
        for agent in self.agents.values_mut() {
            let before = agent.held.len();
            agent.held.retain(|((by, _), _)| *by != key);
            if agent.held.len() < before {
                agent.due = None;
            }
        }
        self.forget(|(by, _)| *by == key);
        self.frameworks.remove(&key);
    }

    fn release(
        &mut self,
        now: Time,
        framework: FrameworkKey,
        agent: AgentKey,
        resources: &Resources,
        refusal: Refusal,
    ) {
        let slot = self.agents.get_mut(&agent.index).unwrap();
        let role = roles_of(resources).remove(0);
        let what = resources.unallocated();
        let by = (framework, role.clone());
        let at = slot.held.iter().position(|(holder, _)| *holder == by).unwrap();
        slot.held[at].1 = slot.held[at].1.checked_sub(&what).unwrap();
        slot.held.retain(|(_, held)| !held.is_empty());
        let (until, is_pass) = match refusal {
            Refusal::None => {
                slot.due = None;
                return;
            }
            Refusal::Pass | Refusal::For { ns: 0 } => (rounded(now, 1000 * MS), true),
            Refusal::For { ns } => (rounded(now, ns.min(365 * 86_400_000 * MS)), false),
        };
        if self.frameworks[&framework].claims.roles.contains(&role) {
            let implied = |old: &Refused| {
                old.by == by && old.until <= until && what.contains(&old.what) && (old.is_pass || !is_pass)
            };
            slot.refusals.retain(|old| !implied(old));
            slot.refusals.push(Refused { by, what, until, is_pass });
        }
        if !is_pass {
            slot.due = None;
            return;
        }
        let due = self.pass_next.max(now);
        self.pass_next = due.plus_ns(MS / 20);
        let slot = self.agents.get_mut(&agent.index).unwrap();
        slot.due = if due == now { None } else { Some(slot.due.map_or(due, |before| before.min(due))) };
    }

    fn forget(&mut self, whose: impl Fn(&ClaimantKey) -> bool) {
        self.agents.values_mut().for_each(|agent| agent.refusals.retain(|refused| !whose(&refused.by)));
    }

    /// Claimants are who is in a role or holds something; roles are theirs and those above.
    fn forget_the_gone(&mut self) {
        let claimants = self.claimants();
        let is_role = |role: &Role| claimants.iter().any(|(_, of)| of.is_within(role));
        self.counts.retain(|key, _| claimants.contains(key));
        self.own_counts.retain(|role, _| is_role(role));
        self.whole_counts.retain(|role, _| is_role(role));
    }

    fn claimants(&self) -> BTreeSet<ClaimantKey> {
        let subscribed = self
            .frameworks
            .iter()
            .flat_map(|(key, framework)| framework.claims.roles.iter().map(move |role| (*key, role.clone())));
        let holders = self.agents.values().flat_map(|agent| agent.held.iter().map(|(by, _)| by.clone()));
        subscribed.chain(holders).collect()
    }

    fn count(&mut self, by: &ClaimantKey) {
        *self.counts.entry(by.clone()).or_default() += 1;
        *self.own_counts.entry(by.1.clone()).or_default() += 1;
        let mut role = Some(by.1.clone());
        while let Some(at) = role {
            *self.whole_counts.entry(at.clone()).or_default() += 1;
            role = at.parent();
        }
    }

    fn eager_of(&self, key: FrameworkKey, roles: &[Role]) -> BTreeSet<ClaimantKey> {
        let claims = &self.frameworks[&key].claims;
        let meant = claims.roles.iter().filter(|role| roles.is_empty() || roles.contains(role));
        meant.map(|role| (key, role.clone())).filter(|by| self.is_eager(by)).collect()
    }

    fn is_eager(&self, (key, role): &ClaimantKey) -> bool {
        self.frameworks.get(key).is_some_and(|framework| {
            framework.is_active
                && framework.claims.roles.contains(role)
                && !framework.claims.suppressed.contains(role)
        })
    }

    fn follow_totals(&mut self) {
        let mut totals = Totals::default();
        for agent in self.agents.values() {
            totals.iter_mut().zip(amounts(&agent.total)).for_each(|(sum, more)| *sum += more);
        }
        let moved = |(now, then): (&u64, &u64)| now.abs_diff(*then) * 32 > *then;
        if totals.iter().zip(&self.ranked_by).any(moved) {
            self.ranked_by = totals;
        }
    }

    fn decide_all(&mut self, now: Time, newly: &BTreeSet<ClaimantKey>) -> Vec<Allocation> {
        let mut out = Vec::new();
        for index in self.agents.keys().copied().collect::<Vec<_>>() {
            self.decide(now, index, newly, &mut out);
        }
        out
    }

    /// Where the decision is put off only `newly` are asked.
    fn decide(&mut self, now: Time, index: u32, newly: &BTreeSet<ClaimantKey>, out: &mut Vec<Allocation>) {
        let is_put_off = self.agents[&index].due.is_some();
        loop {
            let taker = self.order().into_iter().find_map(|by| {
                let is_asked = !is_put_off || newly.contains(&by);
                is_asked.then(|| self.offer(now, index, &by)).flatten().map(|what| (by, what))
            });
            let Some((by, what)) = taker else { break };
            self.count(&by);
            let agent = self.agents.get_mut(&index).unwrap();
            match agent.held.iter_mut().find(|(holder, _)| *holder == by) {
                Some((_, held)) => held.add(&what),
                None => agent.held.push((by.clone(), what.clone())),
            }
            let resources = what.allocated_to(&by.1);
            out.push(Allocation { framework: by.0, role: by.1, agent: agent.key, resources });
        }
        let agent = &self.agents[&index];
        let is_ready = agent.is_active && is_allocatable(&free(agent));
        let was_asked = !is_put_off || !newly.is_empty();
        let is_passed = agent.refusals.iter().any(|refused| refused.is_pass);
        if is_ready && was_asked && is_passed && agent.round_end.is_none() {
            self.agents.get_mut(&index).unwrap().round_end = Some(now.plus_ns(10 * MS));
        }
    }

    fn offer(&self, now: Time, index: u32, by: &ClaimantKey) -> Option<Resources> {
        let agent = &self.agents[&index];
        let can = self.frameworks[&by.0].claims.capabilities;
        let has_gpus = !agent.total.scalar(GPUS).is_zero();
        if !agent.is_active || has_gpus && !can.has(Capabilities::GPU_RESOURCES) {
            return None;
        }
        let constraints = self.frameworks[&by.0].claims.constraints.as_ref();
        let only = constraints.and_then(|constraints| constraints::only_rack(constraints, &by.1));
        if only.is_some() && only != agent.rack {
            return None;
        }
        let may_have = |part: &Resource| {
            part.reserved_for().is_none_or(|role| by.1.is_within(role))
                && (!part.is_revocable || can.has(Capabilities::REVOCABLE_RESOURCES))
        };
        let what = free(agent).filter(may_have);
        let refuses =
            |refused: &Refused| refused.by == *by && refused.until > now && refused.what.contains(&what);
        let is_refused = agent.refusals.iter().any(refuses);
        (is_allocatable(&what) && !is_refused).then_some(what)
    }

    /// Everybody eager, in the order in which they are asked.
    fn order(&self) -> Vec<ClaimantKey> {
        let eager: Vec<_> = self.claimants().into_iter().filter(|by| self.is_eager(by)).collect();
        let mut order = Vec::new();
        self.order_below(None, &eager, &mut order);
        order
    }

    fn order_below(&self, node: Option<&Role>, eager: &[ClaimantKey], order: &mut Vec<ClaimantKey>) {
        let mut children: BTreeSet<Child> = BTreeSet::new();
        for (_, role) in eager {
            let mut path = Some(role.clone());
            while let Some(at) = path {
                if Some(&at) == node {
                    children.insert(None);
                    break;
                }
                let parent = at.parent();
                if parent.as_ref() == node {
                    // Someone at or below this child.
                    children.insert(Some(at));
                    break;
                }
                path = parent;
            }
        }
        let mut ranked: Vec<_> =
            children.into_iter().map(|child| (self.child_rank(node, &child), child)).collect();
        ranked.sort_by(|((a, a_count), a_name), ((b, b_count), b_name)| {
            cmp_share(*a, *b).then(a_count.cmp(b_count)).then(a_name.cmp(b_name))
        });
        for (_, child) in ranked {
            match child {
                Some(role) => self.order_below(Some(&role), eager, order),
                None => self.order_own(node.expect("the root has no claimants"), eager, order),
            }
        }
    }

    fn order_own(&self, node: &Role, eager: &[ClaimantKey], order: &mut Vec<ClaimantKey>) {
        let mut own: Vec<_> = eager.iter().filter(|(_, role)| role == node).collect();
        let rank = |by: &ClaimantKey| {
            let count = self.counts.get(by).copied().unwrap_or(0);
            (self.share(|holder| holder == by, 1000), count, self.frameworks[&by.0].sequence)
        };
        own.sort_by(|a, b| {
            let ((a, a_count, a_sequence), (b, b_count, b_sequence)) = (rank(a), rank(b));
            cmp_share(a, b).then(a_count.cmp(&b_count)).then(a_sequence.cmp(&b_sequence))
        });
        order.extend(own.into_iter().cloned());
    }

    fn child_rank(&self, node: Option<&Role>, child: &Child) -> ((u128, u128), u64) {
        match child {
            None => {
                let node = node.expect("the root has no claimants");
                let count = self.own_counts.get(node).copied().unwrap_or(0);
                (self.share(|(_, role)| role == node, 1000), count)
            }
            Some(role) => {
                let weight = self.weights.get(role).map_or(1000, |weight| weight.milli().max(1));
                let count = self.whole_counts.get(role).copied().unwrap_or(0);
                (self.share(|(_, of)| of.is_within(role), weight), count)
            }
        }
    }

    /// The dominant share of all that these hold, divided by the weight, as a fraction.
    fn share(&self, whose: impl Fn(&ClaimantKey) -> bool, weight_milli: u64) -> (u128, u128) {
        let mut sums = Totals::default();
        let all = self.agents.values().flat_map(|agent| &agent.held);
        for (_, held) in all.filter(|(by, _)| whose(by)) {
            sums.iter_mut().zip(amounts(held)).for_each(|(sum, more)| *sum += more);
        }
        let of = |(amount, total): (u64, &u64)| match total {
            0 => (0, 1),
            _ => (u128::from(amount) * 1000, u128::from(*total) * u128::from(weight_milli)),
        };
        let shares = sums.into_iter().zip(&self.ranked_by).map(of);
        shares.max_by(|a, b| cmp_share(*a, *b)).unwrap()
    }
}

/// Refusals end at a multiple of the largest power of two that is a 32nd of their length or less.
fn rounded(now: Time, ns: u64) -> Time {
    let mut grain = 1;
    while grain * 2 <= ns / 32 {
        grain *= 2;
    }
    Time((now.0 + ns).div_ceil(grain) * grain)
}

fn cmp_share((a, a_of): (u128, u128), (b, b_of): (u128, u128)) -> Ordering {
    (a * b_of).cmp(&(b * a_of))
}

fn amounts(resources: &Resources) -> Totals {
    SCALARS.map(|name| resources.scalar(name).milli())
}

fn is_allocatable(resources: &Resources) -> bool {
    resources.scalar(CPUS).milli() >= 10 || resources.scalar(MEM).milli() >= 32_000
}

/// What of the total is not held.
fn free(agent: &Agent) -> Resources {
    let mut held = Resources::default();
    agent.held.iter().for_each(|(_, one)| held.add(one));
    agent.total.saturating_sub(&held)
}

fn roles_of(resources: &Resources) -> Vec<Role> {
    let roles: BTreeSet<Role> = resources.iter().map(|part| part.allocation.clone().unwrap()).collect();
    roles.into_iter().collect()
}

/// A revocable part, which has no text form.
pub(crate) fn revocable(name: &str, units: u64) -> Resource {
    let mut part = Resource::new(name, Value::Scalar(Quantity::from_units(units)));
    part.is_revocable = true;
    part
}
