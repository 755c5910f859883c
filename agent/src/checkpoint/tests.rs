//! Records written by the store and read back by the loader, whole and torn. The oracle is `Recovered::replay`, which
//! knows no files.

use crate::checkpoint::layout::{self, Meta};
use crate::checkpoint::load::{Loaded, load};
use crate::checkpoint::store::Store;
use crate::node::drain::Drain;
use crate::node::effect::{Record, Run, Ticket};
use crate::node::recovery::Recovered;
use crate::node::world::{agent_info, framework, status, task};
use model::id::{AgentId, ContainerId, ExecutorId, FrameworkId, MasterId, TaskId, UpdateId};
use model::task::TaskState;
use model::time::UnixTime;
use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::rc::Rc;

fn run(executor: &str, container: &str) -> Run {
    Run {
        framework_id: FrameworkId::new("F"),
        executor_id: ExecutorId::new(executor),
        container_id: ContainerId::new(container),
    }
}

fn agent() -> Record {
    Record::Agent { agent_id: AgentId::new("S0"), master_id: MasterId::new("M"), info: agent_info() }
}

fn update(executor: &str, container: &str, task: &str, state: TaskState, id: u8) -> Record {
    Record::Update { run: run(executor, container), status: status(task, state, id) }
}

fn acknowledged(executor: &str, container: &str, task: &str, id: u8) -> Record {
    let (task_id, update_id) = (TaskId::new(task), UpdateId([id; 16]));
    Record::Acknowledged { run: run(executor, container), task_id, update_id }
}

/// A small past: an executor that is done, one that runs two tasks, one that never got as far as its process.
fn past() -> Vec<Record> {
    let executor = |executor: &str, container: &str| Record::Executor {
        run: run(executor, container),
        executor: task("x", Some(executor)).executor.expect("asked for"),
        is_command: false,
    };
    let group = |id: &str| matches!(id, "t2" | "t3 (of 3)").then(|| ["t2".into(), "t3 (of 3)".into()].into());
    let task = |executor: &str, container: &str, id: &str| Record::Task {
        run: run(executor, container),
        task: task(id, Some(executor)),
        group: group(id),
    };
    vec![
        agent(),
        Record::Framework { framework: framework("F", true) },
        executor("a", "c1"),
        Record::Forked { run: run("a", "c1"), pid: 11 },
        task("a", "c1", "t1"),
        update("a", "c1", "t1", TaskState::Finished, 1),
        acknowledged("a", "c1", "t1", 1),
        Record::ExecutorDone { run: run("a", "c1") },
        executor("b", "c2"),
        Record::Forked { run: run("b", "c2"), pid: 12 },
        task("b", "c2", "t2"),
        task("b", "c2", "t3 (of 3)"),
        update("b", "c2", "t2", TaskState::Starting, 2),
        update("b", "c2", "t2", TaskState::Running, 3),
        acknowledged("b", "c2", "t2", 2),
        executor("d", "c3"),
        task("d", "c3", "t4"),
    ]
}

/// Writes the records as the agent does, `at_once` together; returns the tickets in the order in which they were durable.
fn write(work_dir: &Path, boot: &str, records: Vec<Record>, at_once: usize) -> Vec<u64> {
    let known = load(work_dir, boot).expect("what is there is whole").map(|loaded| loaded.recovered.agent_id);
    let (work_dir, boot) = (work_dir.to_owned(), boot.into());
    tokio_uring::start(async move {
        let done = Rc::new(RefCell::new(Vec::new()));
        let (seen, ready) = (done.clone(), Rc::new(tokio::sync::Notify::new()));
        let wake = ready.clone();
        let store = Store::start(&work_dir, known, boot, move |ticket: Ticket| {
            seen.borrow_mut().push(ticket.0);
            wake.notify_one();
        });
        for (number, record) in (0u64..).zip(records) {
            store.persist(Some(Ticket(number)), record);
            let waited = usize::try_from(number).expect("few") % at_once == at_once - 1;
            while waited && done.borrow().last() != Some(&number) {
                ready.notified().await;
            }
        }
        let last = store.clone();
        drop(store);
        last.persist(Some(Ticket(u64::MAX)), Record::Framework { framework: framework("last", true) });
        while done.borrow().last() != Some(&u64::MAX) {
            ready.notified().await;
        }
        let mut done = done.borrow().clone();
        done.pop();
        done
    })
}

/// In an order that does not depend on who read it. The framework that `write` ends with is left out.
fn sorted(mut recovered: Recovered) -> Recovered {
    recovered.frameworks.retain(|framework| framework.info.framework_id != Some(FrameworkId::new("last")));
    for framework in &mut recovered.frameworks {
        framework.executors.sort_by(|a, b| a.container_id.cmp(&b.container_id));
        for executor in &mut framework.executors {
            executor.tasks.sort_by(|a, b| a.info.task_id.cmp(&b.info.task_id));
        }
    }
    recovered
}

fn loaded(work_dir: &Path, boot: &str) -> Loaded {
    load(work_dir, boot).expect("readable").expect("there")
}

