//! What a container used, and who says so. The figures are one table: whoever carries, stores or shows all of them goes by
//! [`Usage::FIGURES`] and need not know their names.

mod detail;
mod figures;
mod node;

pub use detail::{Detail, Device, Preempter, Preemption};
pub use figures::{Figure, Group, Kind, Unit};
pub use node::NodeUsage;

use crate::id::{ContainerId, ExecutorId, FrameworkId, TaskId};
use figures::figures;

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

/// Who tells each group of figures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sources {
    pub cpu: Source,
    /// Waiting for a CPU, and who took it.
    pub run_queue: Source,
    pub memory: Source,
    /// Page faults.
    pub faults: Source,
    /// Pressure stall information.
    pub pressure: Source,
    pub network: Source,
    /// Connections, retransmits and round-trip times.
    pub tcp: Source,
    pub io: Source,
    pub life: Source,
}

impl Sources {
    /// By the group's number (see [`Group`]).
    pub const fn to_array(self) -> [Source; Group::COUNT] {
        [
            self.cpu,
            self.run_queue,
            self.memory,
            self.faults,
            self.pressure,
            self.network,
            self.tcp,
            self.io,
            self.life,
        ]
    }

    pub const fn from_array(of: [Source; Group::COUNT]) -> Self {
        let [cpu, run_queue, memory, faults, pressure, network, tcp, io, life] = of;
        Self { cpu, run_queue, memory, faults, pressure, network, tcp, io, life }
    }

    pub const fn of(self, group: Group) -> Source {
        self.to_array()[group as usize]
    }
}

