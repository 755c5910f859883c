//! What is measured and how: CPU time of this thread, wall time, resident memory, and the distribution of many times.
#![expect(clippy::disallowed_methods, reason = "measuring is looking at clocks")]

use anyhow::Context;
use nix::time::{ClockId, clock_gettime};
use std::time::{Duration, Instant};

/// CPU time that this thread has used.
pub(crate) fn thread_cpu() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).expect("Linux has this clock").into()
}

/// CPU time that all threads of this process have used, those among them that the kernel made for it.
pub(crate) fn process_cpu() -> Duration {
    clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).expect("Linux has this clock").into()
}

/// The same of another process.
pub(crate) fn cpu_of_process(pid: u32) -> nix::Result<Duration> {
    let pid = nix::unistd::Pid::from_raw(pid.cast_signed());
    Ok(clock_gettime(nix::time::clock_getcpuclockid(pid)?)?.into())
}

pub(crate) fn now() -> Instant {
    Instant::now()
}

/// The wall clock, as agents tell it.
pub(crate) fn unix() -> model::time::UnixTime {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    model::time::UnixTime(since.as_micros() as u64)
}

/// Sleeps until a moment; returns at once if that is past.
pub(crate) fn wait_until(moment: Instant) {
    std::thread::sleep(moment.saturating_duration_since(Instant::now()));
}

/// What `work` returns, and the CPU time that this thread spent on it.
pub(crate) fn cpu_of<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let before = thread_cpu();
    let result = work();
    (result, thread_cpu() - before)
}

/// Memory of this process in RAM, bytes.
pub(crate) fn resident_bytes() -> u64 {
    bytes_in("/proc/self/status", "VmRSS").unwrap_or(0)
}

/// A figure that a file of /proc tells in a line of its own, in kB; as bytes.
pub(crate) fn bytes_in(path: &str, name: &str) -> anyhow::Result<u64> {
    let text = std::fs::read_to_string(path).with_context(|| format!("read {path}"))?;
    let mut lines = text.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let kib = lines.next().and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    Ok(kib.with_context(|| format!("{path} without {name}"))? * 1024)
}

/// Times of single operations, all kept: percentiles are exact.
#[derive(Default)]
pub(crate) struct Times {
    ns: Vec<u64>,
}

impl Times {
    pub(crate) fn with_capacity(count: usize) -> Self {
        Self { ns: Vec::with_capacity(count) }
    }

    pub(crate) fn add(&mut self, time: Duration) {
        self.ns.push(time.as_nanos() as u64);
    }

    pub(crate) fn sorted(mut self) -> SortedTimes {
        self.ns.sort_unstable();
        SortedTimes { ns: self.ns }
    }
}

pub(crate) struct SortedTimes {
    ns: Vec<u64>,
}

impl SortedTimes {
    /// The least time that at least so many thousandths of all are not above; microseconds. Zero when there is none.
    pub(crate) fn us(&self, per_mille: usize) -> f64 {
        let at = (self.ns.len() * per_mille).div_ceil(1000).saturating_sub(1);
        self.ns.get(at).copied().unwrap_or(0) as f64 / 1000.0
    }

    pub(crate) fn count(&self) -> usize {
        self.ns.len()
    }

    pub(crate) fn summary(&self) -> serde_json::Value {
        serde_json::json!({
            "count": self.ns.len(),
            "p50_us": self.us(500),
            "p99_us": self.us(990),
            "p999_us": self.us(999),
            "max_us": self.us(1000),
        })
    }
}
