//! How fast a container's packets leave.
//!
//! Hook: `cgroup_skb` egress (4.10), attached to the directories of limited containers only: others pay nothing.
//! Each packet is given the time at which it would leave if all went out at the limit, one after the other. It bears that
//! time (`tstamp`), and a device whose queue keeps to it (fq, which the kernel's own TCP pacing uses too) sends it then: that
//! shapes, and a sender feels it as a full queue. Elsewhere packets leave at once, and the limit is kept by what is dropped
//! once the times run too far ahead: TCP is told of it as of local congestion, keeps the data and tries again; a datagram is
//! gone, as from a full queue. Packets to the container's own machine by loopback are not counted: they load no link.
//!
//! Maps: EGRESS_LIMIT, EGRESS_STATE, one entry each, of this container alone. Cost: a clock, a division and three atomic
//! operations a packet. No loops but the four turns of `raise`.
//! Two CPUs that find room at the same moment may both use it: a packet each too many, made good by the next.

use core::ffi::c_void;
use core::ptr;

use agent_ebpf::hold::{EgressLimit, EgressState};
use aya_ebpf::bindings::__sk_buff;
use aya_ebpf::helpers::bpf_ktime_get_ns;
use aya_ebpf::macros::map;
use aya_ebpf::maps::Array;
use aya_ebpf::programs::SkBuffContext;

use crate::atomic;

#[map]
static EGRESS_LIMIT: Array<EgressLimit> = Array::with_max_entries(1, 0);
#[map]
static EGRESS_STATE: Array<EgressState> = Array::with_max_entries(1, 0);

/// What the kernel makes of a verdict on the way out: 1 sends; 2 drops and says that the way is congested.
const SEND: i32 = 1;
const DROP: i32 = 2;

/// `LOOPBACK_IFINDEX` of include/net/flow.h, the same in every network namespace.
const LOOPBACK: u32 = 1;

const SECOND_NS: u64 = 1_000_000_000;

/// Takes a `void *` for the reason that net.rs gives.
#[unsafe(no_mangle)]
#[unsafe(link_section = "cgroup_skb/egress")]
pub(crate) fn egress_limit(packet: *mut c_void) -> i32 {
    let ctx = SkBuffContext::new(packet.cast());
    let (Some(limit), Some(state)) = (EGRESS_LIMIT.get_ptr(0), EGRESS_STATE.get_ptr_mut(0)) else {
        return SEND;
    };
    let skb: *mut __sk_buff = ctx.skb.skb;
    // SAFETY: fields of map values, and of the kernel's own context.
    unsafe {
        let rate = ptr::read_volatile(&raw const (*limit).bytes_per_second);
        if rate == 0 || (*skb).ifindex == LOOPBACK {
            return SEND;
        }
        let (burst_ns, queue_ns) = ((*limit).burst_ns, (*limit).queue_ns);
        let bytes = u64::from(ctx.len());
        let now = bpf_ktime_get_ns();
        let next = &raw mut (*state).next_ns;
        if ptr::read_volatile(next) > now + queue_ns {
            atomic::add(&raw mut (*state).dropped_packets, 1);
            atomic::add(&raw mut (*state).dropped_bytes, bytes);
            return DROP;
        }
        // What it could have sent and did not is forgotten, but for the burst.
        atomic::raise(next, now.saturating_sub(burst_ns));
        let at = atomic::fetch_add(next, bytes * SECOND_NS / rate);
        if at > now {
            atomic::add(&raw mut (*state).delayed_packets, 1);
            atomic::add(&raw mut (*state).delayed_ns, at - now);
            // TCP may have a later time in mind.
            if (*skb).tstamp < at {
                (*skb).tstamp = at;
            }
        }
    }
    SEND
}
