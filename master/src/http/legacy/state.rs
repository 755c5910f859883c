//! `/state`: everything.

use super::agents::{Agent, Recovered};
use super::frameworks::Full;
use super::version::Flags;
use crate::cluster::snapshot::Snapshot;
use api::convert::time;
use api::json::{self, Encoded};
use api::legacy::each::Each;
use api::legacy::version::{BUILD_USER, build_date, build_time};
use serde::{Serialize, Serializer};

/// What this master can do, as it also says to frameworks in SUBSCRIBED.
const CAPABILITIES: [&str; 3] = ["AGENT_UPDATE", "AGENT_DRAINING", "QUOTA_V2"];

pub(super) struct State<'a>(pub(super) &'a Snapshot);

#[derive(Serialize)]
struct Leader<'a> {
    id: &'a str,
    pid: &'a str,
    port: u16,
    hostname: &'a str,
}

#[derive(Serialize)]
struct Fields<'a, C, A, R, F, G> {
    version: &'static str,
    build_date: String,
    build_time: f64,
    build_user: &'static str,
    start_time: f64,
    elected_time: f64,
    id: &'a str,
    pid: &'a str,
    hostname: &'a str,
    capabilities: [&'static str; 3],
    // Counts that Mesos writes as doubles, being metrics.
    activated_slaves: f64,
    deactivated_slaves: f64,
    unreachable_slaves: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    domain: Option<Encoded>,
    leader: &'a str,
    leader_info: Leader<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cluster: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    log_dir: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    external_log_file: Option<&'a str>,
    flags: C,
    slaves: A,
    recovered_slaves: R,
    frameworks: F,
    completed_frameworks: G,
    orphan_tasks: [(); 0],
    unregistered_frameworks: [(); 0],
}

impl Serialize for State<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (snapshot, master) = (self.0, &self.0.master);
        let (id, hostname) = (master.id.as_str(), &*master.hostname);
        let pid = format!("master@{}", master.address);
        let active = snapshot.agents.iter().filter(|view| snapshot.is_active(view)).count();
        let flag = |name: &str| {
            let found = master.flags.iter().find(|(known, _)| &**known == name);
            found.map(|(_, value)| &**value)
        };
        Fields {
            version: master.version,
            build_date: build_date(),
            build_time: build_time(),
            build_user: BUILD_USER,
            start_time: time::seconds(master.started),
            elected_time: time::seconds(master.elected),
            id,
            pid: &pid,
            hostname,
            capabilities: CAPABILITIES,
            activated_slaves: active as f64,
            deactivated_slaves: (snapshot.agents.len() - active) as f64,
            unreachable_slaves: snapshot.unreachable_agents.len() as f64,
            domain: master.domain().map(|domain| json::value(&domain)),
            leader: &pid,
            leader_info: Leader { id, pid: &pid, port: master.address.port(), hostname },
            cluster: master.cluster.as_deref(),
            log_dir: flag("log_dir"),
            external_log_file: flag("external_log_file"),
            flags: Flags::pairs(snapshot),
            slaves: Each(|| snapshot.agents.iter().map(|view| Agent::of(view, snapshot))),
            recovered_slaves: Each(|| snapshot.expected_agents.iter().map(Recovered::of)),
            frameworks: Each(|| snapshot.frameworks.iter().map(|view| Full::of(view, &snapshot.usage))),
            completed_frameworks: Each(|| {
                snapshot.completed_frameworks.iter().map(|view| Full::of(view, &snapshot.usage))
            }),
            orphan_tasks: [],
            unregistered_frameworks: [],
        }
        .serialize(serializer)
    }
}
