//! The agent's side: which container stands in which row, and the message.

use super::rows;
use crate::convert::{list_len, write_message};
use crate::frame::{FrameError, HEADER_BYTES, seal};
use crate::generated::agent_capnp::to_master;
use crate::generated::report_capnp::{member, usage_report};
use capnp::message::HeapAllocator;
use model::id::{ContainerId, ExecutorId, FrameworkId, TaskId};
use model::time::UnixTime;
use model::usage::{ContainerUsage, NodeUsage, Usage};
use std::collections::BTreeMap;

/// Rows without a container are kept for newcomers up to this many more than there are containers; beyond, all are
/// arranged anew. Every such row costs 8 bytes a figure that is told.
const HOLES_MAX: usize = 32;

/// Words of a report that has no rows and no members, more than enough.
const HEAD_WORDS_MAX: usize = 64;

/// Makes an agent's reports. One lives as long as the agent's process.
#[derive(Debug, Default)]
pub struct Builder {
    sequence: u64,
    layout: u64,
    /// Whether the session has heard whose the rows of this layout are.
    is_told: bool,
    rows: Vec<Option<Named>>,
    places: BTreeMap<ContainerId, usize>,
    /// Of the lines of the report before, in their order: from one second to the next it is the same.
    order: Vec<usize>,
}

/// Whose a row is.
#[derive(Debug)]
struct Named {
    container_id: ContainerId,
    framework_id: FrameworkId,
    executor_id: ExecutorId,
    tasks: Vec<TaskId>,
}

impl Named {
    fn of(line: &ContainerUsage) -> Self {
        Self {
            container_id: line.container_id.clone(),
            framework_id: line.framework_id.clone(),
            executor_id: line.executor_id.clone(),
            tasks: line.tasks.clone(),
        }
    }

    fn is(&self, line: &ContainerUsage) -> bool {
        self.framework_id == line.framework_id
            && self.executor_id == line.executor_id
            && self.tasks == line.tasks
    }
}

impl Builder {
    /// A new session begins: it has heard nothing yet.
    pub fn session_began(&mut self) {
        self.is_told = false;
    }

    /// The frame of a report on everything, ready to be written to the session. `lines` has every container that runs, and
    /// those whose last figures are owed.
    pub fn build(
        &mut self,
        timestamp: UnixTime,
        node: &NodeUsage,
        lines: &[ContainerUsage],
    ) -> Result<Vec<u8>, FrameError> {
        let running: Vec<_> = lines.iter().filter(|line| !line.is_final).collect();
        let places = self.arrange(&running);
        let mut by_row = vec![None; self.rows.len()];
        for (line, place) in running.iter().zip(&places) {
            by_row[*place] = Some(line.usage.to_words());
        }
        let mut sources = vec![0; self.rows.len()];
        for (line, place) in running.iter().zip(places) {
            sources[place] = rows::word_of(line.usage.sources);
        }
        let frame = self.message(timestamp, Some(node), lines, |builder, mut report| {
            report.set_layout(builder.layout);
            if !builder.is_told {
                let mut members = report.reborrow().init_members(list_len(builder.rows.len()));
                for (at, named) in (0..).zip(&builder.rows) {
                    named.iter().for_each(|named| write_member(named, members.reborrow().get(at)));
                }
            }
            let figure = |column: usize, row: usize| by_row[row].map_or(0, |words| words[column]);
            rows::write(Usage::WORDS, &sources, figure, report.init_containers());
        })?;
        self.is_told = true;
        Ok(frame)
    }

    /// The frame of a report on containers that are over, and on nothing else.
    pub fn build_final(
        &mut self,
        timestamp: UnixTime,
        lines: &[ContainerUsage],
    ) -> Result<Vec<u8>, FrameError> {
        self.message(timestamp, None, lines, |_, _| {})
    }

