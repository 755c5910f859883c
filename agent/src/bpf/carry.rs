//! Another object: what an earlier agent's programs have counted goes on in the maps of ours. Knows which map goes into
//! which; how a map is written, its own file knows.
//!
//! Both sets of programs run for a moment. That counts nothing twice: ours know a container only from the moment on that
//! it stands in our maps, with what the others had counted until then, and the others are not asked again. Lost is what
//! happens to a container between the two: microseconds of events; of threads that run just then, what they run until
//! ours follow them (some milliseconds at most, and only of the figures that `cpu.stat` does not have too); and block
//! requests that are on their way. Events that nobody has drained go with the ring they lie in.
//!
//! The finished set stays the earlier one until everything is copied: an agent that dies over this has changed nothing.

use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use agent_ebpf::map;
use aya::maps::{Map, MapData};
use aya::programs::{Program, RawTracePoint};
use aya::util::nr_cpus;

use super::batch::Batch;
use super::counters::{CountersError, Earlier};
use super::pins::Set;
use super::programs::{FLUSH, Hook};
use super::sockets::Counted;
use super::{Kernel, loader};

/// What became of the containers of earlier sets.
#[derive(Debug, Default)]
pub(super) struct Carried {
    /// Those that count on.
    pub(super) containers: Vec<u64>,
    /// How many of all have counters that begin anew, for they could not be read or there was no room.
    pub(super) anew: u64,
}

impl Kernel {
    /// Takes on what earlier sets have counted for containers below `root`.
    pub(super) fn carry_over(&mut self, root: &Path) -> Carried {
        let mut carried = Carried::default();
        let sets = self.loaded.earlier();
        if sets.is_empty() {
            return carried;
        }
        let directories = directories(root);
        for set in &sets {
            self.carry_set(set, &directories, &mut carried);
        }
        // From here on every task of theirs is followed.
        if let Err(error) = self.refresh() {
            tracing::debug!(%error, "tasks of an earlier agent are followed from the next look on");
        }
        tracing::info!(
            containers = carried.containers.len(),
            anew = carried.anew,
            "took on what an agent with other programs had counted"
        );
        carried
    }

    fn carry_set(&mut self, set: &Set, directories: &BTreeMap<u64, PathBuf>, carried: &mut Carried) {
        let mut ids = ids(set).unwrap_or_default();
        ids.sort_unstable();
        flush(set);
        let rows = self.carry_rows(set, &ids);
        let counters = understood(set, map::CONTAINERS).zip(understood(set, map::MEMORY));
        let counters = counters.and_then(|(counters, memory)| Earlier::open(counters, memory));
        let sockets = understood(set, map::SOCKETS).and_then(|map| Counted::open(map).ok());
        for id in ids {
            let mut done = rows.is_some();
            match counters.as_ref().map(|earlier| self.containers.carry(earlier, id)) {
                Some(Ok(())) => carried.containers.push(id),
                failed => done = is_ok(id, failed),
            }
            let directory = directories.get(&id);
            // One whose directory is gone has its sockets' counters gone with it.
            if let (Some(directory), Some(own)) = (directory, &mut self.sockets) {
                let carry = |earlier| {
                    own.attach(&mut self.loaded, id, directory)?;
                    own.carry(earlier, id)
                };
                done &= is_ok(id, sockets.as_ref().map(carry));
            }
            carried.anew += u64::from(!done);
        }
    }

    /// Rows of more than a container; before these, so that no program of ours makes one meanwhile. `None`: some are lost.
    fn carry_rows(&mut self, set: &Set, ids: &[u64]) -> Option<()> {
        if let Some(lost) = open(set, map::IO_LOST) {
            self.devices.carry_lost(lost);
        }
        let pairs = understood(set, map::TAKEN).map(|map| self.pairs.carry(map, ids));
        let devices = understood(set, map::DEVICES).map(|map| self.devices.carry(map, ids));
        [pairs, devices].into_iter().all(|it| matches!(it, Some(Ok(())))).then_some(())
    }
}

/// Whether it went well; says why not. `None`: nothing is known of what was counted.
fn is_ok(id: u64, done: Option<Result<(), CountersError>>) -> bool {
    if let Some(Err(error)) = &done {
        let cause = error as &dyn std::error::Error;
        tracing::warn!(cause, id, "counters of an earlier agent's container begin anew");
    }
    matches!(done, Some(Ok(())))
}

/// Containers of a set, also of one that is not understood: its keys are ids at all times.
fn ids(set: &Set) -> Option<Vec<u64>> {
    let map = MapData::from_pin(set.map(map::CONTAINERS)).ok()?;
    let info = map.info().ok().filter(|info| info.key_size() == 8)?;
    let words = usize::try_from(info.value_size().div_ceil(8)).ok()? * nr_cpus().ok()?;
    let mut ids = Vec::new();
    Batch::default().each(map.fd().as_fd(), 1, words, |key, _| ids.push(key[0])).ok()?;
    Some(ids)
}

fn open(set: &Set, name: &str) -> Option<Map> {
    MapData::from_pin(set.map(name)).and_then(Map::from_map_data).ok()
}

/// A map whose words mean what they mean to us.
fn understood(set: &Set, name: &str) -> Option<Map> {
    set.is_understood(name).then(|| open(set, name)).flatten()
}

/// Has a set count what runs just now, as far as it can.
fn flush(set: &Set) {
    if let Ok(Program::RawTracePoint(program)) = Hook::OnDemand.pinned(&set.program(FLUSH)) {
        let program: RawTracePoint = program;
        let _ = loader::run_everywhere(&program);
    }
}

/// The containers' directories by their ids.
fn directories(root: &Path) -> BTreeMap<u64, PathBuf> {
    let entries = std::fs::read_dir(root).into_iter().flatten().flatten();
    entries.filter_map(|it| Some((it.metadata().ok()?.ino(), it.path()))).collect()
}
