//! What the master shows of itself: an immutable picture of the cluster, taken by the core's thread when a reader asks.
//!
//! Price: a framework or an agent that has not changed since the last picture is shared with it; one that has is made
//! anew, at about 60 ns a task (a pointer copied) and 1.5 us an
//! agent (2-core test machine: 6 ms for a framework of 100,000 tasks). A task that changes while a picture
//! still holds it is copied once. Usage figures are not in the picture: they are read from the live table through
//! [`Snapshot::usage`].

use super::counters::Counters;
pub use super::drain::Drain;
use super::executors::Executor;
use super::inverse::InverseAnswer;
use super::offers::Offer;
use super::tasks::Task;
use crate::allocator::constraints::{Constraints, Place};
use crate::usage;
use model::agent_info::AgentInfo;
use model::framework::FrameworkInfo;
use model::id::{AgentId, FrameworkId, MasterId};
use model::maintenance::{MachineId, Machines};
use model::quantity::Quantity;
use model::quota::Quota;
use model::resources::Resources;
use model::role::Role;
use model::time::UnixTime;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

/// What does not change while a master runs.
#[derive(Clone, Debug)]
pub struct MasterInfo {
    pub id: MasterId,
    pub hostname: Arc<str>,
    /// Under which others reach it.
    pub address: SocketAddr,
    /// `--cluster`, for people.
    pub cluster: Option<Arc<str>>,
    /// `--domain`: where it is.
    pub domain: Option<Place>,
    pub version: &'static str,
    pub started: UnixTime,
    pub elected: UnixTime,
    /// The flags as they were given or defaulted, by name without dashes, in alphabetical order (`/flags`, `/state`).
    pub flags: Vec<(Arc<str>, Arc<str>)>,
    /// Roles whose weight was set (`--weights`, UPDATE_WEIGHTS), thousandths.
    pub weights: BTreeMap<Role, Quantity>,
    /// Roles that have a quota.
    pub quotas: BTreeMap<Role, Quota>,
}

impl MasterInfo {
    /// Where it is, as v1 has it.
    pub fn domain(&self) -> Option<api::v1::DomainInfo> {
        let Place { region, zone } = self.domain.as_ref()?;
        Some(api::convert::agent::domain_of(region, zone))
    }

    /// Its account of itself, as v1 has it.
    pub fn to_v1(&self) -> api::v1::MasterInfo {
        let (at, domain) = (self.address, self.domain());
        api::convert::agent::master_info(&self.id, at, &self.hostname, self.version, domain)
    }
}

/// The picture.
#[derive(Clone, Debug)]
pub struct Snapshot {
    pub taken: UnixTime,
    pub master: Arc<MasterInfo>,
    /// Subscribed, or given time to come back; by id.
    pub frameworks: Vec<Arc<FrameworkView>>,
    /// Torn down; oldest first.
    pub completed_frameworks: Vec<Arc<FrameworkView>>,
    /// Registered agents, connected or not; by id.
    pub agents: Vec<Arc<AgentView>>,
    /// Those of them that operators have taken out of use; nothing of them is offered.
    pub withdrawn: BTreeMap<AgentId, Withdrawal>,
    /// Agents given up, by id, and since when.
    pub unreachable_agents: Vec<(AgentId, UnixTime)>,
    /// Agents of the master before this one that are not back yet, by id.
    pub expected_agents: Vec<(AgentId, Arc<AgentInfo>)>,
    /// The maintenance schedule.
    pub machines: Arc<Machines>,
    /// What frameworks say about machines of the schedule.
    pub inverse_answers: BTreeMap<MachineId, Vec<InverseAnswer>>,
    pub counters: Counters,
    /// Figures of containers: [`Task::usage`] and [`Executor::usage`] are read here.
    pub usage: Arc<usage::Table>,
}

