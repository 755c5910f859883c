//! The roles as a tree, and the queues in it: the children of a role by rank, the claimants of a role by rank.
//!
//! A role that has both claimants and child roles lets its own claimants stand among its children as one (Mesos does
//! the same with a virtual leaf). Only who is eager, or has somebody eager below, is in a queue; so a search meets
//! nobody in vain. A charge moves one entry a level: O(depth log n).
//!
//! **Stale shares.** Ranks are shares of the totals of when they were made. They are made anew, all of them, when some
//! total has moved by more than a part in [`DRIFT_PARTS`]: a cluster that grows by one agent does not sort every role again.

use super::claimant::{Claimant, ClaimantId, Claimants};
use super::key::FrameworkKey;
use super::options::Options;
use super::order::Order;
use super::parcel::{Parcel, Stock};
use super::policy::{Candidate, Policy, Rank, Why, assert_rank};
use super::quantities::Quantities;
use super::quota::Books;
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
pub(super) struct NodeId(u32);

pub(super) const ROOT: NodeId = NodeId(0);
const ONE: Quantity = Quantity::from_units(1);

#[derive(Debug, Default)]
struct Standing {
    allocated: Quantities,
    count: u64,
    /// Eager claimants counted here.
    eager_count: u32,
    /// Its rank in the queue it stands in, if it stands in one, and its seat there.
    rank: Option<Rank>,
    seat: u32,
}

#[derive(Debug)]
pub(super) struct Node {
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
    /// Claimants at and below.
    population: u32,
    pub(super) books: Books,
    /// The node's own claimants as one (`None`), and its child roles.
    children: Order<Option<Role>>,
    /// By when their frameworks came.
    claimants: Order<u64>,
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
    /// Roles that have a quota.
    pub(super) quota_count: usize,
    policies: Policies,
}

#[derive(Debug)]
struct Policies {
    role: Box<dyn Policy>,
    framework: Box<dyn Policy>,
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
            policies: Policies {
                role: options.role_policy.policy(),
                framework: options.framework_policy.policy(),
            },
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

    /// The claimant was given that much.
    pub(super) fn charge(&mut self, id: ClaimantId, parcel: &Parcel) {
        self.change(id, parcel, true);
    }

    /// The claimant gave that much back.
    pub(super) fn discharge(&mut self, id: ClaimantId, parcel: &Parcel) {
        self.change(id, parcel, false);
    }

    fn change(&mut self, id: ClaimantId, parcel: &Parcel, is_charge: bool) {
        let (all, quotable) = (parcel.quantities(), parcel.quotable());
        let apply = |sum: &mut Quantities, amounts: &Quantities| {
            if is_charge { sum.add(amounts) } else { sum.subtract(amounts) }
        };
        let count = u64::from(is_charge);
        let claimant = &mut self.claimants[id];
        apply(&mut claimant.allocated, &all);
        claimant.count += count;
        let (node, is_eager) = (claimant.role, claimant.is_eager());
        self.seat_claimant(id, is_eager, is_charge);
        let own = &mut self.nodes[node.0 as usize].own;
        apply(&mut own.allocated, &all);
        own.count += count;
        self.seat_own(node, is_charge);
        let mut at = Some(node);
        while let Some(node) = at {
            let here = &mut self.nodes[node.0 as usize];
            apply(&mut here.whole.allocated, &all);
            apply(&mut here.books.charged, &quotable);
            here.whole.count += count;
            at = here.parent;
            self.seat_whole(node, is_charge);
        }
        self.restate(node);
    }

