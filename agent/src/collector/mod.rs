//! Deletes what is over: sandboxes and checkpoints of executors that ended, and of earlier agents. `core` decides what and
//! when; a thread finds it, looks at the disk, and deletes. [`crate::runtime`] is between them.

pub mod core;
pub mod item;
pub mod remove;
mod scan;

use self::core::Disk;
use self::item::Item;
use self::remove::remove_tree;
use crate::checkpoint::layout::{self, Meta};
use model::id::AgentId;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::{Duration, SystemTime};
use tokio::sync::mpsc::UnboundedSender;

/// What the thread is asked to do, in this order.
#[derive(Debug)]
pub enum Job {
    /// Note in the file system that this is over now, for a later life of the agent.
    Mark(Item),
    Remove(Item),
    Measure,
    /// Look for what was left. `current`: whose checkpoint the agent lives by.
    Scan {
        current: Option<AgentId>,
    },
}

/// What it answers.
#[derive(Debug)]
pub enum Report {
    Removed {
        item: Item,
        is_gone: bool,
    },
    Disk(Option<Disk>),
    /// By how long ago each was changed, milliseconds.
    Found(BTreeMap<Item, u64>),
}

/// Starts the thread. It ends when nobody can ask any more.
pub fn start(work_dir: PathBuf, reports: UnboundedSender<Report>) -> io::Result<mpsc::Sender<Job>> {
    let (jobs, queue) = mpsc::channel();
    let work = move || {
        for job in queue {
            let Some(report) = carry_out(&work_dir, job) else { continue };
            if reports.send(report).is_err() {
                return;
            }
        }
    };
    std::thread::Builder::new().name("collector".to_owned()).spawn(work)?;
    Ok(jobs)
}

fn carry_out(work_dir: &Path, job: Job) -> Option<Report> {
    Some(match job {
        Job::Mark(item) => {
            mark(work_dir, &item);
            return None;
        }
        Job::Remove(item) => Report::Removed { is_gone: remove(work_dir, &item), item },
        Job::Measure => Report::Disk(measure(work_dir)),
        Job::Scan { current } => Report::Found(ages(scan::scan(work_dir, current.as_ref()))),
    })
}

/// What cannot be seen or has a time to come is new.
#[expect(clippy::disallowed_methods, reason = "how old files are is a question to the wall clock")]
fn ages(found: BTreeMap<Item, Option<SystemTime>>) -> BTreeMap<Item, u64> {
    let now = SystemTime::now();
    let age_ms = |changed: Option<SystemTime>| {
        let age = changed.and_then(|changed| now.duration_since(changed).ok()).unwrap_or(Duration::ZERO);
        u64::try_from(age.as_millis()).unwrap_or(u64::MAX)
    };
    found.into_iter().map(|(item, changed)| (item, age_ms(changed))).collect()
}

fn mark(work_dir: &Path, item: &Item) {
    use nix::sys::stat::{UtimensatFlags, utimensat};
    use nix::sys::time::TimeSpec;
    let Item::Run { agent_id, run } = item else { return };
    let path = layout::sandbox(work_dir, agent_id, run);
    let (now, flag) = (TimeSpec::UTIME_NOW, UtimensatFlags::NoFollowSymlink);
    // Without a sandbox the checkpoint's own time has to do.
    let _ = utimensat(nix::fcntl::AT_FDCWD, &path, &now, &now, flag);
}

/// The file system that the folder is on.
pub(crate) fn measure(work_dir: &Path) -> Option<Disk> {
    let stat = match nix::sys::statvfs::statvfs(work_dir) {
        Ok(stat) => stat,
        Err(errno) => {
            tracing::error!(%errno, folder = %work_dir.display(), "how full a disk is cannot be seen");
            return None;
        }
    };
    let unit = stat.fragment_size();
    let (total, free) = (stat.blocks() * unit, stat.blocks_free() * unit);
    Some(Disk { total, used: total.saturating_sub(free) })
}

/// Whether nothing of it is left.
fn remove(work_dir: &Path, item: &Item) -> bool {
    let gone = |path: &Path| match remove_tree(path) {
        Ok(()) => {
            tracing::debug!(path = %path.display(), "deleted");
            true
        }
        Err(error) => {
            tracing::warn!(%error, path = %path.display(), "cannot be deleted as a whole; tried again later");
            false
        }
    };
    match item {
        Item::Run { agent_id, run } => {
            let is_sandbox_gone = gone(&layout::sandbox(work_dir, agent_id, run));
            let meta = Meta::of(work_dir).run(agent_id, run);
            // First, or half a checkpoint would be taken for one of a run that goes on.
            let _ = std::fs::remove_file(meta.join(layout::EXECUTOR_INFO));
            gone(&meta) && is_sandbox_gone
        }
        Item::Task { agent_id, run, task_id } => {
            let folder = Meta::of(work_dir).task(agent_id, run, task_id);
            // First, or a task without its updates would be taken for one that nobody has heard of yet.
            let _ = std::fs::remove_file(folder.join(layout::TASK_INFO));
            gone(&folder)
        }
        Item::Tree(path) => gone(path),
        // Its emptiness is all there is to it: see `prune`.
        Item::Branch(_) => true,
    }
}

/// Removes a folder and those above it as long as nothing is in them, up to `root`. Links to the newest run go with the
/// last run. Blocks for a few calls; whoever makes such folders must not do so meanwhile.
pub fn prune(folder: &Path, root: &Path) {
    for path in folder.ancestors().take_while(|path| path.starts_with(root) && *path != root) {
        let latest = path.join("latest");
        let is_dangling = latest.is_symlink() && !latest.exists();
        if is_dangling {
            let _ = std::fs::remove_file(&latest);
        }
        match std::fs::remove_dir(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests;
