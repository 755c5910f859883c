//! What the command executor decides: which updates it sends, when the command is started, signalled and given up, and when
//! the executor itself is done. Decides; the shell starts, signals, speaks and looks at the clock.
//!
//! One task, one life: it waits for the task, has it, has told its end, is over. Behaviour, times and messages are those of
//! Mesos' own command executor (src/launcher/executor.cpp) but where a comment says otherwise.

use api::v1;
use api::v1::TaskState;
use api::v1::task_status::{Reason, Source};
use bytes::Bytes;
use model::time::{Now, Time};

use super::start::{Start, start};
use crate::checks::core::{self as checks, Checks, Which};
use crate::checks::probe::Probe;

/// Grace of a kill where neither the kill nor the task says.
const KILL_GRACE_NS: u64 = 3_000_000_000;
/// Kept back of a shutdown's grace: the end must be told before the agent's own patience is over.
const SHUTDOWN_RESERVE_NS: u64 = 2_000_000_000;
/// How long an agent that is there may take to acknowledge the end.
const GOODBYE_MS: u64 = 60_000;

/// What does not change while the executor lives.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) executor_id: v1::ExecutorId,
    /// From SHUTDOWN until the agent ends everything by force.
    pub(crate) shutdown_grace_ns: u64,
    /// Where the command is searched for if the task brings no `PATH` of its own.
    pub(crate) path: String,
}

/// Everything that can happen.
#[derive(Clone, Debug)]
pub(crate) enum Input {
    Subscribed {
        /// The framework understands TASK_KILLING.
        reports_killing: bool,
    },
    Launch(Box<v1::TaskInfo>),
    LaunchGroup,
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
    /// The command of that *Start* runs.
    Started,
    /// It could not be executed.
    NotStarted {
        why: String,
    },
    /// Of the task's checks.
    Checks(checks::Input),
    Ended {
        is_success: bool,
        /// "exited with status 1"; `None` where nobody knows.
        how: Option<String>,
    },
}

/// Everything that can be wanted.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Effect {
    /// To be told until acknowledged, in this order.
    Update(Box<v1::TaskStatus>),
    /// Answered by *Started* or *NotStarted*, later by *Ended*.
    Start(Box<Start>),
    Signal(Signal),
    /// Of the task's checks: answered by *Checks(Probed)* with the same number.
    Probe {
        which: Which,
        number: u64,
        probe: Box<Probe>,
    },
    CancelProbe {
        which: Which,
    },
    /// A line for whoever reads the sandbox's stderr.
    Note(String),
    /// End this process. Nothing follows.
    Exit {
        is_success: bool,
    },
}

/// To everything the command has started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    Terminate,
    Kill,
}

/// See the module's head.
#[derive(Debug)]
pub(crate) struct Core {
    settings: Settings,
    is_subscribed: bool,
    /// Nobody hears updates any more.
    is_abandoned: bool,
    reports_killing: bool,
    phase: Phase,
    /// The task that has a check, and what its statuses say of that while there is no result.
    unchecked: Option<(v1::TaskId, v1::CheckStatusInfo)>,
    rng: fastrand::Rng,
}

#[derive(Debug)]
enum Phase {
    Waiting,
    Task(Box<Task>),
    Told(Told),
    Over,
}

#[derive(Debug)]
struct Task {
    id: v1::TaskId,
    kill_grace_ns: Option<u64>,
    /// False from *Start* to *Started*.
    runs: bool,
    complete_by: Option<Time>,
    /// It was not complete by then.
    is_overdue: bool,
    kill: Option<Kill>,
    checks: Checks,
    /// TASK_RUNNING, and what checks have found since.
    running: v1::TaskStatus,
    /// It is killed because its health check failed.
    is_unhealthy: bool,
}

#[derive(Debug)]
struct Kill {
    since: Time,
    /// `None` once force was used.
    force_at: Option<Time>,
}

