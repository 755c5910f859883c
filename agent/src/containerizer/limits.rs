//! What an executor and its tasks were given, summed up to what their container is held to. Decides; looks at nothing.

use model::quantity::Quantity;
use model::resources::{CPUS, MEM, Resources};

use super::overrides::{Overrides, PIDS};
use crate::cgroup::knobs::{FIRM_IDLE_MAX_MILLI, Limits};

/// What the operator wants of all containers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LimitPolicy {
    /// CPUs are a limit as well as a guarantee (Mesos: `--cgroups_enable_cfs`).
    pub cpus_are_limits: bool,
    /// Processes and threads of one container.
    pub pids_max: Option<u64>,
    /// Of the limit, what a container may save up of it while it uses less; percent, at most 100.
    pub cpus_burst_percent: Option<u64>,
    /// Of the limit, from where on a container is slowed down before it meets it; percent, at most 100.
    pub memory_high_percent: Option<u64>,
    /// Bytes a second that leave a container (Mesos: `--egress_rate_limit_per_container`).
    pub egress_max_bytes: Option<u64>,
}

/// A resource that an agent may be given, of MiB a second: a container whose executor or tasks hold some of it sends no
/// faster than that.
pub const EGRESS: &str = "egress_bandwidth";

/// What one task, or the executor itself, was given.
#[derive(Clone, Debug, Default)]
pub struct Share {
    pub resources: Resources,
    /// Where a task names a limit other than what it was given.
    pub cpus_max: Option<Ceiling>,
    pub memory_max: Option<Ceiling>,
}

/// A limit that a task wishes for itself (`TaskInfo.limits`); `memory` in MiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ceiling {
    Unlimited,
    At(Quantity),
}

/// The sum of what an executor and its tasks were given. A limit holds where any of them has one: those without one then
/// count with what they were given, and one without bounds frees all (Mesos: `computeExecutorLimits` in slave.cpp). What an
/// operator has set for the container takes the place of all that.
pub fn limits(shares: &[Share], policy: &LimitPolicy, overrides: &Overrides) -> Limits {
    let sum = |name: &str| shares.iter().map(|share| share.resources.scalar(name)).sum::<Quantity>();
    let ceiling = |name: &str, of: fn(&Share) -> Option<Ceiling>| {
        shares.iter().try_fold(Quantity::ZERO, |total, share| match of(share) {
            Some(Ceiling::Unlimited) => None,
            Some(Ceiling::At(limit)) => Some(total + limit),
            None => Some(total + share.resources.scalar(name)),
        })
    };
    let cpus_are_limited = policy.cpus_are_limits || shares.iter().any(|share| share.cpus_max.is_some());
    let cpus_max = ceiling(CPUS, |share| share.cpus_max).filter(|_| cpus_are_limited);
    let lent = shares.iter().flat_map(|share| share.resources.iter()).filter(|part| part.is_revocable);
    let lent: Resources = lent.cloned().collect();
    let set = |name: &str, otherwise: Option<Quantity>| match overrides.of(name) {
        Some(Ceiling::Unlimited) => None,
        Some(Ceiling::At(limit)) => Some(limit),
        None => otherwise,
    };
    let cpus_max_milli = set(CPUS, cpus_max).map(Quantity::milli);
    let memory_max_bytes = set(MEM, ceiling(MEM, |share| share.memory_max)).map(mebibytes);
    let egress = match overrides.of(EGRESS) {
        None => Some(sum(EGRESS)).filter(|it| !it.is_zero()).map(mebibytes).or(policy.egress_max_bytes),
        Some(_) => set(EGRESS, None).map(mebibytes),
    };
    let pids = match overrides.of(PIDS) {
        None => policy.pids_max,
        Some(_) => set(PIDS, None).map(|count| count.milli() / 1000),
    };
    Limits {
        cpus_milli: sum(CPUS).milli(),
        cpus_revocable_milli: lent.scalar(CPUS).milli(),
        cpus_max_milli,
        cpus_burst_milli: policy
            .cpus_burst_percent
            .map(|percent| cpus_max_milli.unwrap_or(0) * percent / 100),
        // What is lent is the first to be reclaimed: of that nothing is promised.
        memory_bytes: mebibytes(sum(MEM).saturating_sub(lent.scalar(MEM))),
        memory_max_bytes,
        memory_high_bytes: policy
            .memory_high_percent
            .zip(memory_max_bytes)
            .map(|(percent, max)| max / 100 * percent),
        swap_max_bytes: 0,
        pids_max: pids,
        egress_max_bytes: egress,
    }
}

