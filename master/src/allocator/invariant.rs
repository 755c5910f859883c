//! The allocator's laws as checks, for tests and the simulator: each panics when its law is broken. Slow: they go
//! through everything.
//!
//! Of the five laws of the house, (2) *one subtractor* is a matter of types here: slots belong to one [`Core`], which
//! belongs to one thread, and what is free is lowered in one function; (3) *limits* are held where an offer is cut to what
//! is allowed, before it is charged; that the charges are right is checked here, the law itself by the tests, from outside; (4) *published is
//! immutable* with the first thing published.

use super::core::Core;
use super::cycle::{self, Among, House};
use super::quantities::Quantities;
use super::slot::Touch;
use model::role::Role;
use model::time::Time;
use std::cell::Cell;
use std::collections::BTreeMap;

impl Core {
    /// All of them; to be called between events, after [`Core::expire`] at the same time.
    pub fn invariants(&self, now: Time) {
        self.invariant_conservation();
        self.invariant_charges();
        self.invariant_shares();
        self.invariant_refusals();
        self.invariant_barred();
        self.invariant_quota();
        self.invariant_nobody_waits(now);
    }

    /// What quota is held against is what claimants hold and what is reserved, and all that is free.
    pub fn invariant_quota(&self) {
        let mut by_node = BTreeMap::<_, Quantities>::new();
        for (_, slot) in self.slots.iter() {
            for held in slot.held() {
                by_node
                    .entry(self.tree.claimants[held.claimant].role)
                    .or_default()
                    .add(&held.parcel.quotable());
            }
        }
        let charged = |role: &Role| {
            let mut sum = Quantities::default();
            let below = by_node.iter().filter(|(node, _)| self.tree.role(**node).is_within(role));
            below.for_each(|(_, amounts)| sum.add(amounts));
            sum
        };
        let totals: Vec<_> = self.slots.iter().flat_map(|(_, slot)| slot.total().reserved()).collect();
        let reserved = |role: &Role| {
            let mut sum = Quantities::default();
            totals.iter().filter(|(of, _)| of.is_within(role)).for_each(|(_, amounts)| sum.add(amounts));
            sum
        };
        self.tree.invariant_books(&charged, &reserved);
        if self.tree.has_quota() {
            let mut free = Quantities::default();
            let active = self.slots.iter().filter(|(_, slot)| slot.is_active);
            active.for_each(|(_, slot)| free.add(&slot.free().quotable()));
            free.add(self.elsewhere().available());
            assert_eq!(self.available, free);
        }
    }

    /// Law 1: free + held = total, on every agent; and agents and claimants agree on who holds something where.
    pub fn invariant_conservation(&self) {
        let mut held_count = 0;
        for (agent, slot) in self.slots.iter() {
            slot.invariant_conservation();
            for held in slot.held() {
                assert!(!held.parcel.is_empty());
                assert!(self.tree.claimants[held.claimant].agents.has(agent));
            }
            held_count += slot.held().count();
        }
        let links = self.tree.claimants.live().map(|(_, claimant)| claimant.agents.len()).sum::<usize>();
        assert_eq!(held_count, links);
    }

    /// What claimants are charged is what they hold, and roles are charged what their claimants are: at every
    /// ancestor. (Limits, law 3, will be held against these.)
    pub fn invariant_charges(&self) {
        for (id, claimant) in self.tree.claimants.live() {
            let mut held = Quantities::default();
            for agent in claimant.agents.iter() {
                let here = self.slots[agent].held().filter(|held| held.claimant == id);
                here.for_each(|one| held.add(&one.parcel.quantities()));
            }
            assert_eq!(claimant.here().allocated, held);
        }
        self.tree.invariant_charges();
    }

    /// Law 5: totals are exact; shares may be stale, but no more than is said.
    pub fn invariant_shares(&self) {
        let mut total = Quantities::default();
        self.slots.iter().for_each(|(_, slot)| total.add(&slot.total().quantities()));
        total.add(self.elsewhere().totals());
        self.tree.invariant_totals(&total);
    }

    /// Refusals are counted rightly, and each will be looked at when it ends.
    pub fn invariant_refusals(&self) {
        let mut counts = std::collections::BTreeMap::new();
        let mut armed = 0;
        for (agent, slot) in self.slots.iter() {
            slot.refusals.invariant(|column| *counts.entry(column).or_insert(0) += 1);
            assert_eq!(slot.wake, slot.refusals.wake());
            if let Some(wake) = slot.wake {
                armed += 1;
                assert!(self.timers.contains(&(wake, agent)));
            }
        }
        assert_eq!(self.timers.len(), armed);
        self.columns.invariant(&self.tree.claimants, &counts);
    }

    /// Nothing lies free that somebody could be offered now; except where that is put off because others passed it on.
    pub fn invariant_nobody_waits(&self, now: Time) {
        assert!(self.touched.is_empty() && self.newly_eager.is_empty());
        let seen = Cell::new(false);
        let house = House { withheld: &seen, ..self.house() };
        for (agent, slot) in self.slots.iter() {
            assert!(matches!(slot.touch, Touch::Nobody));
            let is_ready = slot.is_active && self.options.minimums.are_met_by(slot.free());
            assert_eq!(self.ready.has(agent), is_ready);
            if is_ready && slot.refusals.due().is_none() && self.quota_due.is_none() {
                let taker = cycle::next_taker(&house, slot, Among::Everybody, now);
                assert_eq!(taker, None, "on agent {agent}");
            }
        }
    }
}

/// What must hold of several workers once they have told each other everything (law 5: stale shares are allowed, wrong
/// totals are not): all count the same, which is what they have together.
pub(super) fn invariants_together(cores: &[&Core]) {
    let mut held = BTreeMap::<_, Quantities>::new();
    let mut used = BTreeMap::<&Role, Quantities>::new();
    let mut totals = Quantities::default();
    for core in cores {
        for (_, claimant) in core.tree.claimants.live() {
            let whose = (claimant.framework, core.tree.role(claimant.role));
            held.entry(whose).or_default().add(&claimant.here().allocated);
        }
        for (role, node) in core.tree.roles() {
            used.entry(role).or_default().add(&core.tree.node_ref(node).books.consumed_here());
        }
        core.slots.iter().for_each(|(_, slot)| totals.add(&slot.total().quantities()));
    }
    for core in cores {
        assert_eq!(*core.tree.totals(), totals);
        for (&(framework, role), held) in &held {
            let known = core.find_claimant(framework, role).map(|id| &core.tree.claimants[id].allocated);
            assert_eq!(known.unwrap_or(&Quantities::default()), held, "{framework:?} in {role}");
        }
        for (role, node) in core.tree.roles() {
            core.tree.node_ref(node).books.invariant_used(&used[role]);
        }
    }
}
