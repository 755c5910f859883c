//! The agent's look at its containers and its node: which files each has, those whose turn it is read at once, what they say
//! put together.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use model::id::ContainerId;
use model::usage::NodeUsage;

use super::engine::{Engine, Request};
use super::files::{Controllers, FILES, HELD_PERIOD_MAX, Kind, fill};
use super::node::Node;
use super::{parse, plain, proc};
use crate::accounting::sample::{FileSample, ProcSample};
use crate::sys::pidfd::Rusage;
use crate::sys::processes::{Mark, Table};

pub use super::files::Counted;

/// A container, from its beginning to its end.
#[derive(Debug)]
struct Container {
    /// Of its cgroup; empty without one.
    directory: Box<Path>,
    files: Box<[Known]>,
    /// Whose processes are to be summed over, at each look.
    processes: Option<Processes>,
    /// Everything known of it.
    sample: FileSample,
    /// Was not looked at yet.
    is_new: bool,
}

/// A file that is there.
#[derive(Debug)]
struct Known {
    /// Its row in [`FILES`].
    row: u8,
    period: u64,
    /// Where it is held open; else it is opened for each reading.
    place: Option<u32>,
}

#[derive(Clone, Debug)]
enum Processes {
    /// Those that `cgroup.procs` lists.
    Listed(Vec<i32>),
    Marked(Mark),
}

