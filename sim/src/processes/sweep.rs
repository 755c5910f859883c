//! What a killed agent leaves: executors and tasks that would live on, as they should when an agent is to return, and
//! their cgroups. Processes stand in their sandboxes, so they are found by their working folder, and ended by their ids.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::cluster;

/// Kills every process that works below `folder`. Repeated until there is none: what dies may have just forked.
pub(crate) fn below(folder: &Path) {
    const ROUNDS_MAX: usize = 100;
    let Ok(folder) = folder.canonicalize() else { return };
    for _ in 0..ROUNDS_MAX {
        let found = working_below(&folder);
        if found.is_empty() {
            return;
        }
        for pid in found {
            let _ = kill(pid, Signal::SIGKILL); // Fails when it ended meanwhile.
        }
        std::thread::yield_now();
    }
}

/// Where an agent on that port keeps its cgroup unless it is told otherwise; `None` without a v2 hierarchy.
pub fn agent_cgroup(port: u16) -> Option<PathBuf> {
    cgroup2_root().map(|root| root.join(format!("ingot-{port}")))
}

/// Removes a cgroup, and those below it. A cgroup can be removed once its
/// last process is reaped, which takes a moment after its death. None there, or not ours to remove: nothing to do.
pub(crate) fn cgroup(group: &Path) {
    const PATIENCE: Duration = Duration::from_secs(10);
    if let Ok(metadata) = group.metadata() {
        pins(metadata.ino());
    }
    let end = Instant::now() + PATIENCE;
    while group.is_dir() && !remove_tree(group) && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Removes what a killed agent has pinned in the kernel for the containers below a cgroup, which would count for ever.
fn pins(cgroup_id: u64) {
    for base in ["/sys/fs/bpf/ingot", "/run/ingot/bpf"] {
        // None there: it had none, or has removed them itself.
        let place = Path::new(base).join(cgroup_id.to_string());
        // Links first: without them nothing is counted while the rest goes.
        for set in std::fs::read_dir(&place).into_iter().flatten().flatten() {
            let _ = std::fs::remove_dir_all(set.path().join("links"));
        }
        let _ = std::fs::remove_dir_all(place);
    }
}

/// Removes the groups, and the pins, of agents that are no more, of a cluster that was killed itself. Where an agent listens,
/// or a container runs that one may come back to, everything stays; and what is of this process's own clusters, which see to
/// it themselves: an agent of theirs may be about to listen.
pub(crate) fn forgotten() {
    let entries = cgroup2_root().and_then(|root| std::fs::read_dir(root).ok());
    for entry in entries.into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(port) = name.strip_prefix("ingot-").and_then(|port| port.parse::<u16>().ok()) else {
            continue;
        };
        let events = std::fs::read_to_string(entry.path().join("cgroup.events")).unwrap_or_default();
        let is_free = || std::net::TcpListener::bind((std::net::Ipv4Addr::UNSPECIFIED, port)).is_ok();
        if !cluster::is_given(port) && events.contains("populated 0") && is_free() {
            cgroup(&entry.path());
        }
    }
}

fn cgroup2_root() -> Option<PathBuf> {
    let mounts = std::fs::read_to_string("/proc/self/mounts").ok()?;
    let mut fields = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    fields.find(|it| it.get(2) == Some(&"cgroup2")).map(|it| PathBuf::from(it[1]))
}

/// Children first. The files in a cgroup's folder are the kernel's and go with it.
fn remove_tree(group: &Path) -> bool {
    let children = std::fs::read_dir(group).into_iter().flatten().flatten();
    for child in children.filter(|it| it.file_type().is_ok_and(|kind| kind.is_dir())) {
        remove_tree(&child.path());
    }
    match std::fs::remove_dir(group) {
        Ok(()) => true,
        // Only a cgroup that still has processes may become removable by waiting.
        Err(error) => error.kind() != std::io::ErrorKind::ResourceBusy,
    }
}

fn working_below(folder: &Path) -> Vec<Pid> {
    let Ok(processes) = std::fs::read_dir("/proc") else { return Vec::new() };
    let below = |entry: &std::fs::DirEntry| {
        // Of others' processes it cannot be read; ours are ours. A zombie's is gone: only its parent can end it.
        std::fs::read_link(entry.path().join("cwd")).is_ok_and(|cwd| cwd.starts_with(folder))
    };
    let pid = |entry: std::fs::DirEntry| entry.file_name().to_str()?.parse().ok().map(Pid::from_raw);
    let ours = std::process::id() as i32;
    processes.flatten().filter(below).filter_map(pid).filter(|it| it.as_raw() != ours).collect()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    #[test]
    fn groups_of_agents_that_are_no_more_are_removed_and_no_others() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let lives = listener.local_addr().expect("bound").port();
        let given = super::super::free_port().expect("another");
        // Nobody listens there any more.
        let gone = std::net::TcpListener::bind("127.0.0.1:0")
            .and_then(|it| it.local_addr())
            .expect("a third")
            .port();
        let groups = [lives, given, gone].map(|port| super::agent_cgroup(port).unwrap_or_default());
        if groups.iter().any(|group| std::fs::create_dir(group).is_err()) {
            assert!(std::env::var("REQUIRE").as_deref() != Ok("all"), "no cgroup can be made");
            eprintln!("skipped: no cgroup can be made here");
            return;
        }
        super::forgotten();
        let are_there = groups.each_ref().map(|group| group.exists());
        groups.iter().for_each(|group| super::cgroup(group));
        assert_eq!(are_there, [true, true, false]);
    }

    #[test]
    fn what_works_below_is_ended_and_nothing_else() {
        let (inside, outside) =
            (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let sleeper = |folder: &std::path::Path| {
            Command::new("sleep").arg("60").current_dir(folder).spawn().expect("sleep is everywhere")
        };
        let below = inside.path().join("sandbox");
        std::fs::create_dir(&below).expect("writable");
        let (mut gone, mut stays) = (sleeper(&below), sleeper(outside.path()));
        super::below(inside.path());
        assert!(!gone.wait().expect("our child").success());
        assert!(stays.try_wait().expect("our child").is_none());
        stays.kill().expect("our child");
        stays.wait().expect("our child");
    }
}
