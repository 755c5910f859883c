//! What must hold whenever the node does something, and the words for what it says.

use super::World;
use crate::node::effect::{Record, Run};
use model::id::TaskId;
use model::resources::Resources;
use model::task::TaskStatus;
use wire::message::ToMaster;

/// What the master knows may be lent out, and how often it was told within a session.
#[derive(Default)]
pub(in super::super) struct Lent {
    pub(in super::super) total: Resources,
    pub(in super::super) told_count: u32,
}

impl World {
    pub(super) fn note_lent(&mut self, message: &ToMaster) {
        match message {
            ToMaster::Register { .. } => self.lent.total = Resources::default(),
            ToMaster::Reregister(known) => self.lent.total.clone_from(&known.oversubscribed),
            ToMaster::Oversubscribed { total } => {
                assert_ne!(self.lent.total, *total, "told what the master knows");
                self.lent.total.clone_from(total);
                self.lent.told_count += 1;
            }
            _ => {}
        }
    }

    /// The framework is told one update of a task only when it has acknowledged the one before.
    pub(super) fn invariant_one_at_a_time(&self, task_id: &TaskId) {
        for (update_id, state) in &self.told[task_id] {
            let done = self.acknowledged.contains(&(task_id.clone(), *update_id));
            assert!(done, "{task_id}: next update sent before {state:?} was acknowledged");
        }
    }

    pub(super) fn invariant_saved_before_sent(&self, status: &TaskStatus) {
        let is_own = status.source == Some(model::task::Source::Agent) && status.executor_id.is_none();
        if self.framework.checkpoint && !is_own {
            let saved = |record: &Record| matches!(record, Record::Update { status: saved, .. } if saved.update_id == status.update_id);
            assert!(self.disk.iter().any(saved), "{} sent before it was durable", status.task_id);
        }
    }

    /// Whoever deletes what is retired must not meet somebody who writes it.
    pub(super) fn invariant_retired_is_not_written_to(&self, run: &Run, task: Option<&TaskId>) {
        let of = |record: &Record| record.run() == Some(run) && (task.is_none() || record.task_id() == task);
        let waiting = self.to_disk.iter().find(|(_, record)| of(record));
        assert!(waiting.is_none(), "{run:?} {task:?} is retired before {waiting:?} is written");
    }

    pub(super) fn invariant_executor_saved_before_launch(&self, run: &Run) {
        let saved = |record: &Record| matches!(record, Record::Executor { run: saved, .. } if saved == run);
        assert!(!self.framework.checkpoint || self.disk.iter().any(saved), "launched before it was durable");
    }

    /// Who has one task of a group was given all of them at once.
    pub(super) fn invariant_groups_are_whole(&self, together: &[TaskId]) {
        assert!(together.is_empty() || self.groups.iter().any(|group| group == together), "{together:?}");
        for process in self.processes.values() {
            for group in &self.groups {
                let given = group.iter().filter(|id| process.given.contains(*id)).count();
                assert!(
                    given == 0 || given == group.len(),
                    "{:?} was given a part of {group:?}",
                    process.run
                );
            }
        }
    }
}

pub(super) fn name_of(message: &ToMaster) -> &'static str {
    match message {
        ToMaster::Register { .. } => "Register",
        ToMaster::Reregister(_) => "Reregister",
        ToMaster::Update { .. } => "Update",
        ToMaster::ExecutorMessage { .. } => "ExecutorMessage",
        ToMaster::ExecutorExited { .. } => "ExecutorExited",
        ToMaster::Pong { .. } => "Pong",
        ToMaster::Unregister => "Unregister",
        ToMaster::Oversubscribed { .. } => "Oversubscribed",
    }
}
