//! Files of sandboxes, and of nothing else. A path is found by its run's own directory; what is behind that is resolved by
//! the kernel beneath the directory's descriptor, so that neither `..` nor a link that a task has made leads out of it.

use crate::checkpoint::layout;
use crate::node::effect::Run;
use crate::node::view::{ExecutorView, FrameworkView};
use crate::runtime::Agent;
use model::id::FrameworkId;
use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::stat::Mode;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

/// A file or directory that may be looked at.
#[derive(Debug)]
pub(super) struct Place {
    /// Of the run.
    directory: PathBuf,
    /// Below it.
    rest: PathBuf,
    /// As it was asked for, without a last `/`.
    pub(super) asked: String,
}

/// Why one may not.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Closed {
    /// No sandbox, or nothing there.
    NotFound,
    /// It leads out of the sandbox.
    Outside,
    Failed(Errno),
}

impl From<Errno> for Closed {
    fn from(errno: Errno) -> Self {
        match errno {
            Errno::ENOENT | Errno::ENOTDIR => Self::NotFound,
            Errno::EXDEV | Errno::ELOOP => Self::Outside,
            other => Self::Failed(other),
        }
    }
}

/// Paths lead in by the directory that `/state` shows, and by `/frameworks/F/executors/E/runs/{C,latest}`, which does not
/// depend on where the agent keeps its files.
pub(super) fn find(agent: &Agent, asked: &str) -> Result<Place, Closed> {
    let asked = asked.trim_end_matches('/');
    agent.look(|node| {
        let agent_id = node.agent_id().ok_or(Closed::NotFound)?;
        for framework in node.frameworks().chain(node.completed_frameworks()) {
            let framework_id = framework.info.framework_id.as_ref().ok_or(Closed::NotFound)?;
            if !asked.contains(framework_id.as_str()) {
                continue;
            }
            for executor in runs(&framework) {
                let run = run(framework_id, executor);
                let directory = layout::sandbox(&agent.config.work_dir, agent_id, &run);
                let above = directory.parent().expect("a run is in a directory");
                let shown = format!("/frameworks/{framework_id}/executors/{}/runs", run.executor_id);
                // The newest run of an executor comes first, which is what `latest` means.
                let names = [run.container_id.as_str(), "latest"];
                for prefix in
                    [above, Path::new(&shown)].iter().flat_map(|above| names.map(|name| above.join(name)))
                {
                    if let Ok(rest) = Path::new(asked).strip_prefix(&prefix) {
                        let (rest, asked) = (rest.to_owned(), asked.to_owned());
                        return Ok(Place { directory, rest, asked });
                    }
                }
            }
        }
        Err(Closed::NotFound)
    })
}

fn runs<'a>(framework: &'a FrameworkView<'a>) -> impl Iterator<Item = &'a ExecutorView<'a>> {
    framework.executors.iter().chain(framework.completed_executors.iter().rev())
}

fn run(framework_id: &FrameworkId, executor: &ExecutorView<'_>) -> Run {
    Run {
        framework_id: framework_id.clone(),
        executor_id: executor.info.executor_id.clone(),
        container_id: executor.container_id.clone(),
    }
}

impl Place {
    /// Opens it for reading. Blocks on the file system only; a FIFO does not hold it up.
    pub(super) fn open(&self) -> Result<File, Closed> {
        let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
        let root = nix::fcntl::open(
            &self.directory,
            OFlag::O_PATH | OFlag::O_CLOEXEC | OFlag::O_DIRECTORY,
            Mode::empty(),
        )?;
        let rest = if self.rest.as_os_str().is_empty() { Path::new(".") } else { &self.rest };
        Ok(File::from(open_beneath(root.as_fd(), rest, flags)?))
    }

    pub(super) fn name(&self) -> String {
        let name = self.rest.file_name().or_else(|| self.directory.file_name());
        name.map_or_else(String::new, |name| name.to_string_lossy().into_owned())
    }
}

fn open_beneath(root: std::os::fd::BorrowedFd<'_>, path: &Path, flags: OFlag) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_MAGICLINKS;
    // EAGAIN: something was renamed while the kernel looked; it asks to be asked again.
    for _ in 0..16 {
        match openat2(root, path, OpenHow::new().flags(flags).resolve(resolve)) {
            Err(Errno::EAGAIN) => {}
            other => return other,
        }
    }
    Err(Errno::EAGAIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_leads_out_of_a_sandbox() {
        let scratch = tempfile::tempdir().expect("a directory");
        let directory = scratch.path().join("run");
        std::fs::create_dir(&directory).expect("created");
        std::fs::write(directory.join("stdout"), "in").expect("written");
        std::fs::write(scratch.path().join("secret"), "out").expect("written");
        let link =
            |to: &str, name: &str| std::os::unix::fs::symlink(to, directory.join(name)).expect("linked");
        link("../secret", "up");
        link("/etc/passwd", "absolute");
        link("/proc/1/cwd/etc/passwd", "magic");
        link("stdout", "inside");
        let open = |rest: &str| {
            let place = Place { directory: directory.clone(), rest: rest.into(), asked: String::new() };
            place.open().map(|_| ())
        };
        assert_eq!(open("stdout"), Ok(()));
        assert_eq!(open("inside"), Ok(()));
        assert_eq!(open(""), Ok(()));
        for out in ["up", "absolute", "magic", "../secret", "x/../../secret", "/etc/passwd"] {
            assert!(matches!(open(out), Err(Closed::Outside | Closed::NotFound)), "{out}");
        }
        assert_eq!(open("../secret"), Err(Closed::Outside));
        assert_eq!(open("missing"), Err(Closed::NotFound));
    }
}
