//! A whole cluster in one thread, from one seed: the real cores of masters, allocators, registrars and agents, driven by a
//! virtual clock, over a network that stalls, breaks and cuts hosts off one way, with disks that lose and refuse writes, a
//! ZooKeeper that ends sessions, processes that die at any effect, and executors and schedulers that misbehave.
//! [`checkers`] know what has to hold, not how the cores keep it. `docs/simulation.md` says what is real here and what not.
//!
//! ```text
//!               [zookeeper]  znodes, registry
//!                 |   |   |
//! scheduler --> [master] [master] [master]        Cluster, allocator Core, Registrar; one of them leads
//!     ^             |  ^
//!     +---events----+  +---- links, wire frames ----> [node] <--calls, events--> executors
//! ```
//! Everything that takes time is a [`world::Happening`] in one queue; the same seed gives the same run.

mod appetite;
pub mod checkers;
mod contender;
mod executor;
mod lending;
mod master;
mod network;
mod node;
mod node_disk;
pub mod plan;
mod scheduler;
mod storage;
mod weather;
pub mod world;
mod zookeeper;

pub use checkers::{Law, Violation};
pub use plan::{Bug, Plan};

/// What a run came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    pub happenings: u64,
    pub faults: u64,
    pub launched: u64,
    pub finished: u64,
    pub updates: u64,
    /// Reservations and volumes that were asked for, or their end.
    pub conversions: u64,
    pub agent_restarts: u64,
    pub elections: u64,
    /// Of everything that happened, in its order: equal for equal runs.
    pub digest: u64,
}

impl Outcome {
    /// Counts of several runs together.
    pub fn add(&mut self, other: &Self) {
        self.happenings += other.happenings;
        self.faults += other.faults;
        self.launched += other.launched;
        self.finished += other.finished;
        self.updates += other.updates;
        self.conversions += other.conversions;
        self.agent_restarts += other.agent_restarts;
        self.elections += other.elections;
        self.digest ^= other.digest;
    }
}

/// Runs the plan to its end, or until a law is broken.
pub fn run(plan: &Plan) -> Result<Outcome, Box<Violation>> {
    world::World::new(plan.clone()).run()
}
