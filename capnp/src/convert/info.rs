//! Frameworks, executors, agents and tasks as they describe themselves.

use super::resource::{self, role};
use super::{arc, arc_option, data, id, id_option, list_len, text};
use crate::error::WireError;
use crate::generated::common_capnp::{agent_info, executor_info, framework_info, task_info};
use model::agent_info::AgentInfo;
use model::body::Body;
use model::executor::ExecutorInfo;
use model::framework::{Capabilities, FrameworkInfo};
use model::task::TaskInfo;

pub(crate) fn read_framework(info: framework_info::Reader<'_>) -> Result<FrameworkInfo, WireError> {
    let read_role = |name| role(text(name, "framework.roles")?, "framework.roles");
    Ok(FrameworkInfo {
        framework_id: id_option(info.get_framework_id(), "framework.frameworkId")?,
        name: arc(info.get_name(), "framework.name")?,
        user: arc(info.get_user(), "framework.user")?,
        roles: info.get_roles()?.iter().map(read_role).collect::<Result<_, _>>()?,
        capabilities: info
            .get_capabilities()?
            .iter()
            .fold(Capabilities::default(), Capabilities::with_number),
        failover_timeout_ns: info.get_failover_timeout_ns(),
        checkpoint: info.get_checkpoint(),
        hostname: arc(info.get_hostname(), "framework.hostname")?,
        webui_url: arc_option(info.get_webui_url(), "framework.webuiUrl")?,
        principal: arc_option(info.get_principal(), "framework.principal")?,
        body: Body(data(info.get_body())?),
    })
}

pub(crate) fn write_framework(info: &FrameworkInfo, mut out: framework_info::Builder<'_>) {
    if let Some(id) = &info.framework_id {
        out.set_framework_id(id.as_str());
    }
    out.set_name(&info.name);
    out.set_user(&info.user);
    let mut roles = out.reborrow().init_roles(list_len(info.roles.len()));
    for (i, role) in (0..).zip(&info.roles) {
        roles.set(i, role.as_str());
    }
    let numbers: Vec<u32> = info.capabilities.numbers().collect();
    out.set_capabilities(&numbers[..]).expect("a new message has room for eight numbers");
    out.set_failover_timeout_ns(info.failover_timeout_ns);
    out.set_checkpoint(info.checkpoint);
    out.set_hostname(&info.hostname);
    out.set_webui_url(info.webui_url.as_deref().unwrap_or_default());
    out.set_principal(info.principal.as_deref().unwrap_or_default());
    out.set_body(&info.body.0);
}

pub(crate) fn read_executor(info: executor_info::Reader<'_>) -> Result<ExecutorInfo, WireError> {
    Ok(ExecutorInfo {
        executor_id: id(info.get_executor_id(), "executor.executorId")?,
        framework_id: id_option(info.get_framework_id(), "executor.frameworkId")?,
        name: if info.get_has_name() { Some(arc(info.get_name(), "executor.name")?) } else { None },
        resources: resource::read_all(info.get_resources()?)?,
        shutdown_grace_ns: info.get_has_shutdown_grace().then(|| info.get_shutdown_grace_ns()),
        body: Body(data(info.get_body())?),
    })
}

pub(crate) fn write_executor(info: &ExecutorInfo, mut out: executor_info::Builder<'_>) {
    out.set_executor_id(info.executor_id.as_str());
    if let Some(id) = &info.framework_id {
        out.set_framework_id(id.as_str());
    }
    out.set_has_name(info.name.is_some());
    out.set_name(info.name.as_deref().unwrap_or_default());
    resource::write_all(&info.resources, out.reborrow().init_resources(resource::count(&info.resources)));
    out.set_has_shutdown_grace(info.shutdown_grace_ns.is_some());
    out.set_shutdown_grace_ns(info.shutdown_grace_ns.unwrap_or_default());
    out.set_body(&info.body.0);
}

pub(crate) fn read_agent(info: agent_info::Reader<'_>) -> Result<AgentInfo, WireError> {
    let address = text(info.get_address(), "agent.address")?;
    Ok(AgentInfo {
        hostname: arc(info.get_hostname(), "agent.hostname")?,
        address: address
            .parse()
            .map_err(|_| WireError::field("agent.address", format_args!("is not IP:PORT: '{address}'")))?,
        total: resource::read_all(info.get_total()?)?,
        boot_id: arc(info.get_boot_id(), "agent.bootId")?,
        version: arc(info.get_version(), "agent.version")?,
        body: Body(data(info.get_body())?),
    })
}

pub(crate) fn write_agent(info: &AgentInfo, mut out: agent_info::Builder<'_>) {
    out.set_hostname(&info.hostname);
    out.set_address(info.address.to_string());
    resource::write_all(&info.total, out.reborrow().init_total(resource::count(&info.total)));
    out.set_boot_id(&info.boot_id);
    out.set_version(&info.version);
    out.set_body(&info.body.0);
}

pub(crate) fn read_task(info: task_info::Reader<'_>) -> Result<TaskInfo, WireError> {
    Ok(TaskInfo {
        task_id: id(info.get_task_id(), "task.taskId")?,
        name: arc(info.get_name(), "task.name")?,
        agent_id: id(info.get_agent_id(), "task.agentId")?,
        resources: resource::read_all(info.get_resources()?)?,
        executor: if info.has_executor() { Some(read_executor(info.get_executor()?)?) } else { None },
        kill_grace_ns: info.get_has_kill_grace().then(|| info.get_kill_grace_ns()),
        body: Body(data(info.get_body())?),
    })
}

pub(crate) fn write_task(info: &TaskInfo, mut out: task_info::Builder<'_>) {
    out.set_task_id(info.task_id.as_str());
    out.set_name(&info.name);
    out.set_agent_id(info.agent_id.as_str());
    resource::write_all(&info.resources, out.reborrow().init_resources(resource::count(&info.resources)));
    if let Some(executor) = &info.executor {
        write_executor(executor, out.reborrow().init_executor());
    }
    out.set_has_kill_grace(info.kill_grace_ns.is_some());
    out.set_kill_grace_ns(info.kill_grace_ns.unwrap_or_default());
    out.set_body(&info.body.0);
}
