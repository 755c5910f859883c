//! What the cluster core wants of the network, on its way there.

use super::poller::WAKER;
use crate::cluster::input::SessionId;
use crate::usage::{NodeRow, Row};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use wire::message::ToAgent;

/// Something to be done by the network thread.
#[derive(Debug)]
pub(crate) enum ToNet {
    Send {
        session: SessionId,
        message: Box<ToAgent>,
    },
    /// After what was sent before.
    Close {
        session: SessionId,
        why: &'static str,
    },
    /// The row of the usage table may be used for another container.
    ForgetRow(Row),
    /// The session writes its node's figures there.
    KeepNode {
        session: SessionId,
        row: NodeRow,
    },
    ForgetNode(NodeRow),
    Stop,
}

/// The driver's end. What is sent is seen by the network thread after [`Self::flush`]. The queue has no limit of its own:
/// the network thread never waits, and what it cannot write it counts against the session's limit.
pub(crate) struct Outbox {
    sender: Sender<ToNet>,
    /// Shared with the network thread: a wake-up is lost when the last owner of its descriptor goes before it is seen.
    waker: Arc<mio::Waker>,
    is_flushed: bool,
}

impl Outbox {
    pub(crate) fn send(&mut self, message: ToNet) {
        // A network thread that is gone is found out by whoever joins it.
        drop(self.sender.send(message));
        self.is_flushed = false;
    }

    /// Wakes the network thread, if there is something for it.
    pub(crate) fn flush(&mut self) {
        if !std::mem::replace(&mut self.is_flushed, true)
            && let Err(error) = self.waker.wake()
        {
            tracing::error!(%error, "net_waker_failed");
        }
    }
}

/// The network thread's end.
pub(super) struct Inbox {
    orders: Receiver<ToNet>,
    _waker: Arc<mio::Waker>,
}

impl Inbox {
    pub(super) fn next(&self) -> Option<ToNet> {
        self.orders.try_recv().ok()
    }
}

pub(super) fn outbox(registry: &mio::Registry) -> std::io::Result<(Outbox, Inbox)> {
    let waker = Arc::new(mio::Waker::new(registry, WAKER)?);
    let (sender, orders) = channel();
    let inbox = Inbox { orders, _waker: Arc::clone(&waker) };
    Ok((Outbox { sender, waker, is_flushed: true }, inbox))
}
