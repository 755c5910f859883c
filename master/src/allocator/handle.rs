//! The cluster core's end of the allocator: events in, allocations out, no waiting. Each worker is told of its own agents,
//! and all of them of everything else.

use super::core::Stats;
use super::crew::{Message, Shards, Told, crew};
use super::event::{Allocation, Event};
use super::options::Options;
use super::ring::{Consumer, Producer, ring};
use super::worker::{Alarm, Shared, Worker};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;

/// Events on their way. When so many are, [`Allocator::send`] yields until the worker has taken some: it takes them
/// at a million a second, and never waits for the sender.
const EVENTS_MAX: usize = 1 << 14;
/// Allocations on their way; the worker keeps more for later.
const ALLOCATIONS_MAX: usize = 1 << 14;

/// A running allocator. Dropping it ends its threads. Its methods never wait for more than room in a ring.
pub struct Allocator {
    shards: Shards,
    lanes: Vec<Lane>,
}

/// To one worker.
struct Lane {
    events: Producer<Message>,
    allocations: Consumer<Allocation>,
    shared: Arc<Shared>,
    /// `None` only while being dropped.
    thread: Option<JoinHandle<()>>,
}

/// A thread of the allocator could not be started.
#[derive(Debug, thiserror::Error)]
#[error("cannot start the allocator's thread")]
pub struct StartError(#[source] std::io::Error);

impl Allocator {
    /// With as many workers as `options` say. `waker` is called on their threads whenever there are new allocations to
    /// poll; it must not block.
    pub fn start(options: Options, waker: Box<dyn Fn() + Send + Sync>) -> Result<Self, StartError> {
        let worker_count = options.workers.get();
        let waker: Arc<dyn Fn() + Send + Sync> = Arc::from(waker);
        let all: Vec<_> = (0..worker_count).map(|_| Arc::new(Shared::new())).collect();
        let mut allocator = Self { shards: Shards::new(worker_count), lanes: Vec::new() };
        for (at, member) in crew(options, worker_count).into_iter().enumerate() {
            let (events, worker_events) = ring(EVENTS_MAX);
            let (worker_allocations, allocations) = ring(ALLOCATIONS_MAX);
            let (shared, waker) = (all[at].clone(), waker.clone());
            let mates = all.iter().enumerate().filter(|(other, _)| *other != at);
            let mates = mates.map(|(_, mate)| mate.clone()).collect();
            let run = move || {
                let _alarm = Alarm { shared: shared.clone(), waker: waker.clone() };
                Worker::new(member, mates, (worker_events, worker_allocations), shared, waker).run();
            };
            let name = if worker_count == 1 { "allocator".into() } else { format!("allocator-{at}") };
            let thread = std::thread::Builder::new().name(name).spawn(run).map_err(StartError)?;
            let shared = all[at].clone();
            allocator.lanes.push(Lane { events, allocations, shared, thread: Some(thread) });
        }
        Ok(allocator)
    }

    /// Events are taken in the order they are sent, by each worker whom they concern.
    ///
    /// # Panics
    /// When a thread of the allocator has panicked: the master cannot go on without it, and its agents and frameworks are
    /// safe with the next.
    pub fn send(&mut self, event: Event) {
        match self.shards.told(event) {
            Told::One(worker, message) => self.lanes[worker].send(message),
            Told::All(message) => {
                for lane in &mut self.lanes[1..] {
                    lane.send(message.clone());
                }
                self.lanes[0].send(message);
            }
        }
    }

    /// Adds all allocations made since the last call to `out`, each worker's oldest first.
    ///
    /// # Panics
    /// As [`Self::send`].
    pub fn poll_offers(&mut self, out: &mut Vec<Allocation>) {
        for (worker, lane) in self.lanes.iter_mut().enumerate() {
            while let Some(allocation) = lane.allocations.pop() {
                out.push(self.shards.allocation(worker, allocation));
            }
            // The worker may hold more that did not fit.
            lane.wake();
        }
    }

    /// Counts since the start, and the refusals in force; as of the last batch of events, of all workers together.
    pub fn stats(&self) -> (Stats, u64) {
        let mut sum = (Stats::default(), 0);
        for lane in &self.lanes {
            let (stats, refusal_count) = lane.shared.counts.read();
            sum.0.event_count += stats.event_count;
            sum.0.decision_count += stats.decision_count;
            sum.0.allocation_count += stats.allocation_count;
            sum.1 += refusal_count;
        }
        sum
    }
}

impl Lane {
    fn send(&mut self, message: Message) {
        let mut message = message;
        while let Err(back) = self.events.push(message) {
            message = back;
            self.wake();
            std::thread::yield_now();
        }
        self.wake();
    }

    fn wake(&self) {
        assert!(!self.shared.has_panicked.load(Ordering::Acquire), "the allocator's thread has panicked");
        self.shared.wake();
    }
}

impl Drop for Allocator {
    fn drop(&mut self) {
        self.lanes.iter().for_each(|lane| lane.shared.is_stopping.store(true, Ordering::Release));
        for lane in &mut self.lanes {
            lane.shared.wake();
            if let Some(thread) = lane.thread.take() {
                // A panic of the worker has been reported by its thread; dropping must not panic again.
                drop(thread.join());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::event::{Claims, Refusal};
    use super::super::key::{AgentKey, FrameworkKey, KeyPool};
    use super::*;
    use model::role::Role;

    const AGENT_COUNT: usize = 50;

    fn started(workers: usize) -> (Allocator, std::sync::mpsc::Receiver<()>) {
        let (wake, woken) = std::sync::mpsc::channel();
        let waker = move || {
            // The test may have seen enough and gone.
            let _ = wake.send(());
        };
        let workers = std::num::NonZeroUsize::new(workers).expect("somebody");
        let options = Options { workers, ..Options::default() };
        (Allocator::start(options, Box::new(waker)).expect("a thread"), woken)
    }

    fn poll_until(
        allocator: &mut Allocator,
        woken: &std::sync::mpsc::Receiver<()>,
        count: usize,
    ) -> Vec<Allocation> {
        let mut all = Vec::new();
        while all.len() < count {
            allocator.poll_offers(&mut all);
            if all.len() < count {
                woken.recv_timeout(std::time::Duration::from_secs(20)).expect("an allocation in time");
            }
        }
        all
    }

    /// Everything free is offered, comes back, and is offered again, across threads and through full rings.
    #[test]
    fn what_is_given_back_is_offered_again() {
        give_back_and_take(1);
    }

    /// Likewise where agents are several threads'.
    #[test]
    fn several_workers_offer_what_is_given_back() {
        give_back_and_take(3);
    }

    fn give_back_and_take(workers: usize) {
        let (mut allocator, woken) = started(workers);
        let (mut agents, mut frameworks) =
            (KeyPool::<AgentKey>::default(), KeyPool::<FrameworkKey>::default());
        let framework = frameworks.take();
        let info = Claims { roles: vec![Role::star()], ..Claims::default() };
        allocator.send(Event::AddFramework { framework, info, is_active: true });
        let total: model::resources::Resources = "cpus:4;mem:1024;ports:[1-9]".parse().expect("resources");
        for _ in 0..AGENT_COUNT {
            allocator.send(Event::AddAgent { agent: agents.take(), total: total.clone(), used: Vec::new() });
        }
        let rounds = 2 * EVENTS_MAX / AGENT_COUNT;
        for _ in 0..rounds {
            for allocation in poll_until(&mut allocator, &woken, AGENT_COUNT) {
                assert_eq!(allocation.resources, total.allocated_to(&Role::star()));
                let Allocation { agent, resources, .. } = allocation;
                allocator.send(Event::Release { framework, agent, resources, refusal: Refusal::None });
            }
        }
        poll_until(&mut allocator, &woken, AGENT_COUNT);
        let (stats, refusals) = allocator.stats();
        assert_eq!(stats.allocation_count, ((rounds + 1) * AGENT_COUNT) as u64);
        assert_eq!(refusals, 0);
    }

    /// What one worker gets back of a role at its limit, another may offer: it is told, though nothing happens to it.
    #[test]
    fn room_under_a_limit_is_found_by_whoever_has_agents() {
        let (mut allocator, woken) = started(2);
        let framework = KeyPool::<FrameworkKey>::default().take();
        let mut quota = model::quota::Quota::default();
        quota.limits.insert("cpus".into(), model::quantity::Quantity::from_units(4));
        allocator.send(Event::SetQuota { role: Role::star(), quota });
        let info = Claims { roles: vec![Role::star()], ..Claims::default() };
        allocator.send(Event::AddFramework { framework, info, is_active: true });
        let mut agents = KeyPool::<AgentKey>::default();
        for _ in 0..2 {
            let total = "cpus:4".parse().expect("resources");
            allocator.send(Event::AddAgent { agent: agents.take(), total, used: Vec::new() });
        }
        let mut cpus = 0;
        let mut last = None;
        while cpus < 4 {
            let first = poll_until(&mut allocator, &woken, 1).remove(0);
            cpus += first.resources.scalar("cpus").milli() / 1000;
            last = Some(first);
        }
        assert_eq!(cpus, 4, "no more than the limit");
        let Allocation { agent, resources, .. } = last.expect("something was offered");
        let refusal = Refusal::For { ns: u64::MAX };
        allocator.send(Event::Release { framework, agent, resources, refusal });
        let next = poll_until(&mut allocator, &woken, 1).remove(0);
        assert_ne!(next.agent, agent, "it is refused there");
    }

    /// A refusal ends though nothing happens: the worker wakes itself.
    #[test]
    #[expect(clippy::disallowed_methods, reason = "asks the true clock whether the refusal has lasted")]
    fn time_alone_brings_an_offer_back() {
        let (mut allocator, woken) = started(1);
        let framework = KeyPool::<FrameworkKey>::default().take();
        let info = Claims { roles: vec![Role::star()], ..Claims::default() };
        let agent = KeyPool::<AgentKey>::default().take();
        let total = "cpus:4".parse().expect("resources");
        allocator.send(Event::AddFramework { framework, info, is_active: true });
        allocator.send(Event::AddAgent { agent, total, used: Vec::new() });
        let resources = poll_until(&mut allocator, &woken, 1).remove(0).resources;
        let refused = std::time::Instant::now();
        let refusal = Refusal::For { ns: 30_000_000 };
        allocator.send(Event::Release { framework, agent, resources, refusal });
        poll_until(&mut allocator, &woken, 1);
        assert!(refused.elapsed() >= std::time::Duration::from_millis(30));
    }

    #[test]
    #[should_panic(expected = "the allocator's thread has panicked")]
    fn a_dead_worker_is_noticed() {
        let (mut allocator, woken) = started(1);
        let agent = KeyPool::<AgentKey>::default().take();
        for _ in 0..2 {
            // The second is a bug of the sender.
            allocator.send(Event::AddAgent { agent, total: Default::default(), used: Vec::new() });
        }
        woken.recv_timeout(std::time::Duration::from_secs(20)).expect("the alarm");
        allocator.poll_offers(&mut Vec::new());
    }
}
