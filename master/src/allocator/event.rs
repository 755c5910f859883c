//! What the cluster core tells the allocator, and what it hears back. Every event is a fact that has happened: the
//! allocator refuses none of them.
//!
//! **Late news.** Both sides speak through rings, so each may hear of something that the other has already ended. Keys
//! carry a generation for that reason: the allocator ignores an event about an agent or framework that was removed, and
//! the cluster core drops an [`Allocation`] whose agent or framework is gone ([`KeyPool::is_live`](super::key::KeyPool::is_live)). Nothing has to be
//! given back in either case. An allocation to a framework or from an agent that has meanwhile become *inactive* is to
//! be given back by [`Event::Release`].

use super::constraints::{Constraints, Description};
use super::key::{AgentKey, FrameworkKey};
use model::framework::Capabilities;
use model::quantity::Quantity;
use model::quota::Quota;
use model::resources::Resources;
use model::role::Role;
use std::sync::Arc;

/// Something that has happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// What an agent says of itself: before it is added, and when that changes. One that is not described has no host name and
    /// no attributes.
    DescribeAgent {
        agent: AgentKey,
        description: Arc<Description>,
    },
    /// An agent, active. `used` is what already runs there, marked with its allocation role; the frameworks named are
    /// added before (inactive ones if they have yet to return).
    AddAgent {
        agent: AgentKey,
        total: Resources,
        used: Vec<(FrameworkKey, Resources)>,
    },
    /// What it has is now this; what it runs stays charged, even where it is more than the total.
    UpdateAgent {
        agent: AgentKey,
        total: Resources,
    },
    /// Everything allocated there ends with it, offers included: nothing of it is released one by one.
    RemoveAgent {
        agent: AgentKey,
    },
    ActivateAgent {
        agent: AgentKey,
    },
    /// No offers from here on; what is allocated there stays allocated until released.
    DeactivateAgent {
        agent: AgentKey,
    },

    AddFramework {
        framework: FrameworkKey,
        info: Claims,
        is_active: bool,
    },
    /// Roles left behind get no more offers; what they hold stays charged to them until released.
    UpdateFramework {
        framework: FrameworkKey,
        info: Claims,
    },
    /// Everything it holds is free again, offers included: nothing of it is released one by one.
    RemoveFramework {
        framework: FrameworkKey,
    },
    ActivateFramework {
        framework: FrameworkKey,
    },
    /// No offers from here on. Its refusals are forgotten; what it holds stays charged until released.
    DeactivateFramework {
        framework: FrameworkKey,
    },

    /// Resources come back: declined, rescinded, left over from an accept, or the task has ended. Marked with their
    /// allocation role, and part of what the framework holds on that agent (else it is a bug, and asserts).
    Release {
        framework: FrameworkKey,
        agent: AgentKey,
        resources: Resources,
        refusal: Refusal,
    },

    /// What a framework holds on an agent has become something else, on its agent as well: reserved, or a volume, or no more.
    /// Both are marked with the same allocation role, and the first is part of what the framework holds there.
    Convert {
        framework: FrameworkKey,
        agent: AgentKey,
        consumed: Resources,
        converted: Resources,
    },

    /// No offers for these roles of the framework (all of them when empty) until revived.
    Suppress {
        framework: FrameworkKey,
        roles: Vec<Role>,
    },
    /// Offers again for these roles (all of them when empty), and their refusals forgotten.
    Revive {
        framework: FrameworkKey,
        roles: Vec<Role>,
    },

    /// What the role is guaranteed and may have at most, with all below it; a default one is none.
    SetQuota {
        role: Role,
        quota: Quota,
    },
    /// A role with twice the weight is due twice the share. 1 unless set; thousandths count, zero is taken as 0.001.
    SetWeight {
        role: Role,
        weight: Quantity,
    },
}

impl Event {
    /// The agent that it is about; what is about none concerns all workers.
    pub(super) fn agent(&self) -> Option<AgentKey> {
        match self {
            Self::DescribeAgent { agent, .. }
            | Self::AddAgent { agent, .. }
            | Self::UpdateAgent { agent, .. }
            | Self::RemoveAgent { agent }
            | Self::ActivateAgent { agent }
            | Self::DeactivateAgent { agent }
            | Self::Release { agent, .. }
            | Self::Convert { agent, .. } => Some(*agent),
            Self::AddFramework { .. }
            | Self::UpdateFramework { .. }
            | Self::RemoveFramework { .. }
            | Self::ActivateFramework { .. }
            | Self::DeactivateFramework { .. }
            | Self::Suppress { .. }
            | Self::Revive { .. }
            | Self::SetQuota { .. }
            | Self::SetWeight { .. } => None,
        }
    }

    /// Likewise, to give it another name.
    pub(super) fn agent_mut(&mut self) -> Option<&mut AgentKey> {
        match self {
            Self::DescribeAgent { agent, .. }
            | Self::AddAgent { agent, .. }
            | Self::UpdateAgent { agent, .. }
            | Self::RemoveAgent { agent }
            | Self::ActivateAgent { agent }
            | Self::DeactivateAgent { agent }
            | Self::Release { agent, .. }
            | Self::Convert { agent, .. } => Some(agent),
            Self::AddFramework { .. }
            | Self::UpdateFramework { .. }
            | Self::RemoveFramework { .. }
            | Self::ActivateFramework { .. }
            | Self::DeactivateFramework { .. }
            | Self::Suppress { .. }
            | Self::Revive { .. }
            | Self::SetQuota { .. }
            | Self::SetWeight { .. } => None,
        }
    }
}

/// What a framework is entitled to be offered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claims {
    pub roles: Vec<Role>,
    /// Those of `roles` for which it wants no offers now.
    pub suppressed: Vec<Role>,
    pub capabilities: Capabilities,
    /// Of which agents it wants to be offered something; of any when `None`.
    pub constraints: Option<Arc<Constraints>>,
}

/// What a release says about being offered the same again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Nothing: it may come back at once. For what was rescinded or has been used.
    None,
    /// `refuse_seconds` of 0, or an offer that timed out: it may come back once the others have had their chance.
    Pass,
    /// Not these resources of that agent, nor fewer of them, for so many nanoseconds (0 is [`Self::Pass`]).
    For { ns: u64 },
}

/// An offer to be made: the resources are taken until released, or until their agent or framework is removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allocation {
    pub framework: FrameworkKey,
    pub role: Role,
    pub agent: AgentKey,
    /// Each part marked as allocated to `role`.
    pub resources: Resources,
}
