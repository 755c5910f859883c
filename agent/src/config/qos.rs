//! Flags of what lent containers must not do to the others.

use crate::duration;
use crate::estimator::qos::Targets;
use std::collections::BTreeMap;

#[derive(Clone, Debug, clap::Args)]
pub struct QosFlags {
    /// Longest 99th percentile of regular containers' waits for a CPU while anything runs on revocable resources; 0ns: any
    #[arg(long, env = "INGOT_QOS_LATENCY_P99", default_value = "10ms", value_parser = duration::parse_ns,
          value_name = "DURATION")]
    pub qos_latency_p99: u64,

    /// Of the time, the most in which a regular container may wait for a CPU (PSI "some"), percent; 0: any
    #[arg(long, env = "INGOT_QOS_PSI", default_value_t = 20, value_parser = clap::value_parser!(u64).range(0..=100),
          value_name = "PERCENT")]
    pub qos_psi: u64,

    /// Memory that is to stay available on the machine, such as 512MB; 0B: none
    #[arg(long, env = "INGOT_QOS_MEMORY_HEADROOM", default_value = "256MB", value_parser = crate::size::parse_bytes,
          value_name = "BYTES")]
    pub qos_memory_headroom: u64,

    /// How long the targets may be missed with all revocable containers frozen before one of them is killed
    #[arg(long, env = "INGOT_QOS_KILL_AFTER", default_value = "10secs", value_parser = duration::parse_ms,
          value_name = "DURATION")]
    pub qos_kill_after: u64,
}

impl QosFlags {
    pub(crate) fn targets(&self) -> Targets {
        let some = |value: u64| (value > 0).then_some(value);
        Targets {
            wait_p99_ns: some(self.qos_latency_p99),
            pressure_permille: some(self.qos_psi * 10),
            headroom_bytes: some(self.qos_memory_headroom),
            kill_after_ns: self.qos_kill_after.saturating_mul(1_000_000),
        }
    }

    pub(super) fn shown(&self, flags: &mut BTreeMap<&'static str, String>) {
        flags.extend([
            ("qos_latency_p99", format!("{}us", self.qos_latency_p99 / 1_000)),
            ("qos_psi", self.qos_psi.to_string()),
            ("qos_memory_headroom", crate::size::show_bytes(self.qos_memory_headroom)),
            ("qos_kill_after", duration::show_ms(self.qos_kill_after)),
        ]);
    }
}
