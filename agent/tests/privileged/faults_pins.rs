//! What outlives an agent: its programs count on, and the next one takes them over. The agents here are values in this
//! process; one that is a process and is killed is in `whole/restart.rs`.

use std::path::PathBuf;

use agent::accounting::kernel::Packets;
use agent::bpf::{Bpf, Figure, Options, Pins};

use crate::faults::{BURN, open};
use crate::metered::Meter;
use crate::scene::DEADLINE;

pub(crate) const PINNED: Options<'_> =
    Options { pins: Pins::Usual, containers_max: None, memory_controller: false, wrong_fields: &[] };

/// Where this machine's pins are.
fn base() -> PathBuf {
    let bpffs = |path: &str| {
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
        mounts.lines().any(|line| line.split(' ').nth(1) == Some(path) && line.contains(" bpf "))
    };
    if bpffs("/sys/fs/bpf") { "/sys/fs/bpf/ingot".into() } else { "/run/ingot/bpf".into() }
}

/// The pins of a test's agents.
pub(crate) fn own(meter: &Meter) -> PathBuf {
    use std::os::unix::fs::MetadataExt;
    base().join(std::fs::metadata(&meter.root).unwrap().ino().to_string())
}

/// Lets go of what this agent has and opens it as the next agent would.
fn restart(meter: &mut Meter) {
    restart_with(meter, &PINNED);
}

/// The same with other options, which make another object of it.
pub(crate) fn restart_with(meter: &mut Meter, options: &Options<'_>) {
    meter.bpf = Bpf::none();
    let (bpf, support) = Bpf::open_with(&meter.root, options);
    assert!(support.has(Figure::Pins), "{support}");
    meter.bpf = bpf;
}

#[test]
fn counters_go_on_while_no_agent_runs() {
    let test = "counters_go_on_while_no_agent_runs";
    let Some(mut meter) = open(test, &PINNED, &[Figure::Cpu, Figure::Life, Figure::Pins]) else { return };
    assert_eq!(meter.bpf.taken_over(), [0; 0], "there was nobody before");
    let container = meter.container("steady");
    let mut inmate =
        container.sh(&format!("{BURN}; echo first; read x; {BURN}; {BURN}; (:); echo second; read x"));
    inmate.heard("first");
    let before = meter.bpf.read(container.id).unwrap().unwrap();

    // The agent is gone: its descriptors are closed, as by a kill.
    meter.bpf = Bpf::none();
    inmate.go_on();
    inmate.heard("second");
    let burned = container.cpu_stat_ns("usage_usec");
    let (bpf, support) = Bpf::open_with(&meter.root, &PINNED);
    meter.bpf = bpf;
    assert!(support.has(Figure::Cpu) && support.has(Figure::Pins), "{support}");
    assert_eq!(meter.bpf.taken_over(), [container.id]);

    meter.bpf.add_container(container.id, &container.path).unwrap();
    meter.bpf.refresh().unwrap();
    let after = meter.bpf.read(container.id).unwrap().unwrap();
    let (was, is) = (before.cpu.unwrap().exec_ns, after.cpu.unwrap().exec_ns);
    println!("{was} ns before, {is} ns after, {burned} ns by cpu.stat");
    assert!(is > was && is + 1_000_000 >= burned, "what was burned meanwhile is missing");
    assert_eq!(after.life.unwrap().forks, before.life.unwrap().forks + 1, "the fork meanwhile");
    inmate.go_on();
    inmate.end();
    let last = meter.bpf.remove_container(container.id).unwrap().unwrap();
    let (counted, kernel) = (last.cpu.unwrap().exec_ns, container.cpu_stat_ns("usage_usec"));
    assert!(counted.abs_diff(kernel) <= kernel / 1000 + 1_000, "{counted} counted, {kernel} by cpu.stat");
    let own = own(&meter);
    assert!(own.is_dir());
    meter.bpf.unpin();
    assert!(!own.exists(), "nothing is left behind");
}

