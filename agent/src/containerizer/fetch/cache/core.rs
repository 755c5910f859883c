//! Which fetched files are kept for later, and which go to make room: decides; the thread in `cache` does.
//!
//! ```text
//!   Want -> unknown:      Create (the asker downloads), then Reserve as it learns how much, then Complete or Failed
//!        -> downloading:  waits; Give when it is complete, Bypass when it failed
//!        -> complete:     Give
//! ```
//! Bytes are reserved before they are written, so the files together never hold more than `bytes_max`. What nobody uses
//! goes when room is wanted, the longest unused first.

use std::collections::BTreeMap;

/// Whose copy of what: a user never gets what another user's rights have fetched.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// `None`: the agent's own.
    pub user: Option<String>,
    /// As the framework wrote it, checksum included: another checksum is another file.
    pub uri: String,
}

/// Names a question until it is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// Names a file of the cache; never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Number(pub u64);

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// Answered by *Create*, *Give* or *Bypass*.
    Want { ticket: Ticket, key: Key },
    /// The download will have so many bytes in all. Answered by *Reserved*.
    Reserve { ticket: Ticket, number: Number, bytes: u64 },
    /// It is there, with so many; its downloader uses it now.
    Complete { number: Number, bytes: u64 },
    /// It will not be there.
    Failed { number: Number },
    /// One of its users is done with it.
    Release { number: Number },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Make the file; the asker fills it.
    Create {
        ticket: Ticket,
        number: Number,
    },
    /// The asker may read it, until it releases it.
    Give {
        ticket: Ticket,
        number: Number,
        bytes: u64,
    },
    /// The asker has to do without the cache.
    Bypass {
        ticket: Ticket,
    },
    Reserved {
        ticket: Ticket,
        is_granted: bool,
    },
    Delete {
        number: Number,
    },
}

#[derive(Debug)]
struct Entry {
    key: Key,
    bytes: u64,
    /// Those who wait for the download, while there is one.
    downloading: Option<Vec<Ticket>>,
    user_count: u32,
    /// Of all that was used, the how manyth.
    used: u64,
}

#[derive(Debug)]
pub struct Core {
    bytes_max: u64,
    bytes: u64,
    entries: BTreeMap<Number, Entry>,
    numbers: BTreeMap<Key, Number>,
    next: u64,
    uses: u64,
}

impl Core {
    pub fn new(bytes_max: u64) -> Self {
        Self { bytes_max, bytes: 0, entries: BTreeMap::new(), numbers: BTreeMap::new(), next: 1, uses: 0 }
    }

