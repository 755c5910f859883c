//! Which sandboxes and checkpoints are deleted, and when: decides; `collector` does.
//!
//! What is over is kept for `delay_ms`, so that people can look at it; longer if nobody needs the room, never. It goes
//! earlier when the disk fills, by Mesos' rule: nothing over may be older than
//!
//! ```text
//!   delay * max(0, 1 - headroom - share of the disk that is used)
//! ```
//! Under that pressure the oldest goes first, one at a time, and the disk is looked at again before the next goes: Mesos
//! deletes everything that is too old by one look, down to what ended a second ago.
//!
//! Ages come from the file system when a thing is found, and from the monotonic clock afterwards: a wall clock that jumps
//! while the agent runs deletes nothing early.

use super::item::Item;
use model::time::Time;
use std::collections::{BTreeMap, BTreeSet};

/// The numbers of the operator's flags.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `--gc-delay`.
    pub delay_ms: u64,
    /// `--gc-disk-headroom`, in millionths.
    pub headroom_ppm: u64,
    /// `--disk-watch-interval`.
    pub watch_interval_ms: u64,
}

/// Wait before something that could not be deleted is tried again.
const RETRY_MS: u64 = 600_000;

/// The disk under the work directory, bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disk {
    pub total: u64,
    pub used: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// It is over, since so long. Said again, the newer word counts.
    Over { item: Item, age_ms: u64 },
    /// The answer to *Measure*; `None` if it could not be found out.
    Disk(Option<Disk>),
    /// The answer to *Remove*.
    Removed { item: Item, is_gone: bool },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Delete it; one at a time.
    Remove(Item),
    /// How full is the disk?
    Measure,
}

/// Counted since the agent's start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub succeeded: u64,
    pub failed: u64,
}

#[derive(Debug)]
pub struct Core {
    settings: Settings,
    /// When each is `delay_ms` old, oldest first.
    due: BTreeSet<(Time, Item)>,
    when: BTreeMap<Item, Time>,
    /// What could not be deleted, and when it is tried again.
    stuck: BTreeSet<(Time, Item)>,
    /// Being deleted.
    removing: Option<Item>,
    /// The disk has been asked after and has not answered.
    is_measuring: bool,
    next_look: Time,
    age_max_ms: u64,
    counts: Counts,
}

impl Core {
    /// Looks at the disk as soon as it is asked to.
    pub fn new(settings: Settings) -> Self {
        let age_max_ms = age_max_ms(&settings, Disk { total: 1, used: 0 });
        Self {
            settings,
            due: BTreeSet::new(),
            when: BTreeMap::new(),
            stuck: BTreeSet::new(),
            removing: None,
            is_measuring: false,
            next_look: Time::default(),
            age_max_ms,
            counts: Counts::default(),
        }
    }

    /// Waiting to be deleted, or being it.
    pub fn pending(&self) -> usize {
        self.due.len() + self.stuck.len() + usize::from(self.removing.is_some())
    }

    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// How old what is over may be, by the last look at the disk.
    pub fn age_max_ms(&self) -> u64 {
        self.age_max_ms
    }

    pub fn handle(&mut self, now: Time, input: Input, effects: &mut Vec<Effect>) {
        match input {
            Input::Over { item, age_ms } => {
                let left_ms = self.settings.delay_ms.saturating_sub(age_ms);
                self.schedule(item, now.plus_ms(left_ms));
            }
            Input::Disk(disk) => {
                self.is_measuring = false;
                if let Some(disk) = disk {
                    self.age_max_ms = age_max_ms(&self.settings, disk);
                    self.remove_older_than(now, self.age_max_ms, effects);
                }
            }
            Input::Removed { item, is_gone } => self.removed(now, item, is_gone, effects),
        }
        self.expire(now, effects);
    }

    /// `None` while nothing but an answer is waited for.
    pub fn deadline(&self) -> Option<Time> {
        let look = (!self.is_measuring).then_some(self.next_look);
        let first = self.due.first().map(|(at, _)| *at).filter(|_| self.removing.is_none());
        let again = self.stuck.first().map(|(at, _)| *at);
        [look, first, again].into_iter().flatten().min()
    }

    pub fn expire(&mut self, now: Time, effects: &mut Vec<Effect>) {
        while self.stuck.first().is_some_and(|(at, _)| *at <= now) {
            let (_, item) = self.stuck.pop_first().expect("it was just seen");
            self.schedule(item, now);
        }
        self.remove_older_than(now, self.settings.delay_ms, effects);
        if now >= self.next_look && !self.is_measuring {
            self.next_look = now.plus_ms(self.settings.watch_interval_ms);
            self.measure(effects);
        }
    }

