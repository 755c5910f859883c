//! What a scenario reports: where it ran, its bars, and the rest of its figures.

use crate::clock;
use serde::Serialize;
use std::fmt;

#[derive(Serialize)]
pub(crate) struct Report {
    scenario: &'static str,
    machine: String,
    kernel: String,
    rustc: &'static str,
    commit: String,
    bars: Vec<Bar>,
    detail: serde_json::Map<String, serde_json::Value>,
}

/// A figure with a mark it should reach.
#[derive(Serialize)]
struct Bar {
    name: String,
    /// `None`: it could not be measured here.
    value: Option<f64>,
    unit: &'static str,
    bar: f64,
    better: Better,
    ok: bool,
    /// Why there is no value. What was not measured is not ok.
    #[serde(skip_serializing_if = "Option::is_none")]
    not_measured: Option<String>,
}

/// A mark, before anything has been measured.
#[derive(Clone, Copy)]
pub(crate) struct Goal {
    pub(crate) name: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) better: Better,
    pub(crate) bar: f64,
}

#[derive(Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Better {
    Lower,
    Higher,
}

impl Report {
    pub(crate) fn new(scenario: &'static str) -> Self {
        Self {
            scenario,
            machine: machine(),
            kernel: read("/proc/sys/kernel/osrelease"),
            rustc: env!("RUSTC_VERSION"),
            commit: commit(),
            bars: Vec::new(),
            detail: serde_json::Map::new(),
        }
    }

    pub(crate) fn bar(&mut self, name: &str, value: f64, unit: &'static str, (better, bar): (Better, f64)) {
        let ok = if better == Better::Lower { value <= bar } else { value >= bar };
        let name = name.into();
        self.bars.push(Bar { name, value: Some(value), unit, bar, better, ok, not_measured: None });
    }

    /// What came of a goal: its value, or why there is none.
    pub(crate) fn goal(&mut self, goal: &Goal, value: Result<f64, String>) {
        let Goal { name, unit, better, bar } = *goal;
        match value {
            Ok(value) => self.bar(name, value, unit, (better, bar)),
            Err(reason) => self.bars.push(Bar {
                name: name.into(),
                value: None,
                unit,
                bar,
                better,
                ok: false,
                not_measured: Some(reason),
            }),
        }
    }

    pub(crate) fn detail(&mut self, name: &str, value: impl Into<serde_json::Value>) {
        self.detail.insert(name.into(), value.into());
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { scenario, machine, kernel, rustc, commit, .. } = self;
        writeln!(f, "{scenario} on {machine}, Linux {kernel}, {rustc}, commit {commit}")?;
        for Bar { name, value, unit, bar, better, ok, not_measured } in &self.bars {
            let side = if *better == Better::Lower { "<=" } else { ">=" };
            let mark = if *ok { "ok  " } else { "MISS" };
            match value {
                Some(value) => {
                    writeln!(f, "  {mark} {name:<62} {value:>14.3} {unit:<6} (bar: {side} {bar} {unit})")?;
                }
                None => {
                    let why = not_measured.as_deref().unwrap_or_default();
                    writeln!(f, "  ---- {name:<62} not measured: {why} (bar: {side} {bar} {unit})")?;
                }
            }
        }
        for (name, value) in &self.detail {
            writeln!(f, "       {name:<62} {value}")?;
        }
        Ok(())
    }
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).map_or_else(|_| "unknown".into(), |text| text.trim().into())
}

/// The processor and how many of them, and memory.
fn machine() -> String {
    let cpus = read("/proc/cpuinfo");
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or(": unknown");
    let model = model.trim_start_matches([' ', '\t', ':']);
    let count = std::thread::available_parallelism().map_or(0, usize::from);
    let bytes = clock::bytes_in("/proc/meminfo", "MemTotal").unwrap_or(0);
    format!("{count} x {model}, {} GiB", bytes.div_ceil(1 << 30))
}

/// Of the working directory; a `+` says that there are changes besides.
fn commit() -> String {
    let git = |arguments: &[&str]| {
        let output = std::process::Command::new("git").args(arguments).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let Some(commit) = git(&["rev-parse", "--short", "HEAD"]) else { return "unknown".into() };
    let is_clean = git(&["status", "--porcelain"]).is_some_and(|changes| changes.is_empty());
    if is_clean { commit } else { commit + "+" }
}
