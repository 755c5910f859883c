//! Oversubscription: how well what may be revocable is predicted; what revocable tasks do to the others, and how fast they
//! are held back. A part a file; `--only` runs one. All but the prediction need root, cgroup v2, `ingot-agent` beside this
//! program, and a quiet machine.

mod live;
mod machines;
mod replay;
mod revocation;
mod scene;
mod synthetic;
mod traces;

use crate::report::Report;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// One part instead of all.
    #[arg(long, value_enum)]
    only: Option<Part>,
    #[command(flatten)]
    replay: replay::Arguments,
    #[command(flatten)]
    live: live::Arguments,
    #[command(flatten)]
    revocation: revocation::Arguments,
}

#[derive(clap::ValueEnum, Clone, Copy, PartialEq)]
enum Part {
    /// Series of usage through the estimator's core, each predictor against who knows the future.
    Replay,
    /// A server alone and beside greedy revocable tasks.
    Live,
    /// From a missed target to the throttle, and to the kill.
    Revocation,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<Report> {
    let mut report = Report::new("oversubscription");
    let is_wanted = |part| arguments.only.is_none_or(|only| only == part);
    if is_wanted(Part::Replay) {
        replay::run(&arguments.replay, &mut report)?;
    }
    if is_wanted(Part::Live) {
        live::run(&arguments.live, &mut report)?;
    }
    if is_wanted(Part::Revocation) {
        revocation::run(&arguments.revocation, &mut report)?;
    }
    Ok(report)
}