    fn schedule(&mut self, item: Item, at: Time) {
        if self.removing.as_ref() == Some(&item) {
            return;
        }
        if let Some(before) = self.when.insert(item.clone(), at) {
            self.due.remove(&(before, item.clone()));
        }
        self.due.insert((at, item));
    }

    /// The oldest, if it is so old and nothing is being deleted.
    fn remove_older_than(&mut self, now: Time, age_ms: u64, effects: &mut Vec<Effect>) {
        let still_ms = self.settings.delay_ms.saturating_sub(age_ms);
        let is_old = self.due.first().is_some_and(|(at, _)| *at <= now.plus_ms(still_ms));
        if self.removing.is_some() || !is_old {
            return;
        }
        let (_, item) = self.due.pop_first().expect("it was just seen");
        self.when.remove(&item);
        self.removing = Some(item.clone());
        effects.push(Effect::Remove(item));
    }

    fn removed(&mut self, now: Time, item: Item, is_gone: bool, effects: &mut Vec<Effect>) {
        let removing = self.removing.take();
        assert_eq!(removing.as_ref(), Some(&item), "one is removed at a time");
        if is_gone {
            self.counts.succeeded += 1;
        } else {
            self.counts.failed += 1;
            // Aside: it would be the first again, however full the disk is.
            self.stuck.insert((now.plus_ms(RETRY_MS), item));
        }
        // Is there room now? Only then may the next stay.
        if !self.is_measuring && !self.due.is_empty() {
            self.measure(effects);
        }
    }

    fn measure(&mut self, effects: &mut Vec<Effect>) {
        self.is_measuring = true;
        effects.push(Effect::Measure);
    }
}

