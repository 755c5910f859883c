//! What a container's agent knows beyond the figures: distributions, devices, and who took its CPU. It stays with the
//! agent; the master is told quantiles.

use crate::id::ContainerId;
use crate::latency::Latency;

/// One container's, since it began.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Detail {
    /// Waits for a CPU.
    pub run_queue: Latency,
    /// Smoothed round-trip times of its TCP connections, one a measurement.
    pub tcp_rtt: Latency,
    /// Those of the last interval between two looks in which there were any.
    pub tcp_rtt_recent: Latency,
    /// By device number.
    pub devices: Vec<Device>,
    /// Who took its CPU, the longest wait first; see [`Preempter`].
    pub preempted_by: Vec<Preemption>,
}

/// A container's use of one block device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Device {
    pub major: u32,
    pub minor: u32,
    pub read_bytes: u64,
    pub read_ops: u64,
    pub write_bytes: u64,
    pub write_ops: u64,
    /// From issue to completion.
    pub latency: Latency,
}

/// Who took a CPU from a thread that wanted to go on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Preempter {
    Container(ContainerId),
    /// The container's own other threads.
    Itself,
    /// The agent and what it runs.
    Agent,
    /// Anything else on the machine, the kernel's threads and containers that are gone included.
    System,
    /// Nobody: its own CPU limit held it back.
    Limit,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preemption {
    pub by: Preempter,
    pub count: u64,
    /// How long the threads then waited, all of it laid to who came first, nanoseconds.
    pub waited_ns: u64,
}