/// The terminal update was sent.
#[derive(Debug)]
struct Told {
    task_id: v1::TaskId,
    uuid: Bytes,
    /// Counts only while there is an agent to answer. (Mesos' gives up a minute after the end though the agent may be
    /// restarting, and its task's end is then a guess.)
    wait_until: Option<Time>,
}

/// How a task is said to have ended.
struct End {
    state: TaskState,
    reason: Option<Reason>,
    healthy: Option<bool>,
    message: String,
}

impl End {
    fn new(state: TaskState, message: String) -> Self {
        Self { state, reason: None, healthy: None, message }
    }
}

impl Core {
    /// Equal seeds make equal executors; what makes update ids unique is that seeds are not.
    pub(crate) fn new(settings: Settings, seed: u64) -> Self {
        Self {
            settings,
            is_subscribed: false,
            is_abandoned: false,
            reports_killing: false,
            phase: Phase::Waiting,
            unchecked: None,
            rng: fastrand::Rng::with_seed(seed),
        }
    }

    pub(crate) fn handle(&mut self, now: Now, input: Input, effects: &mut Vec<Effect>) {
        if matches!(self.phase, Phase::Over) {
            return;
        }
        match input {
            Input::Subscribed { reports_killing } => {
                self.reports_killing = reports_killing;
                self.set_subscribed(now.time, true);
            }
            Input::Lost => self.set_subscribed(now.time, false),
            Input::Launch(task) => self.launch(now, &task, effects),
            Input::LaunchGroup => {
                note(effects, "LAUNCH_GROUP is not for a command executor; shutting down");
                self.shutdown(now, effects);
            }
            Input::Kill { task_id, grace_ns } => self.kill(now, task_id, grace_ns, effects),
            Input::Acknowledged { uuid } => {
                if matches!(&self.phase, Phase::Told(told) if told.uuid == uuid) {
                    self.exit(true, effects);
                }
            }
            Input::Shutdown => self.shutdown(now, effects),
            Input::Abandoned => self.abandoned(now, effects),
            Input::Started => self.started(now, effects),
            Input::NotStarted { why } => self.not_started(now, why, effects),
            Input::Checks(input) => self.look(now, Some(input), effects),
            Input::Ended { is_success, how } => self.ended(now, is_success, how, effects),
        }
    }

    /// When to call [`Core::expire`] though nothing happens.
    pub(crate) fn deadline(&self) -> Option<Time> {
        match &self.phase {
            // What has not started cannot be signalled; it will be when it has.
            Phase::Task(task) if task.runs => {
                let force_at = task.kill.as_ref().and_then(|kill| kill.force_at);
                [task.complete_by, force_at, task.checks.deadline()].into_iter().flatten().min()
            }
            Phase::Told(told) => told.wait_until,
            Phase::Waiting | Phase::Task(_) | Phase::Over => None,
        }
    }

    pub(crate) fn expire(&mut self, now: Now, effects: &mut Vec<Effect>) {
        if self.deadline().is_none_or(|deadline| deadline > now.time) {
            return;
        }
        if let Phase::Told(_) = self.phase {
            note(effects, "the agent did not acknowledge the task's end");
            return self.exit(false, effects);
        }
        let Phase::Task(task) = &mut self.phase else { return };
        if task.complete_by.is_some_and(|at| at <= now.time) {
            note(effects, "the task exceeded its maximum completion time");
            task.is_overdue = true;
            self.end_command(now, 0, effects);
        }
        let Phase::Task(task) = &mut self.phase else { return };
        let kill = task.kill.as_mut().filter(|kill| kill.force_at.is_some_and(|at| at <= now.time));
        if let Some(kill) = kill {
            kill.force_at = None;
            effects.push(Effect::Signal(Signal::Kill));
        }
        self.look(now, None, effects);
    }

