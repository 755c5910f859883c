//! From the embedded object to programs that run: finds the fields, makes the maps, loads and attaches each program, and
//! says which figures that gives. A program that the kernel refuses costs the figures that need it and nothing else.
//!
//! Everything lives as long as the [`Ebpf`] value: when it is dropped the kernel detaches the programs and frees the maps.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use agent_ebpf::{CPUS_MAX, field, global};
use aya::programs::raw_trace_point::RawTracePoint;
use aya::programs::{
    BtfTracePoint, CgroupSkb, Iter, Program, ProgramError, RawTracePointRunOptions, SockOps, TestRun,
};
use aya::util::{nr_cpus, online_cpus};
use aya::{Btf, Ebpf, EbpfLoader};

use super::btf::{BtfError, KERNEL_BTF, KernelBtf};
use super::support::{Figure, Reason, Support};
use super::{capabilities, hierarchy};

static OBJECT: &[u8] = aya::include_bytes_aligned!("../../../agent-ebpf/object/ingot.bpf.o");

/// How a program comes to run.
#[derive(Clone, Copy)]
enum Hook {
    Tracepoint(&'static str),
    /// Loaded only; the agent runs it when it wants to.
    OnDemand,
    /// Run once, by the agent itself.
    Once,
    /// Loaded only; the agent makes an iterator of it when it wants to.
    TaskIterator,
    /// Loaded only; attached to each container's own directory (sockets.rs).
    Packets,
    Connections,
}

/// A program of the object, the kernel fields that it reads, and the figures that are lost without it.
struct Spec {
    name: &'static str,
    hook: Hook,
    fields: &'static [&'static [&'static str]],
    figures: &'static [Figure],
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

const LEVEL: &str = "level";
pub(super) const FLUSH: &str = "flush";
pub(super) const SWEEP: &str = "sweep";
const ANCHOR: &str = "anchor";

/// In the order of attaching: what follows a task from its beginning before what counts it.
const PROGRAMS: &[Spec] = &[
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
        fields: &[CGROUP, NAMES, RESIDENT],
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
        name: "resident",
        hook: Hook::Tracepoint("rss_stat"),
        fields: &[CGROUP, RESIDENT],
        figures: &[Figure::Memory, Figure::MemoryExact],
    },
    Spec { name: "ingress", hook: Hook::Packets, fields: &[], figures: &[Figure::Network] },
    Spec { name: "egress", hook: Hook::Packets, fields: &[], figures: &[Figure::Network] },
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

/// Fields without which the programs run all the same and leave figures out.
const OPTIONAL: &[(Figure, &[&str])] = &[
    (Figure::RunQueue, &[field::TASK_PCOUNT, field::TASK_RUN_DELAY]),
    (Figure::OwnLimit, &[field::TASK_CFS_RQ, field::CFS_THROTTLE_COUNT, field::CFS_THROTTLED_TIME]),
];

/// What the globals are set to. Owned here because aya borrows each until the object is loaded.
struct Globals {
    fields: Vec<(&'static str, u32)>,
    level: u32,
    root: u64,
    cpus: u32,
    stride: u32,
    /// Fields that this kernel does not have.
    absent: Vec<field::Field>,
}

/// Loads and attaches everything that this machine allows, for containers directly below `root`.
pub(super) fn load(root: &Path) -> Result<(Ebpf, Support), Reason> {
    capabilities::check()?;
    let types = KernelBtf::of_running_kernel().map_err(Reason::NoBtf)?;
    let mut globals = Globals::find(&types);
    drop(types);
    let btf = Btf::from_sys_fs().map_err(|_| {
        Reason::NoBtf(BtfError::Format { path: KERNEL_BTF, what: "the loader cannot read it" })
    })?;
    let place = hierarchy::locate(root)?;
    globals.level = match place.level() {
        Some(level) => level,
        None => place.level_within(own_level(&globals, &btf)?),
    };
    let no_directory = |_| Reason::NotCgroup2 { path: root.display().to_string() };
    let directory = File::open(root).map_err(no_directory)?;
    globals.root = directory.metadata().map_err(no_directory)?.ino();
    let mut ebpf = make_maps(&globals, &btf)?;

    let mut missing: Vec<(Figure, Arc<Reason>)> = Vec::new();
    for spec in PROGRAMS {
        let done = match globals.lacks(spec) {
            Some(of) => Err(Reason::NoField { of: of.of, path: of.path }),
            None => start(&mut ebpf, spec, &btf),
        };
        let Err(reason) = done else { continue };
        let reason = Arc::new(reason);
        for figure in spec.figures {
            if missing.iter().all(|(it, _)| it != figure) {
                missing.push((*figure, reason.clone()));
            }
        }
    }
    for (figure, needed) in OPTIONAL {
        let absent = globals.absent.iter().find(|it| needed.contains(&it.global));
        if let Some(it) = absent.filter(|_| missing.iter().all(|(it, _)| it != figure)) {
            missing.push((*figure, Arc::new(Reason::NoField { of: it.of, path: it.path })));
        }
    }
    Ok((ebpf, Support::without(missing)))
}

impl Globals {
    fn find(types: &KernelBtf) -> Self {
        let (mut fields, mut absent) = (Vec::new(), Vec::new());
        for field in field::FIELDS {
            match types.member(field.of, field.path) {
                Some(member) => fields.push((field.global, member.offset)),
                None => absent.push(*field),
            }
        }
        // Since 6.2 the memory counters are per-CPU counters; before, plain words without remainders.
        let counters = types.member("mm_struct", "rss_stat").and_then(|it| types.struct_of(it));
        let (stride, per_cpu) = match counters {
            Some((b"percpu_counter", size)) => (size, true),
            _ => (8, false),
        };
        if !per_cpu {
            let plain = types.member("mm_rss_stat", "count").map_or(0, |it| it.offset);
            for (name, offset) in &mut fields {
                if *name == field::COUNTER_COUNT {
                    *offset = plain;
                }
            }
        }
        let cpus = match nr_cpus() {
            Ok(cpus) if per_cpu && cpus <= CPUS_MAX => u32::try_from(cpus).expect("at most CPUS_MAX"),
            _ => 0,
        };
        Self { fields, level: 1, root: 0, cpus, stride, absent }
    }

    fn lacks(&self, spec: &Spec) -> Option<&field::Field> {
        let needed = |it: &&field::Field| spec.fields.iter().any(|group| group.contains(&it.global));
        self.absent.iter().find(needed)
    }
}

fn make_maps(globals: &Globals, btf: &Btf) -> Result<Ebpf, Reason> {
    let mut loader = EbpfLoader::new();
    loader.btf(Some(btf)).allow_unsupported_maps();
    for (name, offset) in &globals.fields {
        loader.override_global(name, offset, true);
    }
    loader
        .override_global(global::CONTAINER_LEVEL, &globals.level, true)
        .override_global(global::ROOT_CGROUP, &globals.root, true)
        .override_global(global::CPUS, &globals.cpus, true)
        .override_global(global::RSS_STRIDE, &globals.stride, true);
    loader.load(OBJECT).map_err(|error| Reason::Maps { message: causes(&error) })
}

fn start(ebpf: &mut Ebpf, spec: &Spec, btf: &Btf) -> Result<(), Reason> {
    let refused = |error: ProgramError| Reason::Refused { program: spec.name, message: shortly(&error) };
    let program = program(ebpf, spec.name);
    match spec.hook {
        Hook::Tracepoint(name) => {
            let program: &mut BtfTracePoint = program.try_into().map_err(refused)?;
            program.load(name, btf).map_err(refused)?;
            program.attach().map(drop).map_err(refused)
        }
        Hook::OnDemand => {
            let program: &mut RawTracePoint = program.try_into().map_err(refused)?;
            program.load().map_err(refused)?;
            // Run on every CPU once: `anchor` needs it, for `flush` it shows that it can be done at all.
            run_everywhere(program).map_err(refused)
        }
        Hook::Once => {
            let program: &mut RawTracePoint = program.try_into().map_err(refused)?;
            program.load().map_err(refused)?;
            program.test_run(RawTracePointRunOptions::new()).map(drop).map_err(refused)
        }
        Hook::TaskIterator => {
            let program: &mut Iter = program.try_into().map_err(refused)?;
            program.load("task", btf).map_err(refused)
        }
        Hook::Packets => {
            let program: &mut CgroupSkb = program.try_into().map_err(refused)?;
            program.load().map_err(refused)
        }
        Hook::Connections => {
            let program: &mut SockOps = program.try_into().map_err(refused)?;
            program.load().map_err(refused)
        }
    }
}

/// Runs an unattached program once on each CPU that is up, one after the other.
pub(super) fn run_everywhere(program: &RawTracePoint) -> Result<(), ProgramError> {
    let cpus = online_cpus().map_err(|(path, error)| ProgramError::IOError(with_path(path, &error)))?;
    for cpu in cpus {
        match program.test_run(RawTracePointRunOptions { cpu: Some(cpu), ..Default::default() }) {
            // A CPU that has gone down since: nothing runs there.
            Err(ProgramError::SyscallError(error)) if error.io_error.raw_os_error() == Some(libc::ENXIO) => {}
            done => _ = done?,
        }
    }
    Ok(())
}

fn with_path(path: &str, error: &std::io::Error) -> std::io::Error {
    std::io::Error::new(error.kind(), format!("{path}: {error}"))
}

/// The program of that name.
pub(super) fn program<'a>(ebpf: &'a mut Ebpf, name: &str) -> &'a mut Program {
    ebpf.program_mut(name).expect("the object is built with every program that is named here")
}

/// Depth of the agent's own cgroup below the true root.
fn own_level(globals: &Globals, btf: &Btf) -> Result<u32, Reason> {
    let refused = |error: ProgramError| Reason::Refused { program: LEVEL, message: shortly(&error) };
    let mut ebpf = make_maps(globals, btf)?;
    let program: &mut RawTracePoint = program(&mut ebpf, LEVEL).try_into().map_err(refused)?;
    program.load().map_err(refused)?;
    Ok(program.test_run(RawTracePointRunOptions::new()).map_err(refused)?.return_value)
}

/// An error and what caused it, in one line.
fn causes(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !line.contains(&cause_text) {
            line = format!("{line}: {cause_text}");
        }
        next = cause.source();
    }
    line
}

/// The verifier's log can be a megabyte; its verdict is the line before its statistics.
fn shortly(error: &ProgramError) -> String {
    let ProgramError::LoadError { io_error, verifier_log } = error else { return causes(error) };
    let log = verifier_log.to_string();
    let verdict = log.lines().rev().map(str::trim).find(|line| {
        !line.is_empty()
            && !["processed ", "verification time", "stack depth"].iter().any(|it| line.starts_with(it))
    });
    match verdict {
        Some(verdict) => format!("{io_error}: {verdict}"),
        None => io_error.to_string(),
    }
}
