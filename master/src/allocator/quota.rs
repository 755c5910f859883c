//! Quota in the tree of roles: what each role has of what it may have, what must stay free for whom, and how much of
//! what is free may be offered to somebody at this moment.
//!
//! **Consumed** is what a role with all below it was given, offered or used, and what is reserved for it, used or not;
//! without what may be revoked. A *limit* is held against that at every ancestor, before anything is handed out (law 3).
//!
//! **Headroom.** A role that has less than its guarantee *requires* the rest to be free somewhere; a parent requires what
//! its children do together, or what it lacks itself, whichever is more. So much of what is free is offered only to those
//! whom it brings nearer to a guarantee. (Mesos: `requiredHeadroom` and `availableHeadroom`.)

use super::account::Account;
use super::parcel::Parcel;
use super::quantities::{Quantities, Scalar};
use super::role_tree::{NodeId, ROOT, RoleTree};
use super::sync::{Seed, is_seeded};
use model::quantity::Quantity;
use model::quota::{Amounts, Quota};
use model::resources::{Resource, Value};
use model::role::Role;
use std::sync::Arc;

/// What a role has by its quota; empty and costing nothing where there is none.
#[derive(Debug, Default)]
pub(super) struct Books {
    /// Given to claimants at and below, on this worker's agents; neither reserved nor revocable. Kept while there are
    /// quotas.
    pub(super) charged: Quantities,
    /// Reserved on this worker's agents for this role and those below it.
    reserved: Quantities,
    /// The same of all workers, and its limits; where there is a quota.
    account: Option<Arc<Account>>,
    guarantees: Quantities,
    /// What must stay free for this role and those below it.
    required: Quantities,
    /// The sum over its child roles.
    required_below: Quantities,
}

impl Books {
    /// Whether the role is to be remembered though nobody is in it.
    pub(super) fn is_pinned(&self) -> bool {
        self.account.is_some() || !self.reserved.is_zero()
    }

    /// Somebody was given so much, or gave it back.
    pub(super) fn change(&mut self, amounts: &Quantities, change: Change) {
        match change {
            Change::Given | Change::Used => self.charged.add(amounts),
            Change::GivenBack => self.charged.subtract(amounts),
        }
        let Some(account) = &self.account else { return };
        match change {
            Change::Given => {}
            Change::Used => account.charge(amounts),
            Change::GivenBack => account.discharge(amounts),
        }
    }

    /// On this worker's agents.
    pub(super) fn consumed_here(&self) -> Quantities {
        let mut consumed = self.charged.clone();
        consumed.add(&self.reserved);
        consumed
    }

    /// What must hold between events: that is what is counted for the quota, if there is one.
    pub(super) fn invariant_used(&self, consumed: &Quantities) {
        self.account.iter().for_each(|account| account.invariant_used(consumed));
    }

    /// By all workers; of what a quota speaks of.
    fn consumed(&self, scalar: Scalar<'_>) -> Quantity {
        self.account.as_ref().map_or(Quantity::ZERO, |account| account.amount(scalar))
    }

    /// How much more of it the role may have.
    fn room(&self, scalar: Scalar<'_>) -> Quantity {
        self.account.as_ref().map_or(UNLIMITED, |account| account.room(scalar))
    }

    /// What is missing of what the role is guaranteed.
    fn lacking(&self) -> Quantities {
        let mut lacking = Quantities::default();
        if let Some(account) = &self.account {
            self.guarantees.each(|scalar, amount| {
                lacking.add_scalar(scalar, amount.saturating_sub(account.amount(scalar)));
            });
        }
        lacking
    }
}

