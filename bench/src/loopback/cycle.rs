//! Agents and frameworks at work with each other, through the master.

use std::collections::VecDeque;
use std::time::Instant;

use anyhow::Context;
use api::media::Encoding;
use api::v1;
use api::v1::scheduler::{Call, Event, call};
use model::id::{FrameworkId, TaskId, UpdateId};
use model::task::{Source, TaskState, TaskStatus};
use wire::message::{ToAgent, ToMaster};

use super::agents::Agents;
use super::master::Master;
use super::subscriber::Subscriber;
use super::turns::Turns;
use crate::clock::{self, Times};

/// What an agent has: a task takes all of it.
const RESOURCES: &str = "cpus:4;mem:8192;disk:65536;ports:[31000-32000]";

/// What one read takes.
const READ_BYTES: usize = 1 << 20;

/// What becomes of an offer.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Answer {
    /// A task that takes all of it.
    Launch,
    /// Kept until it is declined, by [`Cycle::decline`].
    Keep,
}

/// What frameworks have read.
#[derive(Clone, Copy, Default)]
pub(super) struct Seen {
    pub(super) offers: u64,
    pub(super) events: u64,
    pub(super) bytes: u64,
}

pub(super) struct Cycle {
    turns: Turns,
    agents: Agents,
    subscribers: Vec<Subscriber>,
    /// Which agent has the id that ends in that number.
    numbers: Vec<usize>,
    /// Of each subscriber: offers that it has not answered.
    kept: Vec<Vec<v1::OfferId>>,
    /// Oldest first.
    running: VecDeque<Running>,
    /// When the end of the agent's task was due whose resources were not offered yet.
    ended: Vec<Option<Instant>>,
    tasks: u64,
    updates: u128,
    pub(super) times: Times,
    pub(super) seen: Seen,
    ready: Vec<u64>,
    buffer: Vec<u8>,
}

struct Running {
    agent: usize,
    framework_id: FrameworkId,
    task_id: TaskId,
}

