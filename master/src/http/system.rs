//! The machine's own figures, for the metrics: read from `/proc` and `/sys` when asked, a few microseconds each time.

use super::legacy::Gauge;
use api::exposition::process::{self, Texts};
use api::legacy::system;
use std::fs;

/// `system/*`. What cannot be read is left out, and so shown as zero.
pub fn gauges() -> Vec<Gauge> {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    system::gauges(&read(system::LOADAVG), &read(system::MEMINFO), &read(system::CPUS_ONLINE))
}

/// What this process itself uses.
pub fn process() -> Texts {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    Texts {
        stat: read(process::STAT),
        status: read(process::STATUS),
        limits: read(process::LIMITS),
        files: fs::read_dir(process::FILES).ok().map(Iterator::count),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_figures() {
        let gauges = gauges();
        assert_eq!(gauges.len(), 6, "{gauges:?}");
        assert!(gauges.iter().all(|(name, value)| *value >= 0.0 && name.starts_with("system/")));
    }
}
