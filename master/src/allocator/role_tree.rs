//! The roles as a tree, and the queues in it: the children of a role by rank, the claimants of a role by rank.
//!
//! A role that has both claimants and child roles lets its own claimants stand among its children as one (Mesos does
//! the same with a virtual leaf). Only who is eager, or has somebody eager below, is in a queue; so a search meets
//! nobody in vain. A charge moves one entry a level: O(depth log n).
//!
//! **Stale shares.** Ranks are shares of the totals of when they were made. They are made anew, all of them, when some
//! total has moved by more than a part in [`DRIFT_PARTS`]: a cluster that grows by one agent does not sort every role again.

use super::claimant::{ClaimantId, Claimants};
use super::key::FrameworkKey;
use super::parcel::Stock;
use super::policy::drf::{self, Rank};
use super::quantities::Quantities;
use model::quantity::Quantity;
use model::resources::Resources;
use model::role::Role;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Totals may move by one part in so many before ranks are made anew.
pub(super) const DRIFT_PARTS: u64 = 32;

/// An index into the tree's nodes; used again when its role is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct NodeId(u32);

const ROOT: NodeId = NodeId(0);
const ONE: Quantity = Quantity::from_units(1);

/// Somebody in the queue of a node's children: the node's own claimants as one (`None`), or a child role.
type ChildEntry = (Rank, Option<Role>, NodeId);
type ClaimantEntry = (Rank, u64, ClaimantId);

#[derive(Debug, Default)]
struct Standing {
    allocated: Quantities,
    count: u64,
    /// Eager claimants counted here.
    eager_count: u32,
    /// Its place in the queue it stands in, if it stands in one.
    rank: Option<Rank>,
}

#[derive(Debug)]
struct Node {
    role: Role,
    parent: Option<NodeId>,
    weight: Quantity,
    /// Of everything at and below this node; stands in the parent's `children`.
    whole: Standing,
    /// Of the node's own claimants; stands in this node's `children` when there are child roles.
    own: Standing,
    child_count: u32,
    /// Claimants, eager or not.
    claimant_count: u32,
    children: BTreeSet<ChildEntry>,
    claimants: BTreeSet<ClaimantEntry>,
    depth: u32,
    /// What agents of some makes have, as it is shown to this role; the latest first.
    forms: Vec<(Stock, Resources)>,
}

/// Makes of agents for which a role remembers how they are shown to it.
const FORMS_MAX: usize = 4;

/// Roles, claimants, and their order.
#[derive(Debug)]
pub(super) struct RoleTree {
    nodes: Vec<Node>,
    free: Vec<NodeId>,
    by_role: BTreeMap<Role, NodeId>,
    weights: BTreeMap<Role, Quantity>,
    pub(super) claimants: Claimants,
    /// Of all agents, exact.
    totals: Quantities,
    /// The totals that ranks are shares of.
    ranked_by: Quantities,
}

