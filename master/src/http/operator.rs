//! `/api/v1`: the operator API: what only reads is answered from a picture of the cluster, the rest goes to the core.

use super::calls;
use super::legacy;
use super::serve::{App, body, document, encoding_of_post, gauges, header, refuse};
use crate::cluster::conversions::{Conversion, Kind};
use crate::cluster::input::OperatorCall;
use crate::driver::Command;
use api::convert::quantity::from_f64;
use api::convert::{maintenance, resources};
use api::media::{self, Encoding};
use api::refusal::Refusal;
use api::v1::master::call::Type;
use api::{v1, validate};
use axum::extract::Request;
use axum::response::Response;
use model::id::AgentId;
use model::quota::{Amounts, Quota};
use model::role::Role;
use std::collections::BTreeMap;
use std::sync::Arc;

pub(super) async fn answer(app: &App, request: Request) -> Response {
    serve(app, request).await.unwrap_or_else(|refusal| refuse(&refusal))
}

async fn serve(app: &App, request: Request) -> Result<Response, Refusal> {
    let encoding = encoding_of_post(&request)?;
    let accept = header(&request, "Accept");
    let call: v1::master::Call = media::decode(encoding, &body(request).await?)?;
    let kind = validate::master(&call)?;
    let encoding = Encoding::of_answer(accept.as_deref())?;
    if let Some(call) = change(kind, &call)? {
        // 200, and nothing to read.
        return app.ask(|caller| Command::Operator { call, caller }).await.map(|_| Response::default());
    }
    let picture = app.picture().await.ok_or(Refusal::MasterRecovering)?;
    let written = tokio::task::spawn_blocking(move || {
        let answer = legacy::answer(kind, &picture.snapshot, &gauges(&picture));
        answer.map(|answer| answer.map(|answer| media::encode(encoding, &answer)))
    });
    match written.await {
        Ok(Ok(Some(bytes))) => Ok(document(encoding, bytes)),
        Ok(Ok(None)) => Err(Refusal::UnknownCall),
        Ok(Err(error)) => Err(Refusal::Bad(error.to_string())),
        Err(_) => Err(Refusal::Bad("the answer could not be written".into())),
    }
}

/// What a call wants changed; `None` for one that only reads. Its member was seen by `validate`.
fn change(kind: Type, call: &v1::master::Call) -> Result<Option<OperatorCall>, Refusal> {
    let agent = |id: &v1::AgentId| AgentId::new(&id.value);
    Ok(match kind {
        Type::DrainAgent => call.drain_agent.as_ref().map(|it| drain(it, agent(&it.agent_id))).transpose()?,
        Type::DeactivateAgent => call
            .deactivate_agent
            .as_ref()
            .map(|it| OperatorCall::Deactivate { agent_id: agent(&it.agent_id) }),
        Type::ReactivateAgent => call
            .reactivate_agent
            .as_ref()
            .map(|it| OperatorCall::Reactivate { agent_id: agent(&it.agent_id) }),
        Type::MarkAgentGone => {
            call.mark_agent_gone.as_ref().map(|it| OperatorCall::MarkGone { agent_id: agent(&it.agent_id) })
        }
        Type::ReserveResources => call
            .reserve_resources
            .as_ref()
            .map(|it| conversion(Kind::Reserve, &it.agent_id, &it.resources, &it.source))
            .transpose()?,
        Type::UnreserveResources => call
            .unreserve_resources
            .as_ref()
            .map(|it| conversion(Kind::Unreserve, &it.agent_id, &it.resources, &[]))
            .transpose()?,
        Type::CreateVolumes => call
            .create_volumes
            .as_ref()
            .map(|it| conversion(Kind::Create, &it.agent_id, &it.volumes, &[]))
            .transpose()?,
        Type::DestroyVolumes => call
            .destroy_volumes
            .as_ref()
            .map(|it| conversion(Kind::Destroy, &it.agent_id, &it.volumes, &[]))
            .transpose()?,
        Type::GrowVolume => call
            .grow_volume
            .as_ref()
            .map(|it| resize(Kind::Grow, it.agent_id.as_ref(), &it.volume, &it.addition))
            .transpose()?,
        Type::ShrinkVolume => call
            .shrink_volume
            .as_ref()
            .map(|it| {
                let freed = calls::freed(&it.volume, it.subtract);
                resize(Kind::Shrink, it.agent_id.as_ref(), &it.volume, &freed)
            })
            .transpose()?,
        Type::UpdateMaintenanceSchedule => {
            call.update_maintenance_schedule.as_ref().map(|it| schedule(&it.schedule)).transpose()?
        }
        Type::StartMaintenance => {
            call.start_maintenance.as_ref().map(|it| machines(true, &it.machines)).transpose()?
        }
        Type::StopMaintenance => {
            call.stop_maintenance.as_ref().map(|it| machines(false, &it.machines)).transpose()?
        }
        Type::UpdateWeights => call.update_weights.as_ref().map(weights).transpose()?,
        Type::UpdateQuota => call.update_quota.as_ref().map(quotas).transpose()?,
        _ => None,
    })
}

