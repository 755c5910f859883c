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

const SWITCH: Goal = Goal {
    name: "sched_switch program, mean of the dearer load",
    unit: "ns",
    better: Better::Lower,
    bar: 200.0,
};
const PACKET: Goal = Goal {
    name: "cgroup_skb programs, mean of the dearer load",
    unit: "ns",
    better: Better::Lower,
    bar: 90.0,
};

pub(super) const PART: Part =
    Part { name: "programs", needs: COUNTED_CONTAINERS, goals: &[SWITCH, PACKET], run };

/// Program names of the agent's object.
const SWITCHES: &[&str] = &["switch"];
const PACKETS: &[&str] = &["ingress", "egress"];

fn run(scene: &Scene, findings: &mut Findings) -> anyhow::Result<()> {
    let (mut bpf, directory) = scene.counted("programs", &[Figure::Cpu, Figure::Network])?;
    let container = Container::counted(&mut bpf, &directory, "loaded")?;
    let _statistics = keep_statistics().context("have the kernel time programs")?;
    let ms = scene.time.as_millis() / 4;
    let loads = [
        ("pipe ping-pong", format!("ping --ms {ms}"), false),
        ("threads that take the CPU from each other", format!("busy --threads 8 --ms {ms}"), false),
        ("TCP over loopback", format!("stream --ms {ms}"), true),
        ("UDP over loopback", format!("datagrams --ms {ms}"), true),
    ];
    let (mut switch, mut packet) = (0.0_f64, 0.0_f64);
    for (name, workload, is_network) in loads {
        let empty = if is_network { Empty::on_egress(&directory)? } else { Empty::on_switch()? };
        let before = bpf.costs();
        container.start(&workload)?.end()?;
        let costs = since(&before, &bpf);
        let (runs, ns) = empty.cost()?;
        let of = |names: &[&str]| mean(costs.iter().filter(|it| names.contains(&it.program.as_str())));
        let (switches, packets) = (of(SWITCHES), of(PACKETS));
        if is_network {
            packet = packet.max(packets.context("no packet was counted")?);
        } else {
            switch = switch.max(switches.context("no switch was counted")?);
        }
        let each: serde_json::Map<_, _> = costs
            .iter()
            .filter(|it| it.run_count > 0)
            .map(|it| {
                (it.program.clone(), json!({ "runs": it.run_count, "mean_ns": mean(std::iter::once(it)) }))
            })
            .collect();
        let empty_ns = ns as f64 / runs.max(1) as f64;
        findings.detail(name, json!({ "empty_program_mean_ns": empty_ns, "programs": each }));
    }
    findings.goal(&SWITCH, switch);
    findings.goal(&PACKET, packet);
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
