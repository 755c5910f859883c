//! `ingot run`: one command as a framework of its own. Carries out what [`crate::launch`] decides and copies the task's
//! output meanwhile; the task's stdout is ours, its stderr and its states go to our stderr.

use std::io::{stderr, stdout};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use api::v1::scheduler::call;
use client::Encoding;
use client::scheduler::{self, Calls, Incoming};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep_until, timeout};

use crate::Cluster;
use crate::launch::{Effect, Launch, Spec};
use crate::logs::LOOK_AGAIN;
use crate::sandbox::{Sandbox, Tail, Task};

/// The command and what it needs.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// CPUs, to three decimals.
    #[arg(long, default_value_t = 0.1, value_parser = cpus, allow_negative_numbers = true)]
    cpus: f64,
    /// Memory in MiB.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..))]
    mem: u32,
    /// Disk in MiB.
    #[arg(long, default_value_t = 0)]
    disk: u32,
    /// A variable of the command's environment, NAME=VALUE; may be given more than once.
    #[arg(long, short, value_name = "NAME=VALUE", value_parser = variable)]
    env: Vec<(String, String)>,
    /// The task's name (default: the command's first word).
    #[arg(long)]
    name: Option<String>,
    /// The role to subscribe with.
    #[arg(long, default_value = "*")]
    role: String,
    /// Do not tell the task's states.
    #[arg(long, short)]
    quiet: bool,
    /// The command: one word is a shell's command line, several are a program and its arguments.
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

/// After so long without an offer the user is told what is waited for, and a master that has not said what became of the
/// task is asked again.
const HINT: Duration = Duration::from_secs(10);
/// For everything that is only politeness at the end.
const GOODBYE: Duration = Duration::from_secs(5);

fn cpus(text: &str) -> Result<f64, String> {
    let cpus: f64 = text.parse().map_err(|_| "expected a number".to_owned())?;
    if (0.001..=1_000_000.0).contains(&cpus) { Ok(cpus) } else { Err("expected 0.001 or more".to_owned()) }
}

fn variable(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("expected NAME=VALUE".to_owned()),
    }
}

pub(crate) async fn run(cluster: &Cluster, args: &Args) -> Result<ExitCode> {
    let word = args.command[0].split_whitespace().next().unwrap_or("command");
    let name = args.name.clone().unwrap_or_else(|| word.rsplit('/').next().unwrap_or(word).to_owned());
    let spec = Spec {
        task_id: format!("{}-{}", task_name(&name), &uuid::Uuid::new_v4().simple().to_string()[..8]),
        name: name.clone(),
        command: args.command.clone(),
        environment: args.env.clone(),
        cpus_milli: (args.cpus * 1_000.0).round() as u64,
        mem_mib: u64::from(args.mem),
        disk_mib: u64::from(args.disk),
    };
    let task_id = spec.task_id.clone();
    let framework = scheduler::framework(&format!("ingot run {name}"), &args.role)?;
    let (mut calls, mut events) = scheduler::connect(cluster.master.clone(), framework, Encoding::default());
    let mut output = Output { cluster, task_id, open: None };
    let ended = drive(Launch::new(spec), &mut calls, &mut events, &mut output, args.quiet).await;
    // The sandbox outlives the framework; what was written last is copied before the agent forgets where it is.
    let copied = match timeout(GOODBYE, output.copy()).await {
        Ok(copied) => copied,
        Err(_) => Err(anyhow::anyhow!("the agent does not give the output out")),
    };
    if timeout(GOODBYE, calls.teardown()).await.is_err() {
        eprintln!("ingot: the master did not take the teardown");
    }
    let code = ended?;
    copied.context("cannot copy the task's output")?;
    Ok(ExitCode::from(code))
}

/// Task ids become folders and URLs: only what is plain in both.
fn task_name(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '.' || c == '_' { c } else { '-' };
    name.chars().map(plain).take(40).collect()
}

