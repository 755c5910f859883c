//! Frameworks: subscription, failover, disconnection and removal.

use super::effect::{Done, Event};
use super::executors::Executor;
use super::input::{StreamId, Subscribe};
use super::kept::Viewed;
use super::note::Note;
use super::offers::Offer;
use super::snapshot::FrameworkView;
use super::sum::Sum;
use super::tasks::Task;
use super::timers::Timer;
use super::{Cluster, Turn};
use crate::allocator::constraints::Constraints;
use crate::allocator::event::{Claims, Event as ToAllocator, Refusal as Filter};
use crate::allocator::key::FrameworkKey;
use api::refusal::Refusal;
use model::framework::{Capabilities, FrameworkInfo};
use model::id::{AgentId, ExecutorId, FrameworkId, OfferId, TaskId};
use model::limits::HEARTBEAT_INTERVAL_MS;
use model::resources::Resources;
use model::role::Role;
use model::task::{Reason, TaskState, TaskStatus};
use model::time::{Time, UnixTime};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use wire::message::ToAgent;

/// A framework that only agents have named gets at least this long to subscribe, milliseconds: its own failover timeout
/// did not begin with the restart of a master (Mesos waits for it without limit).
const RECOVERED_WAIT_MIN_MS: u64 = 600_000;

/// What a framework says beside its description: roles for which it wants no offers now, and of which agents it wants any.
pub(super) type Wishes = (Vec<Role>, Arc<Constraints>);

/// A framework that is subscribed, was, or is known from its tasks.
#[derive(Debug)]
pub(super) struct Framework {
    pub(super) id: FrameworkId,
    pub(super) key: FrameworkKey,
    /// With `framework_id` filled in.
    pub(super) info: Arc<FrameworkInfo>,
    /// `None` while it is disconnected: it is offered nothing then.
    pub(super) stream: Option<StreamId>,
    pub(super) is_recovered: bool,
    pub(super) suppressed: BTreeSet<Role>,
    pub(super) constraints: Arc<Constraints>,
    pub(super) registered: UnixTime,
    pub(super) reregistered: Option<UnixTime>,
    pub(super) tasks: BTreeMap<TaskId, Arc<Task>>,
    pub(super) unreachable: VecDeque<Arc<Task>>,
    pub(super) completed: VecDeque<Arc<Task>>,
    pub(super) executors: BTreeMap<(AgentId, ExecutorId), Arc<Executor>>,
    pub(super) offers: BTreeMap<OfferId, Arc<Offer>>,
    /// By [`Self::running`].
    pub(super) used: Sum,
    /// When the next HEARTBEAT is due, or, while disconnected, when it is given up.
    due: Time,
}

impl Viewed for Framework {
    type View = FrameworkView;

    fn view(&self) -> FrameworkView {
        let used = self.used.whole(self.running());
        let mut offered = Resources::default();
        self.offers.values().for_each(|offer| offered.add(&offer.resources));
        FrameworkView {
            id: self.id.clone(),
            info: Arc::clone(&self.info),
            is_connected: self.stream.is_some(),
            is_active: self.stream.is_some(),
            is_recovered: self.is_recovered,
            suppressed: self.suppressed.clone(),
            constraints: Arc::clone(&self.constraints),
            registered: self.registered,
            reregistered: self.reregistered,
            unregistered: None,
            tasks: self.tasks.values().cloned().collect(),
            unreachable_tasks: self.unreachable.iter().cloned().collect(),
            completed_tasks: self.completed.iter().cloned().collect(),
            executors: self.executors.values().cloned().collect(),
            offers: self.offers.values().cloned().collect(),
            used,
            offered,
        }
    }
}

impl Framework {
    pub(super) fn is_partition_aware(&self) -> bool {
        self.info.capabilities.has(Capabilities::PARTITION_AWARE)
    }

    /// Tells its scheduler, if there is one listening.
    pub(super) fn tell(&self, status: &TaskStatus, turn: &mut Turn<'_>) {
        if let Some(stream) = &self.stream {
            turn.scheduler(stream, Event::Update { status: status.clone() });
        }
    }

