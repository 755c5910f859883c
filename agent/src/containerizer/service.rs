//! What the agent calls: containers prepared, started, waited for, changed, destroyed, found again after a restart.
//! Every call is asynchronous and none blocks the runtime.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use model::id::ContainerId;

use super::destroy;
use super::devices::DeviceList;
use super::fetch::{FetchError, Fetcher, Settings};
use super::held::Held;
use super::init::{Init, Runtime};
use super::io::{Ends, Switched};
use super::launch::{self, LaunchError, Launcher, Parent, Prepared, mark};
use super::nested;
use super::overrides::Overrides;
use super::plan::{Plan, runtime_directories, runtime_directory};
use super::reaper::Reaper;
use super::sandbox::{self, SandboxError};
use super::users::{Blocks, Range};
use crate::bpf::hold::{Egress, HoldError};
use crate::cgroup::container::Container;
use crate::cgroup::hierarchy::{Tree, TreeConfig};
use crate::cgroup::knobs::{Limits, Lowering};
use crate::cgroup::met::{self, MemoryMet};
use crate::cgroup::{CgroupError, Enforcement};
use crate::sys::SysError;
use crate::sys::pidfd::{Ended, Exit};
use crate::sys::processes::Mark;

/// The agent's containers.
#[derive(Debug)]
pub struct Containerizer {
    launcher: Launcher,
    tree: Option<Arc<Tree>>,
    enforcement: Enforcement,
    held: Held,
    fetcher: Fetcher,
    init: Arc<Init>,
    /// The launcher's alone; for it to be moved there.
    blocks: Arc<Mutex<Blocks>>,
    work_dir: PathBuf,
}

#[derive(Debug, thiserror::Error)]
pub enum DestroyError {
    #[error("container {container_id}")]
    Cgroup { container_id: ContainerId, source: CgroupError },
    #[error("kill the processes of container {container_id}")]
    Processes { container_id: ContainerId, source: std::io::Error },
}

/// Why a running container is not held to its new limits. Some may be, others not.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
    #[error(transparent)]
    Hold(HoldError),
}

/// A container whose program was started. The figures of its use can be read until it is removed.
#[derive(Debug)]
pub struct Running {
    pub container_id: ContainerId,
    pub sandbox: PathBuf,
    /// Of its first process, init, whose child the executor is; zero if that is not known. It may have ended: signals go by its pidfd,
    /// never by this number.
    pub pid: u32,
    start_ticks: u64,
    cgroup: Option<Arc<Container>>,
    reaper: Reaper,
    /// Until somebody takes it.
    switched: RefCell<Option<Switched>>,
}

/// What has to be known of a running container to find it again in the agent's next life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remembered {
    pub container_id: ContainerId,
    pub sandbox: PathBuf,
    /// Of its first process; `None` if that was never written down: then it is looked for.
    pub pid: Option<u32>,
}

impl Running {
    /// Under which BPF programs see it; `None` without a cgroup.
    pub fn cgroup_id(&self) -> Option<u64> {
        self.cgroup.as_ref().map(|cgroup| cgroup.id())
    }

    pub fn cgroup_path(&self) -> Option<&Path> {
        self.cgroup.as_ref().map(|cgroup| cgroup.path())
    }

    /// By what its processes are found where it has no cgroup.
    pub fn mark(&self) -> Mark {
        mark(self.pid.cast_signed(), self.start_ticks, &self.sandbox)
    }

    fn as_parent(&self) -> Parent {
        Parent { leader: (self.pid, self.start_ticks), cgroup: self.cgroup.clone(), mark: self.mark() }
    }

    pub fn remember(&self) -> Remembered {
        Remembered {
            container_id: self.container_id.clone(),
            sandbox: self.sandbox.clone(),
            pid: (self.pid > 0).then_some(self.pid),
        }
    }

    /// What passes through the agent; `None` if nothing does, or somebody has it already.
    pub fn take_switched(&self) -> Option<Switched> {
        self.switched.borrow_mut().take()
    }

