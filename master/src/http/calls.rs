//! v1 scheduler calls as the core's calls. What a call lacks is refused here, in Mesos' words (src/master/validation.cpp);
//! what is wrong with a task on its own account goes on to the core, which tells its scheduler.

use super::constraints;
use crate::allocator::constraints::Constraints;
use crate::allocator::pattern::Limits;
use crate::cluster::conversions::{Conversion, Kind};
use crate::cluster::input::{Accept, BadTask, Call, GroupRequest, Operation, TaskRequest};
use api::convert::{framework, id, resources, task, time};
use api::refusal::Refusal;
use api::v1;
use api::v1::offer::operation::Type as OperationType;
use api::v1::scheduler::call::{self, Type};
use api::validate;
use model::framework::FrameworkInfo;
use model::id::{AgentId, ExecutorId, FrameworkId, OfferId, OperationId, TaskId};
use model::role::Role;
use std::sync::Arc;

/// A call that has all its parts.
#[derive(Debug)]
pub(super) enum Checked {
    Subscribe(Box<call::Subscribe>),
    Call(FrameworkId, Call),
}

/// Why a part may be taken for granted below.
const PRESENT: &str = "validate::scheduler has seen it";

/// Checks a call for its parts, and reads it.
pub(super) fn check(call: v1::scheduler::Call, limits: Limits) -> Result<Checked, Refusal> {
    let kind = validate::scheduler(&call, None)?;
    if kind == Type::Subscribe {
        return Ok(Checked::Subscribe(Box::new(call.subscribe.expect(PRESENT))));
    }
    let id = FrameworkId::new(&call.framework_id.as_ref().expect(PRESENT).value);
    read(kind, call, limits).map(|call| Checked::Call(id, call))
}

fn read(kind: Type, call: v1::scheduler::Call, limits: Limits) -> Result<Call, Refusal> {
    Ok(match kind {
        Type::Teardown => Call::Teardown,
        Type::Accept => Call::Accept(accept(call.accept.expect(PRESENT))),
        Type::Decline => {
            let decline = call.decline.expect(PRESENT);
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
            let kill = call.kill.expect(PRESENT);
            let grace = kill.kill_policy.and_then(|policy| policy.grace_period);
            Call::Kill {
                task_id: TaskId::new(&kill.task_id.value),
                agent_id: kill.agent_id.map(|id| AgentId::new(&id.value)),
                grace_ns: grace.and_then(|grace| u64::try_from(grace.nanoseconds).ok()),
            }
        }
        Type::Shutdown => {
            let shutdown = call.shutdown.expect(PRESENT);
            Call::Shutdown {
                executor_id: ExecutorId::new(&shutdown.executor_id.value),
                agent_id: AgentId::new(&shutdown.agent_id.value),
            }
        }
        Type::Message => {
            let message = call.message.expect(PRESENT);
            Call::Message {
                agent_id: AgentId::new(&message.agent_id.value),
                executor_id: ExecutorId::new(&message.executor_id.value),
                data: message.data,
            }
        }
        other => return read_rest(other, call, limits),
    })
}

