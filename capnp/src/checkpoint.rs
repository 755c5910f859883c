//! What an agent writes down for its later self. Each file is one message; a task's updates are a log of frames.
//!
//! Every file begins with the version that wrote it. A newer version reads older files; an older one refuses newer files.

use crate::convert::{arc, id, info, list_len, read_slice, status, text, update_id, write_message};
use crate::error::WireError;
use crate::frame::{FrameError, HEADER_BYTES, seal};
use crate::generated::checkpoint_capnp::{
    agent_file, drain_file, executor_file, framework_file, limits_file, process_file, task_file,
    update_record,
};
use model::agent_info::AgentInfo;
use model::executor::ExecutorInfo;
use model::framework::FrameworkInfo;
use model::id::{AgentId, ContainerId, MasterId, TaskId, UpdateId};
use model::task::{TaskInfo, TaskStatus};
use model::time::UnixTime;
use std::sync::Arc;

/// The version that is written.
pub const VERSION: u16 = 1;

/// Who this agent is.
#[derive(Clone, Debug, PartialEq)]
pub struct AgentFile {
    pub agent_id: AgentId,
    pub master_id: MasterId,
    pub boot_id: Arc<str>,
    pub info: AgentInfo,
}

/// One executor and the container it runs in.
#[derive(Clone, Debug, PartialEq)]
pub struct ExecutorFile {
    pub executor: ExecutorInfo,
    pub is_command: bool,
    pub container_id: ContainerId,
}

/// The first process of a container: a pid alone may be another's by now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessFile {
    pub pid: u32,
    /// Field 22 of `/proc/PID/stat`, clock ticks after boot.
    pub start_ticks: u64,
    pub cgroup: Option<String>,
}

/// Limits of a container that an operator has set while it ran.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LimitsFile {
    /// By name, in thousandths; `None`: no limit.
    pub limits: Vec<(String, Option<u64>)>,
    /// Lines of `io.max`.
    pub io_max: Vec<String>,
}

/// An operator wants the agent empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DrainFile {
    /// Bounds the time that tasks have to end by themselves.
    pub max_grace_ns: Option<u64>,
    pub marks_gone: bool,
    /// When the agent was told.
    pub started: UnixTime,
}

/// One task of an executor.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskFile {
    pub task: TaskInfo,
    /// All tasks of its group, itself among them; `None` if it came alone.
    pub group: Option<Arc<[TaskId]>>,
}

/// One entry of a task's log of updates.
#[derive(Clone, Debug, PartialEq)]
pub enum UpdateRecord {
    Update(Box<TaskStatus>),
    Acknowledged(UpdateId),
}

fn check_version(found: u16) -> Result<(), WireError> {
    if found > VERSION { Err(WireError::Version { found, known: VERSION }) } else { Ok(()) }
}

impl AgentFile {
    pub fn encode(&self) -> Vec<u8> {
        let mut builder = capnp::message::Builder::new_default();
        let mut file = builder.init_root::<agent_file::Builder<'_>>();
        file.set_version(VERSION);
        file.set_agent_id(self.agent_id.as_str());
        file.set_master_id(self.master_id.as_str());
        file.set_boot_id(&self.boot_id);
        info::write_agent(&self.info, file.init_info());
        write_message(&builder, 0)
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let reader = read_slice(bytes)?;
        let file: agent_file::Reader<'_> = reader.get_root()?;
        check_version(file.get_version())?;
        Ok(Self {
            agent_id: id(file.get_agent_id(), "agentId")?,
            master_id: id(file.get_master_id(), "masterId")?,
            boot_id: arc(file.get_boot_id(), "bootId")?,
            info: info::read_agent(file.get_info()?)?,
        })
    }
}

/// A framework's file.
pub fn encode_framework(framework: &FrameworkInfo) -> Vec<u8> {
    let mut builder = capnp::message::Builder::new_default();
    let mut file = builder.init_root::<framework_file::Builder<'_>>();
    file.set_version(VERSION);
    info::write_framework(framework, file.init_framework());
    write_message(&builder, 0)
}

pub fn decode_framework(bytes: &[u8]) -> Result<FrameworkInfo, WireError> {
    let reader = read_slice(bytes)?;
    let file: framework_file::Reader<'_> = reader.get_root()?;
    check_version(file.get_version())?;
    info::read_framework(file.get_framework()?)
}

impl ExecutorFile {
    pub fn encode(&self) -> Vec<u8> {
        let mut builder = capnp::message::Builder::new_default();
        let mut file = builder.init_root::<executor_file::Builder<'_>>();
        file.set_version(VERSION);
        file.set_is_command(self.is_command);
        file.set_container_id(self.container_id.as_str());
        info::write_executor(&self.executor, file.init_executor());
        write_message(&builder, 0)
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let reader = read_slice(bytes)?;
        let file: executor_file::Reader<'_> = reader.get_root()?;
        check_version(file.get_version())?;
        Ok(Self {
            executor: info::read_executor(file.get_executor()?)?,
            is_command: file.get_is_command(),
            container_id: id(file.get_container_id(), "containerId")?,
        })
    }
}

