//! What tells a reader whether it saw the cells behind it whole, without ever holding up their one writer.

use super::sync::{AtomicU64, Ordering, fence, yield_now};

/// Odd while the cells behind it are being written. Written by the table's one [`super::Writer`], read by everyone: the
/// writer's release fence after making it odd, and its release store when making it even, pair with the reader's acquire
/// load before and acquire fence after it looks at the cells. The cells are atomics of their own, and relaxed.
#[derive(Debug, Default)]
pub(super) struct Version(AtomicU64);

impl Version {
    /// Writes cells. What a reader sees of them it sees of one such call, or of none.
    pub(super) fn write<T>(&self, cells: impl FnOnce() -> T) -> T {
        let version = self.0.load(Ordering::Relaxed);
        self.0.store(version + 1, Ordering::Relaxed);
        fence(Ordering::Release);
        let result = cells();
        self.0.store(version + 2, Ordering::Release);
        result
    }

    /// Looks at cells until it has seen them whole. The writer is never interrupted by us, so this ends as soon as the
    /// writing thread gets its few hundred stores done. `look` must bear what is half written.
    pub(super) fn read<T>(&self, mut look: impl FnMut() -> T) -> T {
        loop {
            let before = self.0.load(Ordering::Acquire);
            if before.is_multiple_of(2) {
                let seen = look();
                fence(Ordering::Acquire);
                if self.0.load(Ordering::Relaxed) == before {
                    return seen;
                }
            }
            yield_now();
        }
    }
}
