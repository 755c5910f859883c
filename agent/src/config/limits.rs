//! Flags of what containers are held to.

use crate::cgroup::extras::{CpuSet, Extras, HugetlbMax, IoMax};
use crate::config::devices::{self, Allowed};
use crate::containerizer::devices::DeviceList;
use crate::containerizer::limits::LimitPolicy;
use crate::duration;
use std::collections::BTreeMap;

#[derive(Clone, Debug, clap::Args)]
pub struct LimitFlags {
    /// CPUs are a limit as well as a guarantee
    #[arg(long, env = "MESOS_CGROUPS_ENABLE_CFS", num_args = 0..=1,
          default_value_t = false, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub cgroups_enable_cfs: bool,

    /// Most processes and threads of one container
    #[arg(long, env = "INGOT_PIDS_MAX")]
    pub pids_max: Option<u64>,

    /// How much of its limit a container may save up while it uses less CPU, and use later, percent [default: nothing]
    #[arg(long, env = "INGOT_CGROUPS_CPU_BURST_PERCENT", value_parser = clap::value_parser!(u64).range(0..=100),
          value_name = "PERCENT")]
    pub cgroups_cpu_burst_percent: Option<u64>,

    /// From which part of its memory limit on a container is slowed down and its pages are reclaimed, percent [default: none]
    #[arg(long, env = "INGOT_CGROUPS_MEMORY_HIGH_PERCENT", value_parser = clap::value_parser!(u64).range(1..=100),
          value_name = "PERCENT")]
    pub cgroups_memory_high_percent: Option<u64>,

    /// CPUs that containers may use, such as 2-7 [default: all]
    #[arg(long, env = "INGOT_CGROUPS_CPUSET_CPUS", value_parser = CpuSet::parse, value_name = "LIST")]
    pub cgroups_cpuset_cpus: Option<CpuSet>,

    /// Memory nodes that containers may use, such as 0 [default: all]
    #[arg(long, env = "INGOT_CGROUPS_CPUSET_MEMS", value_parser = CpuSet::parse, value_name = "LIST")]
    pub cgroups_cpuset_mems: Option<CpuSet>,

    /// How fast each container may use a block device, a second, such as '8:0 rbps=1048576 wiops=120'; may be repeated
    #[arg(long, env = "INGOT_CGROUPS_IO_MAX", value_parser = IoMax::parse, value_name = "LINE")]
    pub cgroups_io_max: Vec<IoMax>,

    /// Most bytes of each container in huge pages of one size, such as 2MB=67108864; may be repeated
    #[arg(long, env = "INGOT_CGROUPS_HUGETLB_MAX", value_parser = HugetlbMax::parse, value_name = "SIZE=BYTES")]
    pub cgroups_hugetlb_max: Vec<HugetlbMax>,

    /// Devices that containers may use beside the usual ones, as Mesos' DeviceWhitelist in JSON; "all": every device
    #[arg(long, env = "MESOS_ALLOWED_DEVICES", value_parser = devices::parse, value_name = "JSON")]
    pub allowed_devices: Option<Allowed>,

    /// How fast each container may send, a second, such as 4MB; 0B: as fast as it likes
    #[arg(long, env = "MESOS_EGRESS_RATE_LIMIT_PER_CONTAINER",
          value_parser = crate::size::parse_bytes, value_name = "BYTES")]
    pub egress_rate_limit_per_container: Option<u64>,

    /// End executors whose sandbox holds more than the disk that they and their tasks were given
    #[arg(long, env = "MESOS_ENFORCE_CONTAINER_DISK_QUOTA", num_args = 0..=1,
          default_value_t = false, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub enforce_container_disk_quota: bool,

    /// How often sandboxes are measured for that
    #[arg(long, env = "MESOS_CONTAINER_DISK_WATCH_INTERVAL",
          default_value = "15secs", value_parser = parse_interval, value_name = "DURATION")]
    pub container_disk_watch_interval: u64,
}

fn parse_interval(text: &str) -> Result<u64, String> {
    match duration::parse_ms(text)? {
        ms @ 10.. => Ok(ms),
        _ => Err("expected 10ms or more".to_owned()),
    }
}

impl LimitFlags {
    pub(crate) fn policy(&self) -> LimitPolicy {
        LimitPolicy {
            cpus_are_limits: self.cgroups_enable_cfs,
            pids_max: self.pids_max,
            cpus_burst_percent: self.cgroups_cpu_burst_percent,
            memory_high_percent: self.cgroups_memory_high_percent,
            egress_max_bytes: self.egress_rate_limit_per_container.filter(|bytes| *bytes > 0),
        }
    }

    /// What containers may open; `None`: whatever they like.
    pub(crate) fn devices(&self) -> Option<DeviceList> {
        match &self.allowed_devices {
            None => Some(DeviceList::usual()),
            Some(Allowed::All) => None,
            Some(Allowed::Also { rules, .. }) => Some(DeviceList::usual().and(rules)),
        }
    }

    /// What the operator wants of containers' cgroups beyond what tasks ask for.
    pub(crate) fn extras(&self) -> Extras {
        Extras {
            cpuset_cpus: self.cgroups_cpuset_cpus.clone(),
            cpuset_mems: self.cgroups_cpuset_mems.clone(),
            io_max: self.cgroups_io_max.clone(),
            hugetlb_max: self.cgroups_hugetlb_max.clone(),
        }
    }

    pub(super) fn shown(&self, flags: &mut BTreeMap<&'static str, String>) {
        flags.extend([
            ("cgroups_enable_cfs", self.cgroups_enable_cfs.to_string()),
            ("container_disk_watch_interval", duration::show_ms(self.container_disk_watch_interval)),
            ("enforce_container_disk_quota", self.enforce_container_disk_quota.to_string()),
        ]);
        let given = [
            ("cgroups_cpu_burst_percent", self.cgroups_cpu_burst_percent.map(|it| it.to_string())),
            ("cgroups_memory_high_percent", self.cgroups_memory_high_percent.map(|it| it.to_string())),
            ("cgroups_cpuset_cpus", self.cgroups_cpuset_cpus.as_ref().map(|it| it.as_str().to_owned())),
            ("cgroups_cpuset_mems", self.cgroups_cpuset_mems.as_ref().map(|it| it.as_str().to_owned())),
            ("pids_max", self.pids_max.map(|it| it.to_string())),
            ("allowed_devices", self.allowed_devices.as_ref().map(|it| it.as_str().to_owned())),
            (
                "egress_rate_limit_per_container",
                self.egress_rate_limit_per_container.map(crate::size::show_bytes),
            ),
        ];
        flags.extend(given.into_iter().filter_map(|(name, value)| Some((name, value?))));
        let joined = |words: Vec<&str>| words.join("; ");
        if !self.cgroups_io_max.is_empty() {
            flags.insert("cgroups_io_max", joined(self.cgroups_io_max.iter().map(IoMax::as_str).collect()));
        }
    }
}
