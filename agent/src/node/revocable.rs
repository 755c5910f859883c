//! What of the agent is lent out: the master is told how much may be, and what is lent is taken back when those who paid for
//! theirs need it. How much that is and whose it is, others decide (`estimator`).

use crate::node::Node;
use crate::node::effect::Effect;
use crate::node::executors::Phase;
use crate::node::input::Termination;
use crate::node::master::note;
use model::id::ContainerId;
use model::resources::Resources;
use model::task::{Reason, TaskState};
use std::sync::Arc;
use wire::message::ToMaster;

/// The newest estimate, and what the master has been told of it in this session.
#[derive(Debug, Default)]
pub(super) struct Oversubscribed {
    total: Resources,
    told: Resources,
}

impl Oversubscribed {
    pub(super) fn total(&self) -> &Resources {
        &self.total
    }

    /// A session begins; its introduction carries this.
    pub(super) fn introduced(&mut self, told: Resources) {
        self.told = told;
    }
}

impl Node {
    /// So much may be lent out, in place of what was said before. Told now, or once there is a master.
    pub(super) fn oversubscribe(&mut self, total: &Resources, effects: &mut Vec<Effect>) {
        // Nobody's, and without anything that a part of a machine cannot be: a reservation, a disk of its own.
        let plain =
            total.filter(|part| part.reservations.is_empty() && part.disk.is_none() && !part.is_shared);
        self.oversubscribed.total = plain.unallocated().revocable();
        self.tell_oversubscribed(effects);
    }

    /// What the master does not know yet. It forgets nothing within a session, so that silence means no change.
    pub(super) fn tell_oversubscribed(&mut self, effects: &mut Vec<Effect>) {
        let Oversubscribed { total, told } = &mut self.oversubscribed;
        if self.registration.is_registered() && total != told {
            told.clone_from(total);
            effects.push(Effect::Send(Box::new(ToMaster::Oversubscribed { total: total.clone() })));
        }
    }

    /// Ends a container that has something on loan; its tasks are told when nothing of it is left. `cause` is for people:
    /// what was measured, and against what.
    pub(super) fn preempt(&mut self, container_id: &ContainerId, cause: Arc<str>, effects: &mut Vec<Effect>) {
        let Some(executor) = self.executor_mut(container_id) else {
            return note(effects, "preemption of an unknown container", container_id);
        };
        // One that is ending already ends for its own reason.
        if !matches!(executor.phase, Phase::Registering | Phase::Running) {
            return;
        }
        if !executor.resources().iter().any(|part| part.is_revocable) {
            return note(effects, "preemption of a container that has nothing on loan", container_id);
        }
        executor.phase = Phase::Ending;
        executor.termination = Some(Termination {
            state: TaskState::Failed,
            reason: Reason::CONTAINER_PREEMPTED,
            message: cause,
            limited: Resources::default(),
        });
        self.counters.executors_preempted += 1;
        self.timers.clear(container_id);
        effects.push(Effect::Destroy { container_id: container_id.clone() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::input::Input;
    use crate::node::world::{World, task};
    use model::id::TaskId;

    fn r(text: &str) -> Resources {
        text.parse().expect("resources")
    }

    impl World {
        fn estimate(&mut self, text: &str) {
            self.input(Input::Oversubscribed { total: r(text) });
        }
    }

    #[test]
    fn an_estimate_is_told_when_it_changes_and_to_every_master() {
        let mut world = World::new(true);
        world.estimate("cpus:1");
        world.connect();
        assert_eq!(world.lent.total, Resources::default(), "told before the agent is admitted");
        world.flush();
        assert_eq!(world.lent.total, r("cpus:1").revocable());
        world.estimate("cpus:1");
        assert_eq!(world.lent.told_count, 1, "told again what was known");
        world.estimate("cpus:2;mem:64");
        world.estimate("");
        assert_eq!((&world.lent.total, world.lent.told_count), (&Resources::default(), 3));
        world.estimate("cpus:3");
        world.lose_link();
        world.estimate("cpus:4");
        world.connect();
        assert_eq!(world.lent.total, r("cpus:4").revocable(), "the introduction has it");
        assert_eq!(world.lent.told_count, 4, "and nothing more has to be said");
    }

    /// The master takes its word for what was made while the introduction was on its way, too.
    #[test]
    fn an_estimate_between_introduction_and_admission_is_not_lost() {
        let mut world = World::new(true);
        world.connect();
        world.estimate("cpus:5");
        assert_eq!(world.lent.told_count, 0);
        world.flush();
        assert_eq!(world.lent.total, r("cpus:5").revocable());
    }

    fn with_lent_task() -> (World, ContainerId) {
        let mut world = World::registered(false);
        let mut task = task("t", None);
        task.resources = task.resources.revocable();
        world.run(task);
        world.launch_one();
        let container_id = world.container();
        world.subscribe(&container_id);
        (world, container_id)
    }

    #[test]
    fn what_is_preempted_is_ended_at_once_and_its_tasks_are_told_why() {
        let (mut world, container_id) = with_lent_task();
        world.executor_tells(&container_id, &TaskId::new("t"), TaskState::Running);
        world.acknowledge_one();
        let preempt =
            |cause: &str| Input::Preempt { container_id: container_id.clone(), cause: cause.into() };
        world.input(preempt("cpu pressure 12 %, target 5 %"));
        assert!(world.dying.contains(&container_id), "it lives");
        world.input(preempt("again"));
        assert_eq!(world.node.counters().executors_preempted, 1);
        assert_eq!(world.states("t"), [TaskState::Running], "told before it is gone");
        world.end_container(&container_id);
        let owed = world.node.frameworks().next().expect("owed");
        let told = owed.executors[0].tasks[0].statuses.last().expect("told").clone();
        assert_eq!((told.state, told.reason), (TaskState::Failed, Some(Reason::CONTAINER_PREEMPTED)));
        assert_eq!(told.message.as_deref(), Some("cpu pressure 12 %, target 5 %"));
    }

    #[test]
    fn what_has_nothing_on_loan_is_not_preempted() {
        let (mut world, container_id) = World::with_task(false, None);
        world.input(Input::Preempt { container_id: container_id.clone(), cause: "needed".into() });
        assert!(!world.dying.contains(&container_id));
        assert_eq!(world.node.counters().executors_preempted, 0);
        assert!(world.last(1)[0].contains("nothing on loan"), "{:?}", world.last(1));
        let stranger = ContainerId::new("stranger");
        world.input(Input::Preempt { container_id: stranger, cause: "needed".into() });
        assert!(world.last(1)[0].contains("unknown container"), "{:?}", world.last(1));
    }

    /// What is on loan and what is not stay apart in what the container may use, the command executor's own share included.
    #[test]
    fn what_is_on_loan_stays_so_beside_the_executors_own() {
        let (world, container_id) = with_lent_task();
        let used = world.node.used();
        let sum = |is_revocable| used.filter(|part| part.is_revocable == is_revocable).to_string();
        assert_eq!(
            (sum(true).as_str(), sum(false).as_str()),
            ("cpus{REV}:1; mem{REV}:32", "cpus:0.1; mem:32")
        );
        let (executor, tasks) = world.node.shares(&container_id).expect("it runs");
        assert!(executor.resources.iter().all(|part| !part.is_revocable));
        assert!(tasks[0].resources.iter().all(|part| part.is_revocable));
    }
}
