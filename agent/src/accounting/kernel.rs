//! What the programs in the kernel have counted for one container, as plain values. `bpf` fills these; nothing here reads.

pub use agent_ebpf::net::{NetCounters, Packets, Protocol, Version};
pub use agent_ebpf::{CpuCounters, LifeCounters};

use model::latency::Latency;
use model::usage::Device;

/// Resident memory, bytes: the sum over the container's processes, so a page that two of them map counts twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ResidentMemory {
    pub current_bytes: u64,
    /// Never below `current_bytes`.
    pub peak_bytes: u64,
    /// What of it no file is behind.
    pub anon_bytes: u64,
    /// What of it is shared memory or of a tmpfs. The rest is of files.
    pub shmem_bytes: u64,
}

/// Waiting for a CPU.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunQueue {
    pub latency: Latency,
    pub taken: Vec<Taken>,
}

/// CPU that somebody took from the container's threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    pub by: Taker,
    pub count: u64,
    pub waited_ns: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taker {
    /// By its cgroup id. The container's own id is its own threads.
    Cgroup(u64),
    Agent,
    System,
    /// A container that is gone.
    Gone,
    /// Nobody else: the container's own CPU limit.
    Limit,
    /// Another container or the system; the programs had no room for which.
    Untold,
}

/// TCP connections of sockets that were made in the container.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tcp {
    pub retransmits: u64,
    pub connects: u64,
    pub accepts: u64,
    pub rtt: Latency,
}

/// One reading of one container. A part is `None` where its programs could not be loaded. All counters start at zero
/// with the container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KernelSample {
    pub cpu: Option<CpuCounters>,
    pub run_queue: Option<RunQueue>,
    pub memory: Option<ResidentMemory>,
    pub network: Option<NetCounters>,
    pub tcp: Option<Tcp>,
    /// By device.
    pub devices: Option<Vec<Device>>,
    pub life: Option<LifeCounters>,
}
