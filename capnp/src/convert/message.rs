//! The two menus.

use super::{data, id, info, list_len, read_slice, resource, state, status, text, update_id, write_message};
use crate::Incoming;
use crate::error::WireError;
use crate::frame::{FrameError, HEADER_BYTES, seal};
use crate::generated::agent_capnp::{
    executor_exited, kill, message, registered, reregister, run_group, running_executor, running_task,
    task_ref, to_agent, to_master, update,
};
use crate::generated::common_capnp;
use crate::message::{Reregister, RunningExecutor, RunningTask, ToAgent, ToMaster};
use crate::report::Report;
use bytes::Bytes;
use capnp::struct_list;
use model::framework::FrameworkInfo;
use model::id::{ExecutorId, FrameworkId, TaskId};
use model::resources::{Resource, Resources};
use model::task::TaskInfo;
use std::sync::Arc;

/// The whole frame, ready to be written to the session.
pub fn encode_to_master(message: &ToMaster) -> Result<Vec<u8>, FrameError> {
    let mut builder = capnp::message::Builder::new_default();
    write_to_master(message, builder.init_root());
    seal(write_message(&builder, HEADER_BYTES))
}

/// The whole frame, ready to be written to the session.
pub fn encode_to_agent(message: &ToAgent) -> Result<Vec<u8>, FrameError> {
    let mut builder = capnp::message::Builder::new_default();
    write_to_agent(message, builder.init_root());
    seal(write_message(&builder, HEADER_BYTES))
}

/// `payload` is a frame without its header, as [`crate::frame::Reader::next`] gives it.
pub fn decode_to_master(payload: &[u8]) -> Result<Incoming<'_>, WireError> {
    let reader = read_slice(payload)?;
    let root: to_master::Reader<'_> = reader.get_root()?;
    // What comes by far most often goes first, and its pointer is followed by who reads it.
    if root.has_usage() {
        return Ok(Incoming::Usage(Report::new(reader)));
    }
    let message = match root.which()? {
        to_master::Usage(_) => return Err(WireError::field("usage", "is not there")),
        to_master::Register(agent) => ToMaster::Register { info: info::read_agent(agent?)? },
        to_master::Reregister(it) => ToMaster::Reregister(read_reregister(it?)?),
        to_master::Update(it) => read_update(it?)?,
        to_master::ExecutorMessage(it) => {
            let (framework_id, executor_id, data) = read_relayed(it?)?;
            ToMaster::ExecutorMessage { framework_id, executor_id, data }
        }
        to_master::ExecutorExited(it) => read_exited(it?)?,
        to_master::Pong(sequence) => ToMaster::Pong { sequence },
        to_master::Unregister(()) => ToMaster::Unregister,
        to_master::Oversubscribed(total) => ToMaster::Oversubscribed { total: read_revocable(total?)? },
    };
    Ok(Incoming::Message(Box::new(message)))
}

/// `payload` is a frame without its header, as [`crate::frame::Reader::next`] gives it.
pub fn decode_to_agent(payload: &[u8]) -> Result<ToAgent, WireError> {
    let reader = read_slice(payload)?;
    let root: to_agent::Reader<'_> = reader.get_root()?;
    Ok(match root.which()? {
        to_agent::Registered(it) => read_registered(it?)?,
        to_agent::Refused(reason) => ToAgent::Refused { reason: Arc::from(text(reason, "refused")?) },
        to_agent::Run(run) => {
            let run = run?;
            ToAgent::Run {
                framework: info::read_framework(run.get_framework()?)?,
                task: info::read_task(run.get_task()?)?,
                starts_executor: run.get_starts_executor(),
            }
        }
        to_agent::RunGroup(it) => read_run_group(it?)?,
        to_agent::Kill(it) => read_kill(it?)?,
        to_agent::Acknowledge(it) => {
            let it = it?;
            ToAgent::Acknowledge {
                framework_id: id(it.get_framework_id(), "acknowledge.frameworkId")?,
                task_id: id(it.get_task_id(), "acknowledge.taskId")?,
                update_id: update_id(it.get_update_id()?, "acknowledge.updateId")?,
            }
        }
        to_agent::SchedulerMessage(it) => {
            let (framework_id, executor_id, data) = read_relayed(it?)?;
            ToAgent::SchedulerMessage { framework_id, executor_id, data }
        }
        to_agent::ShutdownExecutor(it) => {
            let it = it?;
            ToAgent::ShutdownExecutor {
                framework_id: id(it.get_framework_id(), "shutdownExecutor.frameworkId")?,
                executor_id: id(it.get_executor_id(), "shutdownExecutor.executorId")?,
            }
        }
        to_agent::ShutdownFramework(framework) => {
            ToAgent::ShutdownFramework { framework_id: id(framework, "shutdownFramework")? }
        }
        to_agent::UpdateFramework(it) => ToAgent::UpdateFramework { framework: info::read_framework(it?)? },
        to_agent::UpdateTotal(total) => ToAgent::UpdateTotal { total: resource::read_all(total?)? },
        to_agent::Ping(sequence) => ToAgent::Ping { sequence },
        to_agent::Drain(it) => {
            let it = it?;
            let max_grace_ns = it.get_has_max_grace().then_some(it.get_max_grace_ns());
            ToAgent::Drain { max_grace_ns, marks_gone: it.get_marks_gone() }
        }
    })
}

