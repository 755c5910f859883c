//! Columns: which bit of an agent's refusals is whose. A claimant has one from its first refusal on. When all its
//! refusals are forgotten at once, as by a REVIVE, it gets another, and the old one is *retired*: its bits are void
//! wherever they stand, and are cleared later, those of many columns in one sweep over the agents.

use super::bits::Bits;
use super::claimant::{ClaimantId, Claimants};
use super::filter::Refusing;

/// So many retired columns cause a sweep; as many as there are in use, where that is more.
const RETIRED_MAX: usize = 64;

#[derive(Debug, Default)]
pub(super) struct Columns {
    owners: Vec<Option<ClaimantId>>,
    free: Vec<u32>,
    retired: Bits,
    /// Refusals in force.
    live_count: usize,
    /// Of those claimants that are eager.
    eager: Bits,
    /// Claimants that are eager and have no column.
    eager_bare: Bits,
}

impl Columns {
    /// Refusals in force, of all claimants on all agents.
    pub(super) fn live_count(&self) -> usize {
        self.live_count
    }

    /// The claimant's column; a new one if need be.
    pub(super) fn of(&mut self, claimants: &mut Claimants, id: ClaimantId) -> u32 {
        let claimant = &mut claimants[id];
        if let Some(column) = claimant.column {
            return column;
        }
        let column = self.free.pop().unwrap_or_else(|| {
            self.owners.push(None);
            u32::try_from(self.owners.len() - 1).expect("fewer than 2^32 columns")
        });
        self.owners[column as usize] = Some(id);
        claimant.column = Some(column);
        self.eager.set(column, claimant.is_eager());
        self.eager_bare.remove(id.0);
        column
    }

    /// The claimant wants offers from here on, or wants none.
    pub(super) fn set_eager(&mut self, claimants: &Claimants, id: ClaimantId, is_eager: bool) {
        match claimants[id].column {
            Some(column) => self.eager.set(column, is_eager),
            None => self.eager_bare.set(id.0, is_eager),
        }
    }

    /// Who is eager and does not refuse, in no order.
    pub(super) fn eager_but<'a>(&'a self, refusing: Refusing<'a>) -> impl Iterator<Item = ClaimantId> + 'a {
        let others = self.eager.without(move |at| refusing.word(at)).filter_map(|column| self.owner(column));
        self.eager_bare.iter().map(ClaimantId).chain(others)
    }

    /// Whether there is anybody like that.
    pub(super) fn has_eager_but(&self, refusing: Refusing<'_>) -> bool {
        !self.eager_bare.is_empty() || self.eager.exceeds(|at| refusing.word(at))
    }

    /// Who is eager, does not refuse and is not barred, in no order.
    pub(super) fn eager_and_free<'a>(
        &'a self,
        refusing: Refusing<'a>,
        barred: &'a Bits,
    ) -> impl Iterator<Item = ClaimantId> + 'a {
        let bare = self.eager_bare.without(|at| barred.word(at)).map(ClaimantId);
        let others = self.eager.without(move |at| refusing.word(at)).filter_map(|column| self.owner(column));
        bare.chain(others.filter(|id| !barred.has(id.0)))
    }

    /// A refusal of the claimant's was noted.
    pub(super) fn added(&mut self, claimants: &mut Claimants, id: ClaimantId) {
        claimants[id].refusal_count += 1;
        self.live_count += 1;
    }

    /// A refusal of the claimant's is no more.
    pub(super) fn dropped(&mut self, claimants: &mut Claimants, id: ClaimantId) {
        claimants[id].refusal_count -= 1;
        self.live_count -= 1;
    }

    /// A refusal of each of these is no more; shows whose they were, but for void ones.
    pub(super) fn all_dropped(
        &mut self,
        claimants: &mut Claimants,
        who: &Bits,
        mut show: impl FnMut(ClaimantId),
    ) {
        for column in who.iter() {
            if let Some(id) = self.owners[column as usize] {
                self.dropped(claimants, id);
                show(id);
            }
        }
    }

    /// Whether a refusal among these is in force.
    pub(super) fn has_live(&self, who: &Bits) -> bool {
        who.without(|at| self.retired.word(at)).next().is_some()
    }

    /// Whose column it is.
    pub(super) fn owner(&self, column: u32) -> Option<ClaimantId> {
        self.owners[column as usize]
    }

    /// Makes every refusal of the claimant void.
    pub(super) fn forget(&mut self, claimants: &mut Claimants, id: ClaimantId) {
        let claimant = &mut claimants[id];
        let Some(column) = claimant.column.take() else { return };
        let count = std::mem::take(&mut claimant.refusal_count);
        self.live_count -= count as usize;
        self.owners[column as usize] = None;
        self.eager.remove(column);
        self.eager_bare.set(id.0, claimant.is_eager());
        if count == 0 {
            self.free.push(column);
        } else {
            self.retired.add(column);
        }
    }

    /// Whether it is time to clear the retired columns' bits.
    pub(super) fn is_sweep_due(&self) -> bool {
        let in_use = self.owners.len() - self.retired.len() - self.free.len();
        self.retired.len() > RETIRED_MAX.max(in_use)
    }

    /// The columns to be cleared on every agent: they may be used again after that.
    pub(super) fn take_retired(&mut self) -> Bits {
        let retired = std::mem::take(&mut self.retired);
        self.free.extend(retired.iter());
        retired
    }

    /// What must hold between events: so many refusals are in force in each column.
    pub(super) fn invariant(&self, claimants: &Claimants, counts: &std::collections::BTreeMap<u32, u32>) {
        for (&column, &count) in counts {
            match self.owner(column) {
                Some(id) => {
                    assert_eq!((claimants[id].column, claimants[id].refusal_count), (Some(column), count))
                }
                None => assert!(self.retired.has(column), "a column that is free has no bits"),
            }
        }
        let live = counts.iter().filter(|(column, _)| self.owner(**column).is_some()).map(|(_, count)| count);
        assert_eq!(self.live_count, live.sum::<u32>() as usize);
        for (id, claimant) in claimants.live() {
            let is_marked =
                claimant.column.map_or(self.eager_bare.has(id.0), |column| self.eager.has(column));
            assert_eq!(is_marked, claimant.is_eager());
            match claimant.column {
                Some(column) => assert_eq!(self.owner(column), Some(id)),
                None => assert_eq!(claimant.refusal_count, 0),
            }
        }
    }
}
