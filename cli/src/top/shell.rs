//! Drives the view in a terminal: what happens goes to the core, what the core wants is done, and the picture follows.
#![expect(clippy::disallowed_methods, reason = "the shell that reads the clock")]

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, raise};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::unbounded_channel;
use tokio::sync::{Notify, watch};

use super::Args;
use super::draw::{Glyphs, draw};
use super::fetch::Source;
use super::input::{Effect, Input};
use super::state::State;
use super::terminal::{self, Screen};
use crate::Cluster;

/// How often the picture is drawn though nothing happened: it tells how old its figures are.
const TICK: Duration = Duration::from_secs(1);

/// As shells tell the end of what SIGTERM ended.
const TERMINATED: u8 = 143;

pub(super) async fn run(
    cluster: &Cluster,
    args: &Args,
    mut state: State,
    glyphs: Glyphs,
) -> Result<ExitCode> {
    let (inputs, mut happened) = unbounded_channel();
    let source = Source {
        cluster: cluster.clone(),
        interval: args.interval,
        limit: args.limit,
        epoch: Instant::now(),
    };
    let (refresh, (wanted, watched)) = (Arc::new(Notify::new()), watch::channel(None));
    let mut signals = [SignalKind::interrupt(), SignalKind::terminate(), stop_kind(), continue_kind()]
        .map(|kind| signal(kind).context("cannot listen to signals"))
        .into_iter()
        .collect::<Result<Vec<_>>>()?;
    let [interrupt, terminate, stop, go_on] = &mut signals[..] else { unreachable!("four were made") };

    let mut screen = Screen::take().context("cannot take over the terminal (see --once)")?;
    terminal::listen(inputs.clone())?;
    tokio::spawn(source.clone().follow(Arc::clone(&refresh), inputs.clone()));
    tokio::spawn(source.clone().watch(watched, inputs));
    let (width, height) = screen.size()?;
    let mut effects = Vec::new();
    state.handle(Input::Resized { width, height }, &mut effects);
    loop {
        for effect in effects.drain(..) {
            match effect {
                Effect::Quit => return Ok(ExitCode::SUCCESS),
                Effect::Suspend => suspend(&mut screen)?,
                Effect::Repaint => screen.repaint()?,
                Effect::Refresh => refresh.notify_one(),
                Effect::Watch(watch) => drop(wanted.send(watch)),
            }
        }
        let now = source.now();
        screen.show(|buffer| {
            draw(&state, now, glyphs, buffer);
        })?;
        tokio::select! {
            Some(input) = happened.recv() => {
                state.handle(input, &mut effects);
                // What else has happened by now is in the same picture.
                while let Ok(input) = happened.try_recv() {
                    state.handle(input, &mut effects);
                }
            }
            _ = interrupt.recv() => return Ok(ExitCode::SUCCESS),
            _ = terminate.recv() => return Ok(ExitCode::from(TERMINATED)),
            _ = stop.recv() => effects.push(Effect::Suspend),
            _ = go_on.recv() => screen.take_again()?,
            () = tokio::time::sleep(TICK) => {}
        }
    }
}

/// Stops, as SIGTSTP would have without us, with the terminal as it was; returns when somebody lets us go on.
fn suspend(screen: &mut Screen) -> Result<()> {
    screen.lend();
    raise(Signal::SIGSTOP)?;
    Ok(screen.take_again()?)
}

fn stop_kind() -> SignalKind {
    SignalKind::from_raw(Signal::SIGTSTP as i32)
}

fn continue_kind() -> SignalKind {
    SignalKind::from_raw(Signal::SIGCONT as i32)
}
