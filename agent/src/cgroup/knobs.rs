//! What a container's resources mean as values of cgroup v2 files. Decides; reads and writes nothing.
//! (Kernel doc: Documentation/admin-guide/cgroup-v2.rst; the numbers of a share and the minima are Mesos'.)

/// What holds a container to something: a cgroup v2 controller, or a program at its directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Controller {
    Cpu,
    Memory,
    Pids,
    Io,
    Cpuset,
    Hugetlb,
    /// A program that is asked when a device is opened.
    Devices,
    /// A program that is asked when a packet leaves.
    Egress,
}

impl Controller {
    pub const ALL: [Self; 8] = [
        Self::Cpu,
        Self::Memory,
        Self::Pids,
        Self::Io,
        Self::Cpuset,
        Self::Hugetlb,
        Self::Devices,
        Self::Egress,
    ];
    /// Those that hold every container to something; the others do where the operator asks for it.
    pub const OF_EACH: [Self; 3] = [Self::Cpu, Self::Memory, Self::Pids];

    /// Its name in `cgroup.controllers`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Memory => "memory",
            Self::Pids => "pids",
            Self::Io => "io",
            Self::Cpuset => "cpuset",
            Self::Hugetlb => "hugetlb",
            Self::Devices => "devices",
            Self::Egress => "egress",
        }
    }

    /// It is a program's, and no file's.
    pub const fn is_program(self) -> bool {
        matches!(self, Self::Devices | Self::Egress)
    }

    /// Its name in version 1, which may hold it.
    pub const fn v1_name(self) -> &'static str {
        match self {
            Self::Io => "blkio",
            other => other.as_str(),
        }
    }
}

/// What one container is promised and what it must not pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Its guarantee: under contention it gets CPU in this proportion.
    pub cpus_milli: u64,
    /// Part of that which is others' and only lent: it weighs next to nothing against what is guaranteed.
    pub cpus_revocable_milli: u64,
    /// `None`: idle CPUs are its to use, beyond the guarantee.
    pub cpus_max_milli: Option<u64>,
    /// CPU time that it may save up while it is below that limit, and use beyond it later, in thousandths of a CPU for one
    /// period; at most the limit. `None`: left alone.
    pub cpus_burst_milli: Option<u64>,
    /// Its guarantee: memory that is not reclaimed for others' sake.
    pub memory_bytes: u64,
    /// `None`: no limit but the machine's.
    pub memory_max_bytes: Option<u64>,
    /// From where on the container is slowed down and its pages are reclaimed, before it meets the limit. `None`: nowhere.
    pub memory_high_bytes: Option<u64>,
    /// On top of memory. Zero, as is usual: a task that is over its limit dies rather than thrashes.
    pub swap_max_bytes: u64,
    /// Processes and threads; `None`: no limit but the machine's.
    pub pids_max: Option<u64>,
    /// Bytes a second that leave, from the IP header up, but for the loopback's; `None`: as fast as the network takes them.
    /// No file holds it, but a program ([`Controller::Egress`]).
    pub egress_max_bytes: Option<u64>,
}

/// What an executor that the agent provides is given for itself; with no more than that promised to it, a container whose
/// tasks run on what is lent runs only where nobody else wants to.
pub(crate) const FIRM_IDLE_MAX_MILLI: u64 = 100;

impl Limits {
    /// It runs when nobody else does.
    pub const fn is_idle(&self) -> bool {
        self.cpus_revocable_milli > 0
            && self.cpus_milli.saturating_sub(self.cpus_revocable_milli) <= FIRM_IDLE_MAX_MILLI
    }
}

/// cpu.weight of one CPU: the kernel's default weight, so a container of one CPU weighs what an ordinary group does.
const WEIGHT_PER_CPU: u64 = 100;
/// And of one that is revocable: about a hundredth, as in Mesos (10 shares instead of 1024).
const WEIGHT_PER_REVOCABLE_CPU: u64 = 1;
const WEIGHT_MIN: u64 = 1;
const WEIGHT_MAX: u64 = 10_000;
/// The kernel's default period.
const PERIOD_US: u64 = 100_000;
/// The kernel refuses less.
const QUOTA_MIN_US: u64 = 1_000;
/// No executor starts in less; a smaller wish means this.
pub const MEMORY_MIN_BYTES: u64 = 32 << 20;

