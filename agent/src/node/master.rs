//! What the master says, and what the agent says of itself when it introduces itself.

use crate::node::Node;
use crate::node::drain::Drain;
use crate::node::effect::{Effect, Ending, Group, Record};
use crate::node::executors::Phase;
use crate::node::gates::Gate;
use crate::node::input::Session;
use crate::node::tasks::{Order, Stage};
use crate::node::volumes::Changes;
use api::convert::volume::as_given;
use model::framework::{Capabilities, FrameworkInfo};
use model::id::{AgentId, ExecutorId, FrameworkId, MasterId, TaskId};
use model::resources::Resources;
use model::task::{Reason, Source, TaskState, TaskStatus};
use model::time::Now;
use wire::message::{Reregister, RunningExecutor, RunningTask, ToAgent, ToMaster};

/// An executor that ended while no master listened. Until one is told how, it counts as there: the framework is to hear it.
pub(super) struct UntoldEnd {
    framework: FrameworkInfo,
    executor: RunningExecutor,
    wait_status: Option<i32>,
}

impl Node {
    pub(super) fn link_up(&mut self, now: Now, session: Session, effects: &mut Vec<Effect>) {
        if !self.registration.link_up(now.time, session) {
            return;
        }
        let introduction = match self.registration.agent_id() {
            None => ToMaster::Register { info: self.info.clone() },
            Some(agent_id) => ToMaster::Reregister(self.introduction(agent_id.clone())),
        };
        self.oversubscribed.introduced(match &introduction {
            ToMaster::Reregister(known) => known.oversubscribed.clone(),
            _ => Resources::default(),
        });
        effects.push(Effect::Send(Box::new(introduction)));
    }

    /// Everything that is here: both sides strike out what only one of them knows.
    fn introduction(&self, agent_id: AgentId) -> Reregister {
        let mut introduction = Reregister {
            agent_id,
            info: self.info.clone(),
            frameworks: Vec::new(),
            executors: Vec::new(),
            tasks: Vec::new(),
            oversubscribed: self.oversubscribed.total().clone(),
        };
        for (framework_id, framework) in &self.frameworks {
            if framework.is_ending {
                continue;
            }
            introduction.frameworks.push(framework.info.clone());
            for executor in framework.executors.values() {
                if executor.phase != Phase::Ended {
                    introduction.executors.push(executor.running(framework_id));
                }
                for task in executor.tasks.values() {
                    let key = (framework_id.clone(), task.info.task_id.clone());
                    let pending = self.updates.pending(&key);
                    introduction.tasks.push(RunningTask {
                        framework_id: framework_id.clone(),
                        task: task.info.clone(),
                        latest_state: task.state,
                        pending: pending.and_then(|status| Some((status.state, status.update_id?))),
                        statuses: task.statuses.clone(),
                    });
                }
            }
        }
        for UntoldEnd { framework, executor, .. } in &self.untold {
            if introduction.frameworks.iter().all(|one| one.framework_id != framework.framework_id) {
                introduction.frameworks.push(framework.clone());
            }
            introduction.executors.push(executor.clone());
        }
        introduction
    }

    /// Tells the master how an executor ended, now or once there is one.
    pub(super) fn tell_end(
        &mut self,
        framework_id: &FrameworkId,
        executor_id: &ExecutorId,
        wait_status: Option<i32>,
        effects: &mut Vec<Effect>,
    ) {
        let Some(framework) = self.frameworks.get(framework_id) else { return };
        let Some(executor) = framework.executors.get(executor_id).filter(|one| !one.is_command) else {
            return;
        };
        let end = UntoldEnd {
            framework: framework.info.clone(),
            executor: executor.running(framework_id),
            wait_status,
        };
        if self.registration.is_registered() {
            effects.push(end.message());
        } else if !framework.is_ending {
            self.untold.push(end);
        }
    }

    pub(super) fn hear_master(
        &mut self,
        now: Now,
        session: Session,
        message: ToAgent,
        effects: &mut Vec<Effect>,
    ) {
        if !self.registration.is_current(session) {
            return;
        }
        let Some(message) = self.registration.hold(message) else { return };
        self.hear(now, message, effects);
    }

