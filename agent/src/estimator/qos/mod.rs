//! What is done to lent containers (those that run on revocable resources) when those that were paid for suffer. Decides;
//! measures nothing, and applies nothing.
//!
//! ```text
//!                 target missed ->                                             -> still missed
//!   CPU     rest (idle class) -> half -> a quarter -> a tenth -> frozen -> one after the other is killed
//!   memory  rest -> squeezed, where the kernel can                -> one after the other is killed
//!                 <- one step back, each after a calm that gets longer with every relapse
//! ```
//! Whoever drives it looks every [`LOOK_NS`] while anything is lent, and tells what it saw by [`Controller::look`].

mod cause;
mod pace;
#[cfg(test)]
mod scenarios;
mod victim;
mod window;

pub use cause::Cause;
pub use pace::{FROZEN, SHARES_PERMILLE};

use model::id::ContainerId;
use model::latency::Latency;
use model::time::{Now, Time, UnixTime};
use pace::Pace;
use std::collections::{BTreeMap, VecDeque};
use window::Window;

const MS: u64 = 1_000_000;

/// Between two looks, nanoseconds: with what acting takes, well below the 50 ms in which a throttle has to be in effect.
pub const LOOK_NS: u64 = 20 * MS;

/// What the kernel's figures are held against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Targets {
    /// Of 100 waits of a firm container for a CPU, 99 are to be no longer. `None`: whatever they are.
    pub wait_p99_ns: Option<u64>,
    /// Of the time, the most in which a thread of a firm container waits for a CPU. `None`: whatever.
    pub pressure_permille: Option<u64>,
    /// Memory that is to be available on the machine. `None`: whatever.
    pub headroom_bytes: Option<u64>,
    /// How long the target may be missed with everything lent frozen before one of them is killed.
    pub kill_after_ns: u64,
}

/// A container that was paid for. Counts are since it began; `None`: nobody counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Firm {
    pub container_id: ContainerId,
    pub waits: Option<Latency>,
    /// Time in which at least one of its threads waited for a CPU.
    pub stalled_ns: Option<u64>,
}

/// A container that runs on what is lent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lent {
    pub container_id: ContainerId,
    pub began: Time,
    /// CPU time that it has used: what is lost with it.
    pub cpu_ns: u64,
    pub memory_bytes: u64,
}

/// What is seen at one moment.
#[derive(Clone, Debug, Default)]
pub struct Look {
    pub firm: Vec<Firm>,
    pub lent: Vec<Lent>,
    /// That the machine could still give out; `None`: it does not tell.
    pub available_bytes: Option<u64>,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Every lent container is to have this part of the CPU time that it was lent, until further word; those that come too.
    /// 1000: whatever nobody else wants. 0: it is frozen.
    Hold {
        share_permille: u64,
    },
    /// The kernel is to take back what the container holds beyond this, and to slow it down there. `None`: no longer.
    Squeeze {
        container_id: ContainerId,
        memory_bytes: Option<u64>,
    },
    Kill {
        container_id: ContainerId,
        message: String,
    },
}

/// What was done: the rung of the ladder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    Throttle,
    Freeze,
    KillForCpu,
    SqueezeMemory,
    KillForMemory,
    /// One step back.
    GiveBack,
}

impl Step {
    pub const ALL: [Self; 6] = [
        Self::Throttle,
        Self::Freeze,
        Self::KillForCpu,
        Self::SqueezeMemory,
        Self::KillForMemory,
        Self::GiveBack,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Throttle => "throttle",
            Self::Freeze => "freeze",
            Self::KillForCpu => "kill_for_cpu",
            Self::SqueezeMemory => "squeeze_memory",
            Self::KillForMemory => "kill_for_memory",
            Self::GiveBack => "give_back",
        }
    }
}

/// One decision, with the figures that caused it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    pub at: UnixTime,
    pub step: Step,
    /// What lent containers have from here on.
    pub share_permille: u64,
    /// Whom it concerns, where it is not all.
    pub container_id: Option<ContainerId>,
    /// `None`: the targets hold.
    pub cause: Option<Cause>,
    /// The last moment at which the targets still held: at most that long ago they were missed first.
    pub held_at: Time,
    /// It is the first answer to this breach.
    pub is_first: bool,
}

/// Decisions that are kept to be looked at.
const DECISIONS_MAX: usize = 64;

/// What the controller does, and did, for those who look.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    pub counts: BTreeMap<Step, u64>,
    /// Newest last.
    pub decisions: VecDeque<Decision>,
}

/// See the module's head.
#[derive(Debug)]
pub struct Controller {
    targets: Targets,
    /// The kernel can squeeze memory (`memory.high`).
    can_squeeze: bool,
    windows: BTreeMap<ContainerId, Window>,
    cpu: Pace,
    memory: Pace,
    /// Killed, and not seen to be gone: nobody else is killed meanwhile, but for a victim that does not go.
    dying: Option<(ContainerId, Time)>,
    record: Record,
}

/// How long a killed container may take to be gone before the next one is killed.
const DYING_MAX_NS: u64 = 1_000 * MS;

/// How long squeezing memory is tried before somebody is killed for it.
const SQUEEZE_NS: u64 = 100 * MS;

impl Controller {
    pub fn new(targets: Targets, can_squeeze: bool) -> Self {
        Self {
            targets,
            can_squeeze,
            windows: BTreeMap::new(),
            cpu: Pace::default(),
            memory: Pace::default(),
            dying: None,
            record: Record::default(),
        }
    }

