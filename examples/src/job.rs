//! The job, decided: which share is launched on which offer, what a failed task means, when everything is counted.
//! A core: it is fed what the master said and leaves what to do about it; [`crate::scheduler`] does it.

use std::time::Duration;

use api::v1;
use api::v1::TaskState;
use bytes::Bytes;
use client::{is_end, scalar, unreserved_milli};

use crate::answer::{Inbox, Piece, Receipt};
use crate::count::Tally;
use crate::share::Share;

/// What to do, and with what means.
#[derive(Clone, Debug)]
pub struct Plan {
    pub shares: Vec<Share>,
    /// The program that agents start as executor; it is called with the one argument `executor`.
    pub executor: String,
    /// Of each task, its executor included.
    pub cpus_milli: u64,
    pub mem_mib: u64,
    /// How often a share is tried before the job fails.
    pub attempts_max: u32,
}

/// What the master says.
#[derive(Debug)]
pub enum Input {
    /// Subscribed, the first time or again.
    Subscribed,
    Offers(Vec<v1::Offer>),
    Update(Box<v1::TaskStatus>),
    Message {
        agent_id: v1::AgentId,
        executor_id: v1::ExecutorId,
        data: Bytes,
    },
    /// An executor ended (or, without one, a whole agent).
    Failure {
        agent_id: Option<v1::AgentId>,
        executor_id: Option<v1::ExecutorId>,
    },
}

/// What is to be done about it, in this order.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    Launch {
        offer_id: v1::OfferId,
        tasks: Vec<v1::TaskInfo>,
    },
    Decline(v1::OfferId),
    /// No more offers until `Revive`.
    Suppress,
    Revive,
    Acknowledge(Box<v1::TaskStatus>),
    /// A framework message to an executor.
    Reply {
        agent_id: v1::AgentId,
        executor_id: v1::ExecutorId,
        data: Bytes,
    },
    /// Ask for the state of these tasks.
    Reconcile(Vec<(v1::TaskId, v1::AgentId)>),
    /// Tell the user.
    Say(String),
    /// The last effect: everything is counted, or why it will not be.
    End(Box<Result<Tally, String>>),
}

/// Resources of the executor beside its task; the rest of the plan's figures is the task's.
const EXECUTOR_CPUS_MILLI: u64 = 100;
const EXECUTOR_MEM_MIB: u64 = 32;
/// After so long with work waiting and nothing running, say what is waited for.
const HINT_AFTER: Duration = Duration::from_secs(10);

/// Where a share stands.
#[derive(Debug)]
enum Stage {
    Waiting,
    Running {
        task_id: String,
        agent_id: v1::AgentId,
        inbox: Inbox,
    },
    /// The answer is merged; the task may still be on its way to its end.
    Counted {
        task_id: String,
    },
    /// Merged, and its task has ended.
    Done,
}

/// The job.
#[derive(Debug)]
pub struct Job {
    plan: Plan,
    stages: Vec<Stage>,
    attempts: Vec<u32>,
    merged: Tally,
    suppressed: bool,
    ended: bool,
    /// When the user is told that nothing fits.
    hint_at: Option<Duration>,
}

impl Job {
    pub fn new(plan: Plan) -> Self {
        let stages = plan.shares.iter().map(|_| Stage::Waiting).collect();
        let attempts = vec![0; plan.shares.len()];
        Self {
            plan,
            stages,
            attempts,
            merged: Tally::default(),
            suppressed: false,
            ended: false,
            hint_at: None,
        }
    }

    /// Shares whose answer is merged, tasks under way, and all shares.
    pub fn progress(&self) -> (usize, usize, usize) {
        let counted =
            self.stages.iter().filter(|it| matches!(it, Stage::Counted { .. } | Stage::Done)).count();
        let running = self.stages.iter().filter(|it| matches!(it, Stage::Running { .. })).count();
        (counted, running, self.stages.len())
    }

