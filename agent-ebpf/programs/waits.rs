//! How long the threads of each container waited for a CPU, and who had taken it from them. No hook of its own but `me`:
//! `switch` and `flush` (cpu.rs) call in here.
//!
//! | program | how it runs | what for |
//! |---|---|---|
//! | `me` | run once by the agent, in its own context (`BPF_PROG_RUN`, 5.10) | notes the agent's process id |
//!
//! Method: the scheduler keeps for each thread how long it stood in a run queue, from wake-up or preemption to running, and
//! how often it got a CPU (`sched_info`, CONFIG_SCHED_INFO; the sums of /proc/PID/schedstat). When the thread leaves the
//! CPU, what has been added since it was last counted is the wait before this run. So no wake-up is hooked and no clock is
//! read; a wait shows when the run after it ends, or at the next tick, and one that is still going on shows not yet.
//!
//! A thread that leaves though it could go on remembers who comes after it: that one took its CPU, and its next wait is
//! laid to it. `sched_yield` looks the same as a preemption here. A thread that sleeps has nothing taken from it, and its
//! wait after waking is in the histogram only.
//!
//! A container's own CPU limit is nobody else's doing: a wait that it prolonged goes to `limited` and neither to a taker
//! nor into the histogram. From 6.17 on the limit takes single threads off the queue and marks them (`task->throttled`);
//! before, it takes the whole queue off (`throttle_count`), when the thread leaves or while it waits, and the latter shows
//! by the time that the queue has been under a limit. Of a wait after sleeping this cannot be told before 6.17.
//!
//! Maps: CONTAINERS, TASKS, TAKEN, AGENT. Cost, of which the head of cpu.rs has the sum: two loads, the histogram's bucket
//! by some thirty instructions; at a preemption the walk up the next thread's cgroups, and when the thread has run again one
//! look-up in TAKEN, unless it was the container's own. Overflow: a pair for which TAKEN has no room adds to the victim's `untold`; the histogram loses nothing.
//! No loops.

use agent_ebpf::{Histogram, PAIRS_MAX, Pair, Taken, WaitCounters, taker};
use aya_ebpf::bindings::BPF_NOEXIST;
use aya_ebpf::btf_maps::{Array, HashMap};
use aya_ebpf::helpers::{bpf_get_current_pid_tgid, bpf_get_smp_processor_id};
use aya_ebpf::macros::{btf_map, raw_tracepoint};
use aya_ebpf::programs::RawTracePointContext;

use crate::atomic;
use crate::task::{self, Followed, TASK_PCOUNT, TASK_PID, TASK_RUN_DELAY, TASK_TGID, Task, load, offsets};

offsets! { TASK_THROTTLED, TASK_CFS_RQ, CFS_THROTTLE_COUNT, CFS_THROTTLED_TIME }

/// Made beforehand: a row is put in under the run-queue lock.
#[btf_map]
static TAKEN: HashMap<Pair, Taken, PAIRS_MAX> = HashMap::new();

#[btf_map]
static AGENT: Array<u64, 1> = Array::new();

/// The agent runs it itself, so it finds its number in the initial PID namespace, wherever the agent lives.
#[raw_tracepoint(tracepoint = "sched_switch")]
pub(crate) fn me(_ctx: RawTracePointContext) -> i32 {
    if let Some(agent) = AGENT.get_ptr_mut(0) {
        // SAFETY: the value of the map.
        unsafe { *agent = bpf_get_current_pid_tgid() >> 32 };
    }
    0
}

/// A thread of a container that is leaving its CPU, or on it, has got it since it was last counted.
#[inline(always)]
pub(crate) fn arrived(task: Task, followed: &mut Followed, waits: &mut WaitCounters) {
    if TASK_RUN_DELAY.load() == 0 {
        return;
    }
    // SAFETY: see `load!`.
    let (arrivals, waited) = unsafe { (load!(task, TASK_PCOUNT, u32), load!(task, TASK_RUN_DELAY, u64)) };
    let times = arrivals.wrapping_sub(followed.seen.arrivals);
    // One that was put on the CPU right from its wake-up, in the same moment, has arrived all the same.
    if times == 0 {
        return;
    }
    let waited_ns = waited.wrapping_sub(followed.seen.waited_ns);
    (followed.seen.arrivals, followed.seen.waited_ns) = (arrivals, waited);
    let by = followed.taker;
    followed.taker = taker::NOBODY;
    if by == taker::LIMIT || by != taker::NOBODY && was_limited(task, followed) {
        waits.limited.count += 1;
        waits.limited.waited_ns += waited_ns;
        return;
    }
    waits.latency.sum_ns += waited_ns;
    // Switches that the programs missed leave several waits; who was there in between is not known.
    let each_ns = if times == 1 { waited_ns } else { waited_ns / u64::from(times) };
    let mut at = Histogram::bucket(each_ns);
    // The verifier does not follow how the bucket is computed, and rustc does; so it is told by an instruction that rustc
    // cannot see through.
    // SAFETY: changes a register and nothing else.
    unsafe { core::arch::asm!("{at} &= 31", at = inout(reg) at, options(pure, nomem, nostack)) };
    if let Some(bucket) = waits.latency.buckets.get_mut(at) {
        *bucket += u64::from(times);
    }
    if times == 1 && by != taker::NOBODY {
        blame(Pair { victim: followed.container, taker: by }, waited_ns, waits);
    }
}

