//! What an agent comes back to, and what it does about a disk that fails it and tasks that do not behave: each with the
//! outcome that docs/recovery.md states.

use crate::agent::{Place, until};
use crate::master::{Introduction, Master, command, framework};
use crate::needs;
use ::api::v1;
use model::task::{Reason, TaskInfo, TaskState};
use nix::sys::signal::Signal;
use std::net::TcpStream;
use std::path::PathBuf;
use std::time::Duration;
use wire::checkpoint::{AgentFile, ProcessFile};
use wire::message::ToMaster;

/// A task with an executor of its own, which is a shell line and never subscribes.
fn with_executor(task_id: &str, line: &str) -> TaskInfo {
    let task = command(task_id, "");
    let mut info: v1::TaskInfo = ::api::protobuf::decode(&task.body.0).unwrap();
    let command = v1::CommandInfo { value: Some(line.to_owned()), ..v1::CommandInfo::default() };
    info.command = None;
    info.executor = Some(v1::ExecutorInfo {
        executor_id: v1::ExecutorId { value: format!("{task_id}-executor") },
        framework_id: Some(v1::FrameworkId { value: "F".to_owned() }),
        command: Some(command),
        ..v1::ExecutorInfo::default()
    });
    ::api::convert::task::from_v1(&info).unwrap()
}

fn is_alive(pid: u32) -> bool {
    agent::sys::processes::stat(pid.cast_signed()).is_some_and(|stat| !stat.is_zombie())
}

/// The first process of the only container there is, once it is on disk.
fn written_process(place: &Place) -> u32 {
    let find = || {
        let files = crate::restart::files(&place.work_dir().join("meta"));
        files.into_iter().find(|it| it.ends_with("process.info"))
    };
    until("its process is written down", || find().is_some());
    ProcessFile::decode(&std::fs::read(find().unwrap()).unwrap()).unwrap().pid
}

fn info_file(place: &Place) -> PathBuf {
    place.work_dir().join("meta/slaves/latest/agent.info")
}

/// After a restart all executors come back at once. Whom the kernel turned away would try again after a second, and then after
/// two more; after `--executor-reregistration-timeout`, which is two, an executor is given up.
#[test]
fn executors_that_come_back_at_once_find_room() {
    let (place, master) = (Place::new(&[]), Master::start());
    let (agent, mut session) = place.start(&master);
    session.register();
    agent.signal(Signal::SIGSTOP);
    let at_once = Duration::from_millis(500) * needs::slowdown();
    let connect = |_| TcpStream::connect_timeout(&agent.address, at_once);
    let waiting: Result<Vec<_>, _> = (0..500).map(connect).collect();
    agent.signal(Signal::SIGCONT);
    waiting.unwrap();
}

#[test]
fn how_an_executor_ended_is_known_though_no_agent_was_there() {
    let (place, master) = (Place::new(&[]), Master::start());
    let (agent, mut session) = place.start(&master);
    session.register();
    let (go, begun) = (place.work_dir().join("go"), place.work_dir().join("begun"));
    let line =
        format!("echo > {}; while [ ! -e {} ]; do sleep 0.01; done; exit 7", begun.display(), go.display());
    session.run(&framework(true), with_executor("t", &line));
    until("it runs", || begun.exists());
    written_process(&place);
    let containers = std::fs::read_dir(place.work_dir().join("containers")).unwrap();
    let record = containers.map(|it| it.unwrap().path().join("exit")).next().unwrap();
    agent.kill();
    std::fs::write(&go, "").unwrap();
    until("its end is written down", || std::fs::read(&record).unwrap().iter().any(|byte| *byte != 0));

    let (_agent, mut session) = place.start(&master);
    session.register();
    // Its end may be known before there is a master to talk to: the framework hears how it ended all the same.
    let Introduction::Again(known) = &session.introduction else { panic!("it forgot its id") };
    assert_eq!(known.executors.len(), 1, "{known:?}");
    let (mut exit, mut is_told) = (None, false);
    while exit.is_none() || !is_told {
        match session.next() {
            ToMaster::ExecutorExited { wait_status, .. } => exit = Some(wait_status),
            ToMaster::Update { status, .. } => {
                session.acknowledge(&status);
                is_told |= status.state.is_terminal();
            }
            _ => {}
        }
    }
    assert_eq!(exit, Some(Some(7 << 8)));
    until("the container is forgotten", || !record.exists());
}