/// Every reading of a container over several agents is at least what the last one was.
#[test]
fn no_counter_steps_back_over_restarts() {
    let test = "no_counter_steps_back_over_restarts";
    let Some(mut meter) = open(test, &PINNED, &[Figure::Cpu, Figure::Pins]) else { return };
    let container = meter.container("spinning");
    let mut inmate = container.workload("spin");
    inmate.heard("spinning");
    let mut seen = 0;
    for _ in 0..5 {
        let start = container.cpu_stat_ns("usage_usec");
        while container.cpu_stat_ns("usage_usec") < start + 20_000_000 {
            std::thread::yield_now();
        }
        meter.bpf.refresh().unwrap();
        let counted = meter.bpf.read(container.id).unwrap().unwrap().cpu.unwrap().exec_ns;
        assert!(counted > seen, "{counted} after {seen}");
        seen = counted;
        restart(&mut meter);
        meter.bpf.add_container(container.id, &container.path).unwrap();
    }
    inmate.kill();
    let last = meter.bpf.remove_container(container.id).unwrap().unwrap().cpu.unwrap().exec_ns;
    let kernel = container.cpu_stat_ns("usage_usec");
    assert!(last.abs_diff(kernel) <= kernel / 1000 + 1_000, "{last} counted, {kernel} by cpu.stat");
    meter.bpf.unpin();
}

/// While nobody drains, events are lost and counted; what lay in the ring comes to the next agent, and new ones after it.
#[test]
fn a_ring_that_ran_over_is_drained_by_the_next_agent() {
    let test = "a_ring_that_ran_over_is_drained_by_the_next_agent";
    let Some(mut meter) = open(test, &PINNED, &[Figure::Life, Figure::Pins]) else { return };
    let container = meter.container("noisy");
    meter.bpf = Bpf::none();
    let forks = 3_000_u64;
    container.sh(&format!("i=0; while [ $i -lt {forks} ]; do (:); i=$((i+1)); done")).end();
    restart(&mut meter);
    let life = meter.bpf.read(container.id).unwrap().unwrap().life.unwrap();
    assert_eq!((life.forks, life.exits), (forks + 1, forks + 1), "counters lose nothing");
    assert!(life.events_lost > 0, "{forks} processes fit into the ring; start more");
    let mut events = meter.bpf.take_events().unwrap();
    let mut drained = 0;
    events.drain(|_| drained += 1);
    assert_eq!(drained + life.events_lost, 2 * (forks + 1) + 1, "a fork and an exit each, and one exec");
    container.sh("exit 5").end();
    let start = std::time::Instant::now();
    let mut codes = Vec::new();
    while !codes.contains(&Some(5)) {
        events.drain(|event| codes.push(event.exit_code()));
        assert!(start.elapsed() < DEADLINE, "what came after the overrun is not reported: {codes:?}");
    }
    assert_eq!(events.malformed_count, 0);
    meter.bpf.unpin();
}

/// Sockets' counters belong to the directory, their programs to its pins: both go on.
#[test]
fn bytes_are_counted_on_while_no_agent_runs() {
    let test = "bytes_are_counted_on_while_no_agent_runs";
    let Some(mut meter) = open(test, &PINNED, &[Figure::Network, Figure::Pins]) else { return };
    let container = meter.container("talking");
    let talk = || _ = container.workload("flood 1 500 100").end();
    talk();
    meter.bpf = Bpf::none();
    talk();
    restart(&mut meter);
    meter.bpf.add_container(container.id, &container.path).unwrap();
    talk();
    let net = meter.bpf.remove_container(container.id).unwrap().unwrap().network.unwrap();
    let expect = Packets { packets: 1_500, bytes: 1_500 * (100 + 28) };
    assert_eq!((net.tx.all(), net.rx.all()), (expect, expect), "nothing is missing, nothing counts twice");
    meter.bpf.unpin();
}

/// A container that ended while nobody looked: the next agent is told of it, and nothing of it stays when it is removed.
#[test]
fn what_is_gone_is_forgotten() {
    let test = "what_is_gone_is_forgotten";
    let Some(mut meter) = open(test, &PINNED, &[Figure::Network, Figure::Pins]) else { return };
    let (gone, stays) = (meter.container("gone"), meter.container("stays"));
    gone.sh(BURN).end();
    meter.bpf = Bpf::none();
    std::fs::remove_dir(&gone.path).unwrap();
    restart(&mut meter);
    let mut known = meter.bpf.taken_over();
    known.sort_unstable();
    assert_eq!(known, [gone.id, stays.id]);
    assert!(links(&meter, gone.id) > 0, "its programs of sockets were pinned");
    let last = meter.bpf.remove_container(gone.id).unwrap().unwrap();
    assert!(last.cpu.unwrap().exec_ns > 0, "its figures outlived it");
    assert_eq!(meter.bpf.containers(), [stays.id]);
    assert_eq!(links(&meter, gone.id), 0);
    assert!(links(&meter, stays.id) > 0);
    restart(&mut meter);
    assert_eq!(meter.bpf.taken_over(), [stays.id]);
    meter.bpf.unpin();
}

