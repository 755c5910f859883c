//! How an answer of any size crosses a channel that may lose, double or reorder messages: cut into numbered pieces, each
//! told again until it is acknowledged. Both ends decide only; who holds them sends and waits.
//!
//! Framework messages carry the answers because they are the one thing an executor can tell its framework at any size;
//! status updates are reliable but are kept on disk by the agent, one by one. An executor reports TASK_FINISHED only when
//! every piece is acknowledged: a finished task's answer has been merged.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use crate::codec::{self, Malformed};

/// Small enough for any master's limits, big enough that the envelope does not count.
const PIECE_BYTES_MAX: usize = 64 << 10;
/// Pieces under way at once.
const WINDOW: usize = 8;
/// When a piece is told again, at first; doubles up to [`REPEAT_MAX`] as long as nothing is acknowledged.
const REPEAT: Duration = Duration::from_secs(1);
const REPEAT_MAX: Duration = Duration::from_secs(8);
/// Without any acknowledgement for so long, the framework is gone.
const PATIENCE: Duration = Duration::from_secs(120);

/// A part of a task's answer, on its way to the scheduler.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    pub task_id: String,
    pub index: u32,
    /// How many pieces the answer has.
    pub count: u32,
    pub data: Bytes,
}

/// The scheduler has a piece.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    pub task_id: String,
    pub index: u32,
}

impl Piece {
    pub fn encode(&self) -> Bytes {
        let mut out = Vec::with_capacity(self.data.len() + self.task_id.len() + 16);
        codec::put_bytes(&mut out, self.task_id.as_bytes());
        codec::put_number(&mut out, u64::from(self.index));
        codec::put_number(&mut out, u64::from(self.count));
        codec::put_bytes(&mut out, &self.data);
        out.into()
    }

    pub fn decode(mut from: Bytes) -> Result<Self, Malformed> {
        let task_id = text(codec::bytes(&mut from)?)?;
        let (index, count) = (small(codec::number(&mut from)?)?, small(codec::number(&mut from)?)?);
        let data = codec::bytes(&mut from)?;
        codec::end(&from)?;
        if index >= count {
            return Err(Malformed("a piece beyond the last"));
        }
        Ok(Self { task_id, index, count, data })
    }
}

impl Receipt {
    pub fn encode(&self) -> Bytes {
        let mut out = Vec::new();
        codec::put_bytes(&mut out, self.task_id.as_bytes());
        codec::put_number(&mut out, u64::from(self.index));
        out.into()
    }

    pub fn decode(mut from: Bytes) -> Result<Self, Malformed> {
        let receipt =
            Self { task_id: text(codec::bytes(&mut from)?)?, index: small(codec::number(&mut from)?)? };
        codec::end(&from)?;
        Ok(receipt)
    }
}

fn text(bytes: Bytes) -> Result<String, Malformed> {
    String::from_utf8(bytes.into()).map_err(|_| Malformed("a task id that is not UTF-8"))
}

fn small(number: u64) -> Result<u32, Malformed> {
    number.try_into().map_err(|_| Malformed("a number of more than 32 bits"))
}

/// The executor's end. Time is a duration since any fixed moment.
#[derive(Debug)]
pub struct Outbox {
    task_id: String,
    count: u32,
    /// Not acknowledged yet, with the time at which each is to be told (again).
    waiting: BTreeMap<u32, (Bytes, Duration)>,
    repeat: Duration,
    heard: Duration,
}

impl Outbox {
    pub fn new(task_id: &str, answer: &Bytes, now: Duration) -> Self {
        // An empty answer is one empty piece: it must be acknowledged too.
        let count = answer.len().div_ceil(PIECE_BYTES_MAX).max(1);
        let piece = |index: usize| {
            let from = index * PIECE_BYTES_MAX;
            (index as u32, (answer.slice(from..answer.len().min(from + PIECE_BYTES_MAX)), now))
        };
        let waiting = (0..count).map(piece).collect();
        Self { task_id: task_id.to_owned(), count: count as u32, waiting, repeat: REPEAT, heard: now }
    }

    /// The pieces to be told now. Call again at [`Self::deadline`] and after each receipt.
    pub fn due(&mut self, now: Duration) -> Vec<Piece> {
        let mut due = Vec::new();
        let mut repeated = false;
        for (index, (data, at)) in self.waiting.iter_mut().take(WINDOW) {
            if *at <= now {
                repeated |= *at > self.heard;
                *at = now + self.repeat;
                let (task_id, data) = (self.task_id.clone(), data.clone());
                due.push(Piece { task_id, index: *index, count: self.count, data });
            }
        }
        if repeated {
            self.repeat = (self.repeat * 2).min(REPEAT_MAX);
        }
        due
    }

