//! The table's one writer: which rows, banks and nodes are whose. What a report writes is in `block.rs`.

use super::bank::FINAL;
use super::{BANK_ROWS, Figures, NodeRow, Place, Row, Table};
use model::id::ContainerId;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use wire::report::word_of;

/// Not cloneable, so that a row has one writer.
#[derive(Debug)]
pub struct Writer {
    pub(super) table: Arc<Table>,
    /// By index: every row ever handed out.
    rows: Vec<RowState>,
    free_rows: Vec<u32>,
    pub(super) banks: Vec<BankState>,
    free_banks: Vec<usize>,
    /// Places of the last banks that are free, and how many were ever used.
    free_last: Vec<usize>,
    used_last: usize,
    /// By index: the generation of each node's row.
    nodes: Vec<u32>,
    free_nodes: Vec<u32>,
    /// Rows of containers whose session has ended, while somebody shows them: their history goes on when they come back.
    orphans: BTreeMap<ContainerId, Row>,
}

#[derive(Debug)]
pub(super) struct RowState {
    generation: u32,
    place: Place,
    /// Under which name it is among the orphans.
    orphan: Option<ContainerId>,
}

/// A live bank.
#[derive(Debug, Default)]
pub(super) struct BankState {
    /// As the bank's cells are to be after the next report.
    pub(super) owners: [u64; BANK_ROWS],
    pub(super) born: [u64; BANK_ROWS],
    /// Columns that may hold something else than zeros.
    pub(super) written: u128,
    /// Rows, a bit each, that had no report yet: no rate can be told.
    pub(super) fresh: u8,
    /// Rows whose figures were taken over and must not step back.
    pub(super) held: u8,
    /// A session writes it; otherwise it is free once nobody owns a row of it.
    is_attached: bool,
}

impl Writer {
    pub(super) fn new(table: Arc<Table>) -> Self {
        Self {
            table,
            rows: Vec::new(),
            free_rows: Vec::new(),
            banks: Vec::new(),
            free_banks: Vec::new(),
            free_last: Vec::new(),
            used_last: 0,
            nodes: Vec::new(),
            free_nodes: Vec::new(),
            orphans: BTreeMap::new(),
        }
    }

    /// A row for a container that has none; it stands nowhere yet. `None` when there are [`ROWS_MAX`](super::ROWS_MAX) twice
    /// over.
    pub fn allocate(&mut self) -> Option<Row> {
        if let Some(index) = self.free_rows.pop() {
            return Some(Row { index, generation: self.rows[index as usize].generation });
        }
        let index = self.rows.len();
        self.table.places.make(index).filter(|_| index < 2 * self.table.room.rows)?;
        self.rows.push(RowState { generation: 1, place: Place::Nowhere, orphan: None });
        Some(Row { index: u32::try_from(index).expect("fewer than 2^32 rows"), generation: 1 })
    }

    /// Whether the row is still the container's that it was given to.
    pub(super) fn is_known(&self, row: Row) -> bool {
        self.rows[row.index as usize].generation == row.generation
    }

    pub(super) fn place(&self, row: Row) -> Place {
        self.rows[row.index as usize].place
    }

    /// The row's container is forgotten. Whoever still holds the row reads `None` once what it stood on is used again.
    /// Harmless when it was forgotten before.
    pub fn release(&mut self, row: Row) {
        if !self.is_known(row) {
            return;
        }
        self.leave(row);
        let state = &mut self.rows[row.index as usize];
        state.generation = state.generation.wrapping_add(1).max(1);
        state.place = Place::Nowhere;
        if let Some(name) = state.orphan.take()
            && self.orphans.get(&name) == Some(&row)
        {
            self.orphans.remove(&name);
        }
        self.free_rows.push(row.index);
    }

    /// What the row stood on is free.
    fn leave(&mut self, row: Row) {
        match self.place(row) {
            Place::Nowhere => {}
            Place::Live(bank, at) => {
                self.banks[bank].owners[at] = 0;
                self.free_if_empty(bank);
            }
            Place::Last(bank, at) => self.free_last.push(bank * BANK_ROWS + at),
        }
    }