/// Mesos: `Slave::age`.
fn age_max_ms(settings: &Settings, disk: Disk) -> u64 {
    const MILLION: u128 = 1_000_000;
    let total = u128::from(disk.total.max(1));
    let headroom = u128::from(settings.headroom_ppm).min(MILLION);
    // All in parts of `total * a million`.
    let free = (total * (MILLION - headroom)).saturating_sub(u128::from(disk.used) * MILLION);
    let age = u128::from(settings.delay_ms) * free / (total * MILLION);
    u64::try_from(age).expect("no more than the delay")
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE_MS: u64 = 60_000;
    const DAY_MS: u64 = 86_400_000;
    const WEEK_MS: u64 = 7 * DAY_MS;

    /// A core, its clock, and a disk that each item has its part of.
    struct World {
        core: Core,
        now_ms: u64,
        disk: Disk,
        sizes: BTreeMap<Item, u64>,
        removed: Vec<String>,
    }

    impl World {
        fn new(used: u64) -> Self {
            let settings =
                Settings { delay_ms: WEEK_MS, headroom_ppm: 100_000, watch_interval_ms: MINUTE_MS };
            let disk = Disk { total: 1000, used };
            Self { core: Core::new(settings), now_ms: 0, disk, sizes: BTreeMap::new(), removed: Vec::new() }
        }

        fn now(&self) -> Time {
            Time::default().plus_ms(self.now_ms)
        }

        fn carry_out(&mut self, mut effects: Vec<Effect>) {
            while let Some(effect) = effects.pop() {
                let input = match effect {
                    Effect::Measure => Input::Disk(Some(self.disk)),
                    Effect::Remove(item) => {
                        self.disk.used -= self.sizes[&item];
                        self.removed.push(name(&item));
                        Input::Removed { item, is_gone: true }
                    }
                };
                self.core.handle(self.now(), input, &mut effects);
            }
        }

        fn over(&mut self, name: &str, age_ms: u64, size: u64) {
            self.sizes.insert(item(name), size);
            let mut effects = Vec::new();
            self.core.handle(self.now(), Input::Over { item: item(name), age_ms }, &mut effects);
            self.carry_out(effects);
        }

        /// Goes from deadline to deadline.
        fn pass(&mut self, ms: u64) {
            let end = self.now_ms + ms;
            while let Some(at) = self.core.deadline().filter(|at| *at <= Time::default().plus_ms(end)) {
                self.now_ms = self.now_ms.max(at.0 / 1_000_000);
                let mut effects = Vec::new();
                self.core.expire(self.now(), &mut effects);
                self.carry_out(effects);
            }
            self.now_ms = end;
        }

        fn removed(&mut self) -> Vec<String> {
            std::mem::take(&mut self.removed)
        }
    }

    fn item(name: &str) -> Item {
        Item::Tree(name.into())
    }

    fn name(item: &Item) -> String {
        match item {
            Item::Tree(path) => path.display().to_string(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn on_an_empty_disk_it_goes_when_the_delay_is_over() {
        let mut world = World::new(0);
        world.over("young", 0, 0);
        world.over("old", 2 * DAY_MS, 0);
        // Mesos' rule takes the headroom off the delay even of an empty disk.
        assert_eq!(world.core.age_max_ms(), WEEK_MS * 9 / 10);
        world.pass(4 * DAY_MS);
        assert_eq!(world.removed(), Vec::<String>::new());
        world.pass(DAY_MS);
        assert_eq!(world.removed(), ["old"]);
        assert_eq!(world.core.pending(), 1);
        world.pass(2 * DAY_MS);
        assert_eq!(world.removed(), ["young"]);
        assert_eq!((world.core.pending(), world.core.counts().succeeded), (0, 2));
    }

    #[test]
    fn what_is_overdue_goes_at_once() {
        let mut world = World::new(0);
        world.over("ancient", 100 * WEEK_MS, 0);
        assert_eq!(world.removed(), ["ancient"]);
    }

    #[test]
    fn a_fuller_disk_shortens_the_delay() {
        for (used, expect_ms) in [(0, WEEK_MS * 9 / 10), (450, WEEK_MS * 45 / 100), (900, 0), (1000, 0)] {
            let settings = World::new(0).core.settings;
            assert_eq!(age_max_ms(&settings, Disk { total: 1000, used }), expect_ms, "{used}");
        }
        let mut world = World::new(400);
        world.over("a", 0, 0);
        world.pass(WEEK_MS / 2 - MINUTE_MS);
        assert_eq!(world.removed(), Vec::<String>::new());
        world.pass(2 * MINUTE_MS);
        assert_eq!(world.removed(), ["a"]);
    }

    #[test]
    fn on_a_full_disk_the_oldest_go_until_there_is_room() {
        let mut world = World::new(500);
        for (name, age_ms) in [("new", 0), ("older", 2 * MINUTE_MS), ("oldest", 3 * MINUTE_MS)] {
            world.over(name, age_ms, 100);
        }
        world.disk.used = 950;
        world.pass(MINUTE_MS);
        // With two of them gone a seventh of the disk is free, and minutes are no age any more.
        assert_eq!(world.removed(), ["oldest"]);
        assert_eq!(world.core.pending(), 2);
        world.disk.used = 990;
        world.pass(MINUTE_MS);
        assert_eq!(world.removed(), ["older"]);
        assert_eq!(world.disk.used, 890);
    }

    #[test]
    fn what_cannot_be_deleted_is_tried_again_later_and_holds_up_nobody() {
        let mut world = World::new(950);
        let mut effects = Vec::new();
        let now = world.now();
        world.core.handle(now, Input::Over { item: item("stuck"), age_ms: WEEK_MS }, &mut effects);
        assert_eq!(effects, [Effect::Remove(item("stuck")), Effect::Measure]);
        effects.clear();
        world.core.handle(now, Input::Removed { item: item("stuck"), is_gone: false }, &mut effects);
        world.core.handle(now, Input::Disk(Some(world.disk)), &mut effects);
        assert_eq!(effects, []);
        assert_eq!((world.core.counts().failed, world.core.pending()), (1, 1));
        world.over("other", 0, 0);
        world.pass(MINUTE_MS);
        assert_eq!(world.removed(), ["other"]);
        world.sizes.insert(item("stuck"), 0);
        world.pass(RETRY_MS);
        assert_eq!(world.removed(), ["stuck"]);
        assert_eq!((world.core.counts(), world.core.pending()), (Counts { succeeded: 2, failed: 1 }, 0));
    }

    #[test]
    fn said_again_the_newer_word_counts() {
        let mut world = World::new(0);
        world.over("a", 5 * DAY_MS, 0);
        world.over("a", 0, 0);
        assert_eq!(world.core.pending(), 1);
        world.pass(4 * DAY_MS);
        assert_eq!(world.removed(), Vec::<String>::new());
    }

    #[test]
    fn the_disk_is_looked_at_on_the_interval() {
        let mut world = World::new(0);
        let mut looks = 0;
        for _ in 0..10 {
            let at = world.core.deadline().expect("there is always a next look");
            let mut effects = Vec::new();
            world.core.expire(at, &mut effects);
            assert_eq!(effects, [Effect::Measure]);
            // No second question before the first is answered.
            world.core.expire(at.plus_ms(10 * MINUTE_MS), &mut effects);
            assert_eq!(effects.len(), 1);
            world.core.handle(at, Input::Disk(None), &mut effects);
            looks += 1;
        }
        assert_eq!(world.core.deadline(), Some(Time::default().plus_ms(looks * MINUTE_MS)));
    }
}
