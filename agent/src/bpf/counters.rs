//! The containers' counters: entries are made before a container's first process and removed after its last; reading
//! sums the CPUs. Knows maps, not programs.

use std::collections::BTreeMap;
use std::os::fd::AsFd;

use agent_ebpf::{Counters, Memory, map};
use aya::maps::{HashMap, IterableMap, Map, MapData, MapError, PerCpuHashMap, PerCpuValues};
use aya::util::nr_cpus;

use super::batch::Batch;
use super::loader::Loaded;
use super::pins::PinsError;

/// Why a container cannot be counted.
#[derive(Debug, thiserror::Error)]
pub enum CountersError {
    #[error("the object has no map {name} of the expected kind")]
    NoMap {
        name: &'static str,
        #[source]
        source: Option<MapError>,
    },
    #[error("the number of CPUs cannot be read")]
    Cpus(#[source] std::io::Error),
    #[error("cannot add container {id} to the counters")]
    Add {
        id: u64,
        #[source]
        source: MapError,
    },
    #[error("cannot read the counters of container {id}")]
    Read {
        id: u64,
        #[source]
        source: MapError,
    },
    #[error("cannot read map {name}")]
    ReadAll {
        name: &'static str,
        #[source]
        source: std::io::Error,
    },
    #[error("cannot open the directory of container {id}")]
    Directory {
        id: u64,
        #[source]
        source: std::io::Error,
    },
    #[error("cannot keep the programs of sockets attached to container {id}")]
    Pin {
        id: u64,
        #[source]
        source: PinsError,
    },
    #[error("cannot attach the programs of sockets to container {id}")]
    Attach {
        id: u64,
        #[source]
        source: aya::programs::ProgramError,
    },
    #[error("cannot remove the counters of container {id}")]
    Remove {
        id: u64,
        #[source]
        source: MapError,
    },
}

/// The maps with one entry a container.
pub(super) struct ContainerMaps {
    counters: PerCpuHashMap<MapData, u64, [u64; Counters::WORDS]>,
    memory: HashMap<MapData, u64, [u64; Memory::WORDS]>,
    cpus: usize,
    batch: Batch,
}

impl ContainerMaps {
    pub(super) fn take(loaded: &mut Loaded) -> Result<Self, CountersError> {
        let no_map = |name| move |source| CountersError::NoMap { name, source: Some(source) };
        let mut take = |name| loaded.take_map(name).ok_or(CountersError::NoMap { name, source: None });
        let counters = PerCpuHashMap::try_from(take(map::CONTAINERS)?).map_err(no_map(map::CONTAINERS))?;
        let memory = HashMap::try_from(take(map::MEMORY)?).map_err(no_map(map::MEMORY))?;
        let cpus = nr_cpus().map_err(|(_, error)| CountersError::Cpus(error))?;
        Ok(Self { counters, memory, cpus, batch: Batch::default() })
    }

    /// From now on `id` is a container, with what the programs of another object have counted for it. What is resident is
    /// left to the next sweep, but for the peak. One that they did not know is none here either.
    pub(super) fn carry(&mut self, earlier: &Earlier, id: u64) -> Result<(), CountersError> {
        let read = |source| CountersError::Read { id, source };
        let Some(memory) = if_there(earlier.memory.get(&id, 0)).map_err(read)? else { return Ok(()) };
        let peak_pages = Memory::from_words(memory).peak_pages;
        let counters = || if_there(earlier.counters.get(&id, 0));
        let Some(counted) = counters().map_err(read)? else { return Ok(()) };
        let add = |source| CountersError::Add { id, source };
        insist(|| self.memory.insert(id, [0, peak_pages, 0, 0], NO_EXIST)).map_err(add)?;
        let copy = || PerCpuValues::try_from(counted.to_vec()).expect("one for each CPU there is");
        let done = insist(|| self.counters.insert(id, copy(), NO_EXIST));
        if done.is_err() {
            let _ = self.memory.remove(&id);
        }
        done.map_err(add)
    }

    /// From now on `id` is a container. Its counters start at zero; if it is one already, they stay as they are.
    pub(super) fn add(&mut self, id: u64) -> Result<(), CountersError> {
        let add = |source| CountersError::Add { id, source };
        // Memory first: a program that finds the container may want to write there.
        insist(|| self.memory.insert(id, [0; Memory::WORDS], NO_EXIST)).map_err(add)?;
        let done = insist(|| self.counters.insert(id, zeros(self.cpus), NO_EXIST));
        if done.is_err() {
            // Half a container would be listed nowhere and never removed.
            let _ = self.memory.remove(&id);
        }
        done.map_err(add)
    }

    /// Everything counted so far. `None`: not a container.
    pub(super) fn read(&self, id: u64) -> Result<Option<(Counters, Memory)>, CountersError> {
        let read = |source| CountersError::Read { id, source };
        let Some(counters) = self.read_counters(id)? else { return Ok(None) };
        let Some(memory) = if_there(self.memory.get(&id, 0)).map_err(read)? else { return Ok(None) };
        Ok(Some((counters, Memory::from_words(memory))))
    }

