//! Inverse offers: whoever has something of an agent that will be away is asked whether it can do without it by then. The
//! answer is shown to operators (GET_MAINTENANCE_STATUS) and changes nothing else, as in Mesos (src/master/master.cpp,
//! src/master/allocator/mesos/hierarchical.cpp).
//!
//! A framework is asked when the agent's machine is scheduled, when the framework gets something of it, when it is back, and
//! again when as long has passed since its answer as it wanted.

use super::effect::Event;
use super::timers::Timer;
use super::{Cluster, Turn};
use model::agent_info::AgentInfo;
use model::id::{AgentId, FrameworkId, OfferId};
use model::maintenance::{MachineId, Unavailability};
use model::time::{Time, UnixTime};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Nobody is asked again sooner, nanoseconds: one who answers at once and wants to be asked at once would be asked for ever.
/// Mesos' allocator comes by once a second.
const PACE_NS: u64 = 1_000_000_000;

/// A question that stands until it is answered or taken back.
#[derive(Clone, Debug)]
pub struct InverseOffer {
    pub id: OfferId,
    pub framework_id: FrameworkId,
    pub agent_id: AgentId,
    pub agent: Arc<AgentInfo>,
    pub unavailability: Unavailability,
    /// When it is taken back (`--offer_timeout`).
    expires: Option<Time>,
}

/// What a framework said to it last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InverseAnswer {
    pub framework_id: FrameworkId,
    pub is_accepted: bool,
    pub at: UnixTime,
}

/// How one framework stands to one agent.
#[derive(Debug, Default)]
struct Asked {
    offer: Option<OfferId>,
    answer: Option<(bool, UnixTime)>,
    /// Not asked again before then.
    until: Option<Time>,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Inverse {
    outstanding: BTreeMap<OfferId, Arc<InverseOffer>>,
    asked: BTreeMap<(AgentId, FrameworkId), Asked>,
    /// Agents whose frameworks are to be looked through.
    due: BTreeSet<AgentId>,
}

impl Inverse {
    /// Whoever has been asked about the agent.
    fn of_agent<'a>(&'a self, id: &AgentId) -> impl Iterator<Item = (&'a FrameworkId, &'a Asked)> + use<'a> {
        let (id, first) = (id.clone(), (id.clone(), FrameworkId::new("")));
        let theirs = self.asked.range(first..).take_while(move |((of, _), _)| *of == id);
        theirs.map(|((_, framework), asked)| (framework, asked))
    }

    fn of_framework(&self, id: &FrameworkId) -> Vec<AgentId> {
        let theirs = self.asked.keys().filter(|(_, framework)| framework == id);
        theirs.map(|(agent, _)| agent.clone()).collect()
    }
}

impl Cluster {
    /// Something was given of the agent, or it is back, or it will be away.
    pub(super) fn ask_later(&mut self, agent_id: &AgentId) {
        if self.maintenance.agents().contains(agent_id) {
            self.inverse.due.insert(agent_id.clone());
        }
    }

    /// A framework is back, wherever it has something.
    pub(super) fn ask_everywhere(&mut self) {
        self.inverse.due.extend(self.maintenance.agents().iter().cloned());
    }

    /// Asks those who are to be. To be called when anything has happened; costs nothing while nobody is to be asked.
    pub(super) fn ask_back(&mut self, turn: &mut Turn<'_>) {
        let mut made: BTreeMap<FrameworkId, Vec<Arc<InverseOffer>>> = BTreeMap::new();
        for agent_id in std::mem::take(&mut self.inverse.due) {
            for offer in self.make_inverse_offers(&agent_id, turn) {
                made.entry(offer.framework_id.clone()).or_default().push(offer);
            }
        }
        for (framework_id, offers) in made {
            let framework = self.frameworks.get(&framework_id).expect("it has something there");
            let stream = framework.stream.clone().expect("it was connected a moment ago");
            turn.scheduler(&stream, Event::InverseOffers { offers });
        }
    }

