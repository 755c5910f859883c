//! A bank: the newest figures of a few containers, a column a figure.

use super::line;
use super::sync::{AtomicU64, Ordering};
use super::version::Version;
use model::usage::Sources;
use std::ops::Range;
use wire::report::{Part, Rows, Word, sources_of};

/// Says in the word of sources that the figures are a container's last; `wire` leaves that bit free.
pub(super) const FINAL: u64 = 1 << 63;

/// Cells are written by the [`super::Writer`] and read by everyone, all behind one version. With eight rows a column is
/// one cache line, and the bank's columns lie one after another: what writes a report walks forward through memory, and
/// what scans one column touches nothing of the others.
#[repr(C, align(64))]
pub(super) struct Bank<const ROWS: usize, const COLUMNS: usize> {
    columns: [[AtomicU64; ROWS]; COLUMNS],
    sources: [AtomicU64; ROWS],
    /// Whose each row is, as [`super::Row::word`] says; zero is nobody's.
    owners: [AtomicU64; ROWS],
    version: Version,
    /// Microseconds since 1970 by the agent's clock, of the newest figures.
    timestamp: AtomicU64,
}

/// What a row says.
pub(super) struct Seen<const COLUMNS: usize> {
    pub(super) timestamp: u64,
    pub(super) words: [u64; COLUMNS],
    pub(super) sources: Sources,
    pub(super) is_final: bool,
}

impl<const ROWS: usize, const COLUMNS: usize> Default for Bank<ROWS, COLUMNS> {
    fn default() -> Self {
        let column = || std::array::from_fn(|_| AtomicU64::new(0));
        Self {
            version: Version::default(),
            timestamp: AtomicU64::new(0),
            owners: column(),
            sources: column(),
            columns: std::array::from_fn(|_| column()),
        }
    }
}

fn set(cell: &AtomicU64, word: u64) {
    cell.store(word, Ordering::Relaxed);
}

/// Runs of bits that are set, lowest first: where each begins and ends.
#[inline(always)]
fn each_run(mut bits: u128, mut see: impl FnMut(Range<usize>)) {
    while bits != 0 {
        let start = bits.trailing_zeros();
        let end = start + (bits >> start).trailing_ones();
        see(start as usize..end as usize);
        bits &= u128::MAX << end;
    }
}

impl<const ROWS: usize, const COLUMNS: usize> Bank<ROWS, COLUMNS> {
    /// Writes a part of a report's rows, of which it tells those figures. `written` has a bit for each column that may
    /// hold something else than zeros; the others are not touched where the report has nothing for them either.
    pub(super) fn write(
        &self,
        part: Part<'_>,
        told: u128,
        owners: &[u64; ROWS],
        written: &mut u128,
        timestamp: u64,
    ) {
        const { assert!(COLUMNS < 128 && ROWS <= 8) };
        let known = (1 << COLUMNS) - 1;
        let told = told & known;
        self.version.write(|| {
            set(&self.timestamp, timestamp);
            self.owners.iter().zip(owners).for_each(|(cell, owner)| set(cell, *owner));
            line::copy(&self.sources, part.sources());
            // The compiler knows how many each of these copies, and unrolls it.
            match part.len() {
                full if full == ROWS => self.write_lines(part.words(), told),
                7 => self.write_columns::<7>(part.words(), told),
                6 => self.write_columns::<6>(part.words(), told),
                5 => self.write_columns::<5>(part.words(), told),
                4 => self.write_columns::<4>(part.words(), told),
                3 => self.write_columns::<3>(part.words(), told),
                2 => self.write_columns::<2>(part.words(), told),
                _ => self.write_columns::<1>(part.words(), told),
            }
            each_run(*written & known & !told, |columns| {
                self.columns[columns].as_flattened().iter().for_each(|cell| set(cell, 0));
            });
        });
        *written = told;
    }

    /// Columns of all rows, which lie in the message as they do here.
    fn write_lines(&self, mut words: &[Word], told: u128) {
        each_run(told, |columns| {
            let (here, rest) = words.split_at(columns.len() * ROWS);
            line::copy(self.columns[columns].as_flattened(), here);
            words = rest;
        });
    }

    /// Columns of the first `COUNT` rows.
    fn write_columns<const COUNT: usize>(&self, words: &[Word], told: u128) {
        let mut parts = words.as_chunks::<COUNT>().0.iter();
        each_run(told, |columns| {
            for (cells, words) in self.columns[columns].iter().zip(&mut parts) {
                if let Some(cells) = cells.first_chunk::<COUNT>() {
                    line::copy(cells, words);
                }
            }
        });
    }

    /// As [`Self::write`], but figures that `is_counter` names do not step back in the rows that `held` has a bit for: a
    /// figure that is lower than what was shown stays as it is. Returns the rows in which some did.
    pub(super) fn write_held(
        &self,
        rows: &Rows<'_>,
        part: Part<'_>,
        (owners, held): (&[u64; ROWS], u8),
        is_counter: &[bool; COLUMNS],
        timestamp: u64,
    ) -> u8 {
        let mut lower = 0;
        self.version.write(|| {
            set(&self.timestamp, timestamp);
            self.owners.iter().zip(owners).for_each(|(cell, owner)| set(cell, *owner));
            line::copy(&self.sources, part.sources());
            for (at, is_counter) in is_counter.iter().enumerate() {
                let column = rows.place(at).map_or(&[][..], |place| part.column(place));
                for row in 0..ROWS {
                    let word = column.get(row).map_or(0, |word| u64::from_le_bytes(*word));
                    let shown = self.columns[at][row].load(Ordering::Relaxed);
                    let stays = held >> row & 1 == 1 && *is_counter && word < shown;
                    set(&self.columns[at][row], if stays { shown } else { word });
                    lower |= u8::from(stays) << row;
                }
            }
        });
        lower
    }

    /// One row alone.
    pub(super) fn write_row(&self, row: usize, owner: u64, sources: u64, words: &[u64; COLUMNS]) {
        self.version.write(|| {
            set(&self.owners[row], owner);
            set(&self.sources[row], sources);
            self.columns.iter().zip(words).for_each(|(cells, word)| set(&cells[row], *word));
        });
    }

    /// The row's figures, if it is that owner's.
    pub(super) fn read(&self, row: usize, owner: u64) -> Option<Seen<COLUMNS>> {
        self.version.read(|| {
            if self.owners[row].load(Ordering::Relaxed) != owner {
                return None;
            }
            let words = std::array::from_fn(|column| self.columns[column][row].load(Ordering::Relaxed));
            let sources = self.sources[row].load(Ordering::Relaxed);
            let timestamp = self.timestamp.load(Ordering::Relaxed);
            let is_final = sources & FINAL != 0;
            Some(Seen { timestamp, words, sources: sources_of(sources), is_final })
        })
    }

    /// What the writer itself has left there.
    pub(super) fn word(&self, column: usize, row: usize) -> u64 {
        self.columns[column][row].load(Ordering::Relaxed)
    }
}
