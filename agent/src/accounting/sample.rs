//! What the kernel's files say of one container at one moment, as plain values. The sampler fills these; nothing here reads.

/// `cpu.stat` of a cgroup v2 directory (kernel doc: Documentation/admin-guide/cgroup-v2.rst, "CPU Interface Files").
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuStat {
    pub usage_us: u64,
    pub user_us: u64,
    pub system_us: u64,
    /// Zero where the cpu controller is not enabled (the three usage figures are there without it).
    pub periods_count: u64,
    pub throttled_count: u64,
    pub throttled_us: u64,
}

/// The part of `memory.stat` that is reported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryStat {
    pub anon_bytes: u64,
    pub file_bytes: u64,
    pub kernel_bytes: u64,
}

/// Sums over the processes of a container, from `/proc/PID/{stat,status}`. A process that has exited is missing from it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProcSample {
    pub user_ns: u64,
    pub system_ns: u64,
    pub rss_bytes: u64,
    /// Sum of the processes' high-water marks (`VmHWM`): an upper bound of the container's own peak.
    pub rss_peak_bytes: u64,
    pub processes_count: u32,
    pub threads_count: u32,
}

/// One reading of one container. A field is `None` when its file is not there (controller absent, or no cgroup at all).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FileSample {
    pub cpu: Option<CpuStat>,
    pub memory_current_bytes: Option<u64>,
    pub memory_peak_bytes: Option<u64>,
    pub memory_stat: Option<MemoryStat>,
    pub oom_kills_count: Option<u64>,
    pub pids_current: Option<u64>,
    pub proc: Option<ProcSample>,
}
