//! `wordcount`: the command line of the example framework. Wiring only.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};
use client::{Address, Encoding};
use examples::count::Tally;
use examples::scheduler::Options;
use examples::{count, executor, report, scheduler, share};

/// Counts words on a cluster.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    role: Role,
}

#[derive(Subcommand)]
enum Role {
    /// Split the input into tasks, run them on a cluster, print what they counted.
    Scheduler(Scheduler),
    /// Count one share: what agents start.
    Executor,
    /// Count in this process, without a cluster.
    Alone(Output),
}

#[derive(Args)]
struct Scheduler {
    /// The master's address.
    #[arg(long, env = "INGOT_MASTER", default_value = "127.0.0.1:5050")]
    master: Address,
    /// How many tasks to split the input into.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    tasks: u16,
    /// CPUs of each task.
    #[arg(long, default_value_t = 0.5, value_parser = cpus, allow_negative_numbers = true)]
    cpus: f64,
    /// Memory of each task, in MiB.
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(64..=1 << 20))]
    mem: u32,
    /// How often a share is tried before the job fails.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    attempts: u32,
    /// The role to subscribe with.
    #[arg(long, default_value = "*")]
    role: String,
    /// Speak JSON to the master, not protobuf.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    output: Output,
}

#[derive(Args)]
struct Output {
    /// A file or folder (default: the sources of all crates in Cargo's registry cache).
    #[arg(long)]
    input: Option<PathBuf>,
    /// How many of the most frequent words to print.
    #[arg(long, default_value_t = 20)]
    top: usize,
    /// Write every word with its count to this file.
    #[arg(long)]
    table: Option<PathBuf>,
}

fn cpus(text: &str) -> Result<f64, String> {
    let cpus: f64 = text.parse().map_err(|_| "expected a number".to_owned())?;
    if (0.2..=1_024.0).contains(&cpus) { Ok(cpus) } else { Err("expected 0.2 to 1024".to_owned()) }
}

fn main() -> ExitCode {
    match run(Cli::parse().role) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("wordcount: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(role: Role) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match role {
        Role::Executor => {
            let ended = runtime.block_on(executor::run(Encoding::Protobuf));
            runtime.shutdown_background(); // A count that was told to stop is not waited for.
            ended
        }
        Role::Alone(output) => {
            let tally = count::alone(&share::list(&output.input()?)?)?;
            output.show(&tally)
        }
        Role::Scheduler(args) => {
            let options = Options {
                master: args.master,
                input: args.output.input()?,
                tasks: usize::from(args.tasks),
                cpus_milli: (args.cpus * 1_000.0).round() as u64,
                mem_mib: u64::from(args.mem),
                attempts_max: args.attempts,
                role: args.role,
                encoding: if args.json { Encoding::Json } else { Encoding::Protobuf },
            };
            let outcome = runtime.block_on(scheduler::run(&options))?;
            eprintln!("counted in {} tasks, {:.1} s", outcome.tasks, outcome.elapsed.as_secs_f64());
            args.output.show(&outcome.tally)
        }
    }
}

impl Output {
    /// Absolute: executors run in their sandboxes, not here.
    fn input(&self) -> Result<PathBuf> {
        let input = match &self.input {
            Some(input) => input.clone(),
            None => registry_sources()?,
        };
        std::path::absolute(&input).with_context(|| format!("cannot make {} absolute", input.display()))
    }

    fn show(&self, tally: &Tally) -> Result<()> {
        let mut out = std::io::stdout().lock();
        report::print(&mut out, tally, self.top)?;
        out.flush()?;
        if let Some(path) = &self.table {
            write_table(path, tally).with_context(|| format!("cannot write {}", path.display()))?;
        }
        Ok(())
    }
}

fn write_table(path: &Path, tally: &Tally) -> Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    report::table(&mut file, tally)?;
    Ok(file.flush()?)
}

fn registry_sources() -> Result<PathBuf> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| std::env::home_dir().map(|home| home.join(".cargo")));
    let sources = home.context("no home folder: say --input PATH")?.join("registry/src");
    anyhow::ensure!(sources.is_dir(), "no {}: say --input PATH", sources.display());
    Ok(sources)
}
