//! What a container sees of file systems, as steps. All sources are opened while the machine's root is still there; then
//! the root changes; then everything is put in its place, with links in the new root leading nowhere else.

use std::ffi::{CString, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::confinement::{Confinement, Overlay, Rootfs};
use crate::containerizer::spec::{ATTACH_FILE, ATTACH_MAKE, ATTACH_NO_LINKS};
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
}

impl Making {
    fn slot(&mut self) -> u32 {
        self.slots_count += 1;
        self.slots_count - 1
    }

    /// What lies at `from` on the machine appears at `to`.
    fn bind(&mut self, from: &Path, attributes: u32, to: &str, flags: u32) {
        let (slot, path) = (self.slot(), text(from.as_os_str()));
        self.sources.push(Step::Tree(Tree { slot, is_recursive: true, attributes: attributes.into(), path }));
        self.attach(slot, to, flags);
    }

    fn mount(&mut self, kind: &str, options: &[(&str, &str)], attributes: u32, to: &str) {
        let slot = self.slot();
        let options = options.iter().map(|(name, value)| (text(name), text(value))).collect();
        self.places.push(Step::Filesystem(Filesystem { slot, kind: text(kind), attributes, options }));
        self.attach(slot, to, ATTACH_MAKE | ATTACH_NO_LINKS);
    }

    fn attach(&mut self, slot: u32, to: &str, flags: u32) {
        let path = text(to.trim_start_matches('/'));
        self.places.push(Step::Attach(Attach { slot, flags, base: c"/".into(), path }));
    }
}

/// # Panics
/// If a path holds a NUL, which plans do not.
fn text(text: impl AsRef<OsStr>) -> CString {
    CString::new(text.as_ref().as_bytes()).expect("the plan holds no NUL")
}

/// For a process that has a mount namespace of its own. `sandbox`: on the machine.
pub fn steps(confinement: &Confinement, sandbox: &Path) -> Vec<Step> {
    let mut making = Making::default();
    // What the machine mounts and unmounts later is seen, and nothing is held in use; what the container does is its own.
    let mut steps = vec![Step::Propagation(SLAVE_RECURSIVE)];
    match &confinement.root {
        Some(root) => {
            in_root(&mut making, confinement, root, sandbox);
            steps.append(&mut making.sources);
            steps.extend(pivot(root));
        }
        None => on_machine(&mut making, confinement),
    }
    steps.append(&mut making.sources);
    steps.append(&mut making.places);
    steps
}

fn pivot(root: &Rootfs) -> Vec<Step> {
    let mut steps = Vec::new();
    if let Some(Overlay { folder, options }) = &root.overlay {
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

fn on_machine(making: &mut Making, confinement: &Confinement) {
    if confinement.namespaces.pid {
        making.mount("proc", &[], ATTR_NOSUID | ATTR_NODEV | ATTR_NOEXEC, "/proc");
    }
    if confinement.namespaces.ipc {
        ipc(making, confinement);
    }
}

/// Shared memory and message queues of POSIX are files.
fn ipc(making: &mut Making, confinement: &Confinement) {
    let size = confinement.shm_bytes.unwrap_or(SHM_BYTES).to_string();
    let none = ATTR_NOSUID | ATTR_NODEV | ATTR_NOEXEC;
    making.mount("tmpfs", &[("mode", "1777"), ("size", &size)], none, "/dev/shm");
    making.mount("mqueue", &[], none, "/dev/mqueue");
}

fn in_root(making: &mut Making, confinement: &Confinement, root: &Rootfs, sandbox: &Path) {
    let none = ATTR_NOSUID | ATTR_NODEV | ATTR_NOEXEC;
    making.mount("proc", &[], none, "/proc");
    making.mount("sysfs", &[], none | ATTR_RDONLY, "/sys");
    making.mount("tmpfs", &[("mode", "755"), ("size", "65536k")], ATTR_NOSUID | ATTR_NOEXEC, "/dev");
    let terminals = [("ptmxmode", "0666"), ("mode", "0620"), ("gid", "5")];
    making.mount("devpts", &terminals, ATTR_NOSUID | ATTR_NOEXEC, "/dev/pts");
    if confinement.namespaces.ipc {
        ipc(making, confinement);
    } else {
        making.bind(Path::new("/dev/shm"), 0, "/dev/shm", ATTACH_MAKE | ATTACH_NO_LINKS);
    }
    for device in DEVICES {
        let path = format!("/dev/{device}");
        making.bind(Path::new(&path), ATTR_NOSUID | ATTR_NOEXEC, &path, ATTACH_MAKE | ATTACH_FILE);
    }
    let link = |(says, place): (&str, &str)| Step::Symlink { says: text(says), place: text(place) };
    making.places.extend(LINKS.map(link));
    making.bind(sandbox, 0, &root.sandbox.to_string_lossy(), ATTACH_MAKE);
    for name in NAMES {
        making.bind(Path::new(name), ATTR_RDONLY, name, ATTACH_MAKE | ATTACH_FILE);
    }
    making.places.extend(MASKED.map(|path| Step::Mask(text(path))));
    making.places.extend(READ_ONLY.map(|path| Step::ReadOnly(text(path))));
}
