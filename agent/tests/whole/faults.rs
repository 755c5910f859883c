//! What a machine may lack, and what may go wrong in the kernel, under a whole agent: it stays up, its tasks run, and what
//! is missing is said in `/state` and counted in `/metrics`. What each fault does to the figures themselves is in
//! `privileged/faults*.rs`.

use crate::agent::{Agent, Place, until};
use crate::master::{Master, Session, command, framework};
use crate::needs::{self, Need};
use model::task::TaskState;
use model::usage::Source;

const PROGRAMS: [Need; 3] = [Need::Root, Need::Btf, Need::Cgroup2];

/// Ends by itself, and has used some CPU by then.
const SHORT: &str = "i=0; while [ $i -lt 5000 ]; do i=$((i+1)); done; (:)";

/// The value of a line of `/metrics`.
fn metric(agent: &Agent, name: &str) -> f64 {
    let page = agent.get("/metrics").body;
    let value = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.unwrap_or_else(|| panic!("{name} is not in\n{page}")).parse().unwrap()
}

fn loss(agent: &Agent, name: &str) -> f64 {
    metric(agent, &format!("ingot_accounting_losses_total{{loss=\"{name}\"}}"))
}

/// What the agent says is missing, of that name.
fn missing(agent: &Agent, name: &str) -> Option<serde_json::Value> {
    let state = agent.get("/slave(1)/state").json();
    let all = state["ingot"]["missing"].as_array().unwrap().clone();
    all.into_iter().find(|finding| finding["name"] == name)
}

/// Runs a task to its end; the source of its CPU figure.
fn run(session: &mut Session, task: &str, shell: &str) -> Source {
    session.run(&framework(false), command(task, shell));
    session.follow(task, TaskState::Finished);
    let line = session.usage_until(|line| line.is_final && line.tasks == [task]);
    assert!(line.usage.cpu_ns > 0, "{line:?}");
    line.usage.sources.cpu
}

/// Root of a container runtime: much is allowed, BPF is not.
#[test]
fn an_agent_without_capabilities_for_bpf_runs_tasks_and_says_what_is_missing() {
    let test = "an_agent_without_capabilities_for_bpf_runs_tasks_and_says_what_is_missing";
    if !needs::met(test, &[Need::Root, Need::Cgroup2, Need::Program("setpriv")]) {
        return;
    }
    let (place, master) = (Place::new(&[]), Master::start());
    // By numbers: setpriv may be older than the names. CAP_SYS_ADMIN would stand for the first two.
    let without = "--bounding-set=-cap_38,-cap_39,-net_admin,-sys_admin";
    let (agent, mut session) = place.start_by(&master, &["setpriv", without], &[]);
    session.register();
    assert_eq!(run(&mut session, "t", SHORT), Source::Cgroup, "the next best source");
    let state = agent.get("/slave(1)/state").json();
    let cpu = &state["ingot"]["bpf"]["cpu"];
    assert_eq!(cpu["supported"], false);
    let reason = cpu["reason"].as_str().unwrap();
    assert!(reason.contains("lacks CAP_BPF, CAP_PERFMON, CAP_NET_ADMIN"), "{reason}");
    assert!(cpu["remedy"].is_string());
    assert_eq!(state["ingot"]["accounting"]["cpu"], "cgroup");
    assert_eq!(state["ingot"]["accounting"]["network"], "none");
    let finding = missing(&agent, "network").expect("nobody else counts it");
    assert_eq!(finding["state"], "missing");
    assert_eq!(metric(&agent, "ingot_figure_supported{figure=\"cpu\"}"), 0.0);
}

/// Containers that find no room in the programs' maps run like all others, and are measured by files.
#[test]
fn containers_that_find_the_maps_full_run_and_are_counted_as_lost() {
    let test = "containers_that_find_the_maps_full_run_and_are_counted_as_lost";
    if !needs::met(test, &PROGRAMS) {
        return;
    }
    let (place, master) = (Place::new(&["--bpf-containers-max=1"]), Master::start());
    let (agent, mut session) = place.start(&master);
    session.register();
    session.run(&framework(false), command("first", "sleep 1000"));
    session.follow("first", TaskState::Running);
    assert_eq!(loss(&agent, "container_not_counted"), 0.0);
    assert_eq!(missing(&agent, "container_not_counted"), None);
    for task in ["second", "third"] {
        assert_eq!(run(&mut session, task, SHORT), Source::Cgroup);
    }
    assert_eq!(loss(&agent, "container_not_counted"), 2.0);
    let finding = missing(&agent, "container_not_counted").expect("it is said");
    assert!(finding["says"].as_str().unwrap().starts_with("2 containers"), "{finding}");
    assert!(finding["remedy"].as_str().unwrap().contains("--bpf-containers-max"), "{finding}");
    assert_eq!(agent.get("/slave(1)/state").json()["ingot"]["losses"]["container_not_counted"], 2);
    // The one that was there first is counted, and its room is the next one's.
    session.usage_until(|line| line.tasks == ["first"] && line.usage.sources.cpu == Source::Bpf);
    session.kill("first", None);
    session.follow("first", TaskState::Killed);
    session.usage_until(|line| line.is_final && line.tasks == ["first"]);
    assert_eq!(run(&mut session, "fourth", SHORT), Source::Bpf);
}

