//! Pins: names in a bpffs that keep programs, maps and links alive while no agent runs. This file knows where they lie
//! and what is stale; what is pinned, and what a set of pins must have to be taken over, the loader knows.
//!
//! ```text
//!   /sys/fs/bpf/ingot/              or /run/ingot/bpf, where the agent mounts a bpffs itself
//!     4711/                         id of the cgroup that the containers lie in; ids are never used twice
//!       root -> /sys/fs/cgroup/ingot-5051
//!       0f3a…c1/                    one object with one set of options: a set
//!         maps/CONTAINERS …  programs/switch …  links/switch …
//!         missing/resident -> why the kernel refused this program
//!         layouts/CONTAINERS -> 9e3779b97f4a7c15   what the map's words mean (agent_ebpf::layout)
//!       0f3a…c1-new/                not finished: an agent died over it; worth nothing
//! ```
//! A bpffs holds directories, symlinks and pins; symlinks are where words are kept. Names may have no dots.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, symlink};
use std::path::{Path, PathBuf};

use nix::mount::MsFlags;
use nix::sys::statfs::{FsType, statfs};

/// `BPF_FS_MAGIC` of include/uapi/linux/magic.h.
const BPF_FS: FsType = FsType(0xcafe_4a11);
/// Where systemd mounts one.
const USUAL: &str = "/sys/fs/bpf";
/// Where the agent mounts one if there is none.
const OWN: &str = "/run/ingot/bpf";
const UNFINISHED: &str = "-new";

/// Why nothing can be pinned.
#[derive(Debug, thiserror::Error)]
pub enum PinsError {
    #[error("no bpffs is mounted at {USUAL}, and none can be mounted at {OWN}")]
    Mount(#[source] io::Error),
    #[error("{path} does not lie in a bpffs")]
    NotBpffs { path: PathBuf },
    #[error("cannot make {path}")]
    Make { path: PathBuf, source: io::Error },
    #[error("cannot pin {path}")]
    Pin { path: PathBuf, source: aya::pin::PinError },
}

impl PinsError {
    /// What an operator can do about it.
    pub(super) const fn remedy(&self) -> &'static str {
        match self {
            Self::Mount(_) => "mount -t bpf bpf /sys/fs/bpf",
            Self::NotBpffs { .. } => "ingot-agent --bpf-pins=usual ...",
            // A bpffs of somebody else's, as a container runtime's may be, or one that is mounted read-only.
            Self::Make { .. } | Self::Pin { .. } => "ingot-agent --bpf-pins=off ...",
        }
    }
}

/// Where pins may lie on this machine, made ready.
///
/// # Errors
/// There is no bpffs and none can be mounted, which takes CAP_SYS_ADMIN.
pub(super) fn usual_directory() -> Result<PathBuf, PinsError> {
    if is_bpffs(Path::new(USUAL)) {
        return Ok(Path::new(USUAL).join("ingot"));
    }
    let own = Path::new(OWN);
    let done = make_directory(own, 0o755).and_then(|()| {
        // Agents that start at once may not mount two, one above the other's pins.
        let parent = fs::File::open(own.parent().expect("it has one"))?;
        parent.lock()?;
        if is_bpffs(own) {
            return Ok(());
        }
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        nix::mount::mount(Some("bpf"), own, Some("bpf"), flags, Some("mode=0700")).map_err(io::Error::from)
    });
    done.map(|()| own.to_owned()).map_err(PinsError::Mount)
}

fn is_bpffs(path: &Path) -> bool {
    statfs(path).is_ok_and(|it| it.filesystem_type() == BPF_FS)
}

fn make_directory(path: &Path, mode: u32) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(mode).create(path)
}

/// The pins of one agent: everything that counts below one cgroup.
#[derive(Clone, Debug)]
pub(super) struct Place {
    /// `base/<cgroup id>`.
    directory: PathBuf,
}

