//! Made-up series, for what the recorded ones are poor in: a day that all follow, bursts that come when they like, and steps
//! that stay. No parameter was chosen by them; they show where a predictor breaks.

use super::traces::Series;
use fastrand::Rng;

/// Five-minute steps of a day.
const STEPS: usize = 288;
const COUNT: usize = 400;

/// Name and series of each kind.
pub(super) fn all(seed: u64) -> [(&'static str, Vec<Series>); 3] {
    [
        ("daily cycles", many(seed, daily)),
        ("bursts", many(seed, bursts)),
        ("level shifts", many(seed, shifts)),
    ]
}

fn many(seed: u64, one: fn(&mut Rng) -> Series) -> Vec<Series> {
    let mut random = Rng::with_seed(seed);
    (0..COUNT).map(|_| one(&mut random)).collect()
}

/// Half up and down around its level in a day, at an hour of its own, and noise.
fn daily(random: &mut Rng) -> Series {
    let (level, phase) = (0.1 + 0.4 * random.f64(), random.f64() * 0.25);
    let turn = |step: usize| ((step as f64 / STEPS as f64 - phase) * std::f64::consts::TAU).sin();
    (0..STEPS).map(|step| bounded(level * (1.0 + 0.5 * turn(step)) + 0.06 * (random.f64() - 0.5))).collect()
}

/// Now and then up to all it was given, for a quarter of an hour on average.
fn bursts(random: &mut Rng) -> Series {
    let level = 0.05 + 0.2 * random.f64();
    let (mut height, mut left) = (0.0, 0);
    let mut next = |_| {
        if left == 0 && random.f64() < 0.02 {
            (height, left) = ((1.0 - level) * random.f64(), 1 + random.u32(0..5));
        }
        left = u32::saturating_sub(left, 1);
        if left == 0 {
            height = 0.0;
        }
        bounded(level + height + 0.04 * (random.f64() - 0.5))
    };
    (0..STEPS).map(&mut next).collect()
}

/// A level that changes for good, twice or three times a day.
fn shifts(random: &mut Rng) -> Series {
    let mut level = 0.1 + 0.4 * random.f64();
    let mut next = |_| {
        if random.f64() < 0.01 {
            level = bounded(level + 0.4 * (random.f64() - 0.5));
        }
        bounded(level + 0.02 * (random.f64() - 0.5))
    };
    (0..STEPS).map(&mut next).collect()
}

fn bounded(part: f64) -> f64 {
    part.clamp(0.0, 1.0)
}
