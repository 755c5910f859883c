//! An agent that is restarted while it is being emptied.

use crate::agent::{Place, until};
use crate::master::{Introduction, Master, command, framework};
use crate::restart::files;
use model::task::{Reason, TaskState};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use wire::message::ToAgent;

/// The executor stands still while it is told, so that nothing has happened when the agent dies; and the master does not
/// answer the agent that comes back. Nobody but its own disk can tell that one to go on.
#[test]
fn an_agent_that_comes_back_goes_on_without_a_master() {
    let (place, master) = (Place::new(&[]), Master::start());
    let (agent, mut session) = place.start(&master);
    session.register();
    session.run(&framework(true), command("t", "sleep 1000"));
    let told = session.follow("t", TaskState::Running);
    let init = told.last().unwrap().container.as_ref().unwrap().executor_pid.unwrap();
    let children = std::fs::read_to_string(format!("/proc/{init}/task/{init}/children")).unwrap();
    let executor = Pid::from_raw(children.split_whitespace().next().unwrap().parse().unwrap());
    kill(executor, Signal::SIGSTOP).unwrap();
    session.say(&ToAgent::Drain { max_grace_ns: Some(0), marks_gone: false });
    let notes = || files(&place.work_dir().join("meta")).into_iter().filter(|it| it.ends_with("drain.info"));
    until("it is written down", || notes().count() == 1);
    agent.kill();

    let (agent, mut session) = place.start(&master);
    let Introduction::Again(known) = &session.introduction else { panic!("it forgot its id") };
    assert_eq!(known.tasks[0].latest_state, TaskState::Running);
    let state = agent.get("/state").json();
    assert_eq!(state["drain_config"]["max_grace_period"]["nanoseconds"], 0, "{}", state["drain_config"]);
    kill(executor, Signal::SIGCONT).unwrap();
    let is_alive = |pid: Pid| agent::sys::processes::stat(pid.as_raw()).is_some_and(|stat| !stat.is_zombie());
    until("the task is ended", || !is_alive(executor));
    session.register();
    let killed = session.follow("t", TaskState::Killed).pop().unwrap();
    assert_eq!(killed.reason, Some(Reason::AGENT_DRAINING));
    until("it is over", || notes().count() == 0);
    assert!(agent.get("/state").json()["drain_config"].is_null());
}
