//! The estimator: fed with what the containers' counters say, it tells when there is another estimate to be sent.
//!
//! ```text
//!   looks -> steps (5 minutes) of each container -> a predicted peak of all (predictor)
//!         -> given - peak, no less kept than the floor -> falls at once, rises when it has held (steady) -> sent, changed
//! ```
//! A container counts at its limit while it is young, and while nobody can tell what it uses. If no look comes at all, nothing
//! may be offered. An estimate is of all that may be revocable, what revocable tasks use of it included.

use crate::estimator::keeper::{Counted, Keeper};
use crate::estimator::memory::Memory;
use crate::estimator::predictor::{Kind, Predictor};
use crate::estimator::steady::Steady;
use model::id::ContainerId;
use model::time::Time;

/// How it is estimated; the operator's word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Method {
    /// Nothing is ever revocable.
    None,
    /// So much is, always.
    Fixed(Estimate),
    /// What was given less what is predicted to be used.
    Usage(Kind),
}

#[derive(Clone, Debug)]
pub struct Settings {
    pub method: Method,
    /// Length of a step. A peak is predicted for twelve.
    pub step_ms: u64,
    /// Steps for which a container counts at its limit; three times as many for memory.
    pub warm_up: usize,
    /// Part of the machine that is taken to be used always, per mille.
    pub floor_per_mille: u64,
    /// Memory is estimated too.
    pub with_memory: bool,
    /// Nothing is sent sooner after what was sent last.
    pub send_interval_ms: u64,
    /// How long a rise must hold.
    pub hold_ms: u64,
    /// So long without a look, nothing is known.
    pub stale_ms: u64,
}

/// What may be revocable altogether.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Estimate {
    pub cpus_milli: u64,
    pub memory_bytes: u64,
}

impl Estimate {
    /// Changes smaller than this are nobody's concern, and so estimates are whole steps.
    pub const STEP: Self = Self { cpus_milli: 100, memory_bytes: 64 << 20 };
}

/// What one container has used, at one look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    pub container_id: ContainerId,
    /// All that it runs was given as revocable: not to be predicted, but what the rest is for.
    pub is_revocable: bool,
    /// What it was given for good.
    pub cpus_milli: u64,
    pub memory_limit_bytes: u64,
    /// CPU time since it began. `None`: nobody can tell.
    pub cpu_ns: Option<u64>,
    pub memory_bytes: Option<u64>,
}

/// The whole machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    pub cpus_milli: u64,
    pub memory_bytes: u64,
}

#[derive(Debug)]
pub enum Input<'a> {
    /// Containers were looked at; all of them.
    Look { machine: Machine, samples: &'a [Sample] },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    Send(Estimate),
}

/// See the module's head.
#[derive(Debug)]
pub struct Estimator {
    settings: Settings,
    keeper: Keeper,
    machine: Machine,
    /// Of the last ended step: the peaks that are predicted.
    peaks: Option<Peaks>,
    cpus: Steady,
    memory: Steady,
    latest: Estimate,
    sent: Option<Estimate>,
    sent_at: Option<Time>,
    looked: Option<Time>,
}

/// What the containers that are known are predicted to reach together: milli-CPUs, KiB.
#[derive(Clone, Copy, Debug, Default)]
struct Peaks {
    cpus: u64,
    memory: u64,
}

const KIB: u64 = 1024;
const NS_PER_MS: u64 = 1_000_000;
/// Memory's warm-up is so many times as long as CPUs'.
const MEMORY_WARM_UP: usize = 3;

