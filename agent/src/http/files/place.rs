//! Where a path leads: into the sandbox of one run, or to the log. Nothing else can be asked for.

use super::super::Facts;
use crate::checkpoint::layout;
use std::ffi::OsStr;
use std::path::{Component, Path, PathBuf};

/// The path that stands for the agent's log, whatever file that is.
const LOG: &str = "/slave/log";

/// What a path names. Whether it is there is found out when it is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Log(PathBuf),
    Sandbox {
        /// The folder of all sandboxes.
        top: PathBuf,
        /// The sandbox, below it. Its last part may be `latest`, a link that the agent keeps.
        run: PathBuf,
        /// The file, below that: whatever the asker wrote.
        rest: PathBuf,
    },
}

impl Place {
    /// Sandboxes are asked for by the directory that `/state` shows, or, without knowing where the agent keeps them, by
    /// `/frameworks/F/executors/E/runs/latest`.
    pub(super) fn of(asked: &str, facts: &Facts<'_>) -> Option<Self> {
        if asked == LOG {
            return facts.log.map(|path| Self::Log(path.to_owned()));
        }
        let top = layout::sandboxes(facts.work_dir);
        let below = match Path::new(asked).strip_prefix(&top) {
            Ok(below) => below.to_owned(),
            Err(_) => Path::new(facts.known.agent_id?.as_str()).join(asked.strip_prefix('/')?),
        };
        let (run, rest) = split(&below)?;
        Some(Self::Sandbox { top, run, rest })
    }

    /// The last part of its name.
    pub(super) fn name(&self) -> String {
        let path = match self {
            Self::Log(path) => path,
            Self::Sandbox { run, rest, .. } if rest.as_os_str().is_empty() => run,
            Self::Sandbox { rest, .. } => rest,
        };
        path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }
}

/// The parts of `<agent>/frameworks/F/executors/E/runs/C`, and what is behind it.
const RUN_PARTS: [Option<&str>; 7] =
    [None, Some("frameworks"), None, Some("executors"), None, Some("runs"), None];

fn split(below: &Path) -> Option<(PathBuf, PathBuf)> {
    let mut parts = below.components();
    let mut run = PathBuf::new();
    for expected in RUN_PARTS {
        match parts.next()? {
            Component::Normal(part) if expected.is_none_or(|name| part == OsStr::new(name)) => run.push(part),
            _ => return None,
        }
    }
    Some((run, parts.as_path().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_in_a_run_has_a_place() {
        let split = |path: &str| {
            let (run, rest) = split(Path::new(path))?;
            Some((run.to_str().expect("text").to_owned(), rest.to_str().expect("text").to_owned()))
        };
        let run = "S/frameworks/F/executors/E/runs/C";
        for (rest, expect) in [("", ""), ("/stdout", "stdout"), ("/a/../..", "a/../.."), ("/./a//b", "a//b")]
        {
            let got = split(&format!("{run}{rest}"));
            assert_eq!(
                got.map(|(got, rest)| (got == run, PathBuf::from(rest))),
                Some((true, PathBuf::from(expect))),
                "{rest}"
            );
        }
        for path in [
            "",
            "S",
            "S/frameworks/F/executors/E/runs",
            "S/frameworks/F/executors/E/tasks/C",
            "S/frameworks/../executors/E/runs/C",
            "../S/frameworks/F/executors/E/runs/C",
            "/S/frameworks/F/executors/E/runs/C",
        ] {
            assert_eq!(split(path), None, "{path}");
        }
    }
}
