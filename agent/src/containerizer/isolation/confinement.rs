//! What keeps a process, and all that it starts, apart from others: plain data, from which the steps are made.

use std::ffi::CString;
use std::path::PathBuf;
use std::sync::Arc;

use crate::containerizer::steps::Rlimit;

/// By default: nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Confinement {
    pub namespaces: Namespaces,
    /// Its users are its own: root in it is nobody outside.
    pub has_users: bool,
    /// Its own root; the machine's if there is none. Wants a mount namespace.
    pub root: Option<Rootfs>,
    /// What the machine is called; wants a namespace for it.
    pub hostname: Option<CString>,
    /// Of its own /dev/shm, where it has an IPC namespace.
    pub shm_bytes: Option<u64>,
    /// Wants a mount namespace.
    pub volumes: Vec<Volume>,
    pub rlimits: Vec<Rlimit>,
    /// `None`: as the user has them.
    pub capabilities: Option<Capabilities>,
    /// Nothing that it executes gives it rights.
    pub no_new_privileges: bool,
    /// Filters of its system calls, compiled, in the order in which they are to be installed.
    pub seccomp: Vec<Filter>,
}

impl Confinement {
    /// What it may do, without what it sees: for who is let into it.
    pub fn rights(&self) -> Self {
        Self {
            capabilities: self.capabilities,
            no_new_privileges: self.no_new_privileges,
            seccomp: self.seccomp.clone(),
            ..Self::default()
        }
    }
}

/// Instructions of 8 bytes, for seccomp(2).
pub type Filter = Arc<[u8]>;

/// Sets of capabilities: bit n is number n.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// Those it begins with, whatever its user; part of the others. `None`: what its user has, of the others.
    pub effective: Option<u64>,
    /// Those it may ever get.
    pub bounding: u64,
}

/// Something that appears elsewhere in a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    pub source: Source,
    pub target: Target,
    pub read_only: bool,
}

/// Paths without `..`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Absolute.
    Machine(PathBuf),
    /// Below the sandbox; made if it is not there. Links do not lead out of it.
    Sandbox(PathBuf),
    /// The same below the sandbox of the container that it is in.
    Parent(PathBuf),
}

/// Paths without `..`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Has to be there, unless the container has a root of its own.
    Absolute(PathBuf),
    /// Below the sandbox; made if it is not there. Links do not lead out of it.
    Sandbox(PathBuf),
}

/// Which namespaces are its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Namespaces {
    pub pid: bool,
    pub mount: bool,
    pub ipc: bool,
    pub uts: bool,
    pub net: bool,
}

impl Namespaces {
    /// As clone(2) and unshare(2) take them: `CLONE_NEW*`.
    pub fn flags(self) -> u64 {
        // include/uapi/linux/sched.h
        let flags = [
            (self.pid, 0x2000_0000_u64),
            (self.mount, 0x0002_0000),
            (self.ipc, 0x0800_0000),
            (self.uts, 0x0400_0000),
            (self.net, 0x4000_0000),
        ];
        let chosen = flags.iter().filter(|(is_wanted, _)| *is_wanted);
        chosen.fold(0, |all, (_, flag)| all | flag)
    }

    fn combined(self, other: Self, rule: impl Fn(bool, bool) -> bool) -> Self {
        Self {
            pid: rule(self.pid, other.pid),
            mount: rule(self.mount, other.mount),
            ipc: rule(self.ipc, other.ipc),
            uts: rule(self.uts, other.uts),
            net: rule(self.net, other.net),
        }
    }

    /// Those that either names.
    pub fn and(self, other: Self) -> Self {
        self.combined(other, |one, other| one || other)
    }

    /// Those that both name.
    pub fn both(self, other: Self) -> Self {
        self.combined(other, |one, other| one && other)
    }

    pub fn without(self, other: Self) -> Self {
        self.combined(other, |one, other| one && !other)
    }
}

/// A container's own root file system. Its content is not trusted: links in it lead nowhere else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rootfs {
    /// An absolute path of the machine: the folder that becomes the root. Folders for mounts that it lacks are made in it.
    pub path: PathBuf,
    /// Mounted there first, in the container's own mount namespace: nothing of it has to be unmounted afterwards.
    pub overlay: Option<Overlay>,
    /// Where the sandbox is in it.
    pub sandbox: PathBuf,
    /// Where the program starts; `None`: in the sandbox.
    pub directory: Option<PathBuf>,
}

/// For mount(2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overlay {
    /// From where relative paths in the options are meant.
    pub folder: PathBuf,
    /// Where all layers are.
    pub layers: PathBuf,
    /// As in `lowerdir=l/2:l/1,upperdir=/…,workdir=/…`; less than a page.
    pub options: CString,
}

/// Where a container with a root of its own finds its sandbox (Mesos' default for `--sandbox_directory`).
pub const SANDBOX: &str = "/mnt/mesos/sandbox";