    /// The resources of its tasks that are not over, and of its executors.
    pub(super) fn running(&self) -> impl Iterator<Item = &Resources> {
        let tasks = self.tasks.values().filter(|task| !task.state.is_terminal());
        let executors = self.executors.values().map(|executor| &executor.info.resources);
        tasks.map(|task| &task.info.resources).chain(executors)
    }

    fn claims(&self) -> Claims {
        Claims {
            roles: self.info.roles.clone(),
            suppressed: self.suppressed.iter().cloned().collect(),
            capabilities: self.info.capabilities,
            constraints: (!self.constraints.roles.is_empty()).then(|| Arc::clone(&self.constraints)),
        }
    }

    fn timer(&self) -> Timer {
        let id = self.id.clone();
        if self.stream.is_some() { Timer::Heartbeat(id) } else { Timer::Failover(id) }
    }
}

impl Cluster {
    pub(super) fn subscribe(&mut self, subscribe: Subscribe, turn: &mut Turn<'_>) {
        let Subscribe { stream, mut framework, suppressed, constraints } = subscribe;
        let counters = &mut self.counters;
        match framework.framework_id {
            None => counters.messages_register_framework += 1,
            Some(_) => counters.messages_reregister_framework += 1,
        }
        if let Err(why) = self.check_subscription(&framework, &suppressed) {
            turn.note(Note::FrameworkRefused { name: framework.name, why: Arc::from(&*why) });
            turn.scheduler(&stream, Event::Error { message: Arc::from(why) });
            return turn.close_stream(stream);
        }
        let id = framework.framework_id.clone().unwrap_or_else(|| self.new_framework_id());
        framework.framework_id = Some(id.clone());
        let name = Arc::clone(&framework.name);
        let is_new = !self.frameworks.contains(&id);
        if is_new {
            self.add_framework(framework, (suppressed, constraints), Some(stream.clone()), turn);
        } else {
            self.fail_over(&id, &stream, turn);
            self.describe_anew(&id, framework, (suppressed, constraints), turn);
        }
        turn.note(Note::FrameworkSubscribed { framework_id: id.clone(), name, is_new });
        self.streams.insert(stream.clone(), id.clone());
        turn.scheduler(&stream, Event::Subscribed { framework_id: id.clone() });
        // At once, because some clients handle a record only when the next one begins.
        turn.scheduler(&stream, Event::Heartbeat);
        self.ask_everywhere();
        if !is_new {
            let key = self.frameworks.get(&id).expect("it is not new").key;
            turn.allocator(ToAllocator::ActivateFramework { framework: key });
        }
    }

    fn check_subscription(&self, framework: &FrameworkInfo, suppressed: &[Role]) -> Result<(), String> {
        check_suppressed(framework, suppressed)?;
        let Some(id) = &framework.framework_id else { return Ok(()) };
        if self.completed.iter().any(|completed| completed.id == *id) {
            return Err("Framework has been removed".into());
        }
        match self.frameworks.get(id) {
            Some(known) => check_principal(&known.info, framework),
            None => Ok(()),
        }
    }

    fn new_framework_id(&mut self) -> FrameworkId {
        let id = FrameworkId::new(format!("{}-{:04}", self.master.id, self.next[1]));
        self.next[1] += 1;
        id
    }

    /// A framework the master did not know: new, back after a failover of the master, or (without a stream) named by an
    /// agent that runs its tasks.
    pub(super) fn add_framework(
        &mut self,
        info: FrameworkInfo,
        (suppressed, constraints): Wishes,
        stream: Option<StreamId>,
        turn: &mut Turn<'_>,
    ) {
        let id = info.framework_id.clone().expect("a framework has its id by now");
        let wait_ms = (info.failover_timeout_ns / 1_000_000).max(RECOVERED_WAIT_MIN_MS);
        let wait_ms = if stream.is_some() { HEARTBEAT_INTERVAL_MS } else { wait_ms };
        let framework = Framework {
            id: id.clone(),
            key: self.framework_keys.take(&id),
            info: Arc::new(info),
            is_recovered: stream.is_none(),
            stream,
            suppressed: suppressed.into_iter().collect(),
            constraints,
            registered: turn.now.unix,
            reregistered: None,
            tasks: BTreeMap::new(),
            unreachable: VecDeque::new(),
            completed: VecDeque::new(),
            executors: BTreeMap::new(),
            offers: BTreeMap::new(),
            used: Sum::default(),
            due: turn.now.time.plus_ms(wait_ms),
        };
        self.timers.set(framework.due, framework.timer());
        turn.allocator(ToAllocator::AddFramework {
            framework: framework.key,
            info: framework.claims(),
            is_active: framework.stream.is_some(),
        });
        self.frameworks.insert(id, framework);
    }