/// What is planned from here on.
pub(super) fn schedule(schedule: &v1::maintenance::Schedule) -> Result<OperatorCall, Refusal> {
    let windows = maintenance::windows_from_v1(schedule).map_err(Refusal::Bad)?;
    Ok(OperatorCall::UpdateSchedule { windows })
}

/// Machines that go down, or come up.
pub(super) fn machines(is_down: bool, ids: &[v1::MachineId]) -> Result<OperatorCall, Refusal> {
    let machines = maintenance::machines_from_v1(ids).map_err(Refusal::Bad)?;
    Ok(match is_down {
        true => OperatorCall::StartMaintenance { machines },
        false => OperatorCall::StopMaintenance { machines },
    })
}

fn resize(
    kind: Kind,
    agent_id: Option<&v1::AgentId>,
    volume: &v1::Resource,
    change: &v1::Resource,
) -> Result<OperatorCall, Refusal> {
    let agent_id = agent_id.expect("`validate` has seen it");
    conversion(kind, agent_id, std::slice::from_ref(volume), std::slice::from_ref(change))
}

/// What is reserved, or made of it, or no more.
pub(super) fn conversion(
    kind: Kind,
    agent_id: &v1::AgentId,
    resources: &[v1::Resource],
    source: &[v1::Resource],
) -> Result<OperatorCall, Refusal> {
    let read = |what: &str, resources: &[v1::Resource]| {
        let bad = |error| Refusal::Bad(format!("Invalid {} operation: Invalid {what}: {error}", kind.name()));
        resources::from_v1(resources).map_err(bad)
    };
    let conversion =
        Conversion { kind, resources: read("resources", resources)?, source: read("source", source)? };
    Ok(OperatorCall::Convert { agent_id: AgentId::new(&agent_id.value), conversion })
}

fn weights(call: &v1::master::call::UpdateWeights) -> Result<OperatorCall, Refusal> {
    let weight = |info: &v1::WeightInfo| {
        let role = info.role.as_deref().map_or(Ok(Role::star()), Role::parse);
        let role = role
            .map_err(|error| Refusal::Bad(format!("Failed to validate update weights request: {error}")))?;
        let weight = from_f64(info.weight).filter(|weight| !weight.is_zero()).ok_or_else(|| {
            Refusal::Bad(format!(
                "Failed to validate update weights request for role '{role}': Invalid weight '{}': Weights must be positive",
                info.weight
            ))
        })?;
        Ok((role, weight))
    };
    let weights = call.weight_infos.iter().map(weight).collect::<Result<_, Refusal>>()?;
    Ok(OperatorCall::UpdateWeights { weights })
}

fn quotas(call: &v1::master::call::UpdateQuota) -> Result<OperatorCall, Refusal> {
    let bad = |why: String| Refusal::Bad(format!("Invalid QuotaConfig: {why}"));
    let amounts = |amounts: &BTreeMap<String, v1::value::Scalar>| {
        let amount = |(name, amount): (&String, &v1::value::Scalar)| {
            let value = from_f64(amount.value).ok_or_else(|| {
                bad(format!("{{'{name}': {}}} is invalid: not an amount from 0 to a trillion", amount.value))
            })?;
            Ok((Arc::from(name.as_str()), value))
        };
        amounts.iter().map(amount).collect::<Result<Amounts, Refusal>>()
    };
    let quota = |config: &v1::quota::QuotaConfig| {
        let role =
            Role::parse(&config.role).map_err(|error| bad(format!("Invalid 'QuotaConfig.role': {error}")))?;
        if role.is_star() {
            return Err(bad("Setting quota on the default '*' role is not supported".into()));
        }
        Ok((role, Quota { guarantees: amounts(&config.guarantees)?, limits: amounts(&config.limits)? }))
    };
    let quotas = call.quota_configs.iter().map(quota).collect::<Result<_, Refusal>>()?;
    Ok(OperatorCall::UpdateQuota { quotas, is_forced: call.force() })
}

fn drain(call: &v1::master::call::DrainAgent, agent_id: AgentId) -> Result<OperatorCall, Refusal> {
    let bad = || Refusal::Invalid {
        call: "master::Call",
        why: "'drain_agent.max_grace_period' is negative or too long".into(),
    };
    let ns = |grace: &v1::Duration| {
        let (seconds, nanos) = (u64::try_from(grace.seconds()).ok()?, u64::try_from(grace.nanos()).ok()?);
        seconds.checked_mul(1_000_000_000)?.checked_add(nanos)
    };
    let max_grace_ns = call.max_grace_period.as_ref().map(|grace| ns(grace).ok_or_else(bad)).transpose()?;
    Ok(OperatorCall::Drain { agent_id, max_grace_ns, marks_gone: call.mark_gone() })
}
