//! The calls of the agent's operator API: what it knows as messages, for JSON and protobuf alike. Those that act on
//! containers become orders for the runtime.

use super::containers::containers;
use super::{Answer, Facts, Order, files, frameworks, metrics, statistics};
use crate::node::drain::Drain;
use crate::node::view::{ExecutorView, FrameworkView, TaskView};
use api::convert::{Error, agent as agent_info, executor, framework, task, time};
use api::legacy::{Reply, version};
use api::media::{Body, Encoding, decode_of_agent};
use api::recordio;
use api::refusal::Refusal;
use api::v1::agent::call::Type;
use api::v1::agent::response::{self, get_containers, get_executors, get_frameworks};
use api::v1::agent::{Call, Response};
use api::{v1, validate};
use bytes::Bytes;
use http::request::Parts;
use model::time::UnixTime;

/// Answers a POST to `/api/v1`.
pub(super) fn answer(head: &Parts, body: &Bytes, facts: &Facts<'_>) -> Answer {
    parse(head, body)
        .map_err(|why| Reply::refused(&why))
        .and_then(|(call, kind, media)| match encoding(kind, media)? {
            _ if is_of_containers(kind) => Ok(Answer::Order(Box::new(Order { call, kind, wanted: media.1 }))),
            Some(encoding) => Ok(served(&call, kind, encoding, facts)),
            None => Ok(Answer::Reply(Reply::refused(&Refusal::UnknownCall))),
        })
        .unwrap_or_else(Answer::Reply)
}

/// Calls that act on containers, or wait for them.
fn is_of_containers(kind: Type) -> bool {
    matches!(
        kind,
        Type::LaunchNestedContainer
            | Type::WaitNestedContainer
            | Type::KillNestedContainer
            | Type::RemoveNestedContainer
            | Type::LaunchNestedContainerSession
            | Type::AttachContainerInput
            | Type::AttachContainerOutput
            | Type::LaunchContainer
            | Type::WaitContainer
            | Type::KillContainer
            | Type::RemoveContainer
            | Type::UpdateContainerLimits
    )
}

/// Of the request and of its answer.
type Media = (Body, Body);

/// In the order in which Mesos looks.
fn parse(head: &Parts, body: &Bytes) -> Result<(Call, Type, Media), Refusal> {
    if head.method != http::Method::POST {
        return Err(Refusal::Method { allowed: "POST", got: head.method.to_string() });
    }
    let header = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok());
    let sent = Body::of_request(header("content-type"), header("message-content-type"))?;
    let wanted = Body::of_answer(header("accept"), header("message-accept"))?;
    let call: Call = match sent {
        Body::Single(encoding) => decode_of_agent(encoding, body)?,
        Body::Stream(encoding) => {
            let mut records = recordio::Decoder::new(model::limits::CALL_BYTES_MAX);
            records.push(body);
            let first = records.next_record().map_err(|why| Refusal::Bad(why.to_string()))?;
            let first =
                first.ok_or_else(|| Refusal::Bad("Received EOF while reading request body".to_owned()))?;
            decode_of_agent(encoding, &first)?
        }
    };
    let kind = validate::agent(&call)?;
    Ok((call, kind, (sent, wanted)))
}

/// How the answer is written; `None` for a call that streams, and may.
fn encoding(kind: Type, (sent, wanted): Media) -> Result<Option<Encoding>, Reply> {
    let name = kind.as_str_name();
    let is_input = kind == Type::AttachContainerInput;
    let streams = matches!(kind, Type::AttachContainerOutput | Type::LaunchNestedContainerSession);
    match (sent, wanted) {
        (Body::Stream(_), _) if !is_input => Err(Reply::text(
            415,
            format!("Streaming 'Content-Type' {} is not supported for {name} call", sent.as_str()),
        )),
        (Body::Single(_), _) if is_input => Err(Reply::text(
            415,
            format!("Expecting 'Content-Type' to be application/recordio for {name} call"),
        )),
        (_, Body::Stream(_)) if !streams => {
            Err(Reply::text(406, format!("Streaming response is not supported for {name} call")))
        }
        (_, Body::Stream(_)) => Ok(None),
        (_, Body::Single(encoding)) => Ok(Some(encoding)),
    }
}

