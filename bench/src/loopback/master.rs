//! The master under test: a process of its own, measured from outside.

use std::net::SocketAddrV4;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use serde_json::Value;
use sim::processes::{Cluster, Options, Ports};

use crate::{clock, daemons};

pub(crate) struct Master {
    runtime: tokio::runtime::Runtime,
    cluster: Cluster,
    pub(crate) address: SocketAddrV4,
    pid: u32,
}

impl Master {
    /// Starts it and waits until it answers.
    pub(crate) fn start(flags: &[&str]) -> anyhow::Result<Self> {
        Self::start_with(None, flags)
    }

    /// The same in a folder that may have the registry of an earlier one, below `master`.
    pub(crate) fn start_in(folder: &Path, flags: &[&str]) -> anyhow::Result<Self> {
        Self::start_with(Some(folder.to_owned()), flags)
    }

    fn start_with(folder: Option<PathBuf>, flags: &[&str]) -> anyhow::Result<Self> {
        let options = Options {
            programs: daemons::programs_with(&["ingot-master"])?,
            folder,
            ports: Ports::Free,
            agents: 0,
            resources: String::new(),
            // What every session and task is told at INFO is not what is measured.
            master_flags: ["--log", "warn"].iter().chain(flags).map(|flag| (*flag).to_owned()).collect(),
            agent_flags: Vec::new(),
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let cluster = runtime.block_on(Cluster::start_master(options))?;
        let address = cluster.master().to_string().parse().context("the master's address")?;
        let pid = cluster.master_process().context("the master has ended")?;
        Ok(Self { runtime, cluster, address, pid })
    }

    /// By its own clock: all its threads.
    pub(crate) fn cpu(&self) -> anyhow::Result<Duration> {
        Ok(clock::cpu_of_process(self.pid)?)
    }

    /// In RAM, bytes.
    pub(crate) fn resident_bytes(&self) -> anyhow::Result<u64> {
        clock::bytes_in(&format!("/proc/{}/status", self.pid), "VmRSS")
    }

    /// Runs a client of it to its end.
    pub(crate) fn block_on<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }

    pub(crate) fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.runtime.block_on(self.cluster.get(path))
    }

    /// CPU time of each of its threads, seconds, by name; those that used none are left out.
    pub(crate) fn threads(&self) -> anyhow::Result<Vec<(String, f64)>> {
        let mut threads = Vec::new();
        for thread in std::fs::read_dir(format!("/proc/{}/task", self.pid))? {
            // A thread may end while it is looked at.
            let Ok(text) = std::fs::read_to_string(thread?.path().join("stat")) else { continue };
            let (Some(open), Some(close)) = (text.find('('), text.rfind(')')) else { continue };
            let fields: Vec<_> = text[close + 1..].split_ascii_whitespace().collect();
            // User and system time, hundredths of a second; state is the first field behind the name.
            let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
            threads.push((text[open + 1..close].to_owned(), (ticks(11) + ticks(12)) / 100.0));
        }
        threads.retain(|(_, seconds)| *seconds > 0.0);
        Ok(threads)
    }

    /// An error, with the end of its log, if it does not run any more.
    pub(crate) fn check(&mut self) -> anyhow::Result<()> {
        self.cluster.check()
    }
}

/// What each thread used since `before`, seconds, as one object.
pub(crate) fn threads_since(before: &[(String, f64)], now: &[(String, f64)]) -> Value {
    let used = |name: &str, list: &[(String, f64)]| {
        list.iter().filter(|(other, _)| other == name).map(|(_, seconds)| seconds).sum::<f64>()
    };
    let names: std::collections::BTreeSet<_> = now.iter().map(|(name, _)| name.clone()).collect();
    names
        .into_iter()
        .map(|name| (name.clone(), Value::from(used(&name, now) - used(&name, before))))
        .collect()
}
