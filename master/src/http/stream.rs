//! A scheduler's event stream: the core's events on their way into one HTTP response, one record a chunk.
//!
//! The driver pushes events into a [`Sink`]; the response's body, [`Records`], writes each in the subscriber's media type
//! when the connection takes it. What waits in between is counted, and a subscriber that lets too much of it pile up is
//! cut off: neither it nor anyone else can exhaust the master by not reading.

use super::events::Writer;
use super::outbox::{Outbox, ToHttp};
use super::serve::App;
use crate::cluster::effect::Event;
use crate::cluster::input::{Input, StreamId};
use crate::driver::Post;
use bytes::Bytes;
use hyper::body::{Body, Frame};
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use tokio::sync::Notify;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// Bytes of events that may wait for one subscriber, estimated before they are encoded. An OFFERS event of 10,000 agents
/// is about 10 MiB.
pub(crate) const QUEUE_BYTES_MAX: usize = 64 << 20;

/// Why a subscriber gets no more events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Cut {
    #[error("the subscriber is gone")]
    Gone,
    #[error("more than {QUEUE_BYTES_MAX} bytes wait to be taken by the subscriber")]
    TooSlow,
}

/// Where a stream's events wait, each with its weight.
pub(super) type Queue = UnboundedSender<(usize, Event)>;

/// The driver's end. Dropping it ends the stream after what was pushed.
pub(crate) struct Sink {
    events: Queue,
    /// The one that carries the stream.
    thread: usize,
    /// Estimated bytes that wait. The driver adds, the body subtracts; nothing else hangs on it, so it is relaxed.
    waiting: Arc<AtomicUsize>,
    /// Ends the connection at once, whatever it is waiting for.
    cutter: Arc<Notify>,
}

impl Sink {
    /// Never waits. After an error the sink is of no more use.
    pub(crate) fn push(&self, event: Event, outbox: &mut Outbox) -> Result<(), Cut> {
        if self.events.is_closed() {
            return Err(Cut::Gone);
        }
        let bytes = weight(&event);
        if self.waiting.fetch_add(bytes, Ordering::Relaxed) + bytes > QUEUE_BYTES_MAX {
            self.cutter.notify_one();
            return Err(Cut::TooSlow);
        }
        outbox.send(self.thread, ToHttp::Event { to: self.events.clone(), bytes, event });
        Ok(())
    }

    /// The stream's first and last event, told by the thread that carries it.
    pub(super) fn end_with(self, event: Event) {
        self.waiting.fetch_add(weight(&event), Ordering::Relaxed);
        // The other end is about to be handed to the connection.
        drop(self.events.send((weight(&event), event)));
    }
}

/// About how long an event will be, written as JSON; bytes.
fn weight(event: &Event) -> usize {
    const FIXED: usize = 256;
    const RESOURCE: usize = 96;
    match event {
        Event::Offers { offers, .. } => offers
            .iter()
            .map(|offer| 2 * FIXED + RESOURCE * offer.resources.iter().count() + 2 * offer.agent.body.0.len())
            .sum(),
        Event::Update { status } => {
            2 * FIXED + 2 * status.body.0.len() + 2 * status.data.as_ref().map_or(0, Bytes::len)
        }
        Event::Message { data, .. } => FIXED + 2 * data.len(),
        _ => FIXED,
    }
}

/// The response's body.
pub(crate) struct Records {
    events: UnboundedReceiver<(usize, Event)>,
    waiting: Arc<AtomicUsize>,
    writer: Writer,
    id: StreamId,
    post: Post,
}

/// Both ends of a new stream, on the connection that `app` is of.
pub(super) fn stream(id: StreamId, writer: Writer, app: &App) -> (Sink, Records) {
    let (sender, events) = unbounded_channel();
    let waiting = Arc::new(AtomicUsize::new(0));
    let cutter = Arc::clone(&app.cutter);
    let sink = Sink { events: sender, thread: app.thread, waiting: Arc::clone(&waiting), cutter };
    (sink, Records { events, waiting, writer, id, post: app.post.clone() })
}

impl Body for Records {
    type Data = Bytes;
    type Error = Infallible;

    /// One record, which becomes one chunk: a strict client drops a chunk that holds two.
    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = &mut *self;
        this.events.poll_recv(context).map(|next| {
            let (bytes, event) = next?;
            this.waiting.fetch_sub(bytes, Ordering::Relaxed);
            Some(Ok(Frame::data(this.writer.write(&event))))
        })
    }
}

impl Drop for Records {
    /// The connection is gone, or the stream is over. In the latter case the core knows, and passes this over.
    fn drop(&mut self) {
        self.post.input(Input::StreamGone { stream: self.id.clone() });
    }
}