async fn drive(
    mut launch: Launch,
    calls: &mut Calls,
    events: &mut scheduler::Events,
    output: &mut Output<'_>,
    quiet: bool,
) -> Result<u8> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hint = Instant::now() + HINT;
    let mut look = Instant::now() + LOOK_AGAIN;
    let mut effects = Vec::new();
    loop {
        tokio::select! {
            incoming = events.next() => hear(incoming?, &mut launch, calls, &mut effects).await?,
            _ = interrupt.recv() => launch.interrupt(&mut effects),
            _ = terminate.recv() => launch.interrupt(&mut effects),
            () = sleep_until(look) => {
                // It cannot be read yet, or for a moment: the last copy, at the end, tells what is wrong.
                let _ = timeout(GOODBYE, output.copy()).await;
                look = Instant::now() + LOOK_AGAIN;
            }
            () = sleep_until(hint) => {
                launch.wish().into_iter().for_each(|wish| effects.push(Effect::Say(wish)));
                launch.ask_again(&mut effects);
                hint = Instant::now() + HINT;
            }
        }
        for effect in effects.drain(..) {
            match effect {
                Effect::Exit(code) => return Ok(code),
                Effect::Say(_) if quiet => {}
                Effect::Say(text) => eprintln!("ingot: {text}"),
                other => carry_out(other, calls).await?,
            }
        }
    }
}

async fn hear(
    incoming: Incoming,
    launch: &mut Launch,
    calls: &mut Calls,
    effects: &mut Vec<Effect>,
) -> Result<()> {
    let event = match incoming {
        Incoming::Subscribed(_) => {
            launch.subscribed(effects);
            return Ok(());
        }
        Incoming::Lost(error) => {
            effects.push(Effect::Say(format!("{error}; subscribing again")));
            return Ok(());
        }
        Incoming::Event(event) => *event,
    };
    if let Some(error) = event.error {
        bail!("the master said: {}", error.message);
    }
    if let Some(offers) = event.offers {
        launch.offers(offers.offers, effects);
    }
    if let Some(update) = event.update {
        launch.update(&update.status, effects);
        pass(calls.acknowledge(&update.status).await)?;
    }
    Ok(())
}

async fn carry_out(effect: Effect, calls: &mut Calls) -> Result<()> {
    pass(match effect {
        Effect::Launch { offer_id, task } => calls.launch(vec![offer_id], vec![*task], 0.0).await,
        Effect::Decline(offer_id) => calls.decline(vec![offer_id], 5.0).await,
        Effect::Suppress => calls.suppress().await,
        Effect::Kill(task_id) => calls.kill(task_id, None).await,
        Effect::Reconcile(task_id, agent_id) => {
            calls.reconcile(vec![call::reconcile::Task { task_id, agent_id: Some(agent_id) }]).await
        }
        Effect::Say(_) | Effect::Exit(_) => unreachable!("taken by the caller"),
    })
}

/// A refused call ends the run. One that did not get through is mended by the next subscription, which reconciles.
fn pass(done: Result<(), client::Error>) -> Result<()> {
    match done {
        Err(error @ client::Error::Refused { .. }) => Err(error.into()),
        Err(error) => {
            eprintln!("ingot: {error}");
            Ok(())
        }
        Ok(()) => Ok(()),
    }
}

/// The task's stdout and stderr, copied to ours.
struct Output<'a> {
    cluster: &'a Cluster,
    task_id: String,
    /// Once the sandbox is found.
    open: Option<(Sandbox, Tail, Tail)>,
}

impl Output<'_> {
    /// Copies what is new; nothing where the task was never launched.
    async fn copy(&mut self) -> Result<()> {
        if self.open.is_none() {
            let Ok(task) = Task::find(self.cluster, &self.task_id).await else { return Ok(()) };
            let Some(sandbox) = Sandbox::find(self.cluster, &task).await? else { return Ok(()) };
            let tails = (Tail::new(&sandbox, "stdout"), Tail::new(&sandbox, "stderr"));
            self.open = Some((sandbox, tails.0, tails.1));
        }
        if let Some((sandbox, out, err)) = &mut self.open {
            out.copy(sandbox, &mut stdout()).await?;
            err.copy(sandbox, &mut stderr()).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_plain_ids() {
        assert_eq!(task_name("my job/1"), "my-job-1");
        assert_eq!(task_name(&"x".repeat(99)).len(), 40);
    }

    #[test]
    fn a_variable_has_a_name() {
        assert_eq!(variable("A=b=c"), Ok(("A".to_owned(), "b=c".to_owned())));
        assert_eq!(variable("A="), Ok(("A".to_owned(), String::new())));
        assert!(variable("=b").is_err() && variable("A").is_err());
    }
}
