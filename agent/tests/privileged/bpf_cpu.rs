//! On-CPU time, switches and page faults, held against the kernel's own `cpu.stat` and /proc.

use agent::bpf::Figure;

use crate::metered::{Cgroup, Meter};
use crate::scene::until;

/// The bar: a thousandth of the kernel's figure, which itself is cut to whole microseconds.
fn assert_same(counted_ns: u64, kernel_ns: u64, what: &str) {
    let difference = counted_ns.abs_diff(kernel_ns);
    println!("{what}: counted {counted_ns} ns, cpu.stat {kernel_ns} ns, {difference} apart");
    assert!(
        difference <= kernel_ns / 1000 + 1_000,
        "{what}: {counted_ns} ns counted, {kernel_ns} ns in cpu.stat"
    );
}

/// Two seconds of each, at once, so that they take the CPU from each other. (The bar speaks of ten; the method's error
/// does not grow with time, so a shorter run is the harder one.)
#[test]
fn cpu_time_is_the_kernels_own() {
    let Some(mut meter) = Meter::open("cpu_time_is_the_kernels_own", &[Figure::Cpu]) else { return };
    let mixes = [("busy", "busy 3 2000"), ("sleeping", "duty 2000"), ("forking", "forks 400")];
    let running: Vec<_> = mixes
        .map(|(name, what)| {
            let container = meter.container(name);
            let inmate = container.workload(what);
            (name, container, inmate)
        })
        .into_iter()
        .collect();
    for (name, container, inmate) in running {
        inmate.end();
        let sample = meter.bpf.remove_container(container.id).unwrap().unwrap();
        let cpu = sample.cpu.unwrap();
        assert_eq!(cpu.unfollowed, 0, "{name}");
        assert_same(cpu.exec_ns, container.cpu_stat_ns("usage_usec"), name);
        let switches = cpu.voluntary + cpu.involuntary;
        assert!(switches > 0, "{name}");
        if name == "sleeping" {
            // One a millisecond if nobody else wants the CPU; few where much does.
            assert!(cpu.voluntary > 20, "{} sleeps counted", cpu.voluntary);
        }
    }
}

/// Nobody takes the CPU from a single busy thread, so without a refresh it would not be seen until its end.
#[test]
fn a_thread_that_runs_is_counted_while_it_runs() {
    let figures = [Figure::Cpu, Figure::CpuRunning];
    let Some(mut meter) = Meter::open("a_thread_that_runs_is_counted_while_it_runs", &figures) else {
        return;
    };
    let container = meter.container("busy");
    let mut inmate = container.workload("spin");
    inmate.heard("spinning");
    // A tick is at most 10 ms long, and there is one busy thread.
    let tick_ns = 10_000_000;
    let mut seen = 0;
    while seen < 300_000_000 {
        let before = container.cpu_stat_ns("usage_usec");
        meter.bpf.refresh().unwrap();
        let counted = meter.bpf.read(container.id).unwrap().unwrap().cpu.unwrap().exec_ns;
        let after = container.cpu_stat_ns("usage_usec");
        assert!(counted + tick_ns >= before, "{counted} counted, {before} in cpu.stat before");
        assert!(counted <= after + tick_ns, "{counted} counted, {after} in cpu.stat after");
        assert!(counted >= seen, "it stepped back from {seen} to {counted}");
        seen = counted;
    }
    inmate.kill();
}

/// User and kernel time are sampled at ticks by both sides; they agree to a tick or two.
#[test]
fn the_split_is_the_kernels_own() {
    let Some(mut meter) = Meter::open("the_split_is_the_kernels_own", &[Figure::Cpu]) else { return };
    let container = meter.container("split");
    container.workload("split 700").end();
    let sample = meter.bpf.remove_container(container.id).unwrap().unwrap();
    let usage = agent::accounting::combine::combine(&Default::default(), Some(&sample), &Default::default());
    let (user, system) = (container.cpu_stat_ns("user_usec"), container.cpu_stat_ns("system_usec"));
    println!("counted {} + {}, cpu.stat {user} + {system}", usage.cpu_user_ns, usage.cpu_system_ns);
    assert!(user > 50_000_000 && system > 50_000_000, "the workload does not do both: {user} {system}");
    assert!(usage.cpu_system_ns.abs_diff(system) <= 20_000_000, "{} of {system}", usage.cpu_system_ns);
    assert!(usage.cpu_user_ns.abs_diff(user) <= 20_000_000, "{} of {user}", usage.cpu_user_ns);
}

