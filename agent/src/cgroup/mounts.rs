//! Where cgroup file systems are mounted and which group a process is in, from the texts of `/proc`. Reads no file itself.

use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// One mounted cgroup file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    pub point: PathBuf,
    /// The group that is seen at the mount point, as `/proc/self/cgroup` names groups.
    pub root: PathBuf,
    /// Empty for cgroup2; the controllers (and `name=…`) of a version 1 hierarchy.
    pub v1_options: Vec<String>,
}

/// All cgroup mounts in a `/proc/PID/mountinfo` text (proc_pid_mountinfo(5)), of both versions, in its order.
pub fn mounts(mountinfo: &str) -> Vec<Mount> {
    mountinfo.lines().filter_map(mount).collect()
}

fn mount(line: &str) -> Option<Mount> {
    let (head, tail) = line.split_once(" - ")?;
    let mut head = head.split(' ').skip(3);
    let (root, point) = (unescape(head.next()?), unescape(head.next()?));
    let mut tail = tail.split(' ');
    let v1_options = match tail.next()? {
        "cgroup2" => Vec::new(),
        "cgroup" => {
            let flags = ["rw", "ro", "xattr", "clone_children", "noprefix"];
            let options =
                tail.nth(1)?.split(',').filter(|o| !flags.contains(o) && !o.starts_with("release_agent="));
            options.map(str::to_owned).collect()
        }
        _ => return None,
    };
    Some(Mount { point, root, v1_options })
}

/// Space, tab, newline and backslash stand as three octal digits in mountinfo.
fn unescape(field: &str) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        let octal = tail.get(..3).filter(|_| byte == b'\\').and_then(|o| std::str::from_utf8(o).ok());
        match octal.and_then(|o| u8::from_str_radix(o, 8).ok()) {
            Some(escaped) => {
                bytes.push(escaped);
                rest = &tail[3..];
            }
            None => {
                bytes.push(byte);
                rest = tail;
            }
        }
    }
    PathBuf::from(std::ffi::OsString::from_vec(bytes))
}

/// The cgroup2 mount to use. The usual places come first: others are some container's view of a part of the tree.
pub fn cgroup2(mounts: &[Mount]) -> Option<&Mount> {
    let all = || mounts.iter().filter(|m| m.v1_options.is_empty());
    let usual = |point: &str| all().find(|m| m.point == Path::new(point));
    usual("/sys/fs/cgroup").or_else(|| usual("/sys/fs/cgroup/unified")).or_else(|| all().next())
}

/// Where a controller is held by a version 1 hierarchy, so that the cgroup2 tree cannot have it.
pub fn v1_point<'a>(mounts: &'a [Mount], controller: &str) -> Option<&'a Path> {
    mounts.iter().find(|m| m.v1_options.iter().any(|o| o == controller)).map(|m| m.point.as_path())
}

/// The directory of the version 2 group that a `/proc/PID/cgroup` text names, under this mount. `None` when the group is
/// not below what the mount shows.
pub fn own_directory(proc_cgroup: &str, mount: &Mount) -> Option<PathBuf> {
    let group = Path::new(proc_cgroup.lines().find_map(|line| line.strip_prefix("0::"))?);
    Some(mount.point.join(group.strip_prefix(&mount.root).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,release_agent=/lib/agent,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime shared:9 - cgroup2 cgroup2 rw
";

    #[test]
    fn a_hybrid_host_has_its_tree_in_unified_and_its_controllers_elsewhere() {
        let mounts = mounts(HYBRID);
        let two = cgroup2(&mounts).expect("it is there");
        assert_eq!(
            (two.point.as_path(), two.root.as_path()),
            (Path::new("/sys/fs/cgroup/unified"), Path::new("/"))
        );
        assert_eq!(v1_point(&mounts, "cpu"), Some(Path::new("/sys/fs/cgroup/cpu,cpuacct")));
        assert_eq!(v1_point(&mounts, "memory"), None);
        assert_eq!(mounts[1].v1_options, ["name=systemd"]);
    }

    #[test]
    fn the_usual_mount_wins_over_a_containers_view() {
        let text = "50 1 0:9 /docker/x /var/lib/with\\040space rw - cgroup2 cgroup2 rw\n\
                    29 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup rw,nsdelegate\n";
        let mounts = mounts(text);
        assert_eq!(mounts[0].point, Path::new("/var/lib/with space"));
        assert_eq!(cgroup2(&mounts).map(|m| m.point.as_path()), Some(Path::new("/sys/fs/cgroup")));
        assert_eq!(cgroup2(&mounts[..1]), Some(&mounts[0]));
        assert_eq!(cgroup2(&[]), None);
    }

    #[test]
    fn a_process_is_found_under_the_mount() {
        let mount = |root: &str| Mount { point: "/cg".into(), root: root.into(), v1_options: vec![] };
        let text = "4:memory:/elsewhere\n0::/user.slice/agent.service\n";
        assert_eq!(own_directory(text, &mount("/")), Some("/cg/user.slice/agent.service".into()));
        assert_eq!(own_directory(text, &mount("/user.slice")), Some("/cg/agent.service".into()));
        assert_eq!(own_directory(text, &mount("/system.slice")), None);
        assert_eq!(own_directory("4:memory:/elsewhere\n", &mount("/")), None);
    }
}
