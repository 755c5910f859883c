//! Quota in the tree of roles: what each role has of what it may have, what must stay free for whom, and how much of
//! what is free may be offered to somebody at this moment.
//!
//! **Consumed** is what a role with all below it was given, offered or used, and what is reserved for it, used or not;
//! without what may be revoked. A *limit* is held against that at every ancestor, before anything is handed out (law 3).
//!
//! **Headroom.** A role that has less than its guarantee *requires* the rest to be free somewhere; a parent requires what
//! its children do together, or what it lacks itself, whichever is more. So much of what is free is offered only to those
//! whom it brings nearer to a guarantee. (Mesos: `requiredHeadroom` and `availableHeadroom`.)

use super::parcel::Parcel;
use super::quantities::{Quantities, Scalar};
use super::role_tree::{NodeId, ROOT, RoleTree};
use model::quantity::Quantity;
use model::quota::{Amounts, Quota};
use model::resources::{Resource, Value};
use model::role::Role;

/// What a role has by its quota; empty and costing nothing where there is none.
#[derive(Debug, Default)]
pub(super) struct Books {
    /// Given to claimants at and below; neither reserved nor revocable.
    pub(super) charged: Quantities,
    /// Reserved on agents for this role and those below it.
    reserved: Quantities,
    quota: Option<Box<Quota>>,
    guarantees: Quantities,
    /// What must stay free for this role and those below it.
    required: Quantities,
    /// The sum over its child roles.
    required_below: Quantities,
}

impl Books {
    /// Whether the role is to be remembered though nobody is in it.
    pub(super) fn is_pinned(&self) -> bool {
        self.quota.is_some() || !self.reserved.is_zero()
    }

    fn consumed(&self, scalar: Scalar<'_>) -> Quantity {
        self.charged.amount(scalar) + self.reserved.amount(scalar)
    }

    /// How much more of it the role may have.
    fn room(&self, scalar: Scalar<'_>) -> Quantity {
        let limit = self.quota.as_ref().and_then(|quota| quota.limits.get(scalar.name()));
        limit.map_or(UNLIMITED, |limit| limit.saturating_sub(self.consumed(scalar)))
    }
}

const UNLIMITED: Quantity = Quantity::from_milli(u64::MAX);

/// What became of a wish when quota was held against it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Allowed {
    All,
    Part(Parcel),
}

impl RoleTree {
    pub(super) fn has_quota(&self) -> bool {
        self.quota_count > 0
    }

    /// Gives the role another quota; a default one is none.
    pub(super) fn set_quota(&mut self, role: &Role, quota: Quota) {
        let node = self.node(role);
        let books = &mut self.node_mut(node).books;
        let (had, has) = (books.quota.is_some(), !quota.is_default());
        books.guarantees = quantities(&quota.guarantees);
        books.quota = has.then(|| Box::new(quota));
        self.quota_count = self.quota_count + usize::from(has) - usize::from(had);
        self.restate(node);
        self.drop_if_bare(node);
    }

    /// An agent came or went on which that much is reserved for the role.
    pub(super) fn change_reserved(&mut self, role: &Role, amounts: &Quantities, is_come: bool) {
        let node = self.node(role);
        let mut at = Some(node);
        while let Some(here) = at {
            let reserved = &mut self.node_mut(here).books.reserved;
            if is_come {
                reserved.add(amounts)
            } else {
                reserved.subtract(amounts)
            }
            at = self.parent(here);
        }
        self.restate(node);
        self.drop_if_bare(node);
    }

    /// Works out anew what must stay free for the role and those above it.
    pub(super) fn restate(&mut self, node: NodeId) {
        if self.quota_count == 0 && self.node_ref(ROOT).books.required_below.is_zero() {
            return;
        }
        let mut at = node;
        while let Some(parent) = self.parent(at) {
            let books = &mut self.node_mut(at).books;
            let mut consumed = books.charged.clone();
            consumed.add(&books.reserved);
            let lacking = books.guarantees.combine(&consumed, Quantity::saturating_sub);
            let required = books.required_below.combine(&lacking, Quantity::max);
            let before = std::mem::replace(&mut books.required, required.clone());
            let below = &mut self.node_mut(parent).books.required_below;
            below.subtract(&before);
            below.add(&required);
            at = parent;
        }
    }

