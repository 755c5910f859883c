//! The menu of everything that can happen to the cluster core, and when it is legal.

use super::conversions::Conversion;
use crate::allocator::constraints::Constraints;
use crate::allocator::event::Allocation;
use crate::registrar::registry::Registry;
use crate::usage::{NodeRow, Row};
use bytes::Bytes;
use model::framework::FrameworkInfo;
use model::id::{AgentId, ContainerId, ExecutorId, FrameworkId, OfferId, OperationId, TaskId, UpdateId};
use model::maintenance::{MachineId, Window};
use model::quantity::Quantity;
use model::quota::Quota;
use model::role::Role;
use model::task::TaskInfo;
use std::sync::Arc;
use wire::message::ToMaster;

/// An agent's connection. Numbers are given out by `net` and used once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SessionId(pub u64);

/// A scheduler's subscription, as the `Mesos-Stream-Id` header names it: a UUID made by `http` and used once.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StreamId(pub Arc<str>);

/// An HTTP request that waits for its answer. Every [`Input::Call`] is answered by exactly one
/// [`super::effect::Effect::Answer`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// Something that has happened.
#[derive(Debug)]
pub enum Input {
    /// An agent said something. Legal in a session that has not ended; the first is Register or Reregister, and what is
    /// not closes the session.
    Agent { session: SessionId, message: ToMaster },
    /// The session has ended. Legal once for each; nothing comes from it afterwards.
    AgentGone { session: SessionId },
    /// A container appeared in the session's reports: its figures stand in `row` from here on.
    Container {
        session: SessionId,
        framework_id: FrameworkId,
        executor_id: ExecutorId,
        container_id: ContainerId,
        row: Row,
    },
    /// The last figures of that container have been written to the row. Legal after its `Container`.
    ContainerOver { session: SessionId, framework_id: FrameworkId, executor_id: ExecutorId, row: Row },
    /// The session's reports tell what its node uses: the figures stand in `row` from here on. Legal once a session, and
    /// not after an [`super::effect::Effect::KeepNode`] for it.
    Node { session: SessionId, row: NodeRow },
    /// A scheduler has asked for a stream, and has one that takes events.
    Subscribe(Subscribe),
    /// The stream is closed: by the scheduler, by the network, or because it read too slowly. Legal at any time.
    StreamGone { stream: StreamId },
    /// Any other call of the scheduler API.
    Call(CallOf),
    /// A call of the operator API that changes something.
    Operator { ticket: Ticket, call: OperatorCall },
    /// Offers the allocator wants made, in its order.
    Allocations(Vec<Allocation>),
    /// What the masters before this one have written down. Legal once, before anything else; without it nobody was there.
    Recovered(Box<Registry>),
    /// So many more of the changes that were asked for ([`super::effect::Effect::Persist`]) are durable, in their order.
    /// Legal for no more than were asked for.
    Durable { count: usize },
}

/// What operators do about agents, machines and roles. Legal at any time; refused where the agent is not known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OperatorCall {
    Drain {
        agent_id: AgentId,
        max_grace_ns: Option<u64>,
        marks_gone: bool,
    },
    Deactivate {
        agent_id: AgentId,
    },
    Reactivate {
        agent_id: AgentId,
    },
    MarkGone {
        agent_id: AgentId,
    },
    /// RESERVE_RESOURCES, UNRESERVE_RESOURCES, CREATE_VOLUMES, DESTROY_VOLUMES.
    Convert {
        agent_id: AgentId,
        conversion: Conversion,
    },
    /// What is planned from here on, in place of what was.
    UpdateSchedule {
        windows: Vec<Window>,
    },
    /// Agents there end, and none may register.
    StartMaintenance {
        machines: Vec<MachineId>,
    },
    StopMaintenance {
        machines: Vec<MachineId>,
    },
    UpdateWeights {
        weights: Vec<(Role, Quantity)>,
    },
    /// A default quota takes the role's away. Forced: though it is more than there is, or less than is in use.
    UpdateQuota {
        quotas: Vec<(Role, Quota)>,
        is_forced: bool,
    },
}

