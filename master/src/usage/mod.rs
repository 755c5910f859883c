//! The newest figures of every container, as columns that anyone may read while the network thread writes them.
//!
//! A usage report is read where it lies in the receive buffer and goes straight into a row here; the cluster core only
//! learns which row belongs to which container. So a report costs the core nothing, and a reader of `/state` or of the
//! metrics sees figures newer than its snapshot.
//!
//! One [`Writer`] owns the table's rows; [`Table`] reads. Nothing blocks: a row is guarded by a version that is odd while
//! it is being written (`row.rs`), and a reader that meets one simply looks again.

mod row;

use model::usage::Usage;
use row::{Chunk, ROWS};
use std::sync::{Arc, OnceLock};

/// Rows of the table at most: chunks are made when needed and never given back. Four million containers.
const CHUNKS_MAX: usize = 1 << 14;

/// Names the row of one container. A row is used again when its container is forgotten, under another generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Row {
    index: u32,
    generation: u32,
}

/// What a row says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    pub usage: Usage,
    /// The container is gone and these figures are its last.
    pub is_final: bool,
}

/// The readers' side.
pub struct Table {
    /// Set once, from the front; a set chunk never moves.
    chunks: Box<[OnceLock<Box<Chunk>>]>,
}

impl Table {
    /// The row's figures, or `None` when it belongs to another container by now, or nothing was reported yet.
    pub fn read(&self, row: Row) -> Option<Figures> {
        let (chunk, at) = (row.index as usize / ROWS, row.index as usize % ROWS);
        self.chunks.get(chunk)?.get()?.read(at, row.generation)
    }
}

impl std::fmt::Debug for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let made = self.chunks.iter().take_while(|chunk| chunk.get().is_some()).count();
        write!(f, "Table({} rows)", made * ROWS)
    }
}

/// The only one that writes rows; not cloneable, so that a row has one writer.
#[derive(Debug)]
pub struct Writer {
    table: Arc<Table>,
    free: Vec<Row>,
    /// Rows ever handed out; those before it are in use or in `free`.
    used: u32,
}

/// A new, empty table: who writes it, and what to read it by.
pub fn table() -> (Writer, Arc<Table>) {
    let table = Arc::new(Table { chunks: (0..CHUNKS_MAX).map(|_| OnceLock::new()).collect() });
    (Writer { table: Arc::clone(&table), free: Vec::new(), used: 0 }, table)
}

impl Writer {
    /// A row for a container that has none. `None` when the table is full, which needs as many containers at once.
    pub fn allocate(&mut self) -> Option<Row> {
        if let Some(row) = self.free.pop() {
            return Some(row);
        }
        let chunk = self.table.chunks.get(self.used as usize / ROWS)?;
        chunk.get_or_init(Box::default);
        self.used += 1;
        Some(Row { index: self.used - 1, generation: 1 })
    }

    /// The row's container is forgotten. Whoever still holds the row reads `None` once it is used again.
    pub fn release(&mut self, row: Row) {
        self.free.push(Row { index: row.index, generation: row.generation.wrapping_add(1) });
    }

    pub fn write(&mut self, row: Row, figures: &Figures) {
        let (chunk, at) = (row.index as usize / ROWS, row.index as usize % ROWS);
        let chunk = self.table.chunks[chunk].get().expect("a row is allocated in a chunk that was made");
        chunk.write(at, row.generation, figures);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::usage::{Source, Sources};

    fn figures(n: u64) -> Figures {
        let usage = Usage {
            cpu_ns: n,
            net_tx_packets: n,
            processes: 3,
            threads: 7,
            sources: Sources { memory: Source::Cgroup, life: Source::Proc, ..Sources::default() },
            ..Usage::default()
        };
        Figures { usage, is_final: n.is_multiple_of(2) }
    }

    #[test]
    fn what_was_written_is_read_whole() {
        let (mut writer, table) = table();
        let rows: Vec<_> = (0..3000).map(|_| writer.allocate().expect("room")).collect();
        assert_eq!(table.read(rows[7]), None, "nothing was reported yet");
        for (n, &row) in (0..).zip(&rows) {
            writer.write(row, &figures(n));
        }
        for (n, &row) in (0..).zip(&rows) {
            assert_eq!(table.read(row), Some(figures(n)));
        }
    }

    #[test]
    fn a_row_used_again_says_nothing_to_its_old_owner() {
        let (mut writer, table) = table();
        let old = writer.allocate().expect("room");
        writer.write(old, &figures(1));
        writer.release(old);
        assert_eq!(table.read(old), Some(figures(1)), "released, but nobody has it yet");
        let new = writer.allocate().expect("room");
        assert_eq!(table.read(new), None, "the old figures are not the new container's");
        writer.write(new, &figures(2));
        assert_eq!((table.read(old), table.read(new)), (None, Some(figures(2))));
    }

    /// A torn read would show a `cpu_ns` of one report beside the packets of another.
    #[test]
    fn a_reader_never_sees_half_of_a_report() {
        let (mut writer, table) = table();
        let row = writer.allocate().expect("room");
        writer.write(row, &figures(0));
        let reader = std::thread::spawn(move || {
            let mut last = 0;
            while last < 200_000 {
                let seen = table.read(row).expect("reported").usage;
                assert_eq!(seen.cpu_ns, seen.net_tx_packets);
                assert!(seen.cpu_ns >= last, "time went back");
                last = seen.cpu_ns;
            }
        });
        (1..=200_000).for_each(|n| writer.write(row, &figures(n)));
        reader.join().expect("the reader saw whole reports");
    }
}
