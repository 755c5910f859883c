//! What executors say, and what they are told: subscriptions, updates, messages.

use crate::node::Node;
use crate::node::effect::{Answer, Effect, ExecutorEvent, Refusal};
use crate::node::executors::{Executor, Phase};
use crate::node::input::{Caller, ExecutorCall};
use crate::node::master::note;
use crate::node::tasks::{Stage, Task};
use bytes::Bytes;
use model::id::{ContainerId, ExecutorId, FrameworkId, TaskId, UpdateId};
use model::task::{Reason, Source, TaskState, TaskStatus};
use model::time::Now;
use std::collections::BTreeSet;
use wire::message::ToMaster;

impl Node {
    pub(super) fn executor_call(
        &mut self,
        now: Now,
        caller: Caller,
        framework_id: &FrameworkId,
        executor_id: &ExecutorId,
        call: ExecutorCall,
        effects: &mut Vec<Effect>,
    ) {
        let answer = |answer| Effect::Answer { caller, answer };
        let Some(framework) = self.frameworks.get_mut(framework_id) else {
            return effects.push(answer(Answer::Refused(Refusal::FrameworkUnknown)));
        };
        let Some(executor) = framework.executors.get_mut(executor_id) else {
            return effects.push(answer(Answer::Refused(Refusal::ExecutorUnknown)));
        };
        let container_id = executor.container_id.clone();
        let unsubscribed = executor.phase <= Phase::Registering;
        match call {
            ExecutorCall::Subscribe { unacknowledged_tasks, unacknowledged_updates } => {
                effects.push(answer(Answer::Streaming));
                let known: BTreeSet<TaskId> = unacknowledged_tasks.into_iter().collect();
                self.subscribe(now, caller, &container_id, &known, unacknowledged_updates, effects);
            }
            _ if unsubscribed => effects.push(answer(Answer::Refused(Refusal::NotSubscribed))),
            ExecutorCall::Update(status) => {
                effects.push(answer(Answer::Accepted));
                self.executor_update(now, framework_id, &container_id, *status, effects);
            }
            ExecutorCall::Message(data) => {
                effects.push(answer(Answer::Accepted));
                if !framework.is_ending && self.registration.is_registered() {
                    let (framework_id, executor_id) = (framework_id.clone(), executor_id.clone());
                    let message = ToMaster::ExecutorMessage { framework_id, executor_id, data };
                    effects.push(Effect::Send(Box::new(message)));
                }
            }
        }
    }

    fn subscribe(
        &mut self,
        now: Now,
        caller: Caller,
        container_id: &ContainerId,
        known_tasks: &BTreeSet<TaskId>,
        updates: Vec<TaskStatus>,
        effects: &mut Vec<Effect>,
    ) {
        let Some(executor) = self.executor_mut(container_id).filter(|one| one.phase < Phase::Ending) else {
            // Being ended, or a child of it that outlived it.
            effects.push(Effect::Tell { caller, event: ExecutorEvent::Shutdown });
            return effects.push(Effect::Close { caller });
        };
        executor.phase = Phase::Running;
        let old = executor.stream.replace(caller);
        self.timers.clear(container_id);
        self.streams.insert(caller, container_id.clone());
        if let Some(old) = old {
            self.streams.remove(&old);
            effects.push(Effect::Close { caller: old });
        }
        let (framework_id, executor_id) = self.containers[container_id].clone();
        if let Some(executor) = self.executor_mut(container_id) {
            executor.has_worked |= !updates.is_empty() || !known_tasks.is_empty();
        }
        for status in updates {
            self.executor_update(now, &framework_id, container_id, status, effects);
        }
        self.match_tasks(now, &framework_id, container_id, known_tasks, effects);
        self.kill_undelivered(now, &framework_id, container_id, effects);
        let framework = self.frameworks.get_mut(&framework_id).expect("a container's framework is known");
        let executor = framework.executors.get_mut(&executor_id).expect("a container's executor is known");
        if executor.phase != Phase::Running {
            // One of its updates was its end.
            return;
        }
        if executor.is_idle() {
            note(effects, "executor whose tasks were all over before it had them", container_id);
            return self.ask_to_end(now, container_id, effects);
        }
        let first = executor.tasks.values().next().map(|task| Box::new(task.info.clone()));
        let event = ExecutorEvent::Subscribed {
            executor: Box::new(executor.info.clone()),
            framework: Box::new(framework.info.clone()),
            container_id: container_id.clone(),
            command_task: first.filter(|_| executor.is_command),
        };
        effects.push(Effect::Tell { caller, event });
        executor.deliver(effects);
        executor.tell_owed_kills(caller, effects);
    }

