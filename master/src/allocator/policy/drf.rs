//! Dominant resource fairness (Ghodsi et al., NSDI 2011): who has the smallest dominant share by weight comes first,
//! among equals who has been served the fewer times. Mesos' order (`src/master/allocator/mesos/sorter/drf/`), in integers.

use super::{Candidate, Policy, Rank, Why};
use crate::allocator::share::Share;

#[derive(Debug)]
pub(super) struct Drf;

impl Policy for Drf {
    fn rank(&mut self, candidate: &Candidate<'_>, _: Why) -> Rank {
        rank(candidate)
    }

    fn again(&self, candidate: &Candidate<'_>) -> Option<Rank> {
        Some(rank(candidate))
    }
}

fn rank(candidate: &Candidate<'_>) -> Rank {
    let Candidate { allocated, totals, weight, count, .. } = *candidate;
    Rank { class: 0, share: Share::dominant(allocated, totals, weight), count }
}
