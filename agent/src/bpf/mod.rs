//! Figures that the kernel counts for us: the only owner of aya. [`Bpf`] is the whole of it: containers are added before
//! their first process, read while they run, removed after their last. Where BPF cannot be had every call still works
//! and says "nothing"; [`Support`] says why.

use std::io;
use std::path::{Path, PathBuf};

use agent_ebpf::net::SocketCounters;
use agent_ebpf::{Counters, Histogram, Memory, map};
use aya::maps::RingBuf;
use aya::programs::{Iter, RawTracePoint};

use model::latency::Latency;

use crate::accounting::kernel::{KernelSample, ResidentMemory, Tcp};

mod attached;
mod batch;
mod btf;
mod capabilities;
mod carry;
mod counters;
mod devices;
mod events;
mod hierarchy;
pub mod hold;
mod loader;
mod offsets;
mod pins;
mod programs;
mod sockets;
mod support;
mod taken;

pub use agent_ebpf::{Event, EventKind};
pub use btf::BtfError;
pub use counters::CountersError;
pub use events::{Drain, Events};
pub use pins::PinsError;
pub use support::{Figure, Reason, Support};

use counters::ContainerMaps;
use devices::Devices;
use loader::Loaded;
use sockets::Sockets;
use taken::Pairs;

/// How often the last reading of a container looks again for threads that have exited but not yet left their CPU. They
/// are in the last microseconds of their lives; each look takes a system call and more.
const LAST_LOOKS_MAX: u32 = 1_000;

/// How to load.
#[derive(Clone, Debug, Default)]
pub struct Options<'a> {
    pub pins: Pins<'a>,
    /// Most containers, if not `agent_ebpf::CONTAINERS_MAX`.
    pub containers_max: Option<u32>,
    /// Containers have the memory controller, so that nobody asks for their resident pages between two looks.
    pub memory_controller: bool,
    /// Offsets that are to be wrong, by the names of `agent_ebpf::field`: shows what becomes of a program that the kernel
    /// refuses.
    pub wrong_fields: &'a [(&'static str, u32)],
}

/// Whether what is loaded outlives the agent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pins<'a> {
    #[default]
    None,
    /// By pins where this machine has its bpffs, or in one that is mounted for it.
    Usual,
    /// By pins below a directory of a bpffs.
    Below(&'a Path),
}

impl Pins<'_> {
    fn directory(self) -> Option<Result<PathBuf, PinsError>> {
        match self {
            Self::None => None,
            Self::Usual => Some(pins::usual_directory()),
            Self::Below(path) => Some(Ok(path.to_owned())),
        }
    }
}

/// The programs in the kernel and their counters. Dropping it detaches them and forgets all counts, unless they are
/// pinned.
pub struct Bpf {
    kernel: Option<Kernel>,
}

struct Kernel {
    loaded: Loaded,
    containers: ContainerMaps,
    pairs: Pairs,
    devices: Devices,
    sockets: Option<Sockets>,
    events: Option<Events>,
    has_cpu: bool,
    has_running: bool,
    has_run_queue: bool,
    has_memory: bool,
    has_sweep: bool,
    has_network: bool,
    has_tcp: bool,
    has_io: bool,
    has_life: bool,
    page_bytes: u64,
    /// Containers that an earlier agent counted.
    taken_over: Vec<u64>,
    losses: Losses,
}

/// What the programs' owner could not have counted though it should have been, since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Losses {
    /// Programs that the kernel refused.
    pub programs_refused: u64,
    /// Containers whose sockets' programs could not be attached.
    pub sockets_uncounted: u64,
    /// Containers of an earlier agent with other programs whose counters begin anew.
    pub counted_anew: u64,
    /// Completed requests of block devices that found no room in the map, of all containers.
    pub requests: u64,
}

/// What a program has cost since statistics were switched on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cost {
    pub program: String,
    pub run_count: u64,
    pub run_time_ns: u64,
}

impl Bpf {
    /// Loads and attaches what this machine allows. Containers will be the directories right below `root_cgroup`, a
    /// directory of a cgroup v2 hierarchy that exists; cgroups below a container count for it.
    ///
    /// Takes about a tenth of a second, most of it the verifier's and the reading of type information. Never fails: what is missing is in the [`Support`].
    pub fn open(root_cgroup: &Path) -> (Self, Support) {
        Self::open_with(root_cgroup, &Options::default())
    }

