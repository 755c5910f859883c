//! What TCP says of each container's connections: retransmits, connections begun and taken, smoothed round-trip times.
//!
//! Hook: `sock_ops` (5.3 for the round-trip callback), attached to each container's own directory as the programs of
//! net.rs are, and with their map, SOCKETS. The kernel calls for every connection as it is begun or established; the program
//! asks each time to be called for its round-trip times and retransmits too. So a connection that was there before the
//! container was counted has none of them.
//!
//! A round-trip time is the smoothed one after each measurement the kernel makes: about one an acknowledgement that
//! brings something new. Retransmits are segments, as in `RetransSegs` and TCP_INFO's `total_retrans`; those of a SYN
//! count, those of the answer to one do not (the kernel does not call for them).
//! Cost by the kernel's own statistics, of which 50 ns are the measuring: 120 to 170 ns a measurement during a loopback
//! transfer (one for every 0.5 to 1 MiB there). No loops; nothing overflows.

use aya_ebpf::bindings::{
    BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB, BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB, BPF_SOCK_OPS_RETRANS_CB,
    BPF_SOCK_OPS_RETRANS_CB_FLAG, BPF_SOCK_OPS_RTT_CB, BPF_SOCK_OPS_RTT_CB_FLAG, BPF_SOCK_OPS_TCP_CONNECT_CB,
};
use aya_ebpf::macros::sock_ops;
use aya_ebpf::programs::SockOpsContext;

use crate::{atomic, net};

/// Nothing is refused. The reply is left as it is: 0 stands for "no opinion" wherever the kernel asks for one.
const PASS: u32 = 1;

/// What the kernel is asked to call for.
const WANTED: u32 = BPF_SOCK_OPS_RTT_CB_FLAG | BPF_SOCK_OPS_RETRANS_CB_FLAG;

/// The kernel keeps the smoothed time in eighths of a microsecond.
const EIGHTH_US_NS: u64 = 125;

#[sock_ops]
pub(crate) fn tcp(ctx: SockOpsContext) -> u32 {
    // SAFETY: fields of a map value.
    unsafe {
        let tcp = &raw mut (*net::counters()).tcp;
        match ctx.op() {
            BPF_SOCK_OPS_RTT_CB => atomic::record(&raw mut (*tcp).rtt, smoothed_ns(&ctx)),
            // The second argument is how many segments; those that could not be sent after all count, as in `RetransSegs`.
            BPF_SOCK_OPS_RETRANS_CB => atomic::add(&raw mut (*tcp).retransmits, u64::from(ctx.arg(1))),
            // Before the first segment, so that a repeated one is heard of.
            BPF_SOCK_OPS_TCP_CONNECT_CB => listen(&ctx),
            BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB => {
                listen(&ctx);
                atomic::add(&raw mut (*tcp).connects, 1);
            }
            BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB => {
                listen(&ctx);
                atomic::add(&raw mut (*tcp).accepts, 1);
            }
            _ => {}
        }
    }
    PASS
}

/// Asks to be called for this connection; what other programs have asked for stays.
#[inline(always)]
fn listen(ctx: &SockOpsContext) {
    // It fails for sockets that are no full ones, and those have neither times nor retransmits.
    let _ = ctx.set_cb_flags((ctx.cb_flags() | WANTED).cast_signed());
}

#[inline(always)]
fn smoothed_ns(ctx: &SockOpsContext) -> u64 {
    // SAFETY: a field of the context.
    u64::from(unsafe { (*ctx.ops).srtt_us }) * EIGHTH_US_NS
}