impl Default for RoleTree {
    fn default() -> Self {
        Self {
            nodes: vec![Node::new(Role::star(), None)],
            free: Vec::new(),
            by_role: BTreeMap::new(),
            weights: BTreeMap::new(),
            claimants: Claimants::default(),
            totals: Quantities::default(),
            ranked_by: Quantities::default(),
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
            child_count: 0,
            claimant_count: 0,
            children: BTreeSet::new(),
            claimants: BTreeSet::new(),
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
        self.claimants.add(framework, node, sequence)
    }

    /// Forgets a claimant that is idle, and its role with it when nobody is left there.
    pub(super) fn remove_claimant(&mut self, id: ClaimantId) {
        let mut at = self.claimants[id].role;
        self.claimants.remove(id);
        self.nodes[at.0 as usize].claimant_count -= 1;
        while at != ROOT {
            let node = &mut self.nodes[at.0 as usize];
            if node.claimant_count > 0 || node.child_count > 0 {
                break;
            }
            assert!(node.whole.allocated.is_zero() && node.whole.rank.is_none());
            let parent = node.parent.expect("only the root has no parent");
            let role = std::mem::take(&mut node.role);
            self.by_role.remove(&role);
            self.free.push(at);
            self.nodes[parent.0 as usize].child_count -= 1;
            self.seat_own(parent);
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
        self.seat_claimant(id, is_eager);
        let own = &mut self.nodes[node.0 as usize].own;
        own.eager_count = step(own.eager_count);
        self.seat_own(node);
        let mut at = Some(node);
        while let Some(node) = at {
            let whole = &mut self.nodes[node.0 as usize].whole;
            whole.eager_count = step(whole.eager_count);
            self.seat_whole(node);
            at = self.nodes[node.0 as usize].parent;
        }
    }

    /// The claimant was given that much.
    pub(super) fn charge(&mut self, id: ClaimantId, amounts: &Quantities) {
        self.change(id, |allocated, count| {
            allocated.add(amounts);
            *count += 1;
        });
    }

    /// The claimant gave that much back.
    pub(super) fn discharge(&mut self, id: ClaimantId, amounts: &Quantities) {
        self.change(id, |allocated, _| allocated.subtract(amounts));
    }

    fn change(&mut self, id: ClaimantId, mut apply: impl FnMut(&mut Quantities, &mut u64)) {
        let claimant = &mut self.claimants[id];
        apply(&mut claimant.allocated, &mut claimant.count);
        let (node, is_eager) = (claimant.role, claimant.is_eager());
        self.seat_claimant(id, is_eager);
        let own = &mut self.nodes[node.0 as usize].own;
        apply(&mut own.allocated, &mut own.count);
        self.seat_own(node);
        let mut at = Some(node);
        while let Some(node) = at {
            let whole = &mut self.nodes[node.0 as usize].whole;
            apply(&mut whole.allocated, &mut whole.count);
            self.seat_whole(node);
            at = self.nodes[node.0 as usize].parent;
        }
    }

    pub(super) fn set_weight(&mut self, role: &Role, weight: Quantity) {
        self.weights.insert(role.clone(), weight);
        if let Some(&node) = self.by_role.get(role) {
            self.nodes[node.0 as usize].weight = weight;
            self.seat_whole(node);
        }
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
        let own = |accept: &mut _| first_accepted(&here.claimants, accept);
        if here.child_count == 0 {
            return own(accept);
        }
        here.children.iter().find_map(|(_, role, child)| match role {
            None => own(accept),
            Some(role) if may_enter(role) => self.first_below(*child, may_enter, accept),
            Some(_) => None,
        })
    }

    fn node(&mut self, role: &Role) -> NodeId {
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
        self.nodes[parent.0 as usize].child_count += 1;
        self.seat_own(parent);
        id
    }

    /// Queues are built anew as a whole: that sorts what is nearly sorted, and moves nobody one by one.
    fn rank_all(&mut self) {
        let totals = &self.ranked_by;
        for node in &mut self.nodes {
            let queue = std::mem::take(&mut node.claimants).into_iter();
            let ranked = queue.map(|(_, sequence, id)| {
                let claimant = &mut self.claimants[id];
                let rank = drf::rank(&claimant.allocated, claimant.count, totals, ONE);
                claimant.rank = Some(rank);
                (rank, sequence, id)
            });
            node.claimants = ranked.collect();
            for (standing, weight) in [(&mut node.own, ONE), (&mut node.whole, node.weight)] {
                let is_in = standing.rank.is_some();
                standing.rank = is_in.then(|| drf::rank(&standing.allocated, standing.count, totals, weight));
            }
        }
        for index in 0..self.nodes.len() {
            let queue = std::mem::take(&mut self.nodes[index].children).into_iter();
            let ranked = queue.map(|(_, role, id)| {
                let child = &self.nodes[id.0 as usize];
                let rank = if role.is_some() { child.whole.rank } else { child.own.rank };
                (rank.expect("who is in a queue has a rank"), role, id)
            });
            self.nodes[index].children = ranked.collect();
        }
    }

    /// Moves a claimant to where its allocation puts it in its role's queue, in or out.
    fn seat_claimant(&mut self, id: ClaimantId, is_in: bool) {
        let claimant = &mut self.claimants[id];
        let rank = is_in.then(|| drf::rank(&claimant.allocated, claimant.count, &self.ranked_by, ONE));
        let was = std::mem::replace(&mut claimant.rank, rank);
        let queue = &mut self.nodes[claimant.role.0 as usize].claimants;
        reseat(queue, was, rank, |rank| (rank, claimant.sequence, id));
    }

    /// Likewise a node's own claimants among its children; they are there only when there are child roles.
    fn seat_own(&mut self, id: NodeId) {
        let node = &mut self.nodes[id.0 as usize];
        let is_in = node.child_count > 0 && node.own.eager_count > 0;
        let rank = is_in.then(|| drf::rank(&node.own.allocated, node.own.count, &self.ranked_by, ONE));
        let was = std::mem::replace(&mut node.own.rank, rank);
        reseat(&mut node.children, was, rank, |rank| (rank, None, id));
    }

    /// Likewise a node among its siblings.
    fn seat_whole(&mut self, id: NodeId) {
        let node = &mut self.nodes[id.0 as usize];
        let Some(parent) = node.parent else { return };
        let is_in = node.whole.eager_count > 0;
        let rank =
            is_in.then(|| drf::rank(&node.whole.allocated, node.whole.count, &self.ranked_by, node.weight));
        let was = std::mem::replace(&mut node.whole.rank, rank);
        let role = node.role.clone();
        let queue = &mut self.nodes[parent.0 as usize].children;
        reseat(queue, was, rank, |rank| (rank, Some(role.clone()), id));
    }
}

/// What must hold between events; slow, for tests and the simulator.
impl RoleTree {
    /// Totals are exact, and ranks not staler than is allowed.
    pub(super) fn invariant_totals(&self, sum: &Quantities) {
        assert_eq!(self.totals, *sum, "the totals are those of the agents");
        assert!(!has_drifted(&self.totals, &self.ranked_by), "ranks are of totals close to the true ones");
    }

    /// A role's charge is the sum of those below it; everybody eager stands in every queue on the way to the root, and
    /// nobody else does, under the rank that the charge gives.
    pub(super) fn invariant_charges(&self) {
        let live = self.claimants.live().filter(|(_, claimant)| claimant.is_eager()).count();
        let (_, eager_count) = self.invariant_below(ROOT);
        assert_eq!(eager_count as usize, live);
    }

    fn invariant_below(&self, id: NodeId) -> (Quantities, u32) {
        let node = &self.nodes[id.0 as usize];
        let (mut sum, mut eager_count) = self.invariant_own(id);
        let mut in_queue = usize::from(node.own.rank.is_some());
        let mut child_count = 0;
        for (role, &child) in &self.by_role {
            let below = &self.nodes[child.0 as usize];
            if below.parent != Some(id) {
                continue;
            }
            assert_eq!(below.role, *role);
            child_count += 1;
            let (allocated, eager) = self.invariant_below(child);
            assert_eq!(below.whole.rank.is_some(), eager > 0);
            if let Some(rank) = below.whole.rank {
                in_queue += 1;
                let due = drf::rank(&allocated, below.whole.count, &self.ranked_by, below.weight);
                assert_eq!(rank, due);
                assert!(node.children.contains(&(rank, Some(role.clone()), child)));
            }
            sum.add(&allocated);
            eager_count += eager;
        }
        assert_eq!((node.child_count, node.children.len()), (child_count, in_queue));
        assert_eq!((&node.whole.allocated, node.whole.eager_count), (&sum, eager_count));
        (sum, eager_count)
    }

    fn invariant_own(&self, id: NodeId) -> (Quantities, u32) {
        let node = &self.nodes[id.0 as usize];
        let (mut sum, mut eager_count, mut count) = (Quantities::default(), 0, 0);
        for (claimant_id, claimant) in self.claimants.live().filter(|(_, claimant)| claimant.role == id) {
            count += 1;
            sum.add(&claimant.allocated);
            if let Some(rank) = claimant.rank {
                eager_count += 1;
                assert_eq!(rank, drf::rank(&claimant.allocated, claimant.count, &self.ranked_by, ONE));
                assert!(node.claimants.contains(&(rank, claimant.sequence, claimant_id)));
            }
        }
        assert_eq!((node.claimant_count, node.claimants.len()), (count, eager_count as usize));
        assert_eq!((&node.own.allocated, node.own.eager_count), (&sum, eager_count));
        let is_in_queue = node.child_count > 0 && eager_count > 0;
        assert_eq!(node.own.rank.is_some(), is_in_queue);
        if let Some(rank) = node.own.rank {
            assert_eq!(rank, drf::rank(&sum, node.own.count, &self.ranked_by, ONE));
            assert!(node.children.contains(&(rank, None, id)));
        }
        (sum, eager_count)
    }
}

fn has_drifted(now: &Quantities, then: &Quantities) -> bool {
    let mut has_drifted = false;
    now.each_beside(then, |now, then| {
        let moved = now.milli().abs_diff(then.milli());
        has_drifted |= moved.saturating_mul(DRIFT_PARTS) > then.milli();
    });
    has_drifted
}

/// The first entry of the queue whose claimant is accepted.
fn first_accepted<T>(
    queue: &BTreeSet<ClaimantEntry>,
    accept: &mut impl FnMut(ClaimantId) -> Option<T>,
) -> Option<(ClaimantId, T)> {
    queue.iter().find_map(|&(_, _, id)| accept(id).map(|answer| (id, answer)))
}

/// Moves an entry from one rank to another; `None` is outside the queue.
fn reseat<E: Ord>(queue: &mut BTreeSet<E>, was: Option<Rank>, now: Option<Rank>, entry: impl Fn(Rank) -> E) {
    if was == now {
        return;
    }
    if let Some(was) = was {
        let was_there = queue.remove(&entry(was));
        assert!(was_there, "who has a rank stands in the queue at that rank");
    }
    if let Some(now) = now {
        queue.insert(entry(now));
    }
}
