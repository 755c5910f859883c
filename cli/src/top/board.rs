//! Everything that can be shown in a list, kept from reading to reading: rows, their rates and their recent past.

use std::collections::BTreeSet;
use std::iter::Peekable;
use std::time::Duration;
use std::vec::IntoIter;

use model::usage::Sources;

use super::counters::{Counters, NodeCounters};
use super::history::History;
use super::numbers::{Figure, Numbers, Sum};
use super::reading::{Reading, Task, TaskState};

/// Values kept of each row; at the usual interval, a minute.
pub(super) const ROW_HISTORY: usize = 30;
/// Of the whole cluster.
pub(super) const TOTAL_HISTORY: usize = 120;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum View {
    Nodes,
    Frameworks,
    Tasks,
}

impl View {
    pub(super) const ALL: [Self; 3] = [Self::Nodes, Self::Frameworks, Self::Tasks];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Nodes => "Nodes",
            Self::Frameworks => "Frameworks",
            Self::Tasks => "Tasks",
        }
    }
}

/// One line of a list.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) id: Box<str>,
    /// A node's host, a framework's name; empty for a task.
    pub(super) name: Box<str>,
    pub(super) state: &'static str,
    /// It uses something; a list leaves out what does not unless it is asked for.
    pub(super) is_alive: bool,
    /// Of a task: places in the board's lists.
    pub(super) framework: Option<u32>,
    pub(super) node: Option<u32>,
    /// Of a task: its executor and container, empty where it has none of its own or none yet.
    pub(super) executor: Box<str>,
    pub(super) container: Box<str>,
    /// Of a node: where its agent answers.
    pub(super) address: Box<str>,
    pub(super) numbers: Numbers,
    pub(super) sources: Sources,
    /// On-CPU time, cores.
    pub(super) cpu: History<ROW_HISTORY>,
    /// What the newest rates were computed from.
    counters: Option<Counters>,
    node_counters: Option<NodeCounters>,
    /// Looks that met the same report of its agent once more.
    repeats: u8,
}

/// This many looks without a newer report, and what a task uses is not known any more: its agent is silent.
const REPEATS_MAX: u8 = 4;

/// What a node or framework knows of itself; the rest is the sum of its tasks.
const OWN: [Figure; 6] = [
    Figure::CpuAsked,
    Figure::CpuTotal,
    Figure::Busy,
    Figure::MemoryAsked,
    Figure::MemoryTotal,
    Figure::MemoryFree,
];

/// Names a row, whatever became of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Key {
    /// Of a task; empty otherwise.
    pub(super) framework: Box<str>,
    pub(super) id: Box<str>,
}

/// The sums over all nodes.
#[derive(Clone, Debug, Default)]
pub(super) struct Totals {
    pub(super) numbers: Numbers,
    pub(super) cpu: History<TOTAL_HISTORY>,
    pub(super) memory: History<TOTAL_HISTORY>,
    pub(super) net: History<TOTAL_HISTORY>,
    pub(super) io: History<TOTAL_HISTORY>,
    /// Tasks that are not at their end.
    pub(super) tasks_alive: usize,
    pub(super) nodes_active: usize,
}

#[derive(Debug, Default)]
pub(super) struct Board {
    pub(super) cluster: String,
    /// By id.
    pub(super) nodes: Vec<Row>,
    /// By id.
    pub(super) frameworks: Vec<Row>,
    /// By framework and id.
    pub(super) tasks: Vec<Row>,
    pub(super) totals: Totals,
    /// There are more tasks than were asked for.
    pub(super) is_cut: bool,
    /// When the newest reading was taken; `None` before the first.
    pub(super) at: Option<Duration>,
}

impl Board {
    pub(super) fn rows(&self, view: View) -> &[Row] {
        match view {
            View::Nodes => &self.nodes,
            View::Frameworks => &self.frameworks,
            View::Tasks => &self.tasks,
        }
    }

    pub(super) fn key(&self, view: View, at: usize) -> Key {
        let row = &self.rows(view)[at];
        let framework = row.framework.map_or_else(Box::default, |it| self.frameworks[it as usize].id.clone());
        Key { framework, id: row.id.clone() }
    }

