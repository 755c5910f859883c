//! The agent's look at its containers: which files each has, all of them read at once, what they say put together.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;

use model::id::ContainerId;

use super::ring::Ring;
use super::{parse, plain, proc};
use crate::accounting::sample::{FileSample, ProcSample};
use crate::sys::pidfd::Rusage;
use crate::sys::processes::{Mark, Table};

/// How the containers' files are read.
#[derive(Debug)]
enum Engine {
    Ring(Box<Ring>),
    /// One after another, on a thread that may block.
    Plain,
}

/// Whether `/proc` is asked for what no controller counts. It costs about 50 µs a process and reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProcFigures {
    /// For containers without a cgroup, and for those whose cgroup has no memory controller.
    WhereMissing,
    /// Somebody else counts memory for those that have a cgroup (BPF): only containers without one.
    WithoutCgroup,
}

/// A container's files, held open from its beginning to its end.
#[derive(Debug)]
struct Container {
    files: Vec<(Kind, Arc<File>)>,
    /// Whose processes are to be summed over.
    proc: Option<Processes>,
}

#[derive(Clone, Debug)]
enum Processes {
    /// Those that `cgroup.procs` lists.
    Listed,
    Marked(Mark),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    CpuStat,
    MemoryCurrent,
    MemoryPeak,
    MemoryStat,
    MemoryEvents,
    PidsCurrent,
    Processes,
}

/// Files of a cgroup directory. Those of a controller that is not enabled are not there.
const FILES: [(&str, Kind); 6] = [
    ("cpu.stat", Kind::CpuStat),
    ("memory.current", Kind::MemoryCurrent),
    ("memory.peak", Kind::MemoryPeak),
    ("memory.stat", Kind::MemoryStat),
    ("memory.events", Kind::MemoryEvents),
    ("pids.current", Kind::PidsCurrent),
];

