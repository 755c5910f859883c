//! The core's behaviour, told as short stories of what happens and what is wanted then; and the laws that hold whatever
//! happens in whatever order.

use api::v1;
use api::v1::TaskState::{
    self, TaskFailed, TaskFinished, TaskKilled, TaskKilling, TaskRunning, TaskStarting,
};
use api::v1::task_status::Reason;
use bytes::Bytes;
use model::time::{Now, Time, UnixTime};
use proptest::prelude::*;

use crate::checks::core::{self as checks, Outcome};

use super::core::{Core, Effect, Input, Settings, Signal};

const S: u64 = 1_000_000_000;

/// A core, a clock, and what the core wanted since it was last asked.
struct Story {
    core: Core,
    now_ns: u64,
    wanted: Vec<Effect>,
}

impl Story {
    fn new() -> Self {
        let settings = Settings {
            executor_id: v1::ExecutorId { value: "t".to_owned() },
            shutdown_grace_ns: 5 * S,
            path: "/bin".to_owned(),
        };
        Self { core: Core::new(settings, 7), now_ns: S, wanted: Vec::new() }
    }

    /// Its command runs.
    fn running(task: v1::TaskInfo, reports_killing: bool) -> Self {
        let mut story = Self::new();
        story.happens(Input::Subscribed { reports_killing });
        story.happens(Input::Launch(Box::new(task)));
        assert_eq!(story.states(), [TaskStarting]);
        story.happens(Input::Started);
        assert_eq!(story.states(), [TaskRunning]);
        story
    }

    fn now(&self) -> Now {
        Now { time: Time(self.now_ns), unix: UnixTime(self.now_ns / 1000) }
    }

    fn happens(&mut self, input: Input) {
        let now = self.now();
        self.core.handle(now, input, &mut self.wanted);
    }

    /// Lets time pass, waking the core whenever it asks for that.
    fn passes(&mut self, ns: u64) {
        let until = self.now_ns + ns;
        while let Some(Time(deadline)) = self.core.deadline().filter(|deadline| deadline.0 <= until) {
            self.now_ns = self.now_ns.max(deadline);
            let now = self.now();
            self.core.expire(now, &mut self.wanted);
            assert!(self.core.deadline().is_none_or(|next| next > now.time), "it would spin");
        }
        self.now_ns = until;
    }

    fn wanted(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.wanted).into_iter().filter(|it| !matches!(it, Effect::Note(_))).collect()
    }

    fn updates(&mut self) -> Vec<v1::TaskStatus> {
        let wanted = self.wanted().into_iter();
        wanted.filter_map(|it| if let Effect::Update(status) = it { Some(*status) } else { None }).collect()
    }

    fn states(&mut self) -> Vec<TaskState> {
        self.updates().iter().map(v1::TaskStatus::state).collect()
    }

    fn signals(&mut self) -> Vec<Signal> {
        let wanted = self.wanted().into_iter();
        wanted.filter_map(|it| if let Effect::Signal(signal) = it { Some(signal) } else { None }).collect()
    }

    /// When, counted from now, force will be used.
    #[track_caller]
    fn check_force_after(&mut self, ns: u64) {
        self.passes(ns - 1);
        assert!(!self.signals().contains(&Signal::Kill), "too early");
        self.passes(1);
        assert_eq!(self.signals(), [Signal::Kill]);
    }
}

fn task(id: &str) -> v1::TaskInfo {
    v1::TaskInfo {
        task_id: task_id(id),
        command: Some(v1::CommandInfo { value: Some("true".to_owned()), ..Default::default() }),
        ..Default::default()
    }
}

fn task_id(id: &str) -> v1::TaskId {
    v1::TaskId { value: id.to_owned() }
}

fn kill(grace_ns: Option<u64>) -> Input {
    Input::Kill { task_id: task_id("t"), grace_ns }
}

fn duration(seconds: i64) -> v1::DurationInfo {
    v1::DurationInfo { nanoseconds: seconds * 1_000_000_000 }
}

fn ended(how: &str) -> Input {
    Input::Ended { is_success: how == "exited with status 0", how: Some(how.to_owned()) }
}

fn exit(is_success: bool) -> [Effect; 1] {
    [Effect::Exit { is_success }]
}

