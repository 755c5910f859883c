//! Updates come in order and at least once: whatever an executor was told is safe is heard by its scheduler, if that lives,
//! and no update is heard before the one before it.

use super::{Law, Verdict, breach};
use model::id::{FrameworkId, TaskId, UpdateId};
use model::task::TaskState;
use std::collections::BTreeMap;

type Key = (FrameworkId, TaskId);

#[derive(Debug, Default)]
struct Story {
    /// In the order in which the executor told them.
    told: Vec<(UpdateId, TaskState)>,
    /// So many of them, from the first, have been heard.
    heard: usize,
    /// So many, from the first, the executor was told are safe.
    safe: usize,
    /// Where the agent forgets, so may we.
    is_kept: bool,
}

#[derive(Debug, Default)]
pub(in crate::seeded) struct Updates {
    stories: BTreeMap<Key, Story>,
}

impl Updates {
    /// An executor tells, for the first time.
    pub(in crate::seeded) fn told(
        &mut self,
        framework: &FrameworkId,
        task: &TaskId,
        id: UpdateId,
        state: TaskState,
        is_kept: bool,
    ) {
        let story = self.stories.entry((framework.clone(), task.clone())).or_default();
        story.told.push((id, state));
        story.is_kept = is_kept;
    }

    /// The executor is told that it is safe.
    pub(in crate::seeded) fn safe(&mut self, framework: &FrameworkId, task: &TaskId, id: UpdateId) {
        let Some(story) = self.stories.get_mut(&(framework.clone(), task.clone())) else { return };
        if let Some(at) = story.told.iter().position(|(known, _)| *known == id) {
            story.safe = story.safe.max(at + 1);
        }
    }

    /// A scheduler hears; updates that daemons make are not the executor's.
    pub(in crate::seeded) fn heard(
        &mut self,
        framework: &FrameworkId,
        task: &TaskId,
        id: Option<UpdateId>,
    ) -> Verdict {
        let (Some(id), Some(story)) = (id, self.stories.get_mut(&(framework.clone(), task.clone()))) else {
            return Ok(());
        };
        let Some(at) = story.told.iter().position(|(known, _)| *known == id) else { return Ok(()) };
        if at > story.heard {
            let missing = story.told[story.heard].1;
            let what =
                format!("{framework} hears {:?} of {task}, and has not heard {missing:?}", story.told[at].1);
            return breach(Law::UpdatesInOrder, what);
        }
        story.heard = story.heard.max(at + 1);
        Ok(())
    }

    /// Everything is over.
    pub(in crate::seeded) fn close(&self) -> Verdict {
        let is_owed = |story: &Story| story.is_kept && story.heard < story.safe;
        match self.stories.iter().find(|(_, story)| is_owed(story)) {
            Some(((framework, task), story)) => {
                let state = story.told[story.heard].1;
                let what = format!("{framework} has never heard that {task} was {state:?}, which was safe");
                breach(Law::UpdatesAtLeastOnce, what)
            }
            None => Ok(()),
        }
    }
}
