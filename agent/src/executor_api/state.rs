//! GET /state, /flags, /version: everything the agent knows, in the shape of Mesos, and under `ingot` what only we have.

use crate::bpf::Figure;
use crate::cgroup::Enforced;
use crate::cgroup::knobs::Controller;
use crate::checkpoint::layout;
use crate::config::MESOS_VERSION;
use crate::executor_api::show;
use crate::node::Node;
use crate::node::effect::Run;
use crate::node::view::{ExecutorView, FrameworkView, TaskView};
use crate::runtime::Agent;
use api::convert::{agent as agent_info, time};
use model::resources::Resources;
use serde_json::{Map, Value, json};

/// What agents of this version can do, by Mesos' names (`AgentCapability`).
const CAPABILITIES: [&str; 4] =
    ["MULTI_ROLE", "HIERARCHICAL_ROLE", "RESERVATION_REFINEMENT", "AGENT_OPERATION_FEEDBACK"];

pub(super) fn state(agent: &Agent) -> Value {
    agent.look(|node| {
        let info = node.info();
        let v1 = agent_info::to_v1(info, node.agent_id()).unwrap_or_default();
        let used = node.used();
        let mut out = json!({
            "id": node.agent_id().map_or("", |id| id.as_str()),
            "pid": agent_info::pid(info),
            "hostname": &*info.hostname,
            "start_time": time::seconds(agent.started),
            "capabilities": CAPABILITIES,
            "resources": show::resources(&info.total),
            "unreserved_resources": show::resources(&info.total.filter(|part| part.reservations.is_empty())),
            "reserved_resources": by_role(&info.total, show::resources),
            "unreserved_resources_full": show::full(&info.total.filter(|part| part.reservations.is_empty())),
            "reserved_resources_full": by_role(&info.total, show::full),
            "unreserved_resources_allocated": show::resources(&used.filter(|part| part.reservations.is_empty())),
            "reserved_resources_allocated": by_role(&used, show::resources),
            "resource_providers": [],
            "attributes": attributes(&v1.attributes),
            "master_hostname": agent.config.master.rsplit_once(':').map_or("", |(host, _)| host),
            "flags": agent.flags,
            "frameworks": node.frameworks().map(|view| framework(agent, node, &view)).collect::<Vec<_>>(),
            "completed_frameworks": node.completed_frameworks().map(|view| framework(agent, node, &view)).collect::<Vec<_>>(),
            "ingot": ours(agent),
        });
        merge(&mut out, version());
        out
    })
}

pub(super) fn flags(agent: &Agent) -> Value {
    json!({ "flags": agent.flags })
}

/// Clients compare `version` as three numbers: it is that of the Mesos whose language is spoken.
pub(super) fn version() -> Value {
    json!({ "version": MESOS_VERSION, "ingot_version": env!("CARGO_PKG_VERSION") })
}

fn merge(out: &mut Value, more: Value) {
    if let (Value::Object(out), Value::Object(more)) = (out, more) {
        out.extend(more);
    }
}

/// Which limits hold here and which figures the kernel counts; where not, why.
fn ours(agent: &Agent) -> Value {
    let enforcement: Map<String, Value> = Controller::ALL
        .into_iter()
        .map(|controller| {
            let state = match agent.containerizer.enforcement().of(controller) {
                Enforced::Yes => json!({ "enforced": true }),
                Enforced::No { reason } => json!({ "enforced": false, "reason": reason }),
            };
            (controller.as_str().to_owned(), state)
        })
        .collect();
    let figures: Map<String, Value> = Figure::ALL
        .into_iter()
        .map(|figure| {
            let state = match agent.support.missing(figure) {
                None => json!({ "supported": true }),
                Some(reason) => json!({ "supported": false, "reason": reason.to_string() }),
            };
            (figure.as_str().to_owned(), state)
        })
        .collect();
    json!({
        "enforcement": enforcement,
        "bpf": figures,
        "cgroup": agent.containerizer.cgroup_root().map(|path| path.display().to_string()),
    })
}

fn by_role(resources: &Resources, show: impl Fn(&Resources) -> Value) -> Value {
    let mut roles: Vec<&str> = show::reserved(resources).map(|(role, _)| role).collect();
    roles.sort_unstable();
    roles.dedup();
    let of_role = |role: &str| {
        let part = resources.filter(|part| part.reserved_for().is_some_and(|known| known.as_str() == role));
        (role.to_owned(), show(&part))
    };
    Value::Object(roles.into_iter().map(of_role).collect())
}

fn attributes(attributes: &[api::v1::Attribute]) -> Value {
    let shown = attributes.iter().map(|attribute| {
        let value = if let Some(scalar) = &attribute.scalar {
            json!(scalar.value)
        } else if let Some(ranges) = &attribute.ranges {
            let pairs = ranges.range.iter().map(|range| format!("{}-{}", range.begin, range.end));
            json!(format!("[{}]", pairs.collect::<Vec<_>>().join(", ")))
        } else {
            json!(attribute.text.as_ref().map_or("", |text| &text.value))
        };
        (attribute.name.clone(), value)
    });
    Value::Object(shown.collect())
}

fn framework(agent: &Agent, node: &Node, view: &FrameworkView<'_>) -> Value {
    let info = view.info;
    let id = info.framework_id.as_ref().map_or("", |id| id.as_str());
    let mut out = json!({
        "id": id,
        "name": &*info.name,
        "user": &*info.user,
        "failover_timeout": info.failover_timeout_ns as f64 / 1e9,
        "checkpoint": info.checkpoint,
        "hostname": &*info.hostname,
        "executors": view.executors.iter().map(|one| executor(agent, node, view, one)).collect::<Vec<_>>(),
        "completed_executors":
            view.completed_executors.iter().map(|one| executor(agent, node, view, one)).collect::<Vec<_>>(),
    });
    let roles: Vec<&str> = info.roles.iter().map(|role| role.as_str()).collect();
    if info.capabilities.has(model::framework::Capabilities::MULTI_ROLE) {
        out["roles"] = json!(roles);
    } else {
        out["role"] = json!(roles.first());
    }
    if let Some(principal) = &info.principal {
        out["principal"] = json!(&**principal);
    }
    out
}

fn executor(agent: &Agent, node: &Node, framework: &FrameworkView<'_>, view: &ExecutorView<'_>) -> Value {
    let framework_id = framework.info.framework_id.as_ref().expect("frameworks on agents have ids");
    let tasks = |tasks: &[TaskView<'_>]| -> Vec<Value> {
        tasks.iter().map(|task| show::task(framework_id.as_str(), view, task)).collect()
    };
    let run = Run {
        framework_id: framework_id.clone(),
        executor_id: view.info.executor_id.clone(),
        container_id: view.container_id.clone(),
    };
    let directory = node.agent_id().map(|id| layout::sandbox(&agent.config.work_dir, id, &run));
    let any_task = view.tasks.iter().chain(&view.queued_tasks).chain(&view.completed_tasks).next();
    json!({
        "id": view.info.executor_id.as_str(),
        "name": show::executor_name(view),
        "source": if view.is_command { view.info.executor_id.as_str() } else { "" },
        "container": view.container_id.as_str(),
        "directory": directory.map_or_else(String::new, |path| path.display().to_string()),
        "resources": show::resources(&view.resources),
        "role": any_task.map_or_else(|| show::role(&view.info.resources), |task| show::role(&task.info.resources)),
        "tasks": tasks(&view.tasks),
        "queued_tasks": tasks(&view.queued_tasks),
        "completed_tasks": tasks(&view.completed_tasks),
    })
}