    /// Where a row stands now.
    pub(super) fn find(&self, view: View, key: &Key) -> Option<usize> {
        let wanted = (&*key.framework, &*key.id);
        self.rows(view).binary_search_by(|row| task_key(row, &self.frameworks).cmp(&wanted)).ok()
    }

    pub(super) fn framework_of(&self, row: &Row) -> Option<&Row> {
        row.framework.map(|at| &self.frameworks[at as usize])
    }

    pub(super) fn node_of(&self, row: &Row) -> Option<&Row> {
        row.node.map(|at| &self.nodes[at as usize])
    }

    /// Takes in a newer reading. Linear in it: both are in the same order.
    pub(super) fn take(&mut self, reading: Reading) {
        let span = self.at.map(|before| reading.at.saturating_sub(before));
        let before = std::mem::take(self);
        let Reading { at, cluster, nodes, frameworks, tasks, is_cut } = reading;
        self.at = Some(at);
        (self.cluster, self.is_cut, self.totals) = (cluster, is_cut, before.totals);

        let mut old = before.tasks.into_iter().peekable();
        self.tasks.reserve(tasks.len());
        for task in tasks {
            let key = (&*frameworks[task.framework as usize].id, &*task.id);
            let mut same = None;
            while let Some(row) = old.next_if(|row| task_key(row, &before.frameworks) <= key) {
                same = Some(row).filter(|row| task_key(row, &before.frameworks) == key);
            }
            self.tasks.push(task_row(task, same, span));
        }
        let mut of_nodes = before.nodes.into_iter().peekable();
        self.nodes = nodes
            .into_iter()
            .map(|node| {
                let mut row =
                    Row::new(node.id, node.host, if node.is_active { "active" } else { "inactive" });
                (row.is_alive, row.address) = (node.is_active, node.address);
                row.numbers.asked(node.allocated);
                row.numbers.set(Figure::CpuTotal, Some(node.total.cpus));
                row.numbers.set(Figure::MemoryTotal, Some(node.total.memory_bytes));
                row.node_counters = node.counters;
                row.inherit(&mut of_nodes, span)
            })
            .collect();
        let mut of_frameworks = before.frameworks.into_iter().peekable();
        self.frameworks = frameworks
            .into_iter()
            .map(|framework| {
                let mut row = Row::new(framework.id, framework.name, framework.state);
                row.is_alive = framework.state != "over";
                row.numbers.asked(framework.allocated);
                row.inherit(&mut of_frameworks, span)
            })
            .collect();
        self.sum_up(span.is_some());
    }

    /// Sums of nodes, frameworks and the cluster out of their tasks'. Before there are rates, nobody's is known.
    fn sum_up(&mut self, has_rates: bool) {
        let mut nodes = vec![Sum::default(); self.nodes.len()];
        let mut frameworks = vec![Sum::default(); self.frameworks.len()];
        let mut counts = (vec![0_u32; self.nodes.len()], vec![0_u32; self.frameworks.len()]);
        // Tasks of one executor share a container: its figures count once.
        let mut seen = BTreeSet::new();
        for row in self.tasks.iter().filter(|row| row.is_alive) {
            let framework = row.framework.expect("a task has a framework") as usize;
            counts.1[framework] += 1;
            if let Some(node) = row.node {
                counts.0[node as usize] += 1;
            }
            let is_new = row.executor.is_empty() || seen.insert((framework, row.node, &*row.executor));
            let mut part = row.numbers;
            for asked in [Figure::CpuAsked, Figure::MemoryAsked] {
                part.set(asked, None); // The master has the sums, executors' own included.
            }
            if is_new {
                frameworks[framework].add(&part);
                if let Some(node) = row.node {
                    nodes[node as usize].add(&part);
                }
            }
        }
        let mut all = Sum::default();
        for (row, (sum, count)) in self.nodes.iter_mut().zip(nodes.iter().zip(counts.0)) {
            row.gather(sum, count, has_rates);
            all.add(&row.numbers);
        }
        for (row, (sum, count)) in self.frameworks.iter_mut().zip(frameworks.iter().zip(counts.1)) {
            row.gather(sum, count, has_rates);
        }
        let totals = &mut self.totals;
        totals.tasks_alive = self.tasks.iter().filter(|row| row.is_alive).count();
        totals.nodes_active = self.nodes.iter().filter(|row| row.is_alive).count();
        totals.numbers = all.numbers();
        let get = |figure| totals.numbers.get(figure);
        let both = |one, other| Some(get(one)? + get(other)?);
        totals.cpu.push(get(Figure::Cpu));
        totals.memory.push(get(Figure::Memory));
        totals.net.push(both(Figure::NetRx, Figure::NetTx));
        totals.io.push(both(Figure::IoRead, Figure::IoWrite));
    }
}

