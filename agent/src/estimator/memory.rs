//! The most memory that the containers will use: each its own greatest of a day and a fifth of what is left to its limit.
//!
//! Stricter than for CPUs, since what is given away too much is not taken back by waiting: the peaks are added up, as memory that
//! was once used together with nobody else's may be wanted together with everybody's, and on top of each comes room to
//! grow further than it ever has. Where nothing leaves memory it is not a forecast but a ratchet that gives way after a day.

use crate::estimator::predictor::{Predictor, View};

/// What may be used of the room between a container's peak and its limit: one part in so many.
const GROWTH_PART: u64 = 5;

pub(super) struct Memory;

impl Predictor for Memory {
    fn peak(&self, view: &View<'_>) -> u64 {
        let one = |limit: u64, peak: u64| peak + limit.saturating_sub(peak).div_ceil(GROWTH_PART);
        view.tasks.iter().map(|(limit, series)| one(*limit, series.day_peak())).sum()
    }
}
