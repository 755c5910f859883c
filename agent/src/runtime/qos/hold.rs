//! Lent containers, held back and let go.

use super::{Known, Method};
use crate::cgroup::CgroupError;
use crate::cgroup::squeeze;
use crate::runtime::Agent;
use crate::sys::policy;
use model::id::ContainerId;
use std::path::Path;
use std::rc::Rc;

/// Of the duty cycle: the period of `cpu.max`.
const PERIOD_MS: u64 = 100;

/// Rounds over a container whose threads are born while they are made idle; who is idle has idle children.
const ROUNDS_MAX: u32 = 20;

/// Of `/proc/PID/autogroup`: weighs 15 where an ordinary session weighs 1024.
const AUTOGROUP_NICE: &str = "19";

impl Agent {
    pub(super) fn has_cpu_controller(&self) -> bool {
        self.containerizer.enforcement().cpu.is_yes()
    }

    fn lent(&self) -> Vec<Rc<Known>> {
        let (known, spared) = (self.qos.known.borrow(), self.qos.spared.borrow());
        let is_lent =
            |id: &ContainerId, known: &Known| known.lent_cpus_milli.is_some() && !spared.contains_key(id);
        known.iter().filter(|(id, known)| is_lent(id, known)).map(|(_, known)| known.clone()).collect()
    }

    /// Those that may be held back. One whose executor has yet to subscribe may not: it is waited for, and would be taken for
    /// one that does not start.
    fn holdable(&self) -> Vec<Rc<Known>> {
        let has_subscribed =
            |known: &Rc<Known>| self.look(|node| node.has_subscribed(&known.container.run.container_id));
        self.lent().into_iter().filter(has_subscribed).collect()
    }

    /// There is another share.
    pub(super) fn hold_all(&self) {
        self.holdable().iter().for_each(|known| self.hold(known));
        self.qos.turned.notify_one();
    }

    /// Brings one to the share that all have. By turns, a share begins with being frozen: it takes effect at once.
    pub(super) fn hold(&self, known: &Known) {
        let Some(path) = &known.path else { return };
        let share = self.qos.share_permille.get();
        let done = match self.qos.method {
            Method::Nothing => Ok(()),
            Method::DutyCycle => squeeze::freeze(path, share < 1000),
            Method::CpuMax if share == 0 => squeeze::freeze(path, true),
            Method::CpuMax => {
                let milli = match share {
                    1000 => self.limits_of(&known.container).cpus_max_milli,
                    _ => Some(known.lent_cpus_milli.unwrap_or(0) * share / 1000),
                };
                squeeze::cpu_max(path, milli).and_then(|()| squeeze::freeze(path, false))
            }
        };
        complain(known, done);
    }

    /// Freezes and thaws in turn, where that is how a share is held.
    pub(super) async fn keep_turns(self: Rc<Self>) {
        loop {
            let share = self.qos.share_permille.get();
            if self.qos.method != Method::DutyCycle || share == 0 || share == 1000 {
                self.qos.turned.notified().await;
                continue;
            }
            for (is_frozen, permille) in [(true, 1000 - share), (false, share)] {
                for known in self.holdable() {
                    let path = known.path.as_ref().expect("by turns only with cgroups");
                    complain(&known, squeeze::freeze(path, is_frozen));
                }
                let until = self.now().time.plus_ns(PERIOD_MS * permille * 1_000);
                tokio::select! {
                    () = self.clock.sleep_until(until) => {}
                    () = self.qos.turned.notified() => break,
                }
            }
        }
    }

    pub(super) fn squeeze_memory(&self, container_id: &ContainerId, bytes: Option<u64>) {
        let Some(known) = self.qos.known.borrow().get(container_id).cloned() else { return };
        let bytes = bytes.or_else(|| self.limits_of(&known.container).memory_high_bytes);
        if let Some(path) = known.path.as_ref().filter(|_| self.containerizer.enforcement().memory.is_yes()) {
            complain(&known, squeeze::memory_high(path, bytes));
        }
    }

    /// Whatever holds it does no longer, but for its own limits.
    pub(super) fn let_go(&self, known: &Known) {
        let Some(path) = &known.path else { return };
        let enforcement = self.containerizer.enforcement();
        let limits = self.limits_of(&known.container);
        if enforcement.cpu.is_yes() {
            complain(known, squeeze::cpu_max(path, limits.cpus_max_milli));
        }
        if enforcement.memory.is_yes() {
            complain(known, squeeze::memory_high(path, limits.memory_high_bytes));
        }
        complain(known, squeeze::freeze(path, false));
    }

    /// The agent goes; who stays has nobody who would thaw it.
    pub(in crate::runtime) fn let_all_go(&self) {
        self.lent().iter().for_each(|known| self.let_go(known));
    }

    /// What an agent that died in the middle of a correction left behind: the next look decides anew.
    pub(in crate::runtime) fn thaw_found(&self, container_id: &ContainerId, path: &Path) {
        if squeeze::is_frozen(path) {
            tracing::info!(container = %container_id, "thawing a container that an earlier agent froze");
            if let Err(error) = squeeze::freeze(path, false) {
                let cause = &error as &dyn std::error::Error;
                tracing::warn!(cause, container = %container_id, "container stays frozen");
            }
        }
    }

    /// The class that it has while nobody suffers: with a CPU controller its `cpu.idle` says so, else each of its threads.
    pub(super) fn rest(&self, known: &Known, is_idle: bool) {
        let Some(path) = known.path.as_ref().filter(|_| !self.has_cpu_controller()) else { return };
        for _ in 0..ROUNDS_MAX {
            let others: Vec<i32> = squeeze::threads(path)
                .into_iter()
                .filter(|tid| policy::is_idle(*tid).is_some_and(|is| is != is_idle))
                .collect();
            if others.is_empty() {
                break;
            }
            let set = others.iter().filter(|tid| policy::set_idle(**tid, is_idle).is_ok());
            if set.count() == 0 {
                break;
            }
        }
        // Where sessions compete as groups, a thread's class counts within its own only.
        let nice = if is_idle { AUTOGROUP_NICE } else { "0" };
        for pid in squeeze::processes(path) {
            let _ = std::fs::write(format!("/proc/{pid}/autogroup"), nice);
        }
    }

    pub(super) fn refresh_holds(&self) {
        self.lent().iter().for_each(|known| self.rest(known, true));
        let share = self.qos.share_permille.get();
        // By turns, the next turn is not far.
        if share < 1000 && (share == 0 || self.qos.method == Method::CpuMax) {
            self.holdable().iter().for_each(|known| self.hold(known));
        }
    }
}

/// A group that has just gone needs nothing any more.
fn complain(known: &Known, done: Result<(), CgroupError>) {
    if let Err(error) = done
        && known.path.as_ref().is_some_and(|path| path.exists())
    {
        let container_id = &known.container.run.container_id;
        let cause = &error as &dyn std::error::Error;
        tracing::warn!(cause, container = %container_id, "revocable container cannot be held");
    }
}
