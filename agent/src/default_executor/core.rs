//! What the default executor decides: which updates it sends, when a task's container is launched, signalled and given up,
//! what becomes of a group when one of it fails, and when the executor itself is done. Decides; the shell asks the agent for
//! containers, speaks and looks at the clock.
//!
//! Any number of groups, each all or nothing: when one task of a group fails or is killed, the others of that group are
//! killed. Behaviour, times and messages are those of Mesos' own default executor (src/launcher/default_executor.cpp) but
//! where a comment says otherwise.

use std::collections::{BTreeMap, BTreeSet};

use api::v1;
use api::v1::TaskState;
use api::v1::agent::call::LaunchContainer;
use api::v1::agent::response::WaitContainer;
use api::v1::task_status::{Reason, Source};
use bytes::Bytes;
use model::time::{Now, Time};

use super::launch::launch;
use super::task::{End, Task};
use crate::checks::core::{self as checks, Which};
use crate::checks::probe::Probe;

/// Kept back of a shutdown's grace: the ends must be told before the agent's own patience is over.
const SHUTDOWN_RESERVE_NS: u64 = 2_000_000_000;
/// How long an agent that is there may take to acknowledge the last ends.
const GOODBYE_MS: u64 = 60_000;

/// What does not change while the executor lives.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) executor_id: v1::ExecutorId,
    /// From SHUTDOWN until the agent ends everything by force.
    pub(crate) shutdown_grace_ns: u64,
    /// Address of the network that the executor shares with its containers.
    pub(crate) container_ip: String,
}

/// Everything that can happen.
#[derive(Clone, Debug)]
pub(crate) enum Input {
    Subscribed {
        /// The executor's own.
        container_id: v1::ContainerId,
        /// The framework understands TASK_KILLING.
        reports_killing: bool,
    },
    Launch,
    LaunchGroup(Vec<v1::TaskInfo>),
    Kill {
        task_id: v1::TaskId,
        grace_ns: Option<u64>,
    },
    Acknowledged {
        uuid: Bytes,
    },
    /// By the agent, or by a signal to this process.
    Shutdown,
    /// The stream broke and is being subscribed again.
    Lost,
    /// There will be no agent any more.
    Abandoned,
    /// The container of that *Launch* runs.
    Launched {
        container_id: String,
    },
    /// The agent refused it.
    NotLaunched {
        container_id: String,
        why: String,
    },
    /// Of a task's checks.
    Checks {
        container_id: String,
        input: checks::Input,
    },
    /// What *Wait* waited for.
    Ended {
        container_id: String,
        /// `None` where the agent knows no such container.
        told: Option<Told>,
    },
}

/// What the agent says of a container that has ended.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    /// "exited with status 1"; `None` where nobody knows.
    pub(crate) how: Option<String>,
    pub(crate) wait: WaitContainer,
}

/// Everything that can be wanted. Containers go by their own ids, without their parent's.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Effect {
    /// To be told until acknowledged, in this order.
    Update(Box<v1::TaskStatus>),
    /// Answered by *Launched* or *NotLaunched*.
    Launch(Box<LaunchContainer>),
    /// The sandbox of that container is the task's.
    Link {
        task_id: v1::TaskId,
        container_id: String,
    },
    /// Answered by *Ended*, through restarts of the agent.
    Wait(v1::ContainerId),
    Signal {
        container_id: v1::ContainerId,
        signal: Signal,
    },
    /// Of a task's checks: answered by *Checks(Probed)* with the same number.
    Probe {
        container_id: String,
        which: Which,
        number: u64,
        probe: Box<Probe>,
    },
    CancelProbe {
        container_id: String,
        which: Which,
    },
    /// A line for whoever reads the sandbox's stderr.
    Note(String),
    /// End this process. Nothing follows.
    Exit {
        is_success: bool,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    /// SIGTERM to the container's program.
    Terminate,
    /// SIGKILL to all of it.
    Kill,
}

/// See the module's head.
#[derive(Debug)]
pub(crate) struct Core {
    settings: Settings,
    container_id: v1::ContainerId,
    is_subscribed: bool,
    /// Nobody hears updates any more.
    is_abandoned: bool,
    is_shutting_down: bool,
    is_over: bool,
    reports_killing: bool,
    /// Those whose ends are not told, by their container's id.
    tasks: BTreeMap<String, Task>,
    groups: BTreeMap<u64, Group>,
    group_count: u64,
    /// Updates that the agent has not acknowledged.
    unacknowledged: BTreeSet<Bytes>,
    /// Counts only while there is an agent to answer. (Mesos' gives up a minute after the last end though the agent may be
    /// restarting or may have sent another group.)
    leave_by: Option<Time>,
    rng: fastrand::Rng,
}

