//! Whether and how the agent is known to the master: dial, introduce, be admitted, notice silence, dial again.
//!
//! ```text
//!            start            LinkUp               Registered             durable
//!   Off ---------> Dialing ----------> Introducing ----------> Saving ----------> Registered
//!                   ^   | LinkDown        | LinkDown,             | LinkDown          | LinkDown,
//!             due   |   v                 v no answer             v                   v no ping
//!                  Waiting <-----------------------------------------------------------
//! ```
//! *Saving* is skipped by an agent that has its id already. What the master says meanwhile is held back: the agent
//! is registered only when its id is durable, or a task could outlive the agent that knows of it.

use crate::node::effect::Effect;
use crate::node::input::Session;
use model::id::{AgentId, MasterId};
use model::time::Time;
use wire::message::ToAgent;

/// Longest bound of the random wait before dialling again, milliseconds (Mesos: `REGISTER_RETRY_INTERVAL_MAX`).
const BACKOFF_MS_MAX: u64 = 60_000;

/// The same when a new leader has just been named, milliseconds: it was waited for, and takes thousands of agents a second.
const ELECTED_MS_MAX: u64 = 250;

/// A master that has taken our introduction but says nothing for this long is given up, milliseconds. It may have to write
/// its registry first, and a cluster that starts all at once has thousands of agents in that queue.
const ANSWER_MS_MAX: u64 = 60_000;

pub(super) struct Registration {
    phase: Phase,
    session: Session,
    /// And the master that gave it.
    own: Option<(AgentId, MasterId)>,
    backoff_first_ms: u64,
    backoff_ms: u64,
    ping_timeout_ms: u64,
}

enum Phase {
    Off,
    Waiting { until: Time },
    Dialing,
    Introducing { until: Time },
    Saving { held: Vec<ToAgent> },
    Registered { silent_until: Time },
}

impl Registration {
    pub(super) fn new(backoff_first_ms: u64) -> Self {
        Self {
            phase: Phase::Off,
            session: Session::default(),
            own: None,
            backoff_first_ms,
            backoff_ms: backoff_first_ms,
            ping_timeout_ms: 0,
        }
    }

    pub(super) fn with_id(backoff_first_ms: u64, own: (AgentId, MasterId)) -> Self {
        Self { own: Some(own), ..Self::new(backoff_first_ms) }
    }

    pub(super) fn agent_id(&self) -> Option<&AgentId> {
        self.own.as_ref().map(|(agent_id, _)| agent_id)
    }

    pub(super) fn own(&self) -> Option<&(AgentId, MasterId)> {
        self.own.as_ref()
    }

    pub(super) fn is_registered(&self) -> bool {
        matches!(self.phase, Phase::Registered { .. })
    }

    pub(super) fn is_current(&self, session: Session) -> bool {
        session == self.session && !matches!(self.phase, Phase::Off | Phase::Waiting { .. })
    }

    /// The first dial is at once: who starts an agent waits for it.
    pub(super) fn start(&mut self, effects: &mut Vec<Effect>) {
        if matches!(self.phase, Phase::Off) {
            self.dial(effects);
        }
    }

    /// Whether the session just came up and the master awaits an introduction.
    pub(super) fn link_up(&mut self, now: Time, session: Session) -> bool {
        let up = session == self.session && matches!(self.phase, Phase::Dialing);
        if up {
            self.phase = Phase::Introducing { until: now.plus_ms(ANSWER_MS_MAX) };
        }
        up
    }

    pub(super) fn link_down(&mut self, now: Time, session: Session, rng: &mut fastrand::Rng) {
        if self.is_current(session) {
            self.wait(now, rng);
        }
    }

    /// The master has admitted us. True when the id is new and must be made durable first.
    pub(super) fn admitted(&mut self, now: Time, own: (AgentId, MasterId), ping_timeout_ms: u64) -> bool {
        self.ping_timeout_ms = ping_timeout_ms;
        let is_new = self.own.is_none();
        if is_new {
            self.own = Some(own);
            self.phase = Phase::Saving { held: Vec::new() };
        } else {
            self.registered(now);
        }
        is_new
    }

    pub(super) fn is_introducing(&self) -> bool {
        matches!(self.phase, Phase::Introducing { .. })
    }

