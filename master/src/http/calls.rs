//! v1 scheduler calls as the core's calls. What a call lacks is refused here, in Mesos' words (src/master/validation.cpp);
//! what is wrong with a task on its own account goes on to the core, which tells its scheduler.

use crate::cluster::input::{Accept, BadTask, Call, Operation, TaskRequest};
use api::convert::{framework, id, task, time};
use api::refusal::Refusal;
use api::v1;
use api::v1::offer::operation::Type as OperationType;
use api::v1::scheduler::call::{self, Type};
use model::framework::FrameworkInfo;
use model::id::{AgentId, ExecutorId, FrameworkId, OfferId, OperationId, TaskId};
use model::role::Role;
use std::sync::Arc;

/// A call that has all its parts.
#[derive(Debug)]
pub(super) enum Checked {
    Subscribe(Box<call::Subscribe>),
    /// Answered with a document: which operations, and that nothing is known of them.
    ReconcileOperations(FrameworkId, call::ReconcileOperations),
    Call(FrameworkId, Call),
}

fn invalid(why: impl Into<String>) -> Refusal {
    Refusal::Invalid { call: "scheduler::Call", why: why.into() }
}

/// The part of the call that its type promises.
fn present<T>(part: Option<T>, name: &str) -> Result<T, Refusal> {
    part.ok_or_else(|| invalid(format!("Expecting '{name}' to be present")))
}

