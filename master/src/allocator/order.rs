//! Somebody's order: who is first, and who comes next. A tournament: everybody has a seat, and each inner node of a tree
//! over the seats knows who of those below it comes first. A change of rank replays one path: about log2 n comparisons of
//! two words that lie close together, where an ordered set would take one out and put one in. Going on from the first to
//! the next costs as much again, and nothing is allocated for the first.

use super::policy::Rank;
use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// Ordered by rank, then `T`, then value.
#[derive(Debug)]
pub(super) struct Order<T> {
    /// By seat.
    leaves: Vec<Option<Leaf<T>>>,
    /// Of the rank on each seat; the largest where nobody sits. As long as `leaves`: a power of two, or empty.
    prefixes: Vec<u64>,
    /// The seat that comes first below each inner node. Below node `i` are nodes `2 i` and `2 i + 1`, and node
    /// `leaves.len() + s` is seat `s`. The root is 1; 0 is not used.
    winners: Vec<u32>,
    vacant: Vec<u32>,
}

#[derive(Debug)]
struct Leaf<T> {
    rank: Rank,
    tie: T,
    value: u32,
}

impl<T> Default for Order<T> {
    fn default() -> Self {
        Self { leaves: Vec::new(), prefixes: Vec::new(), winners: Vec::new(), vacant: Vec::new() }
    }
}

impl<T: Ord> Order<T> {
    /// How many are seated.
    pub(super) fn len(&self) -> usize {
        self.leaves.len() - self.vacant.len()
    }

    /// Seats somebody; the seat is theirs until they leave.
    pub(super) fn add(&mut self, rank: Rank, tie: T, value: u32) -> u32 {
        if self.vacant.is_empty() {
            self.grow();
        }
        let seat = self.vacant.pop().expect("there is room now");
        self.prefixes[seat as usize] = rank.prefix();
        self.leaves[seat as usize] = Some(Leaf { rank, tie, value });
        self.replay(seat);
        seat
    }

    /// Gives whoever sits there another rank.
    pub(super) fn change(&mut self, seat: u32, rank: Rank) {
        self.set_rank(seat, rank);
        self.replay(seat);
    }

    /// Likewise; [`Self::replay_all`] must follow when all have theirs.
    pub(super) fn set_rank(&mut self, seat: u32, rank: Rank) {
        let leaf = self.leaves[seat as usize].as_mut().expect("a seat is somebody's until they leave");
        leaf.rank = rank;
        self.prefixes[seat as usize] = rank.prefix();
    }

    pub(super) fn remove(&mut self, seat: u32) {
        let left = self.leaves[seat as usize].take();
        assert!(left.is_some(), "who leaves has been seated");
        self.prefixes[seat as usize] = u64::MAX;
        self.vacant.push(seat);
        self.replay(seat);
    }

    /// Works out anew who comes first everywhere.
    pub(super) fn replay_all(&mut self) {
        for node in (1..self.leaves.len()).rev() {
            self.winners[node] = self.winner_below(node);
        }
    }

    /// The values in order.
    pub(super) fn iter(&self) -> Ordered<'_, T> {
        Ordered { order: self, rest: BinaryHeap::new(), last: None, has_begun: false }
    }

    /// All values, in the order of their seats.
    pub(super) fn values(&self) -> impl Iterator<Item = u32> {
        self.leaves.iter().flatten().map(|leaf| leaf.value)
    }

    /// Who sits there: for the invariants.
    pub(super) fn seated(&self, seat: u32) -> Option<(Rank, &T, u32)> {
        let leaf = self.leaves.get(seat as usize)?.as_ref()?;
        Some((leaf.rank, &leaf.tie, leaf.value))
    }

    fn grow(&mut self) {
        let before = self.leaves.len();
        let after = (before * 2).max(1);
        self.leaves.resize_with(after, || None);
        self.prefixes.resize(after, u64::MAX);
        self.winners.resize(after, 0);
        self.vacant.extend((before as u32..after as u32).rev());
        self.replay_all();
    }

    /// From the seat up to where it changes nothing.
    fn replay(&mut self, seat: u32) {
        let mut node = (self.leaves.len() + seat as usize) / 2;
        while node > 0 {
            let winner = self.winner_below(node);
            if self.winners[node] == winner && winner != seat {
                break;
            }
            self.winners[node] = winner;
            node /= 2;
        }
    }

    fn winner(&self, node: usize) -> u32 {
        if node < self.leaves.len() { self.winners[node] } else { (node - self.leaves.len()) as u32 }
    }

    fn winner_below(&self, node: usize) -> u32 {
        let (left, right) = (self.winner(2 * node), self.winner(2 * node + 1));
        if self.cmp(left, right).is_le() { left } else { right }
    }

    fn cmp(&self, a: u32, b: u32) -> Ordering {
        let by_prefix = self.prefixes[a as usize].cmp(&self.prefixes[b as usize]);
        by_prefix.then_with(|| match (&self.leaves[a as usize], &self.leaves[b as usize]) {
            (Some(a), Some(b)) => (a.rank, &a.tie, a.value).cmp(&(b.rank, &b.tie, b.value)),
            (a, b) => b.is_some().cmp(&a.is_some()),
        })
    }
}

