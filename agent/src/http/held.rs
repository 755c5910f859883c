//! What a container is held to, under `ingot` beside its statistics, and what became of the packets that were too many:
//!
//! ```json
//! {"limits": {"cpus": 2.0, "memory_bytes": 100663296, "pids": 64, "egress_bytes_per_second": 4194304, "idle": false},
//!  "egress": {"delayed_packets": 3, "delayed_ns": 71000, "dropped_packets": 0, "dropped_bytes": 0}}
//! ```
//! A limit that there is none of is null; without one of egress nothing is said of packets.

use crate::bpf::hold::Egress;
use crate::cgroup::knobs::Limits;
use serde::Serialize;

#[derive(Serialize)]
pub(super) struct ShownLimits {
    cpus: Option<f64>,
    memory_bytes: Option<u64>,
    pids: Option<u64>,
    egress_bytes_per_second: Option<u64>,
    /// It runs when nobody else does, for what it runs on is lent.
    idle: bool,
}

impl ShownLimits {
    pub(super) fn of(limits: &Limits) -> Self {
        Self {
            cpus: limits.cpus_max_milli.map(|milli| milli as f64 / 1e3),
            memory_bytes: limits.memory_max_bytes,
            pids: limits.pids_max,
            egress_bytes_per_second: limits.egress_max_bytes,
            idle: limits.is_idle(),
        }
    }
}

#[derive(Serialize)]
pub(super) struct ShownEgress {
    delayed_packets: u64,
    delayed_ns: u64,
    dropped_packets: u64,
    dropped_bytes: u64,
}

impl ShownEgress {
    pub(super) fn of(egress: &Egress) -> Self {
        let Egress { delayed_packets, delayed_ns, dropped_packets, dropped_bytes, .. } = *egress;
        Self { delayed_packets, delayed_ns, dropped_packets, dropped_bytes }
    }
}
