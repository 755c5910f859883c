//! An agent comes back: with the tasks it has, which may not be the tasks the master thinks it has.

use super::agents::{Agent, description};
use super::durable::Then;
use super::effect::Effect;
use super::executors::Executor;
use super::input::SessionId;
use super::note::Note;
use super::tasks::Task;
use super::{Cluster, Turn};
use crate::allocator::event::{Event as ToAllocator, Refusal};
use crate::allocator::key::FrameworkKey;
use crate::registrar::change::Change;
use api::convert::volume::as_given;
use model::framework::FrameworkInfo;
use model::id::{AgentId, ExecutorId, FrameworkId, TaskId};
use model::resources::Resources;
use model::role::Role;
use model::task::Reason;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use wire::message::{Reregister, RunningExecutor, RunningTask, ToAgent};

impl Cluster {
    pub(super) fn reregister(&mut self, session: SessionId, message: Reregister, turn: &mut Turn<'_>) {
        self.counters.messages_reregister_slave += 1;
        if self.refuse_gone(&message.agent_id, session, turn)
            || self.refuse_down(&message.info, session, turn)
            || self.refuse_domain(&message.info, session, turn)
        {
            return;
        }
        let (agent_id, info) = (&message.agent_id, &message.info);
        let known = self.agents.get(agent_id).map(|agent| &agent.info).or(self.expected.get(agent_id));
        match known.filter(|_| !self.pending.is_in_transition(agent_id)) {
            // The registry has it as admitted already.
            Some(known) => {
                if **known != *info {
                    let (agent_id, info) = (agent_id.clone(), info.clone());
                    self.describe_agent(&agent_id, &info, turn);
                }
                self.admitted_again(session, message, turn);
            }
            None => {
                let change = Change::Admit { agent_id: agent_id.clone(), info: Arc::new(info.clone()) };
                let message = Box::new(message);
                self.introduce(session, change, Then::Reregister { session, message }, turn);
            }
        }
    }

    /// The registry has it that the agent is admitted; it is back with what it runs.
    pub(super) fn admitted_again(&mut self, session: SessionId, message: Reregister, turn: &mut Turn<'_>) {
        if self.refuse_gone(&message.agent_id, session, turn) {
            return;
        }
        if self.refuse_down(&message.info, session, turn) {
            return self.not_back_after_all(message.agent_id, turn);
        }
        self.counters.slave_reregistrations += 1;
        let Reregister { agent_id, info, frameworks, executors, tasks, oversubscribed } = message;
        let was_expected = self.expected.remove(&agent_id).is_some();
        self.forget_expected_at(info.address, turn);
        let named: BTreeSet<_> =
            tasks.iter().map(|task| (task.framework_id.clone(), task.task.task_id.clone())).collect();
        let running: BTreeSet<_> = executors
            .iter()
            .map(|executor| (executor.framework_id.clone(), executor.executor.executor_id.clone()))
            .collect();
        let hostname = Arc::clone(&info.hostname);
        let is_known = self.agents.contains(&agent_id);
        let mut is_behind = false;
        if is_known {
            is_behind = self.reconnect(&agent_id, session, info, turn);
        } else {
            let key = self.agent_keys.take(&agent_id);
            let mut agent = Agent::new(agent_id.clone(), key, info, session, turn.now.unix);
            agent.reregistered = Some(turn.now.unix);
            self.admit(agent, turn);
        }
        let was_unreachable = self.unreachable.remove(&agent_id);
        let over = self.recover_frameworks(&agent_id, &frameworks, &tasks, &executors, turn);
        if was_unreachable {
            self.forget_unreachable(&agent_id, &named, turn);
        }
        let before = self.agents.get(&agent_id).expect("made known above").used.clone();
        for task in tasks {
            self.adopt_task(&agent_id, task, was_unreachable, turn);
        }
        for executor in executors {
            self.adopt_executor(&agent_id, executor);
        }
        let is_charged = self.agents.get(&agent_id).expect("made known above").used != before;
        if is_known {
            self.drop_executors(&agent_id, &running, turn);
        }
        self.agents.get_mut(&agent_id).expect("made known above").estimate(oversubscribed);
        let agent = self.agents.get(&agent_id).expect("made known above");
        let missing: Vec<_> = agent.tasks.difference(&named).cloned().collect();
        turn.note(Note::AgentReregistered {
            agent_id: agent_id.clone(),
            hostname,
            task_count: agent.tasks.len(),
            reconciled_count: missing.len(),
        });
        turn.agent(session, self.registered(agent_id.clone(), missing));
        if is_behind {
            let total = self.agents.get(&agent_id).expect("made known above").info.total.clone();
            turn.agent(session, ToAgent::UpdateTotal { total });
        }
        self.bring_up_to_date(&agent_id, session, &frameworks, over, &named, turn);
        self.offer_again(&agent_id, is_known, is_charged, turn);
        self.rescind_beyond_estimate(&agent_id, turn);
        self.withdraw_again(&agent_id, session, turn);
        self.ask_later(&agent_id);
        if was_expected {
            self.release_offers_if_enough(turn);
        }
    }

