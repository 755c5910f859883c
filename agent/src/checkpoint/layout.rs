//! The work directory, drawn, and the paths in it. Mesos' tree, which its users and tools know; the files in `meta` are
//! our own (`capnp/schema/checkpoint.capnp`).
//!
//! ```text
//! <work_dir>/
//!   meta/
//!     slaves/
//!       latest                                  link to the one below; gone when the agent was told to go
//!       <agent id>/
//!         agent.info
//!         drain.info                              while everything that runs is being killed for an operator
//!         frameworks/<framework id>/
//!           framework.info
//!           executors/<executor id>/runs/<container id>/
//!             executor.info                     before the container is made
//!             process.info                      its first process
//!             limits.info                       limits that an operator has set for it while it ran
//!             executor.done                     empty: the run owes nothing any more
//!             tasks/<task id>/
//!               task.info                       before the executor is told of it
//!               task.updates                    a log of frames: updates, and their acknowledgements
//!   containers/<container id>/
//!     exit                                      how the program ended, written by init; zeros until then
//!     containers/<id>/                          what is nested in it, and so on
//!       exit
//!       call                                    the call that launched it
//!   fetch/                                      the fetcher's cache, unless a flag puts it elsewhere
//!   slaves/<agent id>/frameworks/<framework id>/executors/<executor id>/runs/
//!     latest                                    link to the newest run
//!     <container id>/                           the sandbox: stdout, stderr, whatever the task leaves
//! ```
//! What is over goes after a while (`collector`).
//!
//! An id is a directory's name as it is: what could leave its directory is no id (`model::id::check_id`).

use crate::node::effect::Run;
use model::id::{AgentId, ExecutorId, FrameworkId, TaskId};
use std::path::{Path, PathBuf};

pub const AGENT_INFO: &str = "agent.info";
pub const DRAIN_INFO: &str = "drain.info";
pub const FRAMEWORK_INFO: &str = "framework.info";
pub const EXECUTOR_INFO: &str = "executor.info";
pub const PROCESS_INFO: &str = "process.info";
pub const LIMITS_INFO: &str = "limits.info";
pub const EXECUTOR_DONE: &str = "executor.done";
pub const TASK_INFO: &str = "task.info";
pub const TASK_UPDATES: &str = "task.updates";

/// The part of the tree that only the agent reads.
#[derive(Clone, Debug)]
pub struct Meta {
    slaves: PathBuf,
}

impl Meta {
    pub fn of(work_dir: &Path) -> Self {
        Self { slaves: work_dir.join("meta").join("slaves") }
    }

    pub fn latest(&self) -> PathBuf {
        self.slaves.join("latest")
    }

    /// The folder of all agents that this work directory has had.
    pub fn agents(&self) -> &Path {
        &self.slaves
    }

    /// Whose a folder between an agent's and a run's is; `None` for any other.
    pub fn ids(&self, path: &Path) -> Option<(AgentId, FrameworkId, Option<ExecutorId>)> {
        let mut names = path.strip_prefix(&self.slaves).ok()?.iter().map(|name| name.to_str());
        let agent_id = AgentId::new(names.next()??);
        let (_frameworks, framework_id) = (names.next()?, FrameworkId::new(names.next()??));
        let _executors = names.next();
        let executor_id = names.next().flatten().map(ExecutorId::new);
        Some((agent_id, framework_id, executor_id))
    }

    pub fn agent(&self, agent_id: &AgentId) -> PathBuf {
        self.slaves.join(agent_id.as_str())
    }

    pub fn framework(&self, agent_id: &AgentId, framework_id: &FrameworkId) -> PathBuf {
        self.agent(agent_id).join("frameworks").join(framework_id.as_str())
    }

    pub fn run(&self, agent_id: &AgentId, run: &Run) -> PathBuf {
        let framework = self.framework(agent_id, &run.framework_id);
        framework
            .join("executors")
            .join(run.executor_id.as_str())
            .join("runs")
            .join(run.container_id.as_str())
    }

    pub fn task(&self, agent_id: &AgentId, run: &Run, task_id: &TaskId) -> PathBuf {
        self.run(agent_id, run).join("tasks").join(task_id.as_str())
    }
}

/// Where the sandboxes of all runs are.
pub fn sandboxes(work_dir: &Path) -> PathBuf {
    work_dir.join("slaves")
}

pub fn sandbox(work_dir: &Path, agent_id: &AgentId, run: &Run) -> PathBuf {
    let executor_id = run.executor_id.as_str();
    crate::containerizer::plan::executor_directory(work_dir, agent_id, &run.framework_id, executor_id)
        .join("runs")
        .join(run.container_id.as_str())
}
