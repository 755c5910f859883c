//! An agent's slot: what it has, what of that is free, who holds the rest.
//!
//! Law 1, conservation: free and held together are the total. (Where more is held than there is, because the agent
//! shrank under its tasks, free is what of the total is not held.) Law 2, one subtractor: [`Slot::claim`] is the only
//! way to lower what is free while the total stands.

use super::bits::Bits;
use super::claimant::{ClaimantId, Claimants};
use super::filter::Refusals;
use super::parcel::{Parcel, Stock};
use super::quantities::{GPUS_COLUMN, Quantities};
use model::resources::Resources;
use model::time::Time;
use std::sync::Arc;

/// What one claimant holds on one agent, offered or used.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) claimant: ClaimantId,
    pub(super) parcel: Stock,
    /// As it was handed out, when it is one allocation as a whole; empty else. What comes back the same way is known
    /// without a look at its parts.
    pub(super) given: Resources,
}

/// What a claimant takes of what is free.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Take {
    All,
    Part(Parcel),
}

/// Who has to be asked about what is free, since the last decision.
#[derive(Debug, Default)]
pub(super) enum Touch {
    #[default]
    Nobody,
    /// These have stopped refusing.
    Some(Vec<ClaimantId>),
    Everybody,
}

/// Who holds something; mostly one framework has all of an agent, and needs no list.
#[derive(Debug, Default)]
struct Holders {
    first: Option<Held>,
    others: Vec<Held>,
}

impl Holders {
    fn iter(&self) -> impl Iterator<Item = &Held> {
        self.first.iter().chain(&self.others)
    }

    fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    fn get_mut(&mut self, at: usize) -> &mut Held {
        let held = if at == 0 { self.first.as_mut() } else { self.others.get_mut(at - 1) };
        held.expect("somebody was found there")
    }

    fn add(&mut self, held: Held) {
        if self.first.is_none() {
            self.first = Some(held);
        } else {
            self.others.push(held);
        }
    }

    /// The last takes the place.
    fn remove(&mut self, at: usize) -> Held {
        let held = if at == 0 {
            let last = self.others.pop();
            std::mem::replace(&mut self.first, last)
        } else {
            Some(self.others.swap_remove(at - 1))
        };
        held.expect("somebody was found there")
    }
}

#[derive(Debug)]
pub(super) struct Slot {
    pub(super) generation: u32,
    pub(super) is_active: bool,
    /// Agents with GPUs are kept for frameworks that know what to do with them.
    pub(super) has_gpus: bool,
    is_overcommitted: bool,
    total: Stock,
    /// `None` is nothing.
    free: Option<Stock>,
    held: Holders,
    pub(super) refusals: Refusals,
    /// Claimants that may not have anything of it (`barred.rs`); `None` is nobody.
    pub(super) barred: Option<Box<Bits>>,
    /// What of it is counted as available, while there are quotas.
    pub(super) counted: Option<Box<Quantities>>,
    /// Under which time the slot is in the timers.
    pub(super) wake: Option<Time>,
    pub(super) touch: Touch,
}

impl Slot {
    pub(super) fn new(generation: u32, total: Stock) -> Self {
        Self {
            generation,
            is_active: true,
            has_gpus: !total.scalar(GPUS_COLUMN).is_zero(),
            is_overcommitted: false,
            free: Some(total.clone()),
            total,
            held: Holders::default(),
            refusals: Refusals::default(),
            barred: None,
            counted: None,
            wake: None,
            touch: Touch::Nobody,
        }
    }

    pub(super) fn total(&self) -> &Parcel {
        &self.total
    }

    pub(super) fn free(&self) -> &Parcel {
        self.free.as_deref().unwrap_or(Parcel::empty())
    }

    pub(super) fn is_barred(&self, claimant: ClaimantId) -> bool {
        self.barred.as_ref().is_some_and(|barred| barred.has(claimant.0))
    }

    pub(super) fn held(&self) -> impl Iterator<Item = &Held> {
        self.held.iter()
    }

    /// Gives the slot another total; what is held stays.
    pub(super) fn set_total(&mut self, total: Stock) -> Stock {
        self.has_gpus = !total.scalar(GPUS_COLUMN).is_zero();
        let old = std::mem::replace(&mut self.total, total);
        self.refit();
        old
    }

    /// Takes out of what is free; it is to be held by somebody from here on ([`Slots::hold`]).
    pub(super) fn claim(&mut self, take: Take) -> Stock {
        match take {
            Take::All => self.free.take().expect("somebody wants it, so it is something"),
            Take::Part(part) => {
                let free = Arc::make_mut(self.free.as_mut().expect("somebody wants a part of it"));
                assert!(free.contains(&part), "only what is free is claimed");
                free.subtract(&part);
                Arc::new(part)
            }
        }
    }

    fn give_back(&mut self, parcel: Stock) {
        if self.is_overcommitted {
            return self.refit();
        }
        self.free = Some(match self.free.take() {
            // By law 1: nobody holds anything, so all is free.
            _ if self.held.is_empty() => self.total.clone(),
            None => parcel,
            Some(mut free) => {
                Arc::make_mut(&mut free).add(&parcel);
                free
            }
        });
    }

    /// Works out anew what is free.
    pub(super) fn refit(&mut self) {
        if self.held.is_empty() {
            (self.is_overcommitted, self.free) = (false, Some(self.total.clone()));
            return;
        }
        let sum;
        let held: &Parcel = match &self.held {
            Holders { first: Some(only), others } if others.is_empty() => &only.parcel,
            _ => {
                let mut all = Parcel::default();
                self.held.iter().for_each(|one| all.add(&one.parcel));
                sum = all;
                &sum
            }
        };
        self.is_overcommitted = !self.total.contains(held);
        let mut free = Parcel::clone(&self.total);
        free.subtract(held);
        self.free = (!free.is_empty()).then(|| Arc::new(free));
    }

