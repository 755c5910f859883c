//! The GET calls of the master's operator API: the same facts as messages, for JSON and protobuf alike.

use super::agents;
use super::maintenance;
use super::metrics;
use super::roles::Roles;
use crate::cluster::snapshot::{AgentView, FrameworkView, Snapshot};
use crate::cluster::tasks::Task;
use api::convert::quantity::to_f64;
use api::convert::resources::{self, Format};
use api::convert::{Error, agent, constraints, executor, framework, task, time};
use api::legacy::{Gauge, version};
use api::v1::master::Response;
use api::v1::master::call::Type;
use api::v1::master::response::{self, get_agents, get_executors, get_frameworks};
use api::v1::{self, value};
use model::quantity::Quantity;
use model::quota::{Amounts, Quota};
use model::resources::{CPUS, DISK, GPUS, MEM, Resources};
use model::role::Role;
use std::sync::Arc;

/// Answers a call that only reads; `None` for one that doesn't, or that streams.
///
/// An error is a body of our own that does not decode: a bug, or memory that went bad.
pub fn answer(kind: Type, snapshot: &Snapshot, gauges: &[Gauge]) -> Result<Option<Response>, Error> {
    use response::Type as Answer;
    let mut out = Response::default();
    match kind {
        Type::GetHealth => {
            out.set_type(Answer::GetHealth);
            out.get_health = Some(response::GetHealth { healthy: true });
        }
        Type::GetFlags => {
            out.set_type(Answer::GetFlags);
            out.get_flags = Some(flags(snapshot));
        }
        Type::GetVersion => {
            out.set_type(Answer::GetVersion);
            let version_info = version::info(snapshot.master.version);
            out.get_version = Some(response::GetVersion { version_info });
        }
        Type::GetMetrics => {
            out.set_type(Answer::GetMetrics);
            out.get_metrics = Some(get_metrics(snapshot, gauges));
        }
        Type::GetState => {
            out.set_type(Answer::GetState);
            out.get_state = Some(response::GetState {
                get_tasks: Some(get_tasks(snapshot)?),
                get_executors: Some(get_executors(snapshot)?),
                get_frameworks: Some(get_frameworks(snapshot)?),
                get_agents: Some(get_agents(snapshot)?),
            });
        }
        Type::GetAgents => {
            out.set_type(Answer::GetAgents);
            out.get_agents = Some(get_agents(snapshot)?);
        }
        Type::GetFrameworks => {
            out.set_type(Answer::GetFrameworks);
            out.get_frameworks = Some(get_frameworks(snapshot)?);
        }
        Type::GetExecutors => {
            out.set_type(Answer::GetExecutors);
            out.get_executors = Some(get_executors(snapshot)?);
        }
        Type::GetTasks => {
            out.set_type(Answer::GetTasks);
            out.get_tasks = Some(get_tasks(snapshot)?);
        }
        Type::GetRoles => {
            out.set_type(Answer::GetRoles);
            out.get_roles = Some(get_roles(snapshot));
        }
        Type::GetWeights => {
            out.set_type(Answer::GetWeights);
            out.get_weights = Some(get_weights(snapshot)).filter(|weights| !weights.weight_infos.is_empty());
        }
        Type::GetMaster => {
            out.set_type(Answer::GetMaster);
            out.get_master = Some(get_master(snapshot));
        }
        _ => return Ok(unset(kind, snapshot)),
    }
    Ok(Some(out))
}

/// Answers about what only operators set: quota, maintenance; and about what this master has no calls to set: verbosity,
/// operations.
fn unset(kind: Type, snapshot: &Snapshot) -> Option<Response> {
    use response::Type as Answer;
    let mut out = Response::default();
    match kind {
        Type::GetLoggingLevel => {
            out.set_type(Answer::GetLoggingLevel);
            out.get_logging_level = Some(response::GetLoggingLevel::default());
        }
        Type::GetOperations => {
            out.set_type(Answer::GetOperations);
            out.get_operations = Some(response::GetOperations::default());
        }
        Type::GetQuota => {
            out.set_type(Answer::GetQuota);
            out.get_quota = Some(response::GetQuota { status: quota_status(snapshot) });
        }
        Type::GetMaintenanceStatus => {
            out.set_type(Answer::GetMaintenanceStatus);
            out.get_maintenance_status =
                Some(response::GetMaintenanceStatus { status: maintenance::status(snapshot) });
        }
        Type::GetMaintenanceSchedule => {
            out.set_type(Answer::GetMaintenanceSchedule);
            out.get_maintenance_schedule =
                Some(response::GetMaintenanceSchedule { schedule: maintenance::schedule(snapshot) });
        }
        _ => return None,
    }
    Some(out)
}

