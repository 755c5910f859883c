//! The framework that launches: takes offers of one agent, launches command tasks on them, acknowledges what it is told, and
//! notes when. Its agent's tasks outlive the agent (`checkpoint`), as tasks that matter do.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use api::v1;
use api::v1::TaskState;
use client::scheduler::{self, Calls, Events, Incoming};
use client::{Address, Encoding, scalar};

use crate::clock;

/// Without any word from the master for so long, the run has failed.
const PATIENCE: Duration = Duration::from_secs(60);
/// Launched by one call.
const BATCH: usize = 100;
/// What a batch needs, executors included.
const CPUS_MIN: f64 = 40.0;

pub(super) struct Framework {
    calls: Calls,
    events: Events,
    /// Given and not used yet: all of the one agent, a new one for whatever an ended task has freed.
    offers: Vec<v1::Offer>,
    number: usize,
}

/// What became of the tasks of one wave.
#[derive(Default)]
pub(super) struct Wave {
    pub(super) tasks: BTreeMap<String, Told>,
}

/// When a task was sent, and when its states came.
pub(super) struct Told {
    pub(super) accepted: Instant,
    pub(super) running: Option<Instant>,
    pub(super) ended: Option<Instant>,
}

/// What a wave waits for.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Until {
    Running,
    Finished,
}

impl Framework {
    pub(super) fn subscribe(master: Address) -> anyhow::Result<Self> {
        let info = scheduler::framework("ingot-bench", "*")?;
        let info = v1::FrameworkInfo { checkpoint: Some(true), ..info };
        let (calls, events) = scheduler::connect(master, info, Encoding::Protobuf);
        Ok(Self { calls, events, offers: Vec::new(), number: 0 })
    }

    /// Launches `count` tasks of one command and hears of them until all are where they should be.
    pub(super) async fn wave(
        &mut self,
        count: usize,
        command: &[&str],
        until: Until,
    ) -> anyhow::Result<Wave> {
        let mut wave = Wave::default();
        let mut left = count;
        loop {
            let missing = wave.tasks.values().any(|told| match until {
                Until::Running => told.running.is_none(),
                Until::Finished => told.ended.is_none(),
            });
            if left == 0 && !missing {
                return Ok(wave);
            }
            if left > 0
                && let Some(agent_id) = self.offers.first().map(|offer| offer.agent_id.clone())
                && self.offered_cpus() > CPUS_MIN
            {
                let tasks: Vec<_> = (0..BATCH.min(left)).map(|_| self.task(command, &agent_id)).collect();
                let offers = self.offers.drain(..).map(|offer| offer.id).collect();
                left -= tasks.len();
                let accepted = clock::now();
                for task in &tasks {
                    let told = Told { accepted, running: None, ended: None };
                    wave.tasks.insert(task.task_id.value.clone(), told);
                }
                self.calls.launch(offers, tasks, 0.0).await?;
                continue;
            }
            self.hear(&mut wave).await?;
        }
    }

    async fn hear(&mut self, wave: &mut Wave) -> anyhow::Result<()> {
        let incoming = tokio::time::timeout(PATIENCE, self.events.next()).await.context("silence")??;
        let Incoming::Event(event) = incoming else { return Ok(()) };
        if let Some(error) = &event.error {
            bail!("the master ended the framework: {}", error.message);
        }
        if let Some(offers) = event.offers {
            self.offers.extend(offers.offers);
        }
        if let Some(rescind) = event.rescind {
            self.offers.retain(|offer| offer.id != rescind.offer_id);
        }
        if let Some(update) = event.update {
            let now = clock::now();
            let status = update.status;
            self.calls.acknowledge(&status).await?;
            let Some(told) = wave.tasks.get_mut(&status.task_id.value) else { return Ok(()) };
            match status.state() {
                TaskState::TaskStarting | TaskState::TaskStaging => {}
                TaskState::TaskRunning => _ = told.running.get_or_insert(now),
                TaskState::TaskFinished => _ = told.ended.get_or_insert(now),
                other => bail!("{}: {}: {}", status.task_id.value, other.as_str_name(), status.message()),
            }
        }
        Ok(())
    }

    fn offered_cpus(&self) -> f64 {
        let resources = self.offers.iter().flat_map(|offer| &offer.resources);
        resources.filter(|it| it.name == "cpus").filter_map(|it| it.scalar).map(|it| it.value).sum()
    }

    /// Hears of whatever comes for a while, so that nothing waits for an acknowledgement.
    pub(super) async fn rest(&mut self, time: Duration) -> anyhow::Result<()> {
        let mut nobody = Wave::default();
        let end = tokio::time::sleep(time);
        tokio::pin!(end);
        loop {
            tokio::select! {
                () = &mut end => return Ok(()),
                heard = self.hear(&mut nobody) => heard?,
            }
        }
    }

    fn task(&mut self, command: &[&str], agent_id: &v1::AgentId) -> v1::TaskInfo {
        self.number += 1;
        let name = format!("task-{}", self.number);
        let command = v1::CommandInfo {
            shell: Some(false),
            value: Some(command[0].to_owned()),
            arguments: command.iter().map(|it| (*it).to_owned()).collect(),
            ..Default::default()
        };
        v1::TaskInfo {
            name: name.clone(),
            task_id: v1::TaskId { value: name },
            agent_id: agent_id.clone(),
            resources: vec![scalar("cpus", 100), scalar("mem", 32_000)],
            command: Some(command),
            ..Default::default()
        }
    }
}