    pub(super) fn set_weight(&mut self, role: &Role, weight: Quantity) {
        self.weights.insert(role.clone(), weight);
        if let Some(&node) = self.by_role.get(role) {
            self.nodes[node.0 as usize].weight = weight;
            self.seat_whole(node, false);
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
        if here.child_count == 0 {
            return first_accepted(&here.claimants, accept);
        }
        here.children.iter().find_map(|(role, child)| match role {
            None => first_accepted(&here.claimants, accept),
            Some(role) if may_enter(role) => self.first_below(NodeId(child), may_enter, accept),
            Some(_) => None,
        })
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
        self.nodes[parent.0 as usize].child_count += 1;
        self.seat_own(parent, false);
        id
    }

    /// Queues are built anew as a whole: that sorts what is nearly sorted, and moves nobody one by one.
    fn rank_all(&mut self) {
        let (totals, policies) = (&self.ranked_by, &mut self.policies);
        for index in 0..self.nodes.len() {
            let node = &mut self.nodes[index];
            let members: Vec<_> = node.claimants.values().collect();
            for id in members.into_iter().map(ClaimantId) {
                let claimant = &mut self.claimants[id];
                let was = claimant.rank.expect("who is in a queue has a rank");
                let rank = policies.framework.rank(&claimant.candidate(totals), Why::Changed(was));
                claimant.rank = Some(rank);
                node.claimants.set_rank(claimant.seat, rank);
            }
            node.claimants.replay_all();
            let parent = node.parent;
            for (standing, weight) in [(&mut node.own, ONE), (&mut node.whole, node.weight)] {
                if let Some(was) = standing.rank {
                    let why = Why::Changed(was);
                    standing.rank = Some(policies.role.rank(&standing.candidate(totals, weight), why));
                }
            }
            if let Some(rank) = node.own.rank {
                node.children.set_rank(node.own.seat, rank);
            }
            if let (Some(rank), Some(parent)) = (node.whole.rank, parent) {
                let seat = node.whole.seat;
                self.nodes[parent.0 as usize].children.set_rank(seat, rank);
            }
        }
        self.nodes.iter_mut().for_each(|node| node.children.replay_all());
    }

    /// Moves a claimant to where its allocation puts it in its role's queue, in or out.
    fn seat_claimant(&mut self, id: ClaimantId, is_in: bool, is_served: bool) {
        let claimant = &mut self.claimants[id];
        let why = why(claimant.rank, is_served);
        let policy = &mut self.policies.framework;
        let rank = is_in.then(|| policy.rank(&claimant.candidate(&self.ranked_by), why));
        let was = std::mem::replace(&mut claimant.rank, rank);
        let queue = &mut self.nodes[claimant.role.0 as usize].claimants;
        reseat(queue, (was, rank), &mut claimant.seat, || (claimant.sequence, id.0));
    }

    /// Likewise a node's own claimants among its children; they are there only when there are child roles.
    fn seat_own(&mut self, id: NodeId, is_served: bool) {
        let node = &mut self.nodes[id.0 as usize];
        let is_in = node.child_count > 0 && node.own.eager_count > 0;
        let why = why(node.own.rank, is_served);
        let policy = &mut self.policies.role;
        let rank = is_in.then(|| policy.rank(&node.own.candidate(&self.ranked_by, ONE), why));
        let was = std::mem::replace(&mut node.own.rank, rank);
        reseat(&mut node.children, (was, rank), &mut node.own.seat, || (None, id.0));
    }

    /// Likewise a node among its siblings.
    fn seat_whole(&mut self, id: NodeId, is_served: bool) {
        let node = &mut self.nodes[id.0 as usize];
        let Some(parent) = node.parent else { return };
        let is_in = node.whole.eager_count > 0;
        let why = why(node.whole.rank, is_served);
        let policy = &mut self.policies.role;
        let rank = is_in.then(|| policy.rank(&node.whole.candidate(&self.ranked_by, node.weight), why));
        let was = std::mem::replace(&mut node.whole.rank, rank);
        if was == rank {
            return;
        }
        let (mut seat, role) = (node.whole.seat, was.is_none().then(|| node.role.clone()));
        let queue = &mut self.nodes[parent.0 as usize].children;
        reseat(queue, (was, rank), &mut seat, || (role, id.0));
        self.nodes[id.0 as usize].whole.seat = seat;
    }
}

impl Standing {
    fn candidate<'a>(&'a self, totals: &'a Quantities, weight: Quantity) -> Candidate<'a> {
        Candidate { allocated: &self.allocated, totals, weight, count: self.count, sequence: 0 }
    }
}

impl Claimant {
    fn candidate<'a>(&'a self, totals: &'a Quantities) -> Candidate<'a> {
        Candidate {
            allocated: &self.allocated,
            totals,
            weight: ONE,
            count: self.count,
            sequence: self.sequence,
        }
    }
}

fn why(rank: Option<Rank>, is_served: bool) -> Why {
    match rank {
        None => Why::Joined,
        Some(rank) if is_served => Why::Served(rank),
        Some(rank) => Why::Changed(rank),
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
                let due = below.whole.candidate(&self.ranked_by, below.weight);
                assert_eq!(below.whole.allocated, allocated);
                assert_rank(&*self.policies.role, rank, &due);
                assert_eq!(
                    node.children.seated(below.whole.seat),
                    Some((rank, &Some(role.clone()), child.0))
                );
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
                assert_rank(&*self.policies.framework, rank, &claimant.candidate(&self.ranked_by));
                assert_eq!(
                    node.claimants.seated(claimant.seat),
                    Some((rank, &claimant.sequence, claimant_id.0))
                );
            }
        }
        assert_eq!((node.claimant_count, node.claimants.len()), (count, eager_count as usize));
        assert_eq!((&node.own.allocated, node.own.eager_count), (&sum, eager_count));
        let is_in_queue = node.child_count > 0 && eager_count > 0;
        assert_eq!(node.own.rank.is_some(), is_in_queue);
        if let Some(rank) = node.own.rank {
            assert_rank(&*self.policies.role, rank, &node.own.candidate(&self.ranked_by, ONE));
            assert_eq!(node.children.seated(node.own.seat), Some((rank, &None, id.0)));
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

/// The first of the queue who is accepted.
fn first_accepted<T>(
    queue: &Order<u64>,
    accept: &mut impl FnMut(ClaimantId) -> Option<T>,
) -> Option<(ClaimantId, T)> {
    queue.iter().map(|(_, id)| ClaimantId(id)).find_map(|id| accept(id).map(|answer| (id, answer)))
}

/// Moves somebody from one rank to another; `None` is outside the queue.
fn reseat<T: Ord>(
    queue: &mut Order<T>,
    ranks: (Option<Rank>, Option<Rank>),
    seat: &mut u32,
    who: impl FnOnce() -> (T, u32),
) {
    match ranks {
        (was, now) if was == now => {}
        (Some(_), Some(now)) => queue.change(*seat, now),
        (None, Some(now)) => {
            let (tie, value) = who();
            *seat = queue.add(now, tie, value);
        }
        (Some(_), None) => queue.remove(*seat),
        (None, None) => {}
    }
}
