//! A thread that owns slots: takes events from its ring, lets the core decide, puts allocations into the other, and tells
//! the other workers now and then what it has given. It never waits for the cluster core: what does not fit into the ring of allocations it keeps, and since an
//! allocation takes what is free, that is never more than there is.

use super::bell::Bell;
use super::core::{Core, Stats};
use super::crew::{Member, Message};
use super::event::Allocation;
use super::ring::{Consumer, Producer};
use model::time::Time;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::Thread;
use std::time::{Duration, Instant};

/// Events applied before their agents are decided: enough that tasks ending together make one offer, few enough that
/// the first of them does not wait long (about 100 us).
const BATCH_MAX: usize = 256;

/// Other workers are told so often of what has changed, nanoseconds. Every claimant that was served meanwhile is ranked
/// anew by every worker then: with a thousand of them, that is 2 to 3 % of a core.
const NEWS_PACE_NS: u64 = 10_000_000;

/// The worker, its handle and the other workers see it.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) bell: Bell,
    /// Written by the worker, once, before it first looks for work; read by whoever wakes it.
    thread: OnceLock<Thread>,
    /// Written by the handle, once; read by the worker before it sleeps.
    pub(super) is_stopping: AtomicBool,
    /// Written by the worker's thread, once, before it wakes the cluster core for the last time; read by the handle.
    pub(super) has_panicked: AtomicBool,
    /// Written by the worker after every batch, read by whoever wants to know; no order between them is promised.
    pub(super) counts: Counts,
}

impl Shared {
    pub(super) fn new() -> Self {
        Self {
            bell: Bell::new(),
            thread: OnceLock::new(),
            is_stopping: AtomicBool::new(false),
            has_panicked: AtomicBool::new(false),
            counts: Counts::default(),
        }
    }

    /// Wakes the worker, after publishing what there is to do. One that has not begun will look before it sleeps.
    pub(super) fn wake(&self) {
        self.thread.get().into_iter().for_each(|thread| self.bell.ring(thread));
    }
}

/// The core's [`Stats`], published.
#[derive(Debug, Default)]
pub(super) struct Counts {
    events: AtomicU64,
    decisions: AtomicU64,
    allocations: AtomicU64,
    refusals: AtomicU64,
}

impl Counts {
    fn publish(&self, core: &Core) {
        let Stats { event_count, decision_count, allocation_count } = core.stats();
        self.events.store(event_count, Ordering::Relaxed);
        self.decisions.store(decision_count, Ordering::Relaxed);
        self.allocations.store(allocation_count, Ordering::Relaxed);
        self.refusals.store(core.refusal_count() as u64, Ordering::Relaxed);
    }

    /// Counts since the start, and the refusals in force.
    pub(super) fn read(&self) -> (Stats, u64) {
        let stats = Stats {
            event_count: self.events.load(Ordering::Relaxed),
            decision_count: self.decisions.load(Ordering::Relaxed),
            allocation_count: self.allocations.load(Ordering::Relaxed),
        };
        (stats, self.refusals.load(Ordering::Relaxed))
    }
}

pub(super) struct Worker {
    member: Member,
    /// The other workers.
    mates: Vec<Arc<Shared>>,
    /// When they may be told the next time.
    tell_next: Time,
    events: Consumer<Message>,
    allocations: Producer<Allocation>,
    /// Those that did not fit.
    backlog: VecDeque<Allocation>,
    shared: Arc<Shared>,
    waker: Arc<dyn Fn() + Send + Sync>,
    started: Instant,
}

impl Worker {
    /// `mates` are the other workers.
    pub(super) fn new(
        member: Member,
        mates: Vec<Arc<Shared>>,
        (events, allocations): (Consumer<Message>, Producer<Allocation>),
        shared: Arc<Shared>,
        waker: Arc<dyn Fn() + Send + Sync>,
    ) -> Self {
        Self {
            member,
            mates,
            tell_next: Time::default(),
            events,
            allocations,
            backlog: VecDeque::new(),
            shared,
            waker,
            started: start_of_time(),
        }
    }

    /// Until the handle is dropped.
    pub(super) fn run(mut self) {
        self.shared.thread.get_or_init(std::thread::current);
        let mut decided = Vec::new();
        while !self.shared.is_stopping.load(Ordering::Acquire) {
            let now = self.now();
            if self.member.core.deadline().is_some_and(|deadline| deadline <= now) {
                self.member.core.expire(now, &mut decided);
            }
            let applied = self.apply_batch(now);
            // After events: they may be what the others had heard.
            let has_heard = self.member.hear();
            if applied > 0 || has_heard {
                self.member.core.settle(now, &mut decided);
                self.shared.counts.publish(&self.member.core);
            }
            self.backlog.extend(decided.drain(..));
            self.flush();
            self.tell(now);
            if applied == 0 {
                self.sleep();
            }
        }
    }

    fn now(&self) -> Time {
        Time(self.started.elapsed().as_nanos() as u64)
    }

    fn apply_batch(&mut self, now: Time) -> usize {
        for count in 0..BATCH_MAX {
            let Some(message) = self.events.pop() else { return count };
            self.member.apply(now, message);
        }
        BATCH_MAX
    }

    /// Tells the other workers what has changed, at its pace, and wakes them.
    fn tell(&mut self, now: Time) {
        if self.tell_next <= now && self.member.has_news() {
            self.tell_next = now.plus_ns(NEWS_PACE_NS);
            if self.member.tell() {
                self.mates.iter().for_each(|mate| mate.wake());
            }
        }
    }

    /// When to look again though nothing happens.
    fn deadline(&self) -> Option<Time> {
        let news = self.member.has_news().then_some(self.tell_next);
        self.member.core.deadline().into_iter().chain(news).min()
    }

    /// Hands over what fits, and wakes the cluster core if anything did.
    fn flush(&mut self) {
        let before = self.backlog.len();
        while let Some(allocation) = self.backlog.pop_front() {
            if let Err(allocation) = self.allocations.push(allocation) {
                self.backlog.push_front(allocation);
                break;
            }
        }
        if self.backlog.len() < before {
            (self.waker)();
        }
    }

    /// Until there is an event, room for the backlog, or a deadline.
    fn sleep(&mut self) {
        self.shared.bell.arm();
        let has_work = !self.events.is_empty()
            || self.member.has_mail()
            || !self.backlog.is_empty() && self.allocations.has_room()
            || self.shared.is_stopping.load(Ordering::Acquire);
        if !has_work {
            match self.deadline() {
                None => std::thread::park(),
                Some(deadline) => {
                    std::thread::park_timeout(Duration::from_nanos(deadline.since_ns(self.now())));
                }
            }
        }
        self.shared.bell.disarm();
    }
}

#[expect(clippy::disallowed_methods, reason = "a shell's one look at the clock; the core is given `now`")]
fn start_of_time() -> Instant {
    Instant::now()
}

/// Tells the cluster core when the worker ends by a panic.
pub(super) struct Alarm {
    pub(super) shared: Arc<Shared>,
    pub(super) waker: Arc<dyn Fn() + Send + Sync>,
}

impl Drop for Alarm {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.shared.has_panicked.store(true, Ordering::Release);
            (self.waker)();
        }
    }
}
