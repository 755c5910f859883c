//! Tasks as the master knows them.

use crate::usage;
use model::id::{ContainerId, FrameworkId, UpdateId};
use model::role::Role;
use model::task::{TaskInfo, TaskState, TaskStatus};
use std::sync::Arc;

/// A task, from the ACCEPT that launched it until it is pushed out of the list of completed ones.
#[derive(Clone, Debug)]
pub struct Task {
    pub framework_id: FrameworkId,
    /// Resources are marked as allocated.
    pub info: Arc<TaskInfo>,
    /// Under which its resources are allocated.
    pub role: Role,
    /// Newest state known; may be ahead of what the scheduler has been told.
    pub state: TaskState,
    /// What the scheduler was told, oldest first, one for each state, without `data` (which may be large).
    pub statuses: Vec<TaskStatus>,
    /// The update the scheduler was told last and may still have to acknowledge.
    pub pending: Option<(TaskState, UpdateId)>,
    /// Known once the agent has reported on it.
    pub container_id: Option<ContainerId>,
    /// Figures of its container; a shared executor's tasks show the same.
    pub usage: Option<usage::Row>,
}
