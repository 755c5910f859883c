//! What is deleted in one piece.

use crate::node::effect::Run;
use model::id::{AgentId, TaskId};
use std::fmt;
use std::path::PathBuf;

/// See the module's head. Ordered only to be kept in sets.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Item {
    /// An executor's run: its sandbox and its checkpoint.
    Run { agent_id: AgentId, run: Run },
    /// The checkpoint of one task, of a run that goes on.
    Task { agent_id: AgentId, run: Run, task_id: TaskId },
    /// A folder with everything in it.
    Tree(PathBuf),
    /// A folder of the work directory's tree in which there are no runs (any more).
    Branch(PathBuf),
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Run { agent_id, run } => {
                let (executor, framework) = (&run.executor_id, &run.framework_id);
                write!(f, "run {} of executor {executor} of {framework} on {agent_id}", run.container_id)
            }
            Self::Task { agent_id, run, task_id } => {
                let (container, framework) = (&run.container_id, &run.framework_id);
                write!(f, "task {task_id} of run {container} of {framework} on {agent_id}")
            }
            Self::Tree(path) => write!(f, "{}", path.display()),
            Self::Branch(path) => write!(f, "{} (empty)", path.display()),
        }
    }
}