    pub fn handle(&mut self, now: Duration, input: Input, effects: &mut Vec<Effect>) {
        if self.ended {
            return;
        }
        match input {
            Input::Subscribed => self.subscribed(effects),
            Input::Offers(offers) => {
                for offer in offers {
                    self.offer(&offer, effects);
                }
                self.suppress_if_idle(effects);
            }
            Input::Update(status) => self.update(status, effects),
            Input::Message { agent_id, executor_id, data } => {
                self.message(agent_id, executor_id, data, effects)
            }
            Input::Failure { agent_id, executor_id } => {
                self.failure(agent_id.as_ref(), executor_id.as_ref(), effects)
            }
        }
        let stuck = !self.ended && self.stages.iter().all(|it| !matches!(it, Stage::Running { .. }));
        let waiting = self.stages.iter().any(|it| matches!(it, Stage::Waiting));
        self.hint_at = (stuck && waiting).then(|| self.hint_at.unwrap_or(now + HINT_AFTER));
    }

    pub fn deadline(&self) -> Option<Duration> {
        self.hint_at
    }

    pub fn expire(&mut self, now: Duration, effects: &mut Vec<Effect>) {
        if self.hint_at.is_some_and(|at| now >= at) {
            let Plan { cpus_milli, mem_mib, .. } = self.plan;
            let cpus = cpus_milli as f64 / 1_000.0;
            effects.push(Effect::Say(format!("still waiting for an offer of {cpus} cpus and {mem_mib} MiB")));
            self.hint_at = Some(now + HINT_AFTER);
        }
    }

    fn subscribed(&mut self, effects: &mut Vec<Effect>) {
        self.suppressed = false; // A subscription begins with offers on.
        let mut known = Vec::new();
        for stage in &self.stages {
            if let Stage::Running { task_id, agent_id, .. } = stage {
                known.push((v1::TaskId { value: task_id.clone() }, agent_id.clone()));
            }
        }
        if !known.is_empty() {
            effects.push(Effect::Reconcile(known));
        }
        self.suppress_if_idle(effects);
    }

    fn offer(&mut self, offer: &v1::Offer, effects: &mut Vec<Effect>) {
        let mut cpus_milli = unreserved_milli(&offer.resources, "cpus");
        let mut mem_milli = unreserved_milli(&offer.resources, "mem");
        let mut tasks = Vec::new();
        for share in 0..self.stages.len() {
            let fits = self.plan.cpus_milli <= cpus_milli && self.plan.mem_mib * 1_000 <= mem_milli;
            if !fits || !matches!(self.stages[share], Stage::Waiting) {
                continue;
            }
            cpus_milli -= self.plan.cpus_milli;
            mem_milli -= self.plan.mem_mib * 1_000;
            self.attempts[share] += 1;
            let task_id = format!("count-{share}-{}", self.attempts[share]);
            tasks.push(self.task(&task_id, share, &offer.agent_id));
            let agent_id = offer.agent_id.clone();
            self.stages[share] = Stage::Running { task_id, agent_id, inbox: Inbox::default() };
        }
        let offer_id = offer.id.clone();
        effects.push(if tasks.is_empty() {
            Effect::Decline(offer_id)
        } else {
            Effect::Launch { offer_id, tasks }
        });
    }

    fn suppress_if_idle(&mut self, effects: &mut Vec<Effect>) {
        let waiting = self.stages.iter().any(|it| matches!(it, Stage::Waiting));
        if waiting == self.suppressed {
            self.suppressed = !waiting;
            effects.push(if waiting { Effect::Revive } else { Effect::Suppress });
        }
    }

    /// Every task has an executor, and so a container, of its own: its usage is its own, too.
    fn task(&self, task_id: &str, share: usize, agent_id: &v1::AgentId) -> v1::TaskInfo {
        let command = v1::CommandInfo {
            shell: Some(false),
            value: Some(self.plan.executor.clone()),
            arguments: vec![self.plan.executor.clone(), "executor".to_owned()],
            ..Default::default()
        };
        let executor = v1::ExecutorInfo {
            executor_id: v1::ExecutorId { value: task_id.to_owned() },
            name: Some("wordcount".to_owned()),
            command: Some(command),
            resources: vec![scalar("cpus", EXECUTOR_CPUS_MILLI), scalar("mem", EXECUTOR_MEM_MIB * 1_000)],
            ..Default::default()
        };
        let cpus_milli = self.plan.cpus_milli.saturating_sub(EXECUTOR_CPUS_MILLI).max(10);
        let mem_mib = self.plan.mem_mib.saturating_sub(EXECUTOR_MEM_MIB).max(1);
        v1::TaskInfo {
            name: format!("count share {share}"),
            task_id: v1::TaskId { value: task_id.to_owned() },
            agent_id: agent_id.clone(),
            resources: vec![scalar("cpus", cpus_milli), scalar("mem", mem_mib * 1_000)],
            executor: Some(executor),
            data: Some(self.plan.shares[share].encode()),
            ..Default::default()
        }
    }

