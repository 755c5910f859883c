//! Resident memory, held against what /proc says of the same processes.

use agent::bpf::{Bpf, Figure, Options};

use crate::metered::Meter;

const MIB: u64 = 1 << 20;

/// The bar: 1 % or 1 MiB.
fn assert_near(counted: u64, kernel: u64, what: &str) {
    let difference = counted.abs_diff(kernel);
    println!(
        "{what}: counted {} KiB, /proc {} KiB, {} KiB apart",
        counted >> 10,
        kernel >> 10,
        difference >> 10
    );
    assert!(difference <= (kernel / 100).max(MIB), "{what}: {counted} bytes counted, {kernel} in /proc");
}

/// What the kernel may hold back on its CPUs: of each of three counters a batch a CPU (`percpu_counter_batch`).
fn unswept_bytes_max(processes: u64) -> u64 {
    let cpus = std::thread::available_parallelism().unwrap().get() as u64;
    processes * 3 * cpus * (2 * cpus).max(32) * 4096
}

#[test]
fn resident_memory_follows_growth_fork_and_unmap() {
    let figures = [Figure::Memory, Figure::MemoryExact];
    let Some(mut meter) = Meter::open("resident_memory_follows_growth_fork_and_unmap", &figures) else {
        return;
    };
    let container = meter.container("grows");
    // Else nobody looks between two sweeps.
    let follows = meter.bpf.costs().iter().any(|it| it.program == "resident");
    let mut inmate = container.workload("memory 64");
    for (step, processes) in [("start", 1), ("grown", 1), ("forked", 2), ("alone", 1), ("shrunk", 1)] {
        assert_eq!(inmate.heard("at "), step);
        let unswept = meter.bpf.read(container.id).unwrap().unwrap().memory.unwrap();
        meter.bpf.refresh().unwrap();
        let memory = meter.bpf.read(container.id).unwrap().unwrap().memory.unwrap();
        let kernel = container.resident_bytes();
        let held_back = unswept.current_bytes.abs_diff(kernel);
        println!("{step}, before the sweep: {} KiB apart", held_back >> 10);
        assert!(
            !follows || held_back <= unswept_bytes_max(processes),
            "{step}: {unswept:?}, {kernel} in /proc"
        );
        assert_near(memory.current_bytes, kernel, step);
        // What other processes of the machine do moves pages of files in and out; a few pages either way.
        assert!(memory.current_bytes.abs_diff(kernel) <= MIB / 4, "{step}: {memory:?}, {kernel} in /proc");
        assert!(memory.peak_bytes >= memory.current_bytes);
        assert_near(memory.anon_bytes, container.status_bytes("RssAnon:"), "anonymous");
        inmate.go_on();
    }
    let peak: u64 = inmate.heard("peak ").parse().unwrap();
    inmate.end();
    let memory = meter.bpf.remove_container(container.id).unwrap().unwrap().memory.unwrap();
    assert_eq!(memory.current_bytes, 0, "everything is given back at the end");
    assert!(peak > 64 * MIB);
    // The peak of the sum is the grown process and its child together: a /bin/cat of some MiB.
    assert!(memory.peak_bytes >= peak, "{} of {peak}", memory.peak_bytes);
    assert!(memory.peak_bytes <= peak + 8 * MIB, "{} of {peak}", memory.peak_bytes);
}

