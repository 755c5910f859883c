//! Figures of several containers at once, column by column.

use crate::error::WireError;
use crate::generated::report_capnp::rows;
use model::usage::{Group, Source, Sources};

/// A 64-bit figure as it lies in the message: little-endian, and not aligned.
pub type Word = [u8; 8];

/// Bits that a source takes in a row's word of sources.
const SOURCE_BITS: usize = 3;
const _: () = assert!(Group::COUNT * SOURCE_BITS < 63, "the top bit is left to whoever stores the word");

/// Words of the bitmap that are looked at: figures beyond are known to nobody yet.
const TOLD_WORDS: usize = 2;

/// Rows of figures, lent from the receive buffer.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a> {
    sources: &'a [Word],
    /// Which figures are told, a bit each.
    told: [u64; TOLD_WORDS],
    /// Column after column, each as long as `sources`.
    figures: &'a [Word],
}

impl<'a> Rows<'a> {
    pub(super) fn new(reader: rows::Reader<'a>) -> Result<Self, WireError> {
        let sources = words(reader.get_sources()?, "sources")?;
        if sources.len() != reader.get_count() as usize {
            return Err(WireError::field("sources", "are not as many as rows"));
        }
        let (mut told, mut count) = ([0; TOLD_WORDS], 0);
        for (at, bits) in reader.get_told()?.iter().enumerate() {
            count += bits.count_ones() as usize;
            if let Some(word) = told.get_mut(at) {
                *word = bits;
            }
        }
        let figures = words(reader.get_figures()?, "figures")?;
        if Some(figures.len()) != count.checked_mul(sources.len()) {
            return Err(WireError::field("figures", "are not as many as told"));
        }
        Ok(Self { sources, told, figures })
    }

    /// How many rows.
    pub fn len(&self) -> usize {
        self.sources.len()
    }

    pub fn is_empty(&self) -> bool {
        self.sources.is_empty()
    }

    /// A word a row; [`sources_of`] reads it.
    pub fn sources(&self) -> &'a [Word] {
        self.sources
    }

    /// The first `COLUMNS` columns, each a word a row; `None` where every row is zero. From an older agent there are
    /// fewer; from a newer one more, which stand behind and are not looked at.
    pub fn columns<const COLUMNS: usize>(&self) -> [Option<&'a [Word]>; COLUMNS] {
        const { assert!(COLUMNS <= TOLD_WORDS * 64) };
        let mut columns = [None; COLUMNS];
        let mut rest = self.figures;
        for (word, bits) in self.told.iter().enumerate() {
            let mut bits = *bits;
            while bits != 0 {
                let at = word * 64 + bits.trailing_zeros() as usize;
                let (column, behind) = rest.split_at(self.sources.len());
                let Some(place) = columns.get_mut(at) else { return columns };
                *place = Some(column);
                rest = behind;
                bits &= bits - 1;
            }
        }
        columns
    }

    /// One row, `None` beyond the last.
    pub fn row<const COLUMNS: usize>(&self, at: usize) -> Option<([u64; COLUMNS], Sources)> {
        let sources = sources_of(u64::from_le_bytes(*self.sources.get(at)?));
        let figure = |column: Option<&[Word]>| column.map_or(0, |words| u64::from_le_bytes(words[at]));
        Some((self.columns().map(figure), sources))
    }
}

fn words<'a>(data: &'a [u8], field: &'static str) -> Result<&'a [Word], WireError> {
    match data.as_chunks() {
        (words, []) => Ok(words),
        _ => Err(WireError::field(field, "are not whole words")),
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
    out.set_count(crate::convert::list_len(count));
    let put = |to: &mut [u8], of: &mut dyn Iterator<Item = u64>| {
        for (place, word) in to.as_chunks_mut().0.iter_mut().zip(of) {
            *place = word.to_le_bytes();
        }
    };
    put(out.reborrow().init_sources(crate::convert::list_len(count * 8)), &mut sources.iter().copied());
    let mut bits = out.reborrow().init_told(crate::convert::list_len(columns.div_ceil(64)));
    for at in 0..bits.len() {
        let mine = told.iter().filter(|column| **column / 64 == at as usize);
        bits.set(at, mine.fold(0, |word, column| word | 1 << (column % 64)));
    }
    let figures = out.init_figures(crate::convert::list_len(told.len() * count * 8));
    put(figures, &mut told.iter().flat_map(|column| (0..count).map(|row| figure(*column, row))));
}