#[test]
fn a_task_runs_ends_and_is_acknowledged() {
    let mut story = Story::running(task("t"), true);
    story.happens(ended("exited with status 0"));
    let last = story.updates().remove(0);
    assert_eq!((last.state(), last.message()), (TaskFinished, "Command exited with status 0"));
    assert_eq!(last.timestamp, Some(1.0));
    story.happens(Input::Acknowledged { uuid: Bytes::from_static(b"of another update") });
    assert_eq!(story.wanted(), []);
    story.happens(Input::Acknowledged { uuid: last.uuid.unwrap() });
    assert_eq!(story.wanted(), exit(true));
}

#[test]
fn nobody_knows_how_it_ended() {
    let mut story = Story::running(task("t"), true);
    story.happens(Input::Ended { is_success: false, how: None });
    let last = story.updates().remove(0);
    assert_eq!((last.state(), last.message()), (TaskFailed, "Failed to get exit status for Command"));
}

#[test]
fn the_grace_is_the_kills_else_the_tasks_else_three_seconds() {
    let patient = v1::KillPolicy { grace_period: Some(duration(9)) };
    for (policy, given, expect) in [
        (None, None, 3 * S),
        (Some(v1::KillPolicy { grace_period: None }), None, 3 * S),
        (Some(patient), None, 9 * S),
        (Some(patient), Some(4 * S), 4 * S),
    ] {
        let mut story = Story::running(v1::TaskInfo { kill_policy: policy, ..task("t") }, true);
        story.happens(kill(given));
        story.check_force_after(expect);
    }
}

#[test]
fn a_grace_can_only_become_shorter() {
    let mut story = Story::running(task("t"), true);
    story.happens(kill(Some(20 * S)));
    assert_eq!(story.wanted().len(), 2, "TASK_KILLING and SIGTERM");
    story.passes(S);
    for longer in [30 * S, 20 * S] {
        story.happens(kill(Some(longer)));
    }
    story.happens(kill(Some(5 * S)));
    assert_eq!(story.wanted(), [], "it has been asked");
    story.check_force_after(4 * S);

    // The shorter one may be over already.
    let mut story = Story::running(task("t"), true);
    story.happens(kill(Some(20 * S)));
    story.passes(10 * S);
    story.happens(kill(Some(5 * S)));
    story.passes(0);
    assert_eq!(story.signals(), [Signal::Terminate, Signal::Kill]);
    story.passes(100 * S);
    assert_eq!(story.wanted(), [], "force is used once");
}

#[test]
fn a_shutdown_leaves_time_to_tell() {
    let mut story = Story::running(task("t"), true);
    story.happens(Input::Shutdown);
    assert_eq!(story.signals(), [Signal::Terminate]);
    story.check_force_after(3 * S);

    let mut story = Story::running(task("t"), true);
    story.happens(kill(Some(60 * S)));
    story.happens(Input::Shutdown);
    story.check_force_after(3 * S);
}

#[test]
fn task_killing_is_for_those_who_know_it() {
    for (reports_killing, expect) in [(true, vec![TaskKilling]), (false, vec![])] {
        let mut story = Story::running(task("t"), reports_killing);
        story.happens(kill(None));
        assert_eq!(story.states(), expect);
        story.happens(ended("terminated with signal Terminated"));
        assert_eq!(story.states(), [TaskKilled]);
    }
}

#[test]
fn a_kill_while_the_command_starts_is_not_lost() {
    let mut story = Story::new();
    story.happens(Input::Subscribed { reports_killing: true });
    story.happens(Input::Launch(Box::new(task("t"))));
    story.happens(kill(Some(S)));
    assert_eq!(story.states(), [TaskStarting, TaskKilling]);
    story.passes(10 * S);
    assert_eq!(story.wanted(), [], "there is nobody to signal yet");
    story.happens(Input::Started);
    story.passes(0);
    assert_eq!(story.wanted(), [Effect::Signal(Signal::Terminate), Effect::Signal(Signal::Kill)]);
}

#[test]
fn an_end_is_waited_for_as_long_as_the_agent_is_away_and_a_minute_more() {
    let mut story = Story::running(task("t"), true);
    story.happens(Input::Lost);
    story.happens(ended("exited with status 0"));
    story.passes(3_600 * S);
    assert_eq!(story.states(), [TaskFinished]);
    story.happens(Input::Subscribed { reports_killing: true });
    story.passes(60 * S - 1);
    assert_eq!(story.wanted(), []);
    story.passes(1);
    assert_eq!(story.wanted(), exit(false));
}