#[test]
fn an_executor_that_never_subscribes_is_ended() {
    // It has to get as far as its trap.
    let timeout = format!("--executor-registration-timeout={}secs", 10 * needs::slowdown());
    let (place, master) = (Place::new(&[&timeout]), Master::start());
    let (_agent, mut session) = place.start(&master);
    session.register();
    let ready = place.work_dir().join("ready");
    let line = format!("trap '' TERM; echo $$ > {}; while :; do sleep 1000; done", ready.display());
    session.run(&framework(false), with_executor("t", &line));
    let read = || std::fs::read_to_string(&ready).unwrap_or_default();
    until("it runs", || read().ends_with('\n'));
    let pid = read().trim().parse().unwrap();
    let failed = session.update();
    session.acknowledge(&failed);
    assert_eq!(
        (failed.state, failed.reason),
        (TaskState::Failed, Some(Reason::EXECUTOR_REGISTRATION_TIMEOUT))
    );
    assert!(!is_alive(pid));
}

/// The executor is not its child, and what would tell of its end is killed with it.
#[test]
fn an_agent_that_came_back_knows_how_an_executor_ended_that_it_killed() {
    let (place, master) = (Place::new(&["--executor-reregistration-timeout=100ms"]), Master::start());
    let (agent, mut session) = place.start(&master);
    session.register();
    let begun = place.work_dir().join("begun");
    let line = format!("echo > {}; exec sleep 1000", begun.display());
    session.run(&framework(true), with_executor("t", &line));
    until("it runs", || begun.exists());
    written_process(&place);
    agent.kill();
    let (_agent, mut session) = place.start(&master);
    session.register();
    let mut exit = None;
    while exit.is_none() {
        match session.next() {
            ToMaster::ExecutorExited { wait_status, .. } => exit = Some(wait_status),
            ToMaster::Update { status, .. } => session.acknowledge(&status),
            _ => {}
        }
    }
    assert_eq!(exit, Some(Some(9)));
}

