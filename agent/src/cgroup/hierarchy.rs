//! The agent's own part of the cgroup2 tree: where it is, which controllers it has, and why it lacks the others.
//!
//! ```text
//! <mount>/                       or, for an ordinary user, the group that was delegated to it
//!   <name>/                      this tree: only groups in it, never a process (so controllers may be enabled in it)
//!     <container id>/            one container
//!       <id>/                    one that is nested in it
//!       executor.own/            its own processes, where one that is nested in it has limits of its own: `divide`
//!   <name>.agent/                the agent itself, where it had to step aside for the controllers' sake
//! ```

use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cgroups_rs::fs::cpu::CpuController;
use cgroups_rs::fs::freezer::FreezerController;
use cgroups_rs::fs::memory::MemController;
use cgroups_rs::fs::pid::PidController;
use cgroups_rs::fs::{Cgroup, Hierarchy, Subsystem};

use super::extras::{Extras, Setting};
use super::knobs::Controller;
use super::mounts::{self, Mount};
use super::{CgroupError, Enforced, Enforcement};

/// Where the agent's subtree is to be.
#[derive(Clone, Debug, Default)]
pub struct TreeConfig {
    /// Name of the agent's group, such as `ingot-5051`: two agents of one machine must differ in it.
    pub name: String,
    /// The group to make it in. `None`: the top of the cgroup2 mount or, where that may not be written, our own group.
    pub parent: Option<PathBuf>,
    pub extras: Extras,
}

/// The agent's subtree, ready for containers.
#[derive(Clone, Debug)]
pub struct Tree {
    root: AtRoot,
    enforcement: Enforcement,
    extras: Arc<Extras>,
}

impl Tree {
    /// Finds the place, makes the group there and enables the controllers that can be had. Calling it again, after the
    /// agent's restart, finds the same group with the containers that are in it.
    pub fn open(config: &TreeConfig) -> Result<Self, CgroupError> {
        let read = |path: &str| {
            std::fs::read_to_string(path).map_err(|source| CgroupError::Read { path: path.into(), source })
        };
        let mounts = mounts::mounts(&read("/proc/self/mountinfo")?);
        let own = mounts::cgroup2(&mounts).and_then(|mount| {
            mounts::own_directory(&std::fs::read_to_string("/proc/self/cgroup").ok()?, mount)
        });
        let parents = match (&config.parent, mounts::cgroup2(&mounts)) {
            (Some(parent), _) => vec![parent.clone()],
            (None, Some(mount)) => std::iter::once(mount.point.clone()).chain(own.clone()).collect(),
            (None, None) => return Err(CgroupError::NotMounted),
        };
        let mut refused = CgroupError::NotMounted;
        for parent in parents {
            let root = parent.join(&config.name);
            match std::fs::create_dir(&root) {
                Err(source) if source.kind() != ErrorKind::AlreadyExists => {
                    refused = CgroupError::Create { path: root, source };
                }
                // That it can be made does not mean that processes can be put into it, as an ordinary user knows.
                _ => match std::fs::File::options().write(true).open(root.join("cgroup.procs")) {
                    Ok(_) => {
                        if own.as_deref() == Some(&*parent) {
                            step_aside(&parent, &root.with_added_extension("agent"));
                        }
                        let tree = Self::prepare(&parent, root, &mounts, &config.extras);
                        if !is_invalid(tree.root()) {
                            return Ok(tree);
                        }
                        tree.remove_if_empty();
                        refused = CgroupError::Threaded { path: tree.root.path };
                    }
                    Err(source) => refused = CgroupError::Open { path: root, source },
                },
            }
        }
        Err(refused)
    }

    fn prepare(parent: &Path, root: PathBuf, mounts: &[Mount], extras: &Extras) -> Self {
        let mut enforcement = Enforcement::by(|controller| {
            enable(controller, parent, mounts)?;
            enable(controller, &root, mounts)
        });
        if enforcement.memory.is_yes() {
            // A container's protection reaches as far as its parent's; the tree itself holds no memory to protect.
            // Without this, guarantees hold between containers but not against the rest of the machine.
            let _ = std::fs::write(root.join("memory.low"), "max");
        }
        if enforcement.cpuset.is_yes()
            && let Err(reason) = extras.of_tree().iter().try_for_each(|setting| set(&root, setting))
        {
            enforcement.cpuset = Enforced::No { reason };
        }
        Self { root: AtRoot::new(root, &enforcement), enforcement, extras: Arc::new(extras.clone()) }
    }

    /// A tree at a directory that is there already, with whatever controllers are enabled for its children.
    pub fn at(root: PathBuf) -> Self {
        let enforcement = Enforcement::by(|controller| enable(controller, &root, &[]));
        Self { root: AtRoot::new(root, &enforcement), enforcement, extras: Arc::default() }
    }

    pub fn root(&self) -> &Path {
        &self.root.path
    }

    pub fn enforcement(&self) -> &Enforcement {
        &self.enforcement
    }

    pub(super) fn extras(&self) -> &Extras {
        &self.extras
    }