#[test]
fn one_task_is_all_it_runs() {
    let mut story = Story::running(task("t"), true);
    story.happens(Input::Launch(Box::new(task("t"))));
    assert_eq!(story.wanted(), []);
    story.happens(Input::Launch(Box::new(task("other"))));
    let refused = story.updates().remove(0);
    assert_eq!((&*refused.task_id.value, refused.state()), ("other", TaskFailed));
    story.happens(Input::Kill { task_id: task_id("other"), grace_ns: None });
    assert_eq!(story.wanted(), []);
    // The end of the other one is not the end of the executor.
    story.happens(Input::Acknowledged { uuid: refused.uuid.unwrap() });
    assert_eq!(story.wanted(), []);
    story.happens(Input::LaunchGroup);
    assert_eq!(story.signals(), [Signal::Terminate]);
}

#[test]
fn without_an_agent_the_command_is_ended_and_nothing_told() {
    let mut story = Story::running(task("t"), true);
    story.happens(Input::Lost);
    story.happens(Input::Abandoned);
    assert_eq!(story.wanted(), [Effect::Signal(Signal::Terminate)]);
    story.check_force_after(3 * S);
    story.happens(ended("terminated with signal Killed"));
    assert_eq!(story.wanted(), exit(false));

    let mut idle = Story::new();
    idle.happens(Input::Abandoned);
    assert_eq!(idle.wanted(), exit(false));

    let mut told = Story::running(task("t"), true);
    told.happens(ended("exited with status 0"));
    told.wanted();
    told.happens(Input::Abandoned);
    assert_eq!(told.wanted(), exit(false));
}

#[test]
fn a_task_has_its_time() {
    let hurried = v1::TaskInfo { max_completion_time: Some(duration(10)), ..task("t") };
    let mut story = Story::running(hurried.clone(), true);
    story.passes(10 * S - 1);
    assert_eq!(story.wanted(), []);
    story.passes(1);
    assert_eq!(story.wanted(), [Effect::Signal(Signal::Terminate), Effect::Signal(Signal::Kill)]);
    story.happens(ended("terminated with signal Killed"));
    let last = story.updates().remove(0);
    assert_eq!((last.state(), last.reason()), (TaskFailed, Reason::MaxCompletionTimeReached));

    // One that is being killed has the grace of that instead.
    let mut story = Story::running(hurried, true);
    story.happens(kill(Some(60 * S)));
    story.check_force_after(60 * S);
    story.happens(ended("terminated with signal Killed"));
    let last = story.updates().remove(0);
    assert_eq!((last.state(), last.reason), (TaskKilled, None));
}

fn watched() -> v1::TaskInfo {
    let health_check = v1::HealthCheck {
        r#type: Some(v1::health_check::Type::Tcp.into()),
        tcp: Some(v1::health_check::TcpCheckInfo { port: 80, protocol: None }),
        delay_seconds: Some(1.0),
        grace_period_seconds: Some(0.0),
        consecutive_failures: Some(2),
        interval_seconds: Some(1.0),
        ..Default::default()
    };
    let check = v1::CheckInfo {
        r#type: Some(v1::check_info::Type::Tcp.into()),
        tcp: Some(v1::check_info::Tcp { port: 80 }),
        delay_seconds: Some(0.5),
        interval_seconds: Some(1000.0),
        ..Default::default()
    };
    v1::TaskInfo { check: Some(check), health_check: Some(health_check), ..task("t") }
}

/// The probe that is due comes to this.
fn probed(story: &mut Story, is_connected: bool) {
    let wanted = story.wanted();
    let [Effect::Probe { which, number, .. }] = &wanted[..] else { panic!("{wanted:?}") };
    let outcome = Outcome::Connected(is_connected);
    story.happens(Input::Checks(checks::Input::Probed { which: *which, number: *number, outcome }));
}