    /// Returns when its program has ended, with how, and what it and all that init reaped used: where there is no cgroup,
    /// that is the last that can be known. Any number may wait. Others of the container may still run.
    pub async fn wait(&self) -> Ended {
        self.reaper.wait().await
    }

    /// Sends a signal to its program, by way of init; that this has ended already is no error.
    pub fn signal(&self, number: i32) -> Result<(), SysError> {
        self.reaper.signal(number)
    }
}

impl Containerizer {
    /// `cgroups`: `None` is without. If they are wanted and cannot be had, `enforcement` says so: that is no error, because an
    /// ordinary user's agent works without them.
    pub fn new(work_dir: &Path, cgroups: Option<&TreeConfig>) -> std::io::Result<Self> {
        let tree = cgroups.map(|config| Tree::open(config).map(Arc::new));
        let (tree, mut enforcement) = match tree {
            Some(Ok(tree)) => (Some(tree.clone()), tree.enforcement().clone()),
            Some(Err(error)) => (None, Enforcement::none(&message(&error))),
            None => (None, Enforcement::none("cgroups are switched off")),
        };
        let held = if tree.is_some() { Held::probe(&mut enforcement) } else { Held::none() };
        let fetcher = Fetcher::new(Settings::default(), None);
        let (launcher, init) = (Launcher::start()?, Arc::new(Init::load(work_dir)?));
        let blocks = blocks(Range::USUAL, work_dir);
        let work_dir = work_dir.to_owned();
        Ok(Self { launcher, tree, enforcement, held, fetcher, init, blocks, work_dir })
    }

    /// Fetches by other settings than the usual, or with a cache.
    pub fn with_fetcher(self, fetcher: Fetcher) -> Self {
        Self { fetcher, ..self }
    }

    /// Gives containers that have users of their own others than the usual ids of the machine.
    pub fn with_users(self, range: Range) -> Self {
        Self { blocks: blocks(range, &self.work_dir), ..self }
    }

    /// Lets containers use other devices than the usual ones; `None`: whatever they like.
    pub fn with_devices(self, devices: Option<DeviceList>) -> Self {
        Self { held: self.held.with_devices(devices), ..self }
    }

    pub fn fetcher(&self) -> &Fetcher {
        &self.fetcher
    }

    /// The agent's own group, above those of all its containers; `None` where it has none.
    pub fn cgroup_root(&self) -> Option<&Path> {
        self.tree.as_ref().map(|tree| tree.root())
    }

    pub fn enforcement(&self) -> &Enforcement {
        &self.enforcement
    }

    /// Makes sandbox and cgroup. Nothing runs yet: the caller registers the cgroup's id, has files fetched, then starts.
    pub async fn prepare(&self, plan: impl Into<Box<Plan>>) -> Result<Prepared, LaunchError> {
        // Moved through several futures, each of which would have room for all of it.
        let plan = plan.into();
        let (tree, held, blocks) = (self.tree.clone(), self.held.clone(), self.blocks.clone());
        self.launcher.run(move || launch::prepare(plan, tree.as_deref(), &held, &blocks)).await
    }

    /// Brings the files that the command asks for into the sandbox, as the executor's user. Dropping the future ends it.
    pub async fn fetch(&self, prepared: &Prepared) -> Result<(), FetchError> {
        self.fetcher.fetch(prepared.to_fetch()).await
    }

    /// Runs the program. On an error nothing runs and no cgroup is left.
    pub async fn start(&self, prepared: Prepared) -> Result<Running, LaunchError> {
        self.start_in(prepared, None).await
    }

