//! What every container and every node uses: the newest figures, and a short history, as columns that anyone may read
//! while the network thread writes them.
//!
//! A usage report goes straight from the receive buffer into rows here ([`Writer::record`]); the cluster core only learns
//! which row belongs to which container. So a report costs the core nothing, and a reader of `/state` or of the metrics
//! sees figures newer than its snapshot.
//!
//! ```text
//! Row --places--> live bank, ring      eight rows of one agent, written by each of its reports
//!            \--> last bank            eight rows of containers that are over; no history
//! NodeRow ------> node, ring           one node
//! ```
//! One [`Writer`] owns everything; [`Table`] reads. Nothing blocks: banks and rings are guarded by versions
//! (`version.rs`), and a reader that meets one being written simply looks again.
//!
//! Memory: [`CONTAINER_BYTES`] a container that runs, in banks of eight of one agent; [`LAST_BYTES`] one that is over and
//! still shown. So a million containers that run take 2.1 GB where banks are full, 2.5 GB at 20 on an agent.

mod arrange;
mod bank;
mod block;
mod history;
mod line;
mod place;
mod slab;
mod sync;
mod version;
mod writer;

#[cfg(test)]
mod tests;

pub use block::{Block, Event};
pub use history::{HISTORY_BYTES, History, Sample, Series};
pub use writer::Writer;

use bank::Bank;
use history::Ring;
use model::time::UnixTime;
use model::usage::{NodeUsage, Usage};
use slab::Slab;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Containers that run, or are over and shown, at most, each: chunks are made when needed and never given back.
const ROWS_MAX: usize = 1 << 22;
/// Nodes at most.
const NODES_MAX: usize = 1 << 18;

/// Rows of a bank. A column of one is a line of the cache.
const BANK_ROWS: usize = wire::report::PART_ROWS;
/// Banks that are made at a time.
const BANKS: usize = 32;

type ContainerBank = Bank<BANK_ROWS, { Usage::WORDS }>;
type NodeBank = Bank<1, { NodeUsage::WORDS }>;

/// What a container that runs takes, bytes.
pub const CONTAINER_BYTES: usize = LAST_BYTES + size_of::<Ring<BANK_ROWS>>() / BANK_ROWS;
/// What a container that is over takes, bytes.
pub const LAST_BYTES: usize = size_of::<ContainerBank>() / BANK_ROWS + size_of::<AtomicU64>();

/// What the writer keeps besides of a container that runs, bytes.
pub const BOOK_BYTES: usize = size_of::<writer::RowState>() + size_of::<writer::BankState>() / BANK_ROWS;
/// What a node takes, bytes.
pub const NODE_BYTES: usize = size_of::<NodeBank>() + size_of::<Ring<1>>();

// A new figure costs 8 bytes a container. Whoever makes this fail says why it may be more.
const _: () = assert!(CONTAINER_BYTES <= 2_200 && LAST_BYTES <= 600);

/// Names the row of one container. A row is used again when its container is forgotten, under another generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Row {
    index: u32,
    generation: u32,
}

impl Row {
    /// As a word; never zero, as generations are not.
    fn word(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.index)
    }
}

/// Names the row of one node, as [`Row`] does that of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NodeRow(Row);

/// What a row says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    pub usage: Usage,
    /// The container is gone and these figures are its last.
    pub is_final: bool,
}

/// What a node's row says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeFigures {
    pub usage: NodeUsage,
    /// When it was so, by the agent's clock.
    pub timestamp: UnixTime,
}

/// Where a row stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Nothing was reported yet.
    Nowhere,
    /// Bank and row.
    Live(usize, usize),
    Last(usize, usize),
}

impl Place {
    fn word(self) -> u64 {
        let at = |bank: usize, row: usize| (bank * BANK_ROWS + row) as u64;
        match self {
            Self::Nowhere => 0,
            Self::Live(bank, row) => 1 << 62 | at(bank, row),
            Self::Last(bank, row) => 1 << 63 | at(bank, row),
        }
    }

