//! What passes through the containers' sockets. Unlike all other programs, these are attached to each container's own
//! directory: the kernel then keeps the counters with the cgroup and hands them to the program, which has nothing to look
//! up, and cgroups below count for it. They go with the directory.

use std::fs::File;
use std::path::Path;

use agent_ebpf::map;
use agent_ebpf::net::SocketCounters;
use aya::maps::{Map, MapData, PerCpuHashMap, PerCpuValues};
use aya::programs::cgroup_skb::CgroupSkbAttachType;
use aya::programs::links::FdLink;
use aya::programs::{CgroupAttachMode, CgroupSkb, ProgramError, SockOps};

use super::counters::{CountersError, if_there};
use super::loader::Loaded;
use super::support::{Figure, Support};

/// The programs that a container has of its own.
const NET: [(&str, CgroupSkbAttachType); 2] =
    [("ingress", CgroupSkbAttachType::Ingress), ("egress", CgroupSkbAttachType::Egress)];
const TCP: &str = "tcp";

const IS_LINK: &str = "a link since Linux 5.7, and no program of ours loads before 5.12";

/// How often counts are written again because a program was adding to them just then: it reads and writes a word within
/// a nanosecond or so.
const CARRY_TRIES: u32 = 100;

/// A value for each CPU by the cgroup's id.
pub(super) struct Counted(PerCpuHashMap<MapData, u64, [u64; SocketCounters::WORDS]>);

impl Counted {
    pub(super) fn open(map: Map) -> Result<Self, CountersError> {
        let no_map = |source| CountersError::NoMap { name: map::SOCKETS, source };
        let Map::PerCpuCgroupStorage(map) = map else { return Err(no_map(None)) };
        // aya knows this kind of map with keys of two words only; to look one up by a word is the same as with a hash map.
        PerCpuHashMap::try_from(Map::PerCpuHashMap(map)).map(Self).map_err(|source| no_map(Some(source)))
    }

    fn get(&self, id: u64) -> Result<Option<PerCpuValues<[u64; SocketCounters::WORDS]>>, CountersError> {
        if_there(self.0.get(&id, 0)).map_err(|source| CountersError::Read { id, source })
    }
}

/// The map with one entry a container, which attaching makes.
pub(super) struct Sockets {
    counters: Counted,
    has_net: bool,
    has_tcp: bool,
}

impl Sockets {
    /// `None` where this kernel has neither of the figures.
    pub(super) fn take(loaded: &mut Loaded, support: &Support) -> Result<Option<Self>, CountersError> {
        let (has_net, has_tcp) = (support.has(Figure::Network), support.has(Figure::Tcp));
        if !has_net && !has_tcp {
            return Ok(None);
        }
        let name = map::SOCKETS;
        let map = loaded.take_map(name).ok_or(CountersError::NoMap { name, source: None })?;
        Ok(Some(Self { counters: Counted::open(map)?, has_net, has_tcp }))
    }

    /// Writes what another object has counted for a container into our own counters, which were attached just now: what
    /// they counted since is less than that, and lost.
    pub(super) fn carry(&mut self, earlier: &Counted, id: u64) -> Result<(), CountersError> {
        let Some(base) = earlier.get(id)? else { return Ok(()) };
        let write = |source| CountersError::Add { id, source };
        for _ in 0..CARRY_TRIES {
            let copy = PerCpuValues::try_from(base.to_vec()).expect("one for each CPU there is");
            self.counters.0.insert(id, copy, 0).map_err(write)?;
            let Some(now) = self.counters.get(id)? else { break };
            let mut words = now.iter().flatten().zip(base.iter().flatten());
            if words.all(|(now, base)| now >= base) {
                break;
            }
        }
        Ok(())
    }

    /// Begins to count for the container in `directory`, whose id is `id`. What is counted already stays as it is, also
    /// where an earlier agent began it.
    pub(super) fn attach(
        &mut self,
        loaded: &mut Loaded,
        id: u64,
        directory: &Path,
    ) -> Result<(), CountersError> {
        let directory = File::open(directory).map_err(|source| CountersError::Directory { id, source })?;
        let refused = |source| CountersError::Attach { id, source };
        let net = NET.iter().filter(|_| self.has_net).map(|(name, side)| (*name, Some(*side)));
        let tcp = std::iter::once((TCP, None)).filter(|_| self.has_tcp);
        for (program, side) in net.chain(tcp) {
            let name = link_name(id, program);
            if loaded.has_link(&name) {
                continue;
            }
            let link = match side {
                Some(side) => attach_net(loaded, program, side, &directory),
                None => attach_tcp(loaded, &directory),
            };
            let link = link.map_err(refused)?;
            loaded.keep_link(&name, link).map_err(|source| CountersError::Pin { id, source })?;
        }
        Ok(())
    }

    /// Everything counted so far. `None`: nothing is counted for this id, or its directory is gone.
    pub(super) fn read(&self, id: u64) -> Result<Option<SocketCounters>, CountersError> {
        Ok(self.counters.get(id)?.map(|values| {
            let mut sum = SocketCounters::default();
            values.iter().for_each(|words| sum.add(&SocketCounters::from_words(*words)));
            sum
        }))
    }

    /// Detaches. The kernel frees the counters with the directory.
    pub(super) fn remove(&self, loaded: &mut Loaded, id: u64) {
        for (program, _) in NET {
            loaded.drop_link(&link_name(id, program));
        }
        loaded.drop_link(&link_name(id, TCP));
    }
}

/// Under which name a container's link is kept.
fn link_name(id: u64, program: &str) -> String {
    format!("{id}-{program}")
}

// Programs attached by a link always stand beside those of others; the flag that says so is refused (`Single`).

fn attach_net(
    loaded: &mut Loaded,
    name: &str,
    side: CgroupSkbAttachType,
    directory: &File,
) -> Result<FdLink, ProgramError> {
    let program: &mut CgroupSkb = loaded.program(name).try_into()?;
    let link = program.attach(directory, side, CgroupAttachMode::Single)?;
    Ok(program.take_link(link)?.try_into().expect(IS_LINK))
}

fn attach_tcp(loaded: &mut Loaded, directory: &File) -> Result<FdLink, ProgramError> {
    let program: &mut SockOps = loaded.program(TCP).try_into()?;
    let link = program.attach(directory, CgroupAttachMode::Single)?;
    Ok(program.take_link(link)?.try_into().expect(IS_LINK))
}
