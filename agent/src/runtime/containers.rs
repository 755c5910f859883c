//! One task a container, from the wish to launch it until its end has been told.
//!
//! ```text
//!   plan -> prepare -> count (BPF) -> fetch -> start -> watch -> end -> last figures -> remove -> ContainerEnded
//!              |                        |        |
//!              +---- destroyed, or failed -------+-----> undone -> LaunchFailed
//! ```

use crate::accounting::account::Account;
use crate::cgroup::knobs::Controller;
use crate::containerizer::built_in::command_executor;
use crate::containerizer::launch::Prepared;
use crate::containerizer::limits::{Ceiling, LimitPolicy, Share};
use crate::containerizer::overrides::Overrides;
use crate::containerizer::plan::{self, Request};
use crate::containerizer::service::{Remembered, Running};
use crate::containerizer::streams::Io;
use crate::node::effect::{Launch, Run};
use crate::node::input::{ContainerEnd, Input, OutOfMemory};
use crate::runtime::switchboard::Switchboard;
use crate::runtime::{Agent, increment};
use crate::sampler::sources::Target;
use crate::sys::pidfd::{Ended, Exit};
use api::v1;
use model::id::{AgentId, ContainerId, ExecutorId, FrameworkId};
use model::resources::Resources;
use model::task::TaskInfo;
use model::time::{Time, UnixTime};
use model::usage::{ContainerUsage, Usage};
use std::cell::{Cell, OnceCell, RefCell};
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::Notify;

/// Wait before a container that could not be ended, or whose cgroup could not be removed, is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// A container, from the agent's side.
pub(crate) struct Container {
    pub(crate) run: Run,
    /// Newest figures.
    pub(crate) account: RefCell<Account>,
    /// When those were taken.
    pub(crate) looked: Cell<Option<UnixTime>>,
    /// Limits that an operator has set for it.
    pub(super) overrides: RefCell<Overrides>,
    /// Held by who changes them.
    pub(super) changing: tokio::sync::Mutex<()>,
    /// Under which BPF counts it.
    pub(crate) cgroup_id: Cell<Option<u64>>,
    pub(super) running: OnceCell<Running>,
    /// Of one that has a terminal.
    board: OnceCell<Rc<Switchboard>>,
    /// Its program may run, and the node has not been told which process that is.
    is_launching: Cell<bool>,
    launched: Notify,
    /// It is of an earlier life of the agent, and what is nested in it is not all known again.
    is_sought: Cell<bool>,
    found: Notify,
    /// Nothing can be nested in it any more.
    is_ending: Cell<bool>,
    destroy: Notify,
}

impl Container {
    /// `None` until it runs.
    pub(super) fn sandbox(&self) -> Option<&Path> {
        self.running().map(|running| running.sandbox.as_path())
    }

    /// `None` until it runs.
    pub(super) fn running(&self) -> Option<&Running> {
        self.running.get()
    }

    pub(crate) fn board(&self) -> Option<&Rc<Switchboard>> {
        self.board.get()
    }

    pub(super) fn is_launching(&self) -> bool {
        self.is_launching.get()
    }

    pub(super) fn is_ending(&self) -> bool {
        self.is_ending.get()
    }

    /// Returns when all that is nested in it is known.
    pub(super) async fn until_found(&self) {
        while self.is_sought.get() {
            self.found.notified().await;
        }
    }
}

impl Agent {
    pub(super) fn launch(self: &Rc<Self>, launch: Launch) {
        let container = self.add_container(launch.run.clone());
        container.is_launching.set(true);
        self.has_holes.set(true);
        let agent = self.clone();
        tokio::task::spawn_local(async move {
            let container_id = container.run.container_id.clone();
            tracing::info!(executor = %container.run.executor_id, container = %container_id, "launching executor");
            let started = agent.start_container(&container, &launch).await;
            container.is_launching.set(false);
            match started {
                Ok(()) => {
                    let running = container.running.get().expect("it was just started");
                    // Told before anything is waited for: the sooner its number is on disk, the better.
                    agent.input(Input::Launched { container_id, pid: running.pid });
                    container.launched.notify_waiters();
                    agent.classify(&container);
                    agent.sample(running).await;
                    agent.watch(container);
                }
                Err(why) => {
                    tracing::warn!(container = %container_id, why, "executor cannot be launched");
                    agent.containers.borrow_mut().remove(&container_id);
                    agent.input(Input::LaunchFailed { container_id, why: why.into() });
                    container.launched.notify_waiters();
                }
            }
        });
    }

