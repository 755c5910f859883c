//! What is over and when it goes: the collector's core, driven.

use crate::checkpoint::layout::{self, Meta};
use crate::collector::core::{Core, Effect, Input};
use crate::collector::item::Item;
use crate::collector::{self, Job, Report};
use crate::node::effect::Run;
use crate::runtime::Agent;
use model::id::{AgentId, ContainerId, ExecutorId, FrameworkId, TaskId};
use std::cell::RefCell;
use std::io;
use std::path::Path;
use std::rc::Rc;
use std::sync::mpsc::Sender;
use tokio::sync::Notify;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

/// How much of what a scan has found is taken in before others have their turn.
const FOUND_AT_ONCE: usize = 256;

pub(super) struct Collector {
    core: RefCell<Core>,
    jobs: Sender<Job>,
    /// Taken by the task that drives this.
    reports: RefCell<Option<UnboundedReceiver<Report>>>,
    /// The core's deadline may have changed.
    changed: Notify,
}

impl Collector {
    pub(super) fn start(work_dir: &Path, settings: collector::core::Settings) -> io::Result<Self> {
        let (sender, reports) = unbounded_channel();
        let jobs = collector::start(work_dir.to_owned(), sender)?;
        let (core, reports) = (RefCell::new(Core::new(settings)), RefCell::new(Some(reports)));
        Ok(Self { core, jobs, reports, changed: Notify::new() })
    }

    pub(super) fn look<T>(&self, see: impl FnOnce(&Core) -> T) -> T {
        see(&self.core.borrow())
    }

    fn ask(&self, job: Job) {
        // The thread ends only when nobody can ask any more.
        self.jobs.send(job).expect("the collector's thread is there");
    }
}

impl Agent {
    /// A run of this agent owes nothing any more.
    pub(super) fn retire(&self, run: Run) {
        let Some(agent_id) = self.look(|node| node.agent_id().cloned()) else { return };
        let item = Item::Run { agent_id, run };
        self.collector.ask(Job::Mark(item.clone()));
        self.collect(Input::Over { item, age_ms: 0 });
    }

    /// A task of a run that goes on owes nothing any more; its last record was just written, so that its age is right.
    pub(super) fn retire_task(&self, run: Run, task_id: TaskId) {
        let Some(agent_id) = self.look(|node| node.agent_id().cloned()) else { return };
        self.collect(Input::Over { item: Item::Task { agent_id, run, task_id }, age_ms: 0 });
    }

    fn collect(&self, input: Input) {
        let mut effects = Vec::new();
        self.collector.core.borrow_mut().handle(self.now().time, input, &mut effects);
        self.carry_out_collecting(effects);
    }

