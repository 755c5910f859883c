//! The roles as a tree, and the queues in it: the children of a role by rank, the claimants of a role by rank.
//!
//! A role that has both claimants and child roles lets its own claimants stand among its children as one (Mesos does
//! the same with a virtual leaf). Only who is eager, or has somebody eager below, is in a queue; so a search meets
//! nobody in vain. A charge moves one entry a level: O(depth log n).
//!
//! **Stale shares.** Ranks are shares of the totals of when they were made. They are made anew, all of them, when some
//! total has moved by more than a part in [`DRIFT_PARTS`]: a cluster that grows by one agent does not sort every role again.
//! What other workers have given counts as they last told it (`mates.rs`).

use super::bits::Bits;
use super::claimant::{Claimant, ClaimantId, Claimants, Holding};
use super::key::FrameworkKey;
use super::options::Options;
use super::order::Order;
use super::parcel::{Parcel, Stock};
use super::policy::{Candidate, Policy, Rank};
use super::quantities::Quantities;
use super::quota::{Books, Change};
use model::quantity::Quantity;
use model::resources::Resources;
use model::role::Role;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Totals may move by one part in so many before ranks are made anew.
pub(super) const DRIFT_PARTS: u64 = 32;

/// An index into the tree's nodes; used again when its role is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct NodeId(pub(super) u32);

pub(super) const ROOT: NodeId = NodeId(0);
pub(super) const ONE: Quantity = Quantity::from_units(1);

#[derive(Debug, Default)]
pub(super) struct Standing {
    pub(super) allocated: Quantities,
    pub(super) count: u64,
    /// Eager claimants counted here.
    pub(super) eager_count: u32,
    /// Its rank in the queue it stands in, if it stands in one, and its seat there.
    pub(super) rank: Option<Rank>,
    pub(super) seat: u32,
}

#[derive(Debug)]
pub(super) struct Node {
    pub(super) role: Role,
    pub(super) parent: Option<NodeId>,
    pub(super) weight: Quantity,
    /// Of everything at and below this node; stands in the parent's `children`.
    pub(super) whole: Standing,
    /// Of the node's own claimants; stands in this node's `children` when there are child roles. Where there never were
    /// any it is the same as `whole`, and only `eager_count` is kept.
    pub(super) own: Standing,
    pub(super) has_own_sums: bool,
    pub(super) child_count: u32,
    /// Claimants, eager or not.
    pub(super) claimant_count: u32,
    /// Claimants at and below.
    pub(super) population: u32,
    pub(super) books: Books,
    /// The node's own claimants as one (`None`), and its child roles.
    pub(super) children: Order<Option<Role>>,
    /// By when their frameworks came.
    pub(super) claimants: Order<u64>,
    pub(super) depth: u32,
    /// What agents of some makes have, as it is shown to this role; the latest first.
    pub(super) forms: Vec<(Stock, Resources)>,
}

/// Makes of agents for which a role remembers how they are shown to it.
const FORMS_MAX: usize = 4;

/// Roles, claimants, and their order.
#[derive(Debug)]
pub(super) struct RoleTree {
    pub(super) nodes: Vec<Node>,
    pub(super) free: Vec<NodeId>,
    pub(super) by_role: BTreeMap<Role, NodeId>,
    pub(super) weights: BTreeMap<Role, Quantity>,
    pub(super) claimants: Claimants,
    /// Of all agents, exact.
    pub(super) totals: Quantities,
    /// The totals that ranks are shares of.
    pub(super) ranked_by: Quantities,
    /// Roles that have a quota.
    pub(super) quota_count: usize,
    /// Whether there are other workers.
    pub(super) is_shared: bool,
    /// Claimants of which they have to be told; none are noted while there are none.
    pub(super) changed: Bits,
    pub(super) policies: Policies,
}

#[derive(Debug)]
pub(super) struct Policies {
    pub(super) role: Box<dyn Policy>,
    pub(super) framework: Box<dyn Policy>,
    /// Whether ranks follow from the candidate alone. Then who is alone in a queue is not ranked until somebody joins.
    pub(super) is_role_plain: bool,
    pub(super) is_framework_plain: bool,
}

impl Policies {
    fn new(options: &Options) -> Self {
        let (role, framework) = (options.role_policy.policy(), options.framework_policy.policy());
        let nobody = Standing::default();
        let is_plain =
            |policy: &dyn Policy| policy.again(&nobody.candidate(&nobody.allocated, ONE)).is_some();
        let (is_role_plain, is_framework_plain) = (is_plain(&*role), is_plain(&*framework));
        Self { role, framework, is_role_plain, is_framework_plain }
    }
}

