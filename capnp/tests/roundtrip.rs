//! Whatever one side says, the other hears: every message of both menus, and every file of the checkpoint. The usage report
//! has tests of its own.

use bytes::Bytes;
use model::agent_info::AgentInfo;
use model::body::Body;
use model::executor::ExecutorInfo;
use model::framework::{Capabilities, FrameworkInfo};
use model::id::{MasterId, UpdateId};
use model::resources::{Disk, Reservation, Resource, Resources};
use model::role::Role;
use model::task::{ContainerStatus, Reason, Source, TaskInfo, TaskState, TaskStatus};
use model::time::UnixTime;
use std::sync::Arc;
use wire::Incoming;
use wire::checkpoint::{AgentFile, ExecutorFile, ProcessFile, TaskFile, UpdateRecord};
use wire::frame::HEADER_BYTES;
use wire::message::{Reregister, RunningExecutor, RunningTask, ToAgent, ToMaster};

/// One of every kind of resource there is.
fn resources() -> Resources {
    let role = |name| Role::parse(name).expect("a role");
    let mut all: Resources =
        "cpus:4.125;mem:1024;ports:[31000-31005, 31007-32000];zones:{a, b}".parse().expect("resources");
    let mut reserved = Resource::scalar("disk", "10".parse().expect("a number"));
    reserved.allocation = Some(role("eng/web"));
    let labels = vec![(Arc::from("k"), Some(Arc::from("v"))), (Arc::from("bare"), None)];
    let layer = |name, is_dynamic| Reservation {
        role: role(name),
        is_dynamic,
        principal: Some("ops".into()),
        labels: labels.clone(),
    };
    reserved.reservations = vec![layer("eng", false), layer("eng/web", true)];
    let body = Bytes::from_static(b"disk");
    reserved.disk = Some(Arc::new(Disk { persistence_id: Some("v1".into()), is_indivisible: true, body }));
    reserved.is_shared = true;
    all.add_part(&reserved);
    let mut revocable = Resource::scalar("cpus", "1".parse().expect("a number"));
    revocable.is_revocable = true;
    revocable.provider_id = Some("provider".into());
    all.add_part(&revocable);
    all
}

/// What an estimator says: revocable, and nobody's.
fn lent() -> Resources {
    let all: Resources = "cpus:1.5;mem:64;ports:[1-2]".parse().expect("resources");
    all.revocable()
}

fn framework() -> FrameworkInfo {
    FrameworkInfo {
        framework_id: Some("F-1".into()),
        name: "spark".into(),
        user: "root".into(),
        roles: vec![Role::star(), Role::parse("eng/web").expect("a role")],
        capabilities: Capabilities::GPU_RESOURCES.with(Capabilities::PARTITION_AWARE),
        failover_timeout_ns: 100_000_000_000,
        checkpoint: true,
        hostname: "h".into(),
        webui_url: Some("http://h:4040".into()),
        principal: None,
        body: Body::new(&b"framework"[..]),
    }
}

fn executor() -> ExecutorInfo {
    ExecutorInfo {
        executor_id: "E".into(),
        framework_id: Some("F-1".into()),
        name: Some("".into()),
        resources: resources(),
        shutdown_grace_ns: Some(0),
        body: Body::new(&b"executor"[..]),
    }
}

fn agent() -> AgentInfo {
    AgentInfo {
        hostname: "node-1".into(),
        address: "127.0.0.1:5051".parse().expect("an address"),
        total: resources(),
        boot_id: "boot".into(),
        version: "1.11.0".into(),
        body: Body::new(&b"agent"[..]),
    }
}

fn task() -> TaskInfo {
    TaskInfo {
        task_id: "T".into(),
        name: "a task".into(),
        agent_id: "S0".into(),
        resources: resources(),
        executor: Some(executor()),
        kill_grace_ns: Some(0),
        body: Body::new(vec![7; 100_000]),
    }
}

