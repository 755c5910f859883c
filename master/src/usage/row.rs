//! One chunk of the table: a column per figure, and a version per row that tells readers whether what they saw was whole.

use super::Figures;
use model::usage::{Group, Source, Sources, Usage};
use std::sync::atomic::{AtomicU64, Ordering, fence};

/// Rows of a chunk. A column of a chunk is 2 KiB: what scans one column touches nothing of the others.
pub(super) const ROWS: usize = 256;

/// Columns: the figures of [`Usage`], and one that packs what is small (see [`pack`]).
const COLUMNS: usize = Usage::WORDS + 1;

type Column = [AtomicU64; ROWS];

/// `version` is written by the one [`super::Writer`] and read by everyone: odd while the row is being written. The
/// writer's release fence after making it odd, and its release store when making it even, pair with the reader's acquire
/// load before and acquire fence after it looks at the columns; the columns themselves are relaxed.
pub(super) struct Chunk {
    version: Column,
    generation: Column,
    columns: [Column; COLUMNS],
}

impl Default for Chunk {
    fn default() -> Self {
        let column = || std::array::from_fn(|_| AtomicU64::new(0));
        Self { version: column(), generation: column(), columns: std::array::from_fn(|_| column()) }
    }
}

impl Chunk {
    pub(super) fn write(&self, at: usize, generation: u32, figures: &Figures) {
        let version = self.version[at].load(Ordering::Relaxed);
        self.version[at].store(version + 1, Ordering::Relaxed);
        fence(Ordering::Release);
        self.generation[at].store(u64::from(generation), Ordering::Relaxed);
        for (column, figure) in self.columns.iter().zip(pack(figures)) {
            column[at].store(figure, Ordering::Relaxed);
        }
        self.version[at].store(version + 2, Ordering::Release);
    }

    /// Looks until it has seen a row that was whole. The writer is never interrupted by us, so this ends as soon as the
    /// writing thread gets its few dozen stores done.
    pub(super) fn read(&self, at: usize, generation: u32) -> Option<Figures> {
        loop {
            let before = self.version[at].load(Ordering::Acquire);
            let seen = self.generation[at].load(Ordering::Relaxed);
            let figures: [u64; COLUMNS] =
                std::array::from_fn(|column| self.columns[column][at].load(Ordering::Relaxed));
            fence(Ordering::Acquire);
            if before.is_multiple_of(2) && self.version[at].load(Ordering::Relaxed) == before {
                return (seen == u64::from(generation)).then(|| unpack(&figures));
            }
            std::thread::yield_now();
        }
    }
}

/// Figures as words, in the order of the columns. The last word holds the sources (two bits each, the first group lowest)
/// and above them whether the figures are final.
fn pack(figures: &Figures) -> [u64; COLUMNS] {
    let sources = figures.usage.sources.to_array().into_iter().enumerate();
    let small = sources.fold(0, |word, (group, source)| word | (source as u64) << (2 * group));
    let mut words = [small | u64::from(figures.is_final) << FINAL_BIT; COLUMNS];
    words[..Usage::WORDS].copy_from_slice(&figures.usage.to_words());
    words
}

fn unpack(words: &[u64; COLUMNS]) -> Figures {
    let small = words[Usage::WORDS];
    let sources = std::array::from_fn(|group| source(small >> (2 * group)));
    let figures = std::array::from_fn(|at| words[at]);
    Figures {
        usage: Usage::from_words(figures, Sources::from_array(sources)),
        is_final: small >> FINAL_BIT & 1 == 1,
    }
}

const FINAL_BIT: usize = 2 * Group::COUNT;

fn source(bits: u64) -> Source {
    match bits & 3 {
        0 => Source::Bpf,
        1 => Source::Cgroup,
        2 => Source::Proc,
        _ => Source::None,
    }
}

// `pack` writes sources by their discriminants and `source` reads them back.
const _: () = assert!(Source::Bpf as u8 == 0 && Source::Cgroup as u8 == 1);
const _: () = assert!(Source::Proc as u8 == 2 && Source::None as u8 == 3);
