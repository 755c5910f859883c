//! A map whose values are also published: each has a view for snapshots, made anew only after the value may have changed.
//!
//! Values are found by a table of hashes, and not by comparing ids, which are long texts with one beginning; what order
//! there is to be seen is that of the keys.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hasher};
use std::sync::Arc;

/// What a value looks like from outside.
pub(super) trait Viewed {
    type View: std::fmt::Debug;
    fn view(&self) -> Self::View;
}

/// A value with its key, and its newest view while that is still true. On its own, so that places are small.
type Entry<K, T> = Box<(K, T, Option<Arc<<T as Viewed>::View>>)>;

/// Values by key.
#[derive(Debug)]
pub(super) struct Kept<K, T: Viewed> {
    /// Goes before each key that is hashed: who chooses keys cannot know which of them meet.
    secret: String,
    places: BTreeMap<K, u32>,
    entries: Vec<Option<Entry<K, T>>>,
    free: Vec<u32>,
    table: Table,
}

impl<K: Ord + Clone + Borrow<str>, T: Viewed> Kept<K, T> {
    /// The order in which values lie depends on nothing but the keys and `secret`.
    pub(super) fn new(secret: &str) -> Self {
        Self {
            secret: secret.to_owned(),
            places: BTreeMap::new(),
            entries: Vec::new(),
            free: Vec::new(),
            table: Table::default(),
        }
    }

    fn hash(&self, key: &K) -> u32 {
        let mut hasher = DefaultHasher::new();
        hasher.write(self.secret.as_bytes());
        hasher.write(key.borrow().as_bytes());
        hasher.finish() as u32
    }

    fn place(&self, key: &K) -> Option<usize> {
        let is_it = |place: u32| self.entries[place as usize].as_ref().is_some_and(|entry| entry.0 == *key);
        self.table.find(self.hash(key), is_it).map(|place| place as usize)
    }

    pub(super) fn get(&self, key: &K) -> Option<&T> {
        let entry = self.entries[self.place(key)?].as_deref();
        entry.map(|(_, value, _)| value)
    }

    /// To change it: its view is forgotten.
    pub(super) fn get_mut(&mut self, key: &K) -> Option<&mut T> {
        let place = self.place(key)?;
        let (_, value, view) = self.entries[place].as_deref_mut()?;
        *view = None;
        Some(value)
    }

    pub(super) fn contains(&self, key: &K) -> bool {
        self.place(key).is_some()
    }

    pub(super) fn insert(&mut self, key: K, value: T) {
        if let Some(place) = self.place(&key) {
            self.entries[place] = Some(Box::new((key, value, None)));
            return;
        }
        let place = self.free.pop().unwrap_or_else(|| {
            self.entries.push(None);
            u32::try_from(self.entries.len() - 1).expect("fewer than 2^32 values")
        });
        self.table.insert(self.hash(&key), place);
        self.places.insert(key.clone(), place);
        self.entries[place as usize] = Some(Box::new((key, value, None)));
    }

    pub(super) fn remove(&mut self, key: &K) -> Option<T> {
        let place = self.places.remove::<K>(key)?;
        self.table.remove(self.hash(key), place);
        self.free.push(place);
        self.entries[place as usize].take().map(|entry| entry.1)
    }

    /// In the order of the keys.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&K, &T)> {
        let entries = self.places.values().filter_map(|place| self.entries[*place as usize].as_deref());
        entries.map(|(key, value, _)| (key, value))
    }

    /// Every view, in the order of the keys.
    pub(super) fn views(&mut self) -> Vec<Arc<T::View>> {
        let Self { places, entries, .. } = self;
        let view = |place: &u32| {
            let (_, value, view) = entries[*place as usize].as_deref_mut()?;
            Some(Arc::clone(view.get_or_insert_with(|| Arc::new(value.view()))))
        };
        places.values().filter_map(view).collect()
    }
}

/// Places by hash: each stands where its hash says, or as near behind that as there was room.
#[derive(Debug, Default)]
struct Table {
    /// A power of two of them, or none; never more than half are taken.
    slots: Vec<Option<Slot>>,
    count: usize,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    hash: u32,
    place: u32,
}

/// Slots of a table that is not empty, at least.
const SLOTS_MIN: usize = 16;

impl Table {
    fn find(&self, hash: u32, is_it: impl Fn(u32) -> bool) -> Option<u32> {
        let mut at = self.home(hash)?;
        while let Some(slot) = self.slots[at] {
            if slot.hash == hash && is_it(slot.place) {
                return Some(slot.place);
            }
            at = self.behind(at);
        }
        None
    }

