//! What the agent measures of its containers: how true it is, held against the kernel's own figures, and what it costs.
//! A part a file, each with its goals; `PARTS` is the list. A part whose needs this machine does not meet, or that fails,
//! leaves its goals unmeasured with the reason, and the others go on.

mod agent_cost;
mod bytes;
mod container;
mod cpu;
mod empty;
pub(crate) mod janitor;
mod memory;
mod namespace;
mod needs;
mod programs;
mod report;
mod sampler;
mod scene;
mod throughput;

use std::time::Duration;

use serde_json::{Map, Value};

use crate::report::{Goal, Report};
use needs::Need;
use scene::Scene;

#[derive(clap::Args, Clone)]
pub(crate) struct Arguments {
    /// Only these parts; all of them when none is named.
    #[arg(long, value_name = "NAME", value_parser = clap::builder::PossibleValuesParser::new(PARTS.iter().map(|it| it.name)))]
    only: Vec<String>,
    /// How long a timed measurement lasts. Most parts take a fraction or some multiples of it.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
}

/// One measurement.
struct Part {
    name: &'static str,
    needs: &'static [Need],
    goals: &'static [Goal],
    run: fn(&Scene, &mut Findings) -> anyhow::Result<()>,
}

const PARTS: &[Part] = &[
    cpu::PART,
    memory::PART,
    bytes::PART,
    programs::PART,
    throughput::PART,
    sampler::PART,
    agent_cost::PART,
    report::PART,
];

/// What a part has found.
#[derive(Default)]
struct Findings {
    values: Vec<(&'static str, f64)>,
    detail: Map<String, Value>,
}

impl Findings {
    /// The value of one of the part's goals.
    fn goal(&mut self, goal: &Goal, value: f64) {
        self.values.push((goal.name, value));
    }

    fn detail(&mut self, name: &str, value: impl Into<Value>) {
        self.detail.insert(name.into(), value.into());
    }
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<Report> {
    let mut report = Report::new("accounting");
    let scene = Scene::new(Duration::from_secs(arguments.seconds))?;
    report.detail("seconds", arguments.seconds);
    for part in PARTS
        .iter()
        .filter(|it| arguments.only.is_empty() || arguments.only.iter().any(|name| name == it.name))
    {
        eprintln!("ingot-bench: {}", part.name);
        measure(part, &scene, &mut report);
    }
    Ok(report)
}

fn measure(part: &Part, scene: &Scene, report: &mut Report) {
    let mut findings = Findings::default();
    let missing: Vec<String> = part.needs.iter().filter_map(|need| need.missing()).collect();
    let why = if missing.is_empty() {
        let done = (part.run)(scene, &mut findings);
        done.err().map(|error| format!("{error:#}"))
    } else {
        Some(missing.join("; "))
    };
    for goal in part.goals {
        let value = findings.values.iter().find(|(name, _)| *name == goal.name).map(|(_, value)| *value);
        let why = || why.clone().unwrap_or_else(|| "the part ended without it".into());
        report.goal(goal, value.ok_or_else(why));
    }
    if let Some(why) = why {
        findings.detail("incomplete", why);
    }
    report.detail(part.name, findings.detail);
}
