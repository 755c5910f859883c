//! Lent containers, watched and held so that those that were paid for do not suffer: drives `estimator::qos`.
//!
//! ```text
//!   see      the kernel's figures, every 20 ms while anything is lent       cpu.pressure, BPF's waits, MemAvailable
//!   trigger  PSI wakes us where a look costs too much to be taken that often
//!   [ estimator::qos ]   decides
//!   hold     idle class, cpu.max or a duty cycle of the freezer, memory.high
//!   Preempt -> node    kills
//! ```
//! While nothing is lent nothing is read, and nobody wakes up.

mod hold;
mod see;
mod trigger;

use crate::bpf::Figure;
use crate::containerizer::limits::lent_cpus_milli;
use crate::containerizer::service::Containerizer;
use crate::estimator::qos::{Action, Controller, LOOK_NS, Record, Step, Targets};
use crate::node::input::Input;
use crate::runtime::Agent;
use crate::runtime::containers::Container;
use model::id::ContainerId;
use model::latency::Latency;
use model::time::Time;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fs::File;
use std::path::PathBuf;
use std::rc::Rc;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

/// A look may take no more than this part of a CPU: one that takes longer is taken less often.
const COST_DIVISOR: u64 = 50;

/// How often what lent containers are held by is written again though nothing has changed: limits may have been set
/// anew meanwhile, and a process that makes itself a session leaves its scheduling group.
const REFRESH_NS: u64 = 1_000_000_000;

/// A container whose executor was told to end something is let be for so long: it could not obey otherwise.
const SPARED_NS: u64 = 60_000_000_000;

/// How lent containers are throttled here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// By a quota.
    CpuMax,
    /// By freezing them for a part of each period, where no quota can be had.
    DutyCycle,
    /// Not at all: they have no cgroups.
    Nothing,
}

impl Method {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CpuMax => "cpu.max",
            Self::DutyCycle => "cgroup.freeze, by turns",
            Self::Nothing => "none",
        }
    }
}

/// What those who look are told.
#[derive(Clone, Debug)]
pub struct View {
    pub targets: Targets,
    pub method: Method,
    /// What keeps them behind the others at rest.
    pub resting: &'static str,
    /// What a lent container has now.
    pub share_permille: u64,
    /// Containers that are lent.
    pub lent: Vec<ContainerId>,
    /// Figures that are watched, and nobody counts here.
    pub blind: Vec<&'static str>,
    pub record: Record,
    /// From the last moment at which the targets still held until the first correction was in effect.
    pub to_action: Latency,
    /// The same until a killed container was gone.
    pub to_kill: Latency,
}

/// A container, as far as it matters here.
struct Known {
    container: Rc<Container>,
    /// `None`: it was paid for.
    lent_cpus_milli: Option<u64>,
    /// Held by a limit of its own, whose waits pressure counts, too.
    has_cpu_limit: bool,
    path: Option<PathBuf>,
    began: Time,
    /// `cpu.pressure`, kept open.
    pressure: Option<File>,
    /// It was tried, with or without success.
    has_trigger: Cell<bool>,
    trigger: RefCell<Option<AbortHandle>>,
}

impl Drop for Known {
    fn drop(&mut self) {
        self.stop_trigger();
    }
}

impl Known {
    fn stop_trigger(&self) {
        self.has_trigger.set(false);
        if let Some(trigger) = self.trigger.take() {
            trigger.abort();
        }
    }
}

/// The controller and what it holds. Part of the [`Agent`].
pub(super) struct Qos {
    controller: RefCell<Controller>,
    targets: Targets,
    method: Method,
    known: RefCell<BTreeMap<ContainerId, Rc<Known>>>,
    /// Until when, because they are being ended.
    spared: RefCell<BTreeMap<ContainerId, Time>>,
    /// Killed by us, with the last moment at which the targets held.
    killed: RefCell<BTreeMap<ContainerId, Time>>,
    /// What lent containers have now.
    share_permille: Cell<u64>,
    refreshed: Cell<Time>,
    to_action: RefCell<Latency>,
    to_kill: RefCell<Latency>,
    meminfo: Option<File>,
    /// Something is lent now, or the kernel says that it is time to look.
    woken: Notify,
    /// The duty cycle has another share.
    turned: Notify,
}

