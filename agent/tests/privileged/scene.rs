//! A containerizer with a work folder and, where wanted, a cgroup of its own; and plans for what tests run in it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use agent::cgroup::extras::Extras;
use agent::cgroup::hierarchy::TreeConfig;
use agent::containerizer::isolation::asked::Policy;
use agent::containerizer::limits::LimitPolicy;
use agent::containerizer::plan::{self, Agent, Plan, PlanError, Request};
use agent::containerizer::service::{Containerizer, Running};
use agent::sys::pidfd::Exit;
use api::v1;
use model::id::ContainerId;

use crate::groups;

/// Longer than anything takes, in a machine that is emulated on a busy one too, so that a hang is a failure and not a hang.
pub const DEADLINE: Duration = Duration::from_secs(120);

pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = std::time::Instant::now();
    while !holds() {
        assert!(start.elapsed() < DEADLINE, "never: {what}");
        // The machine may have as few CPUs as the test has containers.
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

pub struct Scene {
    pub containerizer: Containerizer,
    pub agent: Agent,
    cgroup: Option<PathBuf>,
    folder: tempfile::TempDir,
}

impl Scene {
    pub fn with_cgroup() -> Self {
        Self::with_cgroup_and(Extras::default())
    }

    pub fn with_cgroup_and(extras: Extras) -> Self {
        Self::new(Some(&TreeConfig { name: groups::name(), parent: None, extras }))
    }

    pub fn without_cgroup() -> Self {
        Self::new(None)
    }

    /// Without a cgroup, with its work folder in this one.
    pub fn in_folder(folder: &Path) -> Self {
        Self::on(tempfile::tempdir_in(folder).unwrap(), None)
    }

    fn new(cgroups: Option<&TreeConfig>) -> Self {
        Self::on(tempfile::tempdir().unwrap(), cgroups)
    }

    fn on(folder: tempfile::TempDir, cgroups: Option<&TreeConfig>) -> Self {
        // Users that tasks run as have to get through it.
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(folder.path(), open).unwrap();
        let containerizer = Containerizer::new(folder.path(), cgroups).unwrap();
        let agent = Agent {
            work_dir: folder.path().to_owned(),
            agent_id: "master-S0".into(),
            address: "127.0.0.1:5051".parse().unwrap(),
            program: "/no/such/agent".into(),
            switch_user: false,
            shutdown_grace_ms: 5000,
            recovery_timeout_ms: 900_000,
            subscription_backoff_max_ms: 2000,
            environment: BTreeMap::new(),
            limits: LimitPolicy::default(),
            logger: None,
            isolation: Arc::new(Policy { filesystem: true, ..Policy::default() }),
        };
        let cgroup = containerizer.cgroup_root().map(Path::to_owned);
        Self { containerizer, agent, cgroup, folder }
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn plan(&self, container_id: &str, command: v1::CommandInfo) -> Plan {
        self.plan_in(container_id, command, None).unwrap()
    }

    /// For who asks for something.
    pub fn plan_in(
        &self,
        container_id: &str,
        command: v1::CommandInfo,
        container: Option<v1::ContainerInfo>,
    ) -> Result<Plan, PlanError> {
        let executor = v1::ExecutorInfo {
            executor_id: v1::ExecutorId { value: "executor".to_owned() },
            command: Some(command),
            container,
            ..v1::ExecutorInfo::default()
        };
        let request = Request {
            container_id: &ContainerId::new(container_id),
            framework_id: &"framework".into(),
            framework_user: "nobody",
            checkpoint: false,
            executor: &executor,
            task_command: None,
            shares: &[],
        };
        plan::plan(&self.agent, &request)
    }

    /// Runs it to its end: how it ended, and what it wrote.
    pub async fn finish(&self, plan: Plan) -> (Exit, String) {
        let prepared = self.containerizer.prepare(plan).await.unwrap();
        let running = self.containerizer.start(prepared).await.unwrap();
        let exit = within(running.wait()).await.exit;
        let output = self.output(&running);
        let errors = std::fs::read_to_string(running.sandbox.join("stderr")).unwrap();
        self.end(&running).await;
        (exit, output + &errors)
    }

    pub async fn run(&self, container_id: &str, line: &str) -> Running {
        let prepared = self.containerizer.prepare(self.plan(container_id, shell(line))).await.unwrap();
        self.containerizer.start(prepared).await.unwrap()
    }

    /// What it has written so far.
    pub fn output(&self, running: &Running) -> String {
        std::fs::read_to_string(running.sandbox.join("stdout")).unwrap()
    }

    pub async fn end(&self, running: &Running) -> Exit {
        let exit = within(self.containerizer.destroy(running)).await.unwrap().exit;
        self.containerizer.remove(running).await.unwrap();
        assert!(running.cgroup_path().is_none_or(|path| !path.exists()));
        exit
    }
}

impl Drop for Scene {
    /// A failed test must not leave its processes and groups behind.
    fn drop(&mut self) {
        if let Some(root) = &self.cgroup {
            groups::clear(root);
        }
    }
}

pub fn shell(line: &str) -> v1::CommandInfo {
    v1::CommandInfo { value: Some(line.to_owned()), ..v1::CommandInfo::default() }
}

/// A test's asynchronous part, on the kind of runtime that the agent has.
pub fn block_on<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(work)
}

pub async fn within<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, work).await.expect("it hangs")
}

/// Waits until a file is there and ends in a newline: what a script of the test says when it is ready.
pub fn read_when_written(path: &Path) -> String {
    let start = std::time::Instant::now();
    loop {
        match std::fs::read_to_string(path) {
            Ok(text) if text.ends_with('\n') => return text,
            _ => assert!(start.elapsed() < DEADLINE, "{} is never written", path.display()),
        }
        std::thread::yield_now();
    }
}

pub fn is_alive(pid: i32) -> bool {
    agent::sys::processes::stat(pid).is_some_and(|stat| !stat.is_zombie())
}
