//! Tasks, their states, and the updates that move them.

use crate::body::Body;
use crate::executor::ExecutorInfo;
use crate::id::{AgentId, ContainerId, ExecutorId, TaskId, UpdateId};
use crate::resources::Resources;
use crate::time::UnixTime;
use bytes::Bytes;
use std::sync::Arc;

/// Where a task is in its life. Numbers are Mesos' (`TaskState` of v1/mesos.proto), which is what goes on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum TaskState {
    Starting = 0,
    Running = 1,
    Finished = 2,
    Failed = 3,
    Killed = 4,
    Lost = 5,
    Staging = 6,
    Error = 7,
    Killing = 8,
    Dropped = 9,
    Unreachable = 10,
    Gone = 11,
    GoneByOperator = 12,
    Unknown = 13,
}

impl TaskState {
    pub const ALL: [Self; 14] = [
        Self::Starting,
        Self::Running,
        Self::Finished,
        Self::Failed,
        Self::Killed,
        Self::Lost,
        Self::Staging,
        Self::Error,
        Self::Killing,
        Self::Dropped,
        Self::Unreachable,
        Self::Gone,
        Self::GoneByOperator,
        Self::Unknown,
    ];

    pub fn from_number(number: u32) -> Option<Self> {
        Self::ALL.get(usize::try_from(number).ok()?).copied()
    }

    /// Whether a task in this state is over and holds no resources. UNREACHABLE, LOST and UNKNOWN may lie: a task that is
    /// LOST or UNREACHABLE may come back with its agent (Mesos: docs/high-availability-framework-guide.md).
    pub const fn is_terminal(self) -> bool {
        matches!(
            self,
            Self::Finished
                | Self::Failed
                | Self::Killed
                | Self::Lost
                | Self::Error
                | Self::Dropped
                | Self::Gone
                | Self::GoneByOperator
        )
    }

    /// `TASK_RUNNING` and so on.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "TASK_STARTING",
            Self::Running => "TASK_RUNNING",
            Self::Finished => "TASK_FINISHED",
            Self::Failed => "TASK_FAILED",
            Self::Killed => "TASK_KILLED",
            Self::Lost => "TASK_LOST",
            Self::Staging => "TASK_STAGING",
            Self::Error => "TASK_ERROR",
            Self::Killing => "TASK_KILLING",
            Self::Dropped => "TASK_DROPPED",
            Self::Unreachable => "TASK_UNREACHABLE",
            Self::Gone => "TASK_GONE",
            Self::GoneByOperator => "TASK_GONE_BY_OPERATOR",
            Self::Unknown => "TASK_UNKNOWN",
        }
    }

    /// The state as a framework without the PARTITION_AWARE capability is told it: what such a framework does not know is LOST.
    pub const fn without_partition_awareness(self) -> Self {
        match self {
            Self::Dropped | Self::Unreachable | Self::Gone | Self::GoneByOperator | Self::Unknown => {
                Self::Lost
            }
            other => other,
        }
    }
}

/// Who made a status update (`TaskStatus.Source`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Source {
    Master = 0,
    Agent = 1,
    Executor = 2,
}

/// Why a state was entered. Numbers are Mesos' (`TaskStatus.Reason`); those that Ingot itself gives have names here, others pass through.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Reason(pub u32);

macro_rules! reasons {
    ($($name:ident = $number:literal $wire:literal;)*) => {
        impl Reason {
            $(pub const $name: Self = Self($number);)*
        }

        impl std::fmt::Debug for Reason {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                match self.0 {
                    $($number => f.write_str($wire),)*
                    other => write!(f, "REASON_{other}"),
                }
            }
        }
    };
}