impl Qos {
    pub(super) fn new(targets: Targets, containerizer: &Containerizer) -> Self {
        let method = match (containerizer.cgroup_root(), containerizer.enforcement().cpu.is_yes()) {
            (None, _) => Method::Nothing,
            (Some(_), true) => Method::CpuMax,
            (Some(_), false) => Method::DutyCycle,
        };
        let can_squeeze = containerizer.enforcement().memory.is_yes();
        Self {
            controller: RefCell::new(Controller::new(targets, can_squeeze)),
            targets,
            method,
            known: RefCell::default(),
            spared: RefCell::default(),
            killed: RefCell::default(),
            share_permille: Cell::new(1000),
            refreshed: Cell::default(),
            to_action: RefCell::default(),
            to_kill: RefCell::default(),
            meminfo: File::open("/proc/meminfo").ok(),
            woken: Notify::new(),
            turned: Notify::new(),
        }
    }

    fn has_lent(&self) -> bool {
        self.known.borrow().values().any(|known| known.lent_cpus_milli.is_some())
    }
}

impl Agent {
    /// Watches, for ever.
    pub(super) async fn keep_quality(self: Rc<Self>) {
        tokio::task::spawn_local(self.clone().keep_turns());
        loop {
            let began = self.now().time;
            self.look_at_quality();
            if !self.qos.has_lent() {
                // The look has ended whatever was held back: the next one that comes begins at rest.
                self.qos.known.borrow().values().for_each(|known| known.stop_trigger());
                self.qos.woken.notified().await;
                continue;
            }
            let took_ns = self.now().time.since_ns(began);
            let next = began.plus_ns(LOOK_NS.max(took_ns.saturating_mul(COST_DIVISOR)));
            tokio::select! {
                () = self.clock.sleep_until(next) => {}
                () = self.qos.woken.notified() => {}
            }
        }
    }

    fn look_at_quality(self: &Rc<Self>) {
        if self.qos.has_lent() {
            self.set_triggers();
        }
        let (look, mut actions) = (self.see(), Vec::new());
        // Taken after the figures: what is held against them is no shorter than they are.
        let now = self.now();
        let decided = {
            let mut controller = self.qos.controller.borrow_mut();
            let before: u64 = controller.record().counts.values().sum();
            controller.look(now, &look, &mut actions);
            let after: u64 = controller.record().counts.values().sum();
            let decisions = &controller.record().decisions;
            let news = usize::try_from(after - before).expect("a few").min(decisions.len());
            self.qos.share_permille.set(controller.share_permille());
            decisions.range(decisions.len() - news..).cloned().collect::<Vec<_>>()
        };
        for action in actions {
            self.correct(action);
        }
        for decision in decided {
            let delay_ns = self.now().time.since_ns(decision.held_at);
            let is_kill = matches!(decision.step, Step::KillForCpu | Step::KillForMemory);
            if let Some(container_id) = decision.container_id.clone().filter(|_| is_kill) {
                self.qos.killed.borrow_mut().insert(container_id, decision.held_at);
            } else if decision.is_first {
                self.qos.to_action.borrow_mut().record(delay_ns);
            }
            let cause = decision.cause.as_ref().map(ToString::to_string);
            let suffers = decision.cause.as_ref().and_then(|cause| cause.container_id());
            tracing::info!(
                step = decision.step.as_str(),
                share_permille = decision.share_permille,
                container = decision.container_id.as_ref().map(|id| id.as_str()),
                suffers = suffers.map(|id| id.as_str()),
                cause,
                delay_us = delay_ns / 1_000,
                "revocable containers corrected"
            );
        }
        if now.time.since_ns(self.qos.refreshed.get()) >= REFRESH_NS {
            self.qos.refreshed.set(now.time);
            self.refresh_holds();
        }
    }

