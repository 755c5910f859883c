//! `/slaves`, and agents in `/state` and `/state-summary`.

use crate::cluster::snapshot::{AgentView, Drain, Snapshot};
use crate::usage::Table;
use api::convert::{agent, time};
use api::json::{self, Encoded, Value};
use api::legacy::Query;
use api::legacy::amounts::Amounts;
use api::legacy::attributes::Attributes;
use api::legacy::each::Each;
use api::legacy::resources::{by_role, in_full, reserved, unreserved};
use api::legacy::usage::MeasuredNode;
use api::v1;
use model::agent_info::AgentInfo;
use model::id::AgentId;
use model::resources::Resource;
use model::role::Role;
use serde::{Serialize, Serializer};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What every agent of this version can do.
pub(super) const CAPABILITIES: [v1::agent_info::capability::Type; 3] = {
    use v1::agent_info::capability::Type;
    [Type::MultiRole, Type::HierarchicalRole, Type::ReservationRefinement]
};

/// One agent as all three documents show it.
#[derive(Serialize)]
pub(super) struct Agent<'a> {
    id: &'a str,
    hostname: &'a str,
    port: u16,
    attributes: Attributes,
    #[serde(skip_serializing_if = "Option::is_none")]
    domain: Option<Value<'a>>,
    pid: String,
    registered_time: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    reregistered_time: Option<f64>,
    resources: Amounts<'a>,
    used_resources: Amounts<'a>,
    offered_resources: Amounts<'a>,
    reserved_resources: BTreeMap<&'a str, Amounts<'a>>,
    unreserved_resources: Amounts<'a>,
    active: bool,
    deactivated: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    drain_info: Option<Encoded>,
    #[serde(skip_serializing_if = "Option::is_none")]
    estimated_drain_start_time_seconds: Option<f64>,
    version: &'a str,
    capabilities: [&'static str; 3],
}

impl<'a> Agent<'a> {
    pub(super) fn of(view: &'a AgentView, snapshot: &Snapshot) -> Self {
        let withdrawal = snapshot.withdrawal(&view.id);
        let drain = withdrawal.and_then(|it| it.drain);
        let reserved = reserved(&view.total).into_iter();
        Self {
            id: view.id.as_str(),
            hostname: &view.info.hostname,
            port: view.info.address.port(),
            attributes: Attributes::of(&view.info),
            domain: json::view::<v1::AgentInfo>(&view.info.body.0).get("domain"),
            pid: agent::pid(&view.info),
            registered_time: time::seconds(view.registered),
            reregistered_time: view.reregistered.map(time::seconds),
            resources: Amounts::of(&view.total),
            used_resources: Amounts::of(&view.used),
            offered_resources: Amounts::of(&view.offered),
            reserved_resources: reserved
                .map(|(role, parts)| (role.as_str(), Amounts::sum(parts.into_iter())))
                .collect(),
            unreserved_resources: Amounts::sum(unreserved(&view.total)),
            active: snapshot.is_active(view),
            deactivated: withdrawal.is_some(),
            drain_info: drain.map(|drain| json::value(&drain_info(&drain))),
            estimated_drain_start_time_seconds: drain.and_then(|it| it.started).map(time::seconds),
            version: &view.info.version,
            capabilities: CAPABILITIES.map(|capability| capability.as_str_name()),
        }
    }
}

pub(super) fn drain_info(drain: &Drain) -> v1::DrainInfo {
    let state = if drain.is_drained { v1::DrainState::Drained } else { v1::DrainState::Draining };
    let grace = drain.max_grace_ns.map(|ns| i64::try_from(ns).unwrap_or(i64::MAX));
    v1::DrainInfo {
        state: state.into(),
        config: v1::DrainConfig {
            max_grace_period: grace.map(|nanoseconds| v1::DurationInfo { nanoseconds }),
            mark_gone: Some(drain.marks_gone),
        },
    }
}

/// What a node used and has; `None` until it has reported.
pub(super) fn measured(view: &AgentView, table: &Table) -> Option<MeasuredNode> {
    let figures = table.node(view.node?)?;
    Some(MeasuredNode::of(&figures.usage, time::seconds(figures.timestamp)))
}

/// An agent of the master before this one that is not back yet, as `/slaves` and `/state` show it.
#[derive(Serialize)]
pub(super) struct Recovered<'a> {
    id: &'a str,
    hostname: &'a str,
    port: u16,
    attributes: Attributes,
}

impl<'a> Recovered<'a> {
    pub(super) fn of((id, info): &'a (AgentId, Arc<AgentInfo>)) -> Self {
        let (port, attributes) = (info.address.port(), Attributes::of(info));
        Self { id: id.as_str(), hostname: &info.hostname, port, attributes }
    }
}

/// `/slaves`; `?slave_id=` narrows it to one.
pub(super) struct Slaves<'a> {
    agents: Vec<&'a Arc<AgentView>>,
    recovered: Vec<&'a (AgentId, Arc<AgentInfo>)>,
    snapshot: &'a Snapshot,
}

impl<'a> Slaves<'a> {
    pub(super) fn of(snapshot: &'a Snapshot, query: &Query) -> Self {
        let admitted = snapshot.agents.iter().filter(|view| query.admits("slave_id", view.id.as_str()));
        let expected =
            snapshot.expected_agents.iter().filter(|(id, _)| query.admits("slave_id", id.as_str()));
        Self { agents: admitted.collect(), recovered: expected.collect(), snapshot }
    }
}

impl Serialize for Slaves<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Document<A, R> {
            slaves: A,
            recovered_slaves: R,
        }
        let agents = Each(|| self.agents.iter().map(|view| Detailed::of(view, self.snapshot)));
        let recovered = Each(|| self.recovered.iter().map(|it| Recovered::of(it)));
        Document { slaves: agents, recovered_slaves: recovered }.serialize(serializer)
    }
}

/// An agent with its resources in full.
#[derive(Serialize)]
struct Detailed<'a> {
    #[serde(flatten)]
    agent: Agent<'a>,
    #[serde(serialize_with = "by_role")]
    reserved_resources_full: BTreeMap<&'a Role, Vec<&'a Resource>>,
    #[serde(serialize_with = "in_full")]
    unreserved_resources_full: Vec<&'a Resource>,
    #[serde(serialize_with = "in_full")]
    used_resources_full: Vec<&'a Resource>,
    #[serde(serialize_with = "in_full")]
    offered_resources_full: Vec<&'a Resource>,
    /// Not Mesos'.
    #[serde(skip_serializing_if = "Option::is_none")]
    ingot: Option<MeasuredNode>,
}

impl<'a> Detailed<'a> {
    fn of(view: &'a AgentView, snapshot: &Snapshot) -> Self {
        Self {
            agent: Agent::of(view, snapshot),
            reserved_resources_full: reserved(&view.total),
            unreserved_resources_full: unreserved(&view.total).collect(),
            used_resources_full: view.used.iter().collect(),
            offered_resources_full: view.offered.iter().collect(),
            ingot: measured(view, &snapshot.usage),
        }
    }
}
