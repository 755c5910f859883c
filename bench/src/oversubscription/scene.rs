//! A real agent with a master that is played, which gives it what it is told to: tasks that were paid for, and tasks on
//! revocable resources. Who offers those, and on what estimate, is not what is measured here.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use api::v1;
use model::framework::FrameworkInfo;
use model::id::{AgentId, FrameworkId, MasterId, TaskId};
use model::resources::Resource;
use model::task::{TaskInfo, TaskState, TaskStatus};
use wire::Incoming;
use wire::frame::Reader;
use wire::message::{ToAgent, ToMaster};

use crate::{clock, daemons};

/// For anything that is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

pub(super) struct Scene {
    agent: Child,
    stream: TcpStream,
    reader: Reader,
    framework: FrameworkInfo,
    folder: PathBuf,
    cgroup: PathBuf,
}

impl Drop for Scene {
    fn drop(&mut self) {
        let _ = std::fs::write(self.cgroup.join("cgroup.kill"), "1");
        let _ = self.agent.kill();
        let _ = self.agent.wait();
        let deadline = clock::now() + PATIENCE;
        // Who was killed is still dying for a moment.
        while self.cgroup.exists() && clock::now() < deadline {
            remove_groups(&self.cgroup);
            clock::wait_until(clock::now() + Duration::from_millis(5));
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn remove_groups(group: &Path) {
    for entry in std::fs::read_dir(group).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|it| it.is_dir()) {
            remove_groups(&entry.path());
        }
    }
    let _ = std::fs::remove_dir(group);
}

/// A task that runs.
pub(super) struct Task {
    pub(super) cgroup: PathBuf,
    id: String,
}

impl Scene {
    /// An agent with these flags, registered.
    pub(super) fn start(flags: &[&str]) -> anyhow::Result<Self> {
        let programs = daemons::programs_with(&["ingot-agent"])?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let folder = std::env::temp_dir().join(format!("ingot-bench-{}", std::process::id()));
        std::fs::create_dir_all(&folder)?;
        let name = format!("ingot-bench-{}", std::process::id());
        let log = std::fs::File::create(folder.join("agent.log"))?;
        let agent = Command::new(programs.join("ingot-agent"))
            .args(["--ip=127.0.0.1", "--port=0", "--hostname=localhost", "--bpf-pins=off"])
            .arg("--resources=cpus:16;mem:4096;disk:1024")
            .args([format!("--master={}", listener.local_addr()?), format!("--cgroups-root={name}")])
            .arg(format!("--work-dir={}", folder.join("work").display()))
            .args(flags)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .context("start ingot-agent")?;
        let (stream, _) = listener.accept()?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        let cgroup = cgroup_root()?.join(name);
        let (reader, framework) = (Reader::default(), framework()?);
        let mut scene = Self { agent, stream, reader, framework, folder, cgroup };
        let mut preamble = [0; 8];
        scene.stream.read_exact(&mut preamble)?;
        ensure!(&preamble == wire::PREAMBLE, "another protocol");
        let ToMaster::Register { .. } = scene.hear()? else { bail!("the agent does not introduce itself") };
        scene.say(&ToAgent::Registered {
            agent_id: AgentId::new("M-S0"),
            master_id: MasterId::new("M"),
            ping_timeout_ms: 600_000,
            reconcile: Vec::new(),
        })?;
        Ok(scene)
    }

    /// Runs `ingot-bench workload ARGUMENTS`, until it is told to run.
    pub(super) fn run(&mut self, id: &str, arguments: &str, is_revocable: bool) -> anyhow::Result<Task> {
        let program = std::env::current_exe()?;
        let task = task(id, &format!("exec {} workload {arguments}", program.display()), is_revocable)?;
        let framework = self.framework.clone();
        self.say(&ToAgent::Run { framework, task, starts_executor: true })?;
        let told = self.follow(id, |state| state == TaskState::Running)?;
        let container = told.container.as_ref().context("it runs in no container")?;
        let cgroup = self.cgroup.join(container.container_id.as_str());
        ensure!(cgroup.exists(), "no cgroup {}", cgroup.display());
        Ok(Task { cgroup, id: id.to_owned() })
    }

    /// Until it has ended, however.
    pub(super) fn kill(&mut self, task: &Task) -> anyhow::Result<()> {
        let (framework_id, task_id) = (FrameworkId::new("F"), TaskId::new(&*task.id));
        self.say(&ToAgent::Kill { framework_id, task_id, grace_ns: Some(0) })?;
        self.ended(task).map(drop)
    }

