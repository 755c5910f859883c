//! What every concern needs of a task: its container, what is remembered of it, and how its fields are read. No program
//! lives here.
//!
//! Fields are read by direct loads at offsets that the loader has written into the instructions (offset.rs).

use core::ffi::c_void;
use core::ptr;

use agent_ebpf::{CONTAINERS_MAX, Counters, taker};
use aya_ebpf::Global;
use aya_ebpf::bindings::{
    BPF_F_NO_PREALLOC, BPF_LOCAL_STORAGE_GET_F_CREATE, bpf_map_type::BPF_MAP_TYPE_TASK_STORAGE,
};
use aya_ebpf::btf_maps::PerCpuHashMap;
use aya_ebpf::helpers::{bpf_probe_read_kernel, bpf_task_storage_get};
use aya_ebpf::macros::btf_map;

/// A `struct task_struct` in the kernel.
pub(crate) type Task = *const u8;

/// Declares the fields that are read: each stands for its offset.
macro_rules! offsets {
    ($($name:ident),+ $(,)?) => {
        $(pub(crate) const $name: $crate::offset::Offset<{ agent_ebpf::field::place(agent_ebpf::field::$name) }> =
            $crate::offset::Offset;)+
    };
}
pub(crate) use offsets;

/// Reads a `T` at a field's offset. Must be inside an unsafe block: the pointer is a kernel pointer whose type the verifier
/// knows, and the verifier proves the load.
macro_rules! load {
    ($pointer:expr, $offset:expr, $type:ty) => {
        $offset.read::<$type>($pointer.cast::<u8>())
    };
}
pub(crate) use load;

offsets! {
    TASK_FLAGS, TASK_COMM, TASK_PID, TASK_TGID, TASK_MM, TASK_CGROUPS, TASK_SIGNAL, TASK_STORAGE,
    TASK_EXEC_RUNTIME, TASK_UTIME, TASK_STIME, TASK_NVCSW, TASK_NIVCSW, TASK_MIN_FLT, TASK_MAJ_FLT,
    TASK_PCOUNT, TASK_RUN_DELAY,
    CSET_DEFAULT_CGROUP, CGROUP_LEVEL, CGROUP_PARENT, CGROUP_ANCESTORS, CGROUP_KN, CSS_CGROUP, KERNFS_ID, CGROUP_ROOT,
}

/// Depth of a container's directory in the cgroup v2 hierarchy; what lies deeper counts for the container.
#[unsafe(no_mangle)]
pub(crate) static CONTAINER_LEVEL: Global<u32> = Global::new(1);

/// Cgroup id of the directory that the containers lie in.
#[unsafe(no_mangle)]
static ROOT_CGROUP: Global<u64> = Global::new(0);

/// Flags of include/linux/sched.h (v6.1; the second 6.4).
const PF_IO_WORKER: u32 = 0x10;
const PF_USER_WORKER: u32 = 0x4000;

/// Cgroups inside a container that are walked up by direct loads; from deeper ones the way is dearer.
const NESTED_MAX: u32 = 4;

/// The containers, put in by the agent before their first process starts. Programs change values, never keys.
#[btf_map]
pub(crate) static CONTAINERS: PerCpuHashMap<u64, Counters, CONTAINERS_MAX, { BPF_F_NO_PREALLOC as usize }> =
    PerCpuHashMap::new();

