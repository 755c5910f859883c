//! The core's behaviour, told as short stories of what happens and what is wanted then.

use std::collections::BTreeMap;

use api::v1;
use api::v1::TaskState::{
    self, TaskFailed, TaskFinished, TaskKilled, TaskKilling, TaskRunning, TaskStarting,
};
use api::v1::agent::response::WaitContainer;
use api::v1::task_status::Reason;
use model::time::{Now, Time, UnixTime};

use super::core::{Core, Effect, Input, Settings, Signal, Told};

mod watched;

pub(super) const S: u64 = 1_000_000_000;

/// A core, a clock, and what the core wanted since it was last asked.
pub(super) struct Story {
    core: Core,
    now_ns: u64,
    pub(super) wanted: Vec<Effect>,
    /// The container of each task that was ever launched, by task.
    pub(super) containers: BTreeMap<String, v1::ContainerId>,
    /// Updates told and not acknowledged.
    told: Vec<v1::TaskStatus>,
}

impl Story {
    pub(super) fn new(reports_killing: bool) -> Self {
        let settings = Settings {
            executor_id: v1::ExecutorId { value: "e".to_owned() },
            shutdown_grace_ns: 5 * S,
            container_ip: "10.0.0.1".to_owned(),
        };
        let core = Core::new(settings, 7);
        let (containers, told) = (BTreeMap::new(), Vec::new());
        let mut story = Self { core, now_ns: S, wanted: Vec::new(), containers, told };
        let container_id = v1::ContainerId { value: "outer".to_owned(), parent: None };
        story.happens(Input::Subscribed { container_id, reports_killing });
        story
    }

    /// All of the group run.
    fn running(tasks: &[v1::TaskInfo], reports_killing: bool) -> Self {
        let mut story = Self::new(reports_killing);
        story.launches(tasks);
        for task in tasks {
            story.launched(&task.task_id.value);
        }
        story.wanted.clear();
        story
    }

    pub(super) fn launches(&mut self, tasks: &[v1::TaskInfo]) {
        self.happens(Input::LaunchGroup(tasks.to_vec()));
    }

    pub(super) fn happens(&mut self, input: Input) {
        let now = self.now();
        let at = self.wanted.len();
        self.core.handle(now, input, &mut self.wanted);
        self.note(at);
    }

    fn now(&self) -> Now {
        Now { time: Time(self.now_ns), unix: UnixTime(self.now_ns / 1000) }
    }

    fn note(&mut self, at: usize) {
        for effect in &self.wanted[at..] {
            if let Effect::Update(status) = effect {
                let id = status.container_status.as_ref().and_then(|it| it.container_id.clone());
                let id = id.expect("every update names its container");
                self.containers.insert(status.task_id.value.clone(), id);
                self.told.push((**status).clone());
            }
        }
    }

    /// Lets time pass, waking the core whenever it asks for that.
    pub(super) fn passes(&mut self, ns: u64) {
        let until = self.now_ns + ns;
        while let Some(Time(deadline)) = self.core.deadline().filter(|deadline| deadline.0 <= until) {
            self.now_ns = self.now_ns.max(deadline);
            let (now, at) = (self.now(), self.wanted.len());
            self.core.expire(now, &mut self.wanted);
            self.note(at);
            assert!(self.core.deadline().is_none_or(|next| next > now.time), "it would spin");
        }
        self.now_ns = until;
    }

    fn container(&self, task: &str) -> String {
        self.containers[task].value.clone()
    }

    fn launched(&mut self, task: &str) {
        self.happens(Input::Launched { container_id: self.container(task) });
    }

    fn refused(&mut self, task: &str, why: &str) {
        self.happens(Input::NotLaunched { container_id: self.container(task), why: why.to_owned() });
    }

    fn exits(&mut self, task: &str, code: i32) {
        let how = Some(format!("exited with status {code}"));
        let wait = WaitContainer { exit_status: Some(code << 8), ..WaitContainer::default() };
        self.ends(task, Some(Told { how, wait }));
    }

    fn dies(&mut self, task: &str) {
        let how = Some("terminated with signal Killed".to_owned());
        let wait = WaitContainer { exit_status: Some(9), ..WaitContainer::default() };
        self.ends(task, Some(Told { how, wait }));
    }

    fn ends(&mut self, task: &str, told: Option<Told>) {
        self.happens(Input::Ended { container_id: self.container(task), told });
    }

    pub(super) fn acknowledges(&mut self) {
        for status in std::mem::take(&mut self.told) {
            self.happens(Input::Acknowledged { uuid: status.uuid.expect("it has one") });
        }
    }

