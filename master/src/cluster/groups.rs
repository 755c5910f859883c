//! LAUNCH_GROUP: tasks that are launched together or not at all.

use super::input::GroupRequest;
use super::note::Note;
use super::operations::{Hand, complete, starts_executor};
use super::{Cluster, Turn, validate};
use model::id::FrameworkId;
use model::task::{Reason, TaskInfo, TaskState};
use std::sync::Arc;
use wire::message::ToAgent;

impl Cluster {
    /// Launches a group out of what is left in hand, or tells the scheduler of each of its tasks why not.
    pub(super) fn launch_group(&mut self, hand: &mut Hand, group: GroupRequest, turn: &mut Turn<'_>) {
        let GroupRequest { members, tasks } = group;
        let framework = self.frameworks.get(&hand.framework_id).expect("the caller is subscribed");
        let agent = self.agents.get(&hand.agent_id).expect("an offer's agent is registered");
        let checked = tasks.and_then(|tasks| {
            let completed = |task| complete(task, &hand.framework_id, &hand.role);
            let tasks: Vec<TaskInfo> = tasks.into_iter().map(completed).collect();
            match validate::group(&tasks, framework, agent, &hand.left) {
                Ok(()) => Ok(tasks),
                Err(why) => Err(Arc::from(why)),
            }
        });
        let tasks = match checked {
            Ok(tasks) => tasks,
            Err(why) => {
                let verdict = (TaskState::Error, Reason::TASK_GROUP_INVALID);
                return self.refuse_group(&hand.framework_id, &members, verdict, &why, turn);
            }
        };
        // One of no tasks would leave behind an executor that nothing ends.
        let Some(first) = tasks.first() else { return };
        let session = agent.session.expect("an offer's agent is connected");
        let starts_executor = starts_executor(hand, agent, first);
        let description = (*framework.info).clone();
        let mut used = self.add_executor(hand, first);
        tasks.iter().for_each(|task| used.add(&task.resources));
        self.charge(hand, &used, tasks.iter().map(|task| &task.task_id));
        for task in &tasks {
            turn.note(Note::TaskLaunched {
                framework_id: hand.framework_id.clone(),
                task_id: task.task_id.clone(),
                agent_id: hand.agent_id.clone(),
            });
        }
        let (framework, sent) = (description, tasks.clone());
        turn.agent(session, ToAgent::RunGroup { framework, tasks: sent, starts_executor });
        tasks.into_iter().for_each(|task| self.add_task(hand, task));
    }

    pub(super) fn refuse_group(
        &mut self,
        id: &FrameworkId,
        members: &[(model::id::TaskId, model::id::AgentId)],
        verdict: (TaskState, Reason),
        why: &str,
        turn: &mut Turn<'_>,
    ) {
        for (task_id, agent_id) in members {
            self.refuse_task(id, task_id.clone(), agent_id.clone(), verdict, why, turn);
        }
    }
}