/// What is remembered of one task of a container: how much of its counters has been counted, and for whom. At most 120
/// bytes: with the kernel's 72 that is a slab of 192.
#[repr(C)]
pub(crate) struct Followed {
    /// Cgroup id of the container; 0 = none (it has moved out).
    pub(crate) container: u64,
    /// What has been counted.
    pub(crate) seen: Seen,
    /// Who took its CPU when it last left one (waits.rs).
    pub(crate) taker: u64,
    /// The CPU that it left then, and its queue's time under a limit there: the lower 32 bits.
    pub(crate) left: u32,
    pub(crate) limited: u32,
    /// Resident pages that are counted for it in the container's sum. Written by exchange only.
    pub(crate) pages: u64,
    /// How many of those are anonymous (upper half) and shared memory (lower half). Written by exchange only.
    pub(crate) split: u64,
    /// Its memory counters, remainders left out, mixed into one number when `pages` was last made; a change says it is time
    /// again.
    pub(crate) pages_seen: u32,
    /// Pages that its memory already had when it came in from outside; they are another's, and not counted.
    pub(crate) pages_brought: u32,
    /// Its memory's own high-water mark, as far as the container's peak knows of it.
    pub(crate) pages_peak: u32,
    /// [`RELEASED`] and [`CAME_IN`]. Written by who makes it followed and then by itself.
    pub(crate) flags: u32,
    /// Not 0 once its process has been reported as ended.
    pub(crate) reported: u64,
}

const _: () = assert!(size_of::<Followed>() <= 120);

/// Its pages have been given back for good.
pub(crate) const RELEASED: u32 = 1;
/// Its process began outside the container.
pub(crate) const CAME_IN: u32 = 2;

/// A task's own counters at one moment. Of those that count single things the lower 32 bits do: they are only ever
/// subtracted from a later reading.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Seen {
    pub(crate) exec_ns: u64,
    pub(crate) user_ns: u64,
    pub(crate) system_ns: u64,
    pub(crate) voluntary: u32,
    pub(crate) involuntary: u32,
    pub(crate) faults_minor: u32,
    pub(crate) faults_major: u32,
    /// How long it has waited for a CPU in all; 0 where the kernel does not keep it.
    pub(crate) waited_ns: u64,
    /// How often it has got one.
    pub(crate) arrivals: u32,
}

impl Seen {
    /// Of a task that has not begun.
    pub(crate) const NOTHING: Self = Self {
        exec_ns: 0,
        user_ns: 0,
        system_ns: 0,
        voluntary: 0,
        involuntary: 0,
        faults_minor: 0,
        faults_major: 0,
        waited_ns: 0,
        arrivals: 0,
    };

    #[inline(always)]
    pub(crate) fn now(task: Task) -> Self {
        // SAFETY: see `load!`.
        unsafe {
            Self {
                exec_ns: load!(task, TASK_EXEC_RUNTIME, u64),
                user_ns: load!(task, TASK_UTIME, u64),
                system_ns: load!(task, TASK_STIME, u64),
                voluntary: load!(task, TASK_NVCSW, u64) as u32,
                involuntary: load!(task, TASK_NIVCSW, u64) as u32,
                faults_minor: load!(task, TASK_MIN_FLT, u64) as u32,
                faults_major: load!(task, TASK_MAJ_FLT, u64) as u32,
                // A field that this kernel lacks has the offset 0, and the verifier drops the load.
                waited_ns: if TASK_RUN_DELAY.load() == 0 { 0 } else { load!(task, TASK_RUN_DELAY, u64) },
                arrivals: if TASK_RUN_DELAY.load() == 0 { 0 } else { load!(task, TASK_PCOUNT, u64) as u32 },
            }
        }
    }
}

/// Task storage (Linux 5.11); aya has no type for it, and user space never looks into it.
#[repr(C)]
struct TaskStorage<T> {
    r#type: *const [i32; BPF_MAP_TYPE_TASK_STORAGE as usize],
    key: *const i32,
    value: *const T,
    max_entries: *const [i32; 0],
    map_flags: *const [i32; BPF_F_NO_PREALLOC as usize],
}

// SAFETY: only the loader reads these pointers, and only their types.
unsafe impl<T> Sync for TaskStorage<T> {}

#[unsafe(link_section = ".maps")]
#[unsafe(no_mangle)]
static TASKS: TaskStorage<Followed> = TaskStorage {
    r#type: ptr::null(),
    key: ptr::null(),
    value: ptr::null(),
    max_entries: ptr::null(),
    map_flags: ptr::null(),
};

