//! The scheduler's shell: carries out what [`crate::job`] decides, over the v1 scheduler API. No decision is made here.

#![expect(clippy::disallowed_methods, reason = "a shell: it reads the clock for the job")]

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use api::v1::scheduler::{Event, call};
use client::scheduler::{self, Calls, Incoming};
use client::{Address, Encoding};
use indicatif::{ProgressBar, ProgressStyle};
use tokio::signal::unix::{SignalKind, signal};

use crate::count::Tally;
use crate::job::{Effect, Input, Job, Plan};
use crate::share;

/// What the user asked for.
#[derive(Clone, Debug)]
pub struct Options {
    pub master: Address,
    pub input: PathBuf,
    pub tasks: usize,
    pub cpus_milli: u64,
    pub mem_mib: u64,
    pub attempts_max: u32,
    pub role: String,
    pub encoding: Encoding,
}

/// What came of it.
#[derive(Debug)]
pub struct Outcome {
    pub tally: Tally,
    pub tasks: usize,
    pub elapsed: Duration,
}

/// What an offer leaves may be offered again at once: all of the job's tasks are alike, so it will not fit any better,
/// but others may want it.
const REFUSE_S: f64 = 5.0;

/// Runs the job to its end. On SIGINT or SIGTERM the framework is torn down and its tasks with it.
pub async fn run(options: &Options) -> Result<Outcome> {
    let started = Instant::now();
    let files = share::list(&options.input)?;
    let shares = share::split(&files, options.tasks);
    let tasks = shares.len();
    let size_bytes: u64 = files.iter().map(|file| file.size_bytes).sum();
    let progress = bar(tasks);
    say(&progress, &format!("counting {} files, {size_bytes} bytes, in {tasks} tasks", files.len()));

    let plan = Plan {
        shares,
        executor: executor_program()?,
        cpus_milli: options.cpus_milli,
        mem_mib: options.mem_mib,
        attempts_max: options.attempts_max,
    };
    let (mut calls, mut events) = scheduler::connect(
        options.master.clone(),
        scheduler::framework("wordcount", &options.role)?,
        options.encoding,
    );
    let mut job = Job::new(plan);
    let result = tokio::select! {
        result = drive(&mut job, &mut calls, &mut events, &progress, started) => result,
        () = interrupted() => Err(anyhow::anyhow!("interrupted")),
    };
    progress.finish_and_clear();
    // Whatever the outcome, nothing of ours is left running. The stream still stands: a framework without one may not
    // call.
    let torn_down = calls.teardown().await;
    let tally = result?;
    torn_down.context("cannot tear the framework down")?;
    drop(events);
    Ok(Outcome { tally, tasks, elapsed: started.elapsed() })
}

async fn drive(
    job: &mut Job,
    calls: &mut Calls,
    events: &mut scheduler::Events,
    progress: &ProgressBar,
    started: Instant,
) -> Result<Tally> {
    let mut effects = Vec::new();
    loop {
        let hint = tokio::time::sleep_until(
            (started + job.deadline().unwrap_or(Duration::from_secs(86_400))).into(),
        );
        let input = tokio::select! {
            incoming = events.next() => input(incoming?, calls, progress)?,
            () = hint => None,
        };
        match input {
            Some(input) => job.handle(started.elapsed(), input, &mut effects),
            None => job.expire(started.elapsed(), &mut effects),
        }
        for effect in effects.drain(..) {
            if let Effect::End(result) = effect {
                return result.map_err(anyhow::Error::msg);
            }
            carry_out(effect, calls, progress).await?;
        }
        let (counted, running, all) = job.progress();
        progress.set_message(format!("{running} tasks under way"));
        if progress.position() != counted as u64 {
            progress.set_position(counted as u64);
            if progress.is_hidden() {
                eprintln!("{counted} of {all} shares counted");
            }
        }
    }
}

/// What an event is to the job; `None` for what it need not know.
fn input(incoming: Incoming, calls: &Calls, progress: &ProgressBar) -> Result<Option<Input>> {
    let event: Event = match incoming {
        Incoming::Subscribed(subscribed) => {
            let master =
                subscribed.master_info.as_ref().and_then(|it| it.hostname.as_deref()).unwrap_or("the master");
            say(progress, &format!("subscribed at {master} as {}", subscribed.framework_id.value));
            return Ok(Some(Input::Subscribed));
        }
        Incoming::Lost(error) => {
            say(progress, &format!("{error}; subscribing again"));
            return Ok(None);
        }
        Incoming::Event(event) => *event,
    };
    if let Some(error) = event.error {
        bail!("the master ended the framework {:?}: {}", calls.framework_id(), error.message);
    }
    let offers = event.offers.map(|it| Input::Offers(it.offers));
    let update = event.update.map(|it| Input::Update(Box::new(it.status)));
    let failure =
        event.failure.map(|it| Input::Failure { agent_id: it.agent_id, executor_id: it.executor_id });
    let message = event.message.map(|it| Input::Message {
        agent_id: it.agent_id,
        executor_id: it.executor_id,
        data: it.data,
    });
    // A rescinded offer was answered when it came; a task launched on it comes back as lost.
    Ok(offers.or(update).or(message).or(failure))
}

async fn carry_out(effect: Effect, calls: &mut Calls, progress: &ProgressBar) -> Result<()> {
    let done = match effect {
        Effect::Launch { offer_id, tasks } => calls.launch(vec![offer_id], tasks, REFUSE_S).await,
        Effect::Decline(offer_id) => calls.decline(vec![offer_id], REFUSE_S).await,
        Effect::Suppress => calls.suppress().await,
        Effect::Revive => calls.revive().await,
        Effect::Acknowledge(status) => calls.acknowledge(&status).await,
        Effect::Reply { agent_id, executor_id, data } => calls.message(agent_id, executor_id, data).await,
        Effect::Reconcile(tasks) => {
            let task = |(task_id, agent_id)| call::reconcile::Task { task_id, agent_id: Some(agent_id) };
            calls.reconcile(tasks.into_iter().map(task).collect()).await
        }
        Effect::Say(text) => {
            say(progress, &text);
            return Ok(());
        }
        Effect::End(_) => unreachable!("taken by the caller"),
    };
    match done {
        Err(error @ client::Error::Refused { .. }) => Err(error.into()),
        // The stream's reader finds out too, and the next subscription reconciles.
        Err(error) => {
            say(progress, &format!("{error}"));
            Ok(())
        }
        Ok(()) => Ok(()),
    }
}

/// This program: agents on the same machine find it at the same place.
fn executor_program() -> Result<String> {
    let program = std::env::current_exe().context("cannot find out where this program is")?;
    program.into_os_string().into_string().map_err(|path| anyhow::anyhow!("{path:?} is not UTF-8"))
}

async fn interrupted() {
    let (Ok(mut interrupt), Ok(mut terminate)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}

/// Moves on a terminal; elsewhere it is hidden and lines are printed instead.
fn bar(tasks: usize) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} shares counted, {msg}");
    ProgressBar::new(tasks as u64).with_style(style.expect("the template is well-formed"))
}

fn say(progress: &ProgressBar, line: &str) {
    progress.suspend(|| eprintln!("{line}"));
}
