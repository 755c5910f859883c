//! Copies words out of a report into cells, several at a time: one by one, as the language stores atomics, they would be
//! twice as many stores, and storing is most of what a report costs.
#![cfg_attr(
    all(target_arch = "x86_64", not(miri)),
    expect(unsafe_code, reason = "the language has no relaxed store of several atomics at once")
)]

use super::sync::{AtomicU64, Ordering};
use wire::report::Word;

/// The first cells hold the words; as relaxed stores do it, a cell after the other in any order. Panics if there are fewer
/// cells.
#[inline(always)]
pub(super) fn copy(cells: &[AtomicU64], words: &[Word]) {
    let cells = &cells[..words.len()];
    let ((eights, cells), (told, words)) = (cells.as_chunks::<8>(), words.as_chunks::<8>());
    for (cells, words) in eights.iter().zip(told) {
        let (cells, words) = (cells.as_chunks::<4>().0, words.as_chunks::<4>().0);
        cells.iter().zip(words).for_each(|(cells, words)| copy_four(cells, words));
    }
    copy_few(cells, words);
}

/// The same of fewer than eight.
#[inline(always)]
fn copy_few(cells: &[AtomicU64], words: &[Word]) {
    let ((fours, cells), (told, words)) = (cells.as_chunks::<4>(), words.as_chunks::<4>());
    fours.iter().zip(told).for_each(|(cells, words)| copy_four(cells, words));
    let pairs = cells.iter().zip(words);
    pairs.for_each(|(cell, word)| cell.store(u64::from_le_bytes(*word), Ordering::Relaxed));
}

#[cfg(all(target_arch = "x86_64", not(miri)))]
#[inline(always)]
fn copy_four(cells: &[AtomicU64; 4], words: &[Word; 4]) {
    // SAFETY: reads the 32 bytes of `words` and writes the 32 of `cells`, which may be written through a shared reference as
    // they are atomics, and nothing else. To the language this is what the assembly stands for, a relaxed store to each cell:
    // the processor tears no aligned word, and what a reader sees of several while they are written it throws away
    // (`version.rs`). Without `nomem`, the compiler moves no access of memory across. Words are little-endian, as this is.
    unsafe {
        std::arch::asm!(
            "movups {one}, [{words}]",
            "movups {two}, [{words} + 16]",
            "movups [{cells}], {one}",
            "movups [{cells} + 16], {two}",
            one = out(xmm_reg) _,
            two = out(xmm_reg) _,
            words = in(reg) words.as_ptr(),
            cells = in(reg) cells.as_ptr(),
            options(nostack, preserves_flags)
        );
    }
}

#[cfg(not(all(target_arch = "x86_64", not(miri))))]
fn copy_four(cells: &[AtomicU64; 4], words: &[Word; 4]) {
    let pairs = cells.iter().zip(words);
    pairs.for_each(|(cell, word)| cell.store(u64::from_le_bytes(*word), Ordering::Relaxed));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<const COUNT: usize>() {
        // Not aligned, as in a message.
        let bytes: Vec<u8> = (0..=255).collect();
        let words: &[Word; COUNT] = bytes[3..].as_chunks().0.first_chunk().expect("long enough");
        let cells: [AtomicU64; 25] = std::array::from_fn(|_| AtomicU64::new(7));
        copy(&cells, words);
        let got = cells.map(|cell| cell.load(Ordering::Relaxed));
        assert_eq!(got[..COUNT], words.map(u64::from_le_bytes));
        assert_eq!(got[COUNT..], [7; 25][COUNT..], "and no more");
    }

    #[test]
    fn as_many_cells_as_words_are_written() {
        check::<0>();
        check::<1>();
        check::<2>();
        check::<5>();
        check::<8>();
        check::<16>();
        check::<23>();
    }
}
