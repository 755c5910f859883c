//! One task of a group, from its LAUNCH_GROUP until its end is told.

use api::v1;
use api::v1::TaskState;
use api::v1::task_status::Reason;
use model::time::Time;

use super::core::{Signal, Told};
use crate::checks::core::{self as checks, Checks};

/// Grace of a kill where neither the kill nor the task says.
const KILL_GRACE_NS: u64 = 3_000_000_000;

#[derive(Debug)]
pub(super) struct Task {
    pub(super) id: v1::TaskId,
    /// Names its container, among those of this executor and among all.
    pub(super) container_id: v1::ContainerId,
    pub(super) group: u64,
    pub(super) kill_grace_ns: u64,
    /// Zero: as long as it likes.
    pub(super) completion_max_ns: u64,
    /// False from *Launch* to its answer, and until all of its group have theirs.
    pub(super) runs: bool,
    pub(super) complete_by: Option<Time>,
    /// It was not complete by then.
    pub(super) is_overdue: bool,
    pub(super) kill: Option<Kill>,
    pub(super) checks: Checks,
    /// What its statuses say of its check while there is no result.
    pub(super) unchecked: Option<v1::CheckStatusInfo>,
    /// TASK_RUNNING, and what checks have found since.
    pub(super) running: v1::TaskStatus,
    /// It is killed because its health check failed.
    pub(super) is_unhealthy: bool,
}

#[derive(Debug)]
pub(super) struct Kill {
    since: Time,
    /// `None` once force was used.
    force_at: Option<Time>,
}

/// How a task is said to have ended.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct End {
    pub(super) state: TaskState,
    pub(super) reason: Option<Reason>,
    pub(super) message: Option<String>,
    pub(super) limitation: Option<v1::TaskResourceLimitation>,
}

impl End {
    pub(super) fn new(state: TaskState, message: impl Into<String>) -> Self {
        Self { state, reason: None, message: Some(message.into()), limitation: None }
    }
}

impl Task {
    pub(super) fn new(info: &v1::TaskInfo, container_id: v1::ContainerId, group: u64) -> Self {
        Self {
            id: info.task_id.clone(),
            container_id,
            group,
            kill_grace_ns: info.kill_policy.as_ref().and_then(grace_ns).unwrap_or(KILL_GRACE_NS),
            completion_max_ns: info.max_completion_time.as_ref().map_or(0, nanoseconds),
            runs: false,
            complete_by: None,
            is_overdue: false,
            kill: None,
            checks: Checks::of(info),
            unchecked: info.check.as_ref().map(checks::no_result),
            running: v1::TaskStatus::default(),
            is_unhealthy: false,
        }
    }

    /// What has not started cannot be signalled; it will be when it has.
    pub(super) fn deadline(&self) -> Option<Time> {
        let force_at = self.kill.as_ref().and_then(|kill| kill.force_at);
        let all = [self.complete_by, force_at, self.checks.deadline()];
        all.into_iter().flatten().min().filter(|_| self.runs)
    }

    /// The task is to end, by force when the grace is over. Asked again, the grace can only become shorter, counted from the
    /// first time: schedulers repeat their kills. `Some`: it was not being ended before, and now wants that signal if it
    /// runs.
    pub(super) fn end(&mut self, now: Time, grace_ns: u64) -> Option<Signal> {
        self.complete_by = None;
        if let Some(kill) = &mut self.kill {
            let sooner = kill.since.plus_ns(grace_ns);
            kill.force_at = kill.force_at.map(|at| at.min(sooner));
            return None;
        }
        self.kill = Some(Kill { since: now, force_at: Some(now.plus_ns(grace_ns)) });
        Some(Signal::Terminate)
    }

    /// Whether its grace has just come to an end.
    pub(super) fn is_out_of_grace(&mut self, now: Time) -> bool {
        let kill = self.kill.as_mut().filter(|_| self.runs);
        kill.and_then(|kill| kill.force_at.take_if(|at| *at <= now)).is_some()
    }

    /// What the agent tells of its container, as the end of the task; `None`: the agent knows no such container. As in
    /// Mesos, what the agent says of state, reason and limitation goes before what is concluded here.
    pub(super) fn ended(&self, told: Option<Told>) -> End {
        let Some(told) = told else {
            return match self.kill {
                Some(_) => End { message: None, ..End::new(TaskState::TaskKilled, "") },
                None => {
                    let why = "Unable to retrieve command's termination information";
                    End::new(TaskState::TaskFailed, why)
                }
            };
        };
        let Told { how, wait: told } = told;
        let mut end = match told.exit_status.zip(how) {
            None => End::new(TaskState::TaskFailed, "Command terminated with unknown status"),
            Some((status, how)) => {
                let state = match (&self.kill, status) {
                    _ if self.is_overdue => TaskState::TaskFailed,
                    (Some(_), _) => TaskState::TaskKilled,
                    (None, 0) => TaskState::TaskFinished,
                    (None, _) => TaskState::TaskFailed,
                };
                let reason = self.is_overdue.then_some(Reason::MaxCompletionTimeReached);
                End { reason, ..End::new(state, format!("Command {how}")) }
            }
        };
        if told.state.is_some() {
            end.state = told.state();
        }
        if told.reason.is_some() {
            end.reason = Some(told.reason());
        }
        if let (Some(said), Some(more)) = (&mut end.message, &told.message) {
            said.push_str(": ");
            said.push_str(more);
        }
        End { limitation: told.limitation, ..end }
    }
}

/// The grace period of a kill policy that has one.
pub(super) fn grace_ns(policy: &v1::KillPolicy) -> Option<u64> {
    policy.grace_period.as_ref().map(nanoseconds)
}

/// A negative one, which the master refuses, counts as none.
fn nanoseconds(duration: &v1::DurationInfo) -> u64 {
    duration.nanoseconds.max(0).cast_unsigned()
}