    /// The same in another container, whose namespaces it shares: in that itself, not in what that is in.
    pub async fn start_in(
        &self,
        prepared: Prepared,
        parent: Option<&Running>,
    ) -> Result<Running, LaunchError> {
        let init = self.init.clone();
        let parent = parent.map(Running::as_parent);
        let started = self.launcher.run(move || launch::start(prepared, parent, &init)).await?;
        let mark = started.mark();
        let launch::Started { prepared, child, start_ticks } = started;
        let [_, stdout, stderr] = prepared.files.map(std::fs::File::from);
        let switched = prepared.ends.map(|ends| Switched { ends, stdout, stderr });
        match Reaper::of(child.pidfd, prepared.runtime) {
            Ok(reaper) => Ok(Running {
                switched: RefCell::new(switched),
                container_id: prepared.container_id,
                sandbox: prepared.sandbox,
                pid: child.pid.cast_unsigned(),
                start_ticks,
                cgroup: prepared.cgroup,
                reaper,
            }),
            Err(source) => {
                // Out of descriptors, most likely. What cannot be watched must not run.
                self.end(prepared.cgroup.as_ref(), &mark).await;
                Err(LaunchError::Watch { pid: child.pid, source })
            }
        }
    }

    async fn end(&self, cgroup: Option<&Arc<Container>>, mark: &Mark) {
        let killed = match cgroup {
            Some(cgroup) => cgroup.kill().map_err(|error| std::io::Error::other(message(&error))),
            None => destroy::kill_marked(&self.launcher, mark).await,
        };
        if let Err(error) = killed {
            tracing::error!(%error, "cannot end a container that could not be watched");
        }
    }

    /// Undoes `prepare`, but for the sandbox.
    pub async fn abandon(&self, prepared: Prepared) -> Result<(), CgroupError> {
        let Prepared { cgroup, runtime, .. } = prepared;
        cgroup.iter().for_each(|cgroup| self.held.forget(cgroup.id()));
        self.launcher
            .run(move || {
                let _ = runtime.remove();
                cgroup.map_or(Ok(()), |cgroup| cgroup.remove())
            })
            .await
    }

    /// Writes down what a nested container is made from, so that it is known after a restart. Before it is started.
    pub async fn note(&self, container_id: &ContainerId, call: Vec<u8>) -> std::io::Result<()> {
        let runtime = self.runtime(container_id);
        self.launcher.run(move || runtime.note(&call)).await
    }

    /// What was noted of those that are nested directly in this one. What cannot be read is left out: it was cut off before
    /// it was started.
    pub async fn noted(&self, container_id: &ContainerId) -> Vec<(String, Vec<u8>)> {
        let runtime = self.runtime(container_id);
        self.launcher.run(move || runtime.noted()).await
    }

    /// Writes down how a nested container ended whose init could not; the next life of the agent has to know, too.
    pub async fn settle(&self, container_id: &ContainerId, ended: Ended) {
        let runtime = self.runtime(container_id);
        self.launcher.run(move || runtime.settle(ended)).await;
    }

    /// Writes down which limit of its own ended a nested container, before the group goes that could tell.
    pub async fn tell_limitation(&self, container_id: &ContainerId, told: Vec<u8>) -> std::io::Result<()> {
        let runtime = self.runtime(container_id);
        self.launcher.run(move || runtime.tell_limitation(&told)).await
    }

    /// What was written down of that; `None`: nothing.
    pub async fn limitation(&self, container_id: &ContainerId) -> Option<Vec<u8>> {
        let runtime = self.runtime(container_id);
        self.launcher.run(move || runtime.limitation()).await
    }

    /// Deletes the sandbox of a nested container; `outermost`: that of the one that all is nested in.
    pub async fn remove_sandbox(&self, outermost: PathBuf, sandbox: PathBuf) -> Result<(), SandboxError> {
        self.launcher.run(move || sandbox::remove_nested(&outermost, &sandbox)).await
    }

    /// What passes through the agent of a container that was found again: `None` if it was not started with a terminal, or
    /// has ended. `outermost`: where the sandbox is nested, as above.
    pub async fn reopen(
        &self,
        running: &Running,
        outermost: Option<PathBuf>,
    ) -> Result<Option<Switched>, LaunchError> {
        let watch = |source: SysError| LaunchError::Io(source);
        let Some(terminal) = running.reaper.kept().map_err(watch)? else { return Ok(None) };
        let sandbox = running.sandbox.clone();
        let files = self.launcher.run(move || sandbox::reopen_stdio(outermost.as_deref(), &sandbox)).await;
        let [_, stdout, stderr] = files?.map(std::fs::File::from);
        Ok(Some(Switched { ends: Ends::Terminal(terminal), stdout, stderr }))
    }

