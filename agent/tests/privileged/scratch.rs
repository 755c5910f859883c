//! A cgroup v2 directory of a test's own, with containers in it, all removed at the end; and processes that start inside.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::needs;

/// Counts the directories of this process, so that tests beside each other do not meet.
static MADE: AtomicU32 = AtomicU32::new(0);

/// The root of one test's containers.
pub struct Root {
    pub path: PathBuf,
}

impl Root {
    pub fn new(test: &str) -> Self {
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let name = format!("ingot-test-{}-{number}-{test}", std::process::id());
        let path = needs::cgroup2_root().expect("the test needs Cgroup2").join(name);
        fs::create_dir(&path).unwrap();
        Self { path }
    }

    pub fn container(&self, name: &str) -> Cgroup {
        Cgroup::make(self.path.join(name))
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        let _ = fs::write(self.path.join("cgroup.kill"), "1");
        remove_tree(&self.path);
    }
}

/// A cgroup below the root.
pub struct Cgroup {
    pub path: PathBuf,
    /// The kernel's id of it: the directory's inode number.
    pub id: u64,
}

impl Cgroup {
    fn make(path: PathBuf) -> Self {
        fs::create_dir(&path).unwrap();
        let id = fs::metadata(&path).unwrap().ino();
        Self { path, id }
    }

    pub fn child(&self, name: &str) -> Self {
        Self::make(self.path.join(name))
    }

    /// Starts a program whose first instruction already runs inside: the child moves itself before it execs.
    pub fn spawn(&self, command: &mut Command) -> Child {
        let procs = fs::OpenOptions::new().write(true).open(self.path.join("cgroup.procs")).unwrap();
        let enter = move || std::io::Write::write_all(&mut &procs, b"0");
        // SAFETY: between fork and exec only one write(2) is made, which is async-signal-safe.
        #[allow(unsafe_code, reason = "the standard library has no other way to act in the child")]
        unsafe {
            command.pre_exec(enter);
        }
        command.stdin(Stdio::null()).spawn().unwrap()
    }

    /// A shell script, run inside to its end.
    pub fn sh(&self, script: &str) -> Child {
        self.spawn(Command::new("/bin/sh").args(["-c", script]))
    }

    /// `usage_usec` and friends of `cpu.stat`.
    pub fn cpu_stat(&self, field: &str) -> u64 {
        let text = fs::read_to_string(self.path.join("cpu.stat")).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(field)).unwrap();
        line.trim().parse().unwrap()
    }

    /// Waits until no live process is inside.
    pub fn wait_empty(&self) {
        use nix::poll::{PollFd, PollFlags, poll};
        use std::os::fd::AsFd;
        let path = self.path.join("cgroup.events");
        let file = fs::File::open(&path).unwrap();
        loop {
            if fs::read_to_string(&path).unwrap().contains("populated 0") {
                return;
            }
            let mut waited = [PollFd::new(file.as_fd(), PollFlags::POLLPRI)];
            let ready = poll(&mut waited, 10_000u16).unwrap();
            assert!(ready > 0, "{} still has processes after 10 s", self.path.display());
        }
    }
}

fn remove_tree(path: &Path) {
    if let Ok(entries) = fs::read_dir(path) {
        for entry in entries.flatten().filter(|it| it.file_type().is_ok_and(|kind| kind.is_dir())) {
            remove_tree(&entry.path());
        }
    }
    // A killed process may take a moment to leave; the directory is busy until then.
    for _ in 0..10_000 {
        match fs::remove_dir(path) {
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => std::thread::yield_now(),
            _ => return,
        }
    }
}
