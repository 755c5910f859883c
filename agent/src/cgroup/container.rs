//! One container's cgroup: made, limited, entered, killed as a whole, waited for, removed.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use cgroups_rs::fs::cpu::CpuController;
use cgroups_rs::fs::freezer::FreezerController;
use cgroups_rs::fs::memory::{MemController, SetMemory};
use cgroups_rs::fs::pid::PidController;
use cgroups_rs::fs::{Cgroup, MaxValue};
use tokio::io::Interest;

use super::divide::{LEAF, divide, processes};
use super::extras::IoMax;
use super::hierarchy::Tree;
use super::knobs::{Knob, Limits, Lowering, Now, changes, knobs};
use super::{CgroupError, Enforcement};
use crate::sys::watch::Watch;

/// A container's group. Dropping it leaves the group as it is.
#[derive(Debug)]
pub struct Container {
    cgroup: Cgroup,
    enforcement: Enforcement,
    path: PathBuf,
    id: u64,
    directory: File,
}

impl Container {
    /// Makes the group of a container that is in none and sets its limits. What was made is removed again if a limit cannot
    /// be set.
    pub fn create(tree: &Tree, name: &str, limits: &Limits) -> Result<Self, CgroupError> {
        let created = tree.cgroup(name).create().map_err(std::io::Error::other);
        created.map_err(|source| CgroupError::Create { path: tree.root().join(name), source })?;
        let container = Self::open(tree, name)?;
        let set = container.set(&knobs(limits)).and_then(|()| container.set_extras(tree));
        container.unless_failed(set)
    }

    /// Makes the group of a container in another; without limits it is held by those of the group in which it is. With, what
    /// runs in that one is moved ([`divide`]).
    pub fn create_nested(tree: &Tree, name: &str, limits: Option<&Limits>) -> Result<Self, CgroupError> {
        let path = tree.root().join(name);
        if limits.is_some() {
            divide(path.parent().expect("a group in another"), tree.enforcement())?;
        }
        // By cgroups-rs controllers would be enabled in the group above, in which there are processes: it would become the
        // root of a threaded subtree, into whose groups no process can be put.
        std::fs::create_dir_all(&path).map_err(|source| CgroupError::Create { path, source })?;
        let container = Self::open(tree, name)?;
        let set = limits.map_or(Ok(()), |limits| container.set(&knobs(limits)));
        container.unless_failed(set)
    }

    fn unless_failed(self, set: Result<(), CgroupError>) -> Result<Self, CgroupError> {
        match set {
            Ok(()) => Ok(self),
            Err(error) => {
                let _ = self.remove();
                Err(error)
            }
        }
    }

