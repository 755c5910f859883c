//! How long it takes from the first moment at which the kernel's own figures show that a target is missed until a lent
//! container is throttled, and until it is gone. Both ends are read by this bench from the kernel's files, twice a
//! millisecond, and not from what the agent says of itself.

use std::io::Write;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::json;

use super::scene::{Scene, until};
use crate::clock::{self, Times};
use crate::report::{Better, Goal, Report};

const THROTTLE: Goal = Goal {
    name: "breach in the kernel's figures to throttle in effect, p99",
    unit: "ms",
    better: Better::Lower,
    bar: 50.0,
};
const KILL: Goal = Goal {
    name: "breach in the kernel's figures to a kill completed, p99",
    unit: "ms",
    better: Better::Lower,
    bar: 500.0,
};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Breaches.
    #[arg(long, default_value_t = 50)]
    rounds: usize,
}

/// Of the time, the most in which a regular container may wait, percent: what the agent is told, and what is held against
/// the kernel's figure here.
const PRESSURE_PERCENT: u64 = 20;
/// How far back both look.
const WINDOW: Duration = Duration::from_millis(100);
/// A container is at rest for so long before it is disturbed: longer than the window.
const SETTLE: Duration = Duration::from_millis(300);

pub(super) fn run(arguments: &Arguments, report: &mut Report) -> anyhow::Result<()> {
    if let Err(error) = measure(arguments, report) {
        let why = format!("{error:#}");
        [THROTTLE, KILL].iter().for_each(|goal| report.goal(goal, Err(why.clone())));
    }
    Ok(())
}

fn measure(arguments: &Arguments, report: &mut Report) -> anyhow::Result<()> {
    // What freezing does not cure is cured by killing; soon, for the sake of this measurement.
    let psi = format!("--qos-psi={PRESSURE_PERCENT}");
    let mut scene = Scene::start(&[&psi, "--qos-latency-p99=0ns", "--qos-kill-after=100ms"])?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let paid = scene.run("paid", &format!("burst --to {}", listener.local_addr()?), false)?;
    let (mut orders, _) = listener.accept()?;
    let (mut throttled, mut killed) = (Times::default(), Times::default());
    for round in 0..arguments.rounds {
        let lent = scene.run(&format!("lent-{round}"), "busy --threads 4 --ms 3600000", true)?;
        until("it is at rest", || !is_throttled(&lent.cgroup))?;
        clock::wait_until(clock::now() + SETTLE);
        // Threads that all want a CPU, for as long as the order is not taken back.
        orders.write_all(b"1")?;
        let (mut breach, mut throttle) = (None, None);
        let mut seen = Pressure::default();
        let gone = until("it is gone", || {
            let now = clock::now();
            let stalled = stalled(&paid.cgroup).unwrap_or(0);
            if seen.is_missed(now, stalled) {
                breach.get_or_insert(now);
            }
            if throttle.is_none() && is_throttled(&lent.cgroup) {
                throttle = Some(now);
            }
            !lives(&lent.cgroup)
        });
        orders.write_all(b"0")?;
        let gone = gone.with_context(|| scene.log())?;
        let breach: Instant = breach.context("the kernel's figure never passed the target")?;
        let throttle = throttle.context("it was never throttled")?;
        // Pressure that passed the target in between two of our own looks was seen by the agent first.
        throttled.add(throttle.saturating_duration_since(breach));
        killed.add(gone.saturating_duration_since(breach));
        scene.ended(&lent)?;
    }
    let (throttled, killed) = (throttled.sorted(), killed.sorted());
    report.goal(&THROTTLE, Ok(throttled.us(990) / 1e3));
    report.goal(&KILL, Ok(killed.us(990) / 1e3));
    let detail = json!({ "throttle": throttled.summary(), "kill": killed.summary() });
    report.detail("revocation", detail);
    Ok(())
}

/// What the kernel said in the last 100 ms.
#[derive(Default)]
struct Pressure {
    seen: std::collections::VecDeque<(Instant, u64)>,
}

impl Pressure {
    fn is_missed(&mut self, now: Instant, stalled_us: u64) -> bool {
        while self.seen.get(1).is_some_and(|(at, _)| now - *at >= WINDOW) {
            self.seen.pop_front();
        }
        self.seen.push_back((now, stalled_us));
        // Before the first look there was none.
        let since = stalled_us - self.seen[0].1;
        since * 100 > PRESSURE_PERCENT * WINDOW.as_micros() as u64
    }
}

fn stalled(group: &Path) -> Option<u64> {
    let text = std::fs::read_to_string(group.join("cpu.pressure")).ok()?;
    let some = text.lines().find_map(|line| line.strip_prefix("some "))?;
    some.rsplit_once("total=")?.1.trim().parse().ok()
}

/// Frozen, all of it; or with a quota.
fn is_throttled(group: &Path) -> bool {
    let read = |file: &str| std::fs::read_to_string(group.join(file)).unwrap_or_default();
    read("cgroup.events").contains("frozen 1") || read("cpu.max").starts_with(|c: char| c.is_ascii_digit())
}

fn lives(group: &Path) -> bool {
    std::fs::read_to_string(group.join("cgroup.events")).is_ok_and(|text| text.contains("populated 1"))
}
