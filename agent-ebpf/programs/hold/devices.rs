//! Which devices a container may open or make.
//!
//! Hook: `BPF_CGROUP_DEVICE` (4.15), asked at each open(2) and mknod(2) of a device; what is open stays open. Programs of
//! groups above and below are asked too, and all must agree.
//! Map: none; the rules are read-only data that is completed before loading, so that a list is replaced by replacing the
//! program, at once. Cost: two loads and some comparisons a rule until one allows it, and only where a device is opened.
//! Loop: over at most as many rules as there is room for, until the first that is none.

use core::ptr;

use agent_ebpf::hold::{RULES_MAX, Rule};
use aya_ebpf::macros::cgroup_device;
use aya_ebpf::programs::DeviceContext;

/// Written by the loader.
#[unsafe(no_mangle)]
static DEVICE_RULES: [u64; 2 * RULES_MAX] = [0; 2 * RULES_MAX];

#[cgroup_device]
pub(crate) fn device_list(ctx: DeviceContext) -> i32 {
    // SAFETY: the kernel's own context.
    let (access, major, minor) =
        unsafe { ((*ctx.device).access_type, (*ctx.device).major, (*ctx.device).minor) };
    for place in 0..RULES_MAX {
        // SAFETY: within the table. Volatile, since the compiler would take the zeros for what stands there.
        let rule = unsafe {
            let at = (&raw const DEVICE_RULES).cast::<u64>().add(2 * place);
            [ptr::read_volatile(at), ptr::read_volatile(at.add(1))]
        };
        if rule[0] == 0 {
            return 0;
        }
        if Rule::allows(rule, access, major, minor) {
            return 1;
        }
    }
    0
}
