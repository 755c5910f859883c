//! Frameworks: who asks for resources.

use crate::body::Body;
use crate::id::FrameworkId;
use crate::role::Role;
use std::sync::Arc;

/// What a framework says it can handle, as a set. Numbers are Mesos' (`FrameworkInfo.Capability.Type`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Capabilities(u32);

impl Capabilities {
    pub const REVOCABLE_RESOURCES: Self = Self(1 << 1);
    pub const TASK_KILLING_STATE: Self = Self(1 << 2);
    pub const GPU_RESOURCES: Self = Self(1 << 3);
    pub const SHARED_RESOURCES: Self = Self(1 << 4);
    pub const PARTITION_AWARE: Self = Self(1 << 5);
    pub const MULTI_ROLE: Self = Self(1 << 6);
    pub const RESERVATION_REFINEMENT: Self = Self(1 << 7);
    pub const REGION_AWARE: Self = Self(1 << 8);

    /// Adds the capability with that number; numbers this version does not know are ignored.
    pub fn with_number(self, number: u32) -> Self {
        if (1..=8).contains(&number) { Self(self.0 | 1 << number) } else { self }
    }

    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The numbers in the set, ascending.
    pub fn numbers(self) -> impl Iterator<Item = u32> {
        (1..=8).filter(move |number| self.0 >> number & 1 == 1)
    }
}

/// A framework as it describes itself. `body` is the complete v1 `FrameworkInfo`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrameworkInfo {
    /// `None` until the master has given one.
    pub framework_id: Option<FrameworkId>,
    pub name: Arc<str>,
    pub user: Arc<str>,
    /// At least one. Without MULTI_ROLE exactly one, from the old `role` field.
    pub roles: Vec<Role>,
    pub capabilities: Capabilities,
    /// How long its tasks wait for it after it disconnects, nanoseconds.
    pub failover_timeout_ns: u64,
    pub checkpoint: bool,
    pub hostname: Arc<str>,
    pub webui_url: Option<Arc<str>>,
    pub principal: Option<Arc<str>>,
    pub body: Body,
}
