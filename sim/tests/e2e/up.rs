//! `cargo xtask up`, from the point at which everything is built.

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use sim::processes::free_port;

use crate::support::{finish, printed, processes, programs, root};

fn up(folder: &Path, ports: (u16, u16)) -> Command {
    let mut command = Command::new(programs().join("ingot-up"));
    command.args(["--once", "--master-port", &ports.0.to_string(), "--agent-port", &ports.1.to_string()]);
    command.arg("--folder").arg(folder).arg("--input").arg(root().join("agent"));
    command
}

#[tokio::test]
async fn up_once_counts_shows_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let output = finish(up(&folder.path().join("up"), (free_port().unwrap(), free_port().unwrap()))).await;
    assert!(output.status.success(), "{}", printed(&output));
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    assert!(text.contains(" words, ") && text.contains("measured by: "), "{}", printed(&output));
    let rows: Vec<&str> = text.lines().filter(|it| it.starts_with("count-")).collect();
    assert_eq!(rows.len(), 8, "{text}");
    assert!(rows.iter().all(|it| it.contains("TASK_FINISHED") && it.contains("localhost")), "{text}");
    assert!(rows.iter().all(|it| !it.contains(" 0.000 ")), "CPU time was measured: {text}");
    assert_eq!(processes(&folder.path().canonicalize().unwrap(), ""), [0; 0], "left behind");
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