/// One file of a cgroup directory and what belongs in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Knob {
    CpuIdle(bool),
    CpuWeight(u64),
    CpuMax {
        quota_us: Option<u64>,
        period_us: u64,
    },
    CpuBurst(u64),
    MemoryMax(Option<u64>),
    MemoryLow(u64),
    MemoryHigh(Option<u64>),
    SwapMax(u64),
    /// When memory runs out the whole container dies, not one process that the rest then waits for.
    OomGroup,
    PidsMax(Option<u64>),
    /// In the proportion of CPUs; for devices whose scheduler or cost model knows weights.
    IoWeight(u64),
}

impl Knob {
    pub const fn controller(self) -> Controller {
        match self {
            Self::CpuIdle(_) | Self::CpuWeight(_) | Self::CpuMax { .. } | Self::CpuBurst(_) => {
                Controller::Cpu
            }
            Self::MemoryMax(_)
            | Self::MemoryLow(_)
            | Self::MemoryHigh(_)
            | Self::SwapMax(_)
            | Self::OomGroup => Controller::Memory,
            Self::PidsMax(_) => Controller::Pids,
            Self::IoWeight(_) => Controller::Io,
        }
    }

    pub const fn file(self) -> &'static str {
        match self {
            Self::CpuIdle(_) => "cpu.idle",
            Self::CpuWeight(_) => "cpu.weight",
            Self::CpuMax { .. } => "cpu.max",
            Self::CpuBurst(_) => "cpu.max.burst",
            Self::MemoryMax(_) => "memory.max",
            Self::MemoryLow(_) => "memory.low",
            Self::MemoryHigh(_) => "memory.high",
            Self::SwapMax(_) => "memory.swap.max",
            Self::OomGroup => "memory.oom.group",
            Self::PidsMax(_) => "pids.max",
            Self::IoWeight(_) => "io.weight",
        }
    }

    pub fn value(self) -> String {
        let or_max = |limit: Option<u64>| limit.map_or_else(|| "max".to_owned(), |n| n.to_string());
        match self {
            Self::CpuWeight(number) | Self::CpuBurst(number) | Self::IoWeight(number) => number.to_string(),
            Self::CpuMax { quota_us, period_us } => format!("{} {period_us}", or_max(quota_us)),
            Self::MemoryMax(limit) | Self::MemoryHigh(limit) | Self::PidsMax(limit) => or_max(limit),
            Self::MemoryLow(bytes) | Self::SwapMax(bytes) => bytes.to_string(),
            Self::CpuIdle(is) => u8::from(is).to_string(),
            Self::OomGroup => "1".to_owned(),
        }
    }

    /// Kernels built or booted without the feature lack the file; everything else then still holds.
    pub const fn may_be_missing(self) -> bool {
        matches!(
            self,
            Self::CpuIdle(_) | Self::SwapMax(_) | Self::OomGroup | Self::CpuBurst(_) | Self::IoWeight(_)
        )
    }
}

/// Everything to be set in a new container's directory, in the order in which it is to be set.
pub fn knobs(limits: &Limits) -> Vec<Knob> {
    let firm_milli = limits.cpus_milli.saturating_sub(limits.cpus_revocable_milli);
    let weight = firm_milli * WEIGHT_PER_CPU + limits.cpus_revocable_milli * WEIGHT_PER_REVOCABLE_CPU;
    let weight = (weight / 1000).clamp(WEIGHT_MIN, WEIGHT_MAX);
    let quota_us = limits.cpus_max_milli.map(|milli| (milli * PERIOD_US / 1000).max(QUOTA_MIN_US));
    let at_least_min = |bytes: u64| bytes.max(MEMORY_MIN_BYTES);
    // The kernel takes no weight of an idle group, and gives one that is idle no more the weight of one CPU. Where it knows no
    // idle groups (before 5.15), the least weight is as near as one can get.
    let mut knobs = vec![Knob::CpuIdle(false), Knob::CpuWeight(weight)];
    knobs.extend(limits.is_idle().then_some(Knob::CpuIdle(true)));
    // The kernel refuses a quota below what may be saved up, and saving where there is no quota.
    knobs.extend(limits.cpus_burst_milli.map(|_| Knob::CpuBurst(0)));
    knobs.push(Knob::CpuMax { quota_us, period_us: PERIOD_US });
    let burst_us =
        limits.cpus_burst_milli.zip(quota_us).map(|(milli, quota)| quota.min(milli * PERIOD_US / 1000));
    knobs.extend(burst_us.filter(|us| *us > 0).map(Knob::CpuBurst));
    knobs.extend([
        Knob::OomGroup,
        Knob::SwapMax(limits.swap_max_bytes),
        Knob::MemoryLow(at_least_min(limits.memory_bytes)),
        Knob::MemoryHigh(limits.memory_high_bytes.map(at_least_min)),
        Knob::MemoryMax(limits.memory_max_bytes.map(at_least_min)),
        Knob::PidsMax(limits.pids_max),
        Knob::IoWeight(weight),
    ]);
    knobs
}

