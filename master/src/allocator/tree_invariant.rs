//! The laws of the tree of roles as checks: see `invariant.rs`.

use super::policy::assert_rank;
use super::quantities::Quantities;
use super::role_tree::{NodeId, ONE, ROOT, RoleTree, has_drifted};

/// What must hold between events; slow, for tests and the simulator.
impl RoleTree {
    /// Totals are exact, and ranks not staler than is allowed.
    pub(super) fn invariant_totals(&self, sum: &Quantities) {
        assert_eq!(self.totals, *sum, "the totals are those of the agents");
        assert!(!has_drifted(&self.totals, &self.ranked_by), "ranks are of totals close to the true ones");
    }

    /// A role's charge is the sum of those below it; everybody eager stands in every queue on the way to the root, and
    /// nobody else does, under the rank that the charge gives; who is alone in a queue, under any.
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
                if node.children.len() > 1 {
                    assert_rank(&*self.policies.role, rank, &due);
                }
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
                if node.claimants.len() > 1 {
                    assert_rank(&*self.policies.framework, rank, &claimant.candidate(&self.ranked_by));
                }
                assert_eq!(
                    node.claimants.seated(claimant.seat),
                    Some((rank, &claimant.sequence, claimant_id.0))
                );
            }
        }
        assert_eq!((node.claimant_count, node.claimants.len()), (count, eager_count as usize));
        let own = if node.has_own_sums { &node.own } else { &node.whole };
        assert_eq!((&own.allocated, node.own.eager_count), (&sum, eager_count));
        let is_in_queue = node.child_count > 0 && eager_count > 0;
        assert_eq!(node.own.rank.is_some(), is_in_queue);
        if let Some(rank) = node.own.rank {
            if node.children.len() > 1 {
                assert_rank(&*self.policies.role, rank, &node.own.candidate(&self.ranked_by, ONE));
            }
            assert_eq!(node.children.seated(node.own.seat), Some((rank, &None, id.0)));
        }
        (sum, eager_count)
    }
}