    /// To be called after what stands there was written.
    pub(super) fn move_to(&mut self, row: Row, place: Place) {
        self.leave(row);
        self.rows[row.index as usize].place = place;
        let cell = self.table.places.get(row.index as usize).expect("made when it was allocated");
        cell.store(place.word(), Ordering::Release);
    }

    /// Writes a container's last figures, for as long as they are shown; no history is kept with them. They are not
    /// written where the table is full.
    pub fn write_last(&mut self, row: Row, figures: &Figures) {
        let place = match self.place(row) {
            Place::Last(bank, at) => Some(bank * BANK_ROWS + at),
            _ => self.free_last.pop().or_else(|| {
                self.table.last.make(self.used_last / BANK_ROWS)?;
                (self.used_last < self.table.room.rows).then_some(())?;
                self.used_last += 1;
                Some(self.used_last - 1)
            }),
        };
        let Some(place) = place else { return };
        let (bank, at) = (place / BANK_ROWS, place % BANK_ROWS);
        let sources = word_of(figures.usage.sources) | if figures.is_final { FINAL } else { 0 };
        let cells = self.table.last.get(bank).expect("made above");
        cells.write_row(at, row.word(), sources, &figures.usage.to_words());
        if self.place(row) != Place::Last(bank, at) {
            self.move_to(row, Place::Last(bank, at));
        }
    }

    /// An empty bank for a session's containers.
    pub(super) fn take_bank(&mut self) -> Option<usize> {
        let bank = match self.free_banks.pop() {
            Some(bank) => bank,
            None => {
                let bank = self.banks.len();
                self.table.live.make(bank).filter(|_| bank < self.table.room.rows / BANK_ROWS)?;
                self.table.rings.make(bank)?;
                self.banks.push(BankState::default());
                bank
            }
        };
        self.banks[bank].is_attached = true;
        Some(bank)
    }

    /// No session writes the bank any more.
    pub(super) fn detach(&mut self, bank: usize) {
        self.banks[bank].is_attached = false;
        self.free_if_empty(bank);
    }

    fn free_if_empty(&mut self, bank: usize) {
        let state = &mut self.banks[bank];
        if !state.is_attached && state.owners == [0; BANK_ROWS] {
            (state.fresh, state.held) = (0, 0);
            self.free_banks.push(bank);
        }
    }

    /// The container's session has ended, and the row stays as it is.
    pub(super) fn orphan(&mut self, name: &ContainerId, row: Row) {
        self.rows[row.index as usize].orphan = Some(name.clone());
        self.orphans.insert(name.clone(), row);
    }

    /// The row that the container had in a session that has ended.
    pub(super) fn orphaned(&self, name: &ContainerId) -> Option<Row> {
        self.orphans.get(name).copied()
    }

    /// A container or a node finds no room.
    pub(super) fn refuse(&self) {
        self.table.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// How many rows, banks and last places were ever needed at once.
    #[cfg(test)]
    pub(super) fn sizes(&self) -> [usize; 3] {
        [self.rows.len(), self.banks.len(), self.used_last]
    }

    /// A row for a node that has none.
    pub fn allocate_node(&mut self) -> Option<NodeRow> {
        let index = match self.free_nodes.pop() {
            Some(index) => index,
            None => {
                let index = self.nodes.len();
                self.table.nodes.make(index).filter(|_| index < self.table.room.nodes)?;
                self.table.node_rings.make(index)?;
                self.nodes.push(1);
                u32::try_from(index).expect("fewer than 2^32 nodes")
            }
        };
        Some(NodeRow(Row { index, generation: self.nodes[index as usize] }))
    }

    pub(super) fn is_node_known(&self, row: NodeRow) -> bool {
        self.nodes[row.0.index as usize] == row.0.generation
    }

    /// The node is forgotten. Harmless when it was forgotten before.
    pub fn release_node(&mut self, row: NodeRow) {
        if self.is_node_known(row) {
            let generation = &mut self.nodes[row.0.index as usize];
            *generation = generation.wrapping_add(1).max(1);
            self.free_nodes.push(row.0.index);
        }
    }
}
