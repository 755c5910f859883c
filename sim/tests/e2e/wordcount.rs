//! The example framework counts what one process counts, and the kernel saw it do so.

use std::path::Path;

use serde_json::Value;

use crate::support::{Target, finish, printed, program, root};

/// Counts a folder of real sources on a cluster and alone, and compares every word.
async fn check(target: &Target, flags: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let input = root().join("agent");
    let count = async |role: &str, flags: &[&str], table: &Path| {
        let mut command = program("wordcount", target);
        command.arg(role).args(flags).arg("--input").arg(&input).arg("--table").arg(table);
        let output = finish(command).await;
        assert!(output.status.success(), "{}", printed(&output));
        std::fs::read(table).unwrap()
    };
    let alone = count("alone", &[], &folder.path().join("alone")).await;
    let cluster = count("scheduler", flags, &folder.path().join("cluster")).await;
    assert!(alone.len() > 10_000, "the input is hardly an input");
    assert!(alone == cluster, "the tables differ");
}

#[tokio::test]
async fn a_cluster_counts_what_one_process_counts() {
    let target = Target::start().await;
    check(&target, &["--tasks", "5"]).await;
    check(&target, &["--tasks", "3", "--json"]).await;
}

#[tokio::test]
async fn each_task_has_its_own_final_figures() {
    // Mesos measures, too, but does not tell at /tasks.
    let Some((mut target, _)) = Target::start_own("each_task_has_its_own_final_figures").await else {
        return;
    };
    check(&target, &["--tasks", "4"]).await;
    let mut operator = client::operator::Operator::new(target.master.clone());
    let mut tasks = Value::Null;
    target
        .until("all figures are final", async || {
            tasks = operator.get_json("/tasks").await.unwrap()["tasks"].take();
            tasks.as_array().unwrap().iter().all(|it| it["ingot"]["usage"]["final"] == true)
        })
        .await;
    let tasks = tasks.as_array().unwrap();
    assert_eq!(tasks.len(), 4);
    for task in tasks {
        let usage = &task["ingot"]["usage"];
        let figure = |name: &str| usage[name].as_u64().unwrap_or_else(|| panic!("no {name}: {task}"));
        // Counting hundreds of KB takes more than 1 ms and far less than 10 s; its process takes 1 MiB to 1 GiB.
        assert!((1_000_000..10_000_000_000).contains(&figure("cpu_ns")), "{usage}");
        assert_eq!(figure("cpu_user_ns") + figure("cpu_system_ns"), figure("cpu_ns"), "{usage}");
        assert!((1 << 20..1 << 30).contains(&figure("mem_peak_bytes")), "{usage}");
        if usage["source"]["network"] == "none" {
            continue;
        }
        // The answer goes out in messages, the share comes in with the launch.
        assert!((10_000..100 << 20).contains(&figure("net_tx_bytes")), "{usage}");
        assert!((1_000..100 << 20).contains(&figure("net_rx_bytes")), "{usage}");
    }
}

#[tokio::test]
async fn an_input_that_is_not_there_is_named() {
    let target = Target { master: "127.0.0.1:1".parse().unwrap(), cluster: None };
    let mut command = program("wordcount", &target);
    command.args(["scheduler", "--input", "/no/such/input"]);
    let output = finish(command).await;
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("/no/such/input"), "{}", printed(&output));
}