impl Cycle {
    /// Agents register, frameworks subscribe.
    pub(super) fn begin(
        master: &Master,
        agents: usize,
        subscribers: usize,
        encoding: Encoding,
    ) -> anyhow::Result<Self> {
        let mut turns = Turns::new()?;
        let agents = Agents::register(agents, master.address, RESOURCES, &mut turns)?;
        let mut numbers = vec![0; agents.len()];
        for agent in 0..agents.len() {
            let id = agents.agent(agent).id.as_ref().context("registered")?;
            *numbers.get_mut(number_in(id.as_str())?).context("agents are numbered from zero")? = agent;
        }
        let subscribe =
            |at| Subscriber::subscribe(master.address, encoding, (agents.len() + 2 * at) as u64, &turns);
        let subscribers = (0..subscribers).map(subscribe).collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            ended: vec![None; agents.len()],
            kept: vec![Vec::new(); subscribers.len()],
            turns,
            agents,
            subscribers,
            numbers,
            running: VecDeque::new(),
            tasks: 0,
            updates: 0,
            times: Times::default(),
            seen: Seen::default(),
            ready: Vec::new(),
            buffer: vec![0; READ_BYTES],
        })
    }

    /// Tasks that run and were not ended.
    pub(super) fn running(&self) -> usize {
        self.running.len()
    }

    /// Ends the task that has run longest, whose end was due then. Whether there was one.
    pub(super) fn end_task(&mut self, due: Instant) -> anyhow::Result<bool> {
        let Some(Running { agent, framework_id, task_id }) = self.running.pop_front() else {
            return Ok(false);
        };
        self.updates += 1;
        let mut status = TaskStatus::made_by(Source::Executor, task_id, TaskState::Finished, None, "");
        status.update_id = Some(UpdateId(self.updates.to_be_bytes()));
        let update = ToMaster::Update { framework_id, status, latest_state: TaskState::Finished };
        self.ended[agent] = Some(due);
        self.agents.say(agent, &wire::encode_to_master(&update)?)?;
        Ok(true)
    }

    /// Waits for whatever comes until `due`, and answers it.
    pub(super) fn turn(&mut self, due: Option<Instant>, answer: Answer) -> anyhow::Result<()> {
        let mut ready = std::mem::take(&mut self.ready);
        self.turns.next(due, &mut ready)?;
        for number in &ready {
            let number = *number as usize;
            match number.checked_sub(self.agents.len()) {
                None => self.hear_agent(number)?,
                Some(at) if at % 2 == 0 => self.hear_events(at / 2, answer)?,
                Some(at) => self.subscribers[at / 2].hear_answers(&mut self.buffer)?,
            }
        }
        self.ready = ready;
        Ok(())
    }

    fn hear_agent(&mut self, agent: usize) -> anyhow::Result<()> {
        let Self { agents, running, .. } = self;
        agents.hear(agent, &mut |agent, message| {
            if let ToAgent::Run { framework, task, .. } = message {
                let framework_id = framework.framework_id.context("a framework that runs tasks has an id")?;
                running.push_back(Running { agent, framework_id, task_id: task.task_id });
            }
            Ok(())
        })
    }

    fn hear_events(&mut self, at: usize, answer: Answer) -> anyhow::Result<()> {
        self.seen.bytes += self.subscribers[at].read(&mut self.buffer)? as u64;
        let now = clock::now();
        while let Some(event) = self.subscribers[at].next()? {
            self.event(at, event, now, answer)?;
        }
        Ok(())
    }

    fn event(&mut self, at: usize, event: Event, now: Instant, answer: Answer) -> anyhow::Result<()> {
        if let Some(error) = event.error {
            anyhow::bail!("the master ended {}: {}", self.subscribers[at].framework_id(), error.message);
        }
        if let Some(update) = event.update {
            let status = update.status;
            if let (Some(uuid), Some(agent_id)) = (status.uuid, status.agent_id) {
                let acknowledge = call::Acknowledge { agent_id, task_id: status.task_id, uuid };
                let call = Call { acknowledge: Some(acknowledge), ..Call::default() };
                self.subscribers[at].call(call::Type::Acknowledge, call)?;
            }
        }
        let Some(offers) = event.offers.map(|offers| offers.offers) else { return Ok(()) };
        self.seen.events += 1;
        self.seen.offers += offers.len() as u64;
        for offer in &offers {
            let agent = self.numbers[number_in(&offer.agent_id.value)?];
            if let Some(due) = self.ended[agent].take() {
                self.times.add(now - due);
            }
        }
        match answer {
            Answer::Launch => offers.into_iter().try_for_each(|offer| self.launch(at, offer)),
            Answer::Keep => {
                self.kept[at].extend(offers.into_iter().map(|offer| offer.id));
                Ok(())
            }
        }
    }

    pub(super) fn subscribers(&self) -> usize {
        self.subscribers.len()
    }

    /// The subscriber declines everything that it has, for so long.
    pub(super) fn decline(&mut self, at: usize, refuse_s: f64) -> anyhow::Result<()> {
        let offer_ids = std::mem::take(&mut self.kept[at]);
        if offer_ids.is_empty() {
            return Ok(());
        }
        let filters = Some(v1::Filters { refuse_seconds: Some(refuse_s) });
        let decline = Some(call::Decline { offer_ids, filters });
        self.subscribers[at].call(call::Type::Decline, Call { decline, ..Call::default() })
    }

    fn launch(&mut self, at: usize, offer: v1::Offer) -> anyhow::Result<()> {
        self.tasks += 1;
        let name = format!("task-{}", self.tasks);
        let task = v1::TaskInfo {
            name: name.clone(),
            task_id: v1::TaskId { value: name },
            agent_id: offer.agent_id,
            resources: offer.resources,
            command: Some(v1::CommandInfo { value: Some("true".to_owned()), ..Default::default() }),
            ..Default::default()
        };
        let launch = v1::offer::Operation {
            r#type: Some(v1::offer::operation::Type::Launch as i32),
            launch: Some(v1::offer::operation::Launch { task_infos: vec![task] }),
            ..Default::default()
        };
        let filters = Some(v1::Filters { refuse_seconds: Some(0.0) });
        let accept = call::Accept { offer_ids: vec![offer.id], operations: vec![launch], filters };
        self.subscribers[at].call(call::Type::Accept, Call { accept: Some(accept), ..Call::default() })
    }
}

/// Ids that the master gives end in a letter and a number.
fn number_in(id: &str) -> anyhow::Result<usize> {
    let digits = id.rsplit(|letter: char| !letter.is_ascii_digit()).next();
    digits.and_then(|digits| digits.parse().ok()).with_context(|| format!("'{id}' has no number"))
}
