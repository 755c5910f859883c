//! The containers' series, made of what their counters say at each look.

use crate::estimator::core::Sample;
use crate::estimator::predictor::View;
use crate::estimator::series::{AHEAD, Series};
use model::id::ContainerId;
use model::time::Time;
use std::collections::BTreeMap;

const KIB: u64 = 1024;

/// One container.
#[derive(Debug, Default)]
struct Kept {
    /// What it was given when last looked at: milli-CPUs, KiB.
    cpus_limit: u64,
    memory_limit: u64,
    cpus: Series,
    memory: Series,
    /// Its counter when the step began. `None`: not known then, and so nothing of this step will be.
    began: Option<(Time, u64)>,
    /// Its counter at the last look.
    last: Option<(Time, u64)>,
    /// The greatest of the step, KiB. `None`: at some look of it nobody could tell.
    memory_peak: Option<u64>,
    /// The last whole step could be told. What nobody can tell counts at its limit.
    cpus_known: bool,
    memory_known: bool,
}

/// What of the limits is behind, in one resource: what is known, and what counts as used because nothing is.
pub(super) struct Counted<'a> {
    pub(super) view: View<'a>,
    pub(super) at_limit: u64,
    /// Used as it is now, as far as the step that is not over tells.
    pub(super) lately: u64,
}

#[derive(Debug, Default)]
pub(super) struct Keeper {
    containers: BTreeMap<ContainerId, Kept>,
    step_began: Option<Time>,
    last_look: Option<Time>,
}

impl Keeper {
    /// Takes in one look. True: a step ended with it.
    pub(super) fn look(&mut self, now: Time, step_ns: u64, machine_cpus: u64, samples: &[Sample]) -> bool {
        if let Some(last) = self.last_look.replace(now)
            && now.since_ns(last) > step_ns * AHEAD as u64
        {
            // Nothing was heard for so long that what was known tells nothing of what will be.
            self.containers.clear();
            self.step_began = None;
        }
        let began = *self.step_began.get_or_insert(now);
        let ends = now.since_ns(began) >= step_ns;
        let mut seen = BTreeMap::new();
        for sample in samples.iter().filter(|sample| !sample.is_revocable) {
            let mut kept = self.containers.remove(&sample.container_id).unwrap_or_default();
            kept.look(now, machine_cpus, sample);
            if ends {
                kept.end_step(now);
            }
            seen.insert(sample.container_id.clone(), kept);
        }
        // Whoever is not named any more is gone, and so is what it was given.
        self.containers = seen;
        if ends {
            self.step_began = Some(now);
        }
        ends
    }

    pub(super) fn cpus(&self, warm_up: usize) -> Counted<'_> {
        let is_known = |kept: &&Kept| kept.cpus_known && kept.cpus.len() >= warm_up;
        self.counted(is_known, |kept| kept.cpus_limit, |kept| &kept.cpus, Kept::cpus_lately)
    }

    pub(super) fn memory(&self, warm_up: usize) -> Counted<'_> {
        let is_known = |kept: &&Kept| kept.memory_known && kept.memory.len() >= warm_up;
        let lately = |kept: &Kept| kept.memory_peak.unwrap_or(kept.memory_limit);
        self.counted(is_known, |kept| kept.memory_limit, |kept| &kept.memory, lately)
    }

    fn counted<'a>(
        &'a self,
        is_known: impl Fn(&&Kept) -> bool,
        limit: impl Fn(&Kept) -> u64,
        series: impl Fn(&'a Kept) -> &'a Series,
        lately: impl Fn(&Kept) -> u64,
    ) -> Counted<'a> {
        let (known, unknown): (Vec<_>, Vec<_>) = self.containers.values().partition(is_known);
        Counted {
            at_limit: unknown.iter().map(|kept| limit(kept)).sum(),
            lately: known.iter().map(|kept| lately(kept)).sum(),
            view: View::new(known.into_iter().map(|kept| (limit(kept), series(kept))).collect()),
        }
    }
}

impl Kept {
    fn look(&mut self, now: Time, machine_cpus: u64, sample: &Sample) {
        self.cpus_limit = sample.cpus_milli;
        self.memory_limit = sample.memory_limit_bytes.div_ceil(KIB);
        let reading = sample.cpu_ns.map(|ns| (now, ns));
        if let (Some((before, was)), Some((_, is))) = (self.last, reading) {
            // More than the machine has, by more than a look's jitter can explain, or less than nothing: another counter
            // than the one before, and the difference between the two no CPU time.
            let most = u128::from(now.since_ns(before)) * u128::from(machine_cpus) / 1000 * 5 / 4;
            if is < was || u128::from(is - was) > most {
                self.began = None;
            }
        }
        if reading.is_none() {
            self.began = None;
        }
        self.last = reading;
        if self.cpus.is_empty() && self.began.is_none() {
            // The first that is heard of it; it need not wait for the others' step to begin.
            self.began = reading;
        }
        let memory = sample.memory_bytes.map(|bytes| bytes.div_ceil(KIB));
        self.memory_peak = if self.memory.is_empty() && self.memory_peak.is_none() {
            memory
        } else {
            self.memory_peak.and_then(|peak| Some(peak.max(memory?)))
        };
    }

    fn end_step(&mut self, now: Time) {
        let used = self.used(now);
        self.cpus_known = used.is_some();
        if let Some(used) = used {
            self.cpus.push(u32::try_from(used).unwrap_or(u32::MAX));
        }
        self.began = self.last;
        self.memory_known = self.memory_peak.is_some();
        if let Some(peak) = self.memory_peak {
            self.memory.push(u32::try_from(peak).unwrap_or(u32::MAX));
        }
        // The next look brings the next step's first.
        self.memory_peak = Some(0);
    }

    /// Milli-CPUs since the step began. `None`: it cannot be told.
    fn used(&self, now: Time) -> Option<u64> {
        let ((began, was), (_, is)) = (self.began?, self.last?);
        let ns = u128::from(now.since_ns(began).max(1));
        Some((u128::from(is.saturating_sub(was)) * 1000).div_ceil(ns) as u64)
    }

    fn cpus_lately(&self) -> u64 {
        match (self.began, self.last) {
            (Some((began, _)), Some((last, _))) if last > began => self.used(last).unwrap_or(0),
            // Its step has just begun.
            (Some(_), Some(_)) => 0,
            _ => self.cpus_limit,
        }
    }
}