reasons! {
    COMMAND_EXECUTOR_FAILED = 0 "REASON_COMMAND_EXECUTOR_FAILED";
    EXECUTOR_TERMINATED = 1 "REASON_EXECUTOR_TERMINATED";
    EXECUTOR_UNREGISTERED = 2 "REASON_EXECUTOR_UNREGISTERED";
    FRAMEWORK_REMOVED = 3 "REASON_FRAMEWORK_REMOVED";
    GC_ERROR = 4 "REASON_GC_ERROR";
    INVALID_FRAMEWORKID = 5 "REASON_INVALID_FRAMEWORKID";
    INVALID_OFFERS = 6 "REASON_INVALID_OFFERS";
    MASTER_DISCONNECTED = 7 "REASON_MASTER_DISCONNECTED";
    CONTAINER_LIMITATION_MEMORY = 8 "REASON_CONTAINER_LIMITATION_MEMORY";
    RECONCILIATION = 9 "REASON_RECONCILIATION";
    AGENT_DISCONNECTED = 10 "REASON_AGENT_DISCONNECTED";
    AGENT_REMOVED = 11 "REASON_AGENT_REMOVED";
    AGENT_RESTARTED = 12 "REASON_AGENT_RESTARTED";
    AGENT_UNKNOWN = 13 "REASON_AGENT_UNKNOWN";
    TASK_INVALID = 14 "REASON_TASK_INVALID";
    TASK_UNAUTHORIZED = 15 "REASON_TASK_UNAUTHORIZED";
    TASK_UNKNOWN = 16 "REASON_TASK_UNKNOWN";
    CONTAINER_PREEMPTED = 17 "REASON_CONTAINER_PREEMPTED";
    CONTAINER_LIMITATION = 19 "REASON_CONTAINER_LIMITATION";
    CONTAINER_LIMITATION_DISK = 20 "REASON_CONTAINER_LIMITATION_DISK";
    CONTAINER_LAUNCH_FAILED = 21 "REASON_CONTAINER_LAUNCH_FAILED";
    CONTAINER_UPDATE_FAILED = 22 "REASON_CONTAINER_UPDATE_FAILED";
    EXECUTOR_REGISTRATION_TIMEOUT = 23 "REASON_EXECUTOR_REGISTRATION_TIMEOUT";
    EXECUTOR_REREGISTRATION_TIMEOUT = 24 "REASON_EXECUTOR_REREGISTRATION_TIMEOUT";
    TASK_GROUP_INVALID = 25 "REASON_TASK_GROUP_INVALID";
    TASK_CHECK_STATUS_UPDATED = 28 "REASON_TASK_CHECK_STATUS_UPDATED";
    TASK_HEALTH_CHECK_STATUS_UPDATED = 29 "REASON_TASK_HEALTH_CHECK_STATUS_UPDATED";
    TASK_KILLED_DURING_LAUNCH = 30 "REASON_TASK_KILLED_DURING_LAUNCH";
    AGENT_REMOVED_BY_OPERATOR = 31 "REASON_AGENT_REMOVED_BY_OPERATOR";
    AGENT_REREGISTERED = 32 "REASON_AGENT_REREGISTERED";
    MAX_COMPLETION_TIME_REACHED = 33 "REASON_MAX_COMPLETION_TIME_REACHED";
    AGENT_DRAINING = 34 "REASON_AGENT_DRAINING";
}

/// Where a task runs, as its updates say (`ContainerStatus`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerStatus {
    pub container_id: ContainerId,
    /// Address of the network the container shares with the agent.
    pub ip: std::net::IpAddr,
    pub executor_pid: Option<u32>,
}

/// One state a task was in. What an executor said beyond the typed fields stands in `body`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskStatus {
    pub task_id: TaskId,
    pub state: TaskState,
    pub source: Option<Source>,
    pub reason: Option<Reason>,
    pub message: Option<Arc<str>>,
    pub agent_id: Option<AgentId>,
    pub executor_id: Option<ExecutorId>,
    pub timestamp: UnixTime,
    /// Present when the update must be acknowledged.
    pub update_id: Option<UpdateId>,
    pub healthy: Option<bool>,
    pub data: Option<Bytes>,
    pub container: Option<ContainerStatus>,
    pub body: Body,
}

impl TaskStatus {
    /// An update that a daemon makes itself.
    pub fn made_by(
        source: Source,
        task_id: TaskId,
        state: TaskState,
        reason: Option<Reason>,
        message: &str,
    ) -> Self {
        Self {
            task_id,
            state,
            source: Some(source),
            reason,
            message: Some(Arc::from(message)),
            agent_id: None,
            executor_id: None,
            timestamp: UnixTime::default(),
            update_id: None,
            healthy: None,
            data: None,
            container: None,
            body: Body::default(),
        }
    }
}

/// A task as a framework asks for it. `body` is the complete v1 `TaskInfo`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskInfo {
    pub task_id: TaskId,
    pub name: Arc<str>,
    pub agent_id: AgentId,
    pub resources: Resources,
    /// `None` for a command task: the agent runs it under its own executor, whose id is the task's.
    pub executor: Option<ExecutorInfo>,
    /// KillPolicy's grace period, nanoseconds, where the task names one.
    pub kill_grace_ns: Option<u64>,
    pub body: Body,
}

impl TaskInfo {
    /// The executor that runs it: the named one, or for a command task one with the task's own id.
    pub fn executor_id(&self) -> ExecutorId {
        match &self.executor {
            Some(executor) => executor.executor_id.clone(),
            None => ExecutorId::new(self.task_id.as_str()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_states_agree() {
        for (number, state) in (0u32..).zip(TaskState::ALL) {
            assert_eq!(state as u32, number);
            assert_eq!(TaskState::from_number(number), Some(state));
        }
        assert_eq!(TaskState::from_number(14), None);
    }

    #[test]
    fn a_framework_that_knows_no_partitions_hears_only_old_states() {
        for state in TaskState::ALL {
            assert!((state.without_partition_awareness() as u8) <= TaskState::Killing as u8, "{state:?}");
        }
    }
}