    /// Hands the task's checks what has happened, or word that time has passed, and does what they want.
    fn look(&mut self, now: Now, input: Option<checks::Input>, effects: &mut Vec<Effect>) {
        let Phase::Task(task) = &mut self.phase else { return };
        let mut wanted = Vec::new();
        match input {
            Some(input) => task.checks.handle(now.time, input, &mut wanted),
            None => task.checks.expire(now.time, &mut wanted),
        }
        for effect in wanted {
            match effect {
                checks::Effect::Probe { which, number, probe } => {
                    effects.push(Effect::Probe { which, number, probe });
                }
                checks::Effect::Cancel { which } => effects.push(Effect::CancelProbe { which }),
                checks::Effect::Checked(status) => {
                    let reason = Reason::TaskCheckStatusUpdated;
                    self.found(now, reason, effects, |it| it.check_status = Some(*status));
                }
                checks::Effect::Health { is_healthy, kills } => {
                    let reason = Reason::TaskHealthCheckStatusUpdated;
                    self.found(now, reason, effects, |it| it.healthy = Some(is_healthy));
                    if kills {
                        self.kill_unhealthy(now, effects);
                    }
                }
                checks::Effect::Note(text) => note(effects, &text),
            }
        }
    }

    /// A check has found something: TASK_RUNNING once more, with all that checks have found so far.
    fn found(
        &mut self,
        now: Now,
        reason: Reason,
        effects: &mut Vec<Effect>,
        change: impl FnOnce(&mut v1::TaskStatus),
    ) {
        let uuid = self.uuid();
        let Phase::Task(task) = &mut self.phase else { return };
        change(&mut task.running);
        task.running.set_reason(reason);
        task.running.timestamp = Some(timestamp(now));
        task.running.uuid = Some(uuid);
        let status = task.running.clone();
        self.update(status, effects);
    }

    fn kill_unhealthy(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let Phase::Task(task) = &mut self.phase else { return };
        task.is_unhealthy = true;
        let grace_ns = task.kill_grace_ns.unwrap_or(KILL_GRACE_NS);
        note(effects, "the task is not healthy and is killed");
        self.end_command(now, grace_ns, effects);
    }

    fn set_subscribed(&mut self, now: Time, is_subscribed: bool) {
        self.is_subscribed = is_subscribed;
        if let Phase::Told(told) = &mut self.phase {
            told.wait_until = is_subscribed.then(|| now.plus_ms(GOODBYE_MS));
        }
    }

    fn launch(&mut self, now: Now, task: &v1::TaskInfo, effects: &mut Vec<Effect>) {
        let ours = match &self.phase {
            Phase::Waiting => return self.begin(now, task, effects),
            Phase::Task(task) => &task.id,
            Phase::Told(told) => &told.task_id,
            Phase::Over => return,
        };
        if *ours == task.task_id {
            // A second end must not follow the first.
            return note(effects, "LAUNCH of the task that was launched already: ignored");
        }
        let why = "Attempted to run multiple tasks using a \"command\" executor".to_owned();
        let status = self.status(now, &task.task_id, TaskState::TaskFailed, Some(why));
        self.update(status, effects);
    }

    fn begin(&mut self, now: Now, task: &v1::TaskInfo, effects: &mut Vec<Effect>) {
        let unchecked = task.check.as_ref().map(checks::no_result);
        self.unchecked = unchecked.map(|status| (task.task_id.clone(), status));
        let starting = self.status(now, &task.task_id, TaskState::TaskStarting, None);
        self.update(starting, effects);
        let start = match start(task, &self.settings.path) {
            Ok(start) => start,
            Err(error) => {
                let end = End::new(TaskState::TaskFailed, error.to_string());
                return self.end(now, &task.task_id, end, effects);
            }
        };
        let max_ns = task.max_completion_time.as_ref().map_or(0, nanoseconds);
        self.phase = Phase::Task(Box::new(Task {
            id: task.task_id.clone(),
            kill_grace_ns: task.kill_policy.as_ref().and_then(grace_ns),
            runs: false,
            complete_by: (max_ns > 0).then(|| now.time.plus_ns(max_ns)),
            is_overdue: false,
            kill: None,
            checks: Checks::of(task),
            running: v1::TaskStatus::default(),
            is_unhealthy: false,
        }));
        effects.push(Effect::Start(Box::new(start)));
    }

