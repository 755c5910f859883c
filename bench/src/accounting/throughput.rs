//! How much slower work gets when everything is counted: turns with all programs attached and without any alternate, each
//! pair gives a ratio, and the median counts. In the turns that are counted the agent's look is taken too.
//!
//! Beside the speed stands work per second of CPU, which others on the machine disturb less; what the programs take is
//! charged to whom they interrupt, so it is in there.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use ingot_agent::bpf::{Bpf, Figure};
use serde_json::json;

use super::container::Container;
use super::needs::COUNTED_CONTAINERS;
use super::scene::Scene;
use super::{Findings, Part};
use crate::clock;
use crate::report::{Better, Goal};

const fn share(name: &'static str, bar: f64) -> Goal {
    Goal { name, unit: "%", better: Better::Higher, bar }
}

const STREAM: Goal = share("loopback transfer, programs on against off", 98.0);
const COMPILE: Goal = share("compile-like load, programs on against off", 98.0);
const PING: Goal = share("pipe ping-pong, programs on against off", 90.0);

pub(super) const PART: Part =
    Part { name: "throughput", needs: COUNTED_CONTAINERS, goals: &[STREAM, COMPILE, PING], run };

const PAIRS: u32 = 11;

/// What a turn has done.
struct Turn {
    per_second: f64,
    per_cpu_second: f64,
}

fn run(scene: &Scene, findings: &mut Findings) -> anyhow::Result<()> {
    let directory = scene.directory("throughput")?;
    let container = Container::make(&directory, "loaded")?;
    for (goal, workload) in [(STREAM, "stream"), (COMPILE, "compile"), (PING, "ping")] {
        let (mut speed, mut thrift) = (Vec::new(), Vec::new());
        for _ in 0..PAIRS {
            let time = scene.time / 10;
            let on = turn_counted(&directory, &container, workload, time)?;
            let off = turn(&container, workload, time, &mut || Ok(()))?;
            speed.push(100.0 * on.per_second / off.per_second);
            thrift.push(100.0 * on.per_cpu_second / off.per_cpu_second);
        }
        findings.goal(&goal, median(&mut speed));
        findings.detail(
            workload,
            json!({
                "pairs": PAIRS,
                "speed_percent_sorted": rounded(&speed),
                "work_per_cpu_second_percent": median(&mut thrift),
            }),
        );
    }
    Ok(())
}

fn turn_counted(
    directory: &Path,
    container: &Container,
    workload: &str,
    time: Duration,
) -> anyhow::Result<Turn> {
    let (mut bpf, support) = Bpf::open(directory);
    // Pins are no program: here nothing is to outlive the turn.
    let mut lacking = support.figures().filter(|(figure, _)| *figure != Figure::Pins);
    if let Some((figure, Some(reason))) = lacking.find(|(_, reason)| reason.is_some()) {
        // Not all programs run, so what is measured would be less than their cost.
        eprintln!("ingot-bench: without `{}`: {reason}", figure.as_str());
    }
    // As the agent's: a ring that nobody reads is full after a while, and what is lost costs less.
    let _reader = bpf.take_events().map(|events| events.spawn(|_| ())).transpose()?;
    bpf.add_container(container.id, &container.path)?;
    let done = turn(container, workload, time, &mut || {
        bpf.refresh()?;
        container.usage(&bpf).map(drop)
    })?;
    bpf.remove_container(container.id)?;
    Ok(done)
}

/// Runs a workload; looks once in the middle of it.
fn turn(
    container: &Container,
    workload: &str,
    time: Duration,
    look: &mut dyn FnMut() -> anyhow::Result<()>,
) -> anyhow::Result<Turn> {
    let cpu_before = container.cpu_stat_ns()?;
    let process = container.start(&format!("{workload} --ms {}", time.as_millis()))?;
    clock::wait_until(clock::now() + time / 2);
    look()?;
    let said = process.end()?;
    let cpu_ns = container.cpu_stat_ns()? - cpu_before;
    let (done, ns) = said.trim().split_once(' ').context("a load that says nothing")?;
    let (done, ns): (f64, f64) = (done.parse()?, ns.parse()?);
    Ok(Turn { per_second: done * 1e9 / ns, per_cpu_second: done * 1e9 / cpu_ns as f64 })
}

/// Sorts them; of an odd number.
fn median(of: &mut [f64]) -> f64 {
    of.sort_by(f64::total_cmp);
    of[of.len() / 2]
}

fn rounded(of: &[f64]) -> Vec<f64> {
    of.iter().map(|it| (it * 10.0).round() / 10.0).collect()
}