    /// A registered agent's new session; what it had in the old one stands. Whether it has yet to hear of reservations and
    /// volumes that were made of what it has.
    fn reconnect(
        &mut self,
        id: &AgentId,
        session: SessionId,
        mut info: model::agent_info::AgentInfo,
        turn: &mut Turn<'_>,
    ) -> bool {
        let agent = self.agents.get_mut(id).expect("checked by `reregister`");
        if let Some(old) = agent.session.replace(session) {
            self.sessions.remove(&old);
            turn.close_session(old, "the agent has opened a newer session");
        }
        self.sessions.insert(session, id.clone());
        if agent.info.address != info.address {
            let address = agent.info.address;
            if self.addresses.get(&address) == Some(id) {
                self.addresses.remove(&address);
            }
            self.addresses.insert(info.address, id.clone());
        }
        turn.effects.extend(agent.node.map(|row| Effect::KeepNode { session, row }));
        agent.reregistered = Some(turn.now.unix);
        agent.ping.reset();
        let has = &agent.info.total;
        let is_behind = *has != info.total && as_given(has) == as_given(&info.total);
        if is_behind {
            info.total.clone_from(has);
        }
        let is_resized = *has != info.total;
        agent.info = Arc::new(info);
        if is_resized {
            agent.is_contested = true;
            // What is offered may be there no more.
            let offers: Vec<_> = agent.offers.keys().cloned().collect();
            offers.iter().for_each(|offer| self.rescind(offer, Refusal::None, turn));
        }
        self.place(id, turn);
        is_behind
    }

    /// Makes the frameworks known that only the agent knows. Returns those of its frameworks that are over.
    fn recover_frameworks(
        &mut self,
        agent_id: &AgentId,
        frameworks: &[FrameworkInfo],
        tasks: &[RunningTask],
        executors: &[RunningExecutor],
        turn: &mut Turn<'_>,
    ) -> BTreeSet<FrameworkId> {
        let is_over = |id: &FrameworkId| self.completed.iter().any(|framework| framework.id == *id);
        let described: BTreeMap<_, _> =
            frameworks.iter().filter_map(|info| Some((info.framework_id.clone()?, info))).collect();
        let of_tasks = tasks.iter().map(|task| &task.framework_id);
        let of_executors = executors.iter().map(|executor| &executor.framework_id);
        let named: BTreeSet<_> = of_tasks.chain(of_executors).chain(described.keys()).cloned().collect();
        let (mut over, mut unknown) = (BTreeSet::new(), Vec::new());
        for id in named.into_iter().filter(|id| !self.frameworks.contains(id)) {
            match described.get(&id) {
                Some(info) if !is_over(&id) => unknown.push((id, (*info).clone())),
                // Over, or never described: nobody will ever ask for what it runs.
                _ => _ = over.insert(id),
            }
        }
        for (framework_id, info) in unknown {
            self.add_framework(info, Default::default(), None, turn);
            turn.note(Note::FrameworkRecovered { framework_id, agent_id: agent_id.clone() });
        }
        over
    }

