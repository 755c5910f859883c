//! Resident memory of a container as the programs count it, held against the kernel's own figure: the sum over its
//! processes of what their page tables hold (`smaps_rollup`; `VmRSS` in `status` leaves out what the kernel has yet to
//! add up, some pages a CPU). At each step of the workload everything in the container stands still.

use std::fs;

use ingot_agent::bpf::Figure;
use serde_json::json;

use super::container::Container;
use super::needs::COUNTED_CONTAINERS;
use super::scene::Scene;
use super::{Findings, Part};
use crate::clock;
use crate::report::{Better, Goal};

const NEAR: Goal = Goal {
    name: "resident memory, worst step, of what is allowed (1 % or 1 MiB)",
    unit: "%",
    better: Better::Lower,
    bar: 100.0,
};

pub(super) const PART: Part = Part { name: "memory", needs: COUNTED_CONTAINERS, goals: &[NEAR], run };

const MIB: u64 = 1 << 20;

fn run(scene: &Scene, findings: &mut Findings) -> anyhow::Result<()> {
    let (mut bpf, directory) = scene.counted("memory", &[Figure::Memory, Figure::MemoryExact])?;
    let container = Container::counted(&mut bpf, &directory, "grows")?;
    let mut process = container.start("grow --mib 64")?;
    let (mut worst, mut peak) = (0.0_f64, 0);
    loop {
        let step = process.hear()?;
        if step == "done" {
            break;
        }
        bpf.refresh()?;
        let counted = container.usage(&bpf)?.memory_current_bytes;
        let kernel = resident_bytes(&container)?;
        let allowed = (kernel / 100).max(MIB);
        worst = worst.max(100.0 * counted.abs_diff(kernel) as f64 / allowed as f64);
        peak = peak.max(kernel);
        findings.detail(&step, json!({ "counted_bytes": counted, "kernel_bytes": kernel }));
        process.go_on()?;
    }
    process.end()?;
    let last = container.last_usage(&mut bpf)?;
    findings.detail(
        "at the end",
        json!({
            "left_bytes": last.memory_current_bytes,
            "peak_bytes": last.memory_peak_bytes,
            "highest_step_bytes": peak,
        }),
    );
    anyhow::ensure!(last.memory_peak_bytes >= peak, "the peak is below what was seen");
    findings.goal(&NEAR, worst);
    Ok(())
}

/// `Rss` of `/proc/PID/smaps_rollup`, over the container's processes, bytes.
fn resident_bytes(container: &Container) -> anyhow::Result<u64> {
    let processes = fs::read_to_string(container.path.join("cgroup.procs"))?;
    let mut sum = 0;
    for pid in processes.lines() {
        sum += clock::bytes_in(&format!("/proc/{pid}/smaps_rollup"), "Rss")?;
    }
    Ok(sum)
}