    /// The group that is there already, from an earlier life of the agent.
    pub fn open(tree: &Tree, name: &str) -> Result<Self, CgroupError> {
        let path = tree.root().join(name);
        let open = || -> std::io::Result<(File, u64)> {
            let directory = File::open(&path)?;
            let id = directory.metadata()?.ino();
            Ok((directory, id))
        };
        let (directory, id) = open().map_err(|source| CgroupError::Open { path: path.clone(), source })?;
        Ok(Self { cgroup: tree.cgroup(name), enforcement: tree.enforcement().clone(), path, id, directory })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The kernel's id of the group, as BPF programs see it: the inode of its directory.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// For `CLONE_INTO_CGROUP`.
    pub fn directory(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }

    /// Adapts the limits of a running container.
    pub fn change(&self, limits: &Limits, lowering: Lowering) -> Result<(), CgroupError> {
        // Without the controller there is no file, and nothing of it is set.
        let read = |file: &str| std::fs::read_to_string(self.path.join(file)).unwrap_or_default();
        let now = Now { memory_max: read("memory.max"), cpu_idle: read("cpu.idle") };
        self.set(&changes(limits, &now, lowering))
    }

    /// Replaces what was set of `io.max` for this container beside what holds for each.
    pub fn change_io(&self, tree: &Tree, old: &[IoMax], new: &[IoMax]) -> Result<(), CgroupError> {
        if old == new {
            return Ok(());
        }
        for line in old.iter().chain(new) {
            self.write("io.max", format!("{} rbps=max wbps=max riops=max wiops=max", line.device()))?;
        }
        let of_each = tree.extras().io_max.iter();
        of_each.chain(new).try_for_each(|line| self.write("io.max", line.as_str().to_owned()))
    }

    /// Bytes of memory in use, after the kernel has taken back what it can of what is beyond `limit`. `None` where nobody
    /// counts them.
    pub fn reclaim(&self, limit: u64) -> Option<u64> {
        let used =
            || std::fs::read_to_string(self.path.join("memory.current")).ok()?.trim().parse::<u64>().ok();
        let before = used()?;
        if before <= limit {
            return Some(before);
        }
        // Since Linux 5.19; EAGAIN says that not all of it could be had.
        let _ = std::fs::write(self.path.join("memory.reclaim"), (before - limit).to_string());
        used()
    }

    /// What the operator sets for each container; where that cannot be had it was said at the agent's start.
    fn set_extras(&self, tree: &Tree) -> Result<(), CgroupError> {
        let mut settings = tree.extras().of_container();
        settings.try_for_each(|(controller, setting)| match self.enforcement.of(controller).is_yes() {
            true => self.write(&setting.file, setting.value),
            false => Ok(()),
        })
    }

    fn write(&self, file: &str, value: String) -> Result<(), CgroupError> {
        let path = self.path.join(file);
        let written = std::fs::write(&path, &value);
        written.map_err(|source| CgroupError::Set { path, value, source: source.into() })
    }

    /// Sets those knobs whose controller is there.
    fn set(&self, knobs: &[Knob]) -> Result<(), CgroupError> {
        knobs
            .iter()
            .filter(|knob| self.enforcement.of(knob.controller()).is_yes())
            .try_for_each(|&k| self.turn(k))
    }

    fn turn(&self, knob: Knob) -> Result<(), CgroupError> {
        let path = self.path.join(knob.file());
        if knob.may_be_missing() && !path.exists() {
            return Ok(());
        }
        let max = |limit: Option<u64>| limit.map_or(MaxValue::Max, |n| MaxValue::Value(n.cast_signed()));
        let cpu = || {
            self.cgroup.controller_of::<CpuController>().expect("only knobs of enabled controllers come here")
        };
        let memory = || self.cgroup.controller_of::<MemController>().expect("as above");
        let pids = || self.cgroup.controller_of::<PidController>().expect("as above");
        let result = match knob {
            Knob::CpuWeight(weight) => cpu().set_shares(weight),
            Knob::CpuMax { quota_us, period_us } => {
                cpu().set_cfs_quota_and_period(Some(quota_us.map_or(-1, u64::cast_signed)), Some(period_us))
            }
            Knob::MemoryMax(limit) => {
                memory().set_mem(SetMemory { max: Some(max(limit)), ..SetMemory::default() })
            }
            Knob::MemoryLow(bytes) => {
                memory().set_mem(SetMemory { low: Some(max(Some(bytes))), ..SetMemory::default() })
            }
            Knob::SwapMax(bytes) => memory().set_memswap_limit(bytes.cast_signed()),
            Knob::PidsMax(limit) => pids().set_pid_max(max(limit)),
            // cgroups-rs has no name for them.
            Knob::CpuIdle(_)
            | Knob::OomGroup
            | Knob::CpuBurst(_)
            | Knob::MemoryHigh(_)
            | Knob::IoWeight(_) => {
                return self.write(knob.file(), knob.value());
            }
        };
        result.map_err(|source| CgroupError::Set { path, value: knob.value(), source: source.into() })
    }

    /// Numbers of the container's own processes: not those of containers in it, nor of groups that a task made below it.
    pub fn processes(&self) -> Vec<i32> {
        // From the one to the other is where they go; in this order none is missed.
        [&self.path, &self.path.join(LEAF)].into_iter().flat_map(|group| processes(group)).collect()
    }

    /// Kills everything in the group and below, atomically against forks. They are gone when `wait_empty` returns.
    ///
    /// Blocks only on kernels before 5.14, which have no `cgroup.kill`.
    pub fn kill(&self) -> Result<(), CgroupError> {
        match self.path.join("cgroup.kill").exists() {
            true => self
                .cgroup
                .kill()
                .map_err(|e| CgroupError::Kill { path: self.path.clone(), source: e.into() }),
            false => self.kill_by_freezing(),
        }
    }

    /// `kill` for kernels without `cgroup.kill`: freezes the group, so that nothing can fork, and kills what is in it; a
    /// frozen process dies all the same. What was just being born is caught by the next round. Blocks until it is empty.
    pub fn kill_by_freezing(&self) -> Result<(), CgroupError> {
        let error = |source| CgroupError::Kill { path: self.path.clone(), source };
        let freezer =
            self.cgroup.controller_of::<FreezerController>().expect("AtRoot gives one to every group");
        freezer.freeze().map_err(|e| error(e.into()))?;
        let events = self.events()?;
        loop {
            let mut groups = vec![self.path.clone()];
            while let Some(group) = groups.pop() {
                let text = std::fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
                for pid in text.lines().filter_map(|line| line.parse().ok()) {
                    // ESRCH: it has ended meanwhile.
                    let _ = nix::sys::signal::kill(
                        nix::unistd::Pid::from_raw(pid),
                        nix::sys::signal::Signal::SIGKILL,
                    );
                }
                groups.extend(subgroups(&group));
            }
            if !is_populated(&read_events(&events, &self.path)?) {
                let _ = freezer.thaw();
                return Ok(());
            }
            let mut poll = [nix::poll::PollFd::new(events.as_fd(), nix::poll::PollFlags::POLLPRI)];
            // A child that was born after the list was read makes no event: hence the time.
            nix::poll::poll(&mut poll, 10_u8).map_err(|errno| error(errno.into()))?;
        }
    }

    /// Returns when no process is left in the group and below (a zombie is none). Waits as long as that takes: a process
    /// in an uninterruptible call stays.
    pub async fn wait_empty(&self) -> Result<(), CgroupError> {
        let error = |source| CgroupError::Read { path: self.path.join("cgroup.events"), source };
        let events = self.events()?;
        let watch =
            Watch::new(events.try_clone().map_err(error)?.into(), Interest::PRIORITY).map_err(error)?;
        while is_populated(&read_events(&events, &self.path)?) {
            // The kernel marks the file with POLLPRI whenever it has changed since it was last read through this open file.
            watch.event().await.map_err(error)?;
        }
        Ok(())
    }

    fn events(&self) -> Result<File, CgroupError> {
        let path = self.path.join("cgroup.events");
        File::open(&path).map_err(|source| CgroupError::Open { path, source })
    }

    /// Removes the group and those that tasks made below it. An error (`EBUSY`) while anything lives in one of them.
    pub fn remove(&self) -> Result<(), CgroupError> {
        remove(&self.path)
    }
}

fn subgroups(group: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(group).into_iter().flatten().flatten();
    entries.filter(|e| e.file_type().is_ok_and(|t| t.is_dir())).map(|e| e.path()).collect()
}

fn remove(group: &Path) -> Result<(), CgroupError> {
    subgroups(group).iter().try_for_each(|below| remove(below))?;
    match std::fs::remove_dir(group) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
            Err(CgroupError::Remove { path: group.to_owned(), source })
        }
        _ => Ok(()),
    }
}