#[test]
fn an_unhealthy_task_is_killed_and_its_end_says_so() {
    let mut story = Story::running(watched(), true);
    let tcp = |status: &v1::TaskStatus| status.check_status.unwrap().tcp.unwrap().succeeded;
    story.passes(S / 2);
    probed(&mut story, true);
    let checked = story.updates().remove(0);
    assert_eq!((checked.state(), checked.reason()), (TaskRunning, Reason::TaskCheckStatusUpdated));
    assert_eq!((tcp(&checked), checked.healthy), (Some(true), None));

    let mut ids = vec![checked.uuid];
    for is_connected in [true, false] {
        story.passes(S);
        probed(&mut story, is_connected);
        let told = story.updates().remove(0);
        assert_eq!((told.state(), told.reason()), (TaskRunning, Reason::TaskHealthCheckStatusUpdated));
        // What the check has found is still there.
        assert_eq!((tcp(&told), told.healthy), (Some(true), Some(is_connected)));
        ids.push(told.uuid);
    }
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 3, "each is an update of its own");

    story.passes(S);
    probed(&mut story, false);
    assert_eq!(story.states(), [TaskRunning, TaskKilling]);
    story.check_force_after(3 * S);
    story.passes(100 * S);
    assert_eq!(story.wanted(), [], "it is not probed any more");
    story.happens(ended("terminated with signal Killed"));
    let last = story.updates().remove(0);
    assert_eq!((last.state(), last.healthy), (TaskKilled, Some(false)));
    assert_eq!(tcp(&last), None, "an end says nothing of checks, but that there was one");
}

#[test]
fn a_kill_ends_the_probing() {
    let mut story = Story::running(watched(), true);
    story.passes(S / 2);
    let wanted = story.wanted();
    let [Effect::Probe { which, number, .. }] = &wanted[..] else { panic!("{wanted:?}") };
    story.happens(kill(None));
    assert!(story.wanted().contains(&Effect::CancelProbe { which: *which }));
    let outcome = Outcome::Connected(false);
    story.happens(Input::Checks(checks::Input::Probed { which: *which, number: *number, outcome }));
    story.happens(ended("terminated with signal Terminated"));
    let last = story.updates().remove(0);
    assert_eq!((last.state(), last.healthy), (TaskKilled, None));
}

#[test]
fn what_cannot_be_started_fails() {
    let mut story = Story::new();
    story.happens(Input::Subscribed { reports_killing: true });
    let no_command = v1::TaskInfo { command: None, ..task("t") };
    story.happens(Input::Launch(Box::new(no_command)));
    assert_eq!(story.states(), [TaskStarting, TaskFailed]);

    let mut story = Story::new();
    story.happens(Input::Launch(Box::new(task("t"))));
    story.happens(Input::NotStarted { why: "no such file".to_owned() });
    let told = story.updates();
    assert_eq!((told[1].state(), told[1].message()), (TaskFailed, "no such file"));
}

/// Something that may happen next; what the state of the world does not allow is passed over.
#[derive(Clone, Debug)]
enum Step {
    Input(Input),
    /// The command that was wanted starts, or fails to.
    Starts(bool),
    /// The command that runs ends.
    Ends(bool),
    /// The n-th update of all, modulo their number, is acknowledged.
    Acknowledges(usize),
    Passes(u64),
    /// The oldest probe that is under way comes to this.
    Probed(bool),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let ids = || prop_oneof![4 => Just("t"), 1 => Just("other")];
    let input = |input: Input| Just(Step::Input(input));
    let launch = (ids(), proptest::option::of(0..20_i64), any::<bool>()).prop_map(|(id, max, is_watched)| {
        let checks = if is_watched { watched() } else { task(id) };
        let task = v1::TaskInfo { max_completion_time: max.map(duration), task_id: task_id(id), ..checks };
        Step::Input(Input::Launch(Box::new(task)))
    });
    let killed = (ids(), proptest::option::of(0..20 * S))
        .prop_map(|(id, grace_ns)| Step::Input(Input::Kill { task_id: task_id(id), grace_ns }));
    let step = prop_oneof![
        2 => any::<bool>().prop_map(|reports_killing| Step::Input(Input::Subscribed { reports_killing })),
        2 => input(Input::Lost),
        1 => input(Input::Abandoned),
        1 => input(Input::Shutdown),
        1 => input(Input::LaunchGroup),
        4 => launch,
        3 => killed,
        4 => prop::bool::weighted(0.9).prop_map(Step::Starts),
        2 => any::<bool>().prop_map(Step::Ends),
        3 => any::<usize>().prop_map(Step::Acknowledges),
        3 => (0..90 * S).prop_map(Step::Passes),
        3 => any::<bool>().prop_map(Step::Probed),
    ];
    proptest::collection::vec(step, 0..40)
}

