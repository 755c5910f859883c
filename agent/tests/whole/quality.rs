//! Tasks on revocable resources beside one that was paid for and wants all the CPUs: held back, let go, killed, found again.

use crate::agent::{Agent, Place, until};
use crate::master::{Master, Session, command, framework};
use crate::needs;
use model::task::{Reason, Source, TaskInfo, TaskState};
use std::path::PathBuf;

/// Only pressure counts, and little of it suffices; nobody is killed.
const FLAGS: [&str; 4] =
    ["--qos-psi=5", "--qos-latency-p99=0ns", "--qos-memory-headroom=0B", "--qos-kill-after=1days"];

/// More than two CPUs can do. Ends when told to.
const GREEDY: &str = "for i in 1 2 3 4 5 6 7 8; do while :; do :; done & done; wait";

const ROUNDS: u64 = 400_000;

fn summing() -> String {
    format!(
        "sum=7; i=0; while [ $i -lt {ROUNDS} ]; do sum=$(( (sum * 31 + i) % 1000003 )); i=$((i + 1)); done; echo $sum"
    )
}

fn sum() -> u64 {
    (0..ROUNDS).fold(7, |sum, i| (sum * 31 + i) % 1_000_003)
}

fn revocable(task_id: &str, shell: &str) -> TaskInfo {
    let mut task = command(task_id, shell);
    let part =
        |part: &model::resources::Resource| model::resources::Resource { is_revocable: true, ..part.clone() };
    task.resources = task.resources.iter().map(part).collect();
    task
}

/// `false`: it has been said why, and the test is to return.
fn can_hold(test: &str, agent: &Agent) -> bool {
    let state = agent.get("/state").json();
    let qos = &state["ingot"]["qos"];
    if qos["throttled_by"] == "none" {
        return needs::skip(test, "no cgroups for containers");
    }
    let has_pressure = std::fs::read_to_string("/proc/pressure/cpu").is_ok();
    has_pressure || needs::skip(test, "the kernel tells no pressure")
}

fn corrections(agent: &Agent, step: &str) -> u64 {
    agent.get("/state").json()["ingot"]["qos"]["corrections"][step].as_u64().unwrap_or(0)
}

struct Lent {
    cgroup: PathBuf,
    container_id: String,
}

impl Lent {
    /// Runs, and is at rest.
    fn start(session: &mut Session, agent: &Agent, shell: &str) -> Self {
        session.run(&framework(true), revocable("lent", shell));
        let told = session.follow("lent", TaskState::Running);
        let container = told.last().unwrap().container.as_ref().unwrap();
        let container_id = container.container_id.as_str().to_owned();
        let lent = Self { cgroup: agent.cgroup(&container_id), container_id };
        let shown = agent.get("/state").json()["ingot"]["qos"].clone();
        assert_eq!(shown["revocable_containers"][0], lent.container_id.as_str());
        until("it has the idle class", || lent.is_idle());
        lent
    }

    fn is_frozen(&self) -> bool {
        let events = std::fs::read_to_string(self.cgroup.join("cgroup.events")).unwrap_or_default();
        events.contains("frozen 1")
    }

    fn is_idle(&self) -> bool {
        if let Ok(idle) = std::fs::read_to_string(self.cgroup.join("cpu.idle")) {
            return idle.trim() == "1";
        }
        let threads = std::fs::read_to_string(self.cgroup.join("cgroup.threads")).unwrap();
        let mut policies = threads.lines().filter_map(|tid| {
            // The 41st field; the second may hold spaces.
            let stat = std::fs::read_to_string(format!("/proc/{tid}/stat")).ok()?;
            stat.rsplit_once(") ")?.1.split(' ').nth(38)?.parse::<u32>().ok()
        });
        policies.all(|policy| policy == 5)
    }
}

/// A lent task that runs `shell`, and beside it one that was paid for and wants all the CPUs. `None`: it has been said why they
/// cannot be, and the test is to return.
fn contended(test: &str, place: &Place, master: &Master, shell: &str) -> Option<(Agent, Session, Lent)> {
    let (agent, mut session) = place.start(master);
    session.register();
    if !can_hold(test, &agent) {
        return None;
    }
    let lent = Lent::start(&mut session, &agent, shell);
    session.run(&framework(true), command("paid", GREEDY));
    session.follow("paid", TaskState::Running);
    Some((agent, session, lent))
}

fn until_frozen(agent: &Agent, lent: &Lent) {
    until("it is frozen", || corrections(agent, "freeze") > 0 && lent.is_frozen());
}