    /// A container of the agent's earlier life; what is left of it, if it has ended meanwhile.
    pub(super) fn reattach(self: &Rc<Self>, run: Run, pid: Option<u32>) {
        let container = self.add_container(run);
        container.is_sought.set(true);
        let agent = self.clone();
        tokio::task::spawn_local(async move {
            let found = agent.find_container(&container, pid).await;
            if found.is_ok() {
                agent.find_nested(&container).await;
            }
            container.is_sought.set(false);
            container.found.notify_waiters();
            match found {
                Ok(()) => {
                    // Undoes what an agent that died may have held it by, besides being frozen.
                    agent.resize(&container.run.container_id);
                    agent.watch(container);
                }
                Err(error) => {
                    let cause = &error as &dyn std::error::Error;
                    let container_id = container.run.container_id.clone();
                    tracing::error!(cause, container = %container_id, "container cannot be watched again");
                    agent.containers.borrow_mut().remove(&container_id);
                    agent.input(Input::ContainerEnded { container_id, end: ContainerEnd::default() });
                }
            }
        });
    }

    /// Ends what an earlier life of the agent left behind and nobody remembers; returns what it ended.
    pub(super) async fn remove_leftovers(self: &Rc<Self>) -> Vec<ContainerId> {
        let mut ended = Vec::new();
        // Nothing was launched yet: what is known now is all that anybody will ask about.
        let known = self.containers.borrow().keys().cloned().collect();
        if let Err(error) = self.containerizer.forget_others(known).await {
            tracing::warn!(%error, "folders of containers that are done with stay");
        }
        let leftovers = match self.containerizer.leftovers().await {
            Ok(leftovers) => leftovers,
            Err(error) => {
                tracing::warn!(cause = &error as &dyn std::error::Error, "cannot look for leftovers");
                return ended;
            }
        };
        for container_id in leftovers {
            if self.containers.borrow().contains_key(&container_id) {
                continue;
            }
            tracing::info!(container = %container_id, "ending a container of an earlier agent");
            let sandbox = std::path::PathBuf::new();
            ended.push(container_id.clone());
            let remembered = Remembered { container_id, sandbox, pid: None };
            match self.containerizer.reattach(&remembered).await {
                Ok(running) => _ = self.end_all(&running).await,
                Err(error) => {
                    tracing::warn!(
                        cause = &error as &dyn std::error::Error,
                        "cannot end a leftover container"
                    );
                }
            }
        }
        self.withdraw_other_roots().await;
        ended
    }

