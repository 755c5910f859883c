//! Agents and masters that go and come back.

use crate::agent::{Place, cpu_stat_ns, patience};
use crate::master::{Introduction, Master, command, framework};
use crate::needs::{self, Need};
use model::task::TaskState;
use model::usage::{Source, Usage};
use std::time::Instant;

#[test]
fn an_update_is_told_again_until_it_is_acknowledged() {
    let (place, master) = (Place::new(&[]), Master::start());
    let (_agent, mut session) = place.start(&master);
    session.register();
    session.run(&framework(false), command("t", "sleep 1000"));
    let starting = session.update();
    drop(session);
    let mut session = master.accept();
    let Introduction::Again(known) = &session.introduction else { panic!("it forgot its id") };
    assert_eq!(known.agent_id.as_str(), "M-S0");
    assert_eq!(known.tasks[0].pending, Some((TaskState::Starting, starting.update_id.unwrap())));
    session.register();
    let again = session.update();
    assert_eq!(again.update_id, starting.update_id);
    session.acknowledge(&again);
    session.follow("t", TaskState::Running);
}

#[test]
fn a_task_outlives_its_agent_and_its_end_is_told_once() {
    let (place, master) = (Place::new(&[]), Master::start());
    let (agent, mut session) = place.start(&master);
    session.register();
    let go = place.work_dir().join("go");
    let shell = format!("while [ ! -e {} ]; do sleep 0.05; done; echo done", go.display());
    session.run(&framework(true), command("t", &shell));
    let told = session.follow("t", TaskState::Running);
    let container = told.last().unwrap().container.clone().unwrap();
    agent.kill();

    let begun = Instant::now();
    let (agent, mut session) = place.start(&master);
    println!("restart to reregister: {:?}", begun.elapsed());
    let Introduction::Again(known) = &session.introduction else { panic!("it forgot its id") };
    assert_eq!(known.agent_id.as_str(), "M-S0");
    assert_eq!(known.executors[0].container_id, container.container_id);
    assert_eq!((known.tasks.len(), known.tasks[0].latest_state), (1, TaskState::Running));
    session.register();
    std::fs::write(go, "").unwrap();
    // The acknowledgement of RUNNING may have been on its way to the disk when the agent died: then it is told again.
    let told = session.follow("t", TaskState::Finished);
    let ended = told.last().unwrap();
    let pid = ended.container.as_ref().unwrap().executor_pid;
    assert_eq!(pid, container.executor_pid, "another executor");
    let sandbox = agent.sandbox(container.container_id.as_str());
    assert_eq!(std::fs::read_to_string(sandbox.join("stdout")).unwrap(), "done\n");
}

/// An agent may die after it started an executor and before the executor's process is on disk.
#[test]
fn a_task_whose_process_was_not_written_down_in_time_outlives_its_agent() {
    let (place, master) = (Place::new(&[]), Master::start());
    let (agent, mut session) = place.start(&master);
    session.register();
    let go = place.work_dir().join("go");
    let shell = format!("while [ ! -e {} ]; do sleep 0.05; done", go.display());
    session.run(&framework(true), command("t", &shell));
    let told = session.follow("t", TaskState::Running);
    let pid = told.last().unwrap().container.as_ref().unwrap().executor_pid;
    agent.kill();
    let forgotten = files(&place.work_dir().join("meta")).into_iter().find(|it| it.ends_with("process.info"));
    std::fs::remove_file(forgotten.expect("it was written down")).unwrap();

    let (_agent, mut session) = place.start(&master);
    session.register();
    std::fs::write(go, "").unwrap();
    let told = session.follow("t", TaskState::Finished);
    assert_eq!(told.last().unwrap().container.as_ref().unwrap().executor_pid, pid);
}

/// Everything below a directory, which may change meanwhile or not be there; links are not followed.
pub fn files(below: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(below).into_iter().flatten().flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => found.extend(files(&entry.path())),
            Ok(kind) if kind.is_file() => found.push(entry.path()),
            _ => {}
        }
    }
    found
}

#[test]
fn an_executor_that_died_while_its_agent_was_away_is_told_of() {
    let (place, master) = (Place::new(&[]), Master::start());
    let (agent, mut session) = place.start(&master);
    session.register();
    session.run(&framework(true), command("t", "sleep 1000"));
    let told = session.follow("t", TaskState::Running);
    let pid = told.last().unwrap().container.as_ref().unwrap().executor_pid.unwrap();
    agent.kill();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid.cast_signed()), nix::sys::signal::Signal::SIGKILL)
        .unwrap();
    let (_agent, mut session) = place.start(&master);
    session.register();
    session.follow("t", TaskState::Failed);
}