/// Where a container's figures are.
#[derive(Clone, Copy, Debug)]
pub enum Target<'a> {
    /// The directory of its cgroup.
    Cgroup(&'a Path),
    /// It has none: its processes are found by this.
    Processes(&'a Mark),
}

/// Whose text a request brings: a container's and a file's place.
#[derive(Clone, Copy, Debug)]
struct Owner {
    at: usize,
    file: usize,
}

#[derive(Debug)]
pub struct Sampler {
    engine: Engine,
    counted: Counted,
    node: Node,
    /// Places keep their number while others come and go; it also tells whose turn it is.
    containers: Vec<Option<Container>>,
    places: BTreeMap<ContainerId, usize>,
    looks: u64,
    /// Kept from look to look for their memory only.
    requests: Vec<Request>,
    owners: Vec<Owner>,
}

impl Sampler {
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn new(counted: Counted) -> Self {
        Self::with(Engine::new(), counted)
    }

    /// A sampler as on a host where io_uring may not be used.
    pub fn without_ring(counted: Counted) -> Self {
        Self::with(Engine::plain(), counted)
    }

    fn with(engine: Engine, counted: Counted) -> Self {
        let node = Node::open();
        Self {
            engine,
            counted,
            node,
            containers: Vec::new(),
            places: BTreeMap::new(),
            looks: 0,
            requests: Vec::new(),
            owners: Vec::new(),
        }
    }

    /// Whether files are read by io_uring.
    pub fn has_ring(&self) -> bool {
        matches!(self.engine, Engine::Ring(_))
    }

    /// Finds the container's files and opens those that are read often. An error if its cgroup is not there.
    pub fn add(&mut self, container_id: ContainerId, target: Target<'_>) -> io::Result<()> {
        self.remove(&container_id);
        let container = match target {
            Target::Cgroup(directory) => self.open(directory)?,
            Target::Processes(mark) => Container {
                directory: Path::new("").into(),
                files: Box::default(),
                processes: Some(Processes::Marked(mark.clone())),
                sample: FileSample::default(),
                is_new: true,
            },
        };
        let free = self.containers.iter().position(Option::is_none);
        let at = free.unwrap_or_else(|| {
            self.containers.push(None);
            self.containers.len() - 1
        });
        self.containers[at] = Some(container);
        self.places.insert(container_id, at);
        Ok(())
    }

    fn open(&mut self, directory: &Path) -> io::Result<Container> {
        // No cgroup directory is without its list of processes; one of cgroup v2 says so.
        if !directory.join("cgroup.procs").exists() && !directory.join("cpu.stat").exists() {
            return Err(io::Error::from(io::ErrorKind::NotFound));
        }
        let on = Controllers {
            cpu: directory.join("cpu.max").exists(),
            memory: directory.join("memory.current").exists(),
        };
        let mut files = Vec::new();
        let mut processes = None;
        for (row, file) in (0..).zip(&FILES) {
            let Some(period) = (file.period)(self.counted, on) else { continue };
            let path = directory.join(file.name);
            let place = match (period <= HELD_PERIOD_MAX).then(|| File::open(&path)) {
                Some(Ok(open)) => self.engine.hold(open),
                Some(Err(error)) if error.kind() == io::ErrorKind::NotFound => continue,
                // Too many files are open.
                Some(Err(_)) => None,
                None if path.exists() => None,
                None => continue,
            };
            if file.kind == Kind::Processes {
                processes = Some(Processes::Listed(Vec::new()));
            }
            files.push(Known { row, period, place });
        }
        let (files, sample) = (files.into_boxed_slice(), FileSample::default());
        Ok(Container { directory: directory.into(), files, processes, sample, is_new: true })
    }

    /// Reads the node's files, and of every container's those whose turn it is.
    pub async fn look(&mut self) {
        self.looks += 1;
        let turn = self.looks;
        let all: Vec<usize> = self.places.values().copied().collect();
        self.node.read();
        self.read(&all, |at, file, period| is_turn(turn, at, file, period)).await;
    }

    /// The files that the next look will read, in its order.
    pub fn due(&self) -> Vec<PathBuf> {
        let mut due: Vec<PathBuf> = self.node.paths().collect();
        for &at in self.places.values() {
            let Some(container) = &self.containers[at] else { continue };
            for (file, known) in container.files.iter().enumerate() {
                if container.is_new || is_turn(self.looks + 1, at, file, known.period) {
                    due.push(container.directory.join(FILES[usize::from(known.row)].name));
                }
            }
        }
        due
    }

    /// What is known of each container, in the order of their ids. Of one whose cgroup is gone nothing is.
    pub fn samples(&self) -> impl Iterator<Item = (&ContainerId, &FileSample)> {
        self.places.iter().filter_map(|(id, at)| Some((id, &self.containers[*at].as_ref()?.sample)))
    }

    /// What is known of the node.
    pub fn node(&self) -> &NodeUsage {
        self.node.usage()
    }

    /// The last look at a container, after its last process has ended and before its cgroup is removed. `usage`: of its
    /// first process, from its end; without a cgroup that is all there is, and it is more than any look before could see.
    pub async fn finish(&mut self, container_id: &ContainerId, usage: Option<Rusage>) -> Option<FileSample> {
        let at = *self.places.get(container_id)?;
        self.read(&[at], |_, _, _| true).await;
        let mut container = self.take(container_id)?;
        if container.processes.is_some() {
            container.sample.proc = usage.map(proc::of_ended);
        }
        Some(container.sample)
    }

    /// Closes a container's files without a last look.
    pub fn remove(&mut self, container_id: &ContainerId) {
        self.take(container_id);
    }

    fn take(&mut self, container_id: &ContainerId) -> Option<Container> {
        let container = self.containers[self.places.remove(container_id)?].take()?;
        container.files.iter().filter_map(|file| file.place).for_each(|place| self.engine.release(place));
        Some(container)
    }

    /// Reads of these containers the files that are `due`, by the container's place, the file's and its period.
    async fn read(&mut self, these: &[usize], due: impl Fn(usize, usize, u64) -> bool) {
        self.requests.clear();
        self.owners.clear();
        for &at in these {
            let Some(container) = &mut self.containers[at] else { continue };
            let is_new = std::mem::take(&mut container.is_new);
            for file in 0..container.files.len() {
                let Known { row, period, place } = container.files[file];
                if !is_new && !due(at, file, period) {
                    continue;
                }
                match place {
                    Some(place) => {
                        self.requests.push(Request { place, room: FILES[usize::from(row)].room });
                        self.owners.push(Owner { at, file });
                    }
                    None => container.read_unheld(row),
                }
            }
        }
        let (owners, containers) = (&self.owners, &mut self.containers);
        let done = self.engine.read(&self.requests, |index, text| {
            let Owner { at, file } = owners[index];
            let container = containers[at].as_mut().expect("it was asked for");
            container.take_in(container.files[file].row, text);
        });
        if let Err(error) = done.await {
            tracing::warn!(%error, "io_uring failed: cgroup files are read one by one from now on");
            self.reopen();
        }
        self.sum_processes(these).await;
    }

    /// Opens everything anew for the plain way of reading. What this look has missed the next will read.
    fn reopen(&mut self) {
        self.engine = Engine::plain();
        for container in self.containers.iter_mut().flatten() {
            for file in container.files.iter_mut().filter(|file| file.place.is_some()) {
                let path = container.directory.join(FILES[usize::from(file.row)].name);
                file.place = File::open(&path).ok().and_then(|open| self.engine.hold(open));
            }
        }
    }

    async fn sum_processes(&mut self, these: &[usize]) {
        let wanted = |at: &usize| {
            let processes = self.containers[*at].as_ref()?.processes.clone()?;
            Some((*at, processes))
        };
        for (at, sum) in sum_all(these.iter().filter_map(wanted).collect()).await {
            if let Some(container) = &mut self.containers[at] {
                container.sample.proc = Some(sum);
            }
        }
    }
}

impl Container {
    fn take_in(&mut self, row: u8, text: io::Result<&[u8]>) {
        let kind = FILES[usize::from(row)].kind;
        match text {
            Ok(text) if kind == Kind::Processes => {
                self.processes = Some(Processes::Listed(parse::processes(text)));
            }
            Ok(text) => fill(&mut self.sample, kind, text),
            Err(error) if is_gone(&error) => {
                self.sample = FileSample::default();
                if let Some(Processes::Listed(listed)) = &mut self.processes {
                    listed.clear();
                }
            }
            // Too many files are open, or the file is switched off: what was known stays.
            Err(_) => {}
        }
    }

    fn read_unheld(&mut self, row: u8) {
        let file = &FILES[usize::from(row)];
        match File::open(self.directory.join(file.name)) {
            Ok(open) => plain::read(&open, file.room, |text| self.take_in(row, text)),
            Err(error) => self.take_in(row, Err(error)),
        }
    }
}

/// Whether a file is read in this look: turns are spread over containers and over each one's files.
fn is_turn(look: u64, container: usize, file: usize, period: u64) -> bool {
    (look + container as u64 + file as u64).is_multiple_of(period)
}

/// Whether a file says by this that its cgroup was removed: an open one, or one that is opened.
fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ENODEV)
}

