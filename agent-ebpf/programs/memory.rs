//! Resident memory of each container, now and at its highest: for machines whose memory controller is not in the v2 tree.
//!
//! | program | hook, least kernel | what for |
//! |---|---|---|
//! | `sweep` | `iter/task`, 5.8; the agent reads it once a tick | makes every process's figure exact, follows tasks it meets unfollowed |
//! | `resident` | `tp_btf/rss_stat`, 5.6 (it must pass the `mm`); not loaded where it is needless | a process's counters changed |
//!
//! A process's pages are `mm->rss_stat`: file + anonymous + shared memory, the same three that `VmRSS` sums. Since 6.2 each
//! is a `percpu_counter`: a shared count, plus a remainder on every CPU that is folded in once it reaches a batch
//! (max(32, 2 x CPUs) pages). `resident` leaves where this CPU has not just folded, and else looks at the shared counts; when
//! they have changed it sums the remainders too, so its price is paid once a batch, not once a page. Error: at that moment none but a fold on another CPU that is
//! half done; until the next fold or sweep, less than a batch for each CPU and counter that the process is changing. At fork,
//! exec and exit (where the `mm` is still there: 6.16) the exact sum is taken. Where remainders cannot be read (probe.rs) the
//! shared counts alone are used.
//!
//! `resident` is called at each page fault, and the way to a tracepoint costs a load that takes 280,000 of them a second on
//! each CPU 4 to 9 % of its speed, whatever the program does. So it is left out where it is needless: the figure is then that
//! of the last sweep, fork, exec or exit, and each of these asks the kernel's own high-water mark of the process, so that the
//! shortest process has its true peak, and a peak between two sweeps is missed only as far as several processes made it
//! together. It is needed where an exiting process has lost its `mm`, and with it its peak: before 6.16. With the memory
//! controller in the containers' groups nobody reads these figures, and it is needless on any kernel.
//!
//! The change since the process was last looked at goes into the container's one shared sum; the peak is the highest that
//! sum has been. Anonymous pages and shared memory are summed beside it. Pages that two processes map count for both, as in
//! `ps`: so does all that a child shares with its parent after a fork, until it becomes another program. No hook tells when
//! a shared page is copied (no counter of the kernel moves), so without a memory controller nobody can count it once but
//! by walking page tables (`smaps_rollup`). Pages that a process has when it comes in from
//! outside (a launcher forks, enters the cgroup, execs) are not the container's: only what it adds counts, until it execs.
//!
//! The process is `mm->owner`, whose storage says whose container it is; so reclaim by kswapd or writes by a debugger are
//! charged to the right one. Needs CONFIG_MEMCG, where the owner is kept.
//!
//! Maps: TASKS, MEMORY, CPU_OFFSETS. Cost of `resident` by the kernel's own statistics, of which 50 ns are the measuring:
//! 75 ns for a foreign process (loads only), 90 to 100 for ours (one storage look-up more); at a batch's end also three
//! checked reads a CPU (some 6 us at 512 CPUs). `sweep`: 10 ns a foreign task. Loops: over CPUS, at most CPUS_MAX turns;
//! the walk up the cgroups (task.rs). Nothing overflows.

use core::ptr;

use agent_ebpf::{CONTAINERS_MAX, CPUS_MAX, Memory};
use aya_ebpf::Global;
use aya_ebpf::bindings::BPF_F_NO_PREALLOC;
use aya_ebpf::btf_maps::HashMap;
use aya_ebpf::helpers::{bpf_get_smp_processor_id, bpf_probe_read_kernel};
use aya_ebpf::macros::{btf_map, btf_tracepoint};
use aya_ebpf::programs::BtfTracePointContext;

use crate::atomic;
use crate::probe::CPU_OFFSETS;
use crate::task::{self, CAME_IN, Followed, RELEASED, TASK_MM, TASK_SIGNAL, Task, load, offsets};

offsets! { SIGNAL_MAXRSS, MM_OWNER, MM_RSS_STAT, MM_HIWATER_RSS, COUNTER_COUNT, COUNTER_REMAINDERS }