#[derive(Debug, Default)]
struct Group {
    /// Container ids in the group's order. Those that are over stay.
    members: Vec<String>,
    /// Containers whose *Launch* has no answer.
    launching: BTreeSet<String>,
    /// Containers that the agent refused, and why.
    refused: BTreeMap<String, String>,
    /// One of it has failed or was killed; the others are being ended.
    is_ending: bool,
}

impl Core {
    /// Equal seeds make equal executors; what makes ids unique is that seeds are not.
    pub(crate) fn new(settings: Settings, seed: u64) -> Self {
        Self {
            settings,
            container_id: v1::ContainerId::default(),
            is_subscribed: false,
            is_abandoned: false,
            is_shutting_down: false,
            is_over: false,
            reports_killing: false,
            tasks: BTreeMap::new(),
            groups: BTreeMap::new(),
            group_count: 0,
            unacknowledged: BTreeSet::new(),
            leave_by: None,
            rng: fastrand::Rng::with_seed(seed),
        }
    }

    pub(crate) fn handle(&mut self, now: Now, input: Input, effects: &mut Vec<Effect>) {
        if self.is_over {
            return;
        }
        match input {
            Input::Subscribed { container_id, reports_killing } => {
                self.container_id = container_id;
                self.reports_killing = reports_killing;
                self.set_subscribed(now.time, true);
                self.look_at_all(now, &checks::Input::Resumed, effects);
            }
            Input::Lost => {
                self.set_subscribed(now.time, false);
                // Commands are run by the agent. (Mesos' pauses as well.)
                self.look_at_all(now, &checks::Input::Paused, effects);
            }
            Input::Launch => {
                note(effects, "LAUNCH is not for a default executor; shutting down");
                self.shutdown(now, effects);
            }
            Input::LaunchGroup(tasks) => self.launch_group(now, &tasks, effects),
            Input::Kill { task_id, grace_ns } => self.kill(now, &task_id, grace_ns, effects),
            Input::Acknowledged { uuid } => {
                self.unacknowledged.remove(&uuid);
                self.leave_if_done(now.time, effects);
            }
            Input::Shutdown => self.shutdown(now, effects),
            Input::Abandoned => {
                note(effects, "there is no agent any more, and no container without it; leaving");
                self.is_abandoned = true;
                self.exit(false, effects);
            }
            Input::Launched { container_id } => self.answered(now, &container_id, None, effects),
            Input::NotLaunched { container_id, why } => {
                self.answered(now, &container_id, Some(why), effects);
            }
            Input::Checks { container_id, input } => self.look(now, &container_id, Some(input), effects),
            Input::Ended { container_id, told } => {
                if let Some(task) = self.tasks.get(&container_id) {
                    let end = task.ended(told);
                    self.end(now, &container_id, end, effects);
                }
            }
        }
    }

    /// When to call [`Core::expire`] though nothing happens.
    pub(crate) fn deadline(&self) -> Option<Time> {
        let of_tasks = self.tasks.values().filter_map(Task::deadline).min();
        [of_tasks, self.leave_by].into_iter().flatten().min().filter(|_| !self.is_over)
    }

    pub(crate) fn expire(&mut self, now: Now, effects: &mut Vec<Effect>) {
        if self.is_over {
            return;
        }
        if self.leave_by.is_some_and(|at| at <= now.time) {
            note(effects, "the agent did not acknowledge the last updates");
            return self.exit(false, effects);
        }
        let ids: Vec<String> = self.tasks.keys().cloned().collect();
        for container_id in ids {
            let task = self.tasks.get_mut(&container_id).expect("it was just listed");
            if task.runs && task.complete_by.is_some_and(|at| at <= now.time) {
                let id = &task.id.value;
                note(effects, &format!("task {id} exceeded its maximum completion time"));
                task.is_overdue = true;
                self.end_task(now, &container_id, Some(0), effects);
            }
            let task = self.tasks.get_mut(&container_id).expect("as above");
            if task.is_out_of_grace(now.time) {
                let container_id = task.container_id.clone();
                effects.push(Effect::Signal { container_id, signal: Signal::Kill });
            }
            self.look(now, &container_id, None, effects);
        }
    }

