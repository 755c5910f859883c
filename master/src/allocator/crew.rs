//! Several workers' cores and the lines between them: each worker has one and its end of a line to each of the others.
//! Whoever runs them has a thread for each ([`worker`](super::worker)), or runs them in turn.

use super::account::Account;
use super::core::Core;
use super::event::{Allocation, Event};
use super::invariant::invariants_together;
use super::key::AgentKey;
use super::mates::News;
use super::options::Options;
use super::ring::{Consumer, Producer, ring};
use super::sync::{Seed, is_seeded};
use model::quota::Quota;
use model::role::Role;
use model::time::Time;
use std::sync::Arc;

/// News on their way between two workers. What finds no room is told later.
const NEWS_MAX: usize = if cfg!(test) { 4 } else { 1 << 12 };

/// The core of one worker, and its lines to the others.
pub struct Member {
    pub core: Core,
    lines: Vec<Line>,
}

/// To one other worker.
struct Line {
    to: Producer<News>,
    from: Consumer<News>,
    /// What the other said that is not to be heard yet.
    early: Option<News>,
}

/// So many workers.
pub fn crew(options: Options, count: usize) -> Vec<Member> {
    let mut members: Vec<_> =
        (0..count).map(|_| Member { core: Core::new(options.clone()), lines: Vec::new() }).collect();
    for member in &mut members {
        member.core.set_mates(count - 1);
    }
    for first in 0..count {
        for second in first + 1..count {
            let ((to, theirs), (back, from)) = (ring(NEWS_MAX), ring(NEWS_MAX));
            members[first].lines.push(Line { to, from, early: None });
            members[second].lines.push(Line { to: back, from: theirs, early: None });
        }
    }
    members
}

impl Member {
    /// Takes note of an event; [`Core::settle`] must follow.
    pub fn apply(&mut self, now: Time, message: Message) {
        match message {
            Message::Event(event) => self.core.apply(now, event),
            Message::Quota(shared) => {
                let Shared { role, quota, account } = *shared;
                self.core.apply_quota(&role, &quota, account);
            }
        }
    }

    /// Hears what the others have told, and says whether that was anything; [`Core::settle`] must follow then.
    pub fn hear(&mut self) -> bool {
        let mut has_heard = false;
        for (mate, line) in self.lines.iter_mut().enumerate() {
            while let Some(news) = line.early.take().or_else(|| line.from.pop()) {
                if !self.core.may_hear(&news) {
                    line.early = Some(news);
                    break;
                }
                self.core.hear(mate, news);
                has_heard = true;
            }
        }
        has_heard
    }

    /// Tells the others what they do not know, and says whether that was anything. To be done now and then: each claimant
    /// that was served meanwhile costs every other worker as much as half a decision.
    pub fn tell(&mut self) -> bool {
        let mut has_told = false;
        while self.lines.iter_mut().all(|line| line.to.has_room())
            && let Some(news) = self.core.next_news()
        {
            for line in &mut self.lines {
                let pushed = line.to.push(news.clone());
                assert!(pushed.is_ok(), "there was room, and nobody else uses it");
            }
            has_told = true;
        }
        has_told
    }

    /// Whether there is something to be told.
    pub fn has_news(&self) -> bool {
        self.core.has_news()
    }

    /// Whether something has been told that may be heard by now.
    pub(super) fn has_mail(&mut self) -> bool {
        let core = &self.core;
        self.lines.iter_mut().any(|line| match &line.early {
            Some(news) => core.may_hear(news),
            None => !line.from.is_empty(),
        })
    }
}

/// What must hold of all workers together, once each has heard what the others told; for tests.
pub fn invariants(members: &[Member]) {
    invariants_together(&members.iter().map(|member| &member.core).collect::<Vec<_>>());
}

/// What a worker is told.
#[derive(Clone, Debug)]
pub enum Message {
    Event(Event),
    Quota(Box<Shared>),
}

/// A new quota, with the account that all workers share.
#[derive(Clone, Debug)]
pub struct Shared {
    role: Role,
    quota: Quota,
    account: Arc<Account>,
}

/// Who is told of something.
#[derive(Debug)]
pub enum Told {
    One(usize, Message),
    All(Message),
}

/// Which worker has which agents: the one with an index of the number of workers in turn, so that each has dense ones.
#[derive(Clone, Copy, Debug)]
pub struct Shards {
    worker_count: u32,
}

impl Shards {
    /// # Panics
    /// When there are none.
    pub fn new(worker_count: usize) -> Self {
        assert!(worker_count > 0, "somebody has to decide");
        Self { worker_count: u32::try_from(worker_count).expect("fewer than 2^32 workers") }
    }

    /// Whom to tell. Agents are named as that worker knows them.
    pub fn told(self, event: Event) -> Told {
        let mut event = event;
        if let Event::SetQuota { role, quota } = event {
            let account = Arc::new(Account::new(&quota, self.worker_count as usize));
            return Told::All(Message::Quota(Box::new(Shared { role, quota, account })));
        }
        let Some(agent) = event.agent_mut() else { return Told::All(Message::Event(event)) };
        let index = agent.index;
        agent.index = index / self.worker_count;
        let mut worker = index % self.worker_count;
        if is_seeded(Seed::WrongWorker) && matches!(event, Event::Release { .. }) {
            worker = (worker + 1) % self.worker_count;
        }
        Told::One(worker as usize, Message::Event(event))
    }

    /// The agent that a worker knows as that one.
    pub fn agent(self, worker: usize, agent: AgentKey) -> AgentKey {
        AgentKey { index: agent.index * self.worker_count + worker as u32, ..agent }
    }

    /// An allocation as the worker made it, with the agent's own name.
    pub fn allocation(self, worker: usize, allocation: Allocation) -> Allocation {
        Allocation { agent: self.agent(worker, allocation.agent), ..allocation }
    }
}
