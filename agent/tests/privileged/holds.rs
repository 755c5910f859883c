//! What holds containers where cgroups have no files: which devices open, how fast packets leave. These hold on a hybrid host
//! too, and for who is in a network of its own.

use std::io::Read;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use agent::bpf::hold::{Egress, Hold, Kind, Rule};

use crate::metered::{self, Cgroup, Inmate};
use crate::needs::{self, Need};
use crate::scene::DEADLINE;
use crate::traffic::{self, Interface, Pair};

/// A directory of the test's own, and what holds the containers in it.
struct Scene {
    hold: Hold,
    root: PathBuf,
}

impl Scene {
    /// `None` after saying why the test is skipped.
    fn open(test: &str, needs: &[Need]) -> Option<Self> {
        let all: Vec<Need> = [Need::Root, Need::Cgroup2].iter().chain(needs).copied().collect();
        if !needs::met(test, &all) {
            return None;
        }
        if let Some(error) = Hold::probe().into_iter().find_map(Result::err) {
            needs::skip(test, &format!("{error:?}"));
            return None;
        }
        Some(Self { hold: Hold::default(), root: metered::make_root() })
    }

    fn container(&self, name: &str) -> Cgroup {
        Cgroup::make(self.root.join(name))
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        crate::groups::clear(&self.root);
    }
}

fn device(kind: Kind, major: u32, minor: u32, access: u32) -> Rule {
    Rule { kind, major: Some(major), minor: Some(minor), access }
}

const ALL: u32 = Rule::READ | Rule::WRITE | Rule::MKNOD;

/// What became of an attempt, as the shell in the container tells it.
fn tries(inside: &mut Inmate, what: &str) -> String {
    inside.ask(what);
    inside.heard("=")
}

#[test]
fn a_list_of_devices_holds_what_is_inside_and_outlives_the_agent() {
    let name = "a_list_of_devices_holds_what_is_inside_and_outlives_the_agent";
    let Some(mut scene) = Scene::open(name, &[]) else { return };
    let container = scene.container("c1");
    let null = device(Kind::Char, 1, 3, ALL);
    let zero = device(Kind::Char, 1, 5, ALL);
    scene.hold.devices(&container.path, &[null]).unwrap();
    let shell = "while read path; do { true < $path; } 2>&- && echo = opened || echo = refused; done";
    // Below the container's own group it holds as well.
    let mut inmates = [container.sh(shell), container.nested("deep").sh(shell)];
    let mut check = |expect: &[(&str, &str)]| {
        for inside in &mut inmates {
            for (path, outcome) in expect {
                assert_eq!(tries(inside, path), *outcome, "{path}");
            }
        }
    };
    check(&[
        ("/dev/null", "opened"),
        ("/dev/zero", "refused"),
        ("/dev/kmsg", "refused"),
        ("/etc/passwd", "opened"),
    ]);
    // Another list, and the same by an agent that was started anew, which knows nothing of the first.
    scene.hold.devices(&container.path, &[null, zero]).unwrap();
    check(&[("/dev/null", "opened"), ("/dev/zero", "opened"), ("/dev/kmsg", "refused")]);
    drop(std::mem::take(&mut scene.hold));
    check(&[("/dev/null", "opened"), ("/dev/zero", "opened"), ("/dev/kmsg", "refused")]);
    let mut hold = Hold::default();
    hold.devices(&container.path, &[zero]).unwrap();
    hold.devices(&container.path, &[zero]).unwrap();
    check(&[("/dev/null", "refused"), ("/dev/zero", "opened"), ("/dev/kmsg", "refused")]);
    // A block device, where there is one.
    if std::fs::File::open("/dev/loop0").is_ok() {
        check(&[("/dev/loop0", "refused")]);
        hold.devices(&container.path, &[device(Kind::Block, 7, 0, Rule::READ)]).unwrap();
        check(&[("/dev/loop0", "opened"), ("/dev/zero", "refused")]);
    }
    // Nobody else is concerned.
    assert!(std::fs::File::open("/dev/zero").is_ok());
    inmates.into_iter().for_each(Inmate::kill);
}

const MIB: u64 = 1 << 20;
const UDP_BYTES: u64 = 1_400;
const PORT: u16 = 5_000;

