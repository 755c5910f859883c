//! Dominant resource fairness (Ghodsi et al., NSDI 2011): who has the smallest dominant share by weight comes first,
//! among equals who has been served the fewer times. Mesos' order (`src/master/allocator/mesos/sorter/drf/`), in integers.

use crate::allocator::quantities::Quantities;
use crate::allocator::share::Share;
use model::quantity::Quantity;

/// Where somebody stands in the queue of their role, or a role among its siblings. The least is served first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rank {
    share: Share,
    /// How many allocations they were ever given.
    count: u64,
}

pub(crate) fn rank(allocated: &Quantities, count: u64, totals: &Quantities, weight: Quantity) -> Rank {
    Rank { share: Share::dominant(allocated, totals, weight), count }
}
