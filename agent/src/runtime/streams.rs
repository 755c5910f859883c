//! The agent's ends of the executors' subscription streams.

use crate::executor_api::events;
use crate::node::effect::ExecutorEvent;
use crate::node::input::{Caller, Input};
use crate::runtime::Agent;
use api::media::Encoding;
use bytes::Bytes;
use model::agent_info::AgentInfo;
use model::id::AgentId;
use std::cell::Cell;
use std::rc::Rc;
use tokio::sync::mpsc;

/// An executor that lets this much wait, bytes, does not read its stream: it is closed, and the executor may come back.
const WAITING_BYTES_MAX: usize = 64 << 20;

/// Where an executor's events go.
pub(crate) struct Stream {
    records: mpsc::UnboundedSender<Bytes>,
    waiting_bytes: Rc<Cell<usize>>,
    encoding: Encoding,
}

/// The HTTP side of a stream: whole records, in order. When it is dropped the executor is gone.
pub(crate) struct Records {
    agent: Rc<Agent>,
    caller: Caller,
    records: mpsc::UnboundedReceiver<Bytes>,
    waiting_bytes: Rc<Cell<usize>>,
}

impl Records {
    pub(crate) fn poll(&mut self, context: &mut std::task::Context<'_>) -> std::task::Poll<Option<Bytes>> {
        let record = std::task::ready!(self.records.poll_recv(context));
        let length = record.as_ref().map_or(0, Bytes::len);
        self.waiting_bytes.set(self.waiting_bytes.get() - length);
        std::task::Poll::Ready(record)
    }
}

impl Drop for Records {
    fn drop(&mut self) {
        // Closed by us, it is not there any more.
        if self.agent.streams.borrow_mut().remove(&self.caller).is_some() {
            // Not at once: whoever drops this may be in the middle of something.
            let (agent, caller) = (self.agent.clone(), self.caller);
            agent.clone().later(move || agent.input(Input::StreamClosed { caller }));
        }
    }
}

impl Agent {
    /// Opens a stream for a SUBSCRIBE that the node has not yet answered.
    pub(crate) fn open_stream(self: &Rc<Self>, caller: Caller, encoding: Encoding) -> Records {
        let (sender, records) = mpsc::unbounded_channel();
        let waiting_bytes = Rc::new(Cell::new(0));
        let stream = Stream { records: sender, waiting_bytes: waiting_bytes.clone(), encoding };
        self.streams.borrow_mut().insert(caller, stream);
        Records { agent: self.clone(), caller, records, waiting_bytes }
    }

    pub(super) fn tell(self: &Rc<Self>, caller: Caller, event: &ExecutorEvent) {
        let keeps_up = match self.streams.borrow().get(&caller) {
            Some(stream) => self.look(|node| stream.send(node.info(), node.agent_id(), event)),
            None => true,
        };
        if !keeps_up {
            tracing::warn!(caller = caller.0, "an executor does not read its events; its stream is closed");
            self.streams.borrow_mut().remove(&caller);
            let agent = self.clone();
            self.later(move || agent.input(Input::StreamClosed { caller }));
        }
    }

    pub(super) fn close_stream(&self, caller: Caller) {
        self.streams.borrow_mut().remove(&caller);
    }

    /// Does it as soon as what is being done now is done.
    fn later(self: &Rc<Self>, act: impl FnOnce() + 'static) {
        // Outside of the runtime the agent is being taken down, and nothing matters any more.
        if tokio::runtime::Handle::try_current().is_ok() && self.exit.borrow().is_none() {
            tokio::task::spawn_local(async move { act() });
        }
    }
}

impl Stream {
    fn send(&self, info: &AgentInfo, agent_id: Option<&AgentId>, event: &ExecutorEvent) -> bool {
        let record = events::record(self.encoding, info, agent_id, event);
        let waiting = self.waiting_bytes.get() + record.len();
        if waiting > WAITING_BYTES_MAX {
            return false;
        }
        self.waiting_bytes.set(waiting);
        if self.records.send(record).is_err() {
            // Its reader is gone and says so elsewhere.
            self.waiting_bytes.set(0);
        }
        true
    }
}