fn status() -> TaskStatus {
    TaskStatus {
        agent_id: Some("S0".into()),
        executor_id: Some("E".into()),
        timestamp: UnixTime(1_795_328_265_313_820),
        update_id: Some(UpdateId([9; 16])),
        healthy: Some(false),
        data: Some(Bytes::new()),
        container: Some(ContainerStatus {
            container_id: "C".into(),
            ip: "::1".parse().expect("an address"),
            executor_pid: Some(4711),
        }),
        body: Body::new(&b"status"[..]),
        ..TaskStatus::made_by(Source::Master, "T".into(), TaskState::Failed, Some(Reason(0)), "")
    }
}

fn to_master() -> Vec<ToMaster> {
    let bare = TaskStatus {
        source: None,
        reason: None,
        message: None,
        ..TaskStatus::made_by(Source::Agent, "T2".into(), TaskState::Starting, None, "")
    };
    let running = |pending| RunningTask {
        framework_id: "F-1".into(),
        task: task(),
        latest_state: TaskState::Running,
        pending,
        statuses: vec![status(), bare.clone()],
    };
    let executors = vec![RunningExecutor {
        framework_id: "F-1".into(),
        executor: executor(),
        container_id: "C".into(),
        is_command: true,
    }];
    let exited = |wait_status| ToMaster::ExecutorExited {
        framework_id: "F-1".into(),
        executor_id: "E".into(),
        container_id: "C".into(),
        wait_status,
    };
    vec![
        ToMaster::Register { info: agent() },
        ToMaster::Reregister(Reregister {
            agent_id: "S0".into(),
            info: agent(),
            frameworks: vec![framework(), FrameworkInfo { framework_id: None, ..framework() }],
            executors,
            tasks: vec![running(None), running(Some((TaskState::Starting, UpdateId([1; 16]))))],
            oversubscribed: lent(),
        }),
        ToMaster::Update {
            framework_id: "F-1".into(),
            status: status(),
            latest_state: TaskState::GoneByOperator,
        },
        ToMaster::Update { framework_id: "F-1".into(), status: bare, latest_state: TaskState::Starting },
        ToMaster::ExecutorMessage {
            framework_id: "F-1".into(),
            executor_id: "E".into(),
            data: Bytes::from_static(b"\0\xff"),
        },
        exited(Some(9)),
        exited(Some(0)),
        exited(None),
        ToMaster::Pong { sequence: u64::MAX },
        ToMaster::Unregister,
        ToMaster::Oversubscribed { total: lent() },
        ToMaster::Oversubscribed { total: Resources::default() },
    ]
}

fn to_agent() -> Vec<ToAgent> {
    let command = TaskInfo { executor: None, kill_grace_ns: None, ..task() };
    vec![
        ToAgent::Registered {
            agent_id: "S0".into(),
            master_id: MasterId::new("m"),
            ping_timeout_ms: 75_000,
            reconcile: vec![("F-1".into(), "T".into())],
        },
        ToAgent::Refused { reason: "gone".into() },
        ToAgent::Run { framework: framework(), task: task(), starts_executor: true },
        ToAgent::Run { framework: framework(), task: command, starts_executor: false },
        ToAgent::RunGroup { framework: framework(), tasks: vec![task(), task()], starts_executor: true },
        ToAgent::Kill { framework_id: "F-1".into(), task_id: "T".into(), grace_ns: Some(5) },
        ToAgent::Kill { framework_id: "F-1".into(), task_id: "T".into(), grace_ns: None },
        ToAgent::Acknowledge {
            framework_id: "F-1".into(),
            task_id: "T".into(),
            update_id: UpdateId([3; 16]),
        },
        ToAgent::SchedulerMessage { framework_id: "F-1".into(), executor_id: "E".into(), data: Bytes::new() },
        ToAgent::ShutdownExecutor { framework_id: "F-1".into(), executor_id: "E".into() },
        ToAgent::ShutdownFramework { framework_id: "F-1".into() },
        ToAgent::UpdateFramework { framework: framework() },
        ToAgent::UpdateTotal { total: resources() },
        ToAgent::Ping { sequence: 7 },
    ]
}

