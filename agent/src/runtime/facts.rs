//! What those who answer questions are told of the agent.

use crate::accounting::account::Account;
use crate::accounting::losses::Loss;
use crate::config::MESOS_VERSION;
use crate::http::{Facts, Figures, Known};
use crate::runtime::Agent;
use api::legacy::{Gauge, system};
use model::id::ContainerId;
use std::sync::atomic::{AtomicU64, Ordering};

impl Agent {
    pub(crate) fn with_facts<T>(&self, see: impl FnOnce(&Facts<'_>) -> T) -> T {
        let machine = self.machine.get();
        self.look(|node| {
            see(&Facts {
                known: Known::of(node),
                now: self.now().unix,
                started: self.started,
                version: MESOS_VERSION,
                flags: &self.flags,
                work_dir: &self.config.work_dir,
                // What it says goes to its standard error, where whoever started it keeps it.
                log: None,
                master_hostname: self.config.master_host(),
                enforcement: self.containerizer.enforcement(),
                cgroup_root: self.containerizer.cgroup_root(),
                bpf: &self.support,
                machine: &self.found,
                figures: &|container_id| self.figures(container_id),
                nested: &|| self.nested_views(),
                device_name,
                node: &machine,
                costs: &|| self.bpf.borrow().costs(),
                losses: &|| self.losses(),
                quality: &|| self.quality(),
                gauges: &|| self.gauges(),
            })
        })
    }

    /// `None` until the container was looked at.
    fn figures(&self, container_id: &ContainerId) -> Option<Figures> {
        let containers = self.containers.borrow();
        let container = containers.get(container_id)?;
        let limits = self.limits_of(container);
        let Account { usage, detail } = container.account.borrow().clone();
        let egress = container.running.get().and_then(|running| self.containerizer.egress(running));
        Some(Figures { usage, detail, taken: container.looked.get()?, limits, egress })
    }

    fn losses(&self) -> Vec<(Loss, u64)> {
        let (counts, bpf) = (&self.counts, self.bpf.borrow().losses());
        let containers = self.containers.borrow();
        let events = containers.values().map(|it| it.account.borrow().usage.events_lost);
        vec![
            (Loss::ContainerUncounted, counts.uncounted.get()),
            (Loss::ContainerCountedAnew, bpf.counted_anew),
            (Loss::SocketsUncounted, bpf.sockets_uncounted),
            (Loss::ProgramRefused, bpf.programs_refused),
            (Loss::Event, events.fold(counts.events_lost.get(), u64::saturating_add)),
            (Loss::BlockRequest, bpf.requests),
            (Loss::ContainerUnsampled, counts.unsampled.get()),
            (Loss::RefreshFailed, counts.refresh_errors.get()),
            (Loss::FinalDropped, counts.finals_dropped.get()),
            (Loss::ReportDropped, counts.reports_dropped.get()),
        ]
    }

    fn gauges(&self) -> Vec<Gauge> {
        let read = |path| std::fs::read_to_string(path).unwrap_or_default();
        let mut gauges =
            system::gauges(&read(system::LOADAVG), &read(system::MEMINFO), &read(system::CPUS_ONLINE));
        let counts = &self.counts;
        if let Some(cache) = self.containerizer.fetcher().cache() {
            gauges.extend([
                ("containerizer/fetcher/cache_size_total_bytes".into(), cache.bytes_max() as f64),
                ("containerizer/fetcher/cache_size_used_bytes".into(), cache.used_bytes() as f64),
            ]);
        }
        if let Some(images) = &self.images {
            let figures = images.figures();
            let read = |figure: &AtomicU64| figure.load(Ordering::Relaxed) as f64;
            gauges.extend([
                ("containerizer/mesos/provisioner/images".into(), read(&figures.images)),
                ("containerizer/mesos/provisioner/store_bytes".into(), read(&figures.bytes)),
                ("containerizer/mesos/provisioner/pulls_succeeded".into(), read(&figures.pulls_succeeded)),
                ("containerizer/mesos/provisioner/pulls_failed".into(), read(&figures.pulls_failed)),
                (
                    "containerizer/mesos/provisioner/remove_container_errors".into(),
                    read(&figures.remove_errors),
                ),
            ]);
        }
        let peak = self.estimator.borrow().cpus_peak();
        gauges.push(("estimator/cpus_peak".into(), peak as f64 / 1000.0));
        let (gc, pending, age_max_ms) =
            self.collector.look(|core| (core.counts(), core.pending(), core.age_max_ms()));
        gauges.extend([
            ("gc/path_removals_failed".into(), gc.failed as f64),
            ("gc/path_removals_pending".into(), pending as f64),
            ("gc/path_removals_succeeded".into(), gc.succeeded as f64),
            ("slave/executor_directory_max_allowed_age_secs".into(), age_max_ms as f64 / 1e3),
            ("containerizer/fetcher/task_fetches_failed".into(), counts.fetches_failed.get() as f64),
            ("containerizer/fetcher/task_fetches_succeeded".into(), counts.fetches_succeeded.get() as f64),
            ("containerizer/mesos/container_destroy_errors".into(), counts.destroy_errors.get() as f64),
            ("slave/recovery_time_secs".into(), counts.recovery_secs.get()),
        ]);
        gauges
    }
}

fn device_name(major: u32, minor: u32) -> Option<String> {
    let path = std::fs::read_link(format!("/sys/dev/block/{major}:{minor}")).ok()?;
    path.file_name()?.to_str().map(str::to_owned)
}
