//! Calls of the operator APIs.

use super::{expect, present};
use crate::convert::id::BadIdOf;
use crate::refusal::Refusal;
use crate::schema::{Message, V1};
use crate::v1::{self, agent, master};
use model::id::check_id;

/// Longest id of one container, bytes: its path below its parents must stay a path.
const CONTAINER_ID_BYTES_MAX: usize = 242;

/// A call of the master's operator API.
pub fn master(call: &master::Call) -> Result<master::call::Type, Refusal> {
    use master::call::Type;
    let invalid = |why| Refusal::Invalid { call: "master::Call", why };
    let kind = call.r#type.and_then(|kind| Type::try_from(kind).ok());
    let kind = kind.ok_or_else(|| invalid("Expecting 'type' to be present".into()))?;
    member_of_its_own(call, kind.as_str_name()).map_err(invalid)?;
    let names_agent = match kind {
        Type::GrowVolume => call.grow_volume.as_ref().is_some_and(|call| call.agent_id.is_some()),
        Type::ShrinkVolume => call.shrink_volume.as_ref().is_some_and(|call| call.agent_id.is_some()),
        _ => true,
    };
    let why = "Expecting 'agent_id' to be present; only agent default resources are supported right now";
    expect(names_agent, why).map_err(invalid)?;
    Ok(kind)
}

/// A call of the agent's operator API.
pub fn agent(call: &agent::Call) -> Result<agent::call::Type, Refusal> {
    let invalid = |why| Refusal::Invalid { call: "agent::Call", why };
    let kind = call.r#type.and_then(|kind| agent::call::Type::try_from(kind).ok());
    let kind = kind.ok_or_else(|| invalid("Expecting 'type' to be present".into()))?;
    members_of_agent(kind, call).map_err(invalid)?;
    Ok(kind)
}

/// A call that has a member of its type's name needs it: `READ_FILE` needs `read_file`.
fn member_of_its_own<M: V1>(call: &M, kind: &str) -> Result<(), String> {
    let name = kind.to_lowercase();
    let Some(field) = Message::of::<M>().by_name(&name) else { return Ok(()) };
    let encoded = crate::protobuf::encode(call);
    let has = crate::protobuf::has(Message::of::<M>(), &encoded, field.number);
    expect(has, format!("Expecting '{name}' to be present"))
}

fn members_of_agent(kind: agent::call::Type, call: &agent::Call) -> Result<(), String> {
    use agent::call::Type;
    match kind {
        // What these take, they can do without.
        Type::GetContainers | Type::PruneImages => return Ok(()),
        _ => member_of_its_own(call, kind.as_str_name())?,
    }
    if kind == Type::AttachContainerInput {
        return attach_input(call);
    }
    // (the container named, whether it must have a parent)
    let container = match kind {
        Type::LaunchNestedContainer => call.launch_nested_container.as_ref().map(|c| (&c.container_id, true)),
        Type::WaitNestedContainer => call.wait_nested_container.as_ref().map(|c| (&c.container_id, true)),
        Type::KillNestedContainer => call.kill_nested_container.as_ref().map(|c| (&c.container_id, true)),
        Type::RemoveNestedContainer => call.remove_nested_container.as_ref().map(|c| (&c.container_id, true)),
        Type::LaunchNestedContainerSession => {
            call.launch_nested_container_session.as_ref().map(|c| (&c.container_id, true))
        }
        Type::AttachContainerOutput => {
            call.attach_container_output.as_ref().map(|c| (&c.container_id, false))
        }
        Type::LaunchContainer => call.launch_container.as_ref().map(|c| (&c.container_id, false)),
        Type::WaitContainer => call.wait_container.as_ref().map(|c| (&c.container_id, false)),
        Type::KillContainer => call.kill_container.as_ref().map(|c| (&c.container_id, false)),
        Type::RemoveContainer => call.remove_container.as_ref().map(|c| (&c.container_id, false)),
        Type::UpdateContainerLimits => {
            call.update_container_limits.as_ref().map(|c| (&c.container_id, false))
        }
        _ => None,
    };
    if let Some(call) = call.update_container_limits.as_ref().filter(|_| kind == Type::UpdateContainerLimits)
    {
        let why = "Expecting 'update_container_limits.container_id.parent' not to be present: limits are an executor's";
        expect(call.container_id.parent.is_none(), why)?;
    }
    let Some((id, must_nest)) = container else { return Ok(()) };
    let name = kind.as_str_name().to_lowercase();
    container_id(id).map_err(|why| format!("'{name}.container_id' is invalid: {why}"))?;
    let parent = format!("Expecting '{name}.container_id.parent' to be present");
    expect(id.parent.is_some() || !must_nest, parent)?;
    own_limits(call)
}

