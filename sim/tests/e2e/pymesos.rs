//! An unmodified pymesos 0.3.15 framework with its own executor: a sum job, and one whose executor throws.

use std::collections::BTreeMap;
use std::process::Command;

use serde_json::Value;

use crate::support::{Target, finish, printed, pymesos_python};

const SCHEDULER: &str = include_str!("python/sum_scheduler.py");
const EXECUTOR: &str = include_str!("python/sum_executor.py");

/// Runs the job over the numbers 1 to 1,000; gives what its scheduler printed.
async fn sum(test: &str, throw_in: Option<&str>) -> Option<Value> {
    let python = pymesos_python(test)?;
    let target = Target::start().await;
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    std::fs::write(at("scheduler.py"), SCHEDULER).unwrap();
    std::fs::write(at("executor.py"), EXECUTOR).unwrap();
    let numbers: Vec<String> = (1..=1_000).map(|it| it.to_string()).collect();
    std::fs::write(at("numbers"), numbers.join("\n")).unwrap();

    let mut command = Command::new(python);
    command.arg(at("scheduler.py")).arg(target.master.to_string()).arg(at("numbers")).arg(at("executor.py"));
    command.args(throw_in);
    let output = finish(command).await;
    assert!(output.status.success(), "{}", printed(&output));
    Some(serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", printed(&output))))
}

fn states(answer: &Value) -> BTreeMap<String, String> {
    serde_json::from_value(answer["states"].clone()).unwrap()
}

#[tokio::test]
async fn ten_tasks_sum_a_file() {
    let Some(answer) = sum("ten_tasks_sum_a_file", None).await else { return };
    let states = states(&answer);
    assert_eq!(states.len(), 10);
    assert!(states.values().all(|it| it == "TASK_FINISHED"), "{answer}");
    assert_eq!(answer["sum"], 500_500);
}

#[tokio::test]
async fn a_throwing_executor_fails_its_task() {
    let Some(answer) = sum("a_throwing_executor_fails_its_task", Some("sum-4")).await else { return };
    let states = states(&answer);
    // The executor is shared: tasks that it had not finished fail with it.
    assert_eq!(states.len(), 10);
    assert_eq!(states["sum-4"], "TASK_FAILED", "{answer}");
    assert!(states.values().all(|it| it == "TASK_FINISHED" || it == "TASK_FAILED"), "{answer}");
}