    /// How much of what the claimants of a role could be offered they may have now. `available` is what is free on all
    /// agents in use, this included. `None`: nothing of it.
    pub(super) fn allowed(&self, node: NodeId, wish: &Parcel, available: &Quantities) -> Option<Allowed> {
        let mut left = None;
        wish.quotable().each(|scalar, wanted| {
            let granted = self.granted(node, scalar, wanted, available);
            if granted < wanted {
                left.get_or_insert_with(|| wish.clone()).cut(scalar, wanted.saturating_sub(granted));
            }
        });
        match left {
            None => Some(Allowed::All),
            Some(left) => (!left.is_empty()).then_some(Allowed::Part(left)),
        }
    }

    /// How much of `wanted` the role may be given.
    fn granted(
        &self,
        node: NodeId,
        scalar: Scalar<'_>,
        wanted: Quantity,
        available: &Quantities,
    ) -> Quantity {
        let mut amount = wanted;
        let mut at = Some(node);
        while let Some(here) = at {
            amount = amount.min(self.node_ref(here).books.room(scalar));
            at = self.parent(here);
        }
        let required = self.node_ref(ROOT).books.required_below.amount(scalar);
        let spare = available.amount(scalar).saturating_sub(required);
        // What lowers the requirement may be given beside what is spare. Giving less lowers it less: down to where both agree.
        while amount > spare {
            let bearable = spare + self.relief(node, scalar, amount);
            if amount <= bearable {
                break;
            }
            amount = bearable;
        }
        amount
    }

    /// By how much less would have to stay free if the role were given that much.
    fn relief(&self, node: NodeId, scalar: Scalar<'_>, amount: Quantity) -> Quantity {
        let (mut relief, mut at) = (Quantity::ZERO, node);
        while let Some(parent) = self.parent(at) {
            let books = &self.node_ref(at).books;
            let below = books.required_below.amount(scalar).saturating_sub(relief);
            let lacking = books.guarantees.amount(scalar).saturating_sub(books.consumed(scalar) + amount);
            relief = books.required.amount(scalar).saturating_sub(below.max(lacking));
            at = parent;
        }
        relief
    }
}

/// What must hold between events; slow, for tests and the simulator.
impl RoleTree {
    /// Charges by quota are those of the claimants, and requirements follow from them.
    pub(super) fn invariant_books(
        &self,
        charged: &impl Fn(&Role) -> Quantities,
        reserved: &impl Fn(&Role) -> Quantities,
    ) {
        let mut top = Quantities::default();
        for (role, node) in self.roles() {
            let books = &self.node_ref(node).books;
            assert_eq!(books.charged, charged(role), "{role}");
            assert_eq!(books.reserved, reserved(role), "{role}");
            let mut below = Quantities::default();
            for (_, child) in self.roles().filter(|(_, child)| self.parent(*child) == Some(node)) {
                below.add(&self.node_ref(child).books.required);
            }
            assert_eq!(books.required_below, below, "{role}");
            let mut consumed = books.charged.clone();
            consumed.add(&books.reserved);
            let lacking = books.guarantees.combine(&consumed, Quantity::saturating_sub);
            assert_eq!(books.required, below.combine(&lacking, Quantity::max), "{role}");
            if self.parent(node) == Some(ROOT) {
                top.add(&books.required);
            }
        }
        assert_eq!(self.node_ref(ROOT).books.required_below, top);
        let quotas = self.roles().filter(|(_, node)| self.node_ref(*node).books.quota.is_some()).count();
        assert_eq!(self.quota_count, quotas);
    }
}

fn quantities(amounts: &Amounts) -> Quantities {
    let mut all = Quantities::default();
    amounts.iter().for_each(|(name, amount)| all.add_named(name, *amount));
    all
}

/// Whether quota speaks of it: not of what is reserved, which counts for the role it is reserved for, nor of what may be
/// revoked.
pub(super) fn is_quotable(part: &Resource) -> bool {
    part.reservations.is_empty() && !part.is_revocable && matches!(part.value, Value::Scalar(_))
}
