//! What a usage report costs the master: from the receive buffer, where it lies whole, to the usage table, history
//! included, the coarser samples too that every fifteenth and three hundredth makes. In three ways, since what it costs
//! depends on what the caches hold:
//!
//! - back to back (the goal): reports that wait in one buffer, as in a master that has much to do; the time of all over
//!   their number, the median of many such runs;
//! - alone: each timed by itself after the work of building it, less what a look at the clock takes;
//! - in turn: as alone, of thousands of agents, whose rows are in no cache any more when their next report comes.
//!
//! With every figure of every container told and changed, and as containers are that do no I/O and no UDP and meet no
//! limit.

use std::time::Duration;

use anyhow::{Context, ensure};
use ingot_master::usage::{self, Block, CONTAINER_BYTES, HISTORY_BYTES, LAST_BYTES, Writer};
use model::id::ContainerId;
use model::time::UnixTime;
use model::usage::{ContainerUsage, NodeUsage, Sources, Usage};
use serde_json::json;
use wire::Incoming;
use wire::frame::Reader;
use wire::report::Builder;

use super::scene::Scene;
use super::{Findings, Part};
use crate::allocations::allocations_of;
use crate::clock::{self, Times};
use crate::report::{Better, Goal};

const TIME: Goal =
    Goal { name: "master report 20 containers", unit: "ns", better: Better::Lower, bar: 1_000.0 };
const ALLOCATIONS: Goal =
    Goal { name: "master report 20 containers, allocations", unit: "", better: Better::Lower, bar: 0.0 };

pub(super) const PART: Part = Part { name: "report", needs: &[], goals: &[TIME, ALLOCATIONS], run };

const CONTAINERS: u64 = 20;
/// Reports of one agent: five and a half hours' worth, so that every kind of sample is made.
const REPORTS: u64 = 20_000;
/// Agents in turn. Their rows take 250 MB.
const AGENTS: usize = 5_000;
const TURNS: u64 = 4;
/// Reports that wait together: 620 KB.
const WAITING: usize = 60;
const RUNS: usize = 200;

/// Which figures of a container are something else than zero.
#[derive(Clone, Copy)]
enum Busy {
    Everything,
    /// Those that a service on a plain network has.
    Service,
}

struct Agent {
    builder: Builder,
    block: Block,
    reader: Reader,
    lines: Vec<ContainerUsage>,
    second: u64,
}

impl Agent {
    fn new(number: usize) -> Self {
        let line = |at| ContainerUsage {
            container_id: ContainerId::new(format!("{number:08}-4b1f-4c53-9a60-{at:012}")),
            framework_id: "0c7aa3b5-5d9e-4b43-8d3a-9d2f1c7b6a01-0000".into(),
            executor_id: format!("service-{at}").as_str().into(),
            tasks: vec![format!("service-{at}").as_str().into()],
            is_final: false,
            usage: Usage::default(),
        };
        let lines = (0..CONTAINERS).map(line).collect();
        let (builder, block, reader) = (Builder::default(), Block::default(), Reader::default());
        Self { builder, block, reader, lines, second: 1_700_000_000 }
    }

    /// The next report comes into the receive buffer.
    fn send(&mut self, busy: Busy) -> anyhow::Result<()> {
        self.second += 1;
        let is_told = |name: &str| match busy {
            Busy::Everything => true,
            Busy::Service => !["io_", "udp_", "throttled", "swap", "oom", "periods", "full", "lost"]
                .iter()
                .any(|part| name.contains(part)),
        };
        for (row, line) in (1..).zip(&mut self.lines) {
            let figure = |at: usize| {
                let grown = (self.second - 1_699_999_999) * 1_000_003 * row + at as u64;
                if is_told(Usage::FIGURES[at].name) { grown } else { 0 }
            };
            line.usage = Usage::from_words(std::array::from_fn(figure), Sources::default());
        }
        let node =
            NodeUsage::from_words(std::array::from_fn(|at| self.second + at as u64), Sources::default());
        let now = UnixTime(self.second * 1_000_000);
        let frame = self.builder.build(now, &node, &self.lines).context("building a report")?;
        self.reader.space()[..frame.len()].copy_from_slice(&frame);
        self.reader.filled(frame.len());
        Ok(())
    }

    /// What is measured. Returns how much the core had to hear.
    #[inline(never)]
    fn take(&mut self, writer: &mut Writer) -> anyhow::Result<u64> {
        let payload = self.reader.next()?.context("a whole frame")?;
        let Incoming::Usage(report) = wire::decode_to_master(payload)? else { anyhow::bail!("not a report") };
        let mut heard = 0;
        writer.record(&mut self.block, &report, &mut |_| heard += 1)?;
        Ok(heard)
    }
}