fn read_rest(kind: Type, call: v1::scheduler::Call, limits: Limits) -> Result<Call, Refusal> {
    Ok(match kind {
        Type::Acknowledge => {
            let acknowledge = call.acknowledge.expect(PRESENT);
            Call::Acknowledge {
                agent_id: AgentId::new(&acknowledge.agent_id.value),
                task_id: TaskId::new(&acknowledge.task_id.value),
                update_id: id::update(&acknowledge.uuid).expect(PRESENT),
            }
        }
        Type::Reconcile => {
            let reconcile = call.reconcile.expect(PRESENT).tasks.into_iter();
            let one = |task: call::reconcile::Task| {
                (TaskId::new(&task.task_id.value), task.agent_id.map(|id| AgentId::new(&id.value)))
            };
            Call::Reconcile { tasks: reconcile.map(one).collect() }
        }
        Type::ReconcileOperations => {
            let reconcile = call.reconcile_operations.expect(PRESENT).operations.into_iter();
            let one = |operation: call::reconcile_operations::Operation| {
                let agent_id = operation.agent_id.map(|id| AgentId::new(&id.value));
                (OperationId::new(&operation.operation_id.value), agent_id)
            };
            Call::ReconcileOperations { operations: reconcile.map(one).collect() }
        }
        Type::Request => Call::Request,
        Type::AcceptInverseOffers => {
            let accept = call.accept_inverse_offers.expect(PRESENT);
            let refuse_ns = time::refuse_ns(accept.filters.as_ref());
            let offer_ids = offers(&accept.inverse_offer_ids);
            Call::AnswerInverseOffers { offer_ids, is_accepted: true, refuse_ns }
        }
        Type::DeclineInverseOffers => {
            let decline = call.decline_inverse_offers.expect(PRESENT);
            let refuse_ns = time::refuse_ns(decline.filters.as_ref());
            let offer_ids = offers(&decline.inverse_offer_ids);
            Call::AnswerInverseOffers { offer_ids, is_accepted: false, refuse_ns }
        }
        Type::AcknowledgeOperationStatus => Call::Nothing,
        Type::UpdateFramework => update_framework(call, limits)?,
        _ => return Err(Refusal::UnknownCall),
    })
}

fn update_framework(call: v1::scheduler::Call, limits: Limits) -> Result<Call, Refusal> {
    let update = call.update_framework.expect(PRESENT);
    let framework = framework::from_v1(&update.framework_info)
        .map_err(|error| Refusal::Bad(format!("Supplied FrameworkInfo is not valid: {error}")))?;
    let suppressed = roles(&update.suppressed_roles)
        .map_err(|why| Refusal::Bad(format!("Supplied FrameworkInfo is not valid: {why}")))?;
    let constraints = constraints::read(update.offer_constraints.as_ref(), &framework.roles, limits)
        .map_err(|why| Refusal::Bad(format!("'UpdateFramework' call is not valid: {why}")))?;
    Ok(Call::UpdateFramework { framework: Box::new(framework), suppressed, constraints })
}

/// What a subscriber says of itself. The error is the text of the ERROR event it gets.
pub(super) fn subscriber(
    subscribe: &call::Subscribe,
    limits: Limits,
) -> Result<(FrameworkInfo, Vec<Role>, Arc<Constraints>), String> {
    let info = framework::from_v1(&subscribe.framework_info).map_err(|error| error.to_string())?;
    let suppressed = roles(&subscribe.suppressed_roles)?;
    let constraints = constraints::read(subscribe.offer_constraints.as_ref(), &info.roles, limits)?;
    Ok((info, suppressed, constraints))
}