/// Where a container's figures are.
#[derive(Clone, Copy, Debug)]
pub enum Target<'a> {
    /// The directory of its cgroup.
    Cgroup(&'a Path),
    /// It has none: its processes are found by this.
    Processes(&'a Mark),
}

#[derive(Debug)]
pub struct Sampler {
    engine: Engine,
    figures: ProcFigures,
    containers: BTreeMap<ContainerId, Container>,
}

impl Sampler {
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn new(figures: ProcFigures) -> Self {
        let engine = match Ring::new() {
            Ok(ring) => Engine::Ring(Box::new(ring)),
            Err(error) => {
                tracing::info!(%error, "io_uring cannot be used: cgroup files are read one by one");
                Engine::Plain
            }
        };
        Self { engine, figures, containers: BTreeMap::new() }
    }

    /// A sampler as on a host where io_uring may not be used.
    pub fn without_ring(figures: ProcFigures) -> Self {
        Self { engine: Engine::Plain, figures, containers: BTreeMap::new() }
    }

    /// Opens the container's files: about seven descriptors. An error if its cgroup is not there.
    pub fn add(&mut self, container_id: ContainerId, target: Target<'_>) -> io::Result<()> {
        let container = match target {
            Target::Cgroup(directory) => self.open(directory)?,
            Target::Processes(mark) => {
                Container { files: Vec::new(), proc: Some(Processes::Marked(mark.clone())) }
            }
        };
        self.containers.insert(container_id, container);
        Ok(())
    }

    fn open(&self, directory: &Path) -> io::Result<Container> {
        let mut files = Vec::new();
        let mut open = |name: &str, kind| match File::open(directory.join(name)) {
            Ok(file) => {
                files.push((kind, Arc::new(file)));
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        };
        let mut has_memory = false;
        for (name, kind) in FILES {
            has_memory |= open(name, kind)? && kind == Kind::MemoryCurrent;
        }
        let is_summed = self.figures == ProcFigures::WhereMissing && !has_memory;
        if is_summed {
            open("cgroup.procs", Kind::Processes)?;
        }
        if files.is_empty() {
            // No cgroup directory is without cpu.stat.
            return Err(io::Error::from(io::ErrorKind::NotFound));
        }
        Ok(Container { files, proc: is_summed.then_some(Processes::Listed) })
    }

    /// Reads everything of every container. A container whose files are gone has a sample without figures.
    pub async fn sample(&mut self) -> Vec<(ContainerId, FileSample)> {
        let all: Vec<_> = self.containers.keys().cloned().collect();
        self.sample_these(&all).await
    }

    /// The last look at a container, after its last process has ended and before its cgroup is removed. `usage`: of its
    /// first process, from its end; without a cgroup that is all there is, and it is more than any look before could see.
    pub async fn finish(&mut self, container_id: &ContainerId, usage: Option<Rusage>) -> Option<FileSample> {
        let mut samples = self.sample_these(std::slice::from_ref(container_id)).await;
        let container = self.containers.remove(container_id)?;
        let (_, mut sample) = samples.pop()?;
        if container.proc.is_some() {
            sample.proc = usage.map(proc::of_ended);
        }
        Some(sample)
    }

    /// Closes a container's files without a last look.
    pub fn remove(&mut self, container_id: &ContainerId) {
        self.containers.remove(container_id);
    }

    async fn sample_these(&mut self, ids: &[ContainerId]) -> Vec<(ContainerId, FileSample)> {
        let known: Vec<_> = ids.iter().filter(|id| self.containers.contains_key(*id)).collect();
        let files: Vec<_> = known.iter().flat_map(|id| &self.containers[*id].files).cloned().collect();
        let mut texts = read_all(&mut self.engine, &files).await.into_iter();
        let mut samples = Vec::with_capacity(known.len());
        let mut sums = Vec::new();
        for id in known {
            let container = &self.containers[id];
            let mut sample = FileSample::default();
            let mut listed = Vec::new();
            for ((kind, _), text) in container.files.iter().zip(texts.by_ref()) {
                match (kind, text) {
                    (Kind::Processes, text) => listed = parse::processes(&text.unwrap_or_default()),
                    (kind, Some(text)) => fill(&mut sample, *kind, &text),
                    (_, None) => {}
                }
            }
            match &container.proc {
                Some(Processes::Listed) => sums.push((samples.len(), Sum::Listed(listed))),
                Some(Processes::Marked(mark)) => sums.push((samples.len(), Sum::Marked(mark.clone()))),
                None => {}
            }
            samples.push((id.clone(), sample));
        }
        for (index, sum) in sum_all(sums).await {
            samples[index].1.proc = Some(sum);
        }
        samples
    }
}

/// The texts of files, in their order; `None` where one cannot be read.
async fn read_all(engine: &mut Engine, files: &[(Kind, Arc<File>)]) -> Vec<Option<String>> {
    let text = |bytes: io::Result<Vec<u8>>| Some(String::from_utf8_lossy(&bytes.ok()?).into_owned());
    if files.is_empty() {
        return Vec::new();
    }
    if let Engine::Ring(ring) = engine {
        let borrowed: Vec<&File> = files.iter().map(|(_, file)| file.as_ref()).collect();
        match ring.read_all(&borrowed).await {
            Ok(texts) => return texts.into_iter().map(text).collect(),
            Err(error) => {
                tracing::warn!(%error, "io_uring failed: cgroup files are read one by one from now on");
                *engine = Engine::Plain;
            }
        }
    }
    let files: Vec<_> = files.iter().map(|(_, file)| file.clone()).collect();
    let read = move || files.iter().map(|file| text(plain::read(file))).collect();
    tokio::task::spawn_blocking(read).await.expect("reading files does not panic")
}

enum Sum {
    Listed(Vec<i32>),
    Marked(Mark),
}

/// Sums over processes, on a thread that may block; the process table is read once for all containers that need it.
async fn sum_all(wanted: Vec<(usize, Sum)>) -> Vec<(usize, ProcSample)> {
    if wanted.is_empty() {
        return Vec::new();
    }
    let sum = move || {
        let needs_table = wanted.iter().any(|(_, sum)| matches!(sum, Sum::Marked(_)));
        let table = if needs_table { Table::read() } else { Table::default() };
        let sum = |sum: &Sum| match sum {
            Sum::Listed(pids) => proc::of_numbers(pids),
            Sum::Marked(mark) => proc::sum(table.members(mark)),
        };
        wanted.iter().map(|(index, wanted)| (*index, sum(wanted))).collect()
    };
    tokio::task::spawn_blocking(sum).await.expect("reading /proc does not panic")
}

fn fill(sample: &mut FileSample, kind: Kind, text: &str) {
    match kind {
        Kind::CpuStat => sample.cpu = parse::cpu_stat(text),
        Kind::MemoryCurrent => sample.memory_current_bytes = parse::number(text),
        Kind::MemoryPeak => sample.memory_peak_bytes = parse::number(text),
        Kind::MemoryStat => sample.memory_stat = parse::memory_stat(text),
        Kind::MemoryEvents => sample.oom_kills_count = parse::oom_kills(text),
        Kind::PidsCurrent => sample.pids_current = parse::number(text),
        Kind::Processes => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accounting::sample::{CpuStat, MemoryStat};

    fn samplers() -> [Sampler; 2] {
        let figures = ProcFigures::WithoutCgroup;
        [Sampler::new(figures), Sampler::without_ring(figures)]
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
        folder
    }

    fn expect(usage_us: u64) -> FileSample {
        FileSample {
            cpu: Some(CpuStat { usage_us, user_us: 1, system_us: 2, ..CpuStat::default() }),
            memory_current_bytes: Some(4096),
            memory_stat: Some(MemoryStat { anon_bytes: 5, file_bytes: 6, kernel_bytes: 7 }),
            oom_kills_count: Some(3),
            ..FileSample::default()
        }
    }

    #[test]
    fn every_file_of_every_container_is_read_again_each_time() {
        block_on(async {
            for mut sampler in samplers() {
                assert_eq!(sampler.sample().await, []);
                // More files than the ring has room for at first.
                let folders: Vec<_> = (0..40).map(folder).collect();
                for (index, folder) in folders.iter().enumerate() {
                    let id = ContainerId::new(format!("c{index:02}"));
                    sampler.add(id, Target::Cgroup(folder.path())).expect("it is there");
                }
                let expected: Vec<_> =
                    (0..40).map(|n| (ContainerId::new(format!("c{n:02}")), expect(n))).collect();
                assert_eq!(sampler.sample().await, expected);
                std::fs::write(
                    folders[7].path().join("cpu.stat"),
                    "usage_usec 99\nuser_usec 1\nsystem_usec 2\n",
                )
                .expect("write");
                assert_eq!(sampler.sample().await[7].1, expect(99));
                let id = ContainerId::new("c07");
                assert_eq!(sampler.finish(&id, Some(Rusage::default())).await, Some(expect(99)));
                assert_eq!(sampler.finish(&id, None).await, None);
                assert_eq!(sampler.sample().await.len(), 39);
            }
        });
    }

    #[test]
    fn a_dropped_look_does_not_disturb_the_next() {
        block_on(async {
            let mut sampler = Sampler::new(ProcFigures::WithoutCgroup);
            let folder = folder(1);
            sampler.add("c".into(), Target::Cgroup(folder.path())).expect("it is there");
            for _ in 0..100 {
                // Polled once: submitted, not waited for.
                let mut look = Box::pin(sampler.sample());
                let mut context = std::task::Context::from_waker(std::task::Waker::noop());
                let _ = look.as_mut().poll(&mut context);
                drop(look);
                assert_eq!(sampler.sample().await, [("c".into(), expect(1))]);
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
                assert_eq!(sampler.sample().await, []);
            }
        });
    }

    #[test]
    fn without_a_cgroup_the_processes_are_summed_and_the_end_is_the_first_ones() {
        block_on(async {
            let me = std::process::id() as i32;
            let start_ticks = crate::sys::processes::stat(me).expect("we run").start_ticks;
            let mark = Mark { leader: me, leader_start_ticks: start_ticks, environment: "NO=ne".to_owned() };
            let mut sampler = Sampler::new(ProcFigures::WithoutCgroup);
            sampler.add("c".into(), Target::Processes(&mark)).expect("nothing to open");
            let sample = sampler.sample().await.remove(0).1;
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
