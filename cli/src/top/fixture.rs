//! A cluster for tests: its documents at any moment, and a view of it.

use std::time::Duration;

use serde_json::{Value, json};

use super::board::View;
use super::input::{Effect, Input, Key, Watch};
use super::insight::Insight;
use super::reading::Reading;
use super::state::State;

/// Two nodes, three frameworks, five tasks of which one has ended and one has a custom executor; at a moment, seconds.
pub(super) fn documents(second: u64) -> (Value, Value) {
    let node = |id: &str, host: &str, cpus: f64, active: bool| {
        json!({"id": id, "hostname": host, "pid": format!("slave(1)@{host}:5051"), "active": active,
            "resources": {"cpus": cpus, "mem": 8192.0}, "used_resources": {"cpus": cpus / 2.0, "mem": 2048.0},
            "ingot": {"node": {"cpu_ns": second * 5_500_000_000, "memory_available_bytes": 3_u64 << 30}, "timestamp": second as f64}})
    };
    let framework = |id: &str, name: &str, active: bool| {
        json!({"id": id, "name": name, "active": active, "connected": active,
            "used_resources": {"cpus": 2.0, "mem": 1024.0}})
    };
    let summary = json!({
        "hostname": "m", "cluster": "prod",
        "slaves": [node("S1", "node-a.example.com", 8.0, true), node("S2", "node-b.example.com", 4.0, true),
            node("S3", "node-c.example.com", 4.0, false)],
        "frameworks": [framework("F1", "marathon", true), framework("F2", "cron", true), framework("F3", "old", false)],
    });
    let tasks = json!({"tasks": [
        task(second, ("web.4711", "F1", "S1"), "TASK_RUNNING", 1.5),
        task(second, ("batch-of-a-very-long-name.0815-0816-0817", "F2", "S1"), "TASK_RUNNING", 3.25),
        task(second, ("idle", "F2", "S2"), "TASK_RUNNING", 0.0),
        task(second, ("gone", "F2", "S2"), "TASK_FAILED", 0.0),
        {"id": "new", "framework_id": "F1", "slave_id": "S2", "state": "TASK_STAGING", "executor_id": "x",
            "resources": {"cpus": 0.1, "mem": 32.0}},
    ]});
    (summary, tasks)
}

fn task(second: u64, (id, framework, node): (&str, &str, &str), state: &str, cores: f64) -> Value {
    let at = |per_second: f64| (second as f64 * per_second) as u64;
    json!({"id": id, "framework_id": framework, "slave_id": node, "state": state,
    "resources": {"cpus": 2.0, "mem": 128.0},
    "statuses": [{"container_status": {"container_id": {"value": format!("container-of-{id}")}}}],
    "ingot": {"usage": {
        "cpu_ns": at(cores * 1e9), "switches_voluntary": at(cores * 700.0), "periods": at(cores * 10.0),
        "throttled_periods": at(cores * 2.0), "run_queue_p99_ns": at(0.0) + (cores * 4e6) as u64,
        "preempted_ns": at(cores * 3e8), "memory_current_bytes": 40_u64 << 20, "faults_major": at(cores),
        "net_rx_bytes": at(cores * 1e6), "net_tx_bytes": at(cores * 3e7), "processes": 3,
        "source": {"cpu": "bpf", "run_queue": "bpf", "memory": "cgroup", "network": "bpf", "faults": "proc"},
        "final": false,
    }}})
}

pub(super) fn reading(second: u64) -> Reading {
    let (summary, tasks) = documents(second);
    let (summary, tasks) = (summary.to_string(), tasks.to_string());
    Reading::of(Duration::from_secs(second), summary.as_bytes(), tasks.as_bytes(), 100).expect("documents")
}

