//! An agent's slot: what it has, what of that is free, who holds the rest.
//!
//! Law 1, conservation: free and held together are the total. (Where more is held than there is, because the agent
//! shrank under its tasks, free is what of the total is not held.) Law 2, one subtractor: [`Slot::claim`] is the only
//! way to lower what is free while the total stands.

use super::claimant::{ClaimantId, Claimants};
use super::filter::Refusals;
use super::parcel::Parcel;
use super::quantities::GPUS_COLUMN;
use model::time::Time;

/// What one claimant holds on one agent, offered or used.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) claimant: ClaimantId,
    pub(super) parcel: Parcel,
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

#[derive(Debug)]
pub(super) struct Slot {
    pub(super) generation: u32,
    pub(super) is_active: bool,
    /// Agents with GPUs are kept for frameworks that know what to do with them.
    pub(super) has_gpus: bool,
    is_overcommitted: bool,
    total: Parcel,
    free: Parcel,
    held: Vec<Held>,
    pub(super) refusals: Refusals,
    /// Under which time the slot is in the timers.
    pub(super) wake: Option<Time>,
    pub(super) touch: Touch,
}

impl Slot {
    pub(super) fn new(generation: u32, total: Parcel) -> Self {
        Self {
            generation,
            is_active: true,
            has_gpus: !total.scalar(GPUS_COLUMN).is_zero(),
            is_overcommitted: false,
            free: total.clone(),
            total,
            held: Vec::new(),
            refusals: Refusals::default(),
            wake: None,
            touch: Touch::Nobody,
        }
    }

    pub(super) fn total(&self) -> &Parcel {
        &self.total
    }

    pub(super) fn free(&self) -> &Parcel {
        &self.free
    }

    pub(super) fn held(&self) -> &[Held] {
        &self.held
    }

    /// Gives the slot another total; what is held stays.
    pub(super) fn set_total(&mut self, total: Parcel) -> Parcel {
        self.has_gpus = !total.scalar(GPUS_COLUMN).is_zero();
        let old = std::mem::replace(&mut self.total, total);
        self.refit();
        old
    }

    /// Takes out of what is free; it is to be held by somebody from here on ([`Slots::hold`]).
    pub(super) fn claim(&mut self, take: Take) -> Parcel {
        match take {
            Take::All => std::mem::take(&mut self.free),
            Take::Part(part) => {
                assert!(self.free.contains(&part), "only what is free is claimed");
                self.free.subtract(&part);
                part
            }
        }
    }

    fn give_back(&mut self, parcel: Parcel) {
        if self.is_overcommitted {
            self.refit();
        } else if self.free.is_empty() {
            self.free = parcel;
        } else {
            self.free.add(&parcel);
        }
    }

    /// Works out anew what is free.
    pub(super) fn refit(&mut self) {
        let mut held = Parcel::default();
        self.held.iter().for_each(|one| held.add(&one.parcel));
        self.is_overcommitted = !self.total.contains(&held);
        self.free = self.total.clone();
        self.free.subtract(&held);
    }

    fn position(&self, claimant: ClaimantId) -> Option<usize> {
        self.held.iter().position(|held| held.claimant == claimant)
    }

    /// Law 1.
    pub(super) fn invariant_conservation(&self) {
        let mut sum = Parcel::default();
        self.held.iter().for_each(|held| sum.add(&held.parcel));
        let mut free = self.total.clone();
        free.subtract(&sum);
        assert_eq!(self.free, free, "free is the total without what is held");
        assert_eq!(self.is_overcommitted, !self.total.contains(&sum));
        if !self.is_overcommitted {
            sum.add(&self.free);
            assert_eq!(sum, self.total, "free and held together are the total");
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

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (u32, &mut Slot)> {
        self.all.iter_mut().enumerate().filter_map(|(index, slot)| Some((index as u32, slot.as_mut()?)))
    }

    /// One past the highest index in use so far.
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// Moves a part of what the claimant holds to what is free.
    ///
    /// # Panics
    /// When the claimant does not hold that much there.
    pub(super) fn release(&mut self, agent: u32, claimants: &mut Claimants, id: ClaimantId, parcel: Parcel) {
        let slot = &mut self[agent];
        let at = slot.position(id).expect("who gives back holds something");
        let held = &mut slot.held[at].parcel;
        assert!(held.contains(&parcel), "no more is given back than is held");
        held.subtract(&parcel);
        if held.is_empty() {
            self.drop_held(agent, claimants, at);
        }
        self[agent].give_back(parcel);
    }

    /// Moves all that the claimant holds to what is free, and shows it.
    pub(super) fn release_all(&mut self, agent: u32, claimants: &mut Claimants, id: ClaimantId) -> Parcel {
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
    ) -> Vec<(ClaimantId, Parcel)> {
        let mut dropped = Vec::new();
        while let Some(last) = self[agent].held.last() {
            let id = last.claimant;
            let at = self[agent].held.len() - 1;
            dropped.push((id, self.drop_held(agent, claimants, at)));
        }
        dropped
    }

    /// Notes that the claimant holds that: what was claimed for it, or what it uses ([`Slot::refit`] must follow then).
    pub(super) fn hold(&mut self, agent: u32, claimants: &mut Claimants, id: ClaimantId, parcel: Parcel) {
        if parcel.is_empty() {
            return;
        }
        let slot = &mut self[agent];
        match slot.position(id) {
            Some(at) => slot.held[at].parcel.add(&parcel),
            None => {
                // Mostly one framework holds the whole agent: do not make room for four.
                slot.held.reserve_exact(usize::from(slot.held.is_empty()));
                slot.held.push(Held { claimant: id, parcel });
                claimants[id].agents.add(agent);
            }
        }
    }

    /// Unlinks one entry from both sides.
    fn drop_held(&mut self, agent: u32, claimants: &mut Claimants, at: usize) -> Parcel {
        let held = self[agent].held.swap_remove(at);
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