    fn carry_out_collecting(&self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                // A framework that gives another task of the run the same id would lose its checkpoint.
                Effect::Remove(item) if self.is_needed(&item) => {
                    self.collect(Input::Removed { item, is_gone: true });
                }
                Effect::Remove(item) => self.collector.ask(Job::Remove(item)),
                Effect::Measure => self.collector.ask(Job::Measure),
            }
        }
        self.collector.changed.notify_one();
    }

    /// Whether the node goes by it.
    fn is_needed(&self, item: &Item) -> bool {
        match item {
            Item::Task { run, task_id, .. } => self.look(|node| node.has_task(&run.framework_id, task_id)),
            Item::Run { .. } | Item::Tree(_) | Item::Branch(_) => false,
        }
    }

    /// Drives the collector for ever. `ended`: containers of an earlier life that were ended just now.
    pub(super) async fn keep_collecting(self: Rc<Self>, ended: Vec<ContainerId>) {
        let Some(mut reports) = self.collector.reports.borrow_mut().take() else { return };
        let current = self.look(|node| node.agent_id().cloned());
        self.collector.ask(Job::Scan { current });
        loop {
            let deadline = self.collector.look(Core::deadline);
            let waits = async {
                match deadline {
                    Some(at) => self.clock.sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                report = reports.recv() => match report {
                    Some(report) => self.hear_collector(report, &ended).await,
                    None => return,
                },
                () = self.collector.changed.notified() => {}
                () = waits => {
                    let mut effects = Vec::new();
                    self.collector.core.borrow_mut().expire(self.now().time, &mut effects);
                    self.carry_out_collecting(effects);
                }
            }
        }
    }

    async fn hear_collector(self: &Rc<Self>, report: Report, ended: &[ContainerId]) {
        match report {
            Report::Disk(disk) => self.collect(Input::Disk(disk)),
            Report::Removed { item, is_gone } => {
                if is_gone {
                    tracing::info!(%item, "deleted what was over");
                    self.prune_around(&item).await;
                }
                self.collect(Input::Removed { item, is_gone });
            }
            Report::Found(found) => {
                let unfinished = self.look(|node| node.unfinished_runs());
                for (at, (item, age_ms)) in found.into_iter().enumerate() {
                    if at % FOUND_AT_ONCE == FOUND_AT_ONCE - 1 {
                        // What has ended meanwhile was unfinished then, and is retired as always.
                        tokio::task::yield_now().await;
                    }
                    let container_id = match &item {
                        Item::Run { run, .. } => Some(&run.container_id),
                        Item::Task { run, .. } if !unfinished.contains(&run.container_id) => continue,
                        _ if self.is_needed(&item) => continue,
                        Item::Task { .. } | Item::Tree(_) | Item::Branch(_) => None,
                    };
                    if container_id.is_some_and(|id| unfinished.contains(id)) {
                        continue;
                    }
                    let was_ended_now = container_id.is_some_and(|id| ended.contains(id));
                    if was_ended_now {
                        self.collector.ask(Job::Mark(item.clone()));
                    }
                    self.collect(Input::Over { item, age_ms: if was_ended_now { 0 } else { age_ms } });
                }
            }
        }
    }

    /// Folders in which nothing is any more, beside what was deleted.
    async fn prune_around(&self, item: &Item) {
        let work_dir = &self.config.work_dir;
        let (sandboxes, meta) = (layout::sandboxes(work_dir), Meta::of(work_dir));
        match item {
            Item::Run { agent_id, run } => {
                let sandbox = layout::sandbox(work_dir, agent_id, run);
                let runs = sandbox.parent().expect("it is in `runs`").to_owned();
                self.containerizer.prune(runs, sandboxes).await;
                self.prune_meta(&meta, agent_id, &run.framework_id, Some(&run.executor_id));
            }
            Item::Branch(path) if path.starts_with(&sandboxes) => {
                self.containerizer.prune(path.clone(), sandboxes).await;
            }
            Item::Branch(path) => {
                if let Some((agent_id, framework_id, executor_id)) = meta.ids(path) {
                    self.prune_meta(&meta, &agent_id, &framework_id, executor_id.as_ref());
                }
            }
            Item::Task { .. } | Item::Tree(_) => {}
        }
    }

    /// On the runtime's own thread: here nobody can begin to write a checkpoint meanwhile, and of what the node does not
    /// have nothing is being written. Folders that others may be about to write in stay.
    fn prune_meta(
        &self,
        meta: &Meta,
        agent_id: &AgentId,
        framework_id: &FrameworkId,
        executor_id: Option<&ExecutorId>,
    ) {
        let framework = meta.framework(agent_id, framework_id);
        let executors = framework.join("executors");
        let has = |executor_id| self.look(|node| node.has(framework_id, executor_id));
        if let Some(executor_id) = executor_id.filter(|id| !has(Some(*id))) {
            collector::prune(&executors.join(executor_id.as_str()).join("runs"), &executors);
        }
        if !has(None) {
            collector::prune(&executors, &framework);
            if !executors.exists() {
                let _ = std::fs::remove_file(framework.join(layout::FRAMEWORK_INFO));
                collector::prune(&framework, &meta.agent(agent_id).join("frameworks"));
            }
        }
    }
}