impl Estimator {
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            keeper: Keeper::default(),
            machine: Machine::default(),
            peaks: None,
            cpus: Steady::default(),
            memory: Steady::default(),
            latest: Estimate::default(),
            sent: None,
            sent_at: None,
            looked: None,
        }
    }

    /// What is known, sent or not.
    pub fn latest(&self) -> Estimate {
        self.latest
    }

    /// The CPUs that the containers are predicted to use at most, milli; those that count at their limit included.
    pub fn cpus_peak(&self) -> u64 {
        let counted = self.keeper.cpus(self.settings.warm_up);
        peak(&counted, self.peaks.map_or(0, |peaks| peaks.cpus))
    }

    pub fn handle(&mut self, now: Time, input: Input<'_>, effects: &mut Vec<Effect>) {
        let Input::Look { machine, samples } = input;
        self.look(now, machine, samples);
        self.send(now, effects);
    }

    /// When nothing has been heard for too long; sooner, when there is something that must not be sent yet.
    pub fn deadline(&self) -> Option<Time> {
        let stale = self.looked.map(|at| at.plus_ms(self.settings.stale_ms));
        let owed =
            self.sent_at.filter(|_| self.is_owed()).map(|at| at.plus_ms(self.settings.send_interval_ms));
        [stale, owed].into_iter().flatten().min()
    }

    pub fn expire(&mut self, now: Time, effects: &mut Vec<Effect>) {
        if let Some(at) = self.looked
            && now >= at.plus_ms(self.settings.stale_ms)
        {
            self.looked = None;
            (self.latest, self.cpus, self.memory) =
                (Estimate::default(), Steady::default(), Steady::default());
        }
        self.send(now, effects);
    }

    fn look(&mut self, now: Time, machine: Machine, samples: &[Sample]) {
        let Method::Usage(kind) = self.settings.method else {
            if let Method::Fixed(estimate) = self.settings.method {
                self.latest = estimate;
            }
            return;
        };
        (self.looked, self.machine) = (Some(now), machine);
        let step_ns = self.settings.step_ms * NS_PER_MS;
        let has_ended = self.keeper.look(now, step_ns, machine.cpus_milli, samples);
        let warm_up = self.settings.warm_up;
        let cpus = self.keeper.cpus(warm_up);
        let memory = self.keeper.memory(warm_up * MEMORY_WARM_UP);
        if has_ended || self.peaks.is_none() {
            self.peaks = Some(Peaks {
                cpus: kind.predictor().peak(&cpus.view).min(cpus.view.limits()),
                memory: Memory.peak(&memory.view),
            });
        }
        let peaks = self.peaks.unwrap_or_default();
        let hold_ns = self.settings.hold_ms * NS_PER_MS;
        let kept = |whole: u64| (u128::from(whole) * u128::from(self.settings.floor_per_mille) / 1000) as u64;
        let spare = |counted: &Counted<'_>, predicted: u64, floor: u64| {
            let given = counted.view.limits() + counted.at_limit;
            given.saturating_sub(peak(counted, predicted).max(floor))
        };
        let cpus = spare(&cpus, peaks.cpus, kept(machine.cpus_milli));
        self.latest.cpus_milli = self.cpus.next(now, cpus, Estimate::STEP.cpus_milli, hold_ns);
        if self.settings.with_memory {
            let memory = spare(&memory, peaks.memory, kept(machine.memory_bytes / KIB)) * KIB;
            self.latest.memory_bytes = self.memory.next(now, memory, Estimate::STEP.memory_bytes, hold_ns);
        }
    }

    /// Something is known that was not sent. That nothing is revocable need not be said to whom nothing was said.
    fn is_owed(&self) -> bool {
        self.sent.unwrap_or_default() != self.latest
    }

    fn send(&mut self, now: Time, effects: &mut Vec<Effect>) {
        let is_early = self.sent_at.is_some_and(|at| now < at.plus_ms(self.settings.send_interval_ms));
        if self.is_owed() && !is_early {
            (self.sent, self.sent_at) = (Some(self.latest), Some(now));
            effects.push(Effect::Send(self.latest));
        }
    }
}

/// Predicted at the end of the last step; or what they are seen to use now, when that is more.
fn peak(counted: &Counted<'_>, predicted: u64) -> u64 {
    predicted.max(counted.lately) + counted.at_limit
}
