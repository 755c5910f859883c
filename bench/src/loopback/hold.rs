//! `sessions`: many agents, each with containers that it reports on once a second. What the master uses for that, CPU by
//! its own clock and memory as the kernel counts it.
//!
//! The reports of one second are spread evenly over it. All agents have as many containers, in one arrangement, so that
//! after each agent's first report, which names them, one frame serves for all of a second.

use std::time::Duration;

use anyhow::{Context, bail};
use client::scheduler;
use client::{Address, Encoding};
use ingot_master::usage::{BOOK_BYTES, CONTAINER_BYTES, NODE_BYTES};
use model::id::{ContainerId, ExecutorId, FrameworkId};
use model::time::UnixTime;
use model::usage::{ContainerUsage, Group, NodeUsage, Source, Sources, Usage};
use serde_json::json;
use wire::report::{Builder, PART_ROWS};

use super::agents::Agents;
use super::files;
use super::master::{Master, threads_since};
use super::turns::Turns;
use crate::clock::{self, Times};
use crate::report::{Better, Goal, Report};

const CPU: Goal = Goal {
    name: "CPU of the master, 1 report a second of each of 50,000 sessions",
    unit: "% of a core",
    better: Better::Lower,
    bar: 60.0,
};
const MEMORY: Goal = Goal {
    name: "memory of the master a session, outside the usage table",
    unit: "KiB",
    better: Better::Lower,
    bar: 6.0,
};

/// What the bars are for.
const FULL: (usize, usize) = (50_000, 10);

#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[arg(long, default_value_t = FULL.0)]
    sessions: usize,
    /// Of each agent.
    #[arg(long, default_value_t = FULL.1)]
    containers: usize,
    /// Reports a second of each agent. With fewer sessions than the bar has, more of them make as many reports.
    #[arg(long, default_value_t = 1.0)]
    reports_per_s: f64,
    /// How long the master's CPU is watched, seconds.
    #[arg(long, default_value_t = 20)]
    seconds: u64,
}

/// Reports of each agent before that, one a second: the first of them name every container.
const WARM_UP: u64 = 4;
/// Until the master has done what it was told.
const SETTLE: Duration = Duration::from_secs(2);
/// Agents whose last figures are looked up in the end.
const LOOK_UPS: usize = 16;

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<Report> {
    let mut report = Report::new("sessions");
    report.detail("sessions", arguments.sessions);
    report.detail("containers a session", arguments.containers);
    report.detail("reports a second of each session", arguments.reports_per_s);
    files::make_room(arguments.sessions)?;
    let mut master = Master::start(&[])?;
    let framework_id = subscribe(&master)?;
    let mut turns = Turns::new()?;
    let resident = [master.resident_bytes()?];
    let (began, cpu) = (clock::now(), master.cpu()?);
    let mut agents = Agents::register(arguments.sessions, master.address, "cpus:8;mem:32768", &mut turns)?;
    report.detail("registering, s", began.elapsed().as_secs_f64());
    report.detail("registering, CPU us a session", per(master.cpu()? - cpu, arguments.sessions));
    agents.rest(&mut turns, clock::now() + SETTLE)?;
    let resident = [resident[0], master.resident_bytes()?];
    let of_session = |bytes: u64| bytes as f64 / 1024.0 / arguments.sessions as f64;
    report.detail("memory a session before it reports, KiB", of_session(resident[1] - resident[0]));

    let mut reports = Reports::new(arguments.containers, framework_id);
    let mut late = Times::default();
    reports.rounds(WARM_UP, Duration::from_secs(1), &mut agents, &mut turns, &mut late)?;
    let (began, cpu, threads) = (clock::now(), master.cpu()?, master.threads()?);
    let mut late = Times::default();
    let rounds = (arguments.seconds as f64 * arguments.reports_per_s).ceil() as u64;
    let period = Duration::from_secs_f64(1.0 / arguments.reports_per_s);
    let bytes = reports.rounds(rounds, period, &mut agents, &mut turns, &mut late)?;
    let (took, cpu) = (began.elapsed(), master.cpu()? - cpu);
    report.detail("bytes of a report", bytes);
    report.detail("CPU s by thread", threads_since(&threads, &master.threads()?));
    report.detail("reports written late by the bench", late.sorted().summary());
    let percent = cpu.as_secs_f64() / took.as_secs_f64() * 100.0;
    report.detail("CPU us a report", per(cpu, arguments.sessions * rounds as usize));
    agents.rest(&mut turns, clock::now() + SETTLE)?;
    master.check()?;
    check(&master, &agents, reports.written)?;

    let banks = arguments.containers.div_ceil(PART_ROWS) * PART_ROWS;
    let table = (banks * CONTAINER_BYTES + arguments.containers * BOOK_BYTES + NODE_BYTES) as f64 / 1024.0;
    let used = of_session(master.resident_bytes()? - resident[0]);
    report.detail("memory a session, KiB", json!({ "all": used, "usage_table": table }));
    report.goal(&CPU, at_full(arguments, percent));
    report.goal(&MEMORY, at_full(arguments, used - table));
    Ok(report)
}

