//! What a whole node used.

use super::figures::figures;

figures! {
    /// What the whole node used and has. Counters began when it booted.
    pub struct NodeUsage {
        /// Busy time of all CPUs.
        cpu_ns: Cpu, Counter, Nanoseconds;
        cpus_milli: Cpu, Gauge, Milli;
        switches: Cpu, Counter, Count;
        load1_milli: Cpu, Gauge, Milli;
        load5_milli: Cpu, Gauge, Milli;
        load15_milli: Cpu, Gauge, Milli;
        /// How long threads that could run waited for a CPU.
        run_queue_ns: RunQueue, Counter, Nanoseconds;
        memory_total_bytes: Memory, Gauge, Bytes;
        memory_available_bytes: Memory, Gauge, Bytes;
        oom_kills: Memory, Counter, Count;
        faults_minor: Faults, Counter, Count;
        faults_major: Faults, Counter, Count;
        pressure_cpu_some_ns: Pressure, Counter, Nanoseconds;
        pressure_memory_some_ns: Pressure, Counter, Nanoseconds;
        pressure_memory_full_ns: Pressure, Counter, Nanoseconds;
        pressure_io_some_ns: Pressure, Counter, Nanoseconds;
        pressure_io_full_ns: Pressure, Counter, Nanoseconds;
        /// Of all interfaces but the loopback, as they count them.
        net_rx_bytes: Network, Counter, Bytes;
        net_rx_packets: Network, Counter, Count;
        net_tx_bytes: Network, Counter, Bytes;
        net_tx_packets: Network, Counter, Count;
        tcp_retransmits: Tcp, Counter, Count;
        /// Of all devices, partitions and stacked devices left out.
        io_read_bytes: Io, Counter, Bytes;
        io_read_ops: Io, Counter, Count;
        io_write_bytes: Io, Counter, Bytes;
        io_write_ops: Io, Counter, Count;
        forks: Life, Counter, Count;
    }
}
