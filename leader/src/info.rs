//! What a master says of itself in ZooKeeper: Mesos' `MasterInfo` as JSON, in a znode `json.info_<sequence>`.

use crate::url::Place;
use serde_json::{Value, json};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// What the names of the znodes begin with.
pub const PREFIX: &str = "json.info_";

/// A master, as others reach it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Info {
    pub id: String,
    pub hostname: String,
    pub address: SocketAddr,
    /// Three numbers.
    pub version: String,
}

impl Info {
    /// The bytes of its znode.
    pub fn encode(&self) -> Vec<u8> {
        let (ip, port) = (self.address.ip(), self.address.port());
        // An address of the old kind as a number whose first byte in memory is the address' first: little-endian here.
        let number = match ip {
            IpAddr::V4(ip) => u32::from_le_bytes(ip.octets()),
            IpAddr::V6(_) => u32::from(Ipv4Addr::UNSPECIFIED),
        };
        let info = json!({
            "address": { "hostname": self.hostname, "ip": ip.to_string(), "port": port },
            "capabilities": [{ "type": "AGENT_UPDATE" }, { "type": "AGENT_DRAINING" }],
            "hostname": self.hostname,
            "id": self.id,
            "ip": number,
            "pid": format!("master@{}", self.address),
            "port": port,
            "version": self.version,
        });
        info.to_string().into_bytes()
    }

    /// `None` where it says no address.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let info: Value = serde_json::from_slice(bytes).ok()?;
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let address = &info["address"];
        let port = address["port"].as_u64().or_else(|| info["port"].as_u64())?;
        let ip = match address["ip"].as_str() {
            Some(ip) => ip.parse().ok()?,
            None => IpAddr::from(u32::try_from(info["ip"].as_u64()?).ok()?.to_le_bytes()),
        };
        let address = SocketAddr::new(ip, u16::try_from(port).ok()?);
        let hostname = text(&info["hostname"]).or_else(|| text(&info["address"]["hostname"]));
        Some(Self {
            id: text(&info["id"]).unwrap_or_default(),
            hostname: hostname.unwrap_or_else(|| ip.to_string()),
            address,
            version: text(&info["version"]).unwrap_or_default(),
        })
    }

    /// Where it is dialled.
    pub fn place(&self) -> Place {
        Place { host: self.address.ip().to_string(), port: self.address.port() }
    }
}

/// The name of the znode that was made first: its master leads.
pub fn first(names: &[String]) -> Option<&String> {
    let sequence = |name: &&String| name.strip_prefix(PREFIX).and_then(|it| it.parse::<i64>().ok());
    names.iter().filter(|name| sequence(name).is_some()).min_by_key(sequence)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_json_is_mesos_own() {
        let info = Info {
            id: "m".into(),
            hostname: "host".into(),
            address: "127.0.0.1:5050".parse().expect("an address"),
            version: "1.11.0".into(),
        };
        let value: Value = serde_json::from_slice(&info.encode()).expect("JSON");
        assert_eq!(value["ip"], 16_777_343);
        assert_eq!(value["address"]["ip"], "127.0.0.1");
        assert_eq!(value["pid"], "master@127.0.0.1:5050");
        assert_eq!(Info::decode(&info.encode()), Some(info.clone()));
        // A master of before 0.24 has no `address`.
        let old = br#"{"id":"m","ip":16777343,"port":5050,"hostname":"host","version":"1.11.0"}"#;
        assert_eq!(Info::decode(old), Some(info));
        for bad in [&b"{}"[..], b"", b"x", br#"{"address":{"ip":"127.0.0.1","port":99999}}"#] {
            assert_eq!(Info::decode(bad), None);
        }
    }

    #[test]
    fn the_lowest_number_leads() {
        let names = |all: &[&str]| all.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>();
        let all = names(&[
            "log_replicas",
            "json.info_0000000012",
            "json.info_0000000003",
            "info_0000000001",
            "json.info_x",
        ]);
        assert_eq!(first(&all).map(String::as_str), Some("json.info_0000000003"));
        assert_eq!(first(&names(&["log_replicas"])), None);
    }
}