/// How many pins a container has of its own.
fn links(meter: &Meter, id: u64) -> usize {
    let sets = std::fs::read_dir(own(meter)).unwrap().flatten();
    let links = sets.flat_map(|set| std::fs::read_dir(set.path().join("links"))).flatten().flatten();
    links.filter(|it| it.file_name().to_string_lossy().starts_with(&format!("{id}-"))).count()
}

/// What the verifier refused stays named, though the next agent asks it nothing.
#[test]
fn a_refusal_is_known_to_the_next_agent() {
    let test = "a_refusal_is_known_to_the_next_agent";
    let options = Options { wrong_fields: &[(agent_ebpf::field::MM_RSS_STAT, 0x7fff_fff1)], ..PINNED };
    let Some(mut meter) = open(test, &options, &[Figure::Network, Figure::Pins]) else { return };
    meter.container("kept");
    meter.bpf = Bpf::none();
    let (bpf, support) = Bpf::open_with(&meter.root, &options);
    meter.bpf = bpf;
    assert_eq!(meter.bpf.taken_over().len(), 1);
    let reason = support.missing(Figure::Memory).unwrap().to_string();
    assert!(reason.contains("was refused by the kernel"), "{reason}");
    assert!(support.has(Figure::Network), "{support}");
    meter.bpf.unpin();
}

/// Killed between the making of a container and its registration: there is a directory that nobody counts. And killed
/// after the registration but before it wrote anything down: there is a count that nobody knows.
#[test]
fn what_an_agent_left_half_done_is_found() {
    let test = "what_an_agent_left_half_done_is_found";
    let Some(mut meter) = open(test, &PINNED, &[Figure::Cpu, Figure::Pins]) else { return };
    let unregistered = crate::metered::Cgroup::make(meter.root.join("unregistered"));
    let unknown = meter.container("unknown");
    restart(&mut meter);
    assert_eq!(meter.bpf.taken_over(), [unknown.id]);
    assert_eq!(meter.bpf.read(unregistered.id).unwrap(), None);
    meter.bpf.add_container(unregistered.id, &unregistered.path).unwrap();
    unregistered.sh(BURN).end();
    let counted = meter.bpf.remove_container(unregistered.id).unwrap().unwrap().cpu.unwrap().exec_ns;
    let kernel = unregistered.cpu_stat_ns("usage_usec");
    assert!(counted.abs_diff(kernel) <= kernel / 1000 + 1_000, "{counted} counted, {kernel} by cpu.stat");
    meter.bpf.remove_container(unknown.id).unwrap();
    assert_eq!(meter.bpf.containers(), [0; 0]);
    meter.bpf.unpin();
}

/// Pins of an agent whose cgroup is gone, and a set that was never finished, go when the next agent starts.
#[test]
fn stale_pins_are_swept() {
    let test = "stale_pins_are_swept";
    let Some(mut meter) = open(test, &PINNED, &[Figure::Pins]) else { return };
    let stale = own(&meter);
    meter.bpf = Bpf::none();
    assert!(stale.is_dir(), "pins outlive the agent");
    drop(meter);
    let Some(mut meter) = open(test, &PINNED, &[Figure::Pins]) else { return };
    assert!(!stale.exists(), "the cgroup is gone, its pins are not");
    let unfinished = own(&meter).join("0123456789abcdef-new");
    std::fs::create_dir(&unfinished).unwrap();
    restart(&mut meter);
    assert!(!unfinished.exists());
    meter.bpf.unpin();
}

/// A set that lacks something is not taken over: everything is loaded anew, and the old goes.
#[test]
fn a_set_that_is_not_whole_is_replaced() {
    let test = "a_set_that_is_not_whole_is_replaced";
    let Some(mut meter) = open(test, &PINNED, &[Figure::Cpu, Figure::Pins]) else { return };
    let sets: Vec<_> = std::fs::read_dir(own(&meter)).unwrap().flatten().map(|it| it.path()).collect();
    let set = sets.iter().find(|path| path.join("links").is_dir()).unwrap();
    std::fs::remove_file(set.join("links/switch")).unwrap();
    restart(&mut meter);
    assert_eq!(meter.bpf.taken_over(), [0; 0]);
    let container = meter.container("anew");
    container.sh(BURN).end();
    let counted = meter.bpf.remove_container(container.id).unwrap().unwrap().cpu.unwrap().exec_ns;
    let kernel = container.cpu_stat_ns("usage_usec");
    assert!(counted.abs_diff(kernel) <= kernel / 1000 + 1_000, "{counted} counted, {kernel} by cpu.stat");
    meter.bpf.unpin();
}
