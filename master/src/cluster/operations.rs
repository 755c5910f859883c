//! ACCEPT: what a framework does with what it was offered.

use super::agents::Agent;
use super::effect::{Done, Event};
use super::executors::Executor;
use super::input::{Accept, Operation, TaskRequest};
use super::note::Note;
use super::offers::Offer;
use super::tasks::Task;
use super::{Cluster, Turn, validate};
use crate::allocator::event::Refusal as Filter;
use api::refusal::Refusal;
use api::v1::OperationState;
use model::id::{AgentId, ExecutorId, FrameworkId, OperationId, TaskId};
use model::resources::Resources;
use model::role::Role;
use model::task::{Reason, Source, TaskInfo, TaskState, TaskStatus};
use std::sync::Arc;
use wire::message::ToAgent;

/// The offers of an ACCEPT, as one: whose they are, and what of them is not used yet.
pub(super) struct Hand {
    pub(super) framework_id: FrameworkId,
    pub(super) agent_id: AgentId,
    pub(super) role: Role,
    pub(super) left: Resources,
}

impl Cluster {
    pub(super) fn accept(
        &mut self,
        id: &FrameworkId,
        accept: Accept,
        turn: &mut Turn<'_>,
    ) -> Result<Done, Refusal> {
        let Accept { offer_ids, operations, refuse_ns } = accept;
        self.count_accept(&operations);
        if let Err(why) = self.check_offers(id, &offer_ids) {
            self.refuse_accept(id, &offer_ids, operations, &why, turn);
            return Ok(Done::Accepted);
        }
        let unsupported = operations.iter().find_map(|operation| match operation {
            Operation::Unsupported { name, id: None } => Some(*name),
            _ => None,
        });
        let offers: Vec<Arc<Offer>> = offer_ids.iter().filter_map(|offer| self.take_offer(offer)).collect();
        let mut left = Resources::default();
        offers.iter().for_each(|offer| left.add(&offer.resources));
        let first = offers.first().expect("checked: there is an offer");
        let (agent_id, role) = (first.agent_id.clone(), first.role.clone());
        let mut hand = Hand { framework_id: id.clone(), agent_id, role, left };
        for operation in operations {
            match operation {
                Operation::Launch { tasks } => {
                    tasks.into_iter().for_each(|task| self.launch(&mut hand, task, turn));
                }
                Operation::LaunchGroup(group) => self.launch_group(&mut hand, group, turn),
                Operation::Convert { name, conversion, id: operation_id } => {
                    let done = conversion
                        .map_err(|why| why.to_string())
                        .and_then(|conversion| self.convert(&mut hand, &conversion, turn));
                    match done {
                        Ok(()) => self.operation_done(id, name, operation_id, &hand.agent_id, turn),
                        Err(why) => {
                            self.refuse_operation(id, name, operation_id, Some(&hand.agent_id), &why, turn);
                        }
                    }
                }
                Operation::Unsupported { name, id: operation_id } => {
                    let why = format!("{name} is not supported by this master");
                    self.refuse_operation(id, name, operation_id, Some(&hand.agent_id), &why, turn);
                }
            }
        }
        self.release(id, &hand.agent_id, hand.left, Filter::For { ns: refuse_ns }, turn);
        match unsupported {
            // An operation that asked for no feedback would otherwise fail in silence.
            Some(name) => Err(Refusal::Bad(format!("{name} is not supported by this master"))),
            None => Ok(Done::Accepted),
        }
    }

    fn count_accept(&mut self, operations: &[Operation]) {
        for operation in operations {
            match operation {
                Operation::Launch { tasks } if tasks.is_empty() => self.counters.messages_decline_offers += 1,
                Operation::Launch { .. } => self.counters.messages_launch_tasks += 1,
                _ => {}
            }
        }
    }

    /// An ACCEPT of offers that cannot be accepted: those that stand are given back, every task is told as lost.
    fn refuse_accept(
        &mut self,
        id: &FrameworkId,
        offer_ids: &[model::id::OfferId],
        operations: Vec<Operation>,
        why: &str,
        turn: &mut Turn<'_>,
    ) {
        turn.note(Note::OffersInvalid { framework_id: id.clone(), why: Arc::from(why) });
        for offer_id in offer_ids {
            // Only its own: Mesos discards another framework's as well, which would let anyone take offers away.
            if self.offers.get(offer_id).is_some_and(|offer| offer.framework_id == *id) {
                self.discard(offer_id, Filter::None, turn);
            }
        }
        let is_aware = self.frameworks.get(id).expect("the caller is subscribed").is_partition_aware();
        let state = if is_aware { TaskState::Dropped } else { TaskState::Lost };
        for operation in operations {
            match operation {
                Operation::Launch { tasks } => {
                    let why = format!("Task launched with invalid offers: {why}");
                    self.refuse_tasks(id, &tasks, state, Reason::INVALID_OFFERS, &why, turn);
                }
                Operation::LaunchGroup(group) => {
                    let why = format!("Task launched with invalid offers: {why}");
                    self.refuse_group(id, &group.members, (state, Reason::INVALID_OFFERS), &why, turn);
                }
                Operation::Convert { name, id: operation_id, .. }
                | Operation::Unsupported { name, id: operation_id } => {
                    let why = format!("Operation attempted with invalid offers: {why}");
                    self.refuse_operation(id, name, operation_id, None, &why, turn);
                }
            }
        }
    }

