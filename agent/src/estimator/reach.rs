//! Our predictor: how far the node may reach within the next hour. Where it is now, plus what it lately grew in an hour,
//! plus what its containers move by when each moves for itself, less what a node that has been here before does not do
//! again:
//!
//! ```text
//!   now + growth / 2 + trend / 4 + own peaks * 0.15 - above low / 8 - below high / 4 + MARGIN * d
//! ```
//! and no less than `now + growth + 1.5 * d`, nor than three quarters of the way from `now` to the node's own peak of the
//! window; `d` is the square root of the sum of the containers' variances.
//!
//! - *now*: the mean of the last three steps of the sum.
//! - *growth*: how far the peak of an hour lay above `now` at its begin, the mean over the window. It is the forecast's own error, fed
//!   back: in a morning's rise all containers grow together, which their variances, added up as if they were
//!   independent, do not tell.
//! - *trend*: how far the last hour's mean is above that of the last three. It tells of a rise before the first hour's
//!   growth is known. Both overlap, and rises end: a part of each.
//! - *own peaks*: how far each container is below its peak of a day, summed. That all return to it at once does not
//!   happen; that some do, does.
//! - *above low*: how far the node is above its quietest hour of a day. What went up comes down, more often than it goes
//!   on; near the bottom there is only one way.
//! - *below high*: how far it is below its busiest hour of the last six. A node that has fallen owes its growth, its peaks
//!   and its variances to what is over, and seldom returns within the hour.
//! - *variances*: of independent movements the variances add up, not the deviations. The sum of percentiles adds deviations,
//!   which is why it reserves too much on large nodes and, being noisy, too little on small ones. A variance of a few
//!   steps is a poor estimate: each is drawn towards that of a container that moves by a twentieth of its limit, as if
//!   that had been seen for an hour.
//!
//! The lower bound is for nodes whose containers all rise together: there the two that are subtracted are wrong, and what the
//! last forecasts missed is the best that is known.

use crate::estimator::predictor::{Predictor, View};
use crate::estimator::series::{AHEAD, HOURS, RECENT, Series, WINDOW};

/// Deviations of what is independent that are kept free, in hundredths.
const MARGIN_PERCENT: u64 = 275;
/// The same where nothing but the growth is counted on.
const LEAST_MARGIN_PERCENT: u64 = 150;
/// Parts, per mille, of each: see the module's head.
const GROWTH: u64 = 500;
const TREND: u64 = 250;
const PEAKS: u64 = 150;
const LOW: u64 = 125;
const HIGH: u64 = 250;
/// Part of the way to the peak of the window, per mille. All of it would go on reserving for a node that has long fallen; none
/// of it would forget bursts that all containers make together, of which the variances know nothing.
const LATELY: u64 = 750;
/// Steps that the last hour is compared with, itself among them.
const TREND_STEPS: usize = 3 * AHEAD;
/// Hours within which the busiest counts.
const HIGH_HOURS: usize = 6;
/// What a container moves by that nothing is known of, in parts of its limit...
const PRIOR_PART: u64 = 20;
/// ...and the steps that this counts as much as.
const PRIOR_STEPS: u64 = 12;

pub(super) struct Reach;

impl Predictor for Reach {
    fn peak(&self, view: &View<'_>) -> u64 {
        let now = mean(view.last(RECENT));
        let (growth, deviation) = (growth(&view.sums), deviation(view));
        let up = part(growth, GROWTH) + part(trend(view), TREND) + part(below_peaks(view), PEAKS);
        let (above_low, below_high) = place(view, now);
        let down = part(above_low, LOW) + part(below_high, HIGH);
        let reach = (now + up + deviation * MARGIN_PERCENT / 100).saturating_sub(down);
        let least = now + growth + deviation * LEAST_MARGIN_PERCENT / 100;
        let lately = view.last(WINDOW).iter().copied().max().unwrap_or(0);
        reach.max(least).max(now + part(lately.saturating_sub(now), LATELY))
    }
}

/// How far `now` is above the quietest hour of a day, and below the busiest of the last few.
fn place(view: &View<'_>, now: u64) -> (u64, u64) {
    let hour = |ago| view.tasks.iter().map(|(_, series)| series.hour(ago)).sum::<u64>();
    let hours: [u64; HOURS] = std::array::from_fn(hour);
    let low = hours.iter().copied().min().unwrap_or(now);
    let high = hours[..HIGH_HOURS].iter().copied().max().unwrap_or(now);
    (now.saturating_sub(low), high.saturating_sub(now))
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
    mean(view.last(AHEAD)).saturating_sub(mean(view.last(TREND_STEPS)))
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
    fn of_a_peak_within_the_window_three_quarters_are_kept() {
        let mut values = vec![100; 40];
        values[20] = 900;
        let burst = series(values);
        let calm = series([100; 40]);
        let view = View::new(vec![(1000, &burst), (1000, &calm)]);
        assert!(Reach.peak(&view) >= 200 + 800 * 3 / 4);
    }

    #[test]
    fn its_place_is_between_the_quietest_hour_and_the_busiest() {
        let fallen = series((0..54).map(|step| if step < 36 { 800 } else { 400 }));
        let view = View::new(vec![(1000, &fallen)]);
        assert_eq!(place(&view, 400), (0, 400));
        let risen = series((0..54).map(|step| if step < 36 { 400 } else { 800 }));
        assert_eq!(place(&View::new(vec![(1000, &risen)]), 800), (400, 0));
    }

    #[test]
    fn where_all_rise_together_the_last_misses_count_in_full() {
        let rising = series((0..40).map(|step| 1000 + step * 100));
        let view = View::new(vec![(100_000, &rising); 50]);
        let (now, growth) = (mean(view.last(RECENT)), growth(&view.sums));
        assert_eq!(growth, 50 * 1300);
        assert!(Reach.peak(&view) >= now + growth, "an hour on, the rise has come so far");
    }
}
