//! What is measured of a task that runs: as Prometheus scrapes it from both daemons, and what it used lately.

use std::io::Write as _;
use std::process::{Command, Stdio};

use client::operator::Operator;

use crate::support::{Target, program, skip};

/// Prometheus' own opinion of a page: names, types, units, help.
fn check(page: &[u8]) {
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    promtool.stdin.take().unwrap().write_all(page).unwrap();
    let said = promtool.wait_with_output().unwrap();
    let text = [said.stdout, said.stderr].concat();
    assert!(said.status.success() && text.is_empty(), "{}", String::from_utf8_lossy(&text));
}

#[tokio::test]
async fn both_daemons_pages_of_metrics_are_as_prometheus_wants_them() {
    let test = "both_daemons_pages_of_metrics_are_as_prometheus_wants_them";
    if Command::new("promtool").arg("--version").output().is_err() {
        return skip(test, "no promtool (Debian's package prometheus)");
    }
    let Some((mut target, _)) = Target::start_own(test).await else { return };
    let mut task = program("ingot", &target);
    // Some work of every kind: CPU, memory, disk, and packets on the loopback.
    let work = "dd if=/dev/zero of=f bs=64k count=64 conv=fsync 2>/dev/null; \
                while :; do wc -c f >/dev/null; echo > /dev/udp/127.0.0.1/9; done";
    let mut task =
        task.args(["run", "--quiet", "--", "bash", "-c", work]).stdout(Stdio::null()).spawn().unwrap();
    let mut agent = Operator::new(target.cluster.as_ref().unwrap().agent(0).clone());
    let mut master = Operator::new(target.master.clone());
    let mut pages = [String::new(), String::new(), String::new()];
    target
        .until("both daemons tell of the task", async || {
            let read = async |of: &mut Operator, path| {
                String::from_utf8(of.get(path).await.unwrap().to_vec()).unwrap()
            };
            pages = [
                read(&mut agent, "/metrics").await,
                read(&mut master, "/metrics?tasks=true").await,
                read(&mut master, "/metrics").await,
            ];
            pages[0].contains("\ningot_container_cpu_seconds_total{")
                && pages[1].contains("\ningot_task_cpu_seconds_total{")
                && pages[2].contains("\ningot_cluster_node_memory_total_bytes{")
        })
        .await;
    task.kill().unwrap();
    task.wait().unwrap();
    pages.iter().for_each(|page| check(page.as_bytes()));
    assert!(pages[2].contains("\ningot_cluster_resource{resource=\"cpus\"} 8\n"), "{}", pages[2]);
    assert!(!pages[2].contains("\ningot_task_"), "{}", pages[2]);
    let node = master.get_json("/slaves").await.unwrap()["slaves"][0]["ingot"]["node"].take();
    let total = node["memory_total_bytes"].as_u64().unwrap();
    assert!(total > node["memory_available_bytes"].as_u64().unwrap(), "{node}");
    assert!(pages[2].contains(&format!("}} {total}\n")), "{node}");
}

#[tokio::test]
async fn what_a_task_used_lately_is_told_second_by_second() {
    let test = "what_a_task_used_lately_is_told_second_by_second";
    let Some((mut target, _)) = Target::start_own(test).await else { return };
    let mut task = program("ingot", &target);
    let busy = ["run", "--quiet", "--", "while :; do :; done"];
    let mut task = task.args(busy).stdout(Stdio::null()).spawn().unwrap();
    let mut master = Operator::new(target.master.clone());
    let mut newest = serde_json::Value::Null;
    target
        .until("two seconds of the task are told", async || {
            let tasks = master.get_json("/tasks").await.unwrap();
            let Some(id) = tasks["tasks"][0]["id"].as_str() else { return false };
            let path = format!("/ingot/history?task_id={id}&figures=cpu_ns,memory_bytes&step_s=1");
            let told = master.get_json(&path).await.unwrap();
            newest = told["series"].get(0).cloned().unwrap_or_default();
            let known = newest["cpu_ns"].as_array().into_iter().flatten().filter(|it| it.is_u64()).count();
            known >= 2
        })
        .await;
    task.kill().unwrap();
    task.wait().unwrap();
    assert!(newest.get("network_bytes").is_none(), "not asked for: {newest}");
    let of = |name: &str| newest[name].as_array().unwrap().iter().filter_map(serde_json::Value::as_u64).max();
    // Of one thread, in a second: all of a CPU at most, and a loop gets some of it however busy the machine is.
    assert!(of("cpu_ns").is_some_and(|ns| ns > 10_000_000), "{newest}");
    assert!(of("memory_bytes").is_some_and(|bytes| bytes > 100_000), "{newest}");
    assert_eq!(newest["timestamps"].as_array().unwrap().len(), newest["cpu_ns"].as_array().unwrap().len());
}
