//! What this machine lets the agent measure by BPF: found out once, at start, and then a plain value that is shown and
//! branched on. Nothing here touches the kernel.

use std::fmt;

use super::btf::BtfError;

/// A group of figures that stands or falls together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Figure {
    /// On-CPU time and context switches of a container.
    Cpu,
    /// The same for threads that are running at the moment they are looked at. Without it their time comes when they
    /// are next switched out.
    CpuRunning,
    /// Waits for a CPU, and who had taken it.
    RunQueue,
    /// Waits for the container's own CPU limit told from those for others. Without it, or on a kernel without such
    /// limits, all waits count as the latter.
    OwnLimit,
    /// Resident memory of a container, now and at its highest.
    Memory,
    /// The same to the page. Without it each process's figure is off by what the kernel keeps on its CPUs: at most
    /// 3 x max(32, 2 x CPUs) pages for each CPU it ran on.
    MemoryExact,
    /// Bytes and packets of a container, by protocol.
    Network,
    /// Connections, retransmits and round-trip times of a container.
    Tcp,
    /// Bytes, operations and latency of a container on each block device.
    Io,
    /// Events: a process began, became another program, ended.
    Life,
    /// Events and counts of the OOM killer's choices.
    Oom,
    /// Not a figure, but that all others go on while no agent runs, and no counter begins anew with the next.
    Pins,
}

impl Figure {
    pub const ALL: [Self; 12] = [
        Self::Cpu,
        Self::CpuRunning,
        Self::RunQueue,
        Self::OwnLimit,
        Self::Memory,
        Self::MemoryExact,
        Self::Network,
        Self::Tcp,
        Self::Io,
        Self::Life,
        Self::Oom,
        Self::Pins,
    ];

    /// A name for logs and endpoints.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::CpuRunning => "cpu_running",
            Self::RunQueue => "run_queue",
            Self::OwnLimit => "own_limit",
            Self::Memory => "memory",
            Self::MemoryExact => "memory_exact",
            Self::Network => "network",
            Self::Tcp => "tcp",
            Self::Io => "io",
            Self::Life => "life",
            Self::Oom => "oom",
            Self::Pins => "pins",
        }
    }
}

