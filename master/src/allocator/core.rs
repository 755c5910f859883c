//! The allocator without threads: fed `(now, Event)`, fills a list of allocations. Deterministic.
//!
//! **What an event costs.** Between events nobody is left who could be given something that is free (but refusals that
//! run out at a known time). So an event is decided among those it can have changed: a release among everybody, for
//! that agent; a revive among the revived, for the agents that have something free; a refusal that ends, between that
//! agent and that claimant. No event looks at every agent, and none at every pair.
//!
//! [`Core::handle`] is [`Core::apply`] and [`Core::settle`]; a shell that has many events at hand applies them all and
//! settles once, so that an agent on which ten tasks ended makes one offer and not ten.

use super::account::Account;
use super::barred::Descriptions;
use super::bits::Bits;
use super::claimant::ClaimantId;
use super::column::Columns;
use super::cycle::{self, Among, House};
use super::event::{Allocation, Event};
use super::frameworks::Frameworks;
use super::key::AgentKey;
use super::mates::Mates;
use super::options::Options;
use super::parcel::{Names, Stock};
use super::quantities::Quantities;
use super::role_tree::RoleTree;
use super::shapes::Shapes;
use super::slot::{Slots, Take, Touch};
use model::quota::Quota;
use model::resources::Resources;
use model::role::Role;
use model::time::Time;
use std::cell::Cell;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Everybody is asked about everything because of quota no more often than this, nanoseconds: a bound on the work that
/// a role at its limit can cause by what comes and goes.
pub(super) const QUOTA_PACE_NS: u64 = 10_000_000;

/// All that the allocator knows.
#[derive(Default)]
pub struct Core {
    pub(super) options: Options,
    pub(super) slots: Slots,
    pub(super) tree: RoleTree,
    pub(super) frameworks: Frameworks,
    pub(super) descriptions: Descriptions,
    pub(super) columns: Columns,
    pub(super) shapes: Shapes,
    /// Active agents on which so much is free that it could be offered.
    pub(super) ready: Bits,
    /// When to look at which agent's refusals; an agent is here once at most.
    pub(super) timers: BTreeSet<(Time, u32)>,
    /// Agents to be decided; each is here once.
    pub(super) touched: Vec<u32>,
    /// Claimants to be tried on every ready agent.
    pub(super) newly_eager: Vec<ClaimantId>,
    /// What is free on all active agents, those of other workers included as they last told; kept while there are quotas.
    pub(super) available: Quantities,
    /// Something was not offered because of quota since everybody was last asked.
    pub(super) withheld: Cell<bool>,
    /// The agents of which that is so.
    withheld_on: Bits,
    /// Something has happened by which more may be allowed.
    pub(super) quota_moved: bool,
    pub(super) mates: Mates,
    /// When to ask everybody about everything, since quota may allow more by now.
    pub(super) quota_due: Option<Time>,
    /// Not before then.
    quota_next: Time,
    /// Offers that follow a pass are not made before this.
    pub(super) pass_next: Time,
    names: Names,
    stats: Stats,
}

/// Counts since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    pub event_count: u64,
    /// How often somebody was looked for to take what is free on an agent.
    pub decision_count: u64,
    pub allocation_count: u64,
}

impl Core {
    pub fn new(options: Options) -> Self {
        Self { tree: RoleTree::new(&options), options, ..Self::default() }
    }

    pub fn handle(&mut self, now: Time, event: Event, out: &mut Vec<Allocation>) {
        self.apply(now, event);
        self.settle(now, out);
    }

    /// When to call [`Self::expire`] though nothing happens. May change with every other call.
    pub fn deadline(&self) -> Option<Time> {
        self.timers.first().map(|(at, _)| *at).into_iter().chain(self.quota_due).min()
    }