    fn hear(&mut self, now: Now, message: ToAgent, effects: &mut Vec<Effect>) {
        match message {
            ToAgent::Registered { agent_id, master_id, ping_timeout_ms, reconcile } => {
                self.admitted(now, (agent_id, master_id), ping_timeout_ms, reconcile, effects);
            }
            ToAgent::Refused { reason } => self.end(now, Ending::Refused { reason }, effects),
            _ if !self.registration.is_registered() => {
                note(effects, "word from a master that has not admitted us", "")
            }
            ToAgent::Ping { sequence } => {
                self.registration.pinged(now.time);
                effects.push(Effect::Send(Box::new(ToMaster::Pong { sequence })));
            }
            ToAgent::Run { framework, task, starts_executor } => {
                self.run(now, framework, Order { tasks: vec![task], group: None, starts_executor }, effects);
            }
            ToAgent::RunGroup { framework, tasks, starts_executor } => {
                let group: Group = tasks.iter().map(|task| task.task_id.clone()).collect();
                self.run(now, framework, Order { tasks, group: Some(group), starts_executor }, effects);
            }
            ToAgent::Kill { framework_id, task_id, grace_ns } => {
                self.kill(now, &framework_id, &task_id, grace_ns, effects);
            }
            ToAgent::Drain { max_grace_ns, marks_gone } => {
                let drain = Drain { max_grace_ns, marks_gone, started: now.unix };
                self.drain(now, drain, effects);
            }
            ToAgent::Acknowledge { framework_id, task_id, update_id } => {
                self.acknowledge(now, framework_id, task_id, update_id, effects);
            }
            ToAgent::SchedulerMessage { framework_id, executor_id, data } => {
                self.scheduler_message(&framework_id, &executor_id, data, effects);
            }
            ToAgent::ShutdownExecutor { framework_id, executor_id } => {
                self.shutdown_executor(now, &framework_id, &executor_id, effects);
            }
            ToAgent::ShutdownFramework { framework_id } => {
                self.shutdown_framework(now, &framework_id, effects);
            }
            ToAgent::UpdateFramework { framework } => self.update_framework(now, framework, effects),
            ToAgent::UpdateTotal { total } if as_given(&total) != as_given(&self.info.total) => {
                note(effects, "another total than the operator's, whoever it is reserved for", total);
            }
            // From now on: another master may admit us before the record is durable, and would not hear of it after that.
            ToAgent::UpdateTotal { total } => {
                let changes = Changes::between(&self.info.total, &total);
                self.info.total = total;
                self.save_agent(now, Gate::TotalSaved { changes }, effects);
            }
        }
    }

    fn admitted(
        &mut self,
        now: Now,
        own: (AgentId, MasterId),
        ping_timeout_ms: u64,
        reconcile: Vec<(FrameworkId, TaskId)>,
        effects: &mut Vec<Effect>,
    ) {
        if !self.registration.is_introducing() {
            return note(effects, "registered twice", own.0);
        }
        if let Some(expected) = self.registration.agent_id().filter(|known| **known != own.0) {
            let (expected, got) = (expected.clone(), own.0);
            return effects.push(Effect::Exit(Ending::WrongId { expected, got }));
        }
        if self.registration.admitted(now.time, own, ping_timeout_ms) {
            self.save_agent(now, Gate::AgentSaved, effects);
        } else {
            self.registered(now, effects);
        }
        for (framework_id, task_id) in reconcile {
            self.reconcile(now, framework_id, task_id, effects);
        }
    }

    fn save_agent(&mut self, now: Now, gate: Gate, effects: &mut Vec<Effect>) {
        let info = self.info.clone();
        let (agent_id, master_id) = self.registration.own().expect("only an admitted agent is saved").clone();
        self.persist(now, true, Record::Agent { agent_id, master_id, info }, gate, effects);
    }

    /// The id is durable: what was held back may be heard.
    pub(super) fn agent_saved(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let Some(held) = self.registration.saved(now.time) else { return };
        self.registered(now, effects);
        for message in held {
            self.hear(now, message, effects);
        }
    }

