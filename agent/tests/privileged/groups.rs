//! Groups of tests' own, and that nothing of them stays: neither the directory, nor who is in it, nor what an agent that was
//! killed has pinned for it in the kernel, which would cost every switch of the machine from then on.
//!
//! A group bears the number of the process that made it. What a test leaves that is killed itself, the next one clears.

use crate::needs::{self, cgroup2_root};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// All groups of tests begin with it.
const PREFIX: &str = "ingot-test-";
/// Where agents pin their programs, below the number of their group.
const PINS: [&str; 2] = ["/sys/fs/bpf/ingot", "/run/ingot/bpf"];
/// For processes to die that were killed.
const PATIENCE: Duration = Duration::from_secs(60);

/// A name for a group right below the hierarchy's root that no other test has.
pub fn name() -> String {
    static SWEPT: Once = Once::new();
    static MADE: AtomicU32 = AtomicU32::new(0);
    SWEPT.call_once(sweep);
    format!("{PREFIX}{}-{}", std::process::id(), MADE.fetch_add(1, Ordering::Relaxed))
}

/// The group of that name, if somebody makes it. Cleared when dropped, so also when a test fails.
pub struct Group {
    pub name: String,
}

impl Group {
    pub fn new() -> Self {
        Self { name: name() }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(root) = cgroup2_root() {
            clear(&root.join(&self.name));
        }
    }
}

/// Kills what is left below a group and removes it with its pins. None there: nothing to do.
pub fn clear(group: &Path) {
    let Ok(metadata) = group.metadata() else { return };
    let _ = fs::write(group.join("cgroup.kill"), "1");
    unpin(metadata.ino());
    let deadline = Instant::now() + PATIENCE * needs::slowdown();
    // A process that was killed is still dying for a moment.
    while group.exists() && Instant::now() < deadline {
        remove_tree(group);
        std::thread::park_timeout(Duration::from_millis(2));
    }
}

/// Where agents with that group have their pins, if they are there.
pub fn pins(group_id: u64) -> Option<PathBuf> {
    PINS.map(|base| Path::new(base).join(group_id.to_string())).into_iter().find(|path| path.exists())
}

/// Links first: without them nothing is counted while the rest goes.
fn unpin(group_id: u64) {
    let Some(place) = pins(group_id) else { return };
    for set in fs::read_dir(&place).into_iter().flatten().flatten() {
        let _ = fs::remove_dir_all(set.path().join("links"));
    }
    let _ = fs::remove_dir_all(place);
}

fn remove_tree(directory: &Path) {
    let below = fs::read_dir(directory).into_iter().flatten().flatten();
    below.filter(|entry| entry.path().is_dir()).for_each(|entry| remove_tree(&entry.path()));
    let _ = fs::remove_dir(directory);
}

/// Clears the groups of tests that are no more.
fn sweep() {
    let root = cgroup2_root().and_then(|root| fs::read_dir(root).ok());
    for entry in root.into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let maker = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next()?.parse::<u32>().ok());
        if maker.is_some_and(|pid| !Path::new("/proc").join(pid.to_string()).exists()) {
            clear(&entry.path());
        }
    }
}

/// A test was killed, with an agent of its own: the next one's first group clears away what that left.
#[test]
fn what_a_killed_test_left_is_cleared_away() {
    use crate::needs::{Need, met};
    if !met("what_a_killed_test_left_is_cleared_away", &[Need::Root, Need::Cgroup2]) {
        return;
    }
    // A number that was a process's and is not any more.
    let mut gone = std::process::Command::new("true").spawn().unwrap();
    gone.wait().unwrap();
    let left = cgroup2_root().unwrap().join(format!("{PREFIX}{}-0", gone.id()));
    fs::create_dir_all(left.join("container")).unwrap();
    let mut sleeper = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
    fs::write(left.join("container/cgroup.procs"), sleeper.id().to_string()).unwrap();
    let ours = Group::new();
    let lives = cgroup2_root().unwrap().join(&ours.name);
    fs::create_dir(&lives).unwrap();
    let dies = std::thread::spawn(move || sleeper.wait().unwrap());
    sweep();
    assert!(!left.exists() && lives.exists());
    assert!(!dies.join().unwrap().success());
    drop(ours);
    assert!(!lives.exists());
}
