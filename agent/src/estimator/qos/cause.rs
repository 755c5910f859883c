//! Why lent containers are corrected, in figures.

use model::id::ContainerId;
use std::fmt;

/// A target that is missed. Its text is for the log and for the framework whose task is killed, which is not told whose
/// container suffered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// A firm container's threads wait too long for a CPU.
    Waits { container_id: ContainerId, p99_ns: u64, target_ns: u64 },
    /// Too much of the time one of them waits.
    Pressure { container_id: ContainerId, permille: u64, target_permille: u64 },
    /// The machine has too little memory left.
    Memory { available_bytes: u64, headroom_bytes: u64 },
}

impl Cause {
    /// How far the target is missed: 1000 is just met.
    pub fn severity_permille(&self) -> u64 {
        let ratio = |is: u64, to_be: u64| is.saturating_mul(1000) / to_be.max(1);
        match self {
            Self::Waits { p99_ns, target_ns, .. } => ratio(*p99_ns, *target_ns),
            Self::Pressure { permille, target_permille, .. } => ratio(*permille, *target_permille),
            Self::Memory { available_bytes, headroom_bytes } => ratio(*headroom_bytes, *available_bytes),
        }
    }

    /// Who suffers, where it is one container.
    pub fn container_id(&self) -> Option<&ContainerId> {
        match self {
            Self::Waits { container_id, .. } | Self::Pressure { container_id, .. } => Some(container_id),
            Self::Memory { .. } => None,
        }
    }

    /// Its kind, for labels.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Waits { .. } => "run_queue_latency",
            Self::Pressure { .. } => "cpu_pressure",
            Self::Memory { .. } => "memory_headroom",
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |ns: &u64| format!("{}.{} ms", ns / 1_000_000, ns / 100_000 % 10);
        match self {
            Self::Waits { p99_ns, target_ns, .. } => write!(
                f,
                "the 99th percentile of a regular container's waits for a CPU was {} (target {})",
                ms(p99_ns),
                ms(target_ns)
            ),
            Self::Pressure { permille, target_permille, .. } => write!(
                f,
                "a regular container waited for a CPU {}.{} % of the time (target {}.{} %)",
                permille / 10,
                permille % 10,
                target_permille / 10,
                target_permille % 10
            ),
            Self::Memory { available_bytes, headroom_bytes } => write!(
                f,
                "the machine had {} MiB of memory available (target {} MiB)",
                available_bytes >> 20,
                headroom_bytes >> 20
            ),
        }
    }
}
