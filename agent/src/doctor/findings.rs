//! From what was seen to what it means, and the one command that would change it. Decides; looks at nothing.

use super::machine::Machine;
use crate::accounting::losses::Loss;
use crate::bpf::{self, Reason, Support};
use crate::cgroup::knobs::Controller;
use crate::cgroup::{Enforced, Enforcement, mounts};
use api::doctor::{Area, By, Finding, Report, State};
use model::usage::{Group, Source};

/// Debian's way to a kernel parameter; others have theirs.
macro_rules! boot_with {
    ($parameters:literal) => {
        concat!(
            "echo 'GRUB_CMDLINE_LINUX=\"$GRUB_CMDLINE_LINUX ",
            $parameters,
            "\"' > /etc/default/grub.d/ingot.cfg && update-grub && reboot"
        )
    };
}

const UNIFY: &str = boot_with!("systemd.unified_cgroup_hierarchy=1 cgroup_no_v1=all");
const AS_ROOT: &str = "sudo ingot-agent ...";

/// The report. `support` and `enforcement`: what came of trying.
pub fn report(machine: &Machine, support: &Support, enforcement: &Enforcement, by: By) -> Report {
    let mut findings = of_machine(machine);
    findings.extend(Group::ALL.into_iter().map(|group| measured(group, machine, support, enforcement)));
    // What a group of figures has beside its figures.
    let is_group = |name: &str| Group::ALL.iter().any(|group| group.as_str() == name);
    // Who only tries pins nothing; whether it could be is what the mount of bpffs says.
    let is_tried = |name: &str| by == By::Agent || name != "pins";
    let rest =
        support.figures().filter(|(figure, _)| !is_group(figure.as_str()) && is_tried(figure.as_str()));
    findings.extend(rest.map(|(figure, reason)| finer(figure.as_str(), reason)));
    findings.extend(Controller::ALL.map(|controller| held(controller, enforcement)));
    let host = format!("{}, Linux {}", machine.hostname, machine.kernel);
    Report { host, by, findings }
}

/// What accounting has missed so far; nothing of what it has not.
pub fn lost(losses: &[(Loss, u64)]) -> Vec<Finding> {
    let told = losses.iter().filter(|(_, count)| *count > 0).map(|(loss, count)| {
        let says = format!("{count} {}", loss.says());
        finding(Area::Measure, loss.as_str(), State::Less, says, loss.remedy())
    });
    told.collect()
}

fn finding(area: Area, name: &str, state: State, says: impl Into<String>, remedy: Option<&str>) -> Finding {
    Finding { area, name: name.to_owned(), state, says: says.into(), remedy: remedy.map(str::to_owned) }
}

fn of_machine(machine: &Machine) -> Vec<Finding> {
    let about = |name, state, says: &str, remedy| finding(Area::Machine, name, state, says, remedy);
    let lacking = bpf::capabilities_lacking(&machine.status);
    vec![
        if machine.has_btf {
            about("btf", State::Ok, "the kernel says how its structs are laid out", None)
        } else {
            let says = "no /sys/kernel/btf/vmlinux: this kernel has no CONFIG_DEBUG_INFO_BTF";
            about("btf", State::Missing, says, Some("apt-get install linux-image-amd64 && reboot"))
        },
        if lacking.is_empty() {
            about("capabilities", State::Ok, "all that BPF asks for", None)
        } else {
            let says = format!("this process lacks {}", lacking.join(", "));
            about("capabilities", State::Missing, &says, Some(AS_ROOT))
        },
        cgroups(machine),
        mounted(
            machine,
            "bpffs",
            "bpf",
            ["figures go on counting while the agent restarts", "an agent that may mounts one of its own"],
            "mount -t bpf bpf /sys/fs/bpf",
        ),
        mounted(
            machine,
            "tracefs",
            "tracefs",
            ["classic tracepoints can be used", "classic tracepoints need it"],
            "mount -t tracefs tracefs /sys/kernel/tracing",
        ),
        match &machine.no_io_uring {
            None => about("io_uring", State::Ok, "can be used", None),
            Some(why) => {
                let says = format!("the agent cannot start without it: {why}");
                about("io_uring", State::Missing, &says, Some("sysctl -w kernel.io_uring_disabled=0"))
            }
        },
        overlayfs(machine),
        if machine.has_pressure {
            about("psi", State::Ok, "the kernel keeps pressure stall information", None)
        } else {
            about(
                "psi",
                State::Missing,
                "the kernel keeps no pressure stall information",
                Some(boot_with!("psi=1")),
            )
        },
        swap(machine),
        namespaces(machine),
        if machine.status.contains("\nSeccomp:") {
            about("seccomp", State::Ok, "the kernel filters system calls", None)
        } else {
            let says = "this kernel has no CONFIG_SECCOMP_FILTER: no linux/seccomp";
            about("seccomp", State::Missing, says, Some("apt-get install linux-image-amd64 && reboot"))
        },
    ]
}