/// One framework.
#[derive(Clone, Debug)]
pub struct FrameworkView {
    pub id: FrameworkId,
    pub info: Arc<FrameworkInfo>,
    /// Its stream is open.
    pub is_connected: bool,
    /// It is sent offers (when it does not suppress them).
    pub is_active: bool,
    /// An agent named it after this master began; it has not subscribed itself yet.
    pub is_recovered: bool,
    pub suppressed: BTreeSet<Role>,
    pub constraints: Arc<Constraints>,
    pub registered: UnixTime,
    pub reregistered: Option<UnixTime>,
    pub unregistered: Option<UnixTime>,
    /// Not over, or over and not acknowledged; by id.
    pub tasks: Vec<Arc<Task>>,
    /// On agents that were given up; oldest first.
    pub unreachable_tasks: Vec<Arc<Task>>,
    /// Over and acknowledged; oldest first; the newest `--max_completed_tasks_per_framework`.
    pub completed_tasks: Vec<Arc<Task>>,
    pub executors: Vec<Arc<Executor>>,
    pub offers: Vec<Arc<Offer>>,
    /// Used by tasks that are not over and by executors, over all agents. Ranges and sets of different agents run together.
    pub used: Resources,
    /// In offers it has not answered.
    pub offered: Resources,
}

/// One registered agent.
#[derive(Clone, Debug)]
pub struct AgentView {
    pub id: AgentId,
    pub info: Arc<AgentInfo>,
    /// Its session is open.
    pub is_connected: bool,
    /// Its resources are offered, unless it is among the [`Snapshot::withdrawn`].
    pub is_active: bool,
    pub registered: UnixTime,
    pub reregistered: Option<UnixTime>,
    /// Everything it has, what it lends included, as it is now; `info.total` is its own.
    pub total: Resources,
    /// Used by tasks that are not over and by executors; marked with the role it is allocated to.
    pub used: Resources,
    /// In unanswered offers; marked likewise.
    pub offered: Resources,
    /// Where the figures of the node itself stand, once it has reported: [`usage::Table::node`] of [`Snapshot::usage`].
    pub node: Option<usage::NodeRow>,
}

/// An agent that is deactivated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Withdrawal {
    /// `None`: its tasks stay.
    pub drain: Option<Drain>,
}

/// One role in use: a framework is subscribed to it, it has a weight, or something is reserved for it.
#[derive(Clone, Debug)]
pub struct RoleView {
    pub role: Role,
    /// Thousandths; 1000 unless `--weights` says otherwise.
    pub weight: Quantity,
    pub frameworks: Vec<FrameworkId>,
    pub allocated: Resources,
    pub offered: Resources,
}

impl Snapshot {
    /// `None`: it is in use.
    pub fn withdrawal(&self, id: &AgentId) -> Option<&Withdrawal> {
        self.withdrawn.get(id)
    }

    /// Whether resources of the agent are offered.
    pub fn is_active(&self, agent: &AgentView) -> bool {
        agent.is_active && self.withdrawal(&agent.id).is_none()
    }

    pub fn framework(&self, id: &FrameworkId) -> Option<&Arc<FrameworkView>> {
        self.frameworks.binary_search_by(|view| view.id.cmp(id)).ok().map(|at| &self.frameworks[at])
    }

    pub fn agent(&self, id: &AgentId) -> Option<&Arc<AgentView>> {
        self.agents.binary_search_by(|view| view.id.cmp(id)).ok().map(|at| &self.agents[at])
    }

    /// Every role in use, by name.
    pub fn roles(&self) -> Vec<RoleView> {
        let mut roles: BTreeMap<Role, RoleView> = BTreeMap::new();
        let mut of = |role: &Role, change: &mut dyn FnMut(&mut RoleView)| {
            let fresh = || RoleView {
                role: role.clone(),
                weight: self.master.weights.get(role).copied().unwrap_or(Quantity::from_units(1)),
                frameworks: Vec::new(),
                allocated: Resources::default(),
                offered: Resources::default(),
            };
            change(roles.entry(role.clone()).or_insert_with(fresh));
        };
        self.master.weights.keys().for_each(|role| of(role, &mut |_| {}));
        for framework in &self.frameworks {
            for role in &framework.info.roles {
                of(role, &mut |view| view.frameworks.push(framework.id.clone()));
            }
        }
        for agent in &self.agents {
            agent.total.iter().filter_map(|part| part.reserved_for()).for_each(|role| of(role, &mut |_| {}));
            for part in agent.used.iter() {
                part.allocation.iter().for_each(|role| of(role, &mut |view| view.allocated.add_part(part)));
            }
            for part in agent.offered.iter() {
                part.allocation.iter().for_each(|role| of(role, &mut |view| view.offered.add_part(part)));
            }
        }
        roles.into_values().collect()
    }
}