    /// Without the memory.
    pub(super) fn read_counters(&self, id: u64) -> Result<Option<Counters>, CountersError> {
        let read = |source| CountersError::Read { id, source };
        let Some(counters) = if_there(self.counters.get(&id, 0)).map_err(read)? else { return Ok(None) };
        let mut sum = Counters::default();
        for words in counters.iter() {
            sum.add(&Counters::from_words(*words));
        }
        Ok(Some(sum))
    }

    /// The same of all containers, by their ids; one system call for some hundred of them.
    pub(super) fn read_all(&mut self) -> Result<Vec<(u64, Counters, Memory)>, CountersError> {
        let read = |name| move |source| CountersError::ReadAll { name, source };
        let mut memory = BTreeMap::new();
        let fd = self.memory.map().fd().as_fd();
        self.batch
            .each(fd, 1, Memory::WORDS, |key, value| {
                let words = value.try_into().expect("as many as asked for");
                memory.insert(key[0], Memory::from_words(words));
            })
            .map_err(read(map::MEMORY))?;
        let mut all = Vec::new();
        let fd = self.counters.map().fd().as_fd();
        self.batch
            .each(fd, 1, Counters::WORDS * self.cpus, |key, value| {
                // Half a container is none.
                let Some(memory) = memory.get(&key[0]) else { return };
                let mut sum = Counters::default();
                for words in value.chunks_exact(Counters::WORDS) {
                    sum.add(&Counters::from_words(words.try_into().expect("a chunk is as long")));
                }
                all.push((key[0], sum, *memory));
            })
            .map_err(read(map::CONTAINERS))?;
        all.sort_unstable_by_key(|(id, ..)| *id);
        Ok(all)
    }

    /// Every container there is.
    pub(super) fn ids(&self) -> Vec<u64> {
        // An id that comes or goes meanwhile may be met or not; nobody but us adds or removes any.
        self.counters.keys().filter_map(Result::ok).collect()
    }

    /// From now on `id` is nobody's. Harmless if it never was.
    pub(super) fn remove(&mut self, id: u64) -> Result<(), CountersError> {
        let remove = |source| CountersError::Remove { id, source };
        if_there(self.counters.remove(&id)).map_err(remove)?;
        if_there(self.memory.remove(&id)).map_err(remove)?;
        Ok(())
    }
}

/// The same maps of another object with records of the same layout.
pub(super) struct Earlier {
    counters: PerCpuHashMap<MapData, u64, [u64; Counters::WORDS]>,
    memory: HashMap<MapData, u64, [u64; Memory::WORDS]>,
}

impl Earlier {
    /// `None`: they are not what they are called.
    pub(super) fn open(counters: Map, memory: Map) -> Option<Self> {
        Some(Self { counters: counters.try_into().ok()?, memory: memory.try_into().ok()? })
    }
}

/// How often an insertion is tried again while the kernel's reserve is empty: some milliseconds.
const INSERT_TRIES: u32 = 1_000;

/// `BPF_NOEXIST` of include/uapi/linux/bpf.h.
pub(super) const NO_EXIST: u64 = 1;

fn errno(error: &MapError) -> Option<i32> {
    match error {
        MapError::SyscallError(error) => error.io_error.raw_os_error(),
        _ => None,
    }
}

fn zeros(cpus: usize) -> PerCpuValues<[u64; Counters::WORDS]> {
    PerCpuValues::try_from(vec![[0; Counters::WORDS]; cpus]).expect("one for each CPU there is")
}

/// Inserts; what is there already may stay. The kernel takes new entries from a small reserve that it refills in the
/// background, so a burst of them may find it empty for a moment.
fn insist(mut insert: impl FnMut() -> Result<(), MapError>) -> Result<(), MapError> {
    for _ in 0..INSERT_TRIES {
        match insert() {
            Err(error) if errno(&error) == Some(libc::EEXIST) => return Ok(()),
            Err(error) if errno(&error) == Some(libc::ENOMEM) => std::thread::yield_now(),
            done => return done,
        }
    }
    insert()
}

pub(super) fn if_there<T>(done: Result<T, MapError>) -> Result<Option<T>, MapError> {
    match done {
        Ok(value) => Ok(Some(value)),
        Err(MapError::KeyNotFound) => Ok(None),
        Err(error) if errno(&error) == Some(libc::ENOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use agent_ebpf::Histogram;
    use model::latency::Latency;

    /// The two crates may not know each other; here they are held together.
    #[test]
    fn the_programs_keep_durations_as_the_model_does() {
        assert_eq!(Histogram::BUCKETS, Latency::BUCKETS);
        let near = |power: u32| [-1_i64, 0, 1].map(|by| (1_u64 << power).wrapping_add_signed(by));
        for ns in (0..64).flat_map(near).chain([0, u64::MAX]) {
            assert_eq!(Histogram::bucket(ns), Latency::bucket(ns), "{ns} ns");
        }
    }
}
