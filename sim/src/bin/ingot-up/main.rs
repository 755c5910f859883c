//! `ingot-up`: a cluster to look at. One master and one agent on this machine, the example job on them, a table of what
//! the kernel measured. `cargo xtask up` builds everything and becomes this program.

mod job;
mod usage;

use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use sim::processes::{Cluster, Options, Ports};
use tokio::signal::unix::{SignalKind, signal};

/// Starts a cluster, runs the example job on it, and stays up until Ctrl-C.
#[derive(Parser)]
#[command(version, bin_name = "cargo xtask up")]
struct Args {
    /// Stop everything after the job.
    #[arg(long)]
    once: bool,
    /// What to count: a file or a folder (default: the sources of all crates in Cargo's registry cache).
    #[arg(long)]
    input: Option<PathBuf>,
    #[arg(long, default_value_t = 5050, value_parser = clap::value_parser!(u16).range(1..))]
    master_port: u16,
    #[arg(long, default_value_t = 5051, value_parser = clap::value_parser!(u16).range(1..))]
    agent_port: u16,
    /// Where logs, state and sandboxes go; emptied at the start.
    #[arg(long)]
    folder: PathBuf,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("the kernel gives a process its first epoll");
    match runtime.block_on(up(&args)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("up: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn up(args: &Args) -> Result<()> {
    // Before anything is started: from here on Ctrl-C is a wish to end in good order.
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    if !nix::unistd::Uid::effective().is_root() {
        eprintln!("Not root: no BPF, so no network figures, and no limits. For all of it: {}", as_root());
    }
    empty(&args.folder)?;
    let wanted = async {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    };
    tokio::pin!(wanted);
    let mut cluster = None;
    let worked = tokio::select! {
        worked = work(args, &mut cluster) => worked,
        () = &mut wanted => Err(anyhow::anyhow!("interrupted")),
    };
    let worked = match (&mut cluster, worked) {
        (Some(cluster), Ok(())) if !args.once => stay(args, cluster, wanted).await,
        (_, worked) => worked,
    };
    let stopped = cluster.map_or(Ok(()), Cluster::stop);
    worked.and(stopped)
}

/// Brings the cluster up and runs the job. The cluster is handed out even when the job fails.
async fn work(args: &Args, cluster: &mut Option<Cluster>) -> Result<()> {
    let programs = std::env::current_exe().context("cannot find out where this program is")?;
    let programs = programs.parent().expect("a program lies in a folder").to_owned();
    let options = Options {
        programs: programs.clone(),
        folder: Some(args.folder.clone()),
        ports: Ports::Fixed { master: args.master_port, agents: args.agent_port },
        agents: 1,
        resources: resources()?,
        master_flags: Vec::new(),
        agent_flags: Vec::new(),
    };
    let spinner = spinner();
    tell(&spinner, "starting a master");
    let cluster = cluster.insert(Cluster::start_master(options).await?);
    tell(&spinner, "starting an agent");
    cluster.start_agents().await?;
    spinner.finish_and_clear();
    eprintln!("master http://{}, agent http://{}: registered", cluster.master(), cluster.agent(0));

    job::run(cluster, &programs, args.input.as_deref()).await?;
    tell(&spinner, "waiting for the last figures");
    let measured = usage::until_final(cluster).await;
    spinner.finish_and_clear();
    println!();
    job::table(cluster, &programs)?;
    println!("{}", measured?);
    Ok(())
}

/// Until it is enough, or a daemon ends.
async fn stay(args: &Args, cluster: &mut Cluster, wanted: impl Future<Output = ()>) -> Result<()> {
    eprintln!(
        "\nUp at http://{} (try: ingot tasks). Logs: {}. Ctrl-C ends it.",
        cluster.master(),
        args.folder.display()
    );
    tokio::pin!(wanted);
    loop {
        tokio::select! {
            () = &mut wanted => return Ok(()),
            () = tokio::time::sleep(Duration::from_millis(500)) => cluster.check()?,
        }
    }
}

/// All CPUs and half the memory of this machine: the job is a guest.
fn resources() -> Result<String> {
    let cpus = std::thread::available_parallelism().context("cannot count the CPUs")?;
    let meminfo = std::fs::read_to_string("/proc/meminfo").context("cannot read /proc/meminfo")?;
    let total = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib: u64 = total.and_then(|it| it.trim().strip_suffix(" kB")?.parse().ok()).context("no MemTotal")?;
    Ok(format!("cpus:{cpus};mem:{};disk:1024", kib / 1_024 / 2))
}

fn empty(folder: &std::path::Path) -> Result<()> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => std::fs::create_dir_all(folder),
    }
    .with_context(|| format!("cannot empty {}", folder.display()))
}

fn as_root() -> String {
    if Command::new("sudo").arg("-V").output().is_ok() {
        "sudo -E env \"PATH=$PATH\" cargo xtask up".to_owned()
    } else {
        "run `cargo xtask up` as root".to_owned()
    }
}

fn spinner() -> ProgressBar {
    let style =
        ProgressStyle::with_template("{spinner} {msg} ({elapsed})").expect("the template is well-formed");
    let spinner = ProgressBar::new_spinner().with_style(style);
    spinner.enable_steady_tick(Duration::from_millis(100));
    spinner
}

/// A spinner's next text; a line of its own where there is no terminal to spin on.
fn tell(spinner: &ProgressBar, text: &str) {
    if spinner.is_hidden() {
        eprintln!("{text}");
    }
    spinner.set_message(text.to_owned());
}
