//! Predictors: the most that a node's containers will use together within the next [`AHEAD`](super::series::AHEAD) steps.
//! Each sees the same [`View`]. The first four are those of Bashir et al., "Take it to the limit: peak prediction-driven resource
//! overcommitment in datacenters", EuroSys 2021; in [`published`](super::published). The fifth is ours, in
//! [`reach`](super::reach).

use crate::estimator::published::{Limits, Max, P99, Sigma};
use crate::estimator::reach::Reach;
use crate::estimator::series::{KEPT, Series};

/// What a predictor may look at.
pub struct View<'a> {
    /// Each container that is known long enough: its limit and its steps, in the same unit.
    pub tasks: Vec<(u64, &'a Series)>,
    /// What they used together, oldest step first. Where one is younger than the rest its oldest step stands for what was
    /// before: that a container came is no growth of those that were there.
    pub sums: Vec<u64>,
}

impl<'a> View<'a> {
    pub fn new(tasks: Vec<(u64, &'a Series)>) -> Self {
        let len = tasks.iter().map(|(_, series)| series.len()).max().unwrap_or(0).min(KEPT);
        let sum = |ago| tasks.iter().map(|(_, series)| u64::from(series.ago(ago))).sum();
        let sums = (0..len).rev().map(sum).collect();
        Self { tasks, sums }
    }

    pub fn limits(&self) -> u64 {
        self.tasks.iter().map(|(limit, _)| limit).sum()
    }

    /// The last so many sums, or as many as there are.
    pub fn last(&self, count: usize) -> &[u64] {
        &self.sums[self.sums.len().saturating_sub(count)..]
    }
}

pub trait Predictor {
    /// In the view's unit. May be more than the limits; who asks bounds it.
    fn peak(&self, view: &View<'_>) -> u64;
}

/// Which one; the names are those of the flag.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// A share of the limits.
    Limits,
    /// The sum of each container's 99th percentile.
    P99,
    /// Mean and five standard deviations of the sum.
    Sigma,
    /// The greater of the last two.
    Max,
    /// Ours.
    #[default]
    Reach,
}

impl Kind {
    pub const ALL: [Self; 5] = [Self::Limits, Self::P99, Self::Sigma, Self::Max, Self::Reach];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Limits => "limits",
            Self::P99 => "p99",
            Self::Sigma => "sigma",
            Self::Max => "max",
            Self::Reach => "reach",
        }
    }

    pub fn predictor(self) -> &'static dyn Predictor {
        match self {
            Self::Limits => &Limits,
            Self::P99 => &P99,
            Self::Sigma => &Sigma,
            Self::Max => &Max,
            Self::Reach => &Reach,
        }
    }
}
