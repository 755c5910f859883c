//! Tasks whose health is looked at: the whole way from a server that turns bad to an end that says so.

use crate::agent::Place;
use crate::master::{Master, command, framework};
use ::api::v1;
use model::task::{Reason, TaskInfo, TaskState};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use wire::message::ToAgent;

/// A server that answers with this status until it is told otherwise.
fn server(status: &Arc<AtomicU16>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (port, status) = (listener.local_addr().unwrap().port(), status.clone());
    std::thread::spawn(move || {
        for mut socket in listener.incoming().flatten() {
            let _ = socket.read(&mut [0; 1024]);
            let status = status.load(Ordering::SeqCst);
            let _ = write!(socket, "HTTP/1.1 {status} x\r\nContent-Length: 0\r\n\r\n");
        }
    });
    port
}

fn with(task: &TaskInfo, change: impl FnOnce(&mut v1::TaskInfo)) -> TaskInfo {
    let mut info: v1::TaskInfo = ::api::protobuf::decode(&task.body.0).unwrap();
    change(&mut info);
    ::api::convert::task::from_v1(&info).unwrap()
}

#[test]
fn a_task_whose_server_turns_bad_is_killed_and_its_end_says_why() {
    let (place, master) = (Place::new(&[]), Master::start());
    let (_agent, mut session) = place.start(&master);
    session.register();
    let status = Arc::new(AtomicU16::new(200));
    let port = server(&status).into();
    let task = with(&command("t", "sleep 1000"), |info| {
        let http =
            v1::health_check::HttpCheckInfo { port, path: Some("/health".to_owned()), ..Default::default() };
        info.health_check = Some(v1::HealthCheck {
            r#type: Some(v1::health_check::Type::Http.into()),
            http: Some(http),
            delay_seconds: Some(0.0),
            interval_seconds: Some(0.02),
            consecutive_failures: Some(3),
            ..Default::default()
        });
    });
    session.run(&framework(true), task);
    session.follow("t", TaskState::Running);
    let mut next = || {
        let status = session.update();
        session.acknowledge(&status);
        status
    };
    let healthy = next();
    assert_eq!((healthy.state, healthy.healthy), (TaskState::Running, Some(true)));
    assert_eq!(healthy.reason, Some(Reason::TASK_HEALTH_CHECK_STATUS_UPDATED));
    status.store(500, Ordering::SeqCst);
    for _ in 0..3 {
        let bad = next();
        assert_eq!((bad.state, bad.healthy), (TaskState::Running, Some(false)));
    }
    let killed = next();
    assert_eq!((killed.state, killed.healthy), (TaskState::Killed, Some(false)));
    assert_eq!(killed.message.as_deref(), Some("Command terminated with signal Terminated"));
}

/// Nothing is between the executor and the task, so it goes on looking while there is no agent.
#[test]
fn what_a_check_finds_while_the_agent_is_away_is_told_when_it_is_back() {
    let (place, master) = (Place::new(&[]), Master::start());
    let (agent, mut session) = place.start(&master);
    session.register();
    let status = Arc::new(AtomicU16::new(200));
    let port = server(&status).into();
    let task = with(&command("t", "sleep 1000"), |info| {
        info.check = Some(v1::CheckInfo {
            r#type: Some(v1::check_info::Type::Http.into()),
            http: Some(v1::check_info::Http { port, path: None }),
            delay_seconds: Some(0.0),
            interval_seconds: Some(0.02),
            ..Default::default()
        });
    });
    session.run(&framework(true), task);
    let code = |body: &model::body::Body| {
        let status: v1::TaskStatus = ::api::protobuf::decode(&body.0).unwrap();
        status.check_status.expect("it is checked").http.expect("by HTTP").status_code
    };
    let told = session.follow("t", TaskState::Running);
    assert_eq!(told.iter().map(|it| code(&it.body)).collect::<Vec<_>>(), [None, None]);
    let first = session.update();
    session.acknowledge(&first);
    assert_eq!((code(&first.body), first.reason), (Some(200), Some(Reason::TASK_CHECK_STATUS_UPDATED)));
    let container = first.container.clone().unwrap();
    place.process_info(container.container_id.as_str());
    agent.kill();
    status.store(404, Ordering::SeqCst);

    let (_agent, mut session) = place.start(&master);
    session.register();
    let second = loop {
        let status = session.update();
        session.acknowledge(&status);
        // The acknowledgement of the first may have been on its way when the agent was killed.
        if status.update_id != first.update_id {
            break status;
        }
    };
    assert_eq!((second.state, code(&second.body)), (TaskState::Running, Some(404)));
}

/// A command beside a task of a group is a container in the task's.
#[test]
fn a_task_of_a_group_is_looked_at_by_commands_in_its_container() {
    let (place, master) = (Place::new(&[]), Master::start());
    let (agent, mut session) = place.start(&master);
    session.register();
    let good = place.work_dir().join("good");
    std::fs::write(&good, "").unwrap();
    let probe = v1::CommandInfo { value: Some("[ -e $GOOD ]".to_owned()), ..Default::default() };
    let variable = v1::environment::Variable {
        name: "GOOD".to_owned(),
        value: Some(good.display().to_string()),
        ..Default::default()
    };
    let mut executor = v1::ExecutorInfo {
        executor_id: v1::ExecutorId { value: "group".to_owned() },
        framework_id: Some(v1::FrameworkId { value: "F".to_owned() }),
        ..Default::default()
    };
    executor.set_type(v1::executor_info::Type::Default);
    let mut info: v1::TaskInfo = ::api::protobuf::decode(&command("t", "sleep 1000").body.0).unwrap();
    info.command.as_mut().unwrap().environment = Some(v1::Environment { variables: vec![variable] });
    info.health_check = Some(v1::HealthCheck {
        r#type: Some(v1::health_check::Type::Command.into()),
        command: Some(probe),
        delay_seconds: Some(0.0),
        interval_seconds: Some(0.02),
        consecutive_failures: Some(2),
        ..Default::default()
    });
    let mut task = ::api::convert::task::from_v1(&info).unwrap();
    task.executor = Some(::api::convert::executor::from_v1(&executor).unwrap());
    session.say(&ToAgent::RunGroup { framework: framework(false), tasks: vec![task], starts_executor: true });
    session.follow("t", TaskState::Running);
    let mut next = || {
        let status = session.update();
        session.acknowledge(&status);
        status
    };
    assert_eq!(next().healthy, Some(true));
    std::fs::remove_file(&good).unwrap();
    for _ in 0..2 {
        let bad = next();
        assert_eq!((bad.state, bad.healthy), (TaskState::Running, Some(false)));
    }
    let killed = next();
    assert_eq!((killed.state, killed.healthy), (TaskState::Killed, Some(false)));
    // What was run is not left lying about.
    let container = killed.container.clone().unwrap();
    let sandbox = agent.sandbox(container.container_id.as_str());
    let left = std::fs::read_dir(sandbox.join("containers")).map_or(0, Iterator::count);
    assert!(left <= 2, "{left} sandboxes of probes");
}
