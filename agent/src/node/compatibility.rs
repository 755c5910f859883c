//! Whether an agent whose flags or machine have changed may go on under its old id (`--reconfiguration-policy`, as Mesos'
//! src/slave/compatibility.cpp): frameworks hold offers and tasks of the agent that the master knows by that id.
//!
//! `equal`: nothing but its address, boot and version may have changed. `additive`: things may have been added: resources may
//! have grown or be new, attributes be new or ranges of them wider, a domain be given where there was none; what was there
//! is still there, and host name and port are the same.

use api::convert::volume::as_given;
use api::v1;
use model::agent_info::AgentInfo;
use model::resources::Resources;

/// What may have changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    Equal,
    Additive,
}

/// One change that is not permitted. Texts are for the operator.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Change {
    #[error("host name was {old}, is {new}")]
    Hostname { old: String, new: String },
    #[error("port was {old}, is {new}")]
    Port { old: u16, new: u16 },
    #[error("resources were {old}, are {new}")]
    Resources { old: String, new: String },
    #[error("attribute {old} is {new}")]
    Attribute { old: String, new: String },
    #[error("attribute {new} is new")]
    NewAttribute { new: String },
    #[error("the domain has changed")]
    Domain,
}

/// Everything about `new` that an agent which was `old` may not have become. Reservations and volumes that frameworks made
/// meanwhile are not the operator's, and are left out.
pub fn changes(policy: Policy, old: &AgentInfo, new: &AgentInfo) -> Vec<Change> {
    let mut changes = Vec::new();
    if old.hostname != new.hostname {
        let (old, new) = (old.hostname.to_string(), new.hostname.to_string());
        changes.push(Change::Hostname { old, new });
    }
    if old.address.port() != new.address.port() {
        changes.push(Change::Port { old: old.address.port(), new: new.address.port() });
    }
    let (were, are) = (as_given(&old.total), as_given(&new.total));
    let resources_may = match policy {
        Policy::Equal => were == are,
        Policy::Additive => are.contains(&were),
    };
    if !resources_may {
        changes.push(Change::Resources { old: were.to_string(), new: are.to_string() });
    }
    // What cannot be decoded was not written by an agent, and has neither.
    let decode = |info: &AgentInfo| api::protobuf::decode::<v1::AgentInfo>(&info.body.0).unwrap_or_default();
    let (was, is) = (decode(old), decode(new));
    attributes(policy, &was.attributes, &is.attributes, &mut changes);
    let domain_may = was.domain == is.domain || (policy == Policy::Additive && was.domain.is_none());
    if !domain_may {
        changes.push(Change::Domain);
    }
    changes
}

fn attributes(policy: Policy, old: &[v1::Attribute], new: &[v1::Attribute], changes: &mut Vec<Change>) {
    for was in old {
        let is = new.iter().find(|it| it.name == was.name);
        let may = is.is_some_and(|is| was == is || (policy == Policy::Additive && is_wider(was, is)));
        if !may {
            let new = is.map_or_else(|| "not there".to_owned(), show);
            changes.push(Change::Attribute { old: show(was), new });
        }
    }
    let is_new = |it: &&v1::Attribute| policy == Policy::Equal && old.iter().all(|was| was.name != it.name);
    changes.extend(new.iter().filter(is_new).map(|it| Change::NewAttribute { new: show(it) }));
}

/// Ranges that hold all of the old ones.
fn is_wider(old: &v1::Attribute, new: &v1::Attribute) -> bool {
    let (Some(old), Some(new)) = (&old.ranges, &new.ranges) else { return false };
    old.range.iter().all(|was| new.range.iter().any(|is| is.begin <= was.begin && was.end <= is.end))
}

/// As the flag takes it.
fn show(attribute: &v1::Attribute) -> String {
    let value = if let Some(text) = &attribute.text {
        text.value.clone()
    } else if let Some(scalar) = &attribute.scalar {
        scalar.value.to_string()
    } else {
        let ranges = attribute.ranges.iter().flat_map(|it| &it.range);
        let ranges: Vec<_> = ranges.map(|it| format!("{}-{}", it.begin, it.end)).collect();
        format!("[{}]", ranges.join(","))
    };
    format!("{}:{value}", attribute.name)
}

