//! A bounded queue from one thread to another, without locks: each end is owned by one thread and cannot be copied.
//! Neither end ever waits; a full ring gives the value back. Compiled against loom too (`master/tests/loom.rs`).
#![expect(
    unsafe_code,
    reason = "slots are written and read without a lock; head and tail say whose they are"
)]

use super::sync::{Arc, AtomicUsize, Ordering, Seed, UnsafeCell, is_seeded};
use std::mem::MaybeUninit;

/// Makes a ring of so many places; a power of two.
///
/// # Panics
/// When it is not.
pub(super) fn ring<T>(capacity: usize) -> (Producer<T>, Consumer<T>) {
    assert!(capacity.is_power_of_two(), "places are found by masking");
    let slots = (0..capacity).map(|_| UnsafeCell::new(MaybeUninit::uninit())).collect();
    let shared =
        Arc::new(Shared { slots, head: Apart(AtomicUsize::new(0)), tail: Apart(AtomicUsize::new(0)) });
    (Producer { shared: shared.clone(), tail: 0, head_seen: 0 }, Consumer { shared, head: 0, tail_seen: 0 })
}

/// The two counts are written by different threads: on different cache lines (128 bytes, as x86 fetches pairs).
#[repr(align(128))]
struct Apart<T>(T);

/// Counts run on and wrap; a count's place is the count modulo the capacity. The places from `head` to `tail` hold
/// values and are the consumer's, the others are empty and the producer's.
struct Shared<T> {
    slots: Box<[UnsafeCell<MaybeUninit<T>>]>,
    /// How many were taken out. Written by the consumer (release: it is done with the place), read by the producer
    /// (acquire: it may use the place again).
    head: Apart<AtomicUsize>,
    /// How many were put in. Written by the producer (release: the value is there), read by the consumer (acquire: it
    /// sees the value).
    tail: Apart<AtomicUsize>,
}

// SAFETY: a value is moved in by one thread and out by another, so T must be Send; no two threads touch a place at once,
// since each touches only what is its own by `head` and `tail`, and each end is held by one thread (the ends are
// neither Clone nor used by shared reference).
unsafe impl<T: Send> Sync for Shared<T> {}
// SAFETY: dropping it on another thread drops values there: T must be Send, and is.
unsafe impl<T: Send> Send for Shared<T> {}

impl<T> Shared<T> {
    fn place(&self, count: usize) -> &UnsafeCell<MaybeUninit<T>> {
        &self.slots[count & (self.slots.len() - 1)]
    }
}

impl<T> Drop for Shared<T> {
    fn drop(&mut self) {
        let (mut at, end) = (self.head.0.load(Ordering::Relaxed), self.tail.0.load(Ordering::Relaxed));
        while at != end {
            // SAFETY: both ends are gone, so all places from head to tail are ours, and they hold values.
            self.place(at).with_mut(|value| unsafe { (*value).assume_init_drop() });
            at = at.wrapping_add(1);
        }
    }
}

pub(super) struct Producer<T> {
    shared: Arc<Shared<T>>,
    /// Ours; `shared.tail` follows it.
    tail: usize,
    /// The head at some time: there is at least as much room as it says.
    head_seen: usize,
}

impl<T> Producer<T> {
    /// Gives the value back when there is no room.
    pub(super) fn push(&mut self, value: T) -> Result<(), T> {
        let capacity = self.shared.slots.len();
        if self.tail.wrapping_sub(self.head_seen) == capacity {
            self.head_seen = self.shared.head.0.load(Ordering::Acquire);
            if self.tail.wrapping_sub(self.head_seen) == capacity {
                return Err(value);
            }
        }
        if is_seeded(Seed::EarlyTail) {
            self.shared.tail.0.store(self.tail.wrapping_add(1), Ordering::Release);
        }
        // SAFETY: tail - head < capacity, so the place is empty and the producer's, and we are the one producer.
        self.shared.place(self.tail).with_mut(|place| unsafe {
            (*place).write(value);
        });
        self.tail = self.tail.wrapping_add(1);
        self.shared.tail.0.store(self.tail, Ordering::Release);
        Ok(())
    }

    /// Whether the next push finds room, as of now; more room can only appear.
    pub(super) fn has_room(&mut self) -> bool {
        self.head_seen = self.shared.head.0.load(Ordering::Acquire);
        self.tail.wrapping_sub(self.head_seen) < self.shared.slots.len()
    }
}

pub(super) struct Consumer<T> {
    shared: Arc<Shared<T>>,
    /// Ours; `shared.head` follows it.
    head: usize,
    /// The tail at some time: there is at least as much to take as it says.
    tail_seen: usize,
}

impl<T> Consumer<T> {
    pub(super) fn pop(&mut self) -> Option<T> {
        if self.is_empty() {
            return None;
        }
        // SAFETY: head < tail, so the place holds a value and is the consumer's, and we are the one consumer; the store
        // below gives the place back only after the value has been moved out.
        let value = self.shared.place(self.head).with_mut(|place| unsafe { (*place).assume_init_read() });
        self.head = self.head.wrapping_add(1);
        self.shared.head.0.store(self.head, Ordering::Release);
        Some(value)
    }

    /// As of now; more can only appear.
    pub(super) fn is_empty(&mut self) -> bool {
        if self.head == self.tail_seen {
            self.tail_seen = self.shared.tail.0.load(Ordering::Acquire);
        }
        self.head == self.tail_seen
    }
}

/// Natively these try the edges and hammer the ring; under loom (`master/tests/loom.rs`) every interleaving is tried.
#[cfg(test)]
mod tests {
    use super::super::sync::{ROUND_COUNT, model, thread};
    use super::*;

    #[test]
    fn what_goes_in_comes_out_in_order_and_no_more_than_fits() {
        model(|| {
            let (mut producer, mut consumer) = ring(2);
            for round in 0..3 {
                for i in 0..2 {
                    assert_eq!(producer.push(round * 2 + i), Ok(()));
                }
                assert_eq!(producer.push(99), Err(99));
                assert!(!producer.has_room());
                for i in 0..2 {
                    assert_eq!(consumer.pop(), Some(round * 2 + i));
                }
                assert_eq!(consumer.pop(), None);
                assert!(producer.has_room());
            }
        });
    }

    #[test]
    fn threads_hand_over_everything() {
        model(|| {
            let (mut producer, mut consumer) = ring(2);
            let sender = thread::spawn(move || {
                for i in 0..ROUND_COUNT {
                    let mut value = Box::new(i);
                    while let Err(back) = producer.push(value) {
                        value = back;
                        thread::yield_now();
                    }
                }
            });
            for i in 0..ROUND_COUNT {
                let value = loop {
                    match consumer.pop() {
                        Some(value) => break value,
                        None => thread::yield_now(),
                    }
                };
                assert_eq!(*value, i);
            }
            sender.join().expect("the sender ends");
        });
    }

    /// Whichever end goes first, and with values under way: each is dropped once.
    #[test]
    fn what_is_left_in_it_is_dropped_with_it() {
        model(|| {
            let witness = Arc::new(());
            let (mut producer, mut consumer) = ring(2);
            let mine = witness.clone();
            let sender = thread::spawn(move || {
                for _ in 0..2 {
                    producer.push(mine.clone()).expect("room for two");
                }
            });
            drop(consumer.pop());
            drop(consumer);
            sender.join().expect("the sender ends");
            assert_eq!(Arc::strong_count(&witness), 1);
        });
    }
}
