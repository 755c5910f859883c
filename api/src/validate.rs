//! What can be wrong with a call whoever sends it: members that its type needs, and ids that agree.
//!
//! What depends on the cluster (offers, tasks, frameworks known) is checked by who knows the cluster.

mod operator;

use crate::convert::id;
use crate::refusal::Refusal;
use crate::v1::{self, executor, scheduler};

pub use operator::{agent, master};

/// `why`, unless `holds`.
fn expect(holds: bool, why: impl Into<String>) -> Result<(), String> {
    if holds { Ok(()) } else { Err(why.into()) }
}

fn present<T>(member: &Option<T>, name: &str) -> Result<(), String> {
    expect(member.is_some(), format!("Expecting '{name}' to be present"))
}

fn uuid(bytes: &[u8]) -> Result<(), String> {
    expect(id::update(bytes).is_some(), "Not a valid UUID")
}

/// A call of the scheduler API. `principal` is who the connection authenticated as, if anyone.
pub fn scheduler(call: &scheduler::Call, principal: Option<&str>) -> Result<scheduler::call::Type, Refusal> {
    // A number without a name counts as unset, as everywhere.
    let kind = call.r#type.and_then(|kind| scheduler::call::Type::try_from(kind).ok());
    let invalid = |why| Refusal::Invalid { call: "scheduler::Call", why };
    let kind = kind.ok_or_else(|| invalid("Expecting 'type' to be present".into()))?;
    members_of_scheduler(kind, call).map_err(invalid)?;
    if let (scheduler::call::Type::Subscribe, Some(subscribe), Some(authenticated)) =
        (kind, &call.subscribe, principal)
        && let Some(claimed) = subscribe.framework_info.principal.as_deref()
        && claimed != authenticated
    {
        let mismatch =
            Refusal::PrincipalMismatch { authenticated: authenticated.into(), claimed: claimed.into() };
        return Err(invalid(mismatch.to_string()));
    }
    Ok(kind)
}

fn members_of_scheduler(kind: scheduler::call::Type, call: &scheduler::Call) -> Result<(), String> {
    use scheduler::call::Type;
    let id = |id: &Option<v1::FrameworkId>| id.as_ref().map(|id| id.value.clone()).unwrap_or_default();
    if kind == Type::Subscribe {
        let subscribe = call.subscribe.as_ref().ok_or("Expecting 'subscribe' to be present")?;
        return expect(
            id(&subscribe.framework_info.id) == id(&call.framework_id),
            "'framework_id' differs from 'subscribe.framework_info.id'",
        );
    }
    present(&call.framework_id, "framework_id")?;
    match kind {
        Type::Accept => present(&call.accept, "accept"),
        Type::Decline => present(&call.decline, "decline"),
        Type::AcceptInverseOffers => present(&call.accept_inverse_offers, "accept_inverse_offers"),
        Type::DeclineInverseOffers => present(&call.decline_inverse_offers, "decline_inverse_offers"),
        Type::Kill => present(&call.kill, "kill"),
        Type::Shutdown => present(&call.shutdown, "shutdown"),
        Type::Acknowledge => {
            let acknowledge = call.acknowledge.as_ref().ok_or("Expecting 'acknowledge' to be present")?;
            uuid(&acknowledge.uuid)
        }
        Type::AcknowledgeOperationStatus => {
            let acknowledge = call.acknowledge_operation_status.as_ref();
            let acknowledge = acknowledge.ok_or("Expecting 'acknowledge_operation_status' to be present")?;
            uuid(&acknowledge.uuid)?;
            present(&acknowledge.agent_id, "agent_id")
        }
        Type::Reconcile => present(&call.reconcile, "reconcile"),
        Type::ReconcileOperations => present(&call.reconcile_operations, "reconcile_operations"),
        Type::Message => present(&call.message, "message"),
        Type::Request => present(&call.request, "request"),
        Type::UpdateFramework => {
            let update = call.update_framework.as_ref();
            let update = update.ok_or("Expecting 'update_framework' to be present")?;
            expect(
                id(&update.framework_info.id) == id(&call.framework_id),
                "'framework_id' differs from 'update_framework.framework_info.id'",
            )
        }
        Type::Subscribe | Type::Teardown | Type::Revive | Type::Suppress | Type::Unknown => Ok(()),
    }
}

/// A call of the executor API.
pub fn executor(call: &executor::Call) -> Result<executor::call::Type, Refusal> {
    let kind = call.r#type.and_then(|kind| executor::call::Type::try_from(kind).ok());
    let invalid = |why| Refusal::Invalid { call: "Executor::Call", why };
    let kind = kind.ok_or_else(|| invalid("Expecting 'type' to be present".into()))?;
    members_of_executor(kind, call).map_err(invalid)?;
    Ok(kind)
}

fn members_of_executor(kind: executor::call::Type, call: &executor::Call) -> Result<(), String> {
    use executor::call::Type;
    match kind {
        Type::Subscribe => present(&call.subscribe, "subscribe"),
        Type::Update => {
            let update = call.update.as_ref().ok_or("Expecting 'update' to be present")?;
            update_of_executor(&update.status, call)
        }
        Type::Message => present(&call.message, "message"),
        Type::Heartbeat | Type::Unknown => Ok(()),
    }
}

fn update_of_executor(status: &v1::TaskStatus, call: &executor::Call) -> Result<(), String> {
    uuid(status.uuid.as_deref().ok_or("Expecting 'uuid' to be present")?)?;
    let (executor_id, framework_id) = (&call.executor_id.value, &call.framework_id.value);
    if let Some(named) = &status.executor_id {
        expect(
            named.value == *executor_id,
            format!(
                "ExecutorID in Call: {executor_id} does not match ExecutorID in TaskStatus: {}",
                named.value
            ),
        )?;
    }
    expect(
        status.source == Some(v1::task_status::Source::Executor.into()),
        format!(
            "Received Call from executor {executor_id} of framework {framework_id} with invalid source, \
             expecting 'SOURCE_EXECUTOR'"
        ),
    )?;
    expect(
        status.state != i32::from(v1::TaskState::TaskStaging),
        format!(
            "Received TASK_STAGING from executor {executor_id} of framework {framework_id} which is not allowed"
        ),
    )?;
    status.check_status.as_ref().map_or(Ok(()), check_status)
}

fn check_status(status: &v1::CheckStatusInfo) -> Result<(), String> {
    use v1::check_info::Type;
    let kind = status.r#type.and_then(|kind| Type::try_from(kind).ok());
    let (holds, name, check) = match kind.ok_or("CheckStatusInfo must specify 'type'")? {
        Type::Unknown => return Err("'UNKNOWN' is not a valid check's status type".into()),
        Type::Command => (status.command.is_some(), "command", "COMMAND"),
        Type::Http => (status.http.is_some(), "http", "HTTP"),
        Type::Tcp => (status.tcp.is_some(), "tcp", "TCP"),
    };
    expect(holds, format!("Expecting '{name}' to be set for {check} check's status"))
}
