//! Command tasks that ask to be kept apart: what holds for the task does not hold for its executor, which has to go on working.

use crate::agent::{Place, until};
use crate::master::{Master, command, framework};
use crate::needs::{self, Need};
use crate::nested::Scene;
use ::api::v1;
use model::task::{Reason, TaskInfo, TaskState};

/// A command in such a container.
fn contained(task_id: &str, shell: &str, container: v1::ContainerInfo) -> TaskInfo {
    let mut info = ::api::convert::task::to_v1(&command(task_id, shell)).unwrap();
    info.container = Some(v1::ContainerInfo { r#type: v1::container_info::Type::Mesos.into(), ..container });
    ::api::convert::task::from_v1(&info).unwrap()
}

fn linux(linux_info: v1::LinuxInfo) -> v1::ContainerInfo {
    v1::ContainerInfo { linux_info: Some(linux_info), ..v1::ContainerInfo::default() }
}

#[test]
fn a_command_task_gets_what_it_asks_for_and_is_told_what_it_cannot_have() {
    if !needs::met("a_command_task_gets_what_it_asks_for_and_is_told_what_it_cannot_have", &[Need::Root]) {
        return;
    }
    let isolation = "--isolation=cgroup,filesystem/linux,namespaces/pid,namespaces/ipc,linux/capabilities,linux/seccomp,posix/rlimits";
    let (place, master) = (Place::new(&[isolation, "--switch-user=true"]), Master::start());
    let (agent, mut session) = place.start(&master);
    session.register();
    let chown = vec![v1::capability_info::Capability::Chown as i32];
    let limit = v1::r_limit_info::RLimit {
        r#type: Some(v1::r_limit_info::r_limit::Type::RlmtNofile as i32),
        soft: Some(5),
        hard: Some(6),
    };
    let container = v1::ContainerInfo {
        hostname: Some("inside".to_owned()),
        rlimit_info: Some(v1::RLimitInfo { rlimits: vec![limit] }),
        network_infos: vec![v1::NetworkInfo { name: Some("none".to_owned()), ..v1::NetworkInfo::default() }],
        ..linux(v1::LinuxInfo {
            effective_capabilities: Some(v1::CapabilityInfo { capabilities: chown }),
            ..v1::LinuxInfo::default()
        })
    };
    // Its own interfaces are one, its executor's are the machine's, and go on telling of it.
    let line = "cat /proc/sys/kernel/hostname; grep CapEff /proc/self/status; ulimit -n; grep -c : /proc/net/dev
        cat /proc/1/comm; [ \"$INGOT_TASK_LAUNCH\" ] && echo told; cat /proc/self/loginuid > /dev/null; exit 3";
    let mut info = ::api::convert::task::to_v1(&contained("t", line, container)).unwrap();
    info.command.as_mut().unwrap().user = Some("nobody".to_owned());
    session.run(&framework(true), ::api::convert::task::from_v1(&info).unwrap());
    let told = session.follow("t", TaskState::Failed);
    let last = told.last().unwrap();
    assert_eq!(last.message.as_deref(), Some("Command exited with status 3"), "{}", agent.log());
    let sandbox = agent.sandbox(last.container.as_ref().unwrap().container_id.as_str());
    let output = std::fs::read_to_string(sandbox.join("stdout")).unwrap();
    assert_eq!(output, "inside\nCapEff:\t0000000000000001\n5\n1\ningot-init\n");

    let volume = v1::Volume {
        container_path: "../out".to_owned(),
        host_path: Some("/etc".to_owned()),
        mode: v1::volume::Mode::Ro as i32,
        ..v1::Volume::default()
    };
    let docker = Some(v1::container_info::DockerInfo::default());
    let docker = v1::ContainerInfo { docker, ..v1::ContainerInfo::default() };
    let seccomp = v1::SeccompInfo { profile_name: Some("mine".to_owned()), unconfined: None };
    let lacking = linux(v1::LinuxInfo { seccomp: Some(seccomp), ..v1::LinuxInfo::default() });
    for (task, container, message) in [
        (
            "out",
            v1::ContainerInfo { volumes: vec![volume], ..v1::ContainerInfo::default() },
            "container.volumes.container_path cannot be had: '../out' has '..' in it",
        ),
        ("docker", docker, "container.docker is not supported"),
        (
            "mine",
            lacking,
            "container.linux_info.seccomp.profile_name cannot be had: there is no profile 'mine' in --seccomp-config-dir",
        ),
    ] {
        session.run(&framework(false), contained(task, "true", container));
        let told = session.follow(task, TaskState::Failed);
        let last = told.last().unwrap();
        assert!(last.message.as_deref().unwrap().contains(message), "{:?}", last.message);
        assert_eq!(last.reason, Some(Reason::CONTAINER_LAUNCH_FAILED));
    }
}

/// What is beside a task sees what it sees, and may do no more.
#[test]
fn who_is_let_into_a_container_is_kept_apart_as_it_is() {
    if !needs::met("who_is_let_into_a_container_is_kept_apart_as_it_is", &[Need::Root]) {
        return;
    }
    let isolation = "--isolation=cgroup,namespaces/pid,namespaces/ipc,namespaces/uts,linux/capabilities,linux/seccomp,linux/nnp";
    let most = r#"--bounding-capabilities={"capabilities": ["CHOWN", "KILL"]}"#;
    let line =
        "for i in pid mnt ipc uts; do readlink /proc/self/ns/$i; done > here; echo > ready; exec sleep 1000";
    let scene = Scene::with(&[isolation, most], line);
    let sandbox = scene.agent.sandbox(&scene.root);
    until("the task runs", || sandbox.join("ready").exists());
    let beside = "for i in pid mnt ipc uts; do readlink /proc/self/ns/$i; done; grep -E '^(CapBnd|NoNewPrivs|Seccomp):' \
        /proc/self/status; cat /proc/1/comm; exit 7";
    assert_eq!(scene.launch("a", beside).status, 200);
    assert_eq!(scene.exit_status("a"), 7 << 8);
    let output = std::fs::read_to_string(sandbox.join("containers/a/stdout")).unwrap();
    let here = std::fs::read_to_string(sandbox.join("here")).unwrap();
    assert_eq!(output, format!("{here}CapBnd:\t0000000000000021\nNoNewPrivs:\t1\nSeccomp:\t2\ningot-init\n"));
    let own = std::fs::read_link("/proc/self/ns/pid").unwrap();
    assert!(!here.contains(own.to_str().unwrap()), "{here}");
}

#[test]
fn a_contained_task_outlives_its_agent_and_its_end_is_known() {
    if !needs::met("a_contained_task_outlives_its_agent_and_its_end_is_known", &[Need::Root]) {
        return;
    }
    let isolation =
        "--isolation=cgroup,filesystem/linux,namespaces/pid,namespaces/ipc,linux/seccomp,posix/rlimits";
    let (place, master) = (Place::new(&[isolation]), Master::start());
    let (agent, mut session) = place.start(&master);
    session.register();
    let rlimit_info = Some(v1::RLimitInfo::default());
    let container = v1::ContainerInfo { rlimit_info, ..v1::ContainerInfo::default() };
    session
        .run(&framework(true), contained("t", "while [ ! -e go ]; do sleep 0.01; done; exit 9", container));
    let told = session.follow("t", TaskState::Running);
    let sandbox = agent.sandbox(told.last().unwrap().container.as_ref().unwrap().container_id.as_str());
    agent.kill();
    let (agent, mut session) = place.start(&master);
    session.register();
    std::fs::write(sandbox.join("go"), "").unwrap();
    let told = session.follow("t", TaskState::Failed);
    assert_eq!(
        told.last().unwrap().message.as_deref(),
        Some("Command exited with status 9"),
        "{}",
        agent.log()
    );
}

/// What looks at a task is where the task is: under its host name, in its network.
#[test]
fn a_task_that_is_kept_apart_is_looked_at_where_it_is() {
    let test = "a_task_that_is_kept_apart_is_looked_at_where_it_is";
    if !needs::met(test, &[Need::Root, Need::Program("busybox")]) {
        return;
    }
    let isolation = "--isolation=cgroup,filesystem/linux,namespaces/pid,namespaces/ipc";
    let (place, master) = (Place::new(&[isolation, "--switch-user=true"]), Master::start());
    let (agent, mut session) = place.start(&master);
    session.register();
    // A port that nobody has here: who connects to it in vain is in the wrong network.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let container = v1::ContainerInfo {
        hostname: Some("inside".to_owned()),
        network_infos: vec![v1::NetworkInfo { name: Some("none".to_owned()), ..v1::NetworkInfo::default() }],
        ..v1::ContainerInfo::default()
    };
    let line = format!("while :; do busybox nc -l -p {port} < /dev/null; done");
    let mut info = ::api::convert::task::to_v1(&contained("t", &line, container)).unwrap();
    let probe = "[ $(cat /proc/sys/kernel/hostname) = inside ] && [ $(grep -c : /proc/net/dev) = 1 ]";
    info.check = Some(v1::CheckInfo {
        r#type: Some(v1::check_info::Type::Command.into()),
        command: Some(v1::check_info::Command {
            command: v1::CommandInfo { value: Some(probe.to_owned()), ..v1::CommandInfo::default() },
        }),
        delay_seconds: Some(0.0),
        interval_seconds: Some(0.05),
        ..v1::CheckInfo::default()
    });
    info.health_check = Some(v1::HealthCheck {
        r#type: Some(v1::health_check::Type::Tcp.into()),
        tcp: Some(v1::health_check::TcpCheckInfo { port: port.into(), protocol: None }),
        delay_seconds: Some(0.0),
        interval_seconds: Some(0.05),
        consecutive_failures: Some(1000),
        ..v1::HealthCheck::default()
    });
    session.run(&framework(true), ::api::convert::task::from_v1(&info).unwrap());
    session.follow("t", TaskState::Running);
    let (mut exit_code, mut healthy) = (None, None);
    while exit_code.is_none() || healthy.is_none() {
        let status = session.update();
        session.acknowledge(&status);
        assert_eq!(status.state, TaskState::Running, "{}", agent.log());
        let said: v1::TaskStatus = ::api::protobuf::decode(&status.body.0).unwrap();
        exit_code = exit_code.or(said.check_status.and_then(|it| it.command?.exit_code));
        // Between two of its connections nobody listens.
        healthy = healthy.or(status.healthy);
    }
    assert_eq!((exit_code, healthy), (Some(0), Some(true)));
}
