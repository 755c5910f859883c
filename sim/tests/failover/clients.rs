//! Clients of others and of ours that are only told where ZooKeeper is, or who the masters are.

use std::path::PathBuf;
use std::process::{Output, Stdio};

use serde_json::Value;
use tokio::process::Command;

use crate::{PATIENCE, programs};

const SCHEDULER: &str = include_str!("../e2e/python/sum_scheduler.py");
const EXECUTOR: &str = include_str!("../e2e/python/sum_executor.py");

/// Each finds the leader and does its work.
pub(crate) async fn find_the_leader(url: &str, list: &str) {
    for masters in [url, list] {
        let mut command = Command::new(programs().join("ingot"));
        command.args(["--master", masters, "agents", "--json"]);
        let output = finish(command).await;
        let agents: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
        assert_eq!(agents.as_array().map(Vec::len), Some(2), "{masters}: {agents}");
    }
    pymesos(url).await;
}

/// As it is: it looks into ZooKeeper with kazoo, and reads our `json.info_`.
async fn pymesos(url: &str) {
    let Some(python) = std::env::var_os("INGOT_TEST_PYMESOS_PYTHON").map(PathBuf::from) else {
        assert_ne!(std::env::var("REQUIRE").as_deref(), Ok("all"), "REQUIRE=all, but there is no pymesos");
        return eprintln!("pymesos was not tried: there is none (cargo xtask test sets it up)");
    };
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    std::fs::write(at("scheduler.py"), SCHEDULER).unwrap();
    std::fs::write(at("executor.py"), EXECUTOR).unwrap();
    let numbers: Vec<String> = (1..=100).map(|it| it.to_string()).collect();
    std::fs::write(at("numbers"), numbers.join("\n")).unwrap();
    let mut command = Command::new(python);
    command.arg(at("scheduler.py")).arg(url).arg(at("numbers")).arg(at("executor.py"));
    let output = finish(command).await;
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    assert_eq!(answer["sum"], 5_050, "{answer}");
}

/// Runs a command to its end; kills it and fails when it takes too long.
async fn finish(mut command: Command) -> Output {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let child = command.spawn().unwrap();
    tokio::time::timeout(PATIENCE, child.wait_with_output()).await.expect("the program hangs").unwrap()
}