    /// Reserved or held.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    pub fn handle(&mut self, input: Input, effects: &mut Vec<Effect>) {
        match input {
            Input::Want { ticket, key } => self.want(ticket, key, effects),
            Input::Reserve { ticket, number, bytes } => {
                let is_granted = self.reserve(number, bytes, effects);
                effects.push(Effect::Reserved { ticket, is_granted });
            }
            Input::Complete { number, bytes } => self.complete(number, bytes, effects),
            Input::Failed { number } => self.failed(number, effects),
            Input::Release { number } => {
                let entry = self.entries.get_mut(&number).expect("what is used is not deleted");
                entry.user_count -= 1;
            }
        }
    }

    fn want(&mut self, ticket: Ticket, key: Key, effects: &mut Vec<Effect>) {
        let Some(&number) = self.numbers.get(&key) else {
            let number = Number(self.next);
            self.next += 1;
            self.numbers.insert(key.clone(), number);
            let downloading = Some(Vec::new());
            self.entries.insert(number, Entry { key, bytes: 0, downloading, user_count: 0, used: 0 });
            return effects.push(Effect::Create { ticket, number });
        };
        let entry = self.entries.get_mut(&number).expect("every number has its entry");
        match &mut entry.downloading {
            Some(waiting) => waiting.push(ticket),
            None => {
                self.uses += 1;
                entry.used = self.uses;
                entry.user_count += 1;
                effects.push(Effect::Give { ticket, number, bytes: entry.bytes });
            }
        }
    }

    /// Nothing is deleted in vain: either there is room afterwards, or all stays.
    fn reserve(&mut self, number: Number, bytes: u64, effects: &mut Vec<Effect>) -> bool {
        let before = self.entries[&number].bytes;
        let wanted = (self.bytes - before).saturating_add(bytes);
        let mut missing = wanted.saturating_sub(self.bytes_max);
        let unused = self.entries.iter().filter(|(_, it)| it.downloading.is_none() && it.user_count == 0);
        let mut unused: Vec<(u64, Number, u64)> = unused.map(|(n, it)| (it.used, *n, it.bytes)).collect();
        unused.sort_unstable();
        let mut going = Vec::new();
        for (_, number, bytes) in unused {
            if missing == 0 {
                break;
            }
            missing = missing.saturating_sub(bytes);
            going.push(number);
        }
        if missing > 0 {
            return false;
        }
        for number in going {
            self.forget(number, effects);
        }
        self.bytes = self.bytes - before + bytes;
        self.entries.get_mut(&number).expect("it is being downloaded").bytes = bytes;
        true
    }

    fn complete(&mut self, number: Number, bytes: u64, effects: &mut Vec<Effect>) {
        self.uses += 1;
        let entry = self.entries.get_mut(&number).expect("it is being downloaded");
        self.bytes = self.bytes - entry.bytes + bytes;
        entry.bytes = bytes;
        entry.used = self.uses;
        let waiting = entry.downloading.take().expect("it is complete once");
        entry.user_count = 1 + u32::try_from(waiting.len()).expect("fewer than 2^32 fetches");
        effects.extend(waiting.into_iter().map(|ticket| Effect::Give { ticket, number, bytes }));
    }

    fn failed(&mut self, number: Number, effects: &mut Vec<Effect>) {
        let entry = self.entries.get_mut(&number).expect("it is being downloaded");
        let waiting = entry.downloading.take().expect("it fails once, and not after it is complete");
        effects.extend(waiting.into_iter().map(|ticket| Effect::Bypass { ticket }));
        self.forget(number, effects);
    }

    fn forget(&mut self, number: Number, effects: &mut Vec<Effect>) {
        let entry = self.entries.remove(&number).expect("callers have just seen it");
        self.numbers.remove(&entry.key);
        self.bytes -= entry.bytes;
        effects.push(Effect::Delete { number });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct World {
        core: Core,
        ticket: u64,
    }

    impl World {
        fn new(bytes_max: u64) -> Self {
            Self { core: Core::new(bytes_max), ticket: 0 }
        }

        fn feed(&mut self, input: Input) -> Vec<Effect> {
            let mut effects = Vec::new();
            self.core.handle(input, &mut effects);
            let held: u64 = self.core.entries.values().map(|entry| entry.bytes).sum();
            assert_eq!(held, self.core.bytes());
            assert!(held <= self.core.bytes_max);
            effects
        }

        fn want(&mut self, uri: &str) -> Vec<Effect> {
            self.want_as(Some("u"), uri)
        }

        fn want_as(&mut self, user: Option<&str>, uri: &str) -> Vec<Effect> {
            self.ticket += 1;
            let key = Key { user: user.map(str::to_owned), uri: uri.to_owned() };
            self.feed(Input::Want { ticket: Ticket(self.ticket), key })
        }

        fn reserve(&mut self, number: u64, bytes: u64) -> (bool, Vec<Number>) {
            let effects = self.feed(Input::Reserve { ticket: Ticket(0), number: Number(number), bytes });
            let (last, before) = effects.split_last().expect("an answer");
            let deleted = before.iter().map(|effect| match effect {
                Effect::Delete { number } => *number,
                other => panic!("{other:?}"),
            });
            (*last == Effect::Reserved { ticket: Ticket(0), is_granted: true }, deleted.collect())
        }

        /// Fetched, and not used any more.
        fn keep(&mut self, uri: &str, bytes: u64) -> u64 {
            let effects = self.want(uri);
            let [Effect::Create { number, .. }] = effects[..] else { panic!("{effects:?}") };
            assert!(self.reserve(number.0, bytes).0);
            self.feed(Input::Complete { number, bytes });
            self.feed(Input::Release { number });
            number.0
        }
    }

    #[test]
    fn many_who_want_the_same_wait_for_one_download() {
        let mut world = World::new(100);
        assert_eq!(world.want("a"), [Effect::Create { ticket: Ticket(1), number: Number(1) }]);
        assert_eq!(world.want("a"), []);
        assert_eq!(world.want("a"), []);
        let given = |ticket| Effect::Give { ticket: Ticket(ticket), number: Number(1), bytes: 7 };
        assert_eq!(world.feed(Input::Complete { number: Number(1), bytes: 7 }), [given(2), given(3)]);
        assert_eq!(world.want("a"), [given(4)]);
    }

    #[test]
    fn another_user_has_his_own() {
        let mut world = World::new(100);
        world.keep("a", 1);
        for user in [Some("other"), None] {
            let effects = world.want_as(user, "a");
            assert!(matches!(effects[..], [Effect::Create { .. }]), "{effects:?}");
        }
    }

    #[test]
    fn a_failed_download_sends_those_who_wait_away_and_may_be_tried_again() {
        let mut world = World::new(100);
        world.want("a");
        world.want("a");
        let expect = [Effect::Bypass { ticket: Ticket(2) }, Effect::Delete { number: Number(1) }];
        assert_eq!(world.feed(Input::Failed { number: Number(1) }), expect);
        assert_eq!(world.want("a"), [Effect::Create { ticket: Ticket(3), number: Number(2) }]);
    }

    #[test]
    fn the_longest_unused_makes_room() {
        let mut world = World::new(100);
        let [a, b, c] = ["a", "b", "c"].map(|uri| world.keep(uri, 30));
        // `a` is used again, so `b` is the oldest.
        world.want("a");
        world.feed(Input::Release { number: Number(a) });
        world.want("d");
        assert_eq!(world.reserve(4, 20), (true, vec![Number(b)]));
        assert_eq!(world.reserve(4, 60), (true, vec![Number(c)]));
        assert_eq!(world.core.bytes(), 90);
    }

    #[test]
    fn what_is_used_stays_and_nothing_goes_in_vain() {
        let mut world = World::new(100);
        let used = world.keep("used", 50);
        world.keep("free", 30);
        world.want("used");
        world.want("big");
        assert_eq!(world.reserve(3, 60), (false, vec![]));
        world.feed(Input::Release { number: Number(used) });
        assert_eq!(world.reserve(3, 60), (true, vec![Number(2), Number(1)]));
    }
}