    /// A scheduler subscribes with the id of a framework we know: what stood between us and its predecessor ends.
    fn fail_over(&mut self, id: &FrameworkId, stream: &StreamId, turn: &mut Turn<'_>) {
        let framework = self.frameworks.get_mut(id).expect("checked by `subscribe`");
        self.timers.cancel(framework.due, framework.timer());
        let old = framework.stream.replace(stream.clone());
        framework.due = turn.now.time.plus_ms(HEARTBEAT_INTERVAL_MS);
        self.timers.set(framework.due, framework.timer());
        if std::mem::take(&mut framework.is_recovered) {
            framework.registered = turn.now.unix;
        } else {
            framework.reregistered = Some(turn.now.unix);
        }
        let offers: Vec<_> = framework.offers.keys().cloned().collect();
        for offer in &offers {
            self.discard(offer, Filter::None, turn);
        }
        self.drop_inverse_offers(id, false);
        if let Some(old) = old {
            self.streams.remove(&old);
            turn.scheduler(&old, Event::Error { message: Arc::from("Framework failed over") });
            turn.close_stream(old);
        }
    }

    /// Takes over what a framework says of itself, except what may not change (user and checkpoint, as in Mesos).
    fn describe_anew(
        &mut self,
        id: &FrameworkId,
        mut info: FrameworkInfo,
        (suppressed, constraints): Wishes,
        turn: &mut Turn<'_>,
    ) {
        let framework = self.frameworks.get_mut(id).expect("checked by the caller");
        info.user = Arc::clone(&framework.info.user);
        info.checkpoint = framework.info.checkpoint;
        framework.suppressed = suppressed.into_iter().collect();
        framework.constraints = constraints;
        framework.info = Arc::new(info);
        let claims = framework.claims();
        turn.allocator(ToAllocator::UpdateFramework { framework: framework.key, info: claims });
        let left = framework.offers.values().filter(|offer| !framework.info.roles.contains(&offer.role));
        let left: Vec<_> = left.map(|offer| offer.id.clone()).collect();
        left.iter().for_each(|offer| self.rescind(offer, Filter::None, turn));
        // Also when nothing has changed: it says that the scheduler is there, and what it has not acknowledged is sent
        // again at once.
        self.tell_agents_of_framework(id, |info| ToAgent::UpdateFramework { framework: info.clone() }, turn);
    }

    /// Sends to every connected agent where it has tasks or executors.
    fn tell_agents_of_framework(
        &mut self,
        id: &FrameworkId,
        message: impl Fn(&FrameworkInfo) -> ToAgent,
        turn: &mut Turn<'_>,
    ) {
        let framework = self.frameworks.get(id).expect("checked by the caller");
        let mut agents: BTreeSet<&AgentId> = framework.executors.keys().map(|(agent, _)| agent).collect();
        agents.extend(framework.tasks.values().map(|task| &task.info.agent_id));
        for agent in agents {
            if let Some(session) = self.agents.get(agent).and_then(|agent| agent.session) {
                turn.agent(session, message(&framework.info));
            }
        }
    }

    pub(super) fn update_framework(
        &mut self,
        id: &FrameworkId,
        mut info: FrameworkInfo,
        wishes: Wishes,
        turn: &mut Turn<'_>,
    ) -> Result<Done, Refusal> {
        let known = &self.frameworks.get(id).expect("the caller is subscribed").info;
        check_unchanged(known, &info)
            .map_err(|why| Refusal::Bad(format!("FrameworkInfo update is not valid: {why}")))?;
        check_suppressed(&info, &wishes.0)
            .map_err(|why| Refusal::Bad(format!("Supplied FrameworkInfo is not valid: {why}")))?;
        info.framework_id = Some(id.clone());
        self.describe_anew(id, info, wishes, turn);
        Ok(Done::Ok)
    }