fn read_reregister(it: reregister::Reader<'_>) -> Result<Reregister, WireError> {
    Ok(Reregister {
        agent_id: id(it.get_agent_id(), "reregister.agentId")?,
        info: info::read_agent(it.get_info()?)?,
        frameworks: it.get_frameworks()?.iter().map(info::read_framework).collect::<Result<_, _>>()?,
        executors: it.get_executors()?.iter().map(read_running_executor).collect::<Result<_, _>>()?,
        tasks: it.get_tasks()?.iter().map(read_running_task).collect::<Result<_, _>>()?,
        oversubscribed: read_revocable(it.get_oversubscribed()?)?,
    })
}

/// What is lent out is marked so, part by part, and belongs to nobody: else it would count as the agent's own.
fn read_revocable(
    parts: struct_list::Reader<'_, common_capnp::resource::Owned>,
) -> Result<Resources, WireError> {
    let total = resource::read_all(parts)?;
    let is_lent =
        |part: &Resource| part.is_revocable && part.allocation.is_none() && part.reservations.is_empty();
    if !total.iter().all(is_lent) {
        return Err(WireError::field("oversubscribed", "is not revocable, or somebody's"));
    }
    Ok(total)
}

fn read_running_executor(it: running_executor::Reader<'_>) -> Result<RunningExecutor, WireError> {
    Ok(RunningExecutor {
        framework_id: id(it.get_framework_id(), "executor.frameworkId")?,
        executor: info::read_executor(it.get_executor()?)?,
        container_id: id(it.get_container_id(), "executor.containerId")?,
        is_command: it.get_is_command(),
    })
}

fn read_running_task(it: running_task::Reader<'_>) -> Result<RunningTask, WireError> {
    let pending = if it.get_has_pending() {
        let state = state(it.get_pending_state(), "task.pendingState")?;
        Some((state, update_id(it.get_pending_update_id()?, "task.pendingUpdateId")?))
    } else {
        None
    };
    Ok(RunningTask {
        framework_id: id(it.get_framework_id(), "task.frameworkId")?,
        task: info::read_task(it.get_task()?)?,
        latest_state: state(it.get_latest_state(), "task.latestState")?,
        pending,
        statuses: it.get_statuses()?.iter().map(status::read).collect::<Result<_, _>>()?,
    })
}

fn read_update(it: update::Reader<'_>) -> Result<ToMaster, WireError> {
    Ok(ToMaster::Update {
        framework_id: id(it.get_framework_id(), "update.frameworkId")?,
        status: status::read(it.get_status()?)?,
        latest_state: state(it.get_latest_state(), "update.latestState")?,
    })
}

fn read_relayed(it: message::Reader<'_>) -> Result<(FrameworkId, ExecutorId, Bytes), WireError> {
    let framework_id = id(it.get_framework_id(), "message.frameworkId")?;
    Ok((framework_id, id(it.get_executor_id(), "message.executorId")?, data(it.get_data())?))
}

fn read_exited(it: executor_exited::Reader<'_>) -> Result<ToMaster, WireError> {
    Ok(ToMaster::ExecutorExited {
        framework_id: id(it.get_framework_id(), "executorExited.frameworkId")?,
        executor_id: id(it.get_executor_id(), "executorExited.executorId")?,
        container_id: id(it.get_container_id(), "executorExited.containerId")?,
        wait_status: it.get_has_wait_status().then(|| it.get_wait_status()),
    })
}