    fn look_at_all(&mut self, now: Now, input: &checks::Input, effects: &mut Vec<Effect>) {
        // Those that are being killed stay as they are.
        let watched = self.tasks.iter().filter(|(_, task)| task.runs && task.kill.is_none());
        for id in watched.map(|(id, _)| id.clone()).collect::<Vec<_>>() {
            self.look(now, &id, Some(input.clone()), effects);
        }
    }

    /// Hands a task's checks what has happened, or word that time has passed, and does what they want.
    fn look(&mut self, now: Now, id: &str, input: Option<checks::Input>, effects: &mut Vec<Effect>) {
        let Some(task) = self.tasks.get_mut(id) else { return };
        let mut wanted = Vec::new();
        match input {
            Some(input) => task.checks.handle(now.time, input, &mut wanted),
            None => task.checks.expire(now.time, &mut wanted),
        }
        for effect in wanted {
            let container_id = id.to_owned();
            match effect {
                checks::Effect::Probe { which, number, probe } => {
                    effects.push(Effect::Probe { container_id, which, number, probe });
                }
                checks::Effect::Cancel { which } => effects.push(Effect::CancelProbe { container_id, which }),
                checks::Effect::Checked(status) => {
                    let reason = Reason::TaskCheckStatusUpdated;
                    self.found(now, id, reason, effects, |it| it.check_status = Some(*status));
                }
                checks::Effect::Health { is_healthy, kills } => {
                    let reason = Reason::TaskHealthCheckStatusUpdated;
                    self.found(now, id, reason, effects, |it| it.healthy = Some(is_healthy));
                    if kills && let Some(task) = self.tasks.get_mut(id) {
                        note(effects, &format!("task {} is not healthy and is killed", task.id.value));
                        task.is_unhealthy = true;
                        self.end_task(now, id, None, effects);
                    }
                }
                checks::Effect::Note(text) => {
                    let task = self.tasks.get(id).map_or("", |task| &task.id.value);
                    note(effects, &format!("task {task}: {text}"));
                }
            }
        }
    }

    /// A check has found something: TASK_RUNNING once more, with all that checks have found so far.
    fn found(
        &mut self,
        now: Now,
        id: &str,
        reason: Reason,
        effects: &mut Vec<Effect>,
        change: impl FnOnce(&mut v1::TaskStatus),
    ) {
        let Some(task) = self.tasks.get_mut(id) else { return };
        change(&mut task.running);
        task.running.set_reason(reason);
        task.running.timestamp = Some(timestamp(now));
        let status = task.running.clone();
        self.update(status, effects);
    }

    fn set_subscribed(&mut self, now: Time, is_subscribed: bool) {
        self.is_subscribed = is_subscribed;
        if self.leave_by.is_some() || is_subscribed {
            self.say_goodbye(now);
        }
    }

    fn launch_group(&mut self, now: Now, infos: &[v1::TaskInfo], effects: &mut Vec<Effect>) {
        if self.is_shutting_down {
            return note(effects, "LAUNCH_GROUP while shutting down: ignored");
        }
        let is_here = |info: &v1::TaskInfo| self.tasks.values().any(|task| task.id == info.task_id);
        if infos.iter().any(is_here) {
            // A second end must not follow the first.
            return note(effects, "LAUNCH_GROUP with a task that was launched already: ignored");
        }
        self.leave_by = None;
        self.group_count += 1;
        let number = self.group_count;
        let mut group = Group::default();
        let mut launches = Vec::new();
        for info in infos {
            let container_id = self.new_container_id();
            let id = container_id.value.clone();
            let task = Task::new(info, container_id.clone(), number);
            let starting = self.status(now, &task, TaskState::TaskStarting);
            self.update(starting, effects);
            self.tasks.insert(id.clone(), task);
            match launch(info, container_id, &self.settings.container_ip) {
                Ok(launch) => launches.push(launch),
                Err(error) => _ = group.refused.insert(id.clone(), error.to_string()),
            }
            group.members.push(id);
        }
        // Mesos would launch the others first, and then kill them.
        if group.refused.is_empty() {
            group.launching = group.members.iter().cloned().collect();
            effects.extend(launches.into_iter().map(|launch| Effect::Launch(Box::new(launch))));
        }
        self.groups.insert(number, group);
        self.begin_if_answered(now, number, effects);
    }

