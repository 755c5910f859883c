//! `ingot`: the command line of a cluster. One file a command; this one only finds the master and the command.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::{Parser, Subcommand};
use client::Address;
use client::operator::Operator;
use leader::url::{Masters, Place};

mod doctor;
mod drain;
mod exec;
mod launch;
mod limits;
mod list;
mod logs;
mod run;
mod sandbox;
mod table;
mod top;

/// Runs commands on a cluster, and shows what it does.
#[derive(Parser)]
#[command(name = "ingot", version)]
struct Cli {
    /// The master's address, HOST:PORT; a list of these; or zk://[USER:PASS@]HOST:PORT,.../PATH.
    #[arg(long, global = true, env = "INGOT_MASTER", default_value = "127.0.0.1:5050")]
    master: Masters,
    #[command(subcommand)]
    command: Command,
}

/// Which cluster.
#[derive(Clone)]
struct Cluster {
    /// The leading master's, or that of one that knows it.
    master: Address,
}

/// To find out which master leads.
const FIND_MAX: Duration = Duration::from_secs(10);

#[derive(Subcommand)]
enum Command {
    /// Run a command as a task; show its output, end as it ends.
    Run(run::Args),
    /// The machines of the cluster.
    Agents(list::Format),
    /// The frameworks that are subscribed, and those that were.
    Frameworks(list::Format),
    /// Tasks, the latest first, with what the kernel measured of each.
    Tasks(list::Tasks),
    /// What a task wrote.
    Logs(logs::Args),
    /// Run a command in a running task's container.
    Exec(exec::Args),
    /// Show, and type into, the terminal of a task that has one; Ctrl-P Ctrl-Q leaves it.
    Attach(exec::AttachArgs),
    /// Change what a running task may use.
    UpdateLimits(limits::Args),
    /// End all tasks of an agent and offer nothing more of it.
    Drain(drain::Drain),
    /// Offer nothing more of an agent; its tasks stay.
    Deactivate(drain::Agent),
    /// Offer an agent again that was deactivated or drained.
    Reactivate(drain::Agent),
    /// Say that an agent will never come back; its tasks are lost. Cannot be undone.
    Gone(drain::Agent),
    /// What this machine, or an agent's, can and cannot measure and enforce, and what would change it.
    Doctor(doctor::Args),
    /// Watch nodes, frameworks and tasks as they work.
    Top(top::Args),
}

fn main() -> ExitCode {
    let Cli { master, command } = Cli::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("the kernel gives a process its first epoll");
    let done = runtime.block_on(async {
        let Place { host, port } = leader::detector::find(&master, FIND_MAX).await?;
        let cluster = Cluster { master: Address { host, port } };
        match &command {
            Command::Run(args) => run::run(&cluster, args).await,
            Command::Agents(format) => list::agents(&cluster, format).await,
            Command::Frameworks(format) => list::frameworks(&cluster, format).await,
            Command::Tasks(args) => list::tasks(&cluster, args).await,
            Command::Logs(args) => logs::run(&cluster, args).await,
            Command::Exec(args) => exec::run(&cluster, args).await,
            Command::Attach(args) => exec::attach(&cluster, args).await,
            Command::UpdateLimits(args) => limits::run(&cluster, args).await,
            Command::Drain(args) => drain::drain(&cluster, args).await,
            Command::Deactivate(args) => drain::change(&cluster, args, "DEACTIVATE_AGENT").await,
            Command::Reactivate(args) => drain::change(&cluster, args, "REACTIVATE_AGENT").await,
            Command::Gone(args) => drain::change(&cluster, args, "MARK_AGENT_GONE").await,
            Command::Doctor(args) => doctor::run(&cluster, args).await,
            Command::Top(args) => top::run(&cluster, args).await,
        }
    });
    match done {
        Ok(code) => code,
        Err(error) if is_closed_pipe(&error) => ExitCode::SUCCESS, // `ingot tasks | head` has all it wanted.
        Err(error) => {
            eprintln!("ingot: {error:#}");
            if is_unreachable(&error) {
                eprintln!(
                    "ingot: is a master running there? Name another with --master HOST:PORT or INGOT_MASTER"
                );
            }
            ExitCode::FAILURE
        }
    }
}

impl Cluster {
    fn operator(&self) -> Operator {
        Operator::new(self.master.clone())
    }
}

/// Reads one field of an answer; a daemon that leaves it out is named.
fn text<'a>(value: &'a serde_json::Value, field: &'static str) -> anyhow::Result<&'a str> {
    value[field].as_str().with_context(|| format!("the answer lacks `{field}`"))
}

fn is_unreachable(error: &anyhow::Error) -> bool {
    error.chain().any(|it| matches!(it.downcast_ref(), Some(client::Error::Connect { .. })))
}

fn is_closed_pipe(error: &anyhow::Error) -> bool {
    let io = |it: &(dyn std::error::Error + 'static)| it.downcast_ref().map(std::io::Error::kind);
    error.chain().any(|it| io(it) == Some(std::io::ErrorKind::BrokenPipe))
}