impl Default for RoleTree {
    fn default() -> Self {
        Self::new(&Options::default())
    }
}

impl RoleTree {
    pub(super) fn new(options: &Options) -> Self {
        Self {
            nodes: vec![Node::new(Role::star(), None)],
            free: Vec::new(),
            by_role: BTreeMap::new(),
            weights: BTreeMap::new(),
            claimants: Claimants::default(),
            totals: Quantities::default(),
            ranked_by: Quantities::default(),
            quota_count: 0,
            is_shared: false,
            changed: Bits::default(),
            policies: Policies::new(options),
        }
    }
}

impl Node {
    fn new(role: Role, parent: Option<NodeId>) -> Self {
        Self {
            role,
            parent,
            weight: ONE,
            whole: Standing::default(),
            own: Standing::default(),
            has_own_sums: false,
            child_count: 0,
            claimant_count: 0,
            population: 0,
            books: Books::default(),
            children: Order::default(),
            claimants: Order::default(),
            depth: 0,
            forms: Vec::new(),
        }
    }

    /// As its own claimants stand among its children.
    fn own_entry(&self, id: NodeId) -> (Option<Rank>, Option<&Role>, NodeId) {
        (self.own.rank, None, id)
    }

    /// As it stands among its siblings.
    fn whole_entry(&self, id: NodeId) -> (Option<Rank>, Option<&Role>, NodeId) {
        (self.whole.rank, Some(&self.role), id)
    }
}

impl RoleTree {
    pub(super) fn node_ref(&self, node: NodeId) -> &Node {
        &self.nodes[node.0 as usize]
    }

    pub(super) fn node_mut(&mut self, node: NodeId) -> &mut Node {
        &mut self.nodes[node.0 as usize]
    }

    /// `None` for the root.
    pub(super) fn parent(&self, node: NodeId) -> Option<NodeId> {
        self.nodes[node.0 as usize].parent
    }

    pub(super) fn roles(&self) -> impl Iterator<Item = (&Role, NodeId)> {
        self.by_role.iter().map(|(role, node)| (role, *node))
    }

    pub(super) fn role(&self, node: NodeId) -> &Role {
        &self.nodes[node.0 as usize].role
    }

    /// The parcel as it was shown to that role before, if that is remembered.
    pub(super) fn form(&self, node: NodeId, parcel: &Stock) -> Option<Resources> {
        let forms = &self.nodes[node.0 as usize].forms;
        forms.iter().find(|(known, _)| Arc::ptr_eq(known, parcel)).map(|(_, form)| form.clone())
    }

    /// Remembers how a parcel is shown to that role.
    pub(super) fn keep_form(&mut self, node: NodeId, parcel: Stock, form: Resources) {
        let forms = &mut self.nodes[node.0 as usize].forms;
        forms.truncate(FORMS_MAX - 1);
        forms.insert(0, (parcel, form));
    }

    /// Which of two eager claimants is met first when all are asked.
    pub(super) fn cmp_in_order(&self, a: ClaimantId, b: ClaimantId) -> Ordering {
        let node = |id: NodeId| &self.nodes[id.0 as usize];
        let (of_a, of_b) = (&self.claimants[a], &self.claimants[b]);
        if of_a.role == of_b.role {
            return (of_a.rank, of_a.sequence, a).cmp(&(of_b.rank, of_b.sequence, b));
        }
        // Up to the node below which both are, with the entries under which they stand there.
        let (mut x, mut y) = (of_a.role, of_b.role);
        let (mut x_entry, mut y_entry) = (node(x).own_entry(x), node(y).own_entry(y));
        while x != y {
            let (x_depth, y_depth) = (node(x).depth, node(y).depth);
            if x_depth >= y_depth {
                x_entry = node(x).whole_entry(x);
                x = node(x).parent.expect("the root is above everything");
            }
            if y_depth >= x_depth {
                y_entry = node(y).whole_entry(y);
                y = node(y).parent.expect("the root is above everything");
            }
        }
        x_entry.cmp(&y_entry)
    }

    /// A claimant for that framework in that role, with no claim yet.
    pub(super) fn add_claimant(&mut self, framework: FrameworkKey, role: &Role, sequence: u64) -> ClaimantId {
        let node = self.node(role);
        self.nodes[node.0 as usize].claimant_count += 1;
        self.each_above(node, |above| above.population += 1);
        self.claimants.add(framework, node, sequence)
    }

    /// Shows a node and those above it.
    fn each_above(&mut self, node: NodeId, mut show: impl FnMut(&mut Node)) {
        let mut at = Some(node);
        while let Some(here) = at {
            let node = &mut self.nodes[here.0 as usize];
            show(node);
            at = node.parent;
        }
    }