/// What has become of the command.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Command {
    None,
    Wanted,
    Runs,
    Over,
}

/// The world around a core, which watches the laws.
struct World {
    story: Story,
    command: Command,
    told: Vec<v1::TaskStatus>,
    probes: Vec<(checks::Which, u64)>,
    is_over: bool,
}

impl World {
    fn step(&mut self, step: &Step) {
        match (step, self.command) {
            (Step::Input(input), _) => self.story.happens(input.clone()),
            (Step::Starts(true), Command::Wanted) => {
                self.command = Command::Runs;
                self.story.happens(Input::Started);
            }
            (Step::Starts(false), Command::Wanted) => {
                self.command = Command::Over;
                self.story.happens(Input::NotStarted { why: "why".to_owned() });
            }
            (Step::Ends(is_success), Command::Runs) => {
                self.command = Command::Over;
                self.story.happens(Input::Ended { is_success: *is_success, how: Some("how".to_owned()) });
            }
            (Step::Acknowledges(nth), _) if !self.told.is_empty() => {
                let uuid = self.told[nth % self.told.len()].uuid.clone().unwrap();
                self.story.happens(Input::Acknowledged { uuid });
            }
            (Step::Passes(ns), _) => self.story.passes(*ns),
            (Step::Probed(is_connected), _) if !self.probes.is_empty() => {
                let (which, number) = self.probes.remove(0);
                let outcome = Outcome::Connected(*is_connected);
                self.story.happens(Input::Checks(checks::Input::Probed { which, number, outcome }));
            }
            _ => {}
        }
        self.look();
    }

    fn look(&mut self) {
        for effect in self.story.wanted() {
            assert!(!self.is_over, "{effect:?} after the exit");
            match effect {
                Effect::Update(status) => self.told.push(*status),
                Effect::Start(_) => {
                    assert_eq!(self.command, Command::None);
                    self.command = Command::Wanted;
                }
                Effect::Signal(_) => assert_eq!(self.command, Command::Runs),
                Effect::Probe { which, number, .. } => {
                    assert_eq!(self.command, Command::Runs);
                    assert!(self.probes.iter().all(|(other, _)| *other != which), "one at a time");
                    self.probes.push((which, number));
                }
                Effect::CancelProbe { which } => self.probes.retain(|(other, _)| *other != which),
                Effect::Exit { is_success } => {
                    self.is_over = true;
                    assert_ne!(self.command, Command::Runs, "it would be left behind");
                    let ends = self.told.iter().filter(|it| is_end(it.state())).count();
                    assert!(!is_success || self.command == Command::None || ends > 0);
                }
                Effect::Note(_) => unreachable!("left out by the story"),
            }
        }
    }
}

fn is_end(state: TaskState) -> bool {
    matches!(state, TaskFinished | TaskFailed | TaskKilled)
}

/// A task's updates go up this ladder, a rung at most once, but that checks tell of what runs as often as they like.
fn rung(state: TaskState) -> u32 {
    match state {
        TaskStarting => 0,
        TaskRunning => 1,
        TaskKilling => 2,
        _ => 3,
    }
}

proptest! {
    #[test]
    fn whatever_happens_a_task_ends_once_and_the_executor_too(steps in steps()) {
        let mut world =
            World { story: Story::new(), command: Command::None, told: vec![], probes: vec![], is_over: false };
        for step in &steps {
            world.step(step);
        }
        // Whatever is left undone gets done, and the agent speaks its last word.
        let subscribed = Step::Input(Input::Subscribed { reports_killing: false });
        for step in [Step::Starts(true), Step::Input(Input::Shutdown), Step::Passes(100 * S), Step::Ends(true),
            subscribed, Step::Passes(100 * S)]
        {
            world.step(&step);
        }
        prop_assert!(world.is_over);

        let mut uuids: Vec<_> = world.told.iter().map(|it| it.uuid.clone()).collect();
        uuids.sort();
        uuids.dedup();
        prop_assert_eq!(uuids.len(), world.told.len());
        let first = world.told.first().map(|it| it.task_id.clone());
        let ours: Vec<u32> = world
            .told
            .iter()
            .filter(|it| Some(&it.task_id) == first.as_ref())
            .map(|it| rung(it.state()))
            .collect();
        prop_assert!(ours.is_sorted_by(|a, b| a < b || (*a, *b) == (1, 1)), "{:?}", ours);
    }
}
