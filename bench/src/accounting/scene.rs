//! Where the measurements take place: a cgroup directory of this run's own, removed by the janitor whatever happens.

use std::cell::RefCell;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use ingot_agent::bpf::{Bpf, Figure};

use super::janitor::Janitor;
use super::needs;

pub(super) struct Scene {
    /// How long a timed measurement lasts.
    pub(super) time: Duration,
    janitor: RefCell<Option<Janitor>>,
}

impl Scene {
    pub(super) fn new(time: Duration) -> anyhow::Result<Self> {
        Ok(Self { time, janitor: RefCell::new(None) })
    }

    /// A new cgroup directory for a part's containers.
    pub(super) fn directory(&self, part: &str) -> anyhow::Result<PathBuf> {
        let root = needs::cgroup2_root().context("no cgroup v2 hierarchy is mounted")?;
        let root = root.join(format!("ingot-bench-{}", std::process::id()));
        let mut janitor = self.janitor.borrow_mut();
        if janitor.is_none() {
            let mut new = Janitor::start()?;
            new.expect(&root)?;
            *janitor = Some(new);
        }
        let directory = root.join(part);
        fs::create_dir_all(&directory).with_context(|| format!("make cgroup {}", directory.display()))?;
        Ok(directory)
    }

    /// The same, with the agent's programs attached to it.
    ///
    /// # Errors
    /// One of the figures cannot be had by BPF here; the error says why.
    pub(super) fn counted(&self, part: &str, figures: &[Figure]) -> anyhow::Result<(Bpf, PathBuf)> {
        let directory = self.directory(part)?;
        let (bpf, support) = Bpf::open(&directory);
        for figure in figures {
            if let Some(reason) = support.missing(*figure) {
                anyhow::bail!("the programs do not count `{}` here: {reason}", figure.as_str());
            }
        }
        Ok((bpf, directory))
    }
}