fn served(call: &Call, kind: Type, encoding: Encoding, facts: &Facts<'_>) -> Answer {
    if kind == Type::PruneImages {
        let excluded = call.prune_images.as_ref().map(|prune| prune.excluded_images.clone());
        return Answer::Prune(excluded.unwrap_or_default());
    }
    match (kind, &call.list_files, &call.read_file) {
        (Type::ListFiles, Some(list), _) => return files::list(&list.path, encoding, facts),
        (Type::ReadFile, _, Some(read)) => {
            return files::read(&read.path, read.offset, read.length, encoding, facts);
        }
        _ => {}
    }
    Answer::Reply(match message(call, kind, facts) {
        Ok(Some(response)) => Reply::message(encoding, &response),
        Ok(None) => Reply::refused(&Refusal::UnknownCall),
        // A body of our own that does not decode: a bug, or memory that went bad.
        Err(why) => Reply::text(500, why.to_string()),
    })
}

/// `None` for a call that does more than read.
fn message(call: &Call, kind: Type, facts: &Facts<'_>) -> Result<Option<Response>, Error> {
    use response::Type as Is;
    let mut out = Response::default();
    match kind {
        Type::GetHealth => {
            out.set_type(Is::GetHealth);
            out.get_health = Some(response::GetHealth { healthy: true });
        }
        Type::GetFlags => {
            out.set_type(Is::GetFlags);
            out.get_flags = Some(get_flags(facts));
        }
        Type::GetVersion => {
            out.set_type(Is::GetVersion);
            out.get_version = Some(response::GetVersion { version_info: version::info(facts.version) });
        }
        Type::GetMetrics => {
            out.set_type(Is::GetMetrics);
            out.get_metrics = Some(get_metrics(facts));
        }
        Type::GetLoggingLevel => {
            out.set_type(Is::GetLoggingLevel);
            out.get_logging_level = Some(response::GetLoggingLevel::default());
        }
        Type::GetState => {
            out.set_type(Is::GetState);
            out.get_state = Some(response::GetState {
                get_tasks: Some(get_tasks(facts)?),
                get_executors: Some(get_executors(facts)?),
                get_frameworks: Some(get_frameworks(facts)?),
            });
        }
        Type::GetFrameworks => {
            out.set_type(Is::GetFrameworks);
            out.get_frameworks = Some(get_frameworks(facts)?);
        }
        Type::GetExecutors => {
            out.set_type(Is::GetExecutors);
            out.get_executors = Some(get_executors(facts)?);
        }
        Type::GetTasks => {
            out.set_type(Is::GetTasks);
            out.get_tasks = Some(get_tasks(facts)?);
        }
        Type::GetContainers => {
            out.set_type(Is::GetContainers);
            // As there: of no containers, nothing at all.
            out.get_containers = Some(get_containers(call, facts)).filter(|it| !it.containers.is_empty());
        }
        Type::GetAgent => {
            out.set_type(Is::GetAgent);
            let agent_info = agent_info::to_v1(facts.known.info, facts.known.agent_id)?;
            let drain = facts.known.draining;
            out.get_agent = Some(response::GetAgent {
                agent_info: Some(agent_info),
                drain_config: drain.map(drain_config),
                estimated_drain_start_time: drain.map(|drain| time::info(whole_seconds(drain))),
            });
        }
        Type::GetOperations => {
            out.set_type(Is::GetOperations);
            out.get_operations = Some(response::GetOperations::default());
        }
        Type::GetResourceProviders => {
            out.set_type(Is::GetResourceProviders);
            out.get_resource_providers = Some(response::GetResourceProviders::default());
        }
        _ => return Ok(None),
    }
    Ok(Some(out))
}

/// When it began, as exactly as Mesos says it.
pub(super) fn whole_seconds(drain: Drain) -> UnixTime {
    UnixTime(drain.started.0 / 1_000_000 * 1_000_000)
}

pub(super) fn drain_config(drain: Drain) -> v1::DrainConfig {
    let grace = drain.max_grace_ns.map(|ns| i64::try_from(ns).unwrap_or(i64::MAX));
    v1::DrainConfig {
        max_grace_period: grace.map(|nanoseconds| v1::DurationInfo { nanoseconds }),
        mark_gone: Some(drain.marks_gone),
    }
}