    /// Tasks of an agent that was unreachable and is back: what it names is adopted, what it does not is gone.
    fn forget_unreachable(
        &mut self,
        agent_id: &AgentId,
        named: &BTreeSet<(FrameworkId, TaskId)>,
        turn: &mut Turn<'_>,
    ) {
        let ids: Vec<_> = self.frameworks.iter().map(|(id, _)| id.clone()).collect();
        for id in ids {
            let there = |task: &Task| task.info.agent_id == *agent_id;
            let framework = self.frameworks.get(&id).expect("listed above");
            if !framework.unreachable.iter().any(|task| there(task)) {
                continue;
            }
            let framework = self.frameworks.get_mut(&id).expect("listed above");
            let all = std::mem::take(&mut framework.unreachable);
            let (back, stay): (VecDeque<_>, _) = all.into_iter().partition(|task| there(task));
            framework.unreachable = stay;
            for task in back {
                if named.contains(&(id.clone(), task.info.task_id.clone())) {
                    self.rows.drop(task.usage, turn);
                } else {
                    self.complete_task(&id, task, turn);
                }
            }
        }
    }

    /// Takes over a task that the agent runs and the master does not have.
    fn adopt_task(
        &mut self,
        agent_id: &AgentId,
        running: RunningTask,
        was_unreachable: bool,
        turn: &mut Turn<'_>,
    ) {
        let RunningTask { framework_id, task: mut info, latest_state, pending, statuses } = running;
        let Some(framework) = self.frameworks.get_mut(&framework_id) else { return };
        if framework.tasks.contains_key(&info.task_id) {
            return;
        }
        // It may have been taken for over, as when its agent was.
        let over = framework.completed.iter().position(|task| task.info.task_id == info.task_id);
        if let Some(task) = over.and_then(|at| framework.completed.remove(at)) {
            self.rows.drop(task.usage, turn);
        }
        let role = role_of(&info.resources, &framework.info);
        info.resources = allocated(&info.resources, &role);
        if let Some(executor) = &mut info.executor {
            executor.resources = allocated(&executor.resources, &role);
        }
        info.agent_id = agent_id.clone();
        let task_id = info.task_id.clone();
        let mut task = Task {
            framework_id: framework_id.clone(),
            info: Arc::new(info),
            role,
            state: latest_state,
            statuses: Vec::new(),
            pending,
            container_id: None,
            usage: None,
        };
        statuses.into_iter().for_each(|status| task.record(status));
        let agent = self.agents.get_mut(agent_id).expect("made known by `reregister`");
        agent.tasks.insert((framework_id, task_id.clone()));
        if !task.state.is_terminal() {
            agent.used.add(&task.info.resources);
            framework.used.add(&task.info.resources);
        }
        if was_unreachable {
            let reason = Some(Reason::AGENT_REREGISTERED);
            let text = "Unreachable agent re-reregistered";
            // The state of the update that is owed, as in reconciliation: one further on would be taken back by that update.
            let state = task.pending.map_or(task.state, |(state, _)| state);
            framework.tell(&task.status_by_master(state, reason, text, turn.now.unix), turn);
        }
        framework.tasks.insert(task_id, Arc::new(task));
    }

    /// Takes over an executor that the agent runs and the master does not have. The agent's own are its own affair.
    fn adopt_executor(&mut self, agent_id: &AgentId, running: RunningExecutor) {
        let RunningExecutor { framework_id, executor: mut info, container_id, is_command } = running;
        let Some(framework) = self.frameworks.get_mut(&framework_id).filter(|_| !is_command) else { return };
        let agent = self.agents.get_mut(agent_id).expect("made known by `reregister`");
        let place = (framework_id.clone(), info.executor_id.clone());
        if agent.executors.contains_key(&place) {
            return;
        }
        let role = role_of(&info.resources, &framework.info);
        info.resources = allocated(&info.resources, &role);
        agent.used.add(&info.resources);
        framework.used.add(&info.resources);
        let executor = Arc::new(Executor {
            framework_id,
            agent_id: agent_id.clone(),
            info,
            role,
            container_id: Some(container_id),
            usage: None,
        });
        framework.executors.insert((agent_id.clone(), place.1.clone()), Arc::clone(&executor));
        agent.executors.insert(place, executor);
    }

