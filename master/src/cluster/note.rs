//! What is worth a line in the log. The core does not log; it says what happened, once, and the shell writes it.

use super::input::SessionId;
use model::id::{AgentId, ExecutorId, FrameworkId, OfferId, TaskId};
use model::maintenance::MachineId;
use model::task::{Reason, TaskState};
use std::sync::Arc;

/// Something an operator may want to know.
#[derive(Clone, Debug)]
pub enum Note {
    AgentRegistered {
        agent_id: AgentId,
        hostname: Arc<str>,
        resources: String,
    },
    AgentReregistered {
        agent_id: AgentId,
        hostname: Arc<str>,
        task_count: usize,
        reconciled_count: usize,
    },
    AgentRefused {
        session: SessionId,
        why: Arc<str>,
    },
    AgentDisconnected {
        agent_id: AgentId,
    },
    AgentRemoved {
        agent_id: AgentId,
        why: Arc<str>,
        task_count: usize,
    },
    /// The registry was read.
    Recovered {
        expected_count: usize,
        unreachable_count: usize,
    },
    /// Enough agents are back, or have been waited for: offers are made.
    OffersReleased {
        missing_count: usize,
    },
    AgentDeactivated {
        agent_id: AgentId,
    },
    AgentReactivated {
        agent_id: AgentId,
    },
    AgentDraining {
        agent_id: AgentId,
        marks_gone: bool,
    },
    AgentDrained {
        agent_id: AgentId,
    },
    /// `is_down` is `None`: it is up, and planned to stay so.
    MachineScheduled {
        machine: MachineId,
        is_down: Option<bool>,
    },
    FrameworkSubscribed {
        framework_id: FrameworkId,
        name: Arc<str>,
        is_new: bool,
    },
    FrameworkRefused {
        name: Arc<str>,
        why: Arc<str>,
    },
    FrameworkRecovered {
        framework_id: FrameworkId,
        agent_id: AgentId,
    },
    FrameworkDisconnected {
        framework_id: FrameworkId,
        failover_timeout_ms: u64,
    },
    FrameworkRemoved {
        framework_id: FrameworkId,
        why: &'static str,
        task_count: usize,
    },
    /// Nothing was told of tasks that may be on agents yet to come back.
    ReconciliationDropped {
        framework_id: FrameworkId,
        task_count: usize,
    },
    TaskLaunched {
        framework_id: FrameworkId,
        task_id: TaskId,
        agent_id: AgentId,
    },
    TaskRefused {
        framework_id: FrameworkId,
        task_id: TaskId,
        reason: Reason,
        why: Arc<str>,
    },
    TaskUpdated {
        framework_id: FrameworkId,
        task_id: TaskId,
        state: TaskState,
    },
    ExecutorExited {
        framework_id: FrameworkId,
        executor_id: ExecutorId,
        agent_id: AgentId,
    },
    OffersInvalid {
        framework_id: FrameworkId,
        why: Arc<str>,
    },
    OfferTimedOut {
        framework_id: FrameworkId,
        offer_id: OfferId,
    },
    OperationDone {
        framework_id: FrameworkId,
        name: &'static str,
        agent_id: AgentId,
    },
    OperationRefused {
        framework_id: FrameworkId,
        name: &'static str,
        why: Arc<str>,
    },
    /// A message or call about something that is not there (any more): late, or mistaken. Nothing was done.
    Ignored {
        what: &'static str,
        subject: String,
        why: &'static str,
    },
}
