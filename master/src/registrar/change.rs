//! CORE: what can change in the registry, one object at a time, and how a change reaches the storage.

use model::agent_info::AgentInfo;
use model::id::AgentId;
use model::maintenance::Changed;
use model::quantity::Quantity;
use model::role::Role;
use model::time::UnixTime;
use std::sync::Arc;
use wire::registry::{QuotaRecord, WithdrawalRecord};

/// Something to be made durable. Each is about one object, or about some that change together, and leaves them as it says
/// whatever they were before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The agent is to be expected by the next master; or one that was admitted describes itself anew.
    Admit { agent_id: AgentId, info: Arc<AgentInfo> },
    /// The agent was given up. It may come back.
    Unreachable { agent_id: AgentId, since: UnixTime },
    /// The agent will not come back. It may not.
    Gone { agent_id: AgentId, since: UnixTime },
    /// Nothing is kept of the agent any more.
    Forget { agent_id: AgentId },
    /// An operator has taken the agent out of use, or given it back. Of an agent that is not known nothing is kept.
    Withdraw { agent_id: AgentId, withdrawal: WithdrawalRecord },
    /// One call's, an object a role. `None`: the role has none any more.
    Quotas { quotas: Vec<(Role, Option<QuotaRecord>)> },
    /// Likewise. `None`: what the flags say holds again.
    Weights { weights: Vec<(Role, Option<Quantity>)> },
    /// Of the maintenance schedule, an object a machine. `None`: the machine is not in it any more.
    Machines { machines: Vec<Changed> },
}

/// One object as it is to be kept; without a value it is to be deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    pub key: Box<str>,
    pub value: Option<Vec<u8>>,
}

impl Write {
    /// What it weighs in a batch, bytes.
    pub(super) fn bytes(&self) -> usize {
        self.key.len() + self.value.as_ref().map_or(0, Vec::len)
    }
}