    /// Time has come: refusals end, and what was refused is offered. Calling early is harmless; to be called before
    /// events of the same moment.
    pub fn expire(&mut self, now: Time, out: &mut Vec<Allocation>) {
        while let Some(&(at, agent)) = self.timers.first().filter(|(at, _)| *at <= now) {
            self.timers.remove(&(at, agent));
            let slot = &mut self.slots[agent];
            slot.wake = None;
            let mut woken = Vec::new();
            let is_due = slot.refusals.due().is_some_and(|due| due <= now);
            slot.refusals.expire(&mut self.tree.claimants, &mut self.columns, now, &mut woken);
            if is_due {
                self.touch(agent);
            } else {
                self.touch_for(agent, woken);
            }
            self.rearm(agent);
        }
        self.settle(now, out);
    }

    /// Takes note of an event. [`Self::settle`] must follow before the next [`Self::expire`].
    pub fn apply(&mut self, now: Time, event: Event) {
        self.stats.event_count += 1;
        self.quota_moved = true;
        self.count_if_for_all(&event);
        match event {
            Event::DescribeAgent { agent, description } => self.describe_agent(agent, description),
            Event::AddAgent { agent, total, used } => self.add_agent(agent, total, used),
            Event::UpdateAgent { agent, total } => self.update_agent(agent, total),
            Event::RemoveAgent { agent } => self.remove_agent(agent),
            Event::ActivateAgent { agent } => self.set_agent_active(agent, true),
            Event::DeactivateAgent { agent } => self.set_agent_active(agent, false),
            Event::AddFramework { framework, info, is_active } => {
                self.add_framework(framework, &info, is_active);
            }
            Event::UpdateFramework { framework, info } => self.update_framework(framework, &info),
            Event::RemoveFramework { framework } => self.remove_framework(framework),
            Event::ActivateFramework { framework } => self.set_framework_active(framework, true),
            Event::DeactivateFramework { framework } => self.set_framework_active(framework, false),
            Event::Release { framework, agent, resources, refusal } => {
                self.release(now, (framework, agent), resources, refusal);
            }
            Event::Convert { framework, agent, consumed, converted } => {
                self.convert((framework, agent), consumed, converted);
            }
            Event::Suppress { framework, roles } => self.suppress(framework, &roles),
            Event::Revive { framework, roles } => self.revive(framework, &roles),
            Event::SetWeight { role, weight } => self.tree.set_weight(&role, weight),
            Event::SetQuota { role, quota } => {
                let account = Arc::new(Account::new(&quota, 1));
                self.set_quota(&role, &quota, account);
            }
        }
    }

    /// [`Event::SetQuota`] where there are several workers: they share the account.
    pub(super) fn apply_quota(&mut self, role: &Role, quota: &Quota, account: Arc<Account>) {
        self.stats.event_count += 1;
        self.quota_moved = true;
        self.mates.note_told();
        self.set_quota(role, quota, account);
    }

    /// Decides all that is open.
    pub fn settle(&mut self, now: Time, out: &mut Vec<Allocation>) {
        let newly_eager = std::mem::take(&mut self.newly_eager);
        let mut touched = std::mem::take(&mut self.touched);
        if newly_eager.is_empty() {
            touched.sort_unstable();
            touched.iter().for_each(|&agent| self.decide_touched(now, agent, &Bits::default(), out));
        } else {
            self.decide_ready(now, &newly_eager, out);
            // Those that have nothing to offer were not among the ready.
            for agent in touched.iter() {
                self.slots.get_mut(*agent).into_iter().for_each(|slot| slot.touch = Touch::Nobody);
            }
        }
        touched.clear();
        self.touched = touched;
        self.follow_quota(now, out);
        self.sweep();
    }

    /// A full pass: everybody is asked about every agent that has something free. Between events it finds nothing: only
    /// where quota held something back can anybody be left, and those agents are known ([`Self::follow_quota`]).
    pub fn cycle(&mut self, now: Time, out: &mut Vec<Allocation>) {
        let mut next = self.ready.next(0);
        while let Some(agent) = next {
            self.decide_anew(now, agent, out);
            next = self.ready.next(agent + 1);
        }
    }

