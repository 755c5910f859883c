//! The executor: counts the one share it is given, sends the answer, and ends. Its only task decides its exit.

#![expect(clippy::disallowed_methods, reason = "a shell: it reads the clock for the outbox")]

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use api::v1;
use api::v1::TaskState;
use client::Encoding;
use client::executor::{self, Calls, Environment, Events, Incoming};

use crate::answer::{Outbox, Receipt};
use crate::count;
use crate::share::Share;

/// How long to wait for the acknowledgement of the last update before ending all the same.
const GOODBYE: Duration = Duration::from_secs(10);

/// What the agent wants next.
enum Wanted {
    Launch(Box<v1::TaskInfo>),
    Kill,
    Shutdown,
    Receipt(Receipt),
}

/// Runs until the task has ended. An error is for the sandbox's stderr; the agent then reports the task as failed.
pub async fn run(encoding: Encoding) -> Result<()> {
    let (mut calls, mut events) = executor::connect(Environment::read()?, encoding);
    let task = loop {
        match wanted(&mut events).await? {
            Wanted::Launch(task) => break *task,
            Wanted::Kill | Wanted::Receipt(_) => {}
            Wanted::Shutdown => return Ok(()),
        }
    };
    report(&calls, &task, TaskState::TaskRunning, None);
    let (state, message) = match work(&task, &mut calls, &mut events).await {
        Ok(End::Finished) => (TaskState::TaskFinished, None),
        Ok(End::Killed) => (TaskState::TaskKilled, None),
        Ok(End::Shutdown) => return Ok(()),
        Err(error) => {
            eprintln!("{error:#}");
            (TaskState::TaskFailed, Some(format!("{error:#}")))
        }
    };
    report(&calls, &task, state, message);
    goodbye(&calls, &mut events).await;
    Ok(())
}

enum End {
    Finished,
    Killed,
    Shutdown,
}

async fn work(task: &v1::TaskInfo, calls: &mut Calls, events: &mut Events) -> Result<End> {
    let share = Share::decode(task.data.clone().context("the task carries no share")?)?;
    eprintln!("counting {} bytes in {} parts", share.size_bytes(), share.parts.len());
    // Counting holds a thread for seconds; the agent must be heard meanwhile.
    let mut counting = tokio::task::spawn_blocking(move || count::share(&share));
    let tally = loop {
        tokio::select! {
            counted = &mut counting => break counted.context("the count panicked")??,
            wanted = wanted(events) => match wanted? {
                Wanted::Kill => return Ok(End::Killed),
                Wanted::Shutdown => return Ok(End::Shutdown),
                Wanted::Launch(_) | Wanted::Receipt(_) => {}
            },
        }
    };
    let (words, lines) = (tally.word_count, tally.line_count);
    let answer = tally.encode();
    drop(tally);
    println!("{words} words, {lines} lines, {} bytes of answer", answer.len());

    let started = Instant::now();
    let mut outbox = Outbox::new(&task.task_id.value, &answer, Duration::ZERO);
    while !outbox.is_done() {
        for piece in outbox.due(started.elapsed()) {
            // Told again later if it is not acknowledged, for whatever reason.
            if let Err(error) = calls.message(piece.encode()).await {
                eprintln!("{error}");
            }
        }
        anyhow::ensure!(
            !outbox.has_given_up(started.elapsed()),
            "the framework does not acknowledge the answer"
        );
        tokio::select! {
            () = tokio::time::sleep_until((started + outbox.deadline()).into()) => {}
            wanted = wanted(events) => match wanted? {
                Wanted::Receipt(receipt) => outbox.acknowledge(started.elapsed(), &receipt),
                Wanted::Kill => return Ok(End::Killed),
                Wanted::Shutdown => return Ok(End::Shutdown),
                Wanted::Launch(_) => {}
            },
        }
    }
    Ok(End::Finished)
}

/// The next thing that concerns us; says nothing about a break in the stream that heals.
async fn wanted(events: &mut Events) -> Result<Wanted> {
    loop {
        let event = match events.next().await? {
            Incoming::Event(event) => *event,
            Incoming::Subscribed(_) => continue,
            Incoming::Lost(error) => {
                eprintln!("{error}; subscribing again");
                continue;
            }
        };
        if let Some(error) = event.error {
            anyhow::bail!("the agent said: {}", error.message);
        }
        if let Some(launch) = event.launch {
            return Ok(Wanted::Launch(Box::new(launch.task)));
        }
        if let Some(message) = event.message {
            return Ok(Wanted::Receipt(Receipt::decode(message.data)?));
        }
        match event.r#type {
            Some(kind) if kind == v1::executor::event::Type::Kill as i32 => return Ok(Wanted::Kill),
            Some(kind) if kind == v1::executor::event::Type::Shutdown as i32 => return Ok(Wanted::Shutdown),
            _ => {}
        }
    }
}

fn report(calls: &Calls, task: &v1::TaskInfo, state: TaskState, message: Option<String>) {
    let mut status = v1::TaskStatus { task_id: task.task_id.clone(), message, ..Default::default() };
    status.set_state(state);
    calls.update(status);
}

/// Waits until the last update is acknowledged: an agent that dies now still has it from us.
async fn goodbye(calls: &Calls, events: &mut Events) {
    let acknowledged = async {
        while !calls.all_acknowledged() {
            if events.next().await.is_err() {
                return;
            }
        }
    };
    if tokio::time::timeout(GOODBYE, acknowledged).await.is_err() {
        eprintln!("the last update was not acknowledged");
    }
}
