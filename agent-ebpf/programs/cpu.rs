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
//! are the measuring: 60 ns a switch of a foreign thread (loads only), 155 to 185 ns one of ours, waits included (one hash
//! look-up, one storage look-up, nine loads more, the histogram), 215 where the caches are cold, as in a storm of forks. No
//! loops but the walk up the cgroups (task.rs, at most NESTED_MAX turns). Nothing can overflow: a thread that is not followed
//! adds to `unfollowed` instead, until `flush` or the sweep in memory.rs takes it up.
//!
//! Races: `switch` runs with interrupts off, `flush` from an interrupt or with preemption off, so on one CPU they never
//! overlap; a thread is on one CPU at a time. The agent runs one `flush` at a time.

use agent_ebpf::{Counters, CpuCounters};
use aya_ebpf::helpers::bpf_get_current_task_btf;
use aya_ebpf::macros::{btf_tracepoint, raw_tracepoint};
use aya_ebpf::programs::{BtfTracePointContext, RawTracePointContext};

use crate::task::{self, Followed, Seen, Task};
use crate::waits;

/// `TASK_DEAD` of include/linux/sched.h (v6.1): the state of a thread that will never run again.
const TASK_DEAD: u32 = 0x80;
/// `TASK_RUNNING`: it left though it could have gone on, or it is about to be woken.
const TASK_RUNNING: u32 = 0;

/// A thread leaves a CPU. Arguments: preempted, previous task, next task, state of the previous task.
#[btf_tracepoint(function = "sched_switch")]
pub(crate) fn switch(ctx: BtfTracePointContext) -> i32 {
    let previous: Task = ctx.arg(1);
    let container = task::container_of(previous);
    let Some(counters) = task::counters(container) else { return 0 };
    let is_dead = ctx.arg::<u32>(3) & TASK_DEAD != 0;
    if let Some(followed) = task::followed(previous) {
        count(previous, followed, counters, container);
        let runnable = ctx.arg::<u32>(0) != 0 || ctx.arg::<u32>(3) == TASK_RUNNING;
        waits::leave(previous, ctx.arg(2), followed, runnable);
    } else if is_dead && task::is_worker(previous) {
        add(&mut counters.cpu, &Seen::now(previous), &Seen::NOTHING);
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
    let now = Seen::now(task);
    add(&mut counters.cpu, &now, &followed.seen);
    waits::arrived(task, &now, followed, &mut counters.waits);
    followed.seen = now;
}

#[inline(always)]
fn add(counters: &mut CpuCounters, now: &Seen, seen: &Seen) {
    counters.exec_ns += now.exec_ns.saturating_sub(seen.exec_ns);
    counters.user_ns += now.user_ns.saturating_sub(seen.user_ns);
    counters.system_ns += now.system_ns.saturating_sub(seen.system_ns);
    counters.voluntary += u64::from(now.voluntary.wrapping_sub(seen.voluntary));
    counters.involuntary += u64::from(now.involuntary.wrapping_sub(seen.involuntary));
    counters.faults_minor += u64::from(now.faults_minor.wrapping_sub(seen.faults_minor));
    counters.faults_major += u64::from(now.faults_major.wrapping_sub(seen.faults_major));
}