/// What an agent says of a container at a moment.
pub(super) fn insight(second: u64) -> Insight {
    let at = |per_second: u64| second * per_second;
    let buckets = [0, at(10), at(400), at(900), at(300), at(80), at(20), at(8), at(2), 0, at(1)];
    let answer = json!([{"statistics": {"timestamp": 1_000.0 + second as f64, "ingot": {
        "usage": {
            "cpu_ns": at(1_500_000_000), "cpu_user_ns": at(1_200_000_000), "cpu_system_ns": at(300_000_000),
            "switches_voluntary": at(700), "switches_involuntary": at(90), "periods": at(10), "throttled_periods": at(2),
            "throttled_ns": at(40_000_000), "run_queue_waits": at(1721), "run_queue_ns": at(52_000_000),
            "run_queue_p50_ns": 4_100, "run_queue_p99_ns": 65_000, "preempted": at(60),
            "memory_current_bytes": 41_943_040, "memory_peak_bytes": 52_428_800, "memory_anon_bytes": 30_000_000,
            "faults_minor": at(1200), "faults_major": at(1), "pressure_cpu_some_ns": at(120_000_000),
            "net_rx_bytes": at(1_500_000), "net_tx_bytes": at(45_000_000), "net_rx_packets": at(1000),
            "net_tx_packets": at(30_000), "processes": 3, "threads": 17,
            "source": {"cpu": "bpf", "run_queue": "bpf", "memory": "cgroup", "network": "bpf", "faults": "bpf",
                "pressure": "cgroup"},
        },
        "latency": {"run_queue": {"buckets": buckets, "sum_ns": at(52_000_000)},
            "tcp_rtt": {"buckets": [0, 0, 0, 0, 0, at(7)], "sum_ns": at(250_000)}},
        "devices": [],
        "preempted_by": [
            {"kind": "container", "container_id": "c2", "framework_name": "cron", "tasks": [{"id": "batch-of-a-very-long-name.0815", "name": "b"}],
                "count": at(50), "waited_ns": at(30_000_000)},
            {"kind": "itself", "count": at(30), "waited_ns": at(9_000_000)},
            {"kind": "system", "count": at(9), "waited_ns": at(4_000_000)},
            {"kind": "agent", "count": at(1), "waited_ns": at(100_000)},
        ],
    }}}]);
    Insight::of(answer.to_string().as_bytes()).expect("an answer")
}

/// A view and the clock it is shown at.
pub(super) struct Scene {
    pub(super) state: State,
    pub(super) now: Duration,
}

impl Scene {
    /// Before anything was read.
    pub(super) fn new(width: u16, height: u16) -> Self {
        let state =
            State::new("master.example:5050".to_owned(), Duration::from_secs(2), View::Tasks, String::new());
        let mut scene = Self { state, now: Duration::ZERO };
        scene.handle(Input::Resized { width, height });
        scene
    }

    /// With two readings, so that there are rates.
    pub(super) fn running(width: u16, height: u16) -> Self {
        let mut scene = Self::new(width, height);
        scene.read(10);
        scene.read(12);
        scene
    }

    pub(super) fn read(&mut self, second: u64) {
        self.now = Duration::from_secs(second);
        self.handle(Input::Reading(Box::new(reading(second))));
    }

    pub(super) fn handle(&mut self, input: Input) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.state.handle(input, &mut effects);
        effects
    }

    pub(super) fn key(&mut self, key: Key) -> Vec<Effect> {
        self.handle(Input::Key(key))
    }

    /// Types letters, which are keys.
    pub(super) fn keys(&mut self, letters: &str) {
        letters.chars().for_each(|letter| drop(self.key(Key::Char(letter))));
    }

    pub(super) fn told(&mut self, watch: &Watch, second: u64) {
        self.handle(Input::Insight(watch.clone(), Ok(Box::new(insight(second)))));
    }

    /// Ids of the list, in its order.
    pub(super) fn ids(&self) -> Vec<&str> {
        let rows = self.state.board.rows(self.state.view);
        self.state.list().order.iter().map(|at| &*rows[*at as usize].id).collect()
    }
}
