//! What may go wrong with the programs in the kernel, each once: what is lost is said and counted, and nothing else is
//! harmed. Faults of one agent's life; what outlives it is in `faults_pins.rs`.

use agent::bpf::{Bpf, CountersError, Figure, Options};

use crate::metered::{self, Meter};
use crate::needs::{self, Need};

/// Opens what is measured by options of the test's own. `None` after saying why the test is skipped.
pub(crate) fn open(test: &str, options: &Options<'_>, figures: &[Figure]) -> Option<Meter> {
    if !needs::met(test, &[Need::Root, Need::Btf, Need::Cgroup2]) {
        return None;
    }
    let root = metered::make_root();
    let (bpf, support) = Bpf::open_with(&root, options);
    let meter = Meter { bpf, root };
    match figures.iter().find_map(|figure| support.missing(*figure)) {
        Some(reason) => {
            needs::skip(test, &reason.to_string());
            None
        }
        None => Some(meter),
    }
}

/// Some work for the CPU, over in a moment.
pub(crate) const BURN: &str = "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done";

/// A kernel whose verifier does not take one of the programs: its figures are missing and say why, all others count.
#[test]
fn a_program_that_the_verifier_refuses_costs_its_figures_only() {
    let test = "a_program_that_the_verifier_refuses_costs_its_figures_only";
    if !needs::met(test, &[Need::Root, Need::Btf, Need::Cgroup2]) {
        return;
    }
    // Far behind the end of `struct mm_struct`, and no multiple of anything.
    let options =
        Options { wrong_fields: &[(agent_ebpf::field::MM_RSS_STAT, 0x7fff_fff1)], ..Options::default() };
    let root = metered::make_root();
    let (bpf, support) = Bpf::open_with(&root, &options);
    let mut meter = Meter { bpf, root };
    let reason = support.missing(Figure::Memory).expect("the offset is impossible").to_string();
    assert!(reason.contains("was refused by the kernel"), "{reason}");
    assert!(reason.len() < 400, "the verifier's whole log: {reason}");
    assert!(support.missing(Figure::Network).is_none(), "{support}");
    let container = meter.container("half");
    container.sh(BURN).end();
    meter.bpf.refresh().unwrap();
    let sample = meter.bpf.remove_container(container.id).unwrap().unwrap();
    assert!(sample.memory.is_none(), "a figure whose program is missing is none, not zero");
    assert_eq!(sample.cpu.is_some(), support.has(Figure::Cpu));
    assert!(sample.network.is_some());
}

/// No room for another container: it is refused, said, and counted by the files instead; those that are there go on.
#[test]
fn a_full_map_refuses_the_newcomer_only() {
    let test = "a_full_map_refuses_the_newcomer_only";
    let options = Options { containers_max: Some(2), ..Options::default() };
    let Some(mut meter) = open(test, &options, &[Figure::Cpu]) else { return };
    let first = meter.container("first");
    let second = meter.container("second");
    let third = metered::Cgroup::make(meter.root.join("third"));
    let refused = meter.bpf.add_container(third.id, &third.path).unwrap_err();
    assert!(matches!(refused, CountersError::Add { .. }), "{refused}");
    for container in [&first, &second, &third] {
        container.sh(BURN).end();
    }
    assert_eq!(meter.bpf.read(third.id).unwrap(), None);
    for container in [&first, &second] {
        let counted = meter.bpf.read(container.id).unwrap().unwrap().cpu.unwrap().exec_ns;
        assert!(counted > 0);
    }
    let mut ids = meter.bpf.containers();
    ids.sort_unstable();
    let mut expect = [first.id, second.id];
    expect.sort_unstable();
    assert_eq!(ids, expect);
    // Room again, and the one that had to wait is counted from here.
    meter.bpf.remove_container(first.id).unwrap();
    meter.bpf.add_container(third.id, &third.path).unwrap();
    third.sh(BURN).end();
    assert!(meter.bpf.read(third.id).unwrap().unwrap().cpu.unwrap().exec_ns > 0);
}

/// A cgroup that somebody else removes takes none of what was counted with it, and its reader does not fail.
#[test]
fn a_cgroup_removed_under_the_reader_keeps_its_counts() {
    let test = "a_cgroup_removed_under_the_reader_keeps_its_counts";
    let Some(mut meter) = open(test, &Options::default(), &[Figure::Cpu]) else { return };
    let container = meter.container("gone");
    container.sh(BURN).end();
    let before = meter.bpf.read(container.id).unwrap().unwrap().cpu.unwrap().exec_ns;
    std::fs::remove_dir(&container.path).unwrap();
    meter.bpf.refresh().unwrap();
    let after = meter.bpf.read(container.id).unwrap().unwrap().cpu.unwrap().exec_ns;
    assert!(before > 0 && after >= before, "{before} then {after}");
    let last = meter.bpf.remove_container(container.id).unwrap().unwrap();
    assert_eq!(last.cpu.unwrap().exec_ns, after);
    assert_eq!(meter.bpf.read(container.id).unwrap(), None);
}

/// None of the programs goes by a tracepoint's file, so that a machine without tracefs has all figures.
#[test]
fn tracefs_is_not_needed() {
    let test = "tracefs_is_not_needed";
    if !needs::met(test, &[Need::Root, Need::Btf, Need::Cgroup2]) {
        return;
    }
    let root = metered::make_root();
    let mut inmate =
        metered::Cgroup::make(root.join("without")).workload(&format!("untraced {}", root.display()));
    let support = inmate.heard("support ");
    inmate.end();
    crate::groups::clear(&root);
    assert!(support.contains("BPF: cpu"), "{support}");
    assert!(!support.contains("tracefs"), "{support}");
}

/// Root who was left without CAP_BPF, as containers of a container runtime are.
#[test]
fn a_root_without_capabilities_is_told_which() {
    let test = "a_root_without_capabilities_is_told_which";
    if !needs::met(test, &[Need::Root, Need::Cgroup2]) {
        return;
    }
    let root = metered::make_root();
    let mut inmate =
        metered::Cgroup::make(root.join("root")).workload(&format!("incapable {}", root.display()));
    assert_eq!(
        inmate.heard("support "),
        "no BPF; without all: this process lacks CAP_BPF, CAP_PERFMON, CAP_NET_ADMIN; \
         run the agent as root or give it these"
    );
    inmate.end();
    crate::groups::clear(&root);
}
