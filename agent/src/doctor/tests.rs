//! Machines as they come, and what is said of them.

use super::{Machine, lost, report};
use crate::accounting::losses::Loss;
use crate::bpf::{Figure, Reason, Support};
use crate::cgroup::{Enforced, Enforcement};
use api::doctor::{Area, By, Finding, Report, State};

const ROOT: &str = "Name:\tx\nCapEff:\t000001ffffffffff\nSeccomp:\t0\n";
const USER: &str = "Name:\tx\nCapEff:\t0000000000000000\nSeccomp:\t0\n";

/// Debian 12 as it comes.
fn unified() -> Machine {
    Machine {
        hostname: "node".into(),
        kernel: "6.1.0-30-amd64".into(),
        mounts: "25 30 0:23 / /sys rw - sysfs sysfs rw\n\
                 31 25 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n\
                 32 25 0:27 / /sys/fs/bpf rw - bpf bpf rw,mode=700\n\
                 33 25 0:12 / /sys/kernel/tracing rw - tracefs tracefs rw\n"
            .into(),
        status: ROOT.into(),
        controllers: "cpuset cpu io memory hugetlb pids rdma misc\n".into(),
        swaps: "Filename Type Size Used Priority\n".into(),
        filesystems: "nodev\tsysfs\nnodev\toverlay\n\text4\n".into(),
        has_btf: true,
        has_pressure: true,
        has_swap_accounting: Some(true),
        no_io_uring: None,
    }
}

fn hybrid() -> Machine {
    Machine {
        mounts: "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n\
                 32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
                 33 31 0:30 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
                 34 31 0:31 / /sys/fs/cgroup/blkio rw - cgroup cgroup rw,blkio\n\
                 41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
            .into(),
        controllers: "pids\n".into(),
        has_swap_accounting: None,
        ..unified()
    }
}

fn enforced() -> Enforcement {
    Enforcement {
        cpu: Enforced::Yes,
        memory: Enforced::Yes,
        pids: Enforced::Yes,
        io: Enforced::Yes,
        cpuset: Enforced::Yes,
        hugetlb: Enforced::Yes,
        devices: Enforced::Yes,
        egress: Enforced::Yes,
    }
}

fn found<'r>(report: &'r Report, area: Area, name: &str) -> &'r Finding {
    report.findings.iter().find(|it| it.area == area && it.name == name).expect(name)
}

fn state(report: &Report, area: Area, name: &str) -> State {
    found(report, area, name).state
}

#[test]
fn who_can_keep_containers_apart_is_told_from_who_cannot() {
    let told = |machine: &Machine| {
        let report = report(machine, &Support::without(Vec::new()), &enforced(), By::Probe);
        ["isolation", "seccomp"].map(|name| state(&report, Area::Machine, name))
    };
    assert_eq!(told(&unified()), [State::Ok, State::Ok]);
    assert_eq!(told(&Machine { status: USER.into(), ..unified() }), [State::Less, State::Ok]);
    assert_eq!(told(&Machine { kernel: "5.10.0".into(), ..unified() }), [State::Missing, State::Ok]);
    assert_eq!(told(&Machine { status: "CapEff:\tffffffff\n".into(), ..unified() })[1], State::Missing);
}

fn fits(report: &Report) {
    let text = report.to_string();
    // A command is not broken, so that it can be copied.
    let long = text.lines().filter(|line| line.chars().count() > 80 && !line.starts_with("    "));
    assert_eq!(long.count(), 0, "{text}");
}

#[test]
fn a_unified_host_has_everything_that_its_programs_tell() {
    let report = report(&unified(), &Support::without(Vec::new()), &enforced(), By::Probe);
    let machine = report.findings.iter().filter(|it| it.area != Area::Measure);
    machine.for_each(|it| assert_eq!((it.state, &it.remedy), (State::Ok, &None), "{}", it.name));
    let says = &found(&report, Area::Machine, "cgroups").says;
    assert_eq!(says, "unified, at /sys/fs/cgroup, with cpuset, cpu, io, memory, hugetlb, pids, rdma, misc");
    assert_eq!(found(&report, Area::Measure, "memory").says, "by the memory controller, as limits are");
    for name in ["cpu", "faults", "network", "pressure", "life"] {
        assert_eq!(state(&report, Area::Measure, name), State::Ok, "{name}");
    }
    fits(&report);
}

#[test]
fn a_hybrid_host_is_told_which_controllers_are_held_and_how_to_free_them() {
    let held = |at: &str| Enforced::No { reason: format!("cgroup v1 holds the controller at {at}") };
    let enforcement = Enforcement {
        cpu: held("/sys/fs/cgroup/cpu,cpuacct"),
        memory: held("/sys/fs/cgroup/memory"),
        io: held("/sys/fs/cgroup/blkio"),
        ..enforced()
    };
    let report = report(&hybrid(), &Support::without(Vec::new()), &enforcement, By::Probe);
    let layout = found(&report, Area::Machine, "cgroups");
    let says = "hybrid: cgroup2 at /sys/fs/cgroup/unified, but v1 mounts hold cpu, memory, io";
    assert_eq!((layout.state, &*layout.says), (State::Less, says));
    let remedy = layout.remedy.as_deref().expect("a command");
    assert!(remedy.contains("systemd.unified_cgroup_hierarchy=1") && remedy.ends_with("reboot"), "{remedy}");
    let memory = found(&report, Area::Enforce, "memory");
    assert_eq!((memory.state, memory.remedy.as_deref()), (State::Missing, Some(remedy)));
    assert_eq!(state(&report, Area::Enforce, "pids"), State::Ok);
    assert_eq!(state(&report, Area::Enforce, "io"), State::Less, "no container needs it");
    assert_eq!(found(&report, Area::Measure, "memory").says, "by BPF programs in the kernel");
    assert_eq!(
        state(&report, Area::Measure, "pressure"),
        State::Ok,
        "v2 groups have it without a controller"
    );
    assert!(state(&report, Area::Machine, "bpffs") == State::Less);
    assert_eq!(report.to_string().matches(remedy).count(), 1, "each command stands there once");
    fits(&report);
}

