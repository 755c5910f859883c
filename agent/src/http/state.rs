//! `/state`: everything.

use super::Facts;
use super::operator::{drain_config, whole_seconds};
use super::{frameworks::Framework, qos};
use crate::bpf::{Figure, Reason};
use crate::cgroup::Enforced;
use crate::cgroup::knobs::Controller;
use crate::doctor;
use api::convert::{agent, time};
use api::doctor::{By, Finding, State as Found};
use api::json::{self, Encoded, Value};
use api::legacy::amounts::Amounts;
use api::legacy::attributes::Attributes;
use api::legacy::each::{Each, Pairs};
use api::legacy::resources::{by_role, in_full, reserved, unreserved};
use api::legacy::version::{BUILD_USER, build_date, build_time};
use api::v1;
use model::resources::{Resource, Resources};
use model::role::Role;
use model::usage::Group;
use serde::{Serialize, Serializer};
use std::collections::BTreeMap;

/// What every agent of this version can do, as it also tells the master.
const CAPABILITIES: [&str; 3] = ["MULTI_ROLE", "HIERARCHICAL_ROLE", "RESERVATION_REFINEMENT"];

pub(super) struct State<'f, 'a>(pub(super) &'f Facts<'a>);

#[derive(Serialize)]
struct Fields<'a, L, F, G, I> {
    version: &'static str,
    build_date: String,
    build_time: f64,
    build_user: &'static str,
    start_time: f64,
    id: &'a str,
    pid: String,
    hostname: &'a str,
    capabilities: [&'static str; 3],
    #[serde(skip_serializing_if = "Option::is_none")]
    domain: Option<Value<'a>>,
    resources: Amounts<'a>,
    reserved_resources: BTreeMap<&'a str, Amounts<'a>>,
    unreserved_resources: Amounts<'a>,
    #[serde(serialize_with = "by_role")]
    reserved_resources_full: BTreeMap<&'a Role, Vec<&'a Resource>>,
    #[serde(serialize_with = "in_full")]
    unreserved_resources_full: Vec<&'a Resource>,
    reserved_resources_allocated: BTreeMap<&'a str, Amounts<'a>>,
    unreserved_resources_allocated: Amounts<'a>,
    /// Plugins that bring resources; there are none here.
    resource_providers: [(); 0],
    attributes: Attributes,
    #[serde(skip_serializing_if = "Option::is_none")]
    master_hostname: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    log_dir: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    external_log_file: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    drain_config: Option<Encoded>,
    #[serde(skip_serializing_if = "Option::is_none")]
    estimated_drain_start_time_seconds: Option<u64>,
    flags: L,
    frameworks: F,
    completed_frameworks: G,
    /// Not Mesos', which shows its master alone what an agent lends.
    #[serde(skip_serializing_if = "Option::is_none")]
    oversubscribed_resources: Option<Amounts<'a>>,
    /// Likewise.
    ingot: I,
}

impl Serialize for State<'_, '_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let facts = self.0;
        let known = &facts.known;
        let (info, total, used) = (known.info, &known.info.total, &*known.used);
        let flag = |name| facts.flags.get(name).map(String::as_str);
        Fields {
            version: facts.version,
            build_date: build_date(),
            build_time: build_time(),
            build_user: BUILD_USER,
            start_time: time::seconds(facts.started),
            id: known.agent_id.map_or("", |id| id.as_str()),
            pid: agent::pid(info),
            hostname: &info.hostname,
            capabilities: CAPABILITIES,
            domain: json::view::<v1::AgentInfo>(&info.body.0).get("domain"),
            resources: Amounts::of(total),
            reserved_resources: sums(total),
            unreserved_resources: Amounts::sum(unreserved(total)),
            reserved_resources_full: reserved(total),
            unreserved_resources_full: unreserved(total).collect(),
            reserved_resources_allocated: sums(used),
            unreserved_resources_allocated: Amounts::sum(unreserved(used)),
            resource_providers: [],
            attributes: Attributes::of(info),
            master_hostname: facts.master_hostname,
            log_dir: flag("log_dir"),
            external_log_file: flag("external_log_file"),
            drain_config: known.draining.map(|drain| json::value(&drain_config(drain))),
            estimated_drain_start_time_seconds: known
                .draining
                .map(|drain| whole_seconds(drain).0 / 1_000_000),
            flags: facts.flags,
            frameworks: Each(|| known.frameworks.iter().map(|view| Framework { view, facts })),
            completed_frameworks: Each(|| {
                known.completed_frameworks.iter().map(|view| Framework { view, facts })
            }),
            oversubscribed_resources: Some(known.oversubscribed)
                .filter(|lent| !lent.is_empty())
                .map(Amounts::of),
            ingot: Abilities(facts),
        }
        .serialize(serializer)
    }
}