    fn of(word: u64) -> Self {
        let at = (word & ((1 << 62) - 1)) as usize;
        match word >> 62 {
            1 => Self::Live(at / BANK_ROWS, at % BANK_ROWS),
            2 => Self::Last(at / BANK_ROWS, at % BANK_ROWS),
            _ => Self::Nowhere,
        }
    }
}

/// The readers' side.
pub struct Table {
    /// By the row's index: a [`Place`]; see `place.rs` for its order with what stands there.
    places: Slab<AtomicU64, 4096>,
    live: Slab<ContainerBank, BANKS>,
    /// Histories of the live banks.
    rings: Slab<Ring<BANK_ROWS>, BANKS>,
    last: Slab<ContainerBank, BANKS>,
    nodes: Slab<NodeBank, BANKS>,
    node_rings: Slab<Ring<1>, BANKS>,
    room: Room,
    /// Containers and nodes that found no room, each once a session.
    refused: AtomicU64,
}

/// How much there is place for.
#[derive(Clone, Copy, Debug)]
struct Room {
    /// Containers that run, or are over and shown, each.
    rows: usize,
    nodes: usize,
}

impl Table {
    /// How many containers and nodes found the table full, so that nothing is known of what they use; all others are
    /// measured as ever. One that comes back in another session and still finds no room counts again.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// The container's figures, or `None` when the row is another container's by now, or nothing was reported yet.
    pub fn read(&self, row: Row) -> Option<Figures> {
        Some(self.read_timed(row)?.0)
    }

    /// The same, and when it was so, by the agent's clock; `None` once the container is over.
    pub fn read_timed(&self, row: Row) -> Option<(Figures, Option<UnixTime>)> {
        let seen = place::find(self.places.get(row.index as usize)?, |place| match Place::of(place) {
            Place::Nowhere => None,
            Place::Live(bank, at) => self.live.get(bank)?.read(at, row.word()),
            Place::Last(bank, at) => self.last.get(bank)?.read(at, row.word()),
        })?;
        let figures = Figures { usage: Usage::from_words(seen.words, seen.sources), is_final: seen.is_final };
        Some((figures, (seen.timestamp > 0).then_some(UnixTime(seen.timestamp))))
    }

    /// What the container used lately; `None` as of [`Self::read`], and when it is over.
    pub fn history(&self, row: Row) -> Option<History> {
        place::find(self.places.get(row.index as usize)?, |place| match Place::of(place) {
            Place::Live(bank, at) => self.rings.get(bank)?.read(at, row.word()),
            Place::Nowhere | Place::Last(..) => None,
        })
    }

    /// The node's figures, or `None` when the row is another node's by now.
    pub fn node(&self, row: NodeRow) -> Option<NodeFigures> {
        let seen = self.nodes.get(row.0.index as usize)?.read(0, row.0.word())?;
        let usage = NodeUsage::from_words(seen.words, seen.sources);
        Some(NodeFigures { usage, timestamp: UnixTime(seen.timestamp) })
    }

    /// What the node used lately.
    pub fn node_history(&self, row: NodeRow) -> Option<History> {
        self.node_rings.get(row.0.index as usize)?.read(0, row.0.word())
    }
}

impl std::fmt::Debug for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (live, last, nodes) = (self.live.made(), self.last.made(), self.nodes.made());
        write!(f, "Table({} live rows, {} last, {nodes} nodes)", live * BANK_ROWS, last * BANK_ROWS)
    }
}

/// A new, empty table: who writes it, and what to read it by.
pub fn table() -> (Writer, Arc<Table>) {
    table_for(Room { rows: ROWS_MAX, nodes: NODES_MAX })
}

fn table_for(room: Room) -> (Writer, Arc<Table>) {
    let table = Arc::new(Table {
        places: Slab::new(2 * room.rows),
        live: Slab::new(room.rows / BANK_ROWS),
        rings: Slab::new(room.rows / BANK_ROWS),
        last: Slab::new(room.rows / BANK_ROWS),
        nodes: Slab::new(room.nodes),
        node_rings: Slab::new(room.nodes),
        room,
        refused: AtomicU64::new(0),
    });
    (Writer::new(Arc::clone(&table)), table)
}
