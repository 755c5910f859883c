//! `ingot`: a command's output and exit are those of the task; lists list; errors say where and what to do.

use std::process::{Output, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::support::{PATIENCE, Target, finish, printed, program};

async fn ingot(target: &Target, args: &[&str]) -> Output {
    let mut command = program("ingot", target);
    command.args(args);
    finish(command).await
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[tokio::test]
async fn run_passes_output_and_exit_on() {
    let target = Target::start().await;
    let check = async |args: &[&str], code: i32, stdout: &str| {
        let output = ingot(&target, &[&["run"], args].concat()).await;
        assert_eq!(
            (output.status.code(), &*out(&output)),
            (Some(code), stdout),
            "{args:?}: {}",
            printed(&output)
        );
        output
    };
    check(&["--", "echo", "two words"], 0, "two words\n").await;
    check(&["--env", "A=b c", "--", "echo $A; exit 3"], 3, "b c\n").await;
    let output = check(&["--quiet", "--", "echo to stderr >&2; kill -9 $$"], 137, "").await;
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(err.contains("to stderr") && !err.contains("TASK_"), "{err}");
}

#[tokio::test]
async fn an_interrupt_kills_the_task() {
    let target = Target::start().await;
    let mut command = tokio::process::Command::from(program("ingot", &target));
    command.args(["run", "--name", "long", "--", "sleep", "1000"]);
    let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let running = async {
        while let Some(line) = lines.next_line().await.unwrap() {
            if line.ends_with("TASK_RUNNING") {
                return;
            }
        }
        panic!("it never ran");
    };
    tokio::time::timeout(PATIENCE, running).await.unwrap();
    kill(Pid::from_raw(child.id().unwrap() as i32), Signal::SIGINT).unwrap();
    let status = tokio::time::timeout(PATIENCE, child.wait()).await.unwrap().unwrap();
    assert_eq!(status.code(), Some(130));
    let list = out(&ingot(&target, &["tasks"]).await);
    let long = list.lines().find(|it| it.starts_with("long-")).unwrap();
    assert!(long.contains("TASK_KILLED"), "{list}");
}

#[tokio::test]
async fn lists_and_logs_tell_of_a_task() {
    let target = Target::start().await;
    let lines: Vec<String> = (1..=2_000).map(|it| format!("line {it}: größer")).collect();
    let command = "i=0; while [ $i -lt 2000 ]; do i=$((i+1)); echo \"line $i: größer\"; done; echo done >&2";
    let output = ingot(&target, &["run", "--name", "chatty", "--", command]).await;
    assert!(output.status.success(), "{}", printed(&output));
    assert_eq!(out(&output).lines().collect::<Vec<_>>(), lines);

    let listed: Value = serde_json::from_slice(&ingot(&target, &["tasks", "--json"]).await.stdout).unwrap();
    let tasks = listed["tasks"].as_array().unwrap();
    let id = tasks.iter().find(|it| it["name"] == "chatty").unwrap()["id"].as_str().unwrap().to_owned();
    let table = out(&ingot(&target, &["tasks"]).await);
    assert!(table.lines().any(|it| it.starts_with(&id) && it.contains("TASK_FINISHED")), "{table}");
    assert_eq!(out(&ingot(&target, &["logs", "-f", &id]).await).lines().collect::<Vec<_>>(), lines);
    assert_eq!(out(&ingot(&target, &["logs", "--stderr", &id]).await), "done\n");

    let agents = out(&ingot(&target, &["agents"]).await);
    assert!(agents.lines().count() == 2 && agents.contains(" active "), "{agents}");
    let frameworks = out(&ingot(&target, &["frameworks"]).await);
    assert!(
        frameworks.lines().any(|it| it.contains("ingot run chatty") && it.contains("completed")),
        "{frameworks}"
    );

    let unknown = ingot(&target, &["logs", "no-such-task"]).await;
    assert!(!unknown.status.success() && printed(&unknown).contains("knows no task `no-such-task`"));
}

#[tokio::test]
async fn errors_name_the_master_and_what_to_do() {
    let nobody = Target { master: "127.0.0.1:1".parse().unwrap(), cluster: None };
    for args in [&["tasks"][..], &["run", "--", "true"], &["logs", "x"]] {
        let output = ingot(&nobody, args).await;
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{told}");
        assert!(told.contains("127.0.0.1:1") && told.contains("--master"), "{args:?}: {told}");
    }
    let output = ingot(&nobody, &["run", "--cpus", "-1", "--", "true"]).await;
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && told.contains("--cpus"), "{told}");
}

/// What a machine lacks is its own affair: that the three ways tell of the same machine, and how they end, is ours.
#[tokio::test]
async fn the_doctor_tells_of_this_machine_and_of_agents() {
    let Some((target, _)) = Target::start_own("the_doctor_tells_of_this_machine_and_of_agents").await else {
        return;
    };
    let agent = target.cluster.as_ref().unwrap().agent(0).to_string();
    let told = async |args: &[&str]| {
        let output = ingot(&target, &[&["doctor"], args].concat()).await;
        let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
            panic!("{error}: {}", printed(&output));
        });
        (report, output.status.code())
    };
    let (probed, code) = told(&["--json"]).await;
    let (found, same) = told(&["--json", "--agent", &agent]).await;
    let (all, _) = told(&["--json", "--all"]).await;
    assert_eq!((&probed["by"], &found["by"], &all[0]), (&"probe".into(), &"agent".into(), &found));
    let of = |report: &Value, area: &str| {
        let findings = report["findings"].as_array().unwrap().iter();
        findings.filter(|it| it["area"] == area).cloned().collect::<Vec<_>>()
    };
    assert_eq!(of(&probed, "enforce"), of(&found, "enforce"), "trying and doing come to the same");
    let is_missing = probed["findings"].as_array().unwrap().iter().any(|it| it["state"] == "missing");
    assert_eq!((code, same), if is_missing { (Some(3), Some(3)) } else { (Some(0), Some(0)) });
    let text = out(&ingot(&target, &["doctor"]).await);
    assert!(text.contains("THE MACHINE") && text.contains("CONTAINERS ARE HELD TO"), "{text}");
    let output = ingot(&target, &["doctor", "--agent", "127.0.0.1:1"]).await;
    assert_eq!(output.status.code(), Some(1), "{}", printed(&output));
}