fn flags(snapshot: &Snapshot) -> response::GetFlags {
    let flags = snapshot.master.flags.iter();
    let flags =
        flags.map(|(name, value)| v1::Flag { name: name.to_string(), value: Some(value.to_string()) });
    response::GetFlags { flags: flags.collect() }
}

fn get_metrics(snapshot: &Snapshot, gauges: &[Gauge]) -> response::GetMetrics {
    let metrics = metrics::all(snapshot, gauges).into_iter();
    let metrics = metrics.map(|(name, value)| v1::Metric { name: name.into_owned(), value: Some(value) });
    response::GetMetrics { metrics: metrics.collect() }
}

fn get_agents(snapshot: &Snapshot) -> Result<response::GetAgents, Error> {
    let agents = snapshot.agents.iter().map(|view| agent_of(view, snapshot)).collect::<Result<_, _>>()?;
    let recovered = snapshot.expected_agents.iter().map(|(id, info)| agent::to_v1(info, Some(id)));
    Ok(response::GetAgents { agents, recovered_agents: recovered.collect::<Result<_, _>>()? })
}

fn agent_of(view: &AgentView, snapshot: &Snapshot) -> Result<get_agents::Agent, Error> {
    let shown = |resources: &Resources| resources::to_v1(resources, Format::OPERATOR);
    let withdrawal = snapshot.withdrawal(&view.id);
    let drain = withdrawal.and_then(|it| it.drain);
    let mut agent_info = agent::to_v1(&view.info, Some(&view.id))?;
    // Every agent here keeps checkpoints; Mesos' operators see that it does.
    agent_info.checkpoint = Some(true);
    Ok(get_agents::Agent {
        agent_info,
        active: snapshot.is_active(view),
        deactivated: Some(withdrawal.is_some()),
        drain_info: drain.map(|drain| agents::drain_info(&drain)),
        estimated_drain_start_time: drain.and_then(|it| it.started).map(time::info),
        version: view.info.version.to_string(),
        pid: Some(agent::pid(&view.info)),
        registered_time: Some(time::info(view.registered)),
        reregistered_time: view.reregistered.map(time::info),
        total_resources: shown(&view.total),
        allocated_resources: shown(&view.used),
        offered_resources: shown(&view.offered),
        capabilities: agents::CAPABILITIES
            .map(|kind| v1::agent_info::Capability { r#type: Some(kind.into()) })
            .into(),
        ..get_agents::Agent::default()
    })
}

fn get_frameworks(snapshot: &Snapshot) -> Result<response::GetFrameworks, Error> {
    let all = |views: &[Arc<FrameworkView>]| -> Result<_, Error> {
        views.iter().map(|view| framework_of(view)).collect()
    };
    Ok(response::GetFrameworks {
        frameworks: all(&snapshot.frameworks)?,
        completed_frameworks: all(&snapshot.completed_frameworks)?,
        ..response::GetFrameworks::default()
    })
}

fn framework_of(view: &FrameworkView) -> Result<get_frameworks::Framework, Error> {
    let shown = |resources: &Resources| resources::to_v1(resources, Format::OPERATOR);
    let mut framework_info = framework::to_v1(&view.info)?;
    framework_info.id = Some((&view.id).into());
    Ok(get_frameworks::Framework {
        framework_info,
        active: view.is_active,
        connected: view.is_connected,
        recovered: view.is_recovered,
        registered_time: Some(time::info(view.registered)),
        reregistered_time: Some(time::info(view.reregistered.unwrap_or(view.registered))),
        unregistered_time: view.unregistered.map(time::info),
        offered_resources: shown(&view.offered),
        allocated_resources: shown(&view.used),
        offer_constraints: Some(constraints::to_v1(&view.constraints.asked)?),
        ..get_frameworks::Framework::default()
    })
}

fn get_executors(snapshot: &Snapshot) -> Result<response::GetExecutors, Error> {
    let executors = snapshot.frameworks.iter().flat_map(|view| &view.executors);
    let executors = executors.map(|of| {
        let mut executor_info = executor::to_v1(&of.info)?;
        executor_info.framework_id = Some((&of.framework_id).into());
        Ok(get_executors::Executor { executor_info, agent_id: (&of.agent_id).into() })
    });
    let executors = executors.collect::<Result<_, Error>>()?;
    Ok(response::GetExecutors { executors, ..response::GetExecutors::default() })
}

fn get_tasks(snapshot: &Snapshot) -> Result<response::GetTasks, Error> {
    let views = || snapshot.frameworks.iter().chain(&snapshot.completed_frameworks);
    let shown = |of: &Arc<Task>| task::to_operator(&of.info, &of.framework_id, of.state, &of.statuses);
    Ok(response::GetTasks {
        tasks: views().flat_map(|view| &view.tasks).map(shown).collect::<Result<_, _>>()?,
        unreachable_tasks: views()
            .flat_map(|view| &view.unreachable_tasks)
            .map(shown)
            .collect::<Result<_, _>>()?,
        completed_tasks: views()
            .flat_map(|view| &view.completed_tasks)
            .map(shown)
            .collect::<Result<_, _>>()?,
        ..response::GetTasks::default()
    })
}

fn get_roles(snapshot: &Snapshot) -> response::GetRoles {
    let all = Roles::of(snapshot);
    let roles = all.roles.iter().map(|(role, held)| {
        let sums = held.allocated.clone().plus(&held.offered);
        // Others may be no scalars; so Mesos shows only these four.
        let known = sums.iter().filter(|(name, _)| [CPUS, GPUS, MEM, DISK].contains(&&***name));
        let resources = known.map(|(name, amount)| v1::Resource {
            name: name.to_string(),
            r#type: value::Type::Scalar.into(),
            scalar: Some(value::Scalar { value: to_f64(amount) }),
            ..v1::Resource::default()
        });
        v1::Role {
            name: role.to_string(),
            weight: all.weight(role),
            frameworks: held.frameworks.iter().map(|id| v1::FrameworkId { value: (*id).into() }).collect(),
            resources: resources.collect(),
        }
    });
    response::GetRoles { roles: roles.collect() }
}

/// In both forms: the older one shows guarantees as resources.
pub(super) fn quota_status(snapshot: &Snapshot) -> v1::quota::QuotaStatus {
    let scalar = |amount: Quantity| value::Scalar { value: to_f64(amount) };
    let scalars = |amounts: &Amounts| {
        amounts.iter().map(|(name, amount)| (name.to_string(), scalar(*amount))).collect()
    };
    let resource = |(name, amount): (&Arc<str>, &Quantity)| v1::Resource {
        name: name.to_string(),
        r#type: value::Type::Scalar.into(),
        scalar: Some(scalar(*amount)),
        ..v1::Resource::default()
    };
    let quotas = || snapshot.master.quotas.iter();
    let info = |(role, quota): (&Role, &Quota)| v1::quota::QuotaInfo {
        role: Some(role.to_string()),
        principal: None,
        guarantee: quota.guarantees.iter().map(resource).collect(),
    };
    let config = |(role, quota): (&Role, &Quota)| v1::quota::QuotaConfig {
        role: role.to_string(),
        guarantees: scalars(&quota.guarantees),
        limits: scalars(&quota.limits),
    };
    v1::quota::QuotaStatus { infos: quotas().map(info).collect(), configs: quotas().map(config).collect() }
}

fn get_weights(snapshot: &Snapshot) -> response::GetWeights {
    let weights = snapshot.master.weights.iter();
    let weights = weights
        .map(|(role, weight)| v1::WeightInfo { weight: to_f64(*weight), role: Some(role.to_string()) });
    response::GetWeights { weight_infos: weights.collect() }
}

fn get_master(snapshot: &Snapshot) -> response::GetMaster {
    let master = &snapshot.master;
    response::GetMaster {
        master_info: Some(master.to_v1()),
        start_time: Some(time::seconds(master.started)),
        elected_time: Some(time::seconds(master.elected)),
    }
}
