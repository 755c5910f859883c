//! Names of agents and frameworks between the cluster core and the allocator: dense, so that both can index by them.

/// An agent as the allocator knows it. Indices are dense and used again; a generation of one is used once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AgentKey {
    pub index: u32,
    pub generation: u32,
}

/// A framework as the allocator knows it. Indices are dense and used again; a generation of one is used once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FrameworkKey {
    pub index: u32,
    pub generation: u32,
}

/// What a [`KeyPool`] gives out.
pub trait Key: Copy {
    fn new(index: u32, generation: u32) -> Self;
    fn index(self) -> u32;
    fn generation(self) -> u32;
}

macro_rules! keys {
    ($($name:ident)*) => {$(
        impl Key for $name {
            fn new(index: u32, generation: u32) -> Self {
                Self { index, generation }
            }

            fn index(self) -> u32 {
                self.index
            }

            fn generation(self) -> u32 {
                self.generation
            }
        }
    )*};
}

keys! { AgentKey FrameworkKey }

/// Gives out keys of one kind, and says which are still in use. The cluster core has one a kind.
#[derive(Debug)]
pub struct KeyPool<K> {
    /// By index: the latest generation given out, and whether it is in use.
    generations: Vec<(u32, bool)>,
    free: Vec<u32>,
    kind: std::marker::PhantomData<K>,
}

impl<K> Default for KeyPool<K> {
    fn default() -> Self {
        Self { generations: Vec::new(), free: Vec::new(), kind: std::marker::PhantomData }
    }
}

impl<K: Key> KeyPool<K> {
    pub fn take(&mut self) -> K {
        if let Some(index) = self.free.pop() {
            let slot = &mut self.generations[index as usize];
            *slot = (slot.0.wrapping_add(1), true);
            return K::new(index, slot.0);
        }
        let index = u32::try_from(self.generations.len()).expect("fewer than 2^32 agents or frameworks");
        self.generations.push((0, true));
        K::new(index, 0)
    }

    pub fn is_live(&self, key: K) -> bool {
        self.generations.get(key.index() as usize) == Some(&(key.generation(), true))
    }

    /// The index may be given out again, under another generation.
    ///
    /// # Panics
    /// When the key is not in use.
    pub fn give_back(&mut self, key: K) {
        assert!(self.is_live(key), "a key is given back once");
        self.generations[key.index() as usize].1 = false;
        self.free.push(key.index());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_comes_back_under_another_generation() {
        let mut pool = KeyPool::<AgentKey>::default();
        let first = pool.take();
        let second = pool.take();
        assert_ne!(first.index, second.index);
        pool.give_back(first);
        assert!(!pool.is_live(first));
        let third = pool.take();
        assert_eq!(third.index, first.index);
        assert_ne!(third.generation, first.generation);
        assert!(pool.is_live(third) && !pool.is_live(first) && pool.is_live(second));
    }
}
