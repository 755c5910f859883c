//! An agent with other programs comes after another: what those counted goes on where the records are the same, and is said
//! to begin anew where they are not. Another object is had by another option.

use std::path::PathBuf;

use agent::accounting::kernel::{KernelSample, Packets};
use agent::bpf::{Figure, Options};

use crate::faults::{BURN, open};
use crate::faults_pins::{PINNED, own, restart_with};
use crate::metered::{Cgroup, Meter};

const OTHER: Options<'_> = Options { containers_max: Some(64), ..PINNED };
const FIGURES: [Figure; 5] = [Figure::Cpu, Figure::RunQueue, Figure::Network, Figure::Life, Figure::Pins];

/// The sets that lie there.
fn sets(meter: &Meter) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(own(meter)).unwrap().flatten();
    entries.map(|it| it.path()).filter(|path| path.join("maps").is_dir()).collect()
}

fn read(meter: &mut Meter, container: &Cgroup) -> KernelSample {
    meter.bpf.refresh().unwrap();
    meter.bpf.read(container.id).unwrap().expect("it is counted")
}

/// Every counter of a reading, with its name.
fn counters(sample: &KernelSample) -> Vec<(&'static str, u64)> {
    let (cpu, life) = (sample.cpu.unwrap(), sample.life.unwrap());
    let (waits, net) = (sample.run_queue.as_ref().unwrap(), sample.network.unwrap());
    let taken = waits.taken.iter().map(|it| it.waited_ns).sum();
    vec![
        ("exec_ns", cpu.exec_ns),
        ("user_ns", cpu.user_ns),
        ("system_ns", cpu.system_ns),
        ("voluntary", cpu.voluntary),
        ("involuntary", cpu.involuntary),
        ("faults_minor", cpu.faults_minor),
        ("waits", waits.latency.count()),
        ("waited_ns", waits.latency.sum_ns),
        ("taken", taken),
        ("forks", life.forks),
        ("exits", life.exits),
        ("execs", life.execs),
        ("sent", net.tx.all().bytes),
        ("received", net.rx.all().packets),
        ("peak", sample.memory.map_or(0, |it| it.peak_bytes)),
    ]
}

/// Up and down between two objects, under a container that does a little of everything, all the time.
#[test]
fn no_counter_steps_back_under_other_programs() {
    let test = "no_counter_steps_back_under_other_programs";
    let Some(mut meter) = open(test, &PINNED, &FIGURES) else { return };
    let container = meter.container("busy");
    let mut inmate =
        container.sh("echo on; while :; do (:); i=0; while [ $i -lt 500 ]; do i=$((i+1)); done; done");
    inmate.heard("on");
    container.workload("flood 1 200 100").end();
    let mut before = counters(&read(&mut meter, &container));
    for options in [&OTHER, &PINNED] {
        restart_with(&mut meter, options);
        assert_eq!(meter.bpf.taken_over(), [container.id]);
        assert_eq!(meter.bpf.losses().counted_anew, 0);
        assert_eq!(sets(&meter).len(), 1, "the older set is gone");
        meter.bpf.add_container(container.id, &container.path).unwrap();
        container.workload("flood 1 200 100").end();
        let after = counters(&read(&mut meter, &container));
        for ((name, was), (_, is)) in before.iter().zip(&after) {
            assert!(is >= was, "{name}: {is} after {was}");
        }
        for name in ["exec_ns", "forks", "involuntary", "sent"] {
            let of = |all: &[(&str, u64)]| all.iter().find(|(it, _)| *it == name).unwrap().1;
            assert!(of(&after) > of(&before), "{name} stands still at {}", of(&after));
        }
        before = after;
    }
    inmate.kill();
    let last = meter.bpf.remove_container(container.id).unwrap().unwrap();
    let expect = Packets { packets: 600, bytes: 600 * (100 + 28) };
    assert_eq!(last.network.unwrap().tx.all(), expect, "nothing was sent while the programs changed");
    let (counted, kernel) = (last.cpu.unwrap().exec_ns, container.cpu_stat_ns("usage_usec"));
    println!("{counted} ns counted over two changes, {kernel} by cpu.stat");
    assert!(counted <= kernel + kernel / 1_000 + 1_000, "{counted} counted twice, {kernel} by cpu.stat");
    // The moments of the changes: what ran until the new programs followed it.
    assert!(counted + 2 * CHANGE_MAX_NS >= kernel, "{counted} counted, {kernel} by cpu.stat");
    meter.bpf.unpin();
}

/// Most of a container's CPU time that one change may lose: it is some milliseconds where nobody else wants the CPUs.
const CHANGE_MAX_NS: u64 = 100_000_000;

/// A set of an agent whose records mean something else: nothing of it is believed, and that is said.
#[test]
fn what_is_not_understood_is_lost_and_counted() {
    let test = "what_is_not_understood_is_lost_and_counted";
    let Some(mut meter) = open(test, &PINNED, &FIGURES) else { return };
    let container = meter.container("old");
    container.sh(BURN).end();
    let note = sets(&meter)[0].join("layouts/CONTAINERS");
    std::fs::remove_file(&note).unwrap();
    std::os::unix::fs::symlink("0123456789abcdef", &note).unwrap();
    restart_with(&mut meter, &OTHER);
    assert_eq!(meter.bpf.taken_over(), [0; 0]);
    assert_eq!(meter.bpf.losses().counted_anew, 1);
    assert_eq!(sets(&meter).len(), 1, "the older set is gone all the same");
    meter.bpf.add_container(container.id, &container.path).unwrap();
    assert_eq!(read(&mut meter, &container).cpu.unwrap().exec_ns, 0);
    // The next one with these programs has nothing to lose.
    restart_with(&mut meter, &OTHER);
    assert_eq!((meter.bpf.taken_over(), meter.bpf.losses().counted_anew), (vec![container.id], 0));
    meter.bpf.unpin();
}

/// A set that lacks a program is not taken over, but its counts are.
#[test]
fn the_counts_of_a_set_that_is_not_whole_go_on() {
    let test = "the_counts_of_a_set_that_is_not_whole_go_on";
    let Some(mut meter) = open(test, &PINNED, &FIGURES) else { return };
    let container = meter.container("kept");
    container.sh(BURN).end();
    let before = counters(&read(&mut meter, &container));
    std::fs::remove_file(sets(&meter)[0].join("programs/oom")).unwrap();
    restart_with(&mut meter, &PINNED);
    assert_eq!(meter.bpf.taken_over(), [container.id]);
    assert_eq!(counters(&read(&mut meter, &container)), before, "it has ended: nothing more, nothing less");
    meter.bpf.unpin();
}
