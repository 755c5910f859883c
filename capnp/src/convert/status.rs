//! Task statuses.

use super::{arc, data, id, id_option, state, text, update_id};
use crate::error::WireError;
use crate::generated::common_capnp::{container_status, task_status};
use model::body::Body;
use model::task::{ContainerStatus, Reason, Source, TaskStatus};
use model::time::UnixTime;

pub(crate) fn read(status: task_status::Reader<'_>) -> Result<TaskStatus, WireError> {
    let source = match status.get_source() {
        0 => None,
        1 => Some(Source::Master),
        2 => Some(Source::Agent),
        3 => Some(Source::Executor),
        other => return Err(WireError::field("status.source", format_args!("is no source: {other}"))),
    };
    let healthy = match status.get_healthy() {
        0 => None,
        1 => Some(false),
        2 => Some(true),
        other => {
            return Err(WireError::field("status.healthy", format_args!("is neither 0, 1 nor 2: {other}")));
        }
    };
    Ok(TaskStatus {
        task_id: id(status.get_task_id(), "status.taskId")?,
        state: state(status.get_state(), "status.state")?,
        source,
        reason: status.get_reason().checked_sub(1).map(Reason),
        message: if status.has_message() { Some(arc(status.get_message(), "status.message")?) } else { None },
        agent_id: id_option(status.get_agent_id(), "status.agentId")?,
        executor_id: id_option(status.get_executor_id(), "status.executorId")?,
        timestamp: UnixTime(status.get_timestamp_us()),
        update_id: match status.get_update_id()? {
            [] => None,
            bytes => Some(update_id(bytes, "status.updateId")?),
        },
        healthy,
        data: if status.has_data() { Some(data(status.get_data())?) } else { None },
        container: if status.has_container() { Some(read_container(status.get_container()?)?) } else { None },
        body: Body(data(status.get_body())?),
    })
}

fn read_container(container: container_status::Reader<'_>) -> Result<ContainerStatus, WireError> {
    let ip = text(container.get_ip(), "container.ip")?;
    Ok(ContainerStatus {
        container_id: id(container.get_container_id(), "container.containerId")?,
        ip: ip
            .parse()
            .map_err(|_| WireError::field("container.ip", format_args!("is no IP address: '{ip}'")))?,
        executor_pid: Some(container.get_executor_pid()).filter(|&pid| pid != 0),
    })
}

pub(crate) fn write(status: &TaskStatus, mut out: task_status::Builder<'_>) {
    out.set_task_id(status.task_id.as_str());
    out.set_state(status.state as u8);
    out.set_source(status.source.map_or(0, |source| source as u8 + 1));
    out.set_reason(status.reason.map_or(0, |reason| reason.0 + 1));
    if let Some(message) = &status.message {
        out.set_message(&**message);
    }
    if let Some(id) = &status.agent_id {
        out.set_agent_id(id.as_str());
    }
    if let Some(id) = &status.executor_id {
        out.set_executor_id(id.as_str());
    }
    out.set_timestamp_us(status.timestamp.0);
    if let Some(id) = &status.update_id {
        out.set_update_id(&id.0);
    }
    out.set_healthy(status.healthy.map_or(0, |healthy| u8::from(healthy) + 1));
    if let Some(data) = &status.data {
        out.set_data(data);
    }
    if let Some(container) = &status.container {
        let mut to = out.reborrow().init_container();
        to.set_container_id(container.container_id.as_str());
        to.set_ip(container.ip.to_string());
        to.set_executor_pid(container.executor_pid.unwrap_or_default());
    }
    out.set_body(&status.body.0);
}
