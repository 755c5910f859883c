//! Oversubscription: how well what may be revocable is predicted. A part a file; `--only` runs one.

mod machines;
mod replay;
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
}

#[derive(clap::ValueEnum, Clone, Copy, PartialEq)]
enum Part {
    /// Series of usage through the estimator's core, each predictor against who knows the future.
    Replay,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<Report> {
    let mut report = Report::new("oversubscription");
    let is_wanted = |part| arguments.only.is_none_or(|only| only == part);
    if is_wanted(Part::Replay) {
        replay::run(&arguments.replay, &mut report)?;
    }
    Ok(report)
}
