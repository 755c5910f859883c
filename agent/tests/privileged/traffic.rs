//! Sockets for the tests of the network's figures: what runs inside the measured containers, and networks of a test's own
//! for them to run in.

use std::io::{BufRead, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::Command;

use nix::sched::{CloneFlags, unshare};

/// Runs what `workload.rs` was told to, by its words.
pub(crate) fn workload(words: &[&str]) {
    let number = |index: usize| words[index].parse::<u64>().unwrap();
    let address = |index: usize| words[index].parse::<SocketAddr>().unwrap();
    match words[0] {
        "udp" => udp(address(1), number(2), number(3) as usize),
        "flood" => flood(number(1), number(2), number(3) as usize),
        "tcp" => tcp(address(1), number(2) as usize),
        "connect" => connect(address(1), number(2)),
        "stream" => stream(address(1)),
        "datagrams" => datagrams(address(1), number(2) as usize),
        "serve" => serve(address(1), number(2)),
        "inside" => {
            // In a network of its own, as soon as somebody has connected it, and until its counters have been read.
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            let thread = nix::unistd::gettid();
            let wait_at = |name: &str| {
                println!("\n{name} {thread}");
                std::io::stdout().flush().unwrap();
                std::io::stdin().lock().read_line(&mut String::new()).unwrap();
            };
            wait_at("inside");
            workload(&words[1..]);
            wait_at("done");
        }
        other => panic!("no workload {other}"),
    }
}

/// Sends datagrams and hears as many.
fn udp(to: SocketAddr, count: u64, bytes: usize) {
    let any: IpAddr = if to.is_ipv4() { [0; 4].into() } else { [0_u16; 8].into() };
    let socket = UdpSocket::bind((any, 0)).unwrap();
    socket.connect(to).unwrap();
    let mut buffer = vec![7; bytes];
    for _ in 0..count {
        // One at a time, so that no receive buffer overflows.
        socket.send(&buffer).unwrap();
        assert_eq!(socket.recv(&mut buffer).unwrap(), bytes);
    }
}

/// Threads that send datagrams to a socket of the same process which nobody reads, as fast as they can.
fn flood(threads: u64, count: u64, bytes: usize) {
    let sink = UdpSocket::bind("127.0.0.1:0").unwrap();
    let to = sink.local_addr().unwrap();
    let send = move || {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let buffer = vec![7; bytes];
        for _ in 0..count {
            socket.send_to(&buffer, to).unwrap();
        }
    };
    let all: Vec<_> = (0..threads).map(|_| std::thread::spawn(send)).collect();
    all.into_iter().for_each(|it| it.join().unwrap());
}

/// Sends a stream, waits until the other side has read all of it, and says what the kernel knows of it.
fn tcp(to: SocketAddr, bytes: usize) {
    let mut stream = TcpStream::connect(to).unwrap();
    stream.write_all(&vec![7; bytes]).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let done = stream.read(&mut [0; 1]).unwrap();
    assert_eq!(done, 1);
    let info = TcpInfo::of(&stream);
    println!("\nsent {} retransmits {} rtt_us {}", info.bytes_sent, info.retransmits, info.rtt_us);
}

/// Sends as fast as it may, until nobody reads any more.
fn stream(to: SocketAddr) {
    let mut stream = TcpStream::connect(to).unwrap();
    let buffer = vec![7; 64 << 10];
    while stream.write_all(&buffer).is_ok() {}
}

/// The same by datagrams, until it is killed: who sends them does not see who reads.
fn datagrams(to: SocketAddr, bytes: usize) {
    let any: IpAddr = if to.is_ipv4() { [0; 4].into() } else { [0_u16; 8].into() };
    let socket = UdpSocket::bind((any, 0)).unwrap();
    let buffer = vec![7; bytes];
    loop {
        // A full queue is an error to some kernels' senders; to try again is all that one can do.
        _ = socket.send_to(&buffer, to);
    }
}

/// Opens connections, one after the other, and says a byte on each.
fn connect(to: SocketAddr, count: u64) {
    for _ in 0..count {
        let mut stream = TcpStream::connect(to).unwrap();
        stream.write_all(b"?").unwrap();
        assert_eq!(stream.read(&mut [0; 1]).unwrap(), 1);
    }
    // Nobody listens there any more: begun, but never established.
    if let Ok(listener) = TcpListener::bind("127.0.0.1:0") {
        let gone = listener.local_addr().unwrap();
        drop(listener);
        assert!(TcpStream::connect(gone).is_err());
    }
}

/// Takes connections and answers a byte on each; says first where.
fn serve(at: SocketAddr, count: u64) {
    let listener = TcpListener::bind(at).unwrap();
    println!("\nat {}", listener.local_addr().unwrap());
    std::io::stdout().flush().unwrap();
    for _ in 0..count {
        let (mut stream, _) = listener.accept().unwrap();
        assert_eq!(stream.read(&mut [0; 1]).unwrap(), 1);
        stream.write_all(b"!").unwrap();
    }
}

/// What the kernel keeps of a connection (`TCP_INFO`).
struct TcpInfo {
    rtt_us: u32,
    retransmits: u32,
    /// Payload, retransmissions included (4.19).
    bytes_sent: u64,
}

impl TcpInfo {
    /// Offsets of linux/tcp.h.
    #[expect(unsafe_code, reason = "neither the standard library nor nix has this option")]
    fn of(stream: &TcpStream) -> Self {
        const RTT: usize = 68;
        const TOTAL_RETRANS: usize = 100;
        const BYTES_SENT: usize = 200;
        let mut info = [0_u8; 256];
        let mut length = info.len() as libc::socklen_t;
        // SAFETY: the call writes at most `length` bytes into `info`, and the descriptor is open.
        let done = unsafe {
            libc::getsockopt(
                std::os::fd::AsRawFd::as_raw_fd(stream),
                libc::IPPROTO_TCP,
                libc::TCP_INFO,
                info.as_mut_ptr().cast(),
                &raw mut length,
            )
        };
        assert!(done == 0 && length as usize >= BYTES_SENT + 8, "TCP_INFO gives {length} bytes");
        let word = |at: usize| u32::from_ne_bytes(info[at..at + 4].try_into().unwrap());
        Self {
            rtt_us: word(RTT),
            retransmits: word(TOTAL_RETRANS),
            bytes_sent: u64::from_ne_bytes(info[BYTES_SENT..BYTES_SENT + 8].try_into().unwrap()),
        }
    }
}

/// What an interface has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Interface {
    pub(crate) rx_bytes: u64,
    pub(crate) rx_packets: u64,
    pub(crate) tx_bytes: u64,
    pub(crate) tx_packets: u64,
}