    fn wanted(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.wanted).into_iter().filter(|it| !matches!(it, Effect::Note(_))).collect()
    }

    fn updates(&mut self) -> Vec<v1::TaskStatus> {
        let wanted = self.wanted().into_iter();
        wanted.filter_map(|it| if let Effect::Update(status) = it { Some(*status) } else { None }).collect()
    }

    fn states(&mut self) -> Vec<(String, TaskState)> {
        self.updates().iter().map(|it| (it.task_id.value.clone(), it.state())).collect()
    }

    /// Who is signalled.
    fn signals(&mut self) -> Vec<(String, Signal)> {
        let wanted = self.wanted();
        let signal = |it: &Effect| match it {
            Effect::Signal { container_id, signal } => {
                let (task, _) = self.containers.iter().find(|(_, id)| *id == container_id)?;
                Some((task.clone(), *signal))
            }
            _ => None,
        };
        wanted.iter().filter_map(signal).collect()
    }
}

pub(super) fn task(id: &str) -> v1::TaskInfo {
    v1::TaskInfo {
        task_id: task_id(id),
        command: Some(v1::CommandInfo { value: Some("true".to_owned()), ..Default::default() }),
        ..Default::default()
    }
}

fn task_id(id: &str) -> v1::TaskId {
    v1::TaskId { value: id.to_owned() }
}

fn group(ids: &[&str]) -> Vec<v1::TaskInfo> {
    ids.iter().map(|id| task(id)).collect()
}

pub(super) fn kill(id: &str, grace_ns: Option<u64>) -> Input {
    Input::Kill { task_id: task_id(id), grace_ns }
}

fn seconds(seconds: i64) -> v1::DurationInfo {
    v1::DurationInfo { nanoseconds: seconds * 1_000_000_000 }
}

fn with_grace(id: &str, grace: i64) -> v1::TaskInfo {
    let kill_policy = Some(v1::KillPolicy { grace_period: Some(seconds(grace)) });
    v1::TaskInfo { kill_policy, ..task(id) }
}

fn each(ids: &[&str], state: TaskState) -> Vec<(String, TaskState)> {
    ids.iter().map(|id| ((*id).to_owned(), state)).collect()
}

fn sent(ids: &[&str], signal: Signal) -> Vec<(String, Signal)> {
    ids.iter().map(|id| ((*id).to_owned(), signal)).collect()
}

#[test]
fn a_group_from_launch_to_its_acknowledged_end() {
    let mut story = Story::new(false);
    story.launches(&group(&["a", "b"]));
    let wanted = story.wanted();
    let [Effect::Update(a), Effect::Update(b), Effect::Launch(first), Effect::Launch(second)] = &wanted[..]
    else {
        panic!("{wanted:?}")
    };
    assert_eq!((a.state(), b.state()), (TaskStarting, TaskStarting));
    assert_eq!(first.container_id.parent.as_ref().map(|it| &*it.value), Some("outer"));
    assert_ne!(first.container_id, second.container_id);
    let told = a.container_status.as_ref().and_then(|it| it.container_id.as_ref());
    assert_eq!(told, Some(&first.container_id), "its parent with it");

    story.launched("a");
    assert_eq!(story.wanted(), [], "none is told to run before all do");
    story.launched("b");
    let wanted = story.wanted();
    let [
        Effect::Link { task_id, container_id },
        Effect::Update(a),
        Effect::Wait(waited),
        Effect::Link { .. },
        Effect::Update(b),
        Effect::Wait(_),
    ] = &wanted[..]
    else {
        panic!("{wanted:?}")
    };
    assert_eq!((&*task_id.value, container_id), ("a", &story.container("a")));
    assert_eq!((a.state(), b.state(), &waited.value), (TaskRunning, TaskRunning, container_id));

    story.exits("a", 0);
    assert_eq!(story.states(), each(&["a"], TaskFinished), "the other goes on");
    story.exits("b", 0);
    let last = story.updates().pop().expect("told");
    assert_eq!(last.message.as_deref(), Some("Command exited with status 0"));
    story.acknowledges();
    assert_eq!(story.wanted(), [Effect::Exit { is_success: true }]);
}

#[test]
fn one_that_fails_takes_its_group_along_and_no_other() {
    let mut story = Story::running(&group(&["a", "b", "c"]), true);
    story.launches(&group(&["x"]));
    story.launched("x");
    story.wanted();
    story.exits("b", 1);
    let wanted = story.wanted.clone();
    assert_eq!(story.signals(), sent(&["a", "c"], Signal::Terminate));
    story.wanted = wanted;
    let mut expected = each(&["b"], TaskFailed);
    expected.extend(each(&["a", "c"], TaskKilling));
    assert_eq!(story.states(), expected);
    story.dies("a");
    story.dies("c");
    assert_eq!(story.states(), each(&["a", "c"], TaskKilled));
    story.acknowledges();
    assert_eq!(story.wanted(), [], "the other group runs");
    story.exits("x", 0);
    assert_eq!(story.states(), each(&["x"], TaskFinished));
    story.acknowledges();
    assert_eq!(story.wanted(), [Effect::Exit { is_success: true }]);
}