    /// Everybody is asked about that agent; nothing is put off any longer.
    fn decide_anew(&mut self, now: Time, agent: u32, out: &mut Vec<Allocation>) {
        if self.slots[agent].refusals.due().is_some() {
            self.slots[agent].refusals.put_off_no_more();
            self.rearm(agent);
        }
        self.decide(now, agent, Among::Everybody, out);
    }

    pub fn stats(&self) -> Stats {
        self.stats
    }

    /// Refusals in force.
    pub fn refusal_count(&self) -> usize {
        self.columns.live_count()
    }

    /// What all refusals take, void ones included, by what was asked of the heap; slow.
    pub fn refusal_bytes(&self) -> usize {
        self.slots.iter().map(|(_, slot)| slot.refusals.bytes()).sum()
    }

    /// Has everybody asked about that agent.
    pub(super) fn touch(&mut self, agent: u32) {
        let slot = &mut self.slots[agent];
        if matches!(slot.touch, Touch::Nobody) {
            self.touched.push(agent);
        }
        slot.touch = Touch::Everybody;
        if slot.refusals.due().is_some() {
            slot.refusals.put_off_no_more();
            self.rearm(agent);
        }
    }

    /// Has these asked about that agent.
    fn touch_for(&mut self, agent: u32, woken: Vec<ClaimantId>) {
        if woken.is_empty() {
            return;
        }
        let touch = &mut self.slots[agent].touch;
        match touch {
            Touch::Nobody => {
                *touch = Touch::Some(woken);
                self.touched.push(agent);
            }
            Touch::Some(those) => those.extend(woken),
            Touch::Everybody => {}
        }
    }

    /// Puts the agent into the timers where its refusals say.
    pub(super) fn rearm(&mut self, agent: u32) {
        let slot = &mut self.slots[agent];
        let wake = slot.refusals.wake();
        if wake == slot.wake {
            return;
        }
        if let Some(old) = std::mem::replace(&mut slot.wake, wake) {
            self.timers.remove(&(old, agent));
        }
        if let Some(wake) = wake {
            self.timers.insert((wake, agent));
        }
    }

    /// Notes whether the agent has something to offer, and how much.
    pub(super) fn refresh_ready(&mut self, agent: u32) {
        self.count_in(agent);
        self.mark_ready(agent);
    }

    /// Likewise where what is free has been counted.
    fn mark_ready(&mut self, agent: u32) {
        let is_ready = self
            .slots
            .get(agent)
            .is_some_and(|slot| slot.is_active && self.options.minimums.are_met_by(slot.free()));
        self.ready.set(agent, is_ready);
    }

    /// The index of an agent that is still here under that key.
    pub(super) fn agent(&self, key: AgentKey) -> Option<u32> {
        let slot = self.slots.get(key.index)?;
        (slot.generation == key.generation).then_some(key.index)
    }

    /// Decides every agent that has something free among those who have just come to want it, and whom else it has
    /// been touched for.
    fn decide_ready(&mut self, now: Time, newly_eager: &[ClaimantId], out: &mut Vec<Allocation>) {
        let mut mask = Bits::default();
        newly_eager.iter().for_each(|id| mask.set(id.0, true));
        let is_one = newly_eager.iter().all(|id| *id == newly_eager[0]);
        let among = if is_one { Among::One(newly_eager[0]) } else { Among::Some(&mask) };
        let mut next = self.ready.next(0);
        while let Some(agent) = next {
            match self.slots[agent].touch {
                Touch::Nobody => self.decide(now, agent, among, out),
                _ => self.decide_touched(now, agent, &mask, out),
            }
            next = self.ready.next(agent + 1);
        }
    }

    fn decide_touched(&mut self, now: Time, agent: u32, also: &Bits, out: &mut Vec<Allocation>) {
        let Some(slot) = self.slots.get_mut(agent) else { return };
        match std::mem::take(&mut slot.touch) {
            Touch::Nobody => {}
            Touch::Everybody => self.decide(now, agent, Among::Everybody, out),
            Touch::Some(those) => {
                let mut mask = also.clone();
                those.iter().for_each(|id| mask.set(id.0, true));
                self.decide(now, agent, Among::Some(&mask), out);
            }
        }
    }

