//! Bytes and packets in and out of each container.
//!
//! Hook: `cgroup_skb` ingress and egress at the directory above the containers' (4.10; the ancestor helper 5.7); sockets of
//! every directory below it pass here, in whatever network namespace. A packet belongs to the cgroup in which its socket
//! was made. Bytes are counted from the IP header up and a packet is what the stack handles as one, so a segment that the
//! card will cut counts once, as the interface counts it.
//!
//! Maps: CONTAINERS. Cost: one helper, one hash look-up, two atomic adds: 140 ns a packet by the kernel's own statistics,
//! of which 50 are the measuring. No loops; nothing overflows.
//! Not seen: the last acknowledgement of a connection in TIME_WAIT (it has no full socket). Counted though the program
//! never reads them: datagrams that the socket drops on arrival.
//!
//! The adds are atomic because a send in process context can be interrupted by one in softirq on the same CPU.

use aya_ebpf::helpers::bpf_skb_ancestor_cgroup_id;
use aya_ebpf::macros::cgroup_skb;
use aya_ebpf::programs::SkBuffContext;

use crate::atomic;
use crate::task::{self, CONTAINER_LEVEL};

/// Let the packet pass.
const PASS: i32 = 1;

#[cgroup_skb(ingress)]
pub(crate) fn ingress(ctx: SkBuffContext) -> i32 {
    if let Some(counters) = task::counters(container(&ctx)) {
        // SAFETY: fields of a map value.
        unsafe {
            atomic::add(&raw mut counters.net.rx_bytes, u64::from(ctx.len()));
            atomic::add(&raw mut counters.net.rx_packets, 1);
        }
    }
    PASS
}

#[cgroup_skb(egress)]
pub(crate) fn egress(ctx: SkBuffContext) -> i32 {
    if let Some(counters) = task::counters(container(&ctx)) {
        // SAFETY: fields of a map value.
        unsafe {
            atomic::add(&raw mut counters.net.tx_bytes, u64::from(ctx.len()));
            atomic::add(&raw mut counters.net.tx_packets, 1);
        }
    }
    PASS
}

#[inline(always)]
fn container(ctx: &SkBuffContext) -> u64 {
    // SAFETY: the context is the packet.
    unsafe { bpf_skb_ancestor_cgroup_id(ctx.skb.skb, CONTAINER_LEVEL.load().cast_signed()) }
}
