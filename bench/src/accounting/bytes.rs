//! Bytes and packets of transfers of known size, between two containers, held against what the interface between them
//! counted: in a network namespace of its own over loopback, and between two over a veth pair, so that nobody else's
//! packets are there.
//!
//! What no hook sees, and is taken off, each time 52 bytes of headers without payload:
//! - packets of a connection whose socket is gone and which the kernel ends by itself (TIME_WAIT): the other side's FIN
//!   and the acknowledgement of it. Two transfers are closed so that this happens; at most one packet each way.
//! - headers of segments that are cut below IP. A packet of 64 KiB or more is what the stack handles as one; the loopback
//!   interface takes less than that (`gso_features_check`, net/core/dev.c), so it is cut, and the second piece gets headers
//!   of its own. Only outgoing TCP over loopback; the receiver is told of both pieces.
//!
//! In everything else every byte and every packet must be there.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::Context;
use ingot_agent::bpf::{Bpf, Figure};
use serde_json::json;

use super::container::Container;
use super::namespace::{Interface, Namespace, VETH};
use super::needs::COUNTED_CONTAINERS;
use super::scene::Scene;
use super::{Findings, Part};
use crate::clock;
use crate::report::{Better, Goal};
use crate::workload::transfer::{DATAGRAM_BYTES, WINDOW};

const EQUAL: Goal = Goal {
    name: "bytes against the interface, unexplained, all transfers",
    unit: "bytes",
    better: Better::Lower,
    bar: 0.0,
};

const BY_PROTOCOL: Goal = Goal {
    name: "bytes that the protocols together do not make up",
    unit: "bytes",
    better: Better::Lower,
    bar: 0.0,
};

pub(super) const PART: Part =
    Part { name: "bytes", needs: COUNTED_CONTAINERS, goals: &[EQUAL, BY_PROTOCOL], run };

/// Of Ethernet, which a veth counts and the programs do not: they see packets from IP up. So does the loopback interface.
const FRAME_HEADER_BYTES: u64 = 14;
/// IPv4 and UDP.
const UDP_HEADERS_BYTES: u64 = 28;
/// IPv4 and TCP with timestamps: a packet without payload.
const TCP_EMPTY_BYTES: u64 = 52;
const TCP_BYTES: u64 = 256 << 20;
const UDP_BYTES: u64 = 32_000 * 1_000;
/// Longer than any acknowledgement is put off (`TCP_DELACK_MAX`, 200 ms).
const SILENCE: Duration = Duration::from_millis(300);

struct Transfer {
    name: &'static str,
    protocol: &'static str,
    bytes: u64,
    veth: bool,
    abrupt: bool,
}

const TRANSFERS: [Transfer; 6] = [
    Transfer { name: "tcp, loopback", protocol: "tcp", bytes: TCP_BYTES, veth: false, abrupt: false },
    Transfer { name: "tcp, veth", protocol: "tcp", bytes: TCP_BYTES, veth: true, abrupt: false },
    Transfer { name: "udp, loopback", protocol: "udp", bytes: UDP_BYTES, veth: false, abrupt: false },
    Transfer { name: "udp, veth", protocol: "udp", bytes: UDP_BYTES, veth: true, abrupt: false },
    Transfer {
        name: "tcp closed at once, loopback",
        protocol: "tcp",
        bytes: 1 << 20,
        veth: false,
        abrupt: true,
    },
    Transfer { name: "tcp closed at once, veth", protocol: "tcp", bytes: 1 << 20, veth: true, abrupt: true },
];

/// Bytes and packets in one direction, from IP up.
#[derive(Clone, Copy, Default)]
struct Flow {
    bytes: u64,
    packets: u64,
}

/// Where the ends are, and what lies between them.
struct Path {
    /// Of the sender and the receiver; the same for both over loopback.
    namespaces: Vec<Namespace>,
    interface: &'static str,
    receiver_address: Ipv4Addr,
}

impl Path {
    fn of(transfer: &Transfer) -> anyhow::Result<Self> {
        if transfer.veth {
            let [(first, _), (second, receiver_address)] = Namespace::pair()?;
            return Ok(Self { namespaces: vec![first, second], interface: VETH, receiver_address });
        }
        let namespaces = vec![Namespace::new()?];
        Ok(Self { namespaces, interface: "lo", receiver_address: Ipv4Addr::LOCALHOST })
    }

    /// The sender's interface once it has been silent for a while. What it sends, the other end receives.
    fn settled(&self) -> anyhow::Result<Interface> {
        let of = &self.namespaces[0];
        let mut seen = of.interface(self.interface)?;
        loop {
            clock::wait_until(clock::now() + SILENCE);
            let now = of.interface(self.interface)?;
            if now == seen {
                return Ok(now);
            }
            seen = now;
        }
    }
}

fn run(scene: &Scene, findings: &mut Findings) -> anyhow::Result<()> {
    let (mut bpf, directory) = scene.counted("bytes", &[Figure::Network])?;
    let (mut unexplained, mut split_off) = (0, 0);
    for (number, transfer) in TRANSFERS.iter().enumerate() {
        let path = Path::of(transfer)?;
        let sender = Container::counted(&mut bpf, &directory, &format!("sender-{number}"))?;
        let receiver = Container::counted(&mut bpf, &directory, &format!("receiver-{number}"))?;
        transfer_between(transfer, &path, &sender, &receiver)
            .with_context(|| format!("transfer `{}`", transfer.name))?;
        let interface = path.settled()?;
        let (sent, received) = (last(&sender, &mut bpf, transfer)?, last(&receiver, &mut bpf, transfer)?);
        let found = compare(transfer, &interface, &sent, &received);
        split_off += sent.split_off_bytes + received.split_off_bytes;
        unexplained += found.unexplained_bytes;
        findings.detail(transfer.name, found.detail);
    }
    findings.goal(&EQUAL, unexplained as f64);
    findings.goal(&BY_PROTOCOL, split_off as f64);
    Ok(())
}

