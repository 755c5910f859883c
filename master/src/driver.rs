//! The thread "cluster": drives the cluster core. It takes what the network, HTTP and the allocator have to say, hands it
//! to the core with the time, and carries out the core's effects. The only owner of the core, of the allocator's handle,
//! and of the clock that both are told.
//!
//! Everyone posts into one unbounded queue ([`Post`]); what keeps it short is that `net` stops reading its sessions while
//! more than [`POSTED_MAX`] entries wait, and that an HTTP connection has one request under way at a time.

#![expect(clippy::disallowed_methods, reason = "the one place where the master's core is told the time")]

use crate::allocator::core::Stats;
use crate::allocator::event::Allocation;
use crate::allocator::handle::Allocator;
use crate::cluster::Cluster;
use crate::cluster::effect::{Effect, Event};
use crate::cluster::input::{Call, CallOf, Input, OperatorCall, StreamId, Subscribe, Ticket};
use crate::cluster::snapshot::Snapshot;
use crate::http;
use crate::http::stream::Sink;
use crate::net::{Outbox, ToNet};
use crate::notes;
use crate::registrar;
use leader::lease::Lease;
use model::id::FrameworkId;
use model::time::{Now, Time, UnixTime};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{JoinHandle, Thread};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::oneshot;

/// `net` reads no more from its sessions while so many entries wait for the core.
pub(crate) const POSTED_MAX: usize = 1 << 16;

/// Entries handled before effects are carried out, so that a flood does not hold back what it caused.
const BATCH_MAX: usize = 256;

/// A snapshot may take at most one part in this many of the thread's time; readers wait for the next one together.
const SNAPSHOT_SHARE: u32 = 10;

/// What readers see of the master.
#[derive(Clone, Debug)]
pub(crate) struct Picture {
    pub(crate) snapshot: Arc<Snapshot>,
    /// What the allocator has done so far.
    pub(crate) allocations: Stats,
    /// What the registrar does.
    pub(crate) registrar: Arc<registrar::Figures>,
}

/// What the other threads have to say.
pub(crate) enum Command {
    Input(Input),
    /// A scheduler's subscription, with where its events go.
    Subscribe {
        subscribe: Subscribe,
        sink: Sink,
    },
    Call {
        framework_id: FrameworkId,
        stream: Option<StreamId>,
        call: Call,
        caller: http::Caller,
    },
    Operator {
        call: OperatorCall,
        caller: http::Caller,
    },
    Snapshot {
        reply: oneshot::Sender<Picture>,
    },
    Stop,
}

/// Where the other threads post. Never waits, takes no lock while the driver is awake.
#[derive(Clone)]
pub(crate) struct Post {
    sender: Sender<Command>,
    thread: Thread,
    posted: Arc<AtomicUsize>,
}

impl Post {
    /// After the driver has stopped, what is posted is dropped.
    pub(crate) fn send(&self, command: Command) {
        self.posted.fetch_add(1, Ordering::Relaxed);
        if self.sender.send(command).is_ok() {
            self.thread.unpark();
        }
    }

    pub(crate) fn input(&self, input: Input) {
        self.send(Command::Input(input));
    }

    /// Entries that wait to be handled.
    pub(crate) fn waiting(&self) -> usize {
        self.posted.load(Ordering::Relaxed)
    }

    /// Wakes the driver without a word: the allocator has something.
    pub(crate) fn wake(&self) {
        self.thread.unpark();
    }
}

/// What the driver drives and speaks to.
pub(crate) struct Parts {
    pub(crate) cluster: Cluster,
    pub(crate) allocator: Allocator,
    pub(crate) outbox: Outbox,
    pub(crate) http: http::Outbox,
    /// Dropped with the driver: what it was sent is durable then.
    pub(crate) registrar: registrar::Handle,
    /// Nothing is done any more when it has ended.
    pub(crate) lease: Lease,
    /// Is told, at most once, why this master must not go on.
    pub(crate) aborted: Box<dyn Fn(Arc<str>) + Send>,
}

/// The thread, waiting for its [`Parts`], which need its [`Post`] to be made.
pub(crate) struct Waiting {
    parts: Sender<Parts>,
    thread: JoinHandle<()>,
}