    /// Names of the groups that are in the tree: after a restart, the containers of the agent's earlier life.
    pub fn names(&self) -> Result<Vec<String>, CgroupError> {
        let error = |source| CgroupError::Read { path: self.root.path.clone(), source };
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.root.path).map_err(error)? {
            let entry = entry.map_err(error)?;
            if entry.file_type().map_err(error)?.is_dir() {
                names.extend(entry.file_name().into_string().ok());
            }
        }
        Ok(names)
    }

    /// Removes the agent's group if no container is left in it; that one is left is no error.
    pub fn remove_if_empty(&self) {
        let _ = std::fs::remove_dir(&self.root.path);
        let _ = std::fs::remove_dir(self.root.path.with_added_extension("agent"));
    }

    pub(super) fn cgroup(&self, name: &str) -> Cgroup {
        Cgroup::load(Box::new(self.root.clone()), name)
    }
}

/// Where [`Tree::open`] would make its group, and what it would enforce there.
#[derive(Clone, Debug)]
pub struct Foreseen {
    pub parent: PathBuf,
    pub enforcement: Enforcement,
}

/// What [`Tree::open`] would come to without a parent of the operator's choice, found out without changing anything.
///
/// # Errors
/// As there.
pub fn foresee() -> Result<Foreseen, CgroupError> {
    let read = |path: &str| {
        std::fs::read_to_string(path).map_err(|source| CgroupError::Read { path: path.into(), source })
    };
    let mounts = mounts::mounts(&read("/proc/self/mountinfo")?);
    let mount = mounts::cgroup2(&mounts).ok_or(CgroupError::NotMounted)?;
    let own = mounts::own_directory(&read("/proc/self/cgroup")?, mount);
    let may_write =
        |directory: &PathBuf| nix::unistd::access(directory, nix::unistd::AccessFlags::W_OK).is_ok();
    let parent = std::iter::once(mount.point.clone()).chain(own).find(may_write);
    let parent = parent.unwrap_or_else(|| mount.point.clone());
    let enforcement = Enforcement::by(|controller| {
        if controller.is_program() {
            return Err(NO_PROGRAM.to_owned());
        }
        if let Some(why) = absent(controller, &parent, &mounts) {
            return Err(why);
        }
        let file = parent.join("cgroup.subtree_control");
        let opened = std::fs::File::options().write(true).open(&file);
        opened.map(drop).map_err(|error| format!("{}: {error}", file.display()))
    });
    Ok(Foreseen { parent, enforcement })
}

/// Whether a file of this group that lists controllers lists it.
fn lists(directory: &Path, file: &str, controller: Controller) -> bool {
    let text = std::fs::read_to_string(directory.join(file)).unwrap_or_default();
    text.split_ascii_whitespace().any(|word| word == controller.as_str())
}

/// The group's children have the controller.
fn is_enabled(controller: Controller, directory: &Path) -> bool {
    lists(directory, "cgroup.subtree_control", controller)
}

/// Why the group itself does not have the controller; `None` if it does.
fn absent(controller: Controller, directory: &Path, mounts: &[Mount]) -> Option<String> {
    let has = lists(directory, "cgroup.controllers", controller);
    (!has).then(|| match mounts::v1_point(mounts, controller.v1_name()) {
        Some(point) => format!("cgroup v1 holds the controller at {}", point.display()),
        None => format!("{} has no such controller", directory.display()),
    })
}

/// The error is a reason for people.
fn set(directory: &Path, setting: &Setting) -> Result<(), String> {
    let path = directory.join(&setting.file);
    let written = std::fs::write(&path, &setting.value);
    written.map_err(|error| format!("write \"{}\" to {}: {error}", setting.value.trim(), path.display()))
}

/// Said of what a program holds until one was tried.
const NO_PROGRAM: &str = "no program was loaded for it";

/// Enables a controller for the children of `directory`. The error is a reason for people.
fn enable(controller: Controller, directory: &Path, mounts: &[Mount]) -> Result<(), String> {
    if controller.is_program() {
        return Err(NO_PROGRAM.to_owned());
    }
    if is_enabled(controller, directory) {
        return Ok(());
    }
    if let Some(why) = absent(controller, directory, mounts) {
        return Err(why);
    }
    // The kernel would refuse this for the memory controller only. The others it would enable, and by that make the group
    // the root of a threaded subtree, into whose children no process can be put.
    if !is_top(directory) && has_processes(directory) {
        return Err(format!("there are processes in {} itself", directory.display()));
    }
    let file = directory.join("cgroup.subtree_control");
    let write = || {
        let mut file = std::fs::File::options().write(true).open(&file)?;
        file.write_all(format!("+{}", controller.as_str()).as_bytes())
    };
    write().map_err(|error| format!("{}: {error}", file.display()))
}

/// The hierarchy's own root, in which there may be processes beside groups. It alone has no type.
fn is_top(directory: &Path) -> bool {
    !directory.join("cgroup.type").exists()
}

