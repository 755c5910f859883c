//! Executors that frameworks brought. (Those that agents make for command tasks are the agents' own affair.)

use crate::usage;
use model::executor::ExecutorInfo;
use model::id::{AgentId, ContainerId, FrameworkId};
use model::role::Role;

/// An executor that runs, or is about to, on an agent. It holds its own resources until its container has ended.
#[derive(Clone, Debug)]
pub struct Executor {
    pub framework_id: FrameworkId,
    pub agent_id: AgentId,
    /// Resources are marked as allocated.
    pub info: ExecutorInfo,
    pub role: Role,
    /// Known once the agent has reported on it.
    pub container_id: Option<ContainerId>,
    pub usage: Option<usage::Row>,
}
