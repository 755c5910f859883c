//! What a part may need of the machine, and how its absence is told.

use std::path::{Path, PathBuf};

use ingot_agent::cgroup::mounts;

#[derive(Clone, Copy, Debug)]
pub(super) enum Need {
    Root,
    /// Kernel type information, for BPF programs.
    Btf,
    /// A cgroup v2 hierarchy, unified or beside v1.
    Cgroup2,
}

/// What every part needs that has containers counted by BPF.
pub(super) const COUNTED_CONTAINERS: &[Need] = &[Need::Root, Need::Btf, Need::Cgroup2];

impl Need {
    /// Why it is missing and what would help; `None` if it is there.
    pub(super) fn missing(self) -> Option<String> {
        match self {
            Self::Root if !nix::unistd::Uid::effective().is_root() => {
                Some("not root; run it with sudo".into())
            }
            Self::Btf if !Path::new("/sys/kernel/btf/vmlinux").exists() => {
                Some("this kernel does not describe its types (CONFIG_DEBUG_INFO_BTF)".into())
            }
            Self::Cgroup2 if cgroup2_root().is_none() => Some("no cgroup v2 hierarchy is mounted".into()),
            _ => None,
        }
    }
}

/// Where the v2 hierarchy is mounted.
pub(super) fn cgroup2_root() -> Option<PathBuf> {
    let mounted = mounts::mounts(&std::fs::read_to_string("/proc/self/mountinfo").ok()?);
    mounts::cgroup2(&mounted).map(|mount| mount.point.clone())
}