/// It subscribes, hears SHUTDOWN, ignores that and SIGTERM.
#[test]
fn an_executor_that_does_not_end_is_ended() {
    use std::io::{Read, Write};
    let grace = std::time::Duration::from_millis(300);
    let flags = ["--executor-shutdown-grace-period=300ms"];
    let (place, master) = (Place::new(&flags), Master::start());
    let (agent, mut session) = place.start(&master);
    session.register();
    let ready = place.work_dir().join("ready");
    let line = format!("trap '' TERM; echo $$ > {}; while :; do sleep 1000; done", ready.display());
    session.run(&framework(false), with_executor("t", &line));
    let read = || std::fs::read_to_string(&ready).unwrap_or_default();
    until("it runs", || read().ends_with('\n'));
    let pid = read().trim().parse().unwrap();
    let body = r#"{"type":"SUBSCRIBE","framework_id":{"value":"F"},"executor_id":{"value":"t-executor"},"subscribe":{}}"#;
    let mut stream = std::net::TcpStream::connect(agent.address).unwrap();
    stream.set_read_timeout(Some(crate::agent::patience())).unwrap();
    let head = "POST /slave(1)/api/v1/executor HTTP/1.1\r\nHost: a\r\nContent-Type: application/json";
    write!(stream, "{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).unwrap();
    let mut heard = Vec::new();
    let mut until_heard = |what: &str| {
        let mut block = [0; 4096];
        while !String::from_utf8_lossy(&heard).contains(what) {
            let count = stream.read(&mut block).unwrap();
            assert!(count > 0, "the stream ended before {what}: {}", String::from_utf8_lossy(&heard));
            heard.extend_from_slice(&block[..count]);
        }
    };
    until_heard("\"LAUNCH\"");
    let asked = std::time::Instant::now();
    session.say(&wire::message::ToAgent::ShutdownFramework { framework_id: "F".into() });
    until_heard("\"SHUTDOWN\"");
    until("it is ended", || !is_alive(pid));
    assert!(asked.elapsed() >= grace, "{:?}", asked.elapsed());
}

#[test]
fn a_changed_agent_is_refused_or_accepted_as_its_operator_says() {
    let place = Place::new(&[]);
    let master = Master::start();
    let (agent, mut session) = place.start(&master);
    session.register();
    until("the agent is checkpointed", || info_file(&place).exists());
    agent.kill();

    let refused = |flags: &[&str], expect: &str| {
        let output = place.again_with(flags).run_to_its_end(&master);
        assert_eq!(output.status.code(), Some(1));
        let log = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(log.contains(expect) && log.contains("meta/slaves/latest"), "{log}");
    };
    let (more, less) = ("--resources=cpus:8;mem:1024;disk:1024", "--resources=cpus:2;mem:1024;disk:1024");
    let additive = "--reconfiguration-policy=additive";
    refused(&[more], "resources were");
    refused(&["--attributes=rack:r1"], "attribute rack:r1 is new");
    refused(&[additive, less], "resources were");
    refused(&[additive, "--hostname=other"], "host name was localhost, is other");

    let (_agent, session) = place.again_with(&[additive, more, "--attributes=rack:r1"]).start(&master);
    let Introduction::Again(known) = &session.introduction else { panic!("it forgot its id") };
    assert_eq!(known.agent_id.as_str(), "M-S0");
    assert_eq!(known.info.total.scalar("cpus").milli(), 8000);
}

#[test]
fn after_a_reboot_tasks_are_gone_and_sandboxes_are_left() {
    let (place, master) = (Place::new(&[]), Master::start());
    let (agent, mut session) = place.start(&master);
    session.register();
    session.run(&framework(true), command("t", "echo kept; sleep 1000"));
    let told = session.follow("t", TaskState::Running);
    let container = told.last().unwrap().container.clone().unwrap();
    let pid = written_process(&place);
    let stdout = agent.sandbox(container.container_id.as_str()).join("stdout");
    until("it has printed", || std::fs::read_to_string(&stdout).is_ok_and(|text| text == "kept\n"));
    agent.kill();
    // What a reboot does: everything ends, and the kernel calls its boot otherwise.
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid.cast_signed()), nix::sys::signal::Signal::SIGKILL)
        .unwrap();
    let file = std::fs::read(info_file(&place)).unwrap();
    let file = AgentFile { boot_id: "another".into(), ..AgentFile::decode(&file).unwrap() };
    std::fs::write(info_file(&place), file.encode()).unwrap();

    let (agent, mut session) = place.start(&master);
    let Introduction::Again(known) = &session.introduction else { panic!("it forgot its id") };
    assert!(known.executors.is_empty(), "{:?}", known.executors);
    session.register();
    let gone = loop {
        let status = session.update();
        session.acknowledge(&status);
        if status.state.is_terminal() {
            break status;
        }
    };
    // In the words of a framework that does not know TASK_GONE.
    assert_eq!((gone.state, gone.reason), (TaskState::Lost, Some(Reason::AGENT_RESTARTED)));
    let sandbox = agent.sandbox(container.container_id.as_str());
    assert_eq!(std::fs::read_to_string(sandbox.join("stdout")).unwrap(), "kept\n");
    let file = AgentFile::decode(&std::fs::read(info_file(&place)).unwrap()).unwrap();
    assert_ne!(&*file.boot_id, "another", "the next restart would take this for yet another boot");
}