    /// Who may call: a subscribed framework, through the stream it has.
    pub(super) fn caller(&self, id: &FrameworkId, stream: Option<StreamId>) -> Result<(), Refusal> {
        let framework = self.frameworks.get(id).ok_or(Refusal::FrameworkNotFound)?;
        let current = framework.stream.as_ref().ok_or(Refusal::FrameworkNotSubscribed)?;
        let given = stream.ok_or(Refusal::StreamIdMissing)?;
        if given == *current {
            return Ok(());
        }
        Err(Refusal::StreamIdStale { got: given.0.to_string(), framework_id: id.to_string() })
    }

    pub(super) fn stream_gone(&mut self, stream: &StreamId, turn: &mut Turn<'_>) {
        let Some(id) = self.streams.remove(stream) else { return };
        let framework = self.frameworks.get_mut(&id).expect("a stream's framework is known");
        let failover_timeout_ms = framework.info.failover_timeout_ns / 1_000_000;
        turn.note(Note::FrameworkDisconnected { framework_id: id.clone(), failover_timeout_ms });
        self.timers.cancel(framework.due, framework.timer());
        framework.stream = None;
        framework.due = turn.now.time.plus_ns(framework.info.failover_timeout_ns);
        self.timers.set(framework.due, framework.timer());
        turn.allocator(ToAllocator::DeactivateFramework { framework: framework.key });
        let offers: Vec<_> = framework.offers.keys().cloned().collect();
        for offer in &offers {
            self.discard(offer, Filter::None, turn);
        }
        self.drop_inverse_offers(&id, false);
    }

    pub(super) fn heartbeat(&mut self, id: &FrameworkId, turn: &mut Turn<'_>) {
        let Some(framework) = self.frameworks.get_mut(id) else { return };
        let Some(stream) = &framework.stream else { return };
        turn.scheduler(stream, Event::Heartbeat);
        framework.due = turn.now.time.plus_ms(HEARTBEAT_INTERVAL_MS);
        self.timers.set(framework.due, framework.timer());
    }

    pub(super) fn suppress(&mut self, id: &FrameworkId, roles: Vec<Role>, turn: &mut Turn<'_>) {
        self.counters.messages_suppress_offers += 1;
        let framework = self.frameworks.get_mut(id).expect("the caller is subscribed");
        if !roles.iter().all(|role| framework.info.roles.contains(role)) {
            return turn.ignored("SUPPRESS", id, "a role is not one of the framework's");
        }
        let meant = if roles.is_empty() { &framework.info.roles } else { &roles };
        framework.suppressed.extend(meant.iter().cloned());
        turn.allocator(ToAllocator::Suppress { framework: framework.key, roles });
    }

    pub(super) fn revive(&mut self, id: &FrameworkId, roles: Vec<Role>, turn: &mut Turn<'_>) {
        self.counters.messages_revive_offers += 1;
        let framework = self.frameworks.get_mut(id).expect("the caller is subscribed");
        if !roles.iter().all(|role| framework.info.roles.contains(role)) {
            return turn.ignored("REVIVE", id, "a role is not one of the framework's");
        }
        framework.suppressed.retain(|role| !roles.is_empty() && !roles.contains(role));
        turn.allocator(ToAllocator::Revive { framework: framework.key, roles });
    }