/// What is remembered of a task. Allocates nothing: safe under the run-queue lock.
#[inline(always)]
pub(crate) fn followed<'a>(task: Task) -> Option<&'a mut Followed> {
    storage(task, 0)
}

/// The same, without the call for a task of which no program remembers anything.
#[inline(always)]
pub(crate) fn followed_quickly<'a>(task: Task) -> Option<&'a mut Followed> {
    // SAFETY: see `load!`. Where there is no such field, the offset 0 makes the verifier drop the load.
    if TASK_STORAGE.load() != 0 && unsafe { load!(task, TASK_STORAGE, u64) } == 0 {
        return None;
    }
    followed(task)
}

/// The same, begun if there is none (all zeros). Allocates: never from a scheduler hook, where the allocator could wake
/// a task and so want the run-queue lock that is held. `None` when the kernel has no memory for it.
#[inline(always)]
pub(crate) fn follow<'a>(task: Task) -> Option<&'a mut Followed> {
    storage(task, u64::from(BPF_LOCAL_STORAGE_GET_F_CREATE))
}

#[inline(always)]
fn storage<'a>(task: Task, flags: u64) -> Option<&'a mut Followed> {
    let map = ptr::from_ref(&TASKS).cast_mut().cast::<c_void>();
    // SAFETY: the verifier proves `task` to be a task and the result to be a `Followed` or null. Two programs may hold
    // the same storage at once; the fields they share are changed by exchange, the others by the task's own CPU only.
    unsafe {
        bpf_task_storage_get(map, task.cast_mut().cast(), ptr::null_mut(), flags).cast::<Followed>().as_mut()
    }
}

/// The counters of a container on this CPU. `None`: not one of ours.
#[inline(always)]
pub(crate) fn counters<'a>(container: u64) -> Option<&'a mut Counters> {
    if container == 0 {
        return None;
    }
    // SAFETY: entries are freed after an RCU grace period, which no program outlives.
    CONTAINERS.get_ptr_mut(container).and_then(|counters| unsafe { counters.as_mut() })
}

/// Cgroup id of the container that a task is in, or what would be its container's if it were one of ours; 0: it is in
/// none. Direct loads only, so that a foreign task costs a few nanoseconds.
#[inline(always)]
pub(crate) fn container_of(task: Task) -> u64 {
    // SAFETY: see `load!`. A cgroup keeps its ancestors alive, and a task its cgroup.
    unsafe {
        let cset = load!(task, TASK_CGROUPS, *const u8);
        container_at(load!(cset, CSET_DEFAULT_CGROUP, *const u8))
    }
}

/// The same of a task that may be followed. One that is still where it was followed last, right in its container's
/// directory, is told by that directory's id alone, and the way up is saved.
#[inline(always)]
pub(crate) fn container_again(task: Task, followed: Option<&Followed>) -> u64 {
    // SAFETY: see `load!`.
    let here = unsafe {
        let cset = load!(task, TASK_CGROUPS, *const u8);
        load!(cset, CSET_DEFAULT_CGROUP, *const u8)
    };
    match followed {
        // SAFETY: it is a cgroup. No cgroup has the id 0.
        Some(followed) if unsafe { id(here) } == followed.container => followed.container,
        // SAFETY: as above.
        _ => unsafe { container_at(here) },
    }
}

/// Whether two tasks are in the same cgroups; if not, these may still be of the same container.
#[inline(always)]
pub(crate) fn are_together(one: Task, other: Task) -> bool {
    // SAFETY: see `load!`.
    unsafe { load!(one, TASK_CGROUPS, u64) == load!(other, TASK_CGROUPS, u64) }
}

