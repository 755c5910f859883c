//! A session's rows, and what its reports write. How rows come and go is in `arrange.rs`.
//!
//! A report that tells of the same containers as the one before is written without a look at a name: row `n` of the
//! message is row `n % 8` of the block's bank `n / 8`.

use super::history::{NOTHING, RATES, sample_of};
use super::writer::Writer;
use super::{BANK_ROWS, ContainerBank, Figures, NodeRow, Row};
use model::id::{ContainerId, ExecutorId, FrameworkId};
use model::time::UnixTime;
use model::usage::{Figure, Kind, NodeUsage, Usage};
use wire::WireError;
use wire::report::{Content, Member, Part, Report, Rows, Word};

/// Where the reports of one session go.
#[derive(Debug, Default)]
pub struct Block {
    /// The newest report; one that is older is passed over.
    sequence: u64,
    layout: u64,
    /// Of the newest report on running containers.
    timestamp: UnixTime,
    /// Row by row.
    pub(super) seats: Vec<Option<Seat>>,
    /// For the first `8 * banks.len()` rows. There is none for the others where the table is full, and nobody shows them.
    pub(super) banks: Vec<usize>,
    node: Option<NodeRow>,
    /// There was no room for it.
    is_node_refused: bool,
    /// Of the node's newest figures.
    node_timestamp: UnixTime,
}

/// Whose a row of the report is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seat {
    pub(super) container_id: ContainerId,
    pub(super) framework_id: FrameworkId,
    pub(super) executor_id: ExecutorId,
    /// `None` when its last figures have come, or the table is full.
    pub(super) row: Option<Row>,
}

/// What the core must hear.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The container's figures stand in the row from here on.
    Appeared { framework_id: FrameworkId, executor_id: ExecutorId, container_id: ContainerId, row: Row },
    /// Its last figures have been written to the row.
    Over { framework_id: FrameworkId, executor_id: ExecutorId, row: Row },
    /// The node's figures stand in the row from here on.
    Node(NodeRow),
}

impl Block {
    /// The session's node has a row already: its history goes on there.
    pub fn keep_node(&mut self, row: NodeRow) {
        self.node = Some(row);
    }
}

impl Seat {
    /// Shares the framework's id with the one before if it is the same.
    pub(super) fn of(member: &Member<'_>, before: Option<&Self>) -> Result<Self, WireError> {
        let framework_id = member.framework_id()?;
        let shared = before.map(|before| &before.framework_id).filter(|id| **id == framework_id).cloned();
        Ok(Self {
            container_id: member.container_id()?,
            framework_id: shared.unwrap_or(framework_id),
            executor_id: member.executor_id()?,
            row: None,
        })
    }

    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.container_id == other.container_id
            && self.framework_id == other.framework_id
            && self.executor_id == other.executor_id
    }

    pub(super) fn appeared(&self, row: Row) -> Event {
        Event::Appeared {
            framework_id: self.framework_id.clone(),
            executor_id: self.executor_id.clone(),
            container_id: self.container_id.clone(),
            row,
        }
    }

    pub(super) fn over(self, row: Row) -> Event {
        Event::Over { framework_id: self.framework_id, executor_id: self.executor_id, row }
    }
}

impl Writer {
    /// Writes down a report. Nothing is allocated unless containers come or go. A report that is damaged is refused, and
    /// the session ought to end: what it said before stands.
    pub fn record(
        &mut self,
        block: &mut Block,
        report: &Report<'_>,
        hear: &mut impl FnMut(Event),
    ) -> Result<(), WireError> {
        let content = report.content()?;
        if content.sequence <= block.sequence {
            return Ok(());
        }
        block.sequence = content.sequence;
        if !content.over.is_empty() {
            self.record_over(block, &content, hear)?;
        }
        if let Some(running) = &content.running {
            if let Some(members) = running.members {
                self.arrange(block, members, content.timestamp, hear)?;
                block.layout = running.layout;
            } else if running.layout != block.layout {
                return Err(WireError::Field { field: "layout", why: "is new and has no members".into() });
            }
            if running.rows.len() != block.seats.len() {
                return Err(WireError::Field {
                    field: "containers",
                    why: "are not those of the layout".into(),
                });
            }
            self.record_running(block, &running.rows, content.timestamp);
        }
        self.record_node(block, &content, hear);
        Ok(())
    }

