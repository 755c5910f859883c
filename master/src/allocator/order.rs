//! Somebody's order: who is first, and who comes next. A tournament: everybody has a seat, and each inner node of a tree
//! over the seats knows who of those below it comes first. A change of rank replays one path: about log2 n comparisons of
//! two words that lie close together, where an ordered set would take one out and put one in. Going on from the first to
//! the next costs as much again, and nothing is allocated for the first. Who is alone is not compared, and costs nothing.

use super::policy::Rank;
use super::share::Share;
use model::role::Role;
use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// Ordered by rank, then `T`, then value.
#[derive(Debug)]
pub(super) struct Order<T> {
    /// By seat; as many as there are keys: a power of two, or none.
    leaves: Vec<Option<Leaf<T>>>,
    /// By seat: what tells most ranks apart, in one place.
    keys: Vec<Key>,
    /// The seat that comes first below each node. Below node `i` are nodes `2 i` and `2 i + 1`, and node
    /// `leaves.len() + s` is seat `s`. The root is 1; 0 is not used.
    winners: Vec<u32>,
    vacant: Vec<u32>,
    /// Somebody sits here alone, and their key is not worked out: it is compared with nobody's.
    is_bare: bool,
}

#[derive(Debug)]
struct Leaf<T> {
    rank: Rank,
    tie: T,
    /// Of the tie: worked out once.
    tie_prefix: u64,
    value: u32,
}

/// Of who sits on a seat. Compared by prefix; of equal prefixes those of the same `share` by what follows. Where that does
/// not decide either, the leaves do.
#[derive(Clone, Copy, Debug)]
struct Key {
    prefix: u64,
    /// [`Share::NONE`] where there is more to a rank.
    share: Share,
    count: u64,
    tie: u64,
}

/// Of a seat on which nobody sits: after everybody.
const NOBODY: Key = Key { prefix: u64::MAX, share: Share::NONE, count: 0, tie: 0 };

/// What decides between equals.
pub(super) trait Tie: Ord {
    /// Less only where the tie is.
    fn prefix(&self) -> u64;
}

impl Tie for u64 {
    fn prefix(&self) -> u64 {
        *self
    }
}

/// By name. All are of one parent, so that their names differ behind the last slash only: it is that part's first letters.
impl Tie for Option<Role> {
    fn prefix(&self) -> u64 {
        let Some(role) = self else { return 0 };
        let name = role.as_str();
        let own = name.rsplit_once('/').map_or(name, |(_, own)| own);
        own.bytes().take(8).enumerate().fold(0, |all, (at, byte)| all | u64::from(byte) << (56 - 8 * at))
    }
}

impl<T> Default for Order<T> {
    fn default() -> Self {
        Self { leaves: Vec::new(), keys: Vec::new(), winners: Vec::new(), vacant: Vec::new(), is_bare: false }
    }
}

impl<T: Tie> Order<T> {
    /// How many are seated.
    pub(super) fn len(&self) -> usize {
        self.leaves.len() - self.vacant.len()
    }

    /// Seats somebody; the seat is theirs until they leave.
    pub(super) fn add(&mut self, rank: Rank, tie: T, value: u32) -> u32 {
        if self.vacant.is_empty() {
            self.grow();
        }
        if std::mem::take(&mut self.is_bare) {
            for (key, leaf) in self.keys.iter_mut().zip(&self.leaves) {
                leaf.iter().for_each(|leaf| *key = leaf.key());
            }
        }
        let seat = self.vacant.pop().expect("there is room now");
        let leaf = Leaf { rank, tie_prefix: tie.prefix(), tie, value };
        self.keys[seat as usize] = leaf.key();
        self.leaves[seat as usize] = Some(leaf);
        self.replay(seat);
        seat
    }

    /// Gives whoever sits there another rank.
    pub(super) fn change(&mut self, seat: u32, rank: Rank) {
        if self.len() == 1 {
            self.is_bare = true;
            self.leaf_mut(seat).rank = rank;
        } else {
            self.set_rank(seat, rank);
            self.replay(seat);
        }
    }

    /// Likewise; [`Self::replay_all`] must follow when all have theirs.
    pub(super) fn set_rank(&mut self, seat: u32, rank: Rank) {
        let leaf = self.leaf_mut(seat);
        leaf.rank = rank;
        self.keys[seat as usize] = leaf.key();
    }

    pub(super) fn remove(&mut self, seat: u32) {
        let left = self.leaves[seat as usize].take();
        assert!(left.is_some(), "who leaves has been seated");
        self.keys[seat as usize] = NOBODY;
        self.vacant.push(seat);
        self.is_bare = false;
        self.replay(seat);
    }

    /// Works out anew who comes first everywhere.
    pub(super) fn replay_all(&mut self) {
        for node in (1..self.leaves.len()).rev() {
            let (left, right) = (self.winners[2 * node], self.winners[2 * node + 1]);
            self.winners[node] = if self.is_before(right, left) { right } else { left };
        }
    }

