//! The allocator's laws as checks, for tests and the simulator: each panics when its law is broken. Slow: they go
//! through everything.
//!
//! Of the five laws of the house, (2) *one subtractor* is a matter of types here: slots belong to one [`Core`], which
//! belongs to one thread, and what is free is lowered in one function; (3) *limits* comes with quota; (4) *published is
//! immutable* with the first thing published.

use super::core::Core;
use super::cycle::{self, Among};
use super::quantities::Quantities;
use super::slot::Touch;
use model::time::Time;

impl Core {
    /// All of them; to be called between events, after [`Core::expire`] at the same time.
    pub fn invariants(&self, now: Time) {
        self.invariant_conservation();
        self.invariant_charges();
        self.invariant_shares();
        self.invariant_refusals();
        self.invariant_nobody_waits(now);
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
            held_count += slot.held().len();
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
                let here = self.slots[agent].held().iter().filter(|held| held.claimant == id);
                here.for_each(|one| held.add(&one.parcel.quantities()));
            }
            assert_eq!(claimant.allocated, held);
        }
        self.tree.invariant_charges();
    }

    /// Law 5: totals are exact; shares may be stale, but no more than is said.
    pub fn invariant_shares(&self) {
        let mut total = Quantities::default();
        self.slots.iter().for_each(|(_, slot)| total.add(&slot.total().quantities()));
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
        for (agent, slot) in self.slots.iter() {
            assert!(matches!(slot.touch, Touch::Nobody));
            let is_ready = slot.is_active && cycle::is_allocatable(slot.free(), &self.options);
            assert_eq!(self.ready.has(agent), is_ready);
            let books = (&self.tree, &self.columns);
            if slot.refusals.due().is_none() {
                let taker = cycle::next_taker(books, slot, Among::Everybody, &self.options, now);
                assert_eq!(taker, None, "on agent {agent}");
            }
        }
    }
}
