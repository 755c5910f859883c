//! No task runs twice, none that runs on a healthy agent is said to be lost, none is said to be over and then otherwise,
//! and each that was accepted comes to an end.

use super::{Law, Verdict, breach};
use model::id::{FrameworkId, TaskId};
use model::task::TaskState;
use model::time::Time;
use std::collections::{BTreeMap, BTreeSet};

type Key = (FrameworkId, TaskId);

#[derive(Debug, Default)]
pub(in crate::seeded) struct Tasks {
    /// Where, and since when.
    started: BTreeMap<Key, (usize, Time)>,
    running: BTreeSet<Key>,
    ended: BTreeMap<Key, TaskState>,
    /// When a machine last suffered something that may cost it tasks.
    harmed: BTreeMap<usize, Time>,
}

/// An end that somebody saw, and not one that a daemon concluded.
fn is_certain(state: TaskState) -> bool {
    matches!(state, TaskState::Finished | TaskState::Failed | TaskState::Killed | TaskState::Error)
}

impl Tasks {
    /// An executor begins with a task.
    pub(in crate::seeded) fn starts(
        &mut self,
        now: Time,
        machine: usize,
        framework: &FrameworkId,
        task: &TaskId,
    ) -> Verdict {
        let key = (framework.clone(), task.clone());
        self.running.insert(key.clone());
        match self.started.insert(key, (machine, now)) {
            None => Ok(()),
            Some((first, _)) => {
                let what = format!("{framework}'s {task} began on node-{first}, and again on node-{machine}");
                breach(Law::RunsOnce, what)
            }
        }
    }

    pub(in crate::seeded) fn ends(&mut self, framework: &FrameworkId, task: &TaskId) {
        self.running.remove(&(framework.clone(), task.clone()));
    }

    pub(in crate::seeded) fn harms(&mut self, now: Time, machine: usize) {
        self.harmed.insert(machine, now);
    }

    /// A scheduler hears of a task.
    pub(in crate::seeded) fn heard(
        &mut self,
        framework: &FrameworkId,
        task: &TaskId,
        state: TaskState,
    ) -> Verdict {
        let key = (framework.clone(), task.clone());
        if let Some(&end) = self.ended.get(&key)
            && is_certain(end)
            && (is_certain(state) || !state.is_terminal())
            && state != TaskState::Unknown
            && state != end
        {
            return breach(Law::UpdatesInOrder, format!("{framework}'s {task} was {end:?}, then {state:?}"));
        }
        self.is_not_lost(&key, state)?;
        if state.is_terminal() && !self.ended.get(&key).is_some_and(|end| is_certain(*end)) {
            self.ended.insert(key, state);
        }
        Ok(())
    }

    fn is_not_lost(&self, key: &Key, state: TaskState) -> Verdict {
        let is_lost = matches!(
            state,
            TaskState::Lost
                | TaskState::Dropped
                | TaskState::Gone
                | TaskState::Unreachable
                | TaskState::Unknown
        );
        if !is_lost || !self.running.contains(key) {
            return Ok(());
        }
        let (machine, since) = self.started[key];
        if self.harmed.get(&machine).is_some_and(|harmed| *harmed >= since) {
            return Ok(());
        }
        let what = format!("{}'s {} is {state:?}, and runs on node-{machine}, which is well", key.0, key.1);
        breach(Law::NotLost, what)
    }
}