    /// Notes a receipt. One for another task, or a second one, changes nothing.
    pub fn acknowledge(&mut self, now: Duration, receipt: &Receipt) {
        if receipt.task_id == self.task_id && self.waiting.remove(&receipt.index).is_some() {
            (self.heard, self.repeat) = (now, REPEAT);
        }
    }

    /// Everything is acknowledged.
    pub fn is_done(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Nobody has acknowledged anything for too long.
    pub fn has_given_up(&self, now: Duration) -> bool {
        !self.is_done() && now >= self.heard + PATIENCE
    }

    /// When to look again though nothing happens.
    pub fn deadline(&self) -> Duration {
        let next = self.waiting.values().take(WINDOW).map(|(_, at)| *at).min().unwrap_or(Duration::MAX);
        next.min(self.heard.saturating_add(PATIENCE))
    }
}

/// The scheduler's end, for one task.
#[derive(Debug, Default)]
pub struct Inbox {
    pieces: BTreeMap<u32, Bytes>,
}

impl Inbox {
    /// Takes a piece; gives the whole answer with the last missing one. Every piece taken is to be acknowledged,
    /// doubled ones too: their first receipt may have been lost.
    pub fn take(&mut self, piece: Piece) -> Option<Bytes> {
        self.pieces.insert(piece.index, piece.data);
        if self.pieces.len() < piece.count as usize {
            return None;
        }
        let mut answer = BytesMut::with_capacity(self.pieces.values().map(Bytes::len).sum());
        std::mem::take(&mut self.pieces).into_values().for_each(|data| answer.extend_from_slice(&data));
        Some(answer.freeze())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What becomes of a message.
    #[derive(Clone, Copy, Debug)]
    enum Fate {
        Arrives,
        Lost,
        Doubled,
    }

    fn fate() -> impl Strategy<Value = Fate> {
        prop_oneof![3 => Just(Fate::Arrives), 1 => Just(Fate::Lost), 1 => Just(Fate::Doubled)]
    }

    proptest! {
        #[test]
        fn an_answer_arrives_whole_over_a_bad_channel(
            size in prop_oneof![0_usize..3, 0_usize..PIECE_BYTES_MAX * 20],
            fates in prop::collection::vec(fate(), 1..50),
        ) {
            let answer: Bytes = (0..size).map(|index| (index % 251) as u8).collect::<Vec<u8>>().into();
            let mut fates = fates.into_iter().chain(std::iter::repeat(Fate::Arrives));
            let mut copies = move || match fates.next() {
                Some(Fate::Lost) => 0,
                Some(Fate::Doubled) => 2,
                Some(Fate::Arrives) | None => 1,
            };
            let (mut now, mut inbox, mut whole) = (Duration::ZERO, Inbox::default(), None);
            let mut outbox = Outbox::new("t", &answer, now);
            while !outbox.is_done() {
                prop_assert!(!outbox.has_given_up(now));
                let due = outbox.due(now);
                prop_assert!(due.len() <= WINDOW);
                for piece in due.into_iter().rev() {
                    for _ in 0..copies() {
                        let piece = Piece::decode(piece.encode()).expect("our own");
                        let receipt = Receipt { task_id: piece.task_id.clone(), index: piece.index };
                        if whole.is_none() {
                            whole = inbox.take(piece);
                        }
                        let receipt = Receipt::decode(receipt.encode()).expect("our own");
                        (0..copies()).for_each(|_| outbox.acknowledge(now, &receipt));
                    }
                }
                now = now.max(outbox.deadline());
            }
            prop_assert_eq!(whole, Some(answer));
        }
    }

    #[test]
    fn a_silent_framework_is_given_up_after_a_while_and_not_flooded() {
        let mut outbox = Outbox::new("t", &Bytes::from_static(b"answer"), Duration::ZERO);
        let (mut now, mut told) = (Duration::ZERO, 0);
        while !outbox.has_given_up(now) {
            told += outbox.due(now).len();
            now = outbox.deadline();
        }
        assert_eq!(now, PATIENCE);
        assert!((10..30).contains(&told), "told {told} times");
    }

    #[test]
    fn a_receipt_for_another_task_changes_nothing() {
        let mut outbox = Outbox::new("t", &Bytes::new(), Duration::ZERO);
        outbox.acknowledge(Duration::ZERO, &Receipt { task_id: "u".to_owned(), index: 0 });
        assert!(!outbox.is_done());
        outbox.acknowledge(Duration::ZERO, &Receipt { task_id: "t".to_owned(), index: 0 });
        assert!(outbox.is_done());
    }
}