#[test]
fn a_group_of_no_tasks_is_refused() {
    let frame = wire::encode_to_agent(&ToAgent::RunGroup {
        framework: framework(),
        tasks: Vec::new(),
        starts_executor: true,
    });
    let error = wire::decode_to_agent(&frame.expect("short enough")[HEADER_BYTES..]).expect_err("no tasks");
    assert!(error.to_string().contains("runGroup.tasks"), "{error}");
}

/// Else an agent could raise what it has behind the registry's back.
#[test]
fn what_is_lent_out_must_be_revocable() {
    for total in [resources(), "cpus:1".parse().expect("resources"), lent().allocated_to(&Role::star())] {
        let frame = wire::encode_to_master(&ToMaster::Oversubscribed { total }).expect("short enough");
        let error = wire::decode_to_master(&frame[HEADER_BYTES..]).expect_err("not lent");
        assert!(error.to_string().contains("oversubscribed"), "{error}");
    }
}

#[test]
fn every_message_arrives_as_it_was_sent() {
    for message in to_master() {
        let frame = wire::encode_to_master(&message).expect("short enough");
        match wire::decode_to_master(&frame[HEADER_BYTES..]) {
            Ok(Incoming::Message(heard)) => assert_eq!(*heard, message),
            other => panic!("{message:?} was heard as {other:?}"),
        }
    }
    for message in to_agent() {
        let frame = wire::encode_to_agent(&message).expect("short enough");
        assert_eq!(wire::decode_to_agent(&frame[HEADER_BYTES..]), Ok(message));
    }
}

#[test]
fn a_checkpoint_is_read_as_it_was_written() {
    let file = AgentFile { agent_id: "S0".into(), master_id: "m".into(), boot_id: "b".into(), info: agent() };
    assert_eq!(AgentFile::decode(&file.encode()), Ok(file));
    let framework = framework();
    assert_eq!(
        wire::checkpoint::decode_framework(&wire::checkpoint::encode_framework(&framework)),
        Ok(framework)
    );
    let file = ExecutorFile { executor: executor(), is_command: true, container_id: "C".into() };
    assert_eq!(ExecutorFile::decode(&file.encode()), Ok(file));
    let file = ProcessFile { pid: 1, start_ticks: u64::MAX, cgroup: None };
    assert_eq!(ProcessFile::decode(&file.encode()), Ok(file));
    for group in [None, Some(["T".into(), "U".into()].into())] {
        let file = TaskFile { task: task(), group };
        assert_eq!(TaskFile::decode(&file.encode()), Ok(file));
    }
    for record in [UpdateRecord::Update(Box::new(status())), UpdateRecord::Acknowledged(UpdateId([5; 16]))] {
        let frame = record.encode().expect("short enough");
        assert_eq!(UpdateRecord::decode(&frame[HEADER_BYTES..]), Ok(record));
    }
}

/// A peer may send anything; the worst it gets is an error. Bits are flipped and tails cut in every message.
#[test]
fn damaged_messages_are_refused_without_harm() {
    let mut random = fastrand::Rng::with_seed(7);
    let mut refused = 0;
    let frames =
        to_master().iter().map(|m| wire::encode_to_master(m).expect("short enough")).collect::<Vec<_>>();
    for frame in &frames {
        for _ in 0..300 {
            let mut payload = frame[HEADER_BYTES..].to_vec();
            let head = payload.len().min(2000);
            for _ in 0..random.usize(1..4) {
                payload[random.usize(..head)] ^= 1 << random.u8(..8);
            }
            payload.truncate(random.usize(payload.len() / 2..=payload.len()) / 8 * 8);
            refused += usize::from(wire::decode_to_master(&payload).is_err());
            let _ = wire::decode_to_agent(&payload);
        }
    }
    assert!(refused > frames.len() * 100, "only {refused} damaged messages were noticed");
}

#[test]
fn an_error_names_the_field() {
    let mut framework = framework();
    framework.framework_id = Some("../etc".into());
    let frame = wire::encode_to_agent(&ToAgent::UpdateFramework { framework }).expect("short enough");
    let error = wire::decode_to_agent(&frame[HEADER_BYTES..]).expect_err("an id that leaves its directory");
    assert!(error.to_string().contains("framework.frameworkId"), "{error}");
}