    fn make_inverse_offers(&mut self, agent_id: &AgentId, turn: &Turn<'_>) -> Vec<Arc<InverseOffer>> {
        let agent = self.agents.get(agent_id).filter(|agent| agent.session.is_some());
        let Some((agent, unavailability)) = agent.and_then(|it| Some((it, it.unavailability?))) else {
            return Vec::new();
        };
        let of_tasks = agent.tasks.iter().map(|(framework, _)| framework);
        let of_executors = agent.executors.keys().map(|(framework, _)| framework);
        let of_offers = agent.offers.values().map(|offer| &offer.framework_id);
        let holders: BTreeSet<_> = of_tasks.chain(of_executors).chain(of_offers).cloned().collect();
        let info = Arc::clone(&agent.info);
        let mut made = Vec::new();
        for framework_id in holders {
            let is_there = self.frameworks.get(&framework_id).is_some_and(|it| it.stream.is_some());
            let asked = self.inverse.asked.entry((agent_id.clone(), framework_id.clone())).or_default();
            let is_over = asked.until.is_none_or(|until| until <= turn.now.time);
            if !is_there || asked.offer.is_some() || !is_over {
                continue;
            }
            let id = OfferId::new(format!("{}-O{}", self.master.id, self.next[2]));
            self.next[2] += 1;
            asked.until = None;
            asked.offer = Some(id.clone());
            let expires = self.settings.offer_timeout_ms.map(|ms| turn.now.time.plus_ms(ms));
            if let Some(at) = expires {
                self.timers.set(at, Timer::InverseOffer(id.clone()));
            }
            let (agent, agent_id) = (Arc::clone(&info), agent_id.clone());
            let offer =
                InverseOffer { id: id.clone(), framework_id, agent_id, agent, unavailability, expires };
            let offer = Arc::new(offer);
            self.inverse.outstanding.insert(id, Arc::clone(&offer));
            made.push(offer);
        }
        made
    }

    /// ACCEPT_INVERSE_OFFERS, DECLINE_INVERSE_OFFERS. Those that are not this framework's, or stand no more, are passed over.
    pub(super) fn answer_inverse_offers(
        &mut self,
        id: &FrameworkId,
        offer_ids: &[OfferId],
        (is_accepted, refuse_ns): (bool, u64),
        turn: &mut Turn<'_>,
    ) {
        let what = if is_accepted { "ACCEPT_INVERSE_OFFERS" } else { "DECLINE_INVERSE_OFFERS" };
        for offer_id in offer_ids {
            let known = self.inverse.outstanding.get(offer_id);
            let Some(offer) = known.filter(|offer| offer.framework_id == *id).cloned() else {
                turn.ignored(what, offer_id, "the inverse offer is no longer valid");
                continue;
            };
            let until = turn.now.time.plus_ns(refuse_ns.max(PACE_NS));
            self.take_inverse_offer(&offer);
            let key = (offer.agent_id.clone(), id.clone());
            let asked = self.inverse.asked.get_mut(&key).expect("an inverse offer was asked");
            (asked.answer, asked.until) = (Some((is_accepted, turn.now.unix)), Some(until));
            self.timers.set(until, Timer::AskBack(key.0, key.1));
        }
    }

    /// The framework is to be asked again, if it still has something there.
    pub(super) fn ask_again(&mut self, agent_id: &AgentId) {
        self.ask_later(agent_id);
    }

    pub(super) fn inverse_offer_timed_out(&mut self, id: &OfferId, turn: &mut Turn<'_>) {
        let Some(offer) = self.inverse.outstanding.get(id).cloned() else { return };
        self.rescind_inverse(&offer, turn);
        self.ask_later(&offer.agent_id);
    }

    /// It stands no more.
    fn take_inverse_offer(&mut self, offer: &InverseOffer) {
        self.inverse.outstanding.remove(&offer.id);
        if let Some(at) = offer.expires {
            self.timers.cancel(at, Timer::InverseOffer(offer.id.clone()));
        }
        let key = (offer.agent_id.clone(), offer.framework_id.clone());
        self.inverse.asked.get_mut(&key).expect("an inverse offer was asked").offer = None;
    }

    fn rescind_inverse(&mut self, offer: &InverseOffer, turn: &mut Turn<'_>) {
        self.take_inverse_offer(offer);
        let framework = self.frameworks.get(&offer.framework_id);
        if let Some(stream) = framework.and_then(|framework| framework.stream.as_ref()) {
            turn.scheduler(stream, Event::RescindInverseOffer { offer_id: offer.id.clone() });
        }
    }