/// Takes what arrives, so that the sender never waits for us.
enum Sink {
    Datagrams(UdpSocket),
    Stream(TcpStream),
}

impl Sink {
    /// Ready before the sender begins.
    fn open(what: &str, inmate: &mut Inmate) -> Self {
        let at = (Pair::HERE, PORT);
        if what == "datagrams" {
            let socket = UdpSocket::bind(at).unwrap();
            socket.set_read_timeout(Some(DEADLINE)).unwrap();
            inmate.go_on();
            return Self::Datagrams(socket);
        }
        let listener = TcpListener::bind(at).unwrap();
        inmate.go_on();
        let (stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        Self::Stream(stream)
    }

    fn take(&mut self, buffer: &mut [u8]) {
        match self {
            Self::Datagrams(socket) => assert!(socket.recv(buffer).unwrap() > 0),
            Self::Stream(stream) => assert!(stream.read(buffer).unwrap() > 0),
        }
    }

    /// Bytes a second that come out of the interface, from the IP header up, once a second of them has passed. What this busy
    /// process has no time to read has been sent all the same. Where it had no time just as it looked, the rate is too low.
    fn rate(&mut self, time: Duration) -> u64 {
        let mut buffer = vec![0; 256 << 10];
        let mut until = |end: Instant| {
            while Instant::now() < end {
                self.take(&mut buffer);
            }
            let thread = nix::unistd::gettid().to_string();
            let earliest = Instant::now();
            let interface = Interface::of(&thread, "here");
            let bytes = interface.rx_bytes - interface.rx_packets * ETHERNET;
            (earliest..Instant::now(), bytes)
        };
        let (from, before) = until(Instant::now() + Duration::from_secs(1));
        let (to, after) = until(from.end + time);
        let (from, to) = (from.start, to.end);
        (u128::from(after - before) * 1_000_000 / (to - from).as_micros()) as u64
    }
}

/// The rate when it is within 5 % of the limit. It is never above; below it may be while a slow or busy machine has no time to
/// send, so that it has a few tries.
fn held_to(limit: u64, sink: &mut Sink, time: Duration) -> u64 {
    let mut rates = Vec::new();
    for _ in 0..4 {
        let rate = sink.rate(time);
        rates.push(rate);
        assert!(rate * 1000 / limit <= 1050, "{rates:?} of {limit}");
        if rate * 1000 / limit >= 950 {
            return rate;
        }
    }
    panic!("{rates:?} of {limit}");
}

/// What an Ethernet interface counts more a packet.
const ETHERNET: u64 = 14;

/// A container in a network of its own. Its interface has no queue, as such pairs have none.
fn connected(scene: &Scene, name: &str, words: &str) -> (Cgroup, Inmate, String) {
    traffic::enter_own_network();
    let container = scene.container(name);
    let mut inmate = container.workload(&format!("inside {words}"));
    let thread = inmate.heard("inside ");
    Pair::make(&thread);
    (container, inmate, thread)
}

/// Gives it one that keeps to the packets' times; `false` where the kernel has none.
fn has_fair_queue(thread: &str) -> bool {
    let tc = ["-t", thread, "-n", "tc", "qdisc", "replace", "dev", "there", "root", "fq"];
    Command::new("nsenter").args(tc).status().unwrap().success()
}

fn words(what: &str) -> String {
    let to = format!("{what} {}:{PORT}", Pair::HERE);
    if what == "datagrams" { format!("{to} {UDP_BYTES}") } else { to }
}

/// What the limit becomes for streams and datagrams: within 5 % of it.
fn check(scene: &mut Scene, prepare: impl Fn(&str) -> bool) -> bool {
    let limit = 4 * MIB;
    for what in ["datagrams", "stream"] {
        let (container, mut inmate, thread) = connected(scene, what, &words(what));
        if !prepare(&thread) {
            inmate.kill();
            return false;
        }
        scene.hold.egress(&container.path, Some(limit)).unwrap();
        let rate = held_to(limit, &mut Sink::open(what, &mut inmate), Duration::from_secs(5));
        let figures = scene.hold.egress_of(container.id).unwrap();
        inmate.kill();
        println!("{what}: {rate} B/s, {} thousandths of the limit; {figures:?}", rate * 1000 / limit);
        assert_eq!(figures.bytes_per_second, limit);
        assert!(figures.delayed_packets > 0, "{figures:?}");
    }
    true
}

/// By what is dropped, since nothing waits: as on interfaces without a queue, and with those that know no times.
#[test]
fn a_limit_of_egress_is_kept_within_five_percent_without_a_queue() {
    let name = "a_limit_of_egress_is_kept_within_five_percent_without_a_queue";
    let Some(mut scene) = Scene::open(name, &[Need::Program("ip"), Need::Program("nsenter")]) else { return };
    check(&mut scene, |_| true);
}

#[test]
#[ignore = "needs the fq queue, which the kernel of this project's test machine has not: for a VM"]
fn a_limit_of_egress_is_kept_within_five_percent_by_a_fair_queue() {
    let name = "a_limit_of_egress_is_kept_within_five_percent_by_a_fair_queue";
    let needs = [Need::Program("ip"), Need::Program("nsenter"), Need::Program("tc")];
    let Some(mut scene) = Scene::open(name, &needs) else { return };
    if !check(&mut scene, has_fair_queue) {
        needs::skip(name, "this kernel has no fq (CONFIG_NET_SCH_FQ)");
    }
}

/// What was counted goes on, whoever asks; and without a limit packets leave as fast as before.
#[test]
fn a_limit_of_egress_is_changed_found_again_and_lifted() {
    let name = "a_limit_of_egress_is_changed_found_again_and_lifted";
    let Some(mut scene) = Scene::open(name, &[Need::Program("ip"), Need::Program("nsenter")]) else { return };
    let (container, mut inmate, _) = connected(&scene, "c1", &words("datagrams"));
    scene.hold.egress(&container.path, Some(MIB)).unwrap();
    let mut sink = Sink::open("datagrams", &mut inmate);
    let slow = held_to(MIB, &mut sink, Duration::from_secs(2));
    let before = scene.hold.egress_of(container.id).unwrap();
    assert!(before.dropped_packets > 0 && before.bytes_per_second == MIB, "{before:?}");

    drop(std::mem::take(&mut scene.hold));
    let mut hold = Hold::default();
    assert_eq!(hold.egress_of(container.id), None);
    hold.find_egress(&container.path);
    let found = hold.egress_of(container.id).unwrap();
    assert!(found.dropped_packets >= before.dropped_packets && found.bytes_per_second == MIB, "{found:?}");
    // By one that has not looked before.
    let mut hold = Hold::default();
    hold.egress(&container.path, Some(2 * MIB)).unwrap();
    let changed = hold.egress_of(container.id).unwrap();
    assert!(changed.dropped_packets >= found.dropped_packets && changed.bytes_per_second == 2 * MIB);
    let fast = held_to(2 * MIB, &mut sink, Duration::from_secs(2));
    hold.egress(&container.path, None).unwrap();
    hold.egress(&container.path, None).unwrap();
    assert_eq!(hold.egress_of(container.id), None);
    let free = sink.rate(Duration::from_secs(2));
    println!("1 MiB/s: {slow}, 2 MiB/s: {fast}, none: {free}");
    assert!(free > 2 * fast, "{free}");
    inmate.kill();
}

/// A container without a limit has no program, and sends on as fast as it did while its neighbour is held.
#[test]
fn nobody_else_is_held_by_a_neighbours_limit() {
    let name = "nobody_else_is_held_by_a_neighbours_limit";
    let Some(mut scene) = Scene::open(name, &[Need::Program("ip"), Need::Program("nsenter")]) else { return };
    let held = scene.container("held");
    scene.hold.egress(&held.path, Some(MIB)).unwrap();
    let (free, mut inmate, _) = connected(&scene, "free", &words("stream"));
    let busy = held.workload("flood 1 100000 100");
    let rate = Sink::open("stream", &mut inmate).rate(Duration::from_secs(2));
    println!("beside a container of 1 MiB/s: {rate} B/s");
    assert_eq!(scene.hold.egress_of(free.id), None);
    // However slow the machine: an emulated one sends at some 35.
    assert!(rate > 4 * MIB, "{rate}");
    // To its own machine nothing of it is held.
    assert_eq!(scene.hold.egress_of(held.id), Some(Egress { bytes_per_second: MIB, ..Egress::default() }));
    inmate.kill();
    busy.kill();
}
