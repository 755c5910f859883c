//! `ingot top` against a real master and agent: what a busy task uses is seen, and what lies behind it.

use std::process::{Command, Output, Stdio};

use crate::support::{Target, finish, printed, program};

async fn top(target: &Target, args: &[&str]) -> Output {
    let mut command = program("ingot", target);
    command.args(["top", "--once", "--ascii", "--interval", "1.5"]).args(args).env_remove("COLUMNS");
    finish(command).await
}

/// What stands in a row under a head, right-aligned; `None` without the row.
fn cell<'t>(text: &'t str, row: &str, head: &str) -> Option<&'t str> {
    let heads = text.lines().find(|it| it.starts_with("TASK ") || it.starts_with("NODE "))?;
    let end = heads.find(&format!(" {head} "))? + 1 + head.len();
    let line = text.lines().find(|it| it.starts_with(row))?;
    line.get(..end)?.split(' ').next_back()
}

#[tokio::test]
async fn a_busy_task_is_seen_to_be_busy() {
    let mut target = Target::start().await;
    let mut command: Command = program("ingot", &target);
    command.args(["run", "--name", "busy", "--quiet", "--", "while :; do :; done"]);
    let mut command = tokio::process::Command::from(command);
    let _busy = command.stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true).spawn().unwrap();

    let target_of = |it: &Target| Target { master: it.master.clone(), cluster: None };
    let asked = target_of(&target);
    let mut text = String::new();
    let has_used = async || {
        let output = top(&asked, &[]).await;
        assert!(output.status.success(), "{}", printed(&output));
        text = String::from_utf8(output.stdout).unwrap();
        // Until it was measured twice there is a dash.
        cell(&text, "busy-", "CPU").and_then(|it| it.parse::<f64>().ok()).is_some_and(|cores| cores > 0.05)
    };
    target.until("the task is seen to use a CPU", has_used).await;
    assert!(text.is_ascii(), "{text}");
    assert_eq!(cell(&text, "busy-", "PROCS").map(str::is_empty), Some(false), "{text}");
    let id = text.lines().find_map(|it| it.split(' ').next().filter(|id| id.starts_with("busy-"))).unwrap();

    // On a machine that stands still for a moment nothing new may be told between the two looks of one `top`.
    let node_is_busy = async || {
        let output = top(&asked, &["--view", "nodes"]).await;
        assert!(output.status.success(), "{}", printed(&output));
        let nodes = String::from_utf8(output.stdout).unwrap();
        cell(&nodes, "localhost", "CPU").and_then(|it| it.parse::<f64>().ok()).is_some_and(|it| it > 0.05)
    };
    target.until("its node is seen to use a CPU", node_is_busy).await;

    // Its agent tells more of it, in the words that top expects.
    let mut told = String::new();
    let share_is_told = async || {
        let output = top(&asked, &["--task", id]).await;
        assert!(output.status.success(), "{}", printed(&output));
        told = String::from_utf8(output.stdout).unwrap();
        let user = told.lines().find(|it| it.starts_with("user / system %")).unwrap_or_default();
        user.split_whitespace().nth(4).is_some_and(|it| it.parse::<f64>().is_ok())
    };
    target.until("its user and system time are told", share_is_told).await;
    assert!(told.contains("who takes its CPU"), "{told}");
}

#[tokio::test]
async fn without_a_cluster_it_says_what_is_missing() {
    let nobody = Target { master: "127.0.0.1:1".parse().unwrap(), cluster: None };
    let output = top(&nobody, &[]).await;
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.code() == Some(1) && told.contains("127.0.0.1:1") && told.contains("--master"),
        "{told}"
    );
    let output = top(&nobody, &["--sort", "taste"]).await;
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && told.contains("`taste`") && told.contains("WAIT"), "{told}");
}