    /// The same, by one's own options. With pins, what an earlier agent has left is taken over where it is what this one
    /// would load: nothing is detached, and its containers are counted on.
    pub fn open_with(root_cgroup: &Path, options: &Options<'_>) -> (Self, Support) {
        let opened = loader::load(root_cgroup, options).and_then(|(mut loaded, support)| {
            let no_maps = |error: CountersError| Reason::Maps { message: error.to_string() };
            let containers = ContainerMaps::take(&mut loaded).map_err(no_maps)?;
            let pairs = Pairs::take(&mut loaded).map_err(no_maps)?;
            let devices = Devices::take(&mut loaded).map_err(no_maps)?;
            let sockets = Sockets::take(&mut loaded, &support).map_err(no_maps)?;
            let ring = loaded.take_map(map::EVENTS).map(RingBuf::try_from);
            let events = ring.and_then(Result::ok).map(Events::new);
            Ok((Kernel::new(loaded, containers, pairs, devices, sockets, events, &support), support))
        });
        let opened = opened.map(|(mut kernel, mut support)| {
            kernel.begin(root_cgroup, &mut support);
            (kernel, support)
        });
        match opened {
            Ok((kernel, support)) => (Self { kernel: Some(kernel) }, support),
            Err(reason) => (Self { kernel: None }, Support::nothing(reason)),
        }
    }

    /// Containers that an earlier agent had counted and that count on; empty where there was none.
    pub fn taken_over(&self) -> Vec<u64> {
        self.kernel.as_ref().map(|kernel| kernel.taken_over.clone()).unwrap_or_default()
    }

    /// What is missing in the figures though it could be there.
    pub fn losses(&self) -> Losses {
        let losses = |kernel: &Kernel| Losses { requests: kernel.devices.lost(), ..kernel.losses };
        self.kernel.as_ref().map(losses).unwrap_or_default()
    }

    /// Containers that are counted.
    pub fn containers(&self) -> Vec<u64> {
        self.kernel.as_ref().map(|kernel| kernel.containers.ids()).unwrap_or_default()
    }

    /// Removes the pins: from here on everything ends with this value.
    pub fn unpin(&mut self) {
        if let Some(kernel) = &mut self.kernel {
            kernel.loaded.unpin();
        }
    }

    /// One that measures nothing.
    pub fn none() -> Self {
        Self { kernel: None }
    }

    /// Begins to count for the container whose cgroup directory this is; `id` is its inode number. Must come before its
    /// first process for that process to be counted from its first instruction; processes that are there already are
    /// taken up from the next [`Bpf::refresh`] on.
    ///
    /// # Errors
    /// The maps are full (`agent_ebpf::CONTAINERS_MAX`) or the kernel is out of memory. The container then has no
    /// figures from here, and nothing else is harmed. Where only its sockets cannot be counted it goes without the figures
    /// of those, which is logged.
    pub fn add_container(&mut self, id: u64, directory: &Path) -> Result<(), CountersError> {
        let Some(kernel) = &mut self.kernel else { return Ok(()) };
        kernel.containers.add(id)?;
        let Some(sockets) = &mut kernel.sockets else { return Ok(()) };
        if let Err(error) = sockets.attach(&mut kernel.loaded, id, directory) {
            kernel.losses.sockets_uncounted += 1;
            let cause = &error as &dyn std::error::Error;
            tracing::warn!(cause, directory = %directory.display(), "container's sockets are not counted by BPF");
        }
        Ok(())
    }

    /// Brings up to date what the programs only learn when something happens: threads that are running, and pages
    /// whose counting the kernel has put off. Once a tick, before the [`Bpf::read`]s. Interrupts each CPU once for
    /// about a microsecond and looks at every task of the machine once (about 0.2 us each).
    ///
    /// # Errors
    /// The system call that failed. The figures stay true as far as they go.
    pub fn refresh(&mut self) -> io::Result<()> {
        self.kernel.as_mut().map_or(Ok(()), Kernel::refresh)
    }

