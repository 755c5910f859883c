//! Outstanding offers: made from what the allocator hands over, answered by ACCEPT or DECLINE, or taken back.

use model::agent_info::AgentInfo;
use model::id::{AgentId, ExecutorId, FrameworkId, OfferId};
use model::resources::Resources;
use model::role::Role;
use model::time::Time;
use std::sync::Arc;

/// Resources of one agent, held for one framework under one role until it answers.
#[derive(Clone, Debug)]
pub struct Offer {
    pub id: OfferId,
    pub framework_id: FrameworkId,
    pub agent_id: AgentId,
    pub agent: Arc<AgentInfo>,
    pub role: Role,
    /// Marked as allocated to `role`.
    pub resources: Resources,
    /// The framework's executors on that agent.
    pub executor_ids: Vec<ExecutorId>,
    /// When it is taken back (`--offer_timeout`).
    pub expires: Option<Time>,
}
