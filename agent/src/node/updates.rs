//! Status updates on their way to frameworks: in order per task, one at a time, again and again until acknowledged.
//!
//! A stream begins with a task's first update and ends when its terminal one has been acknowledged. Each update is first
//! written (`saved`), then sent; its acknowledgement is first written (`acknowledged`), then the next one is sent.

use crate::node::timers::Timers;
use model::id::{FrameworkId, TaskId, UpdateId};
use model::limits::{UPDATE_RETRY_FIRST_MS, UPDATE_RETRY_MAX_MS};
use model::task::TaskStatus;
use model::time::Time;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// A task anywhere in the cluster.
pub(super) type Key = (FrameworkId, TaskId);

#[derive(Default)]
pub(super) struct Updates {
    streams: BTreeMap<Key, Stream>,
    retries: Timers<Key>,
    /// While there is a master to send to.
    is_open: bool,
}

#[derive(Default)]
struct Stream {
    /// Received and not yet acknowledged, oldest first.
    waiting: VecDeque<Waiting>,
    /// Everything this stream has ever carried: an executor sends again what it has no acknowledgement for.
    seen: BTreeSet<UpdateId>,
    /// Wait before the first is sent once more, milliseconds.
    retry_ms: u64,
}

struct Waiting {
    id: UpdateId,
    status: TaskStatus,
    is_saved: bool,
    /// Acknowledged by the framework; the acknowledgement is being written.
    is_acknowledged: bool,
}

/// What became of an update that came in.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Received {
    New,
    /// Seen before and safe: its sender may be told.
    Duplicate,
    /// Seen before, still being written; its sender is told when it is.
    BeingSaved,
}

/// What became of an acknowledgement that came in.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Acknowledged {
    /// It is for the update that was sent; to be written.
    Wanted,
    /// Already acknowledged, or never sent.
    Unexpected,
}

/// What follows a written acknowledgement.
#[derive(Debug)]
pub(super) enum Next {
    /// To be sent now.
    Send(Box<TaskStatus>),
    /// Nothing to send for now.
    Wait,
    /// The terminal update was acknowledged: the stream is over.
    Over,
}

impl Updates {
    /// Takes in an update. `New` ones are to be written, then [`Updates::saved`].
    pub(super) fn receive(&mut self, key: &Key, id: UpdateId, status: TaskStatus) -> Received {
        let stream = self.streams.entry(key.clone()).or_default();
        if !stream.seen.insert(id) {
            let being_saved = stream.waiting.iter().any(|waiting| waiting.id == id && !waiting.is_saved);
            return if being_saved { Received::BeingSaved } else { Received::Duplicate };
        }
        stream.waiting.push_back(Waiting { id, status, is_saved: false, is_acknowledged: false });
        Received::New
    }

    /// The update is safe. Returns it when its turn to be sent is now.
    pub(super) fn saved(&mut self, now: Time, key: &Key, id: UpdateId) -> Option<TaskStatus> {
        // The stream is gone when its framework was shut down meanwhile.
        let stream = self.streams.get_mut(key)?;
        let waiting = stream.waiting.iter_mut().find(|waiting| waiting.id == id)?;
        waiting.is_saved = true;
        self.send_first(now, key, |first| first == id)
    }

    pub(super) fn acknowledge(&mut self, key: &Key, id: UpdateId) -> Acknowledged {
        let first = self.streams.get_mut(key).and_then(|stream| stream.waiting.front_mut());
        match first {
            Some(first) if first.id == id && first.is_saved && !first.is_acknowledged => {
                first.is_acknowledged = true;
                self.retries.clear(key);
                Acknowledged::Wanted
            }
            _ => Acknowledged::Unexpected,
        }
    }

    /// The acknowledgement is written: the update is done with.
    pub(super) fn acknowledged(&mut self, now: Time, key: &Key, id: UpdateId) -> Next {
        let Some(stream) = self.streams.get_mut(key) else { return Next::Wait };
        let Some(first) = stream.waiting.pop_front_if(|first| first.id == id && first.is_acknowledged) else {
            return Next::Wait;
        };
        if first.status.state.is_terminal() {
            self.forget(key);
            return Next::Over;
        }
        self.send_first(now, key, |_| true).map_or(Next::Wait, |status| Next::Send(Box::new(status)))
    }