    /// What has been counted for a container; who took CPU from it and what it did on devices as of the last [`Bpf::refresh`]. `None`: nothing is
    /// counted here, or not for this id.
    ///
    /// # Errors
    /// The map cannot be read; that would be a bug.
    pub fn read(&self, id: u64) -> Result<Option<KernelSample>, CountersError> {
        let Some(kernel) = &self.kernel else { return Ok(None) };
        let Some((counters, memory)) = kernel.containers.read(id)? else { return Ok(None) };
        Ok(Some(kernel.sample(id, &counters, &memory, kernel.read_sockets(id)?)))
    }

    /// Of a container, only how long its threads have waited for a CPU: one system call, some microseconds, and as new as the
    /// last wait that ended. `None`: not counted here, or not for this id.
    ///
    /// # Errors
    /// As [`Bpf::read`].
    pub fn waits(&self, id: u64) -> Result<Option<Latency>, CountersError> {
        let Some(kernel) = self.kernel.as_ref().filter(|kernel| kernel.has_run_queue) else {
            return Ok(None);
        };
        let counted = kernel.containers.read_counters(id)?;
        Ok(counted.map(|counters| latency(&counters.waits.latency)))
    }

    /// The same of all containers, in the order of their ids, for a fraction of the price of as many [`Bpf::read`]s.
    ///
    /// # Errors
    /// As [`Bpf::read`].
    pub fn read_all(&mut self) -> Result<Vec<(u64, KernelSample)>, CountersError> {
        let Some(kernel) = &mut self.kernel else { return Ok(Vec::new()) };
        let all = kernel.containers.read_all()?;
        let sample = |(id, counters, memory): &(u64, Counters, Memory)| {
            Ok((*id, kernel.sample(*id, counters, memory, kernel.read_sockets(*id)?)))
        };
        all.iter().map(sample).collect()
    }

    /// Reads a container for the last time and forgets it. To be called after its last process has exited; waits, for
    /// at most some milliseconds, until the last thread has left its CPU, so that nothing it ran is missing.
    ///
    /// # Errors
    /// As [`Bpf::read`].
    pub fn remove_container(&mut self, id: u64) -> Result<Option<KernelSample>, CountersError> {
        let Some(kernel) = &mut self.kernel else { return Ok(None) };
        let mut last = kernel.containers.read(id)?;
        for _ in 0..LAST_LOOKS_MAX {
            let Some((counters, _)) = &last else { break };
            if !kernel.has_life || counters.life.threads_gone >= counters.life.threads_exiting {
                break;
            }
            std::thread::yield_now();
            last = kernel.containers.read(id)?;
        }
        let sockets = kernel.read_sockets(id);
        kernel.containers.remove(id)?;
        if let Some(it) = &mut kernel.sockets {
            it.remove(&mut kernel.loaded, id);
        }
        if kernel.has_run_queue {
            kernel.pairs.refresh()?;
        }
        if kernel.has_io {
            kernel.devices.refresh()?;
        }
        let sockets = sockets?;
        let sample = last.map(|(counters, memory)| kernel.sample(id, &counters, &memory, sockets));
        kernel.pairs.forget(id);
        kernel.devices.forget(id);
        Ok(sample)
    }

    /// The stream of events; `None` if there is none, or it was taken before.
    pub fn take_events(&mut self) -> Option<Events> {
        self.kernel.as_mut()?.events.take()
    }

    /// What each program has cost. Zeros unless the machine keeps BPF statistics (`kernel.bpf_stats_enabled`, or
    /// [`keep_statistics`]).
    pub fn costs(&self) -> Vec<Cost> {
        let Some(kernel) = &self.kernel else { return Vec::new() };
        let cost = |(name, program): (&str, &aya::programs::Program)| {
            let info = program.info().ok()?;
            let run_time_ns = u64::try_from(info.run_time().as_nanos()).ok()?;
            Some(Cost { program: name.to_owned(), run_count: info.run_count(), run_time_ns })
        };
        kernel.loaded.programs().into_iter().filter_map(cost).collect()
    }
}

/// What a process with this `/proc/PID/status` text lacks for BPF.
pub fn capabilities_lacking(status: &str) -> Vec<&'static str> {
    capabilities::lacking(capabilities::effective(status))
}

/// Makes the kernel time every BPF program while the returned descriptor is open (5.8; some 50 ns a run).
///
/// # Errors
/// Not permitted, or an older kernel.
pub fn keep_statistics() -> io::Result<std::os::fd::OwnedFd> {
    aya::sys::enable_stats(aya::sys::Stats::RunTime).map_err(|error| error.io_error)
}