    /// Who comes first: as the first of [`Self::iter`], for less.
    pub(super) fn first(&self) -> Option<(&T, u32)> {
        let leaf = self.leaves.get(*self.winners.get(1)? as usize)?.as_ref()?;
        Some((&leaf.tie, leaf.value))
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

    fn leaf_mut(&mut self, seat: u32) -> &mut Leaf<T> {
        self.leaves[seat as usize].as_mut().expect("a seat is somebody's until they leave")
    }

    fn grow(&mut self) {
        let before = self.leaves.len();
        let after = (before * 2).max(1);
        self.leaves.resize_with(after, || None);
        self.keys.resize(after, NOBODY);
        self.winners.resize(2 * after, 0);
        (0..after).for_each(|seat| self.winners[after + seat] = seat as u32);
        self.vacant.extend((before as u32..after as u32).rev());
        self.replay_all();
    }

    /// From the seat up to where it changes nothing.
    fn replay(&mut self, seat: u32) {
        let (mut node, mut winner) = (self.leaves.len() + seat as usize, seat);
        while node > 1 {
            let other = self.winners[node ^ 1];
            if self.is_before(other, winner) {
                winner = other;
            }
            node /= 2;
            let place = &mut self.winners[node];
            if *place == winner && winner != seat {
                break;
            }
            *place = winner;
        }
    }

    /// What nearly every comparison is decided by: two lines of memory, no call. Who has the same share is told apart by how
    /// often they were served and when they came.
    #[inline(always)]
    fn is_before(&self, a: u32, b: u32) -> bool {
        let (x, y) = (&self.keys[a as usize], &self.keys[b as usize]);
        if x.prefix != y.prefix {
            return x.prefix < y.prefix;
        }
        if x.share.is_same(&y.share) && (x.count, x.tie) != (y.count, y.tie) {
            return (x.count, x.tie) < (y.count, y.tie);
        }
        self.cmp(a, b).is_lt()
    }

    #[inline(never)]
    fn cmp(&self, a: u32, b: u32) -> Ordering {
        let (x, y) = (&self.keys[a as usize], &self.keys[b as usize]);
        if x.prefix != y.prefix {
            return x.prefix.cmp(&y.prefix);
        }
        if x.share.is_same(&y.share) {
            let by_key = x.count.cmp(&y.count).then(x.tie.cmp(&y.tie));
            if by_key.is_ne() {
                return by_key;
            }
        }
        match (&self.leaves[a as usize], &self.leaves[b as usize]) {
            (Some(a), Some(b)) => (a.rank, &a.tie, a.value).cmp(&(b.rank, &b.tie, b.value)),
            (a, b) => b.is_some().cmp(&a.is_some()),
        }
    }
}

impl<T: Tie> Leaf<T> {
    fn key(&self) -> Key {
        let Rank { class, share, count } = self.rank;
        Key {
            prefix: self.rank.prefix(),
            share: if class == 0 { share } else { Share::NONE },
            count,
            tie: self.tie_prefix,
        }
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

impl<'a, T: Tie> Iterator for Ordered<'a, T> {
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
        let winner = if self.order.leaves.is_empty() { return None } else { self.order.winners[node] };
        let leaf = self.order.leaves[winner as usize].as_ref();
        leaf.map(|leaf| (&leaf.tie, leaf.value))
    }
}

impl<T: Tie> Ordered<'_, T> {
    /// What is left of the last subtree without its first goes to the rest.
    fn take_apart(&mut self) {
        let order = self.order;
        let Some(mut node) = self.last.take() else { return };
        let winner = order.winners[node];
        while node < order.leaves.len() {
            let left = 2 * node;
            let (same, other) =
                if order.winners[left] == winner { (left, left + 1) } else { (left + 1, left) };
            if order.leaves[order.winners[other] as usize].is_some() {
                self.rest.push(Subtree { order, node: other });
            }
            node = same;
        }
    }
}

/// The greatest in a heap is the first in order.
impl<T: Tie> Ord for Subtree<'_, T> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.order.cmp(other.order.winners[other.node], self.order.winners[self.node])
    }
}

impl<T: Tie> PartialOrd for Subtree<'_, T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T: Tie> PartialEq for Subtree<'_, T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl<T: Tie> Eq for Subtree<'_, T> {}

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

    #[test]
    fn prefixes_of_names_never_contradict() {
        let names = ["a", "a-", "abcdefgh", "abcdefghi", "abcdefgz", "b", "\u{e9}t\u{e9}", "~"];
        for parent in ["", "eng/", "eng/web/"] {
            let role = |name: &&str| Some(Role::parse(&format!("{parent}{name}")).expect("a role"));
            let all: Vec<_> = std::iter::once(None).chain(names.iter().map(role)).collect();
            for a in &all {
                for b in &all {
                    assert!(a.prefix() >= b.prefix() || a < b, "{a:?} {b:?}");
                }
            }
        }
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