/// An agent dies after it made a container's group and before the programs knew of it. So it lies there: a task that is on
/// disk, a group that nobody is in, no process, no counters. A neighbour is counted all the while.
#[test]
fn a_container_that_was_made_and_not_registered_is_cleared_away() {
    let test = "a_container_that_was_made_and_not_registered_is_cleared_away";
    if !needs::met(test, &PROGRAMS) {
        return;
    }
    let (place, master) = (Place::new(&[]), Master::start());
    let (agent, mut session) = place.start(&master);
    session.register();
    session.run(&framework(true), command("neighbour", "while :; do (:); sleep 0.1; done"));
    session.follow("neighbour", TaskState::Running);
    let before = session.usage_until(|line| line.usage.forks > 20).usage;
    agent.kill();

    // An agent that registers nothing with the programs makes the other one, and what it had got further is taken back.
    let (agent, mut session) = place.start_by(&master, &[], &["--bpf=off"]);
    session.register();
    session.run(&framework(true), command("half", "sleep 1000"));
    let told = session.follow("half", TaskState::Running);
    let container_id = told.last().unwrap().container.as_ref().unwrap().container_id.clone();
    let cgroup = agent.cgroup(container_id.as_str());
    agent.kill();
    std::fs::write(cgroup.join("cgroup.kill"), "1").unwrap();
    let is_populated =
        || std::fs::read_to_string(cgroup.join("cgroup.events")).unwrap().contains("populated 1");
    until("its processes are gone", || !is_populated());
    let process = place.process_info(container_id.as_str());
    std::fs::remove_file(process).unwrap();

    let (agent, mut session) = place.start(&master);
    session.register();
    session.follow("half", TaskState::Failed);
    let after = session.usage_until(|line| line.tasks == ["neighbour"]).usage;
    assert_eq!(after.sources.life, Source::Bpf);
    assert!(after.forks > before.forks, "{} forks after {}", after.forks, before.forks);
    assert_eq!(run(&mut session, "next", SHORT), Source::Bpf);
    assert!(!cgroup.exists(), "its group is still there");
    for name in ["container_not_counted", "container_counted_anew", "sockets_not_counted"] {
        assert_eq!(loss(&agent, name), 0.0, "{name}");
    }
}

/// No program goes by a tracepoint's file: where none can be seen, nothing is missing that is not missing anyway.
#[test]
fn an_agent_without_tracefs_has_all_programs() {
    let test = "an_agent_without_tracefs_has_all_programs";
    if !needs::met(test, &[Need::Root, Need::Btf, Need::Cgroup2, Need::Program("unshare")]) {
        return;
    }
    let hide = "for place in /sys/kernel/tracing /sys/kernel/debug; do \
        [ ! -d $place ] || mount -t tmpfs none $place || exit 1; done; exec \"$@\"";
    let by = ["unshare", "--mount", "--propagation=private", "sh", "-c", hide, "sh"];
    let master = Master::start();
    let programs = |by: &[&str]| {
        let place = Place::new(&[]);
        let (agent, mut session) = place.start_by(&master, by, &[]);
        session.register();
        let source = run(&mut session, "t", SHORT);
        let mounts = std::fs::read_to_string(format!("/proc/{}/mounts", agent.pid())).unwrap();
        let tracefs = mounts.lines().rev().find(|line| line.contains(" /sys/kernel/tracing "));
        let has_tracefs = tracefs.is_some_and(|line| line.contains(" tracefs "));
        (agent.get("/state").json()["ingot"]["bpf"].clone(), source, has_tracefs)
    };
    let (plain, source, _) = programs(&[]);
    let (without, source_without, has_tracefs) = programs(&by);
    assert!(!has_tracefs, "the test hid nothing");
    assert_eq!((without, source_without), (plain, source));
    assert_eq!(source, Source::Bpf);
}
