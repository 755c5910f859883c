//! The texts of cgroup and `/proc` files as values. Reads nothing. A line it does not know is skipped: kernels add lines.

use crate::accounting::sample::{CpuStat, MemoryStat};

/// The number behind a key in a text of `key number` lines.
fn keyed(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok())
}

/// `cpu.stat`. `None` if even the usage is missing.
pub(super) fn cpu_stat(text: &str) -> Option<CpuStat> {
    let or_zero = |key| keyed(text, key).unwrap_or(0);
    Some(CpuStat {
        usage_us: keyed(text, "usage_usec")?,
        user_us: or_zero("user_usec"),
        system_us: or_zero("system_usec"),
        periods_count: or_zero("nr_periods"),
        throttled_count: or_zero("nr_throttled"),
        throttled_us: or_zero("throttled_usec"),
    })
}

/// `memory.stat`. `None` if it has none of the figures.
pub(super) fn memory_stat(text: &str) -> Option<MemoryStat> {
    Some(MemoryStat {
        anon_bytes: keyed(text, "anon")?,
        file_bytes: keyed(text, "file").unwrap_or(0),
        // Kernels before 5.18 have no sum of it; the slab is most of it there.
        kernel_bytes: keyed(text, "kernel").or_else(|| keyed(text, "slab")).unwrap_or(0),
    })
}

/// `memory.events`: processes that the OOM killer took.
pub(super) fn oom_kills(text: &str) -> Option<u64> {
    keyed(text, "oom_kill")
}

/// A file of one number, such as `memory.current`.
pub(super) fn number(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

/// `cgroup.procs`. A process of another pid namespace shows as 0 and is left out.
pub(super) fn processes(text: &str) -> Vec<i32> {
    text.lines().filter_map(|line| line.parse().ok()).filter(|&pid| pid > 0).collect()
}

/// `VmRSS` and `VmHWM` of `/proc/PID/status`, bytes. `None` for a process without memory: a zombie, a kernel thread.
pub(super) fn resident(status: &str) -> Option<(u64, u64)> {
    let kilobytes = |key: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(key))?;
        line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()
    };
    let now = kilobytes("VmRSS:")?;
    Some((now * 1024, kilobytes("VmHWM:").unwrap_or(now) * 1024))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_stat_with_and_without_the_controller() {
        // Linux 6.18, no cpu controller.
        let bare = "usage_usec 3004567\nuser_usec 2000000\nsystem_usec 1004567\nnice_usec 0\ncore_sched.force_idle_usec 0\n";
        let expect =
            CpuStat { usage_us: 3004567, user_us: 2000000, system_us: 1004567, ..CpuStat::default() };
        assert_eq!(cpu_stat(bare), Some(expect));
        let full = format!(
            "{bare}nr_periods 40\nnr_throttled 12\nthrottled_usec 345678\nnr_bursts 0\nburst_usec 0\n"
        );
        let expect = CpuStat { periods_count: 40, throttled_count: 12, throttled_us: 345678, ..expect };
        assert_eq!(cpu_stat(&full), Some(expect));
        assert_eq!(cpu_stat(""), None);
        assert_eq!(cpu_stat("usage_usec many\n"), None);
    }

    #[test]
    fn memory_stat_takes_whole_keys_only() {
        let text =
            "anon 1228800\nfile 4096\nkernel 61440\nkernel_stack 16384\nfile_mapped 77\nanon_thp 0\nslab 9\n";
        let expect = MemoryStat { anon_bytes: 1228800, file_bytes: 4096, kernel_bytes: 61440 };
        assert_eq!(memory_stat(text), Some(expect));
        // Linux 5.15 says no sum of the kernel's memory.
        let old = "file_mapped 77\nanon 1\nfile 2\nkernel_stack 16384\nslab 9\n";
        assert_eq!(memory_stat(old), Some(MemoryStat { anon_bytes: 1, file_bytes: 2, kernel_bytes: 9 }));
        assert_eq!(memory_stat(""), None);
    }

    #[test]
    fn events_numbers_and_processes() {
        let events = "low 0\nhigh 0\nmax 31\noom 2\noom_kill 1\noom_group_kill 1\n";
        assert_eq!(oom_kills(events), Some(1));
        assert_eq!(oom_kills("low 0\n"), None);
        assert_eq!(number("1048576\n"), Some(1 << 20));
        assert_eq!(number("max\n"), None);
        assert_eq!(processes("17\n0\n42\n"), [17, 42]);
        assert!(processes("").is_empty());
    }

    #[test]
    fn status_of_a_process_and_of_a_zombie() {
        let text = "Name:\tsleep\nState:\tS (sleeping)\nVmPeak:\t    5680 kB\nVmHWM:\t    1036 kB\nVmRSS:\t    1024 kB\n\
                    RssAnon:\t      92 kB\nThreads:\t1\n";
        assert_eq!(resident(text), Some((1024 * 1024, 1036 * 1024)));
        assert_eq!(resident("Name:\tsleep\nState:\tZ (zombie)\nThreads:\t1\n"), None);
    }
}