/// An agent whose disk refuses promises nothing, loses nothing, and goes on when the disk does.
#[test]
fn a_full_disk_delays_tasks_and_loses_none() {
    let Some(disk) = Disk::small("a_full_disk_delays_tasks_and_loses_none") else { return };
    let (place, master) = (Place::on(&disk.folder, &[]), Master::start());
    let (agent, mut session) = place.start(&master);
    session.register();
    session.run(&framework(true), command("before", "sleep 1000"));
    session.follow("before", TaskState::Running);

    disk.fill();
    session.run(&framework(true), command("full", "sleep 1000"));
    until("the agent says why", || agent.log().contains("checkpoint cannot be written"));
    assert!(agent.log().contains("No space left on device"), "{}", agent.log());
    assert_eq!(agent.get("/health").status, 200);
    disk.empty();
    session.follow("full", TaskState::Running);
    // The one of before went on all the time.
    session.kill("before", Some(0));
    session.follow("before", TaskState::Killed);
}

#[test]
fn a_disk_that_cannot_be_written_to_delays_tasks_and_loses_none() {
    let name = "a_disk_that_cannot_be_written_to_delays_tasks_and_loses_none";
    let Some(disk) = Disk::small(name) else { return };
    let (place, master) = (Place::on(&disk.folder, &[]), Master::start());
    let (agent, mut session) = place.start(&master);
    session.register();
    until("the agent is checkpointed", || info_file(&place).exists());
    disk.set_read_only(true);
    session.run(&framework(true), command("read-only", "sleep 1000"));
    until("the agent says why", || agent.log().contains("Read-only file system"));
    assert_eq!(agent.get("/health").status, 200);
    disk.set_read_only(false);
    session.follow("read-only", TaskState::Running);
}

/// The output is a plain file in the sandbox: the disk is the limit, and the agent is not between the task and it.
#[test]
fn a_flood_of_output_is_written_and_troubles_nobody() {
    const FLOOD_BYTES: u64 = 64 << 20;
    let (place, master) = (Place::new(&[]), Master::start());
    let (agent, mut session) = place.start(&master);
    session.register();
    session.run(&framework(false), command("t", &format!("yes | head -c {FLOOD_BYTES}")));
    let told = session.follow("t", TaskState::Running);
    assert_eq!(agent.get("/health").status, 200);
    session.follow("t", TaskState::Finished);
    let container = told.last().unwrap().container.clone().unwrap();
    let stdout = agent.sandbox(container.container_id.as_str()).join("stdout");
    assert_eq!(std::fs::metadata(stdout).unwrap().len(), FLOOD_BYTES);
}

/// A file system of a few megabytes.
struct Disk {
    folder: PathBuf,
    _above: tempfile::TempDir,
}

impl Disk {
    fn small(name: &str) -> Option<Self> {
        if !nix::unistd::geteuid().is_root() {
            assert!(std::env::var("REQUIRE").as_deref() != Ok("all"), "{name} needs root");
            eprintln!("SKIP {name}: it needs root, to mount a small disk");
            return None;
        }
        let above = tempfile::tempdir().unwrap();
        let folder = above.path().join("disk");
        std::fs::create_dir(&folder).unwrap();
        let (kind, flags) = (Some("tmpfs"), nix::mount::MsFlags::empty());
        nix::mount::mount(kind, &folder, kind, flags, Some("size=4m")).unwrap();
        Some(Self { folder, _above: above })
    }

    fn fill(&self) {
        use std::io::Write;
        let mut file = std::fs::File::create(self.folder.join("filler")).unwrap();
        while file.write_all(&[1; 4096]).is_ok() {}
    }

    fn empty(&self) {
        std::fs::remove_file(self.folder.join("filler")).unwrap();
    }

    fn set_read_only(&self, is_read_only: bool) {
        use nix::mount::MsFlags;
        let flags = if is_read_only { MsFlags::MS_RDONLY } else { MsFlags::empty() };
        // Refused while a file is open for writing, as the agent's are for moments.
        let remount = || {
            let flags = MsFlags::MS_REMOUNT | flags;
            nix::mount::mount(None::<&str>, &self.folder, None::<&str>, flags, None::<&str>).is_ok()
        };
        until("the disk is mounted otherwise", remount);
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = nix::mount::umount2(&self.folder, nix::mount::MntFlags::MNT_DETACH);
    }
}
