//! History: a few figures of the last hours, the older the coarser, in a fixed number of bytes.
//!
//! A sample is four figures of 16 bits (see [`pack`]) in one word, so 192 samples of a container take
//! [`HISTORY_BYTES`]. They lie in a ring a series, at the place that their time says.

use super::sync::{AtomicU64, Ordering};
use super::version::Version;
use model::time::UnixTime;

/// The series, finest first: seconds a sample, and samples.
const SERIES: [(u64, usize); 3] = [(1, 60), (15, 60), (300, 72)];
/// Where each series begins.
const STARTS: [usize; 3] = [0, SERIES[0].1, SERIES[0].1 + SERIES[1].1];
const SAMPLES: usize = STARTS[2] + SERIES[2].1;

/// What the history of one container or node takes in memory.
pub const HISTORY_BYTES: usize = SAMPLES * 8;

// A coarse sample is made of finer ones when its time is over; they must all be there still.
const _: () = assert!(SERIES[1].0 / SERIES[0].0 <= SERIES[0].1 as u64);
const _: () = assert!(SERIES[2].0 / SERIES[1].0 <= SERIES[1].1 as u64);

/// What was used in one second, or longer. `None`: not told, or not known yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    /// On-CPU time a second: the mean.
    pub cpu_ns: Option<u64>,
    /// The most; a node's is what it has less what is available.
    pub memory_bytes: Option<u64>,
    /// Received and sent, a second: the mean.
    pub network_bytes: Option<u64>,
    /// A container's wait for a CPU that one in a hundred exceeded, the worst of the time. A node's: how long threads
    /// waited, all together, a second; the most.
    pub run_queue_ns: Option<u64>,
}

/// Samples of one length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Series {
    /// Length of a sample, seconds.
    pub step_s: u64,
    /// When the last sample ends.
    pub end: UnixTime,
    /// Oldest first. Figures are exact to one part in 2,048.
    pub samples: Vec<Sample>,
}

/// The last minute by seconds, the last quarter of an hour by quarters of a minute, the last six hours by five minutes.
pub type History = [Series; 3];

/// A word of four figures of which none is known.
pub(super) const NOTHING: u64 = u64::MAX;
/// One figure that is not known; [`pack`] makes none such.
const UNKNOWN: u16 = u16::MAX;

/// Sixteen bits for any figure: eleven bits of it, and how far they are shifted. Below 2,048 it is exact.
const fn pack(figure: u64) -> u16 {
    // The bit that is put in makes the least shift zero.
    let shift = 53 - (figure | 1 << 10).leading_zeros();
    (shift << 10) as u16 + (figure >> shift) as u16
}

/// The middle of what [`pack`] makes the same.
const fn unpack(packed: u16) -> u64 {
    let shift = (packed >> 10).saturating_sub(1);
    ((packed as u64 - ((shift as u64) << 10)) << shift) + ((1 << shift) >> 1)
}

/// Parts of a sample's word that no report can tell before there are two: the rates.
pub(super) const RATES: u64 = 0xffff << 32 | 0xffff;

/// The word of a sample: CPU, memory, network and run queue, as [`Sample`] has them.
pub(super) fn sample_of(cpu: u64, memory: u64, network: u64, run_queue: u64) -> u64 {
    let part = |figure| u64::from(pack(figure));
    part(cpu) | part(memory) << 16 | part(network) << 32 | part(run_queue) << 48
}

/// The four figures of a word.
fn parts(word: u64) -> [u16; 4] {
    let [a, b, c, d, e, f, g, h] = word.to_le_bytes();
    [[a, b], [c, d], [e, f], [g, h]].map(u16::from_le_bytes)
}

impl Sample {
    fn of(word: u64) -> Self {
        let known = |packed| (packed != UNKNOWN).then(|| unpack(packed));
        let [cpu_ns, memory_bytes, network_bytes, run_queue_ns] = parts(word).map(known);
        Self { cpu_ns, memory_bytes, network_bytes, run_queue_ns }
    }
}

/// Makes one sample of many, for all rows of a bank at once: thousands are made in the same second, when a quarter of a minute
/// is over. Each figure is treated like any other, whatever becomes of it, so that the compiler can take several at a time.
struct Fold<const ROWS: usize> {
    /// Of what is known.
    sums: [[f32; 4]; ROWS],
    /// How many were known.
    counts: [[u16; 4]; ROWS],
    /// Packed figures are in the order of what they stand for. One more than it is, so that zero is none.
    most: [[u16; 4]; ROWS],
}

