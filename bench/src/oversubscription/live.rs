//! A server that answers under a steady load, alone and beside greedy tasks on revocable resources, in turns: what becomes of
//! its 99th percentile, and of the machine's CPUs.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::Duration;

use anyhow::Context;
use serde_json::json;

use super::scene::Scene;
use crate::clock::{self, Times};
use crate::report::{Better, Goal, Report};

const LATENCY: Goal = Goal {
    name: "a server's p99 beside greedy revocable tasks, times its p99 alone (median of pairs)",
    unit: "x",
    better: Better::Lower,
    bar: 1.10,
};
const ALONE: Goal =
    Goal { name: "CPU of the machine, the server alone", unit: "%", better: Better::Lower, bar: 40.0 };
const BESIDE: Goal =
    Goal { name: "CPU of the machine, with revocable tasks", unit: "%", better: Better::Higher, bar: 90.0 };

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Pairs of turns: alone, then beside.
    #[arg(long, default_value_t = 5)]
    pairs: usize,
    /// How long a turn is, seconds.
    #[arg(long, default_value_t = 8)]
    turn_s: u64,
    /// Requests a second.
    #[arg(long, default_value_t = 250)]
    rate: u32,
    /// CPU time that the server spends on one, microseconds.
    #[arg(long, default_value_t = 1_000)]
    work_us: u64,
}

/// Until a task that was started or killed is no news any more.
const SETTLE: Duration = Duration::from_secs(1);

pub(super) fn run(arguments: &Arguments, report: &mut Report) -> anyhow::Result<()> {
    match measure(arguments, report) {
        Ok(()) => Ok(()),
        Err(error) => {
            let why = format!("{error:#}");
            [LATENCY, ALONE, BESIDE].iter().for_each(|goal| report.goal(goal, Err(why.clone())));
            Ok(())
        }
    }
}

fn measure(arguments: &Arguments, report: &mut Report) -> anyhow::Result<()> {
    let mut scene = Scene::start(&["--qos-latency-p99=2ms", "--qos-psi=10"])?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let serve = format!("serve --to {} --work-us {}", listener.local_addr()?, arguments.work_us);
    let _server = scene.run("server", &serve, false)?;
    let (mut stream, _) = listener.accept()?;
    stream.set_nodelay(true)?;
    let greedy = std::thread::available_parallelism()?.get() * 2;
    let (mut ratios, mut alone_cpu, mut beside_cpu, mut turns) = (vec![], vec![], vec![], vec![]);
    for pair in 0..arguments.pairs {
        clock::wait_until(clock::now() + SETTLE);
        let alone = turn(&mut stream, arguments)?;
        let busy = format!("busy --threads {greedy} --ms 3600000");
        let lent = scene.run(&format!("greedy-{pair}"), &busy, true)?;
        clock::wait_until(clock::now() + SETTLE);
        let beside = turn(&mut stream, arguments)?;
        scene.kill(&lent)?;
        ratios.push(beside.p99_us / alone.p99_us);
        alone_cpu.push(alone.cpu_percent);
        beside_cpu.push(beside.cpu_percent);
        turns.push(json!({ "alone": alone.shown(), "beside": beside.shown() }));
    }
    report.goal(&LATENCY, Ok(median(&mut ratios)));
    report.goal(&ALONE, Ok(median(&mut alone_cpu)));
    report.goal(&BESIDE, Ok(median(&mut beside_cpu)));
    report.detail("live", json!({ "ratios": ratios, "turns": turns }));
    Ok(())
}

struct Turn {
    p50_us: f64,
    p99_us: f64,
    cpu_percent: f64,
}

impl Turn {
    fn shown(&self) -> serde_json::Value {
        json!({ "p50_us": self.p50_us, "p99_us": self.p99_us, "cpu_percent": self.cpu_percent })
    }
}

/// Requests at fixed moments, however long the one before took; a time is counted from the moment it was due.
fn turn(stream: &mut TcpStream, arguments: &Arguments) -> anyhow::Result<Turn> {
    let count = u32::try_from(arguments.turn_s)?.saturating_mul(arguments.rate);
    let interval = Duration::from_secs(1) / arguments.rate;
    let (cpu, began) = (cpu_ticks()?, clock::now());
    let mut times = Times::with_capacity(count as usize);
    for number in 0..count {
        let due = began + interval * number;
        clock::wait_until(due);
        stream.write_all(&[1])?;
        stream.read_exact(&mut [0])?;
        times.add(clock::now() - due);
    }
    let (busy, all) = cpu_ticks()?;
    let cpu_percent = (busy - cpu.0) as f64 * 100.0 / (all - cpu.1).max(1) as f64;
    let times = times.sorted();
    Ok(Turn { p50_us: times.us(500), p99_us: times.us(990), cpu_percent })
}

/// Of all CPUs since the machine started: busy, and in all. What the hypervisor took counts as neither.
fn cpu_ticks() -> anyhow::Result<(u64, u64)> {
    let text = std::fs::read_to_string("/proc/stat")?;
    let line = text.lines().next().context("an empty /proc/stat")?;
    let ticks: Vec<u64> = line.split_ascii_whitespace().skip(1).filter_map(|it| it.parse().ok()).collect();
    // user nice system idle iowait irq softirq
    let [user, nice, system, idle, iowait, irq, softirq] = ticks[..7] else {
        anyhow::bail!("/proc/stat: {line}");
    };
    let busy = user + nice + system + irq + softirq;
    Ok((busy, busy + idle + iowait))
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
