//! What a failover costs: a registry written, opened and followed by agents that come back, over loopback TCP and with a real
//! ZooKeeper. The masters are processes of their own. A part whose needs are not there says so; it is not measured then.

mod failover;
mod quorum;
mod registry;
mod returning;

use crate::report::{Better, Goal, Report};

const ADMITTED_REDB: Goal = Goal {
    name: "agents admitted through redb, batched",
    unit: "1/s",
    better: Better::Higher,
    bar: 20_000.0,
};
const ADMITTED_ZOOKEEPER: Goal =
    Goal { name: "agents admitted through ZooKeeper", unit: "1/s", better: Better::Higher, bar: 2_000.0 };
const OPENED_REDB: Goal =
    Goal { name: "opening a registry of 100,000 agents in redb", unit: "s", better: Better::Lower, bar: 1.0 };
const OPENED_ZOOKEEPER: Goal = Goal {
    name: "opening a registry of 100,000 agents in ZooKeeper",
    unit: "s",
    better: Better::Lower,
    bar: 1.0,
};
const BACK: Goal = Goal {
    name: "50,000 agents with 500,000 tasks back after a master's start",
    unit: "s",
    better: Better::Lower,
    bar: 10.0,
};
const OFFER: Goal = Goal {
    name: "first offer after the leader's death, 10 agents, beyond the session's time-out",
    unit: "ms",
    better: Better::Lower,
    bar: 500.0,
};

/// What the bars are for.
const ADMITTED_FULL: usize = 100_000;
const BACK_FULL: (usize, usize) = (50_000, 10);
const OFFER_FULL: usize = 10;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Agents in the registry that is written and opened.
    #[arg(long, default_value_t = ADMITTED_FULL)]
    admitted: usize,
    /// Agents that come back. Each is a socket here and one in the master: 50,000 need as many file descriptors.
    #[arg(long, default_value_t = BACK_FULL.0)]
    agents: usize,
    /// Of each agent that comes back.
    #[arg(long, default_value_t = BACK_FULL.1)]
    tasks: usize,
    /// Real agents when the leader dies.
    #[arg(long, default_value_t = OFFER_FULL)]
    failover_agents: usize,
    /// How often it does.
    #[arg(long, default_value_t = 5)]
    failovers: usize,
    /// `--zk_session_timeout`, milliseconds.
    #[arg(long, default_value_t = 10_000)]
    session_timeout_ms: u64,
    /// ZooKeeper's `tickTime`: it looks for sessions that are over once in it.
    #[arg(long, default_value_t = 200)]
    tick_ms: u32,
    /// Only these parts.
    #[arg(long, value_enum, num_args = 1.., default_values_t = [Part::Redb, Part::Zookeeper, Part::Returning, Part::Failover])]
    parts: Vec<Part>,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// The registry in a file.
    Redb,
    /// The registry in ZooKeeper.
    Zookeeper,
    /// Agents that come back to a new master.
    Returning,
    /// A leader that dies.
    Failover,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<Report> {
    let mut report = Report::new("recovery");
    let wants = |part| arguments.parts.contains(&part);
    if wants(Part::Redb) {
        let figures = registry::in_redb(arguments.admitted);
        tell(&mut report, arguments, figures, [&ADMITTED_REDB, &OPENED_REDB]);
    }
    if wants(Part::Zookeeper) {
        let figures = quorum::registry(arguments.admitted, arguments.tick_ms);
        tell(&mut report, arguments, figures, [&ADMITTED_ZOOKEEPER, &OPENED_ZOOKEEPER]);
    }
    if wants(Part::Returning) {
        let Arguments { agents, tasks, .. } = *arguments;
        let took = returning::run(agents, tasks, &mut report);
        let what = format!("with {agents} agents of {tasks} tasks");
        report.goal(&BACK, at_full(took.map(|it| it.as_secs_f64()), (agents, tasks) == BACK_FULL, &what));
    }
    if wants(Part::Failover) {
        let took = failover::run(arguments, &mut report);
        let what = format!("with {} agents", arguments.failover_agents);
        let beyond = took.map(|it| it.as_secs_f64() * 1e3 - arguments.session_timeout_ms as f64);
        report.goal(&OFFER, at_full(beyond, arguments.failover_agents == OFFER_FULL, &what));
    }
    Ok(report)
}

fn tell(
    report: &mut Report,
    arguments: &Arguments,
    figures: anyhow::Result<registry::Figures>,
    goals: [&Goal; 2],
) {
    let [admitted, opened] = match figures {
        Ok(figures) => [Ok(figures.admitted_per_s), Ok(figures.opened.as_secs_f64())],
        Err(error) => [Err(anyhow::anyhow!("{error:#}")), Err(error)],
    };
    report.goal(goals[0], admitted.map_err(|error| format!("{error:#}")));
    let what = format!("with {} agents", arguments.admitted);
    report.goal(goals[1], at_full(opened, arguments.admitted == ADMITTED_FULL, &what));
}

/// A bar is for as many as it says.
fn at_full(value: anyhow::Result<f64>, is_full: bool, what: &str) -> Result<f64, String> {
    match value {
        Ok(value) if is_full => Ok(value),
        Ok(value) => Err(format!("{value:.3} {what}")),
        Err(error) => Err(format!("{error:#}")),
    }
}
