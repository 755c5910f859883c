//! Executors: processes that live in containers, through restarts of their agent.

use ingot_agent::node::effect::Run;
use ingot_agent::node::input::Caller;
use model::id::{TaskId, UpdateId};
use model::resources::Resources;
use model::task::{TaskState, TaskStatus};
use model::time::UnixTime;
use std::collections::{BTreeMap, BTreeSet};

/// One executor's head.
#[derive(Debug)]
pub(super) struct Executor {
    pub(super) run: Run,
    /// Its framework asked for checkpoints: it waits for its agent to come back instead of ending with it.
    pub(super) checkpoint: bool,
    pub(super) stream: Option<Caller>,
    pub(super) is_shut_down: bool,
    /// Tasks it was given and has not ended.
    pub(super) tasks: BTreeMap<TaskId, Resources>,
    /// Its own, where the master counts them.
    pub(super) resources: Resources,
    /// Tasks with no acknowledged update yet.
    pub(super) unheard: BTreeSet<TaskId>,
    pub(super) unacknowledged: Vec<TaskStatus>,
}

impl Executor {
    pub(super) fn new(run: Run, checkpoint: bool, resources: Resources) -> Self {
        Self {
            run,
            checkpoint,
            stream: None,
            is_shut_down: false,
            tasks: BTreeMap::new(),
            resources,
            unheard: BTreeSet::new(),
            unacknowledged: Vec::new(),
        }
    }

    /// A state it tells of one of its tasks, kept until acknowledged; `None` for a task that it does not have any more.
    pub(super) fn status(&mut self, task_id: &TaskId, state: TaskState, number: u64) -> Option<TaskStatus> {
        if !self.tasks.contains_key(task_id) {
            return None;
        }
        if state.is_terminal() {
            self.tasks.remove(task_id);
        }
        let mut id = [0; 16];
        id[..8].copy_from_slice(&number.to_be_bytes());
        let source = model::task::Source::Executor;
        let mut status = TaskStatus::made_by(source, task_id.clone(), state, None, "");
        status.timestamp = UnixTime(number);
        status.update_id = Some(UpdateId(id));
        self.unacknowledged.push(status.clone());
        Some(status)
    }

    /// It owes nobody anything.
    pub(super) fn is_idle(&self) -> bool {
        self.tasks.is_empty() && self.unacknowledged.is_empty()
    }
}