    fn position(&self, claimant: ClaimantId) -> Option<usize> {
        self.held.iter().position(|held| held.claimant == claimant)
    }

    /// Law 1.
    pub(super) fn invariant_conservation(&self) {
        let mut sum = Parcel::default();
        self.held.iter().for_each(|held| sum.add(&held.parcel));
        let mut free = Parcel::clone(&self.total);
        free.subtract(&sum);
        assert_eq!(*self.free(), free, "free is the total without what is held");
        assert_eq!(self.is_overcommitted, !self.total.contains(&sum));
        if !self.is_overcommitted {
            sum.add(self.free());
            assert_eq!(sum, *self.total, "free and held together are the total");
        }
    }
}

/// All slots, by agent index.
#[derive(Debug, Default)]
pub(super) struct Slots {
    all: Vec<Option<Slot>>,
}

impl Slots {
    /// # Panics
    /// When there is one of that index.
    pub(super) fn add(&mut self, agent: u32, slot: Slot) {
        let at = agent as usize;
        if at >= self.all.len() {
            self.all.resize_with(at + 1, || None);
        }
        let before = self.all[at].replace(slot);
        assert!(before.is_none(), "an agent is added once");
    }

    /// It must hold nothing any more.
    pub(super) fn remove(&mut self, agent: u32) -> Option<Slot> {
        let slot = self.all.get_mut(agent as usize)?.take();
        assert!(slot.as_ref().is_none_or(|slot| slot.held.is_empty()));
        slot
    }

    pub(super) fn get(&self, agent: u32) -> Option<&Slot> {
        self.all.get(agent as usize)?.as_ref()
    }

    pub(super) fn get_mut(&mut self, agent: u32) -> Option<&mut Slot> {
        self.all.get_mut(agent as usize)?.as_mut()
    }

    /// In order of their indices.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &Slot)> {
        self.all.iter().enumerate().filter_map(|(index, slot)| Some((index as u32, slot.as_ref()?)))
    }

    /// One past the highest index in use so far.
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// Moves a part of what the claimant holds to what is free.
    ///
    /// # Panics
    /// When the claimant does not hold that much there.
    pub(super) fn release(&mut self, agent: u32, claimants: &mut Claimants, id: ClaimantId, parcel: Stock) {
        let slot = &mut self[agent];
        let at = slot.position(id).expect("who gives back holds something");
        let held = slot.held.get_mut(at);
        assert!(held.parcel.contains(&parcel), "no more is given back than is held");
        held.given = Resources::EMPTY;
        let left = Arc::make_mut(&mut held.parcel);
        left.subtract(&parcel);
        if left.is_empty() {
            self.drop_held(agent, claimants, at);
        }
        self[agent].give_back(parcel);
    }

    /// What the claimant holds there, if it is what these resources were handed out as: then all of it comes back, and
    /// none of it has to be looked at.
    pub(super) fn release_given(
        &mut self,
        agent: u32,
        claimants: &mut Claimants,
        id: ClaimantId,
        resources: &Resources,
    ) -> Option<Stock> {
        let at = self[agent].position(id)?;
        if !self[agent].held.get_mut(at).given.is_same(resources) {
            return None;
        }
        let parcel = self.drop_held(agent, claimants, at);
        self[agent].give_back(parcel.clone());
        Some(parcel)
    }

    /// Moves all that the claimant holds to what is free, and shows it.
    pub(super) fn release_all(&mut self, agent: u32, claimants: &mut Claimants, id: ClaimantId) -> Stock {
        let at = self[agent].position(id).expect("a claimant's agents are those on which it holds something");
        let parcel = self.drop_held(agent, claimants, at);
        self[agent].give_back(parcel.clone());
        parcel
    }

    /// Forgets who holds what on that agent, and shows it; what was held does not become free.
    pub(super) fn drop_all_held(
        &mut self,
        agent: u32,
        claimants: &mut Claimants,
    ) -> Vec<(ClaimantId, Stock)> {
        let mut dropped = Vec::new();
        while let Some(first) = &self[agent].held.first {
            let id = first.claimant;
            dropped.push((id, self.drop_held(agent, claimants, 0)));
        }
        dropped
    }

    /// Notes that the claimant holds that: what was claimed for it, and how it was handed out, or what it uses
    /// ([`Slot::refit`] must follow then).
    pub(super) fn hold(
        &mut self,
        agent: u32,
        claimants: &mut Claimants,
        id: ClaimantId,
        (parcel, given): (Stock, Resources),
    ) {
        if parcel.is_empty() {
            return;
        }
        let slot = &mut self[agent];
        match slot.position(id) {
            Some(at) => {
                let held = slot.held.get_mut(at);
                Arc::make_mut(&mut held.parcel).add(&parcel);
                held.given = Resources::EMPTY;
            }
            None => {
                slot.held.add(Held { claimant: id, parcel, given });
                claimants[id].agents.add_among(agent, self.all.len());
            }
        }
    }

    /// Unlinks one entry from both sides.
    fn drop_held(&mut self, agent: u32, claimants: &mut Claimants, at: usize) -> Stock {
        let held = self[agent].held.remove(at);
        claimants[held.claimant].agents.remove(agent);
        held.parcel
    }
}

impl std::ops::Index<u32> for Slots {
    type Output = Slot;
    fn index(&self, agent: u32) -> &Slot {
        self.get(agent).expect("an agent that is here")
    }
}

impl std::ops::IndexMut<u32> for Slots {
    fn index_mut(&mut self, agent: u32) -> &mut Slot {
        self.get_mut(agent).expect("an agent that is here")
    }
}
