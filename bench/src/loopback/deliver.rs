//! `delivery`: how soon what an ended task held is offered to the next framework, and how many offers a second leave.
//!
//! First phase, tasks end at a steady rate: an agent says that its task is over, the framework hears so and acknowledges,
//! some framework is offered what is free and launches the next task there. Open loop: each end has its due time, and
//! what is measured is from then until the OFFERS event has been read from the framework's socket, whether or not the bench was
//! late to send it (no coordinated omission). Second phase, each framework declines what it has been offered, for no time at all, every 100 ms, and all of it
//! is offered to others.

use std::time::{Duration, Instant};

use anyhow::bail;
use api::media::Encoding;
use serde_json::json;

use super::cycle::{Answer, Cycle};
use super::files;
use super::master::{Master, threads_since};
use crate::clock::{self, Times};
use crate::report::{Better, Goal, Report};

/// What the bars are for.
const AGENTS: usize = 10_000;
const SUBSCRIBERS: usize = 200;
const ENDS_PER_S: u32 = 5_000;

const P50: [Goal; 2] = [
    latency("task ends -> OFFERS at the framework, protobuf, p50", 0.3),
    latency("task ends -> OFFERS at the framework, JSON, p50", 0.3),
];
const P99: [Goal; 2] = [
    latency("task ends -> OFFERS at the framework, protobuf, p99", 3.0),
    latency("task ends -> OFFERS at the framework, JSON, p99", 3.0),
];
const OFFERS: [Goal; 2] =
    [rate("offers delivered, protobuf", 50_000.0), rate("offers delivered, JSON", 25_000.0)];

const fn latency(name: &'static str, bar: f64) -> Goal {
    Goal { name, unit: "ms", better: Better::Lower, bar }
}

const fn rate(name: &'static str, bar: f64) -> Goal {
    Goal { name, unit: "1/s", better: Better::Higher, bar }
}

#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[arg(long, default_value_t = AGENTS)]
    agents: usize,
    #[arg(long, default_value_t = SUBSCRIBERS)]
    subscribers: usize,
    #[arg(long, default_value_t = ENDS_PER_S)]
    ends_per_s: u32,
    /// Length of each phase, seconds.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// How often, in the second phase, a subscriber declines what it has, milliseconds. Where nothing else holds them up, all
    /// agents are offered once in that time.
    #[arg(long, default_value_t = 100)]
    think_ms: u64,
    /// What the subscribers speak; both, one after the other, if left out.
    #[arg(long, value_enum)]
    encoding: Option<Spoken>,
}

#[derive(clap::ValueEnum, Clone, Copy, PartialEq)]
enum Spoken {
    Protobuf,
    Json,
}

impl Spoken {
    fn name(self) -> &'static str {
        match self {
            Self::Protobuf => "protobuf",
            Self::Json => "JSON",
        }
    }

    fn encoding(self) -> Encoding {
        match self {
            Self::Protobuf => Encoding::Protobuf,
            Self::Json => Encoding::Json,
        }
    }
}

/// For every agent to run a task.
const FILL_MAX: Duration = Duration::from_secs(60);
/// Of the first phase, and of the second, before anything counts.
const WARM_UP: Duration = Duration::from_secs(2);

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<Report> {
    let mut report = Report::new("delivery");
    report.detail("agents", arguments.agents);
    report.detail("subscribers", arguments.subscribers);
    report.detail("task ends a second", arguments.ends_per_s);
    files::make_room(arguments.agents + 2 * arguments.subscribers)?;
    for spoken in [Spoken::Protobuf, Spoken::Json] {
        if arguments.encoding.is_none_or(|only| only == spoken) {
            measure(arguments, spoken, &mut report)?;
        }
    }
    Ok(report)
}

fn measure(arguments: &Arguments, spoken: Spoken, report: &mut Report) -> anyhow::Result<()> {
    let master = Master::start(&[])?;
    let mut cycle = Cycle::begin(&master, arguments.agents, arguments.subscribers, spoken.encoding())?;
    let end = clock::now() + FILL_MAX;
    while cycle.running() < arguments.agents {
        cycle.turn(None, Answer::Launch)?;
        if clock::now() > end {
            bail!("{} of {} agents run a task", cycle.running(), arguments.agents);
        }
    }
    paced(arguments, spoken, &master, &mut cycle, report)?;
    at_once(arguments, spoken, &master, &mut cycle, report)
}