/// Sums over processes, on a thread that may block; the process table is read once for all containers that need it.
async fn sum_all(wanted: Vec<(usize, Processes)>) -> Vec<(usize, ProcSample)> {
    if wanted.is_empty() {
        return Vec::new();
    }
    let sum = move || {
        let needs_table = wanted.iter().any(|(_, it)| matches!(it, Processes::Marked(_)));
        let table = if needs_table { Table::read() } else { Table::default() };
        let sum = |wanted: &Processes| match wanted {
            Processes::Listed(pids) => proc::of_numbers(pids),
            Processes::Marked(mark) => proc::sum(table.members(mark)),
        };
        wanted.iter().map(|(at, wanted)| (*at, sum(wanted))).collect()
    };
    tokio::task::spawn_blocking(sum).await.expect("reading /proc does not panic")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accounting::sample::{CpuStat, MemoryStat, Pressure};

    const COUNTED: Counted = Counted { cpu: true, memory: true, io: false };
    /// The longest period.
    const LOOKS: usize = 64;

    fn samplers() -> [Sampler; 2] {
        [Sampler::new(COUNTED), Sampler::without_ring(COUNTED)]
    }

    /// Looks until every file has had its turn.
    async fn look(sampler: &mut Sampler) -> Vec<(ContainerId, FileSample)> {
        for _ in 0..LOOKS {
            sampler.look().await;
        }
        sampler.samples().map(|(id, sample)| (id.clone(), sample.clone())).collect()
    }

    fn block_on<T>(work: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(work)
    }

    /// A plain folder in place of a cgroup.
    fn folder(usage_us: u64) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("write");
        write("cpu.stat", &format!("usage_usec {usage_us}\nuser_usec 1\nsystem_usec 2\n"));
        write("memory.current", "4096\n");
        // Longer than a ring's buffer, with what is wanted on both sides of its end.
        write("memory.stat", &format!("anon 5\n{}file 6\nkernel 7\n", "filler 0\n".repeat(700)));
        write("memory.events", "low 0\noom_kill 3\n");
        write("memory.peak", "8192\n");
        write("io.stat", &"8:0 rbytes=512 rios=1\n".repeat(300));
        write("io.pressure", "some avg10=0.00 total=9\nfull avg10=0.00 total=8\n");
        folder
    }

    fn expect(usage_us: u64) -> FileSample {
        let device = model::usage::Device { major: 8, read_bytes: 512, read_ops: 1, ..Default::default() };
        FileSample {
            cpu: Some(CpuStat { usage_us, user_us: 1, system_us: 2, ..CpuStat::default() }),
            memory_current_bytes: Some(4096),
            memory_peak_bytes: Some(8192),
            memory_stat: Some(MemoryStat {
                anon_bytes: 5,
                file_bytes: 6,
                kernel_bytes: 7,
                ..MemoryStat::default()
            }),
            oom_kills_count: Some(3),
            io_pressure: Some(Pressure { some_us: 9, full_us: 8 }),
            devices: Some(vec![device; 300]),
            ..FileSample::default()
        }
    }

    #[test]
    fn every_file_of_every_container_is_read_again_each_time() {
        block_on(async {
            for mut sampler in samplers() {
                assert_eq!(look(&mut sampler).await, []);
                // More files than the ring has room for at first.
                let folders: Vec<_> = (0..40).map(folder).collect();
                for (index, folder) in folders.iter().enumerate() {
                    let id = ContainerId::new(format!("c{index:02}"));
                    sampler.add(id, Target::Cgroup(folder.path())).expect("it is there");
                }
                let expected: Vec<_> =
                    (0..40).map(|n| (ContainerId::new(format!("c{n:02}")), expect(n))).collect();
                assert_eq!(look(&mut sampler).await, expected);
                std::fs::write(
                    folders[7].path().join("cpu.stat"),
                    "usage_usec 99\nuser_usec 1\nsystem_usec 2\n",
                )
                .expect("write");
                assert_eq!(look(&mut sampler).await[7].1, expect(99));
                let id = ContainerId::new("c07");
                assert_eq!(sampler.finish(&id, Some(Rusage::default())).await, Some(expect(99)));
                assert_eq!(sampler.finish(&id, None).await, None);
                assert_eq!(look(&mut sampler).await.len(), 39);
            }
        });
    }

    #[test]
    fn a_dropped_look_does_not_disturb_the_next() {
        block_on(async {
            let mut sampler = Sampler::new(COUNTED);
            let folder = folder(1);
            sampler.add("c".into(), Target::Cgroup(folder.path())).expect("it is there");
            for _ in 0..100 {
                // Polled once: submitted, not waited for.
                let mut look = Box::pin(sampler.look());
                let mut context = std::task::Context::from_waker(std::task::Waker::noop());
                let _ = look.as_mut().poll(&mut context);
                drop(look);
                assert_eq!(self::look(&mut sampler).await, [("c".into(), expect(1))]);
            }
        });
    }

    #[test]
    fn a_folder_without_files_is_no_cgroup() {
        block_on(async {
            let folder = tempfile::tempdir().expect("a temporary folder");
            for mut sampler in samplers() {
                assert!(sampler.add("c".into(), Target::Cgroup(folder.path())).is_err());
                assert!(sampler.add("c".into(), Target::Cgroup(Path::new("/no/such/cgroup"))).is_err());
                assert_eq!(look(&mut sampler).await, []);
            }
        });
    }

    #[test]
    fn without_a_cgroup_the_processes_are_summed_and_the_end_is_the_first_ones() {
        block_on(async {
            let me = std::process::id() as i32;
            let start_ticks = crate::sys::processes::stat(me).expect("we run").start_ticks;
            let mark = Mark { leader: me, leader_start_ticks: start_ticks, environment: "NO=ne".to_owned() };
            let mut sampler = Sampler::new(COUNTED);
            sampler.add("c".into(), Target::Processes(&mark)).expect("nothing to open");
            let sample = look(&mut sampler).await.remove(0).1;
            let proc = sample.proc.expect("it has processes");
            assert!(proc.processes_count >= 1 && proc.threads_count >= proc.processes_count, "{proc:?}");
            assert!(proc.rss_bytes > 1 << 20 && proc.rss_peak_bytes >= proc.rss_bytes, "{proc:?}");
            assert_eq!(sample, FileSample { proc: Some(proc), ..FileSample::default() });
            let usage = Rusage { user_us: 5, system_us: 6, rss_peak_bytes: 7 };
            let end = sampler.finish(&"c".into(), Some(usage)).await.expect("it was there").proc;
            let expect =
                ProcSample { user_ns: 5000, system_ns: 6000, rss_peak_bytes: 7, ..ProcSample::default() };
            assert_eq!(end, Some(expect));
        });
    }
}