    fn registered(&mut self, now: Now, effects: &mut Vec<Effect>) {
        for (key, status) in self.updates.open(now.time) {
            self.forward(key, status, effects);
        }
        effects.extend(self.untold.drain(..).map(UntoldEnd::message));
        self.tell_oversubscribed(effects);
    }

    /// The master knows a task that was not named to it. Unless it has come to be known since, it is not here.
    fn reconcile(&mut self, now: Now, framework_id: FrameworkId, task_id: TaskId, effects: &mut Vec<Effect>) {
        let key = (framework_id, task_id);
        let framework = self.frameworks.get(&key.0);
        if framework.is_some_and(|framework| framework.tasks.contains_key(&key.1))
            || self.updates.has_stream(&key)
        {
            return;
        }
        let state = self.never_ran(&key.0);
        let status = TaskStatus::made_by(
            Source::Agent,
            key.1.clone(),
            state,
            Some(Reason::RECONCILIATION),
            "Reconciliation: task unknown to the agent",
        );
        self.own_update(now, &key.0, None, status, effects);
    }

    /// What a task that never ran is told: DROPPED, or LOST where the framework is known not to understand that.
    pub(super) fn never_ran(&self, framework_id: &FrameworkId) -> TaskState {
        self.understood(framework_id, TaskState::Dropped)
    }

    /// `state`, or its old name where the framework is known not to understand it. The master knows every framework and
    /// does the same for those that are unknown here.
    pub(super) fn understood(&self, framework_id: &FrameworkId, state: TaskState) -> TaskState {
        match self.frameworks.get(framework_id) {
            Some(known) if !known.info.capabilities.has(Capabilities::PARTITION_AWARE) => {
                state.without_partition_awareness()
            }
            _ => state,
        }
    }

    /// Ends everything that runs here; the agent exits when nothing does any more.
    pub(super) fn end(&mut self, now: Now, ending: Ending, effects: &mut Vec<Effect>) {
        if self.ending.is_some() {
            return;
        }
        match ending {
            Ending::Unregister if self.registration.is_registered() => {
                effects.push(Effect::Send(Box::new(ToMaster::Unregister)));
            }
            _ => {}
        }
        self.registration.stop();
        self.updates.pause();
        self.ending = Some(ending);
        if self.registration.agent_id().is_some() {
            self.persist(now, true, Record::AgentGone, Gate::Nothing, effects);
        }
        let framework_ids: Vec<FrameworkId> = self.frameworks.keys().cloned().collect();
        for framework_id in framework_ids {
            self.shutdown_framework(now, &framework_id, effects);
        }
    }

    pub(super) fn exit_if_done(&mut self, effects: &mut Vec<Effect>) {
        if self.containers.is_empty()
            && self.gates.is_empty()
            && let Some(ending) = self.ending.clone()
            && !effects.iter().any(|effect| matches!(effect, Effect::Exit(_)))
        {
            effects.push(Effect::Exit(ending));
        }
    }

    /// Sends an update, with the newest state that is known of its task: the master frees the resources of a task that is
    /// over though its earlier updates are still owed to a framework that is slow or away.
    pub(super) fn forward(
        &mut self,
        (framework_id, task_id): (FrameworkId, TaskId),
        status: TaskStatus,
        effects: &mut Vec<Effect>,
    ) {
        let task = self.frameworks.get(&framework_id).and_then(|framework| framework.task(&task_id));
        let latest_state = match task {
            Some(task) if task.stage != Stage::Queued => task.state,
            _ => status.state,
        };
        effects.push(Effect::Send(Box::new(ToMaster::Update { framework_id, status, latest_state })));
    }
}

impl UntoldEnd {
    fn message(self) -> Effect {
        let RunningExecutor { framework_id, executor, container_id, .. } = self.executor;
        let (executor_id, wait_status) = (executor.executor_id, self.wait_status);
        Effect::Send(Box::new(ToMaster::ExecutorExited {
            framework_id,
            executor_id,
            container_id,
            wait_status,
        }))
    }
}

pub(super) fn note(effects: &mut Vec<Effect>, what: &'static str, about: impl ToString) {
    effects.push(Effect::Note { what, about: about.to_string() });
}