    fn answered(&mut self, now: Now, id: &str, refusal: Option<String>, effects: &mut Vec<Effect>) {
        let Some(number) = self.tasks.get(id).map(|task| task.group) else { return };
        let group = self.groups.get_mut(&number).expect("a task's group is there");
        if !group.launching.remove(id) {
            return;
        }
        if let Some(why) = refusal {
            group.refused.insert(id.to_owned(), why);
        } else {
            self.tasks.get_mut(id).expect("it was just seen").runs = true;
        }
        self.begin_if_answered(now, number, effects);
    }

    /// Once all of a group have their answers: those that run are told to, unless they are to end already; and if one
    /// does not, that is its end.
    fn begin_if_answered(&mut self, now: Now, number: u64, effects: &mut Vec<Effect>) {
        let group = self.groups.get_mut(&number).expect("callers have just seen it");
        if !group.launching.is_empty() {
            return;
        }
        let refused = std::mem::take(&mut group.refused);
        let members = group.members.clone();
        let (run, rest): (Vec<_>, Vec<_>) = members.into_iter().partition(|id| self.tasks[id].runs);
        for id in run {
            self.begin(now, &id, effects);
        }
        for id in rest {
            let is_killed = self.tasks[&id].kill.is_some();
            let end = match refused.get(&id) {
                _ if is_killed => End::new(TaskState::TaskKilled, "Killed before its container ran"),
                Some(why) => {
                    note(effects, why);
                    End::new(TaskState::TaskFailed, why.clone())
                }
                None => End::new(TaskState::TaskKilled, "A task of its group could not be launched"),
            };
            self.end(now, &id, end, effects);
        }
    }

    fn begin(&mut self, now: Now, id: &str, effects: &mut Vec<Effect>) {
        let task = self.tasks.get_mut(id).expect("callers have just seen it");
        effects.push(Effect::Link { task_id: task.id.clone(), container_id: id.to_owned() });
        let container_id = task.container_id.clone();
        if task.kill.is_some() {
            // TASK_KILLING may have been told; TASK_RUNNING would be a step back.
            let signal = Signal::Terminate;
            effects.push(Effect::Signal { container_id: container_id.clone(), signal });
        } else {
            let max_ns = task.completion_max_ns;
            task.complete_by = (max_ns > 0).then(|| now.time.plus_ns(max_ns));
            let running = self.status(now, &self.tasks[id], TaskState::TaskRunning);
            self.tasks.get_mut(id).expect("as above").running = running.clone();
            self.update(running, effects);
            self.look(now, id, Some(checks::Input::Started), effects);
            if !self.is_subscribed {
                self.look(now, id, Some(checks::Input::Paused), effects);
            }
        }
        effects.push(Effect::Wait(container_id));
    }

    fn kill(&mut self, now: Now, task_id: &v1::TaskId, grace_ns: Option<u64>, effects: &mut Vec<Effect>) {
        match self.tasks.values().find(|task| task.id == *task_id) {
            Some(task) => {
                let id = task.container_id.value.clone();
                self.end_task(now, &id, grace_ns, effects);
            }
            None => note(effects, &format!("KILL of task {}, which does not run here", task_id.value)),
        }
    }

    fn shutdown(&mut self, now: Now, effects: &mut Vec<Effect>) {
        self.is_shutting_down = true;
        let grace_ns = self.settings.shutdown_grace_ns.saturating_sub(SHUTDOWN_RESERVE_NS);
        for id in self.tasks.keys().cloned().collect::<Vec<_>>() {
            self.end_task(now, &id, Some(grace_ns), effects);
        }
        if self.tasks.is_empty() && self.unacknowledged.is_empty() {
            self.exit(true, effects);
        }
    }