#[test]
fn an_update_that_was_owed_when_the_agent_died_is_still_owed() {
    let (place, master) = (Place::new(&[]), Master::start());
    let (agent, mut session) = place.start(&master);
    session.register();
    session.run(&framework(true), command("t", "true"));
    let starting = session.update();
    agent.kill();
    let (_agent, mut session) = place.start(&master);
    session.register();
    let again = session.update();
    assert_eq!(again.update_id, starting.update_id);
    session.acknowledge(&again);
    let told = session.follow("t", TaskState::Finished);
    let states: Vec<TaskState> = told.iter().map(|status| status.state).collect();
    assert_eq!(states, [TaskState::Running, TaskState::Finished]);
}

#[test]
fn without_checkpoints_a_task_goes_with_its_agent() {
    let (place, master) = (Place::new(&[]), Master::start());
    let (agent, mut session) = place.start(&master);
    session.register();
    session.run(&framework(false), command("t", "sleep 1000"));
    let told = session.follow("t", TaskState::Running);
    let pid = told.last().unwrap().container.as_ref().unwrap().executor_pid.unwrap();
    agent.kill();
    let (_agent, session) = place.start(&master);
    let Introduction::Again(known) = &session.introduction else { panic!("it forgot its id") };
    assert!(known.tasks.is_empty());
    let deadline = Instant::now() + patience();
    while is_alive(pid) {
        assert!(Instant::now() < deadline, "its executor lives on");
        crate::agent::pause();
    }
}

/// A process whose parent is gone is reaped by init; until then it has ended all the same.
fn is_alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
}

/// What the programs in the kernel need.
const PROGRAMS: [Need; 3] = [Need::Root, Need::Btf, Need::Cgroup2];

/// Uses CPU and begins processes, for ever.
const BUSY: &str = "while :; do (:); i=0; while [ $i -lt 2000 ]; do i=$((i+1)); done; done";

/// An agent is killed, its task goes on, and what the kernel counts meanwhile is in the first figures of the next agent,
/// which is started with these flags.
fn figures_outlive_the_agent(flags: &[&str]) {
    let (place, master) = (Place::new(&[]), Master::start());
    let (agent, mut session) = place.start(&master);
    session.register();
    session.run(&framework(true), command("t", BUSY));
    let told = session.follow("t", TaskState::Running);
    let container_id = told.last().unwrap().container.as_ref().unwrap().container_id.clone();
    session.usage_until(|line| line.usage.forks > 0 && line.usage.sources.cpu == Source::Bpf);
    let cgroup = agent.cgroup(container_id.as_str());
    agent.kill();
    let before = session.usage_to_the_end().last().unwrap().usage;

    let (killed, begun) = (cpu_stat_ns(&cgroup), Instant::now());
    while cpu_stat_ns(&cgroup) < killed + 300_000_000 {
        assert!(begun.elapsed() < patience(), "the task stands still without its agent");
        crate::agent::pause();
    }
    let meanwhile = cpu_stat_ns(&cgroup);

    let (agent, mut session) = place.start_by(&master, &[], flags);
    session.register();
    let after = session.usage_until(|_| true).usage;
    println!("cpu {} ns, then {meanwhile} by cpu.stat, then {}", before.cpu_ns, after.cpu_ns);
    assert_eq!(after.sources.cpu, Source::Bpf);
    assert!(after.cpu_ns >= meanwhile, "{} ns after {meanwhile} by cpu.stat", after.cpu_ns);
    // Nobody but the programs counts these.
    let counters = |it: &Usage| [it.forks, it.exits, it.switches(), it.run_queue_waits];
    for (is, was) in counters(&after).into_iter().zip(counters(&before)) {
        assert!(is > was, "{:?} after {:?}", counters(&after), counters(&before));
    }
    drop(agent);
    assert!(!cgroup.parent().unwrap().exists(), "an agent that ended everything leaves its group");
}

#[test]
fn figures_go_on_while_no_agent_runs() {
    if needs::met("figures_go_on_while_no_agent_runs", &PROGRAMS) {
        figures_outlive_the_agent(&[]);
    }
}

/// Another limit makes another object of the programs, as another version would: nothing steps back all the same.
#[test]
fn figures_go_on_under_the_programs_of_another_agent() {
    if needs::met("figures_go_on_under_the_programs_of_another_agent", &PROGRAMS) {
        figures_outlive_the_agent(&["--bpf-containers-max=100"]);
    }
}
