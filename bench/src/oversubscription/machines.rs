//! Machines made of series, run through the agent's own estimator step by step, and judged by who knows the future: the
//! greatest use of the hour to come.

use super::traces::Series;
use fastrand::Rng;
use ingot_agent::estimator::core::{Estimator, Input, Machine, Method, Sample, Settings};
use ingot_agent::estimator::predictor::Kind;
use ingot_agent::estimator::series::AHEAD;
use model::id::ContainerId;
use model::time::Time;

const STEP_MS: u64 = 300_000;
/// What each series was given. Only how exact the core's whole numbers are depends on it.
const GIVEN_MILLI: u64 = 4_000;

/// So many machines of so many different series each.
pub(super) fn draw(series: &[Series], machines: usize, each: usize, seed: u64) -> Vec<Vec<&Series>> {
    let mut random = Rng::with_seed(seed);
    let mut order: Vec<usize> = (0..series.len()).collect();
    let mut one = |_| {
        random.shuffle(&mut order);
        order.iter().take(each).map(|&at| &series[at]).collect()
    };
    (0..machines).map(&mut one).collect()
}

/// How a predictor did, over all machines and all steps but those of the first hour.
#[derive(Default)]
pub(super) struct Score {
    steps: u64,
    violated: u64,
    /// Parts of the true peak.
    worst: f64,
    severity_sum: f64,
    /// CPUs.
    reclaimed: f64,
    oracle: f64,
}

impl Score {
    fn add(&mut self, limits: f64, predicted: f64, peak: f64) {
        self.steps += 1;
        self.reclaimed += limits - predicted;
        self.oracle += limits - peak;
        // Exact but for what the addition of floats makes of equal numbers.
        if predicted < peak - 1e-9 {
            let severity = (peak - predicted) / peak;
            self.violated += 1;
            self.severity_sum += severity;
            self.worst = self.worst.max(severity);
        }
    }

    /// Steps after which the machine used more than was predicted, per cent.
    pub(super) fn violated_percent(&self) -> f64 {
        100.0 * self.violated as f64 / self.steps as f64
    }

    /// Of what could have been reclaimed by who knows the future, per cent.
    pub(super) fn reclaimed_percent(&self) -> f64 {
        100.0 * self.reclaimed / self.oracle
    }

    pub(super) fn json(&self) -> serde_json::Value {
        let rounded = |value: f64| (value * 1000.0).round() / 1000.0;
        serde_json::json!({
            "violated_percent": rounded(self.violated_percent()),
            "reclaimed_percent": rounded(self.reclaimed_percent()),
            "worst_percent": rounded(100.0 * self.worst),
            "mean_severity_percent": rounded(100.0 * self.severity_sum / self.violated.max(1) as f64),
        })
    }
}

/// What is judged of an estimator.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum What {
    /// The predicted peak.
    Peak,
    /// What is told to the master: whole steps, a rise only when it has held.
    Sent,
}

pub(super) fn score(machines: &[Vec<&Series>], kind: Kind, what: What) -> Score {
    let mut score = Score::default();
    machines.iter().for_each(|machine| replay(machine, kind, what, &mut score));
    score
}

fn settings(kind: Kind) -> Settings {
    Settings {
        method: Method::Usage(kind),
        step_ms: STEP_MS,
        warm_up: AHEAD,
        floor_per_mille: 0,
        with_memory: false,
        send_interval_ms: 1000,
        hold_ms: STEP_MS,
        stale_ms: 2 * STEP_MS,
    }
}

fn replay(series: &[&Series], kind: Kind, what: What, score: &mut Score) {
    let steps = series.iter().map(|it| it.len()).min().unwrap_or(0);
    let given_milli = GIVEN_MILLI * series.len() as u64;
    let machine = Machine { cpus_milli: given_milli, memory_bytes: 0 };
    let mut estimator = Estimator::new(settings(kind));
    let sample = |at: usize| Sample {
        container_id: ContainerId::new(format!("series-{at:03}")),
        is_revocable: false,
        cpus_milli: GIVEN_MILLI,
        memory_limit_bytes: 0,
        cpu_ns: Some(0),
        memory_bytes: None,
    };
    let mut samples: Vec<Sample> = (0..series.len()).map(sample).collect();
    let mut effects = Vec::new();
    let mut look = |at: usize, samples: &[Sample]| {
        estimator.handle(Time::from_ms(at as u64 * STEP_MS), Input::Look { machine, samples }, &mut effects);
        effects.clear();
        match what {
            What::Peak => estimator.cpus_peak(),
            What::Sent => given_milli - estimator.latest().cpus_milli,
        }
    };
    look(0, &samples);
    let sums: Vec<f64> = (0..steps).map(|at| series.iter().map(|it| it[at]).sum()).collect();
    for at in 0..steps {
        for (sample, series) in samples.iter_mut().zip(series) {
            let ns = series[at] * GIVEN_MILLI as f64 * STEP_MS as f64 * 1000.0;
            sample.cpu_ns = sample.cpu_ns.map(|before| before + ns.round() as u64);
        }
        let predicted = look(at + 1, &samples);
        if let Some(ahead) = sums.get(at + 1..=at + AHEAD).filter(|_| at >= AHEAD) {
            let peak = ahead.iter().copied().fold(0.0, f64::max);
            score.add(series.len() as f64, predicted as f64 / GIVEN_MILLI as f64, peak);
        }
    }
}