impl Waiting {
    pub(crate) fn go(self, parts: Parts) -> JoinHandle<()> {
        // A thread that is gone is found out by whoever joins it.
        drop(self.parts.send(parts));
        self.thread
    }
}

/// Starts the thread.
pub(crate) fn spawn() -> std::io::Result<(Waiting, Post)> {
    let (sender, inbox) = channel();
    let (parts_sender, parts) = channel();
    let posted = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&posted);
    let run = move || {
        if let Ok(parts) = parts.recv() {
            Driver::new(parts, inbox, counted).run();
        }
    };
    let thread = std::thread::Builder::new().name("cluster".into()).spawn(run)?;
    let post = Post { sender, thread: thread.thread().clone(), posted };
    Ok((Waiting { parts: parts_sender, thread }, post))
}

struct Driver {
    cluster: Cluster,
    allocator: Allocator,
    outbox: Outbox,
    http: http::Outbox,
    registrar: registrar::Handle,
    lease: Lease,
    aborted: Box<dyn Fn(Arc<str>) + Send>,
    is_aborted: bool,
    inbox: Receiver<Command>,
    posted: Arc<AtomicUsize>,
    clock: Clock,
    effects: Vec<Effect>,
    allocations: Vec<Allocation>,
    streams: BTreeMap<StreamId, Sink>,
    tickets: BTreeMap<Ticket, http::Caller>,
    next_ticket: u64,
    readers: Vec<oneshot::Sender<Picture>>,
    /// Not before then is the next snapshot taken.
    snapshot_due: Time,
}

/// Both clocks. The monotonic one starts with the driver.
struct Clock {
    start: Instant,
}

impl Clock {
    fn now(&self) -> Now {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now {
            time: Time(u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX)),
            unix: UnixTime(u64::try_from(unix.as_micros()).unwrap_or(u64::MAX)),
        }
    }
}

impl Driver {
    fn new(parts: Parts, inbox: Receiver<Command>, posted: Arc<AtomicUsize>) -> Self {
        Self {
            cluster: parts.cluster,
            allocator: parts.allocator,
            outbox: parts.outbox,
            http: parts.http,
            registrar: parts.registrar,
            lease: parts.lease,
            aborted: parts.aborted,
            is_aborted: false,
            inbox,
            posted,
            clock: Clock { start: Instant::now() },
            effects: Vec::new(),
            allocations: Vec::new(),
            streams: BTreeMap::new(),
            tickets: BTreeMap::new(),
            next_ticket: 0,
            readers: Vec::new(),
            snapshot_due: Time::default(),
        }
    }

    fn run(mut self) {
        loop {
            let Some(is_idle) = self.turn() else { return };
            if is_idle {
                match self.due() {
                    Some(wait) => std::thread::park_timeout(wait),
                    None => std::thread::park(),
                }
            }
        }
    }

    /// One round: a batch of commands, allocations, timers, effects, snapshots. Whether there was nothing to do; `None`
    /// to stop.
    fn turn(&mut self) -> Option<bool> {
        let mut handled = 0;
        while handled < BATCH_MAX
            && let Ok(command) = self.inbox.try_recv()
        {
            handled += 1;
            self.posted.fetch_sub(1, Ordering::Relaxed);
            if matches!(command, Command::Stop) {
                self.outbox.send(ToNet::Stop);
                self.outbox.flush();
                return None;
            }
            self.command(command);
        }
        self.allocator.poll_offers(&mut self.allocations);
        if !self.allocations.is_empty() {
            handled += 1;
            let allocations = std::mem::take(&mut self.allocations);
            self.cluster.handle(self.clock.now(), Input::Allocations(allocations), &mut self.effects);
        }
        let now = self.clock.now();
        if self.cluster.deadline().is_some_and(|due| due <= now.time) {
            handled += 1;
            self.cluster.expire(now, &mut self.effects);
        }
        // As late as can be: whatever held this thread up did so before.
        if !self.lease.holds() {
            self.is_aborted = true;
            (self.aborted)(
                "this master may have been deposed: ZooKeeper has not been heard of for too long".into(),
            );
            return None;
        }
        self.carry_out();
        self.outbox.flush();
        self.http.flush();
        self.publish();
        (!self.is_aborted).then_some(handled == 0)
    }

