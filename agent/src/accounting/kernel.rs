//! What the programs in the kernel have counted for one container, as plain values. `bpf` fills these; nothing here reads.

pub use agent_ebpf::{CpuCounters, LifeCounters, NetCounters};

/// Resident memory, bytes: the sum over the container's processes, so a page that two of them map counts twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ResidentMemory {
    pub current_bytes: u64,
    /// Never below `current_bytes`.
    pub peak_bytes: u64,
}

/// One reading of one container. A part is `None` where its programs could not be loaded. All counters start at zero
/// with the container.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KernelSample {
    pub cpu: Option<CpuCounters>,
    pub memory: Option<ResidentMemory>,
    pub network: Option<NetCounters>,
    pub life: Option<LifeCounters>,
}