/// A process that waits has been switched out, so that everything is counted: to the fault what the kernel says of it.
#[test]
fn page_faults_are_the_kernels_own() {
    let Some(mut meter) = Meter::open("page_faults_are_the_kernels_own", &[Figure::Cpu]) else { return };
    let container = meter.container("faults");
    let mut inmate = container.workload("memory 16");
    let mut before = 0;
    for step in ["start", "grown"] {
        assert_eq!(inmate.heard("at "), step);
        // It says so before it waits.
        until("every fault is counted", || {
            let cpu = meter.bpf.read(container.id).unwrap().unwrap().cpu.unwrap();
            let kernel = stat_numbers(inmate.pid());
            (cpu.faults_minor, cpu.faults_major) == (kernel[MIN_FLT], kernel[MAJ_FLT])
        });
        let counted = meter.bpf.read(container.id).unwrap().unwrap().cpu.unwrap().faults_minor;
        println!("{step}: {counted} faults");
        assert!(counted > before);
        before = counted;
        inmate.go_on();
    }
    inmate.kill();
}

/// Where these stand among the numbers of /proc/PID/stat behind the process's name and state (proc_pid_stat(5)).
const MIN_FLT: usize = 6;
const MAJ_FLT: usize = 8;

fn stat_numbers(pid: u32) -> Vec<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, rest) = text.rsplit_once(')').unwrap();
    rest.split_whitespace().skip(1).map(|it| it.parse().unwrap_or(0)).collect()
}

/// Cgroups that a task makes inside its container count for the container; neighbours do not.
#[test]
fn nested_cgroups_count_for_the_container() {
    let Some(mut meter) = Meter::open("nested_cgroups_count_for_the_container", &[Figure::Cpu]) else {
        return;
    };
    let container = meter.container("outer");
    let stranger = Cgroup::make(meter.root.join("stranger"));
    let deep = container.nested("one").nested("two");
    // Deeper than the programs walk by loads (task.rs, NESTED_MAX).
    let deepest = deep.nested("three").nested("four").nested("five").nested("six");
    let running = [&deep, &deepest, &stranger].map(|it| it.workload("busy 1 300"));
    for inmate in running {
        inmate.end();
    }
    assert_eq!(meter.bpf.read(deep.id).unwrap(), None);
    assert_eq!(meter.bpf.read(stranger.id).unwrap(), None);
    let sample = meter.bpf.remove_container(container.id).unwrap().unwrap();
    assert_same(sample.cpu.unwrap().exec_ns, container.cpu_stat_ns("usage_usec"), "outer");
    assert!(sample.cpu.unwrap().exec_ns > 50_000_000);
}

/// The kernel makes io_uring's workers without telling of a fork; what they do is the container's all the same, whether
/// they are found while they live or only as they die.
#[test]
fn workers_of_io_uring_count_for_the_container() {
    let Some(mut meter) = Meter::open("workers_of_io_uring_count_for_the_container", &[Figure::Cpu]) else {
        return;
    };
    for (name, looks) in [("unseen", 0), ("seen", 3)] {
        let container = meter.container(name);
        let mut inmate = container.workload("ring 8000");
        inmate.heard("read");
        let before = container.cpu_stat_ns("usage_usec");
        for _ in 0..looks {
            meter.bpf.refresh().unwrap();
        }
        inmate.go_on();
        inmate.end();
        let sample = meter.bpf.remove_container(container.id).unwrap().unwrap();
        assert!(before > 50_000_000, "{before} ns are no work");
        assert_same(sample.cpu.unwrap().exec_ns, container.cpu_stat_ns("usage_usec"), name);
    }
}

/// A process that is moved in brings none of its past with it, and none of what it does after it has left.
#[test]
fn a_process_that_moves_counts_where_it_is() {
    let Some(mut meter) = Meter::open("a_process_that_moves_counts_where_it_is", &[Figure::Cpu]) else {
        return;
    };
    let container = meter.container("stay");
    let outside = Cgroup::make(meter.root.join("outside"));
    let burn = "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done";
    let script = format!(
        "{burn}; echo 0 > {stay}/cgroup.procs; {burn}; echo 0 > {out}/cgroup.procs; {burn}",
        stay = container.path.display(),
        out = outside.path.display()
    );
    outside.sh(&script).end();
    let sample = meter.bpf.remove_container(container.id).unwrap().unwrap();
    let (counted, kernel) = (sample.cpu.unwrap().exec_ns, container.cpu_stat_ns("usage_usec"));
    println!("counted {counted}, cpu.stat {kernel}");
    // The kernel charges the slice in which it moves to where it is at the slice's end.
    assert!(kernel > 20_000_000);
    assert!(counted.abs_diff(kernel) <= 10_000_000, "{counted} ns counted, {kernel} ns in cpu.stat");
}

/// Inside a cgroup namespace paths do not tell the depth that the programs need.
#[test]
fn a_cgroup_namespace_hides_nothing() {
    let Some(meter) = Meter::open("a_cgroup_namespace_hides_nothing", &[Figure::Cpu]) else { return };
    let agent = Cgroup::make(meter.root.join("agent"));
    let containers = Cgroup::make(meter.root.join("containers"));
    let mut inmate = agent.workload(&format!("namespace {}", containers.path.display()));
    let said = inmate.heard("cpu ");
    let (counted, kernel) = said.split_once(" of ").unwrap();
    assert_same(counted.parse().unwrap(), kernel.parse().unwrap(), "in the namespace");
    inmate.end();
}