#[test]
fn one_that_is_killed_takes_its_group_along_when_it_has_ended() {
    let mut story = Story::running(&[with_grace("a", 9), with_grace("b", 7)], false);
    story.happens(kill("a", Some(S)));
    assert_eq!(story.signals(), sent(&["a"], Signal::Terminate));
    story.passes(S);
    assert_eq!(story.signals(), sent(&["a"], Signal::Kill));
    story.dies("a");
    let wanted = story.wanted.clone();
    assert_eq!(story.states(), each(&["a"], TaskKilled));
    story.wanted = wanted;
    assert_eq!(story.signals(), sent(&["b"], Signal::Terminate));
    story.passes(7 * S - 1);
    assert_eq!(story.signals(), [], "its own grace");
    story.passes(1);
    assert_eq!(story.signals(), sent(&["b"], Signal::Kill));
    story.dies("b");
    assert_eq!(story.states(), each(&["b"], TaskKilled));
}

#[test]
fn a_second_kill_can_only_shorten() {
    let mut story = Story::running(&group(&["a"]), true);
    story.happens(kill("a", Some(10 * S)));
    story.passes(S);
    story.happens(kill("a", Some(20 * S)));
    story.happens(kill("a", Some(2 * S)));
    assert_eq!(story.states(), each(&["a"], TaskKilling), "once");
    story.passes(S - 1);
    assert_eq!(story.signals(), []);
    story.passes(1);
    assert_eq!(story.signals(), sent(&["a"], Signal::Kill));
}

#[test]
fn one_that_cannot_be_launched_ends_the_others() {
    let mut story = Story::new(false);
    story.launches(&group(&["a", "b", "c"]));
    story.launched("a");
    story.refused("b", "no such user 'x'");
    story.launched("c");
    let updates = story.updates();
    let states: Vec<_> = updates.iter().map(|it| (&*it.task_id.value, it.state())).collect();
    let mut expected = vec![("a", TaskStarting), ("b", TaskStarting), ("c", TaskStarting)];
    expected.extend([("a", TaskRunning), ("c", TaskRunning), ("b", TaskFailed)]);
    assert_eq!(states, expected);
    assert_eq!(updates[5].message.as_deref(), Some("no such user 'x'"));
    story.dies("a");
    story.dies("c");
    assert_eq!(story.states(), each(&["a", "c"], TaskKilled));
}

#[test]
fn what_cannot_be_asked_for_is_not_launched_and_nor_are_the_others() {
    let mut story = Story::new(false);
    let checked = v1::TaskInfo { check: Some(v1::CheckInfo::default()), ..task("b") };
    story.launches(&[task("a"), checked]);
    let wanted = story.wanted.clone();
    assert!(!wanted.iter().any(|it| matches!(it, Effect::Launch(_))), "{wanted:?}");
    let mut expected = each(&["a", "b"], TaskStarting);
    expected.extend([("a".to_owned(), TaskKilled), ("b".to_owned(), TaskFailed)]);
    assert_eq!(story.states(), expected);
    story.acknowledges();
    assert_eq!(story.wanted(), [Effect::Exit { is_success: true }]);
}

#[test]
fn a_kill_during_the_launch_waits_for_it() {
    let mut story = Story::new(true);
    story.launches(&group(&["a", "b"]));
    story.wanted();
    story.launched("a");
    story.happens(kill("a", None));
    assert_eq!(story.states(), each(&["a"], TaskKilling));
    story.launched("b");
    let wanted = story.wanted.clone();
    assert_eq!(story.signals(), sent(&["a"], Signal::Terminate));
    story.wanted = wanted;
    assert_eq!(story.states(), each(&["b"], TaskRunning), "not a step back");
    story.dies("a");
    assert_eq!(story.updates()[0].state(), TaskKilled);
}

#[test]
fn a_killed_task_that_could_not_be_launched_was_killed() {
    let mut story = Story::new(false);
    story.launches(&group(&["a"]));
    story.happens(kill("a", None));
    story.refused("a", "too late");
    assert_eq!(story.states().pop(), Some(("a".to_owned(), TaskKilled)));
}

#[test]
fn one_that_takes_too_long_fails_and_its_group_with_it() {
    let slow = v1::TaskInfo { max_completion_time: Some(seconds(4)), ..task("a") };
    let mut story = Story::running(&[slow, task("b")], true);
    story.passes(4 * S - 1);
    assert_eq!(story.wanted(), []);
    story.passes(1);
    let wanted = story.wanted.clone();
    assert_eq!(story.states(), [], "TASK_KILLING is for kills");
    story.wanted = wanted;
    let signals = [("a".to_owned(), Signal::Terminate), ("a".to_owned(), Signal::Kill)];
    assert_eq!(story.signals(), signals);
    story.dies("a");
    let end = story.updates().remove(0);
    assert_eq!((end.state(), end.reason()), (TaskFailed, Reason::MaxCompletionTimeReached));
    story.dies("b");
    assert_eq!(story.states(), each(&["b"], TaskKilled));
}

