//! What a container's cgroup says of limits that were met, read when it has ended and before its group goes.
//! (Kernel doc: Documentation/admin-guide/cgroup-v2.rst, `memory.events` and `memory.events.local`.)

use std::path::Path;

/// Of a memory limit. Counts are since the group was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryMet {
    /// How often this very group was at its limit and nothing could be reclaimed. Not where one below it was, nor where the
    /// whole machine was out of memory.
    pub limit_met_count: u64,
    /// Processes of the group, and of those below it, that the kernel killed, for whatever want of memory.
    pub kills_count: u64,
    /// `None`: it has no limit.
    pub limit_bytes: Option<u64>,
    /// The most that was in use at once; `None` before Linux 5.19.
    pub peak_bytes: Option<u64>,
}

/// `None` where the group's memory is not counted.
pub fn memory(group: &Path) -> Option<MemoryMet> {
    let read = |file: &str| std::fs::read_to_string(group.join(file)).ok();
    let events = read("memory.events")?;
    let local = read("memory.events.local")?;
    Some(MemoryMet {
        limit_met_count: count(&local, "oom"),
        kills_count: count(&events, "oom_kill"),
        limit_bytes: read("memory.max").and_then(|text| text.trim().parse().ok()),
        peak_bytes: read("memory.peak").and_then(|text| text.trim().parse().ok()),
    })
}

fn count(text: &str, key: &str) -> u64 {
    let value = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.parse().ok());
    value.unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ones_own_limit_is_told_from_those_below_and_from_the_machines() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let write = |file: &str, text: &str| std::fs::write(folder.path().join(file), text).expect("write");
        assert_eq!(memory(folder.path()), None);
        write("memory.events", "low 0\nhigh 0\nmax 12\noom 3\noom_kill 2\noom_group_kill 1\n");
        write("memory.events.local", "low 0\nhigh 0\nmax 12\noom 1\noom_kill 0\noom_group_kill 1\n");
        write("memory.max", "100663296\n");
        let met =
            MemoryMet { limit_met_count: 1, kills_count: 2, limit_bytes: Some(96 << 20), peak_bytes: None };
        assert_eq!(memory(folder.path()), Some(met));
        write("memory.max", "max\n");
        write("memory.peak", "100659200\n");
        let free = MemoryMet { limit_bytes: None, peak_bytes: Some((96 << 20) - 4096), ..met };
        assert_eq!(memory(folder.path()), Some(free));
    }
}
