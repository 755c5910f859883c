//! Which agent or framework the allocator's dense key means.

use crate::allocator::key::{Key, KeyPool};

/// Keys in use, with the ids they stand for.
#[derive(Debug)]
pub(super) struct Keys<K, I> {
    pool: KeyPool<K>,
    /// By index. A key that is not live has no meaning, whatever stands here.
    ids: Vec<I>,
}

impl<K, I> Default for Keys<K, I> {
    fn default() -> Self {
        Self { pool: KeyPool::default(), ids: Vec::new() }
    }
}

impl<K: Key, I: Clone> Keys<K, I> {
    pub(super) fn take(&mut self, id: &I) -> K {
        let key = self.pool.take();
        match self.ids.get_mut(key.index() as usize) {
            Some(slot) => *slot = id.clone(),
            None => self.ids.push(id.clone()),
        }
        key
    }

    /// `None` when what the key stood for is gone.
    pub(super) fn id(&self, key: K) -> Option<&I> {
        self.pool.is_live(key).then(|| &self.ids[key.index() as usize])
    }

    pub(super) fn give_back(&mut self, key: K) {
        self.pool.give_back(key);
    }
}
