//! What the end-to-end tests share: needs and skips, a cluster, a program's output, a framework to call as it pleases.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use api::v1;
use api::v1::scheduler::Event;
use client::scheduler::{self, Calls, Events, Incoming};
use client::{Address, Encoding};
use serde_json::Value;
use sim::processes::{Cluster, Options, Ports};

/// No single step of a test takes longer on a loaded machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// A cluster to test, ours or one that is already there.
pub(crate) struct Target {
    pub(crate) master: Address,
    pub(crate) cluster: Option<Cluster>,
}

impl Target {
    /// A cluster of one agent, or what `INGOT_TEST_MASTER` names.
    pub(crate) async fn start() -> Self {
        match std::env::var("INGOT_TEST_MASTER") {
            Ok(master) => Self { master: master.parse().unwrap(), cluster: None },
            Err(_) => {
                let cluster = Cluster::start(options()).await.unwrap();
                Self { master: cluster.master().clone(), cluster: Some(cluster) }
            }
        }
    }

    /// A cluster of one agent whose processes and figures are ours to look at; `None`, and said why, where
    /// `INGOT_TEST_MASTER` names another.
    pub(crate) async fn start_own(test: &str) -> Option<(Self, PathBuf)> {
        let target = Self::start().await;
        match &target.cluster {
            Some(cluster) => {
                let folder = cluster.folder().canonicalize().unwrap();
                Some((target, folder))
            }
            None => {
                skip(test, "INGOT_TEST_MASTER names a cluster that is not ours");
                None
            }
        }
    }

    /// Waits until a condition holds, watching the daemons where they are ours.
    pub(crate) async fn until(&mut self, what: &str, mut condition: impl AsyncFnMut() -> bool) {
        let end = Instant::now() + PATIENCE;
        while !condition().await {
            if let Some(cluster) = &mut self.cluster {
                cluster.check().unwrap();
            }
            let logs = || self.cluster.as_ref().map_or(String::new(), Cluster::logs);
            assert!(Instant::now() < end, "waited until {what}, in vain\n{}", logs());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// A task as the master's `/tasks` shows it.
    pub(crate) async fn task(&self, id: &str) -> Option<Value> {
        let mut operator = client::operator::Operator::new(self.master.clone());
        let mut answer = operator.get_json(&format!("/tasks?limit=1&task_id={id}")).await.unwrap();
        answer["tasks"].as_array_mut().unwrap().pop()
    }
}

/// A cluster of one agent with room for small tasks.
pub(crate) fn options() -> Options {
    Options {
        programs: programs().to_owned(),
        folder: None,
        ports: Ports::Free,
        agents: 1,
        resources: "cpus:8;mem:8192;disk:1024".to_owned(),
        master_flags: Vec::new(),
        agent_flags: Vec::new(),
    }
}

/// The repository's root.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// Where the binaries are. `cargo xtask test` has built them; a bare `cargo test` builds them here, once.
pub(crate) fn programs() -> &'static Path {
    static PROGRAMS: OnceLock<PathBuf> = OnceLock::new();
    PROGRAMS.get_or_init(|| {
        if let Some(folder) = std::env::var_os("INGOT_TEST_BIN_DIR") {
            return folder.into();
        }
        let built =
            Command::new(env!("CARGO")).args(["build", "--workspace", "--bins"]).current_dir(root()).status();
        assert!(built.unwrap().success(), "the binaries do not build");
        // This test lies in TARGET/debug/deps.
        let test = std::env::current_exe().unwrap();
        test.ancestors().nth(2).unwrap().to_owned()
    })
}

/// One of our programs, set to speak to the target.
pub(crate) fn program(name: &str, target: &Target) -> Command {
    let mut command = Command::new(programs().join(name));
    command.env("INGOT_MASTER", target.master.to_string()).env("RUST_BACKTRACE", "0");
    command
}

/// The Python that has pymesos; without one the test is skipped, or fails where CI requires everything.
pub(crate) fn pymesos_python(test: &str) -> Option<PathBuf> {
    let python = std::env::var_os("INGOT_TEST_PYMESOS_PYTHON").map(PathBuf::from);
    if python.is_none() {
        skip(test, "no Python with pymesos 0.3.15 (cargo xtask test sets it up)");
    }
    python
}

/// Says on stderr why a test does not run; past the test runner's capture, which would swallow it.
pub(crate) fn skip(test: &str, reason: &str) {
    use std::io::Write;
    assert!(std::env::var("REQUIRE").as_deref() != Ok("all"), "REQUIRE=all, but {test} cannot run: {reason}");
    let _ = writeln!(std::io::stderr(), "SKIP {test}: {reason}");
}

/// Runs a command to its end, without blocking the test's runtime; kills it and fails when it takes too long.
pub(crate) async fn finish(command: Command) -> Output {
    let mut command = tokio::process::Command::from(command);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let child = command.spawn().unwrap();
    tokio::time::timeout(PATIENCE, child.wait_with_output()).await.expect("the program hangs").unwrap()
}

/// What a program printed, for a failed assertion.
pub(crate) fn printed(output: &Output) -> String {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    format!("{}\n--- stdout\n{out}\n--- stderr\n{err}", output.status)
}

/// The ids of processes that work below a folder and whose command line contains a text. A child that was just forked
/// and has its parent's command line still, as a shell's has before it becomes `sleep`, is not one of its own.
pub(crate) fn processes(below: &Path, containing: &str) -> Vec<i32> {
    struct Process {
        pid: i32,
        parent: i32,
        command: String,
    }
    // `None` also for one that ends while it is read.
    let process = |pid: i32| {
        let read = |name: &str| std::fs::read(format!("/proc/{pid}/{name}")).unwrap_or_default();
        let command = String::from_utf8_lossy(&read("cmdline")).replace('\0', " ");
        let cwd = std::fs::read_link(format!("/proc/{pid}/cwd")).unwrap_or_default();
        let stat = String::from_utf8_lossy(&read("stat")).into_owned();
        // After the name, which is in parentheses and may hold some: state, parent.
        let parent = stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()?;
        let matches = cwd.starts_with(below) && command.contains(containing);
        matches.then_some(Process { pid, parent, command })
    };
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let found: Vec<_> = entries.filter_map(|it| process(it.file_name().to_str()?.parse().ok()?)).collect();
    let forked = |it: &&Process| found.iter().any(|of| of.pid == it.parent && of.command == it.command);
    found.iter().filter(|it| !forked(it)).map(|it| it.pid).collect()
}

/// A framework whose every call the test makes itself.
pub(crate) struct Framework {
    pub(crate) calls: Calls,
    pub(crate) events: Events,
    pub(crate) id: v1::FrameworkId,
    /// Events that came while another was waited for. An offer may well come before an update that was made earlier.
    passed_over: VecDeque<Event>,
}

impl Framework {
    /// Subscribes; with an id, it is a framework that returns.
    pub(crate) async fn subscribe(target: &Target, id: Option<v1::FrameworkId>) -> Self {
        let info = v1::FrameworkInfo { id, ..scheduler::framework("test", "*").unwrap() };
        Self::subscribe_as(target, info).await
    }

