//! An agent that is killed again and again, at moments that a seed chooses, while it launches tasks and tells of them: what
//! its master has heard in the end is as if it had lived.
//!
//! `INGOT_TEST_KILLS=200` kills it more often; `INGOT_TEST_SEED=7` at other moments.

use crate::agent::{Place, patience};
use crate::master::{Heard, Introduction, Master, Session, command, framework};
use model::id::{FrameworkId, TaskId, UpdateId};
use model::task::{TaskState, TaskStatus};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};
use wire::message::{ToAgent, ToMaster};

const KILLS: u64 = 10;
/// Longest life of an agent after its tasks were sent; long enough for them to end.
const LIFE_MS_MAX: u64 = 2_000;

/// What a task is to do, and what the master has heard of it.
struct Told {
    exit_code: i32,
    /// Each update once, in order.
    updates: Vec<TaskStatus>,
}

impl Told {
    fn is_over(&self) -> bool {
        self.updates.last().is_some_and(|status| status.state.is_terminal())
    }
}

/// A master that has promised nothing but to remember.
struct Memory {
    tasks: BTreeMap<TaskId, Told>,
}

impl Memory {
    /// The same update may come again until its acknowledgement is on the agent's disk, and that it is there is known when
    /// the next one comes.
    fn hear(&mut self, status: TaskStatus) {
        let told = self.tasks.get_mut(&status.task_id).expect("a task that was sent");
        let id = status.update_id.expect("updates have ids");
        let known = |one: &TaskStatus| one.update_id == Some(id);
        match told.updates.iter().rposition(known) {
            Some(at) => assert_eq!(at, told.updates.len() - 1, "told after the next one: {status:?}"),
            None => {
                assert!(!told.is_over(), "{:?} and then {status:?}", told.updates.last());
                told.updates.push(status);
            }
        }
    }

    /// Listens until the moment, or the end of the agent.
    fn listen(&mut self, session: &mut Session, until: Instant) {
        while let Heard::Message(message) = session.hear_until(until) {
            if let ToMaster::Update { status, .. } = *message {
                let (task_id, update_id): (_, UpdateId) =
                    (status.task_id.clone(), status.update_id.expect("updates have ids"));
                self.hear(status);
                let framework_id = FrameworkId::new("F");
                session.try_say(&ToAgent::Acknowledge { framework_id, task_id, update_id });
            }
        }
    }

    fn listen_until_over(&mut self, session: &mut Session) {
        let deadline = Instant::now() + 2 * patience();
        while let Some((id, told)) = self.tasks.iter().find(|(_, told)| !told.is_over()) {
            assert!(Instant::now() < deadline, "{id} has no end: {:?}", told.updates);
            self.listen(session, Instant::now() + Duration::from_millis(50));
        }
    }

    /// Admits an agent that comes back, and asks for what it did not name.
    fn admit(&self, session: &mut Session) {
        let Introduction::Again(known) = &session.introduction else { panic!("it forgot its id") };
        let is_named = |id: &TaskId| known.tasks.iter().any(|task| task.task.task_id == *id);
        let missing = self.tasks.iter().filter(|(id, told)| !told.is_over() && !is_named(id));
        let missing = missing.map(|(id, _)| (FrameworkId::new("F"), id.clone())).collect();
        session.admit(missing);
    }
}

/// Notes that it ran, waits for the sign if there is to be one, and ends.
fn line(folder: &Path, id: &str, awaits: bool, exit_code: i32) -> String {
    let (ran, go) = (folder.join(format!("ran-{id}")), folder.join(format!("go-{id}")));
    let wait =
        if awaits { format!("until [ -e {} ]; do sleep 0.02; done;", go.display()) } else { String::new() };
    format!("echo >> {}; {wait} exit {exit_code}", ran.display())
}

#[test]
fn an_agent_may_be_killed_at_any_moment() {
    let number = |name: &str| std::env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
    let (kills, seed) = (number("INGOT_TEST_KILLS").unwrap_or(KILLS), number("INGOT_TEST_SEED").unwrap_or(1));
    let mut rng = fastrand::Rng::with_seed(seed);
    let (place, master) = (Place::new(&[]), Master::start());
    let folder = tempfile::tempdir().unwrap();
    let mut memory = Memory { tasks: BTreeMap::new() };
    let (mut agent, mut session) = place.start(&master);
    session.register();
    // Its id is on disk when it runs a task; before that it has nothing to lose.
    let task = command("first", &line(folder.path(), "first", false, 0));
    memory.tasks.insert(TaskId::new("first"), Told { exit_code: 0, updates: Vec::new() });
    session.run(&framework(true), task);
    memory.listen_until_over(&mut session);
    for round in 0..kills {
        let waiting = format!("{round}-waits");
        for (id, awaits) in
            [(format!("{round}-a"), false), (format!("{round}-b"), false), (waiting.clone(), true)]
        {
            let exit_code = rng.i32(0..4);
            let task = command(&id, &line(folder.path(), &id, awaits, exit_code));
            memory.tasks.insert(TaskId::new(&id), Told { exit_code, updates: Vec::new() });
            session.try_say(&ToAgent::Run { framework: framework(true), task, starts_executor: true });
        }
        let life = Duration::from_millis(rng.u64(0..=LIFE_MS_MAX));
        memory.listen(&mut session, Instant::now() + life);
        agent.kill();
        // What it has sent it has sent.
        memory.listen(&mut session, Instant::now() + patience());
        std::fs::write(folder.path().join(format!("go-{waiting}")), "").unwrap();
        (agent, session) = place.start(&master);
        memory.admit(&mut session);
    }
    memory.listen_until_over(&mut session);
    let mut never_ran = 0;
    for (id, told) in &memory.tasks {
        never_ran += usize::from(!check(folder.path(), id, told));
    }
    println!("{kills} kills, {} tasks, of which {never_ran} never ran", memory.tasks.len());
    assert!(never_ran < memory.tasks.len(), "no task ever got as far as to run");
}

/// Whether it ran; then the master has heard everything of it.
fn check(folder: &Path, id: &TaskId, told: &Told) -> bool {
    let runs = std::fs::read(folder.join(format!("ran-{id}"))).map_or(0, |lines| lines.len());
    let states: Vec<TaskState> = told.updates.iter().map(|status| status.state).collect();
    let end = told.updates.last().expect("it is over");
    if runs == 0 {
        // Sent to an agent that died over it: it may have had it on disk or not.
        let is_so = matches!(end.state, TaskState::Lost | TaskState::Failed);
        assert!(is_so && !states.contains(&TaskState::Running), "{id} never ran: {:?}", told.updates);
        return false;
    }
    assert_eq!(runs, 1, "{id} ran again: {:?}", told.updates);
    let state = if told.exit_code == 0 { TaskState::Finished } else { TaskState::Failed };
    assert_eq!(states, [TaskState::Starting, TaskState::Running, state], "{id}: {:?}", told.updates);
    let message = end.message.as_deref().unwrap_or_default();
    assert!(message.contains(&format!("exited with status {}", told.exit_code)), "{id}: {message}");
    true
}