/// What stands in the files of a running container; empty where a file is missing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Now {
    pub memory_max: String,
    pub cpu_idle: String,
}

/// Whether a memory limit may become less than it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lowering {
    /// Lowered below what is in use, it would kill what is left.
    Never,
    /// An operator wants it, and it was seen that it fits.
    Wanted,
}

/// What to set when a running container's resources change, because a task joined its executor or left it.
pub fn changes(limits: &Limits, now: &Now, lowering: Lowering) -> Vec<Knob> {
    let lowers = |knob: &Knob| match (knob, now.memory_max.trim()) {
        (Knob::MemoryMax(None), _) => false,
        (Knob::MemoryMax(Some(_)), "max") => true,
        (Knob::MemoryMax(Some(new)), now) => now.parse::<u64>().is_ok_and(|now| *new < now),
        _ => false,
    };
    let mut knobs = knobs(limits);
    if limits.is_idle() && now.cpu_idle.trim() == "1" {
        // It must not have a weight for a moment.
        knobs.retain(|knob| !matches!(knob, Knob::CpuIdle(_) | Knob::CpuWeight(_)));
    }
    if lowering == Lowering::Never && knobs.iter().any(lowers) {
        // What leads up to it stays with it: below, what is left would be slowed down to a crawl.
        knobs.retain(|knob| !matches!(knob, Knob::MemoryMax(_) | Knob::MemoryHigh(_)));
    }
    knobs
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn limits() -> Limits {
        Limits {
            cpus_milli: 1500,
            cpus_revocable_milli: 0,
            cpus_max_milli: None,
            cpus_burst_milli: None,
            memory_bytes: 256 * MIB,
            memory_max_bytes: Some(256 * MIB),
            memory_high_bytes: None,
            swap_max_bytes: 0,
            pids_max: None,
            egress_max_bytes: None,
        }
    }

    fn check(limits: &Limits, expect: &[(&str, &str)]) {
        let knobs: Vec<_> = knobs(limits).into_iter().map(|k| (k.file(), k.value())).collect();
        let expect: Vec<_> = expect.iter().map(|(file, value)| (*file, (*value).to_owned())).collect();
        assert_eq!(knobs, expect);
    }

    #[test]
    fn a_guarantee_becomes_weight_and_protection_and_memory_is_a_hard_limit() {
        check(
            &limits(),
            &[
                ("cpu.idle", "0"),
                ("cpu.weight", "150"),
                ("cpu.max", "max 100000"),
                ("memory.oom.group", "1"),
                ("memory.swap.max", "0"),
                ("memory.low", "268435456"),
                ("memory.high", "max"),
                ("memory.max", "268435456"),
                ("pids.max", "max"),
                ("io.weight", "150"),
            ],
        );
    }

    #[test]
    fn a_cpu_limit_is_a_quota_of_the_period_and_other_limits_follow_the_wish() {
        let limits = Limits {
            cpus_max_milli: Some(2500),
            cpus_burst_milli: Some(1250),
            memory_max_bytes: None,
            memory_high_bytes: Some(200 * MIB),
            swap_max_bytes: 5,
            pids_max: Some(64),
            ..limits()
        };
        check(
            &limits,
            &[
                ("cpu.idle", "0"),
                ("cpu.weight", "150"),
                ("cpu.max.burst", "0"),
                ("cpu.max", "250000 100000"),
                ("cpu.max.burst", "125000"),
                ("memory.oom.group", "1"),
                ("memory.swap.max", "5"),
                ("memory.low", "268435456"),
                ("memory.high", "209715200"),
                ("memory.max", "max"),
                ("pids.max", "64"),
                ("io.weight", "150"),
            ],
        );
    }

    #[test]
    fn tiny_and_huge_wishes_meet_the_kernels_bounds() {
        let tiny = Limits {
            cpus_milli: 1,
            cpus_max_milli: Some(1),
            memory_bytes: 1,
            memory_max_bytes: Some(1),
            ..limits()
        };
        let tiny = knobs(&tiny);
        assert!(tiny.contains(&Knob::CpuWeight(1)));
        assert!(tiny.contains(&Knob::CpuMax { quota_us: Some(1000), period_us: 100_000 }));
        assert!(tiny.contains(&Knob::MemoryMax(Some(32 * MIB))));
        let huge = knobs(&Limits { cpus_milli: 1_000_000, ..limits() });
        assert!(huge.contains(&Knob::CpuWeight(10_000)));
        let lent = knobs(&Limits { cpus_milli: 4100, cpus_revocable_milli: 4000, ..limits() });
        // Promised no more than its executor, it runs where nobody else wants to; by weight where there is no such thing.
        let first = [Knob::CpuIdle(false), Knob::CpuWeight(14), Knob::CpuIdle(true)];
        assert!(lent.starts_with(&first) && lent.contains(&Knob::IoWeight(14)));
        let mixed = Limits { cpus_milli: 4101, cpus_revocable_milli: 4000, ..limits() };
        assert!(!mixed.is_idle() && !knobs(&mixed).contains(&Knob::CpuIdle(true)));
    }

    #[test]
    fn a_change_never_lowers_memory_max() {
        let check = |limit: Option<u64>, now: &str, expect: Option<Knob>| {
            let files = Now { memory_max: now.to_owned(), cpu_idle: "0\n".to_owned() };
            let limits = Limits { memory_max_bytes: limit, ..limits() };
            let wanted = changes(&limits, &files, Lowering::Wanted);
            assert!(wanted.contains(&Knob::MemoryMax(limit)), "{limit:?} after {now}");
            let changes = changes(&limits, &files, Lowering::Never);
            let max = changes.iter().copied().find(|knob| knob.file() == "memory.max");
            assert_eq!(max, expect, "{limit:?} after {now}");
            let high = changes.iter().any(|knob| knob.file() == "memory.high");
            assert_eq!((changes.len(), high), if max.is_some() { (10, true) } else { (8, false) });
        };
        let raised = Knob::MemoryMax(Some(512 * MIB));
        check(Some(512 * MIB), "268435456\n", Some(raised));
        check(Some(512 * MIB), "1073741824\n", None);
        check(Some(512 * MIB), "max\n", None);
        check(None, "268435456\n", Some(Knob::MemoryMax(None)));
        check(None, "max\n", Some(Knob::MemoryMax(None)));
    }

    #[test]
    fn an_idle_container_stays_so_and_becomes_ordinary_when_cpus_are_promised() {
        let idle = Limits { cpus_milli: 1100, cpus_revocable_milli: 1000, ..limits() };
        let of_cpu = |limits: &Limits, cpu_idle: &str| {
            let now = Now { cpu_idle: cpu_idle.to_owned(), ..Now::default() };
            let changes = changes(limits, &now, Lowering::Never).into_iter();
            let of = changes.filter(|knob| matches!(knob, Knob::CpuIdle(_) | Knob::CpuWeight(_)));
            of.collect::<Vec<_>>()
        };
        assert_eq!(of_cpu(&idle, "1\n"), []);
        assert_eq!(of_cpu(&idle, "0\n"), [Knob::CpuIdle(false), Knob::CpuWeight(11), Knob::CpuIdle(true)]);
        let firm = Limits { cpus_revocable_milli: 0, ..idle };
        assert_eq!(of_cpu(&firm, "1\n"), [Knob::CpuIdle(false), Knob::CpuWeight(110)]);
    }
}
