//! Where a row stands at the moment. Rows move when their container is over or their agent comes back.

use super::sync::{AtomicU64, Ordering};

/// Looks for something that moves. Its one writer writes it at the new place, then stores that in `place`, and only then
/// clears or uses again the old place; so that a reader who finds nothing at a place, and `place` unchanged since, knows
/// that there is nothing. `look` reads a place under its [`super::version::Version`], whose acquire pairs with the writer's
/// release of the old place: who sees that cleared sees the new `place` too.
pub(super) fn find<T>(place: &AtomicU64, mut look: impl FnMut(u64) -> Option<T>) -> Option<T> {
    loop {
        let before = place.load(Ordering::Acquire);
        let found = look(before);
        if found.is_some() || place.load(Ordering::Acquire) == before {
            return found;
        }
    }
}
