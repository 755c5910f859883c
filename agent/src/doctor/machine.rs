//! What the doctor looks at before it judges, as texts of the kernel and plain answers. [`look`] reads them, changes
//! nothing, and never fails: what cannot be read is empty.

use std::fs;
use std::path::Path;

/// One machine, as this process sees it.
#[derive(Clone, Debug, Default)]
pub struct Machine {
    pub hostname: String,
    /// `uname -r`
    pub kernel: String,
    /// `/proc/self/mountinfo`
    pub mounts: String,
    /// `/proc/self/status`
    pub status: String,
    /// `cgroup.controllers` at the top of the cgroup2 mount.
    pub controllers: String,
    /// `/proc/swaps`
    pub swaps: String,
    /// `/proc/filesystems`
    pub filesystems: String,
    /// Type information of the kernel.
    pub has_btf: bool,
    /// `/proc/pressure`
    pub has_pressure: bool,
    /// Whether swap is accounted for; `None` where no group has the memory controller to tell by.
    pub has_swap_accounting: Option<bool>,
    /// Why io_uring cannot be used.
    pub no_io_uring: Option<String>,
}

pub fn look() -> Machine {
    let read = |path: &Path| fs::read_to_string(path).unwrap_or_default();
    let mounts = read(Path::new("/proc/self/mountinfo"));
    let all = crate::cgroup::mounts::mounts(&mounts);
    let top = crate::cgroup::mounts::cgroup2(&all).map(|mount| mount.point.clone());
    let uname = nix::sys::utsname::uname().ok();
    let word =
        |of: Option<&std::ffi::OsStr>| of.map_or_else(String::new, |it| it.to_string_lossy().into_owned());
    Machine {
        hostname: word(uname.as_ref().map(|it| it.nodename())),
        kernel: word(uname.as_ref().map(|it| it.release())),
        status: read(Path::new("/proc/self/status")),
        controllers: top.as_ref().map_or_else(String::new, |top| read(&top.join("cgroup.controllers"))),
        swaps: read(Path::new("/proc/swaps")),
        filesystems: read(Path::new("/proc/filesystems")),
        has_btf: fs::File::open("/sys/kernel/btf/vmlinux").is_ok(),
        // Where PSI is compiled in and switched off, the files are there and say EOPNOTSUPP.
        has_pressure: fs::read("/proc/pressure/cpu").is_ok(),
        has_swap_accounting: top.and_then(|top| has_swap_accounting(&top)),
        no_io_uring: crate::sampler::io_uring().err().map(|error| error.to_string()),
        mounts,
    }
}

/// By the first group below the top that has the memory controller: the top itself has no such files.
fn has_swap_accounting(top: &Path) -> Option<bool> {
    let groups = fs::read_dir(top).ok()?.flatten();
    let group = groups.map(|it| it.path()).find(|it| it.join("memory.current").exists())?;
    Some(group.join("memory.swap.max").exists())
}
