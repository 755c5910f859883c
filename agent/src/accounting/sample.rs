//! What the kernel's files say of one container at one moment, as plain values. The sampler fills these; nothing here reads.
//! Meanings and keys: kernel doc Documentation/admin-guide/cgroup-v2.rst, Documentation/accounting/psi.rst.

use model::usage::Device;

/// `cpu.stat` of a cgroup v2 directory.
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
    /// Page cache, shared memory and tmpfs among it, as the kernel has it.
    pub file_bytes: u64,
    pub shmem_bytes: u64,
    /// Stacks, page tables, slabs, per-CPU memory and socket buffers.
    pub kernel_bytes: u64,
    /// File pages that were not used lately: what the kernel takes back first.
    pub inactive_file_bytes: u64,
    /// Page faults, those that waited for a device among them.
    pub faults_count: u64,
    pub faults_major_count: u64,
}

/// One pressure file: since the container began, how long some and how long all of its threads that wanted to run stood still.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pressure {
    pub some_us: u64,
    /// For the CPU zero, or missing before Linux 5.13: there is no such thing.
    pub full_us: u64,
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

/// What is known of one container from files. A field is `None` when its file is not there (controller absent, or no cgroup
/// at all). Files that move slowly are not read at each look: their figures are of the last time they were.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileSample {
    pub cpu: Option<CpuStat>,
    pub memory_current_bytes: Option<u64>,
    pub memory_peak_bytes: Option<u64>,
    pub memory_swap_bytes: Option<u64>,
    pub memory_stat: Option<MemoryStat>,
    pub oom_kills_count: Option<u64>,
    pub cpu_pressure: Option<Pressure>,
    pub memory_pressure: Option<Pressure>,
    pub io_pressure: Option<Pressure>,
    /// `io.stat`: by device, without latencies.
    pub devices: Option<Vec<Device>>,
    pub pids_current: Option<u64>,
    pub proc: Option<ProcSample>,
}