impl Place {
    /// Makes the place for the containers below `root`, whose id is `id`, and clears away those of cgroups that are gone.
    pub(super) fn open(base: &Path, root: &Path, id: u64) -> Result<Self, PinsError> {
        let make = |path: &Path| {
            make_directory(path, 0o700).map_err(|source| PinsError::Make { path: path.to_owned(), source })
        };
        make(base)?;
        if !is_bpffs(base) {
            return Err(PinsError::NotBpffs { path: base.to_owned() });
        }
        sweep(base);
        let directory = base.join(id.to_string());
        make(&directory)?;
        // What another agent began and did not finish.
        let begun = directories(&directory).into_iter().filter(|it| file_name(it).ends_with(UNFINISHED));
        begun.for_each(|path| remove(&path));
        let link = directory.join("root");
        match symlink(root, &link) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                Err(PinsError::Make { path: link, source: error })
            }
            _ => Ok(Self { directory }),
        }
    }

    /// The finished set of this identity, if there is one.
    pub(super) fn set(&self, identity: u64) -> Option<Set> {
        let path = self.directory.join(format!("{identity:016x}"));
        path.is_dir().then_some(Set { path })
    }

    /// Every finished set. There is one, unless an agent died while it removed another.
    pub(super) fn finished(&self) -> Vec<Set> {
        let found = directories(&self.directory).into_iter();
        found.filter(|path| !file_name(path).ends_with(UNFINISHED)).map(|path| Set { path }).collect()
    }

    /// Begins a set.
    pub(super) fn begin(&self, identity: u64) -> Result<Set, PinsError> {
        let path = self.directory.join(format!("{identity:016x}{UNFINISHED}"));
        for below in ["maps", "programs", "links", "missing", "layouts"] {
            let path = path.join(below);
            make_directory(&path, 0o700).map_err(|source| PinsError::Make { path, source })?;
        }
        Ok(Set { path })
    }

    /// From here on the set is taken over by the next agent; other sets go.
    pub(super) fn finish(&self, set: &mut Set, identity: u64) -> Result<(), PinsError> {
        let path = self.directory.join(format!("{identity:016x}"));
        let others = self.finished();
        if path.exists() {
            // It was not whole, or it would have been taken over.
            remove(&path);
        }
        fs::rename(&set.path, &path).map_err(|source| PinsError::Make { path: path.clone(), source })?;
        others.iter().filter(|it| it.path != path).for_each(Set::remove);
        set.path = path;
        Ok(())
    }

    /// Removes everything of this agent's.
    pub(super) fn remove(&self) {
        remove(&self.directory);
    }
}

/// The pins of one object. Removing a set detaches its programs, unless a process has them open.
#[derive(Debug)]
pub(super) struct Set {
    path: PathBuf,
}

impl Set {
    pub(super) fn map(&self, name: &str) -> PathBuf {
        self.path.join("maps").join(name)
    }

    pub(super) fn program(&self, name: &str) -> PathBuf {
        self.path.join("programs").join(name)
    }

    pub(super) fn link(&self, name: &str) -> PathBuf {
        self.path.join("links").join(name)
    }

    /// Names of all maps.
    pub(super) fn maps(&self) -> Vec<String> {
        let entries = fs::read_dir(self.path.join("maps")).into_iter().flatten().flatten();
        entries.map(|it| it.file_name().to_string_lossy().into_owned()).collect()
    }

    /// Notes what the words of a map mean. A note that cannot be kept costs an agent of another version these counts.
    pub(super) fn note_layout(&self, map: &str, number: u64) {
        let _ = symlink(format!("{number:016x}"), self.path.join("layouts").join(map));
    }

    /// Whether the words of a map mean what they mean to this agent.
    pub(super) fn is_understood(&self, map: &str) -> bool {
        let note = fs::read_link(self.path.join("layouts").join(map)).ok();
        let number = note.and_then(|it| u64::from_str_radix(it.to_str()?, 16).ok());
        number.is_some() && number == agent_ebpf::layout::of(map)
    }

    /// Notes why a program is not among the pins. A note that cannot be kept costs the next agent only the reason.
    pub(super) fn miss(&self, program: &str, why: &str) {
        // As long as a symlink may be, with room to spare.
        const LENGTH_MAX: usize = 1_000;
        let end = why.floor_char_boundary(LENGTH_MAX);
        let _ = symlink(&why[..end], self.path.join("missing").join(program));
    }

    pub(super) fn why_missing(&self, program: &str) -> Option<String> {
        let note = fs::read_link(self.path.join("missing").join(program)).ok()?;
        Some(note.to_string_lossy().into_owned())
    }

    pub(super) fn remove(&self) {
        remove(&self.path);
    }
}

/// Removes the pins of cgroups that are no more: their agents will not come back, and their programs cost every switch.
fn sweep(base: &Path) {
    for directory in directories(base) {
        let Ok(id) = file_name(&directory).parse::<u64>() else { continue };
        let root = fs::read_link(directory.join("root"));
        let lives = root.is_ok_and(|root| fs::metadata(root).is_ok_and(|it| it.ino() == id));
        if !lives {
            remove(&directory);
        }
    }
}

fn directories(path: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    entries.filter(|it| it.file_type().is_ok_and(|kind| kind.is_dir())).map(|it| it.path()).collect()
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// A pin that stays costs memory and time, but harms no figure: the next agent tries again.
fn remove(path: &Path) {
    // Links first: without them nothing is counted twice while the rest goes.
    let _ = fs::remove_dir_all(path.join("links"));
    if let Err(error) = fs::remove_dir_all(path) {
        tracing::warn!(%error, path = %path.display(), "pins of BPF programs stay behind");
    }
}
