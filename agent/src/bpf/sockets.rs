//! What passes through the containers' sockets. Unlike all other programs, these are attached to each container's own
//! directory: the kernel then keeps the counters with the cgroup and hands them to the program, which has nothing to look
//! up, and cgroups below count for it. They go with the directory.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use agent_ebpf::map;
use agent_ebpf::net::SocketCounters;
use aya::Ebpf;
use aya::maps::{Map, MapData, PerCpuHashMap};
use aya::programs::cgroup_skb::CgroupSkbAttachType;
use aya::programs::links::FdLink;
use aya::programs::{CgroupAttachMode, CgroupSkb, ProgramError, SockOps};

use super::counters::{CountersError, if_there};
use super::loader;
use super::support::{Figure, Support};

/// The programs that a container has of its own.
const NET: [(&str, CgroupSkbAttachType); 2] =
    [("ingress", CgroupSkbAttachType::Ingress), ("egress", CgroupSkbAttachType::Egress)];
const TCP: &str = "tcp";

const IS_LINK: &str = "a link since Linux 5.7, and no program of ours loads before 5.12";

/// The map with one entry a container, which attaching makes, and what is attached.
pub(super) struct Sockets {
    counters: PerCpuHashMap<MapData, u64, [u64; SocketCounters::WORDS]>,
    attached: BTreeMap<u64, Vec<FdLink>>,
    has_net: bool,
    has_tcp: bool,
}

impl Sockets {
    /// `None` where this kernel has neither of the figures.
    pub(super) fn take(ebpf: &mut Ebpf, support: &Support) -> Result<Option<Self>, CountersError> {
        let (has_net, has_tcp) = (support.has(Figure::Network), support.has(Figure::Tcp));
        if !has_net && !has_tcp {
            return Ok(None);
        }
        let name = map::SOCKETS;
        let Some(Map::PerCpuCgroupStorage(map)) = ebpf.take_map(name) else {
            return Err(CountersError::NoMap { name, source: None });
        };
        // aya knows this kind of map with keys of two words only; to look one up by a word is the same as with a hash map.
        let counters = PerCpuHashMap::try_from(Map::PerCpuHashMap(map))
            .map_err(|source| CountersError::NoMap { name, source: Some(source) })?;
        Ok(Some(Self { counters, attached: BTreeMap::new(), has_net, has_tcp }))
    }

    /// Begins to count for the container in `directory`, whose id is `id`. If it is counted already, nothing changes.
    pub(super) fn attach(&mut self, ebpf: &mut Ebpf, id: u64, directory: &Path) -> Result<(), CountersError> {
        if self.attached.contains_key(&id) {
            return Ok(());
        }
        let directory = File::open(directory).map_err(|source| CountersError::Directory { id, source })?;
        let refused = |source| CountersError::Attach { id, source };
        let mut links = Vec::new();
        if self.has_net {
            for (name, side) in NET {
                links.push(attach_net(ebpf, name, side, &directory).map_err(refused)?);
            }
        }
        if self.has_tcp {
            links.push(attach_tcp(ebpf, &directory).map_err(refused)?);
        }
        self.attached.insert(id, links);
        Ok(())
    }

    /// Everything counted so far. `None`: nothing is counted for this id, or its directory is gone.
    pub(super) fn read(&self, id: u64) -> Result<Option<SocketCounters>, CountersError> {
        if !self.attached.contains_key(&id) {
            return Ok(None);
        }
        let values =
            if_there(self.counters.get(&id, 0)).map_err(|source| CountersError::Read { id, source })?;
        Ok(values.map(|values| {
            let mut sum = SocketCounters::default();
            values.iter().for_each(|words| sum.add(&SocketCounters::from_words(*words)));
            sum
        }))
    }

    /// Detaches. The kernel frees the counters with the directory.
    pub(super) fn remove(&mut self, id: u64) {
        self.attached.remove(&id);
    }
}

// Programs attached by a link always stand beside those of others; the flag that says so is refused (`Single`).

fn attach_net(
    ebpf: &mut Ebpf,
    name: &str,
    side: CgroupSkbAttachType,
    directory: &File,
) -> Result<FdLink, ProgramError> {
    let program: &mut CgroupSkb = loader::program(ebpf, name).try_into()?;
    let link = program.attach(directory, side, CgroupAttachMode::Single)?;
    Ok(program.take_link(link)?.try_into().expect(IS_LINK))
}

fn attach_tcp(ebpf: &mut Ebpf, directory: &File) -> Result<FdLink, ProgramError> {
    let program: &mut SockOps = loader::program(ebpf, TCP).try_into()?;
    let link = program.attach(directory, CgroupAttachMode::Single)?;
    Ok(program.take_link(link)?.try_into().expect(IS_LINK))
}
