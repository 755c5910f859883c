//! The table of programs: what each is attached to, which kernel fields it reads, and which figures are lost without it.
//! A program is added here; how it comes into the kernel is the loader's business.

use std::path::Path;

use agent_ebpf::field;
use aya::programs::cgroup_skb::CgroupSkbAttachType;
use aya::programs::raw_trace_point::RawTracePoint;
use aya::programs::{
    BtfTracePoint, CgroupSkb, Iter, Program, ProgramError, RawTracePointRunOptions, SockOps, TestRun,
};

use super::support::Figure;

/// How a program comes to run.
#[derive(Clone, Copy)]
pub(super) enum Hook {
    Tracepoint(&'static str),
    /// Loaded only; the agent runs it when it wants to.
    OnDemand,
    /// Run once, by the agent itself.
    Once,
    /// Loaded only; the agent makes an iterator of it when it wants to.
    TaskIterator,
    /// Loaded only; attached to each container's own directory (sockets.rs).
    Packets(CgroupSkbAttachType),
    Connections,
}

/// A program of the object, the kernel fields that it reads, and the figures that are lost without it.
pub(super) struct Spec {
    pub(super) name: &'static str,
    pub(super) hook: Hook,
    pub(super) fields: &'static [&'static [&'static str]],
    pub(super) figures: &'static [Figure],
}

impl Hook {
    /// Opens a program that an earlier agent has loaded.
    pub(super) fn pinned(self, path: &Path) -> Result<Program, ProgramError> {
        Ok(match self {
            Self::Tracepoint(_) => Program::BtfTracePoint(BtfTracePoint::from_pin(path)?),
            Self::OnDemand => Program::RawTracePoint(RawTracePoint::from_pin(path)?),
            Self::Once => {
                let program = RawTracePoint::from_pin(path)?;
                // Its answer is another one for every agent.
                program.test_run(RawTracePointRunOptions::new())?;
                Program::RawTracePoint(program)
            }
            Self::TaskIterator => Program::Iter(Iter::from_pin(path)?),
            Self::Packets(side) => Program::CgroupSkb(CgroupSkb::from_pin(path, side)?),
            Self::Connections => Program::SockOps(SockOps::from_pin(path)?),
        })
    }

