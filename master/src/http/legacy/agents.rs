//! `/slaves`, and agents in `/state` and `/state-summary`.

use super::amounts::Amounts;
use super::each::{Each, Pairs};
use super::query::Query;
use crate::cluster::snapshot::{AgentView, Snapshot};
use api::convert::resources::{Format, part_to_v1};
use api::convert::{agent, time};
use api::json;
use api::v1::{self, value};
use model::resources::{Resource, Resources};
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
    version: &'a str,
    capabilities: [&'static str; 3],
}

impl<'a> Agent<'a> {
    pub(super) fn of(view: &'a AgentView) -> Self {
        let reserved = reserved(&view.total).into_iter();
        Self {
            id: view.id.as_str(),
            hostname: &view.info.hostname,
            port: view.info.address.port(),
            attributes: Attributes::of(view),
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
            active: view.is_active,
            deactivated: false,
            version: &view.info.version,
            capabilities: CAPABILITIES.map(|capability| capability.as_str_name()),
        }
    }
}

fn unreserved(total: &Resources) -> impl Iterator<Item = &Resource> {
    total.iter().filter(|part| part.reservations.is_empty())
}

/// By the role that may use them.
fn reserved(total: &Resources) -> BTreeMap<&Role, Vec<&Resource>> {
    let mut roles: BTreeMap<&Role, Vec<&Resource>> = BTreeMap::new();
    for part in total.iter() {
        if let Some(role) = part.reserved_for() {
            roles.entry(role).or_default().push(part);
        }
    }
    roles
}

/// What the operator called the agent: `{"rack": "r1", "disks": "[1-4]", "cores": 8.0}`.
struct Attributes(Vec<v1::Attribute>);

impl Attributes {
    fn of(view: &AgentView) -> Self {
        // Our own encoding; a damaged one has no attributes.
        Self(agent::to_v1(&view.info, None).map(|info| info.attributes).unwrap_or_default())
    }
}

impl Serialize for Attributes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|attribute| (&attribute.name, attribute_value(attribute))))
    }
}

fn attribute_value(attribute: &v1::Attribute) -> serde_json::Value {
    match attribute.r#type() {
        value::Type::Scalar => attribute.scalar.as_ref().map_or(0.0, |scalar| scalar.value).into(),
        value::Type::Ranges => {
            let pairs = attribute.ranges.iter().flat_map(|ranges| &ranges.range);
            let pairs: Vec<_> = pairs.map(|range| format!("{}-{}", range.begin, range.end)).collect();
            format!("[{}]", pairs.join(", ")).into()
        }
        value::Type::Set => {
            let items = attribute.set.as_ref().map_or(&[][..], |set| &set.item);
            format!("{{{}}}", items.join(", ")).into()
        }
        value::Type::Text => attribute.text.as_ref().map_or("", |text| &text.value).into(),
    }
}

/// `/slaves`; `?slave_id=` narrows it to one.
pub(super) struct Slaves<'a> {
    agents: Vec<&'a Arc<AgentView>>,
}

impl<'a> Slaves<'a> {
    pub(super) fn of(snapshot: &'a Snapshot, query: &Query) -> Self {
        let admitted = snapshot.agents.iter().filter(|view| query.admits("slave_id", view.id.as_str()));
        Self { agents: admitted.collect() }
    }
}

impl Serialize for Slaves<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Document<A> {
            slaves: A,
            recovered_slaves: [(); 0],
        }
        let agents = Each(|| self.agents.iter().map(|view| Detailed::of(view)));
        Document { slaves: agents, recovered_slaves: [] }.serialize(serializer)
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
}

impl<'a> Detailed<'a> {
    fn of(view: &'a AgentView) -> Self {
        Self {
            agent: Agent::of(view),
            reserved_resources_full: reserved(&view.total),
            unreserved_resources_full: unreserved(&view.total).collect(),
            used_resources_full: view.used.iter().collect(),
            offered_resources_full: view.offered.iter().collect(),
        }
    }
}

fn full(part: &Resource) -> json::Encoded {
    json::value(&part_to_v1(part, Format::OPERATOR))
}

fn in_full<S: Serializer>(parts: &[&Resource], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(parts.iter().map(|part| full(part)))
}

fn by_role<S: Serializer>(roles: &BTreeMap<&Role, Vec<&Resource>>, serializer: S) -> Result<S::Ok, S::Error> {
    let lists =
        roles.iter().map(|(role, parts)| (role.as_str(), Each(|| parts.iter().map(|part| full(part)))));
    Pairs(|| lists.clone()).serialize(serializer)
}
