//! What a container sees of file systems, as steps. All sources are opened while the machine's root is still there; then
//! the root changes; then everything is put in its place, with links in the new root leading nowhere else.

use std::ffi::{CString, OsStr};
use std::path::{Path, PathBuf};

use super::confinement::{Confinement, Overlay, Rootfs, Source, Target, Volume};
use crate::containerizer::spec::{
    ATTACH_MAKE, ATTACH_NO_LINKS, ATTACH_OPTIONAL, TREE_MAKE, TREE_OPTIONAL, TREE_RECURSIVE,
};
use crate::containerizer::steps::{Attach, Filesystem, Step, Tree};

/// include/uapi/linux/mount.h
pub const ATTR_RDONLY: u32 = 1;
pub const ATTR_NOSUID: u32 = 2;
pub const ATTR_NODEV: u32 = 4;
pub const ATTR_NOEXEC: u32 = 8;

/// `MS_SLAVE | MS_REC`
const SLAVE_RECURSIVE: u64 = 1 << 19 | 1 << 14;

/// Devices that every program may expect.
const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];
/// Links in /dev: what they say, where they are.
const LINKS: [(&str, &str); 5] = [
    ("/proc/self/fd", "/dev/fd"),
    ("/proc/self/fd/0", "/dev/stdin"),
    ("/proc/self/fd/1", "/dev/stdout"),
    ("/proc/self/fd/2", "/dev/stderr"),
    ("pts/ptmx", "/dev/ptmx"),
];
/// What names are looked up by, taken from the machine.
const NAMES: [&str; 2] = ["/etc/resolv.conf", "/etc/hosts"];
/// Parts of /proc and /sys that tell of, or change, the machine as a whole; those that Docker hides.
const MASKED: [&str; 10] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/scsi",
    "/proc/timer_list",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
    "/sys/kernel/debug",
];
const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// Bytes of a /dev/shm for which nobody says how large it is to be; as Docker's.
const SHM_BYTES: u64 = 64 << 20;

/// Steps under way, with the slots that they take.
#[derive(Debug, Default)]
struct Making {
    sources: Vec<Step>,
    places: Vec<Step>,
    slots_count: u32,
    /// Of the container's user namespace, where it has one.
    users: Option<u32>,
}

impl Making {
    fn slot(&mut self) -> u32 {
        self.slots_count += 1;
        self.slots_count - 1
    }

    /// What lies at `from` on the machine appears at `to`. Nothing does if there is nothing there.
    fn bind(&mut self, from: &str, attributes: u32, to: &str) {
        let tree = Tree {
            slot: self.slot(),
            flags: TREE_RECURSIVE | TREE_OPTIONAL,
            attributes: attributes.into(),
            users: None,
            base: c"/".into(),
            path: below_root(from),
        };
        self.attach(tree.slot, to, ATTACH_MAKE | ATTACH_OPTIONAL);
        self.sources.push(Step::Tree(tree));
    }

    fn sandbox(&mut self, sandbox: &Sandbox, to: &Path) {
        let Sandbox { trusted, below } = sandbox;
        let path = if below.as_os_str().is_empty() { c".".into() } else { text(below) };
        let (slot, flags) = (self.slot(), TREE_RECURSIVE);
        self.attach(slot, &to.to_string_lossy(), ATTACH_MAKE);
        self.sources.push(Step::Tree(Tree {
            slot,
            flags,
            attributes: 0,
            users: None,
            base: text(trusted),
            path,
        }));
    }

    fn mount(&mut self, kind: &str, options: &[(&str, &str)], attributes: u32, to: &str, flags: u32) {
        let slot = self.slot();
        let options = options.iter().map(|(name, value)| (text(name), text(value))).collect();
        self.places.push(Step::Filesystem(Filesystem { slot, kind: text(kind), attributes, options }));
        self.attach(slot, to, flags | ATTACH_NO_LINKS);
    }

    fn attach(&mut self, slot: u32, to: &str, flags: u32) {
        self.places.push(Step::Attach(Attach { slot, flags, base: c"/".into(), path: below_root(to) }));
    }

    /// `inside`: where the container sees its sandbox.
    fn volume(&mut self, volume: &Volume, sandbox: &Sandbox, inside: &Sandbox, has_root: bool) {
        let slot = self.slot();
        let (base, path, flags) = match &volume.source {
            Source::Machine(path) => (c"/".into(), below_root(&path.to_string_lossy()), TREE_RECURSIVE),
            Source::Sandbox(path) => {
                (text(&sandbox.trusted), text(sandbox.below.join(path)), TREE_RECURSIVE | TREE_MAKE)
            }
            Source::Parent(path) => {
                (text(&sandbox.trusted), text(sandbox.parent().join(path)), TREE_RECURSIVE | TREE_MAKE)
            }
        };
        let attributes = if volume.read_only { ATTR_RDONLY.into() } else { 0 };
        // What is in the sandbox is the container's own anyway.
        let users = self.users.filter(|_| matches!(volume.source, Source::Machine(_)));
        self.sources.push(Step::Tree(Tree { slot, flags, attributes, users, base, path }));
        let (base, path, flags) = match &volume.target {
            Target::Absolute(path) => {
                let flags = if has_root { ATTACH_MAKE } else { 0 };
                (c"/".into(), below_root(&path.to_string_lossy()), flags)
            }
            Target::Sandbox(path) => (text(&inside.trusted), text(inside.below.join(path)), ATTACH_MAKE),
        };
        self.places.push(Step::Attach(Attach { slot, flags, base, path }));
    }
}

/// Where a sandbox is. Whoever runs in it, or in what it is nested in, may have made links in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sandbox {
    /// A folder that is reached by nobody's links but ours.
    pub trusted: PathBuf,
    /// From there; empty if it is that folder.
    pub below: PathBuf,
}

