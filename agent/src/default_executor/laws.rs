//! What holds of the core whatever happens in whatever order, tried with random scripts.

use std::collections::{BTreeMap, BTreeSet};

use api::v1;
use api::v1::TaskState::{self, TaskKilling, TaskRunning, TaskStarting};
use api::v1::agent::response::WaitContainer;
use bytes::Bytes;
use proptest::prelude::*;

use super::core::{Effect, Input, Told};
use super::scenarios::{S, Story, kill, task};

/// One step of a random script; numbers choose among what there is.
#[derive(Clone, Debug)]
enum Step {
    Launch(u8),
    Launched(u8),
    Refused(u8),
    Kill(u8, u8),
    Exits(u8, u8),
    Unknown(u8),
    Acknowledged,
    Lost,
    Subscribed,
    Passes(u8),
    Shutdown,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (1..4u8).prop_map(Step::Launch),
        8 => any::<u8>().prop_map(Step::Launched),
        1 => any::<u8>().prop_map(Step::Refused),
        3 => (any::<u8>(), 0..9u8).prop_map(|(n, grace)| Step::Kill(n, grace)),
        4 => (any::<u8>(), 0..2u8).prop_map(|(n, code)| Step::Exits(n, code)),
        1 => any::<u8>().prop_map(Step::Unknown),
        3 => Just(Step::Acknowledged),
        1 => Just(Step::Lost),
        2 => Just(Step::Subscribed),
        3 => (0..9u8).prop_map(Step::Passes),
        1 => Just(Step::Shutdown),
    ]
}

/// What the world outside would allow: containers are answered for once and end after they were waited for.
#[derive(Default)]
struct Outside {
    launching: BTreeSet<String>,
    waited: BTreeSet<String>,
    count: usize,
}

fn take(story: &mut Story, outside: &mut Outside, step: &Step) {
    let nth = |set: &BTreeSet<String>, n: u8| set.iter().nth(usize::from(n) % set.len().max(1)).cloned();
    match *step {
        Step::Launch(count) => {
            let ids: Vec<String> = (0..count).map(|n| format!("t{}-{n}", outside.count)).collect();
            outside.count += 1;
            story.launches(&ids.iter().map(|id| task(id)).collect::<Vec<_>>());
        }
        Step::Launched(n) => {
            if let Some(container_id) = nth(&outside.launching, n) {
                outside.launching.remove(&container_id);
                story.happens(Input::Launched { container_id });
            }
        }
        Step::Refused(n) => {
            if let Some(container_id) = nth(&outside.launching, n) {
                outside.launching.remove(&container_id);
                story.happens(Input::NotLaunched { container_id, why: "no".to_owned() });
            }
        }
        Step::Kill(n, grace) => {
            let tasks: BTreeSet<String> = story.containers.keys().cloned().collect();
            if let Some(id) = nth(&tasks, n) {
                story.happens(kill(&id, Some(u64::from(grace) * S)));
            }
        }
        Step::Exits(n, code) => {
            if let Some(container_id) = nth(&outside.waited, n) {
                outside.waited.remove(&container_id);
                let wait =
                    WaitContainer { exit_status: Some(i32::from(code) << 8), ..WaitContainer::default() };
                let told = Some(Told { how: Some("exited".to_owned()), wait });
                story.happens(Input::Ended { container_id, told });
            }
        }
        Step::Unknown(n) => {
            if let Some(container_id) = nth(&outside.waited, n) {
                outside.waited.remove(&container_id);
                story.happens(Input::Ended { container_id, told: None });
            }
        }
        Step::Acknowledged => story.acknowledges(),
        Step::Lost => story.happens(Input::Lost),
        Step::Subscribed => {
            let container_id = v1::ContainerId { value: "outer".to_owned(), parent: None };
            story.happens(Input::Subscribed { container_id, reports_killing: true });
        }
        Step::Passes(n) => story.passes(u64::from(n) * S),
        Step::Shutdown => story.happens(Input::Shutdown),
    }
    for effect in &story.wanted {
        match effect {
            Effect::Launch(launch) => _ = outside.launching.insert(launch.container_id.value.clone()),
            Effect::Wait(id) => _ = outside.waited.insert(id.value.clone()),
            _ => {}
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// A task's updates never step back, its end is told once, every update has an id of its own; a group of which one did
    /// not finish has all its others signalled or over; and when everything has ended and is acknowledged, the executor goes.
    #[test]
    fn laws(steps in prop::collection::vec(step(), 0..80)) {
        let mut story = Story::new(true);
        let mut outside = Outside::default();
        let mut all = Vec::new();
        for step in &steps {
            take(&mut story, &mut outside, step);
            all.append(&mut story.wanted);
        }
        // The world comes to rest: launches are answered, containers end, the agent listens.
        take(&mut story, &mut outside, &Step::Subscribed);
        for _ in 0..500 {
            for step in [Step::Launched(0), Step::Exits(0, 0), Step::Acknowledged] {
                take(&mut story, &mut outside, &step);
                all.append(&mut story.wanted);
            }
        }
        let mut uuids: BTreeSet<Bytes> = BTreeSet::new();
        let mut last: BTreeMap<String, TaskState> = BTreeMap::new();
        let rank = |state: TaskState| match state {
            TaskStarting => 0,
            TaskRunning => 1,
            TaskKilling => 2,
            _ => 3,
        };
        for effect in &all {
            let Effect::Update(status) = effect else { continue };
            prop_assert!(uuids.insert(status.uuid.clone().expect("it has one")));
            let before = last.insert(status.task_id.value.clone(), status.state());
            prop_assert!(before.is_none_or(|before| rank(before) < rank(status.state())), "{:?}", status);
        }
        prop_assert!(last.values().all(|state| rank(*state) == 3), "{:?}", last);
        let exits = all.iter().filter(|it| matches!(it, Effect::Exit { .. })).count();
        let has_worked = !last.is_empty() || steps.iter().any(|step| matches!(step, Step::Shutdown));
        prop_assert_eq!(exits, usize::from(has_worked));
    }
}