    /// The new id is durable. Returns what the master said meanwhile; `None` when the link was lost meanwhile, in which
    /// case the agent comes back under its id.
    pub(super) fn saved(&mut self, now: Time) -> Option<Vec<ToAgent>> {
        let Phase::Saving { held } = &mut self.phase else { return None };
        let held = std::mem::take(held);
        self.registered(now);
        Some(held)
    }

    fn registered(&mut self, now: Time) {
        self.backoff_ms = self.backoff_first_ms;
        self.phase = Phase::Registered { silent_until: now.plus_ms(self.ping_timeout_ms) };
    }

    /// Keeps `message` back while the id is being written; gives it back when it may be heard now.
    pub(super) fn hold(&mut self, message: ToAgent) -> Option<ToAgent> {
        match &mut self.phase {
            Phase::Saving { held } => {
                held.push(message);
                None
            }
            _ => Some(message),
        }
    }

    pub(super) fn pinged(&mut self, now: Time) {
        if let Phase::Registered { silent_until } = &mut self.phase {
            *silent_until = now.plus_ms(self.ping_timeout_ms);
        }
    }

    pub(super) fn deadline(&self) -> Option<Time> {
        match self.phase {
            Phase::Waiting { until } | Phase::Introducing { until } => Some(until),
            Phase::Registered { silent_until } => Some(silent_until),
            Phase::Off | Phase::Dialing | Phase::Saving { .. } => None,
        }
    }

    pub(super) fn expire(&mut self, now: Time, rng: &mut fastrand::Rng, effects: &mut Vec<Effect>) {
        if self.deadline().is_none_or(|due| due > now) {
            return;
        }
        if let Phase::Waiting { .. } = self.phase {
            self.dial(effects);
        } else {
            effects.push(Effect::HangUp { session: self.session });
            self.wait(now, rng);
        }
    }

    /// Whatever was tried in vain so far was tried with others.
    pub(super) fn elected(&mut self, now: Time, rng: &mut fastrand::Rng) {
        self.backoff_ms = self.backoff_first_ms.min(ELECTED_MS_MAX);
        if let Phase::Waiting { until } = self.phase {
            self.wait(now, rng);
            if let Phase::Waiting { until: anew } = &mut self.phase {
                *anew = until.min(*anew);
            }
        }
    }

    /// No more dialling, for good.
    pub(super) fn stop(&mut self) {
        self.phase = Phase::Off;
    }

    fn dial(&mut self, effects: &mut Vec<Effect>) {
        self.session.0 += 1;
        self.phase = Phase::Dialing;
        effects.push(Effect::Dial { session: self.session });
    }

    /// A random wait, so that the agents of a cluster do not all come back to a new master in one moment.
    fn wait(&mut self, now: Time, rng: &mut fastrand::Rng) {
        let bound = self.backoff_ms.min(BACKOFF_MS_MAX);
        self.phase = Phase::Waiting { until: now.plus_ms(rng.u64(0..=bound)) };
        self.backoff_ms = bound.saturating_mul(2);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// While a dead leader is still the one that is named, waits grow; they end when another is.
    #[test]
    fn a_new_leader_is_not_waited_for_as_long_as_a_dead_one() {
        let (mut rng, mut effects, mut now) = (fastrand::Rng::with_seed(1), Vec::new(), Time::default());
        let mut registration = Registration::new(1_000);
        registration.start(&mut effects);
        let left_ns = |it: &Registration, now: Time| it.deadline().expect("it waits").since_ns(now);
        loop {
            registration.link_down(now, registration.session, &mut rng);
            if left_ns(&registration, now) > 5_000_000_000 {
                break;
            }
            now = registration.deadline().expect("it waits");
            registration.expire(now, &mut rng, &mut effects);
        }
        registration.elected(now, &mut rng);
        assert!(left_ns(&registration, now) <= ELECTED_MS_MAX * 1_000_000);
        now = registration.deadline().expect("it waits");
        registration.expire(now, &mut rng, &mut effects);
        // Named before it listens: the next waits are short, too.
        registration.link_down(now, registration.session, &mut rng);
        assert!(left_ns(&registration, now) <= 2 * ELECTED_MS_MAX * 1_000_000);
    }
}