/// Who may have limits of its own: what is nested in a container directly, and is no session.
fn own_limits(call: &agent::Call) -> Result<(), String> {
    let has_own = |container: &Option<v1::ContainerInfo>| {
        let linux = container.as_ref().and_then(|it| it.linux_info.as_ref());
        linux.is_some_and(|linux| !linux.share_cgroups())
    };
    let is_twice_nested =
        |id: &v1::ContainerId| id.parent.as_ref().is_some_and(|parent| parent.parent.is_some());
    if let Some(session) = &call.launch_nested_container_session
        && has_own(&session.container)
    {
        return Err("'launch_nested_container_session.container.linux_info' is invalid: 'share_cgroups' cannot be set to \
                    'false' for nested container sessions"
            .into());
    }
    let refused = |call: &str, what: &str| {
        Err(format!("'{call}' is invalid: containers nested at the second level or greater cannot {what}"))
    };
    let not_shared = "set 'share_cgroups' to 'false'";
    match (&call.launch_nested_container, &call.launch_container) {
        (Some(launch), _) if is_twice_nested(&launch.container_id) && has_own(&launch.container) => {
            refused("launch_nested_container", not_shared)
        }
        (_, Some(launch)) if is_twice_nested(&launch.container_id) => {
            let call = "launch_container";
            match launch {
                _ if !launch.resources.is_empty() => refused(call, "specify resources"),
                _ if !launch.limits.is_empty() => refused(call, "specify resource limits"),
                _ if has_own(&launch.container) => refused(call, not_shared),
                _ => Ok(()),
            }
        }
        _ => Ok(()),
    }
}

fn attach_input(call: &agent::Call) -> Result<(), String> {
    use agent::call::attach_container_input::Type;
    let Some(attach) = &call.attach_container_input else { return Ok(()) };
    present(&attach.r#type, "attach_container_input.type")?;
    match attach.r#type.and_then(|kind| Type::try_from(kind).ok()) {
        None | Some(Type::Unknown) => Err("'attach_container_input.type' is unknown".into()),
        Some(Type::ProcessIo) => Ok(()),
        Some(Type::ContainerId) => container_id(&attach.container_id.clone().unwrap_or_default())
            .map_err(|why| format!("'attach_container_input.container_id' is invalid: {why}")),
    }
}

/// An id of a container and of its parents. Dots part the levels in text, spaces muddle logs: neither may
/// stand in one.
fn container_id(id: &v1::ContainerId) -> Result<(), String> {
    let text = &id.value;
    check_id(text).map_err(|why| BadIdOf { what: "ContainerID", id: text.clone(), why }.to_string())?;
    expect(
        text.len() <= CONTAINER_ID_BYTES_MAX,
        format!("'ContainerID.value' '{text}' exceeds the maximum length ({CONTAINER_ID_BYTES_MAX})"),
    )?;
    expect(!text.contains(['.', ' ']), format!("'ContainerID.value' '{text}' contains invalid characters"))?;
    match &id.parent {
        None => Ok(()),
        Some(parent) => container_id(parent).map_err(|why| format!("'ContainerID.parent' is invalid: {why}")),
    }
}