/// What no file is behind, what is shared memory, and the rest, as /proc tells them apart.
#[test]
fn shared_memory_is_told_apart() {
    let figures = [Figure::Memory, Figure::MemoryExact];
    let Some(mut meter) = Meter::open("shared_memory_is_told_apart", &figures) else { return };
    let container = meter.container("shared");
    let mut inmate = container.workload("shared 32");
    inmate.heard("shared");
    meter.bpf.refresh().unwrap();
    let memory = meter.bpf.read(container.id).unwrap().unwrap().memory.unwrap();
    let kernel = ["RssAnon:", "RssShmem:", "RssFile:"].map(|it| container.status_bytes(it));
    let file_bytes = memory.current_bytes - memory.anon_bytes - memory.shmem_bytes;
    for (counted, kernel) in [memory.anon_bytes, memory.shmem_bytes, file_bytes].into_iter().zip(kernel) {
        println!("counted {counted}, /proc {kernel}");
        assert!(counted.abs_diff(kernel) <= MIB / 4, "{memory:?}, {kernel:?} in /proc");
    }
    assert!(memory.shmem_bytes >= 32 * MIB);
    inmate.end();
    let memory = meter.bpf.remove_container(container.id).unwrap().unwrap().memory.unwrap();
    assert_eq!((memory.current_bytes, memory.anon_bytes, memory.shmem_bytes), (0, 0, 0));
}

/// It maps some hundred pages and is gone before anyone could look at it.
#[test]
fn the_shortest_process_has_its_peak() {
    let Some(mut meter) = Meter::open("the_shortest_process_has_its_peak", &[Figure::Memory]) else { return };
    let container = meter.container("short");
    container.spawn("/bin/true", &[], &[]).end();
    let memory = meter.bpf.remove_container(container.id).unwrap().unwrap().memory.unwrap();
    println!("peak of /bin/true: {} KiB", memory.peak_bytes >> 10);
    assert_eq!(memory.current_bytes, 0);
    // The least a dynamically linked program has resident; and far less than the test that it was cloned from.
    assert!((512 << 10..8 * MIB).contains(&memory.peak_bytes), "{memory:?}");
}

/// Nobody looks while it is large, and then it is another program.
#[test]
fn a_peak_that_nobody_saw_outlives_an_exec() {
    let Some(mut meter) = Meter::open("a_peak_that_nobody_saw_outlives_an_exec", &[Figure::Memory]) else {
        return;
    };
    let container = meter.container("exec");
    let grows = "GROWS=text=$(head -c 20000000 /dev/zero | tr '\\0' a); exec /bin/true";
    container
        .spawn("/bin/sh", &["-c", "/bin/sh -c \"$GROWS\"; exit 0"], &["PATH=/usr/bin:/bin", grows])
        .end();
    let memory = meter.bpf.remove_container(container.id).unwrap().unwrap().memory.unwrap();
    println!("peak of a shell with a long text: {} KiB", memory.peak_bytes >> 10);
    assert_eq!(memory.current_bytes, 0);
    assert!((19 * MIB..200 * MIB).contains(&memory.peak_bytes), "{memory:?}");
}

/// Where the memory controller counts, page faults go without us, and nothing else is missed.
#[test]
fn with_the_memory_controller_page_faults_are_left_alone() {
    let name = "with_the_memory_controller_page_faults_are_left_alone";
    let Some(meter) = Meter::open(name, &[Figure::Memory]) else { return };
    let options = Options { memory_controller: true, ..Options::default() };
    let (bpf, support) = Bpf::open_with(&meter.root, &options);
    let loaded: Vec<_> = bpf.costs().into_iter().map(|it| it.program).collect();
    assert!(loaded.contains(&"sweep".to_owned()) && !loaded.contains(&"resident".to_owned()), "{loaded:?}");
    assert!(support.has(Figure::Memory) && support.has(Figure::MemoryExact), "{support}");
}

/// Threads share their memory and fork children; nothing of them may stay behind or count twice.
#[test]
fn a_storm_of_processes_leaves_nothing_behind() {
    let Some(mut meter) = Meter::open("a_storm_of_processes_leaves_nothing_behind", &[Figure::Memory]) else {
        return;
    };
    let container = meter.container("storm");
    let inmates: Vec<_> = (0..4).map(|_| container.workload("forks 100")).collect();
    for inmate in inmates {
        inmate.end();
    }
    let memory = meter.bpf.remove_container(container.id).unwrap().unwrap().memory.unwrap();
    println!("peak of the storm: {} KiB", memory.peak_bytes >> 10);
    assert_eq!(memory.current_bytes, 0);
    assert!(memory.peak_bytes > 4 * MIB);
}