    /// `grace_ns`: `None` for the task's own. (Mesos' ends the others of a group with 3 seconds whatever they say.)
    fn end_task(&mut self, now: Now, id: &str, grace_ns: Option<u64>, effects: &mut Vec<Effect>) {
        let task = self.tasks.get_mut(id).expect("callers have just seen it");
        let grace_ns = grace_ns.unwrap_or(task.kill_grace_ns);
        let Some(signal) = task.end(now.time, grace_ns) else { return };
        let (container_id, runs, is_overdue) = (task.container_id.clone(), task.runs, task.is_overdue);
        // One whose group's answers are not all there is signalled when it would have begun.
        let has_begun = runs && self.groups[&task.group].launching.is_empty();
        if self.reports_killing && !is_overdue {
            let killing = self.status(now, &self.tasks[id], TaskState::TaskKilling);
            self.update(killing, effects);
        }
        if has_begun {
            effects.push(Effect::Signal { container_id, signal });
        }
        // What is being killed is not looked at any more.
        self.look(now, id, Some(checks::Input::Paused), effects);
    }

    /// Tells a task's end, and ends its group if that is no success.
    fn end(&mut self, now: Now, id: &str, end: End, effects: &mut Vec<Effect>) {
        self.look(now, id, Some(checks::Input::Paused), effects);
        let Some(task) = self.tasks.remove(id) else { return };
        let state = end.state;
        let mut status = self.status(now, &task, state);
        status.reason = end.reason.map(i32::from);
        status.message = end.message;
        status.limitation = end.limitation;
        // (Mesos' says so of every other task of the group, too.)
        status.healthy = task.is_unhealthy.then_some(false);
        self.update(status, effects);
        let group = self.groups.get_mut(&task.group).expect("a task's group is there");
        let ends_group = state != TaskState::TaskFinished && !group.is_ending;
        let members = group.members.clone();
        let left = members.iter().filter(|member| self.tasks.contains_key(*member));
        let left: Vec<String> = left.cloned().collect();
        if left.is_empty() {
            self.groups.remove(&task.group);
        } else if ends_group {
            group.is_ending = true;
            // Those that were refused with it are told by who called.
            for member in left.iter().filter(|member| self.tasks[*member].runs).cloned().collect::<Vec<_>>() {
                self.end_task(now, &member, None, effects);
            }
        }
        self.leave_if_done(now.time, effects);
    }

    /// The executor ends when no task is left and all it said is known.
    fn leave_if_done(&mut self, now: Time, effects: &mut Vec<Effect>) {
        if self.group_count == 0 || !self.tasks.is_empty() {
            return;
        }
        match self.unacknowledged.is_empty() {
            true => self.exit(true, effects),
            false => self.say_goodbye(now),
        }
    }

    fn say_goodbye(&mut self, now: Time) {
        let is_leaving = self.group_count > 0 && self.tasks.is_empty();
        self.leave_by = (is_leaving && self.is_subscribed).then(|| now.plus_ms(GOODBYE_MS));
    }

    fn exit(&mut self, is_success: bool, effects: &mut Vec<Effect>) {
        self.is_over = true;
        effects.push(Effect::Exit { is_success });
    }

    fn status(&self, now: Now, task: &Task, state: TaskState) -> v1::TaskStatus {
        let container_status = v1::ContainerStatus {
            container_id: Some(task.container_id.clone()),
            ..v1::ContainerStatus::default()
        };
        let mut status = v1::TaskStatus {
            task_id: task.id.clone(),
            executor_id: Some(self.settings.executor_id.clone()),
            timestamp: Some(timestamp(now)),
            container_status: Some(container_status),
            check_status: task.unchecked,
            ..v1::TaskStatus::default()
        };
        status.set_state(state);
        status.set_source(Source::Executor);
        status
    }

    fn update(&mut self, mut status: v1::TaskStatus, effects: &mut Vec<Effect>) {
        if !self.is_abandoned {
            let uuid = Bytes::copy_from_slice(self.uuid().as_uuid().as_bytes());
            self.unacknowledged.insert(uuid.clone());
            status.uuid = Some(uuid);
            effects.push(Effect::Update(Box::new(status)));
        }
    }

    fn new_container_id(&mut self) -> v1::ContainerId {
        let parent = Some(Box::new(self.container_id.clone()));
        v1::ContainerId { value: self.uuid().as_uuid().to_string(), parent }
    }

    fn uuid(&mut self) -> uuid::Builder {
        let mut bytes = [0; 16];
        self.rng.fill(&mut bytes);
        uuid::Builder::from_random_bytes(bytes)
    }
}

/// Seconds since 1970.
fn timestamp(now: Now) -> f64 {
    now.unix.0 as f64 / 1e6
}

fn note(effects: &mut Vec<Effect>, text: &str) {
    effects.push(Effect::Note(text.to_owned()));
}