fn read_registered(it: registered::Reader<'_>) -> Result<ToAgent, WireError> {
    let task = |it: task_ref::Reader<'_>| -> Result<(FrameworkId, TaskId), WireError> {
        Ok((id(it.get_framework_id(), "reconcile.frameworkId")?, id(it.get_task_id(), "reconcile.taskId")?))
    };
    Ok(ToAgent::Registered {
        agent_id: id(it.get_agent_id(), "registered.agentId")?,
        master_id: id(it.get_master_id(), "registered.masterId")?,
        ping_timeout_ms: it.get_ping_timeout_ms(),
        reconcile: it.get_reconcile()?.iter().map(task).collect::<Result<_, _>>()?,
    })
}

fn read_run_group(it: run_group::Reader<'_>) -> Result<ToAgent, WireError> {
    let tasks = it.get_tasks()?;
    if tasks.is_empty() {
        return Err(WireError::field("runGroup.tasks", "is empty"));
    }
    Ok(ToAgent::RunGroup {
        framework: info::read_framework(it.get_framework()?)?,
        tasks: tasks.iter().map(info::read_task).collect::<Result<_, _>>()?,
        starts_executor: it.get_starts_executor(),
    })
}

fn read_kill(it: kill::Reader<'_>) -> Result<ToAgent, WireError> {
    Ok(ToAgent::Kill {
        framework_id: id(it.get_framework_id(), "kill.frameworkId")?,
        task_id: id(it.get_task_id(), "kill.taskId")?,
        grace_ns: it.get_has_grace().then(|| it.get_grace_ns()),
    })
}

fn write_to_master(message: &ToMaster, mut out: to_master::Builder<'_>) {
    match message {
        ToMaster::Register { info } => info::write_agent(info, out.init_register()),
        ToMaster::Reregister(it) => write_reregister(it, out.init_reregister()),
        ToMaster::Update { framework_id, status, latest_state } => {
            let mut update = out.init_update();
            update.set_framework_id(framework_id.as_str());
            update.set_latest_state(*latest_state as u8);
            status::write(status, update.init_status());
        }
        ToMaster::ExecutorMessage { framework_id, executor_id, data } => {
            write_relayed(framework_id, executor_id, data, out.init_executor_message());
        }
        ToMaster::ExecutorExited { framework_id, executor_id, container_id, wait_status } => {
            let mut exited = out.init_executor_exited();
            exited.set_framework_id(framework_id.as_str());
            exited.set_executor_id(executor_id.as_str());
            exited.set_container_id(container_id.as_str());
            exited.set_has_wait_status(wait_status.is_some());
            exited.set_wait_status(wait_status.unwrap_or_default());
        }
        ToMaster::Pong { sequence } => out.set_pong(*sequence),
        ToMaster::Unregister => out.set_unregister(()),
        ToMaster::Oversubscribed { total } => {
            resource::write_all(total, out.init_oversubscribed(resource::count(total)));
        }
    }
}

fn write_reregister(it: &Reregister, mut out: reregister::Builder<'_>) {
    out.set_agent_id(it.agent_id.as_str());
    info::write_agent(&it.info, out.reborrow().init_info());
    let mut frameworks = out.reborrow().init_frameworks(list_len(it.frameworks.len()));
    for (i, framework) in (0..).zip(&it.frameworks) {
        info::write_framework(framework, frameworks.reborrow().get(i));
    }
    let mut executors = out.reborrow().init_executors(list_len(it.executors.len()));
    for (i, executor) in (0..).zip(&it.executors) {
        let mut to = executors.reborrow().get(i);
        to.set_framework_id(executor.framework_id.as_str());
        to.set_container_id(executor.container_id.as_str());
        to.set_is_command(executor.is_command);
        info::write_executor(&executor.executor, to.init_executor());
    }
    let lent = out.reborrow().init_oversubscribed(resource::count(&it.oversubscribed));
    resource::write_all(&it.oversubscribed, lent);
    let mut tasks = out.init_tasks(list_len(it.tasks.len()));
    for (i, task) in (0..).zip(&it.tasks) {
        write_running_task(task, tasks.reborrow().get(i));
    }
}