#[test]
fn what_the_agent_says_of_an_end_goes_before_what_is_concluded() {
    let mut story = Story::running(&group(&["a"]), false);
    let mut wait = WaitContainer {
        exit_status: Some(9),
        message: Some("Memory limit exceeded".to_owned()),
        limitation: Some(v1::TaskResourceLimitation::default()),
        ..WaitContainer::default()
    };
    wait.set_reason(Reason::ContainerLimitationMemory);
    wait.set_state(TaskFailed);
    story.ends("a", Some(Told { how: Some("terminated with signal Killed".to_owned()), wait }));
    let end = story.updates().remove(0);
    assert_eq!((end.state(), end.reason()), (TaskFailed, Reason::ContainerLimitationMemory));
    assert_eq!(end.message.as_deref(), Some("Command terminated with signal Killed: Memory limit exceeded"));
    assert!(end.limitation.is_some());
}

#[test]
fn an_end_that_nobody_saw_is_a_failure_unless_it_was_wanted() {
    let mut story = Story::running(&group(&["a", "b"]), false);
    story.ends("a", None);
    let end = story.updates().remove(0);
    assert_eq!(end.state(), TaskFailed);
    assert_eq!(end.message.as_deref(), Some("Unable to retrieve command's termination information"));
    story.ends("b", None);
    assert_eq!(story.states(), each(&["b"], TaskKilled), "it was being ended with the first");

    let mut story = Story::running(&group(&["a"]), false);
    story.ends("a", Some(Told { how: None, wait: WaitContainer::default() }));
    let end = story.updates().remove(0);
    assert_eq!(end.message.as_deref(), Some("Command terminated with unknown status"));
    assert_eq!(end.state(), TaskFailed);
}

#[test]
fn a_shutdown_ends_all_within_the_agents_patience() {
    let mut story = Story::running(&[with_grace("a", 60), task("b")], false);
    story.launches(&group(&["x"]));
    story.launched("x");
    story.wanted();
    story.happens(Input::Shutdown);
    let mut signals = story.signals();
    signals.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(signals, sent(&["a", "b", "x"], Signal::Terminate));
    story.passes(3 * S);
    assert_eq!(story.signals().len(), 3, "by force, 2 s before the agent would");
    for id in ["a", "b", "x"] {
        story.dies(id);
    }
    story.acknowledges();
    assert_eq!(story.wanted().pop(), Some(Effect::Exit { is_success: true }));
}

#[test]
fn an_executor_without_work_leaves_when_told_to() {
    let mut story = Story::new(false);
    story.happens(Input::Shutdown);
    assert_eq!(story.wanted(), [Effect::Exit { is_success: true }]);
    let mut story = Story::new(false);
    story.happens(Input::Launch);
    assert_eq!(story.wanted(), [Effect::Exit { is_success: true }], "a single task is not for it");
}

#[test]
fn the_last_words_are_waited_for_while_there_is_an_agent() {
    let mut story = Story::running(&group(&["a"]), false);
    story.exits("a", 0);
    story.wanted();
    story.happens(Input::Lost);
    story.passes(3600 * S);
    assert_eq!(story.wanted(), []);
    let container_id = v1::ContainerId { value: "outer".to_owned(), parent: None };
    story.happens(Input::Subscribed { container_id, reports_killing: false });
    story.passes(60 * S - 1);
    assert_eq!(story.wanted(), []);
    story.passes(1);
    assert_eq!(story.wanted(), [Effect::Exit { is_success: false }]);
}

#[test]
fn another_group_keeps_an_executor_that_was_about_to_leave() {
    let mut story = Story::running(&group(&["a"]), false);
    story.exits("a", 0);
    story.passes(59 * S);
    story.launches(&group(&["b"]));
    story.launched("b");
    story.acknowledges();
    story.passes(3600 * S);
    assert!(!story.wanted().iter().any(|it| matches!(it, Effect::Exit { .. })));
}

#[test]
fn a_group_that_was_launched_is_not_launched_again() {
    let mut story = Story::running(&group(&["a", "b"]), false);
    story.launches(&group(&["a", "b"]));
    assert_eq!(story.wanted(), []);
}

#[test]
fn without_an_agent_there_is_nothing_to_do() {
    let mut story = Story::running(&group(&["a"]), false);
    story.happens(Input::Abandoned);
    assert_eq!(story.wanted(), [Effect::Exit { is_success: false }]);
    story.exits("a", 0);
    assert_eq!((story.wanted(), story.core.deadline()), (vec![], None));
}
