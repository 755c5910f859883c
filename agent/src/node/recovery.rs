//! The node as a checkpoint remembers it: what may still run is watched again, what is owed is still owed.

use crate::node::Node;
use crate::node::drain::Drain;
use crate::node::effect::{Effect, Group};
use crate::node::executors::{Executor, Phase};
use crate::node::frameworks::Framework;
use crate::node::input::{ContainerEnd, Termination};
use crate::node::registration::Registration;
use crate::node::settings::Settings;
use crate::node::tasks::Stage;
use model::agent_info::AgentInfo;
use model::executor::ExecutorInfo;
use model::framework::FrameworkInfo;
use model::id::{AgentId, ContainerId, FrameworkId, MasterId, UpdateId};
use model::resources::Resources;
use model::task::{Reason, Source, TaskInfo, TaskState, TaskStatus};
use model::time::Now;
use std::collections::BTreeSet;

/// Everything that a checkpoint holds.
#[derive(Debug, PartialEq)]
pub struct Recovered {
    pub agent_id: AgentId,
    pub master_id: MasterId,
    /// What it had, with what the master said that it holds reserved.
    pub total: Resources,
    /// The machine was started anew since: nothing of what ran then runs now.
    pub rebooted: bool,
    /// It was being emptied.
    pub draining: Option<Drain>,
    pub frameworks: Vec<RecoveredFramework>,
}

#[derive(Debug, PartialEq)]
pub struct RecoveredFramework {
    pub info: FrameworkInfo,
    pub executors: Vec<RecoveredExecutor>,
}

#[derive(Debug, PartialEq)]
pub struct RecoveredExecutor {
    pub info: ExecutorInfo,
    pub container_id: ContainerId,
    pub is_command: bool,
    /// Its first process, where it got so far and the machine has not been started anew since.
    pub pid: Option<u32>,
    /// It owes nothing any more.
    pub is_done: bool,
    pub tasks: Vec<RecoveredTask>,
}

#[derive(Debug, PartialEq)]
pub struct RecoveredTask {
    pub info: TaskInfo,
    pub group: Option<Group>,
    /// In the order in which they came.
    pub updates: Vec<TaskStatus>,
    pub acknowledged: BTreeSet<UpdateId>,
}

impl Node {
    /// An agent that has a past. Every executor that may live is to be watched again; each has a while to subscribe.
    pub fn recover(
        settings: Settings,
        info: AgentInfo,
        seed: u64,
        recovered: Recovered,
        now: Now,
        effects: &mut Vec<Effect>,
    ) -> Self {
        let mut node = Self::new(settings, info, seed);
        node.registration = Registration::with_id(
            node.settings.registration_backoff_ms,
            (recovered.agent_id, recovered.master_id),
        );
        let mut live = Vec::new();
        for RecoveredFramework { info, executors } in recovered.frameworks {
            let framework_id = info.framework_id.clone().expect("checkpointed frameworks have an id");
            node.frameworks.insert(framework_id.clone(), Framework::new(info));
            for executor in executors {
                if !executor.is_done {
                    live.push(executor.container_id.clone());
                }
                node.recover_executor(now, &framework_id, executor);
            }
            node.forget_if_idle(&framework_id);
        }
        for container_id in live {
            match recovered.rebooted {
                true => node.went_with_the_machine(now, &container_id, effects),
                false => node.reattach(now, &container_id, effects),
            }
        }
        if let Some(drain) = recovered.draining {
            // With nothing left it is over at the first event.
            node.drain_on(now, drain, effects);
        }
        node
    }

    fn recover_executor(&mut self, now: Now, framework_id: &FrameworkId, recovered: RecoveredExecutor) {
        let container_id = recovered.container_id.clone();
        let mut executor = Executor::new(recovered.info, container_id.clone(), recovered.is_command);
        executor.phase = Phase::Registering;
        executor.is_recovered = true;
        executor.pid = recovered.pid;
        for task in recovered.tasks {
            self.recover_task(now, framework_id, &mut executor, task);
        }
        let executor_id = executor.info.executor_id.clone();
        let framework = self.frameworks.get_mut(framework_id).expect("recover() inserted it");
        if recovered.is_done {
            executor.phase = Phase::Ended;
            framework.completed.push_back(executor);
            return;
        }
        for task_id in executor.tasks.keys() {
            framework.tasks.insert(task_id.clone(), executor_id.clone());
        }
        framework.executors.insert(executor_id.clone(), executor);
        self.containers.insert(container_id, (framework_id.clone(), executor_id));
    }

    fn reattach(&mut self, now: Now, container_id: &ContainerId, effects: &mut Vec<Effect>) {
        let (framework_id, _) = self.containers.get(container_id).cloned().expect("it was just recovered");
        let executor = self.executor(container_id).expect("as above");
        let (run, pid) = (executor.run(&framework_id), executor.pid);
        effects.push(Effect::Reattach { run, pid });
        let timeout_ms = self.settings.executor_reregistration_timeout_ms;
        self.timers.set(container_id.clone(), now.time.plus_ms(timeout_ms));
    }

    /// There is nothing to look for. What of its tasks has not ended is gone, in the words of its framework.
    fn went_with_the_machine(&mut self, now: Now, container_id: &ContainerId, effects: &mut Vec<Effect>) {
        let (framework_id, _) = self.containers.get(container_id).cloned().expect("it was just recovered");
        let state = self.understood(&framework_id, TaskState::Gone);
        let message = "The agent's machine was started anew".into();
        let executor = self.executor_mut(container_id).expect("it was just recovered");
        let reason = Reason::AGENT_RESTARTED;
        executor.termination = Some(Termination { state, reason, message, limited: Resources::default() });
        self.container_ended(now, container_id, ContainerEnd::default(), effects);
    }

    /// Nobody remembers whether a task without updates was delivered: it counts as waiting, and an executor that has it
    /// says so when it subscribes (`unacknowledged_tasks`).
    fn recover_task(
        &mut self,
        now: Now,
        framework_id: &FrameworkId,
        executor: &mut Executor,
        recovered: RecoveredTask,
    ) {
        let key = (framework_id.clone(), recovered.info.task_id.clone());
        executor.add_task(recovered.info, recovered.group);
        let task = executor.tasks.get_mut(&key.1).expect("it was just added");
        task.is_saved = true;
        for status in &recovered.updates {
            task.stage = Stage::Launched;
            task.enter(status);
        }
        // Ours may be of tasks that were killed before it had them.
        executor.has_worked |= recovered.updates.iter().any(|status| status.source == Some(Source::Executor));
        let done = |status: &TaskStatus| {
            status.state.is_terminal()
                && status.update_id.is_some_and(|id| recovered.acknowledged.contains(&id))
        };
        if recovered.updates.iter().any(done) {
            executor.complete(&key.1, now.time, self.settings.completed_tasks_max);
        } else if !recovered.updates.is_empty() {
            self.updates.recover(&key, &recovered.updates, &recovered.acknowledged);
        }
    }
}