/// Whether containers can have mounts and namespaces of their own: mount_setattr(2) is of 5.12.
fn namespaces(machine: &Machine) -> Finding {
    const SYS_ADMIN: u32 = 21;
    let about = |state, says, remedy| finding(Area::Machine, "isolation", state, says, remedy);
    let set = machine.status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let set = set.and_then(|set| u64::from_str_radix(set.trim(), 16).ok()).unwrap_or_default();
    let mut numbers =
        machine.kernel.split(|it: char| !it.is_ascii_digit()).map_while(|it| it.parse::<u32>().ok());
    let version = numbers.next().zip(numbers.next());
    if version.is_some_and(|version| version < (5, 12)) {
        let says = "volumes, roots and PID namespaces want Linux 5.12";
        return about(State::Missing, says, Some("apt-get install linux-image-amd64 && reboot"));
    }
    if set >> SYS_ADMIN & 1 == 0 {
        let says = "rlimits and system call filters only; the rest wants root";
        return about(State::Less, says, Some(AS_ROOT));
    }
    about(State::Ok, "namespaces, volumes, roots and capabilities", None)
}

/// A file system that must be mounted somewhere.
fn mounted(machine: &Machine, name: &str, kind: &str, [good, bad]: [&str; 2], remedy: &str) -> Finding {
    let place = machine.mounts.lines().find_map(|line| {
        let (head, tail) = line.split_once(" - ")?;
        tail.starts_with(&format!("{kind} ")).then(|| head.split(' ').nth(4))?
    });
    match place {
        Some(place) => finding(Area::Machine, name, State::Ok, format!("at {place}: {good}"), None),
        None => finding(Area::Machine, name, State::Less, format!("not mounted; {bad}"), Some(remedy)),
    }
}

fn cgroups(machine: &Machine) -> Finding {
    let all = mounts::mounts(&machine.mounts);
    let Some(two) = mounts::cgroup2(&all) else {
        let says = "no cgroup2 file system is mounted: containers are sessions of processes only";
        let remedy = "mount -t cgroup2 cgroup2 /sys/fs/cgroup";
        return finding(Area::Machine, "cgroups", State::Missing, says, Some(remedy));
    };
    let held: Vec<&str> = ["cpu", "memory", "io", "pids"]
        .into_iter()
        .filter(|name| mounts::v1_point(&all, if *name == "io" { "blkio" } else { name }).is_some())
        .collect();
    let point = two.point.display();
    if held.is_empty() {
        let controllers = machine.controllers.trim().replace(' ', ", ");
        let says = format!("unified, at {point}, with {controllers}");
        return finding(Area::Machine, "cgroups", State::Ok, says, None);
    }
    let says = format!("hybrid: cgroup2 at {point}, but v1 mounts hold {}", held.join(", "));
    finding(Area::Machine, "cgroups", State::Less, says, Some(UNIFY))
}

fn overlayfs(machine: &Machine) -> Finding {
    let about = |state, says, remedy| finding(Area::Machine, "overlayfs", state, says, remedy);
    if machine.filesystems.lines().any(|line| line.ends_with("\toverlay")) {
        about(State::Ok, "containers can run on images", None)
    } else {
        about(
            State::Less,
            "not in the kernel (yet): no container can run on an image",
            Some("modprobe overlay"),
        )
    }
}

fn swap(machine: &Machine) -> Finding {
    let about = |state, says, remedy| finding(Area::Machine, "swap accounting", state, says, remedy);
    let has_swap = machine.swaps.lines().count() > 1;
    match (machine.has_swap_accounting, has_swap) {
        (_, false) => about(State::Ok, "not needed: there is no swap", None),
        (Some(true), true) => about(State::Ok, "swap counts for the container that caused it", None),
        (Some(false), true) => {
            about(State::Missing, "switched off (swapaccount=0)", Some(boot_with!("swapaccount=1")))
        }
        (None, true) => about(State::Less, "nothing to tell by: no group has the memory controller", None),
    }
}