impl<const ROWS: usize> Default for Fold<ROWS> {
    fn default() -> Self {
        Self { sums: [[0.0; 4]; ROWS], counts: [[0; 4]; ROWS], most: [[0; 4]; ROWS] }
    }
}

/// What [`unpack`] gives; nothing of what is not known. A packed figure has the form of a floating-point number, of which
/// the least are without a leading one, as they are in [`f32`]: these get one that is taken off again.
fn float(packed: u16) -> f32 {
    /// What [`pack`] shifts by zero, so that there is no half to add.
    const EXACT: u16 = 1 << 11;
    /// Without a leading one.
    const SMALL: u16 = 1 << 10;
    /// `1.0 * 2^9` in the exponent's bits: the shift stands behind ten bits, and begins with one.
    const EXPONENT: u32 = (127 + 9) << 23;
    let is_small = packed < SMALL;
    let middle = if packed < EXACT { 0 } else { 1 << 12 };
    let bits = (u32::from(packed) << 13) + middle + EXPONENT + if is_small { 1 << 23 } else { 0 };
    let figure = f32::from_bits(bits) - if is_small { 1_024.0 } else { 0.0 };
    if packed == UNKNOWN { 0.0 } else { figure }
}

impl<const ROWS: usize> Fold<ROWS> {
    // In a function and loops of its own, since only such are made into instructions on several at a time.
    #[inline(never)]
    fn add(&mut self, words: &[[u8; 8]; ROWS]) {
        let figures = words.as_flattened().as_chunks().0.iter().map(|bytes| u16::from_le_bytes(*bytes));
        for (sum, packed) in self.sums.as_flattened_mut().iter_mut().zip(figures.clone()) {
            *sum += float(packed);
        }
        for (count, packed) in self.counts.as_flattened_mut().iter_mut().zip(figures.clone()) {
            *count += u16::from(packed != UNKNOWN);
        }
        for (most, packed) in self.most.as_flattened_mut().iter_mut().zip(figures) {
            *most = (*most).max(packed.wrapping_add(1));
        }
    }

    fn word(&self, row: usize) -> u64 {
        let mean = |at: usize| match self.counts[row][at] {
            0 => UNKNOWN,
            count => pack((self.sums[row][at] / f32::from(count)) as u64),
        };
        let most = |at: usize| self.most[row][at].wrapping_sub(1);
        let parts = [mean(0), most(1), mean(2), most(3)];
        parts.into_iter().rev().fold(0, |word, part| word << 16 | u64::from(part))
    }
}

/// Histories of the rows of a bank; the cells are written and read as the bank's are, behind a version of their own.
#[repr(C, align(64))]
pub(super) struct Ring<const ROWS: usize> {
    /// A sample of every row side by side, so that writing a report's touches one or two lines of memory a bank.
    samples: [[AtomicU64; ROWS]; SAMPLES],
    owners: [AtomicU64; ROWS],
    /// The second of each owner's first sample: what lies before is somebody else's.
    born: [AtomicU64; ROWS],
    version: Version,
    /// The second of the newest samples, of 1970; zero before the first.
    newest: AtomicU64,
}

impl<const ROWS: usize> Default for Ring<ROWS> {
    fn default() -> Self {
        let cells = |word| std::array::from_fn(|_| AtomicU64::new(word));
        Self {
            version: Version::default(),
            newest: AtomicU64::new(0),
            owners: cells(0),
            born: cells(0),
            samples: std::array::from_fn(|_| cells(NOTHING)),
        }
    }
}

/// Where a series has its sample with that number, which is its time over its length.
const fn place(series: usize, number: u64) -> usize {
    STARTS[series] + (number % SERIES[series].1 as u64) as usize
}

/// The samples that a series has when the newest second is that: the finest has the second itself, the others only what
/// is over.
fn numbers(series: usize, newest: u64) -> std::ops::Range<u64> {
    let (step, count) = SERIES[series];
    let end = newest / step + u64::from(series == 0);
    end.saturating_sub(count as u64)..end
}

impl<const ROWS: usize> Ring<ROWS> {
    /// Adds the samples of one second. A second that has some already has these instead; one before the newest begins
    /// everything anew, as the agent's clock was set back.
    pub(super) fn write(&self, second: u64, owners: &[u64; ROWS], born: &[u64; ROWS], words: &[u64; ROWS]) {
        self.version.write(|| {
            self.advance(second);
            for row in 0..ROWS {
                self.owners[row].store(owners[row], Ordering::Relaxed);
                self.born[row].store(born[row], Ordering::Relaxed);
                self.samples[place(0, second)][row].store(words[row], Ordering::Relaxed);
            }
        });
    }

