//! Figures of several containers at once, column by column.

use crate::convert::list_len;
use crate::error::WireError;
use crate::generated::report_capnp::rows;
use model::usage::{Group, Source, Sources};

/// A 64-bit figure as it lies in the message: little-endian, and not aligned.
pub type Word = [u8; 8];

/// Bits that a source takes in a row's word of sources.
const SOURCE_BITS: usize = 3;
const _: () = assert!(Group::COUNT * SOURCE_BITS < 63, "the top bit is left to whoever stores the word");

/// Figures that the bitmap has room for.
const TOLD_MAX: usize = 128;

/// Rows of figures, lent from the receive buffer.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a> {
    count: usize,
    told: u128,
    /// Column after column: of sources, and of each figure that is told.
    words: &'a [Word],
}

impl<'a> Rows<'a> {
    pub(super) fn new(reader: rows::Reader<'a>) -> Result<Self, WireError> {
        let (words, []) = reader.get_words()?.as_chunks() else {
            return Err(WireError::field("words", "are not whole"));
        };
        let count = reader.get_count() as usize;
        let told = u128::from(reader.get_told()) | u128::from(reader.get_told_beyond()) << 64;
        let columns = if count > 0 { 1 + told.count_ones() as usize } else { 0 };
        match columns.checked_mul(count) {
            Some(length) if length <= words.len() => Ok(Self { count, told, words: &words[..length] }),
            _ => Err(WireError::field("words", "are fewer than told")),
        }
    }

    /// How many rows.
    pub fn len(&self) -> usize {
        self.count
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// A word a row; [`sources_of`] reads it.
    pub fn sources(&self) -> &'a [Word] {
        &self.words[..self.count]
    }

    /// Which figures are told, a bit each. From an older agent there are fewer, from a newer one more.
    pub fn told(&self) -> u128 {
        self.told
    }

    /// Columns of the figures that are told, one after another, each a word a row.
    pub fn words(&self) -> &'a [Word] {
        &self.words[self.count..]
    }

    /// One figure's column; `None` where every row is zero.
    pub fn column(&self, figure: usize) -> Option<&'a [Word]> {
        let half = if figure < 64 { self.told as u64 } else { (self.told >> 64) as u64 };
        if half >> (figure % 64) & 1 == 0 || self.count == 0 {
            return None;
        }
        // By halves: most figures are in the lower one, and the processor counts in words.
        let (low, high) = (self.told as u64, (self.told >> 64) as u64);
        let before = match figure {
            0..64 => (low & ((1 << figure) - 1)).count_ones(),
            _ => low.count_ones() + (high & ((1 << (figure - 64)) - 1)).count_ones(),
        } as usize;
        Some(&self.words[(1 + before) * self.count..][..self.count])
    }

    /// One row, `None` beyond the last.
    pub fn row<const COLUMNS: usize>(&self, at: usize) -> Option<([u64; COLUMNS], Sources)> {
        const { assert!(COLUMNS <= TOLD_MAX) };
        let sources = sources_of(u64::from_le_bytes(*self.sources().get(at)?));
        let figure = |figure| self.column(figure).map_or(0, |words| u64::from_le_bytes(words[at]));
        Some((std::array::from_fn(figure), sources))
    }
}

/// What a word of sources says. A source from a newer version reads as none, and so does the top bit.
pub fn sources_of(word: u64) -> Sources {
    let source = |group| match word >> (group * SOURCE_BITS) & ((1 << SOURCE_BITS) - 1) {
        1 => Source::Proc,
        2 => Source::Cgroup,
        3 => Source::Bpf,
        _ => Source::None,
    };
    Sources::from_array(std::array::from_fn(source))
}

/// The word that [`sources_of`] reads.
pub fn word_of(sources: Sources) -> u64 {
    let number = |source| match source {
        Source::None => 0,
        Source::Proc => 1,
        Source::Cgroup => 2,
        Source::Bpf => 3,
    };
    let groups = sources.to_array().into_iter().enumerate();
    groups.fold(0, |word, (group, source)| word | number(source) << (group * SOURCE_BITS))
}

/// Writes as many rows as there are sources; `figure` gives that of a column and a row.
pub(super) fn write(
    columns: usize,
    sources: &[u64],
    figure: impl Fn(usize, usize) -> u64,
    mut out: rows::Builder<'_>,
) {
    let count = sources.len();
    let is_told = |column: &usize| (0..count).any(|row| figure(*column, row) != 0);
    let told: Vec<usize> = (0..columns).filter(is_told).collect();
    let bits = told.iter().fold(0_u128, |bits, column| bits | 1 << column);
    out.set_count(list_len(count));
    out.set_told(bits as u64);
    out.set_told_beyond((bits >> 64) as u64);
    let places = out.init_words(list_len((1 + told.len()) * count * 8)).as_chunks_mut().0;
    let figures = told.iter().flat_map(|column| (0..count).map(|row| figure(*column, row)));
    for (place, word) in places.iter_mut().zip(sources.iter().copied().chain(figures)) {
        *place = word.to_le_bytes();
    }
}
