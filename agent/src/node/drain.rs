//! Draining: an operator wants the agent empty. Every task is killed, none begins until all are over, and each is told why. The
//! master says it again whenever the agent comes back to it; an agent that was restarted goes on before that.

use crate::node::Node;
use crate::node::effect::{Effect, Record};
use crate::node::gates::Gate;
use crate::node::tasks::Stage;
use model::framework::Capabilities;
use model::id::{FrameworkId, TaskId};
use model::task::{Reason, TaskInfo, TaskState, TaskStatus};
use model::time::{Now, UnixTime};

/// As the master wants it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drain {
    /// Bounds the time that tasks have to end by themselves.
    pub max_grace_ns: Option<u64>,
    /// The agent will not come back.
    pub marks_gone: bool,
    /// When the agent was last told.
    pub started: UnixTime,
}

impl Drain {
    /// `None`: as the task's own policy says.
    fn grace_ns(&self, task: &TaskInfo) -> Option<u64> {
        self.max_grace_ns.filter(|max_ns| task.kill_grace_ns.is_none_or(|own_ns| *max_ns < own_ns))
    }
}

impl Node {
    /// An agent with nothing to kill has nothing to remember.
    pub(super) fn drain(&mut self, now: Now, drain: Drain, effects: &mut Vec<Effect>) {
        if self.frameworks.is_empty() && self.draining.is_none() {
            return;
        }
        // Written before any update that it is the reason of; a kill need not wait for that.
        self.persist(now, true, Record::Draining(drain), Gate::Nothing, effects);
        self.drain_on(now, drain, effects);
    }

    /// What is on disk already.
    pub(super) fn drain_on(&mut self, now: Now, drain: Drain, effects: &mut Vec<Effect>) {
        self.draining = Some(drain);
        let mut here: Vec<(FrameworkId, TaskId, Option<u64>)> = Vec::new();
        for (framework_id, framework) in &self.frameworks {
            let tasks = framework.executors.values().flat_map(|executor| executor.tasks.values());
            here.extend(
                tasks.filter(|task| task.stage != Stage::Over).map(|task| {
                    (framework_id.clone(), task.info.task_id.clone(), drain.grace_ns(&task.info))
                }),
            );
        }
        for (framework_id, task_id, grace_ns) in here {
            self.kill(now, &framework_id, &task_id, grace_ns, effects);
        }
    }

    /// Nothing is left that would have to be drained.
    pub(super) fn finish_draining(&mut self, now: Now, effects: &mut Vec<Effect>) {
        if self.draining.is_some() && self.frameworks.is_empty() {
            self.draining = None;
            self.persist(now, true, Record::Drained, Gate::Nothing, effects);
        }
    }

    /// Why a task that is being killed ends here, in one word for all that drain.
    pub(super) fn tell_of_draining(&self, framework_id: &FrameworkId, status: &mut TaskStatus) {
        let Some(drain) = self.draining else { return };
        if !matches!(status.state, TaskState::Killing | TaskState::Killed) {
            return;
        }
        status.reason = Some(Reason::AGENT_DRAINING);
        let framework = self.frameworks.get(framework_id);
        let is_aware = framework.is_some_and(|it| it.info.capabilities.has(Capabilities::PARTITION_AWARE));
        if drain.marks_gone && is_aware {
            status.state = TaskState::GoneByOperator;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::world::{World, task};
    use wire::message::ToAgent;

    #[test]
    fn a_drain_bounds_the_time_that_a_task_has() {
        let grace = |max_grace_ns, own: Option<u64>| {
            let mut info = task("t", None);
            info.kill_grace_ns = own;
            Drain { max_grace_ns, marks_gone: false, started: UnixTime(0) }.grace_ns(&info)
        };
        assert_eq!(grace(None, Some(5)), None);
        assert_eq!(grace(Some(3), Some(5)), Some(3));
        assert_eq!(grace(Some(3), None), Some(3));
        assert_eq!(grace(Some(7), Some(5)), None);
    }

    #[test]
    fn what_runs_is_killed_and_told_why_and_nothing_begins_until_all_is_over() {
        let (mut world, container_id) = World::with_task(true, Some("e"));
        world.executor_tells(&container_id, &TaskId::new("t"), TaskState::Running);
        world.flush();
        world.say(ToAgent::Drain { max_grace_ns: Some(7), marks_gone: false });
        assert!(world.seen.contains(&"kill t".to_owned()), "{:?}", world.seen);
        world.run(task("late", Some("e")));
        world.flush();
        let reason = world.disk.iter().rev().find_map(|record| match record {
            Record::Update { status, .. } if status.state == TaskState::Killed => status.reason,
            _ => None,
        });
        assert_eq!(reason, Some(Reason::AGENT_DRAINING));
        assert!(
            world.states("late").iter().all(|state| state.is_terminal()) && !world.states("late").is_empty()
        );
        assert!(world.node.draining.is_some());
        world.settle();
        assert_eq!(world.node.draining, None);
        world.run(task("again", None));
        world.flush();
        assert_eq!(world.launching.len(), 1);
    }

    /// The master is away when the agent comes back, and its executors with it.
    #[test]
    fn a_restarted_agent_goes_on_draining_without_being_told() {
        let (mut world, container_id) = World::with_task(true, Some("e"));
        world.executor_tells(&container_id, &TaskId::new("t"), TaskState::Running);
        world.flush();
        // From here on its executor is away, or it would obey at once.
        world.crash();
        world.connect();
        world.say(ToAgent::Drain { max_grace_ns: Some(7), marks_gone: false });
        let told = world.node.draining();
        assert!(told.is_some());
        world.flush();
        world.crash();
        assert_eq!(world.node.draining(), told);
        let is_killed = |world: &World| world.seen.contains(&"kill t".to_owned());
        assert!(!is_killed(&world));
        world.subscribe(&container_id);
        assert!(is_killed(&world));
        world.settle();
        assert_eq!(world.node.draining(), None);
        assert_eq!(world.states("t").last(), Some(&TaskState::Killed));
        world.crash();
        assert_eq!(world.node.draining(), None, "it was over");
    }

    /// Its executor may have it: only when that is back it is known whether there is anything to kill, and how.
    #[test]
    fn what_may_have_been_delivered_is_killed_by_its_executor() {
        let (mut world, container_id) = World::with_task(true, Some("e"));
        world.crash();
        world.connect();
        let (framework_id, task_id) = (FrameworkId::new("F"), TaskId::new("t"));
        world.say(ToAgent::Kill { framework_id, task_id, grace_ns: None });
        assert_eq!(world.states("t"), [], "told of an end that it may not have had");
        world.subscribe(&container_id);
        assert!(world.seen.contains(&"kill t".to_owned()), "{:?}", world.seen);
        world.settle();
        assert_eq!(world.states("t").last(), Some(&TaskState::Killed));
    }
}
