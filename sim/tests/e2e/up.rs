//! `cargo xtask up`, from the point at which everything is built.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sim::processes::free_port;
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::support::{PATIENCE, finish, printed, processes, programs, root};

fn up(folder: &Path, ports: (u16, u16)) -> Command {
    let mut command = Command::new(programs().join("ingot-up"));
    command.args(["--master-port", &ports.0.to_string(), "--agent-port", &ports.1.to_string()]);
    command.arg("--folder").arg(folder).arg("--input").arg(root().join("agent"));
    command
}

#[tokio::test]
async fn up_once_counts_shows_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let ports = (free_port().unwrap(), free_port().unwrap());
    let mut command = up(&folder.path().join("up"), ports);
    command.arg("--once");
    let output = finish(command).await;
    assert!(output.status.success(), "{}", printed(&output));
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    assert!(text.contains(" words, ") && text.contains("measured by: "), "{}", printed(&output));
    let rows: Vec<&str> = text.lines().filter(|it| it.starts_with("count-")).collect();
    assert_eq!(rows.len(), 8, "{text}");
    assert!(rows.iter().all(|it| it.contains("TASK_FINISHED") && it.contains("localhost")), "{text}");
    assert!(rows.iter().all(|it| !it.contains(" 0.000 ")), "CPU time was measured: {text}");
    assert_nothing_is_left(folder.path(), ports.1);
}

/// No process that worked below the folder, no cgroup of the agent's.
fn assert_nothing_is_left(folder: &Path, agent_port: u16) {
    assert_eq!(processes(&folder.canonicalize().unwrap(), ""), [0; 0], "processes are left behind");
    let cgroup = sim::processes::agent_cgroup(agent_port);
    assert!(cgroup.as_ref().is_none_or(|it| !it.exists()), "{cgroup:?} is left behind");
}

/// Starts `up`, lets it run the job, does something to it when it says that it stays; gives all it said.
async fn up_then(act: impl FnOnce(u32, &Path)) -> (ExitStatus, String) {
    let folder = tempfile::tempdir().unwrap();
    let ports = (free_port().unwrap(), free_port().unwrap());
    let mut command = tokio::process::Command::from(up(&folder.path().join("up"), ports));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut said = String::new();
    let story = async {
        let mut act = Some(act);
        while let Some(line) = lines.next_line().await.unwrap() {
            said.push_str(&format!("{line}\n"));
            if line.starts_with("Up at ") {
                act.take().unwrap()(child.id().unwrap(), &folder.path().canonicalize().unwrap());
            }
        }
        child.wait().await.unwrap()
    };
    let status = tokio::time::timeout(PATIENCE, story).await.expect("it does not end");
    assert_nothing_is_left(folder.path(), ports.1);
    (status, said)
}

#[tokio::test]
async fn up_stays_until_it_is_interrupted() {
    let interrupt = |up: u32, _: &Path| kill(Pid::from_raw(up as i32), Signal::SIGINT).unwrap();
    let (status, said) = up_then(interrupt).await;
    assert!(status.success(), "{said}");
}

#[tokio::test]
async fn up_ends_with_the_log_when_a_daemon_dies() {
    let murder = |up: u32, _: &Path| {
        let children = std::fs::read_to_string(format!("/proc/{up}/task/{up}/children")).unwrap();
        let mut children = children.split_whitespace().map(|it| it.parse::<i32>().unwrap());
        let is_agent = |pid: &i32| {
            std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap().contains("ingot-agent")
        };
        kill(Pid::from_raw(children.find(is_agent).unwrap()), Signal::SIGKILL).unwrap();
    };
    let (status, said) = up_then(murder).await;
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("ingot-agent ended: signal: 9") && said.contains("agent-0.log"), "{said}");
}

#[tokio::test]
async fn a_taken_port_is_named_with_the_flag_that_changes_it() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let output = finish(up(&folder.path().join("up"), (taken.local_addr().unwrap().port(), 1))).await;
    let told = String::from_utf8_lossy(&output.stderr);
    let port = taken.local_addr().unwrap().port().to_string();
    assert!(!output.status.success() && told.contains(&port) && told.contains("--master-port"), "{told}");
}
