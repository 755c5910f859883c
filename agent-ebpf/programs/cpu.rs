//! On-CPU time, context switches and page faults of each container.
//!
//! | program | hook, least kernel | what for |
//! |---|---|---|
//! | `switch` | `tp_btf/sched_switch`, 6.1 (its fourth argument) | adds what the leaving thread used and how long it had waited (waits.rs) |
//! | `flush` | raw tracepoint type, never attached; the agent runs it on each CPU in turn (`BPF_PROG_RUN`, 5.10) | the same for the thread that is running, so that a busy loop shows before it is switched out |
//!
//! Method: the kernel keeps for each thread how long it ran, its ticks, switches and faults; the thread's storage remembers
//! how much of that has been counted; the difference is added to the container's per-CPU counters. No clock is read, so
//! steal and interrupt time are treated as the scheduler treats them, and a switch the program missed is made up for at
//! the next one. `cpu.stat` sums the same figure.
//!
//! Maps: CONTAINERS, TASKS, and those of waits.rs. Cost by the kernel's own statistics on a 2-CPU machine, of which 50 ns
//! are the measuring: 60 ns a switch of a foreign thread (loads only), 160 ns one of ours, waits included (one hash look-up,
//! one storage look-up, nine loads more, the histogram); up to 290 where the caches are cold, as when threads preempt each
//! other a thousand times a second beside other work, and there the measuring alone takes 65 to 90. No loops but the walk
//! up the cgroups (task.rs, at most NESTED_MAX turns), which is taken only for threads deeper than their container's own
//! directory and for those that are not followed. Nothing can overflow: a thread that is not followed adds to `unfollowed`
//! instead, until `flush` or the sweep in memory.rs takes it up.
//!
//! Races: `switch` runs with interrupts off, `flush` from an interrupt or with preemption off, so on one CPU they never
//! overlap; a thread is on one CPU at a time. The agent runs one `flush` at a time.

use agent_ebpf::{Counters, CpuCounters};
use aya_ebpf::helpers::bpf_get_current_task_btf;
use aya_ebpf::macros::{btf_tracepoint, raw_tracepoint};
use aya_ebpf::programs::{BtfTracePointContext, RawTracePointContext};

use crate::task::{
    self, Followed, Seen, TASK_EXEC_RUNTIME, TASK_MAJ_FLT, TASK_MIN_FLT, TASK_NIVCSW, TASK_NVCSW, TASK_STIME,
    TASK_UTIME, Task, load,
};
use crate::waits;

/// `TASK_DEAD` of include/linux/sched.h (v6.1): the state of a thread that will never run again.
const TASK_DEAD: u32 = 0x80;
/// `TASK_RUNNING`: it left though it could have gone on, or it is about to be woken.
const TASK_RUNNING: u32 = 0;

/// A thread leaves a CPU. Arguments: preempted, previous task, next task, state of the previous task.
#[btf_tracepoint(function = "sched_switch")]
pub(crate) fn switch(ctx: BtfTracePointContext) -> i32 {
    let previous: Task = ctx.arg(1);
    let followed = task::followed_quickly(previous);
    let container = task::container_again(previous, followed.as_deref());
    let Some(counters) = task::counters(container) else { return 0 };
    let is_dead = ctx.arg::<u32>(3) & TASK_DEAD != 0;
    if let Some(followed) = followed {
        count(previous, followed, counters, container);
        let runnable = ctx.arg::<u32>(0) != 0 || ctx.arg::<u32>(3) == TASK_RUNNING;
        waits::leave(previous, ctx.arg(2), followed, runnable);
    } else if is_dead && task::is_worker(previous) {
        add(previous, &mut counters.cpu, &mut { Seen::NOTHING });
    } else {
        counters.cpu.unfollowed += 1;
    }
    if is_dead {
        counters.life.threads_gone += 1;
    }
    0
}

/// Counts the running thread of this CPU. The scheduler brings its figure up to date at every tick, so what is missing
/// afterwards is less than a tick, and comes with the next count.
#[raw_tracepoint(tracepoint = "sched_switch")]
pub(crate) fn flush(_ctx: RawTracePointContext) -> i32 {
    // SAFETY: takes no pointer; the running task is there as long as it runs.
    let current: Task = unsafe { bpf_get_current_task_btf() }.cast();
    let container = task::container_of(current);
    let Some(counters) = task::counters(container) else { return 0 };
    if let Some(followed) = task::followed(current) {
        count(current, followed, counters, container);
    } else {
        task::adopt(current, container);
    }
    0
}

#[inline(always)]
fn count(task: Task, followed: &mut Followed, counters: &mut Counters, container: u64) {
    if followed.container != container {
        // It came from elsewhere, and the hook on moves has not seen it (a thread of a process that was moved whole).
        task::begin(task, followed, container);
        return;
    }
    add(task, &mut counters.cpu, &mut followed.seen);
    waits::arrived(task, followed, &mut counters.waits);
}

/// Adds what is new, and remembers it. Ticks and faults are rarer than switches, so what they change is looked at, each in one
/// go; a branch for every figure would cost more than it saves where the processor has forgotten which way they go.
#[inline(always)]
fn add(task: Task, counters: &mut CpuCounters, seen: &mut Seen) {
    // SAFETY: see `load!`.
    unsafe {
        add_time(load!(task, TASK_EXEC_RUNTIME, u64), &mut counters.exec_ns, &mut seen.exec_ns);
        add_count(load!(task, TASK_NVCSW, u32), &mut counters.voluntary, &mut seen.voluntary);
        add_count(load!(task, TASK_NIVCSW, u32), &mut counters.involuntary, &mut seen.involuntary);
        let (user, system) = (load!(task, TASK_UTIME, u64), load!(task, TASK_STIME, u64));
        if (user ^ seen.user_ns) | (system ^ seen.system_ns) != 0 {
            add_time(user, &mut counters.user_ns, &mut seen.user_ns);
            add_time(system, &mut counters.system_ns, &mut seen.system_ns);
        }
        let (minor, major) = (load!(task, TASK_MIN_FLT, u32), load!(task, TASK_MAJ_FLT, u32));
        if (minor ^ seen.faults_minor) | (major ^ seen.faults_major) != 0 {
            add_count(minor, &mut counters.faults_minor, &mut seen.faults_minor);
            add_count(major, &mut counters.faults_major, &mut seen.faults_major);
        }
    }
}

/// The kernel never sets these times back.
#[inline(always)]
fn add_time(now: u64, counter: &mut u64, seen: &mut u64) {
    *counter += now.wrapping_sub(*seen);
    *seen = now;
}

#[inline(always)]
fn add_count(now: u32, counter: &mut u64, seen: &mut u32) {
    *counter += u64::from(now.wrapping_sub(*seen));
    *seen = now;
}