    /// Tasks that were to be killed while nobody knew whether the executor has them: it has not.
    fn kill_undelivered(
        &mut self,
        now: Now,
        framework_id: &FrameworkId,
        container_id: &ContainerId,
        effects: &mut Vec<Effect>,
    ) {
        let Some(executor) = self.executor(container_id) else { return };
        let is_owed = |id: &TaskId| executor.tasks.get(id).is_some_and(|task| task.kill_owed.is_some());
        let owed: Vec<TaskId> = executor.by_arrival(Stage::Queued).into_iter().filter(is_owed).collect();
        for task_id in owed {
            self.kill_queued(now, framework_id, container_id, &task_id, effects);
        }
    }

    /// Compares what the executor says it has with what is known here. A task that it has though it counts as queued was
    /// delivered before the agent restarted. A task that was sent but that it neither has nor has told of was lost
    /// between the two, and the framework would wait for it for ever; so was one whose group is not all here and
    /// waiting: it can never be delivered whole.
    fn match_tasks(
        &mut self,
        now: Now,
        framework_id: &FrameworkId,
        container_id: &ContainerId,
        known_tasks: &BTreeSet<TaskId>,
        effects: &mut Vec<Effect>,
    ) {
        let Some(executor) = self.executor_mut(container_id) else { return };
        for task in executor.tasks.values_mut().filter(|task| known_tasks.contains(&task.info.task_id)) {
            if task.stage == Stage::Queued {
                task.stage = Stage::Launched;
            }
        }
        let is_queued = |id: &TaskId| executor.tasks.get(id).is_some_and(|task| task.stage == Stage::Queued);
        let unheard = |task: &&Task| match task.stage {
            Stage::Launched => task.state == TaskState::Staging && !known_tasks.contains(&task.info.task_id),
            Stage::Queued => task.group.as_ref().is_some_and(|group| !group.iter().all(is_queued)),
            Stage::Over => false,
        };
        let tasks = executor.tasks.values().map(AsRef::as_ref);
        let unheard: Vec<TaskId> = tasks.filter(unheard).map(|task| task.info.task_id.clone()).collect();
        for task_id in unheard {
            let state = self.never_ran(framework_id);
            let reason = Some(Reason::AGENT_RESTARTED);
            let why = "Task launched during agent restart";
            let status = TaskStatus::made_by(Source::Agent, task_id, state, reason, why);
            self.own_update(now, framework_id, Some(container_id), status, effects);
        }
    }

    pub(super) fn stream_closed(&mut self, caller: Caller) {
        let Some(container_id) = self.streams.remove(&caller) else { return };
        // It comes back, or its end is seen.
        if let Some(executor) = self.executor_mut(&container_id) {
            executor.stream = None;
        }
    }

    pub(super) fn tell_acknowledged(
        &mut self,
        container_id: &ContainerId,
        task_id: TaskId,
        update_id: UpdateId,
        effects: &mut Vec<Effect>,
    ) {
        // An executor that is not listening sends the update again when it is, and is told then.
        if let Some(caller) = self.executor(container_id).and_then(|executor| executor.stream) {
            effects.push(Effect::Tell { caller, event: ExecutorEvent::Acknowledged { task_id, update_id } });
        }
    }

    pub(super) fn scheduler_message(
        &mut self,
        framework_id: &FrameworkId,
        executor_id: &ExecutorId,
        data: Bytes,
        effects: &mut Vec<Effect>,
    ) {
        let framework = self.frameworks.get(framework_id).filter(|framework| !framework.is_ending);
        let executor = framework.and_then(|framework| framework.executors.get(executor_id));
        match executor.filter(|one| one.phase == Phase::Running).and_then(|one| one.stream) {
            Some(caller) => {
                self.counters.valid_framework_messages += 1;
                effects.push(Effect::Tell { caller, event: ExecutorEvent::Message(data) });
            }
            None => {
                self.counters.invalid_framework_messages += 1;
                note(effects, "message to an executor that is not listening", executor_id);
            }
        }
    }
}

impl Executor {
    fn tell_owed_kills(&mut self, caller: Caller, effects: &mut Vec<Effect>) {
        for task in self.tasks.values_mut().filter(|task| task.stage == Stage::Launched) {
            if let Some(grace_ns) = task.kill_owed.take() {
                let task_id = task.info.task_id.clone();
                effects.push(Effect::Tell { caller, event: ExecutorEvent::Kill { task_id, grace_ns } });
            }
        }
    }
}
