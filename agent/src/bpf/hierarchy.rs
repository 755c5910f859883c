//! Where a directory lies in the cgroup v2 hierarchy, counted in levels: the programs find a task's container as its
//! ancestor at one level. Reads mount tables; makes nothing.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use super::support::Reason;

/// Inode number of the initial cgroup namespace (`PROC_CGROUP_INIT_INO`, include/linux/proc_ns.h).
const INITIAL_NAMESPACE: u64 = 0xEFFF_FFFB;

/// Where a directory lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Levels below the root of this process's cgroup namespace; below zero if it lies outside.
    depth: i32,
    /// The same of this process's own cgroup.
    own_depth: i32,
    /// In the initial namespace a path says how deep it is.
    initial: bool,
}

impl Place {
    /// Level of the directory's children, where that can be told without asking the kernel.
    pub(super) fn level(self) -> Option<u32> {
        self.initial.then(|| u32::try_from(self.depth + 1).unwrap_or(1))
    }

    /// The same, given the true level of this process's own cgroup.
    pub(super) fn level_within(self, own_level: u32) -> u32 {
        own_level.saturating_add_signed(self.depth - self.own_depth + 1)
    }
}

/// Locates a directory of a cgroup v2 hierarchy.
pub(super) fn locate(directory: &Path) -> Result<Place, Reason> {
    let refused = || Reason::NotCgroup2 { path: directory.display().to_string() };
    let directory = fs::canonicalize(directory).map_err(|_| refused())?;
    // Of this thread, whose namespace it is that the paths are seen in.
    let mounts = fs::read_to_string("/proc/thread-self/mountinfo").map_err(|_| refused())?;
    let depth = depth_of(&directory, &mounts).ok_or_else(refused)?;
    let own = fs::read_to_string("/proc/thread-self/cgroup").unwrap_or_default();
    let own_depth = own.lines().find_map(|line| line.strip_prefix("0::")).map_or(0, levels);
    let namespace = fs::metadata("/proc/thread-self/ns/cgroup").map(|it| it.ino());
    // Without cgroup namespaces there is only the initial one.
    Ok(Place {
        depth,
        own_depth,
        initial: namespace.is_err() || namespace.is_ok_and(|it| it == INITIAL_NAMESPACE),
    })
}

/// Levels of a directory below the namespace's root, by the cgroup2 mount that it lies on.
fn depth_of(directory: &Path, mountinfo: &str) -> Option<i32> {
    let on = mountinfo.lines().filter_map(|line| {
        let (head, tail) = line.split_once(" - ")?;
        let mut fields = head.split(' ').skip(3);
        let (root, point) = (fields.next()?, PathBuf::from(unescape(fields.next()?)));
        Some((root, point, tail.split(' ').next()?))
    });
    // The longest mount point wins, and of mounts on the same point the last; it must be a cgroup2 one.
    let covering = on.filter(|(_, point, _)| directory.starts_with(point));
    let (root, point, kind) = covering.max_by_key(|(_, point, _)| point.components().count())?;
    if kind != "cgroup2" {
        return None;
    }
    let below = directory.strip_prefix(&point).ok()?;
    Some(levels(&unescape(root)) + i32::try_from(below.components().count()).ok()?)
}

/// Levels that a path goes down; `..` goes up.
fn levels(path: &str) -> i32 {
    let step = |part: Component<'_>| match part {
        Component::Normal(_) => 1,
        Component::ParentDir => -1,
        _ => 0,
    };
    Path::new(path).components().map(step).sum()
}

/// mountinfo writes blanks, tabs, newlines and backslashes as three octal digits.
fn unescape(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        let code = rest.get(at + 1..at + 4).and_then(|it| u8::from_str_radix(it, 8).ok());
        match code {
            Some(code) => {
                out.push(char::from(code));
                rest = &rest[at + 4..];
            }
            None => {
                out.push('\\');
                rest = &rest[at + 1..];
            }
        }
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
25 1 0:22 / /sys rw - sysfs sysfs rw
30 25 0:26 / /sys/fs/cgroup rw - tmpfs tmpfs rw
31 30 0:27 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu
32 30 0:28 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
33 30 0:28 /a/b /mnt/with\\040blank rw - cgroup2 cgroup2 rw
34 30 0:28 /.. /outside rw - cgroup2 cgroup2 rw
";

    fn check(path: &str, expect: Option<i32>) {
        assert_eq!(depth_of(Path::new(path), HYBRID), expect, "{path}");
    }

    #[test]
    fn depth_is_counted_from_the_hierarchys_root() {
        check("/sys/fs/cgroup/unified", Some(0));
        check("/sys/fs/cgroup/unified/ingot", Some(1));
        check("/sys/fs/cgroup/unified/a/b/c", Some(3));
        check("/mnt/with blank", Some(2));
        check("/mnt/with blank/c", Some(3));
        check("/outside/c", Some(0));
    }

    #[test]
    fn other_file_systems_have_no_level() {
        check("/sys/fs/cgroup", None);
        check("/sys/fs/cgroup/cpu/x", None);
        check("/tmp", None);
    }

    #[test]
    fn the_level_is_that_of_the_children() {
        assert_eq!(Place { depth: 1, own_depth: 0, initial: true }.level(), Some(2));
        let inside = Place { depth: 1, own_depth: 0, initial: false };
        assert_eq!((inside.level(), inside.level_within(3)), (None, 5));
        // The agent's own cgroup is three deep in the namespace and five in truth.
        assert_eq!(Place { depth: 1, own_depth: 3, initial: false }.level_within(5), 4);
    }
}