/// What becomes of resources.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// Given to somebody, and counted in the accounts before.
    Given,
    /// Somebody has them, as an agent says.
    Used,
    GivenBack,
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

    /// Gives the role another quota, with an account that is shared with the other workers; a default one is none.
    pub(super) fn set_quota(&mut self, role: &Role, quota: &Quota, account: Arc<Account>) {
        let node = self.node(role);
        let books = &mut self.node_mut(node).books;
        let (had, has) = (books.account.is_some(), !quota.is_default());
        books.guarantees = quantities(&quota.guarantees);
        account.join(&books.consumed_here());
        books.account = has.then_some(account);
        self.quota_count = self.quota_count + usize::from(has) - usize::from(had);
        self.restate(node);
        self.drop_if_bare(node);
    }

    /// An agent came or went on which that much is reserved for the role.
    pub(super) fn change_reserved(&mut self, role: &Role, amounts: &Quantities, is_come: bool) {
        let node = self.node(role);
        let mut at = Some(node);
        while let Some(here) = at {
            let books = &mut self.node_mut(here).books;
            if is_come {
                books.reserved.add(amounts);
                books.account.iter().for_each(|account| account.charge(amounts));
            } else {
                books.reserved.subtract(amounts);
                books.account.iter().for_each(|account| account.discharge(amounts));
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
            if books.guarantees.is_zero() && books.required == books.required_below {
                // As with most roles; one above may have a guarantee of its own.
                at = parent;
                continue;
            }
            let lacking = books.lacking();
            let required = books.required_below.combine(&lacking, Quantity::max);
            if required != books.required {
                let before = std::mem::replace(&mut books.required, required.clone());
                let below = &mut self.node_mut(parent).books.required_below;
                below.subtract(&before);
                below.add(&required);
            }
            at = parent;
        }
    }

    /// To be done before the first quota is set, with what everybody has: nothing was counted without one.
    pub(super) fn count_charged<'a>(&mut self, held: impl Iterator<Item = (NodeId, &'a Parcel)>) {
        let all: Vec<_> = self.roles().map(|(_, node)| node).chain([ROOT]).collect();
        all.into_iter().for_each(|node| self.node_mut(node).books.charged = Quantities::default());
        for (node, parcel) in held {
            let (amounts, mut at) = (parcel.quotable(), Some(node));
            while let Some(here) = at {
                self.node_mut(here).books.charged.add(&amounts);
                at = self.parent(here);
            }
        }
    }

    /// Likewise for every role, since other workers have given or got something back.
    pub(super) fn restate_all(&mut self) {
        let guaranteed = self.roles().filter(|(_, node)| !self.node_ref(*node).books.guarantees.is_zero());
        guaranteed.map(|(_, node)| node).collect::<Vec<_>>().into_iter().for_each(|node| self.restate(node));
    }

    /// Counts so much as given to the role, by its quota and that of every role above, if all have room for it; else
    /// nothing. [`Self::charge`] must follow.
    pub(super) fn try_charge(&self, node: NodeId, amounts: &Quantities) -> bool {
        let mut at = Some(node);
        while let Some(here) = at {
            if self.node_ref(here).books.account.as_ref().is_some_and(|account| !account.try_charge(amounts))
            {
                if !is_seeded(Seed::NoRollback) {
                    self.undo_charge(node, here, amounts);
                }
                return false;
            }
            at = self.parent(here);
        }
        true
    }

    /// Takes back what was counted from the role up to below `end`.
    fn undo_charge(&self, node: NodeId, end: NodeId, amounts: &Quantities) {
        let mut at = node;
        while at != end {
            self.node_ref(at).books.account.iter().for_each(|account| account.discharge(amounts));
            at = self.parent(at).expect("the end is above");
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
        let is_alone = !self.is_shared;
        let mut top = Quantities::default();
        for (role, node) in self.roles() {
            let books = &self.node_ref(node).books;
            if self.has_quota() {
                assert_eq!(books.charged, charged(role), "{role}");
            }
            assert_eq!(books.reserved, reserved(role), "{role}");
            let mut below = Quantities::default();
            for (_, child) in self.roles().filter(|(_, child)| self.parent(*child) == Some(node)) {
                below.add(&self.node_ref(child).books.required);
            }
            assert_eq!(books.required_below, below, "{role}");
            if is_alone {
                books.invariant_used(&books.consumed_here());
                assert_eq!(books.required, below.combine(&books.lacking(), Quantity::max), "{role}");
            }
            if self.parent(node) == Some(ROOT) {
                top.add(&books.required);
            }
        }
        assert_eq!(self.node_ref(ROOT).books.required_below, top);
        let quotas = self.roles().filter(|(_, node)| self.node_ref(*node).books.account.is_some()).count();
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
