//! The core's behaviour, told as short stories on a clock that the test moves; and probes of real servers by the runner.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use api::v1;
use api::v1::{check_info, health_check};
use model::time::Time;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::core::{Checks, Effect, Input, Outcome, Which};
use super::probe::{Probe, Target};
use super::runner::{Runner, connect_here};

const S: u64 = 1_000_000_000;

struct Story {
    checks: Checks,
    now: u64,
    wanted: Vec<Effect>,
}

impl Story {
    fn started(task: &v1::TaskInfo) -> Self {
        let mut story = Self { checks: Checks::of(task), now: S, wanted: Vec::new() };
        story.happens(Input::Started);
        story
    }

    fn happens(&mut self, input: Input) {
        self.checks.handle(Time(self.now), input, &mut self.wanted);
    }

    /// Lets time pass, waking the core whenever it asks for that.
    fn passes(&mut self, ns: u64) {
        let until = self.now + ns;
        while let Some(Time(deadline)) = self.checks.deadline().filter(|it| it.0 <= until) {
            self.now = self.now.max(deadline);
            self.checks.expire(Time(self.now), &mut self.wanted);
            assert!(self.checks.deadline().is_none_or(|next| next.0 > self.now), "it would spin");
        }
        self.now = until;
    }

    fn wanted(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.wanted).into_iter().filter(|it| !matches!(it, Effect::Note(_))).collect()
    }

    /// The one probe that is wanted now.
    #[track_caller]
    fn probe(&mut self) -> (Which, u64) {
        match self.wanted().as_slice() {
            [Effect::Probe { which, number, .. }] => (*which, *number),
            other => panic!("instead of a probe: {other:?}"),
        }
    }

    /// That probe comes to this; what is wanted then.
    #[track_caller]
    fn comes_to(&mut self, outcome: Outcome) -> Vec<Effect> {
        let (which, number) = self.probe();
        self.happens(Input::Probed { which, number, outcome });
        self.wanted()
    }
}

fn failed() -> Outcome {
    Outcome::Failed { why: "nobody answers".to_owned() }
}

fn healthy(is_healthy: bool, kills: bool) -> [Effect; 1] {
    [Effect::Health { is_healthy, kills }]
}

/// After 1 s, every 2 s, three failures, grace of 10 s.
fn watched() -> v1::TaskInfo {
    let health_check = v1::HealthCheck {
        r#type: Some(health_check::Type::Http.into()),
        http: Some(health_check::HttpCheckInfo { port: 80, ..Default::default() }),
        delay_seconds: Some(1.0),
        interval_seconds: Some(2.0),
        ..Default::default()
    };
    v1::TaskInfo { health_check: Some(health_check), ..Default::default() }
}

fn checked(kind: check_info::Type) -> v1::TaskInfo {
    let check = v1::CheckInfo {
        r#type: Some(kind.into()),
        command: Some(check_info::Command { command: v1::CommandInfo::default() }),
        http: Some(check_info::Http { port: 80, path: None }),
        tcp: Some(check_info::Tcp { port: 80 }),
        delay_seconds: Some(0.0),
        interval_seconds: Some(1.0),
        ..Default::default()
    };
    v1::TaskInfo { check: Some(check), ..Default::default() }
}

#[test]
fn the_first_probe_waits_for_the_delay_and_each_other_for_the_end_of_the_one_before() {
    let mut story = Story::started(&watched());
    story.passes(S - 1);
    assert_eq!(story.wanted(), []);
    story.passes(1);
    let (which, number) = story.probe();
    // One that takes long delays the next.
    story.passes(60 * S);
    assert_eq!(story.wanted(), []);
    story.happens(Input::Probed { which, number, outcome: Outcome::Status(200) });
    assert_eq!(story.wanted(), healthy(true, false));
    story.passes(2 * S - 1);
    assert_eq!(story.wanted(), []);
    story.passes(1);
    story.probe();
}

