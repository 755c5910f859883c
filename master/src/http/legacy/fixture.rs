//! A snapshot made from what a real Mesos said of its cluster (`tests/golden/master-v1-GET_STATE.json`), so that our
//! documents can be held against those that the same Mesos wrote.

use crate::cluster::counters::Counters;
use crate::cluster::executors::Executor;
use crate::cluster::offers::Offer;
use crate::cluster::snapshot::{AgentView, FrameworkView, MasterInfo, Snapshot};
use crate::cluster::tasks::Task;
use crate::usage;
use api::convert::{agent, executor, framework, resources, status, time};
use api::v1::master::Response;
use api::v1::master::response::{GetState, get_agents, get_frameworks};
use api::{json, protobuf, v1};
use model::agent_info::AgentInfo;
use model::body::Body;
use model::id::{AgentId, FrameworkId, MasterId};
use model::resources::Resources;
use model::role::Role;
use model::task::TaskInfo;
use model::time::UnixTime;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

pub(super) fn golden(name: &str) -> serde_json::Value {
    let path = format!("{}/tests/golden/{name}.json", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    serde_json::from_slice(&text).expect("a recorded answer is JSON")
}

fn address() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 5050))
}

pub(super) fn snapshot() -> Snapshot {
    let text = golden("master-v1-GET_STATE").to_string();
    let state: Response = json::from_slice(text.as_bytes()).expect("a recorded answer");
    let state = state.get_state.expect("it is GET_STATE's");
    let (_, usage) = usage::table();
    let flags = golden("master-v1-GET_FLAGS");
    let flags = flags["get_flags"]["flags"].as_array().expect("a list").iter();
    let flag = |flag: &serde_json::Value| {
        let text = |key: &str| Arc::from(flag[key].as_str().unwrap_or_default());
        (text("name"), text("value"))
    };
    let moment = time::moment;
    let master = MasterInfo {
        id: MasterId::new("525336c2-7960-46c8-a5c3-2db421b25845"),
        hostname: "localhost".into(),
        address: address(),
        cluster: Some("refcluster".into()),
        domain: None,
        version: "1.11.0",
        started: moment(1_795_330_994.544_532),
        elected: moment(1_795_330_994.548_091),
        flags: flags.map(flag).collect(),
        weights: BTreeMap::new(),
        quotas: BTreeMap::new(),
    };
    let frameworks = state.get_frameworks.clone().expect("frameworks");
    Snapshot {
        taken: moment(1_795_331_047.0),
        master: Arc::new(master),
        frameworks: frameworks.frameworks.iter().map(|of| framework_of(of, &state)).collect(),
        completed_frameworks: frameworks
            .completed_frameworks
            .iter()
            .map(|of| framework_of(of, &state))
            .collect(),
        agents: state.get_agents.iter().flat_map(|all| &all.agents).map(agent_of).collect(),
        withdrawn: std::collections::BTreeMap::new(),
        expected_agents: Vec::new(),
        machines: Arc::default(),
        inverse_answers: BTreeMap::new(),
        unreachable_agents: Vec::new(),
        counters: Counters::default(),
        usage,
    }
}

fn read(resources: &[v1::Resource]) -> Resources {
    resources::from_v1(resources).expect("recorded resources")
}

fn moment(at: Option<&v1::TimeInfo>) -> Option<UnixTime> {
    at.map(|at| UnixTime(u64::try_from(at.nanoseconds).expect("after 1970") / 1000))
}

fn agent_of(of: &get_agents::Agent) -> Arc<AgentView> {
    let info = AgentInfo {
        hostname: of.agent_info.hostname.as_str().into(),
        address: address(),
        total: read(&of.agent_info.resources),
        boot_id: "boot".into(),
        version: of.version.as_str().into(),
        body: agent::body_of(of.agent_info.attributes.clone(), None),
    };
    Arc::new(AgentView {
        id: AgentId::new(&of.agent_info.id.as_ref().expect("registered").value),
        info: Arc::new(info),
        is_connected: true,
        is_active: of.active,
        registered: moment(of.registered_time.as_ref()).expect("registered"),
        reregistered: moment(of.reregistered_time.as_ref()),
        total: read(&of.total_resources),
        used: read(&of.allocated_resources),
        offered: read(&of.offered_resources),
        node: None,
    })
}

