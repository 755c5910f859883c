//! One decision: who is offered what is free on one agent.

use super::bits::Bits;
use super::claimant::{Claimant, ClaimantId};
use super::column::Columns;
use super::options::Options;
use super::parcel::Parcel;
use super::quantities::{CPUS_COLUMN, MEM_COLUMN, Quantities};
use super::quota::Allowed;
use super::role_tree::RoleTree;
use super::slot::{Slot, Take};
use model::framework::Capabilities;
use model::resources::Resource;
use model::role::Role;
use model::time::Time;
use std::cell::Cell;

/// Whom a decision is between. When only some can have become willing since the last one, the others need not be asked.
#[derive(Clone, Copy)]
pub(super) enum Among<'a> {
    Everybody,
    One(ClaimantId),
    Some(&'a Bits),
}

/// Whether so much is worth an offer at all (Mesos: `--min_allocatable_resources`).
pub(super) fn is_allocatable(parcel: &Parcel, options: &Options) -> bool {
    parcel.scalar(CPUS_COLUMN) >= options.cpus_min || parcel.scalar(MEM_COLUMN) >= options.mem_min
}

/// So few are compared with each other; more are met in their order.
const FEW: usize = 16;

/// What decisions are made by.
pub(super) struct House<'a> {
    pub(super) tree: &'a RoleTree,
    pub(super) columns: &'a Columns,
    pub(super) options: &'a Options,
    /// What is free everywhere, for quota.
    pub(super) available: &'a Quantities,
    /// Set when something is not offered because of quota.
    pub(super) withheld: &'a Cell<bool>,
}

/// The first in order who may have something of the slot's and does not refuse it, and what that is.
pub(super) fn next_taker(
    house: &House<'_>,
    slot: &Slot,
    among: Among<'_>,
    now: Time,
) -> Option<(ClaimantId, Take)> {
    let House { tree, columns, options, .. } = *house;
    if !slot.is_active || !is_allocatable(slot.free(), options) {
        return None;
    }
    let has_special = slot.free().rest().iter().any(is_special);
    let mut desk = Desk { house, tree, slot, options, now, has_special, refusing: Vec::new() };
    match among {
        Among::One(id) => desk.offer(id).map(|take| (id, take)),
        Among::Some(those) => tree.first(&|role| desk.may_enter(role), &mut |id| {
            if those.has(id.0) { desk.offer(id) } else { None }
        }),
        Among::Everybody => {
            slot.refusals.refusing(slot.free(), now, &mut desk.refusing);
            if desk.refusing.is_empty() {
                return tree.first(&|role| desk.may_enter(role), &mut |id| desk.offer(id));
            }
            let mut willing = columns.eager_but(&desk.refusing);
            let mut few = Vec::new();
            few.extend(willing.by_ref().take(FEW));
            if willing.next().is_none() {
                few.sort_unstable_by(|a, b| tree.cmp_in_order(*a, *b));
                return few.into_iter().find_map(|id| desk.offer(id).map(|take| (id, take)));
            }
            tree.first(&|role| desk.may_enter(role), &mut |id| desk.offer(id))
        }
    }
}

/// What is the same for all who are asked.
struct Desk<'a> {
    house: &'a House<'a>,
    tree: &'a RoleTree,
    slot: &'a Slot,
    options: &'a Options,
    now: Time,
    /// Whether not everything free is for everybody.
    has_special: bool,
    /// Who refuses all that is free, by column: known when everybody is asked.
    refusing: Vec<&'a Bits>,
}

impl Desk<'_> {
    /// Whether somebody in that role or below could be offered something: not when all that is free is reserved for
    /// roles elsewhere in the tree.
    fn may_enter(&self, role: &Role) -> bool {
        let is_for = |part: &Resource| {
            part.reserved_for().is_none_or(|owner| role.is_within(owner) || owner.is_within(role))
        };
        !self.has_special || self.slot.free().has_plain() || self.slot.free().rest().iter().any(is_for)
    }

    fn offer(&self, id: ClaimantId) -> Option<Take> {
        let claimant = &self.tree.claimants[id];
        let is_refusing = |column| self.refusing.iter().any(|those| those.has(column));
        if !claimant.is_eager() || claimant.column.is_some_and(is_refusing) {
            return None;
        }
        if self.slot.has_gpus && !claimant.capabilities.has(Capabilities::GPU_RESOURCES) {
            return None;
        }
        let take = self.allowed(claimant)?;
        let what = match &take {
            Take::All => self.slot.free(),
            Take::Part(part) => part,
        };
        let refusals = &self.slot.refusals;
        let is_refused = !refusals.is_empty() && refusals.refuse(claimant.column, what, self.now);
        (!is_refused).then_some(take)
    }

    /// What of the free resources the claimant may have, if it is worth an offer.
    fn allowed(&self, claimant: &Claimant) -> Option<Take> {
        let take = self.fitting(claimant)?;
        if !self.tree.has_quota() {
            return Some(take);
        }
        let wish = match &take {
            Take::All => self.slot.free(),
            Take::Part(part) => part,
        };
        match self.tree.allowed(claimant.role, wish, self.house.available) {
            Some(Allowed::All) => Some(take),
            allowed => {
                self.house.withheld.set(true);
                let Some(Allowed::Part(part)) = allowed else { return None };
                is_allocatable(&part, self.options).then_some(Take::Part(part))
            }
        }
    }

    /// Likewise, quota aside.
    fn fitting(&self, claimant: &Claimant) -> Option<Take> {
        if !self.has_special {
            return Some(Take::All);
        }
        let role = self.tree.role(claimant.role);
        let free = self.slot.free();
        let may_have = |part: &Resource| may_have(part, role, claimant.capabilities);
        if free.rest().iter().all(may_have) {
            return Some(Take::All);
        }
        let part = free.with_rest(may_have);
        is_allocatable(&part, self.options).then_some(Take::Part(part))
    }
}

/// Whether it is not for everybody.
fn is_special(part: &Resource) -> bool {
    !part.reservations.is_empty() || part.is_revocable || part.is_shared
}

/// Reserved resources go to the role they are reserved for and those below it; what needs understanding, to those who
/// say they understand it (Mesos: `stripIncapableResources`).
fn may_have(part: &Resource, role: &Role, can: Capabilities) -> bool {
    part.reserved_for().is_none_or(|owner| role.is_within(owner))
        && (!part.is_revocable || can.has(Capabilities::REVOCABLE_RESOURCES))
        && (!part.is_shared || can.has(Capabilities::SHARED_RESOURCES))
        && (part.reservations.len() < 2 || can.has(Capabilities::RESERVATION_REFINEMENT))
}