    fn started(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let Phase::Task(task) = &mut self.phase else { return };
        task.runs = true;
        if task.kill.is_some() {
            // TASK_KILLING may have been told; TASK_RUNNING would be a step back.
            return effects.push(Effect::Signal(Signal::Terminate));
        }
        let id = task.id.clone();
        let running = self.status(now, &id, TaskState::TaskRunning, None);
        if let Phase::Task(task) = &mut self.phase {
            task.running = running.clone();
        }
        self.update(running, effects);
        self.look(now, Some(checks::Input::Started), effects);
    }

    /// Mesos' starts a helper first, tells TASK_RUNNING, and then the helper fails with status 1. Here it is known at once.
    fn not_started(&mut self, now: Now, why: String, effects: &mut Vec<Effect>) {
        let Phase::Task(task) = &self.phase else { return };
        let (id, is_killed) = (task.id.clone(), task.kill.is_some());
        note(effects, &why);
        let state = if is_killed { TaskState::TaskKilled } else { TaskState::TaskFailed };
        self.end(now, &id, End::new(state, why), effects);
    }

    fn kill(&mut self, now: Now, task_id: v1::TaskId, grace_ns: Option<u64>, effects: &mut Vec<Effect>) {
        match &self.phase {
            // The LAUNCH was lost, or comes too late. (Mesos' aborts here; the agent then makes up an end.)
            Phase::Waiting => {
                let end = End::new(TaskState::TaskKilled, "Killed before it was launched".to_owned());
                self.end(now, &task_id, end, effects);
            }
            Phase::Task(task) if task.id == task_id => {
                let grace_ns = grace_ns.or(task.kill_grace_ns).unwrap_or(KILL_GRACE_NS);
                self.end_command(now, grace_ns, effects);
            }
            Phase::Told(told) if told.task_id == task_id => {}
            _ => note(effects, &format!("KILL of task {}, which is not this executor's", task_id.value)),
        }
    }

    fn shutdown(&mut self, now: Now, effects: &mut Vec<Effect>) {
        match self.phase {
            Phase::Waiting => self.exit(true, effects),
            Phase::Task(_) => {
                let grace_ns = self.settings.shutdown_grace_ns.saturating_sub(SHUTDOWN_RESERVE_NS);
                self.end_command(now, grace_ns, effects);
            }
            // The end is on its way and wants its acknowledgement.
            Phase::Told(_) | Phase::Over => {}
        }
    }

    fn abandoned(&mut self, now: Now, effects: &mut Vec<Effect>) {
        note(effects, "there is no agent any more; shutting down");
        self.is_abandoned = true;
        match self.phase {
            Phase::Task(_) => self.shutdown(now, effects),
            Phase::Waiting | Phase::Told(_) | Phase::Over => self.exit(false, effects),
        }
    }

    /// SIGTERM now, SIGKILL when the grace is over. Asked again, the grace can only become shorter, counted from the first
    /// time: schedulers repeat their kills.
    fn end_command(&mut self, now: Now, grace_ns: u64, effects: &mut Vec<Effect>) {
        let Phase::Task(task) = &mut self.phase else { return };
        task.complete_by = None;
        if let Some(kill) = &mut task.kill {
            let sooner = kill.since.plus_ns(grace_ns);
            kill.force_at = kill.force_at.map(|at| at.min(sooner));
            return;
        }
        task.kill = Some(Kill { since: now.time, force_at: Some(now.time.plus_ns(grace_ns)) });
        let (id, runs, is_overdue) = (task.id.clone(), task.runs, task.is_overdue);
        if self.reports_killing && !is_overdue {
            let killing = self.status(now, &id, TaskState::TaskKilling, None);
            self.update(killing, effects);
        }
        if runs {
            effects.push(Effect::Signal(Signal::Terminate));
        }
        // What is being killed is not looked at any more. (Mesos as well.)
        self.look(now, Some(checks::Input::Paused), effects);
    }

