//! Beginning and end of processes: what makes a task followed, and the events in the ring buffer.
//!
//! | program | hook | what for |
//! |---|---|---|
//! | `fork` | `tp_btf/sched_process_fork` | follows every new thread of a container before its first run |
//! | `exec` | `tp_btf/sched_process_exec` | its memory is a new one; event |
//! | `exit` | `tp_btf/sched_process_exit` | gives its memory back, keeping the peak; event when the last thread goes |
//! | `moved` | `tp_btf/cgroup_attach_task` | a process that is moved in is followed, one that is moved out let go |
//! | `oom` | `tp_btf/mark_victim`, 6.9 (it must name the task) | counts and reports the OOM killer's choice |
//!
//! Least kernel 6.1 otherwise. Maps: CONTAINERS, TASKS, MEMORY, EVENTS. Cost: a foreign task leaves after loads; ours costs
//! an allocation of 192 bytes at fork, the sum of its memory and a ring-buffer record: 1.0 to 1.7 us for each of fork, exec
//! and exit, which themselves take some hundred. Loops: the walk up the cgroups (task.rs), the sum over CPUs (memory.rs,
//! bounded by CPUS_MAX). Only what somebody waits for wakes the reader ([`wakes`]). When the ring buffer is full the event is lost and the container's `events_lost` says so; the
//! counters never lose anything.

use agent_ebpf::{Counters, EVENTS_BYTES, Event, EventKind};
use aya_ebpf::bindings::{BPF_RB_AVAIL_DATA, BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP};
use aya_ebpf::btf_maps::RingBuf;
use aya_ebpf::helpers::bpf_ktime_get_boot_ns;
use aya_ebpf::helpers::generated::bpf_ringbuf_query;
use aya_ebpf::macros::{btf_map, btf_tracepoint};
use aya_ebpf::programs::BtfTracePointContext;

use crate::task::{self, TASK_COMM, TASK_SIGNAL, TASK_TGID, Task, load, offsets};
use crate::{atomic, memory};

offsets! { TASK_EXIT_CODE, TASK_GROUP_LEADER, SIGNAL_LIVE, SIGNAL_FLAGS, SIGNAL_GROUP_EXIT_CODE }

/// `SIGNAL_GROUP_EXIT` of include/linux/sched/signal.h (v6.1): the whole process exits with `group_exit_code`.
const SIGNAL_GROUP_EXIT: u32 = 4;

/// The part of a status that names the signal (`WTERMSIG` of waitpid(2)).
const SIGNAL_MASK: u32 = 0x7f;

#[btf_map]
static EVENTS: RingBuf<Event, EVENTS_BYTES> = RingBuf::new();

/// Arguments: parent, child. The child has not run yet.
#[btf_tracepoint(function = "sched_process_fork")]
pub(crate) fn fork(ctx: BtfTracePointContext) -> i32 {
    let child: Task = ctx.arg(1);
    // The child's own cgroup: `CLONE_INTO_CGROUP` may have put it elsewhere than its parent.
    let container = task::container_of(child);
    let Some(counters) = task::counters(container) else { return 0 };
    // Its storage is all zeros, and so are its counters: everything it will use is the container's.
    let Some(followed) = task::follow(child) else { return 0 };
    followed.container = container;
    if task::is_leader(child) {
        let parent: Task = ctx.arg(0);
        memory::enter(child, followed, task::container_of(parent) != container);
        // SAFETY: see `load!`.
        let parent = unsafe { load!(parent, TASK_TGID, u32) };
        // SAFETY: fields of a map value.
        unsafe { atomic::add(&raw mut counters.life.forks, 1) };
        report(EventKind::Fork, child, container, counters, parent, 0);
    }
    0
}

/// Arguments: task, its old pid, the binary.
#[btf_tracepoint(function = "sched_process_exec")]
pub(crate) fn exec(ctx: BtfTracePointContext) -> i32 {
    let task: Task = ctx.arg(0);
    let container = task::container_of(task);
    let Some(counters) = task::counters(container) else { return 0 };
    if let Some(followed) = task::followed(task) {
        memory::replace(task, followed);
    }
    // SAFETY: a field of a map value.
    unsafe { atomic::add(&raw mut counters.life.execs, 1) };
    report(EventKind::Exec, task, container, counters, 0, 0);
    0
}

