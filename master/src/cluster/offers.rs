//! Outstanding offers: made from what the allocator hands over, answered by ACCEPT or DECLINE, or taken back.

use super::agents::Agent;
use super::effect::Event;
use super::note::Note;
use super::timers::Timer;
use super::{Cluster, Turn};
use crate::allocator::event::{Allocation, Event as ToAllocator, Refusal};
use model::agent_info::AgentInfo;
use model::id::{AgentId, ExecutorId, FrameworkId, OfferId};
use model::maintenance::Unavailability;
use model::resources::Resources;
use model::role::Role;
use model::time::Time;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Resources of one agent, held for one framework under one role until it answers.
#[derive(Clone, Debug)]
pub struct Offer {
    pub id: OfferId,
    pub framework_id: FrameworkId,
    pub agent_id: AgentId,
    pub agent: Arc<AgentInfo>,
    pub role: Role,
    /// Marked as allocated to `role`.
    pub resources: Resources,
    /// The framework's executors on that agent.
    pub executor_ids: Vec<ExecutorId>,
    /// When its machine is expected to be away.
    pub unavailability: Option<Unavailability>,
    /// When it is taken back (`--offer_timeout`).
    pub expires: Option<Time>,
}

/// Outstanding offers, by the numbers that their ids end in. The master gives these out in order, so that those which are
/// looked up lie beside each other, and no long texts with one beginning are compared.
#[derive(Debug, Default)]
pub(super) struct Outstanding {
    by_number: BTreeMap<u64, Arc<Offer>>,
}

/// `None` where the id is none that a master gives.
fn number(id: &OfferId) -> Option<u64> {
    let (_, digits) = id.as_str().rsplit_once(NUMBERED)?;
    digits.parse().ok()
}

/// What stands in an offer's id between the master's and the number.
const NUMBERED: &str = "-O";

impl Outstanding {
    pub(super) fn get(&self, id: &OfferId) -> Option<&Arc<Offer>> {
        // Another master's may have the same number, and a number may be written in more than one way.
        self.by_number.get(&number(id)?).filter(|offer| offer.id == *id)
    }

    pub(super) fn contains(&self, id: &OfferId) -> bool {
        self.get(id).is_some()
    }

    pub(super) fn remove(&mut self, id: &OfferId) -> Option<Arc<Offer>> {
        self.get(id)?;
        self.by_number.remove(&number(id)?)
    }

    fn insert(&mut self, number: u64, offer: Arc<Offer>) {
        self.by_number.insert(number, offer);
    }

    pub(super) fn len(&self) -> usize {
        self.by_number.len()
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &Arc<Offer>> {
        self.by_number.values()
    }
}

/// Of one that stands.
impl std::ops::Index<&OfferId> for Outstanding {
    type Output = Arc<Offer>;

    fn index(&self, id: &OfferId) -> &Arc<Offer> {
        self.get(id).expect("an offer that stands")
    }
}

impl Cluster {
    /// Makes offers of what the allocator hands over; each framework gets all of its offers in one event.
    pub(super) fn allocations(&mut self, allocations: Vec<Allocation>, turn: &mut Turn<'_>) {
        let mut made: BTreeMap<FrameworkId, Vec<Arc<Offer>>> = BTreeMap::new();
        for allocation in allocations {
            if let Some(offer) = self.make_offer(allocation, turn) {
                made.entry(offer.framework_id.clone()).or_default().push(offer);
            }
        }
        for (framework_id, offers) in made {
            let framework = self.frameworks.get(&framework_id).expect("an offer's framework is known");
            let stream = framework.stream.clone().expect("an offer's framework is connected");
            let capabilities = framework.info.capabilities;
            turn.scheduler(&stream, Event::Offers { offers, capabilities });
        }
    }

    /// `None` when it came too late: from an agent or to a framework that is gone (which ended the allocation) or that is
    /// disconnected (which does not: it is given back).
    fn make_offer(&mut self, allocation: Allocation, turn: &mut Turn<'_>) -> Option<Arc<Offer>> {
        let Allocation { framework, role, agent, resources } = allocation;
        let framework_id = self.framework_keys.id(framework)?.clone();
        let agent_id = self.agent_keys.id(agent)?.clone();
        let to = self.frameworks.get_mut(&framework_id).expect("a live key's framework is known");
        let from = self.agents.get_mut(&agent_id).expect("a live key's agent is registered");
        let is_withheld = self.withdrawn.is_deactivated(&agent_id) || self.expected.holds_offers();
        if to.stream.is_none() || from.session.is_none() || is_withheld || !from.still_has(&resources) {
            turn.allocator(ToAllocator::Release { framework, agent, resources, refusal: Refusal::None });
            return None;
        }
        let number = self.next[2];
        let id = OfferId::new(format!("{}{NUMBERED}{number}", self.master.id));
        self.next[2] += 1;
        let expires = self.settings.offer_timeout_ms.map(|ms| turn.now.time.plus_ms(ms));
        if let Some(at) = expires {
            self.timers.set(at, Timer::Offer(id.clone()));
        }
        let executor_ids = from.executors_of(&framework_id);
        let offer = Arc::new(Offer {
            id: id.clone(),
            framework_id,
            agent_id,
            agent: Arc::clone(&from.info),
            role,
            executor_ids,
            resources,
            unavailability: from.unavailability,
            expires,
        });
        from.offered.add(&offer.resources);
        from.offers.insert(id.clone(), Arc::clone(&offer));
        to.offers.insert(id, Arc::clone(&offer));
        self.offers.insert(number, Arc::clone(&offer));
        if offer.unavailability.is_some() {
            self.ask_later(&offer.agent_id);
        }
        Some(offer)
    }

