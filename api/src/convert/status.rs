//! Status updates.

use bytes::Bytes;
use model::body::Body;
use model::id::{AgentId, ContainerId, ExecutorId, TaskId};
use model::resources::Resources;
use model::task::{ContainerStatus, Reason, Source, TaskState, TaskStatus};

use super::resources::Format;
use super::{Error, body, id, open, text, time};
use crate::v1;
use crate::v1::network_info::IpAddress;
use crate::v1::task_status as wire;

/// Why something is no status update.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum BadStatus {
    #[error("Unknown task state {0}")]
    State(i32),
    #[error("Not a valid UUID")]
    Uuid,
}

impl From<BadStatus> for Error {
    fn from(bad: BadStatus) -> Self {
        Self::Status(bad)
    }
}

pub fn state_from_v1(state: i32) -> Result<TaskState, BadStatus> {
    let number = u32::try_from(state).ok();
    number.and_then(TaskState::from_number).ok_or(BadStatus::State(state))
}

pub fn state_to_v1(state: TaskState) -> v1::TaskState {
    v1::TaskState::try_from(state as i32).expect("the model's numbers are those of the wire")
}

/// Reads an update. What its sender left out (an executor leaves out the agent, for one) is for the caller to
/// fill in.
pub fn from_v1(status: &v1::TaskStatus) -> Result<TaskStatus, Error> {
    let update_id = match status.uuid.as_deref() {
        None => None,
        Some(uuid) => Some(id::update(uuid).ok_or(BadStatus::Uuid)?),
    };
    Ok(TaskStatus {
        task_id: TaskId::try_from(&status.task_id)?,
        state: state_from_v1(status.state)?,
        source: status.source.and_then(source_from_v1),
        reason: status.reason.and_then(|reason| u32::try_from(reason).ok()).map(Reason),
        message: status.message.as_deref().map(text),
        agent_id: status.agent_id.as_ref().map(AgentId::try_from).transpose()?,
        executor_id: status.executor_id.as_ref().map(ExecutorId::try_from).transpose()?,
        timestamp: time::moment(status.timestamp.unwrap_or_default()),
        update_id,
        healthy: status.healthy,
        data: status.data.clone(),
        container: status.container_status.as_ref().and_then(container_from_v1),
        body: body(status),
    })
}

fn source_from_v1(number: i32) -> Option<Source> {
    match wire::Source::try_from(number).ok()? {
        wire::Source::Master => Some(Source::Master),
        wire::Source::Agent => Some(Source::Agent),
        wire::Source::Executor => Some(Source::Executor),
    }
}

fn source_to_v1(source: Source) -> wire::Source {
    match source {
        Source::Master => wire::Source::Master,
        Source::Agent => wire::Source::Agent,
        Source::Executor => wire::Source::Executor,
    }
}

/// `None` unless id and address are there: what is there stays in the body.
fn container_from_v1(status: &v1::ContainerStatus) -> Option<ContainerStatus> {
    let container_id = ContainerId::try_from(status.container_id.as_ref()?).ok()?;
    let address = status.network_infos.iter().flat_map(|network| &network.ip_addresses);
    let ip = address.filter_map(|address| address.ip_address.as_deref()?.parse().ok()).next()?;
    Some(ContainerStatus { container_id, ip, executor_pid: status.executor_pid })
}

/// The body of an update of our own making that tells which resources its container had not enough of.
pub fn limited(resources: &Resources) -> Body {
    if resources.is_empty() {
        return Body::default();
    }
    let resources = super::resources::to_v1(resources, Format::PLAIN);
    let limitation = Some(v1::TaskResourceLimitation { resources });
    body(&v1::TaskStatus { limitation, ..v1::TaskStatus::default() })
}

/// Writes an update. What an executor said beyond the typed fields is there as it was said.
pub fn to_v1(status: &TaskStatus) -> Result<v1::TaskStatus, Error> {
    let mut out: v1::TaskStatus = open(&status.body)?;
    out.task_id = (&status.task_id).into();
    out.set_state(state_to_v1(status.state));
    out.source = status.source.map(|source| source_to_v1(source).into());
    out.reason = status.reason.and_then(|reason| i32::try_from(reason.0).ok());
    out.message = status.message.as_ref().map(|message| message.to_string());
    out.agent_id = status.agent_id.as_ref().map(Into::into);
    out.executor_id = status.executor_id.as_ref().map(Into::into);
    out.timestamp = (status.timestamp.0 > 0).then(|| time::seconds(status.timestamp));
    out.uuid = status.update_id.map(|id| Bytes::copy_from_slice(&id.0));
    out.healthy = status.healthy;
    out.data.clone_from(&status.data);
    if let Some(container) = &status.container {
        overlay(out.container_status.get_or_insert_default(), container);
    }
    Ok(out)
}

/// Whether it is that container or nested in it, at any depth.
fn is_within(id: &v1::ContainerId, outer: &ContainerId) -> bool {
    std::iter::successors(Some(id), |id| id.parent.as_deref()).any(|id| id.value == outer.as_str())
}

fn overlay(out: &mut v1::ContainerStatus, container: &ContainerStatus) {
    // A container in that container is for its executor to name, and stays in the body.
    if !out.container_id.as_ref().is_some_and(|id| is_within(id, &container.container_id)) {
        out.container_id = Some((&container.container_id).into());
    }
    let ip = container.ip.to_string();
    let known = out.network_infos.iter().flat_map(|network| &network.ip_addresses);
    if !known.into_iter().any(|address| address.ip_address.as_deref() == Some(&*ip)) {
        let protocol = match container.ip {
            std::net::IpAddr::V4(_) => v1::network_info::Protocol::IPv4,
            std::net::IpAddr::V6(_) => v1::network_info::Protocol::IPv6,
        };
        let address = IpAddress { protocol: Some(protocol.into()), ip_address: Some(ip) };
        let network = v1::NetworkInfo { ip_addresses: vec![address], ..v1::NetworkInfo::default() };
        out.network_infos.insert(0, network);
    }
    out.executor_pid = container.executor_pid;
}
