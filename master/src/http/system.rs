//! The machine's own figures, for the metrics: read from `/proc` and `/sys` when asked, a few microseconds each time.

use super::legacy::Gauge;
use std::fs;

/// `system/*`. What cannot be read is left out, and so shown as zero.
pub fn gauges() -> Vec<Gauge> {
    let mut gauges = Vec::with_capacity(6);
    let mut put =
        |name: &'static str, value: Option<f64>| gauges.extend(value.map(|value| (name.into(), value)));
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let loads = loads(&read("/proc/loadavg"));
    put("system/load_1min", loads.first().copied());
    put("system/load_5min", loads.get(1).copied());
    put("system/load_15min", loads.get(2).copied());
    let memory = read("/proc/meminfo");
    put("system/mem_total_bytes", bytes(&memory, "MemTotal"));
    put("system/mem_free_bytes", bytes(&memory, "MemFree"));
    put("system/cpus_total", cpus(&read("/sys/devices/system/cpu/online")));
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

    #[test]
    fn this_machine_has_figures() {
        let gauges = gauges();
        assert_eq!(gauges.len(), 6, "{gauges:?}");
        assert!(gauges.iter().all(|(name, value)| *value >= 0.0 && name.starts_with("system/")));
    }
}
