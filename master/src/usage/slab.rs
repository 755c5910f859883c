//! Things that are made when needed, never move and are never given back, so that anyone may look at them at any time.

use std::sync::OnceLock;

/// `CHUNK` things are made at a time.
pub(super) struct Slab<T, const CHUNK: usize> {
    /// Set once, from the front.
    chunks: Box<[OnceLock<Box<[T]>>]>,
}

impl<T: Default, const CHUNK: usize> Slab<T, CHUNK> {
    /// Room for at least so many.
    pub(super) fn new(count_max: usize) -> Self {
        Self { chunks: (0..count_max.div_ceil(CHUNK)).map(|_| OnceLock::new()).collect() }
    }

    pub(super) fn get(&self, at: usize) -> Option<&T> {
        Some(&self.chunks.get(at / CHUNK)?.get()?[at % CHUNK])
    }

    /// As [`Self::get`], after making it if it is the next. `None` beyond the room there is.
    pub(super) fn make(&self, at: usize) -> Option<&T> {
        let chunk = self.chunks.get(at / CHUNK)?;
        Some(&chunk.get_or_init(|| (0..CHUNK).map(|_| T::default()).collect())[at % CHUNK])
    }

    /// How many are made.
    pub(super) fn made(&self) -> usize {
        self.chunks.iter().take_while(|chunk| chunk.get().is_some()).count() * CHUNK
    }
}