/// Goes through an [`Order`]: a frontier of subtrees, of which the best is taken apart when more is asked for.
pub(super) struct Ordered<'a, T> {
    order: &'a Order<T>,
    rest: BinaryHeap<Subtree<'a, T>>,
    /// The subtree whose first was shown last.
    last: Option<usize>,
    has_begun: bool,
}

struct Subtree<'a, T> {
    order: &'a Order<T>,
    node: usize,
}

impl<'a, T: Ord> Iterator for Ordered<'a, T> {
    type Item = (&'a T, u32);

    fn next(&mut self) -> Option<Self::Item> {
        let node = if self.has_begun {
            self.take_apart();
            self.rest.pop()?.node
        } else {
            self.has_begun = true;
            1
        };
        self.last = Some(node);
        let winner = if self.order.leaves.is_empty() { return None } else { self.order.winner(node) };
        let leaf = self.order.leaves[winner as usize].as_ref();
        leaf.map(|leaf| (&leaf.tie, leaf.value))
    }
}

impl<T: Ord> Ordered<'_, T> {
    /// What is left of the last subtree without its first goes to the rest.
    fn take_apart(&mut self) {
        let order = self.order;
        let Some(mut node) = self.last.take() else { return };
        let winner = order.winner(node);
        while node < order.leaves.len() {
            let left = 2 * node;
            let (same, other) =
                if order.winner(left) == winner { (left, left + 1) } else { (left + 1, left) };
            if order.leaves[order.winner(other) as usize].is_some() {
                self.rest.push(Subtree { order, node: other });
            }
            node = same;
        }
    }
}

/// The greatest in a heap is the first in order.
impl<T: Ord> Ord for Subtree<'_, T> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.order.cmp(other.order.winner(other.node), self.order.winner(self.node))
    }
}

impl<T: Ord> PartialOrd for Subtree<'_, T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T: Ord> PartialEq for Subtree<'_, T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl<T: Ord> Eq for Subtree<'_, T> {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn rank(class: u64) -> Rank {
        Rank { class, ..Rank::default() }
    }

    #[test]
    fn nobody_is_first_among_none() {
        let mut order = Order::<u64>::default();
        assert_eq!(order.iter().next(), None);
        let seat = order.add(rank(1), 1, 7);
        assert_eq!(order.iter().map(|(_, value)| value).collect::<Vec<_>>(), [7]);
        order.remove(seat);
        assert_eq!((order.iter().next(), order.len()), (None, 0));
    }

    proptest! {
        /// Whoever comes, goes and changes: the order is that of a sorted list.
        #[test]
        fn the_order_is_that_of_a_list(steps in proptest::collection::vec((0..3u8, 0..40u32, 0..6u64), 1..200)) {
            let (mut order, mut seats) = (Order::<u64>::default(), BTreeMap::<u32, (u32, u64)>::new());
            for (what, value, class) in steps {
                match (what, seats.get(&value).copied()) {
                    (0, Some((seat, _))) => {
                        order.remove(seat);
                        seats.remove(&value);
                    }
                    (1, Some((seat, _))) => {
                        order.set_rank(seat, rank(class));
                        order.replay_all();
                        seats.insert(value, (seat, class));
                    }
                    (_, Some((seat, _))) => {
                        order.change(seat, rank(class));
                        seats.insert(value, (seat, class));
                    }
                    (_, None) => {
                        let seat = order.add(rank(class), u64::from(value % 3), value);
                        seats.insert(value, (seat, class));
                    }
                }
                let mut expect: Vec<_> =
                    seats.iter().map(|(value, (_, class))| (*class, u64::from(value % 3), *value)).collect();
                expect.sort_unstable();
                let expect: Vec<_> = expect.into_iter().map(|(_, _, value)| value).collect();
                assert_eq!(order.iter().map(|(_, value)| value).collect::<Vec<_>>(), expect);
                assert_eq!(order.len(), seats.len());
            }
        }
    }
}
