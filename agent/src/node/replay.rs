//! From records back to what they say: the same agent, as a restart would find it. Simulated disks are read with this;
//! files are read by `checkpoint`.

use crate::node::effect::{Record, Run};
use crate::node::recovery::{Recovered, RecoveredExecutor, RecoveredFramework, RecoveredTask};
use std::collections::BTreeSet;

impl Recovered {
    /// `None` when no agent was admitted under these records, or the last that was has been told to go.
    pub fn replay<'a>(records: impl IntoIterator<Item = &'a Record>) -> Option<Self> {
        let mut recovered: Option<Self> = None;
        for record in records {
            match record {
                Record::Agent { agent_id, master_id, info } => {
                    // Told again when what it holds reserved changes: the rest stays.
                    let (frameworks, draining) = recovered
                        .take()
                        .map_or_else(Default::default, |known| (known.frameworks, known.draining));
                    let (agent_id, master_id) = (agent_id.clone(), master_id.clone());
                    let (total, rebooted) = (info.total.clone(), false);
                    recovered = Some(Self { agent_id, master_id, total, rebooted, draining, frameworks });
                }
                Record::AgentGone => recovered = None,
                other => {
                    if let Some(known) = &mut recovered {
                        known.apply(other);
                    }
                }
            }
        }
        recovered
    }

    /// A record about something whose own record was lost is lost with it.
    fn apply(&mut self, record: &Record) {
        match record {
            Record::Framework { framework } => self.framework(framework),
            Record::Executor { run, executor, is_command } => {
                let id = Some(&run.framework_id);
                let Some(framework) =
                    self.frameworks.iter_mut().find(|one| one.info.framework_id.as_ref() == id)
                else {
                    return;
                };
                framework.executors.push(RecoveredExecutor {
                    info: executor.clone(),
                    container_id: run.container_id.clone(),
                    is_command: *is_command,
                    pid: None,
                    is_done: false,
                    tasks: Vec::new(),
                });
            }
            Record::Forked { run, pid } => self.with_executor(run, |executor| executor.pid = Some(*pid)),
            Record::Task { run, task, group } => self.with_executor(run, |executor| {
                let (updates, acknowledged) = (Vec::new(), BTreeSet::new());
                let (info, group) = (task.clone(), group.clone());
                executor.tasks.push(RecoveredTask { info, group, updates, acknowledged });
            }),
            Record::Update { run, status } => self.with_executor(run, |executor| {
                if let Some(task) = executor.tasks.iter_mut().find(|it| it.info.task_id == status.task_id) {
                    task.updates.push(status.clone());
                }
            }),
            Record::Acknowledged { run, task_id, update_id } => self.with_executor(run, |executor| {
                if let Some(task) = executor.tasks.iter_mut().find(|it| it.info.task_id == *task_id) {
                    task.acknowledged.insert(*update_id);
                }
            }),
            Record::ExecutorDone { run } => self.with_executor(run, |executor| executor.is_done = true),
            Record::Draining(drain) => self.draining = Some(*drain),
            Record::Drained => self.draining = None,
            Record::Agent { .. } | Record::AgentGone => unreachable!("handled by replay"),
        }
    }

    fn framework(&mut self, info: &model::framework::FrameworkInfo) {
        match self.frameworks.iter_mut().find(|one| one.info.framework_id == info.framework_id) {
            Some(found) => found.info = info.clone(),
            None => {
                self.frameworks.push(RecoveredFramework { info: info.clone(), executors: Vec::new() });
            }
        }
    }

    fn with_executor(&mut self, run: &Run, change: impl FnOnce(&mut RecoveredExecutor)) {
        let mut executors = self.frameworks.iter_mut().flat_map(|framework| &mut framework.executors);
        if let Some(executor) = executors.find(|executor| executor.container_id == run.container_id) {
            change(executor);
        }
    }
}