    /// Counters that were taken over belong to containers that are found again or to nobody: those whose cgroup is gone
    /// go too.
    pub(super) fn forget_gone(&self, taken_over: Vec<u64>) {
        let Some(root) = self.containerizer.cgroup_root() else { return };
        let there: Vec<u64> = std::fs::read_dir(root)
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| Some(std::os::unix::fs::MetadataExt::ino(&entry.metadata().ok()?)))
            .collect();
        for id in taken_over {
            if !there.contains(&id) && self.container_of(id).is_none() {
                _ = self.bpf.borrow_mut().remove_container(id);
            }
        }
    }

    fn add_container(&self, run: Run) -> Rc<Container> {
        let container = Rc::new(Container {
            account: RefCell::default(),
            looked: Cell::new(None),
            overrides: RefCell::default(),
            changing: tokio::sync::Mutex::default(),
            cgroup_id: Cell::new(None),
            running: OnceCell::new(),
            board: OnceCell::new(),
            is_launching: Cell::new(false),
            launched: Notify::new(),
            is_sought: Cell::new(false),
            found: Notify::new(),
            is_ending: Cell::new(false),
            destroy: Notify::new(),
            run,
        });
        self.containers.borrow_mut().insert(container.run.container_id.clone(), container.clone());
        container
    }

    /// An executor may be faster than word that it was started: what it says is heard when its process is known.
    pub(crate) async fn until_launched(&self, framework_id: &FrameworkId, executor_id: &ExecutorId) {
        let is_its = |run: &Run| run.framework_id == *framework_id && run.executor_id == *executor_id;
        let find = |container: &&Rc<Container>| container.is_launching.get() && is_its(&container.run);
        let launching = self.containers.borrow().values().find(find).cloned();
        if let Some(container) = launching {
            container.launched.notified().await;
        }
    }

    pub(super) fn destroy(&self, container_id: &ContainerId) {
        if let Some(container) = self.containers.borrow().get(container_id) {
            container.destroy.notify_one();
        }
    }

    /// How it ended is told, acknowledged and on disk.
    pub(super) fn forget(self: &Rc<Self>, container_id: ContainerId) {
        let agent = self.clone();
        tokio::task::spawn_local(async move {
            if let Err(error) = agent.containerizer.forget(&container_id).await {
                tracing::warn!(%error, container = %container_id, "folder of a container that is done with stays");
            }
        });
    }

    async fn start_container(self: &Rc<Self>, container: &Container, launch: &Launch) -> Result<(), String> {
        let mut plan = Box::new(self.plan(launch)?);
        self.provide_root(&mut plan).await?;
        let started = self.start_planned(container, plan).await;
        if started.is_err() {
            self.withdraw_root(&container.run.container_id).await;
        }
        started
    }

    async fn start_planned(
        self: &Rc<Self>,
        container: &Container,
        plan: Box<plan::Plan>,
    ) -> Result<(), String> {
        let prepared = self.containerizer.prepare(plan).await.map_err(|error| chain(&error))?;
        if let Some((id, path)) = prepared.cgroup_id().zip(prepared.cgroup_path()) {
            self.count(container, id, path);
        }
        let fetched = tokio::select! {
            fetched = self.containerizer.fetch(&prepared) => fetched.map_err(|error| chain(&error)),
            () = container.destroy.notified() => Err("Container destroyed while fetching".to_owned()),
        };
        let counts = &self.counts;
        increment(if fetched.is_ok() { &counts.fetches_succeeded } else { &counts.fetches_failed });
        if let Err(why) = fetched {
            self.undo(container, prepared).await;
            return Err(why);
        }
        let running = match self.containerizer.start(prepared).await {
            Ok(running) => running,
            Err(error) => {
                self.stop_counting(container);
                return Err(chain(&error));
            }
        };
        if let Some(switched) = running.take_switched() {
            let started = Switchboard::start(switched, false);
            let started = started.inspect_err(|error| {
                tracing::error!(%error, container = %running.container_id, "terminal cannot be watched");
                container.destroy.notify_one();
            });
            _ = started.map(|board| container.board.set(board));
        }
        let _ = container.running.set(running);
        Ok(())
    }

    async fn find_container(
        self: &Rc<Self>,
        container: &Container,
        pid: Option<u32>,
    ) -> Result<(), crate::containerizer::launch::LaunchError> {
        let agent_id =
            self.look(|node| node.agent_id().cloned()).expect("only an agent with a past reattaches");
        let remembered = Remembered {
            container_id: container.run.container_id.clone(),
            sandbox: crate::checkpoint::layout::sandbox(&self.config.work_dir, &agent_id, &container.run),
            pid,
        };
        let running = self.containerizer.reattach(&remembered).await?;
        if let Some((id, path)) = running.cgroup_id().zip(running.cgroup_path()) {
            self.thaw_found(&container.run.container_id, path);
            self.count(container, id, path);
        }
        if pid.is_none() && running.pid != 0 {
            let container_id = running.container_id.clone();
            self.input(Input::Launched { container_id, pid: running.pid });
        }
        self.containerizer.hold_again(&running).await;
        self.remember_limits(container);
        self.sample(&running).await;
        if let Ok(plan) = self.plan_of(container)
            && let Some(board) = self.reopen(&running, &plan).await
        {
            let _ = container.board.set(board);
        }
        let _ = container.running.set(running);
        Ok(())
    }

    /// Until nothing of it is left. A task of its own, and a small one: a container waits long for its end, and would keep
    /// all the room that starting it took.
    fn watch(self: &Rc<Self>, container: Rc<Container>) {
        let agent = self.clone();
        tokio::task::spawn_local(async move {
            let running = container.running.get().expect("it was started or found");
            tokio::select! {
                _ = running.wait() => {}
                () = container.destroy.notified() => {}
            }
            // On the heap, and not before it is needed.
            Box::pin(agent.end(&container, running)).await;
        });
    }

    async fn end(self: &Rc<Self>, container: &Rc<Container>, running: &Running) {
        container.is_ending.set(true);
        self.destroy_nested(container);
        let ended = self.kill_all(running).await;
        self.until_none_nested(container).await;
        if let Some(board) = container.board() {
            board.close();
        }
        let before = container.account.borrow().usage;
        let usage = self.last_figures(container, ended).await;
        let out_of_memory = self.out_of_memory(running, &before, &usage).await;
        self.remove(running).await;
        self.withdraw_root(&running.container_id).await;
        let container_id = container.run.container_id.clone();
        tracing::info!(container = %container_id, exit = %ended.exit, "executor ended");
        self.containers.borrow_mut().remove(&container_id);
        self.quality_ended(&container_id);
        let end = ContainerEnd { wait_status: wait_status(ended.exit), out_of_memory };
        self.input(Input::ContainerEnded { container_id, end });
    }

    /// Whether the kernel killed in the container for want of memory, by BPF's count or that of its cgroup. `before`: what
    /// was last measured while its processes lived.
    async fn out_of_memory(&self, running: &Running, before: &Usage, last: &Usage) -> Option<OutOfMemory> {
        let met = self.containerizer.memory_met(running).await.unwrap_or_default();
        let kills_count = met.kills_count.max(last.oom_kills);
        (kills_count > 0).then(|| OutOfMemory {
            limit_met_count: met.limit_met_count,
            kills_count,
            limit_bytes: met.limit_bytes,
            peak_bytes: last.memory_peak_bytes,
            anon_bytes: before.memory_anon_bytes.max(last.memory_anon_bytes),
            file_bytes: before.memory_file_bytes.max(last.memory_file_bytes),
            kernel_bytes: before.memory_kernel_bytes.max(last.memory_kernel_bytes),
        })
    }

    /// A container whose processes do not end is tried again for ever: its resources are not free before they have.
    pub(super) async fn kill_all(&self, running: &Running) -> Ended {
        loop {
            match self.containerizer.destroy(running).await {
                Ok(ended) => return ended,
                Err(error) => {
                    let cause = &error as &dyn std::error::Error;
                    increment(&self.counts.destroy_errors);
                    tracing::error!(cause, container = %running.container_id, "container does not end; trying again");
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }

    pub(super) async fn remove(&self, running: &Running) {
        if let Err(error) = self.containerizer.remove(running).await {
            let cause = &error as &dyn std::error::Error;
            tracing::error!(cause, container = %running.container_id, "cgroup of an ended container stays");
        }
    }

    async fn end_all(&self, running: &Running) -> Ended {
        let ended = self.kill_all(running).await;
        self.remove(running).await;
        self.withdraw_root(&running.container_id).await;
        ended
    }

    async fn undo(&self, container: &Container, prepared: Prepared) {
        self.stop_counting(container);
        if let Err(error) = self.containerizer.abandon(prepared).await {
            tracing::warn!(
                cause = &error as &dyn std::error::Error,
                "cgroup of a container that never was stays"
            );
        }
    }

    fn count(&self, container: &Container, cgroup_id: u64, directory: &Path) {
        match self.bpf.borrow_mut().add_container(cgroup_id, directory) {
            Ok(()) => container.cgroup_id.set(Some(cgroup_id)),
            Err(error) => {
                increment(&self.counts.uncounted);
                tracing::warn!(cause = &error as &dyn std::error::Error, "container is not counted by BPF");
            }
        }
    }

    fn stop_counting(&self, container: &Container) {
        if let Some(id) = container.cgroup_id.take() {
            _ = self.bpf.borrow_mut().remove_container(id);
        }
    }

    async fn sample(&self, running: &Running) {
        let mark = running.mark();
        let target = running.cgroup_path().map_or(Target::Processes(&mark), Target::Cgroup);
        if let Err(error) = self.sampler.lock().await.add(running.container_id.clone(), target) {
            increment(&self.counts.unsampled);
            tracing::warn!(%error, container = %running.container_id, "container's files cannot be read");
        }
    }

    /// Everything it ever used; told to the master at once, or when there is one.
    async fn last_figures(self: &Rc<Self>, container: &Container, ended: Ended) -> Usage {
        let container_id = &container.run.container_id;
        let sample = self.sampler.lock().await.finish(container_id, ended.usage).await.unwrap_or_default();
        let id = container.cgroup_id.take();
        let kernel = id.and_then(|id| self.bpf.borrow_mut().remove_container(id).ok()?);
        let usage = {
            let mut account = container.account.borrow_mut();
            account.look(id, kernel.as_ref(), &sample, &|id| self.container_of(id));
            account.usage
        };
        let lost = &self.counts.events_lost;
        lost.set(lost.get().saturating_add(usage.events_lost));
        let tasks = self.look(|node| node.container_tasks(container_id, Time::default()));
        self.report_final(ContainerUsage {
            container_id: container_id.clone(),
            framework_id: container.run.framework_id.clone(),
            executor_id: container.run.executor_id.clone(),
            tasks: tasks.map_or(Vec::new(), |known| known.tasks),
            is_final: true,
            usage,
        });
        usage
    }

    fn plan(&self, launch: &Launch) -> Result<plan::Plan, String> {
        let agent = &self.plan_agent(launch.agent_id.clone());
        let task = launch.command_task.as_ref().map(api::convert::task::to_v1);
        let task = task.transpose().map_err(|error| chain(&error))?;
        let executor = match &task {
            Some(task) => command_executor(agent, &launch.run.framework_id, task),
            None => api::convert::executor::to_v1(&launch.executor).map_err(|error| chain(&error))?,
        };
        let request = Request {
            container_id: &launch.run.container_id,
            framework_id: &launch.run.framework_id,
            framework_user: &launch.framework.user,
            checkpoint: launch.framework.checkpoint,
            executor: &executor,
            task_command: task.as_ref().and_then(|task| task.command.as_ref()),
            shares: &self.shares(&launch.run.container_id),
        };
        let mut plan = plan::plan(agent, &request).map_err(|error| chain(&error))?;
        if launch.command_task.is_some() && matches!(plan.io, Io::Terminal(_)) {
            // The terminal is the task's: its session is not ours, nor our executor's.
            plan.task.get_or_insert_default();
        }
        Ok(plan)
    }

    /// What a container that runs was made by.
    pub(super) fn plan_of(&self, container: &Container) -> Result<plan::Plan, String> {
        let launch = self.look(|node| node.launch(&container.run.container_id));
        self.plan(
            &launch
                .ok_or_else(|| format!("Container {} is not known any more", container.run.container_id))?,
        )
    }

    /// What executors are told of the agent, and measured by.
    fn plan_agent(&self, agent_id: AgentId) -> plan::Agent {
        let config = &self.config;
        plan::Agent {
            work_dir: config.work_dir.clone(),
            agent_id,
            address: self.look(|node| node.info().address),
            program: self.program.clone(),
            switch_user: config.switches_user(),
            shutdown_grace_ms: config.executor_shutdown_grace_period,
            recovery_timeout_ms: config.recovery_timeout,
            subscription_backoff_max_ms: config.executor_reregistration_timeout,
            environment: config.executor_environment_variables.0.clone(),
            limits: self.limit_policy(),
            logger: self.config.logger.settings(),
            isolation: self.isolation.clone(),
        }
    }

    pub(super) fn limit_policy(&self) -> LimitPolicy {
        self.config.limits.policy()
    }

    pub(super) fn shares(&self, container_id: &ContainerId) -> Vec<Share> {
        self.look(|node| {
            let Some((executor, tasks)) = node.shares(container_id) else { return Vec::new() };
            let own = Share { resources: executor.resources.clone(), ..Share::default() };
            std::iter::once(own).chain(tasks.into_iter().map(share)).collect()
        })
    }

    pub(super) fn resize(self: &Rc<Self>, container_id: &ContainerId) {
        let known = self.containers.borrow().get(container_id).cloned();
        if let Some(container) = known.filter(|it| !it.is_ending()) {
            self.classify(&container);
        }
        let enforcement = self.containerizer.enforcement();
        if !Controller::ALL.into_iter().any(|controller| enforcement.of(controller).is_yes()) {
            return;
        }
        let Some(container) = self.containers.borrow().get(container_id).cloned() else { return };
        let limits = self.limits_of(&container);
        let agent = self.clone();
        tokio::task::spawn_local(async move {
            let Some(running) = container.running.get() else { return };
            if let Err(error) = agent.containerizer.set_limits(running, limits).await {
                let cause = &error as &dyn std::error::Error;
                tracing::warn!(cause, container = %running.container_id, "limits cannot be changed");
            }
        });
    }
}

/// What a task was given, and the limits that it asks for itself (`TaskInfo.limits`).
fn share(task: &TaskInfo) -> Share {
    let limits = api::protobuf::decode::<v1::TaskInfo>(&task.body.0)
        .map_or_else(|_| Default::default(), |v1| v1.limits);
    limited_share(task.resources.clone(), |name| limits.get(name).map(|limit| limit.value))
}

/// `limit`: as `TaskInfo.limits` has it.
pub(super) fn limited_share(resources: Resources, limit: impl Fn(&str) -> Option<f64>) -> Share {
    let ceiling = |name: &str| {
        let limit = limit(name)?;
        if limit.is_infinite() {
            return Some(Ceiling::Unlimited);
        }
        api::convert::quantity::from_f64(limit).map(Ceiling::At)
    };
    let (cpus_max, memory_max) = (ceiling("cpus"), ceiling("mem"));
    Share { resources, cpus_max, memory_max }
}

/// As waitpid(2) tells it.
pub(crate) fn wait_status(exit: Exit) -> Option<i32> {
    match exit {
        Exit::Code(code) => Some((code & 0xff) << 8),
        Exit::Signal { number, core_dumped } => Some(number & 0x7f | if core_dumped { 0x80 } else { 0 }),
        Exit::Unknown => None,
    }
}

/// An error with its causes, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
