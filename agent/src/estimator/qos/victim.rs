//! Who is killed, and who gives up how much memory.

use super::Lent;

/// A container is left this much: less than that it could not even end in order.
const SQUEEZED_MIN_BYTES: u64 = 32 << 20;

/// Whose end costs least: who has done least work; of equals, the youngest.
fn cost(lent: &Lent) -> (u64, std::cmp::Reverse<u64>) {
    // Milliseconds: below that it is chance.
    (lent.cpu_ns / 1_000_000, std::cmp::Reverse(lent.began.0))
}

pub(super) fn for_cpu(lent: &[Lent]) -> Option<&Lent> {
    lent.iter().min_by_key(|it| cost(it))
}

/// The cheapest of those who hold what is short; where nobody holds as much, who holds most.
pub(super) fn for_memory(lent: &[Lent], short_bytes: u64) -> Option<&Lent> {
    let enough = lent.iter().filter(|it| it.memory_bytes >= short_bytes).min_by_key(|it| cost(it));
    enough.or_else(|| lent.iter().filter(|it| it.memory_bytes > 0).max_by_key(|it| it.memory_bytes))
}

/// Everybody gives up what is short in proportion to what it holds.
pub(super) fn squeezed(lent: &[Lent], short_bytes: u64) -> impl Iterator<Item = (&Lent, u64)> {
    let held: u128 = lent.iter().map(|it| u128::from(it.memory_bytes)).sum();
    lent.iter().map(move |it| {
        let part = u128::from(short_bytes) * u128::from(it.memory_bytes) / held.max(1);
        let left = it.memory_bytes.saturating_sub(u64::try_from(part).unwrap_or(u64::MAX));
        (it, left.max(SQUEEZED_MIN_BYTES))
    })
}