    fn ended(&mut self, now: Now, is_success: bool, how: Option<String>, effects: &mut Vec<Effect>) {
        let Phase::Task(task) = &self.phase else { return };
        let (id, is_overdue) = (task.id.clone(), task.is_overdue);
        let healthy = task.is_unhealthy.then_some(false);
        let state = match (&how, &task.kill) {
            (None, _) => TaskState::TaskFailed,
            _ if is_overdue => TaskState::TaskFailed,
            (_, Some(_)) => TaskState::TaskKilled,
            _ if is_success => TaskState::TaskFinished,
            _ => TaskState::TaskFailed,
        };
        let message = match how {
            Some(how) => format!("Command {how}"),
            None => "Failed to get exit status for Command".to_owned(),
        };
        let reason = is_overdue.then_some(Reason::MaxCompletionTimeReached);
        self.look(now, Some(checks::Input::Paused), effects);
        self.end(now, &id, End { state, reason, healthy, message }, effects);
    }

    /// Tells a task's end; what is left is to see it acknowledged.
    fn end(&mut self, now: Now, task_id: &v1::TaskId, end: End, effects: &mut Vec<Effect>) {
        if self.is_abandoned {
            note(effects, &end.message);
            return self.exit(false, effects);
        }
        let mut status = self.status(now, task_id, end.state, Some(end.message));
        status.reason = end.reason.map(i32::from);
        status.healthy = end.healthy;
        self.phase = Phase::Told(Told {
            task_id: task_id.clone(),
            uuid: status.uuid.clone().expect("every status is made with one"),
            wait_until: self.is_subscribed.then(|| now.time.plus_ms(GOODBYE_MS)),
        });
        self.update(status, effects);
    }

    fn exit(&mut self, is_success: bool, effects: &mut Vec<Effect>) {
        self.phase = Phase::Over;
        effects.push(Effect::Exit { is_success });
    }

    fn status(
        &mut self,
        now: Now,
        task_id: &v1::TaskId,
        state: TaskState,
        message: Option<String>,
    ) -> v1::TaskStatus {
        let mut status = v1::TaskStatus {
            task_id: task_id.clone(),
            message,
            executor_id: Some(self.settings.executor_id.clone()),
            timestamp: Some(timestamp(now)),
            uuid: Some(self.uuid()),
            ..v1::TaskStatus::default()
        };
        let unchecked = self.unchecked.as_ref().filter(|(id, _)| id == task_id);
        status.check_status = unchecked.map(|(_, status)| *status);
        status.set_state(state);
        status.set_source(Source::Executor);
        status
    }

    fn update(&self, status: v1::TaskStatus, effects: &mut Vec<Effect>) {
        if !self.is_abandoned {
            effects.push(Effect::Update(Box::new(status)));
        }
    }

    fn uuid(&mut self) -> Bytes {
        let mut bytes = [0; 16];
        self.rng.fill(&mut bytes);
        Bytes::copy_from_slice(uuid::Builder::from_random_bytes(bytes).as_uuid().as_bytes())
    }
}

/// Seconds since 1970.
fn timestamp(now: Now) -> f64 {
    now.unix.0 as f64 / 1e6
}

/// The grace period of a kill policy that has one.
pub(crate) fn grace_ns(policy: &v1::KillPolicy) -> Option<u64> {
    policy.grace_period.as_ref().map(nanoseconds)
}

/// A negative one, which the master refuses, counts as none.
fn nanoseconds(duration: &v1::DurationInfo) -> u64 {
    duration.nanoseconds.max(0).cast_unsigned()
}

fn note(effects: &mut Vec<Effect>, text: &str) {
    effects.push(Effect::Note(text.to_owned()));
}