    fn correct(self: &Rc<Self>, action: Action) {
        match action {
            Action::Hold { .. } => self.hold_all(),
            Action::Squeeze { container_id, memory_bytes } => {
                self.squeeze_memory(&container_id, memory_bytes)
            }
            Action::Kill { container_id, message } => {
                self.input(Input::Preempt { container_id, cause: message.into() });
            }
        }
    }

    /// A container runs, or what it and its tasks were given has changed.
    pub(super) fn classify(self: &Rc<Self>, container: &Rc<Container>) {
        let Some(running) = container.running() else { return };
        let container_id = &container.run.container_id;
        let lent_cpus_milli = lent_cpus_milli(&self.shares(container_id));
        let before = self.qos.known.borrow().get(container_id).cloned();
        let has_cpu_limit = self.limits_of(container).cpus_max_milli.is_some()
            && self.containerizer.enforcement().cpu.is_yes();
        let path = running.cgroup_path();
        let known = Rc::new(Known {
            container: container.clone(),
            lent_cpus_milli,
            has_cpu_limit,
            path: path.map(PathBuf::from),
            began: before.as_ref().map_or_else(|| self.now().time, |known| known.began),
            pressure: path.and_then(|path| File::open(path.join("cpu.pressure")).ok()),
            has_trigger: Cell::new(false),
            trigger: RefCell::default(),
        });
        self.qos.known.borrow_mut().insert(container_id.clone(), known.clone());
        match (before.is_some_and(|it| it.lent_cpus_milli.is_some()), lent_cpus_milli.is_some()) {
            (_, true) => {
                self.rest(&known, true);
                // What it is held by is written at the next refresh, or the next turn: its executor has to subscribe first.
                self.qos.refreshed.set(Time(0));
                self.qos.woken.notify_one();
            }
            (true, false) => {
                self.let_go(&known);
                self.rest(&known, false);
            }
            (false, false) => {}
        }
    }

    /// Nothing of it is left.
    pub(super) fn quality_ended(&self, container_id: &ContainerId) {
        let known = self.qos.known.borrow_mut().remove(container_id);
        if known.is_some_and(|it| it.lent_cpus_milli.is_some()) {
            self.qos.woken.notify_one();
        }
        self.qos.spared.borrow_mut().remove(container_id);
        if let Some(held_at) = self.qos.killed.borrow_mut().remove(container_id) {
            let delay_ns = self.now().time.since_ns(held_at);
            self.qos.to_kill.borrow_mut().record(delay_ns);
            tracing::info!(container = %container_id, delay_us = delay_ns / 1_000, "preempted container is gone");
        }
    }

    /// Its executor is about to hear that something is to end: frozen it would not.
    pub(super) fn spare(&self, container_id: &ContainerId) {
        let Some(known) = self.qos.known.borrow().get(container_id).cloned() else { return };
        if known.lent_cpus_milli.is_some() {
            let until = self.now().time.plus_ns(SPARED_NS);
            self.qos.spared.borrow_mut().insert(container_id.clone(), until);
            self.let_go(&known);
        }
    }

    pub(crate) fn quality(&self) -> View {
        let qos = &self.qos;
        let controller = qos.controller.borrow();
        let known = qos.known.borrow();
        let lent = known.iter().filter(|(_, known)| known.lent_cpus_milli.is_some());
        let has_pressure = std::path::Path::new("/proc/pressure/cpu").exists();
        let blind = [
            ("run_queue_latency", qos.targets.wait_p99_ns.is_some() && !self.support.has(Figure::RunQueue)),
            ("cpu_pressure", qos.targets.pressure_permille.is_some() && !has_pressure),
        ];
        View {
            targets: qos.targets,
            method: qos.method,
            resting: if self.has_cpu_controller() { "cpu.idle" } else { "SCHED_IDLE" },
            share_permille: controller.share_permille(),
            lent: lent.map(|(id, _)| id.clone()).collect(),
            blind: blind.into_iter().filter(|(_, is)| *is).map(|(name, _)| name).collect(),
            record: controller.record().clone(),
            to_action: *qos.to_action.borrow(),
            to_kill: *qos.to_kill.borrow(),
        }
    }
}
