//! `ingot doctor`: what a machine can and cannot measure and enforce. Of this one, by `ingot-agent doctor`, which tries it
//! and needs no agent that runs; of others, by asking their agents. Looks at nothing itself.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};
use api::doctor::{Report, State};
use client::Address;
use client::operator::Operator;

use crate::{Cluster, text};

/// The exit code when something is missing: 1 says that it could not be found out.
const MISSING: u8 = 3;

const PROBE: &str = "ingot-agent";

/// Whom to ask.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Ask the agent that runs there, HOST:PORT, instead of trying this machine.
    #[arg(long, conflicts_with = "all")]
    agent: Option<Address>,
    /// Ask every agent of the master.
    #[arg(long)]
    all: bool,
    /// Print the findings as JSON.
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(cluster: &Cluster, args: &Args) -> Result<ExitCode> {
    let (reports, failures) = match (&args.agent, args.all) {
        (Some(agent), _) => (vec![ask(agent.clone()).await?], 0),
        (None, true) => ask_all(cluster).await?,
        (None, false) => (vec![probe()?], 0),
    };
    let mut out = std::io::stdout().lock();
    if args.json {
        let document = if args.all {
            serde_json::to_string_pretty(&reports)
        } else {
            serde_json::to_string_pretty(&reports[0])
        };
        writeln!(out, "{}", document?)?;
    } else {
        for (at, report) in reports.iter().enumerate() {
            write!(out, "{}{report}", if at > 0 { "\n\n" } else { "" })?;
        }
    }
    Ok(match reports.iter().any(|it| it.count(State::Missing) > 0) {
        _ if failures > 0 => ExitCode::FAILURE,
        true => ExitCode::from(MISSING),
        false => ExitCode::SUCCESS,
    })
}

async fn ask(agent: Address) -> Result<Report> {
    let answer = Operator::new(agent.clone()).get_json("/doctor").await;
    let answer = answer.with_context(|| format!("the agent at {agent} does not say"))?;
    serde_json::from_value(answer).with_context(|| format!("what the agent at {agent} says is no report"))
}

/// What those said that could be asked, and how many could not.
async fn ask_all(cluster: &Cluster) -> Result<(Vec<Report>, usize)> {
    let answer = cluster.operator().get_json("/slaves").await?;
    let agents = answer["slaves"].as_array().context("the answer lacks `slaves`")?;
    if agents.is_empty() {
        bail!("no agent is registered with the master");
    }
    let (mut reports, mut failures) = (Vec::new(), 0);
    for agent in agents {
        let pid = text(agent, "pid")?;
        let address = pid.rsplit('@').next().unwrap_or(pid);
        match ask(address.parse().with_context(|| format!("an agent's address: {pid}"))?).await {
            Ok(report) => reports.push(report),
            Err(error) => {
                failures += 1;
                eprintln!("ingot: {error:#}");
            }
        }
    }
    Ok((reports, failures))
}

/// Has the agent's program try this machine.
fn probe() -> Result<Report> {
    let program = beside_us().unwrap_or_else(|| PROBE.into());
    let output = Command::new(&program).args(["doctor", "--json"]).output();
    let output = output.with_context(|| {
        format!("cannot start {}; with --agent HOST:PORT an agent that runs is asked", program.display())
    })?;
    serde_json::from_slice(&output.stdout).with_context(|| {
        let said = String::from_utf8_lossy(&output.stderr);
        format!("{} doctor: {}: {}", program.display(), output.status, said.trim())
    })
}

/// The agent's program is usually installed where we are; else it is looked for as any other.
fn beside_us() -> Option<PathBuf> {
    let program = std::env::current_exe().ok()?.with_file_name(PROBE);
    program.exists().then_some(program)
}
