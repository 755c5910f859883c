//! One chunk of the table: a column per figure, and a version per row that tells readers whether what they saw was whole.

use super::Figures;
use model::usage::{Source, Usage};
use std::sync::atomic::{AtomicU64, Ordering, fence};

/// Rows of a chunk. A column of a chunk is 2 KiB: what scans one column touches nothing of the others.
pub(super) const ROWS: usize = 256;

/// Columns: the counters of [`Usage`], and one that packs what is small (see [`pack`]).
const COLUMNS: usize = 20;

type Column = [AtomicU64; ROWS];

/// `version` is written by the one [`super::Writer`] and read by everyone: odd while the row is being written. The
/// writer's release fence after making it odd, and its release store when making it even, pair with the reader's acquire
/// load before and acquire fence after it looks at the columns; the columns themselves are relaxed.
pub(super) struct Chunk {
    version: Column,
    generation: Column,
    columns: [Column; COLUMNS],
}

impl Default for Chunk {
    fn default() -> Self {
        let column = || std::array::from_fn(|_| AtomicU64::new(0));
        Self { version: column(), generation: column(), columns: std::array::from_fn(|_| column()) }
    }
}

impl Chunk {
    pub(super) fn write(&self, at: usize, generation: u32, figures: &Figures) {
        let version = self.version[at].load(Ordering::Relaxed);
        self.version[at].store(version + 1, Ordering::Relaxed);
        fence(Ordering::Release);
        self.generation[at].store(u64::from(generation), Ordering::Relaxed);
        for (column, figure) in self.columns.iter().zip(pack(figures)) {
            column[at].store(figure, Ordering::Relaxed);
        }
        self.version[at].store(version + 2, Ordering::Release);
    }

    /// Looks until it has seen a row that was whole. The writer is never interrupted by us, so this ends as soon as the
    /// writing thread gets its few dozen stores done.
    pub(super) fn read(&self, at: usize, generation: u32) -> Option<Figures> {
        loop {
            let before = self.version[at].load(Ordering::Acquire);
            let seen = self.generation[at].load(Ordering::Relaxed);
            let figures: [u64; COLUMNS] =
                std::array::from_fn(|column| self.columns[column][at].load(Ordering::Relaxed));
            fence(Ordering::Acquire);
            if before.is_multiple_of(2) && self.version[at].load(Ordering::Relaxed) == before {
                return (seen == u64::from(generation)).then(|| unpack(&figures));
            }
            std::thread::yield_now();
        }
    }
}

/// Figures as words, in the order of the columns. The last word holds the three sources (two bits each, as in
/// [`source`]) and whether the figures are final.
fn pack(figures: &Figures) -> [u64; COLUMNS] {
    let u = &figures.usage;
    let sources = [u.cpu_source, u.memory_source, u.network_source];
    let small = sources.iter().fold(u64::from(figures.is_final), |word, &source| word << 2 | source as u64);
    [
        u.cpu_ns,
        u.cpu_user_ns,
        u.cpu_system_ns,
        u.switches_voluntary,
        u.switches_involuntary,
        u.throttled_periods,
        u.throttled_ns,
        u.memory_current_bytes,
        u.memory_peak_bytes,
        u.memory_anon_bytes,
        u.memory_file_bytes,
        u.oom_kills,
        u.net_rx_bytes,
        u.net_rx_packets,
        u.net_tx_bytes,
        u.net_tx_packets,
        u64::from(u.processes) << 32 | u64::from(u.threads),
        u.forks,
        u.exits,
        small,
    ]
}

fn unpack(words: &[u64; COLUMNS]) -> Figures {
    let small = words[COLUMNS - 1];
    let usage = Usage {
        cpu_ns: words[0],
        cpu_user_ns: words[1],
        cpu_system_ns: words[2],
        switches_voluntary: words[3],
        switches_involuntary: words[4],
        throttled_periods: words[5],
        throttled_ns: words[6],
        memory_current_bytes: words[7],
        memory_peak_bytes: words[8],
        memory_anon_bytes: words[9],
        memory_file_bytes: words[10],
        oom_kills: words[11],
        net_rx_bytes: words[12],
        net_rx_packets: words[13],
        net_tx_bytes: words[14],
        net_tx_packets: words[15],
        processes: (words[16] >> 32) as u32,
        threads: words[16] as u32,
        forks: words[17],
        exits: words[18],
        cpu_source: source(small >> 4),
        memory_source: source(small >> 2),
        network_source: source(small),
    };
    Figures { usage, is_final: small >> 6 & 1 == 1 }
}

fn source(bits: u64) -> Source {
    match bits & 3 {
        0 => Source::Bpf,
        1 => Source::Cgroup,
        2 => Source::Proc,
        _ => Source::None,
    }
}

// `pack` writes sources by their discriminants and `source` reads them back.
const _: () = assert!(Source::Bpf as u8 == 0 && Source::Cgroup as u8 == 1);
const _: () = assert!(Source::Proc as u8 == 2 && Source::None as u8 == 3);
