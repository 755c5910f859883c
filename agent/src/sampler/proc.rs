//! Sums over a container's processes, from `/proc`: for what no controller counts. Each file is opened, read and closed:
//! processes come and go, and a held file of each would be two descriptors a process.

use std::fs;
use std::sync::LazyLock;

use super::parse;
use crate::accounting::sample::ProcSample;
use crate::sys::pidfd::Rusage;
use crate::sys::processes::{self, Stat};

/// Nanoseconds of one clock tick of `/proc/PID/stat`.
static TICK_NS: LazyLock<u64> = LazyLock::new(|| {
    let per_second = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK).ok().flatten();
    1_000_000_000 / per_second.filter(|&n| n > 0).map_or(100, i64::cast_unsigned)
});

/// Processes by number, as `cgroup.procs` lists them. About 50 µs each. Blocks.
pub(super) fn of_numbers(pids: &[i32]) -> ProcSample {
    sum(pids.iter().filter_map(|&pid| processes::stat(pid)))
}

/// Processes whose line was read already. Blocks.
pub(super) fn sum(members: impl IntoIterator<Item = Stat>) -> ProcSample {
    let mut total = ProcSample::default();
    for stat in members {
        let status = fs::read(format!("/proc/{}/status", stat.pid)).unwrap_or_default();
        let (rss, peak) = parse::resident(&status).unwrap_or((0, 0));
        // What its children used before it waited for them is in no other line of the sum.
        total.user_ns += (stat.user_ticks + stat.children_user_ticks) * *TICK_NS;
        total.system_ns += (stat.system_ticks + stat.children_system_ticks) * *TICK_NS;
        total.rss_bytes += rss;
        total.rss_peak_bytes += peak;
        total.processes_count += 1;
        total.threads_count += stat.threads_count;
    }
    total
}

/// What a container's first process left behind when it was reaped: itself and all that it had waited for.
pub(super) fn of_ended(usage: Rusage) -> ProcSample {
    ProcSample {
        user_ns: usage.user_us * 1000,
        system_ns: usage.system_us * 1000,
        rss_peak_bytes: usage.rss_peak_bytes,
        ..ProcSample::default()
    }
}
