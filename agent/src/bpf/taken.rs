//! Who took CPU from whom: the reading side of the map of pairs, which the programs fill and only the agent empties.

use std::collections::BTreeSet;
use std::os::fd::AsFd;

use agent_ebpf::{Counters, Pair, Taken, map, taker};
use aya::maps::{HashMap, IterableMap, Map, MapData};
use model::latency::Latency;

use super::batch::Batch;
use super::counters::{CountersError, NO_EXIST};
use super::loader::Loaded;
use crate::accounting::kernel::{self, RunQueue, Taker};

/// The map, and its rows as they were last read, by victim and taker.
pub(super) struct Pairs {
    map: HashMap<MapData, [u64; Pair::WORDS], [u64; Taken::WORDS]>,
    batch: Batch,
    rows: Vec<(Pair, Taken)>,
    /// Containers that are no more.
    gone: BTreeSet<u64>,
}

/// How many are remembered. Only a victim that has not run since its taker went brings a row of it in late.
const GONE_MAX: usize = 4_096;

impl Pairs {
    pub(super) fn take(loaded: &mut Loaded) -> Result<Self, CountersError> {
        let no_map = |source| CountersError::NoMap { name: map::TAKEN, source };
        let map = loaded.take_map(map::TAKEN).ok_or(no_map(None))?;
        let map = HashMap::try_from(map).map_err(|error| no_map(Some(error)))?;
        Ok(Self { map, batch: Batch::default(), rows: Vec::new(), gone: BTreeSet::new() })
    }

    /// Takes on the rows of these victims from another object's map with records of the same layout.
    pub(super) fn carry(&mut self, earlier: Map, victims: &[u64]) -> Result<(), CountersError> {
        let read = |source| CountersError::NoMap { name: map::TAKEN, source: Some(source) };
        let earlier =
            HashMap::<MapData, [u64; Pair::WORDS], [u64; Taken::WORDS]>::try_from(earlier).map_err(read)?;
        for row in &earlier {
            let (pair, taken) = row.map_err(read)?;
            if victims.binary_search(&pair[0]).is_ok() {
                self.map.insert(pair, taken, NO_EXIST).map_err(read)?;
            }
        }
        Ok(())
    }

    /// Reads every row.
    pub(super) fn refresh(&mut self) -> Result<(), CountersError> {
        let Self { map, batch, rows, gone: _ } = self;
        rows.clear();
        let read = batch.each(map.map().fd().as_fd(), Pair::WORDS, Taken::WORDS, |key, value| {
            let pair = Pair::from_words(key.try_into().expect("as many as asked for"));
            rows.push((pair, Taken::from_words(value.try_into().expect("as many as asked for"))));
        });
        rows.sort_unstable_by_key(|(pair, _)| (pair.victim, pair.taker));
        self.fold();
        read.map_err(|source| CountersError::ReadAll { name: map::TAKEN, source })
    }

    /// What is known of a container's waits: its counters, and its rows at the last [`Pairs::refresh`].
    pub(super) fn run_queue(&self, id: u64, counters: &Counters) -> RunQueue {
        let waits = &counters.waits;
        let said = |by, taken: &Taken| kernel::Taken { by, count: taken.count, waited_ns: taken.waited_ns };
        let rows = self.of(id).iter().map(|(pair, taken)| {
            let by = match pair.taker {
                taker::SYSTEM => Taker::System,
                taker::AGENT => Taker::Agent,
                taker::GONE => Taker::Gone,
                container => Taker::Cgroup(container),
            };
            said(by, taken)
        });
        let others = [
            said(Taker::Cgroup(id), &waits.own),
            said(Taker::Limit, &waits.limited),
            said(Taker::Untold, &waits.untold),
        ];
        RunQueue {
            latency: Latency { buckets: waits.latency.buckets, sum_ns: waits.latency.sum_ns },
            taken: rows.chain(others.into_iter().filter(|it| it.count > 0)).collect(),
        }
    }

    fn of(&self, victim: u64) -> &[(Pair, Taken)] {
        let from = self.rows.partition_point(|(pair, _)| pair.victim < victim);
        let length = self.rows[from..].partition_point(|(pair, _)| pair.victim == victim);
        &self.rows[from..from + length]
    }

    /// Makes room: a container that is no more is a victim no longer, and what it took from others stays theirs under
    /// another name. To be called when the programs do not count for it any more.
    pub(super) fn forget(&mut self, id: u64) {
        self.gone.insert(id);
        if self.gone.len() > GONE_MAX {
            // Ids grow, so this is the oldest.
            self.gone.pop_first();
        }
        self.fold();
    }

    fn fold(&mut self) {
        let is_gone =
            |(pair, _): &(Pair, Taken)| self.gone.contains(&pair.victim) || self.gone.contains(&pair.taker);
        if !self.rows.iter().any(is_gone) {
            return;
        }
        let (gone, kept) = std::mem::take(&mut self.rows).into_iter().partition(is_gone);
        self.rows = kept;
        let gone: Vec<(Pair, Taken)> = gone;
        for (pair, taken) in gone {
            // A row that cannot be removed takes up room, and nothing more.
            let removed = self.map.remove(&[pair.victim, pair.taker]).is_ok();
            if removed && !self.gone.contains(&pair.victim) {
                self.add_gone(pair.victim, taken);
            }
        }
    }

    /// Only the agent writes these rows, so to read and to write back loses nothing.
    fn add_gone(&mut self, victim: u64, taken: Taken) {
        let key = [victim, taker::GONE];
        let mut sum = Taken::from_words(self.map.get(&key, 0).unwrap_or_default());
        sum.add(&taken);
        // A row has just become free.
        let _ = self.map.insert(key, [sum.count, sum.waited_ns], 0);
        let pair = Pair { victim, taker: taker::GONE };
        let at = self.rows.binary_search_by_key(&(victim, taker::GONE), |(it, _)| (it.victim, it.taker));
        match at {
            Ok(at) => self.rows[at].1 = sum,
            Err(at) => self.rows.insert(at, (pair, sum)),
        }
    }
}
