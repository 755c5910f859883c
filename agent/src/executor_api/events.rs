//! Events for executors, as v1 messages in records.

use crate::node::effect::ExecutorEvent;
use api::media::{self, Encoding};
use api::v1::{self, executor::Event, executor::event};
use bytes::Bytes;
use model::agent_info::AgentInfo;
use model::executor::ExecutorInfo;
use model::id::AgentId;
use model::task::TaskInfo;

/// One whole record. `info` and `agent_id`: what executors are told of the agent.
pub(crate) fn record(
    encoding: Encoding,
    info: &AgentInfo,
    agent_id: Option<&AgentId>,
    event: &ExecutorEvent,
) -> Bytes {
    let event = match to_v1(info, agent_id, event) {
        Ok(event) => event,
        // A body that does not decode although one of us encoded it: the executor is told, and goes on.
        Err(error) => Event {
            error: Some(event::Error { message: error.to_string() }),
            ..Event::of(event::Type::Error)
        },
    };
    api::recordio::encode(&media::encode(encoding, &event))
}

pub(crate) fn heartbeat(encoding: Encoding) -> Bytes {
    api::recordio::encode(&media::encode(encoding, &Event::of(event::Type::Heartbeat)))
}

trait OfType {
    fn of(r#type: event::Type) -> Self;
}

impl OfType for Event {
    fn of(r#type: event::Type) -> Self {
        Self { r#type: Some(r#type.into()), ..Self::default() }
    }
}

fn to_v1(
    info: &AgentInfo,
    agent_id: Option<&AgentId>,
    told: &ExecutorEvent,
) -> Result<Event, api::convert::Error> {
    Ok(match told {
        ExecutorEvent::Subscribed { executor, framework, container_id, command_task } => Event {
            subscribed: Some(event::Subscribed {
                executor_info: executor_to_v1(executor, command_task.as_deref())?,
                framework_info: api::convert::framework::to_v1(framework)?,
                agent_info: api::convert::agent::to_v1(info, agent_id)?,
                container_id: Some(container_id.into()),
            }),
            ..Event::of(event::Type::Subscribed)
        },
        ExecutorEvent::Launch(task) => Event {
            launch: Some(event::Launch { task: api::convert::task::to_v1(task)? }),
            ..Event::of(event::Type::Launch)
        },
        ExecutorEvent::LaunchGroup(tasks) => {
            let tasks = tasks.iter().map(api::convert::task::to_v1).collect::<Result<_, _>>()?;
            let task_group = v1::TaskGroupInfo { tasks };
            Event {
                launch_group: Some(event::LaunchGroup { task_group }),
                ..Event::of(event::Type::LaunchGroup)
            }
        }
        ExecutorEvent::Kill { task_id, grace_ns } => Event {
            kill: Some(event::Kill {
                task_id: task_id.into(),
                kill_policy: grace_ns
                    .map(|ns| v1::KillPolicy { grace_period: Some(api::convert::time::duration(ns)) }),
            }),
            ..Event::of(event::Type::Kill)
        },
        ExecutorEvent::Acknowledged { task_id, update_id } => Event {
            acknowledged: Some(event::Acknowledged {
                task_id: task_id.into(),
                uuid: Bytes::copy_from_slice(&update_id.0),
            }),
            ..Event::of(event::Type::Acknowledged)
        },
        ExecutorEvent::Message(data) => {
            Event { message: Some(event::Message { data: data.clone() }), ..Event::of(event::Type::Message) }
        }
        ExecutorEvent::Shutdown => Event::of(event::Type::Shutdown),
    })
}

/// Our own executor for commands has no description by a framework: it is told its id and its resources.
fn executor_to_v1(
    executor: &ExecutorInfo,
    command_task: Option<&TaskInfo>,
) -> Result<v1::ExecutorInfo, api::convert::Error> {
    let mut info = api::convert::executor::to_v1(executor)?;
    if command_task.is_some() && info.command.is_none() {
        info.command = Some(v1::CommandInfo::default());
    }
    Ok(info)
}
