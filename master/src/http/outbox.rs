//! What the cluster core wants of HTTP, on its way there. What one turn of the core comes to reaches each thread in one piece
//! and wakes it once, however many streams and calls it is for; handing it out there wakes nobody.

use super::stream::Queue;
use crate::cluster::effect::{Done, Event};
use api::refusal::Refusal;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;

/// How a call is answered.
pub(crate) type Answer = Result<Done, Refusal>;

/// Something to be done by a thread of HTTP.
pub(crate) enum ToHttp {
    /// An event for a stream, and its weight.
    Event {
        to: Queue,
        bytes: usize,
        event: Event,
    },
    Answer {
        to: oneshot::Sender<Answer>,
        answer: Answer,
    },
}

/// Who waits for an answer, and in which thread.
pub(crate) struct Caller {
    pub(super) thread: usize,
    pub(super) answer: oneshot::Sender<Answer>,
}

/// The driver's end, of all threads. What is sent is seen there after [`Self::flush`]. It has no limit of its own: a stream
/// counts what waits for it, and a connection has one call under way.
pub(crate) struct Outbox {
    threads: Vec<Thread>,
}

struct Thread {
    inbox: UnboundedSender<Vec<ToHttp>>,
    turn: Vec<ToHttp>,
}

/// One thread's end.
pub(super) struct Inbox(UnboundedReceiver<Vec<ToHttp>>);

impl Outbox {
    pub(super) fn of(count: usize) -> (Self, Vec<Inbox>) {
        let ends = (0..count).map(|_| {
            let (inbox, orders) = unbounded_channel();
            (Thread { inbox, turn: Vec::new() }, Inbox(orders))
        });
        let (threads, inboxes) = ends.unzip();
        (Self { threads }, inboxes)
    }

    pub(super) fn send(&mut self, thread: usize, message: ToHttp) {
        self.threads[thread].turn.push(message);
    }

    pub(crate) fn answer(&mut self, caller: Caller, answer: Answer) {
        self.send(caller.thread, ToHttp::Answer { to: caller.answer, answer });
    }

    /// Wakes the threads for which there is something.
    pub(crate) fn flush(&mut self) {
        for thread in self.threads.iter_mut().filter(|thread| !thread.turn.is_empty()) {
            // A thread that is gone is found out by whoever joins it.
            drop(thread.inbox.send(std::mem::take(&mut thread.turn)));
        }
    }
}

impl Inbox {
    /// Hands out what comes, until nothing can come any more.
    pub(super) async fn hand_out(mut self) {
        while let Some(turn) = self.0.recv().await {
            for message in turn {
                // Whoever it is for may have gone away meanwhile.
                match message {
                    ToHttp::Event { to, bytes, event } => drop(to.send((bytes, event))),
                    ToHttp::Answer { to, answer } => drop(to.send(answer)),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nothing is seen before the turn ends, and then all of it at once, each at its thread.
    #[test]
    fn a_turn_arrives_whole() {
        let (mut outbox, mut inboxes) = Outbox::of(2);
        let mut answers = Vec::new();
        for thread in [1, 0, 1] {
            let (answer, caller) = oneshot::channel();
            outbox.answer(Caller { thread, answer }, Ok(Done::Accepted));
            answers.push(caller);
        }
        assert!(inboxes.iter_mut().all(|inbox| inbox.0.try_recv().is_err()));
        outbox.flush();
        outbox.flush();
        let counts = inboxes.iter_mut().map(|inbox| inbox.0.try_recv().map_or(0, |turn| turn.len()));
        assert_eq!(counts.collect::<Vec<_>>(), [1, 2]);
        assert!(inboxes.iter_mut().all(|inbox| inbox.0.try_recv().is_err()), "one wake a turn");
    }
}