    /// The update that waits for its acknowledgement.
    pub(super) fn pending(&self, key: &Key) -> Option<&TaskStatus> {
        self.streams.get(key)?.waiting.front().map(|first| &first.status)
    }

    pub(super) fn has_stream(&self, key: &Key) -> bool {
        self.streams.contains_key(key)
    }

    pub(super) fn forget(&mut self, key: &Key) {
        self.streams.remove(key);
        self.retries.clear(key);
    }

    /// Drops everything of a framework that can acknowledge nothing any more.
    pub(super) fn forget_framework(&mut self, framework_id: &FrameworkId) {
        let keys: Vec<Key> = self.of_framework(framework_id).cloned().collect();
        for key in keys {
            self.forget(&key);
        }
    }

    pub(super) fn has_framework(&self, framework_id: &FrameworkId) -> bool {
        self.of_framework(framework_id).next().is_some()
    }

    fn of_framework<'a>(&'a self, framework_id: &'a FrameworkId) -> impl Iterator<Item = &'a Key> {
        let from = (framework_id.clone(), TaskId::new(""));
        self.streams.range(from..).map(|(key, _)| key).take_while(move |key| key.0 == *framework_id)
    }

    /// A master is there: the first of each stream is to be sent.
    pub(super) fn open(&mut self, now: Time) -> Vec<(Key, TaskStatus)> {
        self.is_open = true;
        let keys: Vec<Key> = self.streams.keys().cloned().collect();
        keys.into_iter()
            .filter_map(|key| {
                let status = self.send_first(now, &key, |_| true)?;
                Some((key, status))
            })
            .collect()
    }

    /// The framework's scheduler is there (again): what it has not acknowledged is to be sent once more, now.
    pub(super) fn again(&mut self, now: Time, framework_id: &FrameworkId) -> Vec<(Key, TaskStatus)> {
        let keys: Vec<Key> =
            self.streams.keys().filter(|(owner, _)| owner == framework_id).cloned().collect();
        keys.into_iter()
            .filter_map(|key| {
                let status = self.send_first(now, &key, |_| true)?;
                Some((key, status))
            })
            .collect()
    }

    /// The master is gone: nothing is sent until the next [`Updates::open`].
    pub(super) fn pause(&mut self) {
        if self.is_open {
            self.is_open = false;
            self.retries = Timers::default();
        }
    }

    pub(super) fn deadline(&self) -> Option<Time> {
        self.retries.deadline()
    }

    /// What is to be sent once more, now.
    pub(super) fn expire(&mut self, now: Time) -> Vec<(Key, TaskStatus)> {
        let mut again = Vec::new();
        while let Some(key) = self.retries.pop_due(now) {
            let stream = self.streams.get_mut(&key).expect("a retry goes with its stream");
            let first = stream.waiting.front().expect("a retry is set for an update that waits");
            let status = first.status.clone();
            stream.retry_ms = (stream.retry_ms * 2).min(UPDATE_RETRY_MAX_MS);
            self.retries.set(key.clone(), now.plus_ms(stream.retry_ms));
            again.push((key, status));
        }
        again
    }

    /// The first of the stream, when it is safe, not yet acknowledged, and `wanted`; sets its retry.
    fn send_first(&mut self, now: Time, key: &Key, wanted: impl Fn(UpdateId) -> bool) -> Option<TaskStatus> {
        if !self.is_open {
            return None;
        }
        let stream = self.streams.get_mut(key)?;
        let first = stream.waiting.front()?;
        if !first.is_saved || first.is_acknowledged || !wanted(first.id) {
            return None;
        }
        stream.retry_ms = UPDATE_RETRY_FIRST_MS;
        let status = first.status.clone();
        self.retries.set(key.clone(), now.plus_ms(UPDATE_RETRY_FIRST_MS));
        Some(status)
    }

    /// Puts back what a checkpoint says: `updates` in their order, of which `acknowledged` are done with.
    pub(super) fn recover(&mut self, key: &Key, updates: &[TaskStatus], acknowledged: &BTreeSet<UpdateId>) {
        let mut stream = Stream::default();
        for status in updates {
            let Some(id) = status.update_id else { continue };
            if !stream.seen.insert(id) {
                continue;
            }
            if !acknowledged.contains(&id) {
                let status = status.clone();
                stream.waiting.push_back(Waiting { id, status, is_saved: true, is_acknowledged: false });
            }
        }
        self.streams.insert(key.clone(), stream);
    }
}