/// Why a figure is not measured by BPF here.
#[derive(Debug, thiserror::Error)]
pub enum Reason {
    #[error("BPF is switched off (--bpf)")]
    SwitchedOff,
    #[error("containers have no cgroups to be counted by")]
    NoCgroups,
    #[error("this process lacks {}; run the agent as root or give it these", .0.join(", "))]
    NotPermitted(Vec<&'static str>),
    #[error("the kernel does not say how its structs are laid out (CONFIG_DEBUG_INFO_BTF)")]
    NoBtf(#[source] BtfError),
    #[error("this kernel has no field {of}.{path}")]
    NoField { of: &'static str, path: &'static str },
    #[error("{path} is not a directory of a cgroup v2 hierarchy")]
    NotCgroup2 { path: String },
    #[error("nothing is to outlive the agent (--bpf-pins)")]
    NotPinned,
    #[error("nothing can be pinned: {message}")]
    NoPins { message: String, remedy: &'static str },
    #[error("the maps cannot be made: {message}")]
    Maps { message: String },
    #[error("the program `{program}` was refused by the kernel: {message}")]
    Refused { program: &'static str, message: String },
}

impl Reason {
    /// The one command that would change it; none about a kernel that is too old or forbids it.
    pub const fn remedy(&self) -> Option<&'static str> {
        match self {
            Self::SwitchedOff => Some("ingot-agent --bpf=on ..."),
            Self::NoCgroups | Self::NotCgroup2 { .. } => Some("mount -t cgroup2 cgroup2 /sys/fs/cgroup"),
            Self::NotPermitted(_) => Some("sudo ingot-agent ..."),
            Self::NoBtf(_) => Some("apt-get install linux-image-amd64 && reboot"),
            Self::NotPinned => Some("ingot-agent --bpf-pins=usual ..."),
            Self::NoPins { remedy, .. } => Some(remedy),
            Self::NoField { .. } | Self::Maps { .. } | Self::Refused { .. } => None,
        }
    }
}

/// What was found. One entry a figure, in [`Figure::ALL`]'s order.
#[derive(Debug)]
pub struct Support {
    missing: Vec<(Figure, std::sync::Arc<Reason>)>,
}

impl Support {
    /// Nothing at all, for one reason.
    pub(crate) fn nothing(reason: Reason) -> Self {
        let reason = std::sync::Arc::new(reason);
        Self { missing: Figure::ALL.into_iter().map(|figure| (figure, reason.clone())).collect() }
    }

    pub(crate) fn without(missing: Vec<(Figure, std::sync::Arc<Reason>)>) -> Self {
        Self { missing }
    }

    pub(crate) fn lose(&mut self, figure: Figure, reason: Reason) {
        self.missing.retain(|(it, _)| *it != figure);
        self.missing.push((figure, std::sync::Arc::new(reason)));
    }

    /// How many programs the kernel refused.
    pub(crate) fn refused(&self) -> u64 {
        let names = self.missing.iter().filter_map(|(_, reason)| match **reason {
            Reason::Refused { program, .. } => Some(program),
            _ => None,
        });
        let names: std::collections::BTreeSet<&str> = names.collect();
        names.len() as u64
    }

    pub fn has(&self, figure: Figure) -> bool {
        self.missing(figure).is_none()
    }

    /// Why a figure is not measured by BPF; `None` if it is.
    pub fn missing(&self, figure: Figure) -> Option<&Reason> {
        self.missing.iter().find(|(it, _)| *it == figure).map(|(_, reason)| reason.as_ref())
    }

    /// Every figure, and why it is missing where it is.
    pub fn figures(&self) -> impl Iterator<Item = (Figure, Option<&Reason>)> {
        Figure::ALL.into_iter().map(|figure| (figure, self.missing(figure)))
    }
}

/// One line: what is measured, or what is missing and why, each reason once.
impl fmt::Display for Support {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let here: Vec<&str> =
            Figure::ALL.into_iter().filter(|it| self.has(*it)).map(Figure::as_str).collect();
        if here.is_empty() {
            write!(out, "no BPF")?;
        } else {
            write!(out, "BPF: {}", here.join(", "))?;
        }
        let mut said: Vec<String> = Vec::new();
        for (figure, reason) in &self.missing {
            let reason = reason.to_string();
            if said.contains(&reason) {
                continue;
            }
            let figures: Vec<&str> = self
                .missing
                .iter()
                .filter(|(_, it)| it.to_string() == reason)
                .map(|(it, _)| it.as_str())
                .collect();
            let figures =
                if figures.len() == Figure::ALL.len() { "all".to_owned() } else { figures.join(", ") };
            write!(out, "; without {figures}: {reason}")?;
            debug_assert!(figures == "all" || figures.contains(figure.as_str()));
            said.push(reason);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn nothing_says_its_reason_once() {
        let support = Support::nothing(Reason::NotPermitted(vec!["CAP_BPF", "CAP_PERFMON"]));
        assert!(Figure::ALL.into_iter().all(|figure| !support.has(figure)));
        assert_eq!(
            support.to_string(),
            "no BPF; without all: this process lacks CAP_BPF, CAP_PERFMON; run the agent as root or give it these"
        );
    }

    #[test]
    fn a_missing_hook_costs_its_figure_only() {
        let reason = Arc::new(Reason::NoField { of: "mm_struct", path: "owner" });
        let support = Support::without(vec![(Figure::Memory, reason.clone()), (Figure::MemoryExact, reason)]);
        assert!(support.has(Figure::Cpu) && !support.has(Figure::Memory));
        assert_eq!(
            support.to_string(),
            "BPF: cpu, cpu_running, run_queue, own_limit, network, tcp, io, life, oom, pins; without memory, memory_exact: \
             this kernel has no field mm_struct.owner"
        );
    }
}