    /// Offers what is free on the agent until nobody is left who may have of it and wants it.
    fn decide(&mut self, now: Time, agent: u32, among: Among<'_>, out: &mut Vec<Allocation>) {
        let was_withheld = self.withheld.replace(false);
        // Who is not ready has nothing that is worth an offer.
        while self.ready.has(agent) {
            self.stats.decision_count += 1;
            let found = cycle::next_taker(&self.house(), &self.slots[agent], among, now);
            let Some((id, take)) = found else { break };
            let is_all = matches!(take, Take::All);
            if !self.try_charge(agent, id, &take) {
                // Another worker was faster: what is left is decided anew.
                continue;
            }
            out.push(self.allocate(agent, id, take));
            if is_all {
                self.ready.remove(agent);
            } else {
                self.mark_ready(agent);
            }
        }
        if self.withheld.get() {
            self.withheld_on.add(agent);
        }
        self.withheld.set(self.withheld.get() || was_withheld);
        if self.ready.has(agent) && !self.slots[agent].refusals.is_empty() {
            self.slots[agent].refusals.nobody_left(&self.columns, now);
            self.rearm(agent);
        }
    }

    /// Whether quota still allows what was decided; it counts as given then.
    fn try_charge(&mut self, agent: u32, id: ClaimantId, take: &Take) -> bool {
        if !self.tree.has_quota() {
            return true;
        }
        let amounts = match take {
            Take::All => self.slots[agent].free().quotable(),
            Take::Part(part) => part.quotable(),
        };
        let is_charged = self.tree.try_charge(self.tree.claimants[id].role, &amounts);
        // For a moment something may have counted as given that was not, and kept others from it.
        self.mates.has_stirred |= !is_charged;
        is_charged
    }

    fn allocate(&mut self, agent: u32, id: ClaimantId, take: Take) -> Allocation {
        self.stats.allocation_count += 1;
        let generation = self.slots[agent].generation;
        let parcel = self.slots[agent].claim(take);
        self.tree.charge(id, &parcel);
        self.count_in(agent);
        let resources = self.given_as(id, &parcel);
        let claimant = &self.tree.claimants[id];
        let allocation = Allocation {
            framework: claimant.framework,
            role: self.tree.role(claimant.role).clone(),
            agent: AgentKey { index: agent, generation },
            resources: resources.clone(),
        };
        self.slots.hold(agent, &mut self.tree.claimants, id, (parcel, resources));
        allocation
    }