/// The text of `cgroup.events`; empty when the group is gone.
fn read_events(file: &File, path: &Path) -> Result<String, CgroupError> {
    let mut buffer = [0; 256];
    match file.read_at(&mut buffer, 0) {
        Ok(length) => Ok(String::from_utf8_lossy(&buffer[..length]).into_owned()),
        Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(String::new()),
        Err(source) => Err(CgroupError::Read { path: path.join("cgroup.events"), source }),
    }
}

fn is_populated(events: &str) -> bool {
    events.lines().any(|line| line == "populated 1")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroup::knobs::MEMORY_MIN_BYTES;

    #[test]
    fn populated_is_read_among_other_lines() {
        assert!(is_populated("populated 1\nfrozen 0\n"));
        assert!(!is_populated("populated 0\nfrozen 1\n"));
        assert!(!is_populated(""));
    }

    /// A plain folder in place of a cgroup root: what cgroups-rs writes must be what the knobs say.
    #[test]
    fn the_files_hold_what_the_knobs_say() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let root = folder.path();
        std::fs::write(root.join("cgroup.subtree_control"), "cpu memory\n").expect("write");
        // cgroups-rs reads the old quota first, and two files are only written where the kernel has them.
        let group = root.join("c1");
        std::fs::create_dir(&group).expect("mkdir");
        std::fs::write(group.join("cpu.max"), "max 100000\n").expect("write");
        std::fs::write(group.join("memory.oom.group"), "0\n").expect("write");

        let tree = Tree::at(root.to_owned());
        let limits = Limits {
            cpus_milli: 250,
            cpus_revocable_milli: 0,
            cpus_max_milli: Some(500),
            cpus_burst_milli: None,
            memory_bytes: 64 << 20,
            memory_max_bytes: Some(1),
            memory_high_bytes: None,
            swap_max_bytes: 0,
            pids_max: Some(7),
            egress_max_bytes: None,
        };
        let container = Container::create(&tree, "c1", &limits).expect("it can be made");
        let read = |file: &str| std::fs::read_to_string(group.join(file)).ok();
        for knob in knobs(&limits) {
            let expect = match knob {
                Knob::PidsMax(_) | Knob::SwapMax(_) | Knob::IoWeight(_) | Knob::CpuIdle(_) => None,
                knob => Some(knob.value()),
            };
            assert_eq!(read(knob.file()), expect, "{}", knob.file());
        }
        assert_eq!(read("memory.max"), Some(MEMORY_MIN_BYTES.to_string()));
        assert_eq!(read("cpu.max").as_deref(), Some("50000 100000"));

        let more = Limits { cpus_max_milli: None, memory_max_bytes: None, ..limits };
        container.change(&more, Lowering::Never).expect("it can be changed");
        assert_eq!(read("cpu.max").as_deref(), Some("max 100000"));
        assert_eq!(read("memory.max").as_deref(), Some("max"));
        container.change(&limits, Lowering::Never).expect("it can be changed");
        assert_eq!(read("cpu.max").as_deref(), Some("50000 100000"));
        assert_eq!(read("memory.max").as_deref(), Some("max"));
        assert_eq!(container.id(), std::fs::metadata(&group).expect("there").ino());
    }

    #[test]
    fn a_limit_that_cannot_be_set_names_file_and_value() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        std::fs::write(folder.path().join("cgroup.subtree_control"), "cpu\n").expect("write");
        let tree = Tree::at(folder.path().to_owned());
        let limits = Limits {
            cpus_milli: 1000,
            cpus_revocable_milli: 0,
            cpus_max_milli: None,
            cpus_burst_milli: None,
            memory_bytes: 0,
            memory_max_bytes: None,
            memory_high_bytes: None,
            swap_max_bytes: 0,
            pids_max: None,
            egress_max_bytes: None,
        };
        // There is no cpu.max to read in a plain folder.
        let error = Container::create(&tree, "c1", &limits).expect_err("no cpu.max");
        let expect = format!("write \"max 100000\" to {}/c1/cpu.max", folder.path().display());
        assert_eq!(error.to_string(), expect);
    }
}