    /// Whether the program is attached once, as it is loaded.
    pub(super) const fn is_attached(self) -> bool {
        matches!(self, Self::Tracepoint(_))
    }
}

const CGROUP: &[&str] = &[
    field::TASK_CGROUPS,
    field::CSET_DEFAULT_CGROUP,
    field::CGROUP_LEVEL,
    field::CGROUP_PARENT,
    field::CGROUP_ANCESTORS,
    field::CGROUP_KN,
    field::CSS_CGROUP,
    field::KERNFS_ID,
];
const RUNTIME: &[&str] = &[
    field::TASK_FLAGS,
    field::TASK_COMM,
    field::TASK_EXEC_RUNTIME,
    field::TASK_UTIME,
    field::TASK_STIME,
    field::TASK_NVCSW,
    field::TASK_NIVCSW,
    field::TASK_MIN_FLT,
    field::TASK_MAJ_FLT,
];
const RESIDENT: &[&str] = &[
    field::TASK_MM,
    field::MM_OWNER,
    field::MM_RSS_STAT,
    field::MM_HIWATER_RSS,
    field::COUNTER_COUNT,
    field::COUNTER_REMAINDERS,
];
/// Without those of block cgroups: where a kernel has none, the task that brings a request says whose it is.
const REQUEST: &[&str] = &[
    field::CGROUP_ROOT,
    field::REQUEST_FLAGS,
    field::REQUEST_BYTES,
    field::REQUEST_BIO,
    field::REQUEST_QUEUE,
    field::QUEUE_DISK,
    field::DISK_MAJOR,
    field::DISK_MINOR,
];
const NAMES: &[&str] = &[field::TASK_PID, field::TASK_TGID, field::TASK_COMM];
const ENDS: &[&str] = &[
    field::TASK_EXIT_CODE,
    field::TASK_GROUP_LEADER,
    field::TASK_SIGNAL,
    field::SIGNAL_LIVE,
    field::SIGNAL_FLAGS,
    field::SIGNAL_GROUP_EXIT_CODE,
];

pub(super) const LEVEL: &str = "level";
pub(super) const FLUSH: &str = "flush";
pub(super) const SWEEP: &str = "sweep";
const ANCHOR: &str = "anchor";

/// In the order of attaching: what follows a task from its beginning before what counts it.
pub(super) const PROGRAMS: &[Spec] = &[
    Spec {
        name: ANCHOR,
        hook: Hook::OnDemand,
        fields: &[&[field::BPF_ARRAY_PPTRS]],
        figures: &[Figure::MemoryExact],
    },
    // Without it the agent counts as any other process outside the containers.
    Spec { name: "me", hook: Hook::Once, fields: &[], figures: &[] },
    Spec {
        name: "fork",
        hook: Hook::Tracepoint("sched_process_fork"),
        fields: &[CGROUP, NAMES, RESIDENT],
        figures: &[
            Figure::Cpu,
            Figure::CpuRunning,
            Figure::RunQueue,
            Figure::Memory,
            Figure::MemoryExact,
            Figure::Life,
        ],
    },
    Spec {
        name: "exec",
        hook: Hook::Tracepoint("sched_process_exec"),
        fields: &[CGROUP, NAMES, RESIDENT, &[field::TASK_SIGNAL, field::SIGNAL_MAXRSS]],
        figures: &[Figure::Memory, Figure::MemoryExact, Figure::Life],
    },
    Spec {
        name: "exit",
        hook: Hook::Tracepoint("sched_process_exit"),
        fields: &[CGROUP, NAMES, RESIDENT, ENDS],
        figures: &[Figure::Memory, Figure::MemoryExact, Figure::Life],
    },
    Spec {
        name: "moved",
        hook: Hook::Tracepoint("cgroup_attach_task"),
        fields: &[CGROUP, RUNTIME, RESIDENT],
        figures: &[],
    },
    Spec {
        name: "oom",
        hook: Hook::Tracepoint("mark_victim"),
        fields: &[CGROUP, NAMES],
        figures: &[Figure::Oom],
    },
    Spec {
        name: FLUSH,
        hook: Hook::OnDemand,
        fields: &[CGROUP, RUNTIME, NAMES],
        figures: &[Figure::CpuRunning],
    },
    Spec {
        name: "switch",
        hook: Hook::Tracepoint("sched_switch"),
        fields: &[CGROUP, RUNTIME, NAMES],
        figures: &[Figure::Cpu, Figure::CpuRunning, Figure::RunQueue],
    },
    Spec {
        name: SWEEP,
        hook: Hook::TaskIterator,
        fields: &[CGROUP, RUNTIME, RESIDENT],
        figures: &[Figure::MemoryExact],
    },
    Spec {
        name: RESIDENT_PAGES,
        hook: Hook::Tracepoint("rss_stat"),
        fields: &[CGROUP, RESIDENT],
        figures: &[Figure::Memory, Figure::MemoryExact],
    },
    Spec {
        name: "ingress",
        hook: Hook::Packets(CgroupSkbAttachType::Ingress),
        fields: &[],
        figures: &[Figure::Network],
    },
    Spec {
        name: "egress",
        hook: Hook::Packets(CgroupSkbAttachType::Egress),
        fields: &[],
        figures: &[Figure::Network],
    },
    Spec {
        name: "io_insert",
        hook: Hook::Tracepoint("block_rq_insert"),
        fields: &[CGROUP, REQUEST],
        figures: &[Figure::Io],
    },
    Spec {
        name: "io_requeue",
        hook: Hook::Tracepoint("block_rq_requeue"),
        fields: &[],
        figures: &[Figure::Io],
    },
    Spec { name: "io_merge", hook: Hook::Tracepoint("block_rq_merge"), fields: &[], figures: &[Figure::Io] },
    Spec {
        name: "io_complete",
        hook: Hook::Tracepoint("block_rq_complete"),
        fields: &[REQUEST],
        figures: &[Figure::Io],
    },
    Spec {
        name: "io_issue",
        hook: Hook::Tracepoint("block_rq_issue"),
        fields: &[CGROUP, REQUEST],
        figures: &[Figure::Io],
    },
    Spec { name: "tcp", hook: Hook::Connections, fields: &[], figures: &[Figure::Tcp] },
];

/// The program that a page fault calls.
pub(super) const RESIDENT_PAGES: &str = "resident";
/// The type of what the programs of a tracepoint are called through, and how many arguments it has where a process that
/// exits still has its memory then: the first is the program's own, and the one that says whether its last thread goes
/// came with that (Linux 6.16, include/trace/events/sched.h).
pub(super) const EXIT_CALL: (&str, u32) = ("btf_trace_sched_process_exit", 3);

/// Fields without which the programs run all the same and leave figures out.
pub(super) const OPTIONAL: &[(Figure, &[&str])] = &[
    (Figure::RunQueue, &[field::TASK_PCOUNT, field::TASK_RUN_DELAY]),
    (Figure::OwnLimit, &[field::TASK_CFS_RQ, field::CFS_THROTTLE_COUNT, field::CFS_THROTTLED_TIME]),
];