    fn message(
        &mut self,
        agent_id: v1::AgentId,
        executor_id: v1::ExecutorId,
        data: Bytes,
        effects: &mut Vec<Effect>,
    ) {
        let piece = match Piece::decode(data) {
            Ok(piece) => piece,
            Err(error) => {
                return effects.push(Effect::Say(format!("from executor {}: {error}", executor_id.value)));
            }
        };
        let receipt = Receipt { task_id: piece.task_id.clone(), index: piece.index };
        let task_is = |it: &String| *it == piece.task_id;
        let mut stages = self.stages.iter_mut();
        let Some(stage) = stages.find(|it| matches!(it, Stage::Running { task_id, .. } if task_is(task_id)))
        else {
            // Of a share already counted: its receipt was lost. Of a task given up: let it end.
            return effects.push(Effect::Reply { agent_id, executor_id, data: receipt.encode() });
        };
        if let Stage::Running { task_id, inbox, .. } = stage
            && let Some(answer) = inbox.take(piece)
        {
            match Tally::decode(answer) {
                Ok(tally) => {
                    self.merged.merge(tally);
                    *stage = Stage::Counted { task_id: std::mem::take(task_id) };
                }
                Err(error) => {
                    return self.end(Err(format!("executor {}: {error}", executor_id.value)), effects);
                }
            }
        }
        effects.push(Effect::Reply { agent_id, executor_id, data: receipt.encode() });
    }

    fn update(&mut self, status: Box<v1::TaskStatus>, effects: &mut Vec<Effect>) {
        effects.push(Effect::Acknowledge(status.clone()));
        let state = status.state();
        if !is_end(state) {
            return;
        }
        let id = &status.task_id.value;
        let of_task = |it: &Stage| matches!(it, Stage::Running { task_id, .. } | Stage::Counted { task_id } if task_id == id);
        let Some(share) = self.stages.iter().position(of_task) else { return };
        if matches!(self.stages[share], Stage::Counted { .. }) {
            // How a task ends whose answer is here changes nothing.
            self.stages[share] = Stage::Done;
        } else {
            let message = status.message.as_deref().unwrap_or("no reason given");
            let failure = match state {
                TaskState::TaskFinished => format!("{id} finished without an answer"),
                _ => format!("{id} ended as {}: {message}", state.as_str_name()),
            };
            let attempts = self.attempts[share];
            if attempts >= self.plan.attempts_max {
                return self.end(Err(format!("{failure} (attempt {attempts} of {attempts})")), effects);
            }
            effects.push(Effect::Say(format!("{failure}; trying again")));
            self.stages[share] = Stage::Waiting;
            self.suppress_if_idle(effects);
        }
        if self.stages.iter().all(|it| matches!(it, Stage::Done)) {
            let merged = std::mem::take(&mut self.merged);
            self.end(Ok(merged), effects);
        }
    }

    /// The updates that should come with a failure may be lost with an agent, so ask.
    fn failure(
        &mut self,
        agent: Option<&v1::AgentId>,
        executor: Option<&v1::ExecutorId>,
        effects: &mut Vec<Effect>,
    ) {
        let mut touched = Vec::new();
        for stage in &self.stages {
            if let Stage::Running { task_id, agent_id, .. } = stage
                && agent.is_none_or(|it| it == agent_id)
                && executor.is_none_or(|it| it.value == *task_id)
            {
                touched.push((v1::TaskId { value: task_id.clone() }, agent_id.clone()));
            }
        }
        if !touched.is_empty() {
            effects.push(Effect::Reconcile(touched));
        }
    }