#[test]
fn failures_in_the_grace_period_do_not_count_until_a_success_ends_it() {
    let mut story = Story::started(&watched());
    // At 1, 3, 5, 7, 9 seconds.
    story.passes(S);
    for _ in 0..5 {
        assert_eq!(story.comes_to(failed()), []);
        story.passes(2 * S);
    }
    assert_eq!(story.comes_to(failed()), healthy(false, false), "the grace is over");

    let mut story = Story::started(&watched());
    story.passes(S);
    assert_eq!(story.comes_to(Outcome::Status(204)), healthy(true, false));
    story.passes(2 * S);
    assert_eq!(
        story.comes_to(failed()),
        healthy(false, false),
        "it was healthy, three seconds after its start"
    );
}

#[test]
fn so_many_failures_in_a_row_kill() {
    let mut story = Story::started(&watched());
    story.passes(S);
    assert_eq!(story.comes_to(Outcome::Status(399)), healthy(true, false));
    let mut probe = |outcome| {
        story.passes(2 * S);
        story.comes_to(outcome)
    };
    assert_eq!(probe(Outcome::Status(200)), [], "that is no news");
    for bad in [Outcome::Status(400), Outcome::Status(199)] {
        assert_eq!(probe(bad), healthy(false, false));
    }
    assert_eq!(probe(Outcome::Status(200)), healthy(true, false), "counted from the start again");
    for kills in [false, false, true] {
        assert_eq!(probe(Outcome::Exit(1)), healthy(false, kills));
    }
}

#[test]
fn without_grace_and_patience_the_first_failure_kills() {
    let mut task = watched();
    let hasty = task.health_check.as_mut().expect("it has one");
    (hasty.grace_period_seconds, hasty.consecutive_failures) = (Some(0.0), Some(0));
    let mut story = Story::started(&task);
    story.passes(S);
    assert_eq!(story.comes_to(Outcome::Connected(false)), healthy(false, true));
}

#[test]
fn a_hindered_probe_says_nothing_about_the_task() {
    let mut story = Story::started(&watched());
    story.passes(S);
    assert_eq!(story.comes_to(Outcome::Status(200)), healthy(true, false));
    story.passes(2 * S);
    assert_eq!(story.comes_to(failed()), healthy(false, false));
    story.passes(2 * S);
    assert_eq!(story.comes_to(Outcome::Hindered { why: "no agent".to_owned() }), []);
    story.passes(2 * S);
    assert_eq!(story.comes_to(failed()), healthy(false, false));
    story.passes(2 * S);
    assert_eq!(story.comes_to(failed()), healthy(false, true), "three of its own");
}

#[test]
fn a_check_tells_what_has_changed() {
    let mut story = Story::started(&checked(check_info::Type::Http));
    story.passes(0);
    let mut probe = |outcome| {
        let told = story.comes_to(outcome);
        story.passes(S);
        let status = |effect: &Effect| match effect {
            Effect::Checked(status) => status.http.expect("of its kind").status_code,
            other => panic!("{other:?}"),
        };
        told.iter().map(status).collect::<Vec<_>>()
    };
    assert_eq!(probe(failed()), [], "as nothing was known before");
    assert_eq!(probe(Outcome::Status(200)), [Some(200)]);
    assert_eq!(probe(Outcome::Status(200)), []);
    assert_eq!(probe(Outcome::Status(503)), [Some(503)], "what that means is the framework's affair");
    assert_eq!(probe(Outcome::Hindered { why: "no agent".to_owned() }), []);
    assert_eq!(probe(failed()), [None]);
}

