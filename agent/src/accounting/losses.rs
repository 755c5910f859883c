//! What accounting may miss though it could have been known: each has one name in the metrics, in `/state` and in the doctor's
//! report. Decides; counts nothing.

/// Something that was missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    ContainerUncounted,
    ContainerCountedAnew,
    SocketsUncounted,
    ProgramRefused,
    Event,
    BlockRequest,
    ContainerUnsampled,
    RefreshFailed,
    FinalDropped,
    ReportDropped,
}

impl Loss {
    /// The value of the label `loss` of `ingot_accounting_losses_total`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ContainerUncounted => "container_not_counted",
            Self::ContainerCountedAnew => "container_counted_anew",
            Self::SocketsUncounted => "sockets_not_counted",
            Self::ProgramRefused => "program_refused",
            Self::Event => "event",
            Self::BlockRequest => "block_request",
            Self::ContainerUnsampled => "container_not_sampled",
            Self::RefreshFailed => "refresh_failed",
            Self::FinalDropped => "final_figures_dropped",
            Self::ReportDropped => "report_dropped",
        }
    }

    /// What it means, behind its count.
    pub const fn says(self) -> &'static str {
        match self {
            Self::ContainerUncounted => "containers found no room in the programs' maps: files only",
            Self::ContainerCountedAnew => "containers' counters began anew with another agent's programs",
            Self::SocketsUncounted => "containers have no figures of their sockets",
            Self::ProgramRefused => "BPF programs were refused by the kernel",
            Self::Event => "events found the ring buffer full; the counts have them",
            Self::BlockRequest => "block requests found no room for another device of a container",
            Self::ContainerUnsampled => "containers' files could not be read",
            Self::RefreshFailed => "looks were a little behind: a refresh failed",
            Self::FinalDropped => "last figures were dropped while no master was there",
            Self::ReportDropped => "reports to the master were too long, and dropped",
        }
    }

    /// The command that makes it happen no more.
    pub const fn remedy(self) -> Option<&'static str> {
        match self {
            Self::ContainerUncounted => Some("ingot-agent --bpf-containers-max=NUMBER ..."),
            _ => None,
        }
    }
}