    /// The agent is away: nobody is asked about it now. Answers stand.
    pub(super) fn rescind_inverse_offers(&mut self, agent_id: &AgentId, turn: &mut Turn<'_>) {
        let theirs = self.inverse.of_agent(agent_id).filter_map(|(_, asked)| asked.offer.as_ref());
        let offers: Vec<_> = theirs.map(|id| Arc::clone(&self.inverse.outstanding[id])).collect();
        offers.iter().for_each(|offer| self.rescind_inverse(offer, turn));
    }

    /// What was said of the agent is of another time, or the agent is gone.
    pub(super) fn forget_answers(&mut self, agent_id: &AgentId, turn: &mut Turn<'_>) {
        self.rescind_inverse_offers(agent_id, turn);
        let framework_ids: Vec<_> = self.inverse.of_agent(agent_id).map(|(id, _)| id.clone()).collect();
        framework_ids.iter().for_each(|framework_id| self.forget_asked(agent_id, framework_id));
    }

    fn forget_asked(&mut self, agent_id: &AgentId, framework_id: &FrameworkId) {
        let key = (agent_id.clone(), framework_id.clone());
        let asked = self.inverse.asked.remove(&key);
        if let Some(until) = asked.and_then(|asked| asked.until) {
            self.timers.cancel(until, Timer::AskBack(key.0, key.1));
        }
    }

    /// The framework's stream is over: it is asked again when it is back. Nobody reads that its questions are taken back.
    pub(super) fn drop_inverse_offers(&mut self, framework_id: &FrameworkId, is_removed: bool) {
        for agent_id in self.inverse.of_framework(framework_id) {
            let key = (agent_id.clone(), framework_id.clone());
            let asked = self.inverse.asked.get_mut(&key).expect("listed a line ago");
            if let Some(until) = asked.until.take() {
                self.timers.cancel(until, Timer::AskBack(key.0, key.1));
            }
            let offer = asked.offer.as_ref().map(|id| Arc::clone(&self.inverse.outstanding[id]));
            if let Some(offer) = offer {
                self.take_inverse_offer(&offer);
            }
            if is_removed {
                self.forget_asked(&agent_id, framework_id);
            }
        }
    }

    /// What frameworks have said about machines that drain.
    pub(super) fn inverse_answers(&self) -> BTreeMap<MachineId, Vec<InverseAnswer>> {
        let mut answers: BTreeMap<MachineId, Vec<InverseAnswer>> = BTreeMap::new();
        for ((agent_id, framework_id), asked) in &self.inverse.asked {
            if let (Some((is_accepted, at)), Some(agent)) = (asked.answer, self.agents.get(agent_id)) {
                let answer = InverseAnswer { framework_id: framework_id.clone(), is_accepted, at };
                answers.entry(MachineId::of(&agent.info)).or_default().push(answer);
            }
        }
        answers
    }

    /// For [`super::invariants`].
    pub(super) fn invariant_inverse_offers_are_asked(&self) {
        let asked = &self.inverse.asked;
        for ((agent_id, framework_id), it) in asked {
            assert!(self.agents.contains(agent_id) && self.frameworks.contains(framework_id));
            assert!(it.offer.is_none() || it.until.is_none(), "{framework_id} is asked too early");
        }
        let theirs = asked.values().filter_map(|asked| asked.offer.as_ref());
        assert!(theirs.eq(self.outstanding_inverse_ids().iter().copied()), "every inverse offer is asked");
        for offer in self.inverse.outstanding.values() {
            let is_there = |id| self.frameworks.get(id).is_some_and(|it| it.stream.is_some());
            assert!(is_there(&offer.framework_id), "{} is a connected framework's", offer.id);
            let agent = self.agents.get(&offer.agent_id).expect("checked above");
            assert_eq!(agent.unavailability, Some(offer.unavailability), "{}", offer.id);
        }
    }

    fn outstanding_inverse_ids(&self) -> Vec<&OfferId> {
        let mut offers: Vec<_> = self.inverse.outstanding.values().collect();
        offers.sort_by_key(|offer| (&offer.agent_id, &offer.framework_id));
        offers.into_iter().map(|offer| &offer.id).collect()
    }
}