impl Interface {
    /// In the network namespace of a thread.
    pub(crate) fn of(thread: &str, name: &str) -> Self {
        let text = std::fs::read_to_string(format!("/proc/{thread}/net/dev")).unwrap();
        let line = text.lines().find_map(|it| it.trim_start().strip_prefix(name)?.strip_prefix(':'));
        let of: Vec<u64> = line.unwrap().split_whitespace().map(|it| it.parse().unwrap()).collect();
        Self { rx_bytes: of[0], rx_packets: of[1], tx_bytes: of[8], tx_packets: of[9] }
    }
}

/// Puts this test's thread, and what it starts from now on, into a network of its own with nothing but a loopback.
pub(crate) fn enter_own_network() {
    unshare(CloneFlags::CLONE_NEWNET).unwrap();
    ip("link set lo up");
}

/// `ip` with these words, in this thread's network.
pub(crate) fn ip(words: &str) {
    let status = Command::new("ip").args(words.split(' ')).status().unwrap();
    assert!(status.success(), "ip {words}");
}

/// The ends of a pair of interfaces, `here` in this thread's network, `there` in that of another. No address is made by
/// itself and no neighbour asked for, so that nothing passes but what the test sends.
pub(crate) struct Pair;

impl Pair {
    pub(crate) const HERE: &'static str = "192.0.2.1";
    pub(crate) const THERE: &'static str = "192.0.2.2";

    pub(crate) fn make(thread: &str) {
        const MACS: [&str; 2] = ["02:00:00:00:00:01", "02:00:00:00:00:02"];
        ip(&format!("link add here address {} type veth peer name there address {}", MACS[0], MACS[1]));
        ip(&format!("link set there netns {thread}"));
        let inside = |words: &str| {
            let status = Command::new("nsenter")
                .args(["-t", thread, "-n", "ip"])
                .args(words.split(' '))
                .status()
                .unwrap();
            assert!(status.success(), "ip {words} in the network of {thread}");
        };
        set_up(&ip, "here", Self::HERE, Self::THERE, MACS[1]);
        set_up(&inside, "there", Self::THERE, Self::HERE, MACS[0]);
    }
}

fn set_up(ip: &dyn Fn(&str), name: &str, own: &str, other: &str, other_mac: &str) {
    ip(&format!("link set {name} addrgenmode none"));
    ip(&format!("addr add {own}/24 dev {name}"));
    ip(&format!("link set {name} up"));
    ip(&format!("neigh replace {other} lladdr {other_mac} dev {name} nud permanent"));
}