/// What an agent has that had `before`, and by its flags has `now`: what is new comes on top, and what the master had it
/// reserve meanwhile stays reserved. For agents whose changes are permitted.
pub fn total(before: &Resources, now: &Resources) -> Resources {
    let mut total = before.clone();
    total.add(&now.saturating_sub(&as_given(before)));
    total
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agent(hostname: &str, resources: &str, attributes: &str) -> AgentInfo {
        let list = api::convert::agent::attributes(attributes).expect("attributes");
        AgentInfo {
            hostname: hostname.into(),
            address: "127.0.0.1:5051".parse().expect("an address"),
            total: resources.parse().expect("resources"),
            boot_id: "boot".into(),
            version: "1".into(),
            body: api::convert::agent::body_of(list, None),
        }
    }

    /// From an agent with 4 CPUs, ports 1 to 9, and two attributes.
    fn check(resources: &str, attributes: &str, [equal, additive]: [&[&str]; 2]) {
        let old = agent("a", "cpus:4;ports:[1-9]", "rack:r1;slots:[1-4]");
        let new =
            AgentInfo { boot_id: "another".into(), version: "2".into(), ..agent("a", resources, attributes) };
        for (policy, expect) in [(Policy::Equal, equal), (Policy::Additive, additive)] {
            let found: Vec<_> = changes(policy, &old, &new).iter().map(ToString::to_string).collect();
            assert_eq!(found, expect, "{policy:?}");
        }
    }

    #[test]
    fn an_agent_that_is_as_before_may_go_on() {
        check("cpus:4;ports:[1-9]", "rack:r1;slots:[1-4]", [&[], &[]]);
    }

    #[test]
    fn more_is_permitted_to_who_adds() {
        let were = "resources were cpus:4; ports:[1-9], are cpus:5; mem:64; ports:[1-12]";
        let attributes = "rack:r1;slots:[1-8];zone:z";
        let told = ["attribute slots:[1-4] is slots:[1-8]", "attribute zone:z is new"];
        check("cpus:5;mem:64;ports:[1-12]", attributes, [&[were, told[0], told[1]], &[]]);
    }

    #[test]
    fn less_is_permitted_to_nobody() {
        let told = [
            "resources were cpus:4; ports:[1-9], are cpus:3; ports:[1-9]",
            "attribute rack:r1 is rack:r2",
            "attribute slots:[1-4] is not there",
        ];
        check("cpus:3;ports:[1-9]", "rack:r2", [&told, &told]);
    }

    #[test]
    fn host_and_port_are_who_it_is() {
        let old = agent("a", "cpus:4", "");
        let mut new = agent("b", "cpus:4", "");
        new.address.set_port(1);
        for policy in [Policy::Equal, Policy::Additive] {
            let found: Vec<_> = changes(policy, &old, &new).iter().map(ToString::to_string).collect();
            assert_eq!(found, ["host name was a, is b", "port was 5051, is 1"]);
        }
    }

    #[test]
    fn what_frameworks_reserved_is_kept_when_there_is_more() {
        let resources = |text: &str| text.parse::<Resources>().expect("resources");
        let mut before = resources("cpus:4");
        let reserved = Resources::of_distinct(vec![model::resources::Resource {
            reservations: vec![model::resources::Reservation {
                role: model::role::Role::parse("r").expect("a role"),
                is_dynamic: true,
                principal: None,
                labels: Vec::new(),
            }],
            ..model::resources::Resource::scalar("cpus", model::quantity::Quantity::from_units(2))
        }]);
        before = before.saturating_sub(&resources("cpus:2"));
        before.add(&reserved);
        let old = AgentInfo { total: before.clone(), ..agent("a", "cpus:4", "") };
        assert_eq!(changes(Policy::Equal, &old, &agent("a", "cpus:4", "")), []);
        let now = total(&before, &resources("cpus:5;mem:64"));
        let mut expect = resources("cpus:3;mem:64");
        expect.add(&reserved);
        assert_eq!(now, expect);
    }
}
