//! Everything the node can want. Effects are carried out in the order they are given.

use crate::node::drain::Drain;
use crate::node::input::{Caller, Session};
use crate::node::volumes::Changes;
use bytes::Bytes;
use model::agent_info::AgentInfo;
use model::executor::ExecutorInfo;
use model::framework::FrameworkInfo;
use model::id::{AgentId, ContainerId, ExecutorId, FrameworkId, MasterId, TaskId, UpdateId};
use model::task::{TaskInfo, TaskStatus};
use std::sync::Arc;
use wire::message::ToMaster;

/// Names one *Persist*.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// See the module's head.
#[derive(Debug)]
pub enum Effect {
    /// Find the leading master and connect to it; answered by *LinkUp* or *LinkDown*.
    Dial { session: Session },
    /// Drop that connection, whatever state it is in. No *LinkDown* follows.
    HangUp { session: Session },
    /// To the master; lost when the link is.
    Send(Box<ToMaster>),
    /// Make the record durable; answered by *Durable*. Records of one task are kept in this order.
    Persist { ticket: Ticket, record: Box<Record> },
    /// Answered by *Launched* or *LaunchFailed*.
    Launch(Box<Launch>),
    /// A container from before the restart: watch it again, or find that it has ended. Answered by *ContainerEnded* only.
    Reattach { run: Run, pid: Option<u32> },
    /// What the container may use has changed: [`crate::node::Node::shares`] of it.
    Resize { container_id: ContainerId },
    /// End every process of the container at once; *ContainerEnded* or *LaunchFailed* follows as always.
    Destroy { container_id: ContainerId },
    /// To a request of an executor.
    Answer { caller: Caller, answer: Answer },
    /// An event on a subscription stream.
    Tell { caller: Caller, event: ExecutorEvent },
    /// Close a subscription stream after what it was told. No *StreamClosed* follows.
    Close { caller: Caller },
    /// The executor's run is over and owes nothing, and that is on disk; sandbox and checkpoint may be collected.
    Retire { run: Run },
    /// The same of one task of a run that goes on, and may have many more.
    RetireTask { run: Run, task_id: TaskId },
    /// Persistent volumes were created or destroyed.
    Volumes(Changes),
    /// Word for the log of something that was dropped or forced, and whom it concerns.
    Note { what: &'static str, about: String },
    /// Nothing is left to do. The process ends.
    Exit(Ending),
}

/// All tasks of a group, in its framework's order. Each of them carries it, so that a restarted agent sees whether it
/// has them all.
pub type Group = Arc<[TaskId]>;

/// Where an executor's run stands in the work directory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Run {
    pub framework_id: FrameworkId,
    pub executor_id: ExecutorId,
    pub container_id: ContainerId,
}

/// A container to be made.
#[derive(Clone, Debug)]
pub struct Launch {
    pub run: Run,
    pub agent_id: AgentId,
    pub framework: FrameworkInfo,
    pub executor: ExecutorInfo,
    /// The task that a command executor is made for.
    pub command_task: Option<TaskInfo>,
}

/// What has to outlive the agent.
#[derive(Clone, Debug, PartialEq)]
pub enum Record {
    /// The agent has this id, for as long as the machine does not forget it.
    Agent {
        agent_id: AgentId,
        master_id: MasterId,
        /// With what the master says that it holds reserved.
        info: AgentInfo,
    },
    /// The agent was told to go: it must not come back under its id.
    AgentGone,
    /// Everything that runs here is being killed for an operator.
    Draining(Drain),
    /// Nothing is left that would have to be.
    Drained,
    Framework {
        framework: FrameworkInfo,
    },
    /// Before its container is made.
    Executor {
        run: Run,
        executor: ExecutorInfo,
        is_command: bool,
    },
    /// Its container has this first process.
    Forked {
        run: Run,
        pid: u32,
    },
    /// Before the executor hears of it.
    Task {
        run: Run,
        task: TaskInfo,
        group: Option<Group>,
    },
    /// Before the executor's update is acknowledged, and before anybody else hears of it.
    Update {
        run: Run,
        status: TaskStatus,
    },
    /// Before the next update is sent.
    Acknowledged {
        run: Run,
        task_id: TaskId,
        update_id: UpdateId,
    },
    /// The run owes nothing any more.
    ExecutorDone {
        run: Run,
    },
}

impl Record {
    /// Whose checkpoint it belongs to; `None` for what is above all runs.
    pub fn run(&self) -> Option<&Run> {
        match self {
            Self::Agent { .. }
            | Self::AgentGone
            | Self::Draining(_)
            | Self::Drained
            | Self::Framework { .. } => None,
            Self::Executor { run, .. }
            | Self::Forked { run, .. }
            | Self::Task { run, .. }
            | Self::Update { run, .. }
            | Self::Acknowledged { run, .. }
            | Self::ExecutorDone { run } => Some(run),
        }
    }

    /// The task that it concerns, where it concerns one.
    pub fn task_id(&self) -> Option<&TaskId> {
        match self {
            Self::Task { task, .. } => Some(&task.task_id),
            Self::Update { status, .. } => Some(&status.task_id),
            Self::Acknowledged { task_id, .. } => Some(task_id),
            _ => None,
        }
    }
}

/// To an executor that called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// 202.
    Accepted,
    /// 200, and events follow.
    Streaming,
    Refused(Refusal),
}

/// Why an executor is not heard. Texts and codes are in `api`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    FrameworkUnknown,
    ExecutorUnknown,
    NotSubscribed,
}

/// What executors are told. HEARTBEAT is the stream's own business.
#[derive(Clone, Debug, PartialEq)]
pub enum ExecutorEvent {
    Subscribed {
        executor: Box<ExecutorInfo>,
        framework: Box<FrameworkInfo>,
        container_id: ContainerId,
        /// See [`Launch::command_task`].
        command_task: Option<Box<TaskInfo>>,
    },
    Launch(Box<TaskInfo>),
    /// Of one executor, all or none of which it is to run.
    LaunchGroup(Vec<TaskInfo>),
    Kill {
        task_id: TaskId,
        grace_ns: Option<u64>,
    },
    Acknowledged {
        task_id: TaskId,
        update_id: UpdateId,
    },
    Message(Bytes),
    Shutdown,
}

/// Why the agent ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The operator wants the agent gone for good: it unregisters, its tasks are ended.
    Unregister,
    /// The master does not want it.
    Refused { reason: Arc<str> },
    /// The master answered with another id than the agent has.
    WrongId { expected: AgentId, got: AgentId },
}
