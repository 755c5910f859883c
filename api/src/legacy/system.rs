//! The machine's own figures, for the metrics: read out of texts of the kernel that a shell hands in.

use super::Gauge;

/// What a shell has to read. A text that cannot be had is empty.
pub const LOADAVG: &str = "/proc/loadavg";
pub const MEMINFO: &str = "/proc/meminfo";
pub const CPUS_ONLINE: &str = "/sys/devices/system/cpu/online";

/// `system/*`, out of the texts at [`LOADAVG`], [`MEMINFO`] and [`CPUS_ONLINE`]. What they do not say is left out.
pub fn gauges(loadavg: &str, meminfo: &str, cpus_online: &str) -> Vec<Gauge> {
    let mut gauges = Vec::with_capacity(6);
    let mut put =
        |name: &'static str, value: Option<f64>| gauges.extend(value.map(|value| (name.into(), value)));
    let loads = loads(loadavg);
    put("system/load_1min", loads.first().copied());
    put("system/load_5min", loads.get(1).copied());
    put("system/load_15min", loads.get(2).copied());
    put("system/mem_total_bytes", bytes(meminfo, "MemTotal"));
    put("system/mem_free_bytes", bytes(meminfo, "MemFree"));
    put("system/cpus_total", cpus(cpus_online));
    gauges
}

/// The three averages of `/proc/loadavg`, over 1, 5 and 15 minutes.
fn loads(text: &str) -> Vec<f64> {
    text.split_whitespace().take(3).map_while(|load| load.parse().ok()).collect()
}

/// A line of `/proc/meminfo`, which counts in KiB.
fn bytes(text: &str, name: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some((kib * 1024) as f64)
}

/// How many are listed in `0-3,6`.
fn cpus(text: &str) -> Option<f64> {
    let count = |part: &str| {
        let (begin, end) = part.split_once('-').unwrap_or((part, part));
        let (begin, end): (u32, u32) = (begin.parse().ok()?, end.parse().ok()?);
        end.checked_sub(begin).map(|apart| f64::from(apart + 1))
    };
    text.trim().split(',').map(count).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_texts_are_understood() {
        assert_eq!(loads("10.17 9.19 8.90 2/512 12345\n"), [10.17, 9.19, 8.9]);
        assert_eq!(loads(""), [0.0; 0]);
        let memory = "MemTotal:       24684084 kB\nMemFree:         4440128 kB\n";
        assert_eq!(bytes(memory, "MemFree"), Some(4_546_691_072.0));
        assert_eq!(bytes(memory, "Mem"), None);
        assert_eq!(cpus("0-3,6\n"), Some(5.0));
        assert_eq!(cpus("0"), Some(1.0));
        assert_eq!(cpus(""), None);
    }
}
