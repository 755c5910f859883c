//! Bytes, operations and latency of each container on each block device.
//!
//! | program | hook, least kernel | what for |
//! |---|---|---|
//! | `io_insert` | `tp_btf/block_rq_insert`, 5.11 | a request waits for its turn: whose is it |
//! | `io_issue` | `tp_btf/block_rq_issue`, 5.11 | it goes to the device: since when; whose, if it did not wait |
//! | `io_requeue` | `tp_btf/block_rq_requeue`, 5.11 | the device did not take it; it will be issued again |
//! | `io_merge` | `tp_btf/block_rq_merge`, 5.11 | it has become part of another |
//! | `io_complete` | `tp_btf/block_rq_complete`, 5.16 | the device has done some of it, or the rest |
//!
//! Whose it is: the cgroup that the kernel charges the request's data to, where that lies in the v2 tree and is a
//! container's (its io controller is then a v2 one, and even what the kernel writes back later is charged right); otherwise
//! the task that brings the request to the device's queue. With the io controller on a v1 mount, or on none, the
//! second is all there is: reads, direct and synchronous writes and what fsync writes are right, but what the kernel's own
//! threads write back later is nobody's, for the page does not say who dirtied it.
//!
//! What counts: reads and writes as they are completed, as /sys/block/*/stat counts them: a request that several were merged
//! into is one operation. Not discards, and not
//! flushes: an fsync that has only to flush is a write of nothing there, and nothing here. The device is the whole disk, not the partition, and the one that the
//! requests go to: of a device mapper or a RAID, those below it.
//!
//! Maps: REQUESTS, DEVICES, CONTAINERS. Requests of others leave after two look-ups. Cost by the kernel's own statistics on a
//! 2-CPU machine, of which 50 ns are the measuring: 450 to 500 ns to take a request up, 330 to count it, 150
//! to issue one that waited: under a microsecond a request. No loops but the walk up the cgroups (task.rs).
//! Overflow: a request that finds no room in REQUESTS counts as it is issued, without a latency; one that finds none in
//! DEVICES adds to IO_LOST. What is on its way when its container is removed is not counted any more.

use agent_ebpf::io::{DEVICES_MAX, DeviceCounters, DeviceKey, REQUESTS_MAX, Requests};
use aya_ebpf::bindings::BPF_F_NO_PREALLOC;
use aya_ebpf::btf_maps::{Array, HashMap, PerCpuHashMap};
use aya_ebpf::helpers::{bpf_get_current_task_btf, bpf_ktime_get_ns};
use aya_ebpf::macros::{btf_map, btf_tracepoint};
use aya_ebpf::programs::BtfTracePointContext;

use crate::atomic;
use crate::task::{self, CGROUP_ROOT, CSET_DEFAULT_CGROUP, TASK_CGROUPS, Task, load, offsets};

offsets! {
    REQUEST_FLAGS, REQUEST_BYTES, REQUEST_BIO, REQUEST_QUEUE, QUEUE_DISK, DISK_MAJOR, DISK_MINOR,
    BIO_GROUP, GROUP_BLKCG, BLKCG_CGROUP,
}

/// A `struct request` in the kernel.
type Request = *const u8;

/// Operations of include/linux/blk_types.h (v6.1): the low eight bits of a request's flags.
const OPERATION: u32 = 0xff;
const READ: u32 = 0;
const WRITE: u32 = 1;
const ZONE_APPEND: u32 = 7;
const WRITE_ZEROES: u32 = 9;

/// A request of a container, until it is completed.
#[repr(C)]
#[derive(Clone, Copy)]
struct Started {
    of: DeviceKey,
    /// When it was issued; 0: not yet.
    since_ns: u64,
    is_write: u64,
}

/// By the request's address, which is another's as soon as it is completed.
#[btf_map]
static REQUESTS: HashMap<u64, Started, REQUESTS_MAX, { BPF_F_NO_PREALLOC as usize }> = HashMap::new();

#[btf_map]
static DEVICES: PerCpuHashMap<DeviceKey, DeviceCounters, DEVICES_MAX, { BPF_F_NO_PREALLOC as usize }> =
    PerCpuHashMap::new();

/// Completions that were not counted.
#[btf_map]
static IO_LOST: Array<u64, 1> = Array::new();

#[btf_tracepoint(function = "block_rq_insert")]
pub(crate) fn io_insert(ctx: BtfTracePointContext) -> i32 {
    follow(ctx.arg(0), false);
    0
}

#[btf_tracepoint(function = "block_rq_issue")]
pub(crate) fn io_issue(ctx: BtfTracePointContext) -> i32 {
    follow(ctx.arg(0), true);
    0
}

#[btf_tracepoint(function = "block_rq_requeue")]
pub(crate) fn io_requeue(ctx: BtfTracePointContext) -> i32 {
    let request: Request = ctx.arg(0);
    if let Some(started) = REQUESTS.get_ptr_mut(request as u64) {
        // SAFETY: a field of a map value; a request is in one hand at a time.
        unsafe { (*started).since_ns = 0 };
    }
    0
}

#[btf_tracepoint(function = "block_rq_merge")]
pub(crate) fn io_merge(ctx: BtfTracePointContext) -> i32 {
    let request: Request = ctx.arg(0);
    // Mostly there is none.
    let _ = REQUESTS.remove(request as u64);
    0
}

