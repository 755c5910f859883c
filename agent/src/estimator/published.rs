//! The published predictors, with the paper's parameters where it names them. See [`predictor`](super::predictor).

use crate::estimator::predictor::{Predictor, View};
use crate::estimator::series::WINDOW;

/// Borg's default in the paper: nine tenths of what was asked for.
const LIMITS_PER_MILLE: u64 = 900;
/// The paper's N-sigma predictor, on its own and in the maximum.
const SIGMAS: u64 = 5;

pub(super) struct Limits;

impl Predictor for Limits {
    fn peak(&self, view: &View<'_>) -> u64 {
        (view.limits() * LIMITS_PER_MILLE).div_ceil(1000)
    }
}

/// The "RC-like" one: as if all containers were at their 99th percentile together.
pub(super) struct P99;

impl Predictor for P99 {
    fn peak(&self, view: &View<'_>) -> u64 {
        view.tasks.iter().map(|(_, series)| series.percentile(990)).sum()
    }
}

pub(super) struct Sigma;

impl Predictor for Sigma {
    fn peak(&self, view: &View<'_>) -> u64 {
        let sums = view.last(WINDOW);
        let count = sums.len().max(1) as u128;
        let (sum, squares) = sums.iter().fold((0_u128, 0_u128), |(sum, squares), &value| {
            let value = u128::from(value);
            (sum + value, squares + value * value)
        });
        let variance = (squares * count - sum * sum) / (count * count);
        sum.div_ceil(count) as u64 + SIGMAS * variance.isqrt() as u64
    }
}

pub(super) struct Max;

impl Predictor for Max {
    fn peak(&self, view: &View<'_>) -> u64 {
        P99.peak(view).max(Sigma.peak(view))
    }
}