    /// Forgets how the container ended: nobody will ask any more, not even after a restart.
    pub async fn forget(&self, container_id: &ContainerId) -> std::io::Result<()> {
        let runtime = self.runtime(container_id);
        self.launcher.run(move || runtime.remove()).await
    }

    /// Forgets all containers but these. What is launched after this call is not concerned.
    pub async fn forget_others(&self, known: BTreeSet<ContainerId>) -> std::io::Result<()> {
        let work_dir = self.work_dir.clone();
        self.launcher.run(move || Runtime::remove_others(&runtime_directories(&work_dir), &known)).await
    }

    fn runtime(&self, container_id: &ContainerId) -> Runtime {
        Runtime::of(&runtime_directory(&self.work_dir, container_id))
    }

    /// Adapts the limits of a running container to what its executor and its tasks have now.
    pub async fn set_limits(&self, running: &Running, limits: Limits) -> Result<(), ChangeError> {
        let Some(cgroup) = running.cgroup.clone() else { return Ok(()) };
        let held = self.held.clone();
        let change = move || {
            cgroup.change(&limits, Lowering::Never)?;
            held.change(cgroup.path(), &limits).map_err(ChangeError::Hold)
        };
        self.launcher.run(change).await
    }

    /// Sets limits that an operator wants for this container: memory may become less too, and `io_max` is replaced.
    pub async fn override_limits(
        &self,
        running: &Running,
        limits: Limits,
        (old, new): (&Overrides, &Overrides),
    ) -> Result<(), ChangeError> {
        let Some((cgroup, tree)) = running.cgroup.clone().zip(self.tree.clone()) else { return Ok(()) };
        let (held, old, new) = (self.held.clone(), old.io_max().to_vec(), new.io_max().to_vec());
        let change = move || {
            cgroup.change_io(&tree, &old, &new)?;
            cgroup.change(&limits, Lowering::Wanted)?;
            held.change(cgroup.path(), &limits).map_err(ChangeError::Hold)
        };
        self.launcher.run(change).await
    }

    /// Bytes of memory that are in use when the kernel has taken back what it can beyond `limit`; `None` where nobody counts.
    pub async fn reclaim(&self, running: &Running, limit: u64) -> Option<u64> {
        let cgroup = running.cgroup.clone()?;
        self.launcher.run(move || cgroup.reclaim(limit)).await
    }

    /// What became of its packets since there is a limit; `None` while there is none.
    pub fn egress(&self, running: &Running) -> Option<Egress> {
        self.held.egress(running.cgroup_id()?)
    }

    /// Kills everything that the container has started and returns when all of it has ended and its first process is
    /// reaped. Its figures can still be read: it has to be removed afterwards. Calling it again is harmless.
    pub async fn destroy(&self, running: &Running) -> Result<Ended, DestroyError> {
        let container_id = || running.container_id.clone();
        let lived = running.reaper.is_alive();
        match &running.cgroup {
            Some(cgroup) => {
                let error = |source| DestroyError::Cgroup { container_id: container_id(), source };
                let killed = cgroup.clone();
                self.launcher.run(move || killed.kill()).await.map_err(error)?;
                cgroup.wait_empty().await.map_err(error)?;
            }
            None => destroy::kill_marked(&self.launcher, &running.mark())
                .await
                .map_err(|source| DestroyError::Processes { container_id: container_id(), source })?,
        }
        let ended = running.wait().await;
        // Of another's child only its init could tell, which was killed with it. But then we know by what.
        let killed = Exit::Signal { number: libc::SIGKILL, core_dumped: false };
        let exit = if lived && ended.exit == Exit::Unknown { killed } else { ended.exit };
        Ok(Ended { exit, ..ended })
    }