figures! {
    /// Everything known of one container's use, in words. Counters start at zero with the container and never step back.
    /// Quantiles are of the last interval between two looks, and stay what they were when nothing happened in it.
    pub struct Usage {
        /// On-CPU time of all its threads.
        cpu_ns: Cpu, Counter, Nanoseconds;
        cpu_user_ns: Cpu, Counter, Nanoseconds;
        cpu_system_ns: Cpu, Counter, Nanoseconds;
        /// Switches because a thread had to wait.
        switches_voluntary: Cpu, Counter, Count;
        /// Switches because another thread was to run.
        switches_involuntary: Cpu, Counter, Count;
        /// Periods of its CPU limit in which it ran (`nr_periods`).
        periods: Cpu, Counter, Count;
        /// Those in which it met the limit (`nr_throttled`).
        throttled_periods: Cpu, Counter, Count;
        /// How long it was held back by its own limit.
        throttled_ns: Cpu, Counter, Nanoseconds;

        /// How often a thread that could run had to wait for a CPU, its own limit's waits not counted.
        run_queue_waits: RunQueue, Counter, Count;
        /// How long they waited, from wake-up or preemption to running.
        run_queue_ns: RunQueue, Counter, Nanoseconds;
        run_queue_p50_ns: RunQueue, Gauge, Nanoseconds;
        run_queue_p99_ns: RunQueue, Gauge, Nanoseconds;
        /// How often a thread of another container, of the system or of the agent took its CPU.
        preempted: RunQueue, Counter, Count;
        /// How long it then waited.
        preempted_ns: RunQueue, Counter, Nanoseconds;

        /// Memory in use now. With the memory controller: charged memory, page cache included; otherwise resident pages.
        memory_current_bytes: Memory, Gauge, Bytes;
        /// Highest `memory_current_bytes` that ever was; never below it.
        memory_peak_bytes: Memory, Counter, Bytes;
        memory_anon_bytes: Memory, Gauge, Bytes;
        memory_file_bytes: Memory, Gauge, Bytes;
        /// Shared memory and tmpfs.
        memory_shmem_bytes: Memory, Gauge, Bytes;
        /// Charged to it by the kernel for its own needs: page tables, stacks, slabs, socket buffers.
        memory_kernel_bytes: Memory, Gauge, Bytes;
        memory_swap_bytes: Memory, Gauge, Bytes;
        /// `memory_current_bytes` without file pages that were not used lately: what it would miss.
        memory_working_set_bytes: Memory, Gauge, Bytes;
        oom_kills: Memory, Counter, Count;
        faults_minor: Faults, Counter, Count;
        /// Page faults that had to wait for a device.
        faults_major: Faults, Counter, Count;

        /// How long some thread of it waited for a CPU (PSI `some`).
        pressure_cpu_some_ns: Pressure, Counter, Nanoseconds;
        pressure_memory_some_ns: Pressure, Counter, Nanoseconds;
        /// How long none of its threads could do anything else (PSI `full`).
        pressure_memory_full_ns: Pressure, Counter, Nanoseconds;
        pressure_io_some_ns: Pressure, Counter, Nanoseconds;
        pressure_io_full_ns: Pressure, Counter, Nanoseconds;

        /// IP bytes, headers from IP up, of all protocols.
        net_rx_bytes: Network, Counter, Bytes;
        net_rx_packets: Network, Counter, Count;
        net_tx_bytes: Network, Counter, Bytes;
        net_tx_packets: Network, Counter, Count;
        tcp_rx_bytes: Network, Counter, Bytes;
        tcp_rx_packets: Network, Counter, Count;
        tcp_tx_bytes: Network, Counter, Bytes;
        tcp_tx_packets: Network, Counter, Count;
        udp_rx_bytes: Network, Counter, Bytes;
        udp_rx_packets: Network, Counter, Count;
        udp_tx_bytes: Network, Counter, Bytes;
        udp_tx_packets: Network, Counter, Count;

        tcp_retransmits: Tcp, Counter, Count;
        /// Connections that it began and that were established.
        tcp_connects: Tcp, Counter, Count;
        /// Connections that it took.
        tcp_accepts: Tcp, Counter, Count;
        /// Smoothed round-trip time of its connections.
        tcp_rtt_p50_ns: Tcp, Gauge, Nanoseconds;
        tcp_rtt_p99_ns: Tcp, Gauge, Nanoseconds;

        /// Bytes that devices read for it; what the page cache answers is not among them.
        io_read_bytes: Io, Counter, Bytes;
        io_read_ops: Io, Counter, Count;
        io_write_bytes: Io, Counter, Bytes;
        io_write_ops: Io, Counter, Count;
        /// From the request's issue to its completion, reads and writes together.
        io_p50_ns: Io, Gauge, Nanoseconds;
        io_p99_ns: Io, Gauge, Nanoseconds;

        processes: Life, Gauge, Count;
        threads: Life, Gauge, Count;
        /// Processes that were forked in it since it began.
        forks: Life, Counter, Count;
        execs: Life, Counter, Count;
        exits: Life, Counter, Count;
        /// Exits with a code other than zero.
        exits_failed: Life, Counter, Count;
        /// Exits by a signal.
        exits_signaled: Life, Counter, Count;
        /// Events of the three kinds above that found the ring buffer full; the counts have them all the same.
        events_lost: Life, Counter, Count;
    }
}

impl Usage {
    /// Context switches of both kinds.
    pub const fn switches(&self) -> u64 {
        self.switches_voluntary.saturating_add(self.switches_involuntary)
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_go_to_the_figures_in_their_order() {
        let words: [u64; Usage::WORDS] = std::array::from_fn(|index| index as u64 + 1);
        let usage = Usage::from_words(words, Sources { io: Source::Cgroup, ..Sources::default() });
        assert_eq!((usage.cpu_ns, usage.events_lost), (1, Usage::WORDS as u64));
        assert_eq!(usage.to_words(), words);
        let at = Usage::FIGURES.iter().position(|figure| figure.name == "io_read_bytes").expect("there");
        assert_eq!(usage.io_read_bytes, words[at]);
        assert_eq!(usage.sources.of(Usage::FIGURES[at].group), Source::Cgroup);
    }

    #[test]
    fn sources_stand_at_their_groups_number() {
        let all = [Source::Bpf, Source::Cgroup, Source::Proc];
        let of = std::array::from_fn(|at| all[at % all.len()]);
        let sources = Sources::from_array(of);
        assert_eq!(sources.to_array(), of);
        for (at, group) in Group::ALL.into_iter().enumerate() {
            assert_eq!((group as usize, sources.of(group)), (at, of[at]));
        }
    }
}
