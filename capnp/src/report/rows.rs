//! Figures of several containers at once: eight rows lie together, column by column, as the master keeps them.

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

/// How many rows lie together.
pub const PART_ROWS: usize = 8;

/// Rows of figures, lent from the receive buffer.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a> {
    count: usize,
    told: u128,
    /// Part after part.
    words: &'a [Word],
}

/// [`PART_ROWS`] rows that lie together, or as many as are left at the end.
#[derive(Clone, Copy, Debug)]
pub struct Part<'a> {
    count: usize,
    /// Column after column: of sources, and of each figure that is told.
    words: &'a [Word],
}

impl<'a> Part<'a> {
    /// How many rows; never none.
    #[expect(clippy::len_without_is_empty, reason = "it never is")]
    pub fn len(&self) -> usize {
        self.count
    }

    /// A word a row; [`sources_of`] reads it.
    pub fn sources(&self) -> &'a [Word] {
        &self.words[..self.count]
    }

    /// Columns of the figures that are told, one after another, each a word a row.
    pub fn words(&self) -> &'a [Word] {
        &self.words[self.count..]
    }

    /// The column at that [place](Rows::place), a word a row.
    pub fn column(&self, place: usize) -> &'a [Word] {
        &self.words[(1 + place) * self.count..][..self.count]
    }
}

impl<'a> Rows<'a> {
    pub(super) fn new(reader: rows::Reader<'a>) -> Result<Self, WireError> {
        let (words, []) = reader.get_words()?.as_chunks() else {
            return Err(WireError::field("words", "are not whole"));
        };
        let count = reader.get_count() as usize;
        let told = u128::from(reader.get_told()) | u128::from(reader.get_told_beyond()) << 64;
        match (1 + told.count_ones() as usize).checked_mul(count) {
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

    /// All rows, by parts.
    pub fn parts(&self) -> impl ExactSizeIterator<Item = Part<'a>> + use<'a> {
        let (columns, all) = (self.columns(), self.count);
        let parts = self.words.chunks(columns * PART_ROWS).enumerate();
        parts.map(move |(at, words)| Part { count: (all - at * PART_ROWS).min(PART_ROWS), words })
    }

    /// With that of the sources.
    fn columns(&self) -> usize {
        1 + self.told.count_ones() as usize
    }

    /// Which figures are told, a bit each. From an older agent there are fewer, from a newer one more.
    pub fn told(&self) -> u128 {
        self.told
    }

    /// Where each part has a figure's column; `None` where every row is zero.
    pub fn place(&self, figure: usize) -> Option<usize> {
        // By halves: most figures are in the lower one, and the processor counts in words.
        let (low, high) = (self.told as u64, (self.told >> 64) as u64);
        let (half, before) = if figure < 64 { (low, 0) } else { (high, low.count_ones()) };
        let bit = 1 << (figure % 64);
        (half & bit != 0).then(|| (before + (half & (bit - 1)).count_ones()) as usize)
    }

    /// One row, `None` beyond the last.
    pub fn row<const COLUMNS: usize>(&self, at: usize) -> Option<([u64; COLUMNS], Sources)> {
        const { assert!(COLUMNS <= TOLD_MAX) };
        let (part, at) = (self.parts().nth(at / PART_ROWS)?, at % PART_ROWS);
        let word = |words: &[Word]| words.get(at).copied().map(u64::from_le_bytes);
        let sources = sources_of(word(part.sources())?);
        let figure = |figure| self.place(figure).and_then(|place| word(part.column(place))).unwrap_or(0);
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
    let mut places = out.init_words(list_len((1 + told.len()) * count * 8)).as_chunks_mut().0.iter_mut();
    for first in (0..count).step_by(PART_ROWS) {
        let rows = first..count.min(first + PART_ROWS);
        let figures = told.iter().flat_map(|column| rows.clone().map(|row| figure(*column, row)));
        let words = sources[rows.clone()].iter().copied().chain(figures);
        words.zip(&mut places).for_each(|(word, place)| *place = word.to_le_bytes());
    }
}