    pub(super) fn ended(&mut self, task: &Task) -> anyhow::Result<TaskStatus> {
        self.follow(&task.id, TaskState::is_terminal)
    }

    fn follow(&mut self, id: &str, until: impl Fn(TaskState) -> bool) -> anyhow::Result<TaskStatus> {
        loop {
            let ToMaster::Update { status, .. } = self.hear()? else { continue };
            let (framework_id, task_id) = (FrameworkId::new("F"), status.task_id.clone());
            let update_id = status.update_id.context("an update without an id")?;
            self.say(&ToAgent::Acknowledge { framework_id, task_id, update_id })?;
            if status.task_id.as_str() != id {
                continue;
            }
            if until(status.state) {
                return Ok(status);
            }
            ensure!(!status.state.is_terminal(), "{id}: {:?}: {:?}", status.state, status.message);
        }
    }

    fn say(&mut self, message: &ToAgent) -> anyhow::Result<()> {
        Ok(self.stream.write_all(&wire::encode_to_agent(message)?)?)
    }

    /// What the agent says next, but for usage reports.
    fn hear(&mut self) -> anyhow::Result<ToMaster> {
        loop {
            while let Some(frame) = self.reader.next()? {
                if let Incoming::Message(message) = wire::decode_to_master(frame)? {
                    return Ok(*message);
                }
            }
            match self.stream.read(self.reader.space()) {
                Ok(count) if count > 0 => self.reader.filled(count),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Ok(_) => bail!("the agent hung up: {}", self.log()),
                Err(error) => return Err(error).with_context(|| self.log()),
            }
        }
    }

    /// The end of what the agent has said.
    pub(super) fn log(&self) -> String {
        let text = std::fs::read_to_string(self.folder.join("agent.log")).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(10)..].join("\n")
    }
}

/// Waits until it holds; looks as often as it can without taking a CPU for itself.
pub(super) fn until(what: &str, mut holds: impl FnMut() -> bool) -> anyhow::Result<Instant> {
    let deadline = clock::now() + PATIENCE;
    while !holds() {
        ensure!(clock::now() < deadline, "never: {what}");
        clock::wait_until(clock::now() + Duration::from_micros(500));
    }
    Ok(clock::now())
}

/// Where cgroup2 is mounted.
fn cgroup_root() -> anyhow::Result<PathBuf> {
    let mounts = std::fs::read_to_string("/proc/self/mounts")?;
    let point = mounts.lines().find_map(|line| {
        let mut words = line.split(' ');
        let (_, point, kind) = (words.next()?, words.next()?, words.next()?);
        (kind == "cgroup2").then(|| PathBuf::from(point))
    });
    point.context("no cgroup2 file system is mounted")
}

fn framework() -> anyhow::Result<FrameworkInfo> {
    let info = v1::FrameworkInfo {
        id: Some(v1::FrameworkId { value: "F".to_owned() }),
        name: "ingot-bench".to_owned(),
        user: "root".to_owned(),
        ..v1::FrameworkInfo::default()
    };
    Ok(api::convert::framework::from_v1(&info)?)
}

fn task(id: &str, shell: &str, is_revocable: bool) -> anyhow::Result<TaskInfo> {
    let scalar = |name: &str, value| v1::Resource {
        name: name.to_owned(),
        r#type: v1::value::Type::Scalar.into(),
        scalar: Some(v1::value::Scalar { value }),
        allocation_info: Some(v1::resource::AllocationInfo { role: Some("*".to_owned()) }),
        ..v1::Resource::default()
    };
    let info = v1::TaskInfo {
        task_id: v1::TaskId { value: id.to_owned() },
        name: id.to_owned(),
        agent_id: v1::AgentId { value: "M-S0".to_owned() },
        command: Some(v1::CommandInfo { value: Some(shell.to_owned()), ..v1::CommandInfo::default() }),
        resources: vec![scalar("cpus", 1.0), scalar("mem", 256.0)],
        ..v1::TaskInfo::default()
    };
    let mut task = api::convert::task::from_v1(&info)?;
    task.resources = task.resources.iter().map(|part| Resource { is_revocable, ..part.clone() }).collect();
    Ok(task)
}