#[test]
fn a_task_that_was_frozen_goes_on_when_there_is_room_and_its_sum_is_right() {
    let name = "a_task_that_was_frozen_goes_on_when_there_is_room_and_its_sum_is_right";
    let (place, master) = (Place::new(&FLAGS), Master::start());
    let Some((agent, mut session, lent)) = contended(name, &place, &master, &summing()) else { return };
    until_frozen(&agent, &lent);
    let qos = agent.get("/state").json()["ingot"]["qos"].clone();
    let first = qos["decisions"].as_array().unwrap().iter().find(|it| it["step"] == "throttle").unwrap();
    let cause = first["cause"].as_str().unwrap();
    assert!(cause.starts_with("a regular container waited for a CPU "), "{cause}");
    let page = agent.get("/metrics").body;
    let count = page.lines().find_map(|line| line.strip_prefix("ingot_qos_breach_to_action_seconds_count "));
    assert_ne!(count.unwrap(), "0");
    session.kill("paid", Some(0));
    session.follow("paid", TaskState::Killed);
    session.follow("lent", TaskState::Finished);
    let said = std::fs::read_to_string(agent.sandbox(&lent.container_id).join("stdout")).unwrap();
    assert_eq!(said.trim(), sum().to_string());
    assert!(corrections(&agent, "give_back") > 0);
}

#[test]
fn an_agent_that_dies_while_it_holds_a_task_back_leaves_it_to_the_next_one_which_lets_it_go() {
    let name = "an_agent_that_dies_while_it_holds_a_task_back_leaves_it_to_the_next_one_which_lets_it_go";
    let (place, master) = (Place::new(&FLAGS), Master::start());
    let Some((agent, session, lent)) = contended(name, &place, &master, &summing()) else { return };
    until_frozen(&agent, &lent);
    agent.kill();
    drop(session);
    assert!(lent.is_frozen(), "nobody thawed it");
    // One that has no targets: what it does not hold back itself is not held back.
    let place = place.again_with(&["--qos-psi=0", "--qos-latency-p99=0ns", "--qos-memory-headroom=0B"]);
    let (agent, mut session) = place.start(&master);
    session.register();
    until("it is thawed", || !lent.is_frozen());
    session.kill("paid", Some(0));
    session.follow("paid", TaskState::Killed);
    session.follow("lent", TaskState::Finished);
    let said = std::fs::read_to_string(agent.sandbox(&lent.container_id).join("stdout")).unwrap();
    assert_eq!(said.trim(), sum().to_string());
}

#[test]
fn a_task_is_preempted_when_freezing_it_does_not_help_and_is_told_by_what_figures() {
    let name = "a_task_is_preempted_when_freezing_it_does_not_help_and_is_told_by_what_figures";
    let flags = [FLAGS[0], FLAGS[1], FLAGS[2], "--qos-kill-after=100ms"];
    let (place, master) = (Place::new(&flags), Master::start());
    let Some((agent, mut session, lent)) = contended(name, &place, &master, "while :; do :; done") else {
        return;
    };
    let told = session.follow("lent", TaskState::Failed);
    let killed = told.last().unwrap();
    assert_eq!((killed.source, killed.reason), (Some(Source::Agent), Some(Reason::CONTAINER_PREEMPTED)));
    let message = killed.message.as_deref().unwrap();
    let expect = "Preempted: it ran on revocable resources, and a regular container waited for a CPU ";
    assert!(message.starts_with(expect) && message.ends_with("(target 5.0 %)"), "{message}");
    until("its group is gone", || !lent.cgroup.exists());
    let metrics = agent.get("/metrics/snapshot").json();
    assert_eq!(metrics["slave/executors_preempted"], 1.0);
    assert_eq!(corrections(&agent, "kill_for_cpu"), 1);
}

#[test]
fn a_task_that_is_frozen_obeys_its_framework() {
    let name = "a_task_that_is_frozen_obeys_its_framework";
    let (place, master) = (Place::new(&FLAGS), Master::start());
    let obeys = "trap 'echo obeyed; exit 0' TERM; while :; do sleep 0.01; done";
    let Some((agent, mut session, lent)) = contended(name, &place, &master, obeys) else { return };
    until_frozen(&agent, &lent);
    session.kill("lent", None);
    session.follow("lent", TaskState::Killed);
    let said = std::fs::read_to_string(agent.sandbox(&lent.container_id).join("stdout")).unwrap();
    assert_eq!(said.trim(), "obeyed");
}
