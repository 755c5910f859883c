//! What one container has used, step by step: as much as the predictors look at, in a place that does not grow.
//!
//! Forty numbers of four bytes, for three hours of five-minute steps, are smaller than a histogram fine enough to tell a
//! percentile by, forget what is old without decaying what is new, and keep the order, without which containers that peak
//! together look like ones that do not. What is older is kept as the greatest and the mean of each twelve steps, for a day.

/// Steps that a peak is predicted for: one hour of five-minute steps.
pub const AHEAD: usize = 12;
/// Steps that statistics are made of. The published predictors look at two hours.
pub const WINDOW: usize = 24;
/// Steps kept: a window of errors of forecasts, each made [`AHEAD`] before it was known, from the mean of [`RECENT`].
pub const KEPT: usize = WINDOW + AHEAD + RECENT + 1;
/// Steps whose mean is "now": one alone is noise.
pub const RECENT: usize = 3;
/// Hours, of [`AHEAD`] steps each, of which the greatest value and the mean are kept: a day of five-minute steps.
pub const HOURS: usize = 24;
/// Steps over which what is long ago has no weight any more: a day of five-minute steps.
const LONG: u64 = (HOURS * AHEAD) as u64;

/// The steps of one container, or a value of them all. The unit is its owner's: milli-CPUs, KiB.
#[derive(Clone, Debug)]
pub struct Series {
    /// Oldest first; `len` of them.
    steps: [u32; KEPT],
    len: usize,
    /// The greatest of each hour, the newest, unfinished, one first.
    peaks: [u32; HOURS],
    /// The mean of each hour; the first is that of the last [`AHEAD`] steps.
    means: [u32; HOURS],
    in_hour: usize,
    /// Mean of the window's variance, over a day; squared units.
    long_variance: u64,
    /// Steps ever seen, as far as that matters.
    age: u64,
}

impl Default for Series {
    fn default() -> Self {
        Self {
            steps: [0; KEPT],
            len: 0,
            peaks: [0; HOURS],
            means: [0; HOURS],
            in_hour: 0,
            long_variance: 0,
            age: 0,
        }
    }
}

impl Series {
    pub fn push(&mut self, value: u32) {
        if self.len == KEPT {
            self.steps.copy_within(1.., 0);
            self.len -= 1;
        }
        self.steps[self.len] = value;
        self.len += 1;
        if self.in_hour == AHEAD {
            self.peaks.copy_within(..HOURS - 1, 1);
            self.means.copy_within(..HOURS - 1, 1);
            (self.peaks[0], self.in_hour) = (0, 0);
        }
        self.peaks[0] = self.peaks[0].max(value);
        // A mean of numbers of four bytes is no greater than they.
        self.means[0] = mean(self.last(AHEAD)) as u32;
        self.in_hour += 1;
        self.age = LONG.min(self.age + 1);
        let (before, now) = (u128::from(self.long_variance), u128::from(self.window_variance()));
        let age = u128::from(self.age);
        self.long_variance = ((before * (age - 1) + now) / age) as u64;
    }

    /// Steps that it has been seen for; no more than are kept.
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The value so many steps ago; beyond what is known, the oldest that is. Zero for one that was never seen.
    pub fn ago(&self, steps: usize) -> u32 {
        if self.len == 0 { 0 } else { self.steps[(self.len - 1).saturating_sub(steps)] }
    }

    /// The last so many, or as many as there are; oldest first.
    pub fn last(&self, count: usize) -> &[u32] {
        &self.steps[self.len.saturating_sub(count)..self.len]
    }

    /// Mean of the last few steps.
    pub fn recent(&self) -> u64 {
        mean(self.last(RECENT))
    }

    /// The greatest of about a day; of a step at least.
    pub fn day_peak(&self) -> u64 {
        self.peaks.iter().copied().max().unwrap_or(0).into()
    }

    /// The mean of an hour so many hours ago, 0 being the last [`AHEAD`] steps; beyond what is known, or a day, the oldest
    /// that is. Zero for one that was never seen.
    pub fn hour(&self, ago: usize) -> u64 {
        let known = (self.age as usize).div_ceil(AHEAD);
        self.means[ago.min(known.saturating_sub(1))].into()
    }

    /// Of the last [`WINDOW`] steps.
    pub fn window_variance(&self) -> u64 {
        variance(self.last(WINDOW))
    }