/// Arguments: the request, how it went, how many bytes of it are done.
#[btf_tracepoint(function = "block_rq_complete")]
pub(crate) fn io_complete(ctx: BtfTracePointContext) -> i32 {
    let request: Request = ctx.arg(0);
    // SAFETY: entries are freed after an RCU grace period, which no program outlives.
    let Some(started) = REQUESTS.get_ptr_mut(request as u64).map(|it| unsafe { *it }) else { return 0 };
    let done = u64::from(ctx.arg::<u32>(2));
    // SAFETY: see `load!`. The kernel takes off what is done only after this hook.
    let is_last = u64::from(unsafe { load!(request, REQUEST_BYTES, u32) }) <= done;
    // A request that was never seen to be issued is an older one's that has left no other trace.
    if started.since_ns != 0 {
        // SAFETY: the helper takes no pointer.
        let spent_ns = unsafe { bpf_ktime_get_ns() }.saturating_sub(started.since_ns);
        count(&started, done, is_last, Some(spent_ns));
    }
    if is_last {
        let _ = REQUESTS.remove(request as u64);
    }
    0
}

/// Takes up a request on its way to the device, if it is a container's.
#[inline(always)]
fn follow(request: Request, is_issued: bool) {
    let key = request as u64;
    // SAFETY: the helper takes no pointer.
    let since_ns = if is_issued { unsafe { bpf_ktime_get_ns() } } else { 0 };
    if let Some(started) = REQUESTS.get_ptr_mut(key) {
        // SAFETY: a field of a map value; a request is in one hand at a time.
        unsafe {
            if (*started).since_ns == 0 {
                (*started).since_ns = since_ns;
                return;
            }
        }
        // One that ended unseen had the same address.
        let _ = REQUESTS.remove(key);
    }
    // SAFETY: see `load!`.
    let operation = unsafe { load!(request, REQUEST_FLAGS, u32) } & OPERATION;
    let is_write = matches!(operation, WRITE | ZONE_APPEND | WRITE_ZEROES);
    if !is_write && operation != READ {
        return;
    }
    let container = container_of(request);
    if container == 0 {
        return;
    }
    let of = DeviceKey { container, device: device_of(request) };
    let started = Started { of, since_ns, is_write: u64::from(is_write) };
    if REQUESTS.insert(key, started, 0).is_err() && is_issued {
        // SAFETY: see `load!`.
        count(&started, u64::from(unsafe { load!(request, REQUEST_BYTES, u32) }), true, None);
    }
}

#[inline(always)]
fn count(started: &Started, bytes: u64, is_last: bool, spent_ns: Option<u64>) {
    let Some(counters) = counters(started.of) else { return };
    // SAFETY: fields of a map value.
    unsafe {
        let requests: *mut Requests =
            if started.is_write != 0 { &raw mut (*counters).write } else { &raw mut (*counters).read };
        atomic::add(&raw mut (*requests).bytes, bytes);
        if is_last {
            atomic::add(&raw mut (*requests).ops, 1);
            if let Some(spent_ns) = spent_ns {
                atomic::record(&raw mut (*counters).latency, spent_ns);
            }
        }
    }
}

/// The counters on this CPU, begun if there are none. Not for a container that is gone: nobody would remove them.
#[inline(always)]
fn counters(of: DeviceKey) -> Option<*mut DeviceCounters> {
    if let Some(counters) = DEVICES.get_ptr_mut(of) {
        return Some(counters);
    }
    task::counters(of.container)?;
    // Another CPU may have been faster; then there is one, which is as well.
    let _ = DEVICES.insert(of, DeviceCounters::default(), BPF_NOEXIST);
    let counters = DEVICES.get_ptr_mut(of);
    if counters.is_none()
        && let Some(lost) = IO_LOST.get_ptr_mut(0)
    {
        // SAFETY: the value of the map.
        unsafe { atomic::add(lost, 1) };
    }
    counters
}

/// `BPF_NOEXIST` of include/uapi/linux/bpf.h.
const BPF_NOEXIST: u64 = 1;

/// Cgroup id of the container that a request is charged to or comes from; 0: of none that we know.
#[inline(always)]
fn container_of(request: Request) -> u64 {
    // SAFETY: the helper takes no pointer; the running task is there as long as it runs. See `load!`.
    unsafe {
        let current: Task = bpf_get_current_task_btf().cast();
        // A kernel without block cgroups has no such field.
        if BIO_GROUP.load() != 0 {
            let bio = load!(request, REQUEST_BIO, *const u8);
            let group = load!(bio, BIO_GROUP, *const u8);
            let blkcg = load!(group, GROUP_BLKCG, *const u8);
            let cgroup = load!(blkcg, BLKCG_CGROUP, *const u8);
            let cset = load!(current, TASK_CGROUPS, *const u8);
            let unified = load!(cset, CSET_DEFAULT_CGROUP, *const u8);
            // Ids are given anew in every hierarchy, so those of another would be mistaken for ours.
            if load!(cgroup, CGROUP_ROOT, u64) == load!(unified, CGROUP_ROOT, u64) {
                let container = task::container_at(cgroup);
                if task::counters(container).is_some() {
                    return container;
                }
            }
        }
        let container = task::container_of(current);
        if task::counters(container).is_some() { container } else { 0 }
    }
}

#[inline(always)]
fn device_of(request: Request) -> u64 {
    // SAFETY: see `load!`.
    unsafe {
        let queue = load!(request, REQUEST_QUEUE, *const u8);
        let disk = load!(queue, QUEUE_DISK, *const u8);
        (u64::from(load!(disk, DISK_MAJOR, u32)) << 32) | u64::from(load!(disk, DISK_MINOR, u32))
    }
}