    fn refuse_tasks(
        &mut self,
        id: &FrameworkId,
        tasks: &[TaskRequest],
        state: TaskState,
        reason: Reason,
        why: &str,
        turn: &mut Turn<'_>,
    ) {
        for task in tasks {
            let (task_id, agent_id) = match task {
                Ok(task) => (&task.task_id, &task.agent_id),
                Err(bad) => (&bad.task_id, &bad.agent_id),
            };
            self.refuse_task(id, task_id.clone(), agent_id.clone(), (state, reason), why, turn);
        }
    }

    /// A task that is not launched: its scheduler is told, and nothing of it is kept.
    pub(super) fn refuse_task(
        &mut self,
        id: &FrameworkId,
        task_id: TaskId,
        agent_id: AgentId,
        (state, reason): (TaskState, Reason),
        why: &str,
        turn: &mut Turn<'_>,
    ) {
        turn.note(Note::TaskRefused {
            framework_id: id.clone(),
            task_id: task_id.clone(),
            reason,
            why: Arc::from(why),
        });
        let mut status = TaskStatus::made_by(Source::Master, task_id, state, Some(reason), why);
        status.agent_id = Some(agent_id);
        status.timestamp = turn.now.unix;
        self.counters.ended(state);
        self.frameworks.get(id).expect("the caller is subscribed").tell(&status, turn);
    }

    /// The agent is told of what it has now, before anything that follows.
    fn operation_done(
        &mut self,
        id: &FrameworkId,
        name: &'static str,
        operation_id: Option<OperationId>,
        agent_id: &AgentId,
        turn: &mut Turn<'_>,
    ) {
        self.counters.operations_finished += 1;
        turn.note(Note::OperationDone { framework_id: id.clone(), name, agent_id: agent_id.clone() });
        let framework = self.frameworks.get(id).expect("the caller is subscribed");
        if let (Some(operation_id), Some(stream)) = (operation_id, &framework.stream) {
            let (agent_id, message) = (Some(agent_id.clone()), Arc::from(""));
            let state = OperationState::OperationFinished;
            turn.scheduler(stream, Event::Operation { operation_id, agent_id, state, message });
        }
    }

    fn refuse_operation(
        &mut self,
        id: &FrameworkId,
        name: &'static str,
        operation_id: Option<OperationId>,
        agent_id: Option<&AgentId>,
        why: &str,
        turn: &mut Turn<'_>,
    ) {
        self.counters.operations_error += 1;
        turn.note(Note::OperationRefused { framework_id: id.clone(), name, why: Arc::from(why) });
        let framework = self.frameworks.get(id).expect("the caller is subscribed");
        if let (Some(operation_id), Some(stream)) = (operation_id, &framework.stream) {
            let (agent_id, message) = (agent_id.cloned(), Arc::from(why));
            let state = OperationState::OperationError;
            turn.scheduler(stream, Event::Operation { operation_id, agent_id, state, message });
        }
    }

    /// Launches one task out of what is left in hand, or tells its scheduler why not.
    fn launch(&mut self, hand: &mut Hand, task: TaskRequest, turn: &mut Turn<'_>) {
        let framework = self.frameworks.get(&hand.framework_id).expect("the caller is subscribed");
        let agent = self.agents.get(&hand.agent_id).expect("an offer's agent is registered");
        let checked = task
            .map_err(|bad| (bad.task_id, bad.agent_id, bad.why))
            .map(|task| complete(task, &hand.framework_id, &hand.role))
            .and_then(|task| match validate::task(&task, framework, agent, &hand.left) {
                Ok(()) => Ok(task),
                Err(why) => Err((task.task_id, task.agent_id, Arc::from(why))),
            });
        let task = match checked {
            Ok(task) => task,
            Err((task_id, agent_id, why)) => {
                let verdict = (TaskState::Error, Reason::TASK_INVALID);
                return self.refuse_task(&hand.framework_id, task_id, agent_id, verdict, &why, turn);
            }
        };
        let session = agent.session.expect("an offer's agent is connected");
        let starts_executor = starts_executor(hand, agent, &task);
        let description = FrameworkInfoOf::clone(&framework.info);
        let mut used = task.resources.clone();
        used.add(&self.add_executor(hand, &task));
        self.charge(hand, &used, std::iter::once(&task.task_id));
        turn.note(Note::TaskLaunched {
            framework_id: hand.framework_id.clone(),
            task_id: task.task_id.clone(),
            agent_id: hand.agent_id.clone(),
        });
        let (framework, sent) = ((*description).clone(), task.clone());
        turn.agent(session, ToAgent::Run { framework, task: sent, starts_executor });
        self.add_task(hand, task);
    }