    /// The part of its CPU time that a lent container has now.
    pub fn share_permille(&self) -> u64 {
        self.cpu.share_permille()
    }

    pub fn record(&self) -> &Record {
        &self.record
    }

    /// Takes in one look. Figures that nobody counts cause nothing; with none at all, lent containers stay as they are at
    /// rest.
    pub fn look(&mut self, now: Now, look: &Look, actions: &mut Vec<Action>) {
        self.windows.retain(|known, _| look.firm.iter().any(|firm| firm.container_id == *known));
        for firm in &look.firm {
            let window = self.windows.entry(firm.container_id.clone()).or_default();
            window.add(now.time, firm);
        }
        if look.lent.is_empty() {
            // Nobody is held, and nobody could be; and the next look may be long after this one.
            self.windows.clear();
            (self.cpu, self.memory, self.dying) = (Pace::default(), Pace::default(), None);
            return;
        }
        let is_there = |id: &ContainerId| look.lent.iter().any(|lent| lent.container_id == *id);
        let waits_for = |(id, since): &(ContainerId, Time)| {
            is_there(id) && now.time.0.saturating_sub(since.0) < DYING_MAX_NS
        };
        self.dying = self.dying.take().filter(waits_for);
        self.look_at_cpu(now, look, actions);
        self.look_at_memory(now, look, actions);
    }

    fn look_at_cpu(&mut self, now: Now, look: &Look, actions: &mut Vec<Action>) {
        let since = self.cpu.since();
        let causes = self.windows.iter().filter_map(|(id, window)| window.cause(id, since, &self.targets));
        let cause = causes.max_by_key(Cause::severity_permille);
        let Some(cause) = cause else {
            let held_at = now.time;
            if self.cpu.calm(now.time) {
                self.hold(now, Step::GiveBack, None, (held_at, false), actions);
            }
            return;
        };
        let (held_at, is_first) = self.cpu.missed(now.time);
        if self.cpu.tighten(now.time, cause.severity_permille()) {
            let step = if self.cpu.is_frozen() { Step::Freeze } else { Step::Throttle };
            self.hold(now, step, Some(cause), (held_at, is_first), actions);
        } else if self.cpu.is_frozen() && self.cpu.waited(now.time) >= self.targets.kill_after_ns {
            let victim = victim::for_cpu(&look.lent).cloned();
            self.kill(now, Step::KillForCpu, victim, cause, (held_at, is_first), actions);
        }
    }

    fn look_at_memory(&mut self, now: Now, look: &Look, actions: &mut Vec<Action>) {
        let Some((headroom, available)) = self.targets.headroom_bytes.zip(look.available_bytes) else {
            return;
        };
        if available >= headroom {
            if self.memory.calm(now.time) {
                for lent in &look.lent {
                    let container_id = lent.container_id.clone();
                    actions.push(Action::Squeeze { container_id, memory_bytes: None });
                }
                self.note(now, Step::GiveBack, None, None, (now.time, false));
            }
            return;
        }
        let cause = Cause::Memory { available_bytes: available, headroom_bytes: headroom };
        let (held_at, is_first) = self.memory.missed(now.time);
        let short = headroom - available;
        if self.can_squeeze && self.memory.squeeze(now.time) {
            for (lent, memory_bytes) in victim::squeezed(&look.lent, short) {
                let container_id = lent.container_id.clone();
                actions.push(Action::Squeeze { container_id, memory_bytes: Some(memory_bytes) });
            }
            self.note(now, Step::SqueezeMemory, None, Some(cause), (held_at, is_first));
        } else if !self.can_squeeze || self.memory.waited(now.time) >= SQUEEZE_NS {
            let victim = victim::for_memory(&look.lent, short).cloned();
            self.kill(now, Step::KillForMemory, victim, cause, (held_at, is_first), actions);
        }
    }

    fn hold(
        &mut self,
        now: Now,
        step: Step,
        cause: Option<Cause>,
        told: (Time, bool),
        actions: &mut Vec<Action>,
    ) {
        actions.push(Action::Hold { share_permille: self.cpu.share_permille() });
        self.note(now, step, None, cause, told);
    }

    fn kill(
        &mut self,
        now: Now,
        step: Step,
        victim: Option<Lent>,
        cause: Cause,
        told: (Time, bool),
        actions: &mut Vec<Action>,
    ) {
        let Some(victim) = victim.filter(|_| self.dying.is_none()) else { return };
        let container_id = victim.container_id;
        let message = format!("Preempted: it ran on revocable resources, and {cause}");
        actions.push(Action::Kill { container_id: container_id.clone(), message });
        self.dying = Some((container_id.clone(), now.time));
        // What is freed has to show before the next one goes.
        let pace = if step == Step::KillForMemory { &mut self.memory } else { &mut self.cpu };
        pace.wait_again(now.time);
        self.note(now, step, Some(container_id), Some(cause), told);
    }

    fn note(
        &mut self,
        now: Now,
        step: Step,
        container_id: Option<ContainerId>,
        cause: Option<Cause>,
        (held_at, is_first): (Time, bool),
    ) {
        *self.record.counts.entry(step).or_default() += 1;
        if self.record.decisions.len() == DECISIONS_MAX {
            self.record.decisions.pop_front();
        }
        let share_permille = self.cpu.share_permille();
        let decision =
            Decision { at: now.unix, step, share_permille, container_id, cause, held_at, is_first };
        self.record.decisions.push_back(decision);
    }
}