/// What rows are in the order of; a node or framework has no framework.
fn task_key<'a>(row: &'a Row, frameworks: &'a [Row]) -> (&'a str, &'a str) {
    (row.framework.map_or("", |at| &frameworks[at as usize].id), &row.id)
}

fn task_row(task: Task, same: Option<Row>, span: Option<Duration>) -> Row {
    let Task { framework, node, id, executor, container, state, asked, counters } = task;
    let TaskState(name) = state;
    let mut row = Row::new(id, Box::default(), name);
    (row.is_alive, row.framework, row.node) = (state.is_alive(), Some(framework), node);
    (row.executor, row.container) = (executor, container);
    row.numbers.asked(asked);
    let earlier = same.as_ref().and_then(|same| same.counters.as_ref().zip(span));
    // What an ended task used is no rate any more.
    if let Some(counters) = counters.filter(|_| row.is_alive) {
        // The same report once more: nothing is known of the time since.
        let same_report = same.as_ref().filter(|same| {
            let before = same.counters.as_ref().and_then(|it| it.at);
            before.is_some() && before == counters.at
        });
        match same_report {
            Some(same) => {
                row.repeats = same.repeats.saturating_add(1);
                if row.repeats < REPEATS_MAX {
                    row.numbers.keep(&same.numbers);
                }
            }
            None => row.numbers.measure(&counters, earlier),
        }
        row.sources = counters.usage.sources;
        row.counters = Some(counters);
    }
    if let Some(same) = same {
        row.cpu = same.cpu;
    }
    row.cpu.push(row.numbers.get(Figure::Cpu));
    row
}

impl Row {
    fn new(id: Box<str>, name: Box<str>, state: &'static str) -> Self {
        Self {
            id,
            name,
            state,
            is_alive: true,
            framework: None,
            node: None,
            executor: Box::default(),
            container: Box::default(),
            address: Box::default(),
            numbers: Numbers::default(),
            sources: Sources::default(),
            cpu: History::default(),
            counters: None,
            node_counters: None,
            repeats: 0,
        }
    }

    /// Takes over the past of the row with the same id; `old` is in the order of ids and is asked in that order.
    fn inherit(mut self, old: &mut Peekable<IntoIter<Self>>, span: Option<Duration>) -> Self {
        let mut earlier = None;
        while let Some(row) = old.next_if(|row| row.id <= self.id) {
            if row.id == self.id {
                self.cpu = row.cpu;
                earlier = row.node_counters;
            }
        }
        if let Some(counters) = &self.node_counters {
            self.numbers.measure_node(counters, earlier.as_ref().zip(span));
        }
        self
    }

    /// Its parts' sum, besides what it knows of itself.
    fn gather(&mut self, sum: &Sum, tasks: u32, has_rates: bool) {
        let own = self.numbers;
        self.numbers = sum.numbers();
        for figure in OWN {
            self.numbers.set(figure, own.get(figure).map(f64::from));
        }
        self.numbers.set(Figure::Tasks, Some(f64::from(tasks)));
        if tasks == 0 {
            // Nothing runs there: that uses nothing, which is known.
            self.numbers.set(Figure::Cpu, has_rates.then_some(0.0));
            self.numbers.set(Figure::Memory, Some(0.0));
        }
        self.cpu.push(self.numbers.get(Figure::Cpu));
    }
}
