//! Our predictor: how far the node may reach within the next hour. Where it is now, plus what it lately grew in an hour,
//! plus what its containers move by when each moves for itself:
//!
//! ```text
//!   now + (growth + trend) / 2 + own peaks / 10 + MARGIN * sqrt(sum of the containers' variances)
//! ```
//! and no less than the node itself used within the window, nor than half the way from `now` to the sum of percentiles.
//!
//! - *now*: the mean of the last three steps of the sum.
//! - *growth*: how far the peak of an hour lay above `now` at its begin, the mean over the window. It is the forecast's own error, fed
//!   back: in a morning's rise all containers grow together, which their variances, added up as if they were
//!   independent, do not tell.
//! - *trend*: how far the last hour's mean is above that of the last three. It tells of a rise before the first hour's
//!   growth is known. Both overlap, and rises end: half of each.
//! - *own peaks*: how far each container is below its peak of a day, summed. That all return to it at once does not
//!   happen; that some do, does.
//! - *variances*: of independent movements the variances add up, not the deviations. The sum of percentiles adds deviations,
//!   which is why it reserves too much on large nodes and, being noisy, too little on small ones. A variance of a few
//!   steps is a poor estimate: each is drawn towards that of a container that moves by a twentieth of its limit, as if
//!   that had been seen for an hour.

use crate::estimator::predictor::{Predictor, View};
use crate::estimator::published::P99;
use crate::estimator::series::{AHEAD, RECENT, Series, WINDOW};

/// Deviations of what is independent that are kept free, in hundredths.
const MARGIN_PERCENT: u64 = 250;
/// Part of the recent growth and of the trend that is expected again.
const GROWTH_PER_MILLE: u64 = 500;
/// Steps that the last hour is compared with, itself among them.
const TREND: usize = 3 * AHEAD;
/// Part of the containers' distance from their own peaks.
const PEAKS_PER_MILLE: u64 = 100;
/// What a container moves by that nothing is known of, in parts of its limit...
const PRIOR_PART: u64 = 20;
/// ...and the steps that this counts as much as.
const PRIOR_STEPS: u64 = 12;

pub(super) struct Reach;

impl Predictor for Reach {
    fn peak(&self, view: &View<'_>) -> u64 {
        let now = mean(view.last(RECENT));
        let margin = MARGIN_PERCENT * deviation(view) / 100;
        let reach = now
            + part(growth(&view.sums) + trend(view), GROWTH_PER_MILLE)
            + part(below_peaks(view), PEAKS_PER_MILLE)
            + margin;
        let halfway = (now + P99.peak(view)).div_ceil(2);
        let lately = view.last(WINDOW).iter().copied().max().unwrap_or(0);
        reach.max(halfway).max(lately)
    }
}

fn part(value: u64, per_mille: u64) -> u64 {
    (value * per_mille).div_ceil(1000)
}

fn mean(sums: &[u64]) -> u64 {
    sums.iter().sum::<u64>().div_ceil(sums.len().max(1) as u64)
}

/// How far the peak of [`AHEAD`] steps lay above where the node was before them: the mean of those that ended within the
/// window. Zero when it shrinks, and before the first is known.
fn growth(sums: &[u64]) -> u64 {
    let first = AHEAD.max(sums.len().saturating_sub(WINDOW));
    let grown = |at: usize| {
        let peak = sums[at + 1 - AHEAD..=at].iter().copied().max().unwrap_or(0);
        let begin = at - AHEAD;
        let before = mean(&sums[(begin + 1).saturating_sub(RECENT)..=begin]);
        peak.cast_signed() - before.cast_signed()
    };
    let count = sums.len().saturating_sub(first).max(1) as i64;
    let sum: i64 = (first..sums.len()).map(grown).sum();
    (sum / count).max(0).cast_unsigned()
}

/// Zero when the last hour was no busier than the hours before.
fn trend(view: &View<'_>) -> u64 {
    mean(view.last(AHEAD)).saturating_sub(mean(view.last(TREND)))
}

fn below_peaks(view: &View<'_>) -> u64 {
    view.tasks.iter().map(|(_, series)| series.day_peak().saturating_sub(series.recent())).sum()
}

/// Of the sum, if each moves for itself.
fn deviation(view: &View<'_>) -> u64 {
    let variance = |&(limit, series): &(u64, &Series)| {
        let prior = u128::from(limit / PRIOR_PART);
        let seen = series.len().min(WINDOW) as u128;
        let prior_steps = u128::from(PRIOR_STEPS);
        (seen * u128::from(series.variance()) + prior_steps * prior * prior) / (seen + prior_steps)
    };
    view.tasks.iter().map(variance).sum::<u128>().isqrt() as u64
}

#[cfg(test)]
mod laws {
    use super::*;

    fn series(values: impl IntoIterator<Item = u32>) -> Series {
        let mut series = Series::default();
        values.into_iter().for_each(|value| series.push(value));
        series
    }

    #[test]
    fn a_rise_that_goes_on_is_followed() {
        // A tenth of a CPU a step: within an hour 1.2 above the last step, 1.3 above the mean of three.
        let rising: Vec<u64> = (0..40).map(|step| 1000 + step * 100).collect();
        assert_eq!(growth(&rising), 1300);
        let falling: Vec<u64> = rising.iter().rev().copied().collect();
        assert_eq!(growth(&falling), 0);
        assert_eq!(growth(&rising[..12]), 0, "no hour is over yet");
    }

    #[test]
    fn a_hundred_that_move_for_themselves_need_ten_times_the_margin_of_one() {
        let moving = series((0..40).map(|step| 400 + step % 2 * 200));
        let of = |count| {
            let view = View::new(vec![(1000, &moving); count]);
            deviation(&view)
        };
        assert!(of(100).abs_diff(10 * of(1)) <= 10, "{} and {}", of(100), of(1));
    }

    #[test]
    fn it_is_never_below_what_the_node_used_within_the_window() {
        let mut values = vec![100; 40];
        values[20] = 900;
        let burst = series(values);
        let calm = series([100; 40]);
        let view = View::new(vec![(1000, &burst), (1000, &calm)]);
        assert!(Reach.peak(&view) >= 1000);
    }
}
