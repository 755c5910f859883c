//! Groups whose tasks have checks.

use super::*;
use crate::checks::core::{self as checks, Outcome, Which};

/// Looked at a second after its start and then every second; two failures are too many.
fn watched(id: &str) -> v1::TaskInfo {
    let health_check = v1::HealthCheck {
        r#type: Some(v1::health_check::Type::Command.into()),
        command: Some(v1::CommandInfo { value: Some("true".to_owned()), ..Default::default() }),
        delay_seconds: Some(1.0),
        interval_seconds: Some(1.0),
        grace_period_seconds: Some(0.0),
        consecutive_failures: Some(2),
        ..Default::default()
    };
    v1::TaskInfo { health_check: Some(health_check), ..task(id) }
}

impl Story {
    /// Whose probe is wanted now, and its number.
    #[track_caller]
    fn probe(&mut self) -> (String, u64) {
        let wanted = self.wanted();
        let [Effect::Probe { container_id, which: Which::Health, number, .. }] = &wanted[..] else {
            panic!("instead of a probe: {wanted:?}")
        };
        (container_id.clone(), *number)
    }

    fn probed(&mut self, (container_id, number): (String, u64), code: i32) {
        let (which, outcome) = (Which::Health, Outcome::Exit(code));
        let input = checks::Input::Probed { which, number, outcome };
        self.happens(Input::Checks { container_id, input });
    }
}

#[test]
fn an_unhealthy_task_takes_its_group_along() {
    let mut story = Story::running(&[watched("a"), task("b")], true);
    story.passes(S);
    let probe = story.probe();
    assert_eq!(probe.0, story.container("a"));
    story.probed(probe, 1);
    let told = story.updates().remove(0);
    assert_eq!((told.state(), told.healthy), (TaskRunning, Some(false)));
    assert_eq!(told.reason(), Reason::TaskHealthCheckStatusUpdated);
    story.passes(S);
    let probe = story.probe();
    story.probed(probe, 1);
    let wanted = story.wanted.clone();
    assert_eq!(story.states(), [each(&["a"], TaskRunning), each(&["a"], TaskKilling)].concat());
    story.wanted = wanted;
    assert_eq!(story.signals(), sent(&["a"], Signal::Terminate));
    story.dies("a");
    let wanted = story.wanted.clone();
    let ended = story.updates().remove(0);
    assert_eq!((ended.state(), ended.healthy), (TaskKilled, Some(false)));
    story.wanted = wanted;
    assert_eq!(story.signals(), sent(&["b"], Signal::Terminate));
    story.dies("b");
    let other = story.updates().remove(0);
    assert_eq!((other.state(), other.healthy), (TaskKilled, None), "nobody said so of it");
}

/// Its commands are run by the agent.
#[test]
fn while_the_agent_is_away_nothing_is_looked_at() {
    let mut story = Story::running(&[watched("a")], true);
    story.passes(S);
    let late = story.probe();
    story.happens(Input::Lost);
    let container_id = story.container("a");
    assert_eq!(story.wanted(), [Effect::CancelProbe { container_id, which: Which::Health }]);
    story.probed(late, 1);
    story.passes(3600 * S);
    assert_eq!(story.wanted(), []);
    let container_id = v1::ContainerId { value: "outer".to_owned(), parent: None };
    story.happens(Input::Subscribed { container_id, reports_killing: true });
    story.passes(0);
    let probe = story.probe();
    story.probed(probe, 0);
    assert_eq!(story.updates().remove(0).healthy, Some(true));
}

#[test]
fn one_that_is_being_killed_is_not_looked_at_any_more() {
    let mut story = Story::running(&[watched("a")], true);
    story.passes(S);
    let late = story.probe();
    story.happens(kill("a", Some(60 * S)));
    story.happens(Input::Lost);
    let container_id = v1::ContainerId { value: "outer".to_owned(), parent: None };
    story.happens(Input::Subscribed { container_id, reports_killing: true });
    story.wanted();
    story.probed(late, 1);
    story.passes(30 * S);
    assert_eq!(story.wanted(), []);
}