    /// Executors the master has and the agent does not: they have ended, and hold nothing any more.
    fn drop_executors(
        &mut self,
        agent_id: &AgentId,
        running: &BTreeSet<(FrameworkId, ExecutorId)>,
        turn: &mut Turn<'_>,
    ) {
        let agent = self.agents.get(agent_id).expect("made known by `reregister`");
        let gone: Vec<_> = agent.executors.keys().filter(|place| !running.contains(place)).cloned().collect();
        for (framework_id, executor_id) in gone {
            self.remove_executor(agent_id, &framework_id, &executor_id, turn);
        }
    }

    /// What the agent may have missed: frameworks that ended or described themselves anew, kills.
    fn bring_up_to_date(
        &self,
        agent_id: &AgentId,
        session: SessionId,
        frameworks: &[FrameworkInfo],
        over: BTreeSet<FrameworkId>,
        named: &BTreeSet<(FrameworkId, TaskId)>,
        turn: &mut Turn<'_>,
    ) {
        for framework_id in over {
            turn.agent(session, ToAgent::ShutdownFramework { framework_id });
        }
        for info in frameworks {
            let known = info.framework_id.as_ref().and_then(|id| self.frameworks.get(id));
            if let Some(known) = known.filter(|known| *known.info != *info) {
                turn.agent(session, ToAgent::UpdateFramework { framework: known.info.as_ref().clone() });
            }
        }
        let agent = self.agents.get(agent_id).expect("made known by `reregister`");
        for (framework_id, task_id) in agent.killed.intersection(named) {
            let task = self.frameworks.get(framework_id).and_then(|known| known.tasks.get(task_id));
            if task.is_some_and(|task| !task.state.is_terminal()) {
                let (framework_id, task_id) = (framework_id.clone(), task_id.clone());
                turn.agent(session, ToAgent::Kill { framework_id, task_id, grace_ns: None });
            }
        }
    }

    /// Tells the allocator what the agent has; last, when it is known what of it is used.
    fn offer_again(&mut self, agent_id: &AgentId, is_known: bool, is_charged: bool, turn: &mut Turn<'_>) {
        let agent = self.agents.get_mut(agent_id).expect("made known by `reregister`");
        let total = agent.total();
        if is_known && !is_charged {
            turn.allocator(description(agent.key, &agent.info));
            turn.allocator(ToAllocator::UpdateAgent { agent: agent.key, total });
            return turn.allocator(ToAllocator::ActivateAgent { agent: agent.key });
        }
        if is_known {
            // It runs what the allocator does not know of: made known anew, as a whole.
            let offers: Vec<_> = agent.offers.keys().cloned().collect();
            offers.iter().for_each(|offer| self.rescind(offer, Refusal::None, turn));
            let agent = self.agents.get_mut(agent_id).expect("looked up above");
            turn.allocator(ToAllocator::RemoveAgent { agent: agent.key });
            self.agent_keys.give_back(agent.key);
            agent.key = self.agent_keys.take(agent_id);
        }
        let agent = self.agents.get(agent_id).expect("looked up above");
        let key = agent.key;
        let mut used: BTreeMap<FrameworkKey, Resources> = BTreeMap::new();
        let mut add = |id: &FrameworkId, resources: &Resources| {
            let framework = self.frameworks.get(id).expect("adopted with its framework").key;
            used.entry(framework).or_default().add(resources);
        };
        for (framework_id, task_id) in &agent.tasks {
            let framework = self.frameworks.get(framework_id).expect("adopted with its framework");
            let task = &framework.tasks[task_id];
            if !task.state.is_terminal() {
                add(framework_id, &task.info.resources);
            }
        }
        for ((framework_id, _), executor) in &agent.executors {
            add(framework_id, &executor.info.resources);
        }
        turn.allocator(description(key, &agent.info));
        turn.allocator(ToAllocator::AddAgent { agent: key, total, used: used.into_iter().collect() });
    }
}

/// The role that resources are allocated to: the one they are marked with, else the framework's only one.
fn role_of(resources: &Resources, framework: &FrameworkInfo) -> Role {
    let marked = resources.iter().find_map(|part| part.allocation.clone());
    marked.or_else(|| framework.roles.first().cloned()).unwrap_or_default()
}

/// Every part marked with the role, whatever it was marked with: one task's resources are one role's.
fn allocated(resources: &Resources, role: &Role) -> Resources {
    resources.allocated_to(role)
}
