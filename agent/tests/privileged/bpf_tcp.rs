//! Connections, retransmits and round-trip times, held against what the kernel keeps of the same sockets.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;

use agent::accounting::kernel::Tcp;
use agent::bpf::{Bpf, Figure};
use model::latency::Latency;

use crate::bpf_net::swallow;
use crate::metered::{Cgroup, Meter};
use crate::needs::{self, Need};
use crate::scene::DEADLINE;
use crate::traffic::{self, Pair};

fn counted(bpf: &mut Bpf, container: &Cgroup) -> Tcp {
    bpf.remove_container(container.id).unwrap().unwrap().tcp.unwrap()
}

#[test]
fn connections_count_where_their_sockets_are() {
    let Some(mut meter) = Meter::open("connections_count_where_their_sockets_are", &[Figure::Tcp]) else {
        return;
    };
    for host in ["127.0.0.1", "[::1]"] {
        let Ok(listener) = TcpListener::bind(format!("{host}:0")) else {
            assert_eq!(host, "[::1]", "there is always IPv4");
            continue;
        };
        // Ours to take, theirs to begin.
        let container = meter.container(&format!("connects-{}", host.len()));
        let inmate = container.workload(&format!("connect {} 5", listener.local_addr().unwrap()));
        for _ in 0..5 {
            let (mut stream, _) = listener.accept().unwrap();
            stream.set_read_timeout(Some(DEADLINE)).unwrap();
            assert_eq!(stream.read(&mut [0; 1]).unwrap(), 1);
            stream.write_all(b"!").unwrap();
        }
        inmate.end();
        let tcp = counted(&mut meter.bpf, &container);
        assert_eq!((tcp.connects, tcp.accepts, tcp.retransmits), (5, 0, 0), "{host}");
        // One measurement at the least for each: of the answer to its SYN.
        assert!(tcp.rtt.count() >= 5, "{} round trips", tcp.rtt.count());

        // Theirs to take, ours to begin.
        let container = meter.container(&format!("accepts-{}", host.len()));
        let mut inmate = container.workload(&format!("serve {host}:0 3"));
        let at: SocketAddr = inmate.heard("at ").parse().unwrap();
        for _ in 0..3 {
            let mut stream = TcpStream::connect(at).unwrap();
            stream.write_all(b"?").unwrap();
            assert_eq!(stream.read(&mut [0; 1]).unwrap(), 1);
        }
        inmate.end();
        let tcp = counted(&mut meter.bpf, &container);
        assert_eq!((tcp.connects, tcp.accepts, tcp.retransmits), (0, 3, 0), "{host}");
        assert!(tcp.rtt.count() >= 3, "{} round trips", tcp.rtt.count());
    }
}

/// A narrow way out that drops what does not fit and makes the rest wait.
#[test]
fn a_bad_network_shows_in_retransmits_and_round_trips() {
    let name = "a_bad_network_shows_in_retransmits_and_round_trips";
    if !needs::met(name, &[Need::Root, Need::Program("ip"), Need::Program("nsenter"), Need::Program("tc")]) {
        return;
    }
    let Some(mut meter) = Meter::open(name, &[Figure::Tcp]) else { return };
    traffic::enter_own_network();
    let container = meter.container("slow");
    let bytes = 100_000;
    let mut inmate = container.workload(&format!("inside tcp {}:5000 {bytes}", Pair::HERE));
    let thread = inmate.heard("inside ");
    Pair::make(&thread);
    // 1 Mbit/s, one full packet at once and room for two more, which go out in 12 ms each. At its first write a sender has
    // at least two times two packets on their way (`tcp_min_tso_segs`, and what it may have waiting in the interface).
    let narrow = format!("-t {thread} -n tc qdisc add dev there root tbf rate 1mbit burst 2000 limit 3100");
    if !Command::new("nsenter").args(narrow.split(' ')).status().unwrap().success() {
        needs::skip(name, "this kernel has no token bucket filter (CONFIG_NET_SCH_TBF)");
        return;
    }
    let listener = TcpListener::bind((Pair::HERE, 5_000)).unwrap();
    inmate.go_on();
    swallow(&listener, bytes);
    let said = inmate.heard("sent ");
    inmate.heard("done");
    let of = |name: &str| said.split_once(name).unwrap().1.split(' ').next().unwrap().parse::<u64>().unwrap();
    let (retransmits, rtt_ns) = (of("retransmits "), of("rtt_us ") * 1_000);
    inmate.end();
    let tcp = counted(&mut meter.bpf, &container);
    println!("{said}: {tcp:?}");
    assert!(retransmits > 0, "nothing was lost; make it worse");
    assert_eq!((tcp.retransmits, tcp.connects), (retransmits, 1));
    // The last that the socket measured is among those counted, and the queue shows.
    assert!(tcp.rtt.buckets[Latency::bucket(rtt_ns)] > 0, "{rtt_ns} ns is nowhere");
    assert!(tcp.rtt.quantile_ns(500) > Some(2_000_000), "{:?}", tcp.rtt.quantile_ns(500));
}