/// It leaves: who comes after it has taken its CPU, if it could have gone on.
#[inline(always)]
pub(crate) fn leave(task: Task, next: Task, followed: &mut Followed, runnable: bool) {
    if TASK_RUN_DELAY.load() == 0 || !runnable {
        return;
    }
    followed.taker = if is_limited(task) { taker::LIMIT } else { who(next, task, followed.container) };
    (followed.left, followed.limited) = mark(task);
}

/// Whose thread it is that comes after one of a container.
#[inline(always)]
fn who(next: Task, previous: Task, container: u64) -> u64 {
    // SAFETY: see `load!`.
    let (pid, process) = unsafe { (load!(next, TASK_PID, u32), load!(next, TASK_TGID, u32)) };
    if pid == 0 {
        // The idle thread takes nothing from anybody.
        return taker::NOBODY;
    }
    if task::are_together(next, previous) {
        return container;
    }
    let agent = AGENT.get(0).copied().unwrap_or(0);
    if u64::from(process) == agent {
        return taker::AGENT;
    }
    match task::container_of(next) {
        0 => taker::SYSTEM,
        container => container,
    }
}

/// Whether a thread leaves because its container has used up its limit.
#[inline(always)]
fn is_limited(task: Task) -> bool {
    if TASK_THROTTLED.load() != 0 {
        // SAFETY: see `load!`.
        return unsafe { load!(task, TASK_THROTTLED, u8) } != 0;
    }
    if TASK_CFS_RQ.load() == 0 || CFS_THROTTLE_COUNT.load() == 0 {
        return false;
    }
    // SAFETY: see `load!`.
    unsafe {
        let queue = load!(task, TASK_CFS_RQ, *const u8);
        load!(queue, CFS_THROTTLE_COUNT, u32) != 0
    }
}

/// Whether the queue that it waited in, if that is still the same one, has been under a limit since it left. From a queue
/// under a limit nothing is balanced away, so one that runs on another CPU did not wait in such.
#[inline(always)]
fn was_limited(task: Task, followed: &Followed) -> bool {
    let (cpu, limited) = mark(task);
    cpu == followed.left && limited != followed.limited
}

/// The CPU that it runs on, which names its queue there, and how long that queue has been under a limit in all.
#[inline(always)]
fn mark(task: Task) -> (u32, u32) {
    if TASK_THROTTLED.load() != 0 || TASK_CFS_RQ.load() == 0 || CFS_THROTTLED_TIME.load() == 0 {
        return (0, 0);
    }
    // SAFETY: see `load!`; the helper takes no pointer.
    unsafe {
        let queue = load!(task, TASK_CFS_RQ, *const u8);
        (bpf_get_smp_processor_id(), load!(queue, CFS_THROTTLED_TIME, u64) as u32)
    }
}

/// Lays a wait to somebody.
#[inline(always)]
fn blame(pair: Pair, waited_ns: u64, waits: &mut WaitCounters) {
    if pair.taker == pair.victim {
        waits.own.count += 1;
        waits.own.waited_ns += waited_ns;
        return;
    }
    let mut taken = TAKEN.get_ptr_mut(&pair);
    if taken.is_none() {
        // Full, or another CPU has just put it in; then it is there now.
        let _ = TAKEN.insert(&pair, &Taken::default(), u64::from(BPF_NOEXIST));
        taken = TAKEN.get_ptr_mut(&pair);
    }
    let Some(taken) = taken else {
        waits.untold.count += 1;
        waits.untold.waited_ns += waited_ns;
        return;
    };
    // SAFETY: fields of a map value.
    unsafe {
        atomic::add(&raw mut (*taken).count, 1);
        atomic::add(&raw mut (*taken).waited_ns, waited_ns);
    }
}