fn write_running_task(it: &RunningTask, mut out: running_task::Builder<'_>) {
    out.set_framework_id(it.framework_id.as_str());
    out.set_latest_state(it.latest_state as u8);
    if let Some((state, id)) = &it.pending {
        out.set_has_pending(true);
        out.set_pending_state(*state as u8);
        out.set_pending_update_id(&id.0);
    }
    info::write_task(&it.task, out.reborrow().init_task());
    let mut statuses = out.init_statuses(list_len(it.statuses.len()));
    for (i, status) in (0..).zip(&it.statuses) {
        status::write(status, statuses.reborrow().get(i));
    }
}

fn write_relayed(framework: &FrameworkId, executor: &ExecutorId, data: &[u8], mut out: message::Builder<'_>) {
    out.set_framework_id(framework.as_str());
    out.set_executor_id(executor.as_str());
    out.set_data(data);
}

fn write_run_group(framework: &FrameworkInfo, tasks: &[TaskInfo], mut out: run_group::Builder<'_>) {
    info::write_framework(framework, out.reborrow().init_framework());
    let mut list = out.init_tasks(list_len(tasks.len()));
    for (i, task) in (0..).zip(tasks) {
        info::write_task(task, list.reborrow().get(i));
    }
}

fn write_to_agent(message: &ToAgent, mut out: to_agent::Builder<'_>) {
    match message {
        ToAgent::Registered { agent_id, master_id, ping_timeout_ms, reconcile } => {
            let mut registered = out.init_registered();
            registered.set_agent_id(agent_id.as_str());
            registered.set_master_id(master_id.as_str());
            registered.set_ping_timeout_ms(*ping_timeout_ms);
            let mut tasks = registered.init_reconcile(list_len(reconcile.len()));
            for (i, (framework, task)) in (0..).zip(reconcile) {
                let mut to = tasks.reborrow().get(i);
                to.set_framework_id(framework.as_str());
                to.set_task_id(task.as_str());
            }
        }
        ToAgent::Refused { reason } => out.set_refused(&**reason),
        ToAgent::Run { framework, task, starts_executor } => {
            let mut run = out.init_run();
            run.set_starts_executor(*starts_executor);
            info::write_framework(framework, run.reborrow().init_framework());
            info::write_task(task, run.init_task());
        }
        ToAgent::RunGroup { framework, tasks, starts_executor } => {
            let mut group = out.init_run_group();
            group.set_starts_executor(*starts_executor);
            write_run_group(framework, tasks, group);
        }
        ToAgent::Kill { framework_id, task_id, grace_ns } => {
            let mut kill = out.init_kill();
            kill.set_framework_id(framework_id.as_str());
            kill.set_task_id(task_id.as_str());
            kill.set_has_grace(grace_ns.is_some());
            kill.set_grace_ns(grace_ns.unwrap_or_default());
        }
        ToAgent::Acknowledge { framework_id, task_id, update_id } => {
            let mut acknowledge = out.init_acknowledge();
            acknowledge.set_framework_id(framework_id.as_str());
            acknowledge.set_task_id(task_id.as_str());
            acknowledge.set_update_id(&update_id.0);
        }
        ToAgent::SchedulerMessage { framework_id, executor_id, data } => {
            write_relayed(framework_id, executor_id, data, out.init_scheduler_message());
        }
        ToAgent::ShutdownExecutor { framework_id, executor_id } => {
            let mut executor = out.init_shutdown_executor();
            executor.set_framework_id(framework_id.as_str());
            executor.set_executor_id(executor_id.as_str());
        }
        ToAgent::ShutdownFramework { framework_id } => out.set_shutdown_framework(framework_id.as_str()),
        ToAgent::UpdateFramework { framework } => {
            info::write_framework(framework, out.init_update_framework())
        }
        ToAgent::UpdateTotal { total } => {
            resource::write_all(total, out.init_update_total(resource::count(total)));
        }
        ToAgent::Ping { sequence } => out.set_ping(*sequence),
        ToAgent::Drain { max_grace_ns, marks_gone } => {
            let mut drain = out.init_drain();
            drain.set_has_max_grace(max_grace_ns.is_some());
            drain.set_max_grace_ns(max_grace_ns.unwrap_or_default());
            drain.set_marks_gone(*marks_gone);
        }
    }
}
