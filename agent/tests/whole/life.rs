//! A task's life, from RUN to its acknowledged end.

use crate::agent::Place;
use crate::master::{Master, command, framework};
use model::task::{Reason, Source, TaskState};
use nix::sys::signal::Signal;
use std::time::Instant;
use wire::message::{ToAgent, ToMaster};

#[test]
fn a_command_runs_and_its_end_arrives() {
    let (place, master) = (Place::new(&[]), Master::start());
    let (agent, mut session) = place.start(&master);
    session.register();
    let begun = Instant::now();
    session.run(
        &framework(false),
        command("t", "echo out; echo err >&2; i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done"),
    );
    let told = session.follow("t", TaskState::Running);
    println!("RUN to TASK_RUNNING: {:?}", begun.elapsed());
    let running = told.last().unwrap();
    let container = running.container.clone().unwrap();
    assert_eq!(told[0].state, TaskState::Starting);
    assert_eq!(running.source, Some(Source::Executor));
    assert_eq!(running.agent_id.as_ref().unwrap().as_str(), "M-S0");
    assert_eq!(container.ip.to_string(), "127.0.0.1");
    assert!(container.executor_pid.is_some());
    let ended = session.follow("t", TaskState::Finished);
    assert_eq!(ended.last().unwrap().message.as_deref(), Some("Command exited with status 0"));

    let last = session.usage_until(|line| line.is_final);
    assert_eq!(last.tasks, ["t"]);
    assert!(last.usage.cpu_ns > 0 && last.usage.memory_peak_bytes > 0, "{last:?}");

    let sandbox = agent.sandbox(container.container_id.as_str());
    assert_eq!(std::fs::read_to_string(sandbox.join("stdout")).unwrap(), "out\n");
    assert_eq!(std::fs::read_to_string(sandbox.join("stderr")).unwrap(), "err\n");
}

#[test]
fn a_failing_command_fails_its_task_in_mesos_words() {
    let (place, master) = (Place::new(&[]), Master::start());
    let (_agent, mut session) = place.start(&master);
    session.register();
    for (task, shell, message) in [
        ("three", "exit 3", "Command exited with status 3"),
        ("killed", "kill -9 $$", "Command terminated with signal Killed"),
    ] {
        session.run(&framework(false), command(task, shell));
        let told = session.follow(task, TaskState::Failed);
        assert_eq!(told.last().unwrap().message.as_deref(), Some(message));
    }
}

#[test]
fn a_task_is_killed_with_patience_and_then_without() {
    let (place, master) = (Place::new(&[]), Master::start());
    let (_agent, mut session) = place.start(&master);
    session.register();
    session.run(&framework(false), command("soft", "sleep 1000"));
    session.follow("soft", TaskState::Running);
    session.kill("soft", None);
    let told = session.follow("soft", TaskState::Killed);
    assert_eq!(told.last().unwrap().message.as_deref(), Some("Command terminated with signal Terminated"));

    session.run(&framework(false), command("hard", "trap '' TERM; while :; do sleep 1000; done"));
    session.follow("hard", TaskState::Running);
    session.kill("hard", Some(200_000_000));
    let told = session.follow("hard", TaskState::Killed);
    assert_eq!(told.last().unwrap().message.as_deref(), Some("Command terminated with signal Killed"));
}

#[test]
fn an_executor_that_is_killed_leaves_a_failed_task() {
    let (place, master) = (Place::new(&[]), Master::start());
    let (_agent, mut session) = place.start(&master);
    session.register();
    session.run(&framework(false), command("t", "sleep 1000"));
    let told = session.follow("t", TaskState::Running);
    let pid = told.last().unwrap().container.as_ref().unwrap().executor_pid.unwrap();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid.cast_signed()), Signal::SIGKILL).unwrap();
    let failed = session.update();
    session.acknowledge(&failed);
    assert_eq!((failed.state, failed.source), (TaskState::Failed, Some(Source::Agent)));
    assert_eq!(failed.reason, Some(Reason::EXECUTOR_TERMINATED));
    assert_eq!(failed.message.as_deref(), Some("Executor terminated"));
}

#[test]
fn a_container_that_cannot_be_made_fails_its_task() {
    let (place, master) = (Place::new(&[]), Master::start());
    let (_agent, mut session) = place.start(&master);
    session.register();
    let mut task = command("t", "true");
    let mut info: ::api::v1::TaskInfo = ::api::protobuf::decode(&task.body.0).unwrap();
    let uri = ::api::v1::command_info::Uri { value: "/no/such/file".to_owned(), ..Default::default() };
    info.command.as_mut().unwrap().uris.push(uri);
    task.body = model::body::Body(::api::protobuf::encode(&info));
    session.run(&framework(false), task);
    let failed = session.update();
    assert_eq!((failed.state, failed.reason), (TaskState::Failed, Some(Reason::CONTAINER_LAUNCH_FAILED)));
    assert!(failed.message.as_deref().unwrap().contains("/no/such/file"), "{failed:?}");
}

#[test]
fn a_framework_that_is_shut_down_takes_its_tasks_along() {
    let (place, master) = (Place::new(&[]), Master::start());
    let (_agent, mut session) = place.start(&master);
    session.register();
    session.run(&framework(false), command("t", "sleep 1000"));
    session.follow("t", TaskState::Running);
    session.say(&ToAgent::ShutdownFramework { framework_id: "F".into() });
    let last = session.usage_until(|line| line.is_final);
    assert_eq!(last.tasks, ["t"]);
}

#[test]
fn an_agent_that_is_told_to_go_ends_its_tasks_first() {
    let (place, master) = (Place::new(&[]), Master::start());
    let (mut agent, mut session) = place.start(&master);
    session.register();
    session.run(&framework(true), command("t", "sleep 1000"));
    let told = session.follow("t", TaskState::Running);
    let pid = told.last().unwrap().container.as_ref().unwrap().executor_pid.unwrap();
    agent.signal(Signal::SIGUSR1);
    assert_eq!(session.next(), ToMaster::Unregister);
    assert!(agent.wait().success());
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists(), "its executor lives");
    assert!(!place.work_dir().join("meta/slaves/latest").exists(), "it would come back under its id");
}

#[test]
fn a_refused_agent_says_why() {
    let (place, master) = (Place::new(&[]), Master::start());
    let (mut agent, mut session) = place.start(&master);
    session.say(&ToAgent::Refused { reason: "not here".into() });
    assert_eq!(agent.wait().code(), Some(1));
}