    /// How much it moves: what it did lately and what it mostly does, in equal parts. What was calm for an hour is not calm for
    /// good, and one burst is not forgotten when it leaves the window.
    pub fn variance(&self) -> u64 {
        self.window_variance() / 2 + self.long_variance / 2
    }

    /// So many per mille of the window are not above; between two values, in proportion (numpy's and most others' way).
    pub fn percentile(&self, per_mille: u64) -> u64 {
        let mut sorted = [0; WINDOW];
        let window = self.last(WINDOW);
        let sorted = &mut sorted[..window.len()];
        sorted.copy_from_slice(window);
        sorted.sort_unstable();
        let Some(last) = sorted.len().checked_sub(1) else { return 0 };
        let place = last as u64 * per_mille.min(1000);
        let (at, rest) = ((place / 1000) as usize, place % 1000);
        let (low, high) = (u64::from(sorted[at]), u64::from(sorted[last.min(at + 1)]));
        low + ((high - low) * rest).div_ceil(1000)
    }
}

/// Rounded up. Zero of nothing.
pub fn mean(values: &[u32]) -> u64 {
    let sum: u64 = values.iter().map(|&value| u64::from(value)).sum();
    sum.div_ceil(values.len().max(1) as u64)
}

/// Of all there are, not of a sample; exact but for the last division.
pub fn variance(values: &[u32]) -> u64 {
    let count = values.len().max(1) as u128;
    let (sum, squares) = values.iter().fold((0_u128, 0_u128), |(sum, squares), &value| {
        let value = u128::from(value);
        (sum + value, squares + value * value)
    });
    ((squares * count - sum * sum) / (count * count)) as u64
}

#[cfg(test)]
mod laws {
    use super::*;

    fn of(values: &[u32]) -> Series {
        let mut series = Series::default();
        values.iter().for_each(|&value| series.push(value));
        series
    }

    #[test]
    fn it_keeps_the_newest_and_only_so_many() {
        let series = of(&(0..100).collect::<Vec<_>>());
        assert_eq!((series.len(), series.ago(0), series.ago(KEPT - 1)), (KEPT, 99, 100 - KEPT as u32));
        assert_eq!(series.ago(1000), 100 - KEPT as u32, "older than anything: the oldest");
        assert_eq!(Series::default().ago(3), 0);
    }

    #[test]
    fn percentiles_are_those_of_numpy() {
        let series = of(&[10, 20, 30, 40, 50]);
        assert_eq!(series.percentile(500), 30);
        assert_eq!(series.percentile(1000), 50);
        // numpy.percentile([10, 20, 30, 40, 50], 99) == 49.6, and nothing is rounded to too little.
        assert_eq!(series.percentile(990), 50);
        assert_eq!(of(&[0, 1000]).percentile(250), 250);
        assert_eq!(Series::default().percentile(990), 0);
    }

    #[test]
    fn variance_is_that_of_all() {
        // numpy.var([1, 2, 3, 4, 10]) == 10.0
        assert_eq!(variance(&[1, 2, 3, 4, 10]), 10);
        assert_eq!(variance(&[]), 0);
        assert_eq!(variance(&[u32::MAX; 24]), 0, "no overflow");
    }

    #[test]
    fn it_is_as_large_as_the_documentation_says() {
        assert_eq!(size_of::<Series>(), 384);
    }

    #[test]
    fn hours_are_means_and_the_oldest_known_stands_for_what_was_before() {
        let mut series = of(&[600; AHEAD]);
        (0..AHEAD / 2).for_each(|_| series.push(1200));
        assert_eq!([series.hour(0), series.hour(1), series.hour(9)], [900, 600, 600]);
        let whole = of(&(0..40 * AHEAD as u32).collect::<Vec<_>>());
        assert_eq!(whole.hour(0) - whole.hour(HOURS - 1), ((HOURS - 1) * AHEAD) as u64);
        assert_eq!(whole.hour(1000), whole.hour(HOURS - 1), "a day is kept");
        assert_eq!(Series::default().hour(3), 0);
    }

    #[test]
    fn a_burst_is_remembered_for_a_day_and_then_forgotten() {
        let mut series = of(&[900]);
        for _ in 0..LONG - AHEAD as u64 {
            series.push(100);
        }
        assert_eq!(series.day_peak(), 900);
        assert!(series.variance() > 0, "long after it has left the window");
        for _ in 0..2 * AHEAD {
            series.push(100);
        }
        assert_eq!(series.day_peak(), 100);
    }
}
