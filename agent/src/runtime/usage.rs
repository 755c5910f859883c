//! What containers use, looked at on an interval and told to the master.

use crate::runtime::{Agent, increment};
use crate::sys::memory;
use model::id::ContainerId;
use model::time::UnixTime;
use model::usage::ContainerUsage;
use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;
use wire::frame::FrameError;

/// Last figures kept for a master that is away; beyond that the oldest are lost. A few MiB.
const FINALS_MAX: usize = 10_000;

impl Agent {
    /// Looks and tells, for ever.
    pub(super) async fn measure(self: Rc<Self>) {
        let mut tick = tokio::time::interval(Duration::from_millis(self.config.usage_interval));
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            let looked = self.look_at_containers().await;
            self.estimate(looked);
            self.report();
            self.give_back_memory();
        }
    }

    /// Reading the kernel's type information takes 20 MB for a moment, starting a container some 30 KB, in which what it
    /// needs for long is allocated too: both leave holes that nobody else would give back.
    fn give_back_memory(&self) {
        let is_launching = self.containers.borrow().values().any(|container| container.is_launching());
        if !is_launching && self.has_holes.take() {
            memory::give_back();
        }
    }

    /// When it was; whom it could look at is marked with that.
    async fn look_at_containers(&self) -> UnixTime {
        if let Err(error) = self.bpf.borrow_mut().refresh() {
            increment(&self.counts.refresh_errors);
            tracing::debug!(%error, "BPF figures may be a little old");
        }
        let mut sampler = self.sampler.lock().await;
        sampler.look().await;
        self.machine.set(*sampler.node());
        let now = self.now().unix;
        let containers = self.containers.borrow();
        let kernels = self.bpf.borrow_mut().read_all().unwrap_or_else(|error| {
            increment(&self.counts.refresh_errors);
            tracing::debug!(%error, "BPF figures cannot be read");
            Vec::new()
        });
        // Made when somebody has taken a container's CPU: mostly not at all.
        let names = OnceCell::new();
        let ids = || containers.iter().filter_map(|(name, it)| Some((it.cgroup_id.get()?, name.clone())));
        let name = |id: u64| names.get_or_init(|| ids().collect::<BTreeMap<_, _>>()).get(&id).cloned();
        for (container_id, sample) in sampler.samples() {
            let Some(container) = containers.get(container_id) else { continue };
            let id = container.cgroup_id.get();
            let at = id.and_then(|id| kernels.binary_search_by_key(&id, |(of, _)| *of).ok());
            container.account.borrow_mut().look(id, at.map(|at| &kernels[at].1), sample, &name);
            container.looked.set(Some(now));
        }
        now
    }

    /// The container that a cgroup id belongs to.
    pub(super) fn container_of(&self, cgroup_id: u64) -> Option<ContainerId> {
        let containers = self.containers.borrow();
        containers.iter().find(|(_, it)| it.cgroup_id.get() == Some(cgroup_id)).map(|(name, _)| name.clone())
    }

    /// A line for each container that runs, and one for each whose last figures are still owed.
    fn report(self: &Rc<Self>) {
        if !self.takes_reports() {
            return;
        }
        let now = self.now();
        let since = self.reported.replace(now.time);
        let mut lines = self.finals.take();
        let containers = self.containers.borrow();
        for known in self.look(|node| node.containers_since(since)) {
            let Some(container) = containers.get(&known.container_id) else { continue };
            if container.looked.get().is_none() {
                // One that was found again has used much, and nothing is known of it before the first look.
                continue;
            }
            lines.push(ContainerUsage {
                container_id: known.container_id,
                framework_id: known.framework_id,
                executor_id: known.executor_id,
                tasks: known.tasks,
                is_final: false,
                usage: container.account.borrow().usage,
            });
        }
        drop(containers);
        let frame = self.reports.borrow_mut().build(now.unix, &self.machine.get(), &lines);
        self.send_report(frame);
    }

    pub(super) fn report_final(self: &Rc<Self>, line: ContainerUsage) {
        if self.takes_reports() {
            let frame = self.reports.borrow_mut().build_final(self.now().unix, &[line]);
            self.send_report(frame);
        } else {
            let mut finals = self.finals.borrow_mut();
            if finals.len() == FINALS_MAX {
                increment(&self.counts.finals_dropped);
                finals.remove(0);
            }
            finals.push(line);
        }
    }

    fn send_report(self: &Rc<Self>, frame: Result<Vec<u8>, FrameError>) {
        match frame {
            Ok(frame) => self.send_frame(frame),
            Err(error) => {
                increment(&self.counts.reports_dropped);
                tracing::error!(%error, "a usage report is too long and was dropped");
            }
        }
    }
}