/// The same of a cgroup of the v2 hierarchy.
///
/// # Safety
/// `cgroup` is a cgroup.
#[inline(always)]
pub(crate) unsafe fn container_at(mut cgroup: *const u8) -> u64 {
    // SAFETY: see `load!`.
    unsafe {
        let (mut level, wanted) = (load!(cgroup, CGROUP_LEVEL, u32), CONTAINER_LEVEL.load());
        for _ in 0..NESTED_MAX {
            if level <= wanted {
                break;
            }
            cgroup = parent(cgroup);
            level -= 1;
        }
        if level > wanted {
            return ancestor(cgroup, wanted).unwrap_or(0);
        }
        if level < wanted || id(parent(cgroup)) != ROOT_CGROUP.load() { 0 } else { id(cgroup) }
    }
}

/// # Safety
/// `cgroup` is a cgroup other than the root.
#[inline(always)]
unsafe fn parent(cgroup: *const u8) -> *const u8 {
    // SAFETY: see `load!`.
    unsafe {
        let css = load!(cgroup, CGROUP_PARENT, *const u8);
        load!(css, CSS_CGROUP, *const u8)
    }
}

/// # Safety
/// `cgroup` is a cgroup.
#[inline(always)]
unsafe fn id(cgroup: *const u8) -> u64 {
    // SAFETY: see `load!`.
    unsafe {
        let node = load!(cgroup, CGROUP_KN, *const u8);
        load!(node, KERNFS_ID, u64)
    }
}

/// Id of a cgroup's ancestor many levels above. The ancestors stand in an array behind the struct, where newer
/// kernels let no direct load reach, so every step is a checked copy, at ten times the price.
///
/// # Safety
/// `cgroup` is a cgroup deeper than `level`.
#[inline(always)]
unsafe fn ancestor(cgroup: *const u8, level: u32) -> Result<u64, i32> {
    // SAFETY: the helper fails on an address that cannot be read.
    unsafe {
        let slot = cgroup.add(CGROUP_ANCESTORS.load()).cast::<*const u8>().add(level as usize);
        let ancestor = bpf_probe_read_kernel(slot)?;
        let node = bpf_probe_read_kernel(ancestor.add(CGROUP_KN.load()).cast::<*const u8>())?;
        bpf_probe_read_kernel(node.add(KERNFS_ID.load()).cast::<u64>())
    }
}

/// Whether a task is its process's first thread (or has taken its place).
#[inline(always)]
pub(crate) fn is_leader(task: Task) -> bool {
    // SAFETY: see `load!`.
    unsafe { load!(task, TASK_PID, u32) == load!(task, TASK_TGID, u32) }
}

/// Whether a task is a worker that the kernel made for a process (io_uring's, vhost's). Such a one begins without the
/// hook on forks, in its process's container, and never moves but with it.
///
/// Before 6.4 io_uring's have one flag, which they give back before they die; then their name is left. A thread that gives
/// itself that name gains nothing: it is followed from its fork on.
#[inline(always)]
pub(crate) fn is_worker(task: Task) -> bool {
    // SAFETY: see `load!`.
    unsafe {
        load!(task, TASK_FLAGS, u32) & (PF_IO_WORKER | PF_USER_WORKER) != 0
            || load!(task, TASK_COMM, u32) == u32::from_ne_bytes(*b"iou-")
    }
}

/// Begins to follow a task that was found on the way. What it used before is taken for counted, because nobody knows where
/// it used it; of a worker it is known, and will be counted.
#[inline(always)]
pub(crate) fn adopt(task: Task, container: u64) {
    let Some(followed) = follow(task) else { return };
    if is_worker(task) {
        followed.container = container;
    } else {
        begin(task, followed, container);
    }
}

/// Takes the task's counters as they are now for counted, without counting them: what it used before it was the
/// container's.
#[inline(always)]
pub(crate) fn begin(task: Task, followed: &mut Followed, container: u64) {
    followed.seen = Seen::now(task);
    followed.taker = taker::NOBODY;
    followed.container = container;
    followed.pages_peak = 0;
}