/// By the role that they are reserved for.
fn sums(resources: &Resources) -> BTreeMap<&str, Amounts<'_>> {
    let roles = reserved(resources).into_iter();
    roles.map(|(role, parts)| (role.as_str(), Amounts::sum(parts.into_iter()))).collect()
}

/// Which limits hold here, which figures the kernel counts, and why where not, with the command that would change it:
///
/// ```json
/// {"cgroup": "/sys/fs/cgroup/ingot-5051",
///  "enforcement": {"cpu": {"enforced": true}, "memory": {"enforced": false, "reason": "...", "remedy": "..."}, ...},
///  "bpf": {"cpu": {"supported": true}, "network": {"supported": false, "reason": "...", "remedy": "..."}, ...},
///  "accounting": {"cpu": "bpf", "run_queue": "bpf", "memory": "cgroup", ...},
///  "losses": {"container_not_counted": 0, "event": 12, ...},
///  "qos": {"share_permille": 1000, ...},
///  "missing": [{"area": "measure", "name": "network", "state": "missing", "says": "...", "remedy": "..."}, ...]}
/// ```
/// `accounting` says where each group of figures comes from as long as nothing fails; `losses` counts what was missed all the
/// same, as the metrics do; `qos` is in `qos.rs`; `missing` is what `/doctor` shows, without what is as it should be.
struct Abilities<'f, 'a>(&'f Facts<'a>);

#[derive(Serialize)]
struct Enforcing<'a> {
    enforced: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<&'static str>,
}

#[derive(Serialize)]
struct Supporting {
    supported: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<&'static str>,
}

impl Serialize for Abilities<'_, '_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Document<E, B, A, L> {
            cgroup: Option<String>,
            enforcement: E,
            bpf: B,
            accounting: A,
            losses: L,
            qos: qos::Shown,
            missing: Vec<Finding>,
        }
        let Facts { enforcement, bpf, cgroup_root, machine, .. } = self.0;
        let enforcing = |controller: Controller| {
            let reason = match enforcement.of(controller) {
                Enforced::Yes => None,
                Enforced::No { reason } => Some(&**reason),
            };
            let remedy = reason.map(doctor::remedy_of_limits);
            (controller.as_str(), Enforcing { enforced: reason.is_none(), reason, remedy })
        };
        let supporting = |figure: Figure| {
            let why = bpf.missing(figure);
            let (reason, remedy) = (why.map(ToString::to_string), why.and_then(Reason::remedy));
            (figure.as_str(), Supporting { supported: reason.is_none(), reason, remedy })
        };
        let source = |group| doctor::source(group, machine, bpf, enforcement).as_str();
        let losses = (self.0.losses)();
        let mut missing = doctor::report(machine, bpf, enforcement, By::Agent).findings;
        missing.extend(doctor::lost(&losses));
        missing.retain(|finding| finding.state != Found::Ok);
        Document {
            cgroup: cgroup_root.map(|path| path.display().to_string()),
            enforcement: Pairs(|| Controller::ALL.into_iter().map(enforcing)),
            bpf: Pairs(|| Figure::ALL.into_iter().map(supporting)),
            accounting: Pairs(|| Group::ALL.into_iter().map(|group| (group.as_str(), source(group)))),
            losses: Pairs(|| losses.iter().map(|(loss, count)| (loss.as_str(), *count))),
            qos: qos::Shown::of(&(self.0.quality)()),
            missing,
        }
        .serialize(serializer)
    }
}