    fn advance(&self, second: u64) {
        let newest = self.newest.load(Ordering::Relaxed);
        if second == newest {
            return;
        }
        if newest == 0 || second < newest || second - newest > SERIES[2].0 * SERIES[2].1 as u64 {
            self.samples.iter().for_each(|cells| self.fill(cells, NOTHING));
        } else {
            for (series, (step, _)) in SERIES.into_iter().enumerate().skip(1) {
                let number = newest / step;
                if second / step > number {
                    self.fold(series, number, newest);
                }
            }
            for (series, (step, count)) in SERIES.into_iter().enumerate() {
                let silent = newest / step + 1..second / step;
                let silent = silent.start.max(silent.end.saturating_sub(count as u64))..silent.end;
                silent.for_each(|number| self.fill(&self.samples[place(series, number)], NOTHING));
            }
        }
        self.newest.store(second, Ordering::Relaxed);
    }

    fn fill(&self, cells: &[AtomicU64; ROWS], word: u64) {
        cells.iter().for_each(|cell| cell.store(word, Ordering::Relaxed));
    }

    /// Makes one coarse sample of the finer ones of its time; `newest` is the last second that was written.
    fn fold(&self, series: usize, number: u64, newest: u64) {
        let (step, finer) = (SERIES[series].0, SERIES[series - 1].0);
        let ratio = step / finer;
        let last = ((number + 1) * ratio - 1).min(newest / finer);
        let parts = number * ratio..last + 1;
        let mut born = [0; ROWS];
        for (born, cell) in born.iter_mut().zip(&self.born) {
            *born = cell.load(Ordering::Relaxed) / finer;
        }
        let (mut fold, mut words) = (Fold::default(), [[0; 8]; ROWS]);
        for part in parts {
            let cells = &self.samples[place(series - 1, part)];
            for ((word, cell), born) in words.iter_mut().zip(cells).zip(born) {
                let of_another = if part < born { NOTHING } else { 0 };
                *word = (cell.load(Ordering::Relaxed) | of_another).to_le_bytes();
            }
            fold.add(&words);
        }
        for (row, cell) in self.samples[place(series, number)].iter().enumerate() {
            let is_owned = self.owners[row].load(Ordering::Relaxed) != 0;
            cell.store(if is_owned { fold.word(row) } else { NOTHING }, Ordering::Relaxed);
        }
    }

    /// Before the first sample of a new owner of `row`: takes over what `from` has of its old one, and the second of its
    /// first sample. `None` when that has no history of it.
    pub(super) fn take_over(&self, row: usize, from: &Self, its_row: usize, second: u64) -> Option<u64> {
        let newest = from.newest.load(Ordering::Relaxed);
        if newest == 0 || newest > second {
            return None;
        }
        self.version.write(|| {
            if self.newest.load(Ordering::Relaxed) != second {
                self.advance(second);
                self.fill(&self.samples[place(0, second)], NOTHING);
            }
            for series in 0..SERIES.len() {
                let known = numbers(series, newest);
                for number in numbers(series, second) {
                    let cell = &from.samples[place(series, number)][its_row];
                    let word = if known.contains(&number) { cell.load(Ordering::Relaxed) } else { NOTHING };
                    self.samples[place(series, number)][row].store(word, Ordering::Relaxed);
                }
            }
        });
        Some(from.born[its_row].load(Ordering::Relaxed))
    }

    /// The second of the owner's first sample, as the writer itself has left it.
    pub(super) fn born(&self, row: usize, owner: u64) -> Option<u64> {
        let is_its = self.owners[row].load(Ordering::Relaxed) == owner;
        is_its.then(|| self.born[row].load(Ordering::Relaxed))
    }

