//! What a run is made of: sizes and weather, chosen by the seed.

/// The command that runs one seed again.
pub fn command(seed: u64) -> String {
    format!("cargo xtask sim --seed {seed} --trace")
}

/// A mistake that the simulated shells make on purpose, so that the checker that is to see it can be seen to see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// The allocator is told of twice the resources that an agent has.
    DoubledAgents,
    /// The allocator is not told of quotas.
    QuotaUntold,
    /// A master does not look at its lease.
    LeaseIgnored,
    /// The registrar says that a change is durable before it is written.
    RegistryLies,
    /// An agent's disk says that a record is durable before it is written.
    DiskLies,
    /// Status updates may overtake each other on their way to the scheduler.
    UpdatesReordered,
    /// Launches reach executors twice.
    LaunchedTwice,
    /// A returning agent does not name its tasks.
    TasksUnnamed,
    /// Some terminal updates never leave the agent.
    EndsWithheld,
    /// Agents are not told what was made of what they have.
    TotalsUntold,
}

/// What a run is made of.
#[derive(Clone, Debug)]
pub struct Plan {
    pub seed: u64,
    /// One keeps its registry on a disk of its own; several have ZooKeeper.
    pub masters: usize,
    pub agents: usize,
    pub schedulers: usize,
    /// Virtual time in which faults happen and new tasks are asked for, milliseconds.
    pub storm_ms: u64,
    /// A fault strikes about this often during the storm, milliseconds; 0 for none.
    pub fault_interval_ms: u64,
    /// Tasks that a scheduler has at most at one time.
    pub tasks_max: usize,
    /// A limit of CPUs for the first role, in CPUs.
    pub quota_cpus: Option<u64>,
    pub session_timeout_ms: u64,
    pub bug: Option<Bug>,
    /// Print what happens.
    pub trace: bool,
    /// Take the text of the trace into the digest too: slow.
    pub digests_trace: bool,
}

impl Plan {
    /// Most seeds are small and long; one in sixteen is tens of agents, one in thirty-two hundreds.
    pub fn from_seed(seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed ^ 0x51u64.rotate_left(40));
        let (agents, storm_ms) = match seed % 32 {
            31 => (rng.usize(150..=400), rng.u64(20_000..30_000)),
            7 | 23 => (rng.usize(20..=60), rng.u64(20_000..60_000)),
            _ => (rng.usize(1..=6), rng.u64(20_000..120_000)),
        };
        let intervals = [0, 500, 3_000, 15_000];
        Self {
            seed,
            masters: *rng.choice([1, 2, 3, 3, 3].iter()).expect("not empty"),
            agents,
            schedulers: rng.usize(1..=4),
            storm_ms,
            fault_interval_ms: *rng.choice(intervals.iter()).expect("not empty"),
            tasks_max: 12.max(agents / 3),
            quota_cpus: (rng.u8(..3) == 0).then(|| rng.u64(1..=4 * agents as u64)),
            session_timeout_ms: *rng.choice([4_000, 6_000, 10_000].iter()).expect("not empty"),
            bug: None,
            trace: false,
            digests_trace: false,
        }
    }
}
