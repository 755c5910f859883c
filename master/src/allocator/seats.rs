//! Who sits where: ranks are worked out, and queues told of them, when what is allocated, the totals or who is eager has
//! changed. Who is alone in a queue is not ranked until somebody joins, where ranks follow from the candidate alone
//! (docs/decisions/077).

use super::claimant::ClaimantId;
use super::order::{Order, Tie};
use super::policy::{Rank, Why};
use super::role_tree::{NodeId, ONE, RoleTree};

impl RoleTree {
    /// Queues are built anew as a whole: that sorts what is nearly sorted, and moves nobody one by one.
    pub(super) fn rank_all(&mut self) {
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
    pub(super) fn seat_claimant(&mut self, id: ClaimantId, is_in: bool, is_served: bool) {
        let claimant = &mut self.claimants[id];
        let queue = &mut self.nodes[claimant.role.0 as usize].claimants;
        let policy = &mut self.policies.framework;
        let is_alone = queue.len() == 1;
        if is_alone && is_in && self.policies.is_framework_plain {
            if claimant.rank.is_some() {
                return;
            }
            let alone = queue.values().next().map(ClaimantId).expect("one sits there");
            let claimant = &mut self.claimants[alone];
            let was = claimant.rank.expect("who is in a queue has a rank");
            let rank = policy.rank(&claimant.candidate(&self.ranked_by), Why::Changed(was));
            claimant.rank = Some(rank);
            queue.change(claimant.seat, rank);
        }
        let claimant = &mut self.claimants[id];
        let why = why(claimant.rank, is_served);
        let rank = is_in.then(|| policy.rank(&claimant.candidate(&self.ranked_by), why));
        let was = std::mem::replace(&mut claimant.rank, rank);
        reseat(queue, (was, rank), &mut claimant.seat, || (claimant.sequence, id.0));
    }

    /// Likewise a node's own claimants among its children; they are there only when there are child roles.
    pub(super) fn seat_own(&mut self, id: NodeId, is_served: bool) {
        let node = &self.nodes[id.0 as usize];
        let is_in = node.child_count > 0 && node.own.eager_count > 0;
        if self.need_not_rank(id, node.own.rank, is_in) {
            return;
        }
        let node = &mut self.nodes[id.0 as usize];
        let why = why(node.own.rank, is_served);
        let policy = &mut self.policies.role;
        let rank = is_in.then(|| policy.rank(&node.own.candidate(&self.ranked_by, ONE), why));
        let was = std::mem::replace(&mut node.own.rank, rank);
        reseat(&mut node.children, (was, rank), &mut node.own.seat, || (None, id.0));
    }

    /// Likewise a node among its siblings.
    pub(super) fn seat_whole(&mut self, id: NodeId, is_served: bool) {
        let node = &self.nodes[id.0 as usize];
        let Some(parent) = node.parent else { return };
        let is_in = node.whole.eager_count > 0;
        if self.need_not_rank(parent, node.whole.rank, is_in) {
            return;
        }
        let node = &mut self.nodes[id.0 as usize];
        let why = why(node.whole.rank, is_served);
        let policy = &mut self.policies.role;
        let rank = is_in.then(|| policy.rank(&node.whole.candidate(&self.ranked_by, node.weight), why));
        let was = std::mem::replace(&mut node.whole.rank, rank);
        if let (Some(was), Some(rank)) = (was, rank) {
            if !was.is_same(&rank) {
                let seat = node.whole.seat;
                self.nodes[parent.0 as usize].children.change(seat, rank);
            }
            return;
        }
        let (mut seat, role) = (node.whole.seat, was.is_none().then(|| node.role.clone()));
        let queue = &mut self.nodes[parent.0 as usize].children;
        reseat(queue, (was, rank), &mut seat, || (role, id.0));
        self.nodes[id.0 as usize].whole.seat = seat;
    }

    /// Whether somebody of that rank among the children of a node may keep it, whatever it has become, since they are
    /// out of the queue and stay out, or alone there. Who was alone until now, and is joined, is ranked.
    fn need_not_rank(&mut self, parent: NodeId, was: Option<Rank>, is_in: bool) -> bool {
        let queue = &self.nodes[parent.0 as usize].children;
        if !is_in || queue.len() != 1 || !self.policies.is_role_plain {
            return !is_in && was.is_none();
        }
        if was.is_some() {
            return true;
        }
        let (role, alone) = queue.iter().next().expect("one sits there");
        let (is_own, node) = (role.is_none(), &mut self.nodes[alone as usize]);
        let weight = if is_own { ONE } else { node.weight };
        let standing = if is_own { &mut node.own } else { &mut node.whole };
        let was = standing.rank.expect("who is in a queue has a rank");
        let rank = self.policies.role.rank(&standing.candidate(&self.ranked_by, weight), Why::Changed(was));
        standing.rank = Some(rank);
        let seat = standing.seat;
        self.nodes[parent.0 as usize].children.change(seat, rank);
        false
    }
}

fn why(rank: Option<Rank>, is_served: bool) -> Why {
    match rank {
        None => Why::Joined,
        Some(rank) if is_served => Why::Served(rank),
        Some(rank) => Why::Changed(rank),
    }
}

/// Moves somebody from one rank to another; `None` is outside the queue.
fn reseat<T: Tie>(
    queue: &mut Order<T>,
    ranks: (Option<Rank>, Option<Rank>),
    seat: &mut u32,
    who: impl FnOnce() -> (T, u32),
) {
    match ranks {
        (Some(was), Some(now)) if was.is_same(&now) => {}
        (Some(_), Some(now)) => queue.change(*seat, now),
        (None, Some(now)) => {
            let (tie, value) = who();
            *seat = queue.add(now, tie, value);
        }
        (Some(_), None) => queue.remove(*seat),
        (None, None) => {}
    }
}
