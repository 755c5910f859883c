//! When the core wants to be called again, and about what.

use model::id::{AgentId, FrameworkId, OfferId};
use model::time::Time;
use std::collections::BTreeSet;

/// What is due.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    Ping(AgentId),
    Heartbeat(FrameworkId),
    /// The framework's failover timeout is over.
    Failover(FrameworkId),
    Offer(OfferId),
    /// Offers are held back no longer.
    OffersHeld,
    /// Agents of the master before this one are waited for no longer.
    RecoveryOver,
    /// The next agent may be given up.
    Removal,
    InverseOffer(OfferId),
    /// The framework may be asked about the agent again.
    AskBack(AgentId, FrameworkId),
}

/// All timers, soonest first. Whoever sets one remembers when it is due, to be able to cancel it: O(log n) each.
#[derive(Debug, Default)]
pub(super) struct Timers(BTreeSet<(Time, Timer)>);

impl Timers {
    pub(super) fn set(&mut self, at: Time, timer: Timer) {
        self.0.insert((at, timer));
    }

    pub(super) fn cancel(&mut self, at: Time, timer: Timer) {
        self.0.remove(&(at, timer));
    }

    pub(super) fn next(&self) -> Option<Time> {
        self.0.first().map(|(at, _)| *at)
    }

    pub(super) fn pop_due(&mut self, now: Time) -> Option<Timer> {
        if self.next()? > now {
            return None;
        }
        self.0.pop_first().map(|(_, timer)| timer)
    }
}