    fn record_running(&mut self, block: &mut Block, rows: &Rows<'_>, timestamp: UnixTime) {
        let rate = Rate::between(block.timestamp, timestamp);
        block.timestamp = timestamp;
        let places = Sampled::of(rows);
        for (part, bank) in rows.parts().zip(&block.banks) {
            let cells = self.table.live.get(*bank).expect("a block's banks are made");
            let state = &mut self.banks[*bank];
            let mut samples = [NOTHING; BANK_ROWS];
            let told = places.columns(part);
            let fresh = if rate.is_known() { state.fresh } else { u8::MAX };
            let owned = samples.iter_mut().zip(&state.owners).enumerate().take(part.len());
            for (at, (sample, _)) in owned.filter(|(_, (_, owner))| **owner != 0) {
                *sample = told.sample(at, cells, rate) | if fresh >> at & 1 == 0 { 0 } else { RATES };
            }
            let ring = self.table.rings.get(*bank).expect("a bank's ring is made with it");
            ring.write(second(timestamp), &state.owners, &state.born, &samples);
            if state.held == 0 {
                cells.write(part, rows.told(), &state.owners, &mut state.written, timestamp.0);
            } else {
                let held = (&state.owners, state.held);
                state.held = cells.write_held(rows, part, held, &container::IS_COUNTER, timestamp.0);
                state.written = u128::MAX;
            }
            state.fresh = 0;
        }
    }

    fn record_node(&mut self, block: &mut Block, content: &Content<'_>, hear: &mut impl FnMut(Event)) {
        let rows = &content.node;
        let Some(part) = rows.parts().next() else { return };
        let is_new = block.node.is_none();
        let Some(row) = block.node.or_else(|| self.allocate_node()) else {
            if !std::mem::replace(&mut block.is_node_refused, true) {
                self.refuse();
            }
            return;
        };
        block.node = Some(row);
        // An agent that was removed has a session for a moment longer.
        if !self.is_node_known(row) {
            return;
        }
        let cells = self.table.nodes.get(row.0.index as usize).expect("made when it was allocated");
        let figure = |figure| rows.place(figure).map_or(0, |place| word(part.column(place), 0));
        let since = |column| figure(column).saturating_sub(cells.word(column, 0));
        let rate = Rate::between(block.node_timestamp, content.timestamp);
        block.node_timestamp = content.timestamp;
        let sample = sample_of(
            rate.of(since(node::CPU)),
            figure(node::MEMORY_TOTAL).saturating_sub(figure(node::MEMORY_AVAILABLE)),
            rate.of(since(node::NET_RX).saturating_add(since(node::NET_TX))),
            rate.of(since(node::RUN_QUEUE)),
        );
        let unknown = if rate.is_known() { 0 } else { RATES | 0xffff << 48 };
        let ring = self.table.node_rings.get(row.0.index as usize).expect("made with the node");
        let second = second(content.timestamp);
        let born = ring.born(0, row.0.word()).unwrap_or(second);
        ring.write(second, &[row.0.word()], &[born], &[sample | unknown]);
        // What the row's last node left there is written over, or made zero.
        cells.write(part, rows.told(), &[row.0.word()], &mut u128::MAX.clone(), content.timestamp.0);
        if is_new {
            hear(Event::Node(row));
        }
    }

    /// Last figures. Of a container that nobody has heard of, as it was over before it was first looked at, they are the
    /// only ones.
    fn record_over(
        &mut self,
        block: &mut Block,
        content: &Content<'_>,
        hear: &mut impl FnMut(Event),
    ) -> Result<(), WireError> {
        for (at, member) in content.over.iter().enumerate() {
            let Some(over) = member?.map(|member| Seat::of(&member, None)).transpose()? else { continue };
            let seat = block.seats.iter_mut().flatten().find(|seat| seat.is_same(&over));
            let row = match seat.map(|seat| seat.row.take()) {
                // Said twice.
                Some(None) => continue,
                // Shown by nobody.
                Some(Some(row)) if !self.is_known(row) => continue,
                Some(Some(row)) => row,
                None => {
                    let Some(row) = self.allocate() else { continue };
                    hear(over.appeared(row));
                    row
                }
            };
            let (words, sources) = content.over_figures.row(at).expect("as many as members");
            let usage = self.not_below(&over.container_id, row, Usage::from_words(words, sources));
            self.write_last(row, &Figures { usage, is_final: true });
            hear(over.over(row));
        }
        Ok(())
    }

    /// The figures, with counters that are lower than what is shown of the container raised to that.
    fn not_below(&self, name: &ContainerId, row: Row, usage: Usage) -> Usage {
        let shown = self.table.read(row).or_else(|| self.table.read(self.orphaned(name)?));
        let Some(shown) = shown else { return usage };
        let (mut words, shown) = (usage.to_words(), shown.usage.to_words());
        for ((word, shown), is_counter) in words.iter_mut().zip(shown).zip(container::IS_COUNTER) {
            *word = if is_counter { shown.max(*word) } else { *word };
        }
        Usage::from_words(words, usage.sources)
    }
}

/// What is used in a second, from what was used between two reports; in units of 2^-32. Zero where there was no report
/// before, or the agent's clock was set back.
#[derive(Clone, Copy)]
struct Rate(u64);