/// SUBSCRIBE. A first subscription has no id, or one of the client's own choosing.
#[derive(Debug)]
pub struct Subscribe {
    pub stream: StreamId,
    pub framework: FrameworkInfo,
    pub suppressed: Vec<Role>,
    pub constraints: Arc<Constraints>,
}

/// Who calls, through which stream it subscribed, and what it asks.
#[derive(Debug)]
pub struct CallOf {
    pub ticket: Ticket,
    pub framework_id: FrameworkId,
    /// The `Mesos-Stream-Id` header; `None` where the request had none.
    pub stream: Option<StreamId>,
    pub call: Call,
}

/// The calls of the scheduler API. Legal only from a subscribed framework with its stream's id; else refused.
#[derive(Debug)]
pub enum Call {
    Teardown,
    Accept(Accept),
    Decline {
        offer_ids: Vec<OfferId>,
        refuse_ns: u64,
    },
    /// Offers again, for these roles or, when empty, all of the framework's.
    Revive {
        roles: Vec<Role>,
    },
    Suppress {
        roles: Vec<Role>,
    },
    Kill {
        task_id: TaskId,
        agent_id: Option<AgentId>,
        grace_ns: Option<u64>,
    },
    Shutdown {
        executor_id: ExecutorId,
        agent_id: AgentId,
    },
    Acknowledge {
        agent_id: AgentId,
        task_id: TaskId,
        update_id: UpdateId,
    },
    /// The tasks to tell of; all when empty.
    Reconcile {
        tasks: Vec<(TaskId, Option<AgentId>)>,
    },
    /// The operations to tell of.
    ReconcileOperations {
        operations: Vec<(OperationId, Option<AgentId>)>,
    },
    Message {
        agent_id: AgentId,
        executor_id: ExecutorId,
        data: Bytes,
    },
    UpdateFramework {
        framework: Box<FrameworkInfo>,
        suppressed: Vec<Role>,
        constraints: Arc<Constraints>,
    },
    /// REQUEST: a hint that allocators may use and ours, like Mesos' own, does not.
    Request,
    /// ACCEPT_INVERSE_OFFERS, DECLINE_INVERSE_OFFERS.
    AnswerInverseOffers {
        offer_ids: Vec<OfferId>,
        is_accepted: bool,
        /// For how long it need not be asked again, nanoseconds.
        refuse_ns: u64,
    },
    /// Calls about what this master never hands out (operations with feedback): nothing to do.
    Nothing,
}

/// ACCEPT: offers of one agent, and what to do with their resources, in order.
#[derive(Debug)]
pub struct Accept {
    pub offer_ids: Vec<OfferId>,
    pub operations: Vec<Operation>,
    /// For how long what is left over stays away from this framework, nanoseconds.
    pub refuse_ns: u64,
}

/// One operation of an ACCEPT.
#[derive(Debug)]
pub enum Operation {
    Launch {
        tasks: Vec<TaskRequest>,
    },
    LaunchGroup(GroupRequest),
    /// RESERVE, UNRESERVE, CREATE, DESTROY; or why it is none of them.
    Convert {
        name: &'static str,
        conversion: Result<Conversion, Arc<str>>,
        id: Option<OperationId>,
    },
    /// An operation that this master does not do yet: by its name, and by the id under which the framework wants to
    /// hear of it.
    Unsupported {
        name: &'static str,
        id: Option<OperationId>,
    },
}

/// A task that is asked for, or what is wrong with it on its own account.
pub type TaskRequest = Result<TaskInfo, BadTask>;

/// Tasks that are to be launched all or none.
#[derive(Debug)]
pub struct GroupRequest {
    /// Each task's ids as they came, so that its scheduler knows what is meant.
    pub members: Vec<(TaskId, AgentId)>,
    /// All of them, with the executor that they share; or what is wrong with the group on its own account.
    pub tasks: Result<Vec<TaskInfo>, Arc<str>>,
}

/// A task that no cluster would run. Its ids are kept as they came, so that its scheduler knows what is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadTask {
    pub task_id: TaskId,
    pub agent_id: AgentId,
    pub why: Arc<str>,
}
