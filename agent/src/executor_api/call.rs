//! POST /api/v1/executor: executors' calls. SUBSCRIBE is answered by a stream of events, the others by 202.

use crate::executor_api::body::{self, Answer, AnswerBody};
use crate::executor_api::events;
use crate::node::effect::{Answer as Verdict, Refusal as Why};
use crate::node::input::ExecutorCall;
use crate::runtime::Agent;
use api::media::{self, Encoding};
use api::refusal::Refusal;
use api::v1::executor::{Call, call};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use model::id::{ExecutorId, FrameworkId, TaskId};
use model::task::TaskStatus;
use std::rc::Rc;

pub(crate) async fn executor(
    agent: &Rc<Agent>,
    method: &Method,
    headers: &HeaderMap,
    body: &Bytes,
) -> Answer {
    handle(agent, method, headers, body).await.unwrap_or_else(|why| body::refusal(&why))
}

async fn handle(
    agent: &Rc<Agent>,
    method: &Method,
    headers: &HeaderMap,
    body: &Bytes,
) -> Result<Answer, Refusal> {
    if method != Method::POST {
        return Err(Refusal::Method { allowed: "POST", got: method.to_string() });
    }
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let encoding = Encoding::of_request(text(header::CONTENT_TYPE))?;
    let call: Call = media::decode(encoding, body)?;
    let kind = api::validate::executor(&call)?;
    let invalid =
        |error: &dyn std::fmt::Display| Refusal::Invalid { call: "Executor::Call", why: error.to_string() };
    let framework_id = FrameworkId::try_from(&call.framework_id).map_err(|error| invalid(&error))?;
    let executor_id = ExecutorId::try_from(&call.executor_id).map_err(|error| invalid(&error))?;
    let status = |update: &call::Update| api::convert::status::from_v1(&update.status);
    match kind {
        call::Type::Subscribe => {
            let answer = Encoding::of_answer(text(header::ACCEPT))?;
            let asked = call.subscribe.unwrap_or_default();
            let tasks = asked.unacknowledged_tasks.iter().map(|task| TaskId::try_from(&task.task_id));
            let updates = asked.unacknowledged_updates.iter().map(status);
            let subscribe = ExecutorCall::Subscribe {
                unacknowledged_tasks: tasks.collect::<Result<_, _>>().map_err(|error| invalid(&error))?,
                unacknowledged_updates: updates.collect::<Result<_, _>>().map_err(|error| invalid(&error))?,
            };
            agent.until_launched(&framework_id, &executor_id).await;
            stream(agent, answer, framework_id, executor_id, subscribe)
        }
        call::Type::Update => {
            let update = call.update.as_ref().expect("validated");
            let status: TaskStatus = status(update).map_err(|error| invalid(&error))?;
            tell(agent, framework_id, executor_id, ExecutorCall::Update(Box::new(status)))
        }
        call::Type::Message => {
            let data = call.message.expect("validated").data;
            tell(agent, framework_id, executor_id, ExecutorCall::Message(data))
        }
        call::Type::Heartbeat => Ok(body::empty(StatusCode::ACCEPTED)),
        call::Type::Unknown => Err(Refusal::UnknownCall),
    }
}

fn stream(
    agent: &Rc<Agent>,
    encoding: Encoding,
    framework_id: FrameworkId,
    executor_id: ExecutorId,
    subscribe: ExecutorCall,
) -> Result<Answer, Refusal> {
    let caller = agent.new_caller();
    // Before the node hears of it, because the first events come while it is being told.
    let records = agent.open_stream(caller, encoding);
    accept(agent.call(caller, framework_id, executor_id, subscribe))?;
    let mut response = Response::new(AnswerBody::events(records, events::heartbeat(encoding)));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(encoding.as_str()));
    Ok(response)
}

fn tell(
    agent: &Rc<Agent>,
    framework_id: FrameworkId,
    executor_id: ExecutorId,
    call: ExecutorCall,
) -> Result<Answer, Refusal> {
    accept(agent.call(agent.new_caller(), framework_id, executor_id, call))?;
    Ok(body::empty(StatusCode::ACCEPTED))
}

fn accept(verdict: Verdict) -> Result<(), Refusal> {
    match verdict {
        Verdict::Accepted | Verdict::Streaming => Ok(()),
        Verdict::Refused(Why::FrameworkUnknown) => Err(Refusal::FrameworkNotFound),
        Verdict::Refused(Why::ExecutorUnknown) => Err(Refusal::ExecutorNotFound),
        Verdict::Refused(Why::NotSubscribed) => Err(Refusal::ExecutorNotSubscribed),
    }
}