impl Rate {
    fn between(before: UnixTime, now: UnixTime) -> Self {
        let us = now.0.checked_sub(before.0).filter(|us| *us > 0 && before.0 > 0);
        Self(us.map_or(0, |us| (1_000_000 << 32) / us))
    }

    fn is_known(self) -> bool {
        self.0 > 0
    }

    fn of(self, used: u64) -> u64 {
        let used = (u128::from(used) * u128::from(self.0)) >> 32;
        if used >> 64 == 0 { used as u64 } else { u64::MAX }
    }
}

/// Where a report tells of running containers what history is made of.
#[derive(Clone, Copy)]
struct Sampled<Column> {
    cpu: Column,
    memory: Column,
    net_rx: Column,
    net_tx: Column,
    run_queue: Column,
}

impl Sampled<Option<usize>> {
    fn of(rows: &Rows<'_>) -> Self {
        Self {
            cpu: rows.place(container::CPU),
            memory: rows.place(container::MEMORY),
            net_rx: rows.place(container::NET_RX),
            net_tx: rows.place(container::NET_TX),
            run_queue: rows.place(container::RUN_QUEUE),
        }
    }

    /// The columns themselves; an empty one is zeros.
    fn columns<'a>(&self, part: Part<'a>) -> Sampled<&'a [Word]> {
        let column = |place: Option<usize>| place.map_or(&[][..], |place| part.column(place));
        Sampled {
            cpu: column(self.cpu),
            memory: column(self.memory),
            net_rx: column(self.net_rx),
            net_tx: column(self.net_tx),
            run_queue: column(self.run_queue),
        }
    }
}

impl Sampled<&[Word]> {
    /// Of row `at`, which stands in the cells as the report before told it.
    #[inline(always)]
    fn sample(&self, at: usize, cells: &ContainerBank, rate: Rate) -> u64 {
        let since = |column, before| word(column, at).saturating_sub(cells.word(before, at));
        let received = since(self.net_rx, container::NET_RX);
        let network = received.saturating_add(since(self.net_tx, container::NET_TX));
        let cpu = since(self.cpu, container::CPU);
        sample_of(rate.of(cpu), word(self.memory, at), rate.of(network), word(self.run_queue, at))
    }
}

fn word(column: &[Word], at: usize) -> u64 {
    column.get(at).map_or(0, |word| u64::from_le_bytes(*word))
}

pub(super) fn second(time: UnixTime) -> u64 {
    time.0 / 1_000_000
}

/// The columns that history is made of.
mod container {
    use super::{Figure, Kind, Usage, column};

    pub(super) const CPU: usize = column(Usage::FIGURES, "cpu_ns");
    pub(super) const MEMORY: usize = column(Usage::FIGURES, "memory_current_bytes");
    pub(super) const NET_RX: usize = column(Usage::FIGURES, "net_rx_bytes");
    pub(super) const NET_TX: usize = column(Usage::FIGURES, "net_tx_bytes");
    pub(super) const RUN_QUEUE: usize = column(Usage::FIGURES, "run_queue_p99_ns");

    /// Which columns only grow.
    pub(super) const IS_COUNTER: [bool; Usage::WORDS] = {
        let figures: &[Figure] = Usage::FIGURES;
        let (mut is_counter, mut at) = ([false; Usage::WORDS], 0);
        while at < Usage::WORDS {
            is_counter[at] = matches!(figures[at].kind, Kind::Counter);
            at += 1;
        }
        is_counter
    };
}

mod node {
    use super::{NodeUsage, column};

    pub(super) const CPU: usize = column(NodeUsage::FIGURES, "cpu_ns");
    pub(super) const MEMORY_TOTAL: usize = column(NodeUsage::FIGURES, "memory_total_bytes");
    pub(super) const MEMORY_AVAILABLE: usize = column(NodeUsage::FIGURES, "memory_available_bytes");
    pub(super) const NET_RX: usize = column(NodeUsage::FIGURES, "net_rx_bytes");
    pub(super) const NET_TX: usize = column(NodeUsage::FIGURES, "net_tx_bytes");
    pub(super) const RUN_QUEUE: usize = column(NodeUsage::FIGURES, "run_queue_ns");
}

/// Where a figure stands; a name that is none does not compile.
const fn column(figures: &[Figure], name: &str) -> usize {
    let mut at = 0;
    while at < figures.len() {
        let (one, other) = (figures[at].name.as_bytes(), name.as_bytes());
        let mut same = 0;
        while same < one.len() && same < other.len() && one[same] == other[same] {
            same += 1;
        }
        if same == one.len() && same == other.len() {
            return at;
        }
        at += 1;
    }
    panic!("no such figure")
}