/// Roles by name. A name that is no role is no framework's.
fn roles(names: &[String]) -> Result<Vec<Role>, String> {
    let role = |name: &String| {
        Role::parse(name)
            .map_err(|_| format!("Suppressed role '{name}' is not contained in the list of roles"))
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
    if let Some((kind, resources, source)) = conversion(kind, &operation) {
        let conversion = read_conversion(kind, resources, source).map_err(Arc::from);
        let id = operation.id.map(|id| OperationId::new(&id.value));
        return Operation::Convert { name: kind.name(), conversion, id };
    }
    if let Some((kind, volume, change)) = resize(kind, &operation) {
        let from_ref = std::slice::from_ref;
        let conversion = read_conversion(kind, from_ref(volume), from_ref(&change)).map_err(Arc::from);
        let id = operation.id.map(|id| OperationId::new(&id.value));
        return Operation::Convert { name: kind.name(), conversion, id };
    }
    match (kind, operation.launch, operation.launch_group) {
        (Some(OperationType::Launch), launch, _) => {
            let tasks = launch.map(|launch| launch.task_infos).unwrap_or_default();
            Operation::Launch { tasks: requests(&tasks) }
        }
        (Some(OperationType::LaunchGroup), _, group) => {
            Operation::LaunchGroup(group_request(group.unwrap_or_default(), operation.id.is_some()))
        }
        (kind, ..) => Operation::Unsupported {
            name: kind.unwrap_or(OperationType::Unknown).as_str_name(),
            id: operation.id.map(|id| OperationId::new(&id.value)),
        },
    }
}

/// What an operation turns into what, as it was sent.
fn conversion(
    kind: Option<OperationType>,
    operation: &v1::offer::Operation,
) -> Option<(Kind, &[v1::Resource], &[v1::Resource])> {
    let v1::offer::Operation { reserve, unreserve, create, destroy, .. } = operation;
    Some(match kind? {
        OperationType::Reserve => {
            let (resources, source) =
                reserve.as_ref().map_or((&[][..], &[][..]), |it| (&it.resources, &it.source));
            (Kind::Reserve, resources, source)
        }
        OperationType::Unreserve => {
            (Kind::Unreserve, unreserve.as_ref().map_or(&[], |it| &it.resources), &[])
        }
        OperationType::Create => (Kind::Create, create.as_ref().map_or(&[], |it| &it.volumes), &[]),
        OperationType::Destroy => (Kind::Destroy, destroy.as_ref().map_or(&[], |it| &it.volumes), &[]),
        _ => return None,
    })
}

/// The volume that an operation grows or shrinks, and the disk that comes to it or from it.
fn resize(
    kind: Option<OperationType>,
    operation: &v1::offer::Operation,
) -> Option<(Kind, &v1::Resource, v1::Resource)> {
    match kind? {
        OperationType::GrowVolume => {
            let grow = operation.grow_volume.as_ref()?;
            Some((Kind::Grow, &grow.volume, grow.addition.clone()))
        }
        OperationType::ShrinkVolume => {
            let shrink = operation.shrink_volume.as_ref()?;
            Some((Kind::Shrink, &shrink.volume, freed(&shrink.volume, shrink.subtract)))
        }
        _ => None,
    }
}

/// So much of the disk that a volume is on.
pub(super) fn freed(volume: &v1::Resource, amount: v1::value::Scalar) -> v1::Resource {
    let without = |disk: &v1::resource::DiskInfo| v1::resource::DiskInfo {
        persistence: None,
        volume: None,
        ..disk.clone()
    };
    let disk = volume.disk.as_ref().filter(|disk| disk.source.is_some()).map(without);
    v1::Resource { scalar: Some(amount), disk, shared: None, ..volume.clone() }
}

fn read_conversion(
    kind: Kind,
    resources: &[v1::Resource],
    source: &[v1::Resource],
) -> Result<Conversion, String> {
    let read = |what: &str, resources: &[v1::Resource]| {
        resources::from_v1(resources).map_err(|error| format!("Invalid {what}: {error}"))
    };
    Ok(Conversion { kind, resources: read("resources", resources)?, source: read("source", source)? })
}

fn group_request(group: v1::offer::operation::LaunchGroup, wants_feedback: bool) -> GroupRequest {
    let tasks = match wants_feedback {
        true => Err(Arc::from("The `id` field cannot be set on LAUNCH_GROUP operations")),
        false => api::convert::group::from_v1(&group).map_err(|error| Arc::from(error.to_string())),
    };
    let ids = |info: &v1::TaskInfo| (TaskId::new(&info.task_id.value), AgentId::new(&info.agent_id.value));
    GroupRequest { members: group.task_group.tasks.iter().map(ids).collect(), tasks }
}

/// The tasks of one operation. One whose resources are none takes the others with it, as in Mesos.
fn requests(tasks: &[v1::TaskInfo]) -> Vec<TaskRequest> {
    let bad = |info: &v1::TaskInfo, why: String| BadTask {
        task_id: TaskId::new(&info.task_id.value),
        agent_id: AgentId::new(&info.agent_id.value),
        why: Arc::from(why),
    };
    match tasks.iter().find_map(|info| task::check_resources(info).err()) {
        Some(error) => tasks.iter().map(|info| Err(bad(info, error.to_string()))).collect(),
        None => {
            let read = |info| task::from_v1(info).map_err(|error| bad(info, error.to_string()));
            tasks.iter().map(read).collect()
        }
    }
}