fn run(_: &Scene, findings: &mut Findings) -> anyhow::Result<()> {
    let clock_ns = clock_ns();
    let everything = one(Busy::Everything)?;
    let service = one(Busy::Service)?;
    let median = |measured: &Measured, times: &dyn Fn(&Measured) -> f64| times(measured) - clock_ns;
    let told = |measured: &Measured| {
        json!({
            "p50_ns_alone": median(measured, &|it| it.all.us(500) * 1e3),
            "p99_ns_alone": median(measured, &|it| it.all.us(990) * 1e3),
            "p50_ns_with_samples_of_15_s_made": median(measured, &|it| it.folding.us(500) * 1e3),
            "p50_ns_with_samples_of_300_s_made": median(measured, &|it| it.folding_twice.us(500) * 1e3),
            "p50_ns_back_to_back": measured.back_to_back_ns,
            "bytes": measured.bytes,
        })
    };
    findings.goal(&TIME, everything.back_to_back_ns);
    findings.goal(&ALLOCATIONS, everything.allocations.max(service.allocations) as f64);
    findings.detail("clock_ns", clock_ns);
    findings.detail("every_figure", told(&everything));
    findings.detail("service", told(&service));
    let cold = many()?;
    findings.detail(
        "agents_in_turn",
        json!({"agents": AGENTS, "p50_ns": median(&cold, &|it| it.all.us(500) * 1e3),
            "p99_ns": median(&cold, &|it| it.all.us(990) * 1e3)}),
    );
    findings.detail(
        "bytes_a_container",
        json!({"running": CONTAINER_BYTES, "of_it_history": HISTORY_BYTES, "over": LAST_BYTES}),
    );
    Ok(())
}

struct Measured {
    all: clock::SortedTimes,
    /// Of reports that begin another quarter of a minute, or five minutes.
    folding: clock::SortedTimes,
    folding_twice: clock::SortedTimes,
    back_to_back_ns: f64,
    allocations: u64,
    bytes: usize,
}

/// Reports of one agent.
fn one(busy: Busy) -> anyhow::Result<Measured> {
    let (mut writer, table) = usage::table();
    let mut agent = Agent::new(0);
    agent.send(busy)?;
    let bytes = agent.reader.next()?.context("a whole frame")?.len();
    agent.builder.session_began();
    agent.send(busy)?;
    ensure!(agent.take(&mut writer)? == CONTAINERS + 1, "the core hears of each container, and of the node");
    let (mut all, mut folding, mut folding_twice) = (Times::default(), Times::default(), Times::default());
    let mut allocations = 0;
    for _ in 0..REPORTS {
        agent.send(busy)?;
        let (mut heard, mut time) = (Ok(0), Duration::ZERO);
        allocations += allocations_of(|| {
            let begin = clock::now();
            heard = agent.take(&mut writer);
            time = begin.elapsed();
        });
        ensure!(heard? == 0, "nothing has changed");
        all.add(time);
        match agent.second {
            second if second % 300 == 0 => folding_twice.add(time),
            second if second % 15 == 0 => folding.add(time),
            _ => {}
        }
    }
    let mut back_to_back = Times::default();
    for _ in 0..RUNS {
        for _ in 0..WAITING {
            agent.send(busy)?;
        }
        let (mut heard, mut time) = (Ok(0), Duration::ZERO);
        allocations += allocations_of(|| {
            let begin = clock::now();
            heard = (0..WAITING).try_fold(0, |sum, _| Ok::<_, anyhow::Error>(sum + agent.take(&mut writer)?));
            time = begin.elapsed();
        });
        back_to_back.add(time);
        ensure!(heard? == 0, "nothing has changed");
    }
    let back_to_back_ns = back_to_back.sorted().us(500) * 1e3 / WAITING as f64;
    drop(table);
    let (all, folding, folding_twice) = (all.sorted(), folding.sorted(), folding_twice.sorted());
    Ok(Measured { all, folding, folding_twice, back_to_back_ns, allocations, bytes })
}

/// Reports of many agents in turn.
fn many() -> anyhow::Result<Measured> {
    let (mut writer, _table) = usage::table();
    let mut agents: Vec<_> = (0..AGENTS).map(Agent::new).collect();
    let mut times = Times::default();
    // One receive buffer of the many is as good as another, and less memory.
    let mut reader = Reader::default();
    for turn in 0..TURNS {
        for agent in &mut agents {
            std::mem::swap(&mut reader, &mut agent.reader);
            agent.send(Busy::Everything)?;
            let begin = clock::now();
            agent.take(&mut writer)?;
            if turn > 0 {
                times.add(begin.elapsed());
            }
            std::mem::swap(&mut reader, &mut agent.reader);
        }
    }
    let none = || Times::default().sorted();
    let (folding, folding_twice, back_to_back_ns) = (none(), none(), 0.0);
    Ok(Measured { all: times.sorted(), folding, folding_twice, back_to_back_ns, allocations: 0, bytes: 0 })
}

/// What two looks at the clock take, nanoseconds.
fn clock_ns() -> f64 {
    let mut times = Times::default();
    (0..10_000).for_each(|_| times.add(clock::now().elapsed()));
    times.sorted().us(500) * 1e3
}
