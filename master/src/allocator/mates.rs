//! What workers tell each other: what claimants hold of each worker's agents, and what there is. Shares are ranked by
//! the sums of all workers, each as it last told (law 5: stale shares are allowed).
//!
//! News say what is, not what has changed, and only what has changed since is told again: whatever is told late, or once
//! for many changes, the sums come right.
//!
//! **Who is believed.** All workers are told of frameworks and roles, in one order, each at its own pace. What a worker
//! says is heard only by who has been told as much as the teller had been: so nobody is named who is not known yet, and who
//! is unknown then has gone.

use super::claimant::{ClaimantId, Holding};
use super::core::Core;
use super::event::Event;
use super::key::FrameworkKey;
use super::quantities::Quantities;
use super::sync::{Seed, is_seeded};
use model::role::Role;

/// From one worker to all others.
#[derive(Clone, Debug)]
pub(super) struct News {
    /// How many events that concern all workers its teller had been told of.
    told_count: u64,
    what: What,
}

#[derive(Clone, Debug)]
enum What {
    /// The framework holds that much for the role on the teller's agents.
    Holding { framework: FrameworkKey, role: Role, holding: Holding },
    /// The teller's agents have that much.
    Land(Land),
}

/// Agents of one worker together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Land {
    totals: Quantities,
    /// Free on active ones, while there are quotas.
    available: Quantities,
}

/// What is known of the other workers, and what they are still to be told.
#[derive(Debug, Default)]
pub(super) struct Mates {
    /// Events so far that concern all workers.
    told_count: u64,
    /// By worker, without this one.
    lands: Vec<Land>,
    /// As the others know it.
    told_land: Land,
    /// Claimants that are forgotten here, and hold nothing here any more.
    departed: Vec<(FrameworkKey, Role)>,
    /// The others may be given something because of this worker, though no sum has changed.
    pub(super) has_stirred: bool,
}

impl Mates {
    /// All workers are told of something.
    pub(super) fn note_told(&mut self) {
        self.told_count += 1;
    }
}

impl Core {
    /// To be called before any event: there are so many other workers.
    pub(super) fn set_mates(&mut self, count: usize) {
        self.mates.lands.resize_with(count, Land::default);
        self.tree.is_shared = count > 0;
    }

    /// Takes note that all workers are told of this event, if they are.
    pub(super) fn count_if_for_all(&mut self, event: &Event) {
        if event.agent().is_none() {
            self.mates.note_told();
        }
    }

    /// Whether there is something to be told.
    pub(super) fn has_news(&self) -> bool {
        self.tree.is_shared
            && (!self.tree.changed.is_empty()
                || !self.mates.departed.is_empty()
                || self.mates.has_stirred
                || self.land() != self.mates.told_land)
    }

    /// The next of what is to be told to every other worker.
    pub(super) fn next_news(&mut self) -> Option<News> {
        let what = if let Some((framework, role)) = self.mates.departed.pop() {
            What::Holding { framework, role, holding: Holding::default() }
        } else if let Some(id) = self.tree.changed.next(0) {
            self.tree.changed.remove(id);
            let claimant = &self.tree.claimants[ClaimantId(id)];
            let role = self.tree.role(claimant.role).clone();
            What::Holding { framework: claimant.framework, role, holding: claimant.here() }
        } else if self.has_news() {
            self.mates.has_stirred = false;
            self.mates.told_land = self.land();
            What::Land(self.mates.told_land.clone())
        } else {
            return None;
        };
        Some(News { told_count: self.mates.told_count, what })
    }

    /// Whether this worker has been told of all that the teller of the news had been.
    pub(super) fn may_hear(&self, news: &News) -> bool {
        news.told_count <= self.mates.told_count || is_seeded(Seed::BelieveAtOnce)
    }

    /// [`Self::settle`] must follow: quota may allow more than it did.
    pub(super) fn hear(&mut self, mate: usize, news: News) {
        self.quota_moved = true;
        match news.what {
            What::Land(land) => {
                let before = std::mem::replace(&mut self.mates.lands[mate], land.clone());
                self.tree.change_total(&before.totals, &land.totals);
                self.available.add(&land.available);
                self.available.subtract(&before.available);
            }
            What::Holding { framework, role, holding } => self.hear_holding(mate, framework, &role, holding),
        }
    }

    fn hear_holding(&mut self, mate: usize, framework: FrameworkKey, role: &Role, holding: Holding) {
        if self.frameworks.get(framework).is_none() {
            return;
        }
        let id = match self.find_claimant(framework, role) {
            Some(id) => id,
            None if holding.allocated.is_zero() => return,
            None => self.claimant_in(framework, role),
        };
        let mate_count = self.mates.lands.len();
        let elsewhere = &mut self.tree.claimants[id].elsewhere;
        elsewhere.resize_with(mate_count, Holding::default);
        let before = std::mem::replace(&mut elsewhere[mate], holding.clone());
        self.tree.change_elsewhere(id, &before, &holding);
        self.drop_if_idle(framework, id);
    }

    /// The framework is gone everywhere: what it held of others is no longer counted.
    pub(super) fn forget_elsewhere(&mut self, id: ClaimantId) {
        for before in std::mem::take(&mut self.tree.claimants[id].elsewhere) {
            let nothing = Holding { count: before.count, ..Holding::default() };
            self.tree.change_elsewhere(id, &before, &nothing);
        }
    }

    /// A claimant is about to be forgotten here.
    pub(super) fn note_departed(&mut self, id: ClaimantId) {
        if self.tree.is_shared {
            let claimant = &self.tree.claimants[id];
            let role = self.tree.role(claimant.role).clone();
            self.mates.departed.push((claimant.framework, role));
            self.tree.changed.remove(id.0);
        }
    }

    /// What the other workers have, as far as they told.
    pub(super) fn elsewhere(&self) -> Land {
        let mut sum = Land::default();
        for land in &self.mates.lands {
            sum.totals.add(&land.totals);
            sum.available.add(&land.available);
        }
        sum
    }

    fn land(&self) -> Land {
        let elsewhere = self.elsewhere();
        let mut land = Land { totals: self.tree.totals().clone(), available: self.available.clone() };
        land.totals.subtract(&elsewhere.totals);
        land.available.subtract(&elsewhere.available);
        land
    }
}

impl Land {
    pub(super) fn totals(&self) -> &Quantities {
        &self.totals
    }

    pub(super) fn available(&self) -> &Quantities {
        &self.available
    }
}