    /// Forgets a claimant that is idle, and its role with it when nobody is left there.
    pub(super) fn remove_claimant(&mut self, id: ClaimantId) {
        let role = self.claimants[id].role;
        self.claimants.remove(id);
        self.nodes[role.0 as usize].claimant_count -= 1;
        self.each_above(role, |above| {
            above.population -= 1;
            if above.population == 0 {
                (above.own.count, above.whole.count) = (0, 0);
            }
        });
        self.drop_if_bare(role);
    }

    /// Forgets a role that nobody is in and nothing is known of, and those above it that are left so.
    pub(super) fn drop_if_bare(&mut self, role: NodeId) {
        let mut at = role;
        while at != ROOT {
            let node = &mut self.nodes[at.0 as usize];
            if node.claimant_count > 0 || node.child_count > 0 || node.books.is_pinned() {
                break;
            }
            assert!(node.whole.allocated.is_zero() && node.whole.rank.is_none());
            let parent = node.parent.expect("only the root has no parent");
            let role = std::mem::take(&mut node.role);
            self.by_role.remove(&role);
            self.free.push(at);
            self.nodes[parent.0 as usize].child_count -= 1;
            self.seat_own(parent, false);
            at = parent;
        }
    }

    /// Puts a claimant into its queue or takes it out.
    pub(super) fn set_eager(&mut self, id: ClaimantId, is_eager: bool) {
        if self.claimants[id].is_eager() == is_eager {
            return;
        }
        let step = |count: u32| if is_eager { count + 1 } else { count - 1 };
        let node = self.claimants[id].role;
        self.seat_claimant(id, is_eager, false);
        let own = &mut self.nodes[node.0 as usize].own;
        own.eager_count = step(own.eager_count);
        self.seat_own(node, false);
        let mut at = Some(node);
        while let Some(node) = at {
            let whole = &mut self.nodes[node.0 as usize].whole;
            whole.eager_count = step(whole.eager_count);
            self.seat_whole(node, false);
            at = self.nodes[node.0 as usize].parent;
        }
    }

    /// The claimant was given that much, and its role's quota knows ([`Self::try_charge`]).
    pub(super) fn charge(&mut self, id: ClaimantId, parcel: &Parcel) {
        self.change(id, parcel, Change::Given);
    }

    /// The claimant has that much, whatever quota says.
    pub(super) fn charge_used(&mut self, id: ClaimantId, parcel: &Parcel) {
        self.change(id, parcel, Change::Used);
    }

    /// The claimant gave that much back.
    pub(super) fn discharge(&mut self, id: ClaimantId, parcel: &Parcel) {
        self.change(id, parcel, Change::GivenBack);
    }

    fn change(&mut self, id: ClaimantId, parcel: &Parcel, change: Change) {
        let all = parcel.quantities();
        let is_charge = change != Change::GivenBack;
        let served = (u64::from(is_charge), is_charge);
        let apply = |sum: &mut Quantities| if is_charge { sum.add(&all) } else { sum.subtract(&all) };
        if self.has_quota() {
            let quotable = parcel.quotable();
            self.shift(id, served, apply, |books| books.change(&quotable, change));
            self.restate(self.claimants[id].role);
        } else {
            self.shift(id, served, apply, |_| ());
        }
        if self.is_shared {
            self.changed.add(id.0);
        }
    }

    /// Another worker says that the claimant has so much of it, where it had `before`.
    pub(super) fn change_elsewhere(&mut self, id: ClaimantId, before: &Holding, now: &Holding) {
        let apply = |sum: &mut Quantities| {
            sum.add(&now.allocated);
            sum.subtract(&before.allocated);
        };
        self.shift(id, (now.count.saturating_sub(before.count), false), apply, |_| ());
    }

    /// Changes what is allocated to the claimant and to all above it, and ranks them anew; `served`: how many
    /// allocations that is, and whether they are made now.
    fn shift(
        &mut self,
        id: ClaimantId,
        (count, is_served): (u64, bool),
        apply: impl Fn(&mut Quantities),
        book: impl Fn(&mut Books),
    ) {
        let claimant = &mut self.claimants[id];
        apply(&mut claimant.allocated);
        claimant.count += count;
        let (node, is_eager) = (claimant.role, claimant.is_eager());
        self.seat_claimant(id, is_eager, is_served);
        let here = &mut self.nodes[node.0 as usize];
        if here.has_own_sums {
            apply(&mut here.own.allocated);
            here.own.count += count;
            self.seat_own(node, is_served);
        }
        let mut at = Some(node);
        while let Some(node) = at {
            let here = &mut self.nodes[node.0 as usize];
            apply(&mut here.whole.allocated);
            book(&mut here.books);
            here.whole.count += count;
            at = here.parent;
            self.seat_whole(node, is_served);
        }
    }