impl Sandbox {
    pub fn of(trusted: &Path) -> Self {
        Self { trusted: trusted.to_owned(), below: PathBuf::new() }
    }

    /// That of the container that it is in, from the same folder: `x/containers/ID` is in `x`.
    fn parent(&self) -> &Path {
        self.below.ancestors().nth(2).unwrap_or(Path::new(""))
    }
}

/// An absolute path, seen from the root.
fn below_root(path: &str) -> CString {
    match path.trim_matches('/') {
        "" => c".".into(),
        path => text(path),
    }
}

/// # Panics
/// If a path holds a NUL, which plans do not.
fn text(text: impl AsRef<OsStr>) -> CString {
    CString::new(text.as_ref().to_string_lossy().into_owned()).expect("the plan holds no NUL")
}

/// For a process that has a mount namespace of its own. `sandbox`: on the machine. `users`: a user namespace, as whose what is
/// the machine's is seen.
pub fn steps(confinement: &Confinement, sandbox: &Sandbox, users: Option<u32>) -> Vec<Step> {
    let mut making = Making { users, ..Making::default() };
    // What the machine mounts and unmounts later is seen, and nothing is held in use; what the container does is its own.
    let mut steps = vec![Step::Propagation(SLAVE_RECURSIVE)];
    match &confinement.root {
        Some(root) => {
            in_root(&mut making, confinement, root, sandbox);
        }
        None => on_machine(&mut making, confinement),
    }
    let root = confinement.root.as_ref();
    let inside = root.map_or_else(|| sandbox.clone(), |root| Sandbox::of(&root.sandbox));
    for volume in &confinement.volumes {
        making.volume(volume, sandbox, &inside, root.is_some());
    }
    steps.append(&mut making.sources);
    steps.extend(root.map(|root| pivot(&mut making, root)).unwrap_or_default());
    steps.append(&mut making.places);
    // When everything else is in its place, or some of it would be out of reach.
    if root.is_some() {
        steps.extend(MASKED.map(|path| Step::Mask(text(path))));
        steps.extend(READ_ONLY.map(|path| Step::ReadOnly(text(path))));
    }
    steps
}

fn pivot(making: &mut Making, root: &Rootfs) -> Vec<Step> {
    let mut steps = Vec::new();
    if let Some(Overlay { folder, layers, options }) = &root.overlay {
        if let Some(users) = making.users {
            steps.extend(seen_by(users, layers, making.slot()));
        }
        steps.push(Step::Chdir(text(folder)));
        steps.push(Step::Mount {
            source: c"overlay".into(),
            target: text(&root.path),
            kind: c"overlay".into(),
            data: options.clone(),
        });
    }
    steps.push(Step::Pivot(text(&root.path)));
    steps
}

/// Has layers belong to the container's users: they are put over themselves, where the links to them still lead. What is on top of
/// them is the container's own already.
fn seen_by(users: u32, layers: &Path, slot: u32) -> [Step; 2] {
    let (base, path) = (CString::from(c"/"), below_root(&layers.to_string_lossy()));
    let tree =
        Tree { slot, flags: 0, attributes: 0, users: Some(users), base: base.clone(), path: path.clone() };
    [Step::Tree(tree), Step::Attach(Attach { slot, flags: 0, base, path })]
}

fn on_machine(making: &mut Making, confinement: &Confinement) {
    if confinement.namespaces.pid {
        making.mount("proc", &[], ATTR_NOSUID | ATTR_NODEV | ATTR_NOEXEC, "/proc", 0);
    }
    if confinement.namespaces.ipc {
        // In the machine's own /dev nothing is made.
        ipc(making, confinement, ATTACH_OPTIONAL);
    }
}

/// Shared memory and message queues of POSIX are files.
fn ipc(making: &mut Making, confinement: &Confinement, flags: u32) {
    let size = confinement.shm_bytes.unwrap_or(SHM_BYTES).to_string();
    let none = ATTR_NOSUID | ATTR_NODEV | ATTR_NOEXEC;
    making.mount("tmpfs", &[("mode", "1777"), ("size", &size)], none, "/dev/shm", flags);
    making.mount("mqueue", &[], none, "/dev/mqueue", flags);
}

fn in_root(making: &mut Making, confinement: &Confinement, root: &Rootfs, sandbox: &Sandbox) {
    let none = ATTR_NOSUID | ATTR_NODEV | ATTR_NOEXEC;
    let make = ATTACH_MAKE;
    making.mount("proc", &[], none, "/proc", make);
    making.mount("sysfs", &[], none | ATTR_RDONLY, "/sys", make);
    making.mount("tmpfs", &[("mode", "755"), ("size", "65536k")], ATTR_NOSUID | ATTR_NOEXEC, "/dev", make);
    let terminals = [("ptmxmode", "0666"), ("mode", "0620"), ("gid", "5")];
    making.mount("devpts", &terminals, ATTR_NOSUID | ATTR_NOEXEC, "/dev/pts", make);
    if confinement.namespaces.ipc {
        ipc(making, confinement, make);
    } else {
        // Those of whom it shares them with.
        making.bind("/dev/shm", 0, "/dev/shm");
        making.bind("/dev/mqueue", 0, "/dev/mqueue");
    }
    for device in DEVICES {
        let path = format!("/dev/{device}");
        making.bind(&path, ATTR_NOSUID | ATTR_NOEXEC, &path);
    }
    let link = |(says, place): (&str, &str)| Step::Symlink { says: text(says), place: text(place) };
    making.places.extend(LINKS.map(link));
    making.sandbox(sandbox, &root.sandbox);
    for name in NAMES {
        making.bind(name, ATTR_RDONLY, name);
    }
}
