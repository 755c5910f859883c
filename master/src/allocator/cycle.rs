//! One decision: who is offered what is free on one agent.

use super::bits::Bits;
use super::claimant::{Claimant, ClaimantId};
use super::column::Columns;
use super::filter::Refusing;
use super::options::Options;
use super::parcel::Parcel;
use super::quantities::Quantities;
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

/// So few are compared with each other. Of more, who is willing is met in the order of all: after one in so many as
/// there are for each who is, each met for about the price of ten comparisons.
const FEW: usize = 64;

/// Those who are left when most refuse.
struct Few {
    who: [ClaimantId; FEW],
    count: usize,
}

impl Few {
    /// `None`: they are many.
    fn of(mut all: impl Iterator<Item = ClaimantId>) -> Option<Self> {
        let mut few = Self { who: [ClaimantId(0); FEW], count: 0 };
        for id in all.by_ref().take(FEW) {
            few.who[few.count] = id;
            few.count += 1;
        }
        all.next().is_none().then_some(few)
    }

    /// The first in order for whom `accept` has an answer.
    fn first<T>(
        mut self,
        tree: &RoleTree,
        accept: impl Fn(ClaimantId) -> Option<T>,
    ) -> Option<(ClaimantId, T)> {
        while self.count > 0 {
            let left = &self.who[..self.count];
            let best = (1..left.len())
                .fold(0, |best, at| if tree.cmp_in_order(left[at], left[best]).is_lt() { at } else { best });
            let id = left[best];
            if let Some(answer) = accept(id) {
                return Some((id, answer));
            }
            self.count -= 1;
            self.who.swap(best, self.count);
        }
        None
    }
}

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

/// The first in order who may have something of the slot's and does not refuse it, and what that is. The slot must be in
/// use, and have what is worth an offer.
pub(super) fn next_taker(
    house: &House<'_>,
    slot: &Slot,
    among: Among<'_>,
    now: Time,
) -> Option<(ClaimantId, Take)> {
    let House { tree, columns, options, .. } = *house;
    let rest = slot.free().rest();
    let has_special = rest.iter().any(is_special);
    let is_only_lent = has_special && !slot.free().has_plain() && rest.iter().all(|part| part.is_revocable);
    let slice = options.slice.as_ref().and_then(|slice| slice.cut(slot.total(), slot.free(), options));
    let mut desk = Desk {
        house,
        tree,
        slot,
        options,
        now,
        has_special,
        is_only_lent,
        slice,
        refusing: Refusing::NOBODY,
    };
    match among {
        Among::One(id) => desk.offer(id).map(|take| (id, take)),
        Among::Some(those) => tree.first(&|role| desk.may_enter(role), &mut |id| {
            if those.has(id.0) { desk.offer(id) } else { None }
        }),
        Among::Everybody => {
            desk.refusing = slot.refusals.refusing(desk.at_hand(), now);
            let few = if let Some(barred) = &slot.barred {
                let free = || columns.eager_and_free(desk.refusing, barred);
                free().next()?;
                Few::of(free())
            } else if desk.refusing.is_nobody() {
                None
            } else if columns.has_eager_but(desk.refusing) {
                Few::of(columns.eager_but(desk.refusing))
            } else {
                return None;
            };
            if let Some(few) = few {
                return few.first(tree, |id| desk.offer(id));
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
    /// Whether it is for those only who understand what may be taken back: what is left where most frameworks do not.
    is_only_lent: bool,
    /// What of it goes into one offer, where that is not all.
    slice: Option<Parcel>,
    /// Who refuses what is at hand, by column: known when everybody is asked.
    refusing: Refusing<'a>,
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
        if !claimant.is_eager() || claimant.column.is_some_and(|column| self.refusing.has(column)) {
            return None;
        }
        if self.slot.is_barred(id) {
            return None;
        }
        let is_filtered = self.slot.has_gpus && self.options.filter_gpu_resources;
        if is_filtered && !claimant.capabilities.has(Capabilities::GPU_RESOURCES) {
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
                self.options.minimums.are_met_by(&part).then_some(Take::Part(part))
            }
        }
    }

    /// Likewise, quota aside.
    fn fitting(&self, claimant: &Claimant) -> Option<Take> {
        let as_it_is = || self.slice.clone().map_or(Take::All, Take::Part);
        if !self.has_special {
            return Some(as_it_is());
        }
        if self.is_only_lent && !claimant.capabilities.has(Capabilities::REVOCABLE_RESOURCES) {
            return None;
        }
        let role = self.tree.role(claimant.role);
        let may_have = |part: &Resource| may_have(part, role, claimant.capabilities);
        if self.at_hand().rest().iter().all(may_have) {
            return Some(as_it_is());
        }
        let part = self.at_hand().with_rest(may_have);
        self.options.minimums.are_met_by(&part).then_some(Take::Part(part))
    }

    /// What one offer may have of what is free.
    fn at_hand(&self) -> &Parcel {
        self.slice.as_ref().unwrap_or(self.slot.free())
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
