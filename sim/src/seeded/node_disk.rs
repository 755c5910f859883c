//! An agent's disk, as `agent::checkpoint` uses it: records that wait are written together; of a batch that is cut off any
//! part may be there, but nothing of the next one; a disk that refuses is asked again every second.

use super::node::Doing;
use super::plan::Bug;
use super::world::World;
use ingot_agent::node::effect::{Record, Ticket};
use ingot_agent::node::input::Input;
use model::id::{ContainerId, TaskId};
use model::time::Time;
use std::collections::{BTreeSet, VecDeque};

/// Before a refused batch is tried again, milliseconds.
const RETRY_MS: u64 = 1_000;

#[derive(Debug, Default)]
pub(super) struct Disk {
    waiting: VecDeque<(Ticket, Record)>,
    /// So many of the first are being written.
    batch: usize,
    /// What is there for good.
    pub(super) records: Vec<Record>,
    pub(super) refuses_until: Time,
}

impl Disk {
    /// The process is gone. Each file of the batch is as it was or as it was to be; a file's own records keep their order.
    pub(super) fn cut_off(&mut self, rng: &mut fastrand::Rng) {
        let mut lost: BTreeSet<(Option<ContainerId>, Option<TaskId>)> = BTreeSet::new();
        let is_torn = rng.bool();
        for (_, record) in self.waiting.drain(..).take(self.batch) {
            let file = (record.run().map(|run| run.container_id.clone()), record.task_id().cloned());
            if lost.contains(&file) || (is_torn && rng.bool()) {
                lost.insert(file);
            } else {
                self.records.push(record);
            }
        }
        self.waiting.clear();
        self.batch = 0;
    }

    /// Records that nothing can be asked about any more are left out, as files that are collected are.
    pub(super) fn forget_run(&mut self, container: &ContainerId) {
        self.records.retain(|record| record.run().is_none_or(|run| run.container_id != *container));
    }
}

impl World {
    pub(super) fn persist_record(&mut self, at: usize, ticket: Ticket, record: Record) {
        if self.plan.bug == Some(Bug::DiskLies) {
            self.machines[at].early.push_back(ticket);
            self.machine_soon(at, 0, 1, Doing::ToldEarly);
        }
        let disk = &mut self.machines[at].disk;
        disk.waiting.push_back((ticket, record));
        if disk.batch == 0 {
            self.begin_batch(at);
        }
    }

    fn begin_batch(&mut self, at: usize) {
        let disk = &mut self.machines[at].disk;
        disk.batch = disk.waiting.len();
        if disk.batch > 0 {
            let most_ms = if self.plan.bug == Some(Bug::DiskLies) { 4_000 } else { 8 };
            self.machine_soon(at, 0, most_ms, Doing::Write);
        }
    }

    pub(super) fn write_batch(&mut self, at: usize) {
        let now = self.now.time;
        let disk = &mut self.machines[at].disk;
        if disk.refuses_until > now {
            return self.machine_soon(at, RETRY_MS, RETRY_MS, Doing::Write);
        }
        let batch = std::mem::take(&mut disk.batch);
        let (mut tickets, mut done, mut admitted) = (Vec::with_capacity(batch), Vec::new(), None);
        for (ticket, record) in disk.waiting.drain(..batch) {
            tickets.push(ticket);
            if let Record::ExecutorDone { run } = &record {
                done.push(run.container_id.clone());
            }
            if let Record::Agent { agent_id, .. } = &record {
                admitted = Some(agent_id.clone());
            }
            disk.records.push(record);
        }
        if let Some(id) = admitted {
            self.agent_is_admitted(at, &id);
        }
        if self.plan.bug != Some(Bug::DiskLies) {
            let life = self.machines[at].life;
            for ticket in tickets {
                if self.machines[at].life == life && self.machines[at].is_up {
                    self.tell_node(at, Input::Durable { ticket });
                }
            }
        }
        if self.machines[at].disk.batch == 0 {
            self.begin_batch(at);
        }
        done.iter().for_each(|container| self.machines[at].disk.forget_run(container));
    }

    /// A mistake made on purpose: see [`Bug::DiskLies`].
    pub(super) fn told_early(&mut self, at: usize) {
        if let Some(ticket) = self.machines[at].early.pop_front() {
            self.tell_node(at, Input::Durable { ticket });
        }
    }
}
