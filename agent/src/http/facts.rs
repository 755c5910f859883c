//! What answers are made from: the node's picture and what its surroundings know, borrowed while one is made.

use crate::accounting::losses::Loss;
use crate::bpf::hold::Egress;
use crate::bpf::{Cost, Support};
use crate::cgroup::Enforcement;
use crate::cgroup::knobs::Limits;
use crate::doctor::Machine;
use crate::node::Node;
use crate::node::counters::Counters;
use crate::node::drain::Drain;
use crate::node::view::FrameworkView;
use crate::runtime::qos::View;
use api::legacy::Gauge;
use model::agent_info::AgentInfo;
use model::id::{AgentId, ContainerId};
use model::resources::Resources;
use model::time::UnixTime;
use model::usage::{Detail, NodeUsage, Usage};
use std::cell::LazyCell;
use std::collections::BTreeMap;
use std::path::Path;

/// Everything that an answer may say. Cheap to make: what has to be walked for is walked when a document asks for it.
pub struct Facts<'a> {
    pub known: Known<'a>,
    pub now: UnixTime,
    pub started: UnixTime,
    /// Of the Mesos whose language is spoken; clients compare it.
    pub version: &'static str,
    /// By name, as they turned out.
    pub flags: &'a BTreeMap<&'static str, String>,
    pub work_dir: &'a Path,
    /// The file that `/slave/log` stands for.
    pub log: Option<&'a Path>,
    /// Name or address of the master; `None` while there is none.
    pub master_hostname: Option<&'a str>,
    pub enforcement: &'a Enforcement,
    /// The group above those of all containers.
    pub cgroup_root: Option<&'a Path>,
    pub bpf: &'a Support,
    /// As it was when the agent started.
    pub machine: &'a Machine,
    /// The newest figures of a container that runs.
    pub figures: &'a dyn Fn(&ContainerId) -> Option<Figures>,
    /// Containers in others.
    pub nested: &'a dyn Fn() -> Vec<NestedView>,
    /// What the kernel calls a block device, by its major and minor number; `None` where there is none.
    pub device_name: fn(u32, u32) -> Option<String>,
    /// What the whole machine used at the last look.
    pub node: &'a NodeUsage,
    /// What the programs in the kernel cost.
    pub costs: &'a dyn Fn() -> Vec<Cost>,
    /// What accounting missed, by what happened, zeros among it.
    pub losses: &'a dyn Fn() -> Vec<(Loss, u64)>,
    /// What is done to revocable containers.
    pub quality: &'a dyn Fn() -> View,
    /// Metrics that the node does not know: its shells' counters, the machine's figures. What nobody names is zero.
    pub gauges: &'a dyn Fn() -> Vec<Gauge>,
}

/// A container in another that has not ended.
#[derive(Clone, Debug)]
pub struct NestedView {
    pub container_id: api::v1::ContainerId,
    /// `None` until it runs.
    pub pid: Option<u32>,
}

/// One look at a container.
#[derive(Clone, Debug)]
pub struct Figures {
    pub usage: Usage,
    pub detail: Detail,
    pub taken: UnixTime,
    /// What it is promised and held to.
    pub limits: Limits,
    /// Where its egress is limited.
    pub egress: Option<Egress>,
}

/// What the node knows.
pub struct Known<'a> {
    /// `None` until a master has given one.
    pub agent_id: Option<&'a AgentId>,
    pub info: &'a AgentInfo,
    pub is_registered: bool,
    pub draining: Option<Drain>,
    pub counters: &'a Counters,
    pub used: Later<'a, Resources>,
    /// What may be lent out beside what there is.
    pub oversubscribed: &'a Resources,
    pub frameworks: Later<'a, Vec<FrameworkView<'a>>>,
    pub completed_frameworks: Later<'a, Vec<FrameworkView<'a>>>,
}

/// Made when it is first looked at.
pub type Later<'a, T> = LazyCell<T, Box<dyn FnOnce() -> T + 'a>>;

impl<'a> Known<'a> {
    pub fn of(node: &'a Node) -> Self {
        Self {
            agent_id: node.agent_id(),
            info: node.info(),
            is_registered: node.is_registered(),
            draining: node.draining(),
            counters: node.counters(),
            used: Later::new(Box::new(|| node.used())),
            oversubscribed: node.oversubscribed(),
            frameworks: Later::new(Box::new(|| node.frameworks().collect())),
            completed_frameworks: Later::new(Box::new(|| node.completed_frameworks().collect())),
        }
    }

    /// Those that have something here, then those that had.
    pub(super) fn all(&self) -> impl Iterator<Item = &FrameworkView<'a>> {
        self.frameworks.iter().chain(self.completed_frameworks.iter())
    }
}
