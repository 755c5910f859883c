//! What the programs cost, by the kernel's own statistics: nanoseconds a run, and beside them a program that does nothing,
//! which is what the measuring itself costs. Under loads that make most runs the dear kind: of containers' own threads
//! and packets. Runs for the rest of the machine are among them, as they are in use; they leave sooner.

use anyhow::Context;
use ingot_agent::bpf::{Bpf, Cost, Figure, keep_statistics};
use serde_json::json;

use super::container::Container;
use super::empty::Empty;
use super::needs::COUNTED_CONTAINERS;
use super::scene::Scene;
use super::{Findings, Part};
use crate::report::{Better, Goal};

const fn mean_of(name: &'static str, bar: f64) -> Goal {
    Goal { name, unit: "ns", better: Better::Lower, bar }
}

const SWITCHES_DENSE: Goal = mean_of("sched_switch program, mean, pipe ping-pong", 200.0);
const SWITCHES_RARE: Goal = mean_of("sched_switch program, mean, threads preempting each other", 200.0);
const PACKETS_DENSE: Goal = mean_of("cgroup_skb programs, mean, UDP flood", 90.0);
const PACKETS_RARE: Goal = mean_of("cgroup_skb programs, mean, TCP bulk transfer", 90.0);

pub(super) const PART: Part = Part {
    name: "programs",
    needs: COUNTED_CONTAINERS,
    goals: &[SWITCHES_DENSE, SWITCHES_RARE, PACKETS_DENSE, PACKETS_RARE],
    run,
};

/// Program names of the agent's object.
const SWITCHES: &[&str] = &["switch"];
const PACKETS: &[&str] = &["ingress", "egress"];

fn run(scene: &Scene, findings: &mut Findings) -> anyhow::Result<()> {
    let (mut bpf, directory) = scene.counted("programs", &[Figure::Cpu, Figure::Network])?;
    let container = Container::counted(&mut bpf, &directory, "loaded")?;
    let _statistics = keep_statistics().context("have the kernel time programs")?;
    let ms = scene.time.as_millis() / 4;
    // Where switches or packets are rare, each finds the caches cold; then a run is dearer and matters less.
    let loads = [
        (SWITCHES_DENSE, SWITCHES, format!("ping --ms {ms}")),
        (SWITCHES_RARE, SWITCHES, format!("busy --threads 8 --ms {ms}")),
        (PACKETS_DENSE, PACKETS, format!("datagrams --ms {ms}")),
        (PACKETS_RARE, PACKETS, format!("stream --ms {ms}")),
    ];
    for (goal, names, workload) in loads {
        let empty = if names == PACKETS { Empty::on_egress(&directory)? } else { Empty::on_switch()? };
        let before = bpf.costs();
        container.start(&workload)?.end()?;
        let costs = since(&before, &bpf);
        let (runs, ns) = empty.cost()?;
        let ours = mean(costs.iter().filter(|it| names.contains(&it.program.as_str())));
        findings.goal(&goal, ours.with_context(|| format!("none of {names:?} ran"))?);
        let each: serde_json::Map<_, _> = costs
            .iter()
            .filter(|it| it.run_count > 0)
            .map(|it| {
                (it.program.clone(), json!({ "runs": it.run_count, "mean_ns": mean(std::iter::once(it)) }))
            })
            .collect();
        let empty_ns = ns as f64 / runs.max(1) as f64;
        findings.detail(goal.name, json!({ "empty_program_mean_ns": empty_ns, "programs": each }));
    }
    Ok(())
}

/// What each program has cost since then.
fn since(before: &[Cost], bpf: &Bpf) -> Vec<Cost> {
    let mut costs = bpf.costs();
    for cost in &mut costs {
        if let Some(old) = before.iter().find(|it| it.program == cost.program) {
            cost.run_count -= old.run_count;
            cost.run_time_ns -= old.run_time_ns;
        }
    }
    costs
}

/// Over all runs of some programs, nanoseconds.
fn mean<'a>(costs: impl Iterator<Item = &'a Cost>) -> Option<f64> {
    let (runs, ns) = costs.fold((0, 0), |(runs, ns), it| (runs + it.run_count, ns + it.run_time_ns));
    (runs > 0).then(|| ns as f64 / runs as f64)
}