    fn insert(&mut self, hash: u32, place: u32) {
        if self.slots.len() < 2 * (self.count + 1) {
            let longer = vec![None; (2 * self.slots.len()).max(SLOTS_MIN)];
            for slot in std::mem::replace(&mut self.slots, longer).into_iter().flatten() {
                self.put(slot);
            }
        }
        self.count += 1;
        self.put(Slot { hash, place });
    }

    fn put(&mut self, slot: Slot) {
        let mut at = self.home(slot.hash).expect("there is room");
        while self.slots[at].is_some() {
            at = self.behind(at);
        }
        self.slots[at] = Some(slot);
    }

    /// Takes out one that is in. Those behind it move up, where that is nearer to where they belong.
    fn remove(&mut self, hash: u32, place: u32) {
        let mut hole = self.home(hash).expect("it is in");
        while self.slots[hole].expect("it is in").place != place {
            hole = self.behind(hole);
        }
        self.count -= 1;
        let mask = self.slots.len() - 1;
        let mut at = self.behind(hole);
        while let Some(slot) = self.slots[at] {
            let home = slot.hash as usize & mask;
            // How far it has come, and how far it would be from the hole, both behind its home.
            if at.wrapping_sub(home) & mask >= at.wrapping_sub(hole) & mask {
                self.slots[hole] = Some(slot);
                hole = at;
            }
            at = self.behind(at);
        }
        self.slots[hole] = None;
    }

    /// `None` while the table is empty.
    fn home(&self, hash: u32) -> Option<usize> {
        Some(hash as usize & self.slots.len().checked_sub(1)?)
    }

    fn behind(&self, at: usize) -> usize {
        (at + 1) & (self.slots.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::id::AgentId;
    use proptest::prelude::*;

    #[derive(Debug)]
    struct Number(u32);

    impl Viewed for Number {
        type View = u32;

        fn view(&self) -> u32 {
            self.0
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Insert(u8, u32),
        Change(u8, u32),
        Remove(u8),
        Look,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (any::<u8>(), any::<u32>()).prop_map(|(key, value)| Step::Insert(key, value)),
            2 => (any::<u8>(), any::<u32>()).prop_map(|(key, value)| Step::Change(key, value)),
            3 => any::<u8>().prop_map(Step::Remove),
            1 => Just(Step::Look),
        ]
    }

    proptest! {
        /// It is a map, whatever happens, and its views are never old.
        #[test]
        fn it_holds_what_a_map_would(steps in prop::collection::vec(step(), 0..400)) {
            let id = |key: u8| AgentId::new(format!("4f1c-S{key}"));
            let (mut kept, mut map) = (Kept::<AgentId, Number>::new("secret"), BTreeMap::new());
            for step in steps {
                match step {
                    Step::Insert(key, value) => {
                        kept.insert(id(key), Number(value));
                        map.insert(id(key), value);
                    }
                    Step::Change(key, value) => {
                        let changed = kept.get_mut(&id(key)).map(|number| number.0 = value);
                        prop_assert_eq!(changed, map.get_mut(&id(key)).map(|number| *number = value));
                    }
                    Step::Remove(key) => {
                        prop_assert_eq!(kept.remove(&id(key)).map(|it| it.0), map.remove(&id(key)));
                        prop_assert!(!kept.contains(&id(key)));
                    }
                    Step::Look => {
                        let views: Vec<_> = kept.views().iter().map(|view| **view).collect();
                        prop_assert_eq!(views, map.values().copied().collect::<Vec<_>>());
                    }
                }
                prop_assert_eq!(kept.table.count, map.len());
            }
            for key in 0..=u8::MAX {
                prop_assert_eq!(kept.get(&id(key)).map(|it| it.0), map.get(&id(key)).copied());
            }
            prop_assert!(kept.iter().map(|(key, value)| (key, &value.0)).eq(&map));
        }

        /// Hashes that meet are told apart by what they stand for, and the table has no holes that hide one.
        #[test]
        fn hashes_may_meet(steps in prop::collection::vec((any::<bool>(), 0..40u32), 0..300)) {
            let (mut table, mut places) = (Table::default(), std::collections::BTreeSet::new());
            let hash = |place: u32| (place % 5).wrapping_sub(2);
            for (is_insert, place) in steps {
                match is_insert {
                    true if places.insert(place) => table.insert(hash(place), place),
                    false if places.remove(&place) => table.remove(hash(place), place),
                    _ => {}
                }
                for place in 0..40 {
                    let found = table.find(hash(place), |other| other == place);
                    prop_assert_eq!(found.is_some(), places.contains(&place));
                }
            }
        }
    }
}