/// Argument: task. Fires for every thread. From 6.16 on its memory is still there; before, only its counters are.
#[btf_tracepoint(function = "sched_process_exit")]
pub(crate) fn exit(ctx: BtfTracePointContext) -> i32 {
    let task: Task = ctx.arg(0);
    let container = task::container_of(task);
    let Some(counters) = task::counters(container) else { return 0 };
    // SAFETY: a field of a map value.
    unsafe { atomic::add(&raw mut counters.life.threads_exiting, 1) };
    if let Some(followed) = task::followed(task) {
        memory::release(task, followed);
    }
    // SAFETY: see `load!`.
    let signal = unsafe { load!(task, TASK_SIGNAL, *const u8) };
    // SAFETY: see `load!`. The count of threads that have not begun to exit; this one has already been taken off.
    if unsafe { load!(signal, SIGNAL_LIVE, u32) } != 0 {
        return 0;
    }
    // SAFETY: see `load!`.
    let leader = unsafe { load!(task, TASK_GROUP_LEADER, Task) };
    let Some(followed) = task::followed(leader) else { return 0 };
    // Two last threads may both see zero.
    // SAFETY: a field of a task's storage.
    if unsafe { atomic::exchange(&raw mut followed.reported, 1) } != 0 {
        return 0;
    }
    // What `wait` would say of the process. Both are loaded: a choice between two places to load from would reach older
    // verifiers as one load from a place they cannot type.
    // SAFETY: see `load!`.
    let (flags, whole, own) = unsafe {
        (
            load!(signal, SIGNAL_FLAGS, u32),
            load!(signal, SIGNAL_GROUP_EXIT_CODE, u32),
            load!(leader, TASK_EXIT_CODE, u32),
        )
    };
    let status = if flags & SIGNAL_GROUP_EXIT != 0 { whole } else { own };
    // SAFETY: fields of a map value.
    unsafe {
        atomic::add(&raw mut counters.life.exits, 1);
        if status & SIGNAL_MASK != 0 {
            atomic::add(&raw mut counters.life.exits_signaled, 1);
        } else if status != 0 {
            atomic::add(&raw mut counters.life.exits_failed, 1);
        }
    }
    report(EventKind::Exit, task, container, counters, 0, status);
    0
}

/// Arguments: destination, its path, the process's first thread (or the one thread that is moved), whether all move.
/// Fires after the move. Other threads of a process that moves whole are taken up where they are next counted.
#[btf_tracepoint(function = "cgroup_attach_task")]
pub(crate) fn moved(ctx: BtfTracePointContext) -> i32 {
    let task: Task = ctx.arg(2);
    let container = task::container_of(task);
    let counters = task::counters(container);
    let followed = if counters.is_some() { task::follow(task) } else { task::followed(task) };
    let Some(followed) = followed else { return 0 };
    if followed.container == container {
        return 0;
    }
    memory::leave(followed);
    let came_in = followed.container == 0;
    let Some(counters) = counters else {
        task::begin(task, followed, 0);
        return 0;
    };
    task::begin(task, followed, container);
    memory::enter(task, followed, came_in);
    if came_in && task::is_leader(task) {
        // SAFETY: a field of a map value.
        unsafe { atomic::add(&raw mut counters.life.forks, 1) };
    }
    0
}

/// Arguments: the victim, its user id.
#[btf_tracepoint(function = "mark_victim")]
pub(crate) fn oom(ctx: BtfTracePointContext) -> i32 {
    let victim: Task = ctx.arg(0);
    let container = task::container_of(victim);
    let Some(counters) = task::counters(container) else { return 0 };
    // SAFETY: a field of a map value.
    unsafe { atomic::add(&raw mut counters.life.oom_kills, 1) };
    report(EventKind::Oom, victim, container, counters, 0, 0);
    0
}

#[inline(always)]
fn report(kind: EventKind, task: Task, container: u64, counters: &mut Counters, parent: u32, status: u32) {
    let Some(mut entry) = EVENTS.reserve(0) else {
        // SAFETY: a field of a map value.
        unsafe { atomic::add(&raw mut counters.life.events_lost, 1) };
        return;
    };
    // SAFETY: see `load!`; `comm` is 16 bytes, read as two words.
    let (pid, command) = unsafe {
        let words = [load!(task, TASK_COMM, u64), load!(task.add(8), TASK_COMM, u64)];
        (load!(task, TASK_TGID, u32), core::mem::transmute::<[u64; 2], [u8; 16]>(words))
    };
    // SAFETY: takes no pointer.
    let time_ns = unsafe { bpf_ktime_get_boot_ns() };
    entry.write(Event { time_ns, container, kind: kind as u32, pid, parent, status, command });
    let flag = if wakes(kind, status) { BPF_RB_FORCE_WAKEUP } else { BPF_RB_NO_WAKEUP };
    entry.submit(flag.into());
}

/// Violent ends are told at once, and the rest when another quarter of the ring has filled: a reader woken by every fork
/// would take the CPU from those who fork, and a wake-up is an interrupt (some 5 us in a virtual machine) even where nobody
/// reads. It looks by itself, too, so that nothing waits for ever.
#[inline(always)]
fn wakes(kind: EventKind, status: u32) -> bool {
    if matches!(kind, EventKind::Oom) || status & SIGNAL_MASK != 0 {
        return true;
    }
    // SAFETY: the map lives as long as the program.
    let waiting =
        unsafe { bpf_ringbuf_query((&raw const EVENTS).cast_mut().cast(), BPF_RB_AVAIL_DATA.into()) };
    waiting >= QUARTER_BYTES && waiting % QUARTER_BYTES < WAKING_BYTES
}

const QUARTER_BYTES: u64 = EVENTS_BYTES as u64 / 4;
/// Of some records: what several CPUs write at the same time must not step over the mark unseen.
const WAKING_BYTES: u64 = 16 * (size_of::<Event>() as u64 + 8);
