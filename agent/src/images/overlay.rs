//! A container's root: an image's layers with a folder of the container's own on top, by overlayfs. One folder a container
//! below the agent's work directory, which nobody but root may enter:
//!
//! ```text
//!   provisioner/CONTAINER/0, 1, ..  links to layers, the lowest first: also what a restarted agent has to keep for it
//!   provisioner/CONTAINER/upper     what the container has changed
//!   provisioner/CONTAINER/work      overlayfs' own
//!   provisioner/CONTAINER/said      what the image says, for what is nested in the container later
//!   provisioner/CONTAINER/rootfs    where all of it together is seen, in the container's mount namespace and nowhere else
//! ```
//! It is mounted by the container's init, and gone with the container's last process: there is nothing to be unmounted,
//! whatever became of the agent. The options of a mount are one page in which `:` and `,` part names; hence the short links.

use std::fs::{DirBuilder, File, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::{Mode, mkdirat};

use super::digest::Digest;
use crate::collector::remove::{RemoveError, remove_tree};

#[derive(Debug, thiserror::Error)]
pub enum OverlayError {
    #[error("make {}", path.display())]
    Make { path: PathBuf, source: io::Error },
    /// EINVAL is overlayfs' answer to folders that it cannot work in, such as those of another overlayfs.
    #[error("mount overlayfs of {layers} layers on {}: {}", path.display(), errno.desc())]
    Mount { layers: usize, path: PathBuf, errno: Errno },
    #[error("{call} for a look at the image: {}", errno.desc())]
    Look { call: &'static str, errno: Errno },
    #[error("start a thread for a look at the image")]
    Thread(#[source] io::Error),
    #[error("delete {}", path.display())]
    Delete { path: PathBuf, source: RemoveError },
    #[error("read {path} of the image")]
    Read { path: &'static str, source: io::Error },
}

/// What the container has changed.
pub const UPPER: &str = "upper";

/// Where all containers' folders are.
pub fn folder(work_dir: &Path) -> PathBuf {
    work_dir.join("provisioner")
}

/// One container's root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rootfs {
    folder: PathBuf,
    layers: PathBuf,
    layers_count: usize,
}

impl Rootfs {
    /// Makes its folder, with nothing mounted. `container`: its id, which is a plain name. `layers`: their folders, the
    /// lowest first.
    pub fn create(work_dir: &Path, container: &str, layers: &[PathBuf]) -> Result<Self, OverlayError> {
        let folder = folder(work_dir).join(container);
        // `.../layers/HEX/fs`
        let all = layers.first().and_then(|layer| layer.ancestors().nth(2)).unwrap_or(&folder);
        let rootfs = Self { layers: all.to_owned(), layers_count: layers.len(), folder };
        let failed = |source| OverlayError::Make { path: rootfs.folder.clone(), source };
        rootfs.make(layers).map_err(failed)?;
        Ok(rootfs)
    }

    fn make(&self, layers: &[PathBuf]) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
        for (number, layer) in layers.iter().enumerate() {
            std::os::unix::fs::symlink(layer, self.folder.join(number.to_string()))?;
        }
        for name in [UPPER, "work", "rootfs"] {
            std::fs::create_dir(self.folder.join(name))?;
        }
        // The root that will be seen is this one: it has to look like the topmost layer's.
        let Some(top) = layers.last() else { return Ok(()) };
        let (top, upper) = (std::fs::metadata(top)?, self.folder.join(UPPER));
        std::os::unix::fs::chown(&upper, Some(top.uid()), Some(top.gid()))?;
        std::fs::set_permissions(&upper, Permissions::from_mode(top.mode() & 0o7777))
    }

    /// What relative names in the options are relative to.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where its layers are, with those of others.
    pub fn layers(&self) -> &Path {
        &self.layers
    }

    /// Where it is to be mounted.
    pub fn path(&self) -> PathBuf {
        self.folder.join("rootfs")
    }

    /// For mount(2).
    pub fn options(&self) -> String {
        format!("lowerdir={},upperdir=upper,workdir=work", self.lower())
    }

    /// The topmost first, as overlayfs has it.
    fn lower(&self) -> String {
        let numbers = (0..self.layers_count).rev().map(|number| number.to_string());
        numbers.collect::<Vec<_>>().join(":")
    }

    /// Looks at it as the container will see it, mounted for the length of this call and for nobody else. Blocks.
    pub fn look<T: Send>(&self, see: impl FnOnce(&Path) -> T + Send) -> Result<T, OverlayError> {
        std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().name("image-look".to_owned());
            // Namespace and folder are this thread's alone, and end with it.
            let seen = thread.spawn_scoped(scope, || {
                self.mount_here()?;
                Ok(see(&self.path()))
            });
            seen.map_err(OverlayError::Thread)?
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    fn mount_here(&self) -> Result<(), OverlayError> {
        let failed = |call| move |errno| OverlayError::Look { call, errno };
        unshare(CloneFlags::CLONE_NEWNS).map_err(failed("unshare"))?;
        let private = MsFlags::MS_PRIVATE | MsFlags::MS_REC;
        mount(None::<&str>, "/", None::<&str>, private, None::<&str>).map_err(failed("mount"))?;
        nix::unistd::chdir(&self.folder).map_err(failed("chdir"))?;
        let (path, options) = (self.path(), self.options());
        mount(Some("overlay"), &path, Some("overlay"), MsFlags::MS_NODEV, Some(options.as_str()))
            .map_err(|errno| OverlayError::Mount { layers: self.layers_count, path, errno })
    }
}

/// Deletes a container's folder, and what the container had changed. That there is none is no error.
pub fn remove(work_dir: &Path, container: &str) -> Result<(), OverlayError> {
    let path = folder(work_dir).join(container);
    remove_tree(&path).map_err(|source| OverlayError::Delete { path, source })
}

/// A text below `root`, with links followed as the container would; empty where there is none.
pub fn text(root: &Path, path: &'static str) -> Result<String, OverlayError> {
    let failed = |source| OverlayError::Read { path, source };
    let root = File::open(root).map_err(failed)?;
    let how = OpenHow::new().flags(OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK);
    let file = match openat2(&root, path, how.resolve(ResolveFlag::RESOLVE_IN_ROOT)) {
        Ok(file) => File::from(file),
        Err(Errno::ENOENT | Errno::ENOTDIR) => return Ok(String::new()),
        Err(errno) => return Err(failed(errno.into())),
    };
    let mut bytes = Vec::new();
    io::Read::read_to_end(&mut io::Read::take(file, TEXT_BYTES_MAX), &mut bytes).map_err(failed)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Makes a folder below `root`, with those above it, where they are missing; with links followed as the container would.
pub fn make_folder(root: &Path, path: &Path) -> Result<(), OverlayError> {
    let failed = |source| OverlayError::Make { path: path.to_owned(), source };
    let root = File::open(root).map_err(failed)?;
    let open = |path: &Path| {
        let how = OpenHow::new().flags(OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC);
        openat2(&root, path, how.resolve(ResolveFlag::RESOLVE_IN_ROOT))
    };
    let mut above: Vec<&Path> = path.ancestors().filter(|it| it.file_name().is_some()).collect();
    above.reverse();
    for folder in above {
        if !matches!(open(folder), Err(Errno::ENOENT)) {
            continue;
        }
        let make = || {
            let parent = open(folder.parent().unwrap_or(Path::new("/")))?;
            mkdirat(&parent, folder.file_name().unwrap_or_default(), Mode::from_bits_truncate(0o755))
        };
        make().map_err(|errno| failed(errno.into()))?;
    }
    open(path).map(drop).map_err(|errno| failed(errno.into()))
}

/// What is read of an image's file of users, bytes.
const TEXT_BYTES_MAX: u64 = 1 << 20;

/// Containers that have a folder, with the layers that they may be running on.
pub fn found(work_dir: &Path) -> io::Result<Vec<(String, Vec<Digest>)>> {
    let entries = match std::fs::read_dir(folder(work_dir)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        let Ok(container) = entry.file_name().into_string() else { continue };
        // `.../layers/HEX/fs`
        let layer = |number: usize| {
            let link = std::fs::read_link(entry.path().join(number.to_string())).ok()?;
            Digest::of_hex(link.parent()?.file_name()?.to_str()?)
        };
        found.push((container, (0..).map_while(layer).collect()));
    }
    Ok(found)
}
