//! What the containers did on block devices: the reading side of the map that the programs fill and only the agent empties.

use std::os::fd::AsFd;

use agent_ebpf::io::{DeviceCounters, DeviceKey};
use agent_ebpf::map;
use aya::maps::{Array, IterableMap, Map, MapData, PerCpuHashMap};
use aya::util::nr_cpus;
use model::latency::Latency;
use model::usage::Device;

use super::batch::Batch;
use super::counters::{CountersError, NO_EXIST};
use super::loader::Loaded;

/// The map, and its rows as they were last read, by container.
pub(super) struct Devices {
    map: PerCpuHashMap<MapData, [u64; DeviceKey::WORDS], [u64; DeviceCounters::WORDS]>,
    lost: Array<MapData, u64>,
    cpus: usize,
    batch: Batch,
    rows: Vec<(DeviceKey, DeviceCounters)>,
}

impl Devices {
    pub(super) fn take(loaded: &mut Loaded) -> Result<Self, CountersError> {
        let no_map = |name| move |source| CountersError::NoMap { name, source: Some(source) };
        let mut take = |name| loaded.take_map(name).ok_or(CountersError::NoMap { name, source: None });
        let map = PerCpuHashMap::try_from(take(map::DEVICES)?).map_err(no_map(map::DEVICES))?;
        let lost = Array::try_from(take(map::IO_LOST)?).map_err(no_map(map::IO_LOST))?;
        let cpus = nr_cpus().map_err(|(_, error)| CountersError::Cpus(error))?;
        Ok(Self { map, lost, cpus, batch: Batch::default(), rows: Vec::new() })
    }

    /// Takes on the rows of these containers from another object's map with records of the same layout. Requests that are
    /// on their way are the other object's still, and lost.
    pub(super) fn carry(&mut self, earlier: Map, containers: &[u64]) -> Result<(), CountersError> {
        type Rows = PerCpuHashMap<MapData, [u64; DeviceKey::WORDS], [u64; DeviceCounters::WORDS]>;
        let read = |source| CountersError::NoMap { name: map::DEVICES, source: Some(source) };
        let earlier = Rows::try_from(earlier).map_err(read)?;
        for row in &earlier {
            let (key, counters) = row.map_err(read)?;
            if containers.binary_search(&key[0]).is_ok() {
                self.map.insert(key, counters, NO_EXIST).map_err(read)?;
            }
        }
        Ok(())
    }

    /// Takes on how many requests another object has lost.
    pub(super) fn carry_lost(&mut self, earlier: Map) {
        let earlier = Array::<MapData, u64>::try_from(earlier).and_then(|it| it.get(&0, 0));
        if let Ok(lost @ 1..) = earlier {
            // A count of losses that cannot be kept begins anew.
            let _ = self.lost.set(0, self.lost().saturating_add(lost), 0);
        }
    }

    /// Reads every row.
    pub(super) fn refresh(&mut self) -> Result<(), CountersError> {
        let Self { map, cpus, batch, rows, .. } = self;
        rows.clear();
        let read = batch.each(
            map.map().fd().as_fd(),
            DeviceKey::WORDS,
            DeviceCounters::WORDS * *cpus,
            |key, value| {
                let mut sum = DeviceCounters::default();
                for words in value.chunks_exact(DeviceCounters::WORDS) {
                    sum.add(&DeviceCounters::from_words(words.try_into().expect("a chunk is as long")));
                }
                rows.push((DeviceKey::from_words(key.try_into().expect("as many as asked for")), sum));
            },
        );
        rows.sort_unstable_by_key(|(key, _)| (key.container, key.device));
        read.map_err(|source| CountersError::ReadAll { name: map::DEVICES, source })
    }

    /// A container's devices at the last [`Devices::refresh`].
    pub(super) fn of(&self, id: u64) -> Vec<Device> {
        self.rows[self.range(id)].iter().map(|(key, counters)| device(key, counters)).collect()
    }

    /// Makes room: a container that is no more. To be called when the programs do not count for it any more, after a
    /// refresh.
    pub(super) fn forget(&mut self, id: u64) {
        for (key, _) in self.rows.drain(self.range(id)) {
            // A row that cannot be removed takes up room, and nothing more.
            let _ = self.map.remove(&[key.container, key.device]);
        }
    }

    /// Completions that found no room for another device of a container, of all containers, ever.
    pub(super) fn lost(&self) -> u64 {
        self.lost.get(&0, 0).unwrap_or(0)
    }

    fn range(&self, id: u64) -> std::ops::Range<usize> {
        let from = self.rows.partition_point(|(key, _)| key.container < id);
        let length = self.rows[from..].partition_point(|(key, _)| key.container == id);
        from..from + length
    }
}

fn device(key: &DeviceKey, counters: &DeviceCounters) -> Device {
    Device {
        major: key.major(),
        minor: key.minor(),
        read_bytes: counters.read.bytes,
        read_ops: counters.read.ops,
        write_bytes: counters.write.bytes,
        write_ops: counters.write.ops,
        latency: Latency { buckets: counters.latency.buckets, sum_ns: counters.latency.sum_ns },
    }
}