    /// Takes what tasks and their executor use out of what is left in hand.
    pub(super) fn charge<'a>(
        &mut self,
        hand: &mut Hand,
        used: &Resources,
        task_ids: impl Iterator<Item = &'a TaskId>,
    ) {
        hand.left = hand.left.checked_sub(used).expect("checked: it fits in what is left");
        let agent = self.agents.get_mut(&hand.agent_id).expect("an offer's agent is registered");
        agent.tasks.extend(task_ids.map(|task_id| (hand.framework_id.clone(), task_id.clone())));
        agent.used.add(used);
        let framework = self.frameworks.get_mut(&hand.framework_id).expect("the caller is subscribed");
        framework.used.add(used);
    }

    /// The resources of the task's executor, when the task brings one that does not run yet.
    pub(super) fn add_executor(&mut self, hand: &Hand, task: &TaskInfo) -> Resources {
        let Some(info) = &task.executor else { return Resources::default() };
        let agent = self.agents.get_mut(&hand.agent_id).expect("an offer's agent is registered");
        let place = (hand.framework_id.clone(), info.executor_id.clone());
        if agent.executors.contains_key(&place) {
            return Resources::default();
        }
        let executor = Arc::new(Executor {
            framework_id: hand.framework_id.clone(),
            agent_id: hand.agent_id.clone(),
            info: info.clone(),
            role: hand.role.clone(),
            container_id: None,
            usage: None,
        });
        agent.executors.insert(place, Arc::clone(&executor));
        let framework = self.frameworks.get_mut(&hand.framework_id).expect("the caller is subscribed");
        framework.executors.insert((hand.agent_id.clone(), info.executor_id.clone()), executor);
        info.resources.clone()
    }

    pub(super) fn add_task(&mut self, hand: &Hand, info: TaskInfo) {
        let agent = self.agents.get(&hand.agent_id).expect("an offer's agent is registered");
        // A running executor's container is known already.
        let place = (hand.framework_id.clone(), info.executor_id());
        let container = agent.containers.get(&place).filter(|_| info.executor.is_some()).cloned();
        if let Some((_, row)) = &container {
            self.rows.hold(*row);
        }
        let task_id = info.task_id.clone();
        let task = Task {
            framework_id: hand.framework_id.clone(),
            info: Arc::new(info),
            role: hand.role.clone(),
            state: TaskState::Staging,
            statuses: Vec::new(),
            pending: None,
            container_id: container.as_ref().map(|(id, _)| id.clone()),
            usage: container.map(|(_, row)| row),
        };
        let framework = self.frameworks.get_mut(&hand.framework_id).expect("the caller is subscribed");
        framework.tasks.insert(task_id, Arc::new(task));
    }
}

type FrameworkInfoOf = Arc<model::framework::FrameworkInfo>;

/// Whether the task begins an executor, as far as is known here. Where the agent finds that it has one, or has none any
/// more, it is the agent that is right; but of what is charged here both must think the same.
pub(super) fn starts_executor(hand: &Hand, agent: &Agent, task: &TaskInfo) -> bool {
    let place = |id: &ExecutorId| (hand.framework_id.clone(), id.clone());
    task.executor.as_ref().is_none_or(|info| !agent.executors.contains_key(&place(&info.executor_id)))
}

/// Fills in what frameworks may leave out: whose executor it is, and the role its resources are allocated to.
pub(super) fn complete(mut task: TaskInfo, framework_id: &FrameworkId, role: &Role) -> TaskInfo {
    task.resources = allocated(&task.resources, role);
    if let Some(executor) = &mut task.executor {
        executor.resources = allocated(&executor.resources, role);
        executor.framework_id.get_or_insert_with(|| framework_id.clone());
    }
    task
}

/// Marks those parts that carry no mark yet: one that names another role is not in the offer, and is refused as such.
pub(super) fn allocated(resources: &Resources, role: &Role) -> Resources {
    let mark = |part: &model::resources::Resource| model::resources::Resource {
        allocation: part.allocation.clone().or_else(|| Some(role.clone())),
        ..part.clone()
    };
    resources.iter().map(mark).collect()
}