    fn message(
        &mut self,
        timestamp: UnixTime,
        node: Option<&NodeUsage>,
        lines: &[ContainerUsage],
        running: impl FnOnce(&Self, usage_report::Builder<'_>),
    ) -> Result<Vec<u8>, FrameError> {
        self.sequence += 1;
        let first = HeapAllocator::new().first_segment_words(list_len(self.words_max(lines)));
        let mut builder = capnp::message::Builder::new(first);
        let mut report = builder.init_root::<to_master::Builder<'_>>().init_usage();
        report.set_sequence(self.sequence);
        report.set_timestamp_us(timestamp.0);
        if let Some(node) = node {
            let words = node.to_words();
            let sources = [rows::word_of(node.sources)];
            let figure = |column: usize, _| words[column];
            rows::write(NodeUsage::WORDS, &sources, figure, report.reborrow().init_node());
        }
        let over: Vec<_> = lines.iter().filter(|line| line.is_final).collect();
        if !over.is_empty() {
            let mut members = report.reborrow().init_over(list_len(over.len()));
            for (at, line) in (0..).zip(&over) {
                write_member(&Named::of(line), members.reborrow().get(at));
            }
            let words: Vec<_> = over.iter().map(|line| line.usage.to_words()).collect();
            let sources: Vec<_> = over.iter().map(|line| rows::word_of(line.usage.sources)).collect();
            let figure = |column: usize, row: usize| words[row][column];
            rows::write(Usage::WORDS, &sources, figure, report.reborrow().init_over_figures());
        }
        running(self, report);
        seal(write_message(&builder, HEADER_BYTES))
    }

    /// No report on these lines is longer. In one segment, the pointers in it lead straight to what they mean: half as many
    /// are followed by who reads it.
    fn words_max(&self, lines: &[ContainerUsage]) -> usize {
        let over = lines.iter().filter(|line| line.is_final).count();
        let text = |length: usize| length / 8 + 1;
        let tasks = |tasks: &[TaskId]| tasks.iter().map(|task| 1 + text(task.as_str().len())).sum::<usize>();
        let member = |container: &ContainerId, framework: &FrameworkId, executor: &ExecutorId| {
            let names = [container.as_str(), framework.as_str(), executor.as_str()];
            names.iter().map(|name| 1 + text(name.len())).sum::<usize>() + 1
        };
        let told = self.rows.iter().flatten().filter(|_| !self.is_told);
        let told =
            told.map(|it| member(&it.container_id, &it.framework_id, &it.executor_id) + tasks(&it.tasks));
        let finals = lines.iter().filter(|line| line.is_final);
        let finals =
            finals.map(|it| member(&it.container_id, &it.framework_id, &it.executor_id) + tasks(&it.tasks));
        let empty = self.rows.len() * 4;
        let figures = (1 + Usage::WORDS) * (self.rows.len() + over) + 1 + NodeUsage::WORDS;
        figures + told.chain(finals).sum::<usize>() + empty + HEAD_WORDS_MAX
    }

    /// The row of each line. A container that had one keeps it; a newcomer takes the first that is free.
    fn arrange(&mut self, running: &[&ContainerUsage]) -> Vec<usize> {
        let mut known: Vec<_> = (0..).zip(running).map(|(at, line)| self.place(at, line)).collect();
        let mut is_changed = self.leave(&known);
        if self.rows.len() > running.len() * 2 + HOLES_MAX {
            self.rows.clear();
            self.places.clear();
            known.fill(None);
        }
        let mut free = 0;
        let mut places = Vec::with_capacity(running.len());
        for (line, known) in running.iter().zip(known) {
            let place = match known {
                Some(place) => place,
                None => {
                    free += self.rows[free..].iter().take_while(|row| row.is_some()).count();
                    if free == self.rows.len() {
                        self.rows.push(None);
                    }
                    self.places.insert(line.container_id.clone(), free);
                    free
                }
            };
            places.push(place);
            if !self.rows[place].as_ref().is_some_and(|named| named.is(line)) {
                self.rows[place] = Some(Named::of(line));
                is_changed = true;
            }
        }
        if is_changed || self.layout == 0 {
            self.layout += 1;
            self.is_told = false;
        }
        self.order.clone_from(&places);
        places
    }

    /// The row that a line's container has; most likely that of the line in its place before.
    fn place(&self, at: usize, line: &ContainerUsage) -> Option<usize> {
        let before = self.order.get(at).copied();
        let named = before.and_then(|place| self.rows.get(place)?.as_ref());
        match named {
            Some(named) if named.container_id == line.container_id => before,
            _ => self.places.get(&line.container_id).copied(),
        }
    }

    /// Frees the rows of containers that run no more. Whether there were any.
    fn leave(&mut self, known: &[Option<usize>]) -> bool {
        let mut stays = vec![false; self.rows.len()];
        known.iter().flatten().for_each(|place| stays[*place] = true);
        let mut is_changed = false;
        for (row, _) in self.rows.iter_mut().zip(stays).filter(|(_, stays)| !stays) {
            if let Some(named) = row.take() {
                self.places.remove(&named.container_id);
                is_changed = true;
            }
        }
        is_changed
    }
}

fn write_member(named: &Named, mut out: member::Builder<'_>) {
    out.set_container_id(named.container_id.as_str());
    out.set_framework_id(named.framework_id.as_str());
    out.set_executor_id(named.executor_id.as_str());
    let mut tasks = out.init_tasks(list_len(named.tasks.len()));
    for (at, task) in (0..).zip(&named.tasks) {
        tasks.set(at, task.as_str());
    }
}