/// Whether a container is lent: it was given something revocable, and no more CPU beside it than our own executors have.
/// Others were paid for, if only in part, and are what is kept from suffering. Millis of the revocable CPUs.
pub fn lent_cpus_milli(shares: &[Share]) -> Option<u64> {
    let parts = || shares.iter().flat_map(|share| share.resources.iter());
    let lent: Resources = parts().filter(|part| part.is_revocable).cloned().collect();
    let firm: Resources = parts().filter(|part| !part.is_revocable).cloned().collect();
    (lent.iter().next().is_some() && firm.scalar(CPUS).milli() <= FIRM_IDLE_MAX_MILLI)
        .then(|| lent.scalar(CPUS).milli())
}

/// Of a container in another that is held by itself: to what it was given, or has named limits of. What it names nothing of is
/// as the kernel has it for any group, within what holds the outermost.
pub fn limits_within(share: &Share, policy: &LimitPolicy) -> Limits {
    let all = limits(std::slice::from_ref(share), policy, &Overrides::default());
    let names = |name: &str| share.resources.iter().any(|part| *part.name == *name);
    let has_cpus = names(CPUS) || share.cpus_max.is_some();
    let has_memory = names(MEM) || share.memory_max.is_some();
    Limits {
        cpus_milli: if names(CPUS) { all.cpus_milli } else { UNWEIGHED_MILLI },
        cpus_max_milli: all.cpus_max_milli.filter(|_| has_cpus),
        cpus_burst_milli: all.cpus_burst_milli.filter(|_| has_cpus),
        memory_max_bytes: all.memory_max_bytes.filter(|_| has_memory),
        memory_high_bytes: all.memory_high_bytes.filter(|_| has_memory),
        // Counted where the container's packets all pass.
        egress_max_bytes: None,
        ..all
    }
}

/// Weighs what the kernel gives a group of which nobody says anything.
const UNWEIGHED_MILLI: u64 = 1000;