impl ProcessFile {
    pub fn encode(&self) -> Vec<u8> {
        let mut builder = capnp::message::Builder::new_default();
        let mut file = builder.init_root::<process_file::Builder<'_>>();
        file.set_version(VERSION);
        file.set_pid(self.pid);
        file.set_start_ticks(self.start_ticks);
        file.set_cgroup(self.cgroup.as_deref().unwrap_or_default());
        write_message(&builder, 0)
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let reader = read_slice(bytes)?;
        let file: process_file::Reader<'_> = reader.get_root()?;
        check_version(file.get_version())?;
        let cgroup = text(file.get_cgroup(), "cgroup")?;
        Ok(Self {
            pid: file.get_pid(),
            start_ticks: file.get_start_ticks(),
            cgroup: Some(cgroup).filter(|path| !path.is_empty()).map(str::to_owned),
        })
    }
}

impl LimitsFile {
    pub fn encode(&self) -> Vec<u8> {
        let mut builder = capnp::message::Builder::new_default();
        let mut file = builder.init_root::<limits_file::Builder<'_>>();
        file.set_version(VERSION);
        let mut limits = file.reborrow().init_limits(list_len(self.limits.len()));
        for (i, (name, milli)) in (0..).zip(&self.limits) {
            let mut limit = limits.reborrow().get(i);
            limit.set_name(name);
            limit.set_milli(milli.unwrap_or(0));
            limit.set_is_unlimited(milli.is_none());
        }
        let mut lines = file.init_io_max(list_len(self.io_max.len()));
        for (i, line) in (0..).zip(&self.io_max) {
            lines.set(i, line);
        }
        write_message(&builder, 0)
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let reader = read_slice(bytes)?;
        let file: limits_file::Reader<'_> = reader.get_root()?;
        check_version(file.get_version())?;
        let limit = |limit: limits_file::limit::Reader<'_>| {
            let milli = (!limit.get_is_unlimited()).then_some(limit.get_milli());
            Ok((text(limit.get_name(), "limits.name")?.to_owned(), milli))
        };
        let line = |line| Ok(text(line, "ioMax")?.to_owned());
        Ok(Self {
            limits: file.get_limits()?.iter().map(limit).collect::<Result<_, WireError>>()?,
            io_max: file.get_io_max()?.iter().map(line).collect::<Result<_, WireError>>()?,
        })
    }
}

impl DrainFile {
    pub fn encode(&self) -> Vec<u8> {
        let mut builder = capnp::message::Builder::new_default();
        let mut file = builder.init_root::<drain_file::Builder<'_>>();
        file.set_version(VERSION);
        file.set_has_max_grace(self.max_grace_ns.is_some());
        file.set_max_grace_ns(self.max_grace_ns.unwrap_or(0));
        file.set_marks_gone(self.marks_gone);
        file.set_started_us(self.started.0);
        write_message(&builder, 0)
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let reader = read_slice(bytes)?;
        let file: drain_file::Reader<'_> = reader.get_root()?;
        check_version(file.get_version())?;
        Ok(Self {
            max_grace_ns: file.get_has_max_grace().then_some(file.get_max_grace_ns()),
            marks_gone: file.get_marks_gone(),
            started: UnixTime(file.get_started_us()),
        })
    }
}

impl TaskFile {
    pub fn encode(&self) -> Vec<u8> {
        let mut builder = capnp::message::Builder::new_default();
        let mut file = builder.init_root::<task_file::Builder<'_>>();
        file.set_version(VERSION);
        let members = self.group.as_deref().unwrap_or_default();
        let mut group = file.reborrow().init_group(list_len(members.len()));
        for (i, member) in (0..).zip(members) {
            group.set(i, member.as_str());
        }
        info::write_task(&self.task, file.init_task());
        write_message(&builder, 0)
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let reader = read_slice(bytes)?;
        let file: task_file::Reader<'_> = reader.get_root()?;
        check_version(file.get_version())?;
        let members = file.get_group()?;
        let group: Arc<[TaskId]> =
            members.iter().map(|member| id(member, "group")).collect::<Result<_, _>>()?;
        let group = Some(group).filter(|group| !group.is_empty());
        Ok(Self { task: info::read_task(file.get_task()?)?, group })
    }
}

impl UpdateRecord {
    /// A whole frame, to be appended to the task's log.
    pub fn encode(&self) -> Result<Vec<u8>, FrameError> {
        let mut builder = capnp::message::Builder::new_default();
        let mut record = builder.init_root::<update_record::Builder<'_>>();
        match self {
            Self::Update(it) => status::write(it, record.init_update()),
            Self::Acknowledged(id) => record.set_acknowledged(&id.0),
        }
        seal(write_message(&builder, HEADER_BYTES))
    }

    /// `payload` is a frame without its header.
    pub fn decode(payload: &[u8]) -> Result<Self, WireError> {
        let reader = read_slice(payload)?;
        let record: update_record::Reader<'_> = reader.get_root()?;
        Ok(match record.which()? {
            update_record::Update(it) => Self::Update(Box::new(status::read(it?)?)),
            update_record::Acknowledged(id) => Self::Acknowledged(update_id(id?, "acknowledged")?),
        })
    }
}