#[unsafe(no_mangle)]
static CPUS: Global<u32> = Global::new(0);
#[unsafe(no_mangle)]
static RSS_STRIDE: Global<u32> = Global::new(0);

#[btf_map]
static MEMORY: HashMap<u64, Memory, CONTAINERS_MAX, { BPF_F_NO_PREALLOC as usize }> = HashMap::new();

/// A `struct mm_struct` in the kernel.
type Mm = *const u8;

/// `MM_FILEPAGES`, `MM_ANONPAGES`, `MM_SHMEMPAGES` of include/linux/mm_types_task.h (v6.1); 2 is swapped-out pages.
const RESIDENT: [u32; 3] = [0, 1, 3];
const SWAPPED: u32 = 2;
/// The lower half of a split.
const HALF: u64 = 0xffff_ffff;
/// Before 6.2 the counters are plain words, of a type through which the verifier of that time allows no direct load.
const PLAIN_STRIDE: u32 = 8;

/// Arguments: the memory, which of its counters.
#[btf_tracepoint(function = "rss_stat")]
pub(crate) fn resident(ctx: BtfTracePointContext) -> i32 {
    let member = ctx.arg::<u32>(1);
    if member == SWAPPED {
        return 0;
    }
    let mm: Mm = ctx.arg(0);
    if !has_folded(mm, member) {
        return 0;
    }
    // SAFETY: see `load!`.
    let owner = unsafe { load!(mm, MM_OWNER, Task) };
    if owner.is_null() || task::container_of(owner) == 0 {
        return 0;
    }
    let Some(followed) = task::followed(owner) else { return 0 };
    // During an exec the process owns two; the new one is settled when it has taken over.
    // SAFETY: see `load!`.
    if followed.flags & RELEASED != 0 || unsafe { load!(owner, TASK_MM, Mm) } != mm {
        return 0;
    }
    let shared = shared_counts(mm);
    let seen = mixed(shared);
    if seen != followed.pages_seen {
        followed.pages_seen = seen;
        set(followed, exact(mm, shared));
    }
    0
}

/// The context of an `iter/task` program (`struct bpf_iter__task`).
#[repr(C)]
struct IterTask {
    meta: *const u8,
    task: Task,
}

/// Visits every task of the machine.
#[unsafe(link_section = "iter/task")]
#[unsafe(no_mangle)]
extern "C" fn sweep(ctx: *const IterTask) -> i32 {
    // SAFETY: the kernel passes this struct; the task is null once, after the last.
    let task = unsafe { ptr::read_volatile(&raw const (*ctx).task) };
    if task.is_null() {
        return 0;
    }
    let container = task::container_of(task);
    if task::counters(container).is_none() {
        return 0;
    }
    if task::followed(task).is_none() {
        task::adopt(task, container);
    }
    if let Some(followed) = task::followed(task) {
        settle(task, followed);
    }
    0
}

/// Makes the figure of a process exact, if this task is the one that stands for its memory.
#[inline(always)]
pub(crate) fn settle(task: Task, followed: &mut Followed) {
    enter(task, followed, false);
}

/// A thread exits: its process's peak is known for good, and its pages are no longer the container's.
#[inline(always)]
pub(crate) fn release(task: Task, followed: &mut Followed) {
    settle(task, followed);
    followed.flags |= RELEASED;
    leave(followed);
}

/// A process has become another program: the memory that it had is gone, and the signal struct remembers how large it was.
#[inline(always)]
pub(crate) fn replace(task: Task, followed: &mut Followed) {
    // Of a process without pages the memory was another's (vfork), and one that came in was something outside, too.
    if followed.pages != 0 && followed.flags & CAME_IN == 0 {
        // SAFETY: see `load!`. The kernel has just put the old memory's high-water mark there (`exec_mmap` of fs/exec.c).
        let peak = unsafe {
            let signal = load!(task, TASK_SIGNAL, *const u8);
            load!(signal, SIGNAL_MAXRSS, u64)
        };
        raise_peak(followed, peak);
    }
    (followed.pages_brought, followed.pages_peak) = (0, 0);
    settle(task, followed);
}