fn mebibytes(amount: Quantity) -> u64 {
    // Largest amount: 2^43 thousandths, times 2^20, fits in 64 bits.
    amount.milli() * (1 << 20) / 1000
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::resources::Resource;

    const STRICT: LimitPolicy = LimitPolicy {
        cpus_are_limits: true,
        pids_max: None,
        cpus_burst_percent: Some(50),
        memory_high_percent: Some(90),
        egress_max_bytes: Some(1 << 20),
    };

    fn share(cpus_milli: u64, mem: u64) -> Share {
        let mut share = Share::default();
        share.resources.add_part(&Resource::scalar(CPUS, Quantity::from_milli(cpus_milli)));
        share.resources.add_part(&Resource::scalar(MEM, Quantity::from_units(mem)));
        share
    }

    #[test]
    fn shares_add_up_and_cpus_are_a_limit_only_where_somebody_says_so() {
        let plain =
            limits(&[share(100, 32), share(1000, 128)], &LimitPolicy::default(), &Overrides::default());
        assert_eq!((plain.cpus_milli, plain.cpus_max_milli), (1100, None));
        assert_eq!((plain.memory_bytes, plain.memory_max_bytes), (160 << 20, Some(160 << 20)));
        let strict = limits(&[share(100, 32), share(1000, 128)], &STRICT, &Overrides::default());
        assert_eq!((strict.cpus_max_milli, strict.cpus_burst_milli), (Some(1100), Some(550)));
        assert_eq!(strict.memory_high_bytes, Some((160 << 20) / 100 * 90));
        assert_eq!((plain.cpus_burst_milli, plain.memory_high_bytes), (None, None));
    }

    #[test]
    fn one_in_another_is_held_to_what_it_names_and_to_nothing_else() {
        let nothing = limits_within(&Share::default(), &STRICT);
        assert_eq!(
            (nothing.cpus_milli, nothing.cpus_max_milli, nothing.cpus_burst_milli),
            (1000, None, None)
        );
        assert_eq!((nothing.memory_max_bytes, nothing.memory_high_bytes), (None, None));
        assert_eq!((nothing.egress_max_bytes, nothing.pids_max), (None, STRICT.pids_max));
        let given = limits_within(&share(250, 64), &STRICT);
        assert_eq!((given.cpus_milli, given.cpus_max_milli), (250, Some(250)));
        assert_eq!((given.memory_bytes, given.memory_max_bytes), (64 << 20, Some(64 << 20)));
        assert_eq!(limits_within(&share(250, 64), &LimitPolicy::default()).cpus_max_milli, None);
        let named = Share { memory_max: Some(Ceiling::At(Quantity::from_units(96))), ..Share::default() };
        assert_eq!(limits_within(&named, &STRICT).memory_max_bytes, Some(96 << 20));
        let free = Share { memory_max: Some(Ceiling::Unlimited), ..share(250, 64) };
        assert_eq!(limits_within(&free, &STRICT).memory_max_bytes, None);
    }

    #[test]
    fn egress_is_what_was_given_or_else_what_the_operator_says() {
        let mut sends = share(1000, 128);
        sends.resources.add_part(&Resource::scalar(EGRESS, Quantity::from_milli(2500)));
        let of = |shares: &[Share], policy: &LimitPolicy, overrides: &Overrides| {
            limits(shares, policy, overrides).egress_max_bytes
        };
        assert_eq!(
            of(&[share(100, 32), sends.clone()], &LimitPolicy::default(), &Overrides::default()),
            Some(5 << 19)
        );
        assert_eq!(of(&[sends.clone(), sends], &STRICT, &Overrides::default()), Some(5 << 20));
        assert_eq!(of(&[share(100, 32)], &STRICT, &Overrides::default()), Some(1 << 20));
        assert_eq!(of(&[share(100, 32)], &LimitPolicy::default(), &Overrides::default()), None);
    }

    #[test]
    fn what_is_revocable_is_told_apart() {
        let mut lent = share(1000, 128);
        lent.resources
            .add_part(&Resource { is_revocable: true, ..Resource::scalar(CPUS, Quantity::from_milli(2000)) });
        lent.resources
            .add_part(&Resource { is_revocable: true, ..Resource::scalar(MEM, Quantity::from_units(64)) });
        let limits = limits(&[share(100, 32), lent], &LimitPolicy::default(), &Overrides::default());
        assert_eq!((limits.cpus_milli, limits.cpus_revocable_milli), (3100, 2000));
        let mebibytes = (limits.memory_bytes >> 20, limits.memory_max_bytes.map(|bytes| bytes >> 20));
        assert_eq!(mebibytes, (160, Some(224)), "what is lent may be used, and is not promised");
    }

    #[test]
    fn a_container_is_lent_if_next_to_nothing_of_it_was_paid_for() {
        let revocable = |name, units| Resource {
            is_revocable: true,
            ..Resource::scalar(name, Quantity::from_units(units))
        };
        let task =
            |parts: Vec<Resource>| Share { resources: parts.into_iter().collect(), ..Share::default() };
        let lent = task(vec![revocable(CPUS, 2), revocable(MEM, 64)]);
        assert_eq!(lent_cpus_milli(&[share(100, 32), lent.clone()]), Some(2000));
        assert_eq!(lent_cpus_milli(&[share(101, 32), lent.clone()]), None);
        assert_eq!(lent_cpus_milli(&[share(100, 32)]), None);
        assert_eq!(lent_cpus_milli(&[task(vec![revocable(MEM, 64)])]), Some(0));
        let limits = limits(&[share(100, 32), lent], &LimitPolicy::default(), &Overrides::default());
        assert_eq!((limits.memory_bytes, limits.memory_max_bytes), (32 << 20, Some(96 << 20)));
    }

    #[test]
    fn a_tasks_own_limit_counts_instead_of_what_it_was_given_and_one_without_bounds_frees_all() {
        let two = Ceiling::At(Quantity::from_units(2));
        let limited = Share { cpus_max: Some(two), memory_max: Some(Ceiling::Unlimited), ..share(1000, 128) };
        let both = limits(&[share(100, 32), limited.clone()], &LimitPolicy::default(), &Overrides::default());
        assert_eq!((both.cpus_milli, both.cpus_max_milli), (1100, Some(2100)));
        assert_eq!((both.memory_bytes, both.memory_max_bytes), (160 << 20, None));
        let free = Share { cpus_max: Some(Ceiling::Unlimited), ..limited };
        assert_eq!(limits(&[free], &STRICT, &Overrides::default()).cpus_max_milli, None);
    }

    #[test]
    fn what_an_operator_sets_takes_the_place_of_what_follows_from_tasks() {
        let at = |units| Ceiling::At(Quantity::from_units(units));
        let set = |limits: &[(&str, Ceiling)]| {
            Overrides::remembered(limits.iter().map(|(name, it)| ((*name).to_owned(), *it)), &[])
        };
        let shares = [share(100, 32), share(1000, 128)];
        let high = set(&[(CPUS, at(2)), (MEM, at(100)), (PIDS, at(7)), (EGRESS, at(3))]);
        let held = limits(&shares, &STRICT, &high);
        assert_eq!((held.cpus_max_milli, held.cpus_burst_milli), (Some(2000), Some(1000)));
        assert_eq!(held.memory_max_bytes, Some(100 << 20));
        assert_eq!(held.memory_high_bytes, Some((100 << 20) / 100 * 90));
        assert_eq!((held.pids_max, held.egress_max_bytes), (Some(7), Some(3 << 20)));
        // What was promised stays.
        assert_eq!((held.cpus_milli, held.memory_bytes), (1100, 160 << 20));
        let none = set(&[CPUS, MEM, PIDS, EGRESS].map(|name| (name, Ceiling::Unlimited)));
        let free = limits(&shares, &LimitPolicy { pids_max: Some(9), ..STRICT }, &none);
        assert_eq!((free.cpus_max_milli, free.memory_max_bytes), (None, None));
        assert_eq!((free.pids_max, free.egress_max_bytes), (None, None));
    }
}
