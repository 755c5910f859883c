//! Two questions the loader asks the kernel once, before anything is attached.
//!
//! | program | how it runs | answer |
//! |---|---|---|
//! | `level` | run once (`BPF_PROG_RUN`, 5.10) | depth of the caller's own cgroup below the hierarchy's true root |
//! | `anchor` | run once on each CPU | that CPU's place in CPU_OFFSETS |
//!
//! Raw tracepoint type, never attached: no cost afterwards, nothing to overflow, no loops. Maps: ANCHOR, CPU_OFFSETS.

use core::ffi::c_void;
use core::ptr;

use agent_ebpf::CPUS_MAX;
use aya_ebpf::btf_maps::{Array, PerCpuArray};
use aya_ebpf::helpers::{bpf_get_current_task_btf, bpf_get_smp_processor_id, bpf_probe_read_kernel};
use aya_ebpf::macros::{btf_map, raw_tracepoint};
use aya_ebpf::programs::RawTracePointContext;

use crate::task::{CGROUP_LEVEL, CSET_DEFAULT_CGROUP, TASK_CGROUPS, Task, load, offsets};

offsets! { BPF_ARRAY_PPTRS }

#[btf_map]
static ANCHOR: PerCpuArray<u64, 1> = PerCpuArray::new();
/// What is added to a per-CPU address to reach the copy of the CPU that is the index. 0: not learnt.
#[btf_map]
pub(crate) static CPU_OFFSETS: Array<u64, CPUS_MAX> = Array::new();

/// Inside a cgroup namespace paths do not say how deep they are; the kernel does. Without aya's macro, which makes every
/// program of this type return 0.
#[unsafe(link_section = "raw_tp/level")]
#[unsafe(no_mangle)]
extern "C" fn level(_ctx: *const c_void) -> i32 {
    // SAFETY: the helper takes no pointer; for the loads see `load!`.
    unsafe {
        let current: Task = bpf_get_current_task_btf().cast();
        let cset = load!(current, TASK_CGROUPS, *const u8);
        let cgroup = load!(cset, CSET_DEFAULT_CGROUP, *const u8);
        load!(cgroup, CGROUP_LEVEL, i32)
    }
}

/// Learns this CPU's offset: the distance from a per-CPU address (which the map of one word keeps in `pptrs[0]`) to the
/// word's place on this CPU. There is no helper for it, and the kernel's own table is not among the symbols every
/// kernel shows.
#[raw_tracepoint(tracepoint = "sched_switch")]
pub(crate) fn anchor(_ctx: RawTracePointContext) -> i32 {
    let Some(word) = ANCHOR.get_ptr_mut(0) else { return 0 };
    // Written to memory and read back, an address becomes a number.
    // SAFETY: the value of the map.
    let (here, map) = unsafe {
        ptr::write_volatile(word.cast::<*mut u64>(), word);
        let here = ptr::read_volatile(word);
        ptr::write_volatile(word.cast::<*const u8>(), ptr::from_ref(&ANCHOR).cast());
        (here, ptr::read_volatile(word))
    };
    let pptrs = (map + BPF_ARRAY_PPTRS.load() as u64) as *const u64;
    // SAFETY: the helper fails on an address that cannot be read.
    let Ok(address) = (unsafe { bpf_probe_read_kernel(pptrs) }) else { return 0 };
    // SAFETY: takes no pointer.
    let cpu = unsafe { bpf_get_smp_processor_id() };
    if let Some(offset) = CPU_OFFSETS.get_ptr_mut(cpu) {
        // SAFETY: the value of the map.
        unsafe { *offset = here.wrapping_sub(address) };
    }
    1
}