fn get_flags(facts: &Facts<'_>) -> response::GetFlags {
    let flag =
        |(name, value): (&&str, &String)| v1::Flag { name: (*name).to_owned(), value: Some(value.clone()) };
    response::GetFlags { flags: facts.flags.iter().map(flag).collect() }
}

fn get_metrics(facts: &Facts<'_>) -> response::GetMetrics {
    let metrics = metrics::all(facts).into_iter();
    let metrics = metrics.map(|(name, value)| v1::Metric { name: name.into_owned(), value: Some(value) });
    response::GetMetrics { metrics: metrics.collect() }
}

fn get_frameworks(facts: &Facts<'_>) -> Result<response::GetFrameworks, Error> {
    let shown = |view: &FrameworkView<'_>| {
        Ok(get_frameworks::Framework { framework_info: framework::to_v1(view.info)? })
    };
    Ok(response::GetFrameworks {
        frameworks: facts.known.frameworks.iter().map(shown).collect::<Result<_, Error>>()?,
        completed_frameworks: facts
            .known
            .completed_frameworks
            .iter()
            .map(shown)
            .collect::<Result<_, Error>>()?,
    })
}

fn get_executors(facts: &Facts<'_>) -> Result<response::GetExecutors, Error> {
    let shown = |view: &ExecutorView<'_>| -> Result<_, Error> {
        let mut executor_info = executor::to_v1(view.info)?;
        if view.is_command {
            executor_info.name = Some(frameworks::name(view));
            executor_info.source = Some(frameworks::source(view).to_owned());
        }
        Ok(get_executors::Executor { executor_info })
    };
    let all = || facts.known.all();
    Ok(response::GetExecutors {
        executors: all().flat_map(|view| &view.executors).map(shown).collect::<Result<_, _>>()?,
        completed_executors: all()
            .flat_map(|view| &view.completed_executors)
            .map(shown)
            .collect::<Result<_, _>>()?,
    })
}

fn get_tasks(facts: &Facts<'_>) -> Result<response::GetTasks, Error> {
    // Tasks do not wait for anything before their executor does.
    let mut out = response::GetTasks::default();
    for framework in facts.known.all() {
        let Some(framework_id) = &framework.info.framework_id else { continue };
        let shown =
            |task: &TaskView<'_>| task::to_operator(task.info, framework_id, task.state, task.statuses);
        for executor in framework.executors.iter().chain(&framework.completed_executors) {
            for task in &executor.queued_tasks {
                out.queued_tasks.push(shown(task)?);
            }
            for task in &executor.tasks {
                let is_over = frameworks::is_over(executor, task);
                if is_over { &mut out.terminated_tasks } else { &mut out.launched_tasks }.push(shown(task)?);
            }
            for task in &executor.completed_tasks {
                out.completed_tasks.push(shown(task)?);
            }
        }
    }
    Ok(out)
}

/// Executors' containers, and those that are nested in them where the call asks for these. There are no standalone ones.
fn get_containers(call: &Call, facts: &Facts<'_>) -> response::GetContainers {
    let shown = containers(facts).map(|container| {
        let executor = container.executor;
        get_containers::Container {
            framework_id: container.framework.info.framework_id.as_ref().map(Into::into),
            executor_id: Some((&executor.info.executor_id).into()),
            executor_name: Some(frameworks::name(executor)),
            container_id: executor.container_id.into(),
            container_status: Some(container.status()),
            resource_statistics: (facts.figures)(executor.container_id).map(|it| statistics::of(facts, &it)),
        }
    });
    let with_nested = call.get_containers.as_ref().is_some_and(|it| it.show_nested());
    let nested = if with_nested { (facts.nested)() } else { Vec::new() };
    let nested = nested.into_iter().map(|nested| get_containers::Container {
        container_status: Some(v1::ContainerStatus {
            container_id: Some(nested.container_id.clone()),
            executor_pid: nested.pid,
            ..v1::ContainerStatus::default()
        }),
        container_id: nested.container_id,
        ..get_containers::Container::default()
    });
    response::GetContainers { containers: shown.chain(nested).collect() }
}