impl Kernel {
    fn new(
        loaded: Loaded,
        containers: ContainerMaps,
        pairs: Pairs,
        devices: Devices,
        sockets: Option<Sockets>,
        events: Option<Events>,
        support: &Support,
    ) -> Self {
        let page = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE).ok().flatten();
        Self {
            loaded,
            containers,
            pairs,
            devices,
            sockets,
            events: events.filter(|_| support.has(Figure::Life)),
            has_cpu: support.has(Figure::Cpu),
            has_running: support.has(Figure::CpuRunning),
            has_run_queue: support.has(Figure::RunQueue),
            has_memory: support.has(Figure::Memory),
            has_sweep: support.has(Figure::MemoryExact),
            has_network: support.has(Figure::Network),
            has_tcp: support.has(Figure::Tcp),
            has_io: support.has(Figure::Io),
            has_life: support.has(Figure::Life),
            page_bytes: page.and_then(|it| u64::try_from(it).ok()).unwrap_or(4096),
            taken_over: Vec::new(),
            losses: Losses::default(),
        }
    }

    /// Goes on with what an earlier agent has counted, and is from then on what the next one finds.
    fn begin(&mut self, root: &Path, support: &mut Support) {
        if self.loaded.taken_over {
            self.taken_over = self.containers.ids();
        } else {
            let carried = self.carry_over(root);
            (self.taken_over, self.losses.counted_anew) = (carried.containers, carried.anew);
        }
        if let Err(error) = self.loaded.finish() {
            support.lose(Figure::Pins, loader::no_pins(error));
            self.loaded.unpin();
        }
        self.losses.programs_refused = support.refused();
    }

    fn refresh(&mut self) -> io::Result<()> {
        if self.has_running {
            let program: &RawTracePoint =
                (&*self.loaded.program(programs::FLUSH)).try_into().map_err(io::Error::other)?;
            loader::run_everywhere(program).map_err(io::Error::other)?;
        }
        if self.has_sweep {
            let program: &mut Iter =
                self.loaded.program(programs::SWEEP).try_into().map_err(io::Error::other)?;
            let link = program.attach().map_err(io::Error::other)?;
            let link = program.take_link(link).map_err(io::Error::other)?;
            // The walk happens as the descriptor is read; the program writes nothing into it.
            io::copy(&mut link.into_file().map_err(io::Error::other)?, &mut io::sink())?;
        }
        if self.has_run_queue {
            self.pairs.refresh().map_err(io::Error::other)?;
        }
        if self.has_io {
            self.devices.refresh().map_err(io::Error::other)?;
        }
        Ok(())
    }

    fn read_sockets(&self, id: u64) -> Result<Option<SocketCounters>, CountersError> {
        self.sockets.as_ref().map_or(Ok(None), |it| it.read(id))
    }

    fn sample(
        &self,
        id: u64,
        counters: &Counters,
        memory: &Memory,
        sockets: Option<SocketCounters>,
    ) -> KernelSample {
        let (anon, shmem) = memory.parts();
        let resident = ResidentMemory {
            current_bytes: memory.resident() * self.page_bytes,
            peak_bytes: memory.peak_pages.max(memory.resident()) * self.page_bytes,
            anon_bytes: anon * self.page_bytes,
            shmem_bytes: shmem * self.page_bytes,
        };
        KernelSample {
            cpu: self.has_cpu.then_some(counters.cpu),
            run_queue: self.has_run_queue.then(|| self.pairs.run_queue(id, counters)),
            memory: self.has_memory.then_some(resident),
            network: sockets.filter(|_| self.has_network).map(|it| it.net),
            tcp: sockets.filter(|_| self.has_tcp).map(|it| Tcp {
                retransmits: it.tcp.retransmits,
                connects: it.tcp.connects,
                accepts: it.tcp.accepts,
                rtt: latency(&it.tcp.rtt),
            }),
            devices: self.has_io.then(|| self.devices.of(id)),
            life: self.has_life.then_some(counters.life),
        }
    }
}

fn latency(counted: &Histogram) -> Latency {
    Latency { buckets: counted.buckets, sum_ns: counted.sum_ns }
}
