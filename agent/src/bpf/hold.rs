//! Containers held to limits for which cgroups have no files: which devices they may open, how fast their packets leave.
//! What holds a container is attached to its own directory, stays there while no agent runs, and goes with the directory:
//! nothing is pinned, and nothing of it depends on what is measured.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use agent_ebpf::hold::{EgressLimit, EgressState, RULES, RULES_MAX, map, program};
use aya::maps::{Array, MapData, MapError};
use aya::programs::{CgroupDevice, CgroupSkb, ProgramError};
use aya::{Ebpf, EbpfError, EbpfLoader};

pub use agent_ebpf::hold::{Kind, Rule};

use super::attached::{self, Attached, Side};
use super::capabilities;

static OBJECT: &[u8] = aya::include_bytes_aligned!("../../../agent-ebpf/object/hold.bpf.o");

/// How long a container that was silent may send at once, as time at its limit.
const BURST_NS: u64 = 20_000_000;
/// How far ahead of its limit a container's packets may be put before they are dropped. Where no queue keeps to the time that
/// packets bear, TCP that was refused tries again after its shortest time-out, 200 ms and some: less than that here and it
/// would not make up for the pause, and fall short of the limit.
const QUEUE_NS: u64 = 300_000_000;

/// Why a container is not held.
#[derive(Debug, thiserror::Error)]
pub enum HoldError {
    #[error("this process lacks {}", .0.join(", "))]
    NotPermitted(Vec<&'static str>),
    #[error("load what holds containers")]
    Object(#[source] Box<EbpfError>),
    #[error("the program `{program}` was refused by the kernel")]
    Refused { program: &'static str, source: ProgramError },
    #[error("open {}", path.display())]
    Directory { path: PathBuf, source: io::Error },
    #[error("attach `{program}` to {}", path.display())]
    Attach { program: &'static str, path: PathBuf, source: io::Error },
    #[error("the map {name} of `{program}`")]
    Map { program: &'static str, name: &'static str, source: MapError },
    #[error("{count} rules, of which a list has {RULES_MAX} at most")]
    TooManyRules { count: usize },
}

/// What became of a container's packets since its egress was limited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Egress {
    pub bytes_per_second: u64,
    /// Sent later than they came, where the device's queue keeps to the time that a packet bears.
    pub delayed_packets: u64,
    pub delayed_ns: u64,
    pub dropped_packets: u64,
    pub dropped_bytes: u64,
}

/// Everything that is held.
#[derive(Default)]
pub struct Hold {
    /// One program for each list of rules: most containers have the same.
    lists: BTreeMap<Vec<Rule>, OwnedFd>,
    /// By the id of the container's cgroup.
    egress: BTreeMap<u64, Limited>,
}

/// The maps of one container's program.
struct Limited {
    limit: Array<MapData, [u64; EgressLimit::WORDS]>,
    state: Array<MapData, [u64; EgressState::WORDS]>,
}

impl Hold {
    /// Whether this machine lets the agent hold containers so; found out by loading each program.
    ///
    /// # Errors
    /// What stands in the way, of devices and of egress.
    pub fn probe() -> [Result<(), HoldError>; 2] {
        let permitted = || match capabilities::lacking_here() {
            lacking if lacking.is_empty() => Ok(()),
            lacking => Err(HoldError::NotPermitted(lacking)),
        };
        [
            permitted().and_then(|()| load_list(&[]).map(drop)),
            permitted().and_then(|()| load_egress().map(drop)),
        ]
    }

    /// From here on the container whose directory this is may use these devices and no others; what it has open stays open.
    /// In place of an earlier list, in one step.
    ///
    /// # Errors
    /// The list is too long, or the kernel refuses; an earlier list then holds on.
    pub fn devices(&mut self, directory: &Path, rules: &[Rule]) -> Result<(), HoldError> {
        if !self.lists.contains_key(rules) {
            self.lists.insert(rules.to_vec(), load_list(rules)?);
        }
        let list = &self.lists[rules];
        put(directory, Side::Device, program::DEVICES, list)
    }

    /// From here on it may use every device again.
    ///
    /// # Errors
    /// The kernel refuses; the list then holds on.
    pub fn free_devices(&self, directory: &Path) -> Result<(), HoldError> {
        let opened = open(directory)?;
        let Some(old) = find(directory, &opened, Side::Device, program::DEVICES)? else { return Ok(()) };
        attached::detach(opened.as_fd(), Side::Device, old.program.as_fd())
            .map_err(|source| refused(program::DEVICES, directory, source))
    }

    /// From here on the container's packets leave no faster than this many bytes a second, counted from the IP header up;
    /// `None`: as fast as they like. What was counted goes on.
    ///
    /// # Errors
    /// The kernel refuses; what held before holds on.
    pub fn egress(&mut self, directory: &Path, bytes_per_second: Option<u64>) -> Result<(), HoldError> {
        let opened = open(directory)?;
        let id = id(directory, &opened)?;
        let found = find(directory, &opened, Side::Egress, program::EGRESS)?;
        let Some(rate) = bytes_per_second else {
            self.egress.remove(&id);
            return match found {
                Some(it) => attached::detach(opened.as_fd(), Side::Egress, it.program.as_fd())
                    .map_err(|source| refused(program::EGRESS, directory, source)),
                None => Ok(()),
            };
        };
        if let Some(limited) = found.as_ref().and_then(Limited::of) {
            let known = self.egress.entry(id).or_insert(limited);
            return known.set(rate);
        }
        let (loaded, mut limited) = load_egress()?;
        // Before it is asked for the first time.
        limited.set(rate)?;
        let old = found.as_ref().map(|it| it.program.as_fd());
        attached::attach(opened.as_fd(), Side::Egress, loaded.as_fd(), old)
            .map_err(|source| refused(program::EGRESS, directory, source))?;
        self.egress.insert(id, limited);
        Ok(())
    }

    /// Finds again what an earlier agent has set.
    pub fn find_egress(&mut self, directory: &Path) {
        let Ok(opened) = open(directory) else { return };
        let found = find(directory, &opened, Side::Egress, program::EGRESS);
        let limited = found.ok().flatten().as_ref().and_then(Limited::of);
        if let (Ok(id), Some(limited)) = (id(directory, &opened), limited) {
            self.egress.insert(id, limited);
        }
    }

    /// `None`: its egress is not limited.
    pub fn egress_of(&self, id: u64) -> Option<Egress> {
        self.egress.get(&id)?.read().ok()
    }

    /// The container is gone, or nobody asks any more.
    pub fn forget(&mut self, id: u64) {
        self.egress.remove(&id);
    }
}

impl Limited {
    /// Those of a program that is attached; `None` if it is another version's.
    fn of(attached: &Attached) -> Option<Self> {
        let mut maps = attached.map_ids.iter().filter_map(|id| {
            let map = MapData::from_id(*id).ok()?;
            let info = map.info().ok()?;
            Some((info.name_as_str()?.to_owned(), info.value_size(), map))
        });
        let (mut limit, mut state) = (None, None);
        maps.by_ref().for_each(|(name, bytes, map)| match &*name {
            map::LIMIT if bytes as usize == size_of::<EgressLimit>() => limit = Some(map),
            map::STATE if bytes as usize == size_of::<EgressState>() => state = Some(map),
            _ => {}
        });
        let array = |map| Array::try_from(aya::maps::Map::Array(map)).ok();
        Some(Self { limit: array(limit?)?, state: Array::try_from(aya::maps::Map::Array(state?)).ok()? })
    }

    fn set(&mut self, bytes_per_second: u64) -> Result<(), HoldError> {
        let limit = [bytes_per_second, BURST_NS, QUEUE_NS];
        self.limit.set(0, limit, 0).map_err(|source| HoldError::Map {
            program: program::EGRESS,
            name: map::LIMIT,
            source,
        })
    }

    fn read(&self) -> Result<Egress, MapError> {
        let limit = EgressLimit::from_words(self.limit.get(&0, 0)?);
        let state = EgressState::from_words(self.state.get(&0, 0)?);
        Ok(Egress {
            bytes_per_second: limit.bytes_per_second,
            delayed_packets: state.delayed_packets,
            delayed_ns: state.delayed_ns,
            dropped_packets: state.dropped_packets,
            dropped_bytes: state.dropped_bytes,
        })
    }
}

fn open(directory: &Path) -> Result<File, HoldError> {
    File::open(directory).map_err(|source| HoldError::Directory { path: directory.to_owned(), source })
}

fn id(directory: &Path, opened: &File) -> Result<u64, HoldError> {
    let metadata = opened.metadata();
    metadata.map(|it| it.ino()).map_err(|source| HoldError::Directory { path: directory.to_owned(), source })
}

fn find(
    directory: &Path,
    opened: &File,
    side: Side,
    program: &'static str,
) -> Result<Option<Attached>, HoldError> {
    attached::find(opened.as_fd(), side, program).map_err(|source| refused(program, directory, source))
}

fn refused(program: &'static str, directory: &Path, source: io::Error) -> HoldError {
    HoldError::Attach { program, path: directory.to_owned(), source }
}

/// In the place of the program of that name, if there is one.
fn put(directory: &Path, side: Side, name: &'static str, program: &OwnedFd) -> Result<(), HoldError> {
    let opened = open(directory)?;
    let old = find(directory, &opened, side, name)?;
    let old = old.as_ref().map(|it| it.program.as_fd());
    attached::attach(opened.as_fd(), side, program.as_fd(), old)
        .map_err(|source| refused(name, directory, source))
}

fn load(rules: &[Rule]) -> Result<Ebpf, HoldError> {
    if rules.len() > RULES_MAX {
        return Err(HoldError::TooManyRules { count: rules.len() });
    }
    let mut words = [0; 2 * RULES_MAX];
    words.as_chunks_mut().0.iter_mut().zip(rules).for_each(|(row, rule)| *row = rule.words());
    EbpfLoader::new()
        // No type information of the kernel's is needed.
        .btf(None)
        .override_global(RULES, &words[..], true)
        .load(OBJECT)
        .map_err(|source| HoldError::Object(Box::new(source)))
}

fn load_list(rules: &[Rule]) -> Result<OwnedFd, HoldError> {
    let mut ebpf = load(rules)?;
    let refused = |source| HoldError::Refused { program: program::DEVICES, source };
    let program = ebpf.program_mut(program::DEVICES).expect("it is in the object");
    let program: &mut CgroupDevice = program.try_into().map_err(refused)?;
    program.load().map_err(refused)?;
    owned(program.fd().map_err(refused)?).map_err(refused)
}

/// A program, and its maps.
fn load_egress() -> Result<(OwnedFd, Limited), HoldError> {
    let mut ebpf = load(&[])?;
    let refused = |source| HoldError::Refused { program: program::EGRESS, source };
    let program = ebpf.program_mut(program::EGRESS).expect("it is in the object");
    let program: &mut CgroupSkb = program.try_into().map_err(refused)?;
    program.load().map_err(refused)?;
    let program = owned(program.fd().map_err(refused)?).map_err(refused)?;
    let mut take = |name: &'static str| ebpf.take_map(name).expect("it is in the object");
    let bad = |name| move |source| HoldError::Map { program: program::EGRESS, name, source };
    let limit = Array::try_from(take(map::LIMIT)).map_err(bad(map::LIMIT))?;
    let state = Array::try_from(take(map::STATE)).map_err(bad(map::STATE))?;
    Ok((program, Limited { limit, state }))
}

/// The kernel keeps a program as long as somebody has it, whatever becomes of the object.
fn owned(fd: &aya::programs::ProgramFd) -> Result<OwnedFd, ProgramError> {
    fd.as_fd().try_clone_to_owned().map_err(ProgramError::IOError)
}