/// The container's peak is no lower than the high-water mark of one of its processes.
#[inline(always)]
fn raise_peak(followed: &mut Followed, peak: u64) {
    if peak <= u64::from(followed.pages_peak) {
        return;
    }
    followed.pages_peak = peak as u32;
    if let Some(memory) = MEMORY.get_ptr_mut(followed.container) {
        let own = peak.saturating_sub(u64::from(followed.pages_brought));
        // SAFETY: a field of a map value.
        unsafe { atomic::raise(&raw mut (*memory).peak_pages, own) };
    }
}

/// Settles a process that begins in a container. One that `came_in` keeps the pages it brought to itself.
#[inline(always)]
pub(crate) fn enter(task: Task, followed: &mut Followed, came_in: bool) {
    let Some(mm) = owned(task) else { return };
    let shared = shared_counts(mm);
    let pages = exact(mm, shared);
    // SAFETY: see `load!`.
    let peak = unsafe { load!(mm, MM_HIWATER_RSS, u64) };
    followed.pages_seen = mixed(shared);
    if came_in {
        followed.flags |= CAME_IN;
        followed.pages_brought = pages.all() as u32;
        followed.pages_peak = peak as u32;
    }
    set(followed, pages);
    raise_peak(followed, peak);
}

/// Takes a process's pages out of its container's sum.
#[inline(always)]
pub(crate) fn leave(followed: &mut Followed) {
    // SAFETY: fields of a task's storage.
    let (pages, split) = unsafe {
        (atomic::exchange(&raw mut followed.pages, 0), atomic::exchange(&raw mut followed.split, 0))
    };
    if pages != 0 {
        add(followed.container, pages.wrapping_neg(), split, 0);
    }
}

#[inline(always)]
fn owned(task: Task) -> Option<Mm> {
    // SAFETY: see `load!`; the verifier proves loads through a null pointer to give 0.
    unsafe {
        let mm = load!(task, TASK_MM, Mm);
        (!mm.is_null() && load!(mm, MM_OWNER, Task) == task).then_some(mm)
    }
}

/// Sets the pages of a process. The exchanges make each difference count once, whoever comes first.
#[inline(always)]
fn set(followed: &mut Followed, resident: Pages) {
    let pages = resident.all().saturating_sub(u64::from(followed.pages_brought));
    // What it brought is not told apart; it gives up its own parts first.
    let anon = least(resident.anon, pages);
    let split = anon << 32 | least(resident.shmem, pages - anon);
    // SAFETY: fields of a task's storage.
    let (old, old_split) = unsafe {
        (atomic::exchange(&raw mut followed.pages, pages), atomic::exchange(&raw mut followed.split, split))
    };
    if old != pages || old_split != split {
        add(followed.container, pages.wrapping_sub(old), old_split, split);
    }
    // An exit on another CPU may have given the pages back between our look at the flags and the exchange.
    // SAFETY: a field of a task's storage, read again on purpose.
    if unsafe { ptr::read_volatile(&raw const followed.flags) } & RELEASED != 0 {
        leave(followed);
    }
}

#[inline(always)]
fn least(one: u64, other: u64) -> u64 {
    if one < other { one } else { other }
}

/// Changes a container's sum by so many pages, and its parts from one split to another.
#[inline(always)]
fn add(container: u64, change: u64, old: u64, new: u64) {
    let Some(memory) = MEMORY.get_ptr_mut(container) else { return };
    let (anon, shmem) = ((new >> 32).wrapping_sub(old >> 32), (new & HALF).wrapping_sub(old & HALF));
    // SAFETY: fields of a map value.
    unsafe {
        let pages = atomic::fetch_add(&raw mut (*memory).resident_pages, change).wrapping_add(change);
        if pages.cast_signed() > 0 {
            atomic::raise(&raw mut (*memory).peak_pages, pages);
        }
        if anon != 0 {
            atomic::add(&raw mut (*memory).anon_pages, anon);
        }
        if shmem != 0 {
            atomic::add(&raw mut (*memory).shmem_pages, shmem);
        }
    }
}

