//! `ingot top`: the cluster as it works, in a terminal. What is shown and what a key does is decided in `state` and below,
//! which know no terminal and no socket; `shell` reads the daemons, the keyboard and the clock.

mod board;
mod columns;
mod counters;
mod draw;
mod facts;
mod fetch;
mod history;
mod input;
mod insight;
mod layout;
mod list;
mod numbers;
mod once;
mod reading;
mod shell;
mod state;
pub(crate) mod terminal;
mod units;

#[cfg(test)]
mod fixture;
#[cfg(test)]
mod frames;
#[cfg(test)]
mod tests;

use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;

use crate::Cluster;
use board::View;
use draw::Glyphs;

/// What to show, and how often.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Seconds between two looks at the cluster. A master that takes long to answer is asked less often.
    #[arg(long, default_value = "2", value_parser = interval, value_name = "SECONDS")]
    interval: Duration,
    /// The list to begin with.
    #[arg(long, value_enum, default_value = "tasks")]
    view: Shown,
    /// Only rows that hold this in their id, name, state, node or framework.
    #[arg(long, default_value = "", value_name = "TEXT")]
    filter: String,
    /// Order by the column with this title, such as MEM or RX/s.
    #[arg(long, value_name = "COLUMN")]
    sort: Option<String>,
    /// Look closely at the task with this id.
    #[arg(long, value_name = "ID")]
    task: Option<String>,
    /// Look at this many tasks, the newest.
    #[arg(long, default_value_t = 20_000)]
    limit: usize,
    /// Draw with ASCII only.
    #[arg(long)]
    ascii: bool,
    /// Look twice, an interval apart, print one list and end; so it is without a terminal too.
    #[arg(long)]
    once: bool,
    /// Rows to print with `--once`.
    #[arg(long, default_value_t = 50)]
    rows: u16,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Shown {
    Nodes,
    Frameworks,
    Tasks,
}

fn interval(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "no number of seconds".to_owned())?;
    // Agents report once a second: looking more often shows the same figures again.
    if (0.5..=3_600.0).contains(&seconds) {
        Ok(Duration::from_secs_f64(seconds))
    } else {
        Err("from 0.5 to 3600".to_owned())
    }
}

pub(crate) async fn run(cluster: &Cluster, args: &Args) -> Result<ExitCode> {
    let view = match args.view {
        Shown::Nodes => View::Nodes,
        Shown::Frameworks => View::Frameworks,
        Shown::Tasks => View::Tasks,
    };
    let mut state = state::State::new(cluster.master.to_string(), args.interval, view, args.filter.clone());
    state.wanted.clone_from(&args.task);
    if let Some(title) = &args.sort {
        state.sort_by_title(title).map_err(anyhow::Error::msg)?;
    }
    let glyphs = if args.ascii || !speaks_utf8() { Glyphs::ASCII } else { Glyphs::UNICODE };
    if args.once || !std::io::stdout().is_terminal() || !std::io::stdin().is_terminal() {
        once::run(cluster, args, state, glyphs).await
    } else {
        shell::run(cluster, args, state, glyphs).await
    }
}

/// As the C library decides it: the first of these that is set counts.
fn speaks_utf8() -> bool {
    let set = |name: &&str| std::env::var(name).is_ok_and(|it| !it.is_empty());
    let locale =
        ["LC_ALL", "LC_CTYPE", "LANG"].iter().find(|it| set(it)).and_then(|it| std::env::var(it).ok());
    let locale = locale.unwrap_or_default().to_ascii_uppercase();
    locale.contains("UTF-8") || locale.contains("UTF8")
}