/// Bars are for as many as they say.
fn at_full(arguments: &Arguments, value: f64) -> Result<f64, String> {
    let Arguments { sessions, containers, reports_per_s, .. } = *arguments;
    if (sessions, containers) == FULL && reports_per_s == 1.0 {
        Ok(value)
    } else {
        let each = format!("{containers} containers and {reports_per_s} reports a second");
        Err(format!("{value:.3} with {sessions} sessions of {each}"))
    }
}

fn per(time: Duration, count: usize) -> f64 {
    time.as_secs_f64() * 1e6 / count as f64
}

/// A framework that wants no offers, and whose the containers are.
fn subscribe(master: &Master) -> anyhow::Result<FrameworkId> {
    let address = Address { host: master.address.ip().to_string(), port: master.address.port() };
    let info = scheduler::framework("ingot-bench", "*")?;
    master.block_on(async {
        let (mut calls, mut events) = scheduler::connect(address, info, Encoding::Protobuf);
        events.next().await?;
        calls.suppress().await?;
        let id = calls.framework_id().context("a framework that is subscribed has an id")?;
        // It stays for as long as a framework that went away does.
        anyhow::Ok(FrameworkId::new(&id.value))
    })
}

/// The reports of all agents.
struct Reports {
    containers: usize,
    framework_id: FrameworkId,
    builder: Builder,
    /// What the names of containers begin with that `builder` has named last. Only these do.
    prefix: String,
    /// When the newest was made, by the agents' clock.
    written: UnixTime,
}

impl Reports {
    fn new(containers: usize, framework_id: FrameworkId) -> Self {
        let (builder, prefix) = (Builder::default(), String::new());
        Self { containers, framework_id, builder, prefix, written: UnixTime::default() }
    }

    /// So many reports of each agent, spread evenly over each period. Returns how long the last ones were, bytes.
    fn rounds(
        &mut self,
        count: u64,
        period: Duration,
        agents: &mut Agents,
        turns: &mut Turns,
        late: &mut Times,
    ) -> anyhow::Result<usize> {
        let (began, mut bytes) = (clock::now(), 0);
        let gap = period.as_secs_f64() / agents.len() as f64;
        let start = |round: u64| round as f64 * period.as_secs_f64();
        let mut ready = Vec::new();
        for round in 0..count {
            let names_them = self.written == UnixTime::default();
            self.written = clock::unix();
            let shared = if names_them { Vec::new() } else { self.frame()? };
            bytes = shared.len();
            let mut next = 0;
            while next < agents.len() {
                let due = |agent: usize| began + Duration::from_secs_f64(start(round) + agent as f64 * gap);
                turns.next(Some(due(next)), &mut ready)?;
                for number in &ready {
                    agents.hear(*number as usize, &mut |_, _| Ok(()))?;
                }
                let now = clock::now();
                while next < agents.len() && due(next) <= now {
                    late.add(now - due(next));
                    match names_them {
                        true => agents.say(next, &self.first_frame(next)?)?,
                        false => agents.say(next, &shared)?,
                    }
                    next += 1;
                }
            }
        }
        Ok(bytes)
    }

    /// The one that names the agent's containers.
    fn first_frame(&mut self, agent: usize) -> anyhow::Result<Vec<u8>> {
        self.builder = Builder::default();
        self.prefix = format!("5f3a8c1e-77d0-4b52-9e4c-{agent:012}-");
        self.frame()
    }

    /// One for everybody, if the builder has named its containers: names travel once.
    fn frame(&mut self) -> anyhow::Result<Vec<u8>> {
        let lines: Vec<_> = (0..self.containers).map(|at| self.line(at)).collect();
        let node = NodeUsage::from_words(words(self.written), SOURCES);
        Ok(self.builder.build(self.written, &node, &lines)?)
    }

    fn line(&self, at: usize) -> ContainerUsage {
        let name = format!("{}{at}", self.prefix);
        ContainerUsage {
            container_id: ContainerId::new(&name),
            framework_id: self.framework_id.clone(),
            executor_id: ExecutorId::new(&name),
            tasks: Vec::new(),
            is_final: false,
            usage: Usage::from_words(words(self.written), SOURCES),
        }
    }
}

const SOURCES: Sources = Sources::from_array([Source::Bpf; Group::COUNT]);

/// Figures of which none is zero, so that all travel, and all grow.
fn words<const COUNT: usize>(written: UnixTime) -> [u64; COUNT] {
    std::array::from_fn(|at| written.0 / 1_000 + at as u64)
}

/// Looks a few agents up: their newest figures are those that they sent last.
fn check(master: &Master, agents: &Agents, written: UnixTime) -> anyhow::Result<()> {
    for number in (0..agents.len()).step_by(agents.len().div_ceil(LOOK_UPS)) {
        let id = agents.agent(number).id.as_ref().context("registered")?;
        let answer = master.get(&format!("/ingot/history?agent_id={id}&step_s=1&figures=cpu_ns"))?;
        let newest = answer.pointer("/series/0/timestamps").and_then(|it| it.as_array()?.last()?.as_f64());
        let newest = newest.with_context(|| format!("nothing is known of agent {number}: {answer}"))?;
        let behind = written.0 as f64 / 1e6 - newest;
        if behind > 1.5 {
            bail!("the newest figures of agent {number} are {behind:.1} s older than what it sent");
        }
    }
    Ok(())
}