    /// What became of its memory limit so far; `None` where its memory is not held to any.
    pub async fn memory_met(&self, running: &Running) -> Option<MemoryMet> {
        let cgroup = running.cgroup.clone()?;
        self.launcher.run(move || met::memory(cgroup.path())).await
    }

    /// Removes the container's cgroup; an error while anything lives in it. The sandbox stays until it is collected.
    pub async fn remove(&self, running: &Running) -> Result<(), CgroupError> {
        running.cgroup_id().inspect(|id| self.held.forget(*id));
        match running.cgroup.clone() {
            Some(cgroup) => self.launcher.run(move || cgroup.remove()).await,
            None => Ok(()),
        }
    }

    /// Finds a container of the agent's earlier life, of the same boot. If its program has ended meanwhile, `wait` says how
    /// at once, and the rest of it is there to be destroyed and removed.
    pub async fn reattach(&self, remembered: &Remembered) -> Result<Running, LaunchError> {
        let Remembered { container_id, sandbox, pid } = remembered.clone();
        let (tree, name, folder) = (self.tree.clone(), container_id.clone(), sandbox.clone());
        let look = move || {
            let group = nested::group(&name);
            let cgroup = tree.and_then(|tree| Container::open(&tree, &group).ok()).map(Arc::new);
            let process = match pid {
                Some(pid) => launch::find(pid.cast_signed(), cgroup.as_deref(), &folder),
                None => launch::find_first(cgroup.as_deref(), &folder),
            };
            (cgroup, process)
        };
        let (cgroup, process) = self.launcher.run(look).await;
        let runtime = self.runtime(&container_id);
        let (reaper, pid, start_ticks) = match process {
            Some((pidfd, stat)) => (Reaper::of(pidfd, runtime), stat.pid.cast_unsigned(), stat.start_ticks),
            None => (Ok(Reaper::of_nobody(runtime)), 0, 0),
        };
        let reaper = reaper.map_err(|source| LaunchError::Watch { pid: pid.cast_signed(), source })?;
        Ok(Running { container_id, sandbox, pid, start_ticks, cgroup, reaper, switched: RefCell::new(None) })
    }

    /// Holds a container that was found again to what this agent holds its own to; what is nested in it is held by that.
    pub async fn hold_again(&self, running: &Running) {
        let Some(cgroup) = running.cgroup.clone() else { return };
        let held = self.held.clone();
        if let Err(error) = self.launcher.run(move || held.find(cgroup.path())).await {
            let (cause, container) = (&error as &dyn std::error::Error, &running.container_id);
            tracing::warn!(cause, %container, "container is held to an earlier agent's list of devices");
        }
    }

    /// Containers whose cgroup is there, whoever remembers them. After a restart, those that nobody remembers are to be
    /// reattached (without a pid), destroyed and removed.
    pub async fn leftovers(&self) -> Result<Vec<ContainerId>, CgroupError> {
        let Some(tree) = self.tree.clone() else { return Ok(Vec::new()) };
        let names = self.launcher.run(move || tree.names()).await?;
        Ok(names.iter().map(ContainerId::new).collect())
    }

    /// Removes folders of sandboxes in which nothing is any more: [`crate::collector::prune`], when no sandbox is being made.
    pub async fn prune(&self, folder: PathBuf, root: PathBuf) {
        self.launcher.run(move || crate::collector::prune(&folder, &root)).await;
    }

    /// Removes the agent's own group if no container is left in it.
    pub fn close(&self) {
        if let Some(tree) = &self.tree {
            tree.remove_if_empty();
        }
    }
}

fn blocks(range: Range, work_dir: &Path) -> Arc<Mutex<Blocks>> {
    Arc::new(Mutex::new(Blocks::load(range, &runtime_directories(work_dir))))
}

/// An error with its causes, in one line: what a framework or an operator is told.
pub fn message(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