/// Where a group's figures come from as long as nothing fails: the order is that of `accounting::combine`.
pub fn source(group: Group, machine: &Machine, support: &Support, enforcement: &Enforcement) -> Source {
    let has_cgroups = mounts::cgroup2(&mounts::mounts(&machine.mounts)).is_some();
    let has = |controller: &str| machine.controllers.split_whitespace().any(|it| it == controller);
    let by_bpf = by_bpf(group, support).is_some_and(|reason| reason.is_none());
    match group {
        // What limits are held against.
        Group::Memory if enforcement.memory.is_yes() => Source::Cgroup,
        Group::Pressure if has_cgroups && machine.has_pressure => Source::Cgroup,
        _ if by_bpf => Source::Bpf,
        Group::Cpu if has_cgroups => Source::Cgroup,
        Group::Faults if enforcement.memory.is_yes() => Source::Cgroup,
        Group::Io if has("io") => Source::Cgroup,
        Group::Cpu | Group::Memory | Group::Life => Source::Proc,
        Group::RunQueue | Group::Faults | Group::Pressure | Group::Network | Group::Tcp | Group::Io => {
            Source::None
        }
    }
}

/// `None` where no program counts the group at all; else why it does not here, if it does not.
fn by_bpf(group: Group, support: &Support) -> Option<Option<&Reason>> {
    // Page faults are read off a thread where its CPU time is.
    let name = if group == Group::Faults { Group::Cpu } else { group }.as_str();
    support.figures().find(|(figure, _)| figure.as_str() == name).map(|(_, reason)| reason)
}

fn measured(group: Group, machine: &Machine, support: &Support, enforcement: &Enforcement) -> Finding {
    let of = |state, says: &str, remedy| finding(Area::Measure, group.as_str(), state, says, remedy);
    let how = match (source(group, machine, support, enforcement), group) {
        (Source::Bpf, _) => return of(State::Ok, "by BPF programs in the kernel", None),
        (Source::Cgroup, Group::Memory) => {
            return of(State::Ok, "by the memory controller, as limits are", None);
        }
        (Source::Cgroup, Group::Pressure) => return of(State::Ok, "by each container's cgroup", None),
        (Source::None, Group::Pressure) => {
            return of(State::Missing, "no pressure stall information", Some(boot_with!("psi=1")));
        }
        (Source::Cgroup, Group::Cpu) => Some("by cpu.stat; not the switches"),
        (Source::Cgroup, Group::Io) => Some("by io.stat; no latencies"),
        (Source::Cgroup, _) => Some("by cgroup files"),
        (Source::Proc, Group::Life) => Some("by /proc; no forks and exits"),
        (Source::Proc, _) => Some("by /proc; short-lived processes are missing"),
        (Source::None, _) => None,
    };
    let reason = by_bpf(group, support).flatten();
    let why = reason.map_or_else(|| "no BPF program counts it".to_owned(), ToString::to_string);
    match how {
        Some(how) => of(State::Less, &format!("{how}. Not by BPF: {why}"), reason.and_then(Reason::remedy)),
        None => of(State::Missing, &why, reason.and_then(Reason::remedy)),
    }
}

/// What makes figures exact, or goes beyond them.
fn finer(name: &str, reason: Option<&Reason>) -> Finding {
    match reason {
        None => finding(Area::Measure, name, State::Ok, "by BPF programs in the kernel", None),
        Some(why) => finding(Area::Measure, name, State::Less, why.to_string(), why.remedy()),
    }
}

fn held(controller: Controller, enforcement: &Enforcement) -> Finding {
    let what = match controller {
        Controller::Cpu => "their share of CPUs, and a limit where asked for",
        Controller::Memory => "their memory",
        Controller::Pids => "a number of processes, where asked for",
        Controller::Io => "their share of block I/O where weights count, and limits where asked for",
        Controller::Cpuset => "the CPUs and memory nodes that are set aside for them",
        Controller::Hugetlb => "an amount of huge pages, where asked for",
        Controller::Devices => "the devices that they may use, by a BPF program",
        Controller::Egress => "a speed of what they send, where asked for, by a BPF program",
    };
    match enforcement.of(controller) {
        Enforced::Yes => finding(Area::Enforce, controller.as_str(), State::Ok, what, None),
        Enforced::No { reason } => {
            let remedy = Some(remedy_of_limits(reason));
            let is_missed = Controller::OF_EACH.contains(&controller) || controller == Controller::Devices;
            let state = if is_missed { State::Missing } else { State::Less };
            finding(Area::Enforce, controller.as_str(), state, reason, remedy)
        }
    }
}

/// What an operator can do about a limit that is not enforced for that reason.
pub fn remedy_of_limits(reason: &str) -> &'static str {
    if reason.contains("cgroup v1") { UNIFY } else { AS_ROOT }
}