    /// The framework is over: its tasks and executors are ended, and it is kept among the completed ones.
    pub(super) fn remove_framework(&mut self, id: &FrameworkId, why: &'static str, turn: &mut Turn<'_>) {
        if !self.frameworks.contains(id) {
            return;
        }
        let shutdown = ToAgent::ShutdownFramework { framework_id: id.clone() };
        self.tell_agents_of_framework(id, |_| shutdown.clone(), turn);
        let mut framework = self.frameworks.remove(id).expect("looked up above");
        let task_count = framework.tasks.len();
        turn.note(Note::FrameworkRemoved { framework_id: id.clone(), why, task_count });
        self.timers.cancel(framework.due, framework.timer());
        if let Some(stream) = framework.stream.take() {
            self.streams.remove(&stream);
            turn.close_stream(stream);
        }
        self.drop_inverse_offers(id, true);
        // It also ends everything allocated to the framework.
        turn.allocator(ToAllocator::RemoveFramework { framework: framework.key });
        self.framework_keys.give_back(framework.key);
        for offer in std::mem::take(&mut framework.offers).into_values() {
            self.offers.remove(&offer.id);
            self.withdraw(&offer);
        }
        let tasks = std::mem::take(&mut framework.tasks).into_values();
        let unreachable = std::mem::take(&mut framework.unreachable);
        let over: Vec<_> = tasks.chain(unreachable).map(|task| self.end_with_framework(task, turn)).collect();
        framework.completed.extend(over);
        while framework.completed.len() > self.settings.max_completed_tasks_per_framework {
            let task = framework.completed.pop_front();
            self.rows.drop(task.and_then(|task| task.usage), turn);
        }
        for ((agent_id, executor_id), executor) in std::mem::take(&mut framework.executors) {
            let agent = self.agents.get_mut(&agent_id).expect("an executor's agent is registered");
            agent.executors.remove(&(id.clone(), executor_id));
            super::agents::Agent::subtract(&mut agent.used, &executor.info.resources);
            self.rows.drop(executor.usage, turn);
        }
        framework.used = Sum::default();
        let view = FrameworkView { unregistered: Some(turn.now.unix), ..framework.view() };
        self.keep_completed(view, turn);
    }

    fn keep_completed(&mut self, view: FrameworkView, turn: &mut Turn<'_>) {
        self.completed.push_back(Arc::new(view));
        while self.completed.len() > self.settings.max_completed_frameworks {
            let oldest = self.completed.pop_front().expect("there are more than are kept");
            for task in &oldest.completed_tasks {
                self.rows.drop(task.usage, turn);
            }
        }
    }

    /// A task of a framework that is removed. Mesos calls all of them killed, though some may yet end otherwise.
    fn end_with_framework(&mut self, mut task: Arc<Task>, turn: &mut Turn<'_>) -> Arc<Task> {
        if let Some(agent) = self.agents.get_mut(&task.info.agent_id) {
            let place = (task.framework_id.clone(), task.info.task_id.clone());
            agent.killed.remove(&place);
            if agent.tasks.remove(&place) && !task.state.is_terminal() {
                super::agents::Agent::subtract(&mut agent.used, &task.info.resources);
            }
        }
        if !task.state.is_terminal() {
            let text = format!("Framework {} removed", task.framework_id);
            let reason = Some(Reason::FRAMEWORK_REMOVED);
            let status = task.status_by_master(TaskState::Killed, reason, &text, turn.now.unix);
            let changed = Arc::make_mut(&mut task);
            changed.state = TaskState::Killed;
            changed.record(status);
            self.counters.ended(TaskState::Killed);
        }
        task
    }
}

fn check_suppressed(framework: &FrameworkInfo, suppressed: &[Role]) -> Result<(), String> {
    match suppressed.iter().find(|role| !framework.roles.contains(role)) {
        Some(foreign) => Err(format!("Suppressed role '{foreign}' is not contained in the list of roles")),
        None => Ok(()),
    }
}

/// Whoever knows a framework's id may take it over, but not under another name.
fn check_principal(known: &FrameworkInfo, new: &FrameworkInfo) -> Result<(), String> {
    if known.principal == new.principal {
        return Ok(());
    }
    Err("Changing framework's principal is not allowed.".into())
}

/// What UPDATE_FRAMEWORK may not change. (A subscription silently keeps the old user and checkpoint instead.)
fn check_unchanged(known: &FrameworkInfo, new: &FrameworkInfo) -> Result<(), String> {
    check_principal(known, new)?;
    if known.user != new.user {
        let (from, to) = (&known.user, &new.user);
        return Err(format!(
            "Updating 'FrameworkInfo.user' is unsupported; attempted to update from '{from}' to '{to}'"
        ));
    }
    if known.checkpoint != new.checkpoint {
        let (from, to) = (known.checkpoint, new.checkpoint);
        return Err(format!(
            "Updating 'FrameworkInfo.checkpoint' is unsupported; attempted to update from '{from}' to '{to}'"
        ));
    }
    Ok(())
}
