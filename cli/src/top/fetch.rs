//! Reads the daemons: the master at each interval, and the agent of the container that is looked at closely. Never twice at
//! once, and never in the way of the keyboard: documents are taken apart on a thread of their own.
//!
//! What it costs the master: `/state-summary` (a few hundred bytes a node and framework) and `/tasks` (some two kilobytes a
//! task) at each look. A look that takes long is followed by a pause that is longer by [`PAUSE_FACTOR`], so that all the
//! while that somebody watches, no more than a fifth of one of the master's threads is kept busy.
#![expect(clippy::disallowed_methods, reason = "the shell that stamps readings with the time")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use client::operator::{Operator, escaped};
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::{Notify, watch};

use super::input::{Input, Watch};
use super::insight::Insight;
use super::reading::Reading;
use crate::Cluster;

/// How much longer the pause between two looks is than the look before it, at least.
const PAUSE_FACTOR: u32 = 4;

/// Where readings come from and how their time is told.
#[derive(Clone)]
pub(super) struct Source {
    pub(super) cluster: Cluster,
    pub(super) interval: Duration,
    /// Tasks to ask for.
    pub(super) limit: usize,
    /// The moment that all times are counted from.
    pub(super) epoch: Instant,
}

impl Source {
    pub(super) fn now(&self) -> Duration {
        self.epoch.elapsed()
    }

    /// Asks the master for everything.
    pub(super) async fn read(&self, operator: &mut Operator) -> Result<Reading> {
        let summary = operator.get("/state-summary").await?;
        let (at, limit) = (self.now(), self.limit);
        let tasks = operator.get(&format!("/tasks?limit={limit}")).await?;
        let address = operator.address().clone();
        let read = tokio::task::spawn_blocking(move || Reading::of(at, &summary, &tasks, limit)).await?;
        read.map_err(|error| {
            anyhow::anyhow!("{address} answers with something else than was asked for: {error}")
        })
    }

    /// Reads the master again and again, and at once when told to, until nobody listens.
    pub(super) async fn follow(self, told: Arc<Notify>, inputs: UnboundedSender<Input>) {
        let mut operator = self.cluster.operator();
        loop {
            let begun = Instant::now();
            let input = match self.read(&mut operator).await {
                Ok(reading) => Input::Reading(Box::new(reading)),
                Err(error) => {
                    // A redirect may have led to a master that is gone: the next look begins where we were told to.
                    operator = self.cluster.operator();
                    Input::Unreadable(format!("{error:#}"))
                }
            };
            if inputs.send(input).is_err() {
                return;
            }
            let took = begun.elapsed();
            let pause = self.interval.saturating_sub(took).max(took * PAUSE_FACTOR);
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = told.notified() => {}
            }
        }
    }

    /// Reads the agent of the container that is to be watched, again and again, until nobody listens.
    pub(super) async fn watch(
        self,
        mut wanted: watch::Receiver<Option<Watch>>,
        inputs: UnboundedSender<Input>,
    ) {
        let mut known: Option<(Box<str>, Operator)> = None;
        loop {
            let watch = wanted.borrow_and_update().clone();
            if let Some(watch) = watch {
                let said = look(&watch, &mut known).await.map(Box::new).map_err(|error| format!("{error:#}"));
                if said.is_err() {
                    known = None;
                }
                if inputs.send(Input::Insight(watch, said)).is_err() {
                    return;
                }
            }
            tokio::select! {
                () = tokio::time::sleep(self.interval) => {}
                changed = wanted.changed() => if changed.is_err() { return },
            }
        }
    }
}

/// Asks a container's agent, over the connection that is there if it is the same agent's.
pub(super) async fn look(watch: &Watch, known: &mut Option<(Box<str>, Operator)>) -> Result<Insight> {
    if known.as_ref().is_none_or(|(agent, _)| *agent != watch.agent) {
        *known = Some((watch.agent.clone(), Operator::new(watch.agent.parse()?)));
    }
    let (_, operator) = known.as_mut().expect("set, see above");
    let query = if watch.container.is_empty() {
        format!("framework_id={}&executor_id={}", escaped(&watch.framework), escaped(&watch.executor))
    } else {
        format!("container_id={}", escaped(&watch.container))
    };
    let body = operator.get(&format!("/containers?{query}")).await?;
    Ok(Insight::of(&body)?)
}
