//! Agents as frameworks, executors and operators see them.

use std::net::{IpAddr, SocketAddr};

use model::agent_info::AgentInfo;
use model::body::Body;
use model::id::{AgentId, MasterId};
use model::ranges::Ranges;

use super::resources::{self, Format};
use super::{Error, body, open, quantity};
use crate::v1::master_info::{Capability, capability};
use crate::v1::{self, value};

/// The `body` of an agent's own account: what stands there beside the typed fields.
pub fn body_of(attributes: Vec<v1::Attribute>, domain: Option<v1::DomainInfo>) -> Body {
    body(&v1::AgentInfo { attributes, domain, ..v1::AgentInfo::default() })
}

/// `id` is `None` where the agent has none yet.
pub fn to_v1(info: &AgentInfo, id: Option<&AgentId>) -> Result<v1::AgentInfo, Error> {
    let mut out: v1::AgentInfo = open(&info.body)?;
    out.hostname = info.hostname.to_string();
    out.port = Some(i32::from(info.address.port()));
    out.resources = resources::to_v1(&info.total.unallocated(), Format::PLAIN);
    out.id = id.map(Into::into);
    Ok(out)
}

/// What Mesos calls a pid: `slave(1)@127.0.0.1:5051`.
pub fn pid(info: &AgentInfo) -> String {
    format!("slave(1)@{}", info.address)
}

/// A master's account of itself.
pub fn master_info(
    id: &MasterId,
    at: SocketAddr,
    hostname: &str,
    version: &str,
    domain: Option<v1::DomainInfo>,
) -> v1::MasterInfo {
    use capability::Type;
    // The third is Mesos' QUOTA_V2, which its clients of 1.11 see without a name.
    let capabilities = [Some(Type::AgentUpdate), Some(Type::AgentDraining), None];
    v1::MasterInfo {
        id: id.as_str().to_owned(),
        // The four bytes in network order, read as a little-endian number. An IPv6 address has none.
        ip: match at.ip() {
            IpAddr::V4(ip) => u32::from_le_bytes(ip.octets()),
            IpAddr::V6(_) => 0,
        },
        port: u32::from(at.port()),
        pid: Some(format!("master@{at}")),
        hostname: Some(hostname.to_owned()),
        version: Some(version.to_owned()),
        address: Some(address(at, hostname)),
        domain,
        capabilities: capabilities
            .into_iter()
            .map(|kind| Capability { r#type: kind.map(Into::into) })
            .collect(),
    }
}

/// Where the agent's HTTP server is.
pub fn url(info: &AgentInfo) -> v1::Url {
    v1::Url {
        scheme: "http".into(),
        address: address(info.address, &info.hostname),
        path: Some("/slave(1)".into()),
        ..v1::Url::default()
    }
}

/// Reads a flag `--domain`, in Mesos' JSON. A domain says in which region and zone a machine stands, or nothing.
pub fn domain(text: &str) -> Result<v1::DomainInfo, String> {
    let such = r#"such as '{"fault_domain": {"region": {"name": "eu"}, "zone": {"name": "eu-1"}}}'"#;
    let domain: v1::DomainInfo =
        crate::json::from_slice(text.as_bytes()).map_err(|error| format!("{error} ({such})"))?;
    if domain.fault_domain.is_none() {
        return Err(format!("`domain` must define `fault_domain` ({such})"));
    }
    Ok(domain)
}

/// Region and zone as a domain.
pub fn domain_of(region: &str, zone: &str) -> v1::DomainInfo {
    use v1::domain_info::{FaultDomain, fault_domain};
    let region = fault_domain::RegionInfo { name: region.to_owned() };
    let zone = fault_domain::ZoneInfo { name: zone.to_owned() };
    v1::DomainInfo { fault_domain: Some(FaultDomain { region, zone }) }
}

fn address(at: SocketAddr, hostname: &str) -> v1::Address {
    v1::Address {
        hostname: Some(hostname.to_owned()),
        ip: Some(at.ip().to_string()),
        port: i32::from(at.port()),
    }
}

/// Why a text is no list of attributes.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("'{part}' is not an attribute: {why} (such as 'rack:r1;zone:a;disks:[1-4]')")]
pub struct BadAttributes {
    pub part: String,
    pub why: &'static str,
}

/// Reads Mesos' text form, `rack:r1;cores:8;disks:[1-4]`: numbers are scalars, `[a-b]` ranges, the rest text.
pub fn attributes(text: &str) -> Result<Vec<v1::Attribute>, BadAttributes> {
    text.split(';').map(str::trim).filter(|part| !part.is_empty()).map(attribute).collect()
}

fn attribute(part: &str) -> Result<v1::Attribute, BadAttributes> {
    let bad = |why| BadAttributes { part: part.to_owned(), why };
    let (name, value) = part.split_once(':').ok_or_else(|| bad("no ':' between name and value"))?;
    let (name, value) = (name.trim(), value.trim());
    if name.is_empty() || value.is_empty() {
        return Err(bad("name or value is empty"));
    }
    let mut out = v1::Attribute { name: name.to_owned(), ..v1::Attribute::default() };
    if value.starts_with('[') {
        let parsed: model::resources::Resources =
            format!("x:{value}").parse().map_err(|_| bad("not a list of ranges"))?;
        let ranges: Ranges = parsed.ranges("x");
        out.set_type(value::Type::Ranges);
        let range = ranges.pairs().iter().map(|&(begin, end)| value::Range { begin, end }).collect();
        out.ranges = Some(value::Ranges { range });
    } else if let Ok(amount) = value.parse() {
        out.set_type(value::Type::Scalar);
        out.scalar = Some(value::Scalar { value: quantity::to_f64(amount) });
    } else {
        out.set_type(value::Type::Text);
        out.text = Some(value::Text { value: value.to_owned() });
    }
    Ok(out)
}
