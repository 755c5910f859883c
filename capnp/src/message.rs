//! The menu: everything an agent and a master may say to each other, and in which state of the session it is legal.

use bytes::Bytes;
use model::agent_info::AgentInfo;
use model::executor::ExecutorInfo;
use model::framework::FrameworkInfo;
use model::id::{AgentId, ContainerId, ExecutorId, FrameworkId, MasterId, TaskId, UpdateId};
use model::resources::Resources;
use model::task::{TaskInfo, TaskState, TaskStatus};
use std::sync::Arc;

/// From an agent to the master.
#[derive(Clone, Debug, PartialEq)]
pub enum ToMaster {
    /// First message of a session by an agent that has no id yet.
    Register { info: AgentInfo },
    /// First message of a session by an agent that has one: what is running there now.
    Reregister(Reregister),
    /// A task's state, sent again until acknowledged. Legal once registered, as is everything below.
    Update { framework_id: FrameworkId, status: TaskStatus, latest_state: TaskState },
    /// An executor to its scheduler. May be lost.
    ExecutorMessage { framework_id: FrameworkId, executor_id: ExecutorId, data: Bytes },
    /// An executor's container is gone. `wait_status` is the raw status of waitpid(2), `None` when nobody could see it.
    ExecutorExited {
        framework_id: FrameworkId,
        executor_id: ExecutorId,
        container_id: ContainerId,
        wait_status: Option<i32>,
    },
    /// Answers the ping of that number.
    Pong { sequence: u64 },
    /// The agent is shutting down for good: its tasks are being ended.
    Unregister,
    /// What may be lent out there beside what the agent has of its own, in place of what was told before, used or not.
    Oversubscribed { total: Resources },
}

/// What an agent knows of itself when it comes back.
#[derive(Clone, Debug, PartialEq)]
pub struct Reregister {
    pub agent_id: AgentId,
    pub info: AgentInfo,
    pub frameworks: Vec<FrameworkInfo>,
    pub executors: Vec<RunningExecutor>,
    pub tasks: Vec<RunningTask>,
    /// As in [`ToMaster::Oversubscribed`].
    pub oversubscribed: Resources,
}

/// An executor that the agent has not yet seen the end of.
#[derive(Clone, Debug, PartialEq)]
pub struct RunningExecutor {
    pub framework_id: FrameworkId,
    pub executor: ExecutorInfo,
    pub container_id: ContainerId,
    /// The agent's own executor for a command task: frameworks did not ask for it and are not told of its end.
    pub is_command: bool,
}

/// A task that is not over, or whose end the master has not acknowledged.
#[derive(Clone, Debug, PartialEq)]
pub struct RunningTask {
    pub framework_id: FrameworkId,
    pub task: TaskInfo,
    /// Newest state the agent knows; updates that tell it may still be on their way.
    pub latest_state: TaskState,
    /// The state of the update that waits for its acknowledgement, and its id.
    pub pending: Option<(TaskState, UpdateId)>,
    pub statuses: Vec<TaskStatus>,
}

/// From the master to an agent.
#[derive(Clone, Debug, PartialEq)]
pub enum ToAgent {
    /// Answers Register or Reregister: the agent is admitted, durably, under this id.
    Registered {
        agent_id: AgentId,
        master_id: MasterId,
        /// The agent may take the master for dead when it hears no ping for this long, milliseconds.
        ping_timeout_ms: u64,
        /// Tasks that the master knows and the agent did not name: the agent tells what became of them.
        reconcile: Vec<(FrameworkId, TaskId)>,
    },
    /// Answers Register or Reregister: the agent is not wanted, and must not come back under this id.
    Refused {
        reason: Arc<str>,
    },
    /// `starts_executor`: the master knows of no executor for it, and counts one as begun with it. Otherwise the task is
    /// for one that is there, and if that has ended meanwhile, for nobody.
    Run {
        framework: FrameworkInfo,
        task: TaskInfo,
        starts_executor: bool,
    },
    /// Tasks that are delivered to their executor together or not at all. At least one; all name the same executor.
    RunGroup {
        framework: FrameworkInfo,
        tasks: Vec<TaskInfo>,
        starts_executor: bool,
    },
    Kill {
        framework_id: FrameworkId,
        task_id: TaskId,
        grace_ns: Option<u64>,
    },
    /// Kills every task that is here and lets none begin until all are over. May come again, and changes what was told before.
    Drain {
        /// Bounds the time that tasks have to end by themselves.
        max_grace_ns: Option<u64>,
        /// The agent will not come back: its tasks are told so.
        marks_gone: bool,
    },
    /// The scheduler (or the master in its place) has that update.
    Acknowledge {
        framework_id: FrameworkId,
        task_id: TaskId,
        update_id: UpdateId,
    },
    /// A scheduler to its executor. May be lost.
    SchedulerMessage {
        framework_id: FrameworkId,
        executor_id: ExecutorId,
        data: Bytes,
    },
    ShutdownExecutor {
        framework_id: FrameworkId,
        executor_id: ExecutorId,
    },
    /// Ends every executor of the framework; no updates are sent any more.
    ShutdownFramework {
        framework_id: FrameworkId,
    },
    /// The framework has described itself anew.
    UpdateFramework {
        framework: FrameworkInfo,
    },
    /// What the agent should hold reserved; written to its checkpoint before it counts.
    UpdateTotal {
        total: Resources,
    },
    Ping {
        sequence: u64,
    },
}
