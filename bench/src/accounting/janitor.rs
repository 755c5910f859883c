//! Removes what the bench has made, however the bench ends. It is a process of its own, out of reach of Ctrl-C: it is told
//! of each thing before that is made, and starts its work when the pipe to it closes, which the bench's death does too.

use std::fs;
use std::io::{BufRead, Write};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

use anyhow::Context;
use nix::poll::{PollFd, PollFlags, poll};

/// Tries to remove a cgroup, so long apart unless the kernel tells sooner of its processes' end: five seconds.
const TRIES_MAX: u32 = 250;
const LOOK_MS: u8 = 20;

/// The bench's end of it. Dropping it has the work done, and waits for that.
pub(super) struct Janitor {
    process: Child,
    pipe: Option<ChildStdin>,
}

impl Janitor {
    pub(super) fn start() -> anyhow::Result<Self> {
        let mut process = Command::new(std::env::current_exe()?)
            .arg("janitor")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            // A group of its own: the terminal's signals go to the bench's.
            .process_group(0)
            .spawn()
            .context("start the janitor")?;
        let pipe = process.stdin.take();
        Ok(Self { process, pipe })
    }

    /// From now on this directory will be removed: a cgroup with all below it, its processes killed first.
    pub(super) fn expect(&mut self, directory: &Path) -> anyhow::Result<()> {
        let pipe = self.pipe.as_mut().expect("open until it is dropped");
        writeln!(pipe, "{}", directory.display()).context("tell the janitor")
    }
}

impl Drop for Janitor {
    fn drop(&mut self) {
        drop(self.pipe.take());
        let _ = self.process.wait();
    }
}

/// The janitor's own side: hears of directories until the pipe closes, then removes them, the last one first.
pub(crate) fn run() -> anyhow::Result<()> {
    let told: Vec<PathBuf> =
        std::io::stdin().lock().lines().map_while(Result::ok).map(PathBuf::from).collect();
    told.iter().rev().for_each(|directory| clear(directory));
    Ok(())
}

/// Kills what is left below a cgroup and removes it. A process that was killed may still be dying when the kernel says
/// that nobody is there, so the removal is tried until it succeeds.
pub(super) fn clear(cgroup: &Path) {
    for _ in 0..TRIES_MAX {
        let _ = fs::write(cgroup.join("cgroup.kill"), "1");
        remove_tree(cgroup);
        let Ok(events) = fs::File::open(cgroup.join("cgroup.events")) else { return };
        let _ = poll(&mut [PollFd::new(events.as_fd(), PollFlags::POLLPRI)], LOOK_MS);
    }
    eprintln!("ingot-bench: {} could not be removed", cgroup.display());
}

fn remove_tree(directory: &Path) {
    let below = fs::read_dir(directory).into_iter().flatten().flatten();
    below.filter(|entry| entry.path().is_dir()).for_each(|entry| remove_tree(&entry.path()));
    let _ = fs::remove_dir(directory);
}