    fn due(&self) -> Option<Duration> {
        let reader = self.readers.first().map(|_| self.snapshot_due);
        let due = self.cluster.deadline().into_iter().chain(reader).min()?;
        Some(Duration::from_nanos(due.since_ns(self.clock.now().time)))
    }

    fn command(&mut self, command: Command) {
        let input = match command {
            Command::Input(input) => input,
            Command::Subscribe { subscribe, sink } => {
                self.streams.insert(subscribe.stream.clone(), sink);
                Input::Subscribe(subscribe)
            }
            Command::Call { framework_id, stream, call, caller } => {
                self.next_ticket += 1;
                let ticket = Ticket(self.next_ticket);
                self.tickets.insert(ticket, caller);
                Input::Call(CallOf { ticket, framework_id, stream, call })
            }
            Command::Operator { call, caller } => {
                self.next_ticket += 1;
                let ticket = Ticket(self.next_ticket);
                self.tickets.insert(ticket, caller);
                Input::Operator { ticket, call }
            }
            Command::Snapshot { reply } => return self.readers.push(reply),
            Command::Stop => unreachable!("seen by `turn`"),
        };
        if let Input::StreamGone { stream } = &input {
            self.streams.remove(stream);
        }
        self.cluster.handle(self.clock.now(), input, &mut self.effects);
    }

    fn carry_out(&mut self) {
        // In rounds: a stream that turns out too slow is told to the core, which has more to be done then.
        while !self.effects.is_empty() && !self.is_aborted {
            for effect in std::mem::take(&mut self.effects) {
                if !self.is_aborted {
                    self.carry_out_one(effect);
                }
            }
        }
    }

    fn carry_out_one(&mut self, effect: Effect) {
        match effect {
            Effect::Persist(change) => self.registrar.send(change),
            Effect::Abort { why } => {
                self.is_aborted = true;
                (self.aborted)(why);
            }
            Effect::ToAgent { session, message } => {
                self.outbox.send(ToNet::Send { session, message: Box::new(message) })
            }
            Effect::CloseSession { session, why } => self.outbox.send(ToNet::Close { session, why }),
            Effect::ForgetRow(row) => self.outbox.send(ToNet::ForgetRow(row)),
            Effect::KeepNode { session, row } => self.outbox.send(ToNet::KeepNode { session, row }),
            Effect::ForgetNode(row) => self.outbox.send(ToNet::ForgetNode(row)),
            Effect::ToScheduler { stream, event } => self.tell(stream, event),
            Effect::CloseStream { stream } => drop(self.streams.remove(&stream)),
            Effect::Allocator(event) => self.allocator.send(event),
            Effect::Note(note) => notes::log(&note),
            Effect::Answer { ticket, answer } => {
                let caller = self.tickets.remove(&ticket).expect("a call is answered once");
                self.http.answer(caller, answer);
            }
        }
    }

    fn tell(&mut self, stream: StreamId, event: Event) {
        let Some(sink) = self.streams.get(&stream) else { return };
        if let Err(why) = sink.push(event, &mut self.http) {
            tracing::warn!(stream = &*stream.0, %why, "scheduler_stream_dropped");
            self.streams.remove(&stream);
            self.cluster.handle(self.clock.now(), Input::StreamGone { stream }, &mut self.effects);
        }
    }

    /// Answers those who wait for a picture of the cluster.
    fn publish(&mut self) {
        let now = self.clock.now();
        if self.readers.is_empty() || now.time < self.snapshot_due {
            return;
        }
        let picture = Picture {
            snapshot: self.cluster.snapshot(now),
            allocations: self.allocator.stats().0,
            registrar: self.registrar.figures(),
        };
        let cost_ns = self.clock.now().time.since_ns(now.time);
        self.snapshot_due = now.time.plus_ns(cost_ns * u64::from(SNAPSHOT_SHARE));
        for reader in self.readers.drain(..) {
            // Whoever asked may have gone away meanwhile.
            drop(reader.send(picture.clone()));
        }
    }
}