    fn end(&mut self, result: Result<Tally, String>, effects: &mut Vec<Effect>) {
        self.ended = true;
        effects.push(Effect::End(Box::new(result)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::share::{File, Part, split};

    const NOW: Duration = Duration::ZERO;

    fn job(shares: usize) -> Job {
        let files = [File { path: "f".into(), size_bytes: shares as u64 }];
        let shares = split(&files, shares);
        Job::new(Plan { shares, executor: "/x".to_owned(), cpus_milli: 500, mem_mib: 64, attempts_max: 2 })
    }

    fn offer(id: &str, cpus_milli: u64, mem_mib: u64) -> v1::Offer {
        v1::Offer {
            id: v1::OfferId { value: id.to_owned() },
            agent_id: v1::AgentId { value: "a".to_owned() },
            resources: vec![scalar("cpus", cpus_milli), scalar("mem", mem_mib * 1_000)],
            ..Default::default()
        }
    }

    fn status(task: &str, state: TaskState) -> Box<v1::TaskStatus> {
        let mut status =
            v1::TaskStatus { task_id: v1::TaskId { value: task.to_owned() }, ..Default::default() };
        status.set_state(state);
        Box::new(status)
    }

    fn step(job: &mut Job, input: Input) -> Vec<Effect> {
        let mut effects = Vec::new();
        job.handle(NOW, input, &mut effects);
        effects
    }

    /// What the effects are, in words.
    fn shown(effects: &[Effect]) -> Vec<String> {
        let show = |effect: &Effect| match effect {
            Effect::Launch { offer_id, tasks } => {
                let ids: Vec<&str> = tasks.iter().map(|it| it.task_id.value.as_str()).collect();
                format!("launch {} on {}", ids.join(" "), offer_id.value)
            }
            Effect::Decline(offer_id) => format!("decline {}", offer_id.value),
            Effect::Suppress => "suppress".to_owned(),
            Effect::Revive => "revive".to_owned(),
            Effect::Acknowledge(status) => format!("acknowledge {}", status.task_id.value),
            Effect::Reply { executor_id, .. } => format!("reply to {}", executor_id.value),
            Effect::Reconcile(tasks) => format!("reconcile {}", tasks.len()),
            Effect::Say(text) => format!("say {text}"),
            Effect::End(result) => match &**result {
                Ok(tally) => format!("end with {} words", tally.word_count),
                Err(why) => format!("end: {why}"),
            },
        };
        effects.iter().map(show).collect()
    }

    fn answer(task: &str, words: u64) -> Input {
        let mut tally = Tally { word_count: words, ..Tally::default() };
        tally.words.insert(b"w".to_vec(), words);
        let piece = Piece { task_id: task.to_owned(), index: 0, count: 1, data: tally.encode() };
        Input::Message {
            agent_id: v1::AgentId { value: "a".to_owned() },
            executor_id: v1::ExecutorId { value: task.to_owned() },
            data: piece.encode(),
        }
    }

    #[test]
    fn tasks_go_where_they_fit_and_offers_without_use_go_back() {
        let mut job = job(3);
        let offers = vec![
            offer("o1", 1_100, 1_000),
            offer("o2", 499, 1_000),
            offer("o3", 9_000, 64),
            offer("o4", 9_000, 640),
        ];
        assert_eq!(
            shown(&step(&mut job, Input::Offers(offers))),
            [
                "launch count-0-1 count-1-1 on o1",
                "decline o2",
                "launch count-2-1 on o3",
                "decline o4",
                "suppress"
            ]
        );
        assert_eq!(job.progress(), (0, 3, 3));
    }

    #[test]
    fn a_task_asks_for_exactly_what_was_planned_and_knows_its_share() {
        let mut job = job(1);
        let effects = step(&mut job, Input::Offers(vec![offer("o", 500, 64)]));
        let Some(Effect::Launch { tasks, .. }) = effects.first() else { panic!("{effects:?}") };
        let executor = tasks[0].executor.as_ref().expect("a custom executor");
        let asked: Vec<v1::Resource> =
            tasks[0].resources.iter().chain(&executor.resources).cloned().collect();
        assert_eq!((unreserved_milli(&asked, "cpus"), unreserved_milli(&asked, "mem")), (500, 64_000));
        assert_eq!(executor.executor_id.value, tasks[0].task_id.value);
        let share = Share::decode(tasks[0].data.clone().expect("the share")).expect("our own");
        assert_eq!(share.parts, [Part { path: "f".into(), from: 0, to: 1 }]);
    }

    #[test]
    fn everything_counted_and_every_task_ended_is_the_end() {
        let mut job = job(2);
        step(&mut job, Input::Offers(vec![offer("o", 9_000, 9_000)]));
        assert_eq!(shown(&step(&mut job, answer("count-0-1", 3))), ["reply to count-0-1"]);
        assert_eq!(
            shown(&step(&mut job, answer("count-0-1", 3))),
            ["reply to count-0-1"],
            "doubled: not merged twice"
        );
        let finished = |task| Input::Update(status(task, TaskState::TaskFinished));
        assert_eq!(shown(&step(&mut job, finished("count-0-1"))), ["acknowledge count-0-1"]);
        step(&mut job, answer("count-1-1", 4));
        let effects = step(&mut job, finished("count-1-1"));
        assert_eq!(shown(&effects), ["acknowledge count-1-1", "end with 7 words"]);
    }

    #[test]
    fn a_failed_task_is_tried_again_under_another_name_until_the_limit() {
        let mut job = job(1);
        step(&mut job, Input::Offers(vec![offer("o1", 500, 64)]));
        let mut failed = status("count-0-1", TaskState::TaskFailed);
        failed.message = Some("Executor terminated".to_owned());
        let effects = step(&mut job, Input::Update(failed));
        let told = "say count-0-1 ended as TASK_FAILED: Executor terminated; trying again";
        assert_eq!(shown(&effects), ["acknowledge count-0-1", told, "revive"]);
        let effects = step(&mut job, Input::Offers(vec![offer("o2", 500, 64)]));
        assert_eq!(shown(&effects), ["launch count-0-2 on o2", "suppress"]);
        let late = step(&mut job, Input::Update(status("count-0-1", TaskState::TaskLost)));
        assert_eq!(shown(&late), ["acknowledge count-0-1"], "the first attempt is history");
        let effects = step(&mut job, Input::Update(status("count-0-2", TaskState::TaskLost)));
        let told = "end: count-0-2 ended as TASK_LOST: no reason given (attempt 2 of 2)";
        assert_eq!(shown(&effects), ["acknowledge count-0-2", told]);
        assert_eq!(shown(&step(&mut job, Input::Offers(vec![offer("o3", 500, 64)]))), [""; 0]);
    }

    #[test]
    fn finishing_without_an_answer_is_a_failure_but_failing_after_one_is_not() {
        let mut job = job(2);
        step(&mut job, Input::Offers(vec![offer("o", 9_000, 9_000)]));
        let effects = step(&mut job, Input::Update(status("count-0-1", TaskState::TaskFinished)));
        let told = "say count-0-1 finished without an answer; trying again";
        assert_eq!(shown(&effects), ["acknowledge count-0-1", told, "revive"]);
        step(&mut job, answer("count-1-1", 1));
        let effects = step(&mut job, Input::Update(status("count-1-1", TaskState::TaskFailed)));
        assert_eq!(shown(&effects), ["acknowledge count-1-1"]);
        assert_eq!(job.progress(), (1, 0, 2));
    }

    #[test]
    fn a_return_to_the_master_asks_about_what_runs() {
        let mut job = job(2);
        step(&mut job, Input::Offers(vec![offer("o", 500, 64)]));
        assert_eq!(shown(&step(&mut job, Input::Subscribed)), ["reconcile 1"]);
        let failure = |executor: &str| Input::Failure {
            agent_id: Some(v1::AgentId { value: "a".to_owned() }),
            executor_id: Some(v1::ExecutorId { value: executor.to_owned() }),
        };
        assert_eq!(shown(&step(&mut job, failure("count-0-1"))), ["reconcile 1"]);
        assert_eq!(shown(&step(&mut job, failure("count-9-9"))), [""; 0]);
    }

    #[test]
    fn a_user_who_waits_is_told_for_what() {
        let mut job = job(1);
        step(&mut job, Input::Subscribed);
        let mut effects = Vec::new();
        job.expire(HINT_AFTER, &mut effects);
        assert_eq!(shown(&effects), ["say still waiting for an offer of 0.5 cpus and 64 MiB"]);
        step(&mut job, Input::Offers(vec![offer("o", 500, 64)]));
        assert_eq!(job.deadline(), None);
    }
}
