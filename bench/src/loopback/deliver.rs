//! `delivery`: how soon what an ended task held is offered to the next framework, and how many offers a second leave.
//!
//! First phase, tasks end at a steady rate: an agent says that its task is over, the framework hears so and acknowledges,
//! some framework is offered what is free and launches the next task there. Open loop: each end has its due time, and
//! what is measured is from then until the OFFERS event has been read from the framework's socket, whether or not the bench was
//! late to send it (no coordinated omission). Second phase, each framework declines what it has been offered every 100 ms, for
//! Mesos' five seconds, and all of it is offered to others.

use std::time::{Duration, Instant};

use anyhow::bail;
use api::media::Encoding;
use serde_json::{Value, json};

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
    /// What it declines it does not want for so long, seconds. For none at all, the master bounds how fast it goes round.
    #[arg(long, default_value_t = 5.0)]
    refuse_s: f64,
    /// Threads of the master that serve HTTP.
    #[arg(long, default_value_t = 1)]
    http_threads: usize,
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
            let mut run = Run::begin(arguments, spoken)?;
            run.paced(&mut report)?;
            run.at_once(&mut report)?;
        }
    }
    Ok(report)
}

/// Agents and frameworks that speak one language, at work with a master.
struct Run<'a> {
    arguments: &'a Arguments,
    spoken: Spoken,
    master: Master,
    cycle: Cycle,
}

/// What was used since a moment, by the clocks of those who used it.
struct Meter {
    began: Instant,
    master: Duration,
    threads: Vec<(String, f64)>,
    bench: Duration,
}

impl Meter {
    fn start(master: &Master) -> anyhow::Result<Self> {
        let (cpu, threads) = (master.cpu()?, master.threads()?);
        Ok(Self { began: clock::now(), master: cpu, threads, bench: clock::thread_cpu() })
    }

    /// Of so many `things`, each "an end" or the like.
    fn read(&self, master: &Master, count: f64, thing: &str) -> anyhow::Result<Value> {
        let took = self.began.elapsed().as_secs_f64();
        let cpu = (master.cpu()? - self.master).as_secs_f64();
        let bench = (clock::thread_cpu() - self.bench).as_secs_f64();
        Ok(json!({
            "a_second": count / took,
            format!("master_cpu_us_{thing}"): cpu * 1e6 / count,
            "master_cores": cpu / took,
            "master_cpu_s_by_thread": threads_since(&self.threads, &master.threads()?),
            format!("bench_cpu_us_{thing}"): bench * 1e6 / count,
        }))
    }
}

impl<'a> Run<'a> {
    /// Every agent runs a task.
    fn begin(arguments: &'a Arguments, spoken: Spoken) -> anyhow::Result<Self> {
        let threads = format!("--http-threads={}", arguments.http_threads);
        let master = Master::start(&[&threads])?;
        let mut cycle = Cycle::begin(&master, arguments.agents, arguments.subscribers, spoken.encoding())?;
        let end = clock::now() + FILL_MAX;
        while cycle.running() < arguments.agents {
            cycle.turn(None, Answer::Launch)?;
            if clock::now() > end {
                bail!("{} of {} agents run a task", cycle.running(), arguments.agents);
            }
        }
        Ok(Self { arguments, spoken, master, cycle })
    }

    /// First phase.
    fn paced(&mut self, report: &mut Report) -> anyhow::Result<()> {
        let Self { arguments, spoken, master, cycle } = self;
        let period = Duration::from_secs(1) / arguments.ends_per_s;
        let mut pace = Pace { next: clock::now(), period, late: Times::default() };
        pace.until(clock::now() + WARM_UP, cycle)?;
        cycle.times = Times::default();
        pace.late = Times::default();
        let meter = Meter::start(master)?;
        pace.until(meter.began + Duration::from_secs(arguments.seconds), cycle)?;
        let (times, late) = (std::mem::take(&mut cycle.times).sorted(), pace.late.sorted());
        report.goal(&P50[*spoken as usize], at_full(arguments, times.us(500) / 1e3));
        report.goal(&P99[*spoken as usize], at_full(arguments, times.us(990) / 1e3));
        let used = meter.read(master, times.count() as f64, "an_end")?;
        report.detail(
            &format!("task ends, {}", spoken.name()),
            json!({"latency": times.summary(), "of_which_the_bench_was_late": late.summary(), "used": used}),
        );
        Ok(())
    }

    /// Second phase.
    fn at_once(&mut self, report: &mut Report) -> anyhow::Result<()> {
        let Self { arguments, spoken, master, cycle } = self;
        while cycle.end_task(clock::now())? {}
        let gap = Duration::from_millis(arguments.think_ms) / u32::try_from(cycle.subscribers())?;
        let mut round = Round { due: clock::now(), gap, refuse_s: arguments.refuse_s, turn: 0 };
        round.until(clock::now() + WARM_UP, cycle)?;
        let (meter, before) = (Meter::start(master)?, cycle.seen);
        round.until(meter.began + Duration::from_secs(arguments.seconds), cycle)?;
        let took = meter.began.elapsed().as_secs_f64();
        let offers = (cycle.seen.offers - before.offers) as f64;
        let events = (cycle.seen.events - before.events) as f64;
        let bytes = (cycle.seen.bytes - before.bytes) as f64;
        report.goal(&OFFERS[*spoken as usize], at_full(arguments, offers / took));
        let used = meter.read(master, offers, "an_offer")?;
        report.detail(
            &format!("offers, {}", spoken.name()),
            json!({"offers_an_event": offers / events, "bytes_an_offer": bytes / offers, "used": used}),
        );
        Ok(())
    }
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

/// Subscribers decline in turn.
struct Round {
    due: Instant,
    gap: Duration,
    refuse_s: f64,
    turn: usize,
}

impl Round {
    fn until(&mut self, end: Instant, cycle: &mut Cycle) -> anyhow::Result<()> {
        while self.due < end {
            cycle.turn(Some(self.due), Answer::Keep)?;
            while self.due <= clock::now() && self.due < end {
                cycle.decline(self.turn % cycle.subscribers(), self.refuse_s)?;
                self.turn += 1;
                self.due += self.gap;
            }
        }
        Ok(())
    }
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