    pub(super) fn read(&self, row: usize, owner: u64) -> Option<History> {
        let (newest, born, words) = self.version.read(|| {
            if self.owners[row].load(Ordering::Relaxed) != owner {
                return None;
            }
            let words: [u64; SAMPLES] =
                std::array::from_fn(|at| self.samples[at][row].load(Ordering::Relaxed));
            Some((self.newest.load(Ordering::Relaxed), self.born[row].load(Ordering::Relaxed), words))
        })?;
        Some(std::array::from_fn(|series| {
            let step = SERIES[series].0;
            let numbers = numbers(series, newest);
            let end = UnixTime(numbers.end.saturating_mul(step * 1_000_000));
            let samples = numbers.filter(|number| *number >= born / step);
            let samples = samples.map(|number| Sample::of(words[place(series, number)])).collect();
            Series { step_s: step, end, samples }
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sample(n: u64) -> Sample {
        Sample { cpu_ns: Some(n), memory_bytes: Some(n), network_bytes: None, run_queue_ns: Some(n % 7) }
    }

    fn word(n: u64) -> u64 {
        sample_of(n, n, 0, n % 7) | 0xffff << 32
    }

    /// One row, a sample a second with the second's number.
    fn ring<const ROWS: usize>(seconds: impl Iterator<Item = u64>, born: u64) -> Ring<ROWS> {
        let ring = Ring::default();
        seconds.for_each(|second| {
            ring.write(second, &[1; ROWS], &[born; ROWS], &[word(second % 1_000); ROWS]);
        });
        ring
    }

    #[test]
    fn the_last_minute_is_there_by_seconds_and_what_is_older_by_longer_ones() {
        let history = ring::<1>(300_000..=307_250, 300_000).read(0, 1).expect("its own");
        let [seconds, quarters, minutes] = history;
        assert_eq!(seconds.end, UnixTime(307_251_000_000));
        assert_eq!(
            seconds.samples,
            (307_191..=307_250).map(|second| sample(second % 1_000)).collect::<Vec<_>>()
        );
        assert_eq!((quarters.samples.len(), quarters.end), (60, UnixTime(307_245_000_000)));
        let last = quarters.samples.last().expect("some");
        assert_eq!(
            (last.cpu_ns, last.memory_bytes),
            (Some(237), Some(244)),
            "the mean, and the most, of 230 to 244"
        );
        assert_eq!((last.network_bytes, last.run_queue_ns), (None, Some(6)));
        // Begun at 300,000: 24 times five minutes are over.
        assert_eq!((minutes.samples.len(), minutes.end), (24, UnixTime(307_200_000_000)));
        assert_eq!(minutes.samples[0].memory_bytes, Some(299));
    }

    #[test]
    fn silence_is_told_from_nothing() {
        let history = ring::<1>((600..700).chain(730..=740), 600).read(0, 1).expect("its own");
        let silent = history[0].samples.iter().filter(|sample| **sample == Sample::default()).count();
        assert_eq!((silent, history[0].samples.len()), (30, 60));
        assert_eq!(history[1].samples[7], Sample::default(), "705 to 719");
        assert_eq!(
            history[1].samples[6].memory_bytes,
            Some(699),
            "690 to 704, of which 690 to 699 were told"
        );
    }

    #[test]
    fn a_clock_that_is_set_back_begins_anew() {
        let history = ring::<1>((5_000..5_100).chain(2_000..2_003), 0).read(0, 1).expect("its own");
        let known = |series: &Series| series.samples.iter().filter(|it| **it != Sample::default()).count();
        assert_eq!(history.each_ref().map(known), [3, 0, 0]);
    }

    #[test]
    fn a_new_owner_has_nothing_of_the_old_ones() {
        let ring = ring::<1>(600..1_000, 600);
        assert_eq!(ring.read(0, 2), None);
        (1_000..1_020).for_each(|second| ring.write(second, &[2], &[1_000], &[word(5)]));
        assert_eq!(ring.read(0, 1), None);
        let history = ring.read(0, 2).expect("its own");
        assert_eq!(history[0].samples, vec![sample(5); 20]);
        assert_eq!(history[1].samples, vec![sample(5)], "990 to 1,004, of which 1,000 to 1,004 are its own");
    }

    #[test]
    fn history_goes_along_to_another_ring() {
        let old = ring::<8>(600..1_000, 600);
        let new = Ring::<8>::default();
        assert_eq!(new.take_over(3, &old, 0, 1_030), Some(600));
        new.write(1_030, &[0, 0, 0, 9, 0, 0, 0, 0], &[600; 8], &[word(1); 8]);
        let history = new.read(3, 9).expect("its own");
        assert_eq!(history[0].samples[0], sample(971));
        assert_eq!(history[0].samples[29..59], vec![Sample::default(); 30], "999 was the last");
        assert_eq!(history[0].samples[59], sample(1));
        assert_eq!(history[1].samples.len(), 28, "from 600 on, ended by 1,020");
        assert_eq!(new.take_over(4, &old, 0, 900), None, "from the future");
    }

    proptest! {
        #[test]
        fn a_packed_figure_is_near_and_in_order(a in any::<u64>(), b in any::<u64>(), shift in 0..64_u32) {
            let (a, b) = (a >> shift, b >> shift);
            prop_assert!(unpack(pack(a)).abs_diff(a) <= a / 2_048 + 1);
            prop_assert!(a >= 2_048 || unpack(pack(a)) == a);
            prop_assert!(a > b || pack(a) <= pack(b));
            prop_assert!(pack(a) != UNKNOWN);
            prop_assert_eq!(float(pack(a)), unpack(pack(a)) as f32);
        }
    }
}