    pub(super) fn set_weight(&mut self, role: &Role, weight: Quantity) {
        self.weights.insert(role.clone(), weight);
        if let Some(&node) = self.by_role.get(role) {
            self.nodes[node.0 as usize].weight = weight;
            self.seat_whole(node, false);
        }
    }

    /// Of all agents, as far as is known here.
    pub(super) fn totals(&self) -> &Quantities {
        &self.totals
    }

    /// Agents came, went, or have more or less than before.
    pub(super) fn change_total(&mut self, gone: &Quantities, come: &Quantities) {
        self.totals.subtract(gone);
        self.totals.add(come);
        if has_drifted(&self.totals, &self.ranked_by) {
            self.ranked_by = self.totals.clone();
            self.rank_all();
        }
    }

    /// The first claimant in order for which `accept` has an answer. Roles for which `may_enter` is false are passed
    /// over with all below them.
    pub(super) fn first<T>(
        &self,
        may_enter: &impl Fn(&Role) -> bool,
        accept: &mut impl FnMut(ClaimantId) -> Option<T>,
    ) -> Option<(ClaimantId, T)> {
        self.first_below(ROOT, may_enter, accept)
    }

    /// Recurses once a level of the role's name.
    fn first_below<T>(
        &self,
        node: NodeId,
        may_enter: &impl Fn(&Role) -> bool,
        accept: &mut impl FnMut(ClaimantId) -> Option<T>,
    ) -> Option<(ClaimantId, T)> {
        let here = &self.nodes[node.0 as usize];
        if here.child_count == 0 {
            return first_accepted(&here.claimants, accept);
        }
        let mut enter = |(role, child): (&Option<Role>, u32)| match role {
            None => first_accepted(&here.claimants, accept),
            Some(role) if may_enter(role) => self.first_below(NodeId(child), may_enter, accept),
            Some(_) => None,
        };
        let first = here.children.first()?;
        enter(first).or_else(|| here.children.iter().skip(1).find_map(enter))
    }

    /// The role's node; a new one if need be.
    pub(super) fn node(&mut self, role: &Role) -> NodeId {
        if let Some(&node) = self.by_role.get(role) {
            return node;
        }
        let parent = role.parent().map_or(ROOT, |parent| self.node(&parent));
        let mut node = Node::new(role.clone(), Some(parent));
        node.depth = self.nodes[parent.0 as usize].depth + 1;
        node.weight = self.weights.get(role).copied().unwrap_or(ONE);
        let id = match self.free.pop() {
            Some(id) => {
                self.nodes[id.0 as usize] = node;
                id
            }
            None => {
                self.nodes.push(node);
                NodeId(u32::try_from(self.nodes.len() - 1).expect("fewer than 2^32 roles"))
            }
        };
        self.by_role.insert(role.clone(), id);
        let above = &mut self.nodes[parent.0 as usize];
        above.child_count += 1;
        if !std::mem::replace(&mut above.has_own_sums, true) {
            above.own.allocated = above.whole.allocated.clone();
            above.own.count = above.whole.count;
        }
        self.seat_own(parent, false);
        id
    }
}

impl Standing {
    pub(super) fn candidate<'a>(&'a self, totals: &'a Quantities, weight: Quantity) -> Candidate<'a> {
        Candidate { allocated: &self.allocated, totals, weight, count: self.count, sequence: 0 }
    }
}

impl Claimant {
    pub(super) fn candidate<'a>(&'a self, totals: &'a Quantities) -> Candidate<'a> {
        Candidate {
            allocated: &self.allocated,
            totals,
            weight: ONE,
            count: self.count,
            sequence: self.sequence,
        }
    }
}

pub(super) fn has_drifted(now: &Quantities, then: &Quantities) -> bool {
    let mut has_drifted = false;
    now.each_beside(then, |now, then| {
        let moved = now.milli().abs_diff(then.milli());
        has_drifted |= moved.saturating_mul(DRIFT_PARTS) > then.milli();
    });
    has_drifted
}

/// The first of the queue who is accepted.
fn first_accepted<T>(
    queue: &Order<u64>,
    accept: &mut impl FnMut(ClaimantId) -> Option<T>,
) -> Option<(ClaimantId, T)> {
    let mut accept = |(_, id)| accept(ClaimantId(id)).map(|answer| (ClaimantId(id), answer));
    let first = queue.first()?;
    accept(first).or_else(|| queue.iter().skip(1).find_map(accept))
}