fn transfer_between(
    transfer: &Transfer,
    path: &Path,
    sender: &Container,
    receiver: &Container,
) -> anyhow::Result<()> {
    let Transfer { protocol, bytes, abrupt, .. } = transfer;
    let namespace = |at: usize| path.namespaces[at.min(path.namespaces.len() - 1)].path();
    let end = |at| format!("--protocol {protocol} --bytes {bytes} --namespace {}", namespace(at).display());
    let address = path.receiver_address;
    let mut receives = receiver.start(&format!("receive --address {address} {}", end(1)))?;
    let port = receives.hear()?;
    let abrupt = if *abrupt { " --abrupt" } else { "" };
    let sends = sender.start(&format!("send --to {address}:{port} {}{abrupt}", end(0)))?;
    sends.end()?;
    receives.end()?;
    Ok(())
}

/// The programs' last word.
struct Last {
    incoming: Flow,
    outgoing: Flow,
    /// How far what they say of each protocol is from the whole, both ways. There is one protocol in each transfer.
    split_off_bytes: u64,
}

fn last(container: &Container, bpf: &mut Bpf, transfer: &Transfer) -> anyhow::Result<Last> {
    let usage = container.last_usage(bpf)?;
    let (rx, tx) = match transfer.protocol {
        "tcp" => (usage.tcp_rx_bytes, usage.tcp_tx_bytes),
        _ => (usage.udp_rx_bytes, usage.udp_tx_bytes),
    };
    Ok(Last {
        incoming: Flow { bytes: usage.net_rx_bytes, packets: usage.net_rx_packets },
        outgoing: Flow { bytes: usage.net_tx_bytes, packets: usage.net_tx_packets },
        split_off_bytes: rx.abs_diff(usage.net_rx_bytes) + tx.abs_diff(usage.net_tx_bytes),
    })
}

struct Found {
    unexplained_bytes: u64,
    detail: serde_json::Value,
}

fn compare(transfer: &Transfer, interface: &Interface, sender: &Last, receiver: &Last) -> Found {
    let frame = if transfer.veth { FRAME_HEADER_BYTES } else { 0 };
    let flow = |bytes: u64, packets: u64| Flow { bytes: bytes - frame * packets, packets };
    let wire_out = flow(interface.tx_bytes, interface.tx_packets);
    let wire_in = flow(interface.rx_bytes, interface.rx_packets);
    let sum = |one: Flow, other: Flow| Flow {
        bytes: one.bytes + other.bytes,
        packets: one.packets + other.packets,
    };
    // Over a veth pair the sender's interface sees the sender's packets; the receiver's are what the other end sees,
    // which is the same turned round. Over loopback one interface sees both.
    let pairs = if transfer.veth {
        vec![
            ("sender out", wire_out, sender.outgoing),
            ("sender in", wire_in, sender.incoming),
            ("receiver out", wire_in, receiver.outgoing),
            ("receiver in", wire_out, receiver.incoming),
        ]
    } else {
        vec![
            ("both out", wire_out, sum(sender.outgoing, receiver.outgoing)),
            ("both in", wire_in, sum(sender.incoming, receiver.incoming)),
        ]
    };
    let (mut unexplained_bytes, mut detail) = (0, serde_json::Map::new());
    for (name, wire, counted) in pairs {
        let unseen_packets = wire.packets.saturating_sub(counted.packets);
        let is_cut = transfer.protocol == "tcp" && !transfer.veth && name == "both out";
        let unseen_max = if is_cut { u64::MAX } else { u64::from(transfer.abrupt) };
        let unseen_bytes = unseen_packets.min(unseen_max) * TCP_EMPTY_BYTES;
        unexplained_bytes += wire.bytes.abs_diff(counted.bytes + unseen_bytes);
        detail.insert(
            name.into(),
            json!({
                "interface_bytes": wire.bytes, "counted_bytes": counted.bytes,
                "interface_packets": wire.packets, "counted_packets": counted.packets,
                "bytes_no_hook_sees": unseen_bytes,
            }),
        );
    }
    if transfer.protocol == "udp" {
        let datagrams = transfer.bytes / DATAGRAM_BYTES as u64;
        let expected = transfer.bytes + datagrams * UDP_HEADERS_BYTES;
        let answers = datagrams / WINDOW * (1 + UDP_HEADERS_BYTES);
        unexplained_bytes +=
            sender.outgoing.bytes.abs_diff(expected) + sender.incoming.bytes.abs_diff(answers);
        detail.insert("known_bytes".into(), expected.into());
    } else {
        // Payload and headers of the packets; a retransmission would be on top, and the interface has it too.
        detail.insert("known_bytes".into(), transfer.bytes.into());
    }
    detail.insert("unexplained_bytes".into(), unexplained_bytes.into());
    Found { unexplained_bytes, detail: detail.into() }
}