    /// The offer stands no more. What becomes of its resources is for the caller to say.
    pub(super) fn take_offer(&mut self, id: &OfferId) -> Option<Arc<Offer>> {
        let offer = self.offers.remove(id)?;
        let framework = self.frameworks.get_mut(&offer.framework_id).expect("an offer's framework is known");
        framework.offers.remove(id);
        self.withdraw(&offer);
        Some(offer)
    }

    /// Takes the offer off its agent's books.
    pub(super) fn withdraw(&mut self, offer: &Offer) {
        if let Some(at) = offer.expires {
            self.timers.cancel(at, Timer::Offer(offer.id.clone()));
        }
        let agent = self.agents.get_mut(&offer.agent_id).expect("an offer's agent is registered");
        agent.offers.remove(&offer.id);
        Agent::subtract(&mut agent.offered, &offer.resources);
    }

    /// Gives the offer's resources back without a word to its framework.
    pub(super) fn discard(&mut self, id: &OfferId, refusal: Refusal, turn: &mut Turn<'_>) -> bool {
        let Some(offer) = self.take_offer(id) else { return false };
        self.release(&offer.framework_id, &offer.agent_id, offer.resources.clone(), refusal, turn);
        true
    }

    /// Gives the offer's resources back and tells its framework.
    pub(super) fn rescind(&mut self, id: &OfferId, refusal: Refusal, turn: &mut Turn<'_>) {
        let Some(offer) = self.offers.get(id).cloned() else { return };
        self.discard(id, refusal, turn);
        self.tell_rescinded(&offer, turn);
    }

    /// An offer of an agent that is being removed: its resources are nobody's any more.
    pub(super) fn forget_offer(&mut self, offer: &Offer, turn: &mut Turn<'_>) {
        self.offers.remove(&offer.id);
        if let Some(at) = offer.expires {
            self.timers.cancel(at, Timer::Offer(offer.id.clone()));
        }
        let framework = self.frameworks.get_mut(&offer.framework_id).expect("an offer's framework is known");
        framework.offers.remove(&offer.id);
        self.tell_rescinded(offer, turn);
    }

    fn tell_rescinded(&self, offer: &Offer, turn: &mut Turn<'_>) {
        let framework = self.frameworks.get(&offer.framework_id).expect("an offer's framework is known");
        if let Some(stream) = &framework.stream {
            turn.scheduler(stream, Event::Rescind { offer_id: offer.id.clone() });
        }
    }

    /// Tells the allocator that resources came back. Legal while both framework and agent are known.
    pub(super) fn release(
        &self,
        framework_id: &FrameworkId,
        agent_id: &AgentId,
        resources: Resources,
        refusal: Refusal,
        turn: &mut Turn<'_>,
    ) {
        if resources.is_empty() {
            return;
        }
        let framework = self.frameworks.get(framework_id).expect("the caller has it").key;
        let agent = self.agents.get(agent_id).expect("the caller has it").key;
        turn.allocator(ToAllocator::Release { framework, agent, resources, refusal });
    }

    pub(super) fn offer_timed_out(&mut self, id: &OfferId, turn: &mut Turn<'_>) {
        if let Some(offer) = self.offers.get(id) {
            let framework_id = offer.framework_id.clone();
            turn.note(Note::OfferTimedOut { framework_id, offer_id: id.clone() });
            self.rescind(id, Refusal::Pass, turn);
        }
    }

    /// DECLINE. Offers that are not this framework's, or stand no more, are passed over as in Mesos.
    pub(super) fn decline(
        &mut self,
        id: &FrameworkId,
        offer_ids: &[OfferId],
        refuse_ns: u64,
        turn: &mut Turn<'_>,
    ) {
        self.counters.messages_decline_offers += 1;
        for offer_id in offer_ids {
            match self.offers.get(offer_id) {
                Some(offer) if offer.framework_id == *id => {
                    self.discard(offer_id, Refusal::For { ns: refuse_ns }, turn);
                }
                Some(_) => turn.ignored("DECLINE", offer_id, "the offer is another framework's"),
                None => turn.ignored("DECLINE", offer_id, "the offer is no longer valid"),
            }
        }
    }

    /// Why offers cannot be accepted together by this framework, in Mesos' words.
    pub(super) fn check_offers(&self, id: &FrameworkId, offer_ids: &[OfferId]) -> Result<(), String> {
        if offer_ids.is_empty() {
            return Err("No offers specified".into());
        }
        let mut seen = std::collections::BTreeSet::new();
        if let Some(twice) = offer_ids.iter().find(|offer| !seen.insert(*offer)) {
            return Err(format!("Duplicate offer {twice} in offer list"));
        }
        let gone = |offer: &&OfferId| !self.offers.contains(offer);
        if let Some(gone) = offer_ids.iter().find(gone) {
            return Err(format!("Offer {gone} is no longer valid"));
        }
        let offers = || offer_ids.iter().map(|offer| &self.offers[offer]);
        if let Some(offer) = offers().find(|offer| offer.framework_id != *id) {
            let (offer, owner) = (&offer.id, &offer.framework_id);
            return Err(format!(
                "Offer {offer} has invalid framework {owner} while framework {id} is expected"
            ));
        }
        let first = &self.offers[&offer_ids[0]];
        if let Some(other) = offers().find(|other| other.role != first.role) {
            return Err(format!(
                "Aggregated offers must be allocated to the same role. Offer {} uses role '{} but another is using \
                 role '{}",
                other.id, other.role, first.role
            ));
        }
        match offers().find(|other| other.agent_id != first.agent_id) {
            Some(other) => Err(format!(
                "Aggregated offers must belong to one single agent. Offer {} uses agent {} and agent {}",
                other.id, other.agent_id, first.agent_id
            )),
            None => Ok(()),
        }
    }
}