#[test]
fn a_result_is_of_the_kind_of_its_check() {
    for (kind, outcome) in
        [(check_info::Type::Command, Outcome::Exit(3)), (check_info::Type::Tcp, Outcome::Connected(true))]
    {
        let mut story = Story::started(&checked(kind));
        story.passes(0);
        let [Effect::Checked(status)] = &story.comes_to(outcome)[..] else { panic!("nothing told") };
        assert_eq!(status.r#type(), kind);
        let expect = match kind {
            check_info::Type::Command => (Some(Some(3)), None),
            _ => (None, Some(Some(true))),
        };
        assert_eq!((status.command.map(|it| it.exit_code), status.tcp.map(|it| it.succeeded)), expect);
    }
}

#[test]
fn a_pause_cancels_and_what_follows_it_looks_at_once() {
    let mut story = Story::started(&watched());
    story.passes(S);
    let (which, number) = story.probe();
    story.happens(Input::Paused);
    assert_eq!(story.wanted(), [Effect::Cancel { which }]);
    // Its result crossed the word to cancel it.
    story.happens(Input::Probed { which, number, outcome: failed() });
    story.passes(3600 * S);
    assert_eq!(story.wanted(), []);
    story.happens(Input::Resumed);
    story.passes(0);
    assert_ne!(story.probe(), (which, number));
}

#[test]
fn both_kinds_go_side_by_side() {
    let task = v1::TaskInfo { health_check: watched().health_check, ..checked(check_info::Type::Tcp) };
    let mut story = Story::started(&task);
    story.passes(S);
    let probes: Vec<_> = story.wanted().into_iter().collect();
    let [Effect::Probe { number: a, .. }, Effect::Probe { which: Which::Health, number: b, .. }] =
        &probes[..]
    else {
        panic!("{probes:?}")
    };
    assert_ne!(a, b);
}

/// Answers each connection with the next of these.
async fn server(answers: &'static [&'static str]) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let port = listener.local_addr().expect("it is bound").port();
    tokio::spawn(async move {
        for answer in answers {
            let Ok((mut socket, _)) = listener.accept().await else { return };
            let mut request = [0; 1024];
            let _ = socket.read(&mut request).await;
            let _ = socket.write_all(answer.as_bytes()).await;
        }
        // Whoever comes now is let in and not answered.
        let mut waiting = Vec::new();
        while let Ok(connection) = listener.accept().await {
            waiting.push(connection);
        }
    });
    port
}

async fn outcome(target: Target, timeout_ns: Option<u64>) -> Outcome {
    let commands = Arc::new(|_: &v1::CommandInfo| -> super::runner::Command { unreachable!("no command") });
    let (mut runner, mut results) = Runner::new(commands, connect_here());
    runner.probe(Which::Check, 7, Probe { target, timeout_ns });
    match results.recv().await {
        Some(Input::Probed { which: Which::Check, number: 7, outcome }) => outcome,
        other => panic!("{other:?}"),
    }
}

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fn http(port: u16) -> Target {
    Target::Http { is_tls: false, address: LOOPBACK, port: port.into(), path: "/health?a=b".to_owned() }
}

#[tokio::test]
async fn a_servers_last_status_counts() {
    let port = server(&["HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"]).await;
    assert_eq!(outcome(http(port), None).await, Outcome::Status(503));
    let redirected = "HTTP/1.1 302 Found\r\nLocation: /there\r\nContent-Length: 0\r\n\r\n";
    let port = server(Vec::leak(vec![redirected, "HTTP/1.1 204 No Content\r\n\r\n"])).await;
    assert_eq!(outcome(http(port), None).await, Outcome::Status(204));
}

#[tokio::test]
async fn silence_and_nonsense_are_no_result() {
    let port = server(&["hello\r\n\r\n"]).await;
    assert!(matches!(outcome(http(port), None).await, Outcome::Failed { .. }));
    let port = server(&[]).await;
    let late = Outcome::Failed { why: "no result within 0.05 seconds".to_owned() };
    assert_eq!(outcome(http(port), Some(50_000_000)).await, late);
    assert_eq!(
        outcome(Target::Tcp { address: LOOPBACK, port: port.into() }, None).await,
        Outcome::Connected(true)
    );
    let no_port = Outcome::Failed { why: "there is no port 65536".to_owned() };
    assert_eq!(outcome(Target::Tcp { address: LOOPBACK, port: 65536 }, None).await, no_port);
}

#[tokio::test]
async fn nobody_listens() {
    // None of those that other tests are given meanwhile.
    let port: u16 = 1;
    assert_eq!(
        outcome(Target::Tcp { address: LOOPBACK, port: port.into() }, None).await,
        Outcome::Connected(false)
    );
    let Outcome::Failed { why } = outcome(http(port), None).await else { panic!("somebody answered") };
    assert!(why.starts_with("connect: "), "{why}");
}