/// First phase.
fn paced(
    arguments: &Arguments,
    spoken: Spoken,
    master: &Master,
    cycle: &mut Cycle,
    report: &mut Report,
) -> anyhow::Result<()> {
    let period = Duration::from_secs(1) / arguments.ends_per_s;
    let mut pace = Pace { next: clock::now(), period, late: Times::default() };
    pace.until(clock::now() + WARM_UP, cycle)?;
    cycle.times = Times::default();
    pace.late = Times::default();
    let (began, cpu, threads) = (clock::now(), master.cpu()?, master.threads()?);
    let own = clock::thread_cpu();
    pace.until(began + Duration::from_secs(arguments.seconds), cycle)?;
    let (took, cpu) = (began.elapsed().as_secs_f64(), (master.cpu()? - cpu).as_secs_f64());
    let (times, late) = (std::mem::take(&mut cycle.times).sorted(), pace.late.sorted());
    let name = spoken.name();
    let ends = times.count() as f64;
    report.goal(&P50[spoken as usize], at_full(arguments, times.us(500) / 1e3));
    report.goal(&P99[spoken as usize], at_full(arguments, times.us(990) / 1e3));
    report.detail(
        &format!("task ends, {name}"),
        json!({
            "latency": times.summary(),
            "of_which_the_bench_was_late": late.summary(),
            "ends_per_s": ends / took,
            "master_cpu_us_an_end": cpu * 1e6 / ends,
            "master_cpu_s_by_thread": threads_since(&threads, &master.threads()?),
            "bench_cpu_us_an_end": (clock::thread_cpu() - own).as_secs_f64() * 1e6 / ends,
        }),
    );
    Ok(())
}

/// Ends tasks when they are due.
struct Pace {
    next: Instant,
    period: Duration,
    late: Times,
}

impl Pace {
    fn until(&mut self, end: Instant, cycle: &mut Cycle) -> anyhow::Result<()> {
        while self.next < end {
            cycle.turn(Some(self.next), Answer::Launch)?;
            let now = clock::now();
            while self.next <= now && cycle.end_task(self.next)? {
                self.late.add(now - self.next);
                self.next += self.period;
            }
        }
        Ok(())
    }
}

/// Second phase.
fn at_once(
    arguments: &Arguments,
    spoken: Spoken,
    master: &Master,
    cycle: &mut Cycle,
    report: &mut Report,
) -> anyhow::Result<()> {
    while cycle.end_task(clock::now())? {}
    let gap = Duration::from_millis(arguments.think_ms) / u32::try_from(cycle.subscribers())?;
    let (mut due, mut turn) = (clock::now(), 0);
    let mut for_a_while = |cycle: &mut Cycle, time: Duration| {
        let end = clock::now() + time;
        while due < end {
            cycle.turn(Some(due), Answer::Keep)?;
            while due <= clock::now() && due < end {
                cycle.decline(turn % cycle.subscribers())?;
                turn += 1;
                due += gap;
            }
        }
        anyhow::Ok(())
    };
    for_a_while(cycle, WARM_UP)?;
    let before = (clock::now(), master.cpu()?, master.threads()?, cycle.seen, clock::thread_cpu());
    for_a_while(cycle, Duration::from_secs(arguments.seconds))?;
    let (took, cpu) = (before.0.elapsed().as_secs_f64(), (master.cpu()? - before.1).as_secs_f64());
    let offers = (cycle.seen.offers - before.3.offers) as f64;
    let events = (cycle.seen.events - before.3.events) as f64;
    let bytes = (cycle.seen.bytes - before.3.bytes) as f64;
    report.goal(&OFFERS[spoken as usize], at_full(arguments, offers / took));
    report.detail(
        &format!("offers, {}", spoken.name()),
        json!({
            "offers_per_s": offers / took,
            "offers_an_event": offers / events,
            "bytes_an_offer": bytes / offers,
            "master_cpu_us_an_offer": cpu * 1e6 / offers,
            "master_cores": cpu / took,
            "master_cpu_s_by_thread": threads_since(&before.2, &master.threads()?),
            "bench_cpu_us_an_offer": (clock::thread_cpu() - before.4).as_secs_f64() * 1e6 / offers,
        }),
    );
    Ok(())
}

/// Bars are for as many as they say.
fn at_full(arguments: &Arguments, value: f64) -> Result<f64, String> {
    let Arguments { agents, subscribers, ends_per_s, .. } = *arguments;
    if (agents, subscribers, ends_per_s) == (AGENTS, SUBSCRIBERS, ENDS_PER_S) {
        Ok(value)
    } else {
        Err(format!("{value:.3} with {agents} agents, {subscribers} subscribers, {ends_per_s} ends/s"))
    }
}