#[test]
fn an_ordinary_user_is_told_what_to_run_instead() {
    let machine = Machine { status: USER.into(), ..unified() };
    let support = Support::nothing(Reason::NotPermitted(vec!["CAP_BPF", "CAP_PERFMON", "CAP_NET_ADMIN"]));
    let enforcement = Enforcement::none("/sys/fs/cgroup/cgroup.subtree_control: Permission denied");
    let report = report(&machine, &support, &enforcement, By::Probe);
    let capabilities = found(&report, Area::Machine, "capabilities");
    assert_eq!(capabilities.says, "this process lacks CAP_BPF, CAP_PERFMON, CAP_NET_ADMIN");
    let root = capabilities.remedy.as_deref();
    assert_eq!(root, Some("sudo ingot-agent ..."));
    let cpu = found(&report, Area::Measure, "cpu");
    assert_eq!((cpu.state, cpu.remedy.as_deref()), (State::Less, root));
    assert!(
        cpu.says.starts_with("by cpu.stat; not the switches. Not by BPF: this process lacks"),
        "{}",
        cpu.says
    );
    let network = found(&report, Area::Measure, "network");
    assert_eq!((network.state, network.remedy.as_deref()), (State::Missing, root));
    assert_eq!(state(&report, Area::Enforce, "cpu"), State::Missing);
    fits(&report);
}

#[test]
fn pins_that_cannot_be_made_name_the_command_that_would_change_it() {
    for (message, remedy) in [
        ("no bpffs is mounted", "mount -t bpf bpf /sys/fs/bpf"),
        ("cannot pin /sys/fs/bpf/ingot/7", "ingot-agent --bpf-pins=off ..."),
    ] {
        let reason = std::sync::Arc::new(Reason::NoPins { message: message.into(), remedy });
        let support = Support::without(vec![(Figure::Pins, reason)]);
        let told = report(&unified(), &support, &enforced(), By::Agent);
        let pins = found(&told, Area::Measure, "pins");
        assert_eq!((pins.state, pins.remedy.as_deref()), (State::Less, Some(remedy)));
        assert!(pins.says.contains(message), "{}", pins.says);
        fits(&told);
        let tried = report(&unified(), &support, &enforced(), By::Probe);
        assert!(tried.findings.iter().all(|it| it.name != "pins"), "who only tries pins nothing");
    }
}

#[test]
fn what_was_lost_is_told_with_its_count_and_what_was_not_is_not() {
    let mut told = report(&unified(), &Support::without(Vec::new()), &enforced(), By::Agent);
    told.findings.extend(lost(&[(Loss::ContainerUncounted, 3), (Loss::Event, 0), (Loss::BlockRequest, 2)]));
    let full = found(&told, Area::Measure, "container_not_counted");
    assert_eq!(full.says, "3 containers found no room in the programs' maps: files only");
    assert!(full.remedy.as_deref().expect("a command").contains("--bpf-containers-max"));
    assert!(told.findings.iter().all(|it| it.name != "event"));
    assert_eq!(state(&told, Area::Measure, "block_request"), State::Less);
    assert!(told.to_string().contains("less  container_not_counted 3 containers"), "{told}");
    fits(&told);
}

#[test]
fn what_the_kernel_lacks_is_named_with_its_parameter() {
    let machine = Machine {
        mounts: String::new(),
        has_btf: false,
        filesystems: "nodev\tsysfs\n\text4\n".into(),
        has_pressure: false,
        has_swap_accounting: Some(false),
        swaps: "Filename Type\n/dev/sda2 partition\n".into(),
        no_io_uring: Some("Operation not permitted (os error 1)".into()),
        ..unified()
    };
    let none = Enforcement::none("no cgroup2 file system is mounted");
    let report = report(&machine, &Support::nothing(Reason::NoCgroups), &none, By::Probe);
    let overlayfs = found(&report, Area::Machine, "overlayfs");
    // It may be a module that nobody has wanted yet.
    assert_eq!((overlayfs.state, overlayfs.remedy.as_deref()), (State::Less, Some("modprobe overlay")));
    for (name, part) in [
        ("btf", "linux-image"),
        ("psi", "psi=1"),
        ("swap accounting", "swapaccount=1"),
        ("io_uring", "kernel.io_uring_disabled=0"),
        ("cgroups", "mount -t cgroup2"),
    ] {
        let it = found(&report, Area::Machine, name);
        assert_eq!(it.state, State::Missing, "{name}");
        assert!(it.remedy.as_deref().expect(name).contains(part), "{name}");
    }
    fits(&report);
}