#[test]
fn what_is_written_is_what_is_read_however_it_was_batched() {
    for at_once in [1, 3, usize::MAX] {
        let scratch = tempfile::tempdir().expect("a directory");
        let records = past();
        let tickets = write(scratch.path(), "boot", records.clone(), at_once);
        assert_eq!(tickets, (0..u64::try_from(records.len()).expect("few")).collect::<Vec<_>>());
        let expected = Recovered::replay(&records).expect("an agent");
        let found = loaded(scratch.path(), "boot");
        assert!(!found.recovered.rebooted);
        assert_eq!(sorted(found.recovered), sorted(expected), "{at_once} at once");
    }
}

#[test]
fn after_a_reboot_no_process_is_believed_to_run() {
    let scratch = tempfile::tempdir().expect("a directory");
    write(scratch.path(), "boot", past(), usize::MAX);
    let found = loaded(scratch.path(), "another");
    assert!(found.recovered.rebooted);
    let executors = &sorted(found.recovered).frameworks[0].executors;
    assert!(executors.iter().all(|executor| executor.pid.is_none()));
    assert_eq!(executors[1].tasks.len(), 2, "its tasks are remembered all the same");
}

#[test]
fn an_agent_that_was_told_to_go_has_no_past() {
    let scratch = tempfile::tempdir().expect("a directory");
    write(scratch.path(), "boot", [past(), vec![Record::AgentGone]].concat(), 1);
    assert!(load(scratch.path(), "boot").expect("readable").is_none());
}

#[test]
fn an_agent_that_is_being_emptied_knows_it_until_it_is_empty() {
    let drain = Drain { max_grace_ns: Some(5), marks_gone: true, started: UnixTime(7) };
    let begun = [past(), vec![Record::Draining(drain)]].concat();
    let ended = [begun.clone(), vec![Record::Drained]].concat();
    let again = [ended.clone(), vec![Record::Draining(Drain { max_grace_ns: None, ..drain })]].concat();
    for at_once in [1, usize::MAX] {
        for records in [&begun, &ended, &again] {
            let scratch = tempfile::tempdir().expect("a directory");
            write(scratch.path(), "boot", records.clone(), at_once);
            let expected = Recovered::replay(records).expect("an agent").draining;
            assert_eq!(loaded(scratch.path(), "boot").recovered.draining, expected, "{at_once} at once");
        }
    }
}

fn log_of(work_dir: &Path, task: &str) -> PathBuf {
    let (meta, run) = (Meta::of(work_dir), run("b", "c2"));
    meta.task(&AgentId::new("S0"), &run, &TaskId::new(task)).join(layout::TASK_UPDATES)
}

/// Whatever a crash leaves of a log, its whole records are found and the next one is found after them.
#[test]
fn a_log_may_be_torn_at_any_byte() {
    let scratch = tempfile::tempdir().expect("a directory");
    write(scratch.path(), "boot", past(), usize::MAX);
    let log = log_of(scratch.path(), "t2");
    let whole = std::fs::read(&log).expect("a log");
    let mut ends = vec![0];
    while let Some(length) = wire::frame::frame_length(&whole[ends[ends.len() - 1]..]).expect("frames") {
        // And its checksum.
        ends.push(ends[ends.len() - 1] + length + 8);
    }
    assert_eq!((ends.len(), ends.last()), (4, Some(&whole.len())), "two updates and an acknowledgement");
    for cut in 0..whole.len() {
        for tail in [&b""[..], &[0; 24]] {
            std::fs::write(&log, [&whole[..cut], tail].concat()).expect("written");
            let records = ends.iter().filter(|end| **end > 0 && **end <= cut).count();
            let found = sorted(loaded(scratch.path(), "boot").recovered);
            let task = &found.frameworks[0].executors[1].tasks[0];
            assert_eq!(task.updates.len() + task.acknowledged.len(), records, "cut at {cut}");
            assert_eq!(
                std::fs::metadata(&log).expect("there").len(),
                u64::try_from(ends[records]).expect("small")
            );
        }
    }
    std::fs::write(&log, &whole[..whole.len() - 5]).expect("written");
    loaded(scratch.path(), "boot");
    write(scratch.path(), "boot", vec![update("b", "c2", "t2", TaskState::Finished, 9)], 1);
    let found = sorted(loaded(scratch.path(), "boot").recovered);
    let states: Vec<TaskState> =
        found.frameworks[0].executors[1].tasks[0].updates.iter().map(|status| status.state).collect();
    assert_eq!(states, [TaskState::Starting, TaskState::Running, TaskState::Finished]);
}

#[test]
fn a_file_that_is_whole_but_means_nothing_stops_the_agent_and_says_what_to_do() {
    let scratch = tempfile::tempdir().expect("a directory");
    write(scratch.path(), "boot", past(), usize::MAX);
    let meta = Meta::of(scratch.path());
    let path = meta.run(&AgentId::new("S0"), &run("b", "c2")).join(layout::EXECUTOR_INFO);
    std::fs::write(&path, "this is no message").expect("written");
    let told = load(scratch.path(), "boot").expect_err("it means nothing").to_string();
    assert!(told.contains("executor.info") && told.contains("meta/slaves/latest"), "{told}");
}
