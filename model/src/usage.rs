//! What a container used, and who says so.

use crate::id::{ContainerId, ExecutorId, FrameworkId, TaskId};

/// Where a figure came from, best first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Source {
    /// Counted by our own programs in the kernel.
    Bpf,
    /// Read from the container's cgroup files.
    Cgroup,
    /// Summed over `/proc` of the container's processes: what exited between two looks is missing.
    Proc,
    /// Nothing on this machine can tell.
    #[default]
    None,
}

impl Source {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bpf => "bpf",
            Self::Cgroup => "cgroup",
            Self::Proc => "proc",
            Self::None => "none",
        }
    }
}

/// Everything known of one container's use. Counters start at zero with the container and never step back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// On-CPU time of all its threads, nanoseconds.
    pub cpu_ns: u64,
    pub cpu_user_ns: u64,
    pub cpu_system_ns: u64,
    pub switches_voluntary: u64,
    pub switches_involuntary: u64,
    pub throttled_periods: u64,
    pub throttled_ns: u64,
    /// Memory in use now, bytes. With the memory controller: charged memory, page cache included; otherwise resident pages.
    pub memory_current_bytes: u64,
    /// Highest `memory_current_bytes` that ever was, bytes; never below it.
    pub memory_peak_bytes: u64,
    pub memory_anon_bytes: u64,
    pub memory_file_bytes: u64,
    pub oom_kills: u64,
    /// IP bytes and packets, headers from IP up.
    pub net_rx_bytes: u64,
    pub net_rx_packets: u64,
    pub net_tx_bytes: u64,
    pub net_tx_packets: u64,
    pub processes: u32,
    pub threads: u32,
    /// Processes that were forked and that exited in it since it began.
    pub forks: u64,
    pub exits: u64,
    pub cpu_source: Source,
    pub memory_source: Source,
    pub network_source: Source,
}

/// One container's line in a usage report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerUsage {
    pub container_id: ContainerId,
    pub framework_id: FrameworkId,
    pub executor_id: ExecutorId,
    /// Tasks that ran in it since the last report, so that the figures can be shown by task.
    pub tasks: Vec<TaskId>,
    /// Its last process has exited; there will be no later figures.
    pub is_final: bool,
    pub usage: Usage,
}