    /// What decisions are made by.
    pub(super) fn house(&self) -> House<'_> {
        let Self { tree, columns, options, available, withheld, .. } = self;
        House { tree, columns, options, available, withheld }
    }

    fn set_quota(&mut self, role: &Role, quota: &Quota, account: Arc<Account>) {
        let had = self.tree.has_quota();
        if !had {
            let held: Vec<_> = self.slots.iter().flat_map(|(_, slot)| slot.held()).collect();
            let roles: Vec<_> = held.iter().map(|held| self.tree.claimants[held.claimant].role).collect();
            self.tree.count_charged(roles.into_iter().zip(held.iter().map(|held| &*held.parcel)));
        }
        self.tree.set_quota(role, quota, account);
        if had != self.tree.has_quota() {
            self.available = self.elsewhere().available().clone();
            for agent in 0..self.slots.len() as u32 {
                self.slots.get_mut(agent).into_iter().for_each(|slot| slot.counted = None);
                self.count_in(agent);
            }
        }
        // Less may be held back for others than was before; and other workers may have waited for this one.
        self.withheld.set(true);
        self.withheld_on = self.ready.clone();
        self.mates.has_stirred = true;
    }

    /// Counts what is free on the agent as available.
    fn count_in(&mut self, agent: u32) {
        if !self.tree.has_quota() {
            return;
        }
        self.count_out(agent);
        if let Some(slot) = self.slots.get_mut(agent).filter(|slot| slot.is_active) {
            let amounts = slot.free().quotable();
            if !amounts.is_zero() {
                self.available.add(&amounts);
                slot.counted = Some(Box::new(amounts));
            }
        }
    }

    /// And no more.
    pub(super) fn count_out(&mut self, agent: u32) {
        let counted = self.slots.get_mut(agent).and_then(|slot| slot.counted.take());
        counted.into_iter().for_each(|amounts| self.available.subtract(&amounts));
    }

    /// Where quota held something back and may do so no longer, everybody is asked about it: what comes back on one agent
    /// may be what a role at its limit waited for to be given of another. At once, or [`QUOTA_PACE_NS`] after
    /// the last time.
    fn follow_quota(&mut self, now: Time, out: &mut Vec<Allocation>) {
        if std::mem::take(&mut self.quota_moved) && self.withheld.get() && self.quota_due.is_none() {
            self.quota_due = Some(self.quota_next.max(now));
        }
        if self.quota_due.is_some_and(|due| due <= now) {
            if self.tree.is_shared {
                self.tree.restate_all();
            }
            self.quota_due = None;
            self.quota_next = now.plus_ns(QUOTA_PACE_NS);
            self.withheld.set(false);
            let withheld_on = std::mem::take(&mut self.withheld_on);
            for agent in withheld_on.iter().filter(|agent| self.ready.has(*agent)).collect::<Vec<_>>() {
                self.decide_anew(now, agent, out);
            }
        }
    }

    /// The parcel as the claimant is shown it. What many agents have is made once a role and then shared.
    fn given_as(&mut self, id: ClaimantId, parcel: &Stock) -> Resources {
        let node = self.tree.claimants[id].role;
        let is_shared = Arc::strong_count(parcel) > 1;
        if let Some(form) = is_shared.then(|| self.tree.form(node, parcel)).flatten() {
            return form;
        }
        let form = parcel.to_resources(self.tree.role(node), &self.names);
        if is_shared {
            self.tree.keep_form(node, parcel.clone(), form.clone());
        }
        form
    }

    /// Clears void refusals away once there are many.
    fn sweep(&mut self) {
        if !self.columns.is_sweep_due() {
            return;
        }
        let retired = self.columns.take_retired();
        for agent in 0..self.slots.len() as u32 {
            if let Some(slot) = self.slots.get_mut(agent).filter(|slot| !slot.refusals.is_empty()) {
                slot.refusals.sweep(&retired);
                self.rearm(agent);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::event::{Claims, Refusal};
    use super::super::key::FrameworkKey;
    use super::*;

    /// Frameworks that decline for a year, go, and come again leave nothing behind that grows.
    #[test]
    fn void_refusals_are_cleared_away() {
        const AGENT_COUNT: u32 = 20;
        let (mut core, mut out) = (Core::default(), Vec::new());
        for index in 0..AGENT_COUNT {
            let agent = AgentKey { index, generation: 0 };
            let total = "cpus:1;mem:100".parse().expect("resources");
            core.handle(Time(1), Event::AddAgent { agent, total, used: Vec::new() }, &mut out);
        }
        for generation in 0..100 {
            let framework = FrameworkKey { index: 0, generation };
            let info = Claims { roles: vec![Role::star()], ..Claims::default() };
            core.handle(Time(1), Event::AddFramework { framework, info, is_active: true }, &mut out);
            assert_eq!(out.len(), AGENT_COUNT as usize);
            for Allocation { framework, agent, resources, .. } in std::mem::take(&mut out) {
                let refusal = Refusal::For { ns: u64::MAX };
                core.handle(Time(1), Event::Release { framework, agent, resources, refusal }, &mut out);
            }
            core.handle(Time(1), Event::RemoveFramework { framework }, &mut out);
            core.invariants(Time(1));
            assert_eq!(core.refusal_count(), 0);
            let kept = core.slots.iter().map(|(_, slot)| slot.refusals.bit_count()).max();
            assert!(kept <= Some(66), "{kept:?} of the gone are remembered on one agent");
        }
    }
}
