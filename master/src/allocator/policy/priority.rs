//! Strict priority: a heavier role goes before a lighter one as long as it wants what there is; roles of one weight
//! share by dominant share. Frameworks of a role are served in the order in which they came.

use super::{Candidate, Policy, Rank, Why};
use crate::allocator::share::Share;
use model::quantity::Quantity;

#[derive(Debug)]
pub(super) struct Priority;

impl Policy for Priority {
    fn rank(&mut self, candidate: &Candidate<'_>, _: Why) -> Rank {
        rank(candidate)
    }

    fn again(&self, candidate: &Candidate<'_>) -> Option<Rank> {
        Some(rank(candidate))
    }
}

fn rank(candidate: &Candidate<'_>) -> Rank {
    let Candidate { allocated, totals, weight, count, sequence } = *candidate;
    if sequence > 0 {
        return Rank { class: sequence, ..Rank::default() };
    }
    let one = Quantity::from_units(1);
    Rank { class: u64::MAX - weight.milli(), share: Share::dominant(allocated, totals, one), count }
}
