//! The menu of everything the cluster core can want done. The shell that drives it carries these out in order.

use super::input::{SessionId, StreamId, Ticket};
use super::inverse::InverseOffer;
use super::note::Note;
use super::offers::Offer;
use crate::allocator::event;
use crate::registrar::change::Change;
use crate::usage::{NodeRow, Row};
use api::refusal::Refusal;
use api::v1::OperationState;
use bytes::Bytes;
use model::framework::Capabilities;
use model::id::{AgentId, ExecutorId, FrameworkId, OfferId, OperationId};
use model::task::TaskStatus;
use std::sync::Arc;
use wire::message::ToAgent;

/// Something to be done.
#[derive(Debug)]
pub enum Effect {
    /// Send to the agent. A session that has ended meanwhile swallows it; the agent is told again when it is back.
    ToAgent { session: SessionId, message: ToAgent },
    /// End the session, after what was sent before. No `AgentGone` is expected back, though one does no harm.
    CloseSession { session: SessionId, why: &'static str },
    /// Write the event to the stream. A stream that is gone meanwhile swallows it.
    ToScheduler { stream: StreamId, event: Event },
    /// Close the stream, after what was sent before.
    CloseStream { stream: StreamId },
    /// Answer the request; exactly one for each [`super::input::Input::Call`] and `Operator`.
    Answer { ticket: Ticket, answer: Result<Done, Refusal> },
    /// Tell the allocator.
    Allocator(event::Event),
    /// Write it into the registry. Each is answered by its part of an [`super::input::Input::Durable`].
    Persist(Change),
    /// This master must not go on: end it, and say why.
    Abort { why: Arc<str> },
    /// Nobody shows that container's figures any more; the row is free.
    ForgetRow(Row),
    /// The session is that of an agent whose node's figures stand there already: they, and their history, go on.
    KeepNode { session: SessionId, row: NodeRow },
    /// That node's figures are shown no more; the row is free.
    ForgetNode(NodeRow),
    /// Log it.
    Note(Note),
}

/// How a call that was not refused is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done {
    /// 202: taken; what comes of it is told by events.
    Accepted,
    /// 200: done.
    Ok,
}

/// What a scheduler hears on its stream.
#[derive(Clone, Debug)]
pub enum Event {
    /// First on every stream, at once followed by a HEARTBEAT.
    Subscribed {
        framework_id: FrameworkId,
    },
    Heartbeat,
    /// Written for a framework with these capabilities: old ones get resources in the old form.
    Offers {
        offers: Vec<Arc<Offer>>,
        capabilities: Capabilities,
    },
    Rescind {
        offer_id: OfferId,
    },
    InverseOffers {
        offers: Vec<Arc<InverseOffer>>,
    },
    RescindInverseOffer {
        offer_id: OfferId,
    },
    Update {
        status: TaskStatus,
    },
    Message {
        agent_id: AgentId,
        executor_id: ExecutorId,
        data: Bytes,
    },
    /// An executor has ended, or with no `executor_id` an agent was lost. `status` is that of waitpid(2), -1 if unknown.
    Failure {
        agent_id: AgentId,
        executor_id: Option<ExecutorId>,
        status: Option<i32>,
    },
    /// What became of an operation that asked to be told, or was asked about.
    Operation {
        operation_id: OperationId,
        agent_id: Option<AgentId>,
        state: OperationState,
        message: Arc<str>,
    },
    /// The subscription is over; the stream is closed after it.
    Error {
        message: Arc<str>,
    },
}
