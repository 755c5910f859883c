//! Claimants: a framework in one of its roles. What it holds, whether it wants offers, and where it stands in its role.
//! A claimant stays while it holds something, though its framework has left the role.

use super::bits::Bits;
use super::constraints::RoleConstraints;
use super::key::FrameworkKey;
use super::policy::Rank;
use super::quantities::Quantities;
use super::role_tree::NodeId;
use model::framework::Capabilities;

/// An index into [`Claimants`]; used again when its claimant is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct ClaimantId(pub(super) u32);

/// What a claimant has of one worker.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Holding {
    pub(super) allocated: Quantities,
    /// How many allocations it was given there.
    pub(super) count: u64,
}

#[derive(Debug)]
pub(super) struct Claimant {
    pub(super) framework: FrameworkKey,
    pub(super) role: NodeId,
    pub(super) capabilities: Capabilities,
    /// Of which agents it wants anything; of all when `None`.
    pub(super) constraints: Option<RoleConstraints>,
    /// It is to have nothing of agents in other regions.
    pub(super) stays_home: bool,
    /// Breaks ties in the order in which frameworks came.
    pub(super) sequence: u64,
    /// Of all workers, as far as is known here.
    pub(super) allocated: Quantities,
    /// How many allocations it was ever given.
    pub(super) count: u64,
    /// What it has of which other worker, as that told; empty where none did.
    pub(super) elsewhere: Vec<Holding>,
    /// Its place in its role's queue; `Some` while it is eager, that is, wants offers and may have them.
    pub(super) rank: Option<Rank>,
    /// Its seat in that queue, while it is eager.
    pub(super) seat: u32,
    pub(super) is_subscribed: bool,
    pub(super) is_suppressed: bool,
    /// The agents on which it holds something: who leaves is looked for there, and nowhere else.
    pub(super) agents: Bits,
    /// Its bit in refusals, from the first one on.
    pub(super) column: Option<u32>,
    /// Refusals in force.
    pub(super) refusal_count: u32,
}

impl Claimant {
    pub(super) fn is_eager(&self) -> bool {
        self.rank.is_some()
    }

    /// Nothing is left to remember it for.
    pub(super) fn is_idle(&self) -> bool {
        !self.is_subscribed && self.agents.is_empty() && !self.has_elsewhere()
    }

    fn has_elsewhere(&self) -> bool {
        self.elsewhere.iter().any(|there| !there.allocated.is_zero())
    }

    /// What it has of this worker.
    pub(super) fn here(&self) -> Holding {
        let mut here = Holding { allocated: self.allocated.clone(), count: self.count };
        for there in &self.elsewhere {
            here.allocated.subtract(&there.allocated);
            here.count = here.count.saturating_sub(there.count);
        }
        here
    }
}

/// All claimants, by id.
#[derive(Debug, Default)]
pub(super) struct Claimants {
    all: Vec<Claimant>,
    free: Vec<ClaimantId>,
}

impl Claimants {
    /// A new one, neither subscribed nor suppressed.
    pub(super) fn add(&mut self, framework: FrameworkKey, role: NodeId, sequence: u64) -> ClaimantId {
        let claimant = Claimant {
            framework,
            role,
            capabilities: Capabilities::default(),
            constraints: None,
            stays_home: false,
            sequence,
            allocated: Quantities::default(),
            count: 0,
            elsewhere: Vec::new(),
            rank: None,
            seat: 0,
            is_subscribed: false,
            is_suppressed: false,
            agents: Bits::default(),
            column: None,
            refusal_count: 0,
        };
        if let Some(id) = self.free.pop() {
            self[id] = claimant;
            return id;
        }
        let id = ClaimantId(u32::try_from(self.all.len()).expect("fewer than 2^32 claimants"));
        self.all.push(claimant);
        id
    }

    /// It must be idle and without refusals.
    pub(super) fn remove(&mut self, id: ClaimantId) {
        let claimant = &self[id];
        assert!(claimant.is_idle() && claimant.rank.is_none() && claimant.column.is_none());
        assert!(claimant.allocated.is_zero(), "who holds nothing is charged nothing");
        self.free.push(id);
    }

    /// Those that are somebody: between events a claimant is idle only when it was removed.
    pub(super) fn live(&self) -> impl Iterator<Item = (ClaimantId, &Claimant)> {
        let all = self.all.iter().enumerate().map(|(at, claimant)| (ClaimantId(at as u32), claimant));
        all.filter(|(_, claimant)| !claimant.is_idle())
    }
}

impl std::ops::Index<ClaimantId> for Claimants {
    type Output = Claimant;
    fn index(&self, id: ClaimantId) -> &Claimant {
        &self.all[id.0 as usize]
    }
}

impl std::ops::IndexMut<ClaimantId> for Claimants {
    fn index_mut(&mut self, id: ClaimantId) -> &mut Claimant {
        &mut self.all[id.0 as usize]
    }
}
