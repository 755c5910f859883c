//! Replay: recorded series of usage through the estimator's core, every predictor in turn. The protocol: 200 machines of 24
//! series drawn with a seed, five-minute steps, a peak within the next hour, the first hour not judged.

use super::machines::{What, draw, score};
use super::{synthetic, traces};
use crate::report::{Better, Goal, Report};
use ingot_agent::estimator::predictor::Kind;
use std::path::PathBuf;

const VIOLATED: Goal = Goal {
    name: "replay: steps at which more was used than predicted",
    unit: "%",
    better: Better::Lower,
    bar: 0.5,
};
const RECLAIMED: Goal =
    Goal { name: "replay: reclaimed of what could have been", unit: "%", better: Better::Higher, bar: 97.0 };

/// So many machines' drawings are replayed, the first with the seed that was asked for.
const SEEDS: u64 = 5;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Series to replay: a folder of files or a .tar.gz [default: $INGOT_TRACES, or ../shared/traces]
    #[arg(long)]
    traces: Option<PathBuf>,
    /// Column of the files that is replayed; 0 is CPU in the usual ones.
    #[arg(long, default_value_t = 0)]
    column: usize,
    #[arg(long, default_value_t = 200)]
    machines: usize,
    /// Series of each machine.
    #[arg(long, default_value_t = 24)]
    series: usize,
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The table only: no other seeds, sizes, halves and series.
    #[arg(long)]
    table_only: bool,
}

pub(super) fn run(arguments: &Arguments, report: &mut Report) -> anyhow::Result<()> {
    let path = arguments.traces.clone().unwrap_or_else(traces::usual);
    let series = match traces::read(&path, arguments.column) {
        Ok(series) => series,
        // Without the usual ones there is nothing to compare with; whoever names others wants to hear that they are not there.
        Err(why) if arguments.traces.is_none() => {
            report.goal(&VIOLATED, Err(format!("{why:#}")));
            report.goal(&RECLAIMED, Err(format!("{why:#}")));
            return Ok(());
        }
        Err(why) => return Err(why),
    };
    let machines = draw(&series, arguments.machines, arguments.series, arguments.seed);
    for kind in Kind::ALL {
        let score = score(&machines, kind, What::Peak);
        if kind == Kind::Reach {
            report.goal(&VIOLATED, Ok(score.violated_percent()));
            report.goal(&RECLAIMED, Ok(score.reclaimed_percent()));
        }
        report.detail(&format!("replay, {}", kind.as_str()), score.json());
    }
    report.detail("replay, reach as it is sent", score(&machines, Kind::Reach, What::Sent).json());
    if !arguments.table_only {
        others(arguments, &series, report);
    }
    Ok(())
}

/// Where the parameters do not come from.
fn others(arguments: &Arguments, series: &[traces::Series], report: &mut Report) {
    let Arguments { machines, series: each, seed, .. } = *arguments;
    let mut each_kind = |name: &str, series: &[traces::Series], each: usize, seed: u64| {
        let machines = draw(series, machines, each, seed);
        for kind in Kind::ALL {
            let name = format!("replay, {name}, {}", kind.as_str());
            report.detail(&name, score(&machines, kind, What::Peak).json());
        }
    };
    for more in 1..SEEDS {
        each_kind(&format!("seed {}", seed + more), series, each, seed + more);
    }
    for size in [8, 60] {
        each_kind(&format!("{size} series a machine"), series, size, seed);
    }
    // By turns: the files' order is that of their names, and names may say what they are of.
    for (name, rest) in [("even", 0), ("odd", 1)] {
        let half: Vec<_> = series.iter().skip(rest).step_by(2).cloned().collect();
        each_kind(&format!("{name} half of the series"), &half, each, seed);
    }
    for (name, series) in synthetic::all(seed) {
        each_kind(name, &series, each, seed);
    }
}
