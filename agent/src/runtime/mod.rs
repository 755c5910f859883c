//! The agent at work: one thread, one io_uring, everything on it. The only owner of tokio-uring, and of the shells that it
//! drives.
//!
//! ```text
//!   link, executor_api, store, containers, timer        what happens
//!                     |  Input
//!                     v
//!                  [ node ]                             decides
//!                     |  Effect
//!                     v
//!   link, executor_api, store, containers, exit         what is done about it
//! ```
//! Whoever learns something calls [`Agent::input`]; the node's effects are carried out before that returns, none of them
//! waits, and none calls back: what takes time becomes a task that calls [`Agent::input`] later.

pub(crate) mod clock;
mod collect;
mod containers;
mod disk;
mod dispatch;
mod estimate;
mod facts;
mod images;
pub(crate) mod life;
mod limits;
mod machine;
pub(crate) mod nested;
pub mod qos;
mod start;
pub(crate) mod streams;
pub(crate) mod switchboard;
mod usage;

pub use start::{StartError, run};

use crate::bpf::{Bpf, Support};
use crate::checkpoint::store::Store;
use crate::config::Config;
use crate::containerizer::isolation::asked::Policy;
use crate::containerizer::nested::Place;
use crate::containerizer::service::Containerizer;
use crate::estimator::core::Estimator;
use crate::images::Images;
use crate::link::{Link, Target};
use crate::node::Node;
use crate::node::effect::{Answer, Ending};
use crate::node::input::{Caller, ExecutorCall, Input, Session};
use crate::runtime::clock::Clock;
use crate::runtime::collect::Collector;
use crate::runtime::containers::Container;
use crate::runtime::nested::Nested;
use crate::runtime::streams::Stream;
use crate::sampler::sources::Sampler;
use model::id::{ContainerId, ExecutorId, FrameworkId};
use model::time::{Now, Time, UnixTime};
use model::usage::ContainerUsage;
use model::usage::NodeUsage;
use std::cell::{Cell, OnceCell, RefCell};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use tokio::sync::Notify;

/// The whole agent, as its shells see it.
pub(crate) struct Agent {
    pub(crate) config: Config,
    /// By name, as they turned out.
    pub(crate) flags: BTreeMap<&'static str, String>,
    pub(crate) started: UnixTime,
    pub(crate) containerizer: Containerizer,
    /// How containers are kept apart.
    isolation: Arc<Policy>,
    /// `None`: the operator wants none.
    pub(crate) images: Option<Images>,
    pub(crate) support: Support,
    /// The machine as it was at the start.
    found: crate::doctor::Machine,
    node: RefCell<Node>,
    clock: Clock,
    store: OnceCell<Store>,
    link: RefCell<Option<(Session, Link)>>,
    /// Whom it dials.
    target: Target,
    streams: RefCell<BTreeMap<Caller, Stream>>,
    next_caller: Cell<u64>,
    /// Of the call that is just being handled.
    answer: Cell<Option<(Caller, Answer)>>,
    containers: RefCell<BTreeMap<ContainerId, Rc<Container>>>,
    /// Since memory was given back.
    has_holes: Cell<bool>,
    nested: RefCell<BTreeMap<Place, Rc<Nested>>>,
    /// This program's own file: the command executor is in it.
    program: PathBuf,
    collector: Collector,
    bpf: RefCell<Bpf>,
    sampler: tokio::sync::Mutex<Sampler>,
    estimator: RefCell<Estimator>,
    /// Last figures that no master has been told yet.
    finals: RefCell<Vec<ContainerUsage>>,
    pub(crate) counts: Counts,
    /// What the whole machine used at the last look.
    machine: Cell<NodeUsage>,
    qos: qos::Qos,
    reports: RefCell<wire::report::Builder>,
    reported: Cell<Time>,
    /// The node's deadline may have changed.
    deadline_changed: Notify,
    exit: RefCell<Option<Ending>>,
    exiting: Notify,
}

/// What containers have met since the agent started, for `/metrics/snapshot` and `/metrics`.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) fetches_succeeded: Cell<u64>,
    pub(crate) fetches_failed: Cell<u64>,
    pub(crate) destroy_errors: Cell<u64>,
    /// From the agent's start until executors could reach it, seconds.
    pub(crate) recovery_secs: Cell<f64>,
    /// Containers that BPF does not count though it could: the maps are full, or the kernel is out of memory.
    pub(crate) uncounted: Cell<u64>,
    /// Containers whose files cannot be read.
    pub(crate) unsampled: Cell<u64>,
    /// Events of containers that are over which found the ring buffer full.
    pub(crate) events_lost: Cell<u64>,
    /// Looks at which the programs could not be asked for what is still running.
    pub(crate) refresh_errors: Cell<u64>,
    /// Last figures of containers, of which too many waited for a master.
    pub(crate) finals_dropped: Cell<u64>,
    /// Reports that no frame could hold.
    pub(crate) reports_dropped: Cell<u64>,
}

pub(crate) fn increment(count: &Cell<u64>) {
    count.set(count.get() + 1);
}

impl Agent {
    /// Tells the node, and does what it wants.
    pub(crate) fn input(self: &Rc<Self>, input: Input) {
        let mut effects = Vec::new();
        let mut node = self.node.borrow_mut();
        let was_registered = node.is_registered();
        node.handle(self.clock.now(), input, &mut effects);
        if node.is_registered() && !was_registered {
            let agent_id = node.agent_id().map(ToString::to_string);
            tracing::info!(master = %self.config.master, agent_id, "registered");
        }
        drop(node);
        self.carry_out_all(effects);
    }

    /// Hands an executor's call to the node. A SUBSCRIBE has its stream in `streams` already.
    pub(crate) fn call(
        self: &Rc<Self>,
        caller: Caller,
        framework_id: FrameworkId,
        executor_id: ExecutorId,
        call: ExecutorCall,
    ) -> Answer {
        self.input(Input::Executor { caller, framework_id, executor_id, call });
        let (answered, answer) = self.answer.take().expect("the node answers every call at once");
        assert_eq!(answered, caller, "an answer for another call");
        answer
    }

    pub(crate) fn new_caller(&self) -> Caller {
        let number = self.next_caller.get();
        self.next_caller.set(number + 1);
        Caller(number)
    }

    /// A look at what the node knows.
    pub(crate) fn look<T>(&self, see: impl FnOnce(&Node) -> T) -> T {
        see(&self.node.borrow())
    }

    pub(crate) fn now(&self) -> Now {
        self.clock.now()
    }

    /// Calls the node when its deadline has come, for ever.
    async fn keep_time(self: Rc<Self>) {
        loop {
            let deadline = self.node.borrow().deadline();
            let changed = self.deadline_changed.notified();
            match deadline {
                None => changed.await,
                Some(at) => tokio::select! {
                    () = changed => {}
                    () = self.clock.sleep_until(at) => {
                        let mut effects = Vec::new();
                        self.node.borrow_mut().expire(self.clock.now(), &mut effects);
                        self.carry_out_all(effects);
                    }
                },
            }
        }
    }
}
