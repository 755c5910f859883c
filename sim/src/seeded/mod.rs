//! A whole cluster in one thread, from one seed: the real cores of master, allocator and agents, driven by a virtual
//! clock, over a network that loses connections, disks that lose their last writes, and executors and schedulers that
//! misbehave. [`laws`] knows what has to hold, not how the cores keep it.
//!
//! ```text
//! scheduler --calls--> [Cluster] <--events--> [allocator Core]
//!     ^                  |   ^
//!     +----events--------+   +---- wire frames ----> [Node] <--calls, events--> executors
//! ```
//! Everything that takes time is a [`world::Happening`] in one queue; the same seed gives the same run.

mod executor;
pub mod laws;
mod node;
mod scheduler;
pub mod world;

/// What a run is made of. The defaults are a small cluster in bad weather.
#[derive(Clone, Debug)]
pub struct Plan {
    pub seed: u64,
    pub agents: usize,
    pub schedulers: usize,
    /// Virtual time in which faults happen and new tasks are asked for, milliseconds.
    pub storm_ms: u64,
    /// A fault strikes about this often during the storm, milliseconds; 0 for none.
    pub fault_interval_ms: u64,
    /// Print what happens.
    pub trace: bool,
}

impl Plan {
    pub fn from_seed(seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        Self {
            seed,
            agents: rng.usize(1..=5),
            schedulers: rng.usize(1..=3),
            storm_ms: rng.u64(20_000..120_000),
            fault_interval_ms: *rng.choice([0, 500, 3_000, 15_000].iter()).expect("not empty"),
            trace: false,
        }
    }
}

/// What a run came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    pub happenings: u64,
    pub faults: u64,
    pub launched: u64,
    pub finished: u64,
    pub updates: u64,
    pub agent_restarts: u64,
}

/// Runs the plan to its end. Panics when a law is broken; the message names the seed and the law.
pub fn run(plan: &Plan) -> Outcome {
    world::World::new(plan.clone()).run()
}