fn framework_of(of: &get_frameworks::Framework, state: &GetState) -> Arc<FrameworkView> {
    let info = framework::from_v1(&of.framework_info).expect("a recorded framework");
    let id = info.framework_id.clone().expect("subscribed");
    let tasks = state.get_tasks.clone().expect("tasks");
    let mine = |tasks: &[v1::Task]| -> Vec<Arc<Task>> {
        tasks
            .iter()
            .filter(|task| task.framework_id.value == id.as_str())
            .map(|task| Arc::new(task_of(task)))
            .collect()
    };
    let executors = state.get_executors.iter().flat_map(|all| &all.executors);
    let executors = executors.filter(|executor| {
        executor.executor_info.framework_id.as_ref().is_some_and(|of| of.value == id.as_str())
    });
    let executor_of = |of: &v1::master::response::get_executors::Executor| {
        let mut info = of.executor_info.clone();
        // The record shows the default; it was not set.
        info.command.iter_mut().for_each(|command| command.shell = None);
        Arc::new(Executor {
            framework_id: id.clone(),
            agent_id: AgentId::new(&of.agent_id.value),
            info: executor::from_v1(&info).expect("a recorded executor"),
            role: Role::star(),
            container_id: None,
            usage: None,
        })
    };
    Arc::new(FrameworkView {
        info: Arc::new(info),
        is_connected: of.connected,
        is_active: of.active,
        is_recovered: of.recovered,
        suppressed: BTreeSet::new(),
        constraints: Arc::default(),
        registered: moment(of.registered_time.as_ref()).expect("registered"),
        reregistered: moment(of.reregistered_time.as_ref()),
        unregistered: moment(of.unregistered_time.as_ref()),
        tasks: mine(&tasks.tasks),
        unreachable_tasks: mine(&tasks.unreachable_tasks),
        completed_tasks: mine(&tasks.completed_tasks),
        executors: executors.map(executor_of).collect(),
        offers: Vec::new(),
        used: read(&of.allocated_resources),
        offered: read(&of.offered_resources),
        id,
    })
}

/// The task as it was asked for, as far as its record tells.
fn task_of(of: &v1::Task) -> Task {
    let executor = of.executor_id.as_ref().map(|id| v1::ExecutorInfo {
        executor_id: id.clone(),
        command: Some(v1::CommandInfo::default()),
        ..v1::ExecutorInfo::default()
    });
    let asked = v1::TaskInfo {
        name: of.name.clone(),
        task_id: of.task_id.clone(),
        agent_id: of.agent_id.clone(),
        resources: of.resources.clone(),
        executor,
        ..v1::TaskInfo::default()
    };
    task(&asked, &FrameworkId::new(&of.framework_id.value), of.state, &of.statuses)
}

pub(super) fn task(
    asked: &v1::TaskInfo,
    framework_id: &FrameworkId,
    state: i32,
    statuses: &[v1::TaskStatus],
) -> Task {
    let info: TaskInfo = api::convert::task::from_v1(asked).expect("a task");
    Task {
        framework_id: framework_id.clone(),
        info: Arc::new(TaskInfo { body: Body::new(protobuf::encode(asked)), ..info }),
        role: Role::star(),
        state: status::state_from_v1(state).expect("a state"),
        statuses: statuses.iter().map(|status| status::from_v1(status).expect("a status")).collect(),
        pending: None,
        container_id: None,
        usage: None,
    }
}

/// Two cpus of the first agent, offered to the first framework.
pub(super) fn offer(snapshot: &Snapshot) -> Offer {
    let (framework, agent) = (&snapshot.frameworks[0], &snapshot.agents[0]);
    Offer {
        id: "O1".into(),
        framework_id: framework.id.clone(),
        agent_id: agent.id.clone(),
        agent: Arc::clone(&agent.info),
        role: Role::star(),
        resources: "cpus:2".parse::<Resources>().expect("resources").allocated_to(&Role::star()),
        executor_ids: Vec::new(),
        unavailability: None,
        expires: None,
    }
}