fn has_processes(directory: &Path) -> bool {
    std::fs::read_to_string(directory.join("cgroup.procs")).is_ok_and(|pids| !pids.trim().is_empty())
}

/// Nothing can run in the group, for one above it is the root of a threaded subtree.
fn is_invalid(directory: &Path) -> bool {
    std::fs::read_to_string(directory.join("cgroup.type")).is_ok_and(|kind| kind.trim() == "domain invalid")
}

/// Moves the agent itself out of the group that it shares with nobody but its containers, into one of its own: where
/// there are controllers, a group has either processes or groups that have some. What does not work out here is told by
/// [`enable`].
fn step_aside(parent: &Path, aside: &Path) {
    let controllers = std::fs::read_to_string(parent.join("cgroup.controllers")).unwrap_or_default();
    if is_top(parent) || controllers.trim().is_empty() {
        return;
    }
    if std::fs::create_dir(aside).is_ok() || aside.is_dir() {
        let _ = std::fs::write(aside.join("cgroup.procs"), "0");
    }
}

/// cgroups-rs' idea of a hierarchy, at a root of our choice (its own is always /sys/fs/cgroup).
#[derive(Clone, Debug)]
struct AtRoot {
    path: PathBuf,
    controllers: Vec<Controller>,
}

impl AtRoot {
    fn new(path: PathBuf, enforcement: &Enforcement) -> Self {
        let enforced = Controller::OF_EACH.into_iter().filter(|&c| enforcement.of(c).is_yes());
        Self { path, controllers: enforced.collect() }
    }
}

impl Hierarchy for AtRoot {
    fn subsystems(&self) -> Vec<Subsystem> {
        let (root, below) = (self.path.clone(), PathBuf::new());
        let controllers = self.controllers.iter().filter_map(|controller| match controller {
            Controller::Cpu => Some(Subsystem::Cpu(CpuController::new(root.clone(), below.clone(), true))),
            Controller::Memory => Some(Subsystem::Mem(MemController::new(root.clone(), below.clone(), true))),
            Controller::Pids => Some(Subsystem::Pid(PidController::new(root.clone(), below.clone(), true))),
            // Their files are written directly.
            Controller::Io | Controller::Cpuset | Controller::Hugetlb => None,
            Controller::Devices | Controller::Egress => None,
        });
        // Freezing belongs to every version 2 group, without a controller.
        let freezer = Subsystem::Freezer(FreezerController::new(root.clone(), below.clone(), true));
        controllers.chain([freezer]).collect()
    }

    fn root(&self) -> PathBuf {
        self.path.clone()
    }

    fn root_control_group(&self) -> Cgroup {
        Cgroup::load(Box::new(self.clone()), "")
    }

    fn parent_control_group(&self, path: &str) -> Cgroup {
        let parent = Path::new(path).parent().unwrap_or_else(|| Path::new(""));
        Cgroup::load(Box::new(self.clone()), parent)
    }

    fn v2(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_controller_that_cannot_be_had_says_why() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let write = |file: &str, text: &str| std::fs::write(folder.path().join(file), text).expect("write");
        write("cgroup.controllers", "cpuset cpu io memory\n");
        write("cgroup.subtree_control", "cpu\n");
        let mounts = mounts::mounts("1 1 0:1 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n");
        let enable = |controller| enable(controller, folder.path(), &mounts);
        assert_eq!(enable(Controller::Cpu), Ok(()));
        assert_eq!(
            enable(Controller::Pids),
            Err("cgroup v1 holds the controller at /sys/fs/cgroup/pids".to_owned())
        );
        assert_eq!(enable(Controller::Memory), Ok(()));
        let control = std::fs::read_to_string(folder.path().join("cgroup.subtree_control"));
        assert!(control.expect("readable").starts_with("+memory"));
        // Not the hierarchy's root, and not empty.
        write("cgroup.type", "domain\n");
        write("cgroup.procs", "7\n");
        write("cgroup.subtree_control", "");
        let busy = format!("there are processes in {} itself", folder.path().display());
        assert_eq!(enable(Controller::Cpu), Err(busy));
        write("cgroup.procs", "");
        assert_eq!(enable(Controller::Cpu), Ok(()));
    }

    #[test]
    fn a_folder_that_is_no_cgroup_enforces_nothing() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let tree = Tree::at(folder.path().to_owned());
        let reason = format!("{} has no such controller", folder.path().display());
        let none = Enforcement::none(&reason);
        let not_tried = Enforced::No { reason: NO_PROGRAM.to_owned() };
        let expect = Enforcement { devices: not_tried.clone(), egress: not_tried, ..none };
        assert_eq!(*tree.enforcement(), expect);
        assert!(tree.names().expect("readable").is_empty());
    }

    #[test]
    fn a_parent_that_is_not_there_is_named() {
        let config = TreeConfig {
            name: "x".to_owned(),
            parent: Some("/no/such/parent".into()),
            ..TreeConfig::default()
        };
        let error = Tree::open(&config).expect_err("it is not there");
        assert_eq!(error.to_string(), "create cgroup /no/such/parent/x");
    }
}
