//! ZooKeeper, as its clients see it: sessions that end when nothing was heard for their time-out, and an ephemeral,
//! numbered znode a session. It may have heard of a session last up to half a tick before it says so to its leader, so
//! a session may end that much early (see `leader::lease`). While the ensemble has no quorum no session ends, and each
//! begins its time-out anew after that.

use model::time::Time;
use std::collections::BTreeMap;

/// Half of ZooKeeper's usual tick, milliseconds.
const HALF_TICK_MS: u64 = 1_000;

/// By the number of its znode, which is when it was made, in ZooKeeper's count of everything that ever happened in it.
pub(super) type Zxid = i64;

#[derive(Debug)]
pub(super) struct Candidate {
    pub(super) master: usize,
    life: u64,
    timeout_ms: u64,
    /// It ends then, if nothing is heard.
    ends: Time,
}

#[derive(Debug, Default)]
pub(super) struct Ensemble {
    pub(super) has_no_quorum: bool,
    last: Zxid,
    pub(super) candidates: BTreeMap<Zxid, Candidate>,
}

impl Ensemble {
    pub(super) fn join(&mut self, now: Time, master: usize, life: u64, timeout_ms: u64) -> Zxid {
        self.last += 3;
        let ends = now.plus_ms(timeout_ms);
        self.candidates.insert(self.last, Candidate { master, life, timeout_ms, ends });
        self.last
    }

    /// Something was heard of the session; `lag_ms` of it is not told to the ensemble's leader in time.
    pub(super) fn heard(&mut self, now: Time, znode: Zxid, lag_ms: u64) -> bool {
        let Some(candidate) = self.candidates.get_mut(&znode) else { return false };
        let lag_ms = lag_ms.min(HALF_TICK_MS);
        let ends = Time(now.plus_ms(candidate.timeout_ms).0 - lag_ms * 1_000_000);
        candidate.ends = candidate.ends.max(ends);
        true
    }

    pub(super) fn half_tick_ms() -> u64 {
        HALF_TICK_MS
    }

    /// Sessions whose time is over; says which are gone.
    pub(super) fn expire(&mut self, now: Time) -> Vec<Zxid> {
        if self.has_no_quorum {
            return Vec::new();
        }
        let over = |(znode, candidate): (&Zxid, &Candidate)| (candidate.ends <= now).then_some(*znode);
        let gone: Vec<_> = self.candidates.iter().filter_map(over).collect();
        gone.iter().for_each(|znode| _ = self.candidates.remove(znode));
        gone
    }

    /// There is a quorum again, and a leader of it that knows when it began, and no more.
    pub(super) fn recover(&mut self, now: Time) {
        self.has_no_quorum = false;
        self.candidates.values_mut().for_each(|it| it.ends = now.plus_ms(it.timeout_ms));
    }

    pub(super) fn deadline(&self) -> Option<Time> {
        if self.has_no_quorum {
            return None;
        }
        self.candidates.values().map(|it| it.ends).min()
    }

    pub(super) fn first(&self) -> Option<(Zxid, usize)> {
        self.candidates.first_key_value().map(|(znode, candidate)| (*znode, candidate.master))
    }

    /// The znode of that process, if its session lasts.
    pub(super) fn has(&self, znode: Zxid, life: u64) -> bool {
        self.candidates.get(&znode).is_some_and(|it| it.life == life)
    }
}
