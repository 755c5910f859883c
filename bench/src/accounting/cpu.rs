//! CPU time of containers, held against the kernel's own `cpu.stat`. Threads that never wait, that wait every half
//! millisecond, that mostly sleep, and processes that live for a millisecond, each in a container of its own and all of
//! them in one, at once, so that they take the CPU from each other.
//!
//! While they run, each look is between two readings of `cpu.stat`, and only what lies outside of those is an error.

use std::time::Duration;

use anyhow::Context;
use ingot_agent::bpf::{Bpf, Figure};
use serde_json::json;

use super::container::{Container, Process};
use super::needs::COUNTED_CONTAINERS;
use super::scene::Scene;
use super::{Findings, Part};
use crate::clock;
use crate::report::{Better, Goal};

const EXACT: Goal = Goal {
    name: "CPU against cpu.stat, worst mix, when all have ended",
    unit: "%",
    better: Better::Lower,
    bar: 0.1,
};
const EXACT_LIVE: Goal = Goal {
    name: "CPU against cpu.stat, worst mix, while all run",
    unit: "%",
    better: Better::Lower,
    bar: 0.1,
};

pub(super) const PART: Part =
    Part { name: "cpu", needs: COUNTED_CONTAINERS, goals: &[EXACT, EXACT_LIVE], run };

/// `cpu.stat` is cut to whole microseconds.
const RESOLUTION_NS: u64 = 1_000;
/// Looks while the workloads run, spread over the time.
const LOOKS: u32 = 10;

struct Mix {
    name: &'static str,
    workloads: &'static [&'static str],
}

const MIXES: [Mix; 5] = [
    Mix { name: "busy", workloads: &["busy --threads 3"] },
    Mix { name: "sleeping", workloads: &["doze --work-us 500 --sleep-us 500"] },
    Mix { name: "dozing", workloads: &["doze --work-us 50 --sleep-us 10000"] },
    Mix { name: "forking", workloads: &["forks"] },
    Mix { name: "all", workloads: &["busy --threads 2", "doze --work-us 500 --sleep-us 500", "forks"] },
];

struct Running {
    name: &'static str,
    container: Container,
    processes: Vec<Process>,
    live: Vec<Look>,
}

/// One look at a running container.
struct Look {
    before_ns: u64,
    counted_ns: u64,
    after_ns: u64,
}

impl Look {
    /// How far the counted figure lies outside of what `cpu.stat` said before and after, nanoseconds.
    fn error_ns(&self) -> u64 {
        let low = self.before_ns.saturating_sub(RESOLUTION_NS);
        let high = self.after_ns + RESOLUTION_NS;
        low.saturating_sub(self.counted_ns) + self.counted_ns.saturating_sub(high)
    }

    fn percent(&self) -> f64 {
        percent(self.error_ns(), self.before_ns)
    }
}

fn percent(error: u64, of: u64) -> f64 {
    100.0 * error as f64 / of.max(1) as f64
}

fn run(scene: &Scene, findings: &mut Findings) -> anyhow::Result<()> {
    let (mut bpf, directory) = scene.counted("cpu", &[Figure::Cpu, Figure::CpuRunning])?;
    let mut all = Vec::new();
    for Mix { name, workloads } in &MIXES {
        let container = Container::counted(&mut bpf, &directory, name)?;
        let start = |words: &&str| container.start(&format!("{words} --ms {}", scene.time.as_millis()));
        let processes = workloads.iter().map(start).collect::<Result<_, _>>()?;
        all.push(Running { name, container, processes, live: Vec::new() });
    }
    look_while_they_run(&mut bpf, &mut all, scene.time)?;
    let (mut worst, mut worst_live) = (0.0_f64, 0.0_f64);
    for Running { name, container, processes, live } in all {
        processes.into_iter().try_for_each(|it| it.end().map(drop))?;
        let counted_ns = container.last_usage(&mut bpf)?.cpu_ns;
        let kernel_ns = container.cpu_stat_ns()?;
        let error_ns = counted_ns.abs_diff(kernel_ns).saturating_sub(RESOLUTION_NS);
        worst = worst.max(percent(error_ns, kernel_ns));
        // The last look is at the whole time; earlier ones are at less, where the same error is a greater share.
        let last = live.last().context("the workloads ended before the first look")?;
        worst_live = worst_live.max(last.percent());
        let worst_look = live.iter().map(Look::error_ns).max().unwrap_or(0);
        findings.detail(
            name,
            json!({
                "cpu_stat_ns": kernel_ns,
                "counted_ns": counted_ns,
                "error_ns": error_ns,
                "looks": live.len(),
                "worst_look_error_ns": worst_look,
                "last_look_window_ns": last.after_ns - last.before_ns,
            }),
        );
    }
    findings.goal(&EXACT, worst);
    findings.goal(&EXACT_LIVE, worst_live);
    Ok(())
}

fn look_while_they_run(bpf: &mut Bpf, all: &mut [Running], time: Duration) -> anyhow::Result<()> {
    let start = clock::now();
    for number in 1..=LOOKS {
        // The last one a little before they end.
        clock::wait_until(start + time.mul_f64(0.98) * number / LOOKS);
        let before = all.iter().map(|it| it.container.cpu_stat_ns()).collect::<Result<Vec<_>, _>>()?;
        bpf.refresh()?;
        let counted = all.iter().map(|it| it.container.usage(bpf)).collect::<Result<Vec<_>, _>>()?;
        for ((running, before_ns), counted) in all.iter_mut().zip(before).zip(counted) {
            let after_ns = running.container.cpu_stat_ns()?;
            running.live.push(Look { before_ns, counted_ns: counted.cpu_ns, after_ns });
        }
    }
    Ok(())
}