/// The counters without what the CPUs still hold, in the order of [`RESIDENT`]. Each may be a little below zero.
#[inline(always)]
fn shared_counts(mm: Mm) -> [u64; 3] {
    RESIDENT.map(|member| {
        let at = mm.wrapping_add(counter(member));
        if RSS_STRIDE.load() == PLAIN_STRIDE {
            let at = at.wrapping_add(COUNTER_COUNT.load()).cast::<u64>();
            // SAFETY: the helper fails on an address that cannot be read.
            unsafe { bpf_probe_read_kernel(at) }.unwrap_or(0)
        } else {
            // SAFETY: see `load!`.
            unsafe { load!(at, COUNTER_COUNT, u64) }
        }
    })
}

/// Whether the change may have moved the counter's shared count: a fold leaves nothing in this CPU's remainder
/// (`percpu_counter_add_batch` of lib/percpu_counter.c). All but one in some thirty page faults go no further than this.
/// A thread that is moved to another CPU between its change and this look may hide a fold; the next one, or the sweep, shows it.
#[inline(always)]
fn has_folded(mm: Mm, member: u32) -> bool {
    if CPUS.load() == 0 {
        return true;
    }
    let [file, anon, shmem] = remainders(mm);
    let remainder = match member {
        0 => file,
        1 => anon,
        _ => shmem,
    };
    // SAFETY: takes no pointer.
    let cpu = unsafe { bpf_get_smp_processor_id() };
    let offset = CPU_OFFSETS.get(cpu).copied().unwrap_or(0);
    if offset == 0 {
        return true;
    }
    // SAFETY: the helper fails on an address that cannot be read.
    unsafe { bpf_probe_read_kernel(remainder.wrapping_add(offset) as *const i32) }.unwrap_or(0) == 0
}

/// Where the counters keep what CPUs hold, in the order of [`RESIDENT`]. Numbers to the verifier, not pointers: what they
/// lead to is read by the checked helper.
#[inline(always)]
fn remainders(mm: Mm) -> [u64; 3] {
    // SAFETY: see `load!`.
    RESIDENT.map(|member| unsafe { load!(mm.add(counter(member)), COUNTER_REMAINDERS, u64) })
}

/// One number for the three, different when one of them has changed but for changes that make up for each other in odd ways.
#[inline(always)]
fn mixed(counts: [u64; 3]) -> u32 {
    let [file, anon, shmem] = counts.map(|it| it as u32);
    file.wrapping_add(anon.wrapping_mul(0x9e37)).wrapping_add(shmem.wrapping_mul(0x85eb_ca6b))
}

/// Offset of a counter in the memory's struct.
#[inline(always)]
fn counter(member: u32) -> usize {
    MM_RSS_STAT.load() + (member * RSS_STRIDE.load()) as usize
}

/// Resident pages of a process; none of them below zero.
#[derive(Clone, Copy)]
struct Pages {
    file: u64,
    anon: u64,
    shmem: u64,
}

impl Pages {
    /// What one counter is below zero, another is too high.
    #[inline(always)]
    fn of([file, anon, shmem]: [u64; 3]) -> Self {
        let of = |pages: u64| if pages.cast_signed() < 0 { 0 } else { pages };
        Self { file: of(file), anon: of(anon), shmem: of(shmem) }
    }

    #[inline(always)]
    fn all(self) -> u64 {
        self.file + self.anon + self.shmem
    }
}

/// `shared` plus what every CPU still holds.
#[inline(always)]
fn exact(mm: Mm, shared: [u64; 3]) -> Pages {
    // Before 6.2 there are none, nor the fields that lead to them: the verifier must not see the loads.
    if CPUS.load() == 0 {
        return Pages::of(shared);
    }
    let mut sums = shared;
    let remainders = remainders(mm);
    for cpu in 0..CPUS_MAX as u32 {
        if cpu >= CPUS.load() {
            break;
        }
        let offset = CPU_OFFSETS.get(cpu).copied().unwrap_or(0);
        if offset == 0 {
            continue;
        }
        for (sum, remainder) in sums.iter_mut().zip(remainders) {
            let at = remainder.wrapping_add(offset) as *const i32;
            // SAFETY: the helper fails on an address that cannot be read.
            let held = i64::from(unsafe { bpf_probe_read_kernel(at) }.unwrap_or(0));
            *sum = sum.wrapping_add(held.cast_unsigned());
        }
    }
    Pages::of(sums)
}
