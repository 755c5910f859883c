//! A map whose values are also published: each has a view for snapshots, made anew only after the value may have changed.

use std::collections::BTreeMap;
use std::sync::Arc;

/// What a value looks like from outside.
pub(super) trait Viewed {
    type View: std::fmt::Debug;
    fn view(&self) -> Self::View;
}

/// A value, and its newest view while that is still true.
type Entry<T> = (T, Option<Arc<<T as Viewed>::View>>);

/// Values by key.
#[derive(Debug)]
pub(super) struct Kept<K, T: Viewed> {
    entries: BTreeMap<K, Entry<T>>,
}

impl<K, T: Viewed> Default for Kept<K, T> {
    fn default() -> Self {
        Self { entries: BTreeMap::new() }
    }
}

impl<K: Ord, T: Viewed> Kept<K, T> {
    pub(super) fn get(&self, key: &K) -> Option<&T> {
        self.entries.get(key).map(|(value, _)| value)
    }

    /// To change it: its view is forgotten.
    pub(super) fn get_mut(&mut self, key: &K) -> Option<&mut T> {
        let (value, view) = self.entries.get_mut(key)?;
        *view = None;
        Some(value)
    }

    pub(super) fn contains(&self, key: &K) -> bool {
        self.entries.contains_key(key)
    }

    pub(super) fn insert(&mut self, key: K, value: T) {
        self.entries.insert(key, (value, None));
    }

    pub(super) fn remove(&mut self, key: &K) -> Option<T> {
        self.entries.remove(key).map(|(value, _)| value)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&K, &T)> {
        self.entries.iter().map(|(key, (value, _))| (key, value))
    }

    /// Every view, in the order of the keys.
    pub(super) fn views(&mut self) -> Vec<Arc<T::View>> {
        let view =
            |(value, view): &mut Entry<T>| Arc::clone(view.get_or_insert_with(|| Arc::new(value.view())));
        self.entries.values_mut().map(view).collect()
    }
}
