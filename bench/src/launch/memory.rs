//! What a container costs in memory besides its task: by proportional share (PSS), in which a page that N processes map
//! counts a Nth with each, and by what only it has. What the kernel keeps of a process (stacks, page tables) is counted
//! apart, for all processes of the machine.

use std::path::Path;

use anyhow::Context;

use crate::clock;

/// Of the inits and the command executors of an agent's containers, added up.
#[derive(Default)]
pub(super) struct Memory {
    pub(super) inits: Group,
    pub(super) executors: Group,
}

#[derive(Default)]
pub(super) struct Group {
    pub(super) count: usize,
    pub(super) pss_bytes: u64,
    pub(super) private_bytes: u64,
    pub(super) resident_bytes: u64,
}

impl Memory {
    /// Of everything in the cgroups below this one.
    pub(super) fn below(cgroup: &Path) -> anyhow::Result<Self> {
        let mut memory = Self::default();
        let groups = std::fs::read_dir(cgroup).with_context(|| format!("read {}", cgroup.display()))?;
        for group in groups {
            let Ok(processes) = std::fs::read_to_string(group?.path().join("cgroup.procs")) else { continue };
            for pid in processes.lines() {
                // It may end while it is looked at; then it is none of those that stay.
                let Ok(name) = std::fs::read_to_string(format!("/proc/{pid}/comm")) else { continue };
                let Ok(figures) = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")) else {
                    continue;
                };
                let group = match name.trim_end() {
                    "ingot-init" => &mut memory.inits,
                    name if name.starts_with("ingot-") => &mut memory.executors,
                    _ => continue,
                };
                group.add(&figures);
            }
        }
        Ok(memory)
    }

    pub(super) fn pss_bytes(&self) -> u64 {
        self.inits.pss_bytes + self.executors.pss_bytes
    }
}

impl Group {
    fn add(&mut self, figures: &str) {
        let kib = |name: &str| -> u64 {
            let line = figures.lines().find(|line| line.split(':').next() == Some(name));
            line.and_then(|line| line.split_ascii_whitespace().nth(1)?.parse().ok()).unwrap_or(0)
        };
        self.count += 1;
        self.pss_bytes += kib("Pss") << 10;
        self.private_bytes += (kib("Private_Clean") + kib("Private_Dirty")) << 10;
        self.resident_bytes += kib("Rss") << 10;
    }

    pub(super) fn each(&self) -> serde_json::Value {
        let kib = |bytes: u64| bytes as f64 / 1024.0 / self.count.max(1) as f64;
        serde_json::json!({
            "count": self.count,
            "pss_kib": kib(self.pss_bytes),
            "private_kib": kib(self.private_bytes),
            "resident_kib": kib(self.resident_bytes),
        })
    }
}

/// What the kernel keeps for processes, all of the machine's: their stacks and page tables, bytes.
pub(super) fn kernel_bytes() -> anyhow::Result<u64> {
    let of = |name| clock::bytes_in("/proc/meminfo", name);
    Ok(of("KernelStack")? + of("PageTables")?)
}