    pub(crate) async fn subscribe_as(target: &Target, mut info: v1::FrameworkInfo) -> Self {
        info.checkpoint = Some(true); // Its tasks are to outlive their agents.
        let (calls, mut events) = scheduler::connect(target.master.clone(), info, Encoding::Json);
        let first = tokio::time::timeout(PATIENCE, events.next()).await.expect("no answer").unwrap();
        let Incoming::Subscribed(subscribed) = first else { panic!("{first:?}") };
        Self { calls, events, id: subscribed.framework_id, passed_over: VecDeque::new() }
    }

    /// The next event for which `pick` gives something; others are kept for later.
    pub(crate) async fn next<T>(&mut self, what: &str, mut pick: impl FnMut(&Event) -> Option<T>) -> T {
        if let Some((at, picked)) =
            self.passed_over.iter().enumerate().find_map(|(at, event)| Some((at, pick(event)?)))
        {
            self.passed_over.remove(at);
            return picked;
        }
        let wait = async {
            loop {
                if let Incoming::Event(event) = self.events.next().await.unwrap() {
                    match pick(&event) {
                        Some(picked) => return picked,
                        None => self.passed_over.push_back(*event),
                    }
                }
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("no {what} came"))
    }

    pub(crate) async fn offer(&mut self) -> v1::Offer {
        self.next("offer", |event| event.offers.as_ref()?.offers.last().cloned()).await
    }

    /// The next update of a task, acknowledged.
    pub(crate) async fn update(&mut self, task: &str) -> v1::TaskStatus {
        let of_task = |event: &Event| {
            let status = &event.update.as_ref()?.status;
            (status.task_id.value == task).then(|| status.clone())
        };
        let status = self.next("update", of_task).await;
        self.calls.acknowledge(&status).await.unwrap();
        status
    }

    /// Passes over a task's updates until it has ended.
    pub(crate) async fn end(&mut self, task: &str) -> v1::TaskStatus {
        loop {
            let status = self.update(task).await;
            if client::is_end(status.state()) {
                return status;
            }
        }
    }
}

/// A command task that takes little.
pub(crate) fn command_task(id: &str, agent_id: &v1::AgentId, command: &str) -> v1::TaskInfo {
    v1::TaskInfo {
        name: id.to_owned(),
        task_id: v1::TaskId { value: id.to_owned() },
        agent_id: agent_id.clone(),
        resources: vec![client::scalar("cpus", 100), client::scalar("mem", 32_000)],
        command: Some(v1::CommandInfo { value: Some(command.to_owned()), ..Default::default() }),
        ..Default::default()
    }
}