/// Checks a call for its parts.
pub(super) fn check(call: v1::scheduler::Call) -> Result<Checked, Refusal> {
    let kind = present(call.r#type, "type")?;
    let kind = Type::try_from(kind).unwrap_or(Type::Unknown);
    if kind == Type::Subscribe {
        let subscribe = present(call.subscribe, "subscribe")?;
        let given = call.framework_id.map(|id| id.value).unwrap_or_default();
        let described = subscribe.framework_info.id.as_ref().map(|id| id.value.as_str()).unwrap_or_default();
        if given != described {
            return Err(invalid("'framework_id' differs from 'subscribe.framework_info.id'"));
        }
        return Ok(Checked::Subscribe(Box::new(subscribe)));
    }
    let id = present(call.framework_id.clone(), "framework_id")?;
    let framework_id = FrameworkId::new(&id.value);
    if kind == Type::ReconcileOperations {
        let reconcile = present(call.reconcile_operations, "reconcile_operations")?;
        return Ok(Checked::ReconcileOperations(framework_id, reconcile));
    }
    read(kind, call).map(|call| Checked::Call(framework_id, call))
}

fn read(kind: Type, call: v1::scheduler::Call) -> Result<Call, Refusal> {
    Ok(match kind {
        Type::Teardown => Call::Teardown,
        Type::Accept => Call::Accept(accept(present(call.accept, "accept")?)),
        Type::Decline => {
            let decline = present(call.decline, "decline")?;
            let refuse_ns = time::refuse_ns(decline.filters.as_ref());
            Call::Decline { offer_ids: offers(&decline.offer_ids), refuse_ns }
        }
        Type::Revive => match roles(&call.revive.map(|revive| revive.roles).unwrap_or_default()) {
            Ok(roles) => Call::Revive { roles },
            // No framework has such a role; Mesos, too, takes the call and does nothing.
            Err(_) => Call::Nothing,
        },
        Type::Suppress => match roles(&call.suppress.map(|suppress| suppress.roles).unwrap_or_default()) {
            Ok(roles) => Call::Suppress { roles },
            Err(_) => Call::Nothing,
        },
        Type::Kill => {
            let kill = present(call.kill, "kill")?;
            let grace = kill.kill_policy.and_then(|policy| policy.grace_period);
            Call::Kill {
                task_id: TaskId::new(&kill.task_id.value),
                agent_id: kill.agent_id.map(|id| AgentId::new(&id.value)),
                grace_ns: grace.and_then(|grace| u64::try_from(grace.nanoseconds).ok()),
            }
        }
        Type::Shutdown => {
            let shutdown = present(call.shutdown, "shutdown")?;
            Call::Shutdown {
                executor_id: ExecutorId::new(&shutdown.executor_id.value),
                agent_id: AgentId::new(&shutdown.agent_id.value),
            }
        }
        Type::Message => {
            let message = present(call.message, "message")?;
            Call::Message {
                agent_id: AgentId::new(&message.agent_id.value),
                executor_id: ExecutorId::new(&message.executor_id.value),
                data: message.data,
            }
        }
        other => return read_rest(other, call),
    })
}

fn read_rest(kind: Type, call: v1::scheduler::Call) -> Result<Call, Refusal> {
    Ok(match kind {
        Type::Acknowledge => {
            let acknowledge = present(call.acknowledge, "acknowledge")?;
            Call::Acknowledge {
                agent_id: AgentId::new(&acknowledge.agent_id.value),
                task_id: TaskId::new(&acknowledge.task_id.value),
                update_id: id::update(&acknowledge.uuid).ok_or_else(|| invalid("Not a valid UUID"))?,
            }
        }
        Type::Reconcile => {
            let reconcile = present(call.reconcile, "reconcile")?.tasks.into_iter();
            let one = |task: call::reconcile::Task| {
                (TaskId::new(&task.task_id.value), task.agent_id.map(|id| AgentId::new(&id.value)))
            };
            Call::Reconcile { tasks: reconcile.map(one).collect() }
        }
        Type::Request => {
            present(call.request, "request")?;
            Call::Request
        }
        Type::AcceptInverseOffers => {
            present(call.accept_inverse_offers, "accept_inverse_offers")?;
            Call::Nothing
        }
        Type::DeclineInverseOffers => {
            present(call.decline_inverse_offers, "decline_inverse_offers")?;
            Call::Nothing
        }
        Type::AcknowledgeOperationStatus => {
            let acknowledge = present(call.acknowledge_operation_status, "acknowledge_operation_status")?;
            id::update(&acknowledge.uuid).ok_or_else(|| invalid("Not a valid UUID"))?;
            present(acknowledge.agent_id, "agent_id")?;
            Call::Nothing
        }
        Type::UpdateFramework => update_framework(call)?,
        _ => return Err(Refusal::UnknownCall),
    })
}

fn update_framework(call: v1::scheduler::Call) -> Result<Call, Refusal> {
    let update = present(call.update_framework, "update_framework")?;
    let given = call.framework_id.map(|id| id.value).unwrap_or_default();
    let described = update.framework_info.id.as_ref().map(|id| id.value.as_str()).unwrap_or_default();
    if given != described {
        return Err(invalid("'framework_id' differs from 'update_framework.framework_info.id'"));
    }
    let framework = framework::from_v1(&update.framework_info)
        .map_err(|error| Refusal::Bad(format!("Supplied FrameworkInfo is not valid: {error}")))?;
    let suppressed = roles(&update.suppressed_roles)
        .map_err(|why| Refusal::Bad(format!("'UpdateFramework' call is not valid: {why}")))?;
    Ok(Call::UpdateFramework { framework: Box::new(framework), suppressed })
}

/// What a subscriber says of itself. The error is the text of the ERROR event it gets.
pub(super) fn subscriber(subscribe: &call::Subscribe) -> Result<(FrameworkInfo, Vec<Role>), String> {
    let info = framework::from_v1(&subscribe.framework_info).map_err(|error| error.to_string())?;
    Ok((info, roles(&subscribe.suppressed_roles)?))
}

/// Roles by name. A name that is no role is no framework's.
fn roles(names: &[String]) -> Result<Vec<Role>, String> {
    let role = |name: &String| {
        Role::parse(name)
            .map_err(|_| format!("Suppressed roles {{ {name} }} are not contained in the set of roles"))
    };
    names.iter().map(role).collect()
}

fn offers(ids: &[v1::OfferId]) -> Vec<OfferId> {
    ids.iter().map(|id| OfferId::new(&id.value)).collect()
}

fn accept(accept: call::Accept) -> Accept {
    Accept {
        offer_ids: offers(&accept.offer_ids),
        refuse_ns: time::refuse_ns(accept.filters.as_ref()),
        operations: accept.operations.into_iter().map(operation).collect(),
    }
}

fn operation(operation: v1::offer::Operation) -> Operation {
    let kind = operation.r#type.and_then(|kind| OperationType::try_from(kind).ok());
    match (kind, operation.launch, operation.launch_group) {
        (Some(OperationType::Launch), launch, _) => {
            let tasks = launch.map(|launch| launch.task_infos).unwrap_or_default();
            Operation::Launch { tasks: tasks.iter().map(request).collect() }
        }
        (Some(OperationType::LaunchGroup), _, group) => {
            let tasks = group.map(|group| group.task_group.tasks).unwrap_or_default();
            Operation::LaunchGroup { tasks: tasks.iter().map(request).collect() }
        }
        (kind, ..) => Operation::Unsupported {
            name: kind.unwrap_or(OperationType::Unknown).as_str_name(),
            id: operation.id.map(|id| OperationId::new(&id.value)),
        },
    }
}

fn request(info: &v1::TaskInfo) -> TaskRequest {
    task::from_v1(info).map_err(|error| BadTask {
        task_id: TaskId::new(&info.task_id.value),
        agent_id: AgentId::new(&info.agent_id.value),
        why: Arc::from(error.to_string()),
    })
}
